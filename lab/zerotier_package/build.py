"""Build the Debian package of the lab's own zerotier-one 1.14.1 (recorded answers of a real one, official OpenAPI).

`python -m lab.zerotier_package.build --output DIRECTORY-or-FILE.deb` prints the path of the package. The same sources
give the same bytes. Needs dpkg-deb.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

VERSION = "1.14.1+parkmesh.lab"
FILE_NAME = f"zerotier-one_{VERSION}_all.deb"
LIBRARY = "usr/lib/parkmesh-lab"
PROGRAMS = {"zerotier-one": "daemon", "zerotier-cli": "cli", "zerotier-idtool": "idtool"}
# A fixed time for all files: nothing in the package may depend on when it was built.
EPOCH = 1735689600

_HERE = Path(__file__).resolve().parent
_PROGRAM = _HERE.parent / "zerotier"
_RULES = _HERE.parents[1] / "module_utils" / "zerotier_rules.py"


class BuildError(Exception):
    """The package can't be built; the message says why."""


def _write(path: Path, text: str, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(mode)


def _fill(root: Path) -> None:
    """Lay out the package's files under ``root``."""
    library = root / LIBRARY
    for source in sorted(_PROGRAM.glob("*.py")):
        _write(library / "lab/zerotier" / source.name, source.read_text())
    _write(library / "module_utils" / "zerotier_rules.py", _RULES.read_text())
    launcher = (_HERE / "launcher.py.in").read_text()
    home = root / "var/lib/zerotier-one"
    home.mkdir(parents=True)
    for program, module in PROGRAMS.items():
        text = launcher.replace("@PROGRAM@", program).replace("@MODULE@", module)
        _write(root / "usr/sbin" / program, text, 0o755)
        (home / program).symlink_to(f"/usr/sbin/{program}")
    unit = (_HERE / "zerotier-one.service").read_text()
    _write(root / "usr/lib/systemd/system/zerotier-one.service", unit)
    _write(root / "DEBIAN/control", (_HERE / "control").read_text().replace("@VERSION@", VERSION))
    for script in ("postinst", "prerm", "postrm"):
        _write(root / "DEBIAN" / script, (_HERE / script).read_text(), 0o755)


def _freeze(root: Path) -> None:
    """Give every file and folder the same time and every folder the same mode."""
    for path in sorted(root.rglob("*"), reverse=True):
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o755)
        os.utime(path, (EPOCH, EPOCH), follow_symlinks=False)
    root.chmod(0o755)
    os.utime(root, (EPOCH, EPOCH))


def build(output: Path) -> Path:
    """Build into a folder (under the usual name) or a file ending in .deb; gives the package's path.

    Raises BuildError when dpkg-deb is missing or fails, or the project's rule evaluator isn't where it should be.
    """
    target = output if output.suffix == ".deb" else output / FILE_NAME
    if shutil.which("dpkg-deb") is None:
        raise BuildError("dpkg-deb is missing: install the Debian package dpkg")
    if not _RULES.is_file():
        raise BuildError(f"{_RULES} is missing: the lab's data plane evaluates rules with it")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="zerotier-package-") as temporary:
        root = Path(temporary) / "root"
        root.mkdir()
        _fill(root)
        _freeze(root)
        built = Path(temporary) / FILE_NAME
        done = subprocess.run(
            ["dpkg-deb", "--root-owner-group", "-Zgzip", "-z9", "--build", str(root), str(built)],
            env={**os.environ, "SOURCE_DATE_EPOCH": str(EPOCH)},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise BuildError(f"dpkg-deb failed: {done.stderr.strip()}")
        # Replaced in one step: another run may be installing the package that is there.
        staged = target.with_name(f".{target.name}.{os.getpid()}")
        shutil.copyfile(built, staged)
        staged.replace(target)
    return target


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Build the Debian package of the lab's ZeroTier.")
    parser.add_argument("--output", type=Path, required=True, help="a folder, or a file ending in .deb")
    options = parser.parse_args(arguments)
    try:
        print(build(options.output))
    except (BuildError, OSError) as error:
        print(f"lab.zerotier_package.build: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
