"""The gateway's configuration file: one JSON document, checked as a whole before anything starts."""

from pathlib import Path
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from parkmesh.domain.community_rules import GateRules, RefusalHold, SamePlateWindow
from parkmesh.gateway import counters as counters_of
from parkmesh.gateway import gates as gates_of
from parkmesh.gateway import mapping as mappings
from parkmesh.gateway import sensors as sensors_of
from parkmesh.gateway.counters import Counter
from parkmesh.gateway.gates import Gate
from parkmesh.gateway.mapping import Mapping, MappingError
from parkmesh.gateway.sensors import Sensor, Topic
from parkmesh.protocol.edge import Direction, Name

Port = Annotated[int, Meta(ge=0, le=65535)]
Url = Annotated[str, Meta(pattern=r"^https?://[^/\s]+/?$", max_length=300)]
Host = Annotated[str, Meta(min_length=1, max_length=253)]
SecretPath = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{8,128}$")]
Channel = Annotated[str, Meta(min_length=1, max_length=100)]
CameraKind = Literal[
    "hikvision",
    "plate_recognizer",
    "milesight",
    "axis_lpv",
    "rekor_scout",
    "dahua_itsapi",
    "dahua_events",
    "frigate",
    "mapped",
]
"""Each kind has a driver in ``gateway.drivers``."""

PULLED: frozenset[CameraKind] = frozenset({"hikvision", "dahua_events"})
"""Kinds whose messages the gateway can fetch."""

PULLED_ONLY: frozenset[CameraKind] = frozenset({"dahua_events"})
"""Kinds whose messages come no other way."""

BY_BROKER: frozenset[CameraKind] = frozenset({"frigate"})
"""Kinds whose messages come by the MQTT broker only."""

_UNTOLD = GateRules()
RENAMED = {"denied_hold_s": "refusal_hold_s"}
"""Keys of earlier releases, and what they are called now."""


class ConfigError(Exception):
    """The configuration can't be used; the message is one line and names the file and the place."""


class Listen(Struct, frozen=True, forbid_unknown_fields=True):
    """Where cameras post to. Port 0 takes a free one (tests). ``tls_port`` takes the same messages over TLS."""

    host: Host = "0.0.0.0"  # noqa: S104 -- cameras are on the community's LAN
    port: Port = 8100
    tls_port: Port | None = None


class Mqtt(Struct, frozen=True, forbid_unknown_fields=True):
    """The broker that the LoRaWAN server publishes uplinks to, and the agent's account there.

    The password is in a file of its own, which is read at each connection.
    """

    host: Host = "127.0.0.1"
    port: Port = 1883
    user: Annotated[str, Meta(pattern=r"^[^:\s]{1,64}$")] | None = None
    password_file: Annotated[str, Meta(min_length=1)] | None = None
    topics: Annotated[list[str], Meta(min_length=1, max_length=32)] = msgspec.field(
        default_factory=lambda: ["application/+/device/+/event/up"]
    )


class Login(Struct, frozen=True, forbid_unknown_fields=True):
    """What a device must know to post: by digest, or over TLS also by basic. ``algorithm`` is what digest offers; some
    firmware takes only the first that is offered, and knows MD5 only."""

    user: Annotated[str, Meta(pattern=r"^[^:\s\"\\]{1,64}$")]
    password: Annotated[str, Meta(pattern=r"^[ -~]{8,128}$")]
    algorithm: Literal["any", "md5", "sha-256"] = "any"


class Pull(Struct, frozen=True, forbid_unknown_fields=True):
    """Where the gateway fetches messages, with an account of the camera or recorder."""

    url: Url
    password: Annotated[str, Meta(min_length=1, max_length=128)]
    user: Annotated[str, Meta(pattern=r"^[^:\s]{1,64}$")] = "admin"


