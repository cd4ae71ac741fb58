"""The rules of a community, with the defaults where its administrators changed nothing."""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from parkmesh.server import audit
from parkmesh.server.db.database import Connection
from parkmesh.server.identity.principals import Principal


class Rules(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Defaults and limits are those of the table ``community_rules``, whose comments give the meanings."""

    lots_per_unit: Annotated[int, Meta(ge=0, le=1000)] | None = None
    anti_passback: Literal["off", "soft", "hard"] = "off"
    entry_hold_s: Annotated[int, Meta(ge=0, le=60)] = 0
    exit_hold_s: Annotated[int, Meta(ge=0, le=60)] = 0
    refusal_hold_s: Annotated[int, Meta(ge=0, le=600)] = 5
    same_plate_window_s: Annotated[int, Meta(ge=1, le=3600)] = 30
    residents_open_gates: bool = False
    visitors_open_gates: bool = False
    visitor_passes_per_unit: Annotated[int, Meta(ge=0, le=10000)] = 10
    visitor_pass_max_hours: Annotated[int, Meta(ge=1, le=8760)] = 72
    booking_max_hours: Annotated[int, Meta(ge=1, le=8760)] = 336
    booking_days_ahead: Annotated[int, Meta(ge=1, le=730)] = 60
    bookings_per_unit: Annotated[int, Meta(ge=0, le=1000)] = 5


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
    connection: Connection, principal: Principal, community_id: int, present: Rules, wanted: Rules
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
