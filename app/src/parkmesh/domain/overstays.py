"""Overstays: a visitor's car that is still inside after its passes ended."""

from collections.abc import Iterable
from datetime import datetime, timedelta

from parkmesh.domain.windows import Window, merge


def overstayed_since(entered: datetime, passes: Iterable[Window], grace: timedelta, now: datetime) -> datetime | None:
    """Return when the passes of a car that is inside ended, if that was ``grace`` ago or longer; else None.

    Passes that follow one another without a gap count as one. A car that no pass let in doesn't overstay: its entry is
    another matter.
    """
    for window in merge(passes):
        if window.start <= entered < window.end:
            return window.end if now >= window.end + grace else None
    return None
