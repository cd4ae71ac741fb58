"""Stays: the time of one plate inside, from the movement that brought it in to the one that ended it.

A plate's stays follow from the set of its movements alone: in their one order (as for presence), each entry begins a
stay, and the next movement ends it. So the order in which gateways deliver their events makes no difference.
"""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Literal

from msgspec import Struct

LONGEST = timedelta(days=30)
"""A stay that nothing ended until then ends by itself: the exit was missed. Passages are kept no longer either."""

ClosedBy = Literal["exit", "missed_exit", "correction", "timeout"]


class Movement(Struct, frozen=True, order=True):
    """A plate came in or went out. Compared from the left: receive time, then gateway, epoch and seq.

    ``passage`` is the id of the passage, None for a correction (gateway 0, its id in ``seq``).
    """

    at: datetime
    gateway: int
    epoch: int
    seq: int
    inside: bool
    passage: int | None = None


class Stay(Struct, frozen=True):
    """``entered`` began it. ``left_at`` and ``closed_by`` are None while it is open; ``left_passage`` is the passage of
    its exit, where one was seen."""

    entered: Movement
    left_at: datetime | None = None
    left_passage: int | None = None
    closed_by: ClosedBy | None = None


def stays(movements: Iterable[Movement], now: datetime) -> list[Stay]:
    """Return the stays that a plate's movements make, oldest first; before the first movement it was outside.

    An entry of a car that is inside ends the stay before it (``missed_exit``), because the car must have left. A
    correction only says where the car is: one to inside changes nothing where the car is inside already. An exit of a
    car that is outside begins and ends nothing.
    """
    found: list[Stay] = []
    opened: Movement | None = None
    for movement in sorted(movements):
        if opened and movement.at >= opened.at + LONGEST:
            found.append(_timed_out(opened))
            opened = None
        correction = movement.passage is None
        if not movement.inside:
            if opened:
                found.append(Stay(opened, movement.at, movement.passage, "correction" if correction else "exit"))
            opened = None
        elif opened is None or not correction:
            if opened:
                found.append(Stay(opened, movement.at, None, "missed_exit"))
            opened = movement
    if opened:
        found.append(_timed_out(opened) if now >= opened.at + LONGEST else Stay(opened))
    return found


def _timed_out(entered: Movement) -> Stay:
    return Stay(entered, entered.at + LONGEST, None, "timeout")
