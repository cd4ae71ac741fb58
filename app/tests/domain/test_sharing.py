"""Sharing by the clock on the wall, where the clock changes: Europe/Madrid at night, America/Santiago at midnight,
Australia/Lord_Howe by half an hour."""

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from parkmesh.domain.sharing import Said, Weekly, day_window, expand, moment, shared
from parkmesh.domain.windows import Window, covers, merge

MADRID, SANTIAGO, LORD_HOWE = map(ZoneInfo, ("Europe/Madrid", "America/Santiago", "Australia/Lord_Howe"))
EVERY_DAY = frozenset(range(7))

zones = st.sampled_from([MADRID, SANTIAGO, LORD_HOWE])
days = st.dates(date(2026, 1, 1), date(2028, 12, 31))
# The days of the changes are few: they get their share.
changes = st.sampled_from(
    [
        date(2027, 3, 28),
        date(2027, 10, 31),
        date(2027, 4, 3),
        date(2027, 4, 4),
        date(2027, 9, 5),
        date(2027, 10, 3),
        date(2027, 9, 4),
    ]
)
readings = st.times().map(lambda value: value.replace(second=0, microsecond=0))


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc, arg-type]


@pytest.mark.parametrize(
    ("zone", "day", "reading", "expected"),
    [
        (MADRID, date(2027, 1, 10), time(8), utc(2027, 1, 10, 7)),
        (MADRID, date(2027, 7, 10), time(8), utc(2027, 7, 10, 6)),
        # From 02:00 to 03:00 nothing is shown.
        (MADRID, date(2027, 3, 28), time(1, 59), utc(2027, 3, 28, 0, 59)),
        (MADRID, date(2027, 3, 28), time(2), utc(2027, 3, 28, 1)),
        (MADRID, date(2027, 3, 28), time(2, 30), utc(2027, 3, 28, 1)),
        (MADRID, date(2027, 3, 28), time(3), utc(2027, 3, 28, 1)),
        # From 02:00 to 03:00 comes twice.
        (MADRID, date(2027, 10, 31), time(2, 30), utc(2027, 10, 31, 0, 30)),
        (MADRID, date(2027, 10, 31), time(3), utc(2027, 10, 31, 2)),
        # The day begins at one.
        (SANTIAGO, date(2027, 9, 5), time(), utc(2027, 9, 5, 4)),
        (SANTIAGO, date(2027, 9, 5), time(0, 59), utc(2027, 9, 5, 4)),
        (SANTIAGO, date(2027, 9, 5), time(1), utc(2027, 9, 5, 4)),
        # The last hour of the day comes twice, its end once.
        (SANTIAGO, date(2027, 4, 3), time(23, 30), utc(2027, 4, 4, 2, 30)),
        (SANTIAGO, date(2027, 4, 4), time(), utc(2027, 4, 4, 4)),
        # Half an hour.
        (LORD_HOWE, date(2027, 10, 3), time(2, 15), utc(2027, 10, 2, 15, 30)),
        (LORD_HOWE, date(2027, 10, 3), time(2, 30), utc(2027, 10, 2, 15, 30)),
        (LORD_HOWE, date(2027, 4, 4), time(1, 45), utc(2027, 4, 3, 14, 45)),
        (LORD_HOWE, date(2027, 4, 4), time(2), utc(2027, 4, 3, 15, 30)),
    ],
)
def test_a_reading_is_the_first_moment_that_shows_it(
    zone: ZoneInfo, day: date, reading: time, expected: datetime
) -> None:
    assert moment(day, reading, zone) == expected


@given(zone=zones, day=days | changes, reading=readings)
def test_no_earlier_moment_shows_the_reading_or_a_later_one(zone: ZoneInfo, day: date, reading: time) -> None:
    found = moment(day, reading, zone)
    wanted = datetime.combine(day, reading)
    assert found.astimezone(zone).replace(tzinfo=None) >= wanted
    for minutes in range(1, 181):
        shown = (found - timedelta(minutes=minutes)).astimezone(zone).replace(tzinfo=None)
        assert shown < wanted


@given(zone=zones, day=days | changes, a=readings, b=readings)
def test_readings_in_order_are_moments_in_order(zone: ZoneInfo, day: date, a: time, b: time) -> None:
    assert moment(day, min(a, b), zone) <= moment(day, max(a, b), zone) <= moment(day + timedelta(days=1), time(), zone)


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        (MADRID, date(2027, 3, 28), 23),
        (MADRID, date(2027, 10, 31), 25),
        (SANTIAGO, date(2027, 9, 5), 23),
        (SANTIAGO, date(2027, 4, 3), 25),
        (LORD_HOWE, date(2027, 10, 3), 23.5),
        (LORD_HOWE, date(2027, 4, 4), 24.5),
        (MADRID, date(2027, 5, 5), 24),
    ],
)
def test_a_day_is_as_long_as_the_clock_makes_it(zone: ZoneInfo, day: date, hours: float) -> None:
    window = day_window(day, zone)
    assert window is not None
    assert window.length == timedelta(hours=hours)


