"""Places copied and put in line."""

from itertools import pairwise

import pytest
from hypothesis import assume, given, strategies
from parkmesh.domain import arrangements, rows
from parkmesh.domain.arrangements import How, NotAlikeError
from parkmesh.domain.rows import Place

BAY = Place(10, 10, 2.5, 5, 0)
AXES: dict[How, float] = {"left": 0, "top": 90, "across": 0, "down": 90}
NEAR = 0.002
coordinates = strategies.integers(0, 200_000).map(lambda number: number / 1000)
extents = strategies.integers(100, 20_000).map(lambda number: number / 1000)
angles = strategies.sampled_from([0.0, 45.0, 90.0, 270.0]) | strategies.integers(0, 359_999).map(lambda n: n / 1000)
places = strategies.builds(Place, coordinates, coordinates, extents, extents, angles)
several = strategies.lists(places, min_size=1, max_size=8)


def test_edges_come_in_line_as_they_are_seen() -> None:
    # Turned by 90° about its middle, the second reaches from 18.75 to 23.75.
    found = arrangements.aligned([BAY, Place(20, 30, 2.5, 5, 90)], "left")
    assert found == [BAY, Place(11.25, 30, 2.5, 5, 90)]
    assert arrangements.aligned([BAY, Place(20, 30, 2.5, 5, 0)], "top") == [BAY, Place(20, 10, 2.5, 5, 0)]


def test_what_lies_between_gets_equal_distances() -> None:
    out_of_order = [BAY._replace(x=x) for x in (0, 20, 3, 14)]
    assert [place.x for place in arrangements.aligned(out_of_order, "across")] == [0, 20, 6.667, 13.333]
    stacked = [BAY._replace(y=y) for y in (0, 5.1, 13)]
    assert [place.y for place in arrangements.aligned(stacked, "down")] == [0, 6.5, 13]


@given(several, strategies.sampled_from(["left", "top"]))
def test_aligned_spaces_share_the_outermost_edge(found: list[Place], how: How) -> None:
    lows = [rows.reach(place, AXES[how])[0] for place in arrangements.aligned(found, how)]
    outermost = min(rows.reach(place, AXES[how])[0] for place in found)
    assert all(abs(low - outermost) < NEAR for low in lows)


@given(several, strategies.sampled_from(["across", "down"]))
def test_distances_are_equal_and_the_order_and_the_ends_stay(found: list[Place], how: How) -> None:
    axis = AXES[how]
    spread = arrangements.aligned(found, how)
    before = sorted(range(len(found)), key=lambda index: (sum(rows.reach(found[index], axis)), index))
    reaches = [rows.reach(spread[index], axis) for index in before]
    assert abs(reaches[0][0] - rows.reach(found[before[0]], axis)[0]) < NEAR
    assert abs(reaches[-1][1] - rows.reach(found[before[-1]], axis)[1]) < NEAR
    gaps = [later[0] - earlier[1] for earlier, later in pairwise(reaches)]
    assert not gaps or max(gaps) - min(gaps) < 2 * NEAR


@given(several, strategies.sampled_from(sorted(AXES)))
def test_sizes_turns_and_the_other_axis_stay_and_a_second_time_changes_nothing(found: list[Place], how: How) -> None:
    once = arrangements.aligned(found, how)
    other = "y" if AXES[how] == 0 else "x"
    for place, moved in zip(found, once, strict=True):
        assert place[2:] == moved[2:]
        assert getattr(place, other) == getattr(moved, other)
    if how in ("across", "down"):
        reaches = sorted(rows.reach(place, AXES[how]) for place in once)
        # Spaces that there isn't room for may change their order, which is that of their middles.
        assume(all(earlier[1] <= later[0] for earlier, later in pairwise(reaches)))
    twice = arrangements.aligned(once, how)
    assert all(abs(a.x - b.x) < NEAR and abs(a.y - b.y) < NEAR for a, b in zip(once, twice, strict=True))


@given(several, coordinates, coordinates)
def test_a_copy_goes_back_to_where_it_came_from(found: list[Place], dx: float, dy: float) -> None:
    back = arrangements.copied(arrangements.copied(found, dx, dy), -dx, -dy)
    assert all(abs(a.x - b.x) < NEAR and abs(a.y - b.y) < NEAR for a, b in zip(found, back, strict=True))
    assert [place[2:] for place in back] == [place[2:] for place in found]


@given(places, places)
def test_circles_that_are_apart_hide_no_overlap(one: Place, other: Place) -> None:
    """The quick answer of ``overlap`` is never another than the edges give: each looks from its own side."""
    apart = any(
        min(rows.reach(one, angle)[1], rows.reach(other, angle)[1])
        - max(rows.reach(one, angle)[0], rows.reach(other, angle)[0])
        <= rows.TOLERANCE
        for turned in (one.rotation, other.rotation)
        for angle in (turned, turned + 90)
    )
    assert rows.overlap(one, other) is not apart


def test_names_of_copies_differ_as_those_of_the_originals() -> None:
    assert arrangements.renamed(["p1-03", "p1-05", "p1-04"], "p2-13") == ["p2-13", "p2-15", "p2-14"]
    assert arrangements.renamed(["p1-98", "p1-100"], "x008") == ["x008", "x010"]
    assert arrangements.renamed(["door"], "gate") == ["gate"]
    for names, first in ((["a-1", "b-2"], "c-1"), (["a-1", "door"], "c-1"), (["a-5", "a-1"], "c-1")):
        with pytest.raises(NotAlikeError) as wrong:
            arrangements.renamed(names, first)
        assert str(wrong.value) == names[1]
    with pytest.raises(NotAlikeError, match="door"):
        arrangements.renamed(["a-1", "a-2"], "door")


@given(strategies.lists(strategies.integers(0, 9999), min_size=2, unique=True), strategies.integers(0, 9999))
def test_copies_have_different_names(numbers: list[int], first: int) -> None:
    try:
        found = arrangements.renamed([f"a-{number}" for number in numbers], f"b-{first}")
    except NotAlikeError:
        assert first + min(numbers) - numbers[0] < 0
        return
    assert len(set(found)) == len(numbers)
    assert found[0] == f"b-{first}"
