"""Days and hours by the clock of a community, with those that summer time makes longer or shorter."""

from datetime import date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from msgspec import Struct

from parkmesh.domain.sharing import day_window, moment
from parkmesh.domain.windows import Window

NIGHT = time(4)
"""A night counts for a car that is inside at this time: a car that leaves after midnight hasn't stayed the night."""


class Hour(Struct, frozen=True):
    """An hour of a day as the clock shows it. Where the clock goes back, two have the same ``day`` and ``hour`` and
    another ``utc_offset`` (``+02:00``); where it goes forward, one is missing."""

    day: date
    hour: int
    utc_offset: str
    window: Window


def days(first: date, last: date) -> list[date]:
    """Return the days from ``first`` to ``last``."""
    return [first + timedelta(days=number) for number in range((last - first).days + 1)]


def span(first: date, last: date, zone: ZoneInfo) -> Window:
    """Return the time from the beginning of the first day to the end of the last one."""
    return Window(moment(first, time(), zone), moment(last + timedelta(days=1), time(), zone))


def hours(first: date, last: date, zone: ZoneInfo) -> list[Hour]:
    """Return the hours of the days from ``first`` to ``last``: 23 to 25 of each."""
    found: list[Hour] = []
    for day in days(first, last):
        window = day_window(day, zone)
        at = window.start if window else None
        while window and at and at < window.end:
            shown = at.astimezone(zone)
            past = timedelta(minutes=shown.minute, seconds=shown.second)
            end = min(at + timedelta(hours=1) - past, window.end)
            found.append(Hour(day, shown.hour, shown.isoformat()[-6:], Window(at, end)))
            at = end
    return found


def nights(since: datetime, until: datetime, first: date, last: date, zone: ZoneInfo) -> int:
    """Return how many nights a car spent that was inside from ``since`` until just before ``until``.

    A night belongs to the day on which it ends; only days from ``first`` to ``last`` are looked at.
    """
    return sum(since <= moment(day, NIGHT, zone) < until for day in days(first, last))
