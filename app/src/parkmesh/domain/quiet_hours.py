"""Quiet hours: the time of day in which a person isn't told of anything."""

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo


def end(now: datetime, zone: ZoneInfo, starts: time, ends: time) -> datetime | None:
    """Return the moment at which the quiet hours end that ``now`` lies in, None where it lies in none.

    They last from ``starts`` to ``ends`` by the zone's clock, over midnight where ``ends`` is earlier; two equal times
    are no quiet hours. Where the clock skips the end, they end when it has skipped it.
    """
    local = now.astimezone(zone)
    clock = local.time().replace(tzinfo=None)
    over_midnight = ends < starts
    quiet = clock >= starts or clock < ends if over_midnight else starts <= clock < ends
    if not quiet:
        return None
    day = local.date() + timedelta(days=1 if over_midnight and clock >= starts else 0)
    # The fold of now: in the hour that comes twice, the end that is still to come.
    at = datetime.combine(day, ends, zone).replace(fold=0).astimezone(UTC)
    if at <= now:
        at = datetime.combine(day, ends, zone).replace(fold=1).astimezone(UTC)
    return at
