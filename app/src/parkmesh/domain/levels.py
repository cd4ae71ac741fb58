"""How many of something there were over time: the fewest, the most and the average in each of some windows."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from msgspec import Struct

from parkmesh.domain.windows import Window

Change = tuple[datetime, int]
"""When a number changed, and by how much."""


class Level(Struct, frozen=True):
    """Of a number that changes, in one window. ``average`` is weighted by time."""

    least: int
    most: int
    average: float


def changes(windows: Iterable[Window]) -> list[Change]:
    """Return how the number of windows that are open changes."""
    return [change for window in windows for change in ((window.start, 1), (window.end, -1))]


def levels(given: Iterable[Change], windows: Sequence[Window]) -> list[Level]:
    """Return a number's level in each of the windows, which are in order and don't overlap.

    The number is 0 before its first change. What it was for no time at all doesn't count.
    """
    ordered = sorted(given, key=lambda change: change[0])
    found: list[Level] = []
    number = index = 0
    for window in windows:
        at, held = window.start, []
        while True:
            while index < len(ordered) and ordered[index][0] <= at:
                number += ordered[index][1]
                index += 1
            end = min(ordered[index][0], window.end) if index < len(ordered) else window.end
            held.append((number, end - at))
            if end == window.end:
                break
            at = end
        total = sum((number * length for number, length in held), timedelta())
        numbers = [number for number, _ in held]
        found.append(Level(min(numbers), max(numbers), total / window.length))
    return found
