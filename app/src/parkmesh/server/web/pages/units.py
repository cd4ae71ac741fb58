"""Units of a community: all of them by pages, and each with its people, lots and plates."""

from starlette.responses import Response

from parkmesh.server.http.problems import Problem
from parkmesh.server.people import units
from parkmesh.server.web.pages import exports, preconditions
from parkmesh.server.web.pages.confirming import asked
from parkmesh.server.web.pages.rendering import render
from parkmesh.server.web.pages.visit import Access, Visit, action, page


async def show(visit: Visit) -> Response:
    search = visit.query("q", 60)
    paged = visit.paged()
    place = paged.after(str, int)
    async with visit.reading() as connection:
        found = await units.page(
            connection,
            visit.member.community_id,
            limit=paged.fetch,
            way=paged.way,
            after=(place[0], place[1]) if place else None,
            search=search,
        )
    shown, turns = visit.turned(paged, found, lambda unit: (unit.name, unit.id))
    return render(
        visit,
        "units.html",
        units=shown,
        search=search,
        export=exports.link(visit, "units", q=search),
        **turns,
    )


async def add(visit: Visit) -> Response:
    wanted = _attributes(visit)
    if not visit.form.errors:
        try:
            async with visit.acting() as connection:
                await units.create(connection, visit.principal, visit.member.community_id, *wanted)
            return visit.go(_units(visit), done="added")
        except Problem as problem:
            visit.form.refused(problem, "name")
    return await show(visit)


async def show_unit(visit: Visit) -> Response:
    async with visit.reading() as connection:
        unit = await units.get(connection, visit.member.community_id, visit.number("unit"))
    return render(visit, "unit.html", unit=unit, seen=preconditions.mark(unit))


async def change(visit: Visit) -> Response:
    identity = visit.member.community_id
    name, lots, limit = _attributes(visit)
    if not visit.form.errors:
        try:
            async with visit.acting() as connection:
                unit = await units.get(connection, identity, visit.number("unit"), lock=True)
                preconditions.check(visit, unit)
                changes = {"name": name, "lots": lots, "plate_limit": limit}
                await units.change(connection, visit.principal, identity, unit, changes)
            return visit.go(f"{_units(visit)}/{unit.id}", done="saved")
        except Problem as problem:
            preconditions.refused(visit, problem, "name")
    return await show_unit(visit)


async def delete(visit: Visit) -> Response:
    identity = visit.member.community_id
    try:
        async with visit.acting() as connection:
            unit = await units.get(connection, identity, visit.number("unit"), lock=True)
            await units.delete(connection, visit.principal, identity, unit.id)
        return visit.go(_units(visit), done="removed")
    except Problem as problem:
        visit.form.refused(problem)
    visit.form.sent = False
    return await show_unit(visit)


def _attributes(visit: Visit) -> tuple[str, int | None, int]:
    """Return the name, the lots and the number of plates that a form gives a unit."""
    form = visit.form
    return form.text("name", most=60), form.optional_number("lots", 0, 1000), form.number("plate_limit", 0, 1000)


def _units(visit: Visit) -> str:
    return f"{visit.base}/people/units"


_UNITS = "/communities/{community}/people/units"
ROUTES = [
    page(_UNITS, Access.STAFF, show),
    action(_UNITS, Access.STAFF, add),
    page(f"{_UNITS}/{{unit}}", Access.STAFF, show_unit),
    action(f"{_UNITS}/{{unit}}", Access.STAFF, change),
    action(f"{_UNITS}/{{unit}}/delete", Access.STAFF, asked("delete-unit", delete)),
]
