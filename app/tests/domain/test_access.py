"""The decision: exact opens, a doubt never does."""

from dataclasses import dataclass
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parkmesh.domain import access, plate_series, plates
from parkmesh.domain.access import Decision, Reason
from parkmesh.domain.access_index import AccessIndex, scan
from parkmesh.protocol.edge import AccessEntry, GateRules

NOW = 1_700_000_000_000


def decide(plate: str | None, entries: list[AccessEntry]) -> Decision:
    return access.decide(plate, AccessIndex(entries), NOW)


def entry(
    credential_id: str, plate: str, status: Literal["active", "revoked"] = "active", since: int | None = None,
    until: int | None = None,
) -> AccessEntry:  # fmt: skip
    return AccessEntry(credential_id, plate, status, since, until)


ANA = entry("ana", "1234BCD")
BEGINS, ENDS = entry("visit", "1234BCD", since=NOW + 1), entry("visit", "1234BCD", until=NOW + 1)


@pytest.mark.parametrize(
    ("entries", "decision"),
    [
        ([ANA], Decision("granted", Reason.EXACT, "ana")),
        ([ENDS], Decision("granted", Reason.CLOCK_DOUBTED, "visit")),
        ([BEGINS], Decision("granted", Reason.CLOCK_DOUBTED, "visit")),
        ([ENDS, entry("z", "1234BCD")], Decision("granted", Reason.EXACT, "z")),
        # It is later than now, whatever the clock says: over is over.
        ([entry("visit", "1234BCD", until=NOW)], Decision("denied", Reason.EXPIRED, "visit")),
        ([entry("visit", "1234BCD", "revoked", until=NOW + 1)], Decision("denied", Reason.REVOKED, "visit")),
    ],
)
def test_nobody_is_refused_for_a_clock_that_is_known_to_be_wrong(
    entries: list[AccessEntry], decision: Decision
) -> None:
    assert access.decide("1234BCD", AccessIndex(entries), NOW, doubtful=True) == decision


def test_nor_is_a_misread_refused_for_the_clock() -> None:
    decision = access.decide("1234BC0", AccessIndex([ENDS]), NOW, doubtful=True)
    assert decision == Decision("granted", Reason.CLOCK_DOUBTED, "visit")


def test_by_a_doubtful_clock_presence_only_marks() -> None:
    rules, inside = GateRules(anti_passback="hard"), {"1234BCD": True}
    decision = access.judge("1234BCD", AccessIndex([ANA]), NOW, "entry", rules, inside, doubtful=True)
    assert decision == Decision("granted", Reason.ANTI_PASSBACK, "ana")


