"""Visitor passes: made by a resident, opened by the visitor with a link and without an account."""

from datetime import timedelta
from zoneinfo import ZoneInfo

import msgspec
from starlette.responses import Response

from parkmesh.domain.windows import Window
from parkmesh.server.access import gate_commands
from parkmesh.server.communities import rules
from parkmesh.server.db import database
from parkmesh.server.db.database import Connection
from parkmesh.server.http import problems
from parkmesh.server.http.problems import Problem
from parkmesh.server.people import units
from parkmesh.server.reservations import free_spaces, visitor_passes
from parkmesh.server.spaces import spaces
from parkmesh.server.web import links, security
from parkmesh.server.web.pages import drawing, idempotency, openings, plate_notices, preconditions, privacy, qr
from parkmesh.server.web.pages.bookings import input_moment, next_hour, window
from parkmesh.server.web.pages.confirming import asked
from parkmesh.server.web.pages.levels import MAX_LEVELS
from parkmesh.server.web.pages.rendering import render
from parkmesh.server.web.pages.visit import Access, Visit, action, page

SHOWN = 60
VISIT = f"/{links.VISIT}"
MAX_NAME = 60


async def show(visit: Visit, link: str = "") -> Response:
    """Show the unit's passes and the form for another; ``link`` is that of a pass just made, shown this once."""
    identity = visit.member.community_id
    async with visit.reading() as connection:
        unit_id = await units.unit_of(connection, identity, visit.member.resident_id)
        passes, quota = [], None
        if unit_id:
            passes = await visitor_passes.page(
                connection, identity, limit=SHOWN, unit_id=unit_id, ends_after=visit.now - timedelta(days=7)
            )
            quota = await visitor_passes.quota(connection, identity, unit_id, visit.now)
        limits = await rules.read(connection, identity)
    begin = next_hour(visit) - timedelta(hours=1)
    return render(
        visit,
        "visitor_passes.html",
        passes=passes,
        quota=quota,
        link=link,
        limits=limits,
        has_unit=unit_id is not None,
        default_from=input_moment(begin, visit),
        default_until=input_moment(begin + timedelta(hours=min(24, limits.visitor_pass_max_hours)), visit),
    )


async def create(visit: Visit) -> Response:
    form, member = visit.form, visit.member
    token = ""
    try:
        async with visit.acting() as connection:
            attempt = await idempotency.begin(visit, connection)
            if attempt.answer is not None:
                return idempotency.again(attempt.answer)
            unit_id = await units.unit_of(connection, member.community_id, member.resident_id)
            name, plate, wanted = form.text("name", least=0, most=MAX_NAME), form.optional_plate(), window(form, visit)
            space = form.value("space") or None
            if unit_id is None:
                raise problems.not_found()
            if wanted and not form.errors:
                _, token = await visitor_passes.create(
                    connection,
                    visit.principal,
                    member.community_id,
                    unit_id=unit_id,
                    resident_id=member.resident_id,
                    window=wanted,
                    name=name or None,
                    plate=plate,
                    space=space if space != "any" else await _any_space(visit, connection, unit_id, wanted),
                    now=visit.now,
                )
                visit.also = await plate_notices.of(visit, connection, plate, unit_id)
                await idempotency.finish(attempt, f"{visit.base}/visitors")
    except Problem as problem:
        form.refused(problem, zone=visit.zone)
        token = ""
    if token:
        form.sent = False
    return await show(visit, links.absolute(visit.request, links.VISIT, token) if token else "")


async def _any_space(visit: Visit, connection: Connection, unit_id: int, wanted: Window) -> str:
    """Return a visitors' space that is free for the whole time, an accessible one only where no other is; raise
    ``Problem`` 409 where there is none."""
    for accessible in (False, True):
        free = await free_spaces.available(
            connection,
            visit.member.community_id,
            wanted,
            limit=1,
            unit_id=unit_id,
            category="visitor",
            accessible=accessible,
        )
        if free:
            return free[0].name
    raise Problem(409, "No visitors' space is free for the whole of that time.", kind="no-visitor-space")


async def _own(visit: Visit, connection: Connection, *, for_change: bool = True) -> visitor_passes.VisitorPass:
    unit_id = await units.unit_of(connection, visit.member.community_id, visit.member.resident_id)
    return await visitor_passes.get(
        connection, visit.member.community_id, visit.number("pass"), unit_id=unit_id or 0, for_change=for_change
    )


async def show_one(visit: Visit) -> Response:
    async with visit.reading() as connection:
        found = await _own(visit, connection, for_change=False)
    return render(
        visit,
        "visitor_pass.html",
        visit_pass=found,
        over=found.status == "cancelled" or found.until <= visit.now,
        seen=preconditions.mark(found),
    )


async def change(visit: Visit) -> Response:
    """Give a pass another name or plate."""
    form = visit.form
    name, plate = form.text("name", least=0, most=MAX_NAME), form.optional_plate()
    if not form.errors:
        try:
            async with visit.acting() as connection:
                present = await _own(visit, connection)
                preconditions.check(visit, present)
                await visitor_passes.change(
                    connection, visit.principal, visit.member.community_id, present, name or None, plate, visit.now
                )
                new_plate = plate if plate != present.plate else None
                also = await plate_notices.of(visit, connection, new_plate, present.unit_id)
            return visit.go(f"{visit.base}/visitors", done="pass-changed", also=also)
        except Problem as problem:
            preconditions.refused(visit, problem, "plate" if problem.kind == "plate" else "")
    return await show_one(visit)


