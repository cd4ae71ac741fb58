"""Offers of the waiting list: whoever has waited longest for a time gets what becomes free in it.

The transaction that frees a space makes the offers. An offer is a booking with ``held_until``, so the exclusion
constraint keeps its space from everybody else until the unit claims it, declines it, or ``CLAIM`` is over. Strictly in
the order in which units joined: one comes later only where nothing that is free now fits those before.

What makes offers calls ``enter`` after it held units, spaces and bookings, and before it changes a booking: one
transaction of a community works on its waiting list at a time, and it waits for no row meanwhile.
"""

from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

from parkmesh.domain.windows import Window
from parkmesh.server import audit
from parkmesh.server.communities import rules
from parkmesh.server.db import database
from parkmesh.server.db.community_worker import CommunityWorker
from parkmesh.server.db.database import Connection
from parkmesh.server.reservations import fitting

CLAIM = timedelta(minutes=15)
"""How long a unit has to claim an offer."""
_LOCK = "hashtextextended('parkmesh waiting list', $1)"
_ITSELF = audit.System("waiting list")


async def enter(connection: Connection, community_id: int) -> None:
    """Wait until no other transaction works on the community's waiting list, and keep others out until the end."""
    await connection.execute(f"SELECT pg_advisory_xact_lock({_LOCK})", community_id)


async def make(connection: Connection, community_id: int, now: datetime) -> None:
    """End offers that nobody claimed in time, and offer what is free; after ``enter``."""
    await _lapse(connection, community_id, now)
    waiting = await connection.fetch(
        """
        SELECT id, unit_id, resident_id, starts_at, ends_at, ev, accessible, level FROM waiting
        WHERE community_id = $1 AND state = 'waiting' ORDER BY created_at, id
        """,
        community_id,
    )
    if not waiting:
        return
    limits = await rules.read(connection, community_id)
    busy: set[int] = set()
    for row in waiting:
        if await running(connection, community_id, row["unit_id"], now) >= limits.bookings_per_unit:
            continue
        window = Window(max(row["starts_at"], now), row["ends_at"])
        space_id, busy = await fitting.take_first(
            connection,
            community_id,
            window,
            unit_id=row["unit_id"],
            ev=row["ev"] or None,
            accessible=row["accessible"] or None,
            level=row["level"],
            busy=busy,
        )
        if space_id is not None:
            await _offer(connection, community_id, row, space_id, window, now)


async def running(connection: Connection, community_id: int, unit_id: int, now: datetime) -> int:
    """Return how many bookings a unit has that are not over, offers among them."""
    count: int = await connection.fetchval(
        """
        SELECT count(*) FROM booking
        WHERE community_id = $1 AND unit_id = $2 AND status = 'active' AND ends_at > $3 AND visitor_pass_id IS NULL
        """,
        community_id,
        unit_id,
        now,
    )
    return count


async def _offer(
    connection: Connection, community_id: int, row: Any, space_id: int, window: Window, now: datetime
) -> None:
    booking_id: int = await connection.fetchval(
        """
        INSERT INTO booking (community_id, space_id, unit_id, resident_id, starts_at, ends_at, held_until)
        VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING id
        """,
        community_id,
        space_id,
        row["unit_id"],
        row["resident_id"],
        window.start,
        window.end,
        min(now + CLAIM, window.end),
    )
    await connection.execute(
        "UPDATE waiting SET state = 'offered', offer_id = $3 WHERE community_id = $1 AND id = $2",
        community_id,
        row["id"],
        booking_id,
    )
    await audit.record(connection, _ITSELF, community_id, "waiting.offer", f"waiting/{row['id']}")


async def release(connection: Connection, community_id: int, booking_id: int, now: datetime) -> None:
    """Free the space of an offer."""
    await connection.execute(
        """
        UPDATE booking SET status = 'cancelled', cancelled_at = $3
        WHERE community_id = $1 AND id = $2 AND status = 'active' AND held_until IS NOT NULL
        """,
        community_id,
        booking_id,
        now,
    )


async def _lapse(connection: Connection, community_id: int, now: datetime) -> None:
    """End what nobody claimed in time, and what was waited for until its time was over."""
    rows = await connection.fetch(
        """
        UPDATE waiting w SET state = 'lapsed', ended_at = $2
        WHERE w.community_id = $1 AND (w.state = 'waiting' AND w.ends_at <= $2 OR w.state = 'offered' AND EXISTS (
            SELECT FROM booking b WHERE b.community_id = $1 AND b.id = w.offer_id
                AND (b.held_until <= $2 OR b.status = 'cancelled')))
        RETURNING w.id, w.offer_id
        """,
        community_id,
        now,
    )
    for row in rows:
        if row["offer_id"] is not None:
            await release(connection, community_id, row["offer_id"], now)
        await audit.record(connection, _ITSELF, community_id, "waiting.lapse", f"waiting/{row['id']}")


def worker(pool: database.Pool) -> CommunityWorker:
    """Return this server's part of what time does to waiting lists. ``pool`` connects as the application's role."""

    async def work(community_id: int) -> None:
        await follow(pool, community_id, datetime.now(UTC))

    return CommunityWorker("waiting lists", partial(behind, pool), work)


async def behind(pool: database.Pool, communities: Collection[int] | None) -> list[int]:
    """Return which of the communities (None: of all) have somebody who waits, in no order."""
    async with database.as_server(pool) as connection:
        rows = await connection.fetch(
            """
            SELECT DISTINCT community_id FROM waiting
            WHERE state IN ('waiting', 'offered') AND ($1::bigint[] IS NULL OR community_id = ANY($1))
            """,
            None if communities is None else list(communities),
        )
    return [row["community_id"] for row in rows]


async def renew(connection: Connection, community_id: int, now: datetime) -> None:
    """Make offers of what just became free."""
    await enter(connection, community_id)
    await make(connection, community_id, now)


async def follow(pool: database.Pool, community_id: int, now: datetime) -> None:
    """End what lapsed and offer what is free, unless somebody else does so just now."""
    async with database.in_community(pool, community_id) as connection:
        if await connection.fetchval(f"SELECT pg_try_advisory_xact_lock({_LOCK})", community_id):
            await make(connection, community_id, now)
