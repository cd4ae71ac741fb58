"""Dahua's ITSAPI push (V1.19), which cameras of Intelbras and CP Plus speak, too: JSON with pictures in base64.

A car gives about three posts without a common id. Times are local, without an offset. The camera sends again unless the
answer says that it worked. Beside plates come ``KeepAlive`` (``Active``) and ``DeviceInfo`` (``DeviceModel``).

Sources: madcat1991/safewheels-dahua, README.md and app/core/anpr.py; hrlucas/hr-intelbras-lpr-webhook, docs/LPR.md.
"""

from parkmesh.gateway.drivers import camera_values
from parkmesh.gateway.drivers.camera_json import at, document, extract
from parkmesh.gateway.drivers.types import PlateRead, PoisonError

__all__ = ["ANSWER", "PATHS", "confidence", "extract", "parse"]

PATHS = ("/NotificationInfo/TollgateInfo", "/NotificationInfo/KeepAlive", "/NotificationInfo/DeviceInfo")
"""Where the camera posts; not every firmware lets a person change it."""

ANSWER = b'{"Result":true,"Message":"Success","RspTime":"","Response":{"Status":0,"Message":"Success"}}'
"""What satisfies the camera: ``Result`` for its signs of life, ``Response`` for plates."""


def confidence(value: object) -> float | None:
    """Read a confidence of 0 to 100, or of 0 to 255 where it is above 100: firmwares have both."""
    found = camera_values.number(value)
    return camera_values.share(found, 255 if found is not None and found > 100 else 100)


def parse(message: bytes) -> PlateRead:
    """Read one message. Raises PoisonError."""
    found = document(message)
    picture = at(found, "Picture")
    if picture is None and not any(at(found, name) is not None for name in ("Active", "DeviceID", "DeviceModel")):
        raise PoisonError("the JSON has neither Picture nor DeviceID")
    read, snap = at(picture, "Plate"), at(picture, "SnapInfo")
    device = camera_values.text(at(snap, "DeviceID")) or camera_values.text(at(found, "DeviceID"))
    moment = camera_values.text(at(snap, "AccurateTime")) or camera_values.text(at(snap, "SnapTime"))
    plate = camera_values.text(at(read, "PlateNumber")) if at(read, "IsExist") is not False else None
    return PlateRead(
        event_id=camera_values.digest(device, moment, plate) if moment else camera_values.digest(message),
        anpr=picture is not None,
        plate=plate,
        confidence=confidence(at(read, "Confidence")),
        at=camera_values.iso_ms(moment),
        direction=camera_values.text(at(snap, "Direction")),
        channel=device,
    )
