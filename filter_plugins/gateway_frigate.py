"""The filters that make Frigate's own configuration for plain cameras, and say what is wrong with what they are given.

Frigate 0.17. Sources: its models, frigate/config/ at tag v0.17.2, and its pages configuration/reference,
configuration/license_plate_recognition and integrations/mqtt (docs.frigate.video).

``cameras`` are the entries of ``parking_gateway_frigate_cameras``, ``site`` the other inputs that count
(``__parking_gateway_frigate`` in vars/main.yml of role parking_gateway).
"""

from __future__ import annotations

import difflib
import ipaddress
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import ansible.module_utils
from ansible.errors import AnsibleFilterError

# Modules get the project's module_utils in their archive; on the control node they are found beside this folder.
_MODULE_UTILS = str(Path(__file__).resolve().parent.parent / "module_utils")
if _MODULE_UTILS not in ansible.module_utils.__path__:
    ansible.module_utils.__path__.append(_MODULE_UTILS)

if TYPE_CHECKING:
    from module_utils import community_spec as spec
else:
    from ansible.module_utils import community_spec as spec

Entry = Mapping[str, Any]

VERSION: Final = "0.17-0"
"""Frigate's name for the form of its configuration; a later Frigate knows by it what to convert."""
_STREAM: Final[Mapping[str, Any]] = spec.RTSP["options"]
_MQTT_PASSWORD: Final = r"[!-~]([ -~]{0,126}[!-~])?"  # noqa: S105 - what one may have
_HOST: Final = r"[A-Za-z0-9.:-]{1,253}"
_PATH: Final = r"/[^\s{}]{1,200}"
SECTIONS: Final = (
    "audio",
    "audio_transcription",
    "auth",
    "birdseye",
    "camera_groups",
    "cameras",
    "classification",
    "database",
    "detect",
    "detectors",
    "environment_vars",
    "face_recognition",
    "ffmpeg",
    "genai",
    "go2rtc",
    "live",
    "logger",
    "lpr",
    "model",
    "motion",
    "mqtt",
    "networking",
    "notifications",
    "objects",
    "proxy",
    "record",
    "review",
    "safe_mode",
    "semantic_search",
    "snapshots",
    "telemetry",
    "timestamp_style",
    "tls",
    "ui",
    "version",
)
"""The keys of Frigate's configuration (FrigateConfig)."""
_MADE: Final = ("mqtt", "version")


def faults(cameras: Sequence[Entry], site: Entry) -> list[str]:
    """Everything that is wrong with the inputs, a sentence each, without a secret. Nothing is wrong without cameras."""
    return [*_broker(site), *_settings(cameras, site), *_cameras(cameras, site)] if cameras else []


def files(cameras: Sequence[Entry], site: Entry) -> dict[str, Any]:
    """Return Frigate's ``config``, and the ``secrets`` that it reads beside it: texts by their names.

    Frigate puts a secret where the configuration has its name in braces. Raises AnsibleFilterError for wrong inputs.
    """
    if wrong := faults(cameras, site) or ["there is no camera"] * (not cameras):
        raise AnsibleFilterError(" ".join(wrong))
    own, secrets = _own(site), {}
    mqtt: dict[str, Any] = {
        "enabled": True,
        "host": str(site["broker"]),
        "port": int(site["tls_port"]) if _secure(site) else 1883,
        "topic_prefix": _topic(own[cameras[0]["camera"]], site).removesuffix(spec.FRIGATE_TOPIC),
        "client_id": f"frigate-{site['gateway']}",
        # The broker acknowledges, so that a message outlives a short break of the line.
        "qos": 1,
    }
    if site["user"]:
        mqtt |= {"user": str(site["user"]), "password": "{FRIGATE_MQTT_PASSWORD}"}
        secrets["FRIGATE_MQTT_PASSWORD"] = str(_account(site)["password"])
    if _secure(site):
        mqtt["tls_ca_certs"] = str(site["tls_ca"])
    made: dict[str, Any] = {}
    for camera in cameras:
        url = str(camera["url"])
        if camera.get("user"):
            # Names of the gateway's cameras have no underscore, so that no two of them give one name.
            secret = f"FRIGATE_RTSP_PASSWORD_{camera['camera'].upper().replace('-', '_')}"
            secrets[secret] = str(camera["password"])
            url = url.replace("://", f"://{camera['user']}:{{{secret}}}@", 1)
        made[str(own[camera["camera"]]["channel"])] = _camera(camera, url)
    config = {
        "version": VERSION,
        "mqtt": mqtt,
        "lpr": {"enabled": True},
        "detect": {"enabled": True},
        "objects": {"track": ["car", "motorcycle"]},
        # What passes a gate is the gateway's to record, and it keeps no pictures. A day is for those of a close-up:
        # Frigate keeps them anyway.
        "record": {"enabled": False},
        "snapshots": {"enabled": False, "retain": {"default": 1}},
        "cameras": made,
    }
    return {"config": _merged(config, site["settings"]), "secrets": secrets}


