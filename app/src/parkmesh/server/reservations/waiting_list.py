"""The waiting list for a time in which nothing is free: joining it, claiming an offer, leaving.

Connections are inside ``database.in_community``. ``offers`` gives out what becomes free.
"""

from datetime import datetime
from typing import Literal

from msgspec import Struct

from parkmesh.domain.windows import Window
from parkmesh.server import audit
from parkmesh.server.communities import community_reads, rules
from parkmesh.server.db import keyset
from parkmesh.server.db.database import Connection
from parkmesh.server.http import problems
from parkmesh.server.http.messages import Message
from parkmesh.server.http.problems import Problem
from parkmesh.server.identity.principals import Principal
from parkmesh.server.reservations import bookings, free_spaces, offers, permits
from parkmesh.server.spaces import spaces

MOST_PER_UNIT = 5

State = Literal["waiting", "offered", "claimed", "lapsed", "left"]


class Waiting(Struct, frozen=True):
    """A unit's place on the list. ``position`` counts those who wait for overlapping times from 1, None once it is
    over. ``space`` and ``claim_until`` belong to an offer, ``booking`` to what was claimed."""

    id: int
    unit: str
    unit_id: int
    from_: datetime
    until: datetime
    ev: bool
    accessible: bool
    level: str | None
    state: State
    position: int | None
    space: str | None
    claim_until: datetime | None
    booking: int | None
    created_at: datetime


_WAITING = """
    SELECT w.id, u.name AS unit, w.unit_id, w.starts_at AS from_, w.ends_at AS until, w.ev, w.accessible, w.level,
           w.state,
           CASE WHEN w.state IN ('waiting', 'offered') THEN 1 + (
               SELECT count(*) FROM waiting e
               WHERE e.community_id = w.community_id AND e.state IN ('waiting', 'offered')
                 AND (e.created_at, e.id) < (w.created_at, w.id)
                 AND e.starts_at < w.ends_at AND e.ends_at > w.starts_at) END AS position,
           s.name AS space, b.held_until AS claim_until, CASE WHEN w.state = 'claimed' THEN w.offer_id END AS booking,
           w.created_at
    FROM waiting w
    JOIN unit u ON u.community_id = w.community_id AND u.id = w.unit_id
    LEFT JOIN booking b ON b.community_id = w.community_id AND b.id = w.offer_id AND w.state IN ('offered', 'claimed')
    LEFT JOIN space s ON s.community_id = b.community_id AND s.id = b.space_id
    WHERE w.community_id = $1 AND ($2::bigint IS NULL OR w.unit_id = $2)
"""

_OFFERED_ACCESSIBLE = f"""
    SELECT {spaces.ACCESSIBLE} FROM waiting w
    JOIN booking b ON b.community_id = w.community_id AND b.id = w.offer_id
    JOIN space s ON s.community_id = b.community_id AND s.id = b.space_id
    WHERE w.community_id = $1 AND w.id = $2
"""  # noqa: S608 - a column of spaces


async def page(
    connection: Connection,
    community_id: int,
    *,
    limit: int,
    after: tuple[datetime, int] | None = None,
    way: keyset.Way = keyset.ON,
    unit_id: int | None = None,
    open_only: bool = False,
) -> list[Waiting]:
    """Return who waits, the first come first; ``after`` is ``(created_at, id)`` of the last one before."""
    rows = await connection.fetch(
        f"""
        {_WAITING} AND ($3::timestamptz IS NULL OR (w.created_at, w.id) {way.above} ($3, $4))
          AND (NOT $5 OR w.state IN ('waiting', 'offered'))
        ORDER BY w.created_at {way.up}, w.id {way.up} LIMIT $6
        """,
        community_id,
        unit_id,
        *(after or (None, 0)),
        open_only,
        limit,
    )
    return [Waiting(**row) for row in rows]


async def get(connection: Connection, community_id: int, waiting_id: int, *, unit_id: int | None = None) -> Waiting:
    """Return a place on the list, of ``unit_id`` only where given; raise ``Problem`` 404."""
    row = await connection.fetchrow(f"{_WAITING} AND w.id = $3", community_id, unit_id, waiting_id)
    if row is None:
        raise problems.not_found()
    return Waiting(**row)


