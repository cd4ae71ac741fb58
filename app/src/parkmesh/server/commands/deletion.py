"""Delete communities that the desk offboarded and marked for deletion, once their time has come.

``desk.delete_community`` marks a community; ``parkmesh retention run`` deletes it, as the tables' owner: the
application's role may change neither passages nor the audit trail, and a request is no place for millions of rows. Rows
go table by table, some at a time, and an interrupted run is finished by the next one. The audit trail goes last, in one
transaction with the community itself and with the entry of the desk's own trail that says so: it names the head that
the chain had, so that ``parkmesh verify-audit`` knows afterwards that the chain wasn't cut off.
"""

from collections.abc import Sequence
from datetime import datetime
from graphlib import TopologicalSorter

from msgspec import Struct

from parkmesh.server import audit
from parkmesh.server.db import database
from parkmesh.server.db.database import OUTSIDE, Connection
from parkmesh.server.people import personal_data

ACTION = "community.deleted"
"""The entry of the desk's trail that holds what was deleted."""
BATCH = 20_000
_TRAIL = ("audit_link", "audit_entry", "audit_chain")
_SYSTEM = audit.System("retention")


class Due(Struct, frozen=True):
    """A community whose time has come."""

    id: int
    name: str


async def due(connection: Connection, now: datetime) -> list[Due]:
    """Return the communities to delete; the transaction is in the scope ``retention``."""
    # The database's clock too: by it the triggers of the trail decide what may go.
    rows = await connection.fetch(
        "SELECT id, name FROM community WHERE deletion_due <= least($1, now()) ORDER BY id", now
    )
    return [Due(**row) for row in rows]


async def tables(connection: Connection) -> Sequence[str]:
    """Return all tables with rows of communities, partitions instead of what they are part of, in the order in which
    they can be emptied. The audit trail isn't among them."""
    found = await connection.fetch(
        """
        SELECT c.relname AS name, array_remove(array_agg(f.confrelid::regclass::text), NULL) AS refers_to
        FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'community_id' AND NOT attisdropped
        LEFT JOIN pg_constraint f ON f.conrelid = c.oid AND f.contype = 'f' AND f.confrelid <> c.oid
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' GROUP BY c.relname ORDER BY c.relname
        """
    )
    names = [row["name"] for row in found if row["name"] not in _TRAIL]
    order: TopologicalSorter[str] = TopologicalSorter(dict.fromkeys(names, ()))
    for row in found:
        if row["name"] in names:
            for target in row["refers_to"]:
                order.add(target, row["name"])
    return [name for name in order.static_order() if name in names]


async def forget_accounts(connection: Connection, community_id: int) -> int:
    """Take the accounts out of the community, and erase those that belong nowhere else; return how many memberships
    there were. The transaction is in the scope ``retention``."""
    await database.set_community(connection, community_id)
    users = await connection.fetch("SELECT user_id FROM membership WHERE community_id = $1", community_id)
    # Held before it is looked whether they belong elsewhere: one that joins at this moment does so before or after.
    await database.set_scope(connection, "identity")
    await connection.execute(
        "SELECT FROM app_user WHERE id = ANY($1) ORDER BY id FOR UPDATE", [row["user_id"] for row in users]
    )
    await database.set_scope(connection, "retention")
    alone = await connection.fetch(
        """
        DELETE FROM membership m WHERE m.community_id = $1 AND m.user_id = ANY($2)
        RETURNING m.user_id, NOT EXISTS (
            SELECT FROM membership o WHERE o.user_id = m.user_id AND o.community_id <> $1) AS alone
        """,
        community_id,
        [row["user_id"] for row in users],
    )
    await database.set_scope(connection, "identity")
    own = await connection.fetch(
        "SELECT id FROM app_user WHERE id = ANY($1) AND NOT operator", [row["user_id"] for row in alone if row["alone"]]
    )
    await personal_data.erase_accounts(connection, [row["id"] for row in own])
    return len(alone)


async def delete_some(connection: Connection, community_id: int, table: str) -> int:
    """Delete up to ``BATCH`` of the community's rows of one of ``tables``; return how many."""
    await database.set_community(connection, community_id)
    done: str = await connection.execute(
        f"""
        DELETE FROM {table}
        WHERE ctid = ANY(ARRAY(SELECT ctid FROM {table} WHERE community_id = $1 LIMIT {BATCH})) AND community_id = $1
        """,  # noqa: S608 - a name of the catalogue
        community_id,
    )
    return int(done.rpartition(" ")[2])


async def finish(connection: Connection, community: Due, rows: int) -> int:
    """Delete the audit trail and the community itself, of which nothing else is left, and say so in the desk's trail.

    ``rows`` is how many went before; returns how many went now.
    """
    await database.set_community(connection, community.id)
    head = await connection.fetchrow(
        "SELECT entries, encode(hash, 'hex') AS hash FROM audit_chain WHERE community_id = $1", community.id
    )
    for table in _TRAIL:
        await connection.execute(f"DELETE FROM {table} WHERE community_id = $1", community.id)  # noqa: S608 - names from here
    await database.set_scope(connection, "provision")
    # Its entries, their links, the head of the chain, and the community.
    trail = 2 * head["entries"] + 2
    detail = {"name": community.name, "entries": head["entries"], "hash": head["hash"], "rows": rows + trail}
    await audit.record(connection, _SYSTEM, OUTSIDE, ACTION, f"community/{community.id}", detail)
    await connection.execute("DELETE FROM community WHERE id = $1", community.id)
    return int(trail)
