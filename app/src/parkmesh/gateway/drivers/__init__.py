"""The drivers: a module per device, and the tables that map each ``kind`` of the configuration to its module.

A new device is a module here, its kind in ``gateway.config`` and its line in a table below; nothing else names a brand.
"""

from collections.abc import Callable, Mapping

from parkmesh.gateway.config import CameraKind, RelayKind, SensorKind
from parkmesh.gateway.drivers import (
    axis_lpv,
    bosch_tps110,
    chirpstack,
    dahua_itsapi,
    frigate,
    hikvision,
    mapped,
    milesight,
    nwave_nps405,
    plate_recognizer,
    rekor_scout,
    shelly_gen2,
    things_stack,
)
from parkmesh.gateway.drivers.types import CameraDriver, RelayDriver, SensorDriver, Uplink
from parkmesh.gateway.mapping import Mapping as FieldMapping

CAMERAS: Mapping[CameraKind, CameraDriver] = {
    "axis_lpv": axis_lpv,
    "dahua_itsapi": dahua_itsapi,
    "frigate": frigate,
    "hikvision": hikvision,
    "mapped": mapped,
    "milesight": milesight,
    "plate_recognizer": plate_recognizer,
    "rekor_scout": rekor_scout,
}
SEVERAL: Mapping[CameraKind, Callable[[bytes], list[bytes]]] = {"plate_recognizer": plate_recognizer.split}
"""Cameras whose messages can have several plates, and what cuts such a message into messages with one each."""
PATHS: Mapping[str, CameraKind] = dict.fromkeys(dahua_itsapi.PATHS, "dahua_itsapi")
"""Paths that some cameras post to whatever a person sets."""
ANSWERS: Mapping[CameraKind, bytes] = {"dahua_itsapi": dahua_itsapi.ANSWER}
"""Cameras that send again unless the answer to a message says this."""
SENSORS: Mapping[SensorKind, SensorDriver] = {"bosch_tps110": bosch_tps110, "nwave_nps405": nwave_nps405}
RELAYS: Mapping[RelayKind, RelayDriver] = {"shelly_gen2": shelly_gen2}


def messages(kind: CameraKind, body: bytes, content_type: str, fields: FieldMapping | None = None) -> list[bytes]:
    """Return the messages of one POST, without pictures and with one plate each, read by ``fields`` if the kind has
    them. Raises PoisonError."""
    if fields is not None:
        return mapped.read(fields, body, content_type)
    message = CAMERAS[kind].extract(body, content_type)
    split = SEVERAL.get(kind)
    return split(message) if split else [message]


def answer(kind: CameraKind) -> bytes | None:
    """Return the body of the answer 200, None where the camera needs none."""
    return ANSWERS.get(kind)


def parse_uplink(message: bytes) -> Uplink:
    """Read the message of a LoRaWAN network server, whichever it is. Raises PoisonError."""
    return things_stack.parse(message) if b'"end_device_ids"' in message else chirpstack.parse(message)
