"""A sensor's part of the configuration: the device, the space that it watches, and how its messages are read."""

from collections.abc import Sequence
from typing import Annotated, Literal

from msgspec import Meta, Struct

from parkmesh.gateway import mapping as mappings
from parkmesh.gateway.mapping import MappingError, Path
from parkmesh.protocol.edge import Name

DevEui = Annotated[str, Meta(pattern=r"^[0-9a-fA-F]{16}$")]
Topic = Annotated[str, Meta(pattern=r"^[^+#\x00]{1,200}$")]
SensorKind = Literal[
    "bosch_tps110",
    "nwave_nps405",
    "milesight_em310_udl",
    "milesight_em400_mud",
    "libelium_parking",
    "pni_placepod",
    "mapped",
]
"""Each kind has a driver in ``gateway.drivers``."""
Words = Annotated[list[Annotated[str, Meta(min_length=1, max_length=64)]], Meta(min_length=1, max_length=16)]

BY_DISTANCE: frozenset[SensorKind] = frozenset({"milesight_em310_udl", "milesight_em400_mud"})
"""Kinds that measure how far away the nearest thing is, and know nothing of cars."""


class SensorMapping(Struct, frozen=True, forbid_unknown_fields=True):
    """Where a message in JSON has what: the state and the words for both states, the battery in % or V."""

    state: Path
    occupied: Words
    free: Words
    battery_percent: Path | None = None
    battery_v: Path | None = None


class Sensor(Struct, frozen=True, forbid_unknown_fields=True):
    """A parking sensor and the space that it watches: a LoRaWAN device, or whatever sends on ``topic``."""

    space: Name
    kind: SensorKind
    dev_eui: DevEui | None = None
    topic: Topic | None = None
    mapping: SensorMapping | None = None
    """How a sensor of the kind ``mapped`` is read."""
    occupied_below_mm: Annotated[int, Meta(ge=50, le=10_000)] | None = None
    """A sensor that measures distances sees a car where the nearest thing is nearer than this."""
    silence_s: Annotated[float, Meta(ge=60, le=30 * 86_400)] | None = None
    """The sensor's own time after which it is silent; None: as all sensors."""

    @property
    def id(self) -> str:
        """What names the sensor in records: its LoRaWAN id in lower case, or its topic."""
        return self.dev_eui.lower() if self.dev_eui is not None else self.topic or ""


def fault(sensors: Sequence[Sensor]) -> str | None:
    """Return what is wrong with the sensors, or None."""
    for sensor in sensors:
        wrong = _fault(sensor)
        if wrong:
            return f"sensor of space {sensor.space!r}: {wrong}"
    return None


def _fault(sensor: Sensor) -> str | None:
    if (sensor.dev_eui is None) is (sensor.topic is None):
        return "needs a dev_eui or a topic, and not both"
    if sensor.topic is not None and sensor.kind != "mapped":
        return "a topic needs the kind mapped"
    if (sensor.kind == "mapped") is not (sensor.mapping is not None):
        return "the kind mapped needs a mapping, and no other kind has one"
    if (sensor.kind in BY_DISTANCE) is not (sensor.occupied_below_mm is not None):
        needs = " and ".join(sorted(BY_DISTANCE))
        return f"the kinds {needs} need occupied_below_mm, and no other kind has it"
    return None if sensor.mapping is None else _mapping_fault(sensor.mapping)


def _mapping_fault(mapping: SensorMapping) -> str | None:
    both = sorted({word.casefold() for word in mapping.occupied} & {word.casefold() for word in mapping.free})
    if both:
        return f"mapping: {both[0]!r} can't mean both occupied and free"
    for name in ("state", "battery_percent", "battery_v"):
        path = getattr(mapping, name)
        try:
            each = path is not None and None in mappings.steps(path)
        except MappingError as error:
            return f"mapping: {name}: {error}"
        if each:
            return f"mapping: {name}: path {path!r} has [*], which a state can't have"
    return None
