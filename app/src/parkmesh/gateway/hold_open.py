"""When a barrier is to stay open: times of the week by the clock of the place."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from msgspec import Meta, Struct

Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
Clock = Annotated[str, Meta(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$|^24:00$")]

DAYS: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class HoldOpenError(Exception):
    """Times can't be used; the text says what is wrong with them."""


class HoldOpen(Struct, frozen=True, forbid_unknown_fields=True):
    """``since`` to ``until`` on each of ``days``; where ``until`` isn't later, it is on the next day."""

    zone: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_+/-]{1,64}$")]
    since: Clock = msgspec.field(name="from")
    until: Clock
    days: Annotated[list[Day], Meta(min_length=1, max_length=7)] = msgspec.field(default_factory=lambda: list(DAYS))


def check(times: HoldOpen) -> None:
    """Raise HoldOpenError for times that can't be used."""
    try:
        ZoneInfo(times.zone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise HoldOpenError(f"there is no time zone {times.zone!r}") from None
    if times.since == times.until or times.since == "24:00":
        raise HoldOpenError(f"{times.since} to {times.until} is no time")


def due(all_times: Sequence[HoldOpen], at_ms: int) -> bool:
    """Tell whether a barrier is to stay open at a moment, in ms since 1970."""
    return any(_due(times, at_ms) for times in all_times)


def _due(times: HoldOpen, at_ms: int) -> bool:
    moment = datetime.fromtimestamp(at_ms / 1000, ZoneInfo(times.zone))
    clock = moment.strftime("%H:%M")
    today, before = DAYS[moment.weekday()], DAYS[(moment - timedelta(days=1)).weekday()]
    if times.since < times.until:
        return today in times.days and times.since <= clock < times.until
    return (today in times.days and clock >= times.since) or (before in times.days and clock < times.until)
