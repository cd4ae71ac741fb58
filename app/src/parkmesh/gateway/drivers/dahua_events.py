"""Dahua's traffic events, as its cameras tell them on the event stream: what ``dahua_stream`` cuts out of it.

A car is a group of pictures (``GroupID``). ``UTC`` is the local time written as if it were UTC; ``RealUTC``, which
newer firmware has beside it, is right. ``Object.Text`` is a plate only of an object that is one, else the car's brand.

Sources: YutthapoomSa/dahua-api, text.js (an event's data); madcat1991/safewheels-dahua, README.md.
"""

from parkmesh.gateway.drivers import camera_values
from parkmesh.gateway.drivers.camera_json import at, document, extract
from parkmesh.gateway.drivers.dahua_itsapi import confidence
from parkmesh.gateway.drivers.types import PlateRead, PoisonError

__all__ = ["extract", "parse"]

_PLATES = frozenset({"TrafficJunction"})


def parse(message: bytes) -> PlateRead:
    """Read one message. Raises PoisonError."""
    found = document(message)
    code = camera_values.text(at(found, "Code"))
    if code is None:
        raise PoisonError("the JSON has no Code")
    data = at(found, "Data")
    if code not in _PLATES or not isinstance(data, dict):
        return PlateRead(event_id=camera_values.digest(message), anpr=False)
    thing = at(data, "Object")
    of_thing = camera_values.text(at(thing, "Text")) if at(thing, "ObjectType") == "Plate" else None
    group = at(data, "GroupID")
    return PlateRead(
        event_id=camera_values.digest(message),
        anpr=True,
        plate=of_thing or camera_values.text(at(data, "TrafficCar", "PlateNumber")),
        confidence=confidence(at(thing, "Confidence")) if of_thing else None,
        at=_moment(data),
        direction=_direction(data),
        active=at(found, "Action") != "Stop",
        car_id=str(group) if isinstance(group, int) and group > 0 else None,
        channel=camera_values.text(at(found, "Index")),
    )


def _moment(data: object) -> int | None:
    seconds = camera_values.number(at(data, "RealUTC")) or camera_values.number(at(data, "UTC"))
    if not seconds:
        return None
    millis = camera_values.number(at(data, "UTCMS")) or 0
    return camera_values.epoch_ms(seconds * 1000 + (millis if 0 <= millis < 1000 else 0), 1000)


def _direction(data: object) -> str | None:
    driven = at(data, "TrafficCar", "DrivingDirection")
    first = camera_values.text(driven[0]) if isinstance(driven, list) and driven else None
    return first or camera_values.text(at(data, "JunctionDirection"))
