"""Readings of the clock that are no moment, or two."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from parkmesh.domain import local_time

MADRID = ZoneInfo("Europe/Madrid")


@pytest.mark.parametrize(
    ("wall", "found"),
    [
        ("2026-10-25T01:59", ["2026-10-24T23:59"]),
        ("2026-10-25T02:30", ["2026-10-25T00:30", "2026-10-25T01:30"]),
        ("2026-10-25T03:00", ["2026-10-25T02:00"]),
        ("2027-03-28T01:59", ["2027-03-28T00:59"]),
        ("2027-03-28T02:00", []),
        ("2027-03-28T02:30", []),
        ("2027-03-28T03:00", ["2027-03-28T01:00"]),
    ],
)
def test_moments(wall: str, found: list[str]) -> None:
    moments = local_time.moments(datetime.fromisoformat(wall), MADRID)
    assert moments == [datetime.fromisoformat(text).replace(tzinfo=UTC) for text in found]


@pytest.mark.parametrize("wall", ["2027-03-28T02:00", "2027-03-28T02:30", "2027-03-28T02:59"])
def test_the_times_next_to_a_skipped_one(wall: str) -> None:
    before, after = local_time.beside_skipped(datetime.fromisoformat(wall), MADRID)
    assert [at.astimezone(MADRID).strftime("%H:%M") for at in (before, after)] == ["01:55", "03:00"]
