"""The first page of the spool's file, kept once more beside it.

It names the format and the page at which each table begins (sqlite.org/fileformat2.html, section 1.3): without it
SQLite finds no record, though all of them are there. It changes only with the schema, and so is written down once for
each release that adds a table.
"""

import logging
import os
from contextlib import suppress
from pathlib import Path

from parkmesh.gateway import second_copy

log = logging.getLogger("parkmesh.gateway")

_PAGE = 4096
_MAGIC = b"SQLite format 3\0"
_PAGE_SIZE, _SIZE, _FREE = slice(16, 18), slice(28, 32), slice(32, 40)
_CHANGING = (slice(24, 40), slice(92, 100))
"""What each transaction may change: counters, the file's size, its free pages, the version of SQLite."""


class FirstPage:
    """The first page of the file ``spool``, and its copy.

    Whoever closes any handle of that file lets go of all locks that their process has on it (POSIX), SQLite's too. So
    the one by which the page was read stays open until ``close``, which is for when SQLite has closed the file.
    """

    def __init__(self, spool: Path) -> None:
        self._spool, self.copy = spool, spool.with_name(spool.name + ".first-page")
        self._file: int | None = None

    def keep(self) -> None:
        """Write the page down, unless it is already. The file must be sound, and its log empty."""
        try:
            self._file = os.open(self._spool, os.O_RDONLY | os.O_CLOEXEC)
            page = os.pread(self._file, _PAGE, 0)
            if not page.startswith(_MAGIC) or page[_PAGE_SIZE] != _PAGE.to_bytes(2):
                return
            held = second_copy.read(self.copy)
            if held is None or _with_changing_of(page, held) != page:
                # A copy that a power cut takes is written at the next start.
                second_copy.write(self.copy, page, durable=False)
        except OSError:
            # One of an earlier schema would hide what was added since.
            with suppress(OSError):
                self.copy.unlink(missing_ok=True)

    def put_back(self, *, closed: bool) -> bool:
        """Put the copy in the place of a page that isn't the one that was kept; False where that can't help. SQLite
        must not have the file open. ``closed``: it closed the file itself, and no log was left."""
        held = second_copy.read(self.copy)
        if held is None or len(held) != _PAGE:
            return False
        try:
            with self._spool.open("r+b", buffering=0) as file:
                found, size = file.read(_PAGE), self._spool.stat().st_size
                if len(found) < _PAGE:
                    return False
                mended = bytearray(_with_changing_of(found, held))
                if mended == found and not closed:
                    # The damage is in the log. Another size would hide that a checkpoint brought only a part of it.
                    return False
                mended[_SIZE] = (size // _PAGE).to_bytes(4)
                if not found.startswith(_MAGIC):
                    # Nothing of it is true, and where the free pages are only it tells: the file is sound without any.
                    mended[_FREE] = bytes(8)
                if mended == found:
                    return False
                os.pwrite(file.fileno(), mended, 0)
                os.fsync(file.fileno())
        except OSError:
            return False
        log.error("%s: its first page was damaged, and is put back as it was", self._spool)
        return True

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _with_changing_of(found: bytes, held: bytes) -> bytes:
    page = bytearray(held)
    for part in _CHANGING:
        page[part] = found[part]
    return bytes(page)
