"""The rules of a community, with the defaults where its administrators changed nothing."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from parkmesh.server.database import Connection


class Rules(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Defaults and limits are those of the table ``community_rules``, whose comments give the meanings."""

    lots_per_unit: Annotated[int, Meta(ge=0, le=1000)] | None = None
    anti_passback: Literal["off", "soft", "hard"] = "off"
    entry_hold_s: Annotated[int, Meta(ge=0, le=60)] = 0
    exit_hold_s: Annotated[int, Meta(ge=0, le=60)] = 0
    refusal_hold_s: Annotated[int, Meta(ge=0, le=600)] = 5
    same_plate_window_s: Annotated[int, Meta(ge=1, le=3600)] = 30
    residents_open_gates: bool = False
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
