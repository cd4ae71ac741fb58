"""Directions: a community's text for visitors on how to find their way; staff write it, the links of passes show it."""

import re

from starlette.responses import Response

from parkmesh.server.http.problems import Problem
from parkmesh.server.reservations import visitor_passes
from parkmesh.server.web.pages import preconditions
from parkmesh.server.web.pages.rendering import render
from parkmesh.server.web.pages.visit import Access, Visit, action, page

_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f]")


async def show(visit: Visit) -> Response:
    async with visit.reading() as connection:
        present = await visitor_passes.directions(connection, visit.member.community_id)
    seen = preconditions.mark(present)
    return render(visit, "directions.html", directions=present, most=visitor_passes.MAX_DIRECTIONS, seen=seen)


async def change(visit: Visit) -> Response:
    form, identity = visit.form, visit.member.community_id
    # Browsers end lines as the protocol of forms says, the text knows one kind of end.
    wanted = form.value("directions").replace("\r\n", "\n").strip()
    if len(wanted) > visitor_passes.MAX_DIRECTIONS or _CONTROL.search(wanted):
        text = visit.language.gettext(
            "Enter %(least)s to %(most)s characters.", least=0, most=visitor_passes.MAX_DIRECTIONS
        )
        form.wrong("directions", text)
    if not form.errors:
        try:
            async with visit.acting() as connection:
                present = await visitor_passes.lock_directions(connection, identity)
                preconditions.check(visit, present)
                await visitor_passes.set_directions(connection, visit.principal, identity, wanted)
            return visit.go(f"{visit.base}/directions", done="saved")
        except Problem as problem:
            preconditions.refused(visit, problem)
    return await show(visit)


_PATH = "/communities/{community}/directions"
ROUTES = [page(_PATH, Access.STAFF, show), action(_PATH, Access.STAFF, change)]
