"""Which reads at a free exit are of one car, so that it gets one pulse and its passage the right plate.

Where exit is free, a read that fits no credential opens, too. A misread of a resident would then leave as a stranger,
and the barrier would get a second pulse for the resident, which may stop or close it. So a car that may only leave
because exit is free waits for a better read. It is compared with the cars that were let out a moment ago, with those
that wait, and with those that stand at the entry of the same gate: a camera inside may read their backs.

A doubt costs a car a moment here, never a second pulse: it is let out by its next read after the same-plate window.
"""

from collections.abc import Iterable

from msgspec import Struct

from parkmesh.domain.passages import BEHIND_MS, Seen

LEAST_WAIT_MS = 2_000
"""So long a car waits for a better read at least, also where refusals are recorded at once (ms)."""


class Leaving(Struct, frozen=True):
    """A read at an exit. ``vehicle`` is the plate of the credential that the list named for it (``plate`` where it
    named none), ``car`` the number that its camera gave the car. ``sure``: the list has exactly this plate, or lets it
    pass; another read may be a misread."""

    plate: str | None
    vehicle: str | None
    credential_id: str | None
    car: str | None
    sure: bool

    def is_of(self, seen: Seen) -> bool:
        """Tell whether it is another read of a vehicle. Two plates that the list has are two vehicles, however alike
        they are."""
        if self.car is not None and self.car == seen.car:
            return True
        if self.plate == seen.plate or (self.credential_id is not None and self.credential_id == seen.credential_id):
            return True
        if not self.sure:
            return seen.plate is None or seen.misread(self.plate)
        return seen.credential_id is None and (seen.plate is None or seen.misread(self.plate))

    def names(self, seen: Seen) -> bool:
        """Tell whether it tells whose a vehicle is that was let out under another plate, as nobody's."""
        return self.credential_id is not None and seen.credential_id is None and seen.plate != self.vehicle


def let_out(passed: Iterable[Seen], gate: str, read: Leaving, at: int, window_ms: int) -> Seen | None:
    """Return the passage of the vehicle that was let out of a gate a moment ago and is read again, None if none was.

    Where the barrier surely failed, the next read tries again. A vehicle without a readable plate holds up the car that
    follows it for a short time only.
    """
    for seen in reversed(list(passed)):
        if (seen.gate, seen.direction, seen.outcome) != (gate, "exit", "granted") or not read.is_of(seen):
            continue
        window = BEHIND_MS if read.sure and seen.plate is None else window_ms
        tried_again = read.plate == seen.plate or seen.credential_id is None
        if abs(at - seen.at) <= window and (seen.opened or seen.unsure or not tried_again):
            return seen
    return None


def stands_outside(seen: Iterable[Seen], gate: str, read: Leaving, at: int, window_ms: int) -> bool:
    """Tell whether a read is the back of a car at the entry of the same gate: one that waits there, was refused, or
    came in a moment ago. ``seen`` are the passages at the gate and those that wait for a decision."""
    for other in seen:
        if (other.gate, other.direction) != (gate, "entry") or not read.is_of(other):
            continue
        nobody_knows = read.plate is None or other.plate is None
        short = other.outcome == "granted" or nobody_knows
        if abs(at - other.at) <= (BEHIND_MS if short else window_ms):
            return True
    return False
