"""The doctor: what it finds, what it says to do, and that it looks beside a running agent and without one."""

import json
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from click.testing import CliRunner
from edge_server import TOKEN, EdgeServer
from parkmesh.gateway import config, doctor, host, overlay_path
from parkmesh.gateway.cli import gateway
from parkmesh.gateway.counters import Counter, Detector, Point
from parkmesh.gateway.doctor import Looks, ServerLook
from parkmesh.gateway.gates import Gate, Relay
from parkmesh.gateway.host import Readings
from parkmesh.gateway.overlay_path import Overlay
from parkmesh.gateway.sensors import Sensor
from parkmesh.protocol.edge import AccessEntry
from processes import GatewaySite, free_port, parkmesh, wait_for

NOW = 1_800_000_000_000
SERVER = "http://10.242.0.11:8001"
CONFIG = config.Config(
    name="gateway-a",
    community="a",
    spool="spool.db",
    token_file="token",
    servers=[SERVER],
    mqtt=config.Mqtt(),
    cameras=[config.Camera("cam-in", "in", "entry", host="192.0.2.21", secret_path="a-secret-path")],
    gates=[Gate("in", Relay("http://192.0.2.31"))],
    sensors=[Sensor("p1-001", "nwave_nps405", "0004a30b001c0530")],
    counters=[Counter("garage", [Point(Detector("ramp"), "entry")])],
)
COUNTED = {"name": "garage", "since": NOW - 90_000_000, "entries": 30, "exits": 21, "known": True, "told": NOW - 5000}
STATUS: dict[str, Any] = {
    "running": True,
    "up_s": 90_000,
    "access_list_version": 3,
    "access_list_whole": True,
    "last_sync": NOW - 20_000,
    "server": SERVER,
    "stream": True,
    "errors": {},
    "backlog": 2,
    "undecided": 0,
    "quarantined": 0,
    "storing": "disk",
    "server_skew_ms": 40,
    "mqtt": True,
    "silent_sensors": [],
    "counters": {"garage": COUNTED},
    "readers": {"scan-in": {"connected": True, "fault": None}},
    "cameras": {"cam-in": {"last": NOW - 60_000, "from": "192.0.2.21"}},
    "camera_clocks": {"cam-in": {"behind_ms": 900, "drift_ms_per_day": 0}},
    "wrong_posts": {"total": 0, "senders": []},
}
HOST = Readings(2**36, 2**37, 20, "normal", 55.0, False, False, False)
STRAY = {"sender": "192.0.2.77", "method": "PUT", "path": "/plates", "count": 4, "last": NOW - 1000}


def looks(**changes: Any) -> Looks:
    well: dict[str, Any] = {
        "status": STATUS,
        "host": HOST,
        "cameras": {"cam-in": None},
        "relays": {"in": None},
        "servers": {SERVER: ServerLook(status=200, skew_ms=0)},
        "overlay": Overlay(True, {"8056c2e21c000001": "OK"}, {"10.242.0.11": "direct"}),
    }
    return Looks(NOW, **{**well, **changes})


def told(**changes: Any) -> dict[str, Any]:
    return {"status": STATUS | changes}


FAULTY: list[tuple[dict[str, Any], str, str]] = [
    (told(running=False), "agent", "systemctl start parkmesh-gateway"),
    ({"cameras": {"cam-in": "no answer"}}, "camera", "Check its power"),
    (told(cameras={"cam-in": {"last": NOW - 90_000_000, "from": None}}), "camera", "/cameras/cam-in/…/events"),
    (told(cameras={"cam-in": {"last": None, "from": None}}), "camera", "test button"),
    (told(camera_clocks={"cam-in": {"behind_ms": -90_000}}), "camera", "NTP"),
    (told(wrong_posts={"senders": [{**STRAY, "kind": "unknown_address"}]}), "wrong posts", "POST to /cameras/"),
    ({"relays": {"in": "no connection"}}, "relay", "Check its power"),
    (told(mqtt=False), "broker", "systemctl status mosquitto"),
    (told(mqtt=False, mqtt_fault="it refuses the account parkmesh"), "broker", "the agent's account"),
    (told(silent_sensors=["0004a30b001c0530"]), "sensor", "battery"),
    (told(counters={"garage": COUNTED | {"known": False}}), "counter", "correct the count"),
    (told(readers={"scan-in": {"connected": False, "fault": "it was unplugged"}}), "reader", "/dev/input/by-id"),
    ({"servers": {SERVER: ServerLook(status=401)}}, "server", "apply-communities.yml"),
    ({"servers": {SERVER: ServerLook(fault="no route")}}, "server", "check the line"),
    (told(errors={"events": "HTTP 503"}, stream=False), "line", "records wait"),
    (told(stream=False), "line", "Wait a minute"),
    ({"overlay": Overlay(False, {}, {})}, "overlay", "UDP"),
    ({"overlay": Overlay(True, {"8056c2e21c000001": "ACCESS_DENIED"}, {})}, "overlay", "enroll-gateways.yml"),
    ({"overlay": Overlay(True, {}, {"10.242.0.11": "relayed"})}, "overlay path", "9993"),
    (told(access_list_version=0), "list", "first answer of a server"),
    (told(access_list_whole=False), "list", "mends itself"),
    (told(last_sync=NOW - 7_200_000), "list", "revoked ones open"),
    (told(storing="memory", disk_error="disk full"), "records", "Don't switch it off"),
    (told(undecided=21), "records", "relays and the disk"),
    (told(quarantined=3), "records", "kind of the camera"),
    (told(backlog=2_001), "records", "Mend the line"),
    (told(clock_doubtful=True), "clock", "set the clock"),
    (told(server_skew_ms=-9_000), "clock", "chronyc"),
    ({"host": msgspec.structs.replace(HOST, disk_free=2**20)}, "disk", "Make room"),
    ({"host": msgspec.structs.replace(HOST, worn_percent=90)}, "disk wear", "Replace"),
    ({"host": msgspec.structs.replace(HOST, reserve_used="urgent")}, "disk wear", "Replace"),
    ({"host": msgspec.structs.replace(HOST, had_under_voltage=True)}, "power", "power supply"),
    ({"host": msgspec.structs.replace(HOST, temperature_c=84.0)}, "temperature", "out of the sun"),
]


