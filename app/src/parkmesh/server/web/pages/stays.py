"""Stays: how long each plate was inside, searched by staff."""

from datetime import datetime, time, timedelta

from starlette.responses import Response

from parkmesh.domain.sharing import moment
from parkmesh.server.access import plate_search, stays
from parkmesh.server.web.pages import forms
from parkmesh.server.web.pages.rendering import render
from parkmesh.server.web.pages.visit import Access, Visit, page

OPEN = {"yes": True, "no": False}


async def show(visit: Visit) -> Response:
    """Show stays by pages, those that fit the filters of the address."""
    query = visit.request.query_params
    visit.form = forms.Form(visit.language, {name: query.getlist(name) for name in query}, sent=True)
    paged = visit.paged()
    place = paged.after(datetime, int)
    async with visit.reading() as connection:
        only = _filter(visit)
        found = []
        if only is not None:
            before = (place[0], place[1]) if place else None
            found = await stays.page(
                connection, visit.member.community_id, limit=paged.fetch, way=paged.way, before=before, only=only
            )
    shown, turns = visit.turned(paged, found, lambda stay: (stay.entered_at, stay.id))
    return render(visit, "stays.html", stays=shown, **turns)


def _filter(visit: Visit) -> stays.Filter | None:
    """Return what the address asks for; None where no stay can fit. The day until which counts whole."""
    form = visit.form
    text = form.value("plate").strip()[:40]
    plate = plate_search.part_of_plate(text) if text else None
    if text and plate is None:
        return None
    since, until = form.optional_day("from"), form.optional_day("until")
    return stays.Filter(
        plate=plate,
        open=OPEN.get(form.value("open")),
        since=moment(since, time(), visit.zone) if since else None,
        until=moment(until + timedelta(days=1), time(), visit.zone) if until else None,
    )


ROUTES = [page("/communities/{community}/stays", Access.STAFF, show)]
