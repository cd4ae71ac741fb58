"""A plate and its people, for staff: whose it is, where it is, and what the gates saw of it lately."""

from urllib.parse import quote

from starlette.responses import Response

from parkmesh.domain import plates
from parkmesh.server.access import alike, holders, passages, presence, stays
from parkmesh.server.http import problems
from parkmesh.server.web.pages.rendering import render
from parkmesh.server.web.pages.visit import Access, Visit, page

SHOWN = 20


async def show(visit: Visit) -> Response:
    identity, asked = visit.member.community_id, visit.path("plate")
    plate = plates.normalise(asked)
    if plate is None:
        raise problems.not_found()
    if plate != asked:
        return visit.go(f"{visit.base}/plates/{quote(plate)}")
    async with visit.reading() as connection:
        held = await holders.of_plate(connection, identity, plate, SHOWN)
        where = await presence.get(connection, identity, plate)
        seen = await passages.of_plate(connection, identity, plate, SHOWN)
        stayed = await stays.of_plate(connection, identity, plate, SHOWN)
        others = await alike.reading_as(connection, identity, plate)
        whose = await holders.of_credentials(connection, identity, (item.credential for item in seen))
    today = visit.language.day(visit.now, visit.zone)
    return render(
        visit,
        "plate.html",
        plate=plate,
        held=held,
        where=where,
        passages=seen,
        stays=stayed,
        holders=whose,
        alike=others,
        today=today,
    )


ROUTES = [page("/communities/{community}/plates/{plate}", Access.STAFF, show)]
