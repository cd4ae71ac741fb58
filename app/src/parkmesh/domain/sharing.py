"""When a unit shares its space: from what people say (every Monday from eight to six, not on Christmas Eve) to windows.

People speak of the clock on the wall. It skips and repeats readings when summer time begins and ends, so one rule
decides everywhere: a reading of the clock means **the first moment at which the clock shows it or a later one**. A
reading that is skipped means the moment of the change; one that comes twice means its first time. Readings in order
are moments in order, and the end of a day is the start of the next.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from msgspec import Struct

from parkmesh.domain.windows import Window, intersect, merge, subtract

_DAY = timedelta(days=1)


class Weekly(Struct, frozen=True):
    """Every week: begins on the given days (0 is Monday) at ``starts``, from ``first_day`` to ``last_day`` (None: on).

    Where ``ends`` is not later than ``starts`` it is meant on the next day; two equal readings make a whole day.
    """

    days: frozenset[int]
    starts: time
    ends: time
    first_day: date
    last_day: date | None = None


def moment(day: date, reading: time, zone: ZoneInfo) -> datetime:
    """Return the first moment, in UTC, at which the clock of ``zone`` shows ``reading`` of ``day`` or a later one."""
    wall = datetime.combine(day, reading)
    late = wall.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if late.astimezone(zone).replace(tzinfo=None) == wall:
        return late
    # The clock skips the reading. Taken by the offset before the change it lies after the change, by the one after it
    # lies before: the change is between the two.
    early = wall.replace(tzinfo=zone, fold=1).astimezone(UTC)
    low, high = 0, round((late - early).total_seconds())
    while high - low > 1:
        middle = (low + high) // 2
        shown = (early + timedelta(seconds=middle)).astimezone(zone).replace(tzinfo=None)
        low, high = (low, middle) if shown >= wall else (middle, high)
    return early + timedelta(seconds=high)


def day_window(day: date, zone: ZoneInfo) -> Window | None:
    """Return a day by the clock of ``zone``: 23 to 25 hours, None for a day that the zone's calendar skipped."""
    start, end = moment(day, time(), zone), moment(day + _DAY, time(), zone)
    return Window(start, end) if start < end else None


def expand(weekly: Weekly, zone: ZoneInfo, within: Window) -> list[Window]:
    """Return the windows of a weekly rule as far as they lie within ``within``."""
    # A window may begin on the day before, and a zone's date is up to a day off UTC's.
    day = max(weekly.first_day, within.start.astimezone(zone).date() - _DAY)
    last = min(weekly.last_day or date.max - _DAY, within.end.astimezone(zone).date())
    found: list[Window] = []
    while day <= last:
        if day.weekday() in weekly.days:
            start = moment(day, weekly.starts, zone)
            end = moment(day + _DAY if weekly.ends <= weekly.starts else day, weekly.ends, zone)
            if start < end:
                found.append(Window(start, end))
        day += _DAY
    return intersect(found, [within])


class Said(Struct, frozen=True):
    """All that one unit said about sharing one space. ``withheld`` are times that it took back."""

    once: Sequence[Window] = ()
    weekly: Sequence[Weekly] = ()
    withheld: Sequence[Window] = ()
    blocked_days: Sequence[date] = ()


def shared(said: Said, assigned: Iterable[Window], zone: ZoneInfo, within: Window) -> list[Window]:
    """Return when the space is shared: in ``within``, while it is the unit's own, less what is blocked or withheld."""
    offered = merge([*said.once, *(window for rule in said.weekly for window in expand(rule, zone, within))])
    blocked = [window for day in said.blocked_days if (window := day_window(day, zone))]
    left = subtract(offered, [*said.withheld, *blocked])
    return intersect(intersect(left, assigned), [within])