@pytest.mark.parametrize(("changes", "check", "todo"), FAULTY)
def test_each_fault_is_found_once_and_says_what_to_do(changes: dict[str, Any], check: str, todo: str) -> None:
    found = [one for one in doctor.judge(CONFIG, looks(**changes)) if one.state == "finding"]
    assert [one.check for one in found] == [check]
    assert todo in found[0].advice()
    assert "a-secret-path" not in found[0].text() + found[0].advice()


def test_of_a_gateway_that_is_well_everything_is_said_and_nothing_is_to_do() -> None:
    findings = doctor.judge(CONFIG, looks())
    assert {(one.state, one.todo) for one in findings} == {("well", "")}
    assert {one.check for one in findings} >= {check for _, check, _ in FAULTY} - {"wrong posts", "sensor", "overlay"}
    assert all(one.text() for one in findings)


def test_what_nobody_can_know_here_is_no_finding() -> None:
    nothing = looks(
        host=Readings(),
        cameras={},
        overlay=None,
        overlay_fault="authtoken.secret can't be read",
        status=STATUS | {"up_s": 60, "cameras": {"cam-in": {"last": None, "from": None}}},
    )
    found = {one.check: one.state for one in doctor.judge(CONFIG, nothing)}
    assert "finding" not in found.values()
    assert {check for check, state in found.items() if state == "unknown"} == {
        "camera", "overlay", "disk wear", "power", "temperature"
    }  # fmt: skip


def test_one_of_several_servers_that_is_away_is_no_finding() -> None:
    servers = {SERVER: ServerLook(status=200), "http://10.242.0.12:8001": ServerLook(fault="no answer")}
    assert all(one.state != "finding" for one in doctor.judge(CONFIG, looks(servers=servers)))


@pytest.mark.parametrize(
    ("text", "percent"),
    [("0x01 0x01", 10), ("0x02 0x0a", 100), ("0x0b 0x01", 100), ("0x00 0x00", None), ("0x01 0x00", 10), ("", None)],
)
def test_an_emmc_tells_its_wear(text: str, percent: int | None) -> None:
    assert host.life_time(text) == percent


