"""Simulated devices speak the real devices' protocols: read by the gateway's parsers, and checked against documents."""

import json
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, get_args

import httpx
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from parkmesh.gateway import drivers
from parkmesh.gateway.counters import Counter
from parkmesh.gateway.counting import Counting
from parkmesh.gateway.drivers import chirpstack, hikvision, sensor_reading
from parkmesh.gateway.sensors import BY_DISTANCE, Sensor
from parkmesh.simulator import camera, camera_messages, camera_stream, jpeg, lorawan, relay_kinds, vehicle
from parkmesh.simulator.relay import Switch, application
from parkmesh.simulator.site import SimulatedRelay

MOMENT = datetime(2024, 1, 19, 3, 17, 19, 250_000, tzinfo=UTC)


def segments(picture: bytes) -> Iterator[tuple[int, bytes]]:
    """Walk a JPEG's segments up to the scan."""
    assert picture[:2] == b"\xff\xd8"
    at = 2
    while True:
        marker, length = struct.unpack(">xBH", picture[at : at + 4])
        assert picture[at] == 0xFF
        yield marker, picture[at + 4 : at + 2 + length]
        at += 2 + length
        if marker == 0xDA:
            yield 0, picture[at:]
            return


@pytest.mark.parametrize("level", [0, 1, 90, 127, 128, 129, 200, 255])
def test_a_picture_is_a_baseline_jpeg_of_one_grey(level: int) -> None:
    parts = dict(segments(jpeg.grey(level)))
    assert parts[0xE0].startswith(b"JFIF\x00")
    assert parts[0xC0] == bytes([8, 0, 8, 0, 8, 1, 1, 0x11, 0])
    assert parts[0xDB] == b"\x00" + bytes([8] * 64)
    scan = parts[0]
    assert scan.endswith(b"\xff\xd9")
    # Decode the only coefficient as a reader would: a one-bit code, then the magnitude's bits.
    bits = "".join(f"{byte:08b}" for byte in scan[:-2].replace(b"\xff\x00", b"\xff"))
    assert bits[0] == "0"
    # The last Huffman table is the AC one; the DC table's only symbol is the magnitude's size.
    tables = [content for marker, content in segments(jpeg.grey(level)) if marker == 0xC4]
    size = tables[0][17]
    magnitude = int(bits[1 : 1 + size], 2) if size else 0
    mean = magnitude if size and bits[1] == "1" else magnitude - (1 << size) + 1 if size else 0
    assert mean * 8 / 8 + 128 == level


@pytest.mark.parametrize("level", [-1, 256])
def test_no_such_grey(level: int) -> None:
    with pytest.raises(ValueError, match="0 to 255"):
        jpeg.grey(level)


def test_the_cameras_message_is_the_real_one() -> None:
    shot = camera.shot("1234BCD", MOMENT, confidence=88)
    body, content_type = camera.multipart(shot)
    assert content_type.startswith("multipart/form-data; boundary=")
    for name in ("anpr.xml", "licensePlatePicture.jpg", "detectionPicture.jpg"):
        assert f'name="{name}"; filename="{name}"'.encode() in body
    alert = hikvision.parse(hikvision.extract(body, content_type))
    assert alert.plate == "1234BCD"
    assert alert.confidence == 0.88
    assert alert.at == 1_705_634_239_250
    assert alert.event_id == f"{shot.uuid}:{shot.picture_id}"
    assert not alert.retransmitted


def test_every_shot_is_a_new_event() -> None:
    shots = [camera.shot("1234BCD", MOMENT) for _ in range(100)]
    assert len({shot.uuid for shot in shots}) == len({shot.picture_id for shot in shots}) == 100


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20), st.booleans())
def test_any_plate_survives_the_xml(plate: str, retransmission: bool) -> None:
    alert = hikvision.parse(camera.xml(camera.shot(plate, MOMENT, retransmission=retransmission)))
    assert (alert.plate or "") == plate.strip()
    assert alert.retransmitted is retransmission


@pytest.mark.parametrize("occupied", [True, False])
@pytest.mark.parametrize("kind", get_args(lorawan.SimulatedSensor))
def test_a_sensors_uplink(kind: lorawan.SimulatedSensor, occupied: bool) -> None:
    message = lorawan.uplink("ABCDEF0123456789", lorawan.state_frame(kind, occupied), MOMENT)
    uplink = chirpstack.parse(message)
    assert (uplink.dev_eui, uplink.at) == ("abcdef0123456789", 1_705_634_239_250)
    below = 1000 if kind in BY_DISTANCE else None
    sensor = Sensor("a-01", kind, uplink.dev_eui, occupied_below_mm=below)
    assert sensor_reading(sensor, message, uplink).occupied is occupied
    assert lorawan.topic("ABCDEF0123456789").endswith("/device/abcdef0123456789/event/up")
    again = chirpstack.parse(lorawan.uplink("ABCDEF0123456789", lorawan.Frame(1, b"\x01"), MOMENT))
    assert again.deduplication_id != uplink.deduplication_id