def _camera(camera: Entry, url: str) -> dict[str, Any]:
    size = {key: int(camera[key]) for key in ("width", "height") if camera.get(key)}
    made: dict[str, Any] = {
        "ffmpeg": {"inputs": [{"path": url, "roles": ["detect"]}]},
        "detect": {"fps": int(camera.get("fps") or 5), **size},
        "lpr": {"enabled": True},
        # No pictures to the broker: it would keep the last one of each kind.
        "mqtt": {"enabled": False},
    }
    if camera.get("closeup"):
        # As Frigate's page has it for a dedicated camera without a model of Frigate+.
        made["type"] = "lpr"
        made["detect"]["enabled"] = False
        made["objects"] = {"track": []}
        made["motion"] = {"threshold": 30, "contour_area": 60, "improve_contrast": False}
    return made


def _merged(base: Entry, over: Entry) -> dict[str, Any]:
    """Return dictionaries as one; of anything else the second counts."""
    both = {**base, **over}
    for key in base.keys() & over.keys():
        if isinstance(base[key], Mapping) and isinstance(over[key], Mapping):
            both[key] = _merged(base[key], over[key])
    return both


def _own(site: Entry) -> dict[str, Entry]:
    """The gateway's cameras that a Frigate reads, by name."""
    return {camera["name"]: camera for camera in site["cameras"] if camera.get("kind") == "frigate"}


def _account(site: Entry) -> Entry:
    """The account at the broker that Frigate has; empty without one."""
    found: Entry = next((one for one in site["accounts"] if one["name"] == site["user"]), {})
    return found


def _secure(site: Entry) -> bool:
    """Whether Frigate speaks TLS to the broker: on the gateway itself it doesn't."""
    return bool(site["tls"]) and str(site["broker"]) not in ("127.0.0.1", "::1", "localhost")


def _topic(camera: Entry, site: Entry) -> str:
    """The topic of the camera's recorder; empty without one."""
    topics = {one["name"]: str(one.get("topic", "")) for one in site["recorders"]}
    return topics.get(camera.get("recorder", ""), "")


def _broker(site: Entry) -> Iterator[str]:
    broker, user, tls_ca = (str(site[key]) for key in ("broker", "user", "tls_ca"))
    name = "parking_gateway_frigate_"
    if not broker:
        yield f"{name}broker is missing: the address at which Frigate reaches this gateway's broker."
    elif not re.fullmatch(_HOST, broker):
        yield f"{name}broker is {broker!r}; allowed is a name or an address."
    elif not _listens(broker, site["listen"]):
        there = ", ".join(site["listen"]) or "no address"
        yield f"{name}broker is {broker}, where the broker doesn't listen: parking_gateway_mqtt_listen has {there}."
    if user or not site["anonymous"]:
        yield from _login(user, site)
    if _secure(site) and not re.fullmatch(_PATH, tls_ca):
        yield f"{name}tls_ca is {tls_ca!r}; allowed is an absolute path in Frigate's container."


def _login(user: str, site: Entry) -> Iterator[str]:
    """What is wrong with Frigate's account at the broker."""
    account, name = _account(site), "parking_gateway_frigate_user"
    there = ", ".join(one["name"] for one in site["accounts"]) or "none"
    if not account:
        yield f"{name} is {user!r}; allowed is an account of parking_gateway_mqtt_accounts: there are {there}."
        return
    if not re.fullmatch(_MQTT_PASSWORD, str(account.get("password") or "")):
        yield (
            f"{name}: the account {user} has no password in parking_gateway_mqtt_accounts that Frigate can have; give "
            "it one from a vault, of 1 to 128 ASCII characters."
        )
    own = _own(site).values()
    prefixes = {_topic(camera, site).removesuffix(spec.FRIGATE_TOPIC) for camera in own} - {""}
    for prefix in sorted(prefixes):
        for right, word in (("topics", "publish to"), ("reads", "read")):
            if not {f"{prefix}/#", "#"} & set(account.get(right) or []):
                yield f"{name}: the account {user} may not {word} {prefix}/#; add that to its {right}."


