"""A second copy of the access list, in a file of its own beside the spool.

A gate decides by it where the spool's own list is damaged, or the spool can't be opened, until a server has sent the
list anew. The file's first line is the SHA-256 of what follows: a copy that isn't whole is none.
"""

import hashlib
import os
from pathlib import Path

import msgspec

from parkmesh.protocol.edge import AccessList


def write(path: Path, held: AccessList) -> None:
    """Put a full list in the place of the copy, as a whole or not at all. Raises OSError where it can't be written."""
    body = msgspec.json.encode(held)
    fresh = path.with_name(path.name + ".new")
    try:
        with fresh.open("wb") as file:
            file.write(hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def read(path: Path) -> AccessList | None:
    """Return the copy, None where there is none that is whole and that this release understands."""
    try:
        digest, _, body = path.read_bytes().partition(b"\n")
    except OSError:
        return None
    if digest != hashlib.sha256(body).hexdigest().encode():
        return None
    try:
        return msgspec.json.decode(body, type=AccessList)
    except ValueError:
        return None
