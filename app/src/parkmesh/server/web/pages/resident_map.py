"""What residents see of the community's spaces: where they are, and which shared and visitors' spaces are free.

The state of a space that is assigned to others says who is at home: ``spaces.all_of`` leaves it out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

from parkmesh.server.spaces.spaces import Level, Space
from parkmesh.server.web.pages import drawing


@dataclass(frozen=True)
class LevelSeen:
    """A level's drawing; ``private`` names the spaces that are drawn without a state."""

    plan: drawing.Plan
    private: frozenset[str]


def seen(levels: Sequence[Level], found: Sequence[Space]) -> list[LevelSeen]:
    """Return the levels that have spaces, lowest first; ``found`` are all spaces as the resident sees them."""
    private = frozenset(space.name for space in found if space.category == "assigned" and not space.unit)
    order = {level.name: number for number, level in enumerate(levels)}
    shown = sorted(found, key=lambda space: (order.get(space.level, len(order)), space.level, space.name))
    by_name = {level.name: level for level in levels}
    return [
        LevelSeen(drawing.plan(by_name.get(name), name, list(group)), private)
        for name, group in groupby(shown, key=lambda space: space.level)
    ]
