"""Reads what a spool that was set aside as damaged still gives, and puts it into the spool that took its place.

SQLite reads around damage: what can't be read is a page, with the rows on it. So a table is read by ranges of its ids,
and a range in which something can't be read is halved until what is left of it is single rows. That is how
``.recover`` of SQLite's shell gets at a table's rows, but without pages that belong to no table any more: they hold
records that were sent long ago.

First, at once and in one transaction, comes what a gateway works with: messages that aren't decided, records that have
a number, states. Those records keep epoch and numbers, so that a server which has them takes none twice. What waits for
a number follows in pieces beside the gateway's work, with its ids, so that it keeps its order and doesn't double if a
crash makes it come again. Until all of it is there nothing is numbered. Then what is missing is told by a gap.

A file is called ``<spool>.salvage-<ms>`` until then, ``<spool>.corrupt-<ms>`` after.
"""

import logging
import sqlite3
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
from msgspec import Struct

from parkmesh.gateway import spool_marks
from parkmesh.gateway.spool_marks import Marks
from parkmesh.gateway.spool_schema import ADD_GAP, BODY, readable
from parkmesh.protocol.edge import GAP_SPOOL, GAP_SPOOL_LOST, MAX_BATCH, Gap, Times

log = logging.getLogger("parkmesh.gateway")

PIECE = 500
MOST_FAILURES, MOST_IN_A_ROW = 20_000, 2_000
"""Reads that may fail, in all and without one between that doesn't: then the rest of a table is left."""
WITHIN_S = 60.0
"""Seconds that reading may take in all: a disk that fails can take one for each read."""
MOST_TRIES = 4
"""Starts of a gateway after which a file is left alone."""
TOLD = "loss_told"
"""The state with the marks up to which a loss has been told."""

_KNOWN_AT_ONCE = 2_000
_BELOW, _ABOVE = -1_000_000, 1_000_000
"""Ids below 1 have records that were put before all others; above the marks' last may be what came within a minute."""
_STATE = "salvage/"
_NO_TABLE = frozenset({sqlite3.SQLITE_ERROR, sqlite3.SQLITE_NOTADB})
"""What SQLite says where there is no such table or column, or no database."""
_ANEW = frozenset({"rules", "list_check"})
"""States that belong to the access list, which has a copy of its own."""


class Begun(Struct, frozen=True):
    """What is known of a file that is being salvaged.

    ``exact``: the marks were as new as the file; ``cut``: its log had lost its end. ``records`` and ``messages`` are
    those that were brought over at once, from tables that were ``whole``. ``held``: messages aren't lost with the file,
    because the gateway had them in memory. ``tries``: starts since; ``done``: nothing more is taken of it.
    """

    marks: Marks | None
    exact: bool
    cut: bool
    records: int = 0
    messages: int = 0
    whole: bool = False
    held: bool = False
    tries: int = 0
    done: bool = False


class Walk:
    """The rows of a table by their ids, however its pages are damaged. ``damaged`` tells whether there may be more."""

    def __init__(self, db: sqlite3.Connection, query: str, first: int, last: int) -> None:
        self._db, self._query = db, query
        self._ranges = deque([(first, last)])
        self._failures = self._in_a_row = 0
        self.damaged = False

    def piece(self, size: int = PIECE) -> list[tuple[Any, ...]] | None:
        """Return up to ``size`` rows more, with their id first; None at the end. They rise within a piece only."""
        while self._ranges:
            first, last = self._ranges.popleft()
            rows, failed = self._read(first, last, size)
            following = rows[-1][0] + 1 if rows else first
            self._in_a_row = self._in_a_row + 1 if failed and not rows else 0
            if failed:
                self._failures += 1
                if self._failures > MOST_FAILURES or self._in_a_row > MOST_IN_A_ROW:
                    self.give_up()
                    self.damaged = True
                elif first == last:
                    self.damaged = True
                elif following <= last:
                    # The larger ranges first: of a table in pieces, most is found before the patience ends.
                    middle = (following + last) // 2
                    halves = ((following, middle), (middle + 1, last))
                    self._ranges.extend((low, high) for low, high in halves if low <= high)
            elif len(rows) == size and following <= last:
                self._ranges.appendleft((following, last))
            if rows:
                return rows
        return None

    def give_up(self) -> None:
        """Leave what hasn't been read."""
        self.damaged = self.damaged or bool(self._ranges)
        self._ranges.clear()

    def _read(self, first: int, last: int, size: int) -> tuple[list[tuple[Any, ...]], bool]:
        rows: list[tuple[Any, ...]] = []
        # A single row is looked up by its id: a range would look at the next one, too.
        where, values = (
            ("= ?", (first,)) if first == last else ("BETWEEN ? AND ? ORDER BY 1 LIMIT ?", (first, last, size))
        )
        try:
            for row in self._db.execute(f"{self._query} {where}", values):
                if not isinstance(row[0], int) or not (rows[-1][0] + 1 if rows else first) <= row[0] <= last:
                    return rows, True  # a page that belongs elsewhere
                rows.append(row)
        except (sqlite3.Error, UnicodeDecodeError, OverflowError) as error:
            if getattr(error, "sqlite_errorcode", None) in _NO_TABLE:
                self.damaged = True
                self._ranges.clear()
                return rows, False
            return rows, True
        return rows, False


