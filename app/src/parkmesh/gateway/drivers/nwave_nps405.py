"""Nwave's parking sensor NPS405 (LoRaWAN): its payloads, purely decoded.

Source: TheThingsNetwork/lorawan-devices, vendor/nwave/nps405.js. Every message but the debug one carries the state, and
so repairs an uplink that was lost.
"""

from parkmesh.gateway.drivers.types import PoisonError, SensorReading

_RESET_CAUSES = {0: "rejoin", 1: "watchdog", 2: "power on", 3: "user", 6: "brownout", 7: "other"}


def _minutes(code: int) -> int | None:
    if code < 90:
        return code
    if code < 120:
        return 90 + 5 * (code - 90)
    if code < 127:
        return 240 + 60 * (code - 120)
    return None


def decode(f_port: int, payload: bytes) -> SensorReading:
    """Decode port 1 (state, the previous state's duration), 2 (state, battery, temperature), 3 (startup: state,
    firmware, cause), 6 (debug, without a state) and 10 (a user's tag at the sensor: state)."""
    match f_port, len(payload):
        case 1, 1:
            occupied, previous_minutes = bool(payload[0] & 0x80), _minutes(payload[0] & 0x7F)
            return SensorReading("state", occupied=occupied, previous_minutes=previous_minutes)
        case 2, length if length >= 3:
            temperature = int.from_bytes(payload[2:3], signed=True) / 2 + 10
            return SensorReading(
                "heartbeat",
                occupied=bool(payload[0] & 0x80),
                battery_v=(2500 + 4 * payload[1]) / 1000,
                temperature_c=temperature,
            )
        case 3, length if length >= 5:
            major, minor, patch, cause, state = payload[:5]
            return SensorReading(
                "startup",
                occupied=bool(state & 1),
                firmware=f"{major}.{minor}.{patch}",
                reset_cause=_RESET_CAUSES.get(cause, f"unknown ({cause})"),
            )
        case 6, _:
            return SensorReading("other")
        case 10, length if length >= 5:  # the tag's id says who parked: it is not kept
            return SensorReading("state", occupied=bool(payload[0] & 0x80))
        case _:
            raise PoisonError(f"Nwave NPS405: no message of {len(payload)} bytes on port {f_port}")
