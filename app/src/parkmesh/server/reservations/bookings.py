"""Bookings: a unit has a space for a while. What is free, booking it, moving it in time, and cancelling.

Connections are inside ``database.in_community``. Two things decide at commit: the exclusion constraint on active
bookings of a space, and, for a space that another unit shares, its windows, which don't change while the space's row is
held. The unit's row is held first, so that its bookings are counted one at a time.
"""

from datetime import datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

from msgspec import Struct

from parkmesh.domain import plates
from parkmesh.domain.community_rules import Rules
from parkmesh.domain.windows import Window
from parkmesh.server import audit
from parkmesh.server.communities import community_reads, rules
from parkmesh.server.db import keyset
from parkmesh.server.db.database import Connection
from parkmesh.server.http import problems
from parkmesh.server.http.messages import Message
from parkmesh.server.http.problems import Problem
from parkmesh.server.identity.principals import Principal
from parkmesh.server.reservations import offers, overlaps, permits, sharing, states
from parkmesh.server.spaces import spaces

GRACE = timedelta(hours=1)
"""How long ago something may begin that is made now: people say nine o'clock at five past nine."""

Status = Literal["active", "cancelled"]


class Booking(Struct, frozen=True):
    """``visitor_pass`` is the pass that the space is booked for, if any. ``resident`` is who booked it, null where that
    was staff or the resident is gone."""

    id: int
    space: str
    level: str
    unit: str
    unit_id: int
    from_: datetime
    until: datetime
    status: Status
    visitor_pass: int | None
    cancelled_at: datetime | None
    cancel_reason: str | None
    created_at: datetime
    resident_id: int | None
    resident: str | None


_BOOKING = """
    SELECT b.id, s.name AS space, s.level, u.name AS unit, b.unit_id, b.starts_at AS from_, b.ends_at AS until,
           b.status, b.visitor_pass_id AS visitor_pass, b.cancelled_at, b.cancel_reason, b.created_at,
           b.resident_id, r.name AS resident
    FROM booking b
    JOIN space s ON s.community_id = b.community_id AND s.id = b.space_id
    JOIN unit u ON u.community_id = b.community_id AND u.id = b.unit_id
    LEFT JOIN resident r ON r.community_id = b.community_id AND r.id = b.resident_id
    LEFT JOIN visitor_pass v ON v.community_id = b.community_id AND v.id = b.visitor_pass_id
    WHERE b.community_id = $1 AND b.held_until IS NULL
"""
_CONFLICTING = """
    SELECT starts_at, ends_at FROM booking
    WHERE community_id = $1 AND space_id = $2 AND status = 'active' AND starts_at < $4 AND ends_at > $3 AND id <> $5
    ORDER BY starts_at LIMIT 1
"""


async def page(
    connection: Connection,
    community_id: int,
    *,
    limit: int,
    after: tuple[datetime, int] | None = None,
    way: keyset.Way = keyset.ON,
    unit_id: int | None = None,
    space: str | None = None,
    status: Status | None = None,
    ends_after: datetime | None = None,
    starts_before: datetime | None = None,
    resident_id: int | None = None,
    search: str = "",
    state: states.State | None = None,
    now: datetime | None = None,
) -> list[Booking]:
    """Return bookings, latest first, of one unit, space or resident only where given; ``after`` is ``(from_, id)`` of
    the last one before. ``search`` is a text in the names of space, unit or visitor, of who booked (where all units are
    asked for), or a part of the visitor's plate; ``state`` is that of ``now``."""
    rows = await connection.fetch(
        f"""
        {_BOOKING} AND ($2::timestamptz IS NULL OR (b.starts_at, b.id) {way.below} ($2, $3))
          AND ($4::bigint IS NULL OR b.unit_id = $4) AND ($5::text IS NULL OR s.name = $5)
          AND ($6::text IS NULL OR b.status = $6) AND ($7::timestamptz IS NULL OR b.ends_at > $7)
          AND ($8::timestamptz IS NULL OR b.starts_at < $8)
          AND ($10::bigint IS NULL OR b.resident_id = $10)
          AND ($11 = '' OR strpos(v.plate, $12) > 0
               OR strpos(lower(concat_ws(' ', s.name, u.name, v.name, CASE WHEN $4 IS NULL THEN r.name END)),
                         lower($11)) > 0)
          AND {states.in_state("b", 13)}
        ORDER BY b.starts_at {way.down}, b.id {way.down} LIMIT $9
        """,
        community_id,
        *(after or (None, 0)),
        unit_id,
        space,
        status,
        ends_after,
        starts_before,
        limit,
        resident_id,
        search,
        plates.normalise(search) or search.upper(),
        state,
        now,
    )
    return [Booking(**row) for row in rows]


