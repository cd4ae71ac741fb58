"""A file that holds room on the disk beside the spool: freed when the disk is full, so that the gate goes on."""

import os
from contextlib import suppress
from pathlib import Path

BYTES = 8 * 1024 * 1024
"""Room for about 10,000 passages."""
_SPARE = 4
"""So many times the reserve must be free before it is taken (again)."""


class Reserve:
    """The reserve file ``path``. Nothing of it fails: without it a full disk is only full earlier."""

    def __init__(self, path: Path, size: int = BYTES) -> None:
        self._path, self._size = path, size

    def free(self) -> bool:
        """Give the room back to the disk; False if there was none."""
        try:
            self._path.unlink()
        except OSError:
            return False
        return True

    def take(self) -> None:
        """Hold the room if the disk has plenty of it."""
        with suppress(OSError):
            if self._path.exists():
                return
            disk = os.statvfs(self._path.parent)
            if disk.f_bavail * disk.f_frsize < _SPARE * self._size:
                return
            with self._path.open("wb") as file:
                try:
                    os.posix_fallocate(file.fileno(), 0, self._size)
                except OSError:
                    self._path.unlink(missing_ok=True)
