"""Exceptions from the rule of how many nights a visitor's car may stay."""

from datetime import time, timedelta

from starlette.responses import Response

from parkmesh.domain.sharing import moment
from parkmesh.server.communities import rules
from parkmesh.server.http.problems import Problem
from parkmesh.server.reservations import visitor_nights
from parkmesh.server.web.fields import MAX_REASON, MIN_REASON
from parkmesh.server.web.pages import idempotency, unit_choice
from parkmesh.server.web.pages.confirming import asked
from parkmesh.server.web.pages.rendering import render
from parkmesh.server.web.pages.visit import Access, Visit, action, page


async def show(visit: Visit) -> Response:
    """Show the exceptions by pages, and the form for another."""
    identity, paged = visit.member.community_id, visit.paged()
    place = paged.after(int)
    async with visit.reading() as connection:
        found = await visitor_nights.page(
            connection, identity, limit=paged.fetch, way=paged.way, after=place[0] if place else None
        )
        limit = (await rules.read(connection, identity)).visitor_nights_in_28_days
        suggested = await unit_choice.suggested(visit, connection)
    shown, turns = visit.turned(paged, found, lambda item: (item.id,))
    return render(visit, "visitor_nights.html", exceptions=shown, limit=limit, units=suggested, **turns)


async def create(visit: Visit) -> Response:
    """Let a visitor's car stay more nights at a unit, until the end of a day."""
    form, identity = visit.form, visit.member.community_id
    plate, day = form.plate(), form.day("until")
    reason = form.text("reason", least=MIN_REASON, most=MAX_REASON)
    try:
        async with visit.acting() as connection:
            attempt = await idempotency.begin(visit, connection)
            if attempt.answer is not None:
                return idempotency.again(attempt.answer)
            unit_id = await unit_choice.chosen(visit, connection, required=True)
            if plate and day and unit_id and not form.errors:
                until = moment(day + timedelta(days=1), time(), visit.zone)
                await visitor_nights.except_plate(
                    connection,
                    visit.principal,
                    identity,
                    unit_id=unit_id,
                    plate=plate,
                    until=until,
                    reason=reason,
                    now=visit.now,
                )
                return await idempotency.finish(attempt, f"{visit.base}/visitor-nights?done=added")
    except Problem as problem:
        form.refused(problem, "until")
    return await show(visit)


async def remove(visit: Visit) -> Response:
    async with visit.acting() as connection:
        await visitor_nights.remove(connection, visit.principal, visit.member.community_id, visit.number("exception"))
    return visit.go(f"{visit.base}/visitor-nights", done="removed")


_NIGHTS = "/communities/{community}/visitor-nights"
ROUTES = [
    page(_NIGHTS, Access.STAFF, show),
    action(_NIGHTS, Access.STAFF, create),
    action(f"{_NIGHTS}/{{exception}}/delete", Access.STAFF, asked("remove-exception", remove)),
]
