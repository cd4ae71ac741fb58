"""Parking sensors over LoRaWAN: ChirpStack's uplink message and the supported sensors' payloads, purely parsed."""

import base64
import binascii
from datetime import UTC, datetime
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

Kind = Literal["bosch_tps110", "nwave_nps405"]


class SensorError(Exception):
    """The message can't be understood. The text says what is wrong in one line."""


class _DeviceInfo(Struct):
    dev_eui: Annotated[str, Meta(pattern=r"^[0-9a-fA-F]{16}$")] = msgspec.field(name="devEui")


class _ChirpStackUplink(Struct):
    device_info: _DeviceInfo = msgspec.field(name="deviceInfo")
    deduplication_id: str = msgspec.field(name="deduplicationId", default="")
    time: str | None = None
    # Protobuf's JSON leaves out zero and empty.
    f_port: int = msgspec.field(name="fPort", default=0)
    data: str = ""


class Uplink(Struct, frozen=True):
    """One uplink: lower-case ``dev_eui``, LoRaWAN port, payload, and the network's time in ms since 1970 if given."""

    dev_eui: str
    f_port: int
    payload: bytes
    at: int | None
    deduplication_id: str


class Reading(Struct, frozen=True):
    """What a sensor said. ``occupied`` is None for messages without a state.

    ``previous_minutes`` is how long the previous state lasted (None: unknown or more than can be told).
    """

    message: Literal["state", "heartbeat", "startup"]
    occupied: bool | None = None
    temperature_c: float | None = None
    battery_v: float | None = None
    previous_minutes: int | None = None
    firmware: str | None = None
    reset_cause: str | None = None
    debug_codes: tuple[int, ...] = ()


def parse_chirpstack(message: bytes) -> Uplink:
    """Read ChirpStack v4's ``event/up`` JSON."""
    try:
        uplink = msgspec.json.decode(message, type=_ChirpStackUplink)
        payload = base64.b64decode(uplink.data, validate=True)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise SensorError(f"not a ChirpStack uplink: {error}") from None
    except (binascii.Error, ValueError):
        raise SensorError("not a ChirpStack uplink: data isn't base64") from None
    return Uplink(
        uplink.device_info.dev_eui.lower(), uplink.f_port, payload, _millis(uplink.time), uplink.deduplication_id[:100]
    )


def _millis(text: str | None) -> int | None:
    if not text:
        return None
    try:
        moment = msgspec.convert(text, type=datetime)
    except msgspec.ValidationError:
        return None
    millis = int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
    return millis if millis >= 0 else None


_RESET_CAUSES = {1: "watchdog", 2: "power on", 3: "system request", 4: "other"}


def _bosch_tps110(f_port: int, payload: bytes) -> Reading:
    """Decode port 1 (state), 2 (heartbeat: state, temperature) and 3 (startup: debug codes, firmware, cause, state)."""
    match f_port, len(payload):
        case 1, 1:
            return Reading("state", occupied=bool(payload[0] & 1))
        case 2, 2:
            temperature = int.from_bytes(payload[1:2], signed=True)
            return Reading("heartbeat", occupied=bool(payload[0] & 1), temperature_c=float(temperature))
        case 2, 1:  # firmware before 0.21 sends no temperature
            return Reading("heartbeat", occupied=bool(payload[0] & 1))
        case 3, 17:
            codes = tuple(int.from_bytes(payload[at : at + 2], "little") for at in range(0, 12, 4))
            major, minor, patch, cause, state = payload[12:17]
            return Reading(
                "startup",
                occupied=bool(state & 1),
                firmware=f"{major}.{minor}.{patch}",
                reset_cause=_RESET_CAUSES.get(cause, f"unknown ({cause})"),
                debug_codes=tuple(code for code in codes if code),
            )
        case _:
            raise SensorError(f"Bosch TPS110: no message of {len(payload)} bytes on port {f_port}")


def _nwave_minutes(code: int) -> int | None:
    if code < 90:
        return code
    if code < 120:
        return 90 + 5 * (code - 90)
    if code < 127:
        return 240 + 60 * (code - 120)
    return None


def _nwave_nps405(f_port: int, payload: bytes) -> Reading:
    """Decode port 1 (state and the previous state's duration) and 2 (battery and temperature, no state)."""
    match f_port, len(payload):
        case 1, 1:
            return Reading(
                "state", occupied=bool(payload[0] & 0x80), previous_minutes=_nwave_minutes(payload[0] & 0x7F)
            )
        case 2, length if length >= 3:
            temperature = int.from_bytes(payload[2:3], signed=True) / 2 + 10
            return Reading("heartbeat", battery_v=(2500 + 4 * payload[1]) / 1000, temperature_c=temperature)
        case _:
            raise SensorError(f"Nwave NPS405: no message of {len(payload)} bytes on port {f_port}")


def decode(kind: Kind, f_port: int, payload: bytes) -> Reading:
    """Decode a sensor's payload; raise SensorError for one that its documentation doesn't know."""
    return (_bosch_tps110 if kind == "bosch_tps110" else _nwave_nps405)(f_port, payload)
