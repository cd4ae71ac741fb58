"""Bosch's parking sensor TPS110 (LoRaWAN): its payloads, purely decoded.

Source: TheThingsNetwork/lorawan-devices, vendor/bosch/tpl110-0292.js.
"""

from parkmesh.gateway.drivers.types import PoisonError, SensorReading

_RESET_CAUSES = {1: "watchdog", 2: "power on", 3: "system request", 4: "other"}


def decode(f_port: int, payload: bytes) -> SensorReading:
    """Decode port 1 (state), 2 (heartbeat: state, temperature), 3 (startup: debug codes, firmware, cause, state), and
    4 to 6 (device information, usage, debug: no state)."""
    match f_port, len(payload):
        case 1, 1:
            return SensorReading("state", occupied=bool(payload[0] & 1))
        case 2, 2:
            temperature = int.from_bytes(payload[1:2], signed=True)
            return SensorReading("heartbeat", occupied=bool(payload[0] & 1), temperature_c=float(temperature))
        case 2, 1:  # firmware before 0.21 sends no temperature
            return SensorReading("heartbeat", occupied=bool(payload[0] & 1))
        case 3, 17:
            codes = tuple(int.from_bytes(payload[at : at + 2], "little") & 0x0FFF for at in range(0, 12, 4))
            major, minor, patch, cause, state = payload[12:17]
            return SensorReading(
                "startup",
                occupied=bool(state & 1),
                firmware=f"{major}.{minor}.{patch}",
                reset_cause=_RESET_CAUSES.get(cause, f"unknown ({cause})"),
                debug_codes=tuple(code for code in codes if code),
            )
        case 4 | 5 | 6, _:
            return SensorReading("other")
        case _:
            raise PoisonError(f"Bosch TPS110: no message of {len(payload)} bytes on port {f_port}")
