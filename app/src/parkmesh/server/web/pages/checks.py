"""Check a plate: may this car be here? For staff who stand in front of it, with a phone."""

from datetime import datetime

from starlette.responses import Response

from parkmesh.server import audit
from parkmesh.server.access import checks
from parkmesh.server.http.problems import Problem
from parkmesh.server.web.pages.rendering import render
from parkmesh.server.web.pages.visit import Access, Visit, action, page

SHOWN = 30
MAX_SPACE = 63


async def show(visit: Visit, answer: checks.Check | None = None) -> Response:
    """Show the form, the ``answer`` where something was asked, and checks by pages."""
    identity, paged = visit.member.community_id, visit.paged(SHOWN)
    place = paged.after(datetime, int)
    async with visit.reading() as connection:
        found = await checks.page(
            connection,
            identity,
            limit=paged.fetch,
            way=paged.way,
            before=(place[0], place[1]) if place else None,
        )
    latest, turns = visit.turned(paged, found, lambda item: (item.asked_at, item.id))
    called = await audit.called_now(visit.pool, identity, {item.asked_by for item in latest})
    return render(visit, "check.html", answer=answer, latest=latest, called=called, **turns)


async def check(visit: Visit) -> Response:
    """Check the plate of the form, in its space where given, now."""
    form = visit.form
    plate, space = form.plate(), form.text("space", least=0, most=MAX_SPACE).lower() or None
    answer = None
    if plate and not form.errors:
        try:
            async with visit.acting() as connection:
                answer = await checks.check(
                    connection, visit.principal, visit.member.community_id, plate, space, None, visit.now
                )
        except Problem as problem:
            form.refused(problem, "space")
    return await show(visit, answer)


_CHECK = "/communities/{community}/check"
ROUTES = [page(_CHECK, Access.STAFF, show), action(_CHECK, Access.STAFF, check)]
