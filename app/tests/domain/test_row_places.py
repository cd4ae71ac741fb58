"""Rows of spaces: their places, their names and what overlaps."""

import pytest
from hypothesis import given, strategies
from parkmesh.domain import rows
from parkmesh.domain.rows import NotNumberedError, Place, Row

BAY = Place(10, 10, 2.5, 5, 0)


@pytest.mark.parametrize(
    ("rotation", "direction", "gap", "second"),
    [
        (0, 0, 0, (12.5, 10)),
        (0, 0, 0.3, (12.8, 10)),
        (0, 90, 0, (10, 15)),
        (0, 180, 0, (7.5, 10)),
        (90, 0, 0, (15, 10)),
        # Bays that stand slanted to the lane take 2.5 / cos 60° of it each.
        (60, 0, 0, (15, 10)),
    ],
)
def test_a_row(rotation: float, direction: float, gap: float, second: tuple[float, float]) -> None:
    first = BAY._replace(rotation=rotation)
    found = rows.places(Row(first, direction, gap, 2))
    assert found == [first, first._replace(x=second[0], y=second[1])]


def test_names_count_on() -> None:
    assert rows.names("p1-08", 1, 3) == ["p1-08", "p1-09", "p1-10"]
    assert rows.names("p1-99", 2, 2) == ["p1-99", "p1-101"]
    assert rows.names("p1-03", -1, 4) == ["p1-03", "p1-02", "p1-01", "p1-00"]
    assert rows.names("door", 1, 1) == ["door"]
    for first, step, count in (("door", 1, 2), ("p1-02", -1, 4), ("p1-02", 0, 2)):
        with pytest.raises(NotNumberedError):
            rows.names(first, step, count)


def test_overlaps_are_named() -> None:
    taken = {"a": BAY, "b": BAY._replace(x=12.5), "far": BAY._replace(x=40)}
    wanted = {"new": BAY._replace(x=11), "b": BAY._replace(x=30)}
    assert rows.overlaps(wanted, taken) == [("new", "a")]
    # Corners that reach into the neighbour, although neither centre does.
    assert rows.overlap(BAY, BAY._replace(x=13, rotation=45))
    assert not rows.overlap(BAY, BAY._replace(x=12.5))


def test_what_reaches_over_the_edge_is_outside() -> None:
    assert not rows.outside(BAY, 12.5, 15)
    assert rows.outside(BAY, 12.4, 15)
    assert rows.outside(BAY._replace(rotation=90), 12.5, 15)
    assert not rows.outside(BAY, None, None)


lengths = strategies.floats(0.5, 50)
angles = strategies.integers(0, 359)
first_places = strategies.builds(
    Place, strategies.just(1000.0), strategies.just(1000.0), lengths, lengths, angles.map(float)
)


@given(first_places, angles, strategies.floats(0, 5), strategies.integers(2, 12))
def test_spaces_of_a_row_never_overlap(first: Place, direction: int, gap: float, count: int) -> None:
    found = rows.places(Row(first, direction, gap, count))
    assert rows.overlaps({str(index): place for index, place in enumerate(found)}, {}) == []


@given(first_places, angles)
def test_neighbours_without_a_gap_touch(first: Place, direction: int) -> None:
    distance = rows.touching(first, direction) - 0.1
    along_x, along_y = rows._direction(direction)
    closer = first._replace(x=first.x + distance * along_x, y=first.y + distance * along_y)
    assert rows.overlap(first, closer)


@given(first_places, first_places, strategies.floats(-60, 60), strategies.floats(-60, 60))
def test_overlapping_is_mutual(one: Place, other: Place, right: float, down: float) -> None:
    other = other._replace(x=other.x + right, y=other.y + down)
    assert rows.overlap(one, other) == rows.overlap(other, one)
