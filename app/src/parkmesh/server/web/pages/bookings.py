"""Booking a space that is free: search by time, book, move to another time, cancel."""

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from functools import partial

from starlette.responses import Response

from parkmesh.domain.windows import Window
from parkmesh.server.communities import rules
from parkmesh.server.db.database import Connection
from parkmesh.server.http.problems import Problem
from parkmesh.server.people import units
from parkmesh.server.reservations import bookings, free_spaces, no_shows, permits, waiting_list
from parkmesh.server.spaces import spaces
from parkmesh.server.web.pages import forms, idempotency, list_filters, preconditions
from parkmesh.server.web.pages.confirming import asked
from parkmesh.server.web.pages.rendering import render
from parkmesh.server.web.pages.visit import Access, Visit, action, page

SHOWN = 60
USUAL = timedelta(hours=2)


def input_moment(moment: datetime, visit: Visit) -> str:
    """Return a moment as a ``datetime-local`` field of the community's clock takes it."""
    return moment.astimezone(visit.zone).strftime("%Y-%m-%dT%H:%M")


def next_hour(visit: Visit) -> datetime:
    return visit.now.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)


def window(form: forms.Form, visit: Visit) -> Window | None:
    """Return the time of the fields ``from`` and ``until``, None (and an error noted) where there is none."""
    begin, end = form.moment("from", visit.zone), form.moment("until", visit.zone)
    if begin is None or end is None:
        return None
    if end <= begin:
        form.wrong("until", visit.language.gettext("The end must be after the beginning."))
        return None
    return Window(begin, end)


async def show(visit: Visit) -> Response:
    """Show what is free in the time of the address, else only the question, and the unit's own bookings."""
    identity = visit.member.community_id
    query = visit.request.query_params
    asked = "from" in query and not visit.form.sent
    free: list[spaces.Space] | None = None
    kept: list[str] = []
    async with visit.reading() as connection:
        if asked:
            list_filters.read(visit)
        unit_id = await units.unit_of(connection, identity, visit.member.resident_id)
        limits = await rules.read(connection, identity)
        wanted = None
        if visit.form.sent and unit_id:
            wanted = window(visit.form, visit)
            if wanted and asked:
                try:
                    bookings.check_window(wanted, limits, visit.now, visit.zone)
                except Problem as problem:
                    visit.form.refused(problem, "from")
        own = (
            await bookings.page(connection, identity, limit=SHOWN, unit_id=unit_id, ends_after=visit.now)
            if unit_id
            else []
        )
        waits = (
            await waiting_list.page(connection, identity, limit=SHOWN, unit_id=unit_id, open_only=True)
            if unit_id
            else []
        )
        asker = visit.member.resident_id
        permit = await permits.find(connection, identity, asker) if asker and limits.accessible_needs_permit else None
        released = await no_shows.recent(connection, identity, unit_id, visit.now) if unit_id else []
    if unit_id and wanted and "from" not in visit.form.errors:
        free, kept = await _free(visit, unit_id, wanted)
        # The space that was chosen on the drawing of the start page comes first, accessible ones last.
        free.sort(key=lambda space: (space.name != visit.query("space"), space.accessible))
    own = sorted((item for item in own if item.visitor_pass is None), key=lambda item: item.from_)
    begin = next_hour(visit)
    return render(
        visit,
        "bookings.html",
        free=free,
        kept=kept,
        chosen=visit.query("space") if free is not None else "",
        window=wanted,
        has_unit=unit_id is not None,
        waits=waits,
        released=released,
        own=[item for item in own if item.status == "active"],
        # Those that staff cancelled: their unit reads why.
        cancelled=[item for item in own if item.status == "cancelled" and item.cancel_reason],
        default_from=input_moment(begin, visit),
        default_until=input_moment(begin + USUAL, visit),
        limits=limits,
        permit=permit,
    )


async def _free(visit: Visit, unit_id: int, wanted: Window) -> tuple[list[spaces.Space], list[str]]:
    """Return the spaces that are free, and the names of those that are kept for people with a permit."""
    identity, ev = visit.member.community_id, True if visit.form.ticked("ev") else None
    # Not read-only: the windows of shared spaces are written out as far as the question reaches.
    async with visit.acting() as connection:
        permitted = await permits.covers(connection, identity, unit_id, wanted.end)

        async def free(*, accessible: bool | None, permitted: bool) -> list[spaces.Space]:
            return await free_spaces.available(
                connection, identity, wanted, limit=SHOWN, unit_id=unit_id, ev=ev, accessible=accessible,
                permitted=permitted,
            )  # fmt: skip

        asked = True if visit.form.ticked("accessible") else None
        found = await free(accessible=asked, permitted=permitted)
        kept = [] if permitted else await free(accessible=True, permitted=True)
    return found, [space.name for space in kept]


async def book(visit: Visit) -> Response:
    space = visit.form.text("space", most=100)
    return await _in_time(visit, partial(bookings.create, space=space), "booked")


