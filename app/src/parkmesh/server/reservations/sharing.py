"""Sharing: a unit lets others book its space while it is away, and takes back what isn't booked.

Connections are inside ``database.in_community``. What a unit says (``sharing_rule``, ``sharing_exception``) is written
out as the concrete windows that follow from it (``shared_window``), and a booking must lie within one of them. A
transaction that changes windows or bookings holds the space's row (``spaces.lock``), so at every commit each booking of
a shared space lies within its windows. Windows are written out as far ahead as people may book. As time moves on, the
first booking or search for free spaces that needs more windows writes them (``extend_windows``,
``extend_all_windows``).
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from msgspec import Struct

from parkmesh.domain.sharing import Said, Weekly, shared
from parkmesh.domain.windows import Window, covers, intersect, merge, subtract
from parkmesh.server import audit
from parkmesh.server.communities import rules
from parkmesh.server.db.database import Connection
from parkmesh.server.http import problems
from parkmesh.server.http.messages import Message
from parkmesh.server.http.problems import Problem
from parkmesh.server.identity.principals import Principal
from parkmesh.server.reservations import offers, overlaps
from parkmesh.server.spaces import spaces

MAX_RULES = 50
MAX_EXCEPTIONS = 200
SLACK = timedelta(days=7)
"""How much further than people may book windows are written out, so that it isn't done anew every day."""
KEPT = timedelta(days=30)
"""How long windows, rules and exceptions that are over stay."""


class Once(Struct, frozen=True):
    id: int
    from_: datetime
    until: datetime


class Pattern(Struct, frozen=True):
    """Every week on ``days`` (0 is Monday), by the community's clock; see ``domain.sharing.Weekly``."""

    id: int
    days: list[int]
    starts: time
    ends: time
    first_day: date
    last_day: date | None


class Stretch(Struct, frozen=True):
    from_: datetime
    until: datetime


class Booked(Struct, frozen=True):
    """When a shared space is booked, and who booked it: the unit, and its resident while they belong to it. Both are
    None while the time is only offered to a unit that waits, ``resident`` also where staff booked."""

    from_: datetime
    until: datetime
    unit: str | None
    resident: str | None


class Sharing(Struct, frozen=True):
    """What a unit said about its space, and what follows: when it is shared from now on (as far ahead as windows are
    written out), when and by whom it is booked, and when it is still free to book (``open``)."""

    space: str
    unit: str
    windows: list[Once]
    patterns: list[Pattern]
    blocked_days: list[date]
    withheld: list[Stretch]
    shared: list[Stretch]
    booked: list[Booked]
    open: list[Stretch]


class Held(Struct, frozen=True):
    """A unit's space that this transaction holds."""

    space_id: int
    space: str
    unit_id: int


async def hold(connection: Connection, community_id: int, space: str, unit_id: int | None, now: datetime) -> Held:
    """Hold a space that is or will be the unit's own; None: of the unit that has it now or next.

    Raises ``Problem`` 404 for a space that is none of the unit's.
    """
    held = await spaces.lock(connection, community_id, space)
    owner = await _owner(connection, community_id, held.id, unit_id, now)
    return Held(held.id, held.name, owner)


async def _owner(connection: Connection, community_id: int, space_id: int, unit_id: int | None, now: datetime) -> int:
    owner: int | None = await connection.fetchval(
        """
        SELECT unit_id FROM space_assignment
        WHERE community_id = $1 AND space_id = $2 AND ($3::bigint IS NULL OR unit_id = $3)
          AND (ends_at IS NULL OR ends_at > $4)
        ORDER BY starts_at LIMIT 1
        """,
        community_id,
        space_id,
        unit_id,
        now,
    )
    if owner is None:
        raise problems.not_found()
    return owner


_BOOKED = """
SELECT b.starts_at AS from_, b.ends_at AS until, CASE WHEN b.held_until IS NULL THEN u.name END AS unit,
       CASE WHEN b.held_until IS NULL THEN r.name END AS resident
FROM booking b
JOIN unit u ON u.community_id = b.community_id AND u.id = b.unit_id
LEFT JOIN resident r ON r.community_id = b.community_id AND r.id = b.resident_id AND r.unit_id = b.unit_id AND r.active
WHERE b.community_id = $1 AND b.space_id = $2 AND b.status = 'active' AND b.ends_at > $3 ORDER BY b.starts_at
"""