@pytest.mark.parametrize(
    ("word", "now", "before", "slow"),
    [("0", False, False, False), ("50005", True, True, True), ("50000", False, True, False)],
)
def test_a_host_is_read_from_its_files(tmp_path: Path, word: str, now: bool, before: bool, slow: bool) -> None:
    for name, text in {
        "sys/block/mmcblk0/device/life_time": "0x09 0x01\n",
        "sys/block/mmcblk0/device/pre_eol_info": "0x02\n",
        "sys/class/thermal/thermal_zone0/temp": "48312\n",
        "sys/class/thermal/thermal_zone1/temp": "-274000\n",
        "sys/devices/platform/soc/soc:firmware/get_throttled": f"{word}\n",
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    read = host.read(tmp_path / "spool.db", tmp_path)
    assert (read.worn_percent, read.reserve_used, read.temperature_c) == (90, "warning", 48.312)
    assert (read.under_voltage, read.had_under_voltage, read.throttled) == (now, before, slow)
    assert read.disk_free
    nothing = host.read(tmp_path, tmp_path / "nothing")
    # Others write to this disk, too.
    assert nothing == Readings(nothing.disk_free, read.disk_size)


class _Daemon(BaseHTTPRequestHandler):
    """The overlay's daemon, as it answered on a gateway (addresses changed)."""

    def do_GET(self) -> None:
        assert self.headers["X-ZT1-Auth"] == "a-token"
        route = {"active": True, "address": "203.0.113.4/9993", "expired": False, "preferred": True}
        answers: dict[str, Any] = {
            "/status": {"address": "abcdef0123", "online": True, "version": "1.14.2"},
            "/network": [{"nwid": "8056c2e21c000001", "status": "OK", "portDeviceName": "ztabcdef01", "mtu": 2800}],
            "/peer": [
                {"address": "efcc1b0947", "role": "LEAF", "paths": [route]},
                {"address": "17d709436c", "role": "LEAF", "paths": [route | {"active": False}]},
            ],
        }
        body = json.dumps(answers[self.path]).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def mac(member: str, network: str) -> str:
    """The other way round, as node/MAC.hpp has it."""
    nwid, low = int(network, 16), int(member, 16)
    for shift, place in ((8, 32), (16, 24), (24, 16), (32, 8), (40, 0)):
        low ^= (nwid >> shift & 0xFF) << place
    return ":".join(f"{(0x32 << 40 | low) >> at & 0xFF:02x}" for at in range(40, -8, -8))


def test_the_overlay_s_daemon_tells_which_servers_are_reached_directly(tmp_path: Path) -> None:
    token, arp = tmp_path / "authtoken.secret", tmp_path / "arp"
    assert overlay_path.look([], token=token) is None
    token.write_text("a-token\n")
    row = "{:<17}0x1         {}         {}     *        ztabcdef01\n"
    arp.write_text(
        "IP address       HW type     Flags       HW address            Mask     Device\n"
        + row.format("10.242.0.11", "0x2", mac("efcc1b0947", "8056c2e21c000001"))
        + row.format("10.242.0.12", "0x2", mac("17d709436c", "8056c2e21c000001"))
        + row.format("10.242.0.13", "0x0", "00:00:00:00:00:00")
    )
    daemon = HTTPServer(("127.0.0.1", 0), _Daemon)
    threading.Thread(target=daemon.serve_forever, daemon=True).start()
    try:
        servers = ["10.242.0.11", "10.242.0.12", "10.242.0.13"]
        found = overlay_path.look(servers, token=token, neighbours=arp, port=daemon.server_port)
    finally:
        daemon.shutdown()
        daemon.server_close()
    paths = {"10.242.0.11": "direct", "10.242.0.12": "relayed", "10.242.0.13": "unknown"}
    assert found == Overlay(True, {"8056c2e21c000001": "OK"}, paths)
    with pytest.raises(overlay_path.OverlayError, match="doesn't answer"):
        overlay_path.look([], token=token, port=free_port())


@pytest.fixture
def site(tmp_path: Path) -> Iterator[GatewaySite]:
    with EdgeServer([AccessEntry("ana", "1234BCD", "active")]) as server:
        running = GatewaySite(tmp_path, [server.url], TOKEN)
        with running.at_work():
            yield running


def test_it_looks_beside_a_running_agent_and_without_one(site: GatewaySite, tmp_path: Path) -> None:
    def examined(*options: str) -> tuple[int, str]:
        result = CliRunner().invoke(gateway, ["doctor", "--config", str(site.config_path), *options])
        return result.exit_code, result.output

    assert httpx.post(f"http://127.0.0.1:{site.port}/cameras/cam-in/events").status_code == 200
    wait_for(lambda: site.status()["stream"], "the stream")
    code, text = examined()
    assert code == 0, text
    assert "camera cam-in: It sent something" in text
    assert "camera cam-out: It has sent nothing since the agent started" in text
    httpx.post(f"http://127.0.0.1:{site.port}/cameras/cam-inn/events")
    site.stop_relay()
    code, text = examined("--json")
    document = json.loads(text)
    found = [(one["check"], one["subject"]) for one in document["findings"] if one["state"] == "finding"]
    assert (code, found) == (1, [("wrong posts", "127.0.0.1"), ("relay", "in"), ("relay", "out")])
    assert site.gateway is not None
    site.gateway.stop()
    code, text = examined()
    assert code == 1
    assert "!!  agent: The agent doesn't answer" in text
    assert "ok  list: Version 1" in text
    (site.folder / "spool" / "spool.db").rename(tmp_path / "elsewhere")
    assert examined()[0] == 2
    site.config_path.write_text("{}")
    command = parkmesh("gateway", "doctor", "--config", str(site.config_path))
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
