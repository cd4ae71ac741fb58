"""Places of a level that are copied or put in line: what that would do. ``rows`` checks it and does it."""

from collections.abc import Sequence

from parkmesh.domain import arrangements
from parkmesh.domain.arrangements import How
from parkmesh.domain.rows import Place
from parkmesh.server.http.problems import Problem
from parkmesh.server.spaces import rows
from parkmesh.server.spaces.rows import Plan
from parkmesh.server.spaces.spaces import Level, Space


def copy(
    level: Level, target: Level, present: Sequence[Space], names: Sequence[str], first: str, dx: float, dy: float
) -> Plan:
    """Return what copying places of ``level`` to ``target`` does; ``first`` is the name of the first copy.

    ``present`` are all spaces of the community. A copy with the name of a space moves that space. Raises ``Problem``
    409 as ``_places`` does, ``NotAlikeError`` where the names of the copies can't follow from ``first``.
    """
    found = _places(level, present, names)
    return rows.plan(target, present, arrangements.renamed(names, first), arrangements.copied(found, dx, dy))


def align(level: Level, present: Sequence[Space], names: Sequence[str], how: How) -> Plan:
    """Return what putting spaces of a level in line does. Raises ``Problem`` 409 as ``_places`` does."""
    return rows.plan(level, present, names, arrangements.aligned(_places(level, present, names), how))


def _places(level: Level, present: Sequence[Space], names: Sequence[str]) -> list[Place]:
    """Return where spaces are; raise ``Problem`` 409 with the names of those that have no place on the level."""
    at = {space.name: space.geometry for space in present if space.level == level.name}
    missing = [name for name in names if at.get(name) is None]
    if missing:
        raise Problem(409, "Spaces that were chosen have no place on this level.", kind="unplaced", spaces=missing)
    return [Place(place.x, place.y, place.w, place.h, place.rotation) for name in names if (place := at[name])]
