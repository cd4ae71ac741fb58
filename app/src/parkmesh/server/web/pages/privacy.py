"""The privacy notice of a community, for its members. People who are invited and visitors read it before they have an
account, on the page of their link."""

from typing import Any

from starlette.responses import Response

from parkmesh.domain import retention
from parkmesh.server.people import privacy
from parkmesh.server.web.pages.rendering import render
from parkmesh.server.web.pages.visit import Access, Visit, page


async def of(visit: Visit, community_id: int) -> dict[str, Any]:
    """Return what ``privacy_parts.html`` needs of a community."""
    return {"notice": await privacy.notice(visit.pool, community_id), "kept": retention}


async def show(visit: Visit) -> Response:
    async with visit.reading():
        pass
    return render(visit, "privacy.html", **await of(visit, visit.member.community_id))


ROUTES = [page("/communities/{community}/privacy", Access.MEMBER, show)]
