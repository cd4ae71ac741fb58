"""One file for each community: what is refused and how it is said, and what follows from a right file."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
import yaml
from ansible.errors import AnsibleFilterError
from ansible.module_utils import community_file as checks
from ansible.module_utils import community_inventory as transform
from ansible.module_utils import community_new, community_trial
from ansible.module_utils import community_spec as spec
from parkmesh.domain.community_rules import RULES
from parkmesh.gateway import config, counters, gates, sensors
from parkmesh.simulator.lorawan import SimulatedSensor
from parkmesh.simulator.site import SimulatedRelay, Site

from .conftest import ROOT, load

FILTERS = load("filter_plugins", "communities").FilterModule().filters()
EXAMPLE = (ROOT / "inventory/production/communities/riverside.yml").read_text()
FULL = """
title: Hillside
time_zone: Europe/Madrid
overlay: {number: 7, ip: 10.242.1.7, address: 08d0b323c3}
gateway:
  lan: 192.0.2.20
  variables: {parking_gateway_port: 8111}
gates:
  - {name: north, direction: both, relay: {url: "http://192.0.2.31:8201"}, input: open}
  - {name: other, direction: exit}
lanes:
  - {name: in, gate: north, direction: entry}
cameras:
  - {name: front, kind: axis_lpv, lane: in}
  - {name: rear, kind: hikvision, gate: north, direction: exit, recorder: nvr, channel: "33"}
recorders:
  - {name: nvr, kind: hikvision, secret_path: only-this-recorder}
spaces:
  - {name: p-1}
sensors:
  - {dev_eui: "0004a30b001c0530", kind: nwave_nps405, space: p-1}
counters:
  - {name: garage, points: [{outside: {topic: a/0}, inside: {topic: a/1}}, {detector: {topic: b}, direction: exit}]}
