"""A wrong configuration is told in one line with its place, and exits 2; nothing secret is printed."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from parkmesh.gateway import config as configuration
from parkmesh.gateway.cli import gateway
from parkmesh.gateway.config import ConfigError

# The example of the contract, verbatim but for addresses.
EXAMPLE: dict[str, Any] = {
    "name": "gateway-a",
    "community": "a",
    "spool": "/var/lib/parkmesh/spool.db",
    "token_file": "/etc/parkmesh/gateway.token",
    "servers": ["http://10.242.0.11:8001", "http://10.242.0.12:8001"],
    "listen": {"host": "0.0.0.0", "port": 8100},
    "mqtt": {"host": "127.0.0.1", "port": 1883, "topics": ["application/+/device/+/event/up"]},
    "cameras": [
        {"name": "cam-main-in", "kind": "hikvision", "gate": "main-in", "direction": "entry", "secret_path": None}
    ],
    "gates": [
        {
            "name": "main-in",
            "relay": {"kind": "shelly_gen2", "url": "http://10.1.2.3:8201", "switch": 0, "pulse_s": 2},
        }
    ],
    "sensors": [{"dev_eui": "0101010101010101", "kind": "bosch_tps110", "space": "a-01"}],
    "same_plate_window_s": 30,
}


def recorded(**changes: object) -> dict[str, object]:
    return {
        "name": "cam-main-in",
        "gate": "main-in",
        "direction": "entry",
        "recorder": "nvr",
        "channel": "33",
        **changes,
    }


def with_change(path: str, value: object) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(json.dumps(EXAMPLE))
    *parents, last = path.split(".")
    target: Any = document
    for parent in parents:
        target = target[int(parent)] if parent.isdigit() else target[parent]
    target[last] = value
    return document


def test_the_example_is_accepted() -> None:
    config = configuration.parse(json.dumps(EXAMPLE).encode(), "gateway.json")
    assert config.cameras[0].gate == "main-in"
    assert config.gates[0].relay.pulse_s == 2


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("name", "Gateway A", "$.name"),
        ("servers", [], "$.servers"),
        ("servers", ["10.242.0.11:8001"], "$.servers"),
        ("servers", ["http://a:1", "http://a:1"], "server 'http://a:1' is there twice"),
        ("listen.port", 70_000, "$.listen.port"),
        ("listen.port", "8100", "$.listen.port"),
        ("lisen", {}, "unknown field `lisen`"),
        ("cameras.0.gate", "main-out", "camera 'cam-main-in' names the gate 'main-out', which isn't under gates"),
        ("cameras.0.kind", "axis", "$.cameras[0].kind"),
        ("cameras.0.direction", "in", "$.cameras[0].direction"),
        ("cameras.0.channel", "33", "camera 'cam-main-in' needs both recorder and channel, or neither"),
        ("cameras.0.recorder", "nvr", "camera 'cam-main-in' needs both recorder and channel, or neither"),
        ("cameras", [recorded(recorder="nvr-2")], "names the recorder 'nvr-2', which isn't under recorders"),
        ("recorders", [{"name": "nvr"}], "recorder 'nvr' has no camera"),
        ("recorders", [{"name": "cam-main-in"}], "recorder 'cam-main-in' has no camera"),
        ("cameras.0.kind", "frigate", "the kind frigate needs a recorder with a topic of the mqtt broker"),
        ("gates.0.relay.pulse_s", 0, "$.gates[0].relay.pulse_s"),
        ("gates.0.relay.url", "10.1.2.3", "$.gates[0].relay.url"),
        ("gates", [EXAMPLE["gates"][0]] * 2, "gate 'main-in' is there twice"),
        ("sensors.0.dev_eui", "01", "$.sensors[0].dev_eui"),
        ("mqtt", None, "there are sensors but no mqtt broker"),
        ("same_plate_window_s", 0, "$.same_plate_window_s"),
        ("refusal_hold_s", 601, "$.refusal_hold_s"),
        ("denied_hold_s", 2, "denied_hold_s is now called refusal_hold_s"),
        ("min_confidence", 1.1, "$.min_confidence"),
        ("gates.0.input", "toggle", "$.gates[0].input"),
        ("max_event_age_s", 0, "$.max_event_age_s"),
    ],
)
def test_a_wrong_value_is_named(path: str, value: object, message: str) -> None:
    text = json.dumps(with_change(path, value)).encode()
    with pytest.raises(ConfigError) as caught:
        configuration.parse(text, "/etc/parkmesh/gateway.json")
    line = str(caught.value)
    assert line.startswith("/etc/parkmesh/gateway.json: ")
    assert message in line
    assert "\n" not in line


@pytest.mark.parametrize(
    ("cameras", "message"),
    [
        ([recorded()], None),
        ([recorded(), recorded(name="cam-2", channel="34")], None),
        ([recorded(), recorded(name="cam-2")], "channel 'nvr/33' is there twice"),
        ([recorded(kind="milesight")], "is of kind milesight, but its recorder is of kind hikvision"),
        ([recorded(secret_path="a-secret-path")], "secret_path, login, tls, pull and mapping belong to the recorder"),
        ([recorded(name="nvr")], "camera 'nvr' is there twice"),
    ],
)
def test_the_cameras_of_a_recorder(cameras: list[dict[str, object]], message: str | None) -> None:
    text = json.dumps({**EXAMPLE, "cameras": cameras, "recorders": [{"name": "nvr"}]}).encode()
    if message is None:
        assert configuration.parse(text, "gateway.json").cameras[0].channel == "33"
    else:
        with pytest.raises(ConfigError) as caught:
            configuration.parse(text, "gateway.json")
        assert message in str(caught.value)


@pytest.mark.parametrize(
    ("recorder", "mqtt", "message"),
    [
        ({"topic": "frigate/tracked_object_update"}, {}, None),
        ({}, {}, "recorder 'nvr': the kind frigate needs a recorder with a topic of the mqtt broker"),
        ({"topic": "a/b"}, None, "recorder 'nvr' has a topic, but there is no mqtt broker"),
        ({"topic": "a/b", "secret_path": "a-secret-path"}, {}, "recorder 'nvr' has a topic, so no secret_path"),
        ({"topic": "a/+"}, {}, "$.recorders[0].topic"),
    ],
)
def test_a_recorder_at_the_broker(recorder: dict[str, str], mqtt: object, message: str | None) -> None:
    recorders = [{"name": "nvr", "kind": "frigate", **recorder}]
    document = EXAMPLE | {"cameras": [recorded(kind="frigate")], "recorders": recorders, "mqtt": mqtt, "sensors": []}
    if message is None:
        assert configuration.parse(json.dumps(document).encode(), "gateway.json").recorders[0].topic
    else:
        with pytest.raises(ConfigError) as caught:
            configuration.parse(json.dumps(document).encode(), "gateway.json")
        assert message in str(caught.value)


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"{}"])
def test_what_is_no_configuration(text: bytes) -> None:
    with pytest.raises(ConfigError, match=r"gateway\.json: "):
        configuration.parse(text, "gateway.json")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "must hold one token"),
        (b"\n", "must hold one token"),
        (b"a b", "must hold one token"),
        (b"secret-1\nsecret-2\n", "must hold one token"),
        ("s\u00e9cret".encode(), "isn't ASCII"),
    ],
)
def test_a_bad_token_is_not_shown(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "token"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=message) as caught:
        configuration.load_token(path)
    assert "cret" not in str(caught.value)


def test_the_token_is_read_without_its_line_end(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("abc-123\n")
    assert configuration.load_token(path) == "abc-123"


def invoke(*args: str) -> tuple[int, str]:
    result = CliRunner().invoke(gateway, list(args))
    return result.exit_code, result.output


def test_check_config(tmp_path: Path) -> None:
    token, path = tmp_path / "token", tmp_path / "gateway.json"
    path.write_text(json.dumps({**EXAMPLE, "token_file": str(token)}))
    code, output = invoke("check-config", "--config", str(path))
    assert (code, output) == (2, f"parkmesh gateway: {token}: No such file or directory\n")
    token.write_text("abc\n")
    code, output = invoke("check-config", "--config", str(path))
    assert code == 0
    assert output == f"{path}: ok: gateway gateway-a of community a, 1 gates, 1 cameras, 1 sensors, 2 servers\n"


@pytest.mark.parametrize("command", ["run", "status", "check-config"])
def test_every_command_says_what_is_wrong_in_one_line(tmp_path: Path, command: str) -> None:
    code, output = invoke(command, "--config", str(tmp_path / "none.json"))
    assert (code, output) == (2, f"parkmesh gateway: {tmp_path}/none.json: No such file or directory\n")
    (tmp_path / "bad.json").write_text("{]")
    code, output = invoke(command, "--config", str(tmp_path / "bad.json"))
    assert code == 2
    assert output.count("\n") == 1


def test_status_without_a_spool(tmp_path: Path) -> None:
    path = tmp_path / "gateway.json"
    path.write_text(json.dumps({**EXAMPLE, "spool": f"{tmp_path}/none.db", "listen": {"host": "127.0.0.1", "port": 1}}))
    code, output = invoke("status", "--config", str(path))
    assert code == 1
    assert output.startswith(f"parkmesh gateway: {tmp_path}/none.db: ")


TIMES = {"zone": "Europe/Madrid", "from": "07:30", "until": "09:00"}
CALLS = {"open": {"path": "/open"}}


@pytest.mark.parametrize(
    ("relay", "message"),
    [
        ({"kind": "shelly_gen1", "switch": 1, "password": "p"}, None),
        ({"kind": "tasmota", "closed_input": 0}, None),
        ({"kind": "esphome", "switch": "gate", "closed_input": "gate_closed"}, None),
        ({"kind": "hikvision_gate", "switch": 1, "closed_input": 1, "user": "parkmesh", "password": "p"}, None),
        ({"kind": "modbus_tcp", "url": "modbus://192.0.2.7", "unit": 3}, None),
        ({"kind": "waveshare_modbus", "url": "modbus://192.0.2.7:4196"}, None),
        ({"kind": "gpio", "url": "", "chip": "/dev/gpiochip4", "switch": 17, "active_low": True}, None),
        ({"kind": "http", "calls": CALLS}, None),
        ({"kind": "shelly_gen2", "switch": "gate"}, "gate 'main-in': switch of the kind shelly_gen2 is a number"),
        ({"kind": "esphome"}, "switch of the kind esphome is a name"),
        ({"kind": "tasmota", "url": "modbus://192.0.2.7"}, "needs a url that begins with http://"),
        ({"kind": "modbus_tcp"}, "needs a url that begins with modbus://"),
        ({"kind": "modbus_tcp", "url": "modbus://192.0.2.7", "password": "p"}, "takes no password"),
        ({"kind": "gpio"}, "the kind gpio has a chip, and no url"),
        ({"kind": "gpio", "url": "", "chip": "/dev/mem"}, "$.gates[0].relay.chip"),
        ({"url": "http://admin:geheim@192.0.2.7"}, "$.gates[0].relay.url"),
        ({"kind": "http"}, "the kind http needs calls, and no other kind has them"),
        ({"calls": CALLS}, "the kind http needs calls, and no other kind has them"),
        ({"kind": "http", "calls": CALLS, "closed_input": 1}, "has its inputs and its closing under calls"),
        ({"kind": "http", "calls": {"open": {"path": "open"}}}, "$.gates[0].relay.calls.open.path"),
        ({"close_switch": 0}, "close_switch and switch are the same"),
        ({"password": ""}, "$.gates[0].relay.password"),
        ({"password": 4711}, "$.gates[0].relay.password"),
    ],
)
def test_relays_of_every_kind(relay: dict[str, object], message: str | None) -> None:
    whole = {"url": "http://192.0.2.7", **relay}
    document = json.dumps(with_change("gates.0.relay", whole)).encode()
    if message is None:
        assert configuration.parse(document, "gateway.json").gates[0].relay.kind == whole["kind"]
        return
    with pytest.raises(ConfigError) as caught:
        configuration.parse(document, "gateway.json")
    assert message in str(caught.value)
    assert "geheim" not in str(caught.value)
    assert "4711" not in str(caught.value)


@pytest.mark.parametrize(
    ("gate", "message"),
    [
        ({"input": "open", "hold_open": [TIMES]}, None),
        ({"hold_open": [TIMES]}, "hold_open needs input: open"),
        ({"input": "open", "hold_open": [TIMES | {"zone": "Mars/Base"}]}, "there is no time zone 'Mars/Base'"),
        ({"input": "open", "hold_open": [TIMES | {"from": "7:30"}]}, "$.gates[0].hold_open[0].from"),
        ({"input": "open", "hold_open": [TIMES | {"days": ["monday"]}]}, "$.gates[0].hold_open[0].days[0]"),
        ({"interlock": ["main-in"]}, "interlock names 'main-in', which is no other gate"),
        ({"interlock": ["yard"]}, "interlock names 'yard', which is no other gate"),
        ({"close_after_clear_s": 2}, "close_after_clear_s needs a clear_input and a way to close"),
    ],
)
def test_rules_of_a_gate(gate: dict[str, object], message: str | None) -> None:
    document = json.dumps(with_change("gates", [{**EXAMPLE["gates"][0], **gate}])).encode()
    if message is None:
        assert configuration.parse(document, "gateway.json").gates[0].hold_open[0].since == "07:30"
    else:
        with pytest.raises(ConfigError, match=re.escape(message)):
            configuration.parse(document, "gateway.json")


def test_interlocked_gates_need_to_know_whether_they_are_closed() -> None:
    second = {"name": "yard", "interlock": ["main-in"], "relay": {"url": "http://192.0.2.8", "closed_input": 0}}
    document = {**EXAMPLE, "gates": [*EXAMPLE["gates"], second]}
    with pytest.raises(ConfigError, match="the relay of gate 'main-in' needs a closed_input"):
        configuration.parse(json.dumps(document).encode(), "gateway.json")


WORDS = {"state": "object.parkingStatus", "occupied": ["BUSY"], "free": ["FREE"]}


@pytest.mark.parametrize(
    ("sensor", "message"),
    [
        ({"kind": "milesight_em310_udl", "occupied_below_mm": 1200, "silence_s": 7200}, None),
        ({"kind": "mapped", "mapping": WORDS}, None),
        ({"kind": "milesight_em310_udl"}, "need occupied_below_mm"),
        ({"occupied_below_mm": 1200}, "need occupied_below_mm, and no other kind has it"),
        ({"kind": "mapped"}, "the kind mapped needs a mapping"),
        ({"topic": "a/b"}, "needs a dev_eui or a topic, and not both"),
        ({"dev_eui": None}, "needs a dev_eui or a topic, and not both"),
        ({"dev_eui": None, "topic": "a/b"}, "a topic needs the kind mapped"),
        ({"kind": "mapped", "mapping": WORDS | {"free": ["busy"]}}, "'busy' can't mean both occupied and free"),
        ({"kind": "mapped", "mapping": WORDS | {"state": "a..b"}}, "mapping: state: path 'a..b'"),
        ({"kind": "mapped", "mapping": WORDS | {"state": "a[*].b"}}, "has [*], which a state can't have"),
        ({"silence_s": 5}, "$.sensors[0].silence_s"),
    ],
)
def test_sensors_of_every_kind(sensor: dict[str, object], message: str | None) -> None:
    document = json.dumps(with_change("sensors", [{**EXAMPLE["sensors"][0], **sensor}])).encode()
    if message is None:
        assert configuration.parse(document, "gateway.json").sensors[0].kind == sensor["kind"]
    else:
        with pytest.raises(ConfigError, match=re.escape(message)):
            configuration.parse(document, "gateway.json")
