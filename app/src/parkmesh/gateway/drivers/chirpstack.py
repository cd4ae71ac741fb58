"""ChirpStack, the LoRaWAN network server, versions 3 and 4: its uplink message, purely parsed.

Version 4 names the device in ``deviceInfo``; version 3 has ``devEUI``, in hexadecimal or, by its protobuf marshaler, in
base64, and no deduplication id.

Sources: the message UplinkEvent in chirpstack/chirpstack, api/proto/integration/integration.proto (version 4), and in
brocaar/chirpstack-api, protobuf/as/integration/integration.proto (version 3), in the JSON form of Protobuf.
"""

import base64
import binascii
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from parkmesh.gateway.drivers.lorawan_signal import best
from parkmesh.gateway.drivers.lorawan_time import millis
from parkmesh.gateway.drivers.types import PoisonError, Uplink


class _DeviceInfo(Struct):
    dev_eui: Annotated[str, Meta(pattern=r"^[0-9a-fA-F]{16}$")] = msgspec.field(name="devEui")


class _ChirpStackUplink(Struct):
    device_info: _DeviceInfo | None = msgspec.field(name="deviceInfo", default=None)
    dev_eui: str = msgspec.field(name="devEUI", default="")
    deduplication_id: str = msgspec.field(name="deduplicationId", default="")
    time: str | None = None
    # Protobuf's JSON leaves out zero and empty.
    f_port: int = msgspec.field(name="fPort", default=0)
    data: str | None = ""
    rx_info: Any = msgspec.field(name="rxInfo", default=None)


def parse(message: bytes) -> Uplink:
    """Read the JSON of ``event/up``."""
    try:
        uplink = msgspec.json.decode(message, type=_ChirpStackUplink)
        payload = base64.b64decode(uplink.data or "", validate=True)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise PoisonError(f"not a ChirpStack uplink: {error}") from None
    except (binascii.Error, ValueError):
        raise PoisonError("not a ChirpStack uplink: data isn't base64") from None
    device = uplink.device_info.dev_eui if uplink.device_info else _version_3(uplink.dev_eui)
    rssi, snr = best(uplink.rx_info)
    return Uplink(device.lower(), uplink.f_port, payload, millis(uplink.time), uplink.deduplication_id[:100], rssi, snr)


def _version_3(dev_eui: str) -> str:
    """Return version 3's device id in hexadecimal."""
    try:
        raw = bytes.fromhex(dev_eui) if len(dev_eui) == 16 else base64.b64decode(dev_eui, validate=True)
    except ValueError:
        raw = b""
    if len(raw) != 8:
        raise PoisonError("not a ChirpStack uplink: it names no device")
    return raw.hex()
