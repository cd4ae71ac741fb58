"""The privacy notice of a community, for its members, and the contact in it, which staff set. People who are invited
and visitors read the notice before they have an account, on the page of their link."""

from typing import Any

from starlette.responses import Response

from parkmesh.domain import retention
from parkmesh.server.http.problems import Problem
from parkmesh.server.people import privacy
from parkmesh.server.web.pages import preconditions
from parkmesh.server.web.pages.rendering import render
from parkmesh.server.web.pages.visit import Access, Visit, action, page


async def of(visit: Visit, community_id: int) -> dict[str, Any]:
    """Return what ``privacy_parts.html`` needs of a community."""
    return {"notice": await privacy.notice(visit.pool, community_id), "kept": retention}


async def show(visit: Visit) -> Response:
    async with visit.reading():
        pass
    told = await of(visit, visit.member.community_id)
    seen = preconditions.mark(told["notice"].contact)
    return render(visit, "privacy.html", most=privacy.MAX_CONTACT, seen=seen, **told)


async def change_contact(visit: Visit) -> Response:
    identity = visit.member.community_id
    wanted = visit.form.text("contact", least=0, most=privacy.MAX_CONTACT)
    if not visit.form.errors:
        try:
            async with visit.acting() as connection:
                preconditions.check(visit, await privacy.contact(connection, identity, lock=True))
                await privacy.set_contact(connection, visit.principal, identity, wanted)
            return visit.go(f"{visit.base}/privacy", done="saved")
        except Problem as problem:
            preconditions.refused(visit, problem, "contact")
    return await show(visit)


_PATH = "/communities/{community}/privacy"
ROUTES = [page(_PATH, Access.MEMBER, show), action(_PATH, Access.STAFF, change_contact)]
