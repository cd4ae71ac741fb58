"""What pages and the API show of one community, read inside its transaction.

Every function takes a connection from ``database.in_community`` or ``at_desk``.
"""

from datetime import UTC, datetime, timedelta

from msgspec import Struct

from parkmesh.server.database import Connection

ONLINE_WITHIN = timedelta(seconds=90)
"""A gateway that was not heard of for longer counts as offline."""


class Community(Struct, frozen=True):
    id: int
    name: str
    title: str
    time_zone: str


class Gateway(Struct, frozen=True):
    """A gateway's health. ``dropped``, ``unknown_gates`` and ``unknown_spaces`` count since the gateway exists."""

    name: str
    online: bool
    last_heartbeat_at: datetime | None
    last_events_at: datetime | None
    version: str | None
    backlog: int | None
    clock_skew_ms: int | None
    access_list_version: int | None
    newest_access_list_version: int
    silent_cameras: list[str]
    unknown_gates: int
    unknown_spaces: int
    dropped: int


async def community(connection: Connection, community_id: int) -> Community:
    row = await connection.fetchrow("SELECT id, name, title, time_zone FROM community WHERE id = $1", community_id)
    return Community(**row)


async def communities(connection: Connection) -> list[Community]:
    """Return all communities that the transaction may see."""
    rows = await connection.fetch("SELECT id, name, title, time_zone FROM community ORDER BY name")
    return [Community(**row) for row in rows]


async def gateways(connection: Connection, community_id: int | None) -> list[tuple[int, Gateway]]:
    """Return ``(community id, gateway)`` pairs; None asks for all that the transaction may see."""
    rows = await connection.fetch(
        """
        SELECT g.*, c.access_list_version AS newest FROM gateway g JOIN community c ON c.id = g.community_id
        WHERE $1::bigint IS NULL OR g.community_id = $1 ORDER BY g.community_id, g.name
        """,
        community_id,
    )
    now = datetime.now(UTC)
    return [
        (
            row["community_id"],
            Gateway(
                name=row["name"],
                online=bool(row["last_heartbeat_at"] and now - row["last_heartbeat_at"] < ONLINE_WITHIN),
                last_heartbeat_at=row["last_heartbeat_at"],
                last_events_at=row["last_events_at"],
                version=row["version"],
                backlog=row["backlog"],
                clock_skew_ms=row["clock_skew_ms"],
                access_list_version=row["access_list_version"],
                newest_access_list_version=row["newest"],
                silent_cameras=list(row["silent_cameras"]),
                unknown_gates=row["unknown_gates"],
                unknown_spaces=row["unknown_spaces"],
                dropped=row["dropped"],
            ),
        )
        for row in rows
    ]
