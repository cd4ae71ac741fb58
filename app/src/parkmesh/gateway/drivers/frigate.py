"""Frigate (0.16 and later), a recorder that reads plates in the pictures of plain cameras: its messages over MQTT.

Topic ``frigate/tracked_object_update``. Of its types only ``lpr`` is about a plate. ``id`` is one car, which Frigate
follows: better reads of it come with the same id. One Frigate has many cameras; ``camera`` names them.

Sources: docs.frigate.video/integrations/mqtt; docs/docs/configuration/license_plate_recognition.md of its repository.
"""

from parkmesh.gateway.drivers import camera_values
from parkmesh.gateway.drivers.camera_json import at, document, extract
from parkmesh.gateway.drivers.types import PlateRead, PoisonError

__all__ = ["extract", "parse"]


def parse(message: bytes) -> PlateRead:
    """Read one message. Raises PoisonError."""
    found = document(message)
    kind = camera_values.text(at(found, "type"))
    if kind is None:
        raise PoisonError("the JSON has no type")
    car, plate = camera_values.text(at(found, "id")), camera_values.text(at(found, "plate"))
    moment = camera_values.text(at(found, "timestamp"))
    score = camera_values.text(at(found, "score"))
    return PlateRead(
        event_id=camera_values.digest(car, plate, score, moment) if moment else camera_values.digest(message),
        anpr=kind == "lpr",
        plate=plate,
        confidence=camera_values.share(score),
        at=camera_values.epoch_ms(moment, 1),
        car_id=car[:100] if car else None,
        channel=camera_values.text(at(found, "camera")),
    )
