"""A resident's own vehicles."""

from starlette.responses import Response

from parkmesh.server.access import credentials
from parkmesh.server.db.database import Connection
from parkmesh.server.http import problems
from parkmesh.server.http.problems import Problem
from parkmesh.server.people import units
from parkmesh.server.web.pages import plate_notices, preconditions
from parkmesh.server.web.pages.confirming import asked
from parkmesh.server.web.pages.rendering import render
from parkmesh.server.web.pages.visit import Access, Visit, action, page

MAX_LABEL = 60
SHOWN = 200


async def show(visit: Visit) -> Response:
    identity, resident_id = visit.member.community_id, visit.member.resident_id
    async with visit.reading() as connection:
        unit_id = await units.unit_of(connection, identity, resident_id)
        unit = await units.get(connection, identity, unit_id) if unit_id else None
        vehicles = await credentials.page(
            connection, identity, limit=SHOWN, resident_id=resident_id, unit_id=unit_id, visitors=False
        )
    return render(visit, "credentials.html", vehicles=vehicles, unit=unit)


async def add(visit: Visit) -> Response:
    form, member = visit.form, visit.member
    plate, label = form.plate(), form.text("label", least=0, most=MAX_LABEL)
    if plate and not form.errors:
        try:
            async with visit.acting() as connection:
                made = await credentials.add(
                    connection,
                    visit.principal,
                    member.community_id,
                    resident_id=member.resident_id,
                    plate=plate,
                    label=label,
                    by_staff=False,
                )
                also = await plate_notices.of(visit, connection, plate, made.unit_id)
            return visit.go(f"{visit.base}/vehicles", done="vehicle-added", also=also)
        except Problem as problem:
            form.refused(problem, "plate")
    return await show(visit)


async def _own(visit: Visit, connection: Connection, *, lock: bool = True) -> credentials.Credential:
    found = await credentials.get(connection, visit.member.community_id, visit.number("vehicle"), lock=lock)
    if found.resident_id is None or found.resident_id != visit.member.resident_id:
        raise problems.not_found()
    return found


async def show_one(visit: Visit) -> Response:
    async with visit.reading() as connection:
        vehicle = await _own(visit, connection, lock=False)
    return render(visit, "credential.html", vehicle=vehicle, seen=preconditions.mark(vehicle))


async def change(visit: Visit) -> Response:
    """Give a vehicle another plate or name."""
    form = visit.form
    changes = {"plate": form.plate(), "label": form.text("label", least=0, most=MAX_LABEL)}
    if not form.errors:
        try:
            async with visit.acting() as connection:
                present = await _own(visit, connection)
                preconditions.check(visit, present)
                changed = await credentials.change(
                    connection, visit.principal, visit.member.community_id, present, changes, by_staff=False
                )
                new_plate = changed.plate if changed.plate != present.plate else None
                also = await plate_notices.of(visit, connection, new_plate, changed.unit_id)
            return visit.go(f"{visit.base}/vehicles", done="vehicle-changed", also=also)
        except Problem as problem:
            preconditions.refused(visit, problem, "plate")
    return await show_one(visit)


async def remove(visit: Visit) -> Response:
    try:
        async with visit.acting() as connection:
            vehicle = await _own(visit, connection)
            await credentials.remove(connection, visit.principal, visit.member.community_id, vehicle, by_staff=False)
        return visit.go(f"{visit.base}/vehicles", done="vehicle-removed")
    except Problem as problem:
        visit.form.refused(problem)
    return await show(visit)


ROUTES = [
    page("/communities/{community}/vehicles", Access.RESIDENT, show),
    action("/communities/{community}/vehicles", Access.RESIDENT, add),
    page("/communities/{community}/vehicles/{vehicle}", Access.RESIDENT, show_one),
    action("/communities/{community}/vehicles/{vehicle}", Access.RESIDENT, change),
    action("/communities/{community}/vehicles/{vehicle}/remove", Access.RESIDENT, asked("remove-plate", remove)),
]
