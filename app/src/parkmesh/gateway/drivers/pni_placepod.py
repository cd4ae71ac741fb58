"""PNI's PlacePod parking sensor (LoRaWAN): its payloads, purely decoded.

Source: sukeypark/parking, data/payloadInfo.json. A payload is channel, type and data, repeated, as of Cayenne LPP;
numbers are big-endian.
"""

from parkmesh.gateway.drivers.types import PoisonError, SensorReading

_LENGTHS = {0x00: 1, 0x01: 1, 0x02: 2, 0x03: 2, 0x66: 1, 0x67: 2}
_STATE, _KEEP_ALIVE = 0x15, 0x37
_PRESENCE, _TEMPERATURE, _ANALOG = 0x66, 0x67, 0x02


def decode(f_port: int, payload: bytes) -> SensorReading:
    """Decode state (channel 15, in the keep-alive 37), temperature and battery, on any port. Counts, answers to
    settings and the maker's own channels are passed."""
    occupied: bool | None = None
    kept_alive = False
    temperature: float | None = None
    battery: float | None = None
    at = 0
    while at < len(payload):
        channel, kind = payload[at], payload[at + 1] if at + 1 < len(payload) else -1
        length = _LENGTHS.get(kind)
        if length is None or at + 2 + length > len(payload):
            raise PoisonError(f"PNI PlacePod: no value at byte {at} of {len(payload)}")
        value = int.from_bytes(payload[at + 2 : at + 2 + length], signed=length == 2)
        if channel in (_STATE, _KEEP_ALIVE) and kind == _PRESENCE:
            occupied, kept_alive = bool(value), channel == _KEEP_ALIVE
        elif kind == _TEMPERATURE:
            temperature = value / 10
        elif (channel, kind) == (0x03, _ANALOG):
            battery = value / 100
        at += 2 + length
    return SensorReading(
        "other" if occupied is None else "heartbeat" if kept_alive else "state",
        occupied=occupied,
        temperature_c=temperature,
        battery_v=battery,
    )
