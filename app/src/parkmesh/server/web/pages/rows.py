"""A row of spaces on a level's map: staff enter it once, look at it on the drawing, then save it."""

import msgspec
from starlette.responses import Response

from parkmesh.domain import rows
from parkmesh.domain.rows import Place, Row
from parkmesh.server.http.problems import Problem
from parkmesh.server.spaces import rows as laying
from parkmesh.server.spaces import spaces
from parkmesh.server.spaces.rows import Plan
from parkmesh.server.spaces.spaces import Level, Space
from parkmesh.server.web.pages import drawing, forms, names
from parkmesh.server.web.pages.levels import LEAST, next_place, shown
from parkmesh.server.web.pages.rendering import render
from parkmesh.server.web.pages.spaces import CATEGORIES
from parkmesh.server.web.pages.visit import Access, Visit, action, page

MAX_GAP = 1000


async def show(visit: Visit, plan: Plan | None = None) -> Response:
    """Show the form, with ``plan`` also the row on the drawing as it would be."""
    identity = visit.member.community_id
    async with visit.reading() as connection:
        level = await spaces.level(connection, identity, visit.number("level"))
        here = [space for space in await spaces.all_of(connection, identity) if space.level == level.name]
    return render(
        visit,
        "row.html",
        level=level,
        place=next_place(level, here),
        plan=plan,
        drawn=drawing.placed(level, proposed(level, here, plan) if plan else here),
        wanted=[space.name for space in plan.spaces] if plan else [],
        added=sum(space.new for space in plan.spaces) if plan else 0,
        shown=shown,
        least=LEAST,
        most=spaces.MAX_EXTENT,
        most_spaces=rows.MOST,
        most_gap=MAX_GAP,
        categories=CATEGORIES,
    )


async def place(visit: Visit) -> Response:
    form, identity = visit.form, visit.member.community_id
    numbered, row = _names(visit), _row(visit)
    chosen = form.choice("category", CATEGORIES)
    category = next((item for item in CATEGORIES if item == chosen), CATEGORIES[0])
    plan = None
    if not form.errors:
        try:
            async with visit.acting() as connection:
                level = await spaces.level(connection, identity, visit.number("level"), for_change=True)
                present = await spaces.all_of(connection, identity)
                plan = laying.plan(level, present, numbered, rows.places(row))
                laying.check(plan, create=form.ticked("create"), overlapping=form.ticked("overlapping"))
                if form.value("act") != "preview":
                    await laying.apply(connection, visit.principal, identity, level, plan, category, visit.now)
                    return visit.go(f"{visit.base}/map/levels/{level.id}", done="placed")
        except Problem as problem:
            refused(visit, problem)
    return await show(visit, plan)


def refused(visit: Visit, problem: Problem) -> None:
    """Note why spaces can't be placed as asked, with the names of those in the way."""
    if "spaces" not in problem.members:
        visit.form.refused(problem)
    else:
        in_the_way = ", ".join(problem.members["spaces"])
        visit.form.wrong("", f"{forms.problem_text(visit.language, problem)} {in_the_way}")


def proposed(level: Level, here: list[Space], plan: Plan) -> list[Space]:
    """Return the level's spaces as they are once the plan is carried out."""
    places = {space.name: space.geometry for space in plan.spaces if space.name not in plan.elsewhere}
    new = [
        Space(0, space.name, level.name, "assigned", False, False, space.geometry, "unknown", None)
        for space in plan.spaces
        if space.new
    ]
    return [msgspec.structs.replace(space, geometry=places.get(space.name, space.geometry)) for space in here] + new


def _names(visit: Visit) -> list[str]:
    form = visit.form
    first, count = form.text("first", most=54), form.number("count", 1, rows.MOST)
    step = int(form.decimal("name_step", -100, 100, places=0))
    try:
        found = rows.names(first, step, count)
    except rows.NotNumberedError:
        form.wrong("first", visit.language.gettext("These names can't count on. Enter a first name like p1-01."))
        return []
    names.check(form, "first", first)
    return found


def _row(visit: Visit) -> Row:
    form, most = visit.form, spaces.MAX_EXTENT
    first = Place(
        form.decimal("x", 0, most),
        form.decimal("y", 0, most),
        form.decimal("w", LEAST, most),
        form.decimal("h", LEAST, most),
        form.decimal("rotation", 0, 359.999),
    )
    gap = form.decimal("gap", 0, MAX_GAP)
    return Row(first, form.decimal("direction", 0, 359.999), gap, form.number("count", 1, rows.MOST))


_ROW = "/communities/{community}/map/levels/{level}/row"
ROUTES = [page(_ROW, Access.STAFF, show), action(_ROW, Access.STAFF, place)]