rules: {anti_passback: soft}
simulator: {host: devices}
"""


def read(text: str, name: str = "hillside") -> checks.File:
    lines, faults = checks.lines(text, f"{name}.yml")
    assert not faults
    return checks.File(f"{name}.yml", name, yaml.safe_load(text), lines)


def faults(text: str) -> list[str]:
    return FILTERS["community_faults"](text, "hillside")


@pytest.mark.parametrize("text", [EXAMPLE, FULL])
def test_a_right_file_has_no_fault(text: str) -> None:
    assert faults(text) == []


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("title: Hillside", "titel: Hillside", "2: titel: unknown key (is title meant?); allowed: title, place"),
        ("title: Hillside\n", "", "title is missing in the file"),
        ("title: Hillside", "title: 7", "2: title: a text (numbers in quotes) is expected, not 7"),
        ("kind: axis_lpv", "kind: axis", "14: cameras[0].kind: 'axis' is not allowed; allowed: hikvision, plate_re"),
        ("lane: in}", "lane: out}", "14: cameras[0].lane: there is no lane 'out'; there are: in"),
        ("lane: in}", "lane: in, gate: north}", "14: cameras[0]: it has a lane, which says gate and direction"),
        ("lane: in}", "gate: north}", "14: cameras[0]: it needs a lane, or gate and direction"),
        (
            "gate: north, direction: exit",
            "gate: south, direction: exit",
            "15: cameras[1].gate: there is no gate 'south'",
        ),
        ("gate: north, direction: exit", "gate: other, direction: exit", "15: cameras[1]: its gate other has no relay"),
        ("gate: north, direction: exit", "gate: other, direction: entry", "but the gate other is for exit only"),
        ("name: other", "name: north", "10: gates[1].name: 'north' is at line 9 already"),
        ("name: rear", "name: nvr", "15: cameras[1].name: 'nvr' is the name of a recorder already"),
        ("name: rear", "name: Rear", "15: cameras[1].name: 'Rear' is not allowed; allowed: 1 to 63 lower-case letters"),
        ("recorder: nvr, ", "", "15: cameras[1]: it needs both recorder and channel, or neither"),
        ("recorder: nvr", "recorder: dvr", "15: cameras[1].recorder: there is no recorder 'dvr'; there are: nvr"),
        ("name: nvr, kind: hikvision", "name: nvr, kind: milesight", "'hikvision', but its recorder is of the kind"),
        ("kind: axis_lpv", "kind: mapped", "14: cameras[0]: the kind mapped needs a mapping"),
        ("space: p-1}", "space: p-2}", "21: sensors[0].space: there is no space 'p-2'; there are: p-1"),
        ('"0004a30b001c0530"', "4", "21: sensors[0].dev_eui: a text (numbers in quotes) is expected, not 4"),
        ("Europe/Madrid", "Europe/Madird", "3: time_zone: 'Europe/Madird' is no time zone"),
        ("number: 7", "number: 0", "4: overlay.number: 0 is not allowed; allowed: 1 to 65535"),
        ("number: 7", "number: true", "4: overlay.number: a whole number is expected, not True"),
        (
            ", inside: {topic: a/1}",
            "",
            "23: counters[0].points[0]: it needs detector and direction, or outside and inside",
        ),
        (
            "topic: b}, direction",
            "topic: b, on: [x]}, direction",
            "23: counters[0].points[1].detector.True: unknown key",
        ),
        (
            "topic: b}",
            "topic: b/+}",
            "23: counters[0].points[1].detector.topic: 'b/+' is not allowed; allowed: a topic",
        ),
        ("soft", "off", "24: rules.anti_passback: a text (numbers in quotes) is expected, not False"),
        ("parking_gateway_port: 8111", "overlay_member: {}", "7: gateway.variables.overlay_member: the file's other"),
        ("rules:", "gates: []\nrules:", "24: gates: the key is at line 8 already"),
        ("title: Hillside", "title: 'Hillside", "not YAML"),
        (FULL, "- a", "keys with values are expected; allowed: title"),
    ],
)
def test_a_fault_names_line_key_and_what_is_allowed(before: str, after: str, said: str) -> None:
    assert before in FULL
    found = faults(FULL.replace(before, after, 1))
    assert any(said in fault for fault in found), found
    assert all(fault.startswith("hillside.yml:") for fault in found)


def test_all_faults_of_a_file_are_told_at_once() -> None:
    assert len(faults(FULL.replace("axis_lpv", "axis").replace("Hillside", "7").replace("p-1}", "P-1}"))) == 4


def test_a_template_and_an_encrypted_text_are_left_alone() -> None:
    data = yaml.safe_load(FULL)
    data["gateway"]["lan"] = "{{ lab.address }}"
    data["recorders"][0]["secret_path"] = object()
    assert checks.check(checks.File("h.yml", "hillside", data, {})) == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({}, "b.yml:2: the community 'a' is in a.yml already"),
        ({"overlay.number": 7}, "b.yml:4: overlay.number: the number 7 is in a.yml already"),
        ({"overlay.ip": "10.242.1.7"}, "b.yml:4: overlay.ip: the address '10.242.1.7' is in a.yml already"),
        ({"gateway.name": "gateway-a"}, "b.yml:5: gateway.name: the host 'gateway-a' is in a.yml already"),
        ({"simulator.host": "devices"}, "b.yml:25: simulator.host: the host 'devices' is in a.yml already"),
    ],
)
def test_what_only_one_community_may_have(change: dict[str, Any], said: str) -> None:
    first = read(FULL, "a")
    lines, _ = checks.lines(FULL, "b.yml")
    data = copy.deepcopy(first.data)
    data["overlay"] |= {"number": 8, "ip": "10.242.1.8"}
    data["simulator"] = {"host": "others"}
    data["sensors"] = []
    for path, value in change.items():
        part, key = path.split(".")
        data[part][key] = value
    second = checks.File("b.yml", "b" if change else "a", data, lines)
    assert said in [str(fault) for fault in checks.check_together([first, second])]


def test_a_sensor_belongs_to_one_community() -> None:
    data = copy.deepcopy(yaml.safe_load(FULL))
    data["sensors"][0]["dev_eui"] = "0004A30B001C0530"
    together = checks.check_together([read(FULL, "a"), checks.File("b.yml", "b", data, {})])
    assert any("the sensor '0004a30b001c0530' is in a.yml already" in str(fault) for fault in together)


def test_the_spec_knows_what_the_application_knows() -> None:
    assert get_args(config.CameraKind) == spec.CAMERA_KINDS
    assert get_args(gates.RelayKind) == spec.RELAY_KINDS
    assert get_args(sensors.SensorKind) == spec.SENSOR_KINDS
    for struct, options in (
        (config.Camera, set(spec.FILE["cameras"]["options"]) - {"lane", "rtsp"}),
        (config.Recorder, spec.FILE["recorders"]["options"]),
        (config.Reader, spec.FILE["readers"]["options"]),
        (gates.Gate, set(spec.FILE["gates"]["options"]) - {"title", "direction"}),
        (gates.Relay, spec.FILE["gates"]["options"]["relay"]["options"]),
        (sensors.Sensor, spec.FILE["sensors"]["options"]),
        (counters.Counter, spec.FILE["counters"]["options"]),
        (counters.Point, spec.FILE["counters"]["options"]["points"]["options"]),
        (counters.Detector, spec.FILE["counters"]["options"]["points"]["options"]["outside"]["options"]),
    ):
        assert set(struct.__struct_fields__) == set(options), struct.__name__
    assert (*transform._OF_GATEWAY,) == gates.Gate.__struct_fields__
    assert list(spec.RULES) == list(RULES)
    for name, rule in RULES.items():
        option = spec.RULES[name]
        assert option["type"] == rule.kind.__name__, name
        assert (option.get("least"), option.get("most")) == (rule.minimum, rule.maximum), name
        assert option.get("choices", ()) == rule.choices, name


def test_every_kind_of_camera_has_its_set_up_values_for_the_sheet() -> None:
    assert set(yaml.safe_load((ROOT / "playbooks/files/camera-setup.yml").read_text())) == set(spec.CAMERA_KINDS)


def test_the_document_names_every_key() -> None:
    document = (ROOT / "docs/communities.md").read_text()
    keys = set(spec.FILE) | {key for option in spec.FILE.values() for key in option.get("options", {})}
    assert [key for key in sorted(keys - set(spec.RULES)) if f"`{key}`" not in document] == []


def test_what_follows_from_a_file_is_what_gateway_and_simulator_take() -> None:
    made = transform.make([read(FULL)])
    gateway, simulator = made.hosts
    assert (gateway.name, gateway.groups) == ("gateway-hillside", ("gateways", "community_hillside"))
    assert gateway.variables["overlay_member"] == {
        "name": "gateway-hillside",
        "ip": "10.242.1.7",
        "address": "08d0b323c3",
        "tags": {"role": "gateway", "community": 7},
    }
    given = {
        name: gateway.variables[f"parking_gateway_{name}"]
        for name in ("community", "cameras", "recorders", "gates", "sensors")
    }
    rest = {"name": gateway.name, "spool": "s", "token_file": "t", "servers": ["http://10.0.0.1:8001"], "mqtt": {}}
    parsed = config.parse(json.dumps({**given, **rest}).encode(), "gateway.json")
    assert [(camera.name, camera.gate, camera.direction) for camera in parsed.cameras] == [
        ("front", "north", "entry"),
        ("rear", "north", "exit"),
    ]
    assert [gate.name for gate in parsed.gates] == ["north"]
    site = msgspec.convert(simulator.variables["parking_simulator_site"], type=Site)
    assert (site.gateway, site.relays[0].port) == ("http://192.0.2.20:8111", 8201)
    assert site.cameras[1].secret_path == "only-this-recorder"
    assert made.handover["hillside"]["site"]["gateway"] == "http://127.0.0.1:8111"


STREAM = '{url: "rtsp://192.0.2.41/s", user: viewer, password: hidden}'
AT_FRIGATE = f"""  - {{name: plain, kind: frigate, lane: in, recorder: frigate, channel: north_in, rtsp: {STREAM}}}
recorders:
  - {{name: frigate, kind: frigate, topic: frigate/tracked_object_update}}