def test_every_driver_has_a_simulated_device() -> None:
    moment = camera.shot("1234BCD", MOMENT)
    assert all(camera_messages.message(kind, moment, "1")[0] for kind in drivers.CAMERAS)
    assert set(camera_stream.STREAMS) == set(drivers.STREAMS)
    assert set(get_args(lorawan.SimulatedSensor)) == set(drivers.SENSORS)
    assert set(get_args(SimulatedRelay)) == set(relay_kinds.KINDS)
    # These have no HTTP: they are tested against a Modbus server, and a chip of the same shape.
    assert set(drivers.RELAYS) - set(relay_kinds.KINDS) == {"gpio", "modbus_tcp", "waveshare_modbus"}


@pytest.mark.parametrize("field", [None, "state", "input.state", "StatusSNS[0].Switch1"])
@pytest.mark.parametrize("words", [{}, {"covered": ["ON"], "clear": ["OFF"]}])
def test_a_simulated_vehicle_is_counted(field: str | None, words: dict[str, list[str]]) -> None:
    detectors = [{"topic": f"ramp/{name}", "field": field, **words} for name in ("outside", "inside", "out")]
    points = [
        {"outside": detectors[0], "inside": detectors[1]},
        {"detector": detectors[2], "direction": "exit"},
    ]
    counter = msgspec.convert({"name": "garage", "points": points}, type=Counter)
    counting = Counting([counter], 3600, None, clock=lambda: 1_705_634_239_250)
    for direction in ("entry", "entry", "exit"):
        for topic, message in vehicle.passing(counter, direction):  # type: ignore[arg-type]
            counting.take(topic, message)
    [told] = counting.readings()
    assert (told.entries, told.exits) == (2, 1)
    lane = msgspec.convert({"name": "garage", "points": points[1:]}, type=Counter)
    with pytest.raises(ValueError, match="counts no entry"):
        vehicle.passing(lane, "entry")


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def device(clock: Clock | None = None) -> AsyncIterator[httpx.AsyncClient]:
    app = application(Switch("main-in", clock or Clock()))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://relay") as client:
        yield client


async def rpc(client: httpx.AsyncClient, method: str, **params: Any) -> dict[str, Any]:
    response = await client.post("/rpc", json={"id": 7, "src": "me", "method": method, "params": params})
    answer: dict[str, Any] = response.json()
    assert (answer["id"], answer["dst"], answer["src"]) == (7, "me", "shellyplus1-main-in")
    return answer


async def test_a_pulse_ends_by_the_relays_own_timer() -> None:
    clock = Clock()
    async with device(clock) as client:
        assert (await rpc(client, "Switch.Set", id=0, on=True, toggle_after=2))["result"] == {"was_on": False}
        status = (await rpc(client, "Switch.GetStatus", id=0))["result"]
        assert (status["output"], status["timer_duration"]) == (True, 2)
        clock.now += 1.9
        assert (await rpc(client, "Switch.GetStatus", id=0))["result"]["output"] is True
        clock.now += 0.1
        status = (await rpc(client, "Switch.GetStatus", id=0))["result"]
        assert status["output"] is False
        assert "timer_duration" not in status
        pulses = (await client.get("/simulator/pulses")).json()
        assert pulses == {"relay": "main-in", "pulses": 1, "output": False, "last_ago_s": 2.0}


async def test_the_direct_form() -> None:
    async with device() as client:
        assert (await client.get("/rpc/Switch.Set?id=0&on=true&toggle_after=0.5")).json() == {"was_on": False}
        assert (await client.post("/rpc/Switch.Set", json={"id": 0, "on": False})).json() == {"was_on": True}
        info = (await client.get("/rpc/Shelly.GetDeviceInfo")).json()
        assert (info["gen"], info["auth_en"]) == (2, False)
        assert (await client.get("/rpc/Switch.Explode")).status_code == 404
        assert (await client.get("/rpc/Switch.Set?id=1&on=true")).status_code == 500
        assert (await client.get("/simulator/pulses")).json()["pulses"] == 1


@pytest.mark.parametrize(
    ("method", "params", "code"),
    [
        ("Switch.Set", {"on": True}, -103),
        ("Switch.Set", {"id": 0}, -103),
        ("Switch.Set", {"id": 0, "on": "true"}, -103),
        ("Switch.Set", {"id": 0, "on": True, "toggle_after": -1}, -103),
        ("Switch.Set", {"id": 0, "on": True, "toggle_after": True}, -103),
        ("Switch.Set", {"id": 4, "on": True}, -105),
        ("Switch.GetStatus", {"id": False}, -105),
        ("Nothing.Here", {}, 404),
    ],
)
async def test_rpc_errors_and_no_pulse(method: str, params: dict[str, Any], code: int) -> None:
    async with device() as client:
        assert (await rpc(client, method, **params))["error"]["code"] == code
        assert (await client.get("/simulator/pulses")).json()["pulses"] == 0


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"method": 1}', json.dumps("x").encode()])
async def test_a_broken_frame(body: bytes) -> None:
    async with device() as client:
        assert (await client.post("/rpc", content=body)).status_code == 400
