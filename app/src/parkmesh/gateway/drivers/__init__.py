"""The drivers: a module per device, and the tables that map each ``kind`` of the configuration to its module.

A new device is a module here, its kind in ``gateway.config`` and its line in a table below; nothing else names a brand.
"""

from collections.abc import Mapping

from parkmesh.gateway.config import CameraKind, RelayKind, SensorKind
from parkmesh.gateway.drivers import bosch_tps110, chirpstack, hikvision, nwave_nps405, shelly_gen2, things_stack
from parkmesh.gateway.drivers.types import CameraDriver, RelayDriver, SensorDriver, Uplink

CAMERAS: Mapping[CameraKind, CameraDriver] = {"hikvision": hikvision}
SENSORS: Mapping[SensorKind, SensorDriver] = {"bosch_tps110": bosch_tps110, "nwave_nps405": nwave_nps405}
RELAYS: Mapping[RelayKind, RelayDriver] = {"shelly_gen2": shelly_gen2}


def parse_uplink(message: bytes) -> Uplink:
    """Read the message of a LoRaWAN network server, whichever it is. Raises PoisonError."""
    return things_stack.parse(message) if b'"end_device_ids"' in message else chirpstack.parse(message)
