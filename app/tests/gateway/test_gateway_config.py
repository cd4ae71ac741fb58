"""A wrong configuration is told in one line with its place, and exits 2; nothing secret is printed."""

import json
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
        ([recorded(secret_path="a-secret-path")], "secret_path and mapping belong to the recorder"),
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
