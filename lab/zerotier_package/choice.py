"""Which ZeroTier the lab runs: a given package, the official repository, or the lab's own (lab.zerotier).

The choice is made once per lab and kept: a network that comes and goes must not change the lab under way.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lab.machine.errors import LabError
from lab.machine.names import Lab
from lab.machine.progress import step

REPOSITORY = "http://download.zerotier.com"
REPOSITORY_TIMEOUT_S = 2.0
BUILDER = Path(__file__).resolve().parent / "build.py"
PROGRAM = BUILDER.parents[1] / "zerotier"
# The package embeds the project's rule evaluator.
RULES = BUILDER.parents[2] / "module_utils" / "zerotier_rules.py"

Choice = dict[str, Any]


def choose(lab: Lab, environment: Mapping[str, str], kept: Choice | None) -> Choice:
    """{"kind", "package", "explanation"} for lab.json; the package file is ready when this returns.

    Raises:
        LabError: ZEROTIER_PACKAGE is no package of zerotier-one for this machine, or the lab's own does not build.
    """
    given = environment.get("ZEROTIER_PACKAGE")
    package = lab.state / "zerotier-one.deb"
    if given:
        version = _validate(Path(given))
        _copy(Path(given), package)
        return _choice("package", package, f"the real ZeroTier {version} from the package that ZEROTIER_PACKAGE names")
    if kept and kept["kind"] == "package" and package.exists():
        return kept
    if (kept and kept["kind"] == "repository") or (not kept and repository_answers(lab.suite)):
        return _choice(
            "repository", None, f"the real ZeroTier from its official repository, {REPOSITORY}, which answers"
        )
    _build_own(package)
    return _choice(
        "lab",
        package,
        f"the lab's own ZeroTier, because no ZEROTIER_PACKAGE was given and {REPOSITORY} did not answer "
        f"within {REPOSITORY_TIMEOUT_S:.0f} s when the lab was made",
    )


def _choice(kind: str, package: Path | None, explanation: str) -> Choice:
    return {"kind": kind, "package": str(package) if package else None, "explanation": explanation}


def repository_answers(suite: str) -> bool:
    request = urllib.request.Request(f"{REPOSITORY}/debian/{suite}/dists/{suite}/Release", method="HEAD")  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=REPOSITORY_TIMEOUT_S) as answer:  # noqa: S310
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def _validate(path: Path) -> str:
    if not path.is_file():
        raise LabError(f"ZEROTIER_PACKAGE={path}: there is no such file")
    fields = {}
    for field in ("Package", "Version", "Architecture"):
        done = subprocess.run(
            ["dpkg-deb", "--field", str(path), field], capture_output=True, text=True, timeout=30, check=False
        )
        if done.returncode:
            raise LabError(f"ZEROTIER_PACKAGE={path}: not a Debian package ({done.stderr.strip().splitlines()[-1]})")
        fields[field] = done.stdout.strip()
    if fields["Package"] != "zerotier-one":
        raise LabError(f"ZEROTIER_PACKAGE={path}: holds the package {fields['Package']!r}, not zerotier-one")
    ours = subprocess.run(
        ["dpkg", "--print-architecture"], capture_output=True, text=True, timeout=30, check=True
    ).stdout.strip()
    if fields["Architecture"] not in (ours, "all"):
        raise LabError(f"ZEROTIER_PACKAGE={path}: built for {fields['Architecture']}, this machine is {ours}")
    return fields["Version"]


def _copy(source: Path, target: Path) -> None:
    if target.exists() and _digest(source) == _digest(target):
        return
    temporary = target.with_suffix(".new")
    shutil.copyfile(source, temporary)
    temporary.replace(target)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def sources() -> list[Path]:
    """Every file that the package of lab.zerotier is made from."""
    package = (path for path in BUILDER.parent.iterdir() if path.is_file() and path.name != "choice.py")
    return sorted([*package, *PROGRAM.glob("*.py"), RULES])


def fingerprint_of(files: list[Path]) -> str:
    """A hash of names and contents."""
    root = BUILDER.parents[2]
    return hashlib.sha256(
        b"\0".join(str(path.relative_to(root)).encode() + b"\0" + path.read_bytes() for path in files)
    ).hexdigest()


def _build_own(target: Path) -> None:
    """Build the package of lab.zerotier unless it was built from these very sources before."""
    fingerprint = fingerprint_of(sources())
    stamp = target.with_suffix(".sources")
    if target.exists() and stamp.exists() and stamp.read_text() == fingerprint:
        return
    with step("building the lab's ZeroTier"):
        done = subprocess.run(
            [sys.executable, str(BUILDER), "--output", str(target)],
            capture_output=True,
            text=True,
            timeout=300,
            env=os.environ,
            check=False,
        )
    if done.returncode or not target.exists():
        reason = (done.stderr.strip().splitlines() or ["no package was written"])[-1]
        raise LabError(f"{BUILDER.relative_to(BUILDER.parents[2])} failed: {reason}")
    stamp.write_text(fingerprint)
