"""The gateway's durable memory: one SQLite file that survives kill -9 and power cuts.

It holds the devices' messages that aren't decided yet (inbox), the records on their way to the server (outbox), the
access list, and small states. Everything is on disk before a method returns (WAL with synchronous=FULL). Pictures are
never stored.

A record gets its ``seq`` when it is first sent, not when it is appended: so passages overtake sensor states, and
records dropped on overflow leave no hole in the numbering but an explicit ``Gap`` record with their count. Once
numbered, a record is sent unchanged until the server has acknowledged it.
"""

import errno
import fcntl
import hashlib
import logging
import os
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import wraps
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TextIO, TypeVar

import msgspec
from msgspec import Struct

from parkmesh.domain.community_rules import GateRules
from parkmesh.gateway import list_copy, spool_log, spool_marks, spool_memory, spool_salvage
from parkmesh.gateway.reserve import Reserve
from parkmesh.gateway.spool_first_page import FirstPage
from parkmesh.gateway.spool_log import LogEnd, LogIndex
from parkmesh.gateway.spool_marks import Marks, MarksFile
from parkmesh.gateway.spool_salvage import Begun, Salvage
from parkmesh.gateway.spool_schema import ADD_GAP, BODY, SCHEMA, has_all_columns, readable
from parkmesh.protocol.edge import (
    GAP_MEMORY_LOST,
    GAP_SPOOL_END_LOST,
    GAP_SPOOL_LOST,
    GAP_SPOOL_PUT_BACK,
    AccessEntry,
    AccessList,
    Event,
    Gap,
    Passage,
    PassCodes,
    PresenceUpdate,
    SpaceState,
    Times,
)

T = TypeVar("T")
P = ParamSpec("P")
log = logging.getLogger("parkmesh.gateway")

_LANE_ACCESS, _LANE_SPACE = 0, 1
_KNOWN_KEPT_MS = 7 * 86_400_000
_QUARANTINE_ROWS, _QUARANTINE_BODY = 200, 16 * 1024
_QUARANTINE_KEPT_MS = 72 * 3_600_000
_NEVER = 2**62
"""A moment (ms) that doesn't come."""
_OUTSIDE_KEPT_MS = 30 * 86_400_000
_INBOX_ROWS = 5_000
_CODES_TOLD = "codes_told"
_NOT_KEPT = 0
"""The id of a message that even the memory had no room for; no row has it."""

_NUMBERED = f"SELECT {BODY} FROM numbered"  # noqa: S608 -- a constant, here and below
_WAITING = f"SELECT id, {BODY} FROM waiting ORDER BY lane, id LIMIT ?"  # noqa: S608
_WEIGHT = f"SELECT coalesce(sum(length({BODY})), 0), count(*) FROM waiting"  # noqa: S608
_WEIGHT_OF_EACH = f"SELECT id, length({BODY}) FROM waiting WHERE lane = ? ORDER BY id"  # noqa: S608


class SpoolError(Exception):
    """The spool can't be used or written; the message names the file and what to do. ``code`` is SQLite's (0: none)."""

    def __init__(self, text: str, code: int = 0) -> None:
        super().__init__(text)
        self.code = code


class SpoolFullError(SpoolError):
    """There is no room for the record."""


class Read(Struct, frozen=True):
    """A camera's message that isn't settled: ``passage`` is set once its barrier was about to be opened."""

    id: int
    camera: str
    received: int
    body: bytes
    passage: Passage | None = None


class HeldList(Struct, frozen=True):
    """The access list by which a gate decides, with the community's rules (None where no server has told any).

    ``whole`` is False where the spool's own list is damaged or missing: this one is the last good copy, or empty, and
    a server must send the list anew.
    """

    version: int
    epoch: int
    entries: list[AccessEntry]
    rules: GateRules | None
    whole: bool = True


class _Check(Struct, frozen=True):
    """What the stored list was when it was written. A list of another version was written by an earlier release."""

    version: int
    epoch: int
    digest: str


class Counts(Struct, frozen=True):
    """How full the spool is, in records."""

    inbox: int
    waiting: int
    numbered: int
    quarantine: int
    dropped: int

    @property
    def backlog(self) -> int:
        return self.waiting + self.numbered


def _encode(event: Event) -> bytes:
    return msgspec.json.encode(event)


def _decoded(body: object, kind: type[T]) -> T | None:
    """Return what a stored JSON text says, None where a worn or failing disk has changed it so that it is none of this
    kind any more, or where another release wrote it."""
    try:
        return msgspec.json.decode(body, type=kind) if isinstance(body, bytes) else None
    except ValueError:  # also what isn't UTF-8
        return None


_EVENTS = msgspec.json.Decoder(Event)
"""Made once: to work out a union anew costs ten times what the decoding does."""


def _event(body: object) -> Event | None:
    try:
        return _EVENTS.decode(body) if isinstance(body, bytes) else None
    except ValueError:
        return None


def _is_moment(value: object) -> bool:
    return isinstance(value, int) and value >= 0


def _list_digest(rows: list[tuple[Any, ...]], rules: bytes | None) -> str:
    return hashlib.sha256(msgspec.msgpack.encode((rows, rules))).hexdigest()


def _entries(rows: list[tuple[Any, ...]]) -> list[AccessEntry] | None:
    """Return stored rows as entries, None where one of them can't have been written so."""
    try:
        fields = AccessEntry.__struct_fields__
        return msgspec.convert([dict(zip(fields, row, strict=True)) for row in rows], type=list[AccessEntry])
    except msgspec.ValidationError:
        return None


def _corrupt(text: str) -> sqlite3.DatabaseError:
    error = sqlite3.DatabaseError(text)
    error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
    return error


def _is_sound(db: sqlite3.Connection, *, thorough: bool) -> bool:
    """Tell whether SQLite finds its file whole. A ``thorough`` look takes longer: it sees an index that isn't its
    table's any more, which only a query that uses it stumbles over. Such an index is made anew."""
    check = "PRAGMA integrity_check(1)" if thorough else "PRAGMA quick_check(1)"
    if thorough and db.execute(check).fetchone()[0] != "ok":
        db.execute("REINDEX")
    sound: bool = db.execute(check).fetchone()[0] == "ok"
    return sound


