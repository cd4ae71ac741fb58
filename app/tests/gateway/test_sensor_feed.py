"""Sensors through a real mosquitto broker: subscribed for good, acknowledged when on disk, back after an outage."""

import base64
import json
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import aiomqtt
import msgspec
import pytest
from edge_server import TOKEN, EdgeServer
from parkmesh.gateway.config import Config
from parkmesh.gateway.decider import Decider
from parkmesh.gateway.gates import Relay
from parkmesh.gateway.sensor_feed import SensorFeed, SensorHealth
from parkmesh.gateway.spool import Spool
from parkmesh.protocol.edge import SpaceState
from processes import GatewaySite, Process, free_port, run_simulate, wait_for

MOSQUITTO = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")

needs_broker = pytest.mark.skipif(
    MOSQUITTO is None,
    reason="NO MQTT TEST RAN: there is no mosquitto broker on this machine (Debian package: mosquitto)",
)


async def no_pulse(_: Relay) -> None:
    raise AssertionError("there is no gate")


def with_sensors(sensors: list[dict[str, object]], **more: object) -> Config:
    return msgspec.convert(
        {
            "name": "gateway-a",
            "community": "a",
            "spool": "spool.db",
            "token_file": "token",
            "servers": ["http://127.0.0.1:1"],
            "mqtt": {},
            "sensors": sensors,
            **more,
        },
        type=Config,
    )


class Broker:
    def __init__(self, folder: Path, settings: str = "allow_anonymous true") -> None:
        self.port = free_port()
        self._folder = folder
        self._config = folder / "mosquitto.conf"
        self._config.write_text(
            f"listener {self.port} 127.0.0.1\n{settings}\npersistence true\npersistence_location {folder}/\nuser root\n"
        )
        self.process = self.start()

    def start(self) -> Process:
        assert MOSQUITTO is not None
        self.process = Process([MOSQUITTO, "-c", str(self._config)], self._folder / "mosquitto.log")
        wait_for(self._listens, "the broker")
        return self.process

    def _listens(self) -> bool:
        with socket.socket() as sock:
            return sock.connect_ex(("127.0.0.1", self.port)) == 0


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    running = Broker(tmp_path)
    yield running
    running.process.stop(signal.SIGKILL)


@pytest.fixture
def server() -> Iterator[EdgeServer]:
    with EdgeServer() as running:
        yield running


@pytest.fixture
def site(server: EdgeServer, broker: Broker, tmp_path: Path) -> Iterator[GatewaySite]:
    running = GatewaySite(tmp_path, [server.url], TOKEN, broker_port=broker.port)
    try:
        running.start_gateway()
        wait_for(lambda: running.status()["mqtt"], "the subscription")
        yield running
    finally:
        running.stop()


def sensor(site: GatewaySite, space: str, state: str) -> str:
    code, line = run_simulate("sensor", "--site", str(site.site_path), space, state)
    assert code == 0, line
    return line


def states(server: EdgeServer) -> list[tuple[str, str]]:
    return [(event.space, event.status) for event in server.events if isinstance(event, SpaceState)]


@needs_broker
def test_a_space_becomes_occupied_and_free(site: GatewaySite, server: EdgeServer, broker: Broker) -> None:
    line = sensor(site, "a-01", "occupied")
    assert line == "space a-01: sensor 0101010101010101 (bosch_tps110) reported occupied"
    sensor(site, "a-02", "occupied")
    sensor(site, "a-01", "free")
    wait_for(lambda: len(server.events) == 3, "three states")
    assert states(server) == [("a-01", "occupied"), ("a-02", "occupied"), ("a-01", "free")]
    # A foreign device and junk change nothing and stop nothing.
    for message in ('{"deviceInfo":{"devEui":"9999999999999999"},"fPort":1,"data":"AQ=="}', "junk"):
        topic = "application/x/device/y/event/up"
        args = ["mosquitto_pub", "-p", str(broker.port), "-t", topic, "-m", message, "-q", "1"]
        if shutil.which("mosquitto_pub"):
            subprocess.run(args, check=True, timeout=20)
    sensor(site, "a-02", "free")
    wait_for(lambda: len(server.events) == 4, "the fourth state")
    if shutil.which("mosquitto_pub"):
        assert site.status()["quarantined"] == 1


