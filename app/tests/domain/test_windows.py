"""Sets of windows behave as the sets of moments that they stand for."""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parkmesh.domain.windows import Window, covers, intersect, merge, subtract

BASE = datetime(2027, 3, 1, tzinfo=UTC)


def at(minute: int) -> datetime:
    return BASE + timedelta(minutes=minute)


def window(start: int, end: int) -> Window:
    return Window(at(start), at(end))


windows = st.lists(
    st.tuples(st.integers(0, 40), st.integers(1, 15)).map(lambda pair: window(pair[0], pair[0] + pair[1])), max_size=8
)


def minutes(found: Iterable[Window]) -> set[int]:
    return {minute for minute in range(60) if any(item.start <= at(minute) < item.end for item in found)}


def assert_tidy(found: list[Window]) -> None:
    assert all(before.end < after.start for before, after in pairwise(found))


@pytest.mark.parametrize(
    ("operation", "of_sets"),
    [(subtract, set.difference), (intersect, set.intersection), (lambda a, b: merge([*a, *b]), set.union)],
)
@given(a=windows, b=windows)
def test_operations_are_those_of_sets(
    operation: Callable[..., list[Window]], of_sets: Callable[..., set[int]], a: list[Window], b: list[Window]
) -> None:
    found = operation(a, b)
    assert minutes(found) == of_sets(minutes(a), minutes(b))
    assert_tidy(found)


@given(a=windows, start=st.integers(0, 40), length=st.integers(1, 15))
def test_covering_means_every_moment(a: list[Window], start: int, length: int) -> None:
    assert covers(a, window(start, start + length)) == (set(range(start, start + length)) <= minutes(a))


def test_windows_that_touch_do_not_overlap_and_become_one() -> None:
    assert not window(0, 10).overlaps(window(10, 20))
    assert window(0, 10).overlaps(window(9, 20))
    assert merge([window(10, 20), window(0, 10)]) == [window(0, 20)]


@pytest.mark.parametrize("end", [0, -1])
def test_a_window_has_a_length(end: int) -> None:
    with pytest.raises(ValueError, match="ends after"):
        window(0, end)
