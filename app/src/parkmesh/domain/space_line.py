"""Whose turn it is when a space becomes free for good: whoever has waited longest of those whom it fits."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Waits:
    """One who waits for a space of their own. ``level`` None: of any level; ``permitted``: they may have an accessible
    space."""

    id: int
    ev: bool
    accessible: bool
    level: str | None
    permitted: bool


@dataclass(frozen=True, slots=True)
class Bay:
    """What is known of a space that is to be given away."""

    level: str
    ev: bool
    accessible: bool


def fits(waits: Waits, bay: Bay) -> bool:
    """Tell whether a space is one that somebody waits for. Accessible ones are for those who asked for one."""
    return (
        (bay.ev or not waits.ev)
        and bay.accessible == waits.accessible
        and (waits.permitted or not bay.accessible)
        and waits.level in (None, bay.level)
    )


def line(queue: Sequence[Waits], bay: Bay, declined: Collection[int] = ()) -> list[Waits]:
    """Return those whom a space fits, in the order of ``queue``, without those who declined it."""
    return [waits for waits in queue if waits.id not in declined and fits(waits, bay)]


def passed_over(queue: Sequence[Waits], bay: Bay, chosen: int) -> list[Waits]:
    """Return who is passed over when ``chosen`` gets a space: those whom it fits and who have waited longer."""
    before: list[Waits] = []
    for waits in queue:
        if waits.id == chosen:
            return before
        if fits(waits, bay):
            before.append(waits)
    raise ValueError(f"{chosen} doesn't wait")
