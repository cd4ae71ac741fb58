"""The spool in memory: what takes its place while the disk is full, read-only or broken.

It begins as a copy of what the gateway works with, without the records that wait (they stay on the disk), and
goes on in the same numbering: so records reach the server meanwhile, and none twice. It is bounded. When the disk takes
writes again, everything is put there in one transaction.

If the process dies meanwhile, the disk has an earlier state than the server: that is noticed and told as for a spool
that was put back (``sync``), and by the marker that the spool leaves where it can.
"""

import sqlite3
from collections.abc import Mapping
from contextlib import suppress

from parkmesh.gateway import spool_salvage
from parkmesh.gateway.spool_marks import Marks
from parkmesh.gateway.spool_schema import ADD_GAP, BODY, SCHEMA, readable
from parkmesh.protocol.edge import MAX_BATCH

MOST_PAGES = 4_096
"""Pages of 4 KiB that the memory takes beyond what it begins with: about 40,000 passages."""
_WORKED_WITH = ("meta", "state", "inbox", "known", "numbered", "access_list", "access_unit", "presence")
_LIST = ("access_list", "access_unit")
_COLUMNS = {
    "meta": "key, value",
    "state": "key, value",
    "inbox": "id, camera, received, body, passage",
    "known": "key, at",
    "numbered": "seq, body",
    "access_list": "credential_id, plate, status, valid_from, valid_until",
    "access_unit": "credential_id, unit, lots",
    "presence": "plate, inside, at",
}
# Before what waits already, in its order.
_NUMBERED_AGAIN = f"""
INSERT INTO waiting (id, lane, body)
SELECT (SELECT coalesce(min(id), 1) FROM waiting) - (SELECT max(seq) + 1 FROM numbered) + seq, 0, {BODY} FROM numbered
"""  # noqa: S608 -- a constant


def begin(disk: sqlite3.Connection | None, now: int, noted: Marks | None = None) -> tuple[sqlite3.Connection, bool]:
    """Return a spool in memory, and whether it goes on with the numbering of the one on ``disk``.

    A table that the disk doesn't give any more is empty. A numbered record that it doesn't give is empty, so that
    the numbering goes on; ``noted`` are the spool's marks, by which it does so. A new numbering has ``now`` (ms) as its
    epoch.
    """
    memory = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
    memory.text_factory = readable
    memory.executescript(SCHEMA)
    copied = {table for table in _WORKED_WITH if disk is not None and _copy(disk, memory, table)}
    if disk is not None and "numbered" not in copied and _copy_numbered(disk, memory, noted):
        copied |= {"meta", "numbered"}
    # The disk may have been full already while it made the tables.
    memory.execute("INSERT OR IGNORE INTO meta VALUES ('list_version', 0), ('dropped', 0), ('list_epoch', 0)")
    fork = {"meta", "numbered", "inbox"} <= copied and _has_numbers(memory)
    if not fork:
        for table in ("meta", "numbered", "inbox", *_LIST):
            memory.execute(f"DELETE FROM {table}")  # noqa: S608 -- the tables above
        memory.execute("DELETE FROM state WHERE key IN ('rules', 'list_check')")
        memory.execute(
            "INSERT INTO meta VALUES ('epoch', ?), ('next_seq', 1), ('list_version', 0), ('dropped', 0),"
            " ('list_epoch', 0)",
            (now,),
        )
        # Ids that no message on the disk has: both come together later.
        memory.execute("INSERT INTO sqlite_sequence VALUES ('inbox', ?)", (now * 1_000,))
    pages: int = memory.execute("PRAGMA page_count").fetchone()[0]
    memory.execute(f"PRAGMA max_page_count = {pages + MOST_PAGES}")
    return memory, fork


def _copy_numbered(disk: sqlite3.Connection, memory: sqlite3.Connection, noted: Marks | None) -> bool:
    numbers = spool_salvage.numbering(dict(memory.execute("SELECT key, value FROM meta").fetchall()), noted)
    if numbers is None:
        return False
    rows = spool_salvage.all_of(spool_salvage.numbered(disk), 4 * MAX_BATCH)
    _insert(memory, "meta", [("epoch", numbers[0]), ("next_seq", numbers[1])])
    _insert(memory, "numbered", [*spool_salvage.as_run(rows, numbers[1])])
    return True


