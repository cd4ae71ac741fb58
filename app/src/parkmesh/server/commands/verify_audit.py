"""``parkmesh verify-audit``: compute every chain of the audit trail again and say where it doesn't hold.

One chain is checked by ``communities/audit_chain.py``.

A person who may change anything in the database can also write a whole new chain, or cut off a chain's end together
with its head. A report of an earlier run, kept elsewhere, shows both: the chains must still pass through the heads that
the report names. The chain of a community that was deleted since is no longer there; the desk's own chain then has the
entry that says so and which head went (``deletion``).
"""

import json
from collections.abc import Mapping

import msgspec
from msgspec import Struct

from parkmesh.server.commands import deletion
from parkmesh.server.communities import audit_chain
from parkmesh.server.communities.audit_chain import Break, Head
from parkmesh.server.db import database
from parkmesh.server.db.database import OUTSIDE, Connection

OUTSIDE_NAME = "(outside)"
"""Names the chain of acts outside of communities; no community can have this name."""

_DELETED = "SELECT object, detail FROM audit_entry WHERE community_id = $1 AND action = $2 AND detail IS NOT NULL"


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
        async with connection.transaction(readonly=True, isolation="repeatable_read"):
            await connection.execute("SELECT set_config('parkmesh.community', $1, true)", str(community_id))
            found = await audit_chain.verify(connection, name, community_id, before.get(community_id))
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


def rendered(report: Report) -> str:
    """Return the report as JSON; a later run takes it as its anchors."""
    return json.dumps({"ok": not report.broken, **msgspec.to_builtins(report)})
