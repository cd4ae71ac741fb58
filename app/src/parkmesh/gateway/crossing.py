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
    """Two detectors behind one another, nearer than a car is long."""

    def __init__(self) -> None:
        self._covered: set[Side] = set()
        self._first: Side | None = None
        self._both = False

    def saw(self, side: Side, covered: bool) -> Direction | None:
        """Take a state of one detector; return the direction of a vehicle that has passed now."""
        before = set(self._covered)
        (self._covered.add if covered else self._covered.discard)(side)
        if not before and self._covered:
            self._first, self._both = side, False
        self._both = self._both or len(self._covered) == 2
        if not before or self._covered:
            return None
        # Who was seen by one of them only, or last by the one that was first, hasn't passed.
        first, last = self._first, side
        self._first = None
        if not self._both or first == last:
            return None
        return "entry" if first == "outside" else "exit"