async def wait(visit: Visit) -> Response:
    """Join the waiting list for a time in which nothing is free."""
    ev, accessible = visit.form.ticked("ev"), visit.form.ticked("accessible")
    return await _in_time(visit, partial(waiting_list.join, ev=ev, accessible=accessible, level=None), "waiting")


async def _in_time(visit: Visit, act: Callable[..., Awaitable[object]], done: str) -> Response:
    """Do once what the form asks for in its time, for the unit of who asks."""
    form, member = visit.form, visit.member
    try:
        async with visit.acting() as connection:
            attempt = await idempotency.begin(visit, connection)
            if attempt.answer is not None:
                return idempotency.again(attempt.answer)
            unit_id = await units.unit_of(connection, member.community_id, member.resident_id)
            wanted = window(form, visit)
            if unit_id is None:
                form.wrong(
                    "", visit.language.gettext("You belong to no unit yet. Your administrators can change that.")
                )
            elif wanted and not form.errors:
                await act(
                    connection,
                    visit.principal,
                    member.community_id,
                    unit_id=unit_id,
                    resident_id=member.resident_id,
                    window=wanted,
                    now=visit.now,
                )
                return await idempotency.finish(attempt, f"{visit.base}/book?done={done}")
    except Problem as problem:
        form.refused(problem, zone=visit.zone)
    return await show(visit)


async def claim(visit: Visit) -> Response:
    """Book the space that the waiting list offers."""
    return await _answer_offer(visit, waiting_list.claim, "booked")


async def leave(visit: Visit) -> Response:
    """Wait no longer, or decline an offer."""
    return await _answer_offer(visit, waiting_list.leave, "left-waiting")


async def _answer_offer(visit: Visit, change: Callable[..., Awaitable[object]], done: str) -> Response:
    try:
        async with visit.acting() as connection:
            identity = visit.member.community_id
            unit_id = await units.unit_of(connection, identity, visit.member.resident_id)
            await change(
                connection, visit.principal, identity, visit.number("waiting"), visit.now, unit_id=unit_id or 0
            )
    except Problem as problem:
        visit.form.refused(problem)
        visit.form.sent = False
        return await show(visit)
    return visit.go(f"{visit.base}/book", done=done)


async def _own(visit: Visit, connection: Connection, *, for_change: bool = True) -> bookings.Booking:
    unit_id = await units.unit_of(connection, visit.member.community_id, visit.member.resident_id)
    return await bookings.get(
        connection, visit.member.community_id, visit.number("booking"), unit_id=unit_id or 0, for_change=for_change
    )


async def show_one(visit: Visit) -> Response:
    async with visit.reading() as connection:
        booking = await _own(visit, connection, for_change=False)
        limits = await rules.read(connection, visit.member.community_id)
    return render(
        visit,
        "booking.html",
        booking=booking,
        changeable=booking.status == "active" and booking.until > visit.now and booking.visitor_pass is None,
        default_from=input_moment(booking.from_, visit),
        default_until=input_moment(booking.until, visit),
        limits=limits,
        seen=preconditions.mark(booking),
    )


async def move(visit: Visit) -> Response:
    """Give a booking another time."""
    try:
        async with visit.acting() as connection:
            present = await _own(visit, connection)
            preconditions.check(visit, present)
            for name, moment in (("from", present.from_), ("until", present.until)):
                if visit.form.value(name) == input_moment(moment, visit):
                    # As it was, whichever of two it is.
                    visit.form.fields.setdefault(forms.offset_field(name), [forms.offset_of(moment, visit.zone)])
            wanted = window(visit.form, visit)
            if wanted:
                if visit.form.value("from") == input_moment(present.from_, visit):
                    # The field knows minutes only, and one that has begun may keep its beginning alone.
                    wanted = Window(present.from_, wanted.end)
                await bookings.move(connection, visit.principal, visit.member.community_id, present, wanted, visit.now)
                return visit.go(f"{visit.base}/book", done="booking-moved")
    except Problem as problem:
        preconditions.refused(visit, problem, "from" if problem.status_code in (409, 422) else "")
    return await show_one(visit)


async def cancel(visit: Visit) -> Response:
    try:
        async with visit.acting() as connection:
            booking = await _own(visit, connection)
            await bookings.cancel(connection, visit.principal, visit.member.community_id, booking, None, visit.now)
        return visit.go(f"{visit.base}/book", done="booking-cancelled")
    except Problem as problem:
        visit.form.refused(problem)
    visit.form.sent = False
    return await show(visit)


ROUTES = [
    page("/communities/{community}/book", Access.RESIDENT, show),
    action("/communities/{community}/book", Access.RESIDENT, book),
    page("/communities/{community}/book/{booking}", Access.RESIDENT, show_one),
    action("/communities/{community}/book/{booking}", Access.RESIDENT, move),
    action("/communities/{community}/bookings/{booking}/cancel", Access.RESIDENT, asked("cancel-booking", cancel)),
    action("/communities/{community}/waiting", Access.RESIDENT, wait),
    action("/communities/{community}/waiting/{waiting}/claim", Access.RESIDENT, claim),
    action("/communities/{community}/waiting/{waiting}/leave", Access.RESIDENT, leave),
]
