"""A resident's own start page: gates, spaces, bookings and visitors at a glance."""

from starlette.responses import Response

from parkmesh.server.access import gate_commands, gates
from parkmesh.server.communities import rules
from parkmesh.server.http.problems import Problem
from parkmesh.server.people import units
from parkmesh.server.reservations import assignments, bookings, space_requests, visitor_passes
from parkmesh.server.spaces import space_counts, spaces
from parkmesh.server.web.pages import openings, resident_map
from parkmesh.server.web.pages.bookings import USUAL, input_moment, next_hour
from parkmesh.server.web.pages.levels import MAX_LEVELS
from parkmesh.server.web.pages.rendering import render
from parkmesh.server.web.pages.visit import Access, Visit, action

SHOWN = 5


async def show(visit: Visit, status: int = 200) -> Response:
    member = visit.member
    identity = member.community_id
    async with visit.reading() as connection:
        unit_id = await units.unit_of(connection, identity, member.resident_id)
        unit = await units.get(connection, identity, unit_id) if unit_id else None
        own, upcoming, passes, asks, quota = [], [], [], [], None
        if unit_id:
            given = await assignments.page(connection, identity, limit=50, unit_id=unit_id)
            names = sorted({item.space for item in given if item.until is None or item.until > visit.now})
            own = [await spaces.get(connection, identity, name, unit_seen=unit_id) for name in names]
            upcoming = await bookings.page(
                connection, identity, limit=50, unit_id=unit_id, status="active", ends_after=visit.now
            )
            passes = await visitor_passes.page(connection, identity, limit=50, unit_id=unit_id, ends_after=visit.now)
            asks = await space_requests.page(connection, identity, limit=1, unit_id=unit_id, open_only=True)
            quota = await visitor_passes.quota(connection, identity, unit_id, visit.now)
        counts = await space_counts.count(connection, identity, unit_seen=unit_id or 0)
        levels = resident_map.seen(
            await spaces.levels(connection, identity, limit=MAX_LEVELS),
            await spaces.all_of(connection, identity, unit_seen=unit_id or 0),
        )
        limits = await rules.read(connection, identity)
        opening = await openings.of(visit, connection)
        openable = await gates.all_of(connection, identity) if limits.residents_open_gates else []
    begin = next_hour(visit)
    return render(
        visit,
        "home.html",
        status,
        unit=unit,
        spaces=own,
        offered=next((item for item in asks if item.state == "offered"), None),
        counts=counts.community,
        levels=levels,
        booking_from=input_moment(begin, visit),
        booking_until=input_moment(begin + USUAL, visit),
        bookings=sorted((item for item in upcoming if item.visitor_pass is None), key=lambda item: item.from_)[:SHOWN],
        passes=sorted((item for item in passes if item.status == "active"), key=lambda item: item.from_)[:SHOWN],
        quota=quota,
        gates=openable,
        gate_opening=opening,
    )


async def open_gate(visit: Visit) -> Response:
    try:
        asked = await gate_commands.open_gate(visit.pool, visit.principal, visit.member, visit.path("gate"), None)
    except Problem as problem:
        visit.form.refused(problem)
        answer = await show(visit, problem.status_code)
        answer.headers.update(problem.headers or {})
        return answer
    return visit.go(visit.base, opening=asked.id)


ROUTES = [action("/communities/{community}/my-gates/{gate}/open", Access.RESIDENT, open_gate)]