@contextmanager
def _damage_left() -> Iterator[None]:
    """Leave what the block can't do because the spool's file is damaged."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode & 0xFF not in _DAMAGED:
            raise


def _no_log() -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("the log beside it can't be opened")
    error.sqlite_errorcode = sqlite3.SQLITE_IOERR
    return error


_DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR})
"""What SQLite says at the opening of a damaged file; SQLITE_ERROR of one whose header names an unknown format."""
_DISK_FAILED = frozenset(
    {
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
    }
)
"""What SQLite says where it is the disk that can't be used."""
_CANT_WRITE = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG})


def _carried_on(method: Callable[Concatenate["Spool", P], T]) -> Callable[Concatenate["Spool", P], T]:
    """Do a spool call again where its disk failed: with the reserve's room, and then in memory."""

    @wraps(method)
    def carried_on(spool: "Spool", /, *args: P.args, **kwargs: P.kwargs) -> T:
        with spool._mutex:
            while True:
                try:
                    return method(spool, *args, **kwargs)
                except SpoolError as error:
                    if not spool._carry_on(error):
                        raise

    return carried_on


class Spool:
    """One gateway's spool. Thread-safe; a second process on the same file is refused.

    ``max_bytes`` bounds the waiting records: above it the oldest sensor states go (counted in a gap record). Passages
    are never dropped; they may exceed the bound until the disk is full.

    A disk that is full, read-only or broken stops no gate: the spool goes on in memory (``in_memory``), from its start
    or from any later call, until ``recover`` finds the disk well. ``disk_error`` says what was wrong. What comes
    meanwhile isn't durable, and must not be confirmed to who sent it. What the memory can't hold is counted in a gap.
    """

    def __init__(self, path: Path, *, now: int, max_bytes: int = 512 * 1024 * 1024) -> None:
        self.path, self.max_bytes, self._began = path, max_bytes, now
        self.list_copy = path.with_name(path.name + ".list")
        self._reserve = Reserve(path.with_name(path.name + ".reserve"))
        self._marker = path.with_name(path.name + ".in-memory")
        self._mutex = threading.RLock()
        self.disk_error: str | None = None
        self.in_memory = self._fork = self._list_damaged = self._doubted = False
        self._lost: Counter[str] = Counter()
        self._marks = MarksFile(path.with_name(path.name + ".marks"))
        self._waiting_on_disk = self._bytes = self._waiting = 0
        self._disk: sqlite3.Connection | None = None
        self._first_page = FirstPage(path)
        self._log: LogIndex | None = None
        self._log_end: LogEnd | None = None
        self._was_on_disk = False
        self._salvages: list[Salvage] = []
        self._lock_file = self._lock()
        try:
            self._disk = self._open_with_reserve(now)
        except SpoolError as error:
            if error.code not in _DISK_FAILED:
                self._let_go()
                raise
            self._doubted = error.code in _DAMAGED
            self._go_to_memory(str(error), now)
        except BaseException:
            self._let_go()
            raise
        else:
            self._db, self._was_on_disk = self._disk, True
            self._weigh()
            self._note_lost_memory(now)
            self._reserve.take()
        if not self.in_memory:
            self._catch_up_copy()
        self.epoch = self._meta("epoch")
        self._weigh()
        self._note_marks()
        self._marks.flush()  # of the log, which began anew: what was noted of the one before is no measure any more

    def _weigh(self) -> None:
        self._bytes, self._waiting = self._db.execute(_WEIGHT).fetchone()

    def _note_marks(self) -> None:
        """Note how far the spool on the disk has come. What is only in memory is told by the marker, if it is lost."""
        if not self.in_memory:
            with suppress(sqlite3.Error):
                end = self._log.end() if self._log is not None else None
                self._marks.note(spool_marks.of(self._db, self._waiting, end))

    def flush_marks(self) -> None:
        """Bring the marks to the disk, if they have changed since they were there."""
        self._marks.flush()

    # opening

    def _lock(self) -> TextIO | None:
        """Return the file whose lock keeps a second process away; None where the disk doesn't allow any."""
        path = self.path.with_name(self.path.name + ".lock")
        lock: TextIO | None = None
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
            lock = path.open("w", encoding="ascii")
        except OSError as error:
            if error.errno not in _CANT_WRITE:
                raise SpoolError(f"{path}: {error.strerror}; the gateway's user must be able to write there") from None
            with suppress(OSError):
                lock = path.open(encoding="ascii")
            if lock is None:
                return None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            raise SpoolError(f"{self.path}: another gateway process is using it") from None
        return lock

    def _let_go(self) -> None:
        if self._lock_file is not None:
            self._lock_file.close()

    def _open_with_reserve(self, now: int) -> sqlite3.Connection:
        try:
            return self._open(now)
        except SpoolError as error:
            if error.code not in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR) or not self._reserve.free():
                raise
            return self._open(now)

    def _open(self, now: int) -> sqlite3.Connection:
        noted = self._marks.read()
        # The epoch is the creation's time: a new spool's is larger than any before it, also where the clock is behind.
        new_epoch = max(now, noted.epoch + 1 if noted is not None else 0)
        log_size = spool_log.size(self.path)
        try:
            closed = not log_size and (noted is None or noted.end == LogEnd())
            db = self._connect_sound(now, new_epoch, closed=closed)
            end = self._log_end
            cut = noted is not None and end is not None and log_size > 0 and end.has_lost_its_end(noted.end)
            if db is None:
                # A broken file must not keep a gate shut: set it aside, start anew, and take of it what it still gives.
                exact = noted is not None and (self._was_on_disk or noted.end == (end if log_size else LogEnd()))
                spool_salvage.set_aside(self.path, now)
                db = self._connect(now, new_epoch)
                self._begin_salvage(db, Begun(noted, exact, cut, held=self._was_on_disk))
            else:
                if all(spool_salvage.begun(db, file) is not None for file in spool_salvage.pending(self.path)):
                    self._tell_loss(db, noted, now, cut=cut)
                self._begin_salvage(db, Begun(noted, exact=False, cut=cut))
        except sqlite3.Error as error:
            raise self._error(error) from None
        except OSError as error:
            raise SpoolError(f"{self.path}: {error.strerror}", sqlite3.SQLITE_IOERR) from None
        return db

    @staticmethod
    def _tell_loss(db: sqlite3.Connection, noted: Marks | None, now: int, *, cut: bool) -> None:
        """Tell by a gap what a spool misses: one that is gone, or whose log was ``cut``.

        The gap comes after all that waits, so that this gets the numbers again under which the server may have it.
        """
        found = spool_marks.of(db, db.execute("SELECT count(*) FROM waiting").fetchone()[0])
        if noted is None or not (cut or found.is_behind(noted)):
            return
        missing = spool_marks.lost(noted, found, cut=cut)
        is_new = not found.records and not found.messages
        with db:
            db.execute("BEGIN IMMEDIATE")
            if missing:
                gap = Gap(1, Times(now), GAP_SPOOL_LOST if is_new else GAP_SPOOL_END_LOST, missing)
                db.execute("INSERT INTO waiting (lane, body) VALUES (?, ?)", (_LANE_ACCESS, _encode(gap)))
            spool_marks.catch_up(db, noted)
            db.execute("INSERT OR REPLACE INTO state VALUES (?, ?)", (spool_salvage.TOLD, msgspec.json.encode(noted)))
        if missing:
            log.error("the spool has lost %d records, or fewer", missing)

    # what was set aside

    def _begin_salvage(self, db: sqlite3.Connection, known: Begun) -> None:
        """Take up the files that were set aside, now or by a process that ended before it was done with them."""
        for salvage in self._salvages:
            salvage.close()
        self._salvages = []
        files = spool_salvage.pending(self.path)
        for file in files:
            one = spool_salvage.begun(db, file)
            if one is not None and one.done:
                spool_salvage.finished(db, file)
                continue
            with db:
                db.execute("BEGIN IMMEDIATE")
                if one is None:
                    spool_salvage.begin(db, file, known, newest=file == files[-1])
                    # What is in memory began as a copy of the new file, not of the damaged one.
                    self._fork = self._fork and known.held
                else:
                    spool_salvage.note(db, file, msgspec.structs.replace(one, tries=one.tries + 1))
            one = spool_salvage.begun(db, file)
            assert one is not None
            self._salvages.append(Salvage(file, one, spool_marks.of(db, 0).records))
            log.error("%s is damaged: what can still be read of it is brought over", file)

    @property
    def salvaging(self) -> bool:
        """Tell whether there is more of a damaged spool to be brought over. Until then no record gets a number."""
        return bool(self._salvages)

    def salvage(self, now: int) -> bool:
        """Bring over a piece more of a spool that was set aside, off the event loop; at the end tell at ``now`` (ms)
        what is missing. Return True where more can be done at once."""
        with self._mutex:
            if not self._salvages or self.in_memory:
                return False
            one = self._salvages[0]
        more = one.read()  # without the mutex: a failing disk may take its time
        with self._mutex:
            if self.in_memory or one not in self._salvages[:1]:
                return False
            try:
                with self._transaction() as db:
                    fresh = one.write(db) if more else []
                    self._bytes += sum(map(len, fresh))
                    self._waiting += len(fresh)
                    lost = None if more else one.finish(db, now)
            except SpoolError as error:
                log.warning("%s: what was set aside is taken up again later", error)
                return False
            if more:
                one.written()
                return True
            one.close()
            self._salvages.remove(one)
            spool_salvage.finished(self._db, one.file)
            self._weigh()
            self._note_marks()
        log.error("%s is done with: %s", one.file, "some may be lost" if lost is None else f"{lost} lost at most")
        return bool(self._salvages)

    def _go_to_memory(self, why: str, now: int) -> None:
        """Go on in memory: in the numbering of the disk's spool if that can still be read."""
        source = self._disk or spool_salvage.opened_to_read(self.path)
        self._waiting_on_disk = 0
        with suppress(sqlite3.Error):
            if source is not None:
                self._waiting_on_disk = source.execute("SELECT count(*) FROM waiting").fetchone()[0]
        self._db, self._fork = spool_memory.begin(source, now, self._marks.last)
        if source is not None and source is not self._disk:
            source.close()
        self.disk_error, self.in_memory = why, True
        self.epoch = self._meta("epoch")
        self._weigh()
        with suppress(OSError):
            self._marker.touch()
        log.error("%s; going on in memory: what is recorded now is lost if the gateway stops", why)

    def _carry_on(self, error: SpoolError) -> bool:
        """Tell whether a call that failed with ``error`` can be done again, after the reserve or memory took over."""
        if self.in_memory or error.code not in _DISK_FAILED:
            return False
        if error.code == sqlite3.SQLITE_FULL and self._reserve.free():
            log.error("%s; going on with the room that was reserved", error)
            return True
        self._doubted = error.code in _DAMAGED
        self._go_to_memory(str(error), max(self._began, self.epoch) + 1)
        return True

    def _note_lost_memory(self, now: int) -> None:
        """Tell by a gap what a process had only in memory when it died."""
        if self._marker.exists():
            with suppress(SpoolError, OSError), self._transaction() as db:
                db.execute(ADD_GAP, (GAP_MEMORY_LOST, 1, now))
                self._marker.unlink()

    def recover(self, now: int) -> bool:
        """Put on disk what is only in memory; True if the spool is on disk (again)."""
        with self._mutex:
            if not self.in_memory:
                self._reserve.take()
                return True
            memory = self._db
            if self._doubted:
                self._let_go_of_disk()  # what is damaged is found when it is opened again
            try:
                if self._disk is None:
                    self._disk = self._open_with_reserve(now)
                spool_memory.put_back(memory, self._disk, fork=self._fork, lost=self._lost, now=now)
            except (SpoolError, sqlite3.Error) as failure:
                error = self._error(failure) if isinstance(failure, sqlite3.Error) else failure
                self.disk_error = str(error)
                self._doubted |= error.code in _DAMAGED
                if error.code != sqlite3.SQLITE_FULL:
                    # What an open file says of a disk that failed may stay wrong when the disk is well.
                    self._let_go_of_disk()
                return False
            self._db, self.in_memory, self.disk_error, self._doubted = self._disk, False, None, False
            self._was_on_disk = True
            self._lost.clear()
            self._waiting_on_disk = 0
            memory.close()
            self.epoch = self._meta("epoch")
            self._weigh()
            self._note_marks()
            with suppress(OSError):
                self._marker.unlink(missing_ok=True)
            self._copy_list(self._read(self._stored_list))
            self._reserve.take()
        log.warning("%s takes writes again: what was in memory is on disk", self.path)
        return True

    def _let_go_of_disk(self) -> None:
        if self._disk is not None:
            with suppress(sqlite3.Error):
                self._disk.close()
            self._disk = None

    def _connect_sound(self, now: int, new_epoch: int, *, closed: bool) -> sqlite3.Connection | None:
        """Open the spool's file, if need be with the first page that was kept; None where it is damaged even so."""
        with _damage_left():
            return self._connect(now, new_epoch)
        end = self._log_end  # SQLite brings the log into the file when the damaged one is closed
        try:
            with _damage_left():
                return self._connect(now, new_epoch) if self._first_page.put_back(closed=closed) else None
            return None
        finally:
            self._log_end = end

    def _connect(self, now: int, new_epoch: int) -> sqlite3.Connection:
        """Open the spool's file, and find where its log ended, if that is known."""
        self._log_end = None
        if self._log is not None:
            self._log.close()
        self._first_page.close()
        db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False, timeout=5)
        try:
            if db.execute("PRAGMA journal_mode = WAL").fetchone()[0] != "wal":
                # Without a word SQLite goes on with a journal whose end a power cut can take back.
                raise _no_log()
            db.execute("PRAGMA synchronous = FULL")
            try:
                db.execute("SELECT count(*) FROM sqlite_master").fetchone()
            finally:  # SQLite looks at the log when it reads
                self._log = LogIndex(self.path)
                self._log_end = self._log.end()
            if not _is_sound(db, thorough=self._doubted):
                raise _corrupt("what is stored is damaged")
            db.text_factory = readable
            db.executescript(SCHEMA)
            if not has_all_columns(db):
                raise _corrupt("a table has lost a column")
            db.execute(
                "INSERT OR IGNORE INTO meta VALUES ('epoch', ?), ('next_seq', 1), ('list_version', 0)", (new_epoch,)
            )
            db.execute("INSERT OR IGNORE INTO meta VALUES ('dropped', 0), ('list_epoch', 0)")
            self._mend_numbers(db, now, new_epoch)
            # A flush that failed may have lost what is still read of the log: bring it to the file and begin a new log,
            # so that nothing is written behind what isn't there any more after the next power cut.
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        except UnicodeDecodeError:
            # SQLite quotes the damaged schema in what it says, and that isn't text any more.
            db.close()
            raise _corrupt("what is damaged isn't text any more") from None
        except BaseException:
            db.close()
            raise
        directory = os.open(self.path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
        self._first_page.keep()
        return db

    def _mend_numbers(self, db: sqlite3.Connection, now: int, new_epoch: int) -> None:
        """Put right the numbers that a damaged disk has made none: without them nothing could start."""
        damaged = {key for key, value in db.execute("SELECT key, value FROM meta").fetchall() if not _is_moment(value)}
        if damaged:
            db.executemany("UPDATE meta SET value = 0 WHERE key = ?", [(key,) for key in damaged])
        if damaged & {"epoch", "next_seq"} or not self._is_run(db):
            # What the server has isn't known any more: everything that waits goes into a new epoch.
            rows = db.execute(f"{_NUMBERED} ORDER BY seq").fetchall()
            db.execute("DELETE FROM numbered")
            db.executemany("INSERT INTO waiting (lane, body) VALUES (?, ?)", [(_LANE_ACCESS, body) for (body,) in rows])
            db.execute("UPDATE meta SET value = ? WHERE key = 'epoch'", (new_epoch,))
            db.execute("UPDATE meta SET value = 1 WHERE key = 'next_seq'")
            db.execute(ADD_GAP, ("damaged_record", 1, now))

    @staticmethod
    def _is_run(db: sqlite3.Connection) -> bool:
        """Tell whether the numbered records are one run that ends before the next number, as they are written."""
        first, last, count = db.execute("SELECT min(seq), max(seq), count(*) FROM numbered").fetchone()
        following = db.execute("SELECT value FROM meta WHERE key = 'next_seq'").fetchone()[0]
        return not count or bool(last == following - 1 and count == last - first + 1)

    def close(self, now: int | None = None) -> None:
        """End. With ``now`` (ms), what is only in memory is put on disk first, if the disk takes it."""
        with self._mutex:
            if now is not None and self.in_memory and not self.recover(now):
                log.error("%s; what was in memory is lost", self.disk_error)
            self._db.close()
            if self._disk is not None:
                self._disk.close()
            if self._log is not None:
                self._log.close()
            self._first_page.close()
            for salvage in self._salvages:
                salvage.close()
            if not spool_log.size(self.path):
                self._marks.note_empty_log()
            self._marks.close()
            self._let_go()

    # transactions

    def _error(self, error: sqlite3.Error) -> SpoolError:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code == sqlite3.SQLITE_FULL:
            return SpoolFullError(f"{self.path}: the disk is full; free some space on it", code)
        return SpoolError(f"{self.path}: {error}", code)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._mutex:
            held = self._bytes, self._waiting
            try:
                self._db.execute("BEGIN IMMEDIATE")
                yield self._db
                self._db.execute("COMMIT")
            except BaseException as error:
                self._bytes, self._waiting = held
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                if isinstance(error, UnicodeDecodeError):
                    raise self._error(_corrupt("what is damaged isn't text any more")) from None
                if isinstance(error, sqlite3.Error):
                    raise self._error(error) from None
                raise
            self._note_marks()

    @contextmanager
    def _bounded(self, event: Event | None = None) -> Iterator[None]:
        """Go on where the memory is full, too: without the record, which is counted."""
        try:
            yield
        except SpoolFullError as error:
            if not self.in_memory or error.code != sqlite3.SQLITE_FULL:
                raise
            if event is not None:
                self._lost[f"unstored_{event.__struct_config__.tag}"] += 1

    def _read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        with self._mutex:
            try:
                return query(self._db)
            except UnicodeDecodeError:
                raise self._error(_corrupt("what is damaged isn't text any more")) from None
            except sqlite3.Error as error:
                raise self._error(error) from None

    def _meta(self, key: str) -> int:
        value: int = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()[0]
        return value

    # what devices send

    @_carried_on
    def receive(self, camera: str, received: int, event_id: str, body: bytes) -> Read | None:
        """Keep a camera's message; None if the camera sent the same event before (then nothing changes)."""
        number = _NOT_KEPT
        with self._bounded(), self._transaction() as db:
            if not self._is_new(db, f"{camera}/{event_id}", received):
                return None
            if db.execute("SELECT count(*) FROM inbox").fetchone()[0] >= _INBOX_ROWS:
                raise SpoolFullError(f"{self.path}: {_INBOX_ROWS} camera messages are waiting for a decision")
            cursor = db.execute("INSERT INTO inbox (camera, received, body) VALUES (?, ?, ?)", (camera, received, body))
            number = cursor.lastrowid or _NOT_KEPT
        return Read(number, camera, received, body)

    def _is_new(self, db: sqlite3.Connection, key: str, at: int) -> bool:
        db.execute("DELETE FROM known WHERE at < ?", (at - _KNOWN_KEPT_MS,))
        return db.execute("INSERT OR IGNORE INTO known VALUES (?, ?)", (key, at)).rowcount == 1

    @_carried_on
    def unsettled(self) -> list[Read]:
        """Return the camera messages that a crash or a stop left undecided, oldest first."""
        reads: list[Read] = []
        with self._transaction() as db:
            for i, camera, received, body, noted in db.execute(
                "SELECT id, camera, received, body, passage FROM inbox ORDER BY id"
            ).fetchall():
                event = _event(noted) if noted else None
                passage = event if isinstance(event, Passage) else None
                if (noted and passage is None) or not _is_moment(received) or not isinstance(body, bytes):
                    # Its barrier may have been about to be opened: decided anew, it could be opened twice.
                    db.execute("DELETE FROM inbox WHERE id = ?", (i,))
                    self._damaged(db, noted or body, received if _is_moment(received) else self.epoch)
                else:
                    reads.append(Read(i, camera, received, body, passage))
        return reads

    def _damaged(self, db: sqlite3.Connection, body: object, now: int) -> None:
        """Set a record aside that can't be read any more, and count it in a gap."""
        self._set_aside(db, "damaged", body, now)
        db.execute(ADD_GAP, ("damaged_record", 1, now))

    def _set_aside(self, db: sqlite3.Connection, error: str, body: object, now: int) -> None:
        kept = body if isinstance(body, bytes) else str(body).encode()
        db.execute("INSERT INTO quarantine (source, received, error, body) VALUES ('spool', ?, ?, ?)",
                   (now, error[:500], kept[:_QUARANTINE_BODY]))  # fmt: skip

    @_carried_on
    def abandon(self, read: Read, now: int) -> None:
        """Set an accepted message aside that can't be decided on any more, and count it in a gap."""
        with self._transaction() as db:
            db.execute("DELETE FROM inbox WHERE id = ?", (read.id,))
            self._damaged(db, read.body, now)

    @_carried_on
    def opening(self, read_id: int, passage: Passage) -> None:
        """Note that the barrier is about to be opened for a message, with the record to keep if we die meanwhile.

        After a crash the record stands and the barrier is not opened a second time.
        """
        with self._bounded(), self._transaction() as db:
            db.execute("UPDATE inbox SET passage = ? WHERE id = ?", (_encode(passage), read_id))

    @_carried_on
    def settle(
        self,
        read_ids: list[int],
        event: Event | None,
        states: dict[str, bytes] | None = None,
        moved: PresenceUpdate | None = None,
    ) -> None:
        """In one step: forget camera messages, append the record that came of them, store changed states and where a
        plate is now."""
        with self._bounded(event), self._transaction() as db:
            if moved is not None:
                # Seen now: nothing that is known can be later, whatever the clock said when it was written.
                self._place(db, [moved], moved.at)
            db.executemany("DELETE FROM inbox WHERE id = ?", [(read_id,) for read_id in read_ids])
            for key, value in (states or {}).items():
                db.execute("INSERT OR REPLACE INTO state VALUES (?, ?)", (key, value))
            if event is not None:
                self._append(db, event)

    @_carried_on
    def quarantine(self, source: str, received: int, error: str, body: bytes) -> None:
        """Keep the start of a message that can't be understood, for a person to look at; the oldest give way."""
        with self._transaction() as db:
            db.execute(
                "INSERT INTO quarantine (source, received, error, body) VALUES (?, ?, ?, ?)",
                (source, received, error[:500], body[:_QUARANTINE_BODY]),
            )
            db.execute("DELETE FROM quarantine WHERE id <= (SELECT max(id) FROM quarantine) - ?", (_QUARANTINE_ROWS,))

    @_carried_on
    def forget(self, now: int) -> None:
        """Delete what has been kept long enough: messages in quarantine hold plates, and so do the plates outside."""
        with self._transaction() as db:
            db.execute("DELETE FROM quarantine WHERE received < ?", (now - _QUARANTINE_KEPT_MS,))
            db.execute("DELETE FROM presence WHERE NOT inside AND at < ?", (now - _OUTSIDE_KEPT_MS,))

    @staticmethod
    def _state(db: sqlite3.Connection, key: str) -> bytes | None:
        row = db.execute("SELECT value FROM state WHERE key = ?", (key,)).fetchone()
        return row[0] if row and isinstance(row[0], bytes) else None

    @_carried_on
    def state(self, key: str) -> bytes | None:
        return self._read(lambda db: self._state(db, key))

    # records for the server

    @_carried_on
    def append(self, event: Event, *, once: str | None = None) -> bool:
        """Append a record; with ``once``, only if no record with that key was appended in the last week."""
        with self._bounded(event), self._transaction() as db:
            return self._append_once(db, event, once)
        return True

    def append_all(self, records: Sequence[tuple[Event, str | None]]) -> list[bool]:
        """Append records, each with its key or None, in one step. Return for each what ``append`` returns."""
        if len(records) > 1:
            with suppress(SpoolFullError):
                return self._append_together(records)
        # Of those that have no room together, some may have it.
        return [self.append(event, once=once) for event, once in records]

    @_carried_on
    def _append_together(self, records: Sequence[tuple[Event, str | None]]) -> list[bool]:
        with self._transaction() as db:
            return [self._append_once(db, event, once) for event, once in records]

    def _append_once(self, db: sqlite3.Connection, event: Event, once: str | None) -> bool:
        if once is not None and not self._is_new(db, once, event.times.received):
            return False
        self._append(db, event)
        return True

    def _append(self, db: sqlite3.Connection, event: Event) -> None:
        body, lane = _encode(event), _LANE_SPACE if isinstance(event, SpaceState) else _LANE_ACCESS
        db.execute("INSERT INTO waiting (lane, body) VALUES (?, ?)", (lane, body))
        self._bytes += len(body)
        self._waiting += 1
        if self._bytes > self.max_bytes:
            self._make_room(db, event.times.received)

    def _make_room(self, db: sqlite3.Connection, now: int) -> None:
        dropped = 0
        for i, length in db.execute(_WEIGHT_OF_EACH, (_LANE_SPACE,)).fetchall():
            if self._bytes <= self.max_bytes:
                break
            db.execute("DELETE FROM waiting WHERE id = ?", (i,))
            self._bytes -= length
            self._waiting -= 1
            dropped += 1
        if dropped:
            db.execute(
                "INSERT INTO gaps VALUES ('space_state', ?, ?) "
                "ON CONFLICT (kind) DO UPDATE SET dropped = dropped + excluded.dropped",
                (dropped, now),
            )
            db.execute("UPDATE meta SET value = value + ? WHERE key = 'dropped'", (dropped,))

    @_carried_on
    def batch(self, limit: int, now: int = 0) -> list[msgspec.Raw]:
        """Return up to ``limit`` records to send, as JSON, in rising ``seq`` without gaps.

        What was numbered before and isn't acknowledged comes first and unchanged; then gaps, passages, sensor states.
        A record that can't be read any more becomes a gap at ``now`` (ms).
        """
        with self._transaction() as db:
            db.executemany(ADD_GAP, [(kind, count, now) for kind, count in self._lost.items()])
            have = db.execute("SELECT count(*) FROM numbered").fetchone()[0]
            if have < limit:
                self._number(db, limit - have, now)
            bodies = [body for (body,) in db.execute(f"{_NUMBERED} ORDER BY seq LIMIT ?", (limit,)).fetchall()]
            if b"" in bodies:
                bodies = self._up_to_a_hole(db, bodies, now)
        self._lost.clear()  # they are gaps now
        return [msgspec.Raw(body) for body in bodies]

    def _up_to_a_hole(self, db: sqlite3.Connection, bodies: list[bytes], now: int) -> list[bytes]:
        """Return what comes before a numbered record that the disk doesn't give any more. The server's answer to it
        tells whether the server has that one, too. If not, it is the first one then, and becomes a gap."""
        if not bodies[0]:
            first = db.execute("SELECT min(seq) FROM numbered").fetchone()[0]
            bodies[0] = _encode(Gap(first, Times(now), "damaged_record", 1))
            db.execute("UPDATE numbered SET body = ? WHERE seq = ?", (bodies[0], first))
        return bodies[: bodies.index(b"")] if b"" in bodies else bodies

    @_carried_on
    def first_seq(self) -> int | None:
        """Return the number of the first record that isn't acknowledged, None if there is none."""
        seq: int | None = self._read(lambda db: db.execute("SELECT min(seq) FROM numbered").fetchone()[0])
        return seq

    @_carried_on
    def stand_in(self, seq: int, now: int) -> Gap:
        """Return the gap that can be sent in the place of a numbered record which the server refuses."""
        body = self._read(lambda db: db.execute(f"{_NUMBERED} WHERE seq = ?", (seq,)).fetchone()[0])
        event = _event(body)
        kind = f"refused_{event.__struct_config__.tag}" if event is not None else "damaged_record"
        return Gap(seq, Times(now), kind, 1)

    @_carried_on
    def replaced(self, seq: int, error: str, now: int) -> None:
        """Set a numbered record aside for a person to look at, because the server took its ``stand_in`` instead."""
        with self._transaction() as db:
            [(body,)] = db.execute(f"{_NUMBERED} WHERE seq = ?", (seq,)).fetchall()
            self._set_aside(db, error, body, now)
            db.execute("DELETE FROM numbered WHERE seq <= ?", (seq,))

    def _number(self, db: sqlite3.Connection, count: int, now: int) -> None:
        if self._salvages and not self.in_memory:
            return  # what comes of the damaged spool is older
        seq = self._meta("next_seq")
        events: list[Event] = []
        for kind, dropped, since in db.execute("SELECT kind, dropped, since FROM gaps LIMIT ?", (count,)).fetchall():
            count_of = dropped if _is_moment(dropped) and dropped else 1
            events.append(Gap(1, Times(since if _is_moment(since) else now), str(kind), count_of))
            db.execute("DELETE FROM gaps WHERE kind = ?", (kind,))
        rows = db.execute(_WAITING, (count - len(events),)).fetchall()
        for _, body in rows:
            event = _event(body)
            if event is None:
                self._set_aside(db, "damaged", body, now)
                event = Gap(1, Times(now), "damaged_record", 1)
            events.append(event)
        if not events:
            return
        db.executemany("DELETE FROM waiting WHERE id = ?", [(i,) for i, _ in rows])
        self._bytes -= sum(len(body) for _, body in rows)
        self._waiting -= len(rows)
        numbered = [msgspec.structs.replace(event, seq=number) for number, event in enumerate(events, seq)]
        db.executemany("INSERT INTO numbered VALUES (?, ?)", [(event.seq, _encode(event)) for event in numbered])
        db.execute("UPDATE meta SET value = ? WHERE key = 'next_seq'", (seq + len(events),))

    @_carried_on
    def acknowledge(self, epoch: int, acked: int) -> int:
        """Delete what the server has: numbered records of this epoch at or below ``acked``. Return how many went."""
        if epoch != self.epoch:
            return 0
        with self._transaction() as db:
            return db.execute("DELETE FROM numbered WHERE seq <= ?", (acked,)).rowcount

    @_carried_on
    def sent(self, acked: int) -> bool:
        """Tell whether the record ``acked`` of this epoch was ever sent. One that the server has and we never sent
        means that this spool was put back to an earlier state: see ``renumber``."""
        return self._read(lambda _: acked < self._meta("next_seq"))

    @_carried_on
    def renumber(self, *, above: int, lost: int, now: int, put_back: int | None = None) -> None:
        """Start a new epoch, larger than ``above``, with everything that isn't acknowledged.

        For a server that can't go on with the present one: a database restored from a backup misses ``lost`` records
        that were acknowledged and deleted here, or a wrong clock gave us too small an epoch. Or this spool was
        put back to an earlier state: ``put_back`` is the first number of epoch ``above`` under which the server has, or
        may have, another record. What the spool held between then and now, and nobody else has, is lost; how much isn't
        known, unless the marks told it. A gap record says so.
        """
        epoch = max(now, self.epoch + 1, above + 1)
        with self._transaction() as db:
            lost = max(0, lost - self._told_lost(db, above))
            rows = db.execute(f"{_NUMBERED} ORDER BY seq").fetchall()
            db.execute("DELETE FROM numbered")
            for number, (body,) in enumerate(rows, 1):
                event = _event(body)
                if event is None:
                    self._set_aside(db, "damaged", body, now)
                    event = Gap(1, Times(now), "damaged_record", 1)
                db.execute(
                    "INSERT INTO numbered VALUES (?, ?)", (number, _encode(msgspec.structs.replace(event, seq=number)))
                )
            gaps = [("lost_by_server", lost, now)] if lost else []
            if put_back is not None and not self._was_told(db, above, put_back):
                gaps += [(GAP_SPOOL_PUT_BACK, 1, now)]
            db.executemany(ADD_GAP, gaps)
            db.execute("UPDATE meta SET value = ? WHERE key = 'next_seq'", (len(rows) + 1,))
            db.execute("UPDATE meta SET value = ? WHERE key = 'epoch'", (epoch,))
        self.epoch = epoch

    def _told_lost(self, db: sqlite3.Connection, epoch: int) -> int:
        """Return how many numbered records of an epoch may be in a loss that was told already."""
        told = _decoded(self._state(db, spool_salvage.TOLD), Marks)
        if told is None or not told.epoch == epoch == self.epoch:
            return 0
        first = db.execute("SELECT min(seq) FROM numbered").fetchone()[0] or 0
        return told.backlog if first <= told.next_seq else 0

    def _was_told(self, db: sqlite3.Connection, epoch: int, seq: int) -> bool:
        """Tell whether the number ``seq`` belongs to a loss that the marks told."""
        told = _decoded(self._state(db, spool_salvage.TOLD), Marks)
        return told is not None and told.epoch == epoch and seq < told.next_seq

    @_carried_on
    def counts(self) -> Counts:
        inbox, waiting, gaps, numbered, quarantine = self._read(
            lambda db: db.execute(
                "SELECT (SELECT count(*) FROM inbox), (SELECT count(*) FROM waiting), (SELECT count(*) FROM gaps), "
                "(SELECT count(*) FROM numbered), (SELECT count(*) FROM quarantine)"
            ).fetchone()
        )
        return Counts(
            inbox,
            waiting + gaps + self._waiting_on_disk,
            numbered,
            quarantine,
            self._read(lambda _: self._meta("dropped")),
        )

    # the access list

    @_carried_on
    def held(self) -> HeldList:
        """Return the list by which the gate decides: the stored one, or the last good copy where that is damaged."""
        stored = self._read(self._stored_list)
        self._list_damaged = stored is None
        if stored is not None and stored.version:
            return stored
        copy = list_copy.read(self.list_copy)
        if copy is not None:
            return HeldList(copy.version, copy.epoch, copy.entries, copy.rules, whole=False)
        return stored or HeldList(0, 0, [], None, whole=False)

    def _stored_list(self, db: sqlite3.Connection) -> HeldList | None:
        """Return the stored list as it was written, None where it is damaged."""
        rows, stored_rules = self._list_rows(db)
        entries, rules = _entries(rows), _decoded(stored_rules, GateRules)  # none also of a later release
        version, epoch = self._meta("list_version"), self._meta("list_epoch")
        check = _decoded(self._state(db, "list_check"), _Check)
        damaged = check is not None and (check.version, check.epoch) == (version, epoch)
        damaged = damaged and check is not None and check.digest != _list_digest(rows, stored_rules)
        if entries is None or damaged:
            return None
        return HeldList(version, epoch, entries, rules)

    def _list_rows(self, db: sqlite3.Connection) -> tuple[list[tuple[Any, ...]], bytes | None]:
        rows = db.execute(
            "SELECT credential_id, plate, status, valid_from, valid_until, unit, lots "
            "FROM access_list LEFT JOIN access_unit USING (credential_id) ORDER BY credential_id"
        ).fetchall()
        return rows, self._state(db, "rules")

    def access_list(self) -> tuple[int, list[AccessEntry]]:
        """Return the version (0: none yet) and the entries of the list by which the gate decides."""
        held = self.held()
        return held.version, held.entries

    @_carried_on
    def pass_codes(self) -> PassCodes | None:
        """Return the visitors' codes, None where no server has told any or where they are damaged."""
        digest, _, codes = (self.state(_CODES_TOLD) or b"").partition(b"\n")
        return _decoded(codes, PassCodes) if digest == hashlib.sha256(codes).hexdigest().encode() else None

    @_carried_on
    def presence(self) -> list[PresenceUpdate]:
        """Return which plates are inside and outside, as far as it is known here. Damaged rows are left out."""
        rows = self._read(lambda db: db.execute("SELECT plate, inside, at FROM presence").fetchall())
        return [
            PresenceUpdate(plate, bool(inside), at)
            for plate, inside, at in rows
            if _is_moment(at) and inside in (0, 1) and isinstance(plate, str) and "\ufffd" not in plate
        ]

    @_carried_on
    def place(self, moves: list[PresenceUpdate], now: int) -> None:
        """Take over where plates are, unless something later is known of them that isn't after ``now`` (ms)."""
        with self._bounded(), self._transaction() as db:
            self._place(db, moves, now)

    @_carried_on
    def activate(self, update: AccessList) -> None:
        """Make a full list or a difference the active list, as a whole or not at all.

        Raises SpoolError for a difference to a list that is damaged.
        """
        with self._transaction() as db:
            if update.full:
                db.execute("DELETE FROM access_list")
                db.execute("DELETE FROM access_unit")
            elif self._list_damaged:
                raise SpoolError(f"{self.path}: the access list is damaged, only a full one can take its place")
            changed = [(credential,) for credential in update.removed]
            db.executemany("DELETE FROM access_list WHERE credential_id = ?", changed)
            changed += [(e.credential_id,) for e in update.entries]
            db.executemany("DELETE FROM access_unit WHERE credential_id = ?", changed)
            db.executemany(
                "INSERT OR REPLACE INTO access_list VALUES (?, ?, ?, ?, ?)",
                [(e.credential_id, e.plate, e.status, e.valid_from, e.valid_until) for e in update.entries],
            )
            # A table of its own: a gateway that is put back to an earlier release writes the other one as it knows it.
            db.executemany(
                "INSERT INTO access_unit VALUES (?, ?, ?)",
                [(e.credential_id, e.unit, e.lots) for e in update.entries if e.unit is not None],
            )
            if update.rules is not None:
                db.execute("INSERT OR REPLACE INTO state VALUES ('rules', ?)", (msgspec.json.encode(update.rules),))
            if update.codes is not None:
                # Apart from the list and its check, so that a gateway that is put back to an earlier release, which
                # knows no codes, finds its list whole.
                codes = msgspec.json.encode(update.codes)
                stored = hashlib.sha256(codes).hexdigest().encode() + b"\n" + codes
                db.execute("INSERT OR REPLACE INTO state VALUES (?, ?)", (_CODES_TOLD, stored))
            self._place(db, update.presence, _NEVER)
            db.executemany(
                "UPDATE meta SET value = ? WHERE key = ?",
                [(update.version, "list_version"), (update.epoch, "list_epoch")],
            )
            rows, rules = self._list_rows(db)
            check = _Check(update.version, update.epoch, _list_digest(rows, rules))
            db.execute("INSERT OR REPLACE INTO state VALUES ('list_check', ?)", (msgspec.json.encode(check),))
        self._list_damaged = False
        entries = [AccessEntry(*row) for row in rows]
        self._copy_list(HeldList(update.version, update.epoch, entries, _decoded(rules, GateRules)))

    def _catch_up_copy(self) -> None:
        """Write the list's copy where it isn't the stored list's: a crash came between, or an earlier release ran."""
        with suppress(SpoolError):
            held, copy = self._read(self._stored_list), list_copy.read(self.list_copy)
            if held is not None and (copy is None or (copy.version, copy.epoch) != (held.version, held.epoch)):
                self._copy_list(held)

    def _copy_list(self, held: HeldList | None) -> None:
        """Write a list's copy. Where that fails the earlier copy stays: an old list is better than none."""
        if held is not None and held.version:
            with suppress(OSError):
                list_copy.write(
                    self.list_copy, AccessList(held.version, True, held.entries, [], held.epoch, held.rules)
                )

    def _place(self, db: sqlite3.Connection, moves: list[PresenceUpdate], now: int) -> None:
        db.executemany(
            "INSERT INTO presence VALUES (?, ?, ?) ON CONFLICT (plate) DO UPDATE "
            "SET inside = excluded.inside, at = excluded.at WHERE at <= excluded.at OR at > ?",
            [(move.plate, move.inside, move.at, now) for move in moves],
        )

    # commands

    @_carried_on
    def claim(self, command_id: str, passage: Passage) -> int | None:
        """Note that a command is about to be carried out; None if it was before: it must not be repeated.

        Returns the id to ``settle`` with the final record. After a crash, ``unsettled`` returns ``passage`` instead.
        """
        now, number = passage.times.received, _NOT_KEPT
        with self._bounded(), self._transaction() as db:
            if not self._is_new(db, f"command/{command_id}", now):
                return None
            cursor = db.execute(
                "INSERT INTO inbox (camera, received, body, passage) VALUES ('', ?, x'', ?)", (now, _encode(passage))
            )
            number = cursor.lastrowid or _NOT_KEPT
        return number  # noqa: RET504 -- also where the memory had no room


def peek(path: Path) -> tuple[Counts, int, int]:
    """Read counts, epoch and access-list version of a spool that another process may be using."""
    try:
        db = sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None, timeout=5)
    except sqlite3.Error as error:
        raise SpoolError(f"{path}: {error}") from None
    try:
        row = db.execute(
            "SELECT (SELECT count(*) FROM inbox), (SELECT count(*) FROM waiting) + (SELECT count(*) FROM gaps), "
            "(SELECT count(*) FROM numbered), (SELECT count(*) FROM quarantine), "
            "(SELECT value FROM meta WHERE key = 'dropped'), (SELECT value FROM meta WHERE key = 'epoch'), "
            "(SELECT value FROM meta WHERE key = 'list_version')"
        ).fetchone()
    except sqlite3.Error as error:
        raise SpoolError(f"{path}: {error}") from None
    finally:
        db.close()
    return Counts(*row[:5]), row[5], row[6]
