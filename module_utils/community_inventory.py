"""Turn checked community files into the inventory: gateways with their variables and groups, simulators, and what the
application is told of each community. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from module_utils import community_file
    from module_utils import community_spec as spec
else:
    from ansible.module_utils import community_file
    from ansible.module_utils import community_spec as spec

_PORT: Final = 8100
_TLS_PORT: Final = 8143
_BROKER_PORT: Final = 1883
_BROKER_TLS_PORT: Final = 8883
# Where a gateway keeps the account of the cars that an onboarding drives (role parking_gateway).
_TESTER: Final = {"user": "parkmesh-test", "password_file": "/etc/parkmesh/mqtt/parkmesh-test.password"}
# What of a gate the application knows, and what the gateway.
_OF_APPLICATION: Final = ("name", "title", "direction")
_OF_GATEWAY: Final = (
    "name",
    "relay",
    "input",
    "min_gap_s",
    "still_open_s",
    "others_open",
    "close_after_clear_s",
    "close_unused_s",
    "hold_open",
    "interlock",
)
_DESCRIBED: Final = ("title", "time_zone", "language", "spaces", "rules", "residents")


@dataclass(frozen=True, slots=True)
class Host:
    """A host of the inventory, with its groups and its variables."""

    name: str
    groups: tuple[str, ...]
    variables: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Made:
    """``communities`` is what the application is told; ``handover`` what onboarding needs beside it, by name."""

    hosts: list[Host] = field(default_factory=list)
    communities: list[dict[str, Any]] = field(default_factory=list)
    handover: dict[str, dict[str, Any]] = field(default_factory=dict)


def make(files: Sequence[community_file.File]) -> Made:
    """Everything that the files say, in their order. They are right, each by itself and together."""
    made = Made()
    for file in files:
        data = _without_nothing(file.data)
        made.communities.append(description(file.name, data))
        gateway = community_file.gateway_name(file.name, data)
        own = group(file.name)
        made.hosts.append(Host(gateway, ("gateways", own), gateway_variables(file.name, data)))
        made.handover[file.name] = {
            "gateway": gateway,
            "lan": data["gateway"]["lan"],
            "place": data.get("place", ""),
            "administrator": data.get("administrator", ""),
            "site": site(data, "127.0.0.1", _TESTER),
        }
        if simulator := data.get("simulator"):
            made.hosts.append(
                Host(
                    simulator["host"],
                    ("simulators", own),
                    {"parking_simulator_site": site(data, data["gateway"]["lan"], simulator.get("broker", {}))},
                )
            )
    return made


def group(community: str) -> str:
    """The group of a community's hosts; a group's name has no hyphens."""
    return f"community_{community.replace('-', '_')}"


def description(name: str, data: Mapping[str, Any]) -> dict[str, Any]:
    """What ``parkmesh admin apply`` is told of a community."""
    described = {key: data[key] for key in _DESCRIBED if key in data}
    return {"name": name, **described, "gates": [_only(gate, _OF_APPLICATION) for gate in data["gates"]]}


def gateway_variables(name: str, data: Mapping[str, Any]) -> dict[str, Any]:
    """The variables of the gateway's host, by the names that the playbooks and roles know."""
    overlay, gateway = data["overlay"], data["gateway"]
    member = {"name": community_file.gateway_name(name, data), "ip": overlay["ip"]}
    if "address" in overlay:
        member["address"] = overlay["address"]
    variables = {
        **gateway.get("variables", {}),
        "overlay_member": {**member, "tags": {"role": "gateway", "community": overlay["number"]}},
        "parking_gateway_community": name,
        "parking_gateway_cameras": cameras(data),
        "parking_gateway_recorders": list(data.get("recorders", [])),
        "parking_gateway_readers": list(data.get("readers", [])),
        "parking_gateway_gates": [_only(gate, _OF_GATEWAY) for gate in data["gates"] if "relay" in gate],
        "parking_gateway_sensors": list(data.get("sensors", [])),
        "parking_gateway_counters": list(data.get("counters", [])),
    }
    plain = [camera for camera in data.get("cameras", []) if "rtsp" in camera]
    if streams := [{"camera": camera["name"], **camera["rtsp"]} for camera in plain]:
        variables["parking_gateway_frigate_cameras"] = streams
        variables.setdefault("parking_gateway_frigate_broker", gateway["lan"])
    if variables.get("parking_gateway_tls"):
        variables.setdefault("parking_gateway_tls_names", [member["name"], gateway["lan"]])
    if "console" in gateway:
        variables["gateway_console"] = gateway["console"]
    return variables