async def get(connection: Connection, community_id: int, space: str, unit_id: int | None, now: datetime) -> Sharing:
    """Return what a unit shares of its space; None: the unit that has it now or next. Raises ``Problem`` 404."""
    seen = await spaces.get(connection, community_id, space)
    owner = await _owner(connection, community_id, seen.id, unit_id, now)
    unit: str = await connection.fetchval(
        "SELECT name FROM unit WHERE community_id = $1 AND id = $2", community_id, owner
    )
    place = (community_id, seen.id, owner)
    said = await _rules(connection, *place, now)
    exceptions = await _exceptions(connection, *place, now)
    windows = await connection.fetch(
        """
        SELECT starts_at AS from_, ends_at AS until FROM shared_window
        WHERE community_id = $1 AND space_id = $2 AND unit_id = $3 AND ends_at > $4 ORDER BY starts_at
        """,
        *place,
        now,
    )
    rows = await connection.fetch(_BOOKED, community_id, seen.id, now)
    booked = [Booked(**row) for row in rows]
    taken = [Window(item.from_, item.until) for item in booked]
    ours = [Window(row["from_"], row["until"]) for row in windows]
    return Sharing(
        space=space,
        unit=unit,
        windows=[Once(row["id"], row["starts_at"], row["ends_at"]) for row in said if row["days"] is None],
        patterns=[_pattern(row) for row in said if row["days"] is not None],
        blocked_days=[row["day"] for row in exceptions if row["day"] is not None],
        withheld=[Stretch(row["starts_at"], row["ends_at"]) for row in exceptions if row["day"] is None],
        shared=[Stretch(**row) for row in windows],
        booked=[item for item, window in zip(booked, taken, strict=True) if covers(ours, window)],
        open=[Stretch(max(item.start, now), item.end) for item in subtract(ours, taken) if item.end > now],
    )


async def share_once(
    connection: Connection, principal: Principal, community_id: int, held: Held, window: Window, now: datetime
) -> Once:
    """Share the space for one window. What was taken back of it before is shared again; blocked days stay blocked."""
    if window.end <= now:
        raise Problem(422, "That time is over already.", kind="invalid")
    await _check_room(connection, community_id, held)
    place = (community_id, held.space_id, held.unit_id)
    taken = await connection.fetch(
        """
        DELETE FROM sharing_exception
        WHERE community_id = $1 AND space_id = $2 AND unit_id = $3 AND starts_at < $5 AND ends_at > $4
        RETURNING starts_at, ends_at
        """,
        *place,
        window.start,
        window.end,
    )
    for left in subtract([Window(*row) for row in taken], [window]):
        await _withhold(connection, *place, left)
    rule_id: int = await connection.fetchval(
        """
        INSERT INTO sharing_rule (community_id, space_id, unit_id, starts_at, ends_at) VALUES ($1, $2, $3, $4, $5)
        RETURNING id
        """,
        *place,
        window.start,
        window.end,
    )
    await rewrite(connection, community_id, held.space_id, now, strict=True)
    detail = {"rule": rule_id, "from": window.start.isoformat(), "until": window.end.isoformat()}
    await _record(connection, principal, community_id, "window", held, detail)
    await offers.renew(connection, community_id, now)
    return Once(rule_id, window.start, window.end)


async def share_weekly(
    connection: Connection, principal: Principal, community_id: int, held: Held, weekly: Weekly, now: datetime
) -> Pattern:
    """Share the space every week."""
    await _check_room(connection, community_id, held)
    rule_id: int = await connection.fetchval(
        """
        INSERT INTO sharing_rule (community_id, space_id, unit_id, days, starts_time, ends_time, first_day, last_day)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8) RETURNING id
        """,
        community_id,
        held.space_id,
        held.unit_id,
        *_columns(weekly),
    )
    await rewrite(connection, community_id, held.space_id, now, strict=True)
    made = await pattern(connection, community_id, held, rule_id)
    await _record(connection, principal, community_id, "pattern", held, {"rule": rule_id})
    await offers.renew(connection, community_id, now)
    return made


async def pattern(connection: Connection, community_id: int, held: Held, rule_id: int) -> Pattern:
    """Return a weekly pattern of a space that is held; raise ``Problem`` 404."""
    return _pattern(await _rule(connection, community_id, held, rule_id, weekly=True))


