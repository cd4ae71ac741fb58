"""Stays follow from a plate's movements: one table of cases, and the same in any order."""

import random
from datetime import UTC, datetime, timedelta

import pytest
from parkmesh.domain.stays import LONGEST, Movement, stays

NOON = datetime(2026, 10, 24, 12, tzinfo=UTC)
NOW = NOON + timedelta(days=2)
HOURS_30_DAYS = LONGEST // timedelta(hours=1)

# Movements: hour after noon, and in, out, or a correction (+ inside, - outside). Stays: from, until, how closed.
CASES: list[tuple[str, list[tuple[int, str]], list[tuple[int, int | None, str | None]]]] = [
    ("nothing", [], []),
    ("in and out", [(0, "in"), (3, "out")], [(0, 3, "exit")]),
    ("still inside", [(0, "in"), (3, "out"), (5, "in")], [(0, 3, "exit"), (5, None, None)]),
    ("an exit was missed", [(0, "in"), (5, "in"), (6, "out")], [(0, 5, "missed_exit"), (5, 6, "exit")]),
    ("an entry was missed", [(1, "out"), (2, "in"), (3, "out"), (4, "out")], [(2, 3, "exit")]),
    ("staff ends one", [(0, "in"), (4, "-"), (5, "out")], [(0, 4, "correction")]),
    ("staff begins one", [(0, "+"), (4, "out")], [(0, 4, "exit")]),
    ("staff says what is known", [(0, "in"), (2, "+"), (4, "out"), (5, "-")], [(0, 4, "exit")]),
    ("a car enters that staff saw inside", [(0, "+"), (2, "in")], [(0, 2, "missed_exit"), (2, None, None)]),
    ("in the same moment", [(0, "in"), (0, "out")], [(0, 0, "exit")]),
    ("nobody saw the exit", [(-HOURS_30_DAYS, "in")], [(-HOURS_30_DAYS, 0, "timeout")]),
    (
        "the exit comes too late",
        [(-HOURS_30_DAYS - 1, "in"), (-1, "out"), (0, "in")],
        [(-HOURS_30_DAYS - 1, -1, "timeout"), (0, None, None)],
    ),
    (
        "the next entry comes too late",
        [(-HOURS_30_DAYS - 2, "in"), (-1, "+")],
        [(-HOURS_30_DAYS - 2, -2, "timeout"), (-1, None, None)],
    ),
]


def movement(seq: int, hour: int, what: str) -> Movement:
    correction = what in "+-"
    return Movement(
        NOON + timedelta(hours=hour), 0 if correction else 7, 1, seq, what in ("in", "+"), None if correction else seq
    )


@pytest.mark.parametrize(("given", "expected"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_stays_of_movements(given: list[tuple[int, str]], expected: list[tuple[int, int | None, str | None]]) -> None:
    movements = [movement(seq, *item) for seq, item in enumerate(given, 1)]
    found = stays(movements, NOW)
    assert [(stay.entered.at, stay.left_at, stay.closed_by) for stay in found] == [
        (NOON + timedelta(hours=start), None if end is None else NOON + timedelta(hours=end), how)
        for start, end, how in expected
    ]
    random.Random(7).shuffle(movements)
    assert stays(movements, NOW) == found


def test_only_an_exit_that_was_seen_is_the_passage_by_which_a_car_left() -> None:
    seen = stays([movement(1, 0, "in"), movement(2, 1, "in"), movement(3, 2, "out"), movement(4, 3, "in")], NOW)
    assert [(stay.entered.passage, stay.left_passage) for stay in seen] == [(1, None), (2, 3), (4, None)]