async def cancel(visit: Visit) -> Response:
    try:
        async with visit.acting() as connection:
            seen = await _own(visit, connection)
            await visitor_passes.cancel(connection, visit.principal, visit.member.community_id, seen, None, visit.now)
        return visit.go(f"{visit.base}/visitors", done="pass-cancelled")
    except Problem as problem:
        visit.form.refused(problem)
    visit.form.sent = False
    return await show(visit)


async def new_link(visit: Visit) -> Response:
    visit.form.sent = False
    try:
        async with visit.acting() as connection:
            seen = await _own(visit, connection)
            token = await visitor_passes.new_link(
                connection, visit.principal, visit.member.community_id, seen, visit.now
            )
        return await show(visit, links.absolute(visit.request, links.VISIT, token))
    except Problem as problem:
        visit.form.refused(problem)
    return await show(visit)


async def open_link(visit: Visit, refused: Problem | None = None) -> Response:
    """Show a visitor the pass, with the ``refused`` problem where there is one."""
    token = visit.request.path_params["token"]
    address = security.client_address(visit.request, visit.settings)
    community_id = await visitor_passes.enter(visit.pool, token, address)
    async with database.in_community(visit.pool, community_id, read_only=True) as connection:
        seen = await visitor_passes.visit(connection, community_id, token, visit.now)
        plan = await _way(connection, community_id, seen) if seen else None
        opening = await openings.of_visitor(connection, community_id, token, visit.query(openings.PARAMETER))
    if seen is None:
        raise problems.not_found()
    await visitor_passes.entered(visit.pool, token, address)
    zone, link = ZoneInfo(seen.time_zone), f"{VISIT}/{token}"
    status = refused.status_code if refused else 200
    told = await privacy.of(visit, community_id)
    page = render(
        visit,
        "visitor.html",
        status,
        seen=seen,
        zone=zone,
        link=link,
        gate_opening=opening,
        plan=plan,
        drawn_code=qr.svg(seen.code.qr) if seen.code else None,
        **told,
    )
    page.headers.update((refused and refused.headers) or {})
    return page


async def _way(connection: Connection, community_id: int, seen: visitor_passes.Visit) -> drawing.Plan | None:
    """Return the drawing of the level of a visitor's space, without any state: a visitor learns nothing of who is at
    home. None where there is no space, or it has no place."""
    if seen.space is None or seen.status not in ("open", "upcoming"):
        return None
    found = await spaces.all_of(connection, community_id)
    here = [
        msgspec.structs.replace(space, status="unknown", since=None, reported_at=None)
        for space in found
        if space.level == seen.level and space.geometry
    ]
    if not any(space.name == seen.space for space in here):
        return None
    levels = await spaces.levels(connection, community_id, limit=MAX_LEVELS)
    return next((drawing.placed(level, here) for level in levels if level.name == seen.level), None)


async def say_plate(visit: Visit) -> Response:
    """Take the plate that a visitor gives."""
    token = visit.request.path_params["token"]
    plate = visit.form.plate()
    if plate is None:
        return await open_link(visit)
    address = security.client_address(visit.request, visit.settings)
    community_id = await visitor_passes.enter(visit.pool, token, address)
    try:
        async with database.in_community(visit.pool, community_id) as connection:
            said = await visitor_passes.say_plate(connection, community_id, token, plate, visit.now)
    except Problem as problem:
        visit.form.refused(problem, "plate")
        return await open_link(visit)
    if said is None:
        raise problems.not_found()
    if isinstance(said, visitor_passes.PlateRefused):
        visit.form.wrong(
            "plate", visit.language.gettext("This plate can't have a pass. Ask the person who invited you.")
        )
        return await open_link(visit)
    return visit.go(f"{VISIT}/{token}", done="saved")


async def open_gate(visit: Visit) -> Response:
    """Open a gate for a visitor, where the community lets visitors."""
    token = visit.request.path_params["token"]
    address = security.client_address(visit.request, visit.settings)
    community_id = await visitor_passes.enter(visit.pool, token, address)
    try:
        async with database.in_community(visit.pool, community_id) as connection:
            asked = await visitor_passes.open_gate(connection, community_id, token, visit.path("gate"), visit.now)
        if asked is None:
            raise problems.not_found()
        if asked.state == "refused":
            raise gate_commands.offline(asked)
    except Problem as problem:
        if problem.status_code != 404:
            # The link is right: only the opening was refused.
            await visitor_passes.entered(visit.pool, token, address)
        visit.form.refused(problem)
        return await open_link(visit, problem)
    await visitor_passes.entered(visit.pool, token, address)
    return visit.go(f"{VISIT}/{token}", opening=asked.id)


ROUTES = [
    page("/communities/{community}/visitors", Access.RESIDENT, show),
    action("/communities/{community}/visitors", Access.RESIDENT, create),
    page("/communities/{community}/visitors/{pass}", Access.RESIDENT, show_one),
    action("/communities/{community}/visitors/{pass}", Access.RESIDENT, change),
    action("/communities/{community}/visitors/{pass}/cancel", Access.RESIDENT, asked("cancel-pass", cancel)),
    action("/communities/{community}/visitors/{pass}/link", Access.RESIDENT, asked("new-pass-link", new_link)),
    page(f"{VISIT}/{{token}}", Access.ANYBODY, open_link),
    action(f"{VISIT}/{{token}}", Access.ANYBODY, say_plate),
    action(f"{VISIT}/{{token}}/gates/{{gate}}/open", Access.ANYBODY, open_gate),
]