async def once(connection: Connection, community_id: int, held: Held, rule_id: int) -> Once:
    """Return a single window of a space that is held; raise ``Problem`` 404."""
    row = await _rule(connection, community_id, held, rule_id, weekly=False)
    return Once(row["id"], row["starts_at"], row["ends_at"])


async def change_pattern(
    connection: Connection,
    principal: Principal,
    community_id: int,
    held: Held,
    rule_id: int,
    weekly: Weekly,
    now: datetime,
) -> Pattern:
    """Change a weekly pattern; raise ``Problem`` 409 where a booking lies in a time that is not shared any more."""
    await connection.execute(
        """
        UPDATE sharing_rule SET days = $3, starts_time = $4, ends_time = $5, first_day = $6, last_day = $7
        WHERE community_id = $1 AND id = $2
        """,
        community_id,
        rule_id,
        *_columns(weekly),
    )
    await rewrite(connection, community_id, held.space_id, now, strict=True)
    await _record(connection, principal, community_id, "change", held, {"rule": rule_id})
    await offers.renew(connection, community_id, now)
    return await pattern(connection, community_id, held, rule_id)


async def stop(
    connection: Connection,
    principal: Principal,
    community_id: int,
    held: Held,
    rule_id: int,
    now: datetime,
    *,
    rest: bool = False,
) -> list[Stretch]:
    """Take back a window or a pattern as a whole; raise ``Problem`` 409 where a booking lies in it.

    With ``rest``, bookings stay, shared once for their time, and everything else is taken back: returns what stays.
    """
    stays: list[Stretch] = []
    booked = await _bookings_shared(connection, community_id, held, now) if rest else []
    await connection.execute(
        "DELETE FROM sharing_rule WHERE community_id = $1 AND space_id = $2 AND unit_id = $3 AND id = $4",
        community_id,
        held.space_id,
        held.unit_id,
        rule_id,
    )
    if booked:
        zone = ZoneInfo(await connection.fetchval("SELECT time_zone FROM community WHERE id = $1", community_id))
        within = Window(now, max(item.end for item in booked))
        after = (await _follows(connection, community_id, held.space_id, zone, within)).get(held.unit_id, [])
        stays = [
            Stretch(item.start, item.end)
            for item in booked
            if not covers(after, Window(max(item.start, now), item.end))
        ]
    for stretch in stays:
        await connection.execute(
            """
            INSERT INTO sharing_rule (community_id, space_id, unit_id, starts_at, ends_at) VALUES ($1, $2, $3, $4, $5)
            """,
            community_id,
            held.space_id,
            held.unit_id,
            stretch.from_,
            stretch.until,
        )
    await rewrite(connection, community_id, held.space_id, now, strict=True)
    await _record(connection, principal, community_id, "stop", held, {"rule": rule_id, "stays": len(stays)})
    return stays


async def take_back(
    connection: Connection,
    principal: Principal,
    community_id: int,
    held: Held,
    window: Window,
    now: datetime,
    *,
    rest: bool = False,
) -> list[Stretch]:
    """Stop sharing the space in a window; raise ``Problem`` 409 with the booking that lies in it.

    With ``rest``, bookings stay and what nobody booked is taken back: returns what stays, and raises only where all of
    the window is booked.
    """
    booked = await _bookings_shared(connection, community_id, held, now) if rest else []
    stays = [item for item in booked if item.overlaps(window)]
    free = subtract([window], stays)
    if not free:
        raise overlaps.overlap(stays[0].start, stays[0].end, overlaps.BOOKED)
    await _check_exceptions(connection, community_id, held)
    place = (community_id, held.space_id, held.unit_id)
    # Those that it touches become one with it.
    taken = await connection.fetch(
        """
        DELETE FROM sharing_exception
        WHERE community_id = $1 AND space_id = $2 AND unit_id = $3 AND starts_at <= $5 AND ends_at >= $4
        RETURNING starts_at, ends_at
        """,
        *place,
        window.start,
        window.end,
    )
    for item in merge([*free, *(Window(*row) for row in taken)]):
        await _withhold(connection, *place, item)
    await rewrite(connection, community_id, held.space_id, now, strict=True)
    detail = {"from": window.start.isoformat(), "until": window.end.isoformat(), "stays": len(stays)}
    await _record(connection, principal, community_id, "take-back", held, detail)
    return [Stretch(item.start, item.end) for item in stays]