async def get(
    connection: Connection,
    community_id: int,
    booking_id: int,
    *,
    unit_id: int | None = None,
    for_change: bool = False,
) -> Booking:
    """Return a booking, of ``unit_id`` only where given, held where it is to be changed; raise ``Problem`` 404."""
    row = await connection.fetchrow(
        f"{_BOOKING} AND b.id = $2 AND ($3::bigint IS NULL OR b.unit_id = $3)"
        f"{' FOR NO KEY UPDATE OF b' if for_change else ''}",
        community_id,
        booking_id,
        unit_id,
    )
    if row is None:
        raise problems.not_found()
    return Booking(**row)


def check_window(window: Window, limits: Rules, now: datetime, zone: ZoneInfo) -> None:
    """Raise ``Problem`` 422 of kind ``outside-rules`` for a time that the rules don't let anyone book."""
    check_begin(window, limits, now, zone)
    _check_length(window, limits)


def _check_length(window: Window, limits: Rules) -> None:
    if window.length > timedelta(hours=limits.booking_max_hours):
        hours = limits.booking_max_hours
        raise outside_rules(
            Message("A booking lasts %(hours)s hours at most.", hours=hours), rule="booking_max_hours", limit=hours
        )


def check_begin(window: Window, limits: Rules, now: datetime, zone: ZoneInfo) -> None:
    """Raise ``Problem`` 422 of kind ``outside-rules`` for a time that begins in the past or too far in the future.

    Days count by the clock of ``zone``: 60 days from ten o'clock end at ten o'clock, whatever the clock skipped or
    repeated in between.
    """
    if window.end <= now or window.start < now - GRACE:
        raise outside_rules(Message("The time would begin in the past."), rule="past", limit=0)
    if window.start > now.astimezone(zone) + timedelta(days=limits.booking_days_ahead):
        days = limits.booking_days_ahead
        raise outside_rules(
            Message("The time may begin at most %(days)s days ahead.", days=days), rule="booking_days_ahead", limit=days
        )


def outside_rules(detail: Message, *, rule: str, limit: int) -> Problem:
    """Return ``Problem`` 422 for what a rule of the community doesn't allow."""
    return Problem(422, detail, kind="outside-rules", rule=rule, limit=limit)


async def hold_unit(connection: Connection, community_id: int, unit_id: int) -> None:
    """Hold a unit's row, so that what it may have a number of is counted one at a time; raise ``Problem`` 404."""
    held = await connection.fetchval(
        "SELECT id FROM unit WHERE community_id = $1 AND id = $2 FOR NO KEY UPDATE", community_id, unit_id
    )
    if held is None:
        raise problems.not_found()


async def create(
    connection: Connection,
    principal: Principal,
    community_id: int,
    *,
    space: str,
    unit_id: int,
    resident_id: int | None,
    window: Window,
    now: datetime,
) -> Booking:
    """Book a space for a unit.

    Raises ``Problem``: 404 for a space that there isn't, 422 ``outside-rules``, 409 ``quota`` where the unit has as
    many bookings as it may, 409 ``not-available`` where the space isn't shared for the whole time, 409 ``overlap`` with
    the booking that is in the way, 409 ``permit`` for an accessible space that the unit may not have.
    """
    limits = await rules.read(connection, community_id)
    check_window(window, limits, now, await community_reads.zone(connection, community_id))
    await hold_unit(connection, community_id, unit_id)
    running = await offers.running(connection, community_id, unit_id, now)
    if running >= limits.bookings_per_unit:
        raise Problem(
            409,
            Message("A unit may have %(limit)s bookings at a time.", limit=limits.bookings_per_unit),
            kind="quota",
            rule="bookings_per_unit",
            limit=limits.bookings_per_unit,
        )
    held = await spaces.lock(connection, community_id, space)
    if held.category == "visitor":
        raise Problem(409, "A visitors' space is booked with a visitor pass.", kind="category")
    await _check_shared(connection, community_id, held, unit_id, window, now)
    await _check_permit(connection, community_id, held, unit_id, window)
    return await place(
        connection, principal, community_id, held, unit_id=unit_id, resident_id=resident_id, window=window
    )


async def _check_shared(
    connection: Connection, community_id: int, held: spaces.Locked, unit_id: int, window: Window, now: datetime
) -> None:
    """Raise ``Problem`` 409 ``not-available`` where a space that belongs to a unit isn't another one's to book."""
    if held.category != "assigned":
        return
    await sharing.extend_windows(connection, community_id, held.id, window.end, now)
    owner = await connection.fetchval(
        """
        SELECT unit_id FROM shared_window
        WHERE community_id = $1 AND space_id = $2 AND ends_at >= $4 AND starts_at <= $3
        """,
        community_id,
        held.id,
        window.start,
        window.end,
    )
    if owner is None:
        raise Problem(409, "The space isn't shared for the whole of that time.", kind="not-available")
    if owner == unit_id:
        raise Problem(409, "The space is your own; take it back instead of booking it.", kind="not-available")