def _has_numbers(memory: sqlite3.Connection) -> bool:
    values = [value for (value,) in memory.execute("SELECT value FROM meta WHERE key IN ('epoch', 'next_seq')")]
    return len(values) == 2 and all(isinstance(value, int) and value > 0 for value in values)


def _copy(source: sqlite3.Connection, target: sqlite3.Connection, table: str) -> bool:
    columns = _COLUMNS[table]
    try:
        rows = source.execute(f"SELECT {columns} FROM {table}").fetchall()  # noqa: S608 -- the tables above
    except sqlite3.Error:
        return False
    _insert(target, table, rows)
    return True


def _insert(target: sqlite3.Connection, table: str, rows: list[tuple[object, ...]]) -> None:
    columns = _COLUMNS[table]
    places = ", ".join("?" * (columns.count(",") + 1))
    target.executemany(f"INSERT OR REPLACE INTO {table} ({columns}) VALUES ({places})", rows)  # noqa: S608


def put_back(
    memory: sqlite3.Connection, disk: sqlite3.Connection, *, fork: bool, lost: Mapping[str, int], now: int
) -> None:
    """Put what is in memory on the disk, in one transaction. Raises sqlite3.Error if the disk doesn't take it.

    ``fork``: the memory began as a copy of this disk. ``lost``: records that memory couldn't keep, by kind of gap.
    """
    disk.execute("BEGIN IMMEDIATE")
    try:
        _put_back(memory, disk, fork, lost, now)
        disk.execute("COMMIT")
    except BaseException:
        with suppress(sqlite3.Error):
            disk.execute("ROLLBACK")
        raise


def _put_back(
    memory: sqlite3.Connection, disk: sqlite3.Connection, fork: bool, lost: Mapping[str, int], now: int
) -> None:
    def rows(table: str) -> list[tuple[object, ...]]:
        return memory.execute(f"SELECT {_COLUMNS[table]} FROM {table}").fetchall()  # noqa: S608 -- the tables above

    meta = dict(memory.execute("SELECT key, value FROM meta").fetchall())
    if fork:
        disk.execute("DELETE FROM inbox")
    elif meta["next_seq"] > 1:
        # The server is in the memory's epoch: what waits on the disk gets new numbers, in its order.
        disk.execute(_NUMBERED_AGAIN)
    if fork or meta["next_seq"] > 1:
        disk.execute("DELETE FROM numbered")
        _insert(disk, "numbered", rows("numbered"))
        _insert(disk, "meta", [(key, meta[key]) for key in ("epoch", "next_seq")])
    if fork or meta["list_version"]:
        for table in _LIST:
            disk.execute(f"DELETE FROM {table}")  # noqa: S608 -- the tables above
            _insert(disk, table, rows(table))
        _insert(disk, "meta", [(key, meta[key]) for key in ("list_version", "list_epoch")])
    for table in ("inbox", "known", "state", "presence"):
        _insert(disk, table, rows(table))
    dropped = meta["dropped"] if fork else meta["dropped"] + _dropped(disk)
    _insert(disk, "meta", [("dropped", dropped)])
    disk.executemany(
        "INSERT INTO waiting (lane, body) VALUES (?, ?)",
        memory.execute("SELECT lane, body FROM waiting ORDER BY id").fetchall(),
    )
    disk.executemany(
        "INSERT INTO quarantine (source, received, error, body) VALUES (?, ?, ?, ?)",
        memory.execute("SELECT source, received, error, body FROM quarantine ORDER BY id").fetchall(),
    )
    disk.executemany(ADD_GAP, memory.execute("SELECT kind, dropped, since FROM gaps").fetchall())
    disk.executemany(ADD_GAP, [(kind, count, now) for kind, count in lost.items()])


def _dropped(disk: sqlite3.Connection) -> int:
    dropped: int = disk.execute("SELECT value FROM meta WHERE key = 'dropped'").fetchone()[0]
    return dropped
