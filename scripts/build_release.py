#!/usr/bin/env python3
"""Build a release of the application: one archive per target with everything but Python itself.

The archive holds the application and its locked dependencies as importable folders, so that a host needs no package
installer, no compiler and no package index: it unpacks and runs. The release id is a digest of what goes in (sources,
lock, target), so the same inputs give the same id and nothing is built twice.

Archives go to dist/ of this clone, or to the user's cache where the clone is read-only.

Prints one JSON line: {"changed", "release_id", "target", "archive"}.
"""

import argparse
import gzip
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCES = ROOT / "app" / "src" / "parkmesh"
# Raise it when this script changes what an archive looks like: the id must change with it.
LAYOUT = "1"
LAUNCHER = """#!/bin/sh
# Runs the release this file lies in with the system's Python; -P keeps the caller's folder off the import path.
here=$(dirname -- "$(readlink -f -- "$0")")
PYTHONPATH="$here/../lib" exec /usr/bin/python3 -P -m parkmesh "$@"
"""


def source_files() -> list[Path]:
    """The application's files in a stable order, without what Python leaves beside them."""
    return sorted(p for p in SOURCES.rglob("*") if p.is_file() and "__pycache__" not in p.parts)


def release_id(lock: Path, target: str, python: str, arch: str) -> str:
    """12 hex digits that change whenever the archive's content would."""
    digest = hashlib.sha256(f"{LAYOUT}\0{target}\0{python}\0{arch}\0{LAUNCHER}\0".encode())
    digest.update(lock.read_bytes())
    for path in source_files():
        digest.update(f"\0{path.relative_to(SOURCES)}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def install_dependencies(lock: Path, into: Path, python: str, arch: str) -> None:
    """Unpack the locked wheels for the target's Python and architecture; fails if one exists only as source."""
    uv = Path(sys.executable).with_name("uv")
    command = [str(uv) if uv.exists() else "uv", "pip", "install", "--quiet", "--require-hashes", "--no-deps"]
    command += ["--only-binary", ":all:", "--python-version", python, "--python-platform", f"{arch}-manylinux_2_28"]
    command += ["--python", sys.executable, "--target", str(into), "--requirement", str(lock)]
    # A network with a certificate authority of its own tells the system about it, not uv.
    environment = {**os.environ, "UV_SYSTEM_CERTS": "1"}
    result = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    if result.returncode:
        sys.exit(f"build_release: the dependencies in {lock} could not be installed:\n{result.stderr.strip()}")


def pack(tree: Path, archive: Path) -> None:
    """Write ``tree`` as a .tar.gz whose bytes depend on the files alone: no times, no owners, a fixed order."""

    def plain(info: tarfile.TarInfo) -> tarfile.TarInfo:
        info.uid = info.gid = 0
        info.uname = info.gname = "root"
        info.mtime = 0
        info.mode = 0o755 if info.isdir() or info.mode & 0o100 else 0o644
        return info

    partial = archive.with_suffix(f".{os.getpid()}.part")
    with (
        partial.open("wb") as raw,
        gzip.GzipFile(fileobj=raw, mode="wb", compresslevel=3, mtime=0, filename="") as zipped,
        tarfile.open(fileobj=zipped, mode="w") as tar,
    ):
        for path in sorted(tree.rglob("*")):
            tar.add(path, arcname=str(path.relative_to(tree)), recursive=False, filter=plain)
    partial.replace(archive)


def writable(folder: Path) -> bool:
    """Whether a folder may be written, or made."""
    there = next(each for each in (folder, *folder.parents) if each.exists())
    return os.access(there, os.W_OK)


def build(target: str, python: str, arch: str, folders: Sequence[Path]) -> dict[str, object]:
    """Build the archive, in the first of the folders that may be written, if none has it; return what is printed."""
    lock = ROOT / "requirements" / f"app-{target}.txt"
    identifier = release_id(lock, target, python, arch)
    name = f"parkmesh-{target}-{identifier}.tar.gz"
    output = next((each for each in folders if (each / name).exists()), None)
    if output is not None:
        return {"changed": False, "release_id": identifier, "target": target, "archive": str(output / name)}
    output = next((each for each in folders if writable(each)), None)
    if output is None:
        sys.exit(f"build_release: {' and '.join(map(str, folders))} can't be written")
    output.mkdir(parents=True, exist_ok=True)
    archive = output / name
    with tempfile.TemporaryDirectory(prefix="release-", dir=output) as scratch:
        tree = Path(scratch)
        install_dependencies(lock, tree / "lib", python, arch)
        # Console scripts name the Python they were installed with; the launcher below is the only command.
        shutil.rmtree(tree / "lib" / "bin", ignore_errors=True)
        (tree / "lib" / ".lock").unlink(missing_ok=True)
        shutil.copytree(SOURCES, tree / "lib" / "parkmesh", ignore=shutil.ignore_patterns("__pycache__"))
        launcher = tree / "bin" / "parkmesh"
        launcher.parent.mkdir()
        launcher.write_text(LAUNCHER)
        launcher.chmod(0o755)
        pack(tree, archive)
    return {"changed": True, "release_id": identifier, "target": target, "archive": str(archive)}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--target", required=True, choices=["server", "gateway"])
    parser.add_argument("--python", required=True, help="the target's Python: 3.13 (Debian 13), 3.11 (Debian 12)")
    parser.add_argument("--arch", default="x86_64", choices=["x86_64", "aarch64"])
    parser.add_argument("--output", type=Path, help="a folder; dist/, or the user's cache where that can't be written")
    options = parser.parse_args()
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "parkmesh" / "releases"
    folders = [options.output] if options.output else [ROOT / "dist", cache]
    print(json.dumps(build(options.target, options.python, options.arch, folders)))


if __name__ == "__main__":
    main()
