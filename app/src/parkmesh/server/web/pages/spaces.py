"""Spaces: the live map, and each space's settings for staff."""

from itertools import groupby
from typing import get_args

from starlette.responses import Response

from parkmesh.server.communities import community_reads
from parkmesh.server.http.problems import Problem
from parkmesh.server.reservations import assignments
from parkmesh.server.spaces import spaces
from parkmesh.server.web.pages import drawing, exports, preconditions, unit_choice
from parkmesh.server.web.pages.communities import stream_settings
from parkmesh.server.web.pages.confirming import asked
from parkmesh.server.web.pages.names import short_name
from parkmesh.server.web.pages.rendering import render
from parkmesh.server.web.pages.visit import Access, Visit, action, page

MAX_SHOWN = 200
CATEGORIES: tuple[spaces.Category, ...] = get_args(spaces.Category)


async def show_map(visit: Visit) -> Response:
    identity = visit.member.community_id
    async with visit.reading() as connection:
        found = await spaces.all_of(connection, identity)
        levels = await spaces.levels(connection, identity, limit=MAX_SHOWN)
        gateways = [gateway for _, gateway in await community_reads.gateways(connection, identity)]
        heard_at = await spaces.heard_at(connection, identity)
    by_name = {level.name: level for level in levels}
    order = {level.name: number for number, level in enumerate(levels)}
    found.sort(key=lambda space: (order.get(space.level, len(order)), space.level, space.name))
    return render(
        visit,
        "map.html",
        plans=[
            drawing.plan(by_name.get(name), name, list(group))
            for name, group in groupby(found, key=lambda space: space.level)
        ],
        stream=stream_settings(visit, gateways),
        heard_at=heard_at,
    )


async def show_spaces(visit: Visit) -> Response:
    identity = visit.member.community_id
    level, category = visit.query("level"), visit.query("category")
    known = next((item for item in CATEGORIES if item == category), None)
    paged = visit.paged()
    place = paged.after(str)
    async with visit.reading() as connection:
        found = await spaces.page(
            connection,
            identity,
            limit=paged.fetch,
            way=paged.way,
            after=place[0] if place else None,
            level=level or None,
            category=known,
        )
        levels = await spaces.levels(connection, identity, limit=MAX_SHOWN)
    shown, turns = visit.turned(paged, found, lambda space: (space.name,))
    return render(
        visit,
        "spaces.html",
        spaces=shown,
        levels=[item for item in levels if item.name],
        level=level,
        categories=CATEGORIES,
        category=known or "",
        export=exports.link(visit, "spaces", level=level, category=known),
        **turns,
    )


def _attributes(visit: Visit, geometry: spaces.Geometry | None = None) -> spaces.Attributes:
    form = visit.form
    chosen = form.choice("category", CATEGORIES)
    return spaces.Attributes(
        level=form.text("level", least=0, most=60),
        category=next((item for item in CATEGORIES if item == chosen), CATEGORIES[0]),
        ev=form.ticked("ev"),
        accessible=form.ticked("accessible"),
        geometry=geometry,
    )


async def add_space(visit: Visit) -> Response:
    form = visit.form
    name, wanted = short_name(form, "name"), _attributes(visit)
    if not form.errors:
        try:
            async with visit.acting() as connection:
                await spaces.create(connection, visit.principal, visit.member.community_id, name, wanted)
            return visit.go(f"{visit.base}/spaces", done="added")
        except Problem as problem:
            form.refused(problem, "name")
    return await show_spaces(visit)


async def show_space(visit: Visit) -> Response:
    identity, name = visit.member.community_id, visit.path("space")
    async with visit.reading() as connection:
        space = await spaces.get(connection, identity, name)
        levels = await spaces.levels(connection, identity, limit=MAX_SHOWN)
        given = await assignments.page(connection, identity, limit=MAX_SHOWN, space=name)
        suggested = await unit_choice.suggested(visit, connection)
    return render(
        visit,
        "space.html",
        space=space,
        levels=[item for item in levels if item.name],
        categories=CATEGORIES,
        assignments=given,
        suggested=suggested,
        today=visit.now.astimezone(visit.zone).strftime("%Y-%m-%dT%H:%M"),
        seen=preconditions.mark(space.attributes),
    )


async def change_space(visit: Visit) -> Response:
    identity, name = visit.member.community_id, visit.path("space")
    try:
        async with visit.acting() as connection:
            await spaces.lock(connection, identity, name)
            present = await spaces.get(connection, identity, name)
            wanted = _attributes(visit, present.geometry)
            if not visit.form.errors:
                preconditions.check(visit, present.attributes)
                await spaces.change(connection, visit.principal, identity, name, wanted, visit.now)
                return visit.go(f"{visit.base}/spaces/{name}", done="saved")
    except Problem as problem:
        preconditions.refused(visit, problem, "category")
    return await show_space(visit)


async def delete_space(visit: Visit) -> Response:
    try:
        async with visit.acting() as connection:
            await spaces.delete(connection, visit.principal, visit.member.community_id, visit.path("space"))
        return visit.go(f"{visit.base}/spaces", done="removed")
    except Problem as problem:
        visit.form.refused(problem)
    visit.form.sent = False
    return await show_space(visit)


async def assign(visit: Visit) -> Response:
    identity, name, form = visit.member.community_id, visit.path("space"), visit.form
    try:
        async with visit.acting() as connection:
            unit_id = await unit_choice.chosen(visit, connection, required=True)
            begin, end = form.moment("from", visit.zone), form.optional_moment("until", visit.zone)
            if begin and end and end <= begin:
                form.wrong("until", visit.language.gettext("The end must be after the beginning."))
            if unit_id and begin and not form.errors:
                await assignments.create(connection, visit.principal, identity, name, unit_id, begin, end, visit.now)
                return visit.go(f"{visit.base}/spaces/{name}", done="saved")
    except Problem as problem:
        form.refused(problem, zone=visit.zone)
    return await show_space(visit)


async def unassign(visit: Visit) -> Response:
    identity, name = visit.member.community_id, visit.path("space")
    try:
        async with visit.acting() as connection:
            held = await assignments.hold(connection, identity, visit.number("assignment"))
            await assignments.delete(connection, visit.principal, identity, held, visit.now)
        return visit.go(f"{visit.base}/spaces/{name}", done="removed")
    except Problem as problem:
        visit.form.refused(problem, zone=visit.zone)
    visit.form.sent = False
    return await show_space(visit)


_SPACE = "/communities/{community}/spaces/{space}"
ROUTES = [
    page("/communities/{community}/map", Access.STAFF, show_map),
    page("/communities/{community}/spaces", Access.STAFF, show_spaces),
    action("/communities/{community}/spaces", Access.STAFF, add_space),
    page(_SPACE, Access.STAFF, show_space),
    action(_SPACE, Access.STAFF, change_space),
    action(f"{_SPACE}/delete", Access.STAFF, asked("delete-space", delete_space)),
    action(f"{_SPACE}/assign", Access.STAFF, assign),
    action(f"{_SPACE}/assignments/{{assignment}}/delete", Access.STAFF, asked("take-space", unassign)),
]
