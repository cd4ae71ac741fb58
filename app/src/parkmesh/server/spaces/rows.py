"""Placing a row of spaces on a level's map: what it would do, and doing it.

Connections are inside ``database.in_community``.
"""

from collections.abc import Sequence
from datetime import datetime

import msgspec
from msgspec import Struct

from parkmesh.domain import rows
from parkmesh.domain.rows import Place
from parkmesh.server.db.database import Connection
from parkmesh.server.http.problems import Problem
from parkmesh.server.identity.principals import Principal
from parkmesh.server.spaces import spaces
from parkmesh.server.spaces.spaces import Category, Geometry, Level, Space


class Placed(Struct, frozen=True):
    """A space of the row. ``new``: the community has no space of this name yet."""

    name: str
    geometry: Geometry
    new: bool


class Plan(Struct, frozen=True):
    """What a row would do. ``elsewhere``: names of its spaces that are on another level; ``outside``: those that would
    lie outside of the level; ``overlaps``: pairs of spaces that would lie over each other."""

    spaces: list[Placed]
    elsewhere: list[str]
    outside: list[str]
    overlaps: list[tuple[str, str]]


def plan(level: Level, present: Sequence[Space], names: Sequence[str], places: Sequence[Place]) -> Plan:
    """Return what placing ``names`` at ``places`` of a level does; ``present`` are all spaces of the community."""
    known = {space.name: space for space in present}
    wanted = dict(zip(names, places, strict=True))
    others = {
        space.name: Place(at.x, at.y, at.w, at.h, at.rotation)
        for space in present
        if space.level == level.name and (at := space.geometry)
    }
    return Plan(
        spaces=[Placed(name, Geometry(*place), name not in known) for name, place in wanted.items()],
        elsewhere=[name for name in wanted if name in known and known[name].level != level.name],
        outside=[name for name, place in wanted.items() if rows.outside(place, level.width, level.height)],
        overlaps=rows.overlaps(wanted, others),
    )


def check(found: Plan, *, create: bool, overlapping: bool) -> None:
    """Raise ``Problem`` 409, with the names of the spaces in the way, where a plan can't be carried out as asked."""
    if found.elsewhere:
        raise Problem(409, "Spaces of this row are on another level.", kind="elsewhere", spaces=found.elsewhere)
    if found.outside:
        raise Problem(409, "Spaces of this row would lie outside of the level.", kind="outside", spaces=found.outside)
    new = [space.name for space in found.spaces if space.new]
    if new and not create:
        raise Problem(409, "The community lacks spaces of this row.", kind="missing", spaces=new)
    if found.overlaps and not overlapping:
        names = sorted({name for pair in found.overlaps for name in pair})
        raise Problem(409, "Spaces would lie over each other.", kind="overlap", spaces=names)


async def apply(
    connection: Connection,
    principal: Principal,
    community_id: int,
    level: Level,
    found: Plan,
    category: Category,
    now: datetime,
) -> None:
    """Place the spaces of a plan, and add those that are new with ``category``. The level is held."""
    present = {space.name: space for space in await spaces.all_of(connection, community_id)}
    for item in sorted(found.spaces, key=lambda space: space.name):
        if item.new:
            wanted = spaces.Attributes(level=level.name, category=category, geometry=item.geometry)
            await spaces.create(connection, principal, community_id, item.name, wanted)
        else:
            moved = msgspec.structs.replace(present[item.name].attributes, geometry=item.geometry)
            await spaces.change(connection, principal, community_id, item.name, moved, now)
