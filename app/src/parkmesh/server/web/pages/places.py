"""Levels and spaces: the live map, and what staff decides about each space."""

from dataclasses import dataclass
from itertools import groupby
from typing import get_args

from starlette.responses import Response

from parkmesh.server import assignments, spaces, units
from parkmesh.server.problems import Problem
from parkmesh.server.web import words
from parkmesh.server.web.pages.access import Access, Visit, action, page
from parkmesh.server.web.pages.communities import stream_settings
from parkmesh.server.web.pages.rendering import render

MAX_SHOWN = 200
CATEGORIES: tuple[spaces.Category, ...] = get_args(spaces.Category)
_BAY_WIDTH, _BAY_HEIGHT, _GAP, _PER_ROW = 72.0, 96.0, 12.0, 12
_SCALE = 32.0
"""Drawn units for one unit of a map's geometry (metres as a rule), so that text has a size that reads well."""


@dataclass(frozen=True)
class Bay:
    """A space as it is drawn: the corner, the size and the turn of its rectangle, in units of the drawing."""

    space: spaces.Space
    x: float
    y: float
    w: float
    h: float
    rotation: float

    @property
    def middle_x(self) -> float:
        return self.x + self.w / 2

    @property
    def middle_y(self) -> float:
        return self.y + self.h / 2


@dataclass(frozen=True)
class Plan:
    """The drawing of one level."""

    level: str
    width: float
    height: float
    bays: list[Bay]
    counts: dict[str, int]


def plan(level: spaces.Level | None, name: str, found: list[spaces.Space]) -> Plan:
    """Return the drawing of a level: by its map where it and all its spaces have a place, else as a grid."""
    counts = {status: sum(space.status == status for space in found) for status in words.STATUS}
    placed = [(space, space.geometry) for space in found if space.geometry]
    if placed and len(placed) == len(found):
        bays = [
            Bay(space, at.x * _SCALE, at.y * _SCALE, at.w * _SCALE, at.h * _SCALE, at.rotation)
            for space, at in placed
            if at
        ]
        width = (level.width if level and level.width else max(at.x + at.w for _, at in placed if at)) * _SCALE
        height = (level.height if level and level.height else max(at.y + at.h for _, at in placed if at)) * _SCALE
        return Plan(name, width, height, bays, counts)
    per_row = min(_PER_ROW, max(1, len(found)))
    bays = []
    for index, space in enumerate(found):
        row, column = divmod(index, per_row)
        x, y = _GAP + column * (_BAY_WIDTH + _GAP), _GAP + row * (_BAY_HEIGHT + _GAP)
        bays.append(Bay(space, x, y, _BAY_WIDTH, _BAY_HEIGHT, 0.0))
    rows = (len(found) + per_row - 1) // per_row
    return Plan(name, _GAP + per_row * (_BAY_WIDTH + _GAP), _GAP + max(1, rows) * (_BAY_HEIGHT + _GAP), bays, counts)


async def show_map(visit: Visit) -> Response:
    identity = visit.member.community_id
    async with visit.reading() as connection:
        found = await spaces.all_of(connection, identity)
        levels = await spaces.levels(connection, identity, limit=MAX_SHOWN)
    by_name = {level.name: level for level in levels}
    order = {level.name: number for number, level in enumerate(levels)}
    found.sort(key=lambda space: (order.get(space.level, len(order)), space.level, space.name))
    return render(
        visit,
        "map.html",
        plans=[
            plan(by_name.get(name), name, list(group)) for name, group in groupby(found, key=lambda space: space.level)
        ],
        stream=stream_settings(visit),
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
            after=place[0] if place else None,
            level=level or None,
            category=known,
        )
        levels = await spaces.levels(connection, identity, limit=MAX_SHOWN)
    shown, following = paged.cut(found, lambda space: (space.name,))
    return render(
        visit,
        "spaces.html",
        spaces=shown,
        levels=[item for item in levels if item.name],
        level=level,
        categories=CATEGORIES,
        category=known or "",
        next=visit.following(following),
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
    name, wanted = form.text("name", most=63).lower(), _attributes(visit)
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
        all_units = await units.page(connection, identity, limit=MAX_SHOWN)
    return render(
        visit,
        "space.html",
        space=space,
        levels=[item for item in levels if item.name],
        categories=CATEGORIES,
        assignments=given,
        units=all_units,
        today=visit.now.astimezone(visit.zone).strftime("%Y-%m-%dT%H:%M"),
    )


async def change_space(visit: Visit) -> Response:
    identity, name = visit.member.community_id, visit.path("space")
    try:
        async with visit.acting() as connection:
            present = await spaces.get(connection, identity, name)
            wanted = _attributes(visit, present.geometry)
            if not visit.form.errors:
                await spaces.change(connection, visit.principal, identity, name, wanted, visit.now)
                return visit.go(f"{visit.base}/spaces/{name}", done="saved")
    except Problem as problem:
        visit.form.refused(problem, "category")
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
            unit_id = form.number("unit", 1)
            begin, end = form.moment("from", visit.zone), form.optional_moment("until", visit.zone)
            if begin and end and end <= begin:
                form.wrong("until", visit.language.gettext("The end must be after the beginning."))
            if begin and not form.errors:
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
    action(f"{_SPACE}/delete", Access.STAFF, delete_space),
    action(f"{_SPACE}/assign", Access.STAFF, assign),
    action(f"{_SPACE}/assignments/{{assignment}}/delete", Access.STAFF, unassign),
]
