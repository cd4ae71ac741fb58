"""What pages and the API show of one community, read inside its transaction.

Every function takes a connection from ``database.in_community`` or ``at_desk``.
"""

from datetime import UTC, datetime, timedelta
from typing import Literal

from msgspec import Struct

from parkmesh.server.database import Connection

ONLINE_WITHIN = timedelta(seconds=90)
"""A gateway that was not heard of for longer counts as offline."""


class Community(Struct, frozen=True):
    id: int
    name: str
    title: str
    time_zone: str


class Gate(Struct, frozen=True):
    name: str
    title: str
    direction: str


class Space(Struct, frozen=True):
    """``since`` is when the state began, by the gateway's clock; None for a space that never reported."""

    name: str
    level: str
    category: str
    status: Literal["free", "occupied", "unknown"]
    since: datetime | None


class Passage(Struct, frozen=True):
    id: int
    received_at: datetime
    gate: str
    gate_title: str
    direction: str
    plate: str
    decision: str
    reason: str
    opened: bool | None
    gateway: str


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


class Credential(Struct, frozen=True):
    plate: str
    status: str
    resident: str | None
    unit: str | None
    valid_from: datetime | None
    valid_until: datetime | None


async def community(connection: Connection, community_id: int) -> Community:
    row = await connection.fetchrow("SELECT id, name, title, time_zone FROM community WHERE id = $1", community_id)
    return Community(**row)


async def communities(connection: Connection) -> list[Community]:
    """Return all communities that the transaction may see."""
    rows = await connection.fetch("SELECT id, name, title, time_zone FROM community ORDER BY name")
    return [Community(**row) for row in rows]


async def gates(connection: Connection, community_id: int) -> list[Gate]:
    rows = await connection.fetch(
        "SELECT name, title, direction FROM gate WHERE community_id = $1 ORDER BY id", community_id
    )
    return [Gate(**row) for row in rows]


async def spaces(connection: Connection, community_id: int) -> list[Space]:
    rows = await connection.fetch(
        """
        SELECT s.name, s.level, s.category, coalesce(t.status, 'unknown') AS status, t.changed_at AS since
        FROM space s LEFT JOIN space_state t ON t.community_id = s.community_id AND t.space_id = s.id
        WHERE s.community_id = $1 ORDER BY s.level, s.name
        """,
        community_id,
    )
    return [Space(**row) for row in rows]


async def passages(
    connection: Connection,
    community_id: int,
    *,
    limit: int,
    before: tuple[datetime, int] | None = None,
    plates: list[str] | None = None,
) -> list[Passage]:
    """Return passages, latest first, of ``plates`` only where given; ``before`` is the last one of the page before."""
    rows = await connection.fetch(
        """
        SELECT p.id, p.received_at, p.gate, coalesce(k.title, p.gate) AS gate_title, p.direction, p.plate, p.decision,
               p.reason, p.opened, w.name AS gateway
        FROM passage p
        JOIN gateway w ON w.community_id = p.community_id AND w.id = p.gateway_id
        LEFT JOIN gate k ON k.community_id = p.community_id AND k.name = p.gate
        WHERE p.community_id = $1
          AND ($2::timestamptz IS NULL OR (p.received_at, p.id) < ($2, $3))
          AND ($4::text[] IS NULL OR p.plate = ANY($4))
        ORDER BY p.received_at DESC, p.id DESC LIMIT $5
        """,
        community_id,
        *(before or (None, 0)),
        plates,
        limit,
    )
    return [Passage(**row) for row in rows]


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


async def credentials(connection: Connection, community_id: int) -> list[Credential]:
    rows = await connection.fetch(
        """
        SELECT c.plate, c.status, r.name AS resident, u.name AS unit, c.valid_from, c.valid_until
        FROM credential c
        LEFT JOIN resident r ON r.community_id = c.community_id AND r.id = c.resident_id
        LEFT JOIN unit u ON u.community_id = r.community_id AND u.id = r.unit_id
        WHERE c.community_id = $1 ORDER BY c.plate, c.id
        """,
        community_id,
    )
    return [Credential(**row) for row in rows]


async def plates_of(connection: Connection, community_id: int, resident_id: int | None) -> list[str]:
    """Return the plates of one resident: whose passages he may see."""
    rows = await connection.fetch(
        "SELECT DISTINCT plate FROM credential WHERE community_id = $1 AND resident_id = $2", community_id, resident_id
    )
    return [row["plate"] for row in rows]
