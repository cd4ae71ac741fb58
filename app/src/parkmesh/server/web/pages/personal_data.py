"""One person's data: exported as a file, or erased for ever. For the community's administrators."""

from starlette.responses import Response

from parkmesh.server.http.problems import Problem
from parkmesh.server.people import personal_data, residents
from parkmesh.server.web.pages.rendering import render
from parkmesh.server.web.pages.visit import Access, Visit, action, page


async def show(visit: Visit) -> Response:
    async with visit.reading() as connection:
        person = await residents.get(connection, visit.member.community_id, visit.number("resident"))
    return render(visit, "personal_data.html", person=person, erased=None)


async def erase(visit: Visit) -> Response:
    """Erase the person whose address was entered once more; show what went, this once."""
    form, resident_id = visit.form, visit.number("resident")
    confirm = form.text("confirm", most=254)
    if not form.errors:
        try:
            async with visit.reading():
                pass
            erased = await personal_data.erase(
                visit.pool, visit.principal, visit.member.community_id, resident_id, confirm
            )
            return render(visit, "personal_data.html", person=None, erased=erased)
        except Problem as problem:
            form.refused(problem, "confirm")
    return await show(visit)


_DATA = "/communities/{community}/people/{resident}/data"
ROUTES = [page(_DATA, Access.STAFF, show), action(_DATA, Access.STAFF, erase)]
