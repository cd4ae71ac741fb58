"""How a level is drawn: where each space's rectangle is, from the map's geometry or, without one, in a grid."""

from dataclasses import dataclass

from parkmesh.server.spaces import spaces
from parkmesh.server.web import labels

_BAY_WIDTH, _BAY_HEIGHT, _GAP, _PER_ROW = 88.0, 104.0, 12.0, 10
_SCALE = 36.0
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
    def inset(self) -> float:
        """How far the drawn edge keeps from the space's own, so that neighbours stay apart."""
        return min(3.0, self.w / 4, self.h / 4)

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
    """Return the drawing of a level: by its map where all its spaces have a place, else as a grid."""
    if found and all(space.geometry for space in found):
        return _by_map(level, name, found)
    per_row = min(_PER_ROW, max(1, len(found)))
    bays = []
    for index, space in enumerate(found):
        row, column = divmod(index, per_row)
        x, y = _GAP + column * (_BAY_WIDTH + _GAP), _GAP + row * (_BAY_HEIGHT + _GAP)
        bays.append(Bay(space, x, y, _BAY_WIDTH, _BAY_HEIGHT, 0.0))
    rows = (len(found) + per_row - 1) // per_row
    width, height = _GAP + per_row * (_BAY_WIDTH + _GAP), _GAP + max(1, rows) * (_BAY_HEIGHT + _GAP)
    return Plan(name, width, height, bays, _counts(found))


def placed(level: spaces.Level, found: list[spaces.Space]) -> Plan | None:
    """Return the drawing of those spaces that have a place; None where there is nothing to draw yet."""
    there = [space for space in found if space.geometry]
    return _by_map(level, level.name, there) if there or level.width else None


def _by_map(level: spaces.Level | None, name: str, found: list[spaces.Space]) -> Plan:
    places = [(space, space.geometry) for space in found if space.geometry]
    bays = [Bay(space, at.x * _SCALE, at.y * _SCALE, at.w * _SCALE, at.h * _SCALE, at.rotation) for space, at in places]
    width = level.width if level and level.width else max(at.x + at.w for _, at in places)
    height = level.height if level and level.height else max(at.y + at.h for _, at in places)
    return Plan(name, width * _SCALE, height * _SCALE, bays, _counts(found))


def _counts(found: list[spaces.Space]) -> dict[str, int]:
    return {status: sum(space.status == status for space in found) for status in labels.STATUS}
