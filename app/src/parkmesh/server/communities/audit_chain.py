"""A chain of the audit trail, computed again: it holds, or this is the first place at which it doesn't.

What is hashed is described in ``migrations/versions/0004_audit.py``; it is computed here a second time, from the rows
alone. A chain is read as a stream, so memory stays the same however long it is.

A chain that was cut off together with its head, or written anew, holds by itself. Who kept an earlier head shows it:
the chain must still pass through there.
"""

import hashlib
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from msgspec import Struct

from parkmesh.server.db import database
from parkmesh.server.db.database import Connection, Pool
from parkmesh.server.http.problems import Problem

GENESIS = bytes(32)

_BATCH = 500
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_LINKS = """
SELECT l.seq, l.entry_id, l.detail_sha256, l.previous, l.hash, e.id, e.at, e.actor, e.user_id, e.action, e.object,
       e.detail::text AS detail, e.salt,
       e.detail IS NULL AND EXISTS (SELECT FROM audit_entry r WHERE r.community_id = l.community_id
                                    AND r.action = 'audit.redact' AND r.object = 'audit/' || e.id) AS redacted
FROM audit_link l LEFT JOIN audit_entry e ON e.community_id = l.community_id AND e.id = l.entry_id
WHERE l.community_id = $1 ORDER BY l.seq
"""
_UNLINKED = """
SELECT e.id FROM audit_entry e WHERE e.community_id = $1
AND NOT EXISTS (SELECT FROM audit_link l WHERE l.community_id = e.community_id AND l.entry_id = e.id)
ORDER BY e.id LIMIT 1
"""


class Head(Struct, frozen=True):
    """A place that a chain passed through: how many entries it had, and the hash of the last one in hex.

    ``community_id`` tells a community from a later one of the same name; None: any community of that name.
    """

    entries: int
    hash: str
    community_id: int | None = None


class Break(Struct, frozen=True):
    """The first place at which a chain doesn't hold. ``entry`` is the id of the entry concerned, where there is one."""

    chain: str
    seq: int
    entry: int | None
    problem: str


def link_hash(previous: bytes, community_id: int, seq: int, row: Mapping[str, Any]) -> bytes:
    """Return the hash that a link must have."""
    micros = (row["at"] - _EPOCH) // timedelta(microseconds=1)
    fields = (
        community_id,
        seq,
        row["id"],
        micros,
        row["actor"],
        "" if row["user_id"] is None else row["user_id"],
        row["action"],
        row["object"],
        row["detail_sha256"].hex(),
    )
    texts = [str(field).encode() for field in fields]
    return hashlib.sha256(previous + b"".join(b"%d:%b," % (len(text), text) for text in texts)).digest()


def detail_hash(salt: bytes | None, detail: str) -> bytes:
    return hashlib.sha256((salt or b"") + detail.encode()).digest()


async def check_chain(
    name: str, community_id: int, links: AsyncIterable[Mapping[str, Any]], anchor: Head | None
) -> Head | Break:
    """Follow a chain from its beginning; return its end, or the first place at which it doesn't hold."""
    seq, previous = 0, GENESIS
    async for row in links:
        seq += 1
        entry = row["entry_id"]
        problem = None
        if row["seq"] != seq:
            last = row["seq"] - 1
            problem = f"entry {seq} of the chain is missing" + (f", and those up to {last}" if last > seq else "")
        elif row["id"] is None:
            problem = "the entry is missing"
        elif row["previous"] != previous:
            problem = "the link doesn't continue the one before"
        elif row["detail"] is None and not row["redacted"]:
            problem = "the detail is gone and no later entry says that it was erased"
        elif row["detail"] is not None and detail_hash(row["salt"], row["detail"]) != row["detail_sha256"]:
            problem = "the detail was changed"
        elif link_hash(previous, community_id, seq, row) != row["hash"]:
            problem = "the entry was changed"
        elif anchor and anchor.entries == seq and row["hash"].hex() != anchor.hash:
            problem = "the chain is another one than the earlier report saw"
        if problem:
            return Break(name, seq, entry, problem)
        previous = row["hash"]
    if anchor and anchor.entries > seq:
        return Break(name, seq, None, f"the chain ends here; the earlier report saw {anchor.entries} entries")
    return Head(seq, previous.hex(), community_id)


async def verify(connection: Connection, name: str, community_id: int, anchor: Head | None) -> Head | Break:
    """Check one chain; ``connection`` is in a transaction that sees a single state of the community's rows."""
    found = await check_chain(name, community_id, _stream(connection, community_id), anchor)
    if isinstance(found, Break):
        return found
    head = await connection.fetchrow("SELECT entries, hash FROM audit_chain WHERE community_id = $1", community_id)
    if head is None and found.entries > 0:
        return Break(name, found.entries, None, "the chain's head is missing")
    if head is not None and (head["entries"], head["hash"].hex()) != (found.entries, found.hash):
        problem = f"the chain ends here; its head counts {head['entries']} entries"
        return Break(name, found.entries, None, problem)
    unlinked = await connection.fetchval(_UNLINKED, community_id)
    if unlinked is not None:
        return Break(name, found.entries, unlinked, "an entry is not in the chain")
    return found


async def verify_community(pool: Pool, community_id: int, community: str, anchor: Head | None) -> Head | Break:
    """Check a community's chain. Raises ``Problem`` 409 where it is being checked already: one check at a time keeps
    a long trail from holding all connections."""
    async with database.in_community(pool, community_id, read_only=True) as connection:
        held = await connection.fetchval(
            "SELECT pg_try_advisory_xact_lock(hashtextextended('verify audit', $1))", community_id
        )
        if not held:
            raise Problem(409, "The audit trail is being verified at this moment. Try again.", kind="busy")
        return await verify(connection, community, community_id, anchor)


async def _stream(connection: Connection, community_id: int) -> AsyncIterator[Mapping[str, Any]]:
    async for row in connection.cursor(_LINKS, community_id, prefetch=_BATCH):
        yield row