@needs_broker
def test_the_agent_s_account_is_tried_until_the_broker_takes_it(server: EdgeServer, tmp_path: Path) -> None:
    users = tmp_path / "users"
    for user, password in (("parkmesh", "a-password-of-the-agent"), ("lorawan", "a-password-of-the-devices")):
        given = ["mosquitto_passwd", *["-c"] * (not users.exists()), "-b", str(users), user, password]
        subprocess.run(given, check=True, capture_output=True)
    broker = Broker(tmp_path, f"allow_anonymous false\npassword_file {users}")
    running = GatewaySite(tmp_path, [server.url], TOKEN, broker_port=broker.port)
    secret = tmp_path / "agent.password"
    running.config["mqtt"] |= {"user": "parkmesh", "password_file": str(secret)}
    running.config_path.write_text(json.dumps(running.config))
    described = json.loads(running.site_path.read_text())
    described["broker"] |= {"user": "lorawan", "password": "a-password-of-the-devices"}
    running.site_path.write_text(json.dumps(described))
    try:
        running.start_gateway()
        wait_for(lambda: "No such file" in running.status()["mqtt_fault"], "the word of a missing password")
        secret.write_text("another-password\n")
        wait_for(lambda: running.status()["mqtt_fault"] == "it refuses the account parkmesh", "the refusal")
        assert running.status()["mqtt"] is False
        secret.write_text("a-password-of-the-agent\n")
        wait_for(lambda: running.status()["mqtt"], "the subscription")
        assert running.status()["mqtt_fault"] == ""
        sensor(running, "a-01", "occupied")
        wait_for(lambda: len(server.events) == 1, "the state")
        assert "password-of" not in (tmp_path / "gateway.log").read_text()
    finally:
        running.stop()
        broker.process.stop(signal.SIGKILL)


@needs_broker
def test_what_comes_while_the_gateway_is_down_is_kept_by_the_broker(site: GatewaySite, server: EdgeServer) -> None:
    assert site.gateway is not None
    site.gateway.stop(signal.SIGKILL)
    sensor(site, "a-01", "occupied")
    sensor(site, "a-01", "free")
    site.start_gateway()
    wait_for(lambda: len(server.events) == 2, "both states")
    assert states(server) == [("a-01", "occupied"), ("a-01", "free")]


@needs_broker
def test_the_broker_goes_away_and_comes_back(site: GatewaySite, server: EdgeServer, broker: Broker) -> None:
    broker.process.stop()
    wait_for(lambda: not site.status()["mqtt"], "the loss to be seen")
    broker.start()
    wait_for(lambda: site.status()["mqtt"], "the subscription again")
    sensor(site, "a-02", "occupied")
    wait_for(lambda: len(server.events) == 1, "the state")


@needs_broker
def test_vehicles_are_counted_also_over_a_restart(site: GatewaySite, server: EdgeServer) -> None:
    def count(direction: str) -> None:
        code, line = run_simulate("count", "--site", str(site.site_path), "garage", direction)
        assert (code, line) == (0, f"counter garage: a vehicle has passed ({direction})")

    def counted() -> tuple[int, int]:
        reading = site.status()["counters"]["garage"]
        return reading["entries"], reading["exits"]

    for direction in ("entry", "entry", "exit"):
        count(direction)
    wait_for(lambda: counted() == (2, 1), "the count")
    assert all(beat.counters is None for beat in server.heartbeats), "a server of the release before isn't told"
    server.takes_counters = True
    wait_for(lambda: server.heartbeats[-1].counters, "the server's word")
    [told] = server.heartbeats[-1].counters or []
    assert (told.name, told.entries, told.exits, told.known) == ("garage", 2, 1, True)
    assert site.gateway is not None
    site.gateway.stop(signal.SIGKILL)
    count("exit")
    site.start_gateway()
    wait_for(lambda: counted() == (2, 2), "what the broker kept")
    # The same site has a scanner: it says what the gateway answers.
    code, line = run_simulate("code", "--site", str(site.site_path), "scan-in", "12345678")
    assert (code, line) == (3, "reader scan-in: not opened. This is no code of a pass here.")


async def test_what_sensors_say_of_themselves_and_those_that_have_no_network(tmp_path: Path) -> None:
    now = [1_700_000_000_000]
    words = {"state": "occupancy", "occupied": ["true"], "free": ["false"], "battery_percent": "battery"}
    config = with_sensors(
        [
            {
                "dev_eui": "24E124713A000001",
                "kind": "milesight_em400_mud",
                "space": "a-01",
                "occupied_below_mm": 1000,
                "silence_s": 3600,
            },
            {"topic": "zigbee/a-02", "kind": "mapped", "space": "a-02", "mapping": words},
        ]
    )
    spool = Spool(tmp_path / "spool.db", now=now[0])
    decider = Decider(config, spool, no_pulse, clock=lambda: now[0])
    feed = SensorFeed(config, spool, decider, clock=lambda: now[0], appended=lambda: None)

    async def uplink(payload: str) -> None:
        data = base64.b64encode(bytes.fromhex(payload)).decode()
        heard = {"deviceInfo": {"devEui": "24e124713a000001"}, "data": data, "rxInfo": [{"rssi": -97, "snr": 2}]}
        await feed.take("application/1/device/24e124713a000001/event/up", json.dumps(heard).encode())

    await uplink("01755C 04825802 050000")
    await uplink("04825802 050001")
    await feed.take("zigbee/a-02", b'{"occupancy":true,"battery":71}')
    await feed.take("zigbee/a-02", b'{"battery":70}')
    assert feed.sensors()["a-01"] == SensorHealth(now[0], 92, tilted=True, rssi=-97, snr=2)
    assert feed.sensors()["a-02"] == SensorHealth(now[0], 70)
    now[0] += 2 * 3_600_000
    await feed.note_silence()
    assert feed.silent_sensors() == ["24e124713a000001"], "its own time is shorter than that of all"
    decider.close()
    found = [msgspec.json.decode(record, type=SpaceState) for record in spool.batch(9)]
    assert [(event.space, event.status, event.sensor) for event in found] == [
        ("a-01", "occupied", "24e124713a000001"),
        ("a-01", "unknown", "24e124713a000001"),  # tilted: it looks elsewhere
        ("a-02", "occupied", "zigbee/a-02"),
        ("a-01", "unknown", "24e124713a000001"),
    ]


