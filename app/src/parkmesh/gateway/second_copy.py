"""A second copy of a part of the spool, in a small file of its own beside it.

The file's first line is the SHA-256 of what follows: a copy that isn't whole is none.
"""

import hashlib
import os
from pathlib import Path


def write(path: Path, body: bytes, *, durable: bool = True) -> None:
    """Put ``body`` in the place of the copy, as a whole or not at all, and wait until the disk has it if it must be
    ``durable``. Raises OSError where it can't be written."""
    fresh = path.with_name(path.name + ".new")
    try:
        with fresh.open("wb") as file:
            file.write(hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        fresh.replace(path)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise
    if not durable:
        return
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def read(path: Path) -> bytes | None:
    """Return what was written, None where there is nothing that is whole."""
    try:
        digest, _, body = path.read_bytes().partition(b"\n")
    except OSError:
        return None
    return body if digest == hashlib.sha256(body).hexdigest().encode() else None
