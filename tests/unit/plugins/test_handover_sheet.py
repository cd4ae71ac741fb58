"""The hand-over sheet has every kind of device that a community's file may name, and all of its words in Spanish."""

import re
from collections.abc import Iterator
from typing import Any

import jinja2
import pytest
import yaml
from ansible.module_utils import community_file as checks
from ansible.module_utils import community_inventory as transform
from ansible.module_utils import community_spec as spec
from ansible.module_utils import community_trial

from .conftest import ROOT, load

SETUP = yaml.safe_load((ROOT / "playbooks/files/camera-setup.yml").read_text())
SPANISH = yaml.safe_load((ROOT / "playbooks/files/handover-es.yml").read_text())
RELAYS = {
    "gpio": {"chip": "/dev/gpiochip0", "switch": 17},
    "modbus_tcp": {"url": "modbus://192.0.2.31"},
    "waveshare_modbus": {"url": "modbus://192.0.2.31"},
}
INVITATIONS: list[dict[str, Any]] = [
    {},
    {"email": "a@b.example", "state": "member"},
    {"email": "a@b.example", "state": "pending"},
    {"email": "a@b.example", "state": "made", "link": "https://p/join/x", "code": "C0DE", "expires_at": "2026-12-14T"},
]


def community() -> dict[str, Any]:
    """A file with every kind of relay, camera, reader, sensor and counter."""
    relays = [{"kind": kind, **RELAYS.get(kind, {"url": "http://192.0.2.31"})} for kind in spec.RELAY_KINDS]
    gates = [{"name": f"g{n}", "direction": "both", "relay": relay} for n, relay in enumerate(relays)]
    posting = [kind for kind in spec.CAMERA_KINDS if kind != "frigate"]
    login, pull = {"user": "cam", "password": "secret-word"}, {"url": "http://192.0.2.40", "password": "other-word"}
    mapped = {"mapped": {"mapping": {}}}
    cameras = [{"name": f"c{n}", "kind": kind, "lane": "in", **mapped.get(kind, {})} for n, kind in enumerate(posting)]
    cameras += [
        {"name": "pulled", "kind": "hikvision", "lane": "in", "pull": pull},
        {
            "name": "secure",
            "kind": "hikvision",
            "lane": "in",
            "tls": True,
            "login": login,
            "secret_path": "hidden-path",
        },
        {"name": "at-nvr", "kind": "hikvision", "lane": "in", "recorder": "nvr", "channel": "1"},
        {
            "name": "at-frigate",
            "kind": "frigate",
            "lane": "in",
            "recorder": "frigate",
            "channel": "2",
            "rtsp": {"url": "rtsp://192.0.2.41/s", "user": "viewer", "password": "stream-word"},
        },
    ]
    reader = {"gate": "g0", "direction": "entry"}
    sensors = [{"kind": kind, "dev_eui": f"{n:016x}", "space": "p-1"} for n, kind in enumerate(spec.SIMULATED_SENSORS)]
    return {
        "title": "Hillside",
        "time_zone": "Europe/Madrid",
        "overlay": {"number": 7, "ip": "10.242.1.7"},
        "gateway": {"lan": "192.0.2.20"},
        "gates": [*gates, {"name": "other", "direction": "exit"}],
        "lanes": [{"name": "in", "gate": "g0", "direction": "entry"}],
        "cameras": cameras,
        "recorders": [
            {"name": "nvr", "kind": "hikvision"},
            {"name": "frigate", "kind": "frigate", "topic": "frigate/tracked_object_update"},
        ],
        "readers": [
            {"name": "usb", "device": "/dev/input/by-id/a", **reader},
            {"name": "net", "login": login, **reader},
        ],
        "spaces": [{"name": "p-1"}],
        "sensors": [*sensors, {"kind": "mapped", "topic": "spaces/1", "space": "p-1", "mapping": {}}],
        "counters": [
            {
                "name": "garage",
                "points": [
                    {"outside": {"topic": "a/0"}, "inside": {"topic": "a/1"}},
                    {"detector": {"topic": "b", "field": "x", "online": "c"}, "direction": "exit"},
                ],
            }
        ],
    }


