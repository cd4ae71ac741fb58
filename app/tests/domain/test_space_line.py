"""Whose turn it is for a space of one's own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parkmesh.domain.space_line import Bay, Waits, fits, line, passed_over

LEVELS = st.sampled_from(["P1", "P2"])
BAYS = st.builds(Bay, level=LEVELS, ev=st.booleans(), accessible=st.booleans())
QUEUES = st.lists(
    st.builds(
        Waits,
        id=st.integers(1, 99),
        ev=st.booleans(),
        accessible=st.booleans(),
        level=st.none() | LEVELS,
        permitted=st.booleans(),
    ),
    unique_by=lambda waits: waits.id,
    max_size=8,
)


@pytest.mark.parametrize(
    ("waits", "bay", "expected"),
    [
        (Waits(1, False, False, None, False), Bay("P1", False, False), True),
        (Waits(1, False, False, None, False), Bay("P1", True, False), True),
        (Waits(1, True, False, None, False), Bay("P1", False, False), False),
        (Waits(1, False, False, "P2", False), Bay("P1", False, False), False),
        (Waits(1, False, False, None, True), Bay("P1", False, True), False),
        (Waits(1, False, True, None, True), Bay("P1", False, True), True),
        (Waits(1, False, True, None, False), Bay("P1", False, True), False),
        (Waits(1, False, True, None, True), Bay("P1", False, False), False),
    ],
)
def test_what_fits(waits: Waits, bay: Bay, expected: bool) -> None:
    assert fits(waits, bay) is expected


@given(QUEUES, BAYS, st.data())
def test_nobody_is_passed_over_unseen(queue: list[Waits], bay: Bay, data: st.DataObject) -> None:
    declined = data.draw(st.sets(st.sampled_from([waits.id for waits in queue]))) if queue else set()
    turns = line(queue, bay, declined)
    # Those in the line keep the order of the queue, and everybody else is out for a reason.
    assert [waits for waits in queue if waits in turns] == turns
    assert all(waits in turns or waits.id in declined or not fits(waits, bay) for waits in queue)
    if turns:
        # Whose turn it is passes over none but those who declined.
        assert {waits.id for waits in passed_over(queue, bay, turns[0].id)} <= declined
    for waits in queue:
        before = queue[: queue.index(waits)]
        assert passed_over(queue, bay, waits.id) == [other for other in before if fits(other, bay)]
