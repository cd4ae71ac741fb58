"""Reading and changing the rules of a community. What rules there are is in ``domain.community_rules``."""

import msgspec

from parkmesh.domain.community_rules import Rules
from parkmesh.server import audit
from parkmesh.server.db.database import Connection

_COLUMNS = ", ".join(Rules.__struct_fields__)


async def read(connection: Connection, community_id: int) -> Rules:
    """Return the rules of the community that the transaction is in."""
    row = await connection.fetchrow(
        f"SELECT {_COLUMNS} FROM community_rules WHERE community_id = $1",  # noqa: S608 - names of this module
        community_id,
    )
    return Rules(**row) if row else Rules()


async def lock(connection: Connection, community_id: int) -> Rules:
    """Return the rules, and keep others from changing them until the transaction ends."""
    await connection.execute("SELECT FROM community WHERE id = $1 FOR NO KEY UPDATE", community_id)
    return await read(connection, community_id)


async def change(
    connection: Connection, principal: audit.Actor, community_id: int, present: Rules, wanted: Rules
) -> Rules:
    """Put ``wanted`` in the place of ``present``; the audit trail names what changed.

    The gateways hear of what concerns them with the access list.
    """
    if wanted != present:
        values = msgspec.structs.astuple(wanted)
        numbers = ", ".join(f"${number}" for number in range(2, len(values) + 2))
        sets = ", ".join(f"{name} = excluded.{name}" for name in Rules.__struct_fields__)
        await connection.execute(
            f"INSERT INTO community_rules (community_id, {_COLUMNS}) VALUES ($1, {numbers}) "  # noqa: S608 - our names
            f"ON CONFLICT (community_id) DO UPDATE SET {sets}",
            community_id,
            *values,
        )
        before, after = msgspec.structs.asdict(present), msgspec.structs.asdict(wanted)
        changes = {name: [before[name], after[name]] for name in after if before[name] != after[name]}
        await audit.record(connection, principal, community_id, "rules.change", "rules", changes)
    return wanted
