"""The drivers: a module per device, and the tables that map each ``kind`` of the configuration to its module.

A new device is a module here, its kind in ``gateway.config`` and its line in a table below; nothing else names a brand.
"""

from collections.abc import Awaitable, Callable, Mapping

import httpx
import msgspec

from parkmesh.gateway.config import CameraKind
from parkmesh.gateway.drivers import (
    axis_lpv,
    bosch_tps110,
    chirpstack,
    dahua_events,
    dahua_itsapi,
    dahua_stream,
    esphome,
    frigate,
    gpio,
    hikvision,
    hikvision_gate,
    hikvision_stream,
    http_relay,
    libelium_parking,
    mapped,
    mapped_sensor,
    milesight,
    milesight_udl,
    modbus_tcp,
    nwave_nps405,
    plate_recognizer,
    pni_placepod,
    rekor_scout,
    shelly_gen1,
    shelly_gen2,
    tasmota,
    things_stack,
    waveshare_modbus,
)
from parkmesh.gateway.drivers.types import (
    CameraDriver,
    PoisonError,
    RelayDriver,
    RelayError,
    SensorDriver,
    SensorReading,
    StreamDriver,
    Uplink,
)
from parkmesh.gateway.gates import Question, Relay, RelayKind
from parkmesh.gateway.mapping import Mapping as FieldMapping
from parkmesh.gateway.sensors import Sensor, SensorKind

CAMERAS: Mapping[CameraKind, CameraDriver] = {
    "axis_lpv": axis_lpv,
    "dahua_events": dahua_events,
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
STREAMS: Mapping[CameraKind, StreamDriver] = {"dahua_events": dahua_stream, "hikvision": hikvision_stream}
"""Cameras whose messages are fetched: those of ``config.PULLED``."""
SENSORS: Mapping[SensorKind, SensorDriver] = {
    "bosch_tps110": bosch_tps110,
    "libelium_parking": libelium_parking,
    "milesight_em310_udl": milesight_udl.EM310_UDL,
    "milesight_em400_mud": milesight_udl.EM400_MUD,
    "nwave_nps405": nwave_nps405,
    "pni_placepod": pni_placepod,
}
"""Sensors by what they send over LoRaWAN. The kind ``mapped`` is read by its mapping instead."""
RELAYS: Mapping[RelayKind, RelayDriver] = {
    "esphome": esphome,
    "gpio": gpio,
    "hikvision_gate": hikvision_gate,
    "http": http_relay,
    "modbus_tcp": modbus_tcp,
    "shelly_gen1": shelly_gen1,
    "shelly_gen2": shelly_gen2,
    "tasmota": tasmota,
    "waveshare_modbus": waveshare_modbus,
}
HOLDING: Mapping[RelayKind, Callable[[httpx.AsyncClient, Relay, float], Awaitable[None]]] = {
    "gpio": gpio.hold,
    "modbus_tcp": modbus_tcp.hold,
    "shelly_gen1": shelly_gen1.hold,
    "shelly_gen2": shelly_gen2.hold,
}
"""Relays that keep a switch on for some seconds, or turn it off for 0 s: those of ``gates.HOLDS``."""
CLOSING: Mapping[RelayKind, Callable[[httpx.AsyncClient, Relay], Awaitable[None]]] = {
    "hikvision_gate": hikvision_gate.close,
    "http": http_relay.close,
}
"""Relays that close a barrier by another request; others do by a pulse of another switch."""


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


def sensor_reading(sensor: Sensor, message: bytes, uplink: Uplink | None) -> SensorReading:
    """Read a sensor's message, from its uplink where it came over LoRaWAN. Raises PoisonError.

    A distance is told as the state that it means for this sensor.
    """
    if sensor.mapping is not None:
        return mapped_sensor.read(sensor.mapping, message)
    if uplink is None:
        raise PoisonError(f"a sensor of the kind {sensor.kind} sends over LoRaWAN only")
    reading = SENSORS[sensor.kind].decode(uplink.f_port, uplink.payload)
    if sensor.occupied_below_mm is not None and reading.distance_mm is not None:
        near = reading.distance_mm < sensor.occupied_below_mm
        return msgspec.structs.replace(reading, occupied=near)
    return reading


async def pulse(client: httpx.AsyncClient, relay: Relay) -> None:
    """Open a barrier. Raises RelayError."""
    await RELAYS[relay.kind].pulse(client, relay)


async def ask(client: httpx.AsyncClient, relay: Relay, question: Question) -> bool | None:
    """Ask one of a barrier's inputs. Raises RelayError."""
    return await RELAYS[relay.kind].ask(client, relay, question)


async def close(client: httpx.AsyncClient, relay: Relay) -> None:
    """Close a barrier. Raises RelayError."""
    if relay.kind in CLOSING:
        await CLOSING[relay.kind](client, relay)
    elif relay.close_switch is None:
        raise RelayError("nothing closes this barrier")
    else:
        await pulse(client, msgspec.structs.replace(relay, switch=relay.close_switch))


async def hold(client: httpx.AsyncClient, relay: Relay, seconds: float) -> None:
    """Keep a barrier's switch on for so long from now; 0 turns it off. Raises RelayError."""
    if relay.kind not in HOLDING:
        raise RelayError(f"a relay of the kind {relay.kind} can't stay on")
    await HOLDING[relay.kind](client, relay, seconds)
