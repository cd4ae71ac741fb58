"""Nwave's parking sensor NPS405 (LoRaWAN): its payloads, purely decoded."""

from parkmesh.gateway.drivers.types import PoisonError, SensorReading


def _minutes(code: int) -> int | None:
    if code < 90:
        return code
    if code < 120:
        return 90 + 5 * (code - 90)
    if code < 127:
        return 240 + 60 * (code - 120)
    return None


def decode(f_port: int, payload: bytes) -> SensorReading:
    """Decode port 1 (state and the previous state's duration) and 2 (battery and temperature, no state)."""
    match f_port, len(payload):
        case 1, 1:
            occupied, previous_minutes = bool(payload[0] & 0x80), _minutes(payload[0] & 0x7F)
            return SensorReading("state", occupied=occupied, previous_minutes=previous_minutes)
        case 2, length if length >= 3:
            temperature = int.from_bytes(payload[2:3], signed=True) / 2 + 10
            return SensorReading("heartbeat", battery_v=(2500 + 4 * payload[1]) / 1000, temperature_c=temperature)
        case _:
            raise PoisonError(f"Nwave NPS405: no message of {len(payload)} bytes on port {f_port}")
