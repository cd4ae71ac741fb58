"""Rows of spaces on a level's map: where each one lies, what it is called, and which ones overlap.

Lengths are in the map's units (metres as a rule), ``y`` grows downwards, angles are in degrees clockwise.
"""

import math
import re
from collections.abc import Iterable, Mapping
from itertools import combinations
from typing import NamedTuple

from msgspec import Struct

MOST = 200
"""The most spaces of one row."""
TOLERANCE = 0.001
"""Spaces that share no more than this are neighbours: places have three decimals."""
_NUMBERED = re.compile(r"(.*?)([0-9]{1,9})", re.ASCII)


class Place(NamedTuple):
    """A rectangle: its corner with the smallest values before it is turned by ``rotation`` about its centre."""

    x: float
    y: float
    w: float
    h: float
    rotation: float


class Row(Struct, frozen=True):
    """Equal spaces one after the other, from ``first`` in ``direction`` (0 to the right, 90 downwards).

    ``gap`` is what stays free between two neighbours, along the row.
    """

    first: Place
    direction: float
    gap: float
    count: int


class NotNumberedError(ValueError):
    """The names can't count on: the first has no number at its end, they would repeat, or one would be less than 0."""


def names(first: str, step: int, count: int) -> list[str]:
    """Return ``count`` names from ``first``, the number at its end counting on by ``step`` with its leading zeros.

    Raises ``NotNumberedError``.
    """
    if count == 1:
        return [first]
    found = _NUMBERED.fullmatch(first)
    if found is None or not step:
        raise NotNumberedError(first)
    before, digits = found.groups()
    numbers = [int(digits) + index * step for index in range(count)]
    if min(numbers) < 0:
        raise NotNumberedError(first)
    return [f"{before}{number:0{len(digits)}}" for number in numbers]


def places(row: Row) -> list[Place]:
    """Return the places of a row's spaces, rounded to three decimals."""
    distance = touching(row.first, row.direction) + row.gap
    along_x, along_y = _direction(row.direction)
    return [
        row.first._replace(
            x=round(row.first.x + index * distance * along_x, 3), y=round(row.first.y + index * distance * along_y, 3)
        )
        for index in range(row.count)
    ]


def touching(place: Place, direction: float) -> float:
    """Return how far a space must move in a direction until it only touches where it was."""
    along_x, along_y = _direction(direction - place.rotation)
    return min(extent / abs(part) for extent, part in ((place.w, along_x), (place.h, along_y)) if abs(part) > _PARALLEL)


def overlaps(wanted: Mapping[str, Place], others: Mapping[str, Place]) -> list[tuple[str, str]]:
    """Return the pairs of names that overlap: two of ``wanted``, or one of them and one of ``others``."""
    pairs: Iterable[tuple[tuple[str, Place], tuple[str, Place]]] = [
        *combinations(wanted.items(), 2),
        *((mine, other) for mine in wanted.items() for other in others.items() if other[0] not in wanted),
    ]
    return [(one, other) for (one, first), (other, second) in pairs if overlap(first, second)]


def overlap(one: Place, other: Place) -> bool:
    """Tell whether two rectangles share more than an edge.

    Two convex shapes are apart where they are apart along the direction of an edge of one of them (separating axes).
    """
    far = math.hypot(one.w, one.h) + math.hypot(other.w, other.h)
    across, down = one.x - other.x + (one.w - other.w) / 2, one.y - other.y + (one.h - other.h) / 2
    if math.hypot(across, down) * 2 > far:
        # The circles around them are apart: most pairs of a level, and cheap to see.
        return False
    for turned in (one.rotation, other.rotation):
        for angle in (turned, turned + 90):
            low, high = reach(one, angle)
            other_low, other_high = reach(other, angle)
            if min(high, other_high) - max(low, other_low) <= TOLERANCE:
                return False
    return True


def outside(place: Place, width: float | None, height: float | None) -> bool:
    """Tell whether a space, turned as it is, lies partly outside of its level; one without an extent has no end."""
    for angle, extent in ((0.0, width), (90.0, height)):
        low, high = reach(place, angle)
        if low < -TOLERANCE or (extent is not None and high > extent + TOLERANCE):
            return True
    # Stored corners aren't negative, even where only the space before it is turned would reach there.
    return place.x < 0 or place.y < 0


def reach(place: Place, angle: float) -> tuple[float, float]:
    """Return from where to where a space, turned as it is, reaches along a direction."""
    along_x, along_y = _direction(angle)
    middle = (place.x + place.w / 2) * along_x + (place.y + place.h / 2) * along_y
    own_x, own_y = _direction(angle - place.rotation)
    half = (place.w * abs(own_x) + place.h * abs(own_y)) / 2
    return middle - half, middle + half


_PARALLEL = 1e-9


def _direction(angle: float) -> tuple[float, float]:
    turn = math.radians(angle)
    x, y = math.cos(turn), math.sin(turn)
    return (0.0 if abs(x) < _PARALLEL else x, 0.0 if abs(y) < _PARALLEL else y)
