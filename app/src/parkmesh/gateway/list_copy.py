"""A second copy of the access list, in a file of its own beside the spool.

A gate decides by it where the spool's own list is damaged, or the spool can't be opened, until a server has sent the
list anew.
"""

from pathlib import Path

import msgspec

from parkmesh.gateway import second_copy
from parkmesh.protocol.edge import AccessList


def write(path: Path, held: AccessList) -> None:
    """Put a full list in the place of the copy, as a whole or not at all. Raises OSError where it can't be written."""
    second_copy.write(path, msgspec.json.encode(held))


def read(path: Path) -> AccessList | None:
    """Return the copy, None where there is none that is whole and that this release understands."""
    body = second_copy.read(path)
    if body is None:
        return None
    try:
        return msgspec.json.decode(body, type=AccessList)
    except ValueError:
        return None
