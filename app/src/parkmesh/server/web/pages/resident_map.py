"""What residents see of the community's spaces: where they are, and which shared and visitors' spaces are free.

The state of a space that is assigned to others says who is at home. It is taken out here, before anything is drawn.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import groupby

import msgspec

from parkmesh.server.spaces.spaces import Level, Space
from parkmesh.server.web.pages import drawing


@dataclass(frozen=True)
class LevelSeen:
    """A level's drawing; ``private`` names the spaces that are drawn without a state."""

    plan: drawing.Plan
    private: frozenset[str]


def seen(levels: Sequence[Level], found: Sequence[Space], own: Collection[str]) -> list[LevelSeen]:
    """Return the levels that have spaces, lowest first; ``own`` names the spaces of the resident's unit."""
    private = frozenset(space.name for space in found if space.category == "assigned" and space.name not in own)
    shown = [_without_state(space) if space.name in private else space for space in found]
    order = {level.name: number for number, level in enumerate(levels)}
    shown.sort(key=lambda space: (order.get(space.level, len(order)), space.level, space.name))
    by_name = {level.name: level for level in levels}
    return [
        LevelSeen(drawing.plan(by_name.get(name), name, list(group)), private)
        for name, group in groupby(shown, key=lambda space: space.level)
    ]


def _without_state(space: Space) -> Space:
    return msgspec.structs.replace(space, status="unknown", since=None, reported_at=None)
