"""Rows of a table of places on the map: the place that each one gives its space. No I/O."""

from collections.abc import Mapping

from msgspec import Struct

from parkmesh.domain import rows
from parkmesh.domain.rows import Place
from parkmesh.server.http.messages import Message
from parkmesh.server.people.csv_tables import Row
from parkmesh.server.people.mistakes import Mistake
from parkmesh.server.spaces.spaces import Geometry, Level, Space

_FIELDS = ("x", "y", "w", "h", "rotation")
_DECIMALS = 3


class Placed(Struct, frozen=True):
    """Where a row puts a space. ``geometry`` None: its level has changed, and it has no place on it yet."""

    name: str
    level: str
    geometry: Geometry | None


def placed(row: Row, space: Space | None, levels: Mapping[str, Level]) -> Placed | Mistake | None:
    """Return where a row puts its space, None where it is there already, or what is wrong with the row.

    An empty cell leaves what the space has; one without a place needs all but ``rotation``. Spaces may lie over each
    other, as those of a car lift do.
    """
    if space is None:
        return Mistake(row.line, "space", Message("the community has no such space: import the spaces first"))
    level = levels.get(row["level"] or space.level)
    if level is None:
        return Mistake(row.line, "level", Message("the community has no such level: add it first"))
    geometry = space.geometry
    given = {name: row[name] for name in _FIELDS if row[name] is not None}
    if given and geometry is None:
        missing = next((name for name in ("x", "y", "w", "h") if name not in given), None)
        if missing:
            return Mistake(row.line, missing, Message("empty"))
        geometry = Geometry(**({"rotation": 0.0} | given))
    elif geometry:
        # What is stored may have more decimals than a table gives.
        geometry = Geometry(
            *(_moved(getattr(geometry, name), given.get(name)) for name in _FIELDS),
        )
    if (level.name, geometry) == (space.level, space.geometry):
        return None
    if geometry and rows.outside(_place(geometry), level.width, level.height):
        return Mistake(row.line, "x", Message("the space would lie outside of its level"))
    return Placed(space.name, level.name, geometry)


def _moved(present: float, given: float | None) -> float:
    return present if given is None or given == round(present, _DECIMALS) else given


def _place(at: Geometry) -> Place:
    return Place(at.x, at.y, at.w, at.h, at.rotation)