def numbered(db: sqlite3.Connection) -> Walk:
    return Walk(db, f"SELECT seq, {BODY} FROM numbered WHERE seq", 1, 2**62)  # noqa: S608 -- constants, as below


def messages(db: sqlite3.Connection) -> Walk:
    return Walk(db, "SELECT id, camera, received, body, passage FROM inbox WHERE id", 1, 2**62)


def waiting(db: sqlite3.Connection, last: int) -> Walk:
    return Walk(db, f"SELECT id, lane, {BODY} FROM waiting WHERE id", _BELOW, last)  # noqa: S608


def all_of(walk: Walk, most: int) -> list[tuple[Any, ...]]:
    """Return the rows of a walk in the order of their ids, ``most`` or a piece more."""
    rows: list[tuple[Any, ...]] = []
    while len(rows) < most and (piece := walk.piece()) is not None:
        rows += piece
    walk.give_up()
    return sorted(rows, key=lambda row: int(row[0]))


def from_both_ends(db: sqlite3.Connection, table: str, columns: str, key: str) -> tuple[list[tuple[Any, ...]], bool]:
    """Return the rows of a table without ids, and whether that is all: without what lies between two damaged pages."""
    found: dict[object, tuple[Any, ...]] = {}
    for order in ("ASC", "DESC"):
        try:
            for row in db.execute(f"SELECT {columns} FROM {table} ORDER BY {key} {order}"):  # noqa: S608
                found[row[0]] = row
        except (sqlite3.Error, UnicodeDecodeError, OverflowError):
            continue
        return list(found.values()), True
    return list(found.values()), False


def opened_to_read(path: Path) -> sqlite3.Connection | None:
    """Open a spool's file that can't or mustn't be written, None where it can't be. Without a log beside it, the file
    is all there is of it."""
    wal = path.with_name(path.name + "-wal")
    try:
        whole = "" if wal.exists() and wal.stat().st_size else "&immutable=1"
        db = sqlite3.connect(
            f"file:{quote(str(path))}?mode=ro{whole}", uri=True, isolation_level=None, check_same_thread=False
        )
    except (OSError, sqlite3.Error):
        return None
    db.text_factory = readable
    with suppress(sqlite3.Error):
        db.execute("PRAGMA cell_size_check = on")
    return db


def set_aside(spool: Path, now: int) -> None:
    """Put a damaged spool's files out of the way."""
    for suffix in ("", "-wal", "-shm"):
        broken = spool.with_name(spool.name + suffix)
        if broken.exists():
            broken.rename(spool.with_name(f"{spool.name}.salvage-{now}{suffix}"))


def pending(spool: Path) -> list[Path]:
    """Return the files that were set aside and aren't done with, the oldest first."""
    found = [one for one in spool.parent.glob(f"{spool.name}.salvage-*") if one.name.rpartition("-")[2].isdigit()]
    return sorted(found, key=lambda one: int(one.name.rpartition("-")[2]))


def _state(file: Path) -> str:
    return _STATE + file.name.rpartition("-")[2]


def begun(db: sqlite3.Connection, file: Path) -> Begun | None:
    """Return what the spool ``db`` notes of a file that was set aside, None where it hasn't begun with it."""
    row = db.execute("SELECT value FROM state WHERE key = ?", (_state(file),)).fetchone()
    with suppress(msgspec.DecodeError, msgspec.ValidationError, TypeError, UnicodeDecodeError):
        return msgspec.json.decode(row[0], type=Begun)
    return None


def note(db: sqlite3.Connection, file: Path, one: Begun) -> None:
    db.execute("INSERT OR REPLACE INTO state VALUES (?, ?)", (_state(file), msgspec.json.encode(one)))


def finished(db: sqlite3.Connection, file: Path) -> None:
    """Give a file that is done with its last name."""
    name = file.name.replace(".salvage-", ".corrupt-")
    with suppress(OSError):
        for suffix in ("-wal", "-shm", ""):
            if (beside := file.with_name(file.name + suffix)).exists():
                beside.rename(file.with_name(name + suffix))
        with suppress(sqlite3.Error):
            db.execute("DELETE FROM state WHERE key = ?", (_state(file),))


