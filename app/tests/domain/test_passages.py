"""One car is one passage; two cars are two."""

import pytest
from parkmesh.domain.access import Decision, Reason
from parkmesh.domain.passages import Recent, Seen, edits, similar

EXACT = Decision("granted", Reason.EXACT, "ana")
FUZZY = Decision("granted", Reason.FUZZY, "ana")
UNKNOWN = Decision("denied", Reason.UNKNOWN_PLATE)
NO_PLATE = Decision("denied", Reason.NO_PLATE)
REVOKED = Decision("denied", Reason.REVOKED, "eve")


def granted(plate: str, opened: bool = True, credential: str = "ana", gate: str = "in") -> Seen:
    return Seen(gate, "entry", plate, credential, "granted", opened, 1_000)


def denied(plate: str | None) -> Seen:
    return Seen("in", "entry", plate, None, "denied", False, 1_000)


@pytest.mark.parametrize(
    ("seen", "plate", "decision", "same"),
    [
        # the predecessor's misreads of one car
        (denied("3738MKWV"), "3738WV", UNKNOWN, True),
        (denied("3738MKWV"), "3738MWV", UNKNOWN, True),
        (granted("3738MWV"), "3738WV", UNKNOWN, True),
        (denied(None), "1234BCD", UNKNOWN, False),
        (granted("1234BCD"), None, NO_PLATE, True),
        (denied(None), None, NO_PLATE, True),
        # granted reads
        (granted("1234BCD"), "1234BCD", EXACT, True),
        (granted("1234BCD"), "1234BC0", FUZZY, True),
        (granted("1234BCD", opened=False), "1234BCD", EXACT, False),  # the barrier failed: try again
        (granted("1234BCF", credential="bob"), "1234BCD", EXACT, False),  # the neighbour's car
        (denied("1234BCF"), "1234BCD", EXACT, False),
        (granted("1234BCD", gate="out"), "1234BCD", EXACT, False),
        # refused by name: only its own plate, and not after it was let in
        (granted("1234BCD"), "1234BCF", REVOKED, False),
        (granted("1234BCF"), "1234BCF", REVOKED, False),
        (denied("1234BCF"), "1234BCF", REVOKED, True),
        (denied("1234BCD"), "9999XYZ", UNKNOWN, False),
        (denied("AB12"), "AC12", UNKNOWN, False),  # too short to call similar
    ],
)
def test_grouping(seen: Seen, plate: str | None, decision: Decision, same: bool) -> None:
    found = Recent(30_000, [seen]).same("in", "entry", plate, decision, 31_000)
    assert (found is seen) == same


def test_all_reads_of_a_passage_are_compared() -> None:
    seen = denied("3738MKWV")
    recent = Recent(30_000, [seen])
    for plate in ("3738WV", "3738WW"):
        assert recent.same("in", "entry", plate, UNKNOWN, 2_000) is seen
        seen.join(plate)
    assert recent.same("in", "entry", "3741XX", UNKNOWN, 2_000) is None


def test_a_cameras_own_number_of_a_car() -> None:
    seen = granted("1234BCD")
    seen.car = "cam/7"
    recent = Recent(30_000, [seen])
    assert recent.same("in", "entry", "9XK", UNKNOWN, 2_000, "cam/7") is seen
    assert recent.same("in", "entry", "5678FGH", Decision("granted", Reason.EXACT, "bob"), 2_000, "cam/7") is seen
    assert recent.same("in", "entry", "9XK", UNKNOWN, 2_000, "cam/8") is None
    assert recent.same("in", "entry", "1234BCF", REVOKED, 2_000, "cam/7") is None


def test_the_window_ends() -> None:
    assert Recent(30_000, [granted("1234BCD")]).same("in", "entry", "1234BCD", EXACT, 31_001) is None


def test_a_clock_set_back_does_not_keep_passages_for_ever() -> None:
    assert Recent(30_000, [granted("1234BCD")]).same("in", "entry", "1234BCD", EXACT, -40_000) is None


def test_the_other_direction_is_another_passage() -> None:
    assert Recent(30_000, [granted("1234BCD")]).same("in", "exit", "1234BCD", EXACT, 2_000) is None


@pytest.mark.parametrize(
    ("a", "b", "distance"),
    [("", "", 0), ("A", "", 1), ("3738MKWV", "3738WV", 2), ("3738MKWV", "3738MWV", 1), ("ABC", "CBA", 2)],
)
def test_edits(a: str, b: str, distance: int) -> None:
    assert edits(a, b) == edits(b, a) == distance


def test_similar_needs_length() -> None:
    assert similar("AB1", "AB1")
    assert not similar("AB1", "AC1")
    assert similar("1234BCD", "1234BC")
