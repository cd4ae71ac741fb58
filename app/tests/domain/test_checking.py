"""Checks of a plate, overstays, and the nights of visitors: the rules without a database."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parkmesh.domain import checks, overstays, visitor_nights
from parkmesh.domain.checks import Right
from parkmesh.domain.windows import Window

NOW = datetime(2026, 11, 29, 12, tzinfo=UTC)
MADRID = ZoneInfo("Europe/Madrid")
GRACE = timedelta(minutes=30)


def hours(number: float) -> datetime:
    return NOW + timedelta(hours=number)


@pytest.mark.parametrize(
    ("rights", "revoked", "allowed", "reason"),
    [
        ([], False, False, "unknown"),
        ([], True, False, "revoked"),
        ([Right("resident", None, None)], False, True, "valid"),
        ([Right("pass", hours(-2), hours(1))], False, True, "valid"),
        ([Right("pass", hours(-2), hours(-0.25))], False, True, "grace"),
        ([Right("pass", hours(-2), hours(-0.5))], False, False, "ended"),
        ([Right("pass", hours(1), hours(2))], False, False, "not_begun"),
        ([Right("booking", hours(-1), hours(1), here=False)], False, False, "other_space"),
        # The right that lasts longest decides.
        ([Right("pass", hours(-2), hours(-1)), Right("booking", hours(-1), hours(3))], False, True, "valid"),
    ],
)
def test_a_check_says_whether_and_why(rights: list[Right], revoked: bool, allowed: bool, reason: str) -> None:
    answer = checks.check(rights, NOW, GRACE, revoked=revoked)
    assert (answer.allowed, answer.reason, answer.grace) == (allowed, reason, reason == "grace")


def test_a_car_overstays_when_passes_without_a_gap_have_ended() -> None:
    passes = [Window(hours(-4), hours(-2)), Window(hours(-2), hours(-1))]
    assert overstays.overstayed_since(hours(-3), passes, GRACE, NOW) == hours(-1)
    assert overstays.overstayed_since(hours(-3), passes, timedelta(hours=2), NOW) is None
    # It came without a pass, or by one that has ended before.
    assert overstays.overstayed_since(hours(-5), passes, GRACE, NOW) is None
    assert overstays.overstayed_since(hours(-1), passes, GRACE, NOW) is None


def test_a_night_counts_for_a_car_that_is_inside_at_four() -> None:
    def at(text: str) -> datetime:
        return datetime.fromisoformat(text).replace(tzinfo=MADRID)

    assert visitor_nights.nights(at("2026-11-28T22:00"), at("2026-11-29T03:59"), MADRID) == set()
    assert visitor_nights.nights(at("2026-11-28T22:00"), at("2026-11-29T04:01"), MADRID) == {date(2026, 11, 29)}
    # Both nights on which the clock changes are one night each.
    for day in ("2026-10-24", "2027-03-27"):
        evening = at(f"{day}T20:00")
        assert len(visitor_nights.nights(evening, evening + timedelta(hours=14), MADRID)) == 1


@given(st.sets(st.integers(0, 90)), st.sets(st.integers(0, 90)))
def test_the_most_nights_in_28_days_are_those_of_some_28_days(known: set[int], added: set[int]) -> None:
    first = date(2026, 1, 1)

    def days(numbers: set[int]) -> set[date]:
        return {first + timedelta(days=number) for number in numbers}

    every = known | added
    slow = max(
        (
            len([number for number in every if begin <= number < begin + 28])
            for begin in range(-28, 91)
            if any(begin <= number < begin + 28 for number in added)
        ),
        default=0,
    )
    assert visitor_nights.most(days(known), days(added)) == slow
