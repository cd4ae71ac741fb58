"""From a POST of any camera to the right gate: recorders, several plates in one message, numbers of cars, answers."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import httpx
import msgspec
import pytest
from parkmesh.gateway.config import BY_BROKER, Camera, CameraKind, Config, Mqtt, Recorder
from parkmesh.gateway.decider import Decider
from parkmesh.gateway.intake import Intake
from parkmesh.gateway.listener import application
from parkmesh.gateway.mapping import Mapping
from parkmesh.gateway.sensor_feed import SensorFeed
from parkmesh.gateway.spool import SpoolError
from parkmesh.gateway.strays import Strays
from parkmesh.protocol.edge import Passage
from parkmesh.simulator import camera, camera_messages
from parkmesh.simulator.drive import events_url
from parkmesh.simulator.site import CameraSite
from test_decider import NOW, World, make_config

MAPPING = Mapping("plate", confidence="confidence", confidence_max=100, time="time", event="event", channel="camera")
KINDS: tuple[CameraKind, ...] = tuple(kind for kind in get_args(CameraKind) if kind not in BY_BROKER)


class Yard(World):
    """A gateway whose listener cameras of one kind post to."""

    def __init__(self, folder: Path, config: Config) -> None:
        super().__init__(folder)
        self.config = config
        self.kept = self.spool()
        self.answers: list[httpx.Response] = []

    @asynccontextmanager
    async def open(self) -> AsyncIterator[httpx.AsyncClient]:
        async with self.gateway(self.kept) as decider:
            transport = httpx.ASGITransport(self._application(decider))
            async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
                yield client

    def _application(self, decider: Decider) -> Any:
        intake = Intake(self.config, self.kept, decider, clock=lambda: NOW)
        return application(intake, decider, dict, Strays(lambda: NOW))

    def passages(self) -> list[tuple[str, str, str, str | None]]:
        found = [msgspec.json.decode(record, type=Passage) for record in self.kept.batch(99)]
        return sorted((one.plate, one.gate, one.reason, one.camera) for one in found)

    async def settled(self) -> None:
        for _ in range(200):
            if self.kept.counts().inbox == 0:
                return
            await asyncio.sleep(0.01)


def yard(folder: Path, kind: CameraKind, **config: Any) -> Yard:
    mapping = MAPPING if kind == "mapped" else None
    cameras = [
        Camera("cam-in", "in", "entry", kind, mapping=mapping),
        Camera("cam-out", "out", "exit", kind, mapping=mapping),
    ]
    return Yard(folder, msgspec.structs.replace(make_config(folder), **{"cameras": cameras, **config}))


def recorder(kind: CameraKind) -> dict[str, Any]:
    cameras = [
        Camera("cam-in", "in", "entry", kind, recorder="nvr", channel="33"),
        Camera("cam-out", "out", "exit", kind, recorder="nvr", channel="34"),
    ]
    return {
        "cameras": cameras,
        "recorders": [Recorder("nvr", kind, "a-secret-path", MAPPING if kind == "mapped" else None)],
    }


def message(kind: CameraKind, plate: str, channel: str = "33") -> tuple[bytes, dict[str, str]]:
    shot = camera.shot(plate, datetime.fromtimestamp(NOW / 1000, UTC))
    body, content_type = camera_messages.message(kind, shot, channel)
    return body, {"Content-Type": content_type}


@pytest.mark.parametrize("kind", KINDS)
async def test_a_car_of_each_brand_opens_its_gate(tmp_path: Path, kind: CameraKind) -> None:
    world = yard(tmp_path, kind)
    async with world.open() as client:
        body, headers = message(kind, "1234 BCD")
        for _ in range(2):  # sent again: ignored
            answer = await client.post("/cameras/cam-in/events", content=body, headers=headers)
            assert answer.status_code == 200
        await world.settled()
        assert (answer.content != b"") == (kind == "dahua_itsapi")
        assert (await client.post("/cameras/cam-in/events", content=b"")).status_code == 200
        wrong = await client.post("/cameras/cam-in/events", content=b'{"no": "plate"}')
        assert (wrong.status_code, wrong.headers["Content-Type"]) == (400, "application/problem+json")
        senders = (await client.get("/status")).json()["wrong_posts"]["senders"]
    assert [one["kind"] for one in senders] == ["test"]
    assert world.passages() == [("1234BCD", "in", "exact", "cam-in")]
    assert len(world.pulses) == 1
    assert world.kept.counts().quarantine == 1


@pytest.mark.parametrize("kind", KINDS)
async def test_a_recorder_s_messages_reach_the_camera_of_their_channel(tmp_path: Path, kind: CameraKind) -> None:
    world = yard(tmp_path, kind, **recorder(kind))
    async with world.open() as client:
        url = events_url("http://gateway", CameraSite("cam-in", "in", None, "a-secret-path", kind, "nvr", "33"))
        for plate, channel in (("1234BCD", "33"), ("5678FGH", "34"), ("9999XYZ", "35")):
            body, headers = message(kind, plate, channel)
            assert (await client.post(url, content=body, headers=headers)).status_code == 200
            assert (await client.post("/cameras/nvr/events", content=body, headers=headers)).status_code == 404
            assert (await client.post("/cameras/cam-in/events", content=body, headers=headers)).status_code == 404
        await world.settled()
        wrong = (await client.get("/status")).json()["wrong_posts"]
    assert world.passages() == [("1234BCD", "in", "exact", "cam-in"), ("5678FGH", "out", "exact", "cam-out")]
    [stranger] = [one for one in wrong["senders"] if one["kind"] == "unknown_channel"]
    assert (stranger["channel"], stranger["count"]) == ("35", 1)
    assert wrong["total"] == 6


async def test_each_plate_of_one_post_is_decided(tmp_path: Path) -> None:
    world = yard(tmp_path, "plate_recognizer", refusal_hold_s=0)
    result = {"plate": "1234bcd", "score": 0.9, "dscore": 0.5}
    data = {"camera_id": "x", "filename": "a.jpg", "results": [result, {**result, "plate": "9999xyz"}]}
    async with world.open() as client:
        assert (await client.post("/cameras/cam-in/events", json={"data": data})).status_code == 200
        assert (await client.post("/cameras/cam-in/events", json={"data": {"results": []}})).status_code == 200
        await world.settled()
    assert [(plate, reason) for plate, _, reason, _ in world.passages()] == [
        ("1234BCD", "exact"),
        ("9999XYZ", "unknown_plate"),
    ]


async def test_the_cameras_number_of_a_car_joins_its_reads(tmp_path: Path) -> None:
    world = yard(tmp_path, "axis_lpv")
    event = {"carID": "7", "plateConfidence": "0.9", "capture_timestamp": str(NOW), "carState": "new"}
    async with world.open() as client:
        for count, plate in enumerate(("9XK", "1234BCD", "77777")):
            update = {**event, "plateUTF8": plate, "packetCounter": str(count)}
            assert (await client.post("/cameras/cam-in/events", json=update)).status_code == 200
        lost = {**event, "plateUTF8": "5678FGH", "carState": "lost"}
        assert (await client.post("/cameras/cam-in/events", content=json.dumps(lost).encode())).status_code == 200
        await world.settled()
    assert world.passages() == [("1234BCD", "in", "exact", "cam-in")]
    assert len(world.pulses) == 1


async def test_a_car_that_drives_away_opens_nothing_where_its_direction_is_ignored(tmp_path: Path) -> None:
    cameras = [Camera("cam-in", "in", "entry", "axis_lpv", ignore_directions=["Out"])]
    world = yard(tmp_path, "axis_lpv", cameras=cameras, camera_silence_s=10)
    event = {
        "carState": "update",
        "plateUTF8": "1234BCD",
        "plateConfidence": "0.9",
        "capture_timestamp": str(NOW + 60_000),
    }
    async with world.gateway(world.kept) as decider:
        intake = Intake(world.config, world.kept, decider, clock=lambda: world.now)
        address = intake.addresses["cam-in"]
        world.now += 60_000
        leaving = {**event, "carID": "1", "carMoveDirection": "out"}
        await intake.take(address, json.dumps(leaving).encode(), "")
        assert decider.silent_cameras() == []
        assert world.kept.counts().inbox == 0
        for number, direction in (("2", "in"), ("3", "unknown")):
            seen = {**event, "carID": number, "carMoveDirection": direction}
            await intake.take(address, json.dumps(seen).encode(), "")
        await world.settled()
    assert world.passages() == [("1234BCD", "in", "exact", "cam-in")]


PATH = "/NotificationInfo/TollgateInfo"


@pytest.mark.parametrize("shared", [False, True])
async def test_a_camera_that_posts_where_its_maker_wants(tmp_path: Path, shared: bool) -> None:
    kind: CameraKind = "dahua_itsapi"
    one = {"cameras": [Camera("cam-in", "in", "entry", kind), Camera("cam-out", "out", "exit", kind, "a-secret-path")]}
    several = {**recorder(kind), "recorders": [Recorder("nvr", kind)]}
    world = yard(tmp_path, kind, **(several if shared else one))
    async with world.open() as client:
        body, headers = message(kind, "1234BCD", "33")
        answer = await client.post(PATH, content=body, headers=headers)
        assert (answer.status_code, answer.json()["Response"]["Status"]) == (200, 0)
        answer = await client.post("/NotificationInfo/KeepAlive", json={"Active": True, "DeviceID": "33"})
        assert (answer.status_code, answer.json()["Result"]) == (200, True)
        assert (await client.get(PATH)).status_code == 200
        assert (await client.put(PATH)).status_code == 405
        await world.settled()
    assert world.passages() == [("1234BCD", "in", "exact", "cam-in")]


async def test_nobody_guesses_which_of_two_cameras_a_makers_path_is(tmp_path: Path) -> None:
    kinds: tuple[CameraKind, ...] = ("dahua_itsapi", "milesight")
    for kind in kinds:
        (tmp_path / kind).mkdir()
        world = yard(tmp_path / kind, kind)
        async with world.open() as client:
            body, headers = message(kind, "1234BCD")
            assert (await client.post(PATH, content=body, headers=headers)).status_code == 404
            assert (await client.get("/status")).json()["wrong_posts"]["total"] == 1


async def test_a_recorders_reads_by_the_broker(tmp_path: Path) -> None:
    cameras = [Camera("cam-in", "in", "entry", "frigate", recorder="nvr", channel="33")]
    shared = [Recorder("nvr", "frigate", topic="frigate/tracked_object_update")]
    world = yard(tmp_path, "frigate", cameras=cameras, recorders=shared, mqtt=Mqtt())
    strays = Strays(lambda: NOW)
    async with world.gateway(world.kept) as decider:
        intake = Intake(world.config, world.kept, decider, clock=lambda: NOW)
        feed = SensorFeed(world.config, world.kept, decider, clock=lambda: NOW, appended=lambda: None, intake=intake,
                          strays=strays)  # fmt: skip
        for plate, channel in (("1234BCD", "33"), ("5678FGH", "34")):
            for _ in range(2):  # the broker delivers at least once
                await feed.take("frigate/tracked_object_update", message("frigate", plate, channel)[0])
        await feed.take("frigate/tracked_object_update", b"junk")
        await world.settled()
    assert world.passages() == [("1234BCD", "in", "exact", "cam-in")]
    assert [(one.kind, one.sender, one.channel, one.count) for one in strays.newest()] == [
        ("unknown_channel", "mqtt", "34", 2)
    ]
    assert world.kept.counts().quarantine == 1


async def test_a_read_by_the_broker_is_not_acknowledged_before_it_is_on_disk(tmp_path: Path) -> None:
    cameras = [Camera("cam-in", "in", "entry", "frigate", recorder="nvr", channel="33")]
    world = yard(tmp_path, "frigate", cameras=cameras, recorders=[Recorder("nvr", "frigate", topic="a/b")], mqtt=Mqtt())
    async with world.gateway(world.kept) as decider:
        intake = Intake(world.config, world.kept, decider, clock=lambda: NOW)
        feed = SensorFeed(world.config, world.kept, decider, clock=lambda: NOW, appended=lambda: None, intake=intake)
        await decider.on_disk(lambda: world.kept._db.execute("ALTER TABLE inbox RENAME TO gone").fetchall())
        with pytest.raises(SpoolError):
            await feed.take("a/b", message("frigate", "1234BCD")[0])
        await decider.on_disk(lambda: world.kept._db.execute("ALTER TABLE gone RENAME TO inbox").fetchall())
        await feed.take("a/b", message("frigate", "1234BCD")[0])
        await world.settled()
    assert [plate for plate, *_ in world.passages()] == ["1234BCD"]
