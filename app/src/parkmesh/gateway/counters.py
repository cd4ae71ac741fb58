"""A facility counter's part of the configuration: which loops and light barriers count the vehicles in and out."""

from collections.abc import Sequence
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from parkmesh.gateway import mapping as mappings
from parkmesh.gateway.mapping import MappingError, Path
from parkmesh.gateway.sensors import Topic, Words
from parkmesh.protocol.edge import Direction, Name


class Detector(Struct, frozen=True, forbid_unknown_fields=True):
    """A loop or a light barrier whose state comes from the MQTT broker: ``covered`` while a vehicle is there.

    ``field`` is where a message in JSON has the state, None where the message is the state. ``online`` is the topic on
    which the device, or the broker in its place (its last will), says ``online`` or ``offline`` (or true or false).
    """

    topic: Topic
    field: Path | None = None
    covered: Words = msgspec.field(default_factory=lambda: ["on", "true", "1"])
    clear: Words = msgspec.field(default_factory=lambda: ["off", "false", "0"])
    online: Topic | None = None


class Point(Struct, frozen=True, forbid_unknown_fields=True):
    """Where vehicles are counted: one ``detector`` in a lane with one ``direction``, or a pair of them, ``outside`` and
    ``inside``, of which a vehicle covers both at a time: what it covers first and last gives its direction."""

    detector: Detector | None = None
    direction: Direction | None = None
    outside: Detector | None = None
    inside: Detector | None = None

    @property
    def detectors(self) -> list[Detector]:
        return [one for one in (self.detector, self.outside, self.inside) if one is not None]


class Counter(Struct, frozen=True, forbid_unknown_fields=True):
    """A counter of the vehicles in a facility, or in a part of it with counted ways in and out."""

    name: Name
    points: Annotated[list[Point], Meta(min_length=1, max_length=32)]
    capacity: Annotated[int, Meta(ge=1, le=100_000)] | None = None
    """How many vehicles there is room for."""
    silence_s: Annotated[float, Meta(ge=60, le=30 * 86_400)] | None = None
    """Its own time after which it is silent; None: as sensors."""


def fault(counters: Sequence[Counter]) -> str | None:
    """Return what is wrong with the counters, or None."""
    for counter in counters:
        for place, point in enumerate(counter.points):
            wrong = _fault(point)
            if wrong:
                return f"counter {counter.name!r}: points[{place}]: {wrong}"
    return None


def _fault(point: Point) -> str | None:
    given = tuple(getattr(point, name) is not None for name in ("detector", "direction", "outside", "inside"))
    if given not in ((True, True, False, False), (False, False, True, True)):
        return "needs detector and direction, or outside and inside"
    if point.outside is not None and point.inside is not None:
        one, other = point.outside, point.inside
        if (one.topic, one.field) == (other.topic, other.field):
            return "outside and inside are the same detector"
    for detector in point.detectors:
        both = sorted({word.casefold() for word in detector.covered} & {word.casefold() for word in detector.clear})
        if both:
            return f"{both[0]!r} can't mean both covered and clear"
        try:
            each = detector.field is not None and None in mappings.steps(detector.field)
        except MappingError as error:
            return f"field: {error}"
        if each:
            return f"field: path {detector.field!r} has [*], which a state can't have"
    return None
