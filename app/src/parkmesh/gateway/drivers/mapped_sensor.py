"""Sensors without a driver of their own: the configuration's mapping reads the state out of the message's JSON.

A LoRaWAN server can decode payloads itself, by a script that the sensor's maker gives; then the message has the values
in words (``object`` of ChirpStack, ``uplink_message.decoded_payload`` of The Things Stack).
"""

from typing import Any

import msgspec

from parkmesh.gateway import mapping as paths
from parkmesh.gateway.drivers import camera_values
from parkmesh.gateway.drivers.types import PoisonError, SensorReading
from parkmesh.gateway.sensors import SensorMapping


def read(mapping: SensorMapping, message: bytes) -> SensorReading:
    """Read a message. One without the state says nothing; a word that means neither state raises PoisonError."""
    try:
        document: Any = msgspec.json.decode(message)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise PoisonError(f"not a message in JSON: {error}") from None
    word = camera_values.text(paths.one(document, document, mapping.state))
    occupied = None if word is None else _occupied(mapping, word)
    percent = camera_values.number(paths.one(document, document, mapping.battery_percent))
    return SensorReading(
        "other" if occupied is None else "state",
        occupied=occupied,
        battery_percent=round(percent) if percent is not None and 0 <= percent <= 100 else None,
        battery_v=camera_values.number(paths.one(document, document, mapping.battery_v)),
    )


def _occupied(mapping: SensorMapping, word: str) -> bool:
    if word.casefold() in {one.casefold() for one in mapping.occupied}:
        return True
    if word.casefold() in {one.casefold() for one in mapping.free}:
        return False
    raise PoisonError(f"{word[:50]!r} at the path {mapping.state!r} means neither occupied nor free")
