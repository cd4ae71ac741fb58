"""Libelium's Smart Parking sensor, firmware 2 and 3 (LoRaWAN): its payloads, purely decoded.

Source: ZennerIoT/element-parsers, lib/libelium_smart_parking_v3.exs (after Libelium's technical guide). All frames have
11 bytes, and all carry the state in the first one.
"""

from parkmesh.gateway.drivers.types import PoisonError, SensorReading

_INFO, _KEEP_ALIVE, _START_1, _LAST = 0, 1, 4, 8


def decode(f_port: int, payload: bytes) -> SensorReading:
    """Decode a frame on any port: bit 7 occupied, bit 6 battery to be changed, bits 3 to 0 the frame's type."""
    if len(payload) != 11 or payload[0] & 0x0F > _LAST:
        raise PoisonError(f"Libelium Smart Parking: no message of {len(payload)} bytes that begins {payload[:1].hex()}")
    kind = payload[0] & 0x0F
    measured = kind in (_INFO, _KEEP_ALIVE)
    return SensorReading(
        "state" if kind == _INFO else "startup" if kind == _START_1 else "heartbeat",
        occupied=bool(payload[0] & 0x80),
        battery_low=bool(payload[0] & 0x40),
        temperature_c=float(int.from_bytes(payload[3:4], signed=True)) if measured else None,
        firmware=str(payload[2]) if kind == _START_1 else None,
    )
