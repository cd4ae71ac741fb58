"""Half-open stretches of time and what can be done with sets of them.

A ``Window`` is ``[start, end)`` between two moments with an offset. The functions take any windows and return sorted
ones that neither overlap nor touch.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta

from msgspec import Struct


class Window(Struct, frozen=True, order=True):
    """From ``start`` until just before ``end``; both know their offset from UTC, and ``start < end``."""

    start: datetime
    end: datetime

    def __post_init__(self) -> None:
        if not self.start < self.end:
            raise ValueError("a window ends after it starts")

    @property
    def length(self) -> timedelta:
        return self.end - self.start

    def overlaps(self, other: "Window") -> bool:
        return self.start < other.end and other.start < self.end

    def contains(self, other: "Window") -> bool:
        return self.start <= other.start and other.end <= self.end


def merge(windows: Iterable[Window]) -> list[Window]:
    """Return the union."""
    union: list[Window] = []
    for window in sorted(windows):
        if union and window.start <= union[-1].end:
            if window.end > union[-1].end:
                union[-1] = Window(union[-1].start, window.end)
        else:
            union.append(window)
    return union


def subtract(windows: Iterable[Window], taken: Iterable[Window]) -> list[Window]:
    """Return what is left of ``windows`` without ``taken``."""
    left: list[Window] = []
    removed = merge(taken)
    first = 0
    for window in merge(windows):
        start = window.start
        while first < len(removed) and removed[first].end <= start:
            first += 1
        index = first
        while index < len(removed) and removed[index].start < window.end:
            if removed[index].start > start:
                left.append(Window(start, removed[index].start))
            start = max(start, removed[index].end)
            index += 1
        if start < window.end:
            left.append(Window(start, window.end))
    return left


def intersect(windows: Iterable[Window], others: Iterable[Window]) -> list[Window]:
    """Return what belongs to both."""
    ours, theirs = merge(windows), merge(others)
    both: list[Window] = []
    i = j = 0
    while i < len(ours) and j < len(theirs):
        start, end = max(ours[i].start, theirs[j].start), min(ours[i].end, theirs[j].end)
        if start < end:
            both.append(Window(start, end))
        if ours[i].end <= theirs[j].end:
            i += 1
        else:
            j += 1
    return both


def covers(windows: Iterable[Window], wanted: Window) -> bool:
    """Tell whether every moment of ``wanted`` belongs to ``windows``."""
    return any(window.contains(wanted) for window in merge(windows))
