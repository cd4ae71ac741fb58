"""The state of a booking or a visitor pass at a moment, as people name it."""

from datetime import datetime
from typing import Literal

State = Literal["upcoming", "open", "over", "cancelled"]
STATES: tuple[State, ...] = ("open", "upcoming", "over", "cancelled")


def state_of(status: str, begins: datetime, ends: datetime, now: datetime) -> State:
    """Return the state of what is ``active`` or ``cancelled`` from ``begins`` until before ``ends``."""
    if status == "cancelled":
        return "cancelled"
    if ends <= now:
        return "over"
    return "upcoming" if now < begins else "open"


def in_state(row: str, asked: int) -> str:
    """Return a condition: the ``row`` has the state that is the argument ``asked`` (None: any) at the one after it."""
    return f"""(${asked}::text IS NULL OR ${asked} = CASE
        WHEN {row}.status = 'cancelled' THEN 'cancelled' WHEN {row}.ends_at <= ${asked + 1}::timestamptz THEN 'over'
        WHEN {row}.starts_at > ${asked + 1} THEN 'upcoming' ELSE 'open' END)"""
