"""Cameras of other brands at a running gateway: simulated as a person runs the simulator, over real HTTP and MQTT."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from edge_server import TOKEN, EdgeServer
from parkmesh.protocol.edge import AccessEntry
from processes import GatewaySite, run_simulate, wait_for
from test_sensor_feed import Broker, needs_broker


@pytest.fixture
def server() -> Iterator[EdgeServer]:
    with EdgeServer([AccessEntry("ana", "1234BCD", "active")]) as running:
        yield running


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    running = Broker(tmp_path)
    yield running
    running.process.stop()


CAMERAS = {
    "plain": {"kind": "milesight"},
    "numbered": {"kind": "axis_lpv", "secret_path": "a-secret-path"},
    "forwarded": {"kind": "hikvision", "recorder": "nvr", "channel": "33"},
    "driveway": {"kind": "frigate", "recorder": "frigate", "channel": "driveway_cam"},
}
TOPIC = "frigate/tracked_object_update"


@pytest.fixture
def site(server: EdgeServer, broker: Broker, tmp_path: Path) -> Iterator[GatewaySite]:
    running = GatewaySite(tmp_path, [server.url], TOKEN, broker_port=broker.port)
    at_gate = {"gate": "in", "direction": "entry"}
    running.config["cameras"] = [{"name": name, **at_gate, **camera} for name, camera in CAMERAS.items()]
    running.config["recorders"] = [{"name": "nvr"}, {"name": "frigate", "kind": "frigate", "topic": TOPIC}]
    # Each car is a passage of its own.
    running.config |= {"same_plate_window_s": 1}
    running.config_path.write_text(json.dumps(running.config))
    simulated = json.loads(running.site_path.read_text())
    simulated["cameras"] = [
        {"name": name, "gate": "in", "relay": "in", **camera, **({"topic": TOPIC} if name == "driveway" else {})}
        for name, camera in CAMERAS.items()
    ]
    running.site_path.write_text(json.dumps(simulated))
    try:
        running.start_relay()
        running.start_gateway()
        wait_for(lambda: running.status()["access_list_version"] == 1 and running.status()["mqtt"], "the access list")
        yield running
    finally:
        running.stop()


@needs_broker
def test_cars_at_cameras_of_several_brands(site: GatewaySite, server: EdgeServer) -> None:
    for count, name in enumerate(CAMERAS, 1):
        code, line = run_simulate("car", "--site", str(site.site_path), "1234BCD", "--camera", name, "--wait", "10")
        assert (code, site.pulses()) == (0, count), line
        wait_for(lambda count=count: len(server.events) == count, "the passage")  # type: ignore[misc]
        site_time = server.now()
        wait_for(lambda at=site_time: server.now() > at + 1_500, "the next car")  # type: ignore[misc]
    assert [(p.plate, p.camera, p.reason) for p in server.passages()] == [
        ("1234BCD", name, "exact") for name in CAMERAS
    ]
    # The address of a camera that a recorder or the broker speaks for is nobody's.
    for name in ("forwarded", "driveway", "frigate"):
        assert httpx.post(f"http://127.0.0.1:{site.port}/cameras/{name}/events", content=b"{}").status_code == 404
    assert site.status()["quarantined"] == 0
