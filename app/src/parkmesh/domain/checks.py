"""A check of a plate: whether it may be here at a moment, until when, and by what."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Literal

from msgspec import Struct

By = Literal["resident", "pass", "booking", "none"]
Reason = Literal["valid", "grace", "other_space", "revoked", "ended", "not_begun", "unknown"]

_NEVER = datetime.max.replace(tzinfo=UTC)


class Right(Struct, frozen=True):
    """What lets a plate be in the community, from ``since`` until just before ``until`` (None: always, for good).

    ``here``: it holds in the space that the check is about, or the check is about no space.
    """

    by: Literal["resident", "pass", "booking"]
    since: datetime | None
    until: datetime | None
    here: bool = True


class Answer(Struct, frozen=True):
    """``until`` is when the right ends or ended, None where it has no end or there is none. ``grace``: it has ended,
    and the car may stay on for a little while. ``by`` is ``none`` where no right ever was."""

    allowed: bool
    until: datetime | None
    by: By
    grace: bool
    reason: Reason


def check(rights: Iterable[Right], at: datetime, grace: timedelta, *, revoked: bool = False) -> Answer:
    """Return whether a plate with these rights may be there at a moment; ``revoked``: staff revoked the plate.

    The right that lasts longest decides. A right that ended less than ``grace`` ago still lets the car be where it was.
    """
    begun: list[Right] = []
    later = False
    for right in sorted(rights, key=lambda right: right.until or _NEVER, reverse=True):
        if right.since is None or right.since <= at:
            begun.append(right)
        else:
            later = True
    for right in begun:
        if right.here and (right.until is None or at < right.until):
            return Answer(True, right.until, right.by, False, "valid")
    for right in begun:
        if right.here and right.until and at < right.until + grace:
            return Answer(True, right.until, right.by, True, "grace")
    if revoked:
        return Answer(False, None, "none", False, "revoked")
    for right in begun:
        if right.until is None or at < right.until:
            return Answer(False, right.until, right.by, False, "other_space")
    if begun:
        return Answer(False, begun[0].until, begun[0].by, False, "ended")
    return Answer(False, None, "none", False, "not_begun" if later else "unknown")
