"""Passages: searched by staff, and a resident's own history."""

from contextlib import suppress
from datetime import datetime
from typing import Any

from starlette.responses import Response

from parkmesh.domain import words
from parkmesh.server.access import gates, holders, passages
from parkmesh.server.web import labels, paging
from parkmesh.server.web.pages import exports, list_filters
from parkmesh.server.web.pages.rendering import render
from parkmesh.server.web.pages.visit import Access, Visit, page


async def show(visit: Visit) -> Response:
    """Show passages by pages, those that fit the filters of the address."""
    identity = visit.member.community_id
    list_filters.read(visit)
    paged = visit.paged()
    place = paged.after(datetime, int)
    async with visit.reading() as connection:
        known = await gates.all_of(connection, identity)
        found, only = [], None
        with suppress(list_filters.NothingFits):
            only = _filter(visit)
            before = (place[0], place[1]) if place else None
            found = await passages.search(
                connection, identity, limit=paged.fetch, way=paged.way, before=before, only=only
            )
        whose = await holders.of_credentials(connection, identity, (item.credential for item in found))
    return _list(visit, paged, found, "passages.html", gates=known, holders=whose, export=_export(visit, only))


def _export(visit: Visit, only: passages.Filter | None) -> str:
    # A plate that no passage can have is asked for as it was entered: the file is as empty as the page.
    only = only or passages.Filter(plate=list_filters.entered_plate(visit) or "?")
    return exports.link(
        visit,
        "passages",
        plate=only.plate,
        gate=only.gate,
        direction=only.direction,
        decision=only.decision,
        since=only.since,
        until=only.until,
    )


def _filter(visit: Visit) -> passages.Filter:
    form = visit.form
    since, until = list_filters.days(visit)
    decision, direction = form.value("decision"), form.value("direction")
    return passages.Filter(
        plate=list_filters.plate(visit),
        gate=form.value("gate")[:100].replace("\x00", "") or None,
        direction=direction if direction in labels.PASSED else None,
        decision=decision if decision in words.DECISION else None,
        since=since,
        until=until,
    )


async def show_history(visit: Visit) -> Response:
    """Show a resident the passages of their own and their unit's plates."""
    identity = visit.member.community_id
    paged = visit.paged()
    place = paged.after(datetime, int)
    async with visit.reading() as connection:
        own = await passages.seen_by(connection, identity, visit.member.resident_id)
        before = (place[0], place[1]) if place else None
        found = await passages.search(connection, identity, limit=paged.fetch, way=paged.way, before=before, seen=own)
    return _list(visit, paged, found, "history.html")


def _list(
    visit: Visit, paged: paging.PageAsked, found: list[passages.Passage], template: str, **context: Any
) -> Response:
    shown, turns = visit.turned(paged, found, lambda item: (item.received_at, item.id))
    today = visit.language.day(visit.now, visit.zone)
    return render(visit, template, passages=shown, today=today, **turns, **context)


ROUTES = [
    page("/communities/{community}/passages", Access.STAFF, show),
    page("/communities/{community}/history", Access.RESIDENT, show_history),
]
