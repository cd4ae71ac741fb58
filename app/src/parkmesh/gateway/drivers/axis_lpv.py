"""Axis License Plate Verifier, which runs on the camera: multipart with ``event`` (JSON) and ``image``.

The camera follows a car and numbers it (``carID``): a first read (``carState`` new), better ones (update), and, seconds
after the last, that the car is gone (lost), which is no read. Numbers are written as text.

Sources: developer.axis.com/vapix/applications/license-plate-verifier-api; parkpow/deep-license-plate-recognition,
parkpow/axis-lpr/assets/event.json.
"""

from parkmesh.gateway.drivers import camera_values
from parkmesh.gateway.drivers.camera_json import at, document, extract
from parkmesh.gateway.drivers.types import PlateRead, PoisonError

__all__ = ["extract", "parse"]


def parse(message: bytes) -> PlateRead:
    """Read one event. Raises PoisonError."""
    found = document(message)
    names = ("plateUTF8", "plateUnicode", "plateText", "plateASCII")
    if not isinstance(found, dict) or not any(name in found for name in (*names, "carState")):
        raise PoisonError("the JSON has neither plateUTF8 nor carState")
    plate = next((written for name in names if (written := camera_values.text(found.get(name)))), None)
    car, state = camera_values.text(found.get("carID")), (camera_values.text(found.get("carState")) or "").lower()
    serial = camera_values.text(at(found, "camera_info", "SerialNumber"))
    captured, packet = (
        camera_values.text(found.get("capture_timestamp")),
        camera_values.text(found.get("packetCounter")),
    )
    named = car or packet or captured
    return PlateRead(
        event_id=camera_values.digest(serial, car, state, packet, captured, plate if named else message),
        anpr=state != "lost",
        plate=plate,
        confidence=camera_values.share(found.get("plateConfidence")),
        at=camera_values.epoch_ms(captured, 1000),
        direction=camera_values.text(found.get("carMoveDirection")),
        car_id=car[:100] if car else None,
        channel=serial,
    )
