"""A resident's calendar for other programs: its address, and what the address answers."""

import hashlib
from datetime import UTC, datetime
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from parkmesh.domain import ical
from parkmesh.server.reservations import calendar_feeds
from parkmesh.server.web import language, links
from parkmesh.server.web.language import Language
from parkmesh.server.web.pages.rendering import render
from parkmesh.server.web.pages.visit import Access, Visit, action, page

MAX_AGE_S = 300


async def show(visit: Visit, token: str = "") -> Response:
    """Show whether there is an address; ``token`` is that of one just made, shown this once."""
    async with visit.reading() as connection:
        made_at = await calendar_feeds.made_at(connection, visit.member.community_id, visit.principal.user_id)
    address = f"{links.absolute(visit.request, links.CALENDAR, token)}.ics" if token else ""
    return render(visit, "calendar.html", made_at=made_at, address=address)


async def renew(visit: Visit) -> Response:
    async with visit.acting() as connection:
        token = await calendar_feeds.renew(connection, visit.principal, visit.member.community_id)
    return await show(visit, token)


async def end(visit: Visit) -> Response:
    async with visit.acting() as connection:
        await calendar_feeds.end(connection, visit.principal, visit.member.community_id)
    return visit.go(f"{visit.base}/calendar", done="calendar-ended")


async def feed(request: Request) -> Response:
    """Answer a calendar program. Nothing changes by it, and an unchanged calendar is the same octets."""
    found = await calendar_feeds.read(request.app.state.pool, request.path_params["token"], datetime.now(UTC))
    spoken = language.language(found.language) if found.language else language.of(request)
    host = urlsplit(links.absolute(request, links.CALENDAR, "")).hostname or "localhost"
    events = [_event(entry, spoken, f"{found.community}.{host}") for entry in found.entries]
    body = ical.calendar(events, spoken.gettext("Parking: %(community)s", community=found.community_title))
    etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    headers = {"ETag": etag, "Cache-Control": f"private, max-age={MAX_AGE_S}"}
    known = {item.strip().removeprefix("W/") for item in request.headers.get("if-none-match", "").split(",")}
    if etag in known or "*" in known:
        return Response(status_code=304, headers=headers)
    return Response(body, headers=headers | {"Content-Type": ical.MEDIA_TYPE})


def _event(entry: calendar_feeds.Entry, spoken: Language, host: str) -> ical.Event:
    if entry.kind == "booking":
        summary = spoken.gettext("Space %(space)s booked", space=entry.title)
    elif entry.kind == "shared":
        summary = spoken.gettext("Space %(space)s shared", space=entry.title)
    elif entry.title:
        summary = spoken.gettext("Visitor: %(name)s", name=entry.title)
    else:
        summary = spoken.gettext("Visitor")
    return ical.Event(
        uid=f"{entry.kind}-{entry.name}@{host}",
        changed_at=entry.changed_at,
        sequence=entry.changes,
        start=entry.from_,
        end=entry.until,
        summary=summary,
        location=entry.place,
        cancelled=entry.cancelled,
    )


_CALENDAR = "/communities/{community}/calendar"
ROUTES = [
    Route(f"/{links.CALENDAR}/{{token}}.ics", feed, methods=["GET"]),
    page(_CALENDAR, Access.RESIDENT, show),
    action(_CALENDAR, Access.RESIDENT, renew),
    action(f"{_CALENDAR}/end", Access.RESIDENT, end),
]