class Camera(Struct, frozen=True, forbid_unknown_fields=True):
    """A plate-reading camera. With ``secret_path`` it must post to ``/cameras/<name>/<secret_path>/events``.

    One whose messages a recorder sends has its ``recorder`` and its ``channel`` there, and no address of its own.
    """

    name: Name
    gate: Name
    direction: Direction
    kind: CameraKind = "hikvision"
    secret_path: SecretPath | None = None
    host: Host | None = None
    """Its address on the LAN, so that ``parkmesh gateway doctor`` looks for it though it never posted."""
    recorder: Name | None = None
    channel: Channel | None = None
    mapping: Mapping | None = None
    """How a camera of the kind ``mapped`` is read."""
    ignore_directions: Annotated[list[Annotated[str, Meta(min_length=1, max_length=64)]], Meta(max_length=8)] = []
    """The camera's own words for directions in which it reads cars that aren't at its gate."""
    login: Login | None = None
    """What it must log in with, beside or instead of the secret part of its address."""
    tls: bool = False
    """Whether its messages are taken over TLS only."""
    pull: Pull | None = None
    """Its messages are fetched from it; it may post, too."""


class Recorder(Struct, frozen=True, forbid_unknown_fields=True):
    """What sends the messages of several cameras: a network recorder, or a program that reads their pictures.

    With ``topic`` they come by the MQTT broker, and the recorder has no address.
    """

    name: Name
    kind: CameraKind = "hikvision"
    secret_path: SecretPath | None = None
    mapping: Mapping | None = None
    """As of a camera."""
    topic: Topic | None = None
    login: Login | None = None
    tls: bool = False
    pull: Pull | None = None
    """All three as of a camera."""


class Reader(Struct, frozen=True, forbid_unknown_fields=True):
    """A scanner or keypad for visitors' codes: it posts what was scanned or typed to ``/readers/<name>/codes``, or to
    ``/readers/<name>/<secret_path>/codes``. ``field`` is where a JSON or form message has it.

    One with a ``device`` is at the gateway's USB, types like a keyboard, and has no address.
    """

    name: Name
    gate: Name
    direction: Direction
    secret_path: SecretPath | None = None
    field: Annotated[str, Meta(min_length=1, max_length=64)] = "code"
    login: Login | None = None
    tls: bool = False
    """Both as of a camera."""
    device: Annotated[str, Meta(pattern=r"^/dev/input/[A-Za-z0-9/._:-]{1,200}$")] | None = None


class LocalPage(Struct, frozen=True, forbid_unknown_fields=True):
    """The page for people on the community's LAN. ``password`` is the hash that ``gateway.page.passwords`` reads.

    ``shows_plates``: plates stand there in full, else masked. ``language`` None is the browser's.
    """

    password: Annotated[str, Meta(pattern=r"^pbkdf2-sha256:[0-9]{1,8}(:[A-Za-z0-9+/=]{8,100}){2}$")]
    host: Host = "0.0.0.0"  # noqa: S104 -- people are on the community's LAN
    port: Port = 8180
    shows_plates: bool = False
    language: Literal["en", "es"] | None = None
    tls: bool = False


class Config(Struct, frozen=True, forbid_unknown_fields=True):
    """Everything a gateway knows about its community's devices and its servers."""

    name: Name
    community: Name
    spool: str
    token_file: str
    servers: Annotated[list[Url], Meta(min_length=1, max_length=256)]
    listen: Listen = Listen()
    certificate_file: str | None = None
    """PEM: the certificate of what listens over TLS, its chain, and its key."""
    mqtt: Mqtt | None = None
    cameras: list[Camera] = []
    recorders: list[Recorder] = []
    readers: list[Reader] = []
    gates: list[Gate] = []
    sensors: list[Sensor] = []
    counters: Annotated[list[Counter], Meta(max_length=64)] = []
    local_page: LocalPage | None = None
    same_plate_window_s: SamePlateWindow = _UNTOLD.same_plate_window_s
    """The community's rule of this name decides; this holds until a server has told it."""
    refusal_hold_s: RefusalHold = _UNTOLD.refusal_hold_s
    """As ``same_plate_window_s``."""
    max_event_age_s: Annotated[float, Meta(gt=0, le=300)] = 20
    """A read that is older than this never opens a gate."""
    min_confidence: Annotated[float, Meta(ge=0, le=1)] = 0.3
    """A read of which its camera is less sure opens nothing."""
    min_confidence_misread: Annotated[float, Meta(ge=0, le=1)] = 0.5
    """As ``min_confidence``, for a read that fits a plate only as its misreading."""
    heartbeat_s: Annotated[float, Meta(ge=1, le=3600)] = 30
    camera_silence_s: Annotated[float, Meta(ge=10)] = 86_400
    """A camera that sent nothing for this long is reported as silent."""
    sensor_silence_s: Annotated[float, Meta(ge=60)] = 90_000
    """The space of a sensor that sent nothing for this long is unknown."""
    spool_max_mb: Annotated[float, Meta(gt=0, le=100_000)] = 512
    """Size of waiting records above which sensor states are dropped (with a gap record). Passages never are."""


