"""Milesight's ultrasonic sensors EM310-UDL and EM400-MUD (LoRaWAN): their payloads, purely decoded.

Source: Milesight-IoT/SensorDecoders, em310-udl and em400-mud. A payload is channel, type and data, repeated. They
measure the distance to the nearest thing; the configuration says what distance is a car.
"""

from collections.abc import Mapping

from parkmesh.gateway.drivers.types import PoisonError, SensorReading

_DEVICE = {0x01: 1, 0x09: 2, 0x0A: 2, 0x0B: 1, 0x0F: 1, 0x16: 8, 0xFE: 1, 0xFF: 2}
"""Facts about the device itself, channel FF: type and length."""
_SETTINGS = {
    0x02: 2, 0x03: 2, 0x06: 9, 0x10: 1, 0x13: 1, 0x1C: 2, 0x28: 1, 0x3E: 1, 0x4A: 1, 0x56: 1, 0x70: 2, 0x71: 1, 0x77: 2,
}  # fmt: skip
"""Answers to settings, channels FE and FF: type and length."""
_NO_ECHO_MM = 65_000
"""Greater distances are no measurement: the sensor's codes for *nothing in reach* and for *no echo*."""


class MilesightUdl:
    """One model: which channels its values have. ``distances`` and ``temperatures`` are the lengths by channel."""

    def __init__(self, name: str, distances: Mapping[int, int], temperatures: Mapping[int, int], tilt: int) -> None:
        self._name, self._tilt = name, tilt
        self._distances, self._temperatures = distances, temperatures

    def decode(self, f_port: int, payload: bytes) -> SensorReading:
        """Decode distance (mm), battery, temperature and tilt, on any port. A tilted sensor's distance is none."""
        distance: int | None = None
        battery: int | None = None
        temperature: float | None = None
        tilted: bool | None = None
        at = 0
        while at < len(payload):
            channel, kind = payload[at], payload[at + 1] if at + 1 < len(payload) else -1
            length = self._length(channel, kind)
            data = payload[at + 2 : at + 2 + length]
            if len(data) < length:
                raise PoisonError(f"{self._name}: the payload ends within channel {channel:02x} {kind:02x}")
            if (channel, kind) == (0x01, 0x75):
                battery = data[0]
            elif kind == 0x82:
                distance = int.from_bytes(data[:2], "little")
            elif kind == 0x67:
                temperature = int.from_bytes(data[:2], "little", signed=True) / 10
            elif (channel, kind) == (self._tilt, 0x00):
                tilted = bool(data[0])
            at += 2 + length
        if tilted or (distance is not None and distance > _NO_ECHO_MM):
            distance = None
        return SensorReading(
            "state" if distance is not None else "other",
            distance_mm=distance,
            battery_percent=battery if battery is not None and battery <= 100 else None,
            temperature_c=temperature,
            tilted=tilted,
        )

    def _length(self, channel: int, kind: int) -> int:
        if (channel, kind) in ((0x01, 0x75), (self._tilt, 0x00)):
            return 1
        length = {0x82: self._distances, 0x67: self._temperatures}.get(kind, {}).get(channel)
        if length is None and channel in (0xFE, 0xFF):
            length = _DEVICE.get(kind) if channel == 0xFF and kind in _DEVICE else _SETTINGS.get(kind)
        if length is None:
            raise PoisonError(f"{self._name}: no channel {channel:02x} {max(kind, 0):02x}")
        return length


EM310_UDL = MilesightUdl("Milesight EM310-UDL", {0x03: 2}, {}, tilt=0x04)
# The second channel of each is the value with an alarm behind it.
EM400_MUD = MilesightUdl("Milesight EM400-MUD", {0x04: 2, 0x84: 3}, {0x03: 2, 0x83: 3}, tilt=0x05)
