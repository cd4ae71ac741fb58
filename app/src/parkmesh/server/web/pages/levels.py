"""Levels and their maps: adding a level, its size, and putting its spaces into their places by numbers.

What is drawn is what is stored; a place can be looked at on the drawing before it is saved.
"""

import dataclasses
import math

import msgspec
from starlette.responses import Response

from parkmesh.server.http import problems
from parkmesh.server.http.problems import Problem
from parkmesh.server.spaces import spaces
from parkmesh.server.spaces.spaces import Geometry, Level, Space
from parkmesh.server.web.pages import drawing, exports, preconditions
from parkmesh.server.web.pages.confirming import asked
from parkmesh.server.web.pages.forms import Form
from parkmesh.server.web.pages.rendering import render
from parkmesh.server.web.pages.visit import Access, Visit, action, page

MAX_LEVELS = 200
PLACE_SEEN = "place_seen"
"""What carries the mark of the space in the form for its place; the level has a form of its own on the same page."""
LEAST = 0.1
"""The smallest extent of a level or a space that a page takes."""
BAY = Geometry(0.0, 0.0, 2.5, 5.0, 0.0)
"""A usual bay in metres: what is proposed for a level's first space."""


async def show_levels(visit: Visit) -> Response:
    async with visit.reading() as connection:
        levels = await spaces.levels(connection, visit.member.community_id, limit=MAX_LEVELS)
    return render(
        visit,
        "levels.html",
        levels=levels,
        export=exports.link(visit, "places"),
        shown=shown,
        least=LEAST,
        most=spaces.MAX_EXTENT,
    )


async def add_level(visit: Visit) -> Response:
    wanted = _level(visit)
    if not visit.form.errors:
        try:
            async with visit.acting() as connection:
                made = await spaces.create_level(connection, visit.principal, visit.member.community_id, *wanted)
            return visit.go(f"{visit.base}/map/levels/{made.id}", done="added")
        except Problem as problem:
            visit.form.refused(problem, "name")
    return await show_levels(visit)


async def show_level(visit: Visit, asked: str = "", proposed: Geometry | None = None) -> Response:
    """Show a level's map with the form for one space: the requested space, else the first without a place.

    ``proposed`` is a place that was entered and isn't saved: the space is drawn there.
    """
    identity = visit.member.community_id
    async with visit.reading() as connection:
        level = await spaces.level(connection, identity, visit.number("level"))
        here = [space for space in await spaces.all_of(connection, identity) if space.level == level.name]
    asked = asked or visit.query("space")
    chosen = next((space for space in here if space.name == asked), None)
    if chosen is None:
        chosen = next((space for space in here if space.geometry is None), here[0] if here else None)
    seen = [
        msgspec.structs.replace(space, geometry=proposed) if proposed and space is chosen else space for space in here
    ]
    return render(
        visit,
        "level.html",
        level=level,
        spaces=here,
        chosen=chosen,
        place=(chosen.geometry or next_place(level, here)) if chosen else BAY,
        drawn=drawing.placed(level, seen),
        missing=sum(space.geometry is None for space in here),
        previewed=proposed is not None,
        shown=shown,
        least=LEAST,
        most=spaces.MAX_EXTENT,
        seen=preconditions.mark(level),
        place_seen=preconditions.mark(chosen.attributes) if chosen else "",
    )


def shown(number: float | None) -> str:
    """Return a number as a field takes it, without zeros that say nothing."""
    return "" if number is None else f"{number:.3f}".rstrip("0").rstrip(".")


def next_place(level: Level, found: list[Space]) -> Geometry:
    """Return where the next space is likely to be: beside the last space in reading order, else in a new row."""
    taken = sorted(
        (space.geometry for space in found if space.geometry), key=lambda place: (round(place.y, 1), place.x)
    )
    if not taken:
        return BAY
    last = taken[-1]
    beside = dataclasses.replace(last, x=round(last.x + last.w, 3))
    if level.width is None or beside.x + beside.w <= level.width + _TOLERANCE:
        return beside
    below = dataclasses.replace(last, x=0.0, y=round(max(place.y + place.h for place in taken), 3))
    return below if level.height is None or below.y + below.h <= level.height + _TOLERANCE else last