def _listens(broker: str, listen: Sequence[str]) -> bool:
    """Whether the broker listens at an address. Of a name nothing can be said here."""
    try:
        address = ipaddress.ip_address(broker)
    except ValueError:
        return True
    every = {"0.0.0.0", "::"}  # noqa: S104 - what the inventory may say
    return address.is_loopback or bool(every & set(listen)) or str(address) in listen


def _settings(cameras: Sequence[Entry], site: Entry) -> Iterator[str]:
    name, settings = "parking_gateway_frigate_settings", site["settings"]
    for key in settings:
        if key in _MADE:
            yield f"{name} has {key}, which the role makes."
        elif key not in SECTIONS:
            near = difflib.get_close_matches(str(key), SECTIONS, 1)
            yield f"{name} has {key!r}, which Frigate doesn't know{f' (is {near[0]} meant?)' if near else ''}."
    further = settings.get("cameras") or {}
    own = _own(site)
    made = [str(own[one["camera"]].get("channel", "")) for one in cameras if one["camera"] in own]
    for key, camera in further.items():
        if key not in made and "ffmpeg" not in (camera or {}):
            yield f"{name}.cameras has {key!r}; there are: {', '.join(made)} (a further one needs its own ffmpeg)."


def _cameras(cameras: Sequence[Entry], site: Entry) -> Iterator[str]:
    own, seen = _own(site), set()
    topics: dict[str, str] = {}
    for index, camera in enumerate(cameras):
        name = camera["camera"]
        where = f"parking_gateway_frigate_cameras[{index}] ({name})"
        if name not in own:
            there = ", ".join(own) or "none"
            yield f"{where}: parking_gateway_cameras has no camera {name!r} of the kind frigate; there are: {there}."
        elif name in seen:
            yield f"{where}: the camera has an entry already."
        else:
            channel, topic = str(own[name].get("channel", "")), _topic(own[name], site)
            if not re.fullmatch(spec.FRIGATE_CAMERA, channel):
                yield f"{where}: its channel is {channel!r}; Frigate allows letters, digits, _ and -."
            if not re.fullmatch(rf"[^+#{{}}]+{spec.FRIGATE_TOPIC}", topic):
                yield f"{where}: its recorder's topic is {topic!r}; allowed is <prefix>{spec.FRIGATE_TOPIC}."
            else:
                topics[topic] = name
        seen.add(name)
        yield from (f"{where}: {wrong}" for wrong in _stream(camera))
    if len(topics) > 1:
        yield f"parking_gateway_frigate_cameras has several recorders ({', '.join(topics)}); a Frigate is one."


def _stream(camera: Entry) -> Iterator[str]:
    url, user, password = (str(camera.get(key) or "") for key in ("url", "user", "password"))
    # Such an address may hold a password, so that it isn't shown.
    if re.search(spec.STREAM_ACCOUNT, url):
        yield "its url has an account; give it as user and password."
    elif not re.fullmatch(spec.STREAM, url):
        yield f"its url is {url!r}; allowed is {spec.STREAM_FORM}."
    if bool(user) is not bool(password):
        yield "its user and its password come together."
    if user and not re.fullmatch(_STREAM["user"]["pattern"], user):
        yield f"its user is {user!r}; allowed are {_STREAM['user']['form']}."
    if password and not re.fullmatch(spec.STREAM_PASSWORD, password):
        yield f"its password isn't allowed; allowed are {spec.STREAM_PASSWORD_FORM}."
    if bool(camera.get("width")) is not bool(camera.get("height")):
        yield "its width and its height come together."
    for key in ("width", "height", "fps"):
        least, most = _STREAM[key]["least"], _STREAM[key]["most"]
        if camera.get(key) and not least <= int(camera[key]) <= most:
            yield f"its {key} is {camera[key]}; allowed is {least} to {most}."


class FilterModule:
    def filters(self) -> dict[str, Callable[..., Any]]:
        return {"gateway_frigate_faults": faults, "gateway_frigate_files": files}
