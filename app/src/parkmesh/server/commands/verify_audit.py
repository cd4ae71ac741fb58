"""``parkmesh verify-audit``: compute every chain of the audit trail again and say where it doesn't hold.

What is hashed is described in ``migrations/versions/0004_audit.py``; it is computed here a second time, from the rows
alone. A chain is read as a stream, so memory stays the same however long it is.

A person who may change anything in the database can also write a whole new chain, or cut off a chain's end together
with its head. A report of an earlier run, kept elsewhere, shows both: the chains must still pass through the heads that
the report names. The chain of a community that was deleted since is no longer there; the desk's own chain then has the
entry that says so and which head went (``deletion``).
"""

import hashlib
import json
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from msgspec import Struct

from parkmesh.server.commands import deletion
from parkmesh.server.db import database
from parkmesh.server.db.database import OUTSIDE, Connection

OUTSIDE_NAME = "(outside)"
"""Names the chain of acts outside of communities; no community can have this name."""
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


_DELETED = "SELECT object, detail FROM audit_entry WHERE community_id = $1 AND action = $2 AND detail IS NOT NULL"


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


class Report(Struct):
    """What ``verify`` found. ``heads`` names the chains that hold."""

    heads: dict[str, Head] = {}
    broken: list[Break] = []


class AnchorError(ValueError):
    """The report of an earlier run can't be read."""


def parse_anchors(text: bytes) -> dict[str, Head]:
    """Return the heads that an earlier run's report names; raise ``AnchorError``."""
    try:
        return msgspec.json.decode(text, type=Report).heads
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise AnchorError(f"not a report of verify-audit: {error}") from None


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


async def verify(connection: Connection, community: str | None, anchors: Mapping[str, Head]) -> Report:
    """Check all chains, or those of one community; raise ``LookupError`` where there is no such community."""
    chains = await _chains(connection)
    report = Report()
    before: dict[int, Head] = {}
    deleted = await _deleted(connection)
    for name, anchor in anchors.items():
        community_id = chains.get(name, -1) if anchor.community_id is None else anchor.community_id
        if community_id in chains.values():
            before[community_id] = anchor
        elif community in (None, name) and (problem := _without(anchor, deleted.get(community_id))):
            report.broken.append(Break(name, anchor.entries, None, problem))
    if community is not None:
        if community not in chains:
            if community in anchors:
                return report
            raise LookupError(f"there is no community {community}")
        chains = {community: chains[community]}
    for name, community_id in chains.items():
        found = await _verify_one(connection, name, community_id, before.get(community_id))
        if isinstance(found, Break):
            report.broken.append(found)
        else:
            report.heads[name] = found
    return report


async def _chains(connection: Connection) -> dict[str, int]:
    """Return the ids of all communities and of all chains there are, by the names of the chains."""
    async with connection.transaction(readonly=True):
        await database.set_scope(connection, "desk")
        rows = await connection.fetch(
            """
            SELECT coalesce(h.community_id, c.id) AS id, c.name
            FROM audit_chain h FULL JOIN community c ON c.id = h.community_id ORDER BY 1
            """
        )
    chains = {OUTSIDE_NAME: OUTSIDE}
    chains |= {row["name"] or f"#{row['id']}": row["id"] for row in rows if row["id"] != OUTSIDE}
    return chains


async def _deleted(connection: Connection) -> dict[int, Head]:
    """Return the heads that the chains of deleted communities had, as the desk's chain tells."""
    async with connection.transaction(readonly=True):
        await connection.execute("SELECT set_config('parkmesh.community', $1, true)", str(OUTSIDE))
        rows = await connection.fetch(_DELETED, OUTSIDE, deletion.ACTION)
    heads = {}
    for row in rows:
        detail = json.loads(row["detail"])
        heads[int(row["object"].partition("/")[2])] = Head(detail["entries"], detail["hash"])
    return heads


def _without(anchor: Head, head: Head | None) -> str | None:
    """Say what is wrong where a chain is gone: nothing, if its community was deleted with a ``head`` that fits."""
    if head is None:
        return f"the chain is gone; the earlier report saw {anchor.entries} entries"
    if anchor.entries < head.entries or (anchor.entries, anchor.hash) == (head.entries, head.hash):
        return None
    return f"the chain that was deleted had {head.entries} entries and isn't the one that the earlier report saw"


async def _verify_one(connection: Connection, name: str, community_id: int, anchor: Head | None) -> Head | Break:
    async with connection.transaction(readonly=True, isolation="repeatable_read"):
        await connection.execute("SELECT set_config('parkmesh.community', $1, true)", str(community_id))
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


async def _stream(connection: Connection, community_id: int) -> AsyncIterator[Mapping[str, Any]]:
    async for row in connection.cursor(_LINKS, community_id, prefetch=_BATCH):
        yield row


def rendered(report: Report) -> str:
    """Return the report as JSON; a later run takes it as its anchors."""
    return json.dumps({"ok": not report.broken, **msgspec.to_builtins(report)})
