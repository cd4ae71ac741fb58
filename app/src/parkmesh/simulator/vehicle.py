"""A vehicle that passes a counter's loops or light barriers: what their device publishes to the broker."""

import msgspec

from parkmesh.gateway import mapping
from parkmesh.gateway.counters import Counter, Detector
from parkmesh.protocol.edge import Direction


def passing(counter: Counter, direction: Direction) -> list[tuple[str, bytes]]:
    """Return the topics and messages of a vehicle that goes in or out at the first point that tells this direction.

    Raises ValueError where none does.
    """
    for point in counter.points:
        if point.detector is not None and point.direction == direction:
            return [_state(point.detector, True), _state(point.detector, False)]
        if point.outside is not None and point.inside is not None:
            first, last = point.outside, point.inside
            if direction == "exit":
                first, last = last, first
            return [_state(first, True), _state(last, True), _state(first, False), _state(last, False)]
    raise ValueError(f"counter {counter.name} counts no {direction}")


def _state(detector: Detector, covered: bool) -> tuple[str, bytes]:
    word = (detector.covered if covered else detector.clear)[0]
    if detector.field is None:
        return detector.topic, word.encode()
    message: object = covered if "true" in detector.covered and "false" in detector.clear else word
    for step in reversed(mapping.steps(detector.field)):
        message = {step: message} if isinstance(step, str) else [message]
    return detector.topic, msgspec.json.encode(message)