async def _check_permit(
    connection: Connection, community_id: int, held: spaces.Locked, unit_id: int, window: Window
) -> None:
    """Raise ``Problem`` 409 ``permit`` for an accessible space that the unit may not have until the end."""
    if held.accessible:
        await permits.check(connection, community_id, unit_id, window.end)


async def place(
    connection: Connection,
    principal: Principal,
    community_id: int,
    held: spaces.Locked,
    *,
    unit_id: int,
    resident_id: int | None,
    window: Window,
    visitor_pass: int | None = None,
) -> Booking:
    """Write down the booking of a space that is held; raise ``Problem`` 409 with the booking that is in the way."""
    async with overlaps.refused(
        connection,
        _CONFLICTING,
        community_id,
        held.id,
        window.start,
        window.end,
        0,
        detail=overlaps.BOOKED,
    ):
        booking_id: int = await connection.fetchval(
            """
            INSERT INTO booking (community_id, space_id, unit_id, resident_id, visitor_pass_id, starts_at, ends_at)
            VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING id
            """,
            community_id,
            held.id,
            unit_id,
            resident_id,
            visitor_pass,
            window.start,
            window.end,
        )
    detail = {"space": held.name, "from": window.start.isoformat(), "until": window.end.isoformat()}
    await audit.record(connection, principal, community_id, "booking.create", f"booking/{booking_id}", detail)
    return await get(connection, community_id, booking_id)


async def move(
    connection: Connection,
    principal: Principal,
    community_id: int,
    booking: Booking,
    window: Window,
    now: datetime,
) -> Booking:
    """Give a booking of a unit another time on the same space.

    One that has begun may keep its beginning. Raises ``Problem`` as ``create`` does but for the quota, and 409 where
    the booking is over, cancelled, or belongs to a visitor's pass.
    """
    if booking.visitor_pass is not None:
        raise Problem(409, "This booking belongs to a visitor pass; cancel the pass.", kind="visitor")
    await hold_unit(connection, community_id, booking.unit_id)
    held = await spaces.lock(connection, community_id, booking.space)
    booking = await get(connection, community_id, booking.id, for_change=True)
    if booking.status == "cancelled" or booking.until <= now:
        raise Problem(409, "The booking is over.", kind="over")
    limits = await rules.read(connection, community_id)
    begun = booking.from_ <= now and window.start == booking.from_
    if not begun or window.end <= now:
        check_begin(window, limits, now, await community_reads.zone(connection, community_id))
    _check_length(window, limits)
    await _check_shared(connection, community_id, held, booking.unit_id, window, now)
    await _check_permit(connection, community_id, held, booking.unit_id, window)
    await offers.enter(connection, community_id)
    async with overlaps.refused(
        connection,
        _CONFLICTING,
        community_id,
        held.id,
        window.start,
        window.end,
        booking.id,
        detail=overlaps.BOOKED,
    ):
        await connection.execute(
            "UPDATE booking SET starts_at = $3, ends_at = $4 WHERE community_id = $1 AND id = $2",
            community_id,
            booking.id,
            window.start,
            window.end,
        )
    detail = {"from": window.start.isoformat(), "until": window.end.isoformat()}
    await audit.record(connection, principal, community_id, "booking.change", f"booking/{booking.id}", detail)
    await offers.make(connection, community_id, now)
    return await get(connection, community_id, booking.id)


async def cancel(
    connection: Connection,
    principal: Principal,
    community_id: int,
    booking: Booking,
    reason: str | None,
    now: datetime,
) -> Booking:
    """Cancel a booking that is held; the space is free from now on. Raises ``Problem`` 409 where it is over."""
    if booking.status == "cancelled":
        return booking
    if booking.until <= now:
        raise Problem(409, "The booking is over.", kind="over")
    await offers.enter(connection, community_id)
    await connection.execute(
        """
        UPDATE booking SET status = 'cancelled', cancelled_at = $3, cancel_reason = $4
        WHERE community_id = $1 AND id = $2
        """,
        community_id,
        booking.id,
        now,
        reason,
    )
    detail = {"reason": reason} if reason else {}
    await audit.record(connection, principal, community_id, "booking.cancel", f"booking/{booking.id}", detail)
    await offers.make(connection, community_id, now)
    return await get(connection, community_id, booking.id)