@pytest.mark.parametrize(
    ("plate", "entries", "decision"),
    [
        ("1234BCD", [ANA], Decision("granted", Reason.EXACT, "ana")),
        (None, [ANA], Decision("denied", Reason.NO_PLATE)),
        ("1234BCD", [], Decision("denied", Reason.UNKNOWN_PLATE)),
        ("9999XYZ", [ANA], Decision("denied", Reason.UNKNOWN_PLATE)),
        ("1234BCD", [entry("ana", "1234BCD", "revoked")], Decision("denied", Reason.REVOKED, "ana")),
        # validity: from is in, until is out
        ("1234BCD", [entry("v", "1234BCD", since=NOW)], Decision("granted", Reason.EXACT, "v")),
        ("1234BCD", [entry("v", "1234BCD", since=NOW + 1)], Decision("denied", Reason.NOT_YET_VALID, "v")),
        ("1234BCD", [entry("v", "1234BCD", until=NOW)], Decision("denied", Reason.EXPIRED, "v")),
        ("1234BCD", [entry("v", "1234BCD", until=NOW + 1)], Decision("granted", Reason.EXACT, "v")),
        # several credentials of one plate: any valid one opens; the gravest refusal is told
        ("1234BCD", [entry("pass", "1234BCD", "revoked"), ANA], Decision("granted", Reason.EXACT, "ana")),
        (
            "1234BCD",
            [entry("old", "1234BCD", until=NOW), entry("pass", "1234BCD", "revoked")],
            Decision("denied", Reason.REVOKED, "pass"),
        ),
        # misreads
        ("1234BC0", [ANA], Decision("granted", Reason.FUZZY, "ana")),
        ("I234BC0", [ANA], Decision("granted", Reason.FUZZY, "ana")),
        ("IZ34BC0", [ANA], Decision("denied", Reason.UNKNOWN_PLATE)),  # three confusions
        ("1234BC0", [ANA, entry("bob", "1234BCQ")], Decision("denied", Reason.AMBIGUOUS)),
        ("1234BC0", [ANA, entry("bob", "1234BCQ", "revoked")], Decision("denied", Reason.REVOKED)),
        ("1234BC0", [ANA, entry("bob", "1234BCQ", until=NOW)], Decision("denied", Reason.AMBIGUOUS)),
        ("1234BC0", [entry("ana", "1234BCD", "revoked")], Decision("denied", Reason.REVOKED)),
        ("1234BC0", [entry("ana", "1234BCD", until=NOW)], Decision("denied", Reason.EXPIRED, "ana")),
        ("1234BC0", [entry("ana", "1234BCD", since=NOW + 1)], Decision("denied", Reason.NOT_YET_VALID, "ana")),
        # a misread of a plate with several credentials: the plate counts, not how many hold it
        ("1234BC0", [ANA, entry("bea", "1234BCD")], Decision("granted", Reason.FUZZY, "ana")),
        ("1234BC0", [ANA, entry("pass", "1234BCD", "revoked")], Decision("granted", Reason.FUZZY, "ana")),
        ("1234BC0", [ANA, entry("old", "1234BCD", until=NOW)], Decision("granted", Reason.FUZZY, "ana")),
        ("1234BC0", [ANA, entry("bea", "1234BCD"), entry("bob", "1234BCQ")], Decision("denied", Reason.AMBIGUOUS)),
        (
            "1234BC0",
            [ANA, entry("bob", "1234BCQ"), entry("pass", "1234BCQ", "revoked")],
            Decision("denied", Reason.AMBIGUOUS),
        ),
        (
            "1234BC0",
            [entry("old", "1234BCD", until=NOW), entry("pass", "1234BCD", since=NOW + 1)],
            Decision("denied", Reason.NOT_YET_VALID, "pass"),
        ),
        # ... and a bar is no credential: it refuses the plate that it names, misread or not
        ("1234BC0", [ANA, entry("-3", "1234BCD", "revoked")], Decision("denied", Reason.REVOKED)),
        ("1234BC0", [entry("-3", "1234BCD")], Decision("denied", Reason.REVOKED)),
        ("1234BC0", [ANA, entry("-3", "1234BCQ")], Decision("denied", Reason.REVOKED)),
        # an exact match isn't put in doubt by its neighbours
        ("1234BCD", [ANA, entry("bob", "1234BCQ", "revoked")], Decision("granted", Reason.EXACT, "ana")),
        # an exact refusal isn't healed by a neighbour that fits
        ("1234BCD", [entry("ana", "1234BCD", "revoked"), entry("bob", "1234BCQ")],
         Decision("denied", Reason.REVOKED, "ana")),
    ],
)  # fmt: skip
def test_decision(plate: str | None, entries: list[AccessEntry], decision: Decision) -> None:
    assert decide(plate, entries) == decision


# Plates from few letters, so that misreads and collisions are the rule.
_PLATE = st.text("0ODQ1I8B7", min_size=4, max_size=4)
_ENTRIES = st.lists(
    st.builds(
        AccessEntry,
        credential_id=st.text("abcdef", min_size=3, max_size=3) | st.integers(-9, -1).map(str),
        plate=_PLATE,
        status=st.sampled_from(["active", "revoked"]),
        valid_from=st.none() | st.integers(NOW - 2, NOW + 2),
        valid_until=st.none() | st.integers(NOW - 2, NOW + 2),
    ),
    max_size=6,
    unique_by=lambda e: e.credential_id,
)


