"""Milesight's LPR cameras: their HTTP notification, JSON with pictures in base64.

The same address gets counts and violations, which have no ``plate``. Times are local, without an offset.

Source: support.milesight.com, articles 69000797725 and 69000880498.
"""

from parkmesh.gateway.drivers import camera_values
from parkmesh.gateway.drivers.camera_json import at, document, extract
from parkmesh.gateway.drivers.types import PlateRead, PoisonError

__all__ = ["extract", "parse"]


def parse(message: bytes) -> PlateRead:
    """Read one message. Raises PoisonError."""
    found = document(message)
    if not isinstance(found, dict):
        raise PoisonError("the JSON isn't an object")
    if "plate" not in found and "event" not in found:
        raise PoisonError("the JSON has neither plate nor event")
    plate, device = camera_values.text(at(found, "plate")), camera_values.text(at(found, "device"))
    moment = camera_values.text(at(found, "time_msec")) or camera_values.text(at(found, "time"))
    return PlateRead(
        event_id=camera_values.digest(device, moment, plate) if moment else camera_values.digest(message),
        anpr="plate" in found,
        plate=plate,
        confidence=camera_values.percent_or_share(at(found, "confidence")),
        at=camera_values.iso_ms(moment),
        direction=camera_values.text(at(found, "direction")),
        channel=device,
    )