def _duplicates(what: str, names: list[str]) -> str | None:
    for name in names:
        if names.count(name) > 1:
            return f"{what} {name!r} is there twice"
    return None


def _misrecorded(config: Config) -> str | None:
    """Return what is wrong between recorders and their cameras, or None."""
    recorders = {recorder.name: recorder for recorder in config.recorders}
    for camera in config.cameras:
        if (camera.recorder is None) is not (camera.channel is None):
            return f"camera {camera.name!r} needs both recorder and channel, or neither"
        if camera.recorder is None:
            continue
        recorder = recorders.get(camera.recorder)
        if recorder is None:
            return f"camera {camera.name!r} names the recorder {camera.recorder!r}, which isn't under recorders"
        if camera.kind != recorder.kind:
            return f"camera {camera.name!r} is of kind {camera.kind}, but its recorder is of kind {recorder.kind}"
        if camera.secret_path is not None or camera.mapping is not None or camera.login or camera.tls or camera.pull:
            belong = "secret_path, login, tls, pull and mapping belong to the recorder"
            return f"camera {camera.name!r} has a recorder: {belong}"
    used = {camera.recorder for camera in config.cameras}
    for name, recorder in recorders.items():
        if name not in used:
            return f"recorder {name!r} has no camera"
        if recorder.topic is not None and (recorder.secret_path or recorder.login or recorder.tls or recorder.pull):
            return f"recorder {name!r} has a topic, so no secret_path, login, tls or pull"
        if recorder.topic is not None and config.mqtt is None:
            return f"recorder {name!r} has a topic, but there is no mqtt broker"
    untold = [("camera", one.name, one.kind) for one in config.cameras if one.recorder is None]
    untold += [("recorder", one.name, one.kind) for one in config.recorders if one.topic is None]
    for what, name, kind in untold:
        if kind in BY_BROKER:
            return f"{what} {name!r}: the kind {kind} needs a recorder with a topic of the mqtt broker"
    pulled = [("camera", one.name, one.kind) for one in config.cameras if one.pull]
    pulled += [("recorder", one.name, one.kind) for one in config.recorders if one.pull]
    for what, name, kind in pulled:
        if kind not in PULLED:
            return f"{what} {name!r}: messages of the kind {kind} can't be fetched by pull"
    for what, name, kind in untold:
        if kind in PULLED_ONLY and (what, name, kind) not in pulled:
            return f"{what} {name!r}: the kind {kind} needs pull"
    channels = [f"{camera.recorder}/{camera.channel}" for camera in config.cameras if camera.recorder]
    topics = [recorder.topic for recorder in config.recorders if recorder.topic]
    return _duplicates("channel", channels) or _duplicates("topic", topics)


def _mismapped(config: Config) -> str | None:
    """Return what is wrong with a mapping, or None."""
    alone = [("camera", one.name, one.kind, one.mapping) for one in config.cameras if one.recorder is None]
    shared = [("recorder", one.name, one.kind, one.mapping) for one in config.recorders]
    for what, name, kind, mapping in alone + shared:
        if (kind == "mapped") is not (mapping is not None):
            return f"{what} {name!r}: the kind mapped needs a mapping, and no other kind has one"
        if mapping is None:
            continue
        if what == "recorder" and mapping.channel is None:
            return f"{what} {name!r}: the mapping of a recorder needs the path of the channel"
        try:
            mappings.check(mapping)
        except MappingError as error:
            return f"{what} {name!r}: mapping: {error}"
    return None