def _valid(e: AccessEntry) -> bool:
    return (
        not access.is_bar(e)
        and e.status == "active"
        and (e.valid_from is None or e.valid_from <= NOW)
        and (e.valid_until is None or e.valid_until > NOW)
    )


def _nearer(read: str, plate: str) -> bool:
    least = plate_series.to_a_whole_plate(read, plate)
    return least is not None and least < (plates.confusions(read, plate) or 0)


@given(_PLATE, _ENTRIES)
def test_what_opens_is_justified(plate: str, entries: list[AccessEntry]) -> None:
    decision = decide(plate, entries)
    exact = [e for e in entries if e.plate == plate]
    fitting = [e for e in entries if plates.fits(plate, e.plate)]
    barred = any(access.is_bar(e) for e in exact)
    if barred:
        assert decision.reason is Reason.BARRED
    elif any(_valid(e) for e in exact):
        assert decision.reason is Reason.EXACT
    if decision.granted:
        [credential] = [e for e in entries if e.credential_id == decision.credential_id]
        assert _valid(credential)
        if decision.reason is Reason.FUZZY:
            assert {e.plate for e in fitting} == {credential.plate}
            assert not any(access.is_bar(e) for e in fitting)
        else:
            assert credential.plate == plate
    else:
        assert barred or not any(_valid(e) for e in exact)
        # A misread of a plate is refused only where the plate is, or where there is a doubt which one it is: of the
        # list's, or whether it is a stranger's.
        if not exact and len({e.plate for e in fitting}) == 1 and not _nearer(plate, fitting[0].plate):
            assert not decide(fitting[0].plate, entries).granted
    # The order of the list is no input.
    assert decide(plate, sorted(entries, key=lambda e: e.credential_id, reverse=True)) == decision


@given(_PLATE, _ENTRIES)
def test_revoking_never_opens(plate: str, entries: list[AccessEntry]) -> None:
    before = decide(plate, entries)
    for i, e in enumerate(entries):
        revoked = AccessEntry(e.credential_id, e.plate, "revoked", e.valid_from, e.valid_until)
        after = decide(plate, [*entries[:i], revoked, *entries[i + 1 :]])
        assert before.granted or not after.granted


@dataclass(frozen=True)
class Rules:
    anti_passback: Literal["off", "soft", "hard"] = "off"
    lots_per_unit: int | None = None
    plate_matching: Literal["exact", "careful", "generous"] = "careful"


_HOUSEHOLDS = st.lists(
    st.builds(
        AccessEntry,
        credential_id=st.text("abcdef", min_size=3, max_size=3) | st.integers(-9, -1).map(str),
        plate=_PLATE | st.text("0OD1I", min_size=2, max_size=3),
        status=st.sampled_from(["active", "revoked"]),
        valid_from=st.none() | st.integers(NOW - 2, NOW + 2),
        valid_until=st.none() | st.integers(NOW - 2, NOW + 2),
        unit=st.none() | st.sampled_from(["1A", "2B"]),
        lots=st.none() | st.integers(0, 2),
    ),
    max_size=12,
    unique_by=lambda e: e.credential_id,
)


@given(
    st.none() | _PLATE | st.text("0OD1I", min_size=2, max_size=3),
    _HOUSEHOLDS,
    st.sampled_from(["entry", "exit"]),
    st.builds(
        GateRules,
        anti_passback=st.sampled_from(["off", "soft", "hard"]),
        lots_per_unit=st.none() | st.just(1),
        plate_matching=st.sampled_from(["exact", "careful", "generous"]),
    ),
    st.dictionaries(_PLATE, st.booleans(), max_size=5),
)
def test_the_index_decides_as_a_walk_through_the_list_does(
    plate: str | None,
    entries: list[AccessEntry],
    direction: Literal["entry", "exit"],
    rules: GateRules,
    inside: dict[str, bool],
) -> None:
    # Reads that are in the list, as they are and misread, are the interesting ones.
    index, walk = AccessIndex(entries), scan(entries)
    assert list(index) == entries
    for read in {plate, *(e.plate for e in entries), *(e.plate.replace("0", "O") for e in entries)}:
        decision = access.judge(read, index, NOW, direction, rules, inside)
        assert decision == access.judge(read, walk, NOW, direction, rules, inside)
        if read is not None:
            assert access.vehicle(read, decision, index) == access.vehicle(read, decision, walk)


