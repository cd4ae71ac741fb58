"""Readings of the clock on the wall that are no moment, or two: the clock skips an hour in spring and repeats one in
autumn.

Rules that recur take the first moment at which the clock shows a reading or a later one (``domain.sharing.moment``). A
single time that a person enters isn't guessed: they are told, or asked.
"""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from parkmesh.domain import sharing

STEP = timedelta(minutes=5)
"""How far before a change the time lies that is offered instead of a skipped one."""


def moments(wall: datetime, zone: ZoneInfo) -> list[datetime]:
    """Return the moments, in UTC, at which the clock of ``zone`` shows ``wall`` (without offset): none where it skips
    it, two where it shows it twice."""
    both = {wall.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1)}
    return sorted(at for at in both if at.astimezone(zone).replace(tzinfo=None) == wall)


def beside_skipped(wall: datetime, zone: ZoneInfo) -> tuple[datetime, datetime]:
    """Return the moments, in UTC, next to a reading that the clock skips: the last ``STEP`` before it, and the
    change."""
    change = sharing.moment(wall.date(), wall.time(), zone)
    return change - STEP, change
