"""Least, most and average of a number that changes."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, strategies
from parkmesh.domain.levels import Level, changes, levels
from parkmesh.domain.windows import Window

NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)


def window(start: int, end: int) -> Window:
    """Return a window in minutes after noon."""
    return Window(NOON + timedelta(minutes=start), NOON + timedelta(minutes=end))


HOUR, NEXT = window(0, 60), window(60, 120)


@pytest.mark.parametrize(
    ("inside", "expected"),
    [
        ([], [Level(0, 0, 0.0), Level(0, 0, 0.0)]),
        ([(-300, 300)], [Level(1, 1, 1.0), Level(1, 1, 1.0)]),
        ([(-300, -200)], [Level(0, 0, 0.0), Level(0, 0, 0.0)]),
        ([(0, 60)], [Level(1, 1, 1.0), Level(0, 0, 0.0)]),
        ([(30, 90)], [Level(0, 1, 0.5), Level(0, 1, 0.5)]),
        ([(0, 30), (15, 45), (300, 301)], [Level(0, 2, 1.0), Level(0, 0, 0.0)]),
        # One goes as another comes.
        ([(0, 30), (30, 60)], [Level(1, 1, 1.0), Level(0, 0, 0.0)]),
    ],
)
def test_levels(inside: list[tuple[int, int]], expected: list[Level]) -> None:
    assert levels(changes(window(*item) for item in inside), [HOUR, NEXT]) == expected


times = strategies.tuples(strategies.integers(-100, 200), strategies.integers(1, 150))


@given(strategies.lists(times, max_size=12))
def test_levels_are_what_counting_each_minute_says(given_: list[tuple[int, int]]) -> None:
    inside = [(start, start + length) for start, length in given_]
    for hour, found in zip((HOUR, NEXT), levels(changes(window(*item) for item in inside), [HOUR, NEXT]), strict=True):
        first = (hour.start - NOON) // timedelta(minutes=1)
        counts = [sum(start <= minute < end for start, end in inside) for minute in range(first, first + 60)]
        assert (found.least, found.most) == (min(counts), max(counts))
        assert found.average == pytest.approx(sum(counts) / 60)