"""
WITH_FRIGATE = FULL.replace("recorders:\n", AT_FRIGATE)


def test_what_frigate_is_configured_by_follows_from_its_cameras() -> None:
    assert faults(WITH_FRIGATE) == []
    gateway, simulator = transform.make([read(WITH_FRIGATE)]).hosts
    assert gateway.variables["parking_gateway_frigate_cameras"] == [
        {"camera": "plain", "url": "rtsp://192.0.2.41/s", "user": "viewer", "password": "hidden"}
    ]
    assert gateway.variables["parking_gateway_frigate_broker"] == "192.0.2.20"
    # The stream is Frigate's alone.
    assert "rtsp" not in json.dumps([gateway.variables["parking_gateway_cameras"], simulator.variables])
    other = WITH_FRIGATE.replace("{parking_gateway_port: 8111}", "{parking_gateway_frigate_broker: broker.example}")
    assert transform.make([read(other)]).hosts[0].variables["parking_gateway_frigate_broker"] == "broker.example"
    assert "parking_gateway_frigate_cameras" not in transform.make([read(FULL)]).hosts[0].variables


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (
            "kind: frigate, lane",
            "kind: hikvision, lane",
            "16: cameras[2].rtsp: only a camera of the kind frigate has it",
        ),
        (
            "channel: north_in",
            "channel: north in",
            "16: cameras[2].channel: 'north in' is no name of a camera in Frigate",
        ),
        (
            "topic: frigate/tracked_object_update",
            "topic: frigate/events",
            "16: cameras[2].rtsp: the topic of its recorder",
        ),
        (
            "rtsp://",
            "http://",
            "16: cameras[2].rtsp.url: 'http://192.0.2.41/s' is not allowed; allowed: rtsp://<address>",
        ),
        ("rtsp://", "rtsp://a:hidden@", "16: cameras[2].rtsp.url: it has an account: give it as user and password"),
        ("user: viewer, ", "", "16: cameras[2].rtsp: it needs both user and password, or neither"),
        ("user: viewer", "user: a.b", "16: cameras[2].rtsp.user: 'a.b' is not allowed; allowed: 1 to 64 letters"),
        ("password: hidden", "password: hidden word", "16: cameras[2].rtsp.password: allowed: 1 to 128 ASCII"),
        ("user: viewer", "user: viewer, width: 1920", "16: cameras[2].rtsp: it needs both width and height"),
        ("user: viewer", "user: viewer, fps: 60", "16: cameras[2].rtsp.fps: 60 is not allowed; allowed: 1 to 30"),
        (
            "user: viewer",
            "login: viewer",
            "16: cameras[2].rtsp.login: unknown key; allowed: url, user, password, width",
        ),
        ('url: "rtsp://192.0.2.41/s", ', "", "16: cameras[2].rtsp: url is missing"),
        (
            "{parking_gateway_port: 8111}",
            "{parking_gateway_frigate_cameras: []}",
            "7: gateway.variables.parking_gateway_frigate_cameras: the file's other keys say this",
        ),
    ],
)
def test_a_fault_in_a_stream_is_told_without_its_password(before: str, after: str, said: str) -> None:
    assert before in WITH_FRIGATE
    found = faults(WITH_FRIGATE.replace(before, after, 1))
    assert any(said in fault for fault in found), found
    assert not any("hidden" in fault for fault in found)


def test_a_stream_whose_parts_are_known_only_later_is_left_alone() -> None:
    data = yaml.safe_load(WITH_FRIGATE)
    data["cameras"][2]["rtsp"] = {"url": "{{ cameras.url }}", "user": "viewer", "password": object()}
    assert checks.check(checks.File("h.yml", "hillside", data, {})) == []


WIRED = {
    "gpio": "{kind: gpio, chip: /dev/gpiochip0, switch: 17}",
    "modbus_tcp": '{kind: modbus_tcp, url: "modbus://192.0.2.31", switch: 0}',
    "waveshare_modbus": '{kind: waveshare_modbus, url: "modbus://192.0.2.31", switch: 0}',
}


@pytest.mark.parametrize("kind", spec.RELAY_KINDS)
def test_a_simulator_speaks_as_the_relay_does_or_has_none(kind: str) -> None:
    url = '{url: "http://192.0.2.31:8201"}'
    text = FULL.replace(url, WIRED.get(kind, f'{{kind: {kind}, url: "http://192.0.2.31:8201", user: a, password: b}}'))
    assert text != FULL
    _, simulator = transform.make([read(text)]).hosts
    site = msgspec.convert(simulator.variables["parking_simulator_site"], type=Site)
    assert [relay.kind for relay in site.relays] == ([] if kind in WIRED else [kind])


def test_a_simulator_has_the_sensors_that_it_knows() -> None:
    others = """  - {topic: spaces/2, kind: mapped, space: p-1, mapping: {}}
  - {dev_eui: "0004a30b001c0531", kind: nwave_nps405, space: p-1, silence_s: 7200}
