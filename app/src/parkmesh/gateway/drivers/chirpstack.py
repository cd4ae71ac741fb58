"""ChirpStack v4, the LoRaWAN network server: its uplink message, purely parsed."""

import base64
import binascii
from datetime import UTC, datetime
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from parkmesh.gateway.drivers.types import PoisonError, Uplink


class _DeviceInfo(Struct):
    dev_eui: Annotated[str, Meta(pattern=r"^[0-9a-fA-F]{16}$")] = msgspec.field(name="devEui")


class _ChirpStackUplink(Struct):
    device_info: _DeviceInfo = msgspec.field(name="deviceInfo")
    deduplication_id: str = msgspec.field(name="deduplicationId", default="")
    time: str | None = None
    # Protobuf's JSON leaves out zero and empty.
    f_port: int = msgspec.field(name="fPort", default=0)
    data: str = ""


def parse(message: bytes) -> Uplink:
    """Read ChirpStack v4's ``event/up`` JSON."""
    try:
        uplink = msgspec.json.decode(message, type=_ChirpStackUplink)
        payload = base64.b64decode(uplink.data, validate=True)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise PoisonError(f"not a ChirpStack uplink: {error}") from None
    except (binascii.Error, ValueError):
        raise PoisonError("not a ChirpStack uplink: data isn't base64") from None
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
