"""Where the spool's log ends: SQLite's write-ahead log, of which it takes what it can read for all there ever was.

Formats: sqlite.org/walformat.html, "The WAL-Index Header".
"""

import os
import struct
from contextlib import suppress
from pathlib import Path

from msgspec import Struct

_INDEX = struct.Struct("=16xI12xQ8x")
"""mxFrame, and aSalt as one number, in the byte order of this machine."""


class LogEnd(Struct, frozen=True):
    """``log`` is what SQLite calls a log's salts: another number whenever it begins the log anew, 0 where the log can't
    be read. ``frames`` are the pages up to the last commit."""

    log: int = 0
    frames: int = 0

    def has_lost_its_end(self, noted: "LogEnd") -> bool:
        """Tell whether a log that isn't empty once had more that was kept. Each commit was flushed before it was noted,
        so neither a crash nor a power cut does this, only damage."""
        return noted.frames > 0 and (not self.log or (self.log == noted.log and self.frames < noted.frames))


def size(spool: Path) -> int:
    """Return the size of a spool's log in bytes, 0 where there is none."""
    with suppress(OSError):
        return spool.with_name(spool.name + "-wal").stat().st_size
    return 0


class LogIndex:
    """Reads where the log of an open spool ends, in the file that SQLite keeps for that beside it.

    Whoever closes any handle of this file lets go of all locks that their process has on it (POSIX), SQLite's too. So
    this one is closed after the spool is, and before it is opened again.
    """

    def __init__(self, spool: Path) -> None:
        self._file: int | None = None
        with suppress(OSError):
            self._file = os.open(spool.with_name(spool.name + "-shm"), os.O_RDONLY | os.O_CLOEXEC)

    def end(self) -> LogEnd | None:
        """Return the end of the log, None where nothing tells it."""
        if self._file is not None:
            with suppress(OSError, struct.error):
                frames, log = _INDEX.unpack(os.pread(self._file, _INDEX.size, 0))
                return LogEnd(log, frames)
        return None

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None
