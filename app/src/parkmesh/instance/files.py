"""Writing files whole, with their mode and owner from the first moment, so that no reader sees half a secret."""

import os
import re
import tempfile
from pathlib import Path

_PLAIN = re.compile(r"^[A-Za-z0-9_@%+=:,./-]*$")


def write(path: Path, content: bytes, *, mode: int, uid: int = -1, gid: int = -1) -> None:
    """Replace ``path`` atomically and durably. ``uid`` and ``gid`` of -1 keep the process's own."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # created 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchown(descriptor, uid, gid)
            os.fchmod(descriptor, mode)
            file.write(content)
            file.flush()
            os.fsync(descriptor)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def make_directory(path: Path, *, mode: int, uid: int = -1, gid: int = -1) -> None:
    """Make a directory with its mode and owner; one that is there keeps its owner and gets the mode."""
    new = not path.is_dir()
    path.mkdir(parents=True, exist_ok=True, mode=mode)
    path.chmod(mode)
    if new:
        os.chown(path, uid, gid)


def environment(values: dict[str, str]) -> bytes:
    """Return a systemd EnvironmentFile; raise ValueError (without the value) for what can't be in one."""
    lines = []
    for key, value in values.items():
        if any(not char.isprintable() for char in value):
            raise ValueError(f"{key} holds a control character")
        if not _PLAIN.match(value):
            value = '"' + re.sub(r'([\\"$`])', r"\\\1", value) + '"'
        lines.append(f"{key}={value}\n")
    return "".join(lines).encode()
