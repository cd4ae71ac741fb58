"""Several reads of one vehicle are one passage.

A camera reads a waiting car several times, and not always right: ``3738MKWV``, ``3738WV``, ``3738MWV``, ``3738WW``
within a minute are one car. So a read is compared with all reads of a passage, and with the number that the camera
itself gives a car, where it gives one.

``Recent`` remembers what stood at each gate within the same-plate window and says whether a new read belongs to it. The
window begins with the passage and is not prolonged by reads: a car that stays longer makes a new passage. A read that
opens, and a refusal by name (revoked, expired), only ever merge with their own plate: two neighbours' cars with similar
plates stay two passages.
"""

from typing import Literal

from msgspec import Struct

from parkmesh.domain.access import Decision, Reason

MAX_EDITS = 2
_MOST_READS = 16
BEHIND_MS = 10_000
"""So long after its passage a car can be read from behind, by the camera of the other direction (ms)."""
_MIN_SIMILAR_LENGTH = 5

UNMATCHED = frozenset({Reason.NO_PLATE, Reason.UNKNOWN_PLATE, Reason.AMBIGUOUS, Reason.UNSURE})
"""Refusals that may be a misread: no credential was named."""


def edits(a: str, b: str) -> int:
    """Return the Levenshtein distance of two plates: characters inserted, dropped or replaced."""
    row = list(range(len(b) + 1))
    for i, left in enumerate(a, 1):
        diagonal, row[0] = row[0], i
        for j, right in enumerate(b, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (left != right))
    return row[-1]


def similar(a: str, b: str) -> bool:
    """Tell whether two reads may be one plate, misread: few edits, on plates long enough for that to mean something."""
    return a == b or (max(len(a), len(b)) >= _MIN_SIMILAR_LENGTH and edits(a, b) <= MAX_EDITS)


class Seen(Struct):
    """One passage that was recorded at ``at`` (ms); ``opened`` tells whether the barrier confirmed.

    Until ``open_until`` (ms) the relay's pulse lasts. ``unsure``: the barrier may have opened and didn't confirm.
    ``also`` are the other reads of the vehicle, ``car`` is the number that its camera gave it. ``by_code``: a visitor's
    code opened, so that its plate, if none was read before, is the next one that is on no list.
    """

    gate: str
    direction: str
    plate: str | None
    credential_id: str | None
    outcome: Literal["granted", "denied"]
    opened: bool
    at: int
    open_until: int = 0
    unsure: bool = False
    also: list[str] = []
    car: str | None = None
    by_code: bool = False

    def join(self, plate: str | None) -> None:
        """Take another read of the vehicle into account."""
        if plate is not None and plate != self.plate and plate not in self.also and len(self.also) < _MOST_READS:
            self.also.append(plate)

    def misread(self, plate: str | None) -> bool:
        """Tell whether a read that fits no credential is another read of this vehicle.

        A vehicle without a readable plate, a moment after one at the same gate, counts as the same one.
        """
        if self.by_code and self.plate is None and not self.also:
            return True
        return plate is None or any(similar(read, plate) for read in (self.plate, *self.also) if read is not None)


class Recent:
    """The passages of the last ``window_ms`` at every gate; plain data in ``seen``, so that it can be stored."""

    def __init__(self, window_ms: int, seen: list[Seen] | None = None) -> None:
        self.window_ms = window_ms
        self.seen = seen or []

    def same(
        self, gate: str, direction: str, plate: str | None, decision: Decision, at: int, car: str | None = None
    ) -> Seen | None:
        """Return the recorded passage that a read at ``at`` (ms) belongs to, or None if it is a new one.

        A granted read whose barrier surely failed to open is never 'the same': the next read must try again.
        """
        self.seen = [passage for passage in self.seen if abs(at - passage.at) <= self.window_ms]
        for passage in reversed(self.seen):
            if (passage.gate, passage.direction) != (gate, direction):
                continue
            told = car is not None and passage.car == car
            if decision.granted:
                same_car = told or passage.plate == plate or passage.credential_id == decision.credential_id
                if passage.outcome == "granted" and (passage.opened or passage.unsure) and same_car:
                    return passage
            elif decision.reason in UNMATCHED:
                if told or passage.misread(plate):
                    return passage
            elif passage.outcome == "denied" and passage.plate == plate:
                return passage
        return None

    def seen_from_behind(self, gate: str, direction: str, plate: str | None, decision: Decision, at: int) -> bool:
        """Tell whether a read is the back of a car that was let through this gate a moment ago the other way."""
        other = "exit" if direction == "entry" else "entry"
        same = self.same(gate, other, plate, decision, at)
        if same is None and plate is not None:  # refused by name, and let out because exit is free
            let_through = (p for p in self.seen if (p.gate, p.direction, p.plate) == (gate, other, plate) and p.opened)
            same = max(let_through, key=lambda passage: passage.at, default=None)
        return same is not None and same.opened and at - same.at <= BEHIND_MS

    def add(self, passage: Seen) -> None:
        self.seen.append(passage)
