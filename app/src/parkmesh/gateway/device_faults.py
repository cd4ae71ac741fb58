"""What is wrong with a gateway's sensors and barriers, as the staff are to hear of it: pure."""

from collections.abc import Iterable, Mapping
from typing import Protocol

from parkmesh.gateway.barrier_rules import Fault
from parkmesh.protocol.edge import DeviceFault

MOST = 256
BATTERY_PERCENT, BATTERY_V = 15, 3.0
"""Below these, a battery is low; the sensors with a voltage run on lithium cells of 3.6 V."""
WEAK_RSSI = -120
"""dBm: a LoRaWAN device that its best radio gateway hears no better will soon not be heard."""


class Health(Protocol):
    """What a sensor said of itself; None for what it never said."""

    @property
    def battery_percent(self) -> int | None: ...
    @property
    def battery_v(self) -> float | None: ...
    @property
    def battery_low(self) -> bool | None: ...
    @property
    def tilted(self) -> bool | None: ...
    @property
    def rssi(self) -> float | None: ...


def faults(
    sensors: Mapping[str, Health], silent: Iterable[str], barriers: Mapping[str, Fault | None]
) -> list[DeviceFault]:
    """Return what is wrong: with sensors, by space, with those ``silent``, and with barriers, by gate."""
    found = [DeviceFault("silent", space) for space in silent]
    for space, health in sensors.items():
        found += [DeviceFault(kind, space) for kind in _of_sensor(health)]
    found += [DeviceFault(fault, gate) for gate, fault in barriers.items() if fault is not None]
    return sorted(found, key=lambda fault: (fault.name, fault.kind))[:MOST]


def _of_sensor(health: Health) -> Iterable[str]:
    percent, volt = health.battery_percent, health.battery_v
    if percent is not None:
        low = percent < BATTERY_PERCENT
    else:
        low = health.battery_low is None and volt is not None and volt < BATTERY_V
    if low or health.battery_low:
        yield "battery_low"
    if health.tilted:
        yield "tilted"
    if health.rssi is not None and health.rssi <= WEAK_RSSI:
        yield "weak_signal"