async def join(
    connection: Connection,
    principal: Principal,
    community_id: int,
    *,
    unit_id: int,
    resident_id: int | None,
    window: Window,
    ev: bool,
    accessible: bool,
    level: str | None,
    now: datetime,
) -> Waiting:
    """Have a unit wait for a space in a time.

    Raises ``Problem`` 422 ``outside-rules`` as a booking does, 409 ``available`` where a space is free, 409 ``quota``
    where the unit waits for as many times as it may, 409 ``overlap`` where it waits for an overlapping time already,
    409 ``permit`` where only an accessible space would do and the unit may have none.
    """
    zone = await community_reads.zone(connection, community_id)
    bookings.check_window(window, await rules.read(connection, community_id), now, zone)
    if accessible:
        await permits.check(connection, community_id, unit_id, window.end)
    free = await free_spaces.available(
        connection,
        community_id,
        window,
        limit=1,
        unit_id=unit_id,
        ev=ev or None,
        accessible=accessible or None,
        level=level,
    )
    if free:
        raise Problem(409, "A space is free in that time: book it.", kind="available")
    await offers.enter(connection, community_id)
    open_ = await connection.fetch(
        """
        SELECT starts_at, ends_at FROM waiting
        WHERE community_id = $1 AND unit_id = $2 AND state IN ('waiting', 'offered')
        """,
        community_id,
        unit_id,
    )
    if len(open_) >= MOST_PER_UNIT:
        raise Problem(
            409, Message("A unit may wait for %(limit)s times at once.", limit=MOST_PER_UNIT), kind="quota",
            rule="waiting_per_unit", limit=MOST_PER_UNIT,
        )  # fmt: skip
    if any(Window(*row).overlaps(window) for row in open_):
        raise Problem(409, "Your unit waits for a space in that time already.", kind="overlap")
    waiting_id: int = await connection.fetchval(
        """
        INSERT INTO waiting (community_id, unit_id, resident_id, starts_at, ends_at, ev, accessible, level)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8) RETURNING id
        """,
        community_id,
        unit_id,
        resident_id,
        window.start,
        window.end,
        ev,
        accessible,
        level,
    )
    await audit.record(connection, principal, community_id, "waiting.join", f"waiting/{waiting_id}")
    # What became free since it was asked for above is offered at once.
    await offers.make(connection, community_id, now)
    return await get(connection, community_id, waiting_id)


async def _entered(connection: Connection, community_id: int, waiting_id: int, unit_id: int | None) -> Waiting:
    """Return a place on the list that nobody else changes until the end; raise ``Problem`` 404."""
    await offers.enter(connection, community_id)
    return await get(connection, community_id, waiting_id, unit_id=unit_id)


async def claim(
    connection: Connection,
    principal: Principal,
    community_id: int,
    waiting_id: int,
    now: datetime,
    *,
    unit_id: int | None = None,
) -> Waiting:
    """Make an offer a booking of the unit. Raises ``Problem`` 404, 409 ``over`` where there is no offer (any more), 409
    ``permit`` where the unit had a permit when the space was offered and has none now."""
    found = await _entered(connection, community_id, waiting_id, unit_id)
    if found.state == "claimed":
        return found
    if found.state != "offered" or found.claim_until is None or found.claim_until <= now:
        raise Problem(409, "There is no offer any more.", kind="over")
    accessible = await connection.fetchval(_OFFERED_ACCESSIBLE, community_id, waiting_id)
    if accessible:
        await permits.check(connection, community_id, found.unit_id, found.until)
    booking_id: int = await connection.fetchval(
        """
        UPDATE waiting SET state = 'claimed', ended_at = $3 WHERE community_id = $1 AND id = $2 RETURNING offer_id
        """,
        community_id,
        waiting_id,
        now,
    )
    await connection.execute(
        "UPDATE booking SET held_until = NULL WHERE community_id = $1 AND id = $2", community_id, booking_id
    )
    await audit.record(connection, principal, community_id, "waiting.claim", f"waiting/{waiting_id}")
    await audit.record(connection, principal, community_id, "booking.create", f"booking/{booking_id}")
    return await get(connection, community_id, waiting_id)


async def leave(
    connection: Connection,
    principal: Principal,
    community_id: int,
    waiting_id: int,
    now: datetime,
    *,
    unit_id: int | None = None,
) -> Waiting:
    """Wait no longer; an offer is declined by it, and goes to the next. Raises ``Problem`` 404, 409 ``over``."""
    found = await _entered(connection, community_id, waiting_id, unit_id)
    if found.state == "left":
        return found
    if found.state not in ("waiting", "offered"):
        raise Problem(409, "It is over already.", kind="over")
    offer: int | None = await connection.fetchval(
        "UPDATE waiting SET state = 'left', ended_at = $3 WHERE community_id = $1 AND id = $2 RETURNING offer_id",
        community_id,
        waiting_id,
        now,
    )
    await audit.record(connection, principal, community_id, "waiting.leave", f"waiting/{waiting_id}")
    if offer is not None:
        await offers.release(connection, community_id, offer, now)
        await offers.make(connection, community_id, now)
    return await get(connection, community_id, waiting_id)