def numbering(meta: dict[object, object], noted: Marks | None) -> tuple[int, int] | None:
    """Return epoch and next number of a damaged spool by its own word and the marks', None where they don't fit."""
    epoch, following = meta.get("epoch"), meta.get("next_seq")
    known = isinstance(epoch, int) and isinstance(following, int) and epoch > 0 and following > 0
    if noted is None:
        return (epoch, following) if known else None  # type: ignore[return-value]
    if isinstance(epoch, int) and epoch != noted.epoch:
        return None
    # The marks may be a minute older, and a number that a flipped bit has made large isn't one.
    newer = known and noted.next_seq <= following < noted.next_seq + _ABOVE  # type: ignore[operator]
    return noted.epoch, following if newer else noted.next_seq  # type: ignore[return-value]


def as_run(rows: list[tuple[Any, ...]], following: int) -> list[tuple[int, bytes]]:
    """Return numbered records (number, body) as one run that ends before the number ``following``; one that can't be
    read has an empty body (``Spool.batch``)."""
    bodies = {seq: body for seq, body in rows if following - 2 * MAX_BATCH <= seq < following}
    return [(seq, bodies.get(seq, b"")) for seq in range(min(bodies, default=following), following)]


def _nothing() -> sqlite3.Connection:
    return sqlite3.connect(":memory:", check_same_thread=False)


class _Source:
    """The damaged file, or nothing where SQLite can't make anything of it."""

    def __init__(self, file: Path) -> None:
        self.db = opened_to_read(file) or _nothing()
        try:
            self.db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except (sqlite3.Error, UnicodeDecodeError):
            self.db.close()
            self.db = _nothing()

    def both_ends(self, table: str, columns: str, key: str) -> tuple[list[tuple[Any, ...]], bool]:
        return from_both_ends(self.db, table, columns, key)

    def is_sound(self, *tables: str) -> bool:
        """Tell whether tables are whole. Rows of a damaged one can be missing without a word."""
        try:
            return all(
                self.db.execute(f"PRAGMA quick_check('{table}')").fetchone()[0] == "ok"  # constants
                for table in tables
            )
        except sqlite3.Error:
            return False

    def close(self) -> None:
        with suppress(sqlite3.Error):
            self.db.close()


def begin(db: sqlite3.Connection, file: Path, one: Begun, *, newest: bool = True) -> None:
    """Bring over what the gateway works with, within a transaction of the new spool ``db``. ``one`` says of the file
    what is known before. ``newest``: it is the spool that was in use until now; of an older one only what waits is
    still of any use.
    """
    source = _Source(file)
    try:
        noted = one.marks
        if newest:
            one = _begin(db, source, one)
            if noted is not None:
                db.execute("INSERT OR REPLACE INTO state VALUES (?, ?)", (TOLD, msgspec.json.encode(noted)))
        records, reads = _last_ids(source)
        margin = 0 if one.exact else _ABOVE
        spool_marks.go_on_above(
            db,
            max(noted.records if noted else 0, records) + margin,
            max(noted.messages if noted else 0, reads) + margin,
        )
        note(db, file, one)
    finally:
        source.close()


def _last_ids(source: _Source) -> tuple[int, int]:
    rows, _ = source.both_ends("sqlite_sequence", "name, seq", "rowid")
    last = {name: seq for name, seq in rows if isinstance(seq, int) and 0 <= seq < 2**61}
    return last.get("waiting", 0), last.get("inbox", 0)


def _begin(db: sqlite3.Connection, source: _Source, one: Begun) -> Begun:
    meta, _ = source.both_ends("meta", "key, value", "key")
    states, _ = source.both_ends("state", "key, value", "key")
    places, _ = source.both_ends("presence", "plate, inside, at", "plate")
    gaps, gaps_whole = source.both_ends("gaps", "kind, dropped, since", "kind")
    inbox, records = messages(source.db), numbered(source.db)
    reads, sent = all_of(inbox, 10_000), all_of(records, 4 * MAX_BATCH)
    db.executemany(
        "INSERT OR REPLACE INTO state VALUES (?, ?)",
        [(key, value) for key, value in states if key not in _ANEW and isinstance(value, bytes)],
    )
    db.executemany(
        "INSERT OR REPLACE INTO presence VALUES (?, ?, ?)",
        [row for row in places if isinstance(row[0], str) and row[1] in (0, 1) and isinstance(row[2], int)],
    )
    db.executemany(ADD_GAP, [row for row in gaps if isinstance(row[1], int) and 0 < row[1] < 2**31])
    if not one.held:
        db.executemany(
            "INSERT OR IGNORE INTO inbox (id, camera, received, body, passage) VALUES (?, ?, ?, ?, ?)",
            [row for row in reads if isinstance(row[1], str) and row[2] is not None and row[3] is not None],
        )
    dropped = dict(meta).get("dropped")
    if isinstance(dropped, int) and dropped > 0:
        db.execute("UPDATE meta SET value = ? WHERE key = 'dropped'", (dropped,))
    numbers = numbering(dict(meta), one.marks)
    run = as_run(sent, numbers[1]) if numbers is not None else []
    if run and numbers is not None:
        db.executemany("INSERT INTO numbered VALUES (?, ?)", run)
        db.execute("UPDATE meta SET value = ? WHERE key = 'epoch'", (numbers[0],))
        db.execute("UPDATE meta SET value = ? WHERE key = 'next_seq'", (numbers[1],))
    else:
        # What the server has isn't known any more: what had a number goes into a new epoch, before all that waits.
        db.executemany(
            "INSERT INTO waiting (id, lane, body) VALUES (?, 0, ?)",
            [(place - len(sent), body) for place, (_, body) in enumerate(sent)],
        )
    whole = gaps_whole and not inbox.damaged and not records.damaged and source.is_sound("inbox", "numbered", "gaps")
    return msgspec.structs.replace(one, records=len(run or sent), messages=len(reads), whole=whole)


