"""The site file: which simulated devices a community has and where its gateway and broker are."""

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from parkmesh.gateway.config import CameraKind, Channel, Host, Login, Port, Reader, Url
from parkmesh.gateway.counters import Counter
from parkmesh.gateway.sensors import DevEui, Topic
from parkmesh.protocol.edge import Name
from parkmesh.simulator.lorawan import SimulatedSensor

SimulatedRelay = Literal["shelly_gen2", "shelly_gen1", "tasmota", "esphome", "hikvision_gate", "http"]
"""Kinds of relays that ``simulator.relay_kinds`` knows."""


class SiteError(Exception):
    """The site file can't be used, or lacks what was asked for; one line."""


class Broker(Struct, frozen=True, forbid_unknown_fields=True):
    """The gateway's broker and the devices' account there. With ``tls`` its certificate isn't looked at, as by most
    devices."""

    host: Host
    port: Port = 1883
    user: str | None = None
    password: str | None = None
    password_file: str | None = None
    """Where the password is, instead of ``password``."""
    tls: bool = False


class RelaySite(Struct, frozen=True, forbid_unknown_fields=True):
    """One simulated relay and where it listens."""

    name: Name
    port: Port
    listen: Host = "127.0.0.1"
    kind: SimulatedRelay = "shelly_gen2"
    password: str | None = None

    @property
    def url(self) -> str:
        """Where a simulator on the same host reaches it."""
        return f"http://{'127.0.0.1' if self.listen == '0.0.0.0' else self.listen}:{self.port}"  # noqa: S104


class StreamSite(Struct, frozen=True, forbid_unknown_fields=True):
    """Where a camera that can't post serves its stream, and the account that it asks for."""

    port: Port
    password: str
    user: str = "admin"
    listen: Host = "127.0.0.1"

    @property
    def url(self) -> str:
        """Where a simulator on the same host reaches it."""
        return f"http://{'127.0.0.1' if self.listen == '0.0.0.0' else self.listen}:{self.port}"  # noqa: S104


class CameraSite(Struct, frozen=True, forbid_unknown_fields=True):
    """One simulated camera; ``relay`` is the one that moves its gate's barrier.

    With a ``recorder`` its messages go to the recorder's address, or to its ``topic`` at the broker, and name the
    camera by its ``channel``.
    """

    name: Name
    gate: Name
    relay: Name | None = None
    secret_path: str | None = None
    kind: CameraKind = "hikvision"
    recorder: Name | None = None
    channel: Channel | None = None
    topic: Topic | None = None
    login: Login | None = None
    tls: bool = False
    stream: StreamSite | None = None


class SensorSite(Struct, frozen=True, forbid_unknown_fields=True):
    dev_eui: DevEui
    kind: SimulatedSensor
    space: Name


class Site(Struct, frozen=True, forbid_unknown_fields=True):
    """All of a site's devices. ``plates`` are those that random traffic uses besides unknown ones."""

    gateway: Url
    gateway_tls: Url | None = None
    """Where cameras with ``tls`` post."""
    broker: Broker | None = None
    relays: list[RelaySite] = []
    cameras: list[CameraSite] = []
    sensors: list[SensorSite] = []
    counters: list[Counter] = []
    readers: list[Reader] = []
    plates: list[Annotated[str, Meta(max_length=16)]] = []

    def camera(self, name: str | None) -> CameraSite:
        """Return the camera of this name, or the first one."""
        for camera in self.cameras:
            if name in (None, camera.name):
                return camera
        raise SiteError(f"the site has no camera {name!r}" if name else "the site has no camera")

    def gateway_of(self, camera: CameraSite) -> str:
        """Return to which address of the gateway a camera posts."""
        return self.gateway_tls if camera.tls and self.gateway_tls else self.gateway

    def relay_of(self, camera: CameraSite) -> RelaySite | None:
        return next((relay for relay in self.relays if relay.name == camera.relay), None)

    def counter(self, name: str) -> Counter:
        for counter in self.counters:
            if counter.name == name:
                return counter
        raise SiteError(f"the site has no counter {name!r}")

    def reader(self, name: str) -> Reader:
        """Return a reader that posts."""
        for reader in self.readers:
            if reader.name == name and reader.device is None:
                return reader
        raise SiteError(f"the site has no reader {name!r} that posts")

    def sensor(self, space: str) -> SensorSite:
        for sensor in self.sensors:
            if sensor.space == space:
                return sensor
        raise SiteError(f"the site has no sensor at space {space!r}")


def load(path: Path) -> Site:
    """Read a site file; raise SiteError in one line that names the file and the place."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Site)
    except OSError as error:
        raise SiteError(f"{path}: {error.strerror}") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise SiteError(f"{path}: {error}") from None