async def block_day(
    connection: Connection, principal: Principal, community_id: int, held: Held, day: date, now: datetime
) -> None:
    """Share nothing on a day by the community's clock; raise ``Problem`` 409 where a booking lies on it."""
    await _check_exceptions(connection, community_id, held)
    await connection.execute(
        """
        INSERT INTO sharing_exception (community_id, space_id, unit_id, day) VALUES ($1, $2, $3, $4)
        ON CONFLICT (community_id, space_id, unit_id, day) DO NOTHING
        """,
        community_id,
        held.space_id,
        held.unit_id,
        day,
    )
    await rewrite(connection, community_id, held.space_id, now, strict=True)
    await _record(connection, principal, community_id, "block", held, {"day": day.isoformat()})


async def unblock_day(
    connection: Connection, principal: Principal, community_id: int, held: Held, day: date, now: datetime
) -> None:
    """Share on a day again; raise ``Problem`` 404 for a day that isn't blocked."""
    gone = await connection.fetchval(
        """
        DELETE FROM sharing_exception
        WHERE community_id = $1 AND space_id = $2 AND unit_id = $3 AND day = $4 RETURNING id
        """,
        community_id,
        held.space_id,
        held.unit_id,
        day,
    )
    if gone is None:
        raise problems.not_found()
    await rewrite(connection, community_id, held.space_id, now, strict=True)
    await _record(connection, principal, community_id, "unblock", held, {"day": day.isoformat()})
    await offers.renew(connection, community_id, now)


async def extend_windows(
    connection: Connection, community_id: int, space_id: int, until: datetime, now: datetime
) -> None:
    """See to it that the windows of a space that is held are written out until ``until`` at least."""
    progress = await connection.fetchrow(
        """
        SELECT p.known_until, p.time_zone = c.time_zone AS same_clock FROM community c
        LEFT JOIN sharing_progress p ON p.community_id = c.id AND p.space_id = $2 WHERE c.id = $1
        """,
        community_id,
        space_id,
    )
    if not progress["same_clock"] or progress["known_until"] < until:
        await rewrite(connection, community_id, space_id, now, strict=False)


async def extend_all_windows(connection: Connection, community_id: int, until: datetime, now: datetime) -> None:
    """See to it that the windows of all spaces of the community are written out until ``until`` at least."""
    behind = await connection.fetch(
        """
        SELECT DISTINCT r.space_id FROM sharing_rule r JOIN community c ON c.id = r.community_id
        LEFT JOIN sharing_progress p ON p.community_id = r.community_id AND p.space_id = r.space_id
        WHERE r.community_id = $1
          AND (p.known_until IS NULL OR p.known_until < $2 OR p.time_zone <> c.time_zone)
        ORDER BY r.space_id
        """,
        community_id,
        until,
    )
    # In the order of their ids: two that do this at once never wait for each other in a ring.
    for row in behind:
        await spaces.lock(connection, community_id, row["space_id"])
        await extend_windows(connection, community_id, row["space_id"], until, now)


