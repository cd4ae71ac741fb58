"""A parking sensor's uplink as ChirpStack v4 publishes it over MQTT."""

import base64
import json
import uuid
from datetime import datetime
from typing import Literal

from msgspec import Struct

APPLICATION_ID = "17c82e96-be03-4f38-aef3-f83d48582d97"
_TENANT_ID = "52f14cd4-c6f1-4fbd-8f87-4025e1d49242"


class Frame(Struct, frozen=True):
    """A LoRaWAN payload and its port."""

    f_port: int
    payload: bytes


SimulatedSensor = Literal[
    "bosch_tps110", "nwave_nps405", "milesight_em310_udl", "milesight_em400_mud", "libelium_parking", "pni_placepod"
]
"""Kinds of sensors whose payloads are known here."""


def state_frame(kind: SimulatedSensor, occupied: bool) -> Frame:
    """Return what the sensor sends when a car comes or goes.

    Nwave: the previous state lasted ten minutes. Those that measure: 300 mm to a car, 2,300 mm to the ground.
    """
    state = f"{occupied:02x}"
    distance = (300 if occupied else 2300).to_bytes(2, "little").hex()
    payloads: dict[SimulatedSensor, tuple[int, str]] = {
        "bosch_tps110": (1, state),
        "nwave_nps405": (1, "8a" if occupied else "0a"),
        "milesight_em310_udl": (85, f"01755c 0382{distance} 040000"),
        "milesight_em400_mud": (85, f"01755c 0367e800 0482{distance} 050000"),
        "libelium_parking": (1, ("80" if occupied else "00") + "5b0009001400de0a0801"),
        "pni_placepod": (1, f"1566{state}"),
    }
    f_port, payload = payloads[kind]
    return Frame(f_port, bytes.fromhex(payload))


def topic(dev_eui: str) -> str:
    return f"application/{APPLICATION_ID}/device/{dev_eui.lower()}/event/up"


def uplink(dev_eui: str, frame: Frame, moment: datetime) -> bytes:
    """Return the ``event/up`` JSON with a new deduplication id. ``moment`` has a zone."""
    return json.dumps(
        {
            "deduplicationId": str(uuid.uuid4()),
            "time": moment.isoformat(),
            "deviceInfo": {
                "tenantId": _TENANT_ID,
                "tenantName": "parkmesh",
                "applicationId": APPLICATION_ID,
                "applicationName": "parking",
                "deviceProfileName": "Parking sensor",
                "deviceName": f"sensor-{dev_eui.lower()}",
                "devEui": dev_eui.lower(),
                "tags": {},
            },
            "devAddr": "00189440",
            "adr": True,
            "dr": 1,
            "fCnt": 1,
            "fPort": frame.f_port,
            "confirmed": False,
            "data": base64.b64encode(frame.payload).decode(),
            "rxInfo": [{"gatewayId": "0016c001f153a14c", "uplinkId": 1, "rssi": -36, "snr": 10.5}],
            "txInfo": {"frequency": 868100000},
        }
    ).encode()
