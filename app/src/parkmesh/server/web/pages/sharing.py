"""Sharing one's own space while away: once, every week, days on which it is not shared, and taking it back."""

from collections.abc import Awaitable, Callable
from datetime import timedelta

from starlette.responses import Response

from parkmesh.domain.sharing import Weekly
from parkmesh.server.communities import rules
from parkmesh.server.db.database import Connection
from parkmesh.server.http.problems import Problem, not_found
from parkmesh.server.people import units
from parkmesh.server.reservations import sharing
from parkmesh.server.web.pages.bookings import input_moment, next_hour, window
from parkmesh.server.web.pages.rendering import render
from parkmesh.server.web.pages.visit import Access, Visit, action, page

SHOWN = 10
_PATH = "/communities/{community}/share/{space}"
_REST = "share-rest-stopped"

Act = Callable[[Connection, sharing.Held], Awaitable[str | None]]
"""Acts on a space, and returns what to say afterwards (a key of ``labels.DONE``; None: the usual)."""


async def _unit(visit: Visit, connection: Connection) -> int:
    unit_id = await units.unit_of(connection, visit.member.community_id, visit.member.resident_id)
    if unit_id is None:
        raise not_found()
    return unit_id


async def show(visit: Visit) -> Response:
    async with visit.reading() as connection:
        unit_id = await _unit(visit, connection)
        shared = await sharing.get(connection, visit.member.community_id, visit.path("space"), unit_id, visit.now)
        limits = await rules.read(connection, visit.member.community_id)
    begin = next_hour(visit)
    # By the community's clock, as a booking is judged.
    bookable_until = visit.now.astimezone(visit.zone) + timedelta(days=limits.booking_days_ahead)
    last_day = bookable_until.date()
    return render(
        visit,
        "share.html",
        days_ahead=limits.booking_days_ahead,
        bookable_until=bookable_until,
        # Every week goes on for ever: what is said of it would surprise nobody, unless it begins later.
        beyond=any(item.until > bookable_until for item in shared.windows)
        or any(item.first_day > last_day for item in shared.patterns),
        shared=shared,
        shown=SHOWN,
        default_from=input_moment(begin, visit),
        default_until=input_moment(begin + timedelta(hours=8), visit),
        today=visit.now.astimezone(visit.zone).date().isoformat(),
    )


async def _act(visit: Visit, done: str, act: Act) -> Response:
    """Do something with the space, held; show the page again where it is refused."""
    try:
        async with visit.acting() as connection:
            unit_id = await _unit(visit, connection)
            held = await sharing.hold(connection, visit.member.community_id, visit.path("space"), unit_id, visit.now)
            said = await act(connection, held)
            if not visit.form.errors:
                return visit.go(visit.request.url.path.rpartition("/")[0], done=said or done)
    except Problem as problem:
        visit.form.refused(problem, zone=visit.zone)
    return await show(visit)


async def share_once(visit: Visit) -> Response:
    async def act(connection: Connection, held: sharing.Held) -> None:
        wanted = window(visit.form, visit)
        if wanted:
            await sharing.share_once(connection, visit.principal, visit.member.community_id, held, wanted, visit.now)

    return await _act(visit, "shared", act)


async def share_weekly(visit: Visit) -> Response:
    form = visit.form

    async def act(connection: Connection, held: sharing.Held) -> None:
        days = frozenset(int(day) for day in form.many("day") if day in "0123456" and len(day) == 1)
        if not days:
            form.wrong("day-0", visit.language.gettext("Choose at least one day."))
        starts, ends = form.clock("starts"), form.clock("ends")
        first, last = form.day("first_day"), form.optional_day("last_day")
        if first and last and last < first:
            form.wrong("last_day", visit.language.gettext("The end must be after the beginning."))
        if starts is not None and ends is not None and first is not None and not form.errors:
            weekly = Weekly(days, starts, ends, first, last)
            await sharing.share_weekly(connection, visit.principal, visit.member.community_id, held, weekly, visit.now)

    return await _act(visit, "shared", act)


async def take_back(visit: Visit) -> Response:
    async def act(connection: Connection, held: sharing.Held) -> str | None:
        wanted = window(visit.form, visit)
        if wanted is None:
            return None
        place = (connection, visit.principal, visit.member.community_id, held)
        return _REST if await sharing.take_back(*place, wanted, visit.now, rest=True) else None

    return await _act(visit, "share-stopped", act)


async def stop(visit: Visit) -> Response:
    async def act(connection: Connection, held: sharing.Held) -> str | None:
        rule = visit.form.number("rule", 1)
        if visit.form.errors:
            return None
        place = (connection, visit.principal, visit.member.community_id, held)
        return _REST if await sharing.stop(*place, rule, visit.now, rest=True) else None

    return await _act(visit, "share-stopped", act)


async def block(visit: Visit) -> Response:
    async def act(connection: Connection, held: sharing.Held) -> None:
        day = visit.form.day("blocked_day")
        if day:
            await sharing.block_day(connection, visit.principal, visit.member.community_id, held, day, visit.now)

    return await _act(visit, "day-blocked", act)


async def unblock(visit: Visit) -> Response:
    async def act(connection: Connection, held: sharing.Held) -> None:
        day = visit.form.day("unblocked_day")
        if day:
            await sharing.unblock_day(connection, visit.principal, visit.member.community_id, held, day, visit.now)

    return await _act(visit, "day-unblocked", act)


ROUTES = [
    page(_PATH, Access.RESIDENT, show),
    action(f"{_PATH}/once", Access.RESIDENT, share_once),
    action(f"{_PATH}/weekly", Access.RESIDENT, share_weekly),
    action(f"{_PATH}/take-back", Access.RESIDENT, take_back),
    action(f"{_PATH}/stop", Access.RESIDENT, stop),
    action(f"{_PATH}/block", Access.RESIDENT, block),
    action(f"{_PATH}/unblock", Access.RESIDENT, unblock),
]