async def rewrite(connection: Connection, community_id: int, space_id: int, now: datetime, *, strict: bool) -> None:
    """Write out the windows of a space that this transaction holds, as sharing and assignments define them.

    Past windows stay. Where a booking would lose its window, ``strict`` raises ``Problem`` 409 with the booking (a
    person takes something back); otherwise the booking keeps its window (time moves on, or clocks change).
    """
    place = (community_id, space_id)
    name: str = await connection.fetchval("SELECT time_zone FROM community WHERE id = $1", community_id)
    zone = ZoneInfo(name)
    limits = await rules.read(connection, community_id)
    bookings = await _bookings(connection, *place, now)
    horizon = now + timedelta(days=limits.booking_days_ahead, hours=limits.booking_max_hours) + SLACK
    # Made when the rules allowed to book further ahead.
    horizon = max([horizon, *(booking.end for booking in bookings)])
    await _forget(connection, *place, now - KEPT)
    existing = await connection.fetch(
        """
        SELECT id, unit_id, starts_at, ends_at FROM shared_window
        WHERE community_id = $1 AND space_id = $2 AND ends_at >= $3
        """,
        *place,
        now,
    )
    before: dict[int, list[Window]] = defaultdict(list)
    for row in existing:
        before[row["unit_id"]].append(Window(row["starts_at"], row["ends_at"]))
    after = await _follows(connection, *place, zone, Window(now, horizon))
    for unit_id, windows in before.items():
        past = [Window(item.start, min(item.end, now)) for item in windows if item.start < now]
        after[unit_id] = merge([*past, *after.get(unit_id, [])])
    for booking in bookings:
        had = any(covers(windows, booking) for windows in before.values())
        if had and not any(covers(windows, booking) for windows in after.values()):
            if strict:
                raise overlaps.overlap(booking.start, booking.end, overlaps.BOOKED)
            for unit_id, windows in before.items():
                after[unit_id] = merge([*after[unit_id], *intersect(windows, [booking])])
    known = {(row["unit_id"], row["starts_at"], row["ends_at"]): row["id"] for row in existing}
    wanted = {(unit_id, item.start, item.end) for unit_id, windows in after.items() for item in windows}
    await connection.execute(
        "DELETE FROM shared_window WHERE community_id = $1 AND id = ANY($2)",
        community_id,
        [known[key] for key in known.keys() - wanted],
    )
    new = sorted(wanted - known.keys())
    await connection.execute(
        """
        INSERT INTO shared_window (community_id, space_id, unit_id, starts_at, ends_at)
        SELECT $1, $2, n.unit_id, n.starts_at, n.ends_at
        FROM unnest($3::bigint[], $4::timestamptz[], $5::timestamptz[]) AS n(unit_id, starts_at, ends_at)
        """,
        *place,
        *([item[column] for item in new] for column in range(3)),
    )
    await connection.execute(
        """
        INSERT INTO sharing_progress (community_id, space_id, known_until, time_zone) VALUES ($1, $2, $3, $4)
        ON CONFLICT (community_id, space_id) DO UPDATE
            SET known_until = excluded.known_until, time_zone = excluded.time_zone
        """,
        *place,
        horizon,
        name,
    )


async def _follows(
    connection: Connection, community_id: int, space_id: int, zone: ZoneInfo, within: Window
) -> dict[int, list[Window]]:
    """Return for each unit when it shares the space in ``within``."""
    owned = await connection.fetch(
        """
        SELECT unit_id, starts_at, ends_at FROM space_assignment
        WHERE community_id = $1 AND space_id = $2 AND starts_at < $4 AND (ends_at IS NULL OR ends_at > $3)
        """,
        community_id,
        space_id,
        within.start,
        within.end,
    )
    found: dict[int, list[Window]] = {}
    for unit_id in {row["unit_id"] for row in owned}:
        said = await _rules(connection, community_id, space_id, unit_id, within.start)
        exceptions = await _exceptions(connection, community_id, space_id, unit_id, within.start)
        found[unit_id] = shared(
            Said(
                once=[Window(row["starts_at"], row["ends_at"]) for row in said if row["days"] is None],
                weekly=[_weekly(row) for row in said if row["days"] is not None],
                withheld=[Window(row["starts_at"], row["ends_at"]) for row in exceptions if row["day"] is None],
                blocked_days=[row["day"] for row in exceptions if row["day"] is not None],
            ),
            [
                Window(row["starts_at"], min(row["ends_at"] or within.end, within.end))
                for row in owned
                if row["unit_id"] == unit_id
            ],
            zone,
            within,
        )
    return found


async def _rules(
    connection: Connection, community_id: int, space_id: int, unit_id: int, now: datetime
) -> Sequence[Any]:
    rows: Sequence[Any] = await connection.fetch(
        """
        SELECT id, starts_at, ends_at, days, starts_time, ends_time, first_day, last_day FROM sharing_rule
        WHERE community_id = $1 AND space_id = $2 AND unit_id = $3 AND (ends_at IS NULL OR ends_at > $4)
        ORDER BY starts_at, id
        """,
        community_id,
        space_id,
        unit_id,
        now,
    )
    return rows


async def _rule(connection: Connection, community_id: int, held: Held, rule_id: int, *, weekly: bool) -> Any:
    row = await connection.fetchrow(
        """
        SELECT id, starts_at, ends_at, days, starts_time, ends_time, first_day, last_day FROM sharing_rule
        WHERE community_id = $1 AND space_id = $2 AND unit_id = $3 AND id = $4 AND (days IS NOT NULL) = $5
        """,
        community_id,
        held.space_id,
        held.unit_id,
        rule_id,
        weekly,
    )
    if row is None:
        raise problems.not_found()
    return row


