"""What a community holds, counted: operators see it before they offboard the community."""

from msgspec import Struct

from parkmesh.server.db.database import Connection


class Holdings(Struct, frozen=True):
    """``plates`` and ``api_keys`` are those that work; ``bookings`` and ``visitor_passes`` those that aren't over."""

    accounts: int
    residents: int
    units: int
    plates: int
    spaces: int
    gates: int
    gateways: int
    api_keys: int
    bookings: int
    visitor_passes: int


_COUNTS = {
    "accounts": "membership WHERE true",
    "residents": "resident WHERE erased_at IS NULL",
    "units": "unit WHERE true",
    "plates": "credential WHERE status = 'active'",
    "spaces": "space WHERE true",
    "gates": "gate WHERE true",
    "gateways": "gateway WHERE true",
    "api_keys": "api_key WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())",
    "bookings": "booking WHERE status = 'active' AND ends_at > now()",
    "visitor_passes": "visitor_pass WHERE status = 'active' AND ends_at > now()",
}


async def count(connection: Connection, community_id: int) -> Holdings:
    """Count what a community holds; ``connection`` is inside ``database.in_community``."""
    counts = ", ".join(
        f"(SELECT count(*) FROM {things} AND community_id = $1) AS {name}"  # noqa: S608 - text of this module
        for name, things in _COUNTS.items()
    )
    return Holdings(**await connection.fetchrow(f"SELECT {counts}", community_id))