HOUSE = [
    AccessEntry("ana", "1234BCD", "active", unit="1A"),
    AccessEntry("ana-2", "4321DCB", "active", unit="1A"),
    AccessEntry("bob", "5678FGH", "active", unit="2B", lots=1),
    AccessEntry("staff", "9999KKK", "active"),
]


@pytest.mark.parametrize(
    ("plate", "direction", "rules", "inside", "outcome"),
    [
        ("1234BCD", "entry", Rules(), {"1234BCD": True}, ("granted", "exact")),
        ("1234BCD", "entry", Rules("soft"), {"1234BCD": True}, ("granted", "anti_passback")),
        ("1234BCD", "entry", Rules("hard"), {"1234BCD": True}, ("denied", "anti_passback")),
        ("1234BC0", "entry", Rules("hard"), {"1234BCD": True}, ("denied", "anti_passback")),  # a misread of it
        ("1234BCD", "entry", Rules("hard"), {"1234BCD": False}, ("granted", "exact")),
        ("1234BCD", "entry", Rules("hard"), {}, ("granted", "exact")),  # nothing is known: no car is locked out
        ("1234BCD", "exit", Rules("hard"), {"1234BCD": False}, ("granted", "anti_passback")),  # nor in
        ("1234BCD", "exit", Rules("hard"), {}, ("granted", "exact")),
        ("4321DCB", "entry", Rules(lots_per_unit=1), {"1234BCD": True}, ("denied", "lots_full")),
        ("4321DCB", "entry", Rules(lots_per_unit=2), {"1234BCD": True}, ("granted", "exact")),
        ("4321DCB", "entry", Rules(lots_per_unit=1), {"5678FGH": True}, ("granted", "exact")),
        ("4321DCB", "exit", Rules(lots_per_unit=0), {"1234BCD": True}, ("granted", "exact")),
        ("1234BCD", "entry", Rules(lots_per_unit=1), {"1234BCD": True}, ("granted", "exact")),  # its own lot
        ("5678FGH", "entry", Rules(lots_per_unit=0), {}, ("granted", "exact")),  # the unit has one of its own
        ("9999KKK", "entry", Rules(lots_per_unit=0), {}, ("granted", "exact")),  # no unit, no lots
        ("0000XXX", "entry", Rules("hard", 0), {}, ("denied", "unknown_plate")),
        (None, "entry", Rules("hard", 0), {}, ("denied", "no_plate")),
    ],
)
def test_rules(
    plate: str | None,
    direction: Literal["entry", "exit"],
    rules: Rules,
    inside: dict[str, bool],
    outcome: tuple[str, str],
) -> None:
    decision = access.judge(plate, AccessIndex(HOUSE), NOW, direction, rules, inside)
    assert (decision.outcome, decision.reason) == outcome


def test_a_barred_plate_does_not_pass_and_a_neighbour_s_that_reads_alike_does() -> None:
    barred = entry("-3", "8888BBB", status="revoked")
    entries = [entry("1", "8888BBB"), barred, entry("2", "B888BBB")]
    assert decide("8888BBB", entries) == access.Decision("denied", access.Reason.BARRED, "-3")
    assert decide("B888BBB", entries).granted
    # A doubt opens nothing: one of the two that fit may not pass.
    assert not decide("888BBBB", entries).granted
    # A gateway of the release before, which knows no bars, has all of the plate revoked.
    old = [entry("1", "8888BBB", status="revoked"), entry("4", "8888BBB", status="revoked")]
    assert decide("8888BBB", old).reason is access.Reason.REVOKED
