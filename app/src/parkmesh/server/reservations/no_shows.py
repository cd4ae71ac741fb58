"""Bookings that nobody uses: they end, and the space goes to the waiting list or is free again.

Only where the community's rule ``no_show_minutes`` says so, and only on what is known: as long as a gateway of the
community is silent, or still has to send what it saw, nobody counts as absent. A space whose sensor says nothing, or
without a sensor for a unit without a plate, is left alone too.
"""

from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from functools import partial

from msgspec import Struct

from parkmesh.server import audit
from parkmesh.server.communities import rules
from parkmesh.server.db import database
from parkmesh.server.db.community_worker import CommunityWorker
from parkmesh.server.db.database import Connection
from parkmesh.server.reservations import offers
from parkmesh.server.spaces import spaces

SHOWN = timedelta(days=1)
"""How long a unit's page says that a booking ended."""
_ITSELF = audit.System("no-shows")

# A gateway that was never heard, or has sent nothing for a while, may have seen a car.
_ALL_HEARD = f"""
    SELECT count(*) > 0 AND coalesce(bool_and(
        coalesce(greatest(g.last_heartbeat_at, g.last_events_at) > now() - {spaces.SILENT_AFTER}, false)
        AND coalesce(g.backlog, 0) = 0), false)
    FROM gateway g WHERE g.community_id = $1
"""  # noqa: S608 - text of this program
# Who books or moves late has the whole time from then on. What the last word on a plate says since the booking's start,
# in or out, shows that the car was there; a plate of the unit that is inside may stand anywhere.
_ABSENT = """
    SELECT b.id FROM booking b
    LEFT JOIN space_state t ON t.community_id = b.community_id AND t.space_id = b.space_id
    WHERE b.community_id = $1 AND b.status = 'active' AND b.held_until IS NULL AND b.visitor_pass_id IS NULL
      AND b.ends_at > $2 AND greatest(b.starts_at, b.created_at, b.changed_at) <= $2 - $3::interval
      AND CASE WHEN t.space_id IS NULL
               THEN EXISTS (SELECT FROM credential c
                            JOIN resident r ON r.community_id = c.community_id AND r.id = c.resident_id
                            WHERE c.community_id = b.community_id AND r.unit_id = b.unit_id AND c.status = 'active')
               ELSE t.status = 'free' AND t.changed_at <= b.starts_at AND t.received_at > $2 - $4::interval END
      AND NOT EXISTS (SELECT FROM presence p
                      JOIN credential c ON c.community_id = p.community_id AND c.plate = p.plate
                      JOIN resident r ON r.community_id = c.community_id AND r.id = c.resident_id
                      WHERE p.community_id = b.community_id AND r.unit_id = b.unit_id
                        AND (p.inside OR p.at >= b.starts_at))
    ORDER BY b.id FOR NO KEY UPDATE OF b SKIP LOCKED
"""


class Released(Struct, frozen=True):
    """A booking that ended because nobody came, and when."""

    space: str
    at: datetime


async def recent(connection: Connection, community_id: int, unit_id: int, now: datetime) -> list[Released]:
    """Return a unit's bookings that ended so in the last day, the latest first."""
    rows = await connection.fetch(
        """
        SELECT s.name AS space, b.cancelled_at AS at FROM booking b
        JOIN space s ON s.community_id = b.community_id AND s.id = b.space_id
        WHERE b.community_id = $1 AND b.unit_id = $2 AND b.no_show AND b.ends_at > $3 AND b.cancelled_at > $3
        ORDER BY b.cancelled_at DESC LIMIT 5
        """,
        community_id,
        unit_id,
        now - SHOWN,
    )
    return [Released(**row) for row in rows]


async def release(connection: Connection, community_id: int, now: datetime) -> list[int]:
    """End the bookings that nobody uses; return their ids. Several servers at once end each one once."""
    minutes = (await rules.read(connection, community_id)).no_show_minutes
    if not minutes or not await connection.fetchval(_ALL_HEARD, community_id):
        return []
    rows = await connection.fetch(_ABSENT, community_id, now, timedelta(minutes=minutes), spaces.FRESH)
    if not rows:
        return []
    await offers.enter(connection, community_id)
    absent: list[int] = [row["id"] for row in rows]
    await connection.execute(
        """
        UPDATE booking SET status = 'cancelled', cancelled_at = $3, no_show = true
        WHERE community_id = $1 AND id = ANY($2)
        """,
        community_id,
        absent,
        now,
    )
    for booking_id in absent:
        await audit.record(connection, _ITSELF, community_id, "booking.no-show", f"booking/{booking_id}")
    await offers.make(connection, community_id, now)
    return absent


def worker(pool: database.Pool) -> CommunityWorker:
    """Return this server's part of the work. ``pool`` connects as the application's role."""

    async def work(community_id: int) -> None:
        async with database.in_community(pool, community_id) as connection:
            await release(connection, community_id, datetime.now(UTC))

    return CommunityWorker("no-shows", partial(behind, pool), work)


async def behind(pool: database.Pool, communities: Collection[int] | None) -> list[int]:
    """Return which of the communities (None: of all) end bookings that nobody uses, in no order."""
    async with database.as_server(pool) as connection:
        rows = await connection.fetch(
            """
            SELECT community_id FROM community_rules
            WHERE no_show_minutes > 0 AND ($1::bigint[] IS NULL OR community_id = ANY($1))
            """,
            None if communities is None else list(communities),
        )
    return [row["community_id"] for row in rows]