async def change_level(visit: Visit) -> Response:
    wanted = _level(visit)
    if not visit.form.errors:
        try:
            async with visit.acting() as connection:
                identity, level_id = visit.member.community_id, visit.number("level")
                present = await spaces.level(connection, identity, level_id, for_change=True)
                preconditions.check(visit, present)
                await spaces.change_level(connection, visit.principal, identity, level_id, *wanted)
            return visit.go(_here(visit), done="saved")
        except Problem as problem:
            preconditions.refused(visit, problem, "name")
    return await show_level(visit)


async def delete_level(visit: Visit) -> Response:
    try:
        async with visit.acting() as connection:
            identity, level_id = visit.member.community_id, visit.number("level")
            await spaces.level(connection, identity, level_id, for_change=True)
            await spaces.delete_level(connection, visit.principal, identity, level_id)
        return visit.go(f"{visit.base}/map/levels", done="removed")
    except Problem as problem:
        visit.form.refused(problem)
    visit.form.sent = False
    return await show_level(visit)


async def place(visit: Visit) -> Response:
    """Give a space of the level its place on the map, show it there before, or take it off the map."""
    form, identity, act = visit.form, visit.member.community_id, visit.form.value("act")
    name, wanted = form.text("space", most=63), None if act == "take" else _geometry(form)
    try:
        async with visit.acting() as connection:
            level = await spaces.level(connection, identity, visit.number("level"))
            await spaces.lock(connection, identity, name)
            present = await spaces.get(connection, identity, name)
            if present.level != level.name:
                raise problems.not_found()
            if wanted:
                _check_within(visit, level, wanted)
            if not form.errors and act != "preview":
                preconditions.check(visit, present.attributes, PLACE_SEEN)
                attributes = spaces.Attributes(present.level, present.category, present.ev, present.accessible, wanted)
                await spaces.change(connection, visit.principal, identity, name, attributes, visit.now)
                following = {} if wanted and present.geometry is None else {"space": name}
                return visit.go(_here(visit), done="placed" if wanted else "removed", **following)
    except Problem as problem:
        preconditions.refused(visit, problem)
    return await show_level(visit, name, wanted if not form.errors else None)


def _here(visit: Visit) -> str:
    return f"{visit.base}/map/levels/{visit.number('level')}"


_TOLERANCE = 0.001


def _check_within(visit: Visit, level: Level, place: Geometry) -> None:
    """Note an error where a space, turned as it is, would lie outside of its level."""
    turn = math.radians(place.rotation)
    half_width = (abs(place.w * math.cos(turn)) + abs(place.h * math.sin(turn))) / 2
    half_height = (abs(place.w * math.sin(turn)) + abs(place.h * math.cos(turn))) / 2
    for name, middle, half, extent in (
        ("x", place.x + place.w / 2, half_width, level.width),
        ("y", place.y + place.h / 2, half_height, level.height),
    ):
        if middle - half < -_TOLERANCE or (extent is not None and middle + half > extent + _TOLERANCE):
            visit.form.wrong(name, visit.language.gettext("The space would lie outside of its level."))


def _geometry(form: Form) -> Geometry:
    return Geometry(
        form.decimal("x", 0, spaces.MAX_EXTENT),
        form.decimal("y", 0, spaces.MAX_EXTENT),
        form.decimal("w", LEAST, spaces.MAX_EXTENT),
        form.decimal("h", LEAST, spaces.MAX_EXTENT),
        form.decimal("rotation", 0, 359.999),
    )


def _level(visit: Visit) -> tuple[str, int, float | None, float | None]:
    """Return the name, the order and the size of a level."""
    form = visit.form
    name, ordinal = form.text("name", most=60), int(form.decimal("ordinal", -1000, 1000, places=0))
    if not form.value("width").strip() and not form.value("height").strip():
        return name, ordinal, None, None
    return (
        name,
        ordinal,
        form.decimal("width", LEAST, spaces.MAX_EXTENT),
        form.decimal("height", LEAST, spaces.MAX_EXTENT),
    )


_LEVELS = "/communities/{community}/map/levels"
ROUTES = [
    page(_LEVELS, Access.STAFF, show_levels),
    action(_LEVELS, Access.STAFF, add_level),
    page(f"{_LEVELS}/{{level}}", Access.STAFF, show_level),
    action(f"{_LEVELS}/{{level}}", Access.STAFF, change_level),
    action(f"{_LEVELS}/{{level}}/delete", Access.STAFF, asked("delete-level", delete_level)),
    action(f"{_LEVELS}/{{level}}/place", Access.STAFF, place),
]
