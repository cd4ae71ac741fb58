"""The waiting list for spaces of one's own as staff see it: who asks since when, and whom a free space goes to."""

from collections.abc import Awaitable, Callable
from datetime import datetime

from starlette.responses import Response

from parkmesh.server.http.problems import Problem
from parkmesh.server.reservations import space_requests
from parkmesh.server.spaces import spaces
from parkmesh.server.web.fields import MAX_REASON, MIN_REASON
from parkmesh.server.web.pages import unit_choice
from parkmesh.server.web.pages.confirming import asked
from parkmesh.server.web.pages.rendering import render
from parkmesh.server.web.pages.visit import Access, Visit, action, page

SHOWN = 100


async def show(visit: Visit) -> Response:
    """Show the list by pages, the first come first, and the spaces that belong to nobody."""
    identity, paged = visit.member.community_id, visit.paged()
    place = paged.after(datetime, int)
    async with visit.reading() as connection:
        found = await space_requests.page(
            connection,
            identity,
            limit=paged.fetch,
            after=(place[0], place[1]) if place else None,
            open_only=True,
        )
        free = await space_requests.free(connection, identity, visit.now, limit=SHOWN)
        suggested = await unit_choice.suggested(visit, connection)
        levels = await spaces.levels(connection, identity, limit=SHOWN)
    shown, following = paged.cut(found, lambda item: (item.created_at, item.id))
    return render(
        visit,
        "space_requests.html",
        requests=shown,
        free=free,
        units=suggested,
        levels=[level.name for level in levels if level.name],
        next=visit.following(following),
    )


async def add(visit: Visit) -> Response:
    """Put a unit on the list that asked in another way."""
    form, identity = visit.form, visit.member.community_id
    try:
        async with visit.acting() as connection:
            unit_id = await unit_choice.chosen(visit, connection, required=True)
            level = form.text("level", least=0, most=60)
            if unit_id and not form.errors:
                await space_requests.join(
                    connection,
                    visit.principal,
                    identity,
                    unit_id=unit_id,
                    resident_id=None,
                    ev=form.ticked("ev"),
                    accessible=form.ticked("accessible"),
                    level=level or None,
                    now=visit.now,
                )
                return visit.go(f"{visit.base}/space-requests", done="added")
    except Problem as problem:
        form.refused(problem, "unit")
    return await show(visit)


async def show_space(visit: Visit) -> Response:
    """Show whom a free space fits, whose turn it is first."""
    identity, name = visit.member.community_id, visit.path("space")
    async with visit.reading() as connection:
        space = await spaces.get(connection, identity, name)
        line = await space_requests.line(connection, identity, name, visit.now)
    return render(visit, "space_line.html", space=space, line=line)


async def give(visit: Visit) -> Response:
    """Offer a space, or assign it at once."""
    form, identity, name = visit.form, visit.member.community_id, visit.path("space")
    at_once = form.value("act") == "assign"
    chosen = form.optional_number("request", 1)
    reason = form.text("reason", least=MIN_REASON, most=MAX_REASON) if form.value("reason").strip() else None
    if not form.errors:
        try:
            async with visit.acting() as connection:
                await (space_requests.assign if at_once else space_requests.offer)(
                    connection, visit.principal, identity, name, request_id=chosen, reason=reason, now=visit.now
                )
            return visit.go(f"{visit.base}/space-requests", done="space-assigned" if at_once else "space-offered")
        except Problem as problem:
            form.refused(problem, "reason" if problem.kind == "order" else "", visit.zone)
    return await show_space(visit)


async def withdraw(visit: Visit) -> Response:
    return await _of_request(visit, space_requests.withdraw, "space-withdrawn")


async def remove(visit: Visit) -> Response:
    """Take a unit off the list; what is offered to it goes to the next."""
    return await _of_request(visit, space_requests.leave, "removed")


async def _of_request(visit: Visit, act: Callable[..., Awaitable[object]], done: str) -> Response:
    try:
        async with visit.acting() as connection:
            await act(connection, visit.principal, visit.member.community_id, visit.number("request"), visit.now)
    except Problem as problem:
        visit.form.refused(problem)
        visit.form.sent = False
        return await show(visit)
    return visit.go(f"{visit.base}/space-requests", done=done)


_LIST = "/communities/{community}/space-requests"
ROUTES = [
    page(_LIST, Access.STAFF, show),
    action(_LIST, Access.STAFF, add),
    page(f"{_LIST}/spaces/{{space}}", Access.STAFF, show_space),
    action(f"{_LIST}/spaces/{{space}}", Access.STAFF, give),
    action(f"{_LIST}/{{request}}/withdraw", Access.STAFF, asked("withdraw-space-offer", withdraw)),
    action(f"{_LIST}/{{request}}/remove", Access.STAFF, asked("leave-space-requests", remove)),
]
