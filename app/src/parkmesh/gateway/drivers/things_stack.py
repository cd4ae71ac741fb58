"""The Things Stack, a LoRaWAN network server: its uplink message over MQTT, purely parsed.

Topics are ``v3/<application>@<tenant>/devices/<device>/up``. Zero and empty fields are left out.

Sources: thethingsindustries.com/docs/integrations/data-formats and …/integrations/other-integrations/mqtt.
"""

import base64
import binascii
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from parkmesh.gateway.drivers.lorawan_signal import best
from parkmesh.gateway.drivers.lorawan_time import millis
from parkmesh.gateway.drivers.types import PoisonError, Uplink


class _Device(Struct):
    dev_eui: Annotated[str, Meta(pattern=r"^[0-9a-fA-F]{16}$")]


class _Message(Struct):
    f_port: int = 0
    f_cnt: int = 0
    frm_payload: str = ""
    session_key_id: str = ""
    rx_metadata: Any = None


class _Up(Struct):
    end_device_ids: _Device
    uplink_message: _Message
    received_at: str | None = None


def parse(message: bytes) -> Uplink:
    """Read the JSON of one uplink. An uplink is told from its repetition by its session and its count."""
    try:
        up = msgspec.json.decode(message, type=_Up)
        payload = base64.b64decode(up.uplink_message.frm_payload, validate=True)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise PoisonError(f"not an uplink of The Things Stack: {error}") from None
    except (binascii.Error, ValueError):
        raise PoisonError("not an uplink of The Things Stack: frm_payload isn't base64") from None
    device, sent = up.end_device_ids.dev_eui.lower(), up.uplink_message
    once = f"{device}/{sent.session_key_id}/{sent.f_cnt}"[:100] if sent.session_key_id else ""
    rssi, snr = best(sent.rx_metadata)
    return Uplink(device, sent.f_port, payload, millis(up.received_at), once, rssi, snr)