counters:
"""
    _, simulator = transform.make([read(FULL.replace("counters:\n", others))]).hosts
    site = msgspec.convert(simulator.variables["parking_simulator_site"], type=Site)
    assert [sensor.dev_eui for sensor in site.sensors] == ["0004a30b001c0530", "0004a30b001c0531"]


def test_what_is_simulated_is_what_the_simulator_knows() -> None:
    assert set(spec.RELAY_KINDS) - set(WIRED) == set(spec.SIMULATED_RELAYS) == set(get_args(SimulatedRelay))
    assert set(spec.SIMULATED_SENSORS) == set(get_args(SimulatedSensor))


def test_the_application_takes_its_description() -> None:
    from parkmesh.server.communities import desired

    (described,) = transform.make([read(FULL)]).communities
    document = desired.parse(json.dumps({"communities": [described]}).encode())
    assert [gate.name for gate in document.communities[0].gates] == ["north", "other"]


def test_a_group_has_no_hyphen() -> None:
    assert transform.group("green-hill-2") == "community_green_hill_2"


def member(number: int, ip: str) -> dict[str, Any]:
    return {"ip": ip, "tags": {"role": "gateway", "community": number}}


@pytest.mark.parametrize(
    ("members", "overlay", "place"),
    [
        ([], "10.242.0.0/16", {"number": 1, "ip": "10.242.1.1"}),
        ([member(4, "10.242.1.1"), {"ip": "10.242.0.2", "tags": {"role": "ops"}}], "10.242.0.0/16", (5, "10.242.1.2")),
        ([member(1, "10.9.0.129")], "10.9.0.0/24", (2, "10.9.0.130")),
    ],
)
def test_a_new_community_gets_what_nobody_has(members: list[dict[str, Any]], overlay: str, place: Any) -> None:
    expected = place if isinstance(place, dict) else dict(zip(("number", "ip"), place, strict=True))
    assert FILTERS["community_place"](members, overlay) == expected


def test_a_full_overlay_is_told() -> None:
    with pytest.raises(ValueError, match="no address left"):
        community_new.place([member(1, "10.9.0.3"), member(2, "10.9.0.5"), member(3, "10.9.0.6")], "10.9.0.0/29")


CAMERAS = [
    {"name": "in", "kind": "hikvision", "gate": "north", "direction": "entry"},
    {"name": "out", "kind": "milesight", "gate": "south", "direction": "exit"},
]


def passage(plate: str, gate: str, direction: str, **fields: Any) -> dict[str, Any]:
    given = {"decision": "granted", "reason": "credential", "opened": True}
    return {"plate": plate, "gate": gate, "direction": direction, **given, **fields}


def test_the_cars_of_a_test_leave_again_and_a_stranger_comes_last() -> None:
    cars = FILTERS["community_cars"](CAMERAS, ["TEST1", "TEST2"])
    assert [(car["plate"], car["camera"], car["expect"]) for car in cars] == [
        ("TEST1", "in", "granted"),
        ("TEST1", "out", "granted"),
        (community_trial.UNKNOWN, "in", "denied"),
    ]
    assert FILTERS["community_cars"]([], []) == []


def test_each_way_in_which_a_test_fails_is_told() -> None:
    cars = FILTERS["community_cars"](CAMERAS, ["TEST1", "TEST2"])
    shut = passage(community_trial.UNKNOWN, "north", "entry", decision="denied", reason="unknown_plate", opened=None)
    health = {"checks": {"runs": None, "syncs": "no answer"}}
    good = [passage("TEST1", "north", "entry"), passage("TEST1", "south", "exit"), shut]
    found = FILTERS["community_results"](cars, good, [], health)
    assert [result["well"] for result in found] == [True, True, True, True, False]
    bad = [passage("TEST1", "north", "entry", opened=False), {**shut, "decision": "granted", "reason": "any"}]
    words = [result["found"] for result in FILTERS["community_results"](cars, bad, ["", "HTTP 404", ""], {})]
    assert [word.partition(",")[0] for word in words] == ["let in", "HTTP 404", "granted (any)"]


def test_a_link_becomes_an_image_of_squares_and_a_text_that_is_too_long_is_refused() -> None:
    drawn = FILTERS["qr_svg"]("https://parking.example.org/join?token=<secret>")
    assert drawn.startswith("<svg ")
    assert "secret" not in drawn
    with pytest.raises(AnsibleFilterError, match="too long"):
        FILTERS["qr_svg"]("x" * 3000)


def inventory(folder: Path, **files: str) -> subprocess.CompletedProcess[str]:
    (folder / "communities").mkdir()
    (folder / "communities.yml").write_text("plugin: communities\n")
    for name, text in files.items():
        (folder / "communities" / f"{name}.yml").write_text(text)
    return subprocess.run(
        [str(Path(sys.executable).with_name("ansible-inventory")), "-i", str(folder), "--list"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def test_ansible_lists_the_hosts_and_a_host_s_own_variables_win(tmp_path: Path) -> None:
    (tmp_path / "host_vars").mkdir()
    (tmp_path / "host_vars/gateway-hillside.yml").write_text("parking_gateway_port: 8222\n")
    (tmp_path / "hosts.yml").write_text("all: {children: {gateways: {hosts: {gateway-second: {}}}}}\n")
    listed = json.loads(inventory(tmp_path, hillside=FULL.replace("192.0.2.20", "'{{ 1 + 1 }}'")).stdout)
    assert sorted(listed["gateways"]["hosts"]) == ["gateway-hillside", "gateway-second"]
    assert sorted(listed["community_hillside"]["hosts"]) == ["devices", "gateway-hillside"]
    variables = listed["_meta"]["hostvars"]
    assert variables["gateway-hillside"]["parking_gateway_port"] == 8222
    assert variables["gateway-second"]["communities"][0]["name"] == "hillside"
    # What the operator wrote is a template, also in what is put together from it.
    assert variables["devices"]["parking_simulator_site"]["gateway"] == "http://{{ 1 + 1 }}:8111"


def test_ansible_tells_every_fault_and_lists_no_half_of_the_fleet(tmp_path: Path) -> None:
    done = inventory(tmp_path, hillside=FULL, wrong=FULL.replace("lane: in}", "lane: out}"))
    assert done.returncode != 0
    assert "communities/wrong.yml:14: cameras[0].lane: there is no lane 'out'; there are: in" in done.stderr
    assert "gateway-hillside" not in done.stdout


Play = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def new_community(ansible_playbook: str, tmp_path: Path) -> Play:
    (tmp_path / "hosts.yml").write_text(
        "all: {vars: {overlay_cidr: 10.242.0.0/16}, children: {aws: {hosts: {control-node: {}}}}}\n"
    )
    (tmp_path / "communities.yml").write_text("plugin: communities\n")
    (tmp_path / "communities").mkdir()
    (tmp_path / "communities/hillside.yml").write_text(FULL)

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        answers = ("community=greenhill", "title='Green: Hill'", "new_lan=192.0.2.40", "new_gates=a:entry,b:both")
        return subprocess.run(
            [ansible_playbook, "playbooks/new-community.yml", "-i", str(tmp_path), *arguments]
            + [part for answer in answers for part in ("-e", answer)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def test_new_community_writes_a_right_file_once(new_community: Play, tmp_path: Path) -> None:
    file = tmp_path / "communities/greenhill.yml"
    shown = new_community("--check")
    assert shown.returncode == 0, shown.stdout + shown.stderr
    assert 'title: "Green: Hill"' in shown.stdout
    assert not file.exists()
    assert new_community().returncode == 0
    made = read(file.read_text(), "greenhill")
    assert checks.check_together([read(FULL), made]) == []
    assert made.data["overlay"] == {"number": 8, "ip": "10.242.1.1"}
    assert [camera["lane"] for camera in made.data["cameras"]] == ["a-entry", "b-entry", "b-exit"]
    before = file.read_text()
    again = new_community()
    assert again.returncode != 0
    assert "is there already" in again.stdout
    assert file.read_text() == before
