"""Places that are on a map already, copied or put in line. Lengths and angles are those of ``rows``."""

import re
from collections.abc import Sequence
from typing import Literal

from parkmesh.domain import rows
from parkmesh.domain.rows import Place

How = Literal["left", "top", "across", "down"]
"""``left`` and ``top`` put the edges of spaces on one line, ``across`` and ``down`` the same distance between them."""
DECIMALS = 3
_NUMBERED = re.compile(r"(.*?)([0-9]{1,9})", re.ASCII)


class NotAlikeError(ValueError):
    """Names can't follow the first of them: one begins with other letters, has no number, or would fall below 0."""


def renamed(names: Sequence[str], first: str) -> list[str]:
    """Return names for copies: ``first`` for the first one, and for the others what differs from it in the same way.

    ``p1-03, p1-05`` become ``p2-13, p2-15`` with ``p2-13``. Raises ``NotAlikeError`` with the name that doesn't fit.
    """
    if len(names) == 1:
        return [first]
    before, number, _ = _parts(names[0])
    wanted_before, wanted, digits = _parts(first)
    found = []
    for name in names:
        own, own_number, _ = _parts(name)
        if own != before or own_number - number + wanted < 0:
            raise NotAlikeError(name)
        found.append(f"{wanted_before}{own_number - number + wanted:0{digits}}")
    return found


def copied(places: Sequence[Place], dx: float, dy: float) -> list[Place]:
    """Return places moved to the right by ``dx`` and down by ``dy``."""
    return [place._replace(x=round(place.x + dx, DECIMALS), y=round(place.y + dy, DECIMALS)) for place in places]


def aligned(places: Sequence[Place], how: How) -> list[Place]:
    """Return places in line, or at equal distances, by their edges as they are seen once turned.

    ``left`` and ``top`` take the edge of the space that is outermost. ``across`` (from left to right) and ``down`` move
    what lies between the first and the last space; distances are less than 0 where there isn't room for all.
    """
    angle = 0.0 if how in ("left", "across") else 90.0
    reaches = [rows.reach(place, angle) for place in places]
    if how in ("left", "top"):
        edge = min(low for low, _ in reaches)
        return [_moved(place, angle, edge - low) for place, (low, _) in zip(places, reaches, strict=True)]
    order = sorted(range(len(places)), key=lambda index: (sum(reaches[index]), index))
    extents = [high - low for low, high in reaches]
    begin, end = (reaches[order[0]][0], reaches[order[-1]][1]) if places else (0.0, 0.0)
    gap = (end - begin - sum(extents)) / (len(places) - 1) if len(places) > 1 else 0.0
    found = list(places)
    for index in order:
        found[index] = _moved(places[index], angle, begin - reaches[index][0])
        begin += extents[index] + gap
    return found


def _moved(place: Place, angle: float, by: float) -> Place:
    if abs(by) < rows.TOLERANCE / 2:
        return place
    (moved,) = copied([place], *((by, 0.0) if angle == 0 else (0.0, by)))
    return moved


def _parts(name: str) -> tuple[str, int, int]:
    """Return what stands before the number at a name's end, the number, and its digits."""
    found = _NUMBERED.fullmatch(name)
    if found is None:
        raise NotAlikeError(name)
    return found[1], int(found[2]), len(found[2])