def cameras(data: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The cameras as the gateway takes them: each with the gate and the direction of its lane."""
    lanes = {lane["name"]: lane for lane in data.get("lanes", [])}
    found = []
    for camera in data.get("cameras", []):
        place = _only(lanes[camera["lane"]], ("gate", "direction")) if "lane" in camera else {}
        found.append({**{key: value for key, value in camera.items() if key not in ("lane", "rtsp")}, **place})
    return found


def site(data: Mapping[str, Any], address: str, account: Mapping[str, Any]) -> dict[str, Any]:
    """The site file of a simulator that stands in for the devices (docs/lab.md); ``address`` is the gateway's, and
    ``account`` that at its broker.

    It has no relay or sensor of a kind that can't be simulated, and no relay's password: a simulated one asks for none.
    """
    given = data["gateway"].get("variables", {})
    port = given.get("parking_gateway_port", _PORT)
    topics = {recorder["name"]: recorder["topic"] for recorder in data.get("recorders", []) if "topic" in recorder}
    of_recorder = ("secret_path", "login", "tls")
    posted = ("name", "gate", "kind", "recorder", "channel", *of_recorder)
    recorders = {one["name"]: _only(one, of_recorder) for one in data.get("recorders", [])}
    simulated = []
    for camera in cameras(data):
        one = {**_only(camera, posted), "relay": camera["gate"]}
        recorder = camera.get("recorder")
        if recorder in topics:
            one["topic"] = topics[recorder]
        one |= recorders.get(recorder, {})
        simulated.append(one)
    tls = data["gateway"].get("variables", {})
    secure = {"gateway_tls": f"https://{address}:{tls.get('parking_gateway_tls_port', _TLS_PORT)}"}
    return {
        "gateway": f"http://{address}:{port}",
        **(secure if tls.get("parking_gateway_tls") else {}),
        "broker": {
            "host": address,
            "port": given.get("parking_gateway_mqtt_tls_port", _BROKER_TLS_PORT)
            if account.get("tls")
            else _BROKER_PORT,
            **account,
        },
        "relays": [_simulated_relay(gate) for gate in data["gates"] if _relay_kind(gate) in spec.SIMULATED_RELAYS],
        "cameras": simulated,
        "sensors": [
            _only(sensor, ("dev_eui", "kind", "space"))
            for sensor in data.get("sensors", [])
            if sensor["kind"] in spec.SIMULATED_SENSORS and "dev_eui" in sensor
        ],
        "counters": list(data.get("counters", [])),
        "readers": [reader for reader in data.get("readers", []) if "device" not in reader],
    }


def _relay_kind(gate: Mapping[str, Any]) -> str | None:
    kind: str | None = gate["relay"].get("kind", "shelly_gen2") if "relay" in gate else None
    return kind


def _simulated_relay(gate: Mapping[str, Any]) -> dict[str, Any]:
    every = "0.0.0.0"  # noqa: S104 - the gateway is another host
    return {"name": gate["name"], "kind": _relay_kind(gate), "port": _port(gate["relay"]["url"]), "listen": every}


def _port(url: str) -> int:
    port = re.search(r":(\d+)/?$", url)
    return int(port[1]) if port else 80


def _only(entry: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    return {key: entry[key] for key in keys if key in entry}


def _without_nothing(value: Any) -> Any:
    """The data without keys that have no value: such a key is as good as none."""
    if isinstance(value, Mapping):
        return {str(key): _without_nothing(entry) for key, entry in value.items() if entry is not None}
    if isinstance(value, list):
        return [_without_nothing(entry) for entry in value]
    return value
