"""Places of a level copied or put in line: staff choose spaces, look at the drawing, then save it."""

from typing import get_args

from starlette.responses import Response

from parkmesh.domain import rows
from parkmesh.domain.arrangements import How, NotAlikeError
from parkmesh.server.http.problems import Problem
from parkmesh.server.spaces import arrangements as arranging
from parkmesh.server.spaces import rows as laying
from parkmesh.server.spaces import spaces
from parkmesh.server.spaces.rows import Plan
from parkmesh.server.spaces.spaces import Level, Space
from parkmesh.server.web.pages import drawing, names
from parkmesh.server.web.pages.levels import MAX_LEVELS
from parkmesh.server.web.pages.rendering import render
from parkmesh.server.web.pages.rows import proposed, refused
from parkmesh.server.web.pages.spaces import CATEGORIES
from parkmesh.server.web.pages.visit import Access, Visit, action, page

COPY = "copy"
MAX_BOXES = 1000
"""More than a copy has spaces, so that who ticks too many is told so."""
HOW: tuple[How, ...] = get_args(How)


async def show(visit: Visit, plan: Plan | None = None) -> Response:
    """Show the form, with ``plan`` also the spaces on the drawing as they would be: on the level that gets copies."""
    identity = visit.member.community_id
    async with visit.reading() as connection:
        level = await spaces.level(connection, identity, visit.number("level"))
        found = await spaces.all_of(connection, identity)
        levels = await spaces.levels(connection, identity, limit=MAX_LEVELS)
    target = _target(visit, level, levels) if plan else level
    there = [space for space in found if space.level == target.name]
    return render(
        visit,
        "arrange.html",
        level=level,
        levels=levels,
        target=target,
        spaces=[space for space in found if space.level == level.name and space.geometry],
        plan=plan,
        drawn=drawing.placed(target, proposed(target, there, plan) if plan else there),
        wanted=[space.name for space in plan.spaces] if plan else [],
        added=sum(space.new for space in plan.spaces) if plan else 0,
        most=spaces.MAX_EXTENT,
        categories=CATEGORIES,
        ways=(COPY, *HOW),
    )


async def arrange(visit: Visit) -> Response:
    form, identity = visit.form, visit.member.community_id
    way = form.choice("how", (COPY, *HOW))
    dx, dy, first, category = 0.0, 0.0, "", CATEGORIES[0]
    if way == COPY:
        dx, dy = (form.decimal(name, -spaces.MAX_EXTENT, spaces.MAX_EXTENT) for name in ("dx", "dy"))
        first = names.short_name(form, "first")
        chosen = form.choice("category", CATEGORIES)
        category = next((item for item in CATEGORIES if item == chosen), category)
    plan = None
    try:
        async with visit.acting() as connection:
            level = await spaces.level(connection, identity, visit.number("level"))
            target = _target(visit, level, await spaces.levels(connection, identity, limit=MAX_LEVELS))
            target = await spaces.level(connection, identity, target.id, for_change=True)
            present = await spaces.all_of(connection, identity)
            picked = _picked(visit, [space for space in present if space.level == level.name], way)
            if not form.errors:
                how = next((item for item in HOW if item == way), None)
                plan = (
                    arranging.align(level, present, picked, how)
                    if how
                    else arranging.copy(level, target, present, picked, first, dx, dy)
                )
                laying.check(plan, create=way == COPY and form.ticked("create"), overlapping=form.ticked("overlapping"))
                if form.value("act") != "preview":
                    await laying.apply(connection, visit.principal, identity, target, plan, category, visit.now)
                    return visit.go(f"{visit.base}/map/levels/{target.id}", done="placed")
    except NotAlikeError as wrong:
        form.wrong(
            "first",
            visit.language.gettext(
                "The name of the copy of %(name)s can't follow from this one. Choose spaces whose names begin alike.",
                name=str(wrong),
            ),
        )
    except Problem as problem:
        refused(visit, problem)
    return await show(visit, plan)


def _target(visit: Visit, level: Level, levels: list[Level]) -> Level:
    """Return the level that gets copies; spaces that are put in line stay on theirs."""
    form = visit.form
    if form.value("how") != COPY or form.value("to_level") == str(level.id):
        return level
    found = next((item for item in levels if str(item.id) == form.value("to_level")), None)
    if found is None:
        form.choice("to_level", [str(item.id) for item in levels])
    return found or level


def _picked(visit: Visit, here: list[Space], way: str) -> list[str]:
    """Return the names of the chosen spaces, in the order of their names."""
    form = visit.form
    asked = form.many("space")
    # A name that isn't on the level any more is named by what follows.
    found = [space.name for space in here if space.geometry] if form.ticked("every") else sorted(set(asked))
    least = 1 if way == COPY else 2
    if not least <= len(found) <= rows.MOST:
        bounds = {"low": visit.language.number(least), "high": visit.language.number(rows.MOST)}
        form.wrong("every", visit.language.gettext("Choose from %(low)s to %(high)s spaces.", **bounds))
    return found


_ARRANGE = "/communities/{community}/map/levels/{level}/arrange"
ROUTES = [page(_ARRANGE, Access.STAFF, show), action(_ARRANGE, Access.STAFF, arrange, max_fields=MAX_BOXES)]