def results_of(data: dict[str, Any]) -> dict[str, Any]:
    """Results of each kind, well and not."""
    cars = community_trial.cars(transform.cameras(data), ["TEST1"])
    stored = {"decision": "granted", "reason": "known_plate", "opened": True}
    passages = [{**{key: car[key] for key in ("plate", "gate", "direction")}, **stored} for car in cars]
    shut = [{**passage, "opened": False} for passage in passages]
    refused = [{**passage, "decision": "denied"} for passage in passages]
    health = {"checks": {"runs": None, "list": None, "decides": None, "disk": None, "syncs": None, "stream": None}}
    health["checks"] |= {"encrypts": None, "broker": None, "release": None, "relay of gate g0": "no answer"}
    results = [
        each for some in (passages, shut, refused, []) for each in community_trial.results(cars, some, [], health)
    ]
    return {"at": "2026-11-30 12:00 UTC", "seconds": 91, "results": results}


class Words(dict[str, str]):
    """Spanish words that note what was asked for."""

    def __init__(self) -> None:
        super().__init__(SPANISH)
        self.asked: set[str] = set()

    def __getitem__(self, key: str) -> str:
        self.asked.add(key)
        return super().__getitem__(key)


@pytest.fixture
def template() -> jinja2.Template:
    # As Ansible renders it: an undefined value is an error, and the line's end behind a block goes.
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True)  # noqa: S701 - it escapes itself
    environment.filters |= load("filter_plugins", "communities").FilterModule().filters()
    return environment.from_string((ROOT / "playbooks/templates/handover.html.j2").read_text())


def sheets(template: jinja2.Template, words: dict[str, str], **more: Any) -> Iterator[str]:
    """The sheet of a community with everything, for each state of the invitation; and that of one without a test."""
    data = community()
    source = checks.File("hillside.yml", "hillside", data, {})
    made = transform.make([source])
    given = {
        "community": "hillside",
        "file": made.handover["hillside"],
        "about": {**made.communities[0], **more},
        "gateway": made.hosts[0].variables,
        "setup": SETUP,
        "words": words,
        "parkmesh_public_url": "https://parking.example",
    }
    for invitation in INVITATIONS:
        yield template.render(**given, invitation=invitation, onboard_tested=results_of(data))
    yield template.render(**given, invitation={}, onboard_tested={})
    accounts = [
        {"name": "lorawan", "topics": ["application/#"]},
        {"name": "ramp", "topics": ["loops/ramp"], "password": "a-password-of-the-ramp"},
    ]
    given["gateway"] |= {"parking_gateway_mqtt_listen": ["192.0.2.20"], "parking_gateway_mqtt_accounts": accounts}
    yield template.render(**given, invitation={}, onboard_tested={})
    given["gateway"] |= {"parking_gateway_mqtt_tls": False, "parking_gateway_mqtt_anonymous": True}
    yield template.render(**given, invitation={}, onboard_tested={})


def test_the_file_of_the_test_is_a_right_one() -> None:
    filters = load("filter_plugins", "communities").FilterModule().filters()
    assert filters["community_faults"](yaml.safe_dump(community(), sort_keys=False), "hillside") == []


def test_every_kind_of_device_has_its_lines(template: jinja2.Template) -> None:
    first, *_ = sheets(template, {})
    for text in ("relay /dev/gpiochip0, switch 17", "relay modbus://192.0.2.31, ", "mapped at p-1", "spaces/1"):
        assert text in first, text
    for text in (
        "the gateway fetches its messages",
        "password secret-word",
        "/cameras/secure/hidden-path/events",
        "recorder of at-nvr",
    ):
        assert text in first, text
    assert "other-word" not in first
    assert "made on the gateway, in /etc/parkmesh/frigate" in first
    assert "stream-word" not in first
    assert 'lang="en"' in first
    assert not re.search(r"%s|None|undefined", first)


def test_the_spanish_sheet_has_spanish_words_only(template: jinja2.Template) -> None:
    words = Words()
    texts = list(sheets(template, words, language="es"))
    assert 'lang="es"' in texts[0]
    assert "<h2>Direcciones</h2>" in texts[0]
    # What went wrong is for the operator, and stays as the log has it; so do names.
    faults = {"no answer", "denied (known_plate)", "granted (known_plate)"}
    assert words.asked - set(SPANISH) <= faults
    assert set(SPANISH) - words.asked == set(), "words that the sheet doesn't have any more"
    for english, spanish in SPANISH.items():
        assert english.count("%s") == spanish.count("%s"), english
