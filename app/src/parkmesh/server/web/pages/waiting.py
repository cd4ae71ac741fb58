"""The waiting list as staff see it: who waits for what, and taking somebody off it."""

from datetime import datetime

from starlette.responses import Response

from parkmesh.server.http.problems import Problem
from parkmesh.server.reservations import waiting_list
from parkmesh.server.web.pages.rendering import render
from parkmesh.server.web.pages.visit import Access, Visit, action, page


async def show(visit: Visit) -> Response:
    """Show who waits by pages, the first come first."""
    paged = visit.paged()
    place = paged.after(datetime, int)
    async with visit.reading() as connection:
        found = await waiting_list.page(
            connection,
            visit.member.community_id,
            limit=paged.fetch,
            way=paged.way,
            after=(place[0], place[1]) if place else None,
            open_only=True,
        )
    shown, turns = visit.turned(paged, found, lambda item: (item.created_at, item.id))
    return render(visit, "waiting.html", waiting=shown, **turns)


async def remove(visit: Visit) -> Response:
    """Take a unit off the list; a space that is held for it goes to the next."""
    try:
        async with visit.acting() as connection:
            await waiting_list.leave(
                connection, visit.principal, visit.member.community_id, visit.number("waiting"), visit.now
            )
    except Problem as problem:
        visit.form.refused(problem)
        return await show(visit)
    return visit.go(f"{visit.base}/waiting", done="removed")


ROUTES = [
    page("/communities/{community}/waiting", Access.STAFF, show),
    action("/communities/{community}/waiting/{waiting}/remove", Access.STAFF, remove),
]
