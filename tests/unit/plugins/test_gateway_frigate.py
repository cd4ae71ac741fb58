"""Frigate's configuration: Frigate takes it, what it then publishes the gateway reads, and wrong inputs are told."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from ansible.errors import AnsibleFilterError
from ansible.module_utils import community_spec as spec
from parkmesh.gateway import config as gateway_config

from .conftest import ROOT, load

FILTERS = load("filter_plugins", "gateway_frigate").FilterModule().filters()
SCHEMA = yaml.safe_load((Path(__file__).parent / "data/frigate-0.17.schema.yml").read_text())
OWN = [
    {
        "name": "cam-in",
        "kind": "frigate",
        "gate": "in",
        "direction": "entry",
        "recorder": "frigate",
        "channel": "north_In",
    },
    {"name": "cam-out", "kind": "frigate", "gate": "in", "direction": "exit", "recorder": "frigate", "channel": "out"},
    {"name": "cam-rear", "kind": "hikvision", "gate": "in", "direction": "exit"},
]
STREAMS: list[dict[str, Any]] = [
    {
        "camera": "cam-in",
        "url": "rtsp://192.0.2.41:554/s?x=1",
        "user": "viewer",
        "password": "p$#{x}'@1",
        "width": 1920,
        "height": 1080,
    },
    {"camera": "cam-out", "url": "rtsp://cam-out.example/stream1", "fps": 10, "closeup": True},
]
ACCOUNT = {"name": "frigate", "password": "a password", "topics": ["garage/frigate/#"], "reads": ["garage/frigate/#"]}
OPEN = {"user": "", "accounts": [], "anonymous": True}


def site(**other: Any) -> dict[str, Any]:
    return {
        "gateway": "gateway-a",
        "cameras": OWN,
        "recorders": [{"name": "frigate", "kind": "frigate", "topic": "garage/frigate/tracked_object_update"}],
        "listen": ["192.0.2.20"],
        "broker": "192.0.2.20",
        "user": "frigate",
        "accounts": [{"name": "lorawan", "topics": ["application/#"]}, ACCOUNT],
        "anonymous": False,
        "tls": False,
        "tls_port": 8883,
        "tls_ca": "/config/broker.crt",
        "settings": {},
        **other,
    }


def made(cameras: list[dict[str, Any]] | None = None, **other: Any) -> dict[str, Any]:
    files: dict[str, Any] = FILTERS["gateway_frigate_files"](cameras or STREAMS, site(**other))
    jsonschema.validate(files["config"], SCHEMA)
    return files


def faults(cameras: list[dict[str, Any]] | None = None, **other: Any) -> list[str]:
    found: list[str] = FILTERS["gateway_frigate_faults"](cameras or STREAMS, site(**other))
    return found


def changed(index: int = 0, **other: Any) -> list[dict[str, Any]]:
    cameras = copy.deepcopy(STREAMS)
    cameras[index] = {key: value for key, value in {**cameras[index], **other}.items() if value is not None}
    return cameras


def test_plates_are_read_and_nothing_is_recorded() -> None:
    config = made()["config"]
    assert (config["lpr"], config["detect"]) == ({"enabled": True}, {"enabled": True})
    assert config["objects"]["track"] == ["car", "motorcycle"]
    assert config["record"] == {"enabled": False}
    assert config["snapshots"]["enabled"] is False
    assert all(camera["mqtt"] == {"enabled": False} for camera in config["cameras"].values())
    assert all(camera["lpr"] == {"enabled": True} for camera in config["cameras"].values())


def test_what_frigate_publishes_is_what_the_gateway_listens_to() -> None:
    inputs, frigate = site(), made()["config"]
    rest = {
        "name": "a",
        "community": "a",
        "spool": "s",
        "token_file": "t",
        "servers": ["http://10.0.0.1:8001"],
        "mqtt": {},
    }
    gates = [{"name": "in", "relay": {"url": "http://192.0.2.31"}}]
    document = {**rest, "gates": gates, "cameras": inputs["cameras"], "recorders": inputs["recorders"]}
    gateway = gateway_config.parse(json.dumps(document).encode(), "gateway.json")
    # docs.frigate.video/integrations/mqtt: <topic_prefix>/tracked_object_update, and the camera's name in `camera`.
    assert gateway.recorders[0].topic == f"{frigate['mqtt']['topic_prefix']}/tracked_object_update"
    assert {camera.channel for camera in gateway.cameras if camera.recorder} == set(frigate["cameras"])


def test_a_password_is_a_file_of_its_own_and_its_name_stands_for_it() -> None:
    files = made()
    assert files["secrets"] == {"FRIGATE_MQTT_PASSWORD": "a password", "FRIGATE_RTSP_PASSWORD_CAM_IN": "p$#{x}'@1"}
    text = yaml.safe_dump(files["config"])
    assert not [secret for secret in files["secrets"].values() if secret in text]
    # As Frigate 0.17 fills them in (frigate/config/env.py).
    path = files["config"]["cameras"]["north_In"]["ffmpeg"]["inputs"][0]["path"]
    assert path.format(**files["secrets"]) == "rtsp://viewer:p$#{x}'@1@192.0.2.41:554/s?x=1"
    assert files["config"]["mqtt"]["password"].format(**files["secrets"]) == "a password"


def test_without_accounts_there_is_no_secret() -> None:
    files = made(changed(user=None, password=None), **OPEN)
    assert files["secrets"] == {}
    assert "user" not in files["config"]["mqtt"]


def test_the_broker_is_reached_in_the_clear_or_by_tls() -> None:
    assert made()["config"]["mqtt"] == {
        "enabled": True,
        "host": "192.0.2.20",
        "port": 1883,
        "topic_prefix": "garage/frigate",
        "client_id": "frigate-gateway-a",
        "qos": 1,
        "user": "frigate",
        "password": "{FRIGATE_MQTT_PASSWORD}",
    }
    secure = made(tls=True)["config"]["mqtt"]
    assert (secure["port"], secure["tls_ca_certs"]) == (8883, "/config/broker.crt")
    beside = made(tls=True, broker="127.0.0.1")["config"]["mqtt"]
    assert (beside["port"], "tls_ca_certs" in beside) == (1883, False)


def test_a_close_up_is_searched_for_plates_without_a_car() -> None:
    cameras = made()["config"]["cameras"]
    close = cameras["out"]
    assert (close["type"], close["objects"], close["detect"]) == ("lpr", {"track": []}, {"fps": 10, "enabled": False})
    assert "type" not in cameras["north_In"]
    assert cameras["north_In"]["detect"] == {"fps": 5, "width": 1920, "height": 1080}


def test_settings_are_laid_over_what_is_made() -> None:
    further = {"ffmpeg": {"inputs": [{"path": "rtsp://192.0.2.49/s", "roles": ["detect"]}]}}
    mask = {"motion": {"mask": ["0,0,0.2,0,0.2,0.1"]}}
    settings = {
        "detectors": {"ov": {"type": "openvino", "device": "GPU"}},
        "objects": {"track": ["car", "license_plate"]},
        "lpr": {"recognition_threshold": 0.8},
        "cameras": {"out": mask, "yard": further},
    }
    config = made(settings=settings)["config"]
    assert config["objects"]["track"] == ["car", "license_plate"]
    assert config["lpr"] == {"enabled": True, "recognition_threshold": 0.8}
    assert config["cameras"]["out"]["motion"]["mask"] == ["0,0,0.2,0,0.2,0.1"]
    assert config["cameras"]["out"]["motion"]["contour_area"] == 60
    assert config["cameras"]["yard"] == further
    assert "objects" not in settings["cameras"]["out"], "the input stays as it is"


def test_without_cameras_nothing_is_wrong_and_nothing_made() -> None:
    assert FILTERS["gateway_frigate_faults"]([], site(broker="")) == []
    with pytest.raises(AnsibleFilterError, match="there is no camera"):
        FILTERS["gateway_frigate_files"]([], site())


@pytest.mark.parametrize(
    ("cameras", "other", "said"),
    [
        (None, {"broker": ""}, "parking_gateway_frigate_broker is missing: the address at which Frigate"),
        (
            None,
            {"broker": "192.0.2.99"},
            "192.0.2.99, where the broker doesn't listen: parking_gateway_mqtt_listen has 192.0",
        ),
        (None, {"listen": []}, "parking_gateway_mqtt_listen has no address."),
        (None, {"broker": "mqtt://x"}, "parking_gateway_frigate_broker is 'mqtt://x'; allowed is a name or an address"),
        (
            None,
            {"user": ""},
            "parking_gateway_frigate_user is ''; allowed is an account of parking_gateway_mqtt_accounts",
        ),
        (None, {"user": "frigat"}, "there are lorawan, frigate."),
        (
            None,
            {"user": "lorawan"},
            "the account lorawan has no password in parking_gateway_mqtt_accounts that Frigate",
        ),
        (None, {"accounts": [{**ACCOUNT, "password": "line\nline"}]}, "of 1 to 128 ASCII characters."),
        (
            None,
            {"accounts": [{**ACCOUNT, "reads": []}]},
            "frigate may not read garage/frigate/#; add that to its reads.",
        ),
        (
            None,
            {"tls": True, "tls_ca": "x.crt"},
            "parking_gateway_frigate_tls_ca is 'x.crt'; allowed is an absolute path",
        ),
        (None, {"settings": {"detector": {}}}, "has 'detector', which Frigate doesn't know (is detectors meant?)"),
        (None, {"settings": {"mqtt": {}}}, "parking_gateway_frigate_settings has mqtt, which the role makes"),
        (None, {"settings": {"cameras": {"in": {}}}}, "settings.cameras has 'in'; there are: north_In, out (a further"),
        (
            changed(camera="cam-rear"),
            {},
            "[0] (cam-rear): parking_gateway_cameras has no camera 'cam-rear' of the kind frig",
        ),
        (changed(camera="cam-rear"), {}, "there are: cam-in, cam-out."),
        (
            changed(camera="cam-out"),
            {},
            "parking_gateway_frigate_cameras[1] (cam-out): the camera has an entry already",
        ),
        (changed(url="http://192.0.2.41/s"), {}, "its url is 'http://192.0.2.41/s'; allowed is rtsp://<address>"),
        (changed(url="rtsp://192.0.2.41/{s}"), {}, "its url is 'rtsp://192.0.2.41/{s}'; allowed is"),
        (changed(url="rtsp://a:hidden@192.0.2.41/s"), {}, "its url has an account; give it as user and password"),
        (changed(url="rtsp://192.0.2.41/?user=a&password=hidden"), {}, "its url has an account; give it as user"),
        (changed(password=None), {}, "[0] (cam-in): its user and its password come together"),
        (changed(user="a.b"), {}, "its user is 'a.b'; allowed are 1 to 64 letters, digits, _ and -"),
        (changed(password="hidden word"), {}, "its password isn't allowed; allowed are 1 to 128 ASCII characters, no"),
        (changed(height=None), {}, "its width and its height come together"),
        (changed(fps=60), {}, "its fps is 60; allowed is 1 to 30"),
    ],
)
def test_a_fault_names_the_input_and_what_is_allowed(cameras: Any, other: dict[str, Any], said: str) -> None:
    found = faults(cameras, **other)
    assert [fault for fault in found if said in fault], found
    assert not re.search("hidden|a password", " ".join(found))
    with pytest.raises(AnsibleFilterError, match=re.escape(said)):
        FILTERS["gateway_frigate_files"](cameras or STREAMS, site(**other))


@pytest.mark.parametrize("broker", ["127.0.0.1", "::1", "broker.example", "192.0.2.20"])
def test_where_the_broker_listens_or_what_only_the_network_knows_is_taken(broker: str) -> None:
    assert faults(broker=broker) == []
    assert faults(broker="192.0.2.99", listen=["0.0.0.0"]) == []


@pytest.mark.parametrize(
    ("index", "change", "said"),
    [
        (0, {"channel": "north gate"}, "its channel is 'north gate'; Frigate allows letters, digits, _ and -"),
        (0, {"recorder": "other"}, "its recorder's topic is ''; allowed is <prefix>/tracked_object_update"),
        (
            0,
            {"recorder": "events"},
            "its recorder's topic is 'frigate/events'; allowed is <prefix>/tracked_object_update",
        ),
        (
            0,
            {"recorder": "second"},
            "several recorders (b/tracked_object_update, garage/frigate/tracked_object_update)",
        ),
    ],
)
def test_a_fault_in_the_gateway_s_own_cameras_is_told(index: int, change: dict[str, Any], said: str) -> None:
    own = copy.deepcopy(OWN)
    own[index] |= change
    recorders = [
        *site()["recorders"],
        {"name": "events", "kind": "frigate", "topic": "frigate/events"},
        {"name": "second", "kind": "frigate", "topic": "b/tracked_object_update"},
    ]
    found = FILTERS["gateway_frigate_faults"](STREAMS, site(cameras=own, recorders=recorders))
    assert [fault for fault in found if said in fault], found


def test_all_faults_are_told_at_once() -> None:
    assert len(faults(changed(fps=60, user="a.b"), broker="")) == 3


def test_the_role_s_own_options_are_those_of_a_community_s_file() -> None:
    specs = yaml.safe_load((ROOT / "roles/parking_gateway/meta/argument_specs.yml").read_text())["argument_specs"]
    options = specs["main"]["options"]["parking_gateway_frigate_cameras"]["options"]
    assert set(options) == {"camera", *spec.RTSP["options"]}
    assert {name: option["type"] for name, option in options.items() if name != "camera"} == {
        name: option["type"] for name, option in spec.RTSP["options"].items()
    }
