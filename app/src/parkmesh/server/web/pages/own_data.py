"""The data that communities keep of the user: what it is, a file with all of it, and asking for its erasure."""

from dataclasses import dataclass

from starlette.responses import Response

from parkmesh.server.communities import community_reads
from parkmesh.server.db import database
from parkmesh.server.people import personal_data, residents
from parkmesh.server.web.pages.rendering import render
from parkmesh.server.web.pages.visit import Access, Visit, action, page

PAGE = "/account/data"


@dataclass(frozen=True)
class Place:
    """A community that one lives in."""

    community: community_reads.Community
    resident: residents.Resident


async def _places(visit: Visit) -> list[Place]:
    places = []
    for member in visit.principal.memberships.values():
        if member.resident_id is not None:
            identity = member.community_id
            async with database.in_community(visit.pool, identity, read_only=True) as connection:
                community = await community_reads.community(connection, identity)
                places.append(Place(community, await residents.get(connection, identity, member.resident_id)))
    return places


async def show(visit: Visit) -> Response:
    return render(visit, "own_data.html", places=await _places(visit))


async def ask_for_erasure(visit: Visit) -> Response:
    """Ask the administrators to erase one's data, or take that back."""
    wanted = visit.form.value("wanted") == "yes"
    member = visit.member
    assert member.resident_id is not None, "only residents come here"
    async with visit.acting() as connection:
        await personal_data.ask_for_erasure(
            connection, visit.principal, member.community_id, member.resident_id, wanted
        )
    return visit.go(PAGE, done="erasure-asked" if wanted else "erasure-taken-back")


ROUTES = [
    page(PAGE, Access.SIGNED_IN, show),
    action("/communities/{community}/my-data/erasure", Access.RESIDENT, ask_for_erasure),
]