async def _exceptions(
    connection: Connection, community_id: int, space_id: int, unit_id: int, now: datetime
) -> Sequence[Any]:
    # A day that is over in UTC may last elsewhere.
    rows: Sequence[Any] = await connection.fetch(
        """
        SELECT day, starts_at, ends_at FROM sharing_exception
        WHERE community_id = $1 AND space_id = $2 AND unit_id = $3 AND (ends_at > $4 OR day >= $5)
        ORDER BY day, starts_at
        """,
        community_id,
        space_id,
        unit_id,
        now,
        now.date() - timedelta(days=1),
    )
    return rows


async def _bookings(connection: Connection, community_id: int, space_id: int, now: datetime) -> list[Window]:
    rows = await connection.fetch(
        """
        SELECT starts_at, ends_at FROM booking
        WHERE community_id = $1 AND space_id = $2 AND status = 'active' AND ends_at > $3 ORDER BY starts_at
        """,
        community_id,
        space_id,
        now,
    )
    return [Window(row["starts_at"], row["ends_at"]) for row in rows]


async def _bookings_shared(connection: Connection, community_id: int, held: Held, now: datetime) -> list[Window]:
    """Return the bookings that lie in what the unit shares."""
    rows = await connection.fetch(
        """
        SELECT starts_at, ends_at FROM shared_window
        WHERE community_id = $1 AND space_id = $2 AND unit_id = $3 AND ends_at > $4
        """,
        community_id,
        held.space_id,
        held.unit_id,
        now,
    )
    ours = [Window(row["starts_at"], row["ends_at"]) for row in rows]
    return [item for item in await _bookings(connection, community_id, held.space_id, now) if covers(ours, item)]


async def _withhold(connection: Connection, community_id: int, space_id: int, unit_id: int, window: Window) -> None:
    await connection.execute(
        """
        INSERT INTO sharing_exception (community_id, space_id, unit_id, starts_at, ends_at) VALUES ($1, $2, $3, $4, $5)
        """,
        community_id,
        space_id,
        unit_id,
        window.start,
        window.end,
    )


async def _forget(connection: Connection, community_id: int, space_id: int, before: datetime) -> None:
    for statement in (
        "DELETE FROM shared_window WHERE community_id = $1 AND space_id = $2 AND ends_at < $3",
        "DELETE FROM sharing_rule WHERE community_id = $1 AND space_id = $2 AND (ends_at < $3 OR last_day < $3::date)",
        "DELETE FROM sharing_exception WHERE community_id = $1 AND space_id = $2 AND (ends_at < $3 OR day < $3::date)",
    ):
        await connection.execute(statement, community_id, space_id, before)


async def _check_room(connection: Connection, community_id: int, held: Held) -> None:
    said = await connection.fetchval(
        "SELECT count(*) FROM sharing_rule WHERE community_id = $1 AND space_id = $2 AND unit_id = $3",
        community_id,
        held.space_id,
        held.unit_id,
    )
    if said >= MAX_RULES:
        raise Problem(
            409,
            Message("There are %(limit)s shared times and patterns already; stop some of them first.", limit=MAX_RULES),
            kind="too-many",
        )


async def _check_exceptions(connection: Connection, community_id: int, held: Held) -> None:
    said = await connection.fetchval(
        "SELECT count(*) FROM sharing_exception WHERE community_id = $1 AND space_id = $2 AND unit_id = $3",
        community_id,
        held.space_id,
        held.unit_id,
    )
    if said >= MAX_EXCEPTIONS:
        raise Problem(
            409,
            Message("There are %(limit)s exceptions already; change the pattern instead.", limit=MAX_EXCEPTIONS),
            kind="too-many",
        )


async def _record(
    connection: Connection, principal: Principal, community_id: int, verb: str, held: Held, detail: dict[str, Any]
) -> None:
    detail = {"unit": held.unit_id, **detail}
    await audit.record(connection, principal, community_id, f"sharing.{verb}", f"space/{held.space_id}", detail)


def _columns(weekly: Weekly) -> tuple[Any, ...]:
    days = sum(1 << day for day in weekly.days)
    return (days, weekly.starts, weekly.ends, weekly.first_day, weekly.last_day)


def _days(bits: int) -> Iterable[int]:
    return (day for day in range(7) if bits >> day & 1)


def _weekly(row: Any) -> Weekly:
    return Weekly(
        frozenset(_days(row["days"])), row["starts_time"], row["ends_time"], row["first_day"], row["last_day"]
    )


def _pattern(row: Any) -> Pattern:
    return Pattern(
        row["id"], list(_days(row["days"])), row["starts_time"], row["ends_time"], row["first_day"], row["last_day"]
    )