async def test_messages_that_come_together_go_to_the_disk_in_one_step(tmp_path: Path) -> None:
    sensors = [
        {"dev_eui": f"010101010101010{number}", "kind": "bosch_tps110", "space": f"a-0{number}"} for number in (1, 2)
    ]
    config = with_sensors(sensors)
    spool = Spool(tmp_path / "spool.db", now=1_700_000_000_000)
    decider = Decider(config, spool, no_pulse, clock=lambda: 1_700_000_000_000)
    told: list[int] = []
    feed = SensorFeed(config, spool, decider, clock=lambda: 1_700_000_000_000, appended=lambda: told.append(1))
    steps: list[str] = []
    spool._db.set_trace_callback(lambda text: steps.append(text) if text == "COMMIT" else None)

    def uplink(number: int, data: str, once: str) -> tuple[str, bytes]:
        heard = {
            "deduplicationId": once,
            "deviceInfo": {"devEui": f"010101010101010{number}"},
            "fPort": 1,
            "data": data,
        }
        return "application/1/device/x/event/up", json.dumps(heard).encode()

    occupied, foreign = uplink(1, "AQ==", "one"), uplink(9, "AQ==", "two")
    await feed.take_all(
        [occupied, foreign, ("up", b"junk"), occupied, uplink(2, "AQ==", "three"), uplink(1, "AA==", "four")]
    )
    decider.close()
    assert (len(steps), told) == (2, [1]), "one for the states, one for the message that nobody can read"
    found = [msgspec.json.decode(record, type=SpaceState) for record in spool.batch(9)]
    assert [(event.space, event.status) for event in found] == [
        ("a-01", "occupied"),
        ("a-02", "occupied"),
        ("a-01", "free"),
    ]
    assert spool.counts().quarantine == 1


async def test_a_counter_s_message_is_acknowledged_by_itself(tmp_path: Path) -> None:
    points = [{"detector": {"topic": "ramp/in"}, "direction": "entry"}]
    config = with_sensors([], counters=[{"name": "ramp", "points": points}])
    spool = Spool(tmp_path / "spool.db", now=1_700_000_000_000)
    decider = Decider(config, spool, no_pulse, clock=lambda: 1_700_000_000_000)
    feed = SensorFeed(config, spool, decider, clock=lambda: 1_700_000_000_000, appended=lambda: None)
    topics = ["up/1", "up/2", "ramp/in", "ramp/in", "up/3"]
    messages = [aiomqtt.Message(topic, b"", 1, False, mid, None) for mid, topic in enumerate(topics)]
    decider.close()
    assert [[one.mid for one in step] for step in feed.steps(messages)] == [[0, 1], [2], [3], [4]]


async def test_the_space_of_a_silent_sensor_is_unknown_until_it_is_heard(tmp_path: Path) -> None:
    now = [1_700_000_000_000]
    config = with_sensors(
        [{"dev_eui": f"010101010101010{number}", "kind": "nwave_nps405", "space": f"a-0{number}"} for number in (1, 2)]
    )
    spool = Spool(tmp_path / "spool.db", now=now[0])
    decider = Decider(config, spool, no_pulse, clock=lambda: now[0])
    feed = SensorFeed(config, spool, decider, clock=lambda: now[0], appended=lambda: None)

    async def hours_pass(hours: int, *, heard: str | None = None, data: str = "gA==") -> None:
        now[0] += hours * 3_600_000
        if heard is not None:
            await feed.take("up", f'{{"deviceInfo":{{"devEui":"{heard}"}},"fPort":1,"data":"{data}"}}'.encode())
        await feed.note_silence()

    await hours_pass(24)
    assert feed.silent_sensors() == []
    await hours_pass(2, heard="0101010101010101", data="")  # not a state, but a sign of life
    await hours_pass(1)
    assert feed.silent_sensors() == ["0101010101010102"]
    await hours_pass(1, heard="0101010101010102")
    assert feed.silent_sensors() == []
    decider.close()
    found = [msgspec.json.decode(record, type=SpaceState) for record in spool.batch(9)]
    assert [(event.space, event.status) for event in found] == [("a-02", "unknown"), ("a-02", "occupied")]
    assert spool.counts().quarantine == 0
