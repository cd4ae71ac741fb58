"""What happened at the gates: who was denied, and how often each gate opened."""

from dataclasses import dataclass
from datetime import datetime

from parkmesh.server.db.database import Connection
from parkmesh.server.reports.asked import Asked


@dataclass(frozen=True, slots=True)
class Denied:
    """Denied passages of one plate (empty: none was read) at one gate for one reason."""

    plate: str
    gate: str
    reason: str
    count: int
    first: datetime
    last: datetime


@dataclass(frozen=True, slots=True)
class GateUse:
    """How often a gate opened for a plate and by hand, and how often its barrier didn't confirm that it opened."""

    gate: str
    opened_by_plate: int
    by_hand: int
    failed: int


async def denied(connection: Connection, asked: Asked) -> list[Denied]:
    """Return what was denied, the most frequent first. Reads that matched nothing are kept for 72 hours only."""
    window = asked.window
    rows = await connection.fetch(
        """
        SELECT plate, gate, reason, count(*) AS count, min(received_at) AS first, max(received_at) AS last FROM passage
        WHERE community_id = $1 AND received_at >= $2 AND received_at < $3 AND decision = 'denied'
        GROUP BY plate, gate, reason ORDER BY count(*) DESC, plate, gate, reason
        """,
        asked.community_id,
        window.start,
        window.end,
    )
    return [Denied(**row) for row in rows]


async def use(connection: Connection, asked: Asked) -> list[GateUse]:
    """Return the community's gates, and others that passages name, by name."""
    window = asked.window
    rows = await connection.fetch(
        """
        SELECT coalesce(g.name, p.gate) AS gate,
               count(*) FILTER (WHERE p.opened AND p.reason <> 'command') AS opened_by_plate,
               count(*) FILTER (WHERE p.opened AND p.reason = 'command') AS by_hand,
               count(*) FILTER (WHERE p.opened = false) AS failed
        FROM (SELECT name FROM gate WHERE community_id = $1) g
        FULL JOIN (
            SELECT gate, reason, opened FROM passage
            WHERE community_id = $1 AND received_at >= $2 AND received_at < $3 AND decision = 'granted'
        ) p ON p.gate = g.name
        GROUP BY 1 ORDER BY 1
        """,
        asked.community_id,
        window.start,
        window.end,
    )
    return [GateUse(**row) for row in rows]
