"""Plate Recognizer Stream, a program that reads plates in the pictures of plain cameras: its webhook.

It posts JSON, or multipart with the field ``json`` and the picture ``upload``. One post has the plates of one picture:
several cars, or one car twice. One Stream can serve several cameras; ``camera_id`` names them.

Sources: guides.platerecognizer.com/docs/stream/results; gist danleyb2/6d2220c1eae6d9b57a9d246df873dcb7.
"""

import msgspec

from parkmesh.gateway.drivers import camera_values
from parkmesh.gateway.drivers.camera_json import at, document, extract
from parkmesh.gateway.drivers.types import PlateRead, PoisonError

__all__ = ["extract", "parse", "split"]


def split(message: bytes) -> list[bytes]:
    """Return a message for each plate of a picture, the one that was detected most surely first."""
    found = document(message)
    results = at(found, "data", "results")
    if not isinstance(results, list) or not all(isinstance(result, dict) for result in results):
        raise PoisonError("the JSON has no list data.results")
    surest = sorted(results, key=lambda result: -(camera_values.number(result.get("dscore")) or 0))
    return [msgspec.json.encode({**found, "data": {**found["data"], "results": [result]}}) for result in surest]


def parse(message: bytes) -> PlateRead:
    """Read a message with one plate. Raises PoisonError."""
    data = at(document(message), "data")
    results = at(data, "results")
    if not isinstance(results, list) or len(results) != 1 or not isinstance(results[0], dict):
        raise PoisonError("the JSON has no list data.results")
    result = results[0]
    plate, filename = camera_values.text(result.get("plate")), camera_values.text(at(data, "filename"))
    moment = camera_values.text(at(data, "timestamp")) or camera_values.text(at(data, "timestamp_local"))
    channel = camera_values.text(at(data, "camera_id"))
    return PlateRead(
        # A picture's name and the plate: the same post again has both.
        event_id=camera_values.digest(channel, filename, moment, plate),
        anpr=True,
        plate=plate,
        confidence=camera_values.share(result.get("score")),
        at=camera_values.iso_ms(moment),
        direction=camera_values.text(result.get("direction")),
        channel=channel,
    )