def _unencrypted(config: Config) -> str | None:
    """Return what asks for TLS that there isn't, or None."""
    if config.certificate_file is None and config.listen.tls_port is not None:
        return "listen.tls_port needs a certificate_file"
    if config.certificate_file is None and config.local_page is not None and config.local_page.tls:
        return "local_page.tls needs a certificate_file"
    if config.listen.tls_port is not None:
        return None
    wanting = [f"camera {one.name!r}" for one in config.cameras if one.tls]
    wanting += [f"recorder {one.name!r}" for one in config.recorders if one.tls]
    wanting += [f"reader {one.name!r}" for one in config.readers if one.tls]
    return f"{wanting[0]} has tls, but there is no listen.tls_port" if wanting else None


def _inconsistency(config: Config) -> str | None:
    """Return what is wrong between the parts, or None."""
    gates = [gate.name for gate in config.gates]
    for camera in config.cameras:
        if camera.gate not in gates:
            return f"camera {camera.name!r} names the gate {camera.gate!r}, which isn't under gates"
    for reader in config.readers:
        if reader.gate not in gates:
            return f"reader {reader.name!r} names the gate {reader.gate!r}, which isn't under gates"
    for reader in config.readers:
        if reader.device is not None and (reader.secret_path or reader.login or reader.tls):
            return f"reader {reader.name!r} has a device, so no secret_path, login or tls"
    if config.mqtt is not None and (config.mqtt.user is None) != (config.mqtt.password_file is None):
        return "mqtt: user and password_file come together"
    if config.sensors and config.mqtt is None:
        return "there are sensors but no mqtt broker"
    if config.counters and config.mqtt is None:
        return "there are counters but no mqtt broker"
    return (
        _misrecorded(config)
        or _mismapped(config)
        or _unencrypted(config)
        or _duplicates("camera", [*(one.name for one in config.cameras), *(one.name for one in config.recorders)])
        or _duplicates("reader", [reader.name for reader in config.readers])
        or _duplicates("device", [reader.device for reader in config.readers if reader.device])
        or _duplicates("gate", gates)
        or gates_of.fault(config.gates)
        or sensors_of.fault(config.sensors)
        or _duplicates("sensor", [sensor.id for sensor in config.sensors])
        or counters_of.fault(config.counters)
        or _duplicates("counter", [counter.name for counter in config.counters])
        or _shared_topic(config)
        or _duplicates("server", config.servers)
    )


def _shared_topic(config: Config) -> str | None:
    """Return that a counter would take the messages of something else, or None."""
    others = {one.topic for one in config.sensors} | {one.topic for one in config.recorders}
    others.discard(None)
    for counter in config.counters:
        for detector in [one for point in counter.points for one in point.detectors]:
            if detector.topic in others or detector.online in others:
                return f"counter {counter.name!r}: a sensor or recorder has its topic"
    return None


def _renamed(text: bytes) -> str:
    """Return what to add to an error where the file has a key of an earlier release, else nothing."""
    try:
        keys = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""
    return "".join(f"; {old} is now called {new}" for old, new in RENAMED.items() if old in keys)


def parse(text: bytes, source: str) -> Config:
    """Read a configuration from JSON; raise ConfigError in one line that starts with ``source``."""
    try:
        config = msgspec.json.decode(text, type=Config)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{source}: {error}{_renamed(text)}") from None
    wrong = _inconsistency(config)
    if wrong:
        raise ConfigError(f"{source}: {wrong}")
    return config


def load(path: Path) -> Config:
    """Read the configuration file."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    return parse(text, str(path))


def load_token(path: Path) -> str:
    """Read the gateway's bearer token; the message of a ConfigError never contains it."""
    try:
        token = path.read_text(encoding="ascii").strip()
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: the token isn't ASCII text") from None
    if not token or any(not char.isprintable() or char.isspace() for char in token):
        raise ConfigError(f"{path}: must hold one token on one line")
    return token
