"""Quiet hours by a community's clock, over midnight and over its changes."""

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parkmesh.domain import quiet_hours

MADRID = ZoneInfo("Europe/Madrid")


def at(text: str) -> datetime:
    return datetime.fromisoformat(text)


@pytest.mark.parametrize(
    ("now", "starts", "ends", "end"),
    [
        ("2026-11-29T21:59:00+01:00", 22, 7, None),
        ("2026-11-29T22:00:00+01:00", 22, 7, "2026-11-30T07:00:00+01:00"),
        ("2026-11-30T06:59:59+01:00", 22, 7, "2026-11-30T07:00:00+01:00"),
        ("2026-11-30T07:00:00+01:00", 22, 7, None),
        ("2026-11-30T13:00:00+01:00", 12, 14, "2026-11-30T14:00:00+01:00"),
        ("2026-11-30T13:00:00+01:00", 9, 9, None),
        # The clock goes from 3 back to 2, and from 2 on to 3.
        ("2026-10-25T01:30:00+02:00", 22, 7, "2026-10-25T07:00:00+01:00"),
        ("2027-03-28T01:30:00+01:00", 22, 7, "2027-03-28T07:00:00+02:00"),
    ],
)
def test_they_end(now: str, starts: int, ends: int, end: str | None) -> None:
    found = quiet_hours.end(at(now), MADRID, time(starts), time(ends))
    assert found == (at(end) if end else None)


@given(
    st.datetimes(datetime(2026, 1, 1), datetime(2027, 12, 31), timezones=st.just(UTC)),
    st.times().map(lambda t: t.replace(second=0, microsecond=0)),
    st.times().map(lambda t: t.replace(second=0, microsecond=0)),
)
def test_their_end_is_soon_and_outside_of_them(now: datetime, starts: time, ends: time) -> None:
    found = quiet_hours.end(now, MADRID, starts, ends)
    if found is not None:
        assert now < found <= now + timedelta(hours=25)
        # Where the clock goes back at their end, they may begin again.
        again = quiet_hours.end(found, MADRID, starts, ends)
        assert again is None or again > found
