"""Stays: how long each plate was inside, searched by staff."""

from contextlib import suppress
from datetime import datetime

from starlette.responses import Response

from parkmesh.server.access import stays
from parkmesh.server.web.pages import list_filters
from parkmesh.server.web.pages.rendering import render
from parkmesh.server.web.pages.visit import Access, Visit, page

OPEN = {"yes": True, "no": False}


async def show(visit: Visit) -> Response:
    """Show stays by pages, those that fit the filters of the address."""
    list_filters.read(visit)
    paged = visit.paged()
    place = paged.after(datetime, int)
    found = []
    async with visit.reading() as connection:
        with suppress(list_filters.NothingFits):
            found = await stays.page(
                connection,
                visit.member.community_id,
                limit=paged.fetch,
                way=paged.way,
                before=(place[0], place[1]) if place else None,
                only=_filter(visit),
            )
    shown, turns = visit.turned(paged, found, lambda stay: (stay.entered_at, stay.id))
    return render(visit, "stays.html", stays=shown, **turns)


def _filter(visit: Visit) -> stays.Filter:
    since, until = list_filters.days(visit)
    state = OPEN.get(visit.form.value("open"))
    return stays.Filter(plate=list_filters.plate(visit), open=state, since=since, until=until)


ROUTES = [page("/communities/{community}/stays", Access.STAFF, show)]