class Salvage:
    """What is still to be taken of one file. ``read`` takes its time and touches no spool; ``write`` is a part of a
    transaction of the spool."""

    def __init__(self, file: Path, one: Begun, last: int, clock: Callable[[], float] = time.monotonic) -> None:
        """``last`` is the highest id that a waiting record of the file can have."""
        self.file, self._begun, self._clock = file, one, clock
        self._source = _Source(file)
        self._waiting = waiting(self._source.db, last)
        self._known: list[tuple[Any, ...]] | None = None
        self._read: tuple[str, list[tuple[Any, ...]]] | None = None
        self._left_s = WITHIN_S
        self._found = 0
        if one.tries >= MOST_TRIES:
            self._known = []
            self._waiting.give_up()

    def read(self) -> bool:
        """Read a piece, unless one is read already; False at the end."""
        began = self._clock()
        if self._read is None:
            self._read = self._piece()
        self._left_s -= self._clock() - began
        if self._left_s < 0:
            self._waiting.give_up()
        return self._read is not None

    def _piece(self) -> tuple[str, list[tuple[Any, ...]]] | None:
        if self._known is None:
            # Before the records: a camera that sends something again mustn't make a record of it.
            self._known, _ = self._source.both_ends("known", "key, at", "key")
        if self._known:
            piece, self._known = self._known[:_KNOWN_AT_ONCE], self._known[_KNOWN_AT_ONCE:]
            return "known", [row for row in piece if isinstance(row[0], str) and isinstance(row[1], int)]
        rows = self._waiting.piece()
        return None if rows is None else ("waiting", rows)

    def write(self, db: sqlite3.Connection) -> list[bytes]:
        """Put what was read into the spool; return the records that are new there. ``written`` follows the commit."""
        assert self._read is not None
        table, rows = self._read
        if table == "known":
            db.executemany("INSERT OR IGNORE INTO known VALUES (?, ?)", rows)
            return []
        return [body for i, lane, body in rows if _add(db, i, lane if lane in (0, 1) else 0, body)]

    def written(self) -> None:
        if self._read is not None and self._read[0] == "waiting":
            self._found += len(self._read[1])
        self._read = None

    def lost(self) -> int | None:
        """Return how many records and messages are missing at most, None where nobody knows."""
        one, marks = self._begun, self._begun.marks
        if marks is None:
            return None
        missing = max(0, marks.backlog - one.records - self._found)
        missing += 0 if one.held else max(0, marks.undecided - one.messages)
        if one.exact:
            return missing
        if one.whole and not one.cut and not self._waiting.damaged and self._source.is_sound("waiting"):
            return 0  # the marks were older, and what they had waiting was sent since
        return missing or None

    def finish(self, db: sqlite3.Connection, now: int) -> int | None:
        """Tell what is missing by a gap, within a transaction; return how much that is at most."""
        lost = self.lost()
        if lost is None:
            db.execute(ADD_GAP, (GAP_SPOOL, 1, now))
        elif lost:
            gap = msgspec.json.encode(Gap(1, Times(now), GAP_SPOOL_LOST, lost))
            db.execute("INSERT INTO waiting (lane, body) VALUES (0, ?)", (gap,))
        note(db, self.file, msgspec.structs.replace(self._begun, done=True))
        return lost

    def close(self) -> None:
        self._source.close()


def _add(db: sqlite3.Connection, i: int, lane: int, body: bytes) -> bool:
    """Add a waiting record, unless it is there already."""
    if db.execute("INSERT OR IGNORE INTO waiting (id, lane, body) VALUES (?, ?, ?)", (i, lane, body)).rowcount == 1:
        return True
    if db.execute("SELECT body FROM waiting WHERE id = ?", (i,)).fetchone() == (body,):
        return False
    db.execute("INSERT INTO waiting (lane, body) VALUES (?, ?)", (lane, body))
    return True