def test_a_day_that_the_calendar_skips_has_no_window() -> None:
    assert day_window(date(2011, 12, 30), ZoneInfo("Pacific/Apia")) is None


def test_office_hours_keep_to_the_clock_over_the_change() -> None:
    rule = Weekly(frozenset({0}), time(8), time(18), date(2027, 3, 1), date(2027, 3, 31))
    found = expand(rule, MADRID, Window(utc(2027, 3, 20), utc(2027, 4, 20)))
    assert found == [
        Window(utc(2027, 3, 22, 7), utc(2027, 3, 22, 17)),
        Window(utc(2027, 3, 29, 6), utc(2027, 3, 29, 16)),
    ]


def test_a_window_over_midnight_belongs_to_the_day_that_it_begins_on() -> None:
    rule = Weekly(frozenset({5}), time(22), time(6), date(2027, 3, 27), date(2027, 3, 27))
    found = expand(rule, MADRID, Window(utc(2027, 3, 28), utc(2027, 3, 29)))
    assert found == [Window(utc(2027, 3, 28), utc(2027, 3, 28, 4))]


def test_a_window_that_the_clock_skips_is_no_window() -> None:
    rule = Weekly(EVERY_DAY, time(2, 10), time(2, 50), date(2027, 3, 27), date(2027, 3, 29))
    starts = [item.start for item in expand(rule, MADRID, Window(utc(2027, 3, 1), utc(2027, 4, 20)))]
    assert starts == [utc(2027, 3, 27, 1, 10), utc(2027, 3, 29, 0, 10)]


@pytest.mark.parametrize("zone", [MADRID, SANTIAGO, LORD_HOWE])
def test_whole_days_every_day_leave_no_hole(zone: ZoneInfo) -> None:
    within = Window(utc(2027, 1, 10), utc(2028, 1, 10))
    assert expand(Weekly(EVERY_DAY, time(), time(), date(2026, 1, 1)), zone, within) == [within]


@given(
    zone=zones,
    chosen=st.frozensets(st.integers(0, 6), min_size=1),
    starts=readings,
    ends=readings,
    first=days | changes,
    length=st.integers(0, 40),
    offset=st.integers(-5, 40),
    hours=st.integers(1, 24 * 20),
)
@example(MADRID, EVERY_DAY, time(), time(), date(2027, 3, 28), 0, 0, 24)
def test_what_is_expanded_does_not_depend_on_where_one_looks(
    zone: ZoneInfo,
    chosen: frozenset[int],
    starts: time,
    ends: time,
    first: date,
    length: int,
    offset: int,
    hours: int,
) -> None:
    rule = Weekly(chosen, starts, ends, first, first + timedelta(days=length))
    everything = expand(rule, zone, Window(utc(2025, 1, 1), utc(2030, 1, 1)))
    start = datetime.combine(first, time(), UTC) + timedelta(days=offset)
    middle = start + timedelta(hours=hours)
    end = middle + timedelta(hours=hours)
    parts = merge(expand(rule, zone, Window(start, middle)) + expand(rule, zone, Window(middle, end)))
    assert parts == expand(rule, zone, Window(start, end))
    assert all(covers(everything, part) for part in parts)
    for window in everything:
        shown = window.start.astimezone(zone)
        assert rule.first_day <= shown.date() <= first + timedelta(days=length + 1)


def test_blocked_days_and_times_taken_back_win_over_what_is_shared() -> None:
    said = Said(
        once=[Window(utc(2027, 3, 6, 9), utc(2027, 3, 8, 9))],
        weekly=[Weekly(frozenset({0}), time(8), time(18), date(2027, 3, 1))],
        withheld=[Window(utc(2027, 3, 8, 10), utc(2027, 3, 8, 11))],
        blocked_days=[date(2027, 3, 7)],
    )
    always = Window(utc(2027, 1, 1), utc(2028, 1, 1))
    found = shared(said, [always], MADRID, Window(utc(2027, 3, 6), utc(2027, 3, 9)))
    assert found == [
        Window(utc(2027, 3, 6, 9), utc(2027, 3, 6, 23)),
        Window(utc(2027, 3, 7, 23), utc(2027, 3, 8, 10)),
        Window(utc(2027, 3, 8, 11), utc(2027, 3, 8, 17)),
    ]


def test_nobody_shares_what_is_not_his() -> None:
    said = Said(weekly=[Weekly(EVERY_DAY, time(), time(), date(2027, 1, 1))])
    own = [Window(utc(2027, 3, 6), utc(2027, 3, 7)), Window(utc(2027, 3, 9), utc(2027, 4, 7))]
    found = shared(said, own, MADRID, Window(utc(2027, 3, 1), utc(2027, 3, 20)))
    assert found == [own[0], Window(utc(2027, 3, 9), utc(2027, 3, 20))]
