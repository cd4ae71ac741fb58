"""When a vehicle has passed a counting point, by what its loops or light barriers say: pure.

A detector alone counts each vehicle when it has left it; the lane has one direction. A pair gives the direction: what a
vehicle covers first, and what it covers last. One that turns back leaves by the side that it came from and isn't
counted.
"""

from typing import Literal

from parkmesh.protocol.edge import Direction

Side = Literal["outside", "inside"]


class Lane:
    """One detector in a lane with one direction."""

    def __init__(self, direction: Direction) -> None:
        self._direction = direction
        self._covered = False

    def saw(self, covered: bool) -> Direction | None:
        """Take a state of the detector; return the direction of a vehicle that has passed now."""
        left = self._covered and not covered
        self._covered = covered
        return self._direction if left else None


class Pair:
    """Two detectors behind one another, nearer than a car is long: one of them is always covered while it passes."""

    def __init__(self) -> None:
        self._covered: set[Side] = set()
        self._first: Side | None = None

    def saw(self, side: Side, covered: bool) -> Direction | None:
        """Take a state of one detector; return the direction of a vehicle that has passed now."""
        before = set(self._covered)
        (self._covered.add if covered else self._covered.discard)(side)
        if not before:
            self._first = side if self._covered else None
            return None
        # The side that was left last is the one by which it went: who turned back, or was seen by one detector only,
        # left by the side that it came from.
        if self._covered or self._first == side:
            return None
        return "entry" if self._first == "outside" else "exit"
