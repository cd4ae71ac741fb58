"""Days and hours by a community's clock, also when it is put forward or back, and nights."""

from datetime import date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from parkmesh.domain.days import hours, nights, span

MADRID = ZoneInfo("Europe/Madrid")


@pytest.mark.parametrize(
    ("day", "zone", "count"),
    [
        ("2026-10-25", "Europe/Madrid", 25),
        ("2027-03-28", "Europe/Madrid", 23),
        ("2026-11-29", "Europe/Madrid", 24),
        ("2026-10-25", "Atlantic/Canary", 25),
        ("2027-03-28", "UTC", 24),
        # Half an hour is put forward and back.
        ("2026-10-04", "Australia/Lord_Howe", 24),
        ("2027-04-04", "Australia/Lord_Howe", 25),
        # A day that the calendar skipped, and one whose midnight is skipped.
        ("2011-12-30", "Pacific/Apia", 0),
        ("2018-11-04", "America/Sao_Paulo", 23),
    ],
)
def test_a_day_has_its_hours(day: str, zone: str, count: int) -> None:
    date_, zone_ = date.fromisoformat(day), ZoneInfo(zone)
    found = hours(date_, date_, zone_)
    assert len(found) == count
    assert len({(hour.hour, hour.utc_offset) for hour in found}) == count
    assert all(before.window.end == after.window.start for before, after in pairwise(found))
    for hour in found:
        shown = hour.window.start.astimezone(zone_)
        assert (shown.date(), shown.hour) == (date_, hour.hour)
    if found:
        assert (found[0].window.start, found[-1].window.end) == (
            span(date_, date_, zone_).start, span(date_, date_, zone_).end
        )  # fmt: skip


def test_the_hour_that_comes_twice_and_the_one_that_is_skipped() -> None:
    autumn = hours(date(2026, 10, 25), date(2026, 10, 25), MADRID)
    assert [(hour.hour, hour.utc_offset) for hour in autumn[:5]] == [
        (0, "+02:00"), (1, "+02:00"), (2, "+02:00"), (2, "+01:00"), (3, "+01:00")
    ]  # fmt: skip
    spring = hours(date(2027, 3, 28), date(2027, 3, 28), MADRID)
    assert [(hour.hour, hour.utc_offset) for hour in spring[:4]] == [
        (0, "+01:00"), (1, "+01:00"), (3, "+02:00"), (4, "+02:00")
    ]  # fmt: skip
    assert len(hours(date(2026, 10, 24), date(2026, 10, 26), MADRID)) == 24 + 25 + 24


@pytest.mark.parametrize(
    ("since", "until", "count"),
    [
        ("2026-10-24T20:00+02:00", "2026-10-25T00:30+02:00", 0),
        ("2026-10-24T20:00+02:00", "2026-10-25T04:00+01:00", 0),
        ("2026-10-24T20:00+02:00", "2026-10-25T04:01+01:00", 1),
        ("2026-10-25T04:00+01:00", "2026-10-25T05:00+01:00", 1),
        ("2026-10-24T20:00+02:00", "2026-10-27T12:00+01:00", 3),
        # Only nights of the days asked for: 25 to 31 October.
        ("2026-10-20T20:00+02:00", "2026-11-27T12:00+01:00", 7),
    ],
)
def test_a_night_counts_for_a_car_that_is_inside_at_four(since: str, until: str, count: int) -> None:
    stayed = datetime.fromisoformat(since), datetime.fromisoformat(until)
    assert nights(*stayed, date(2026, 10, 25), date(2026, 10, 31), MADRID) == count


def test_a_span_has_as_many_real_hours_as_its_days() -> None:
    assert span(date(2026, 10, 25), date(2026, 10, 25), MADRID).length == timedelta(hours=25)
