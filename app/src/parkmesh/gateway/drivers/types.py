"""The interface between drivers and the rest of the gateway: plain data, errors, and what each sort of driver does."""

from collections.abc import Awaitable
from typing import Literal, Protocol

import httpx
from msgspec import Struct

from parkmesh.gateway.gates import Question, Relay


class PoisonError(Exception):
    """A message can't be understood, and sending it again won't help. The text says in one line what is wrong."""


class StreamError(Exception):
    """What a camera sends is no stream of its kind; one line."""


class RelayError(Exception):
    """The barrier wasn't confirmed to have opened; the text says what the relay did instead.

    ``may_have_moved``: the request may have reached the relay, so that the barrier may have had its pulse.
    """

    def __init__(self, text: str, *, may_have_moved: bool = False) -> None:
        super().__init__(text)
        self.may_have_moved = may_have_moved


class PlateRead(Struct, frozen=True):
    """One message of a camera.

    ``plate`` is as the camera wrote it (not normalised), None if it gave none. ``confidence`` is 0 to 1. ``at`` is the
    camera's clock in ms since 1970, None if it gave none. ``event_id`` names the event for deduplication, ``car_id``
    the car that the camera follows over several messages (None: it doesn't say). ``channel`` names the camera, where a
    recorder sends the messages of several. ``direction`` is the camera's own word. ``anpr`` is False for messages that
    aren't about a plate (motion, keep-alive); ``active`` is False for the end of an event.
    """

    event_id: str
    anpr: bool
    plate: str | None = None
    confidence: float | None = None
    at: int | None = None
    direction: str | None = None
    retransmitted: bool = False
    active: bool = True
    car_id: str | None = None
    channel: str | None = None


class Uplink(Struct, frozen=True):
    """One LoRaWAN uplink: lower-case ``dev_eui``, port, payload, and the network's time in ms since 1970 if given.

    ``rssi`` (dBm) and ``snr`` (dB) are of the radio gateway that heard it best.
    """

    dev_eui: str
    f_port: int
    payload: bytes
    at: int | None
    deduplication_id: str
    rssi: float | None = None
    snr: float | None = None


class SensorReading(Struct, frozen=True):
    """What a parking sensor said. ``occupied`` is None for messages without a state.

    ``distance_mm`` is of sensors that know no more than that. ``battery_low`` is the sensor's own word. A ``tilted``
    sensor can't be believed. ``previous_minutes`` is how long the previous state lasted (None: unknown, or more than
    can be told).
    """

    message: Literal["state", "heartbeat", "startup", "other"]
    occupied: bool | None = None
    temperature_c: float | None = None
    battery_v: float | None = None
    previous_minutes: int | None = None
    firmware: str | None = None
    reset_cause: str | None = None
    debug_codes: tuple[int, ...] = ()
    distance_mm: int | None = None
    battery_percent: int | None = None
    battery_low: bool | None = None
    tilted: bool | None = None


class CameraDriver(Protocol):
    """A camera that posts its messages to the listener."""

    def extract(self, body: bytes, content_type: str) -> bytes:
        """Return what is kept of a POST: the message without its pictures. Raises PoisonError.

        Of what it returned, with no content type, it returns the same.
        """

    def parse(self, message: bytes) -> PlateRead:
        """Read a message that ``extract`` returned. Raises PoisonError."""


class StreamMessages(Protocol):
    """Cuts a camera's stream into messages, as its bytes come."""

    def feed(self, chunk: bytes) -> list[bytes]:
        """Take the next bytes; return the messages that are whole now. Raises StreamError."""


class StreamDriver(Protocol):
    """How the messages of a camera that can't post are fetched: from which path, and how its stream is cut.

    A stream that is silent for ``SILENCE_S`` is broken.
    """

    @property
    def PATH(self) -> str: ...

    @property
    def SILENCE_S(self) -> float: ...

    def Messages(self, content_type: str) -> StreamMessages:
        """Begin with an answer of this content type. Raises StreamError."""


class SensorDriver(Protocol):
    """A parking sensor whose payloads come as LoRaWAN uplinks."""

    def decode(self, f_port: int, payload: bytes) -> SensorReading:
        """Decode one payload. Raises PoisonError for one that the device's documentation doesn't know."""


class RelayDriver(Protocol):
    """What moves a barrier."""

    def pulse(self, client: httpx.AsyncClient, relay: Relay) -> Awaitable[None]:
        """Open the barrier; return when the relay confirmed the pulse. Raises RelayError otherwise."""

    def ask(self, client: httpx.AsyncClient, relay: Relay, question: Question) -> Awaitable[bool | None]:
        """Ask one of the barrier's inputs; None where none is connected or it doesn't say. Raises RelayError.

        It moves nothing, and may be asked every second.
        """
