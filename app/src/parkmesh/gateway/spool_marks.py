"""The marks beside the spool: how far it had come, in a small file of its own.

SQLite takes what it can read of a damaged log for all there ever was, and a spool that is gone is simply a new one. The
marks tell that records are missing, and how many. They are written after each transaction without waiting for the disk,
so they cost no camera any time, and are never ahead of a spool that is whole. The agent brings them to the disk once a
minute where anything has changed: a power cut can take the marks' last minute, and no more.
"""

import os
import sqlite3
import struct
import zlib
from contextlib import suppress
from pathlib import Path

import msgspec
from msgspec import Struct

from parkmesh.gateway.spool_log import LogEnd

_SLOT = struct.Struct("<8sQ8Q")
_SUM = struct.Struct("<I")
_LENGTH = _SLOT.size + _SUM.size
_MAGIC = b"pmmarks2"
_TABLES = ("waiting", "inbox")


class Marks(Struct, frozen=True):
    """How far a spool has come.

    ``records`` and ``messages`` are the last ids of the records for the server and of the cameras' messages: they only
    rise, whatever is deleted. ``backlog`` are the records that no server has acknowledged, ``undecided`` the messages
    without a decision. ``end`` is that of SQLite's log.
    """

    epoch: int
    next_seq: int
    records: int
    messages: int
    backlog: int
    undecided: int
    end: LogEnd = LogEnd()

    def is_behind(self, noted: "Marks") -> bool:
        return self.records < noted.records or self.messages < noted.messages


def lost(noted: Marks, found: Marks, *, cut: bool) -> int:
    """Return how many records and messages a spool that has come as far as ``found`` misses at most.

    What had gone to the server before isn't lost: no more is than waited at the time of ``noted``. Where the log was
    ``cut`` while a part of it was already in the spool's file, the ids may be newer than the rows: then something is
    missing whatever the ids say.
    """
    records = min(noted.backlog, noted.records - found.records)
    messages = min(noted.undecided, noted.messages - found.messages)
    missing = max(0, records) + max(0, messages)
    waited = noted.backlog + noted.undecided
    if cut and waited:
        missing = max(1, missing, waited - found.backlog - found.undecided)
    return missing


def of(db: sqlite3.Connection, waiting: int, end: LogEnd | None = None) -> Marks:
    """Return how far the spool ``db`` has come; ``waiting`` is the number of records that wait for a number."""
    row = db.execute(
        "SELECT (SELECT value FROM meta WHERE key = 'epoch'), (SELECT value FROM meta WHERE key = 'next_seq'), "
        "(SELECT max(seq) FROM sqlite_sequence WHERE name = 'waiting'), "
        "(SELECT max(seq) FROM sqlite_sequence WHERE name = 'inbox'), "
        "(SELECT count(*) FROM numbered) + ?, (SELECT count(*) FROM inbox)",
        (waiting,),
    ).fetchone()
    numbers = [value if isinstance(value, int) and 0 <= value < 2**63 else 0 for value in row]
    return _marks([*numbers, end.log, end.frames] if end is not None else [*numbers, 0, 0])


def catch_up(db: sqlite3.Connection, noted: Marks) -> None:
    """Go on with ids above those that are noted, within the transaction that tells of the loss: it is told once."""
    go_on_above(db, noted.records, noted.messages)


def go_on_above(db: sqlite3.Connection, records: int, messages: int) -> None:
    """Give the next records and messages ids above these."""
    for table, last in zip(_TABLES, (records, messages), strict=True):
        db.execute("DELETE FROM sqlite_sequence WHERE name = ? AND seq < ?", (table, last))
        db.execute(
            "INSERT INTO sqlite_sequence (name, seq) SELECT ?, ? "
            "WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = ?)",
            (table, last, table),
        )


class MarksFile:
    """The file ``path``: two places, written in turn, so that a torn write leaves the one before.

    Nothing of it fails: without marks, what is lost isn't counted.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: int | None = None
        self._turn = 0
        self._last: Marks | None = None
        self._on_disk = True

    def read(self) -> Marks | None:
        """Return what was noted last, None where there is nothing or it is damaged."""
        with suppress(OSError):
            content = self._path.read_bytes()
            found = [slot for at in (0, _LENGTH) if (slot := _slot(content[at : at + _LENGTH])) is not None]
            if found:
                self._turn, self._last = max(found, key=lambda slot: slot[0])
                return self._last
        return None

    def note(self, marks: Marks) -> None:
        """Write the marks if they have changed; they reach the disk when the system likes, or with ``flush``."""
        if marks == self._last:
            return
        with suppress(OSError):
            if self._file is None:
                self._file = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o640)
            turn = self._turn + 1
            body = _SLOT.pack(_MAGIC, turn, *_fields(marks))
            os.pwrite(self._file, body + _SUM.pack(zlib.crc32(body)), turn % 2 * _LENGTH)
            self._turn, self._last, self._on_disk = turn, marks, False

    @property
    def last(self) -> Marks | None:
        """What was noted or read last."""
        return self._last

    def note_empty_log(self) -> None:
        """Note that SQLite has brought its log into the file and removed it, as it does at the end of a process."""
        if self._last is not None:
            self.note(msgspec.structs.replace(self._last, end=LogEnd()))

    def flush(self) -> None:
        """Wait until the disk has the marks, if it hasn't."""
        if self._file is not None and not self._on_disk:
            with suppress(OSError):
                self._on_disk = True  # before it is: what is noted meanwhile is for the next time
                os.fdatasync(self._file)

    def close(self) -> None:
        self.flush()
        if self._file is not None:
            os.close(self._file)
            self._file = None


def _marks(fields: list[int]) -> Marks:
    epoch, next_seq, records, messages, backlog, undecided, log, frames = fields
    return Marks(epoch, next_seq, records, messages, backlog, undecided, LogEnd(log, frames))


def _fields(marks: Marks) -> tuple[int, ...]:
    end = marks.end.log, marks.end.frames
    return marks.epoch, marks.next_seq, marks.records, marks.messages, marks.backlog, marks.undecided, *end


def _slot(content: bytes) -> tuple[int, Marks] | None:
    if len(content) != _LENGTH or _SUM.unpack(content[_SLOT.size :])[0] != zlib.crc32(content[: _SLOT.size]):
        return None
    magic, turn, *fields = _SLOT.unpack(content[: _SLOT.size])
    return (turn, _marks(fields)) if magic == _MAGIC else None
