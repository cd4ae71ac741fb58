"""The days that a report is about."""

from dataclasses import dataclass
from datetime import date, datetime
from zoneinfo import ZoneInfo

from parkmesh.domain import days
from parkmesh.domain.windows import Window
from parkmesh.server.http.messages import Message
from parkmesh.server.http.problems import Problem

MAX_DAYS = 31


@dataclass(frozen=True, slots=True)
class Asked:
    """Days of a community, from ``first`` to ``last``, by the clock of ``zone``; ``now`` is the moment of asking."""

    community_id: int
    first: date
    last: date
    zone: ZoneInfo
    now: datetime

    @property
    def window(self) -> Window:
        """The whole time of these days."""
        return days.span(self.first, self.last, self.zone)

    def past(self, window: Window) -> Window | None:
        """Return the part of a window that is over; None where it has not begun."""
        return Window(window.start, min(window.end, self.now)) if window.start < self.now else None


def check(first: date, last: date) -> None:
    """Raise ``Problem`` 422 where the days are in the wrong order or too many."""
    if last < first:
        raise Problem(422, "The last day lies before the first.", kind="invalid")
    if (last - first).days >= MAX_DAYS:
        raise Problem(422, Message("A report is about at most %(limit)s days.", limit=MAX_DAYS), kind="invalid")
