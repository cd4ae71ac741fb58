"""All visitor passes of a community, for its staff: searched, and cancelled with a reason."""

from datetime import datetime, time, timedelta
from typing import get_args

from starlette.responses import Response

from parkmesh.server.http.problems import Problem
from parkmesh.server.reservations import visitor_passes
from parkmesh.server.reservations.states import State, state_of
from parkmesh.server.web.fields import MAX_REASON, MIN_REASON
from parkmesh.server.web.pages import exports, forms
from parkmesh.server.web.pages.rendering import render
from parkmesh.server.web.pages.visit import Access, Visit, action, page

PATH = "/communities/{community}/visitor-passes"


async def show(visit: Visit) -> Response:
    """Show passes by pages, those that fit the filters of the address."""
    query = visit.request.query_params
    visit.form = form = forms.Form(visit.language, {name: query.getlist(name) for name in query}, sent=True)
    paged = visit.paged()
    place = paged.after(datetime, int)
    asked = form.value("state")
    async with visit.reading() as connection:
        since, until = form.optional_day("from"), form.optional_day("until")
        # The day until which counts whole.
        begin = datetime.combine(since, time(), visit.zone) if since else None
        end = datetime.combine(until + timedelta(days=1), time(), visit.zone) if until else None
        read = await visitor_passes.page(
            connection,
            visit.member.community_id,
            limit=paged.fetch,
            way=paged.way,
            after=(place[0], place[1]) if place else None,
            search=visit.query("q", 60),
            state=next((state for state in get_args(State) if state == asked), None),
            now=visit.now,
            ends_after=begin,
            starts_before=end,
        )
    shown, turns = visit.turned(paged, read, lambda item: (item.from_, item.id))
    return render(
        visit,
        "all_visitor_passes.html",
        found=[(item, state_of(item.status, item.from_, item.until, visit.now)) for item in shown],
        export=exports.link(visit, "visitor-passes", since=begin, until=end),
        **turns,
    )


async def show_one(visit: Visit) -> Response:
    async with visit.reading() as connection:
        found = await visitor_passes.get(connection, visit.member.community_id, visit.number("visitor_pass"))
    state = state_of(found.status, found.from_, found.until, visit.now)
    return render(visit, "any_visitor_pass.html", visitor_pass=found, state=state)


async def cancel(visit: Visit) -> Response:
    """Cancel a pass for its unit, which reads the reason."""
    identity, number = visit.member.community_id, visit.number("visitor_pass")
    reason = visit.form.text("reason", least=MIN_REASON, most=MAX_REASON)
    if not visit.form.errors:
        try:
            async with visit.acting() as connection:
                present = await visitor_passes.get(connection, identity, number, for_change=True)
                await visitor_passes.cancel(connection, visit.principal, identity, present, reason, visit.now)
            return visit.go(f"{visit.base}/visitor-passes/{number}", done="pass-cancelled")
        except Problem as problem:
            visit.form.refused(problem)
    return await show_one(visit)


ROUTES = [
    page(PATH, Access.STAFF, show),
    page(f"{PATH}/{{visitor_pass}}", Access.STAFF, show_one),
    action(f"{PATH}/{{visitor_pass}}", Access.STAFF, cancel),
]
