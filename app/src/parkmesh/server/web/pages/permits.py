"""A person's permit for accessible spaces, on the person's page."""

from starlette.responses import Response

from parkmesh.server.http.problems import Problem
from parkmesh.server.reservations import permits
from parkmesh.server.web.pages import people
from parkmesh.server.web.pages.confirming import asked
from parkmesh.server.web.pages.visit import Access, Visit, action


async def save(visit: Visit) -> Response:
    """Give a person a permit, or change it."""
    form, resident_id = visit.form, visit.number("resident")
    number = form.text("permit_number", least=0, most=permits.MAX_NUMBER)
    until = form.day("permit_until")
    if until and not form.errors:
        try:
            async with visit.acting() as connection:
                if until < visit.now.astimezone(visit.zone).date():
                    raise Problem(422, "This day is over.", kind="invalid")
                await permits.put(
                    connection, visit.principal, visit.member.community_id, resident_id, number or None, until,
                    visit.now,
                )  # fmt: skip
            return visit.go(f"{visit.base}/people/{resident_id}", done="saved")
        except Problem as problem:
            form.refused(problem, "permit_until")
    return await people.show_person(visit)


async def remove(visit: Visit) -> Response:
    async with visit.acting() as connection:
        await permits.delete(connection, visit.principal, visit.member.community_id, visit.number("resident"))
    return visit.go(f"{visit.base}/people/{visit.number('resident')}", done="removed")


_PERMIT = "/communities/{community}/people/{resident}/permit"
ROUTES = [
    action(_PERMIT, Access.STAFF, save),
    action(f"{_PERMIT}/delete", Access.STAFF, asked("remove-permit", remove)),
]
