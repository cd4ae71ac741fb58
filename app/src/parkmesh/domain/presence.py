"""Presence: which plates are inside, by the last word on each plate.

Gateways deliver events late, twice and out of step with each other, and people correct missed passages. So presence
isn't counted up and down: each movement and correction has a place in one order, and the greatest wins. Servers and
gateways that heard the same words come to the same presence, in whatever order they heard them.
"""

from msgspec import Struct


class Sighting(Struct, frozen=True, order=True):
    """Where a plate was at a moment. Compared from the left: gateway receive time (ms), then gateway, epoch and seq.

    ``gateway`` 0 is a correction, whose id is in ``seq``.
    """

    at: int
    gateway: int
    epoch: int
    seq: int
    inside: bool


def latest(known: Sighting | None, heard: Sighting) -> Sighting:
    """Return the later of two words on a plate, which is the one that holds."""
    return heard if known is None or known < heard else known
