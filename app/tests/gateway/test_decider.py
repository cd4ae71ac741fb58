"""From a camera's message to a record: what opens, what is recorded, and what a crash at any step leaves."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import httpx
import msgspec
import pytest
from crash_points import CrashPoints
from parkmesh.gateway import barrier, drivers
from parkmesh.gateway.config import Camera, Config
from parkmesh.gateway.decider import Decider
from parkmesh.gateway.drivers import hikvision
from parkmesh.gateway.drivers.types import PlateRead, PoisonError, RelayError
from parkmesh.gateway.gates import Gate, Relay
from parkmesh.gateway.intake import Intake
from parkmesh.gateway.listener import application
from parkmesh.gateway.spool import Spool, SpoolError
from parkmesh.gateway.strays import Strays
from parkmesh.protocol.edge import AccessEntry, AccessList, Command, Event, Gap, GateRules, Passage, PresenceUpdate
from parkmesh.simulator import camera

NOW = 1_700_000_000_000
LIST = AccessList(
    7,
    True,
    [
        AccessEntry("ana", "1234BCD", "active"),
        AccessEntry("bob", "5678FGH", "active"),
        AccessEntry("eve", "6666JKL", "revoked"),
    ],
)


def make_config(folder: Path) -> Config:
    return Config(
        name="gateway-a",
        community="a",
        spool=str(folder / "spool.db"),
        token_file="token",
        servers=["http://127.0.0.1:1"],
        cameras=[Camera("cam-in", "in", "entry"), Camera("cam-out", "out", "exit", secret_path="a-secret-path")],
        gates=[Gate("in", Relay("http://127.0.0.1:1")), Gate("out", Relay("http://127.0.0.1:2"))],
        refusal_hold_s=1,
    )


class World:
    """The gateway's surroundings: a clock that the test moves, barriers that it breaks, and the server's ledger."""

    def __init__(self, folder: Path) -> None:
        self.now = NOW
        self.pulses: list[str] = []
        self.broken = False
        self.closed: bool | None = None
        self.doubtful = False
        self.config = make_config(folder)
        self.folder = folder
        self.pulse: Callable[[Relay], Awaitable[None]] = self._pulse

    async def _pulse(self, relay: Relay) -> None:
        self.pulses.append(relay.url)
        if self.broken:
            raise RelayError("dead")

    async def _closed(self, _: Relay) -> bool | None:
        return self.closed

    def interlocked(self, input: Literal["open", "step"], *, min_gap_s: float) -> None:
        """Say what the entry's barrier does on a pulse, which lasts 2 s, or 0.2 s with a gap below 1 s."""
        relay = Relay("http://127.0.0.1:1", pulse_s=2 if min_gap_s >= 1 else 0.2)
        gates = [Gate("in", relay, input, min_gap_s), self.config.gates[1]]
        self.config = msgspec.structs.replace(self.config, gates=gates)

    def spool(self, path: Path | None = None) -> Spool:
        return Spool(path or Path(self.config.spool), now=self.now)

    @asynccontextmanager
    async def gateway(self, spool: Spool | None = None) -> AsyncIterator[Decider]:
        """Run a decider; at the end everything taken is settled and the spool stays open."""
        decider = Decider(
            self.config,
            spool or self.spool(),
            lambda relay: self.pulse(relay),
            clock=lambda: self.now,
            closed=self._closed,
            doubtful=lambda: self.doubtful,
        )
        if decider.list_version == 0:
            await decider.activate(LIST)
        running = asyncio.create_task(decider.run())
        try:
            yield decider
        finally:
            decider.stop()
            await running
            decider.close()

    def shot(self, plate: str, *, ago_s: float = 0, retransmission: bool = False, confidence: int = 97) -> camera.Shot:
        moment = datetime.fromtimestamp(self.now / 1000 - ago_s, UTC)
        return camera.shot(plate, moment, retransmission=retransmission, confidence=confidence)


async def post(decider: Decider, shot: camera.Shot, name: str = "cam-in") -> None:
    await decider.camera_message(decider.cameras[name], *camera.multipart(shot))


def records(spool: Spool) -> list[Passage]:
    found = [msgspec.json.decode(record, type=Event) for record in spool.batch(1_000)]
    return [event for event in found if isinstance(event, Passage)]


def brief(spool: Spool) -> list[tuple[str, str, bool | None]]:
    return [(p.plate, p.reason, p.opened) for p in records(spool)]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def test_a_camera_whose_name_breaks_its_xml_opens(world: World) -> None:
    spool = world.spool()
    xml = camera.xml(world.shot("1234BCD")).replace(b">Gate<", ">Cámara portón & salida<".encode("latin-1"))
    async with world.gateway(spool) as decider:
        await decider.camera_message(decider.cameras["cam-in"], xml, "application/xml")
    assert brief(spool) == [("1234BCD", "exact", True)]
    assert len(world.pulses) == 1


@pytest.mark.parametrize(
    ("read", "record", "pulses"),
    [
        ("1234 bcd", ("1234BCD", "exact", True), 1),
        ("1234BC0", ("1234BC0", "fuzzy", True), 1),
        ("9999XYZ", ("9999XYZ", "unknown_plate", None), 0),
        ("6666JKL", ("6666JKL", "revoked", None), 0),
        ("unknown", ("", "no_plate", None), 0),
        ("", ("", "no_plate", None), 0),
    ],
)
async def test_every_read_is_recorded_and_only_the_right_ones_open(
    world: World, read: str, record: tuple[str, str, bool | None], pulses: int
) -> None:
    spool = world.spool()
    async with world.gateway(spool) as decider:
        await post(decider, world.shot(read))
    assert brief(spool) == [record]
    assert len(world.pulses) == pulses
    assert spool.counts().inbox == 0


async def test_the_record_tells_what_was_known(world: World) -> None:
    spool = world.spool()
    shot = world.shot("1234BCD", ago_s=1)
    async with world.gateway(spool) as decider:
        await post(decider, shot)
    [record] = records(spool)
    assert (record.seq, record.gate, record.direction, record.camera) == (1, "in", "entry", "cam-in")
    assert (record.times.received, record.times.device) == (NOW, NOW - 1_000)
    assert (record.credential_id, record.access_list_version, record.confidence) == ("ana", 7, 0.97)
    assert record.device_event_id == f"{shot.uuid}:{shot.picture_id}"


async def test_a_barrier_that_fails_is_recorded_and_tried_again_at_the_next_read(world: World) -> None:
    spool = world.spool()
    async with world.gateway(spool) as decider:
        world.broken = True
        await post(decider, world.shot("1234BCD"))
        await settled(spool)
        world.broken = False
        await post(decider, world.shot("1234BCD"))
    assert brief(spool) == [("1234BCD", "exact", False), ("1234BCD", "exact", True)]


async def settled(spool: Spool) -> None:
    await until(lambda: spool.counts().inbox == 0)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 -- it becomes true in another thread
            await asyncio.sleep(0.005)


async def test_one_car_read_several_times_is_one_passage(world: World) -> None:
    spool = world.spool()
    async with world.gateway(spool) as decider:
        for plate in ("5678FG", "unknown", "5678FGH", "5678FGH", "678FGH"):
            await post(decider, world.shot(plate))
            world.now += 5
        await settled(spool)
        world.now += 31_000
        await post(decider, world.shot("5678FGH"))
    assert brief(spool) == [("5678FGH", "exact", True)] * 2
    assert len(world.pulses) == 2


async def test_one_refused_car_is_one_record_with_its_surest_read(world: World) -> None:
    spool = world.spool()
    async with world.gateway(spool) as decider:
        for plate, confidence in (("3738MKWV", 95), ("3738WV", 60), ("3738MWV", 70), ("3738WW", 80), ("unknown", 0)):
            await post(decider, world.shot(plate, confidence=confidence))
    assert brief(spool) == [("3738MKWV", "unknown_plate", None)]


@pytest.mark.parametrize("first", [4, 1])
async def test_every_misread_is_compared_with_all_reads_of_its_car(world: World, first: int) -> None:
    """The order in which a predecessor saw one car: the first and the last have three edits between them."""
    misreads = ["3738MKWV", "3738WV", "3738MWV", "3738WW"]
    spool = world.spool()
    async with world.gateway(spool) as decider:
        for plate in misreads[:first]:
            await post(decider, world.shot(plate))
        await until(lambda: [len(held.read_ids) for held in decider._gates["in"].held] == [first])
        world.now += 1_001
        await settled(spool)
        for plate in misreads[first:]:
            await post(decider, world.shot(plate))
            await settled(spool)
    assert [plate for plate, _, _ in brief(spool)] == ["3738MKWV"]


async def test_misreads_of_a_car_that_is_let_in_are_no_other_car(world: World) -> None:
    spool = world.spool()
    async with world.gateway(spool) as decider:
        await decider.activate(AccessList(8, True, [AccessEntry("ana", "3738MKWV", "active")]))
        for plate in ("3738WV", "3738MKWV", "3738WW"):
            await post(decider, world.shot(plate))
    assert brief(spool) == [("3738MKWV", "exact", True)]


async def test_the_cameras_own_number_of_a_car_joins_what_no_plate_would(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As cameras that follow a car do: the plate changes, the number stays."""

    def parse(message: bytes) -> PlateRead:
        read = hikvision.parse(message)
        return msgspec.structs.replace(read, car_id=str(read.confidence))

    monkeypatch.setattr(drivers, "CAMERAS", {"hikvision": SimpleNamespace(parse=parse, extract=hikvision.extract)})
    spool = world.spool()
    async with world.gateway(spool) as decider:
        for plate, car in (("9XK", 91), ("1234BCD", 91), ("77777", 91), ("5678FGH", 91), ("6666JKL", 91), ("8WW", 92)):
            await post(decider, world.shot(plate, confidence=car))
            await asyncio.sleep(0.05)
    # A refusal by name isn't hidden by what was seen before.
    assert sorted(brief(spool)) == [
        ("1234BCD", "exact", True),
        ("6666JKL", "revoked", None),
        ("8WW", "unknown_plate", None),
    ]
    assert len(world.pulses) == 1


@pytest.mark.parametrize(
    ("plate", "confidence", "reason"),
    [
        ("1234BCD", 5, "unsure"),
        ("1234BCD", 29, "unsure"),
        ("1234BCD", 30, "exact"),
        ("1234BCD", 0, "exact"),  # cameras that don't say how sure they are say 0
        ("1234BC0", 49, "unsure"),
        ("1234BC0", 50, "fuzzy"),
        ("6666JKL", 5, "revoked"),
        ("9999XYZ", 5, "unknown_plate"),
    ],
)
async def test_a_read_of_which_the_camera_is_not_sure_opens_nothing(
    world: World, plate: str, confidence: int, reason: str
) -> None:
    spool = world.spool()
    async with world.gateway(spool) as decider:
        await post(decider, world.shot(plate, confidence=confidence))
    assert [p.reason for p in records(spool)] == [reason]
    assert len(world.pulses) == (reason in ("exact", "fuzzy"))


async def test_a_surer_read_of_the_same_car_opens(world: World) -> None:
    spool = world.spool()
    async with world.gateway(spool) as decider:
        for confidence in (10, 60, 5):
            await post(decider, world.shot("1234BCD", confidence=confidence))
            await asyncio.sleep(0.05)
    assert brief(spool) == [("1234BCD", "exact", True)]


async def test_a_refusal_by_name_is_not_hidden_by_a_neighbour(world: World) -> None:
    spool = world.spool()
    async with world.gateway(spool) as decider:
        await decider.activate(
            AccessList(8, True, [AccessEntry("ana", "1234BCD", "active"), AccessEntry("eve", "1234BCF", "revoked")])
        )
        for plate in ("1234BCF", "1234BCD", "1234BCF"):
            await post(decider, world.shot(plate))
    assert sorted(brief(spool)) == [("1234BCD", "exact", True), ("1234BCF", "revoked", None)]


async def test_the_window_survives_a_restart(world: World) -> None:
    spool = world.spool()
    async with world.gateway(spool) as decider:
        await post(decider, world.shot("1234BCD"))
    world.now += 1_000
    async with world.gateway(spool) as decider:
        await post(decider, world.shot("1234BCD"))
    assert len(records(spool)) == len(world.pulses) == 1


@pytest.mark.parametrize(
    ("input", "closed", "pulses"),
    [
        ("step", None, [1, 1, 1, 1, 1]),
        ("step", True, [1, 1, 1, 1, 1]),
        ("open", None, [1, 1, 1, 1, 1]),
        ("open", False, [1, 1, 1, 1, 1]),
        ("open", True, [1, 1, 2, 2, 3]),
    ],
)
async def test_a_passage_has_one_pulse_unless_the_barrier_is_known_to_be_closed_again(
    world: World, input: Literal["open", "step"], closed: bool | None, pulses: list[int]
) -> None:
    world.interlocked(input, min_gap_s=1)
    world.closed = closed
    spool = world.spool()
    async with world.gateway(spool) as decider:
        for wait_ms, count in zip((0, 2_900, 200, 2_800, 300), pulses, strict=True):
            world.now += wait_ms
            await post(decider, world.shot("1234BCD"))
            await settled(spool)
            await until(lambda count=count: len(world.pulses) >= count)
            assert len(world.pulses) == count
    assert brief(spool) == [("1234BCD", "exact", True)]


async def test_pulses_of_two_cars_keep_their_gap(world: World) -> None:
    world.interlocked("open", min_gap_s=0.3)
    at: list[float] = []

    async def pulse(_: Relay) -> None:
        at.append(time.monotonic())

    world.pulse = pulse
    spool = world.spool()
    async with world.gateway(spool) as decider:
        await post(decider, world.shot("1234BCD"))
        await post(decider, world.shot("5678FGH"))
    assert at[1] - at[0] >= 0.49  # the pulse itself lasts 0.2 s
    assert [opened for _, _, opened in brief(spool)] == [True, True]


async def test_a_step_barrier_that_is_open_gets_no_pulse(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(barrier, "_CLOSES_WITHIN_S", 0.2)
    monkeypatch.setattr(barrier, "_ASK_EVERY_S", 0.02)
    world.interlocked("step", min_gap_s=0)
    world.closed = False
    spool = world.spool()
    async with world.gateway(spool) as decider:
        await post(decider, world.shot("1234BCD"))
        await settled(spool)
        assert world.pulses == []
        monkeypatch.setattr(barrier, "_CLOSES_WITHIN_S", 10)
        await post(decider, world.shot("5678FGH"))
        await asyncio.sleep(0.1)
        assert world.pulses == []
        world.closed = True  # it has closed behind the first car
    assert len(world.pulses) == 1
    assert [opened for _, _, opened in brief(spool)] == [True, True]


async def test_a_pulse_that_may_have_arrived_is_not_given_again(world: World) -> None:
    async def pulse(relay: Relay) -> None:
        world.pulses.append(relay.url)
        raise RelayError("no answer", may_have_moved=True)

    world.pulse = pulse
    spool = world.spool()
    async with world.gateway(spool) as decider:
        for _ in range(3):
            await post(decider, world.shot("1234BCD"))
            await settled(spool)
            world.now += 5_000
    assert len(world.pulses) == 1
    assert brief(spool) == [("1234BCD", "exact", False)]


async def test_a_camera_that_sees_the_car_from_behind_opens_nothing_and_records_nothing(world: World) -> None:
    """One gate for both directions, with a camera on each side, and a second one at the entry."""
    world.config = msgspec.structs.replace(
        world.config,
        cameras=[Camera("front", "in", "entry"), Camera("rear", "in", "entry"), Camera("leaving", "in", "exit")],
    )
    spool = world.spool()
    async with world.gateway(spool) as decider:
        for plate, name in (
            ("1234BCD", "front"),
            ("1234BCD", "rear"),
            ("1234BCD", "leaving"),
            ("1234BC", "leaving"),
            ("unknown", "leaving"),
        ):
            await post(decider, world.shot(plate), name)
            await settled(spool)
            world.now += 2_000
        assert len(world.pulses) == 1
        world.now += 5_000
        await post(decider, world.shot("1234BCD"), "leaving")  # it turned around and wants out
    assert [(p.plate, p.direction) for p in records(spool)] == [("1234BCD", "entry"), ("1234BCD", "exit")]
    assert len(world.pulses) == 2


async def test_open_tapped_twice_gives_one_pulse(world: World) -> None:
    spool = world.spool()
    async with world.gateway(spool) as decider:
        for number, after_ms in enumerate((0, 400, 4_000, 2_000)):
            world.now += after_ms
            decider.command(command(f"open-{number}", expires=world.now + 5_000))
            await until(lambda number=number: spool.counts().backlog == number + 1)
    assert len(world.pulses) == 2
    assert [(p.device_event_id, p.opened) for p in records(spool)] == [(f"open-{n}", True) for n in range(4)]


async def test_the_window_is_not_prolonged_by_reads(world: World) -> None:
    spool = world.spool()
    async with world.gateway(spool) as decider:
        for _ in range(5):
            await post(decider, world.shot("1234BCD"))
            await settled(spool)
            world.now += 10_000
    assert len(records(spool)) == 2
    assert len(world.pulses) == 2


def ruled(version: int, **rules: Any) -> AccessList:
    """Return the list with a second car of Ana's unit, and rules."""
    entries = [
        AccessEntry("ana", "1234BCD", "active", unit="1A"),
        AccessEntry("ana-2", "4321DCB", "active", unit="1A"),
        AccessEntry("bob", "5678FGH", "active", unit="2B"),
    ]
    return AccessList(version, True, entries, epoch=5, rules=GateRules(**rules))


async def drive(world: World, decider: Decider, spool: Spool, *steps: tuple[str, str]) -> None:
    """Let cars come to a gate one after the other, each in its own minute."""
    for plate, name in steps:
        await post(decider, world.shot(plate), name)
        await settled(spool)
        world.now += 60_000


@pytest.mark.parametrize(
    ("anti_passback", "second"),
    [("off", ("exact", True)), ("soft", ("anti_passback", True)), ("hard", ("anti_passback", None))],
)
async def test_anti_passback(world: World, anti_passback: str, second: tuple[str, bool | None]) -> None:
    spool = world.spool()
    async with world.gateway(spool) as decider:
        await decider.activate(ruled(8, anti_passback=anti_passback, refusal_hold_s=0))
        await drive(world, decider, spool, ("1234BCD", "cam-in"), ("1234BCD", "cam-in"), ("1234BCD", "cam-out"))
    async with world.gateway(spool) as decider:  # what it knows survives a restart
        await drive(world, decider, spool, ("1234BCD", "cam-in"))
    assert [(reason, opened) for _, reason, opened in brief(spool)] == [
        ("exact", True),
        second,
        ("exact", True),
        ("exact", True),
    ]


async def test_a_correction_lets_a_locked_out_car_in(world: World) -> None:
    spool = world.spool()
    async with world.gateway(spool) as decider:
        await decider.activate(ruled(8, anti_passback="hard", refusal_hold_s=0))
        await drive(world, decider, spool, ("1234BCD", "cam-in"), ("1234BCD", "cam-in"))
        late = AccessList(9, False, [], epoch=5, presence=[PresenceUpdate("1234BCD", False, NOW - 1)])
        await decider.activate(late)  # older than what the gate saw: it changes nothing
        await drive(world, decider, spool, ("1234BCD", "cam-in"))
        await decider.activate(
            AccessList(10, False, [], epoch=5, presence=[PresenceUpdate("1234BCD", False, world.now)])
        )
        await drive(world, decider, spool, ("1234BCD", "cam-in"))
    assert [reason for _, reason, _ in brief(spool)] == ["exact", "anti_passback", "anti_passback", "exact"]


async def test_what_another_gateway_saw_counts_unless_something_later_is_known(world: World) -> None:
    spool = world.spool()
    async with world.gateway(spool) as decider:
        await decider.activate(ruled(8, anti_passback="hard", refusal_hold_s=0))
        await decider.apply_presence(
            [PresenceUpdate("1234BCD", True, world.now), PresenceUpdate("5678FGH", False, world.now)]
        )
        await drive(world, decider, spool, ("1234BCD", "cam-in"), ("5678FGH", "cam-in"))
        # Said late: the gate has seen it since.
        await decider.apply_presence([PresenceUpdate("5678FGH", False, NOW - 1)])
        await drive(world, decider, spool, ("5678FGH", "cam-in"))
    async with world.gateway(spool) as decider:  # what was heard survives a restart, and so does what holds of it
        await drive(world, decider, spool, ("1234BCD", "cam-in"), ("5678FGH", "cam-in"))
        await decider.apply_presence([PresenceUpdate("1234BCD", False, world.now)])
        await drive(world, decider, spool, ("1234BCD", "cam-in"))
    assert [reason for _, reason, _ in brief(spool)] == ["anti_passback", "exact", *["anti_passback"] * 3, "exact"]


async def test_a_list_that_comes_while_a_car_passes_forgets_it_not(world: World) -> None:
    spool = world.spool()
    async with world.gateway(spool) as decider:
        await decider.activate(ruled(8, anti_passback="hard", refusal_hold_s=0))
        decider._place([PresenceUpdate("1234BCD", True, world.now)], world.now)  # in memory, and not on disk yet
        await decider.activate(ruled(9, anti_passback="hard", refusal_hold_s=0))
        await drive(world, decider, spool, ("1234BCD", "cam-in"))
    assert [reason for _, reason, _ in brief(spool)] == ["anti_passback"]


async def test_a_unit_brings_in_no_more_cars_than_it_has_lots(world: World) -> None:
    spool = world.spool()
    async with world.gateway(spool) as decider:
        await decider.activate(ruled(8, lots_per_unit=1, refusal_hold_s=0))
        cars = ("1234BCD", "cam-in"), ("4321DCB", "cam-in"), ("5678FGH", "cam-in"), ("1234BCD", "cam-out")
        await drive(world, decider, spool, *cars, ("4321DCB", "cam-in"))
    assert [reason for _, reason, _ in brief(spool)] == ["exact", "lots_full", "exact", "exact", "exact"]


async def test_one_car_refused_by_a_rule_several_times_is_one_record(world: World) -> None:
    spool = world.spool()
    async with world.gateway(spool) as decider:
        await decider.activate(ruled(8, lots_per_unit=0, refusal_hold_s=0))
        for _ in range(3):
            await post(decider, world.shot("1234BCD"))
            await settled(spool)
            world.now += 2_000
    assert brief(spool) == [("1234BCD", "lots_full", None)]


async def test_the_barrier_waits_and_asks_again_before_it_opens(world: World) -> None:
    spool = world.spool()
    async with world.gateway(spool) as decider:
        await decider.activate(ruled(8, entry_hold_s=1))
        await post(decider, world.shot("1234BCD"))
        await post(decider, world.shot("5678FGH"))
        await post(decider, world.shot("1234BC"))  # the same car, misread
        await until(lambda: len(decider._gates["in"].waiting) == 2)
        assert (world.pulses, spool.counts().inbox) == ([], 3)
        await decider.activate(AccessList(9, False, [AccessEntry("bob", "5678FGH", "revoked")], epoch=5))
        world.now += 1_000
        await settled(spool)
    assert brief(spool) == [("1234BCD", "exact", True), ("5678FGH", "revoked", None)]
    assert len(world.pulses) == 1


async def test_who_waits_when_the_gateway_stops_is_decided_anew(world: World) -> None:
    spool = world.spool()
    async with world.gateway(spool) as decider:
        await decider.activate(ruled(8, entry_hold_s=60))
        await post(decider, world.shot("1234BCD"))
        await until(lambda: len(decider._gates["in"].waiting) == 1)
    assert (world.pulses, spool.counts().inbox) == ([], 1)
    world.now += 120_000
    async with world.gateway(spool):
        await settled(spool)
    assert brief(spool) == [("1234BCD", "stale", None)]


async def test_the_configurations_defaults_hold_until_a_server_tells_rules(world: World) -> None:
    spool = world.spool()
    async with world.gateway(spool) as decider:
        assert not decider.rules_known
        await decider.activate(ruled(8, refusal_hold_s=600))
        assert decider.rules_known
        await post(decider, world.shot("9999XYZ"))
        await until(lambda: len(decider._gates["in"].held) == 1)
        assert decider._gates["in"].held[0].due == world.now + 600_000


async def test_the_same_event_again_changes_nothing(world: World) -> None:
    spool = world.spool()
    shot = world.shot("1234BCD")
    async with world.gateway(spool) as decider:
        await post(decider, shot)
        await settled(spool)
        world.now += 60_000
        await post(decider, shot)
        await post(decider, msgspec.structs.replace(shot, retransmission=True))
    assert len(records(spool)) == len(world.pulses) == 1


@pytest.mark.parametrize(("ago_s", "retransmission"), [(21, False), (3_600, False), (0, True), (3_600, True)])
async def test_an_old_read_is_recorded_and_never_opens(world: World, ago_s: float, retransmission: bool) -> None:
    spool = world.spool()
    async with world.gateway(spool) as decider:
        await post(decider, world.shot("1234BCD", ago_s=ago_s, retransmission=retransmission))
        await settled(spool)
        assert world.pulses == []
        # and it doesn't swallow the car that stands here now
        await post(decider, world.shot("1234BCD"))
    assert brief(spool) == [("1234BCD", "stale", None), ("1234BCD", "exact", True)]


async def test_a_read_that_waited_here_too_long_never_opens(world: World) -> None:
    spool = world.spool()
    shot = world.shot("1234BCD")
    assert spool.receive("cam-in", world.now, "id", camera.xml(shot)) is not None
    spool.activate(LIST)
    world.now += 600_000
    async with world.gateway(spool):
        await settled(spool)
    assert brief(spool) == [("1234BCD", "stale", None)]
    assert world.pulses == []


async def test_an_accepted_message_that_the_disk_has_damaged_is_told(world: World) -> None:
    spool = world.spool()
    for number in range(2):
        assert spool.receive("cam-in", world.now, f"id-{number}", camera.xml(world.shot("9999XYZ"))) is not None
    with spool._transaction() as db:
        db.execute("UPDATE inbox SET body = x'3c8a' WHERE id = 1")
        db.execute("UPDATE inbox SET camera = 'cam-io' WHERE id = 2")
    async with world.gateway(spool):
        await settled(spool)
    [gap] = [msgspec.json.decode(record, type=Event) for record in spool.batch(9)]
    assert (type(gap), gap.kind, gap.dropped) == (Gap, "damaged_record", 2)


async def test_a_camera_whose_clock_is_wrong_still_opens(world: World) -> None:
    spool = world.spool()
    async with world.gateway(spool) as decider:
        await post(decider, world.shot("1234BCD", ago_s=7_200))  # its first read teaches its clock
        world.now += 3_000
        await post(decider, world.shot("1234BCD", ago_s=7_200))
        await settled(spool)
        world.now += 60_000
    async with world.gateway(spool) as decider:  # and it is remembered
        await post(decider, world.shot("5678FGH", ago_s=7_200))
    assert [reason for _, reason, _ in brief(spool)] == ["stale", "exact", "exact"]


async def test_nobody_is_refused_for_a_clock_that_is_known_to_be_wrong(world: World) -> None:
    """Switched on without the line and without the time: it is at least what was known, and no more is certain."""
    spool = world.spool()
    visitor = AccessEntry("visit", "7777BCD", "active", NOW + 86_400_000, NOW + 2 * 86_400_000)
    async with world.gateway(spool) as decider:
        await decider.activate(msgspec.structs.replace(ruled(8, anti_passback="hard", refusal_hold_s=0)))
        await decider.activate(AccessList(9, False, [visitor], epoch=5))
        await drive(world, decider, spool, ("1234BCD", "cam-in"))
        # Others say when its car came in by a clock that was right, a day later.
        await decider.apply_presence([PresenceUpdate("5678FGH", True, world.now)])
        world.doubtful = True
        for plate in ("1234BCD", "5678FGH", "7777BCD"):
            await post(decider, world.shot(plate, ago_s=-86_400))  # the camera has the right time
            await settled(spool)
            world.now += 60_000
    assert brief(spool)[1:] == [
        ("1234BCD", "anti_passback", True),
        ("5678FGH", "anti_passback", True),
        ("7777BCD", "clock_doubted", True),
    ]


async def test_an_old_read_opens_nothing_beside_a_clock_that_is_known_to_be_wrong(world: World) -> None:
    spool = world.spool()
    async with world.gateway(spool) as decider:
        await post(decider, world.shot("6666JKL"))  # its clock is known, and right
        await until(lambda: decider._clocks["cam-in"].last_device is not None)
        world.doubtful = True
        # By the camera it is a day later: the gateway's clock can only be too early.
        for plate, ago_s in (("1234BCD", 60), ("1234BCD", -86_400), ("5678FGH", -86_300), ("5678FGH", -86_395)):
            await post(decider, world.shot(plate, ago_s=ago_s))
            await until(lambda: spool.counts().inbox == 1)  # the refusal by name is held
    assert [p.reason for p in records(spool) if p.plate != "6666JKL"] == ["stale", "exact", "stale", "exact"]


async def test_cameras_stay_fresh_when_the_gateways_clock_is_set(world: World) -> None:
    spool = world.spool()
    async with world.gateway(spool) as decider:
        await post(decider, world.shot("1234BCD"))
        await settled(spool)
        world.now += 3_600_000
        decider.clock_was_set(3_600_000)
        await post(decider, world.shot("5678FGH", ago_s=3_600))
    assert [reason for _, reason, _ in brief(spool)] == ["exact", "exact"]
    assert abs(decider.camera_clocks()["cam-in"]["behind_ms"] - 3_600_000) < 1_000


async def test_a_revocation_acts_at_once(world: World) -> None:
    spool = world.spool()
    async with world.gateway(spool) as decider:
        await decider.activate(AccessList(8, False, [AccessEntry("ana", "1234BCD", "revoked")]))
        await post(decider, world.shot("1234BCD"))
    assert brief(spool) == [("1234BCD", "revoked", None)]


async def test_gates_do_not_wait_for_each_other(world: World) -> None:
    spool = world.spool()
    stuck = asyncio.Event()

    async def pulse(relay: Relay) -> None:
        if relay.url.endswith(":1"):
            await stuck.wait()
        world.pulses.append(relay.url)

    world.pulse = pulse
    async with world.gateway(spool) as decider:
        await post(decider, world.shot("1234BCD"), "cam-in")
        await post(decider, world.shot("5678FGH"), "cam-out")
        await until(lambda: len(world.pulses) > 0)
        assert world.pulses == ["http://127.0.0.1:2"]
        stuck.set()
    assert [(p.gate, p.direction) for p in records(spool)] == [("out", "exit"), ("in", "entry")]


# commands


def command(id: str = "open-1", gate: str = "in", expires: int = NOW + 5_000) -> Command:
    return Command(id, gate, expires, "desk")


async def test_a_command_opens_once(world: World) -> None:
    spool = world.spool()
    async with world.gateway(spool) as decider:
        decider.command(command())
        decider.command(command())
    async with world.gateway(spool) as decider:
        decider.command(command())
    assert len(world.pulses) == 1
    [record] = records(spool)
    assert (record.plate, record.reason, record.opened, record.device_event_id) == ("", "command", True, "open-1")


@pytest.mark.parametrize(
    ("given", "skew_ms", "opens"),
    [
        (command(), 0, True),
        (command(expires=NOW), 0, False),
        (command(expires=NOW - 1), 0, False),
        (command(), 5_000, False),  # expired by the server's clock
        (command(expires=NOW - 1), -2_000, True),
        (command(gate="no-such-gate"), 0, False),
    ],
)
async def test_a_command_expires_by_the_servers_clock(world: World, given: Command, skew_ms: int, opens: bool) -> None:
    spool = world.spool()
    async with world.gateway(spool) as decider:
        decider.server_skew_ms = skew_ms
        decider.command(given)
    assert len(world.pulses) == len(records(spool)) == int(opens)


# faults at every step


async def test_a_crash_at_any_step_of_a_granted_read(world: World, tmp_path: Path) -> None:
    """Kill the gateway before every SQL statement; the camera sends again what wasn't acknowledged."""
    spool = world.spool()
    spool.activate(LIST)
    shot = world.shot("1234BCD")
    accepted = False
    points: CrashPoints[tuple[bool, int]] = CrashPoints(
        spool, tmp_path / "crashes", lambda: (accepted, len(world.pulses))
    )
    async with world.gateway(spool) as decider:
        await post(decider, shot)
        accepted = True
        await settled(spool)
    points.last()
    assert len(points.points) > 12
    opened = set()
    for point in points.points:
        accepted_before, pulses_before = point.world
        world.pulses.clear()
        survivor = world.spool(point.spool)
        async with world.gateway(survivor) as decider:
            if not accepted_before:
                await post(decider, shot)
        pulses = pulses_before + len(world.pulses)
        [record] = records(survivor)
        assert record.plate == "1234BCD", point.statement
        assert pulses <= 1, f"the barrier opened twice: killed before {point.statement}"
        # If the barrier never opened, the record must not claim that it did.
        assert not (record.opened and pulses == 0), point.statement
        opened.add((pulses, record.opened))
        survivor.close()
    # Both outcomes occur: opened and told so, and killed around the pulse, not confirmed.
    assert (1, True) in opened
    assert any(told is False for _, told in opened)


async def test_a_crash_at_any_step_of_a_command(world: World, tmp_path: Path) -> None:
    spool = world.spool()
    spool.activate(LIST)
    points: CrashPoints[int] = CrashPoints(spool, tmp_path / "crashes", lambda: len(world.pulses))
    async with world.gateway(spool) as decider:
        decider.command(command())
    points.last()
    assert len(points.points) > 6
    for point in points.points:
        world.pulses.clear()
        survivor = world.spool(point.spool)
        async with world.gateway(survivor) as decider:
            decider.command(command())  # a server that (wrongly) sends it again
        assert point.world + len(world.pulses) <= 1, f"opened twice: killed before {point.statement}"
        assert len(records(survivor)) == 1, point.statement
        survivor.close()


async def test_a_full_disk_keeps_what_was_accepted(world: World) -> None:
    spool = world.spool()
    async with world.gateway(spool) as decider:
        for plate in ("1111BCD", "2222FGH", "3333JKL"):
            await post(decider, world.shot(plate))
        pages = spool._db.execute("PRAGMA page_count").fetchone()[0]
        spool._db.execute(f"PRAGMA max_page_count = {pages}")

        async def fill() -> None:
            for i in range(10_000):
                await post(decider, world.shot(f"{i:04d}XYZ"))

        with pytest.raises(SpoolError, match="disk is full"):
            await fill()
        world.now += 100  # the held reads are due, and can't be written
        await asyncio.sleep(0.2)
        spool._db.execute("PRAGMA max_page_count = 1000000")
    assert spool.counts().inbox == 0
    assert {plate for plate, _, _ in brief(spool)} >= {"1111BCD", "2222FGH", "3333JKL"}


# the listener


@asynccontextmanager
async def listener(decider: Decider) -> AsyncIterator[httpx.AsyncClient]:
    intake = Intake(decider._config, decider._spool, decider, clock=lambda: NOW)
    transport = httpx.ASGITransport(
        application(intake, decider, lambda: {"gateway": "gateway-a"}, Strays(lambda: NOW, {"a-secret-path"}))
    )
    async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as client:
        yield client


async def test_the_listeners_answers(world: World) -> None:
    spool = world.spool()
    body, kind = camera.multipart(world.shot("9999XYZ"))
    other = b"<EventNotificationAlert><eventType>VMD</eventType></EventNotificationAlert>"
    async with world.gateway(spool) as decider, listener(decider) as client:

        async def status(path: str, content: bytes = body, content_type: str = kind) -> int:
            response = await client.post(path, content=content, headers={"Content-Type": content_type})
            return response.status_code

        assert await status("/cameras/cam-in/events") == 200
        assert await status("/cameras/cam-in/events") == 200  # again: accepted, and ignored
        assert await status("/cameras/cam-in/events", other, "application/xml") == 200
        assert await status("/cameras/nobody/events") == 404
        assert await status("/cameras/cam-in/a-secret-path/events") == 404
        assert await status("/cameras/cam-out/events") == 404  # it has a secret path
        assert await status("/cameras/cam-out/another-secret/events") == 404
        assert await status("/cameras/cam-out/a-secret-path/events", camera.multipart(world.shot("5678FGH"))[0]) == 200
        assert await status("/cameras/cam-in/events", b"junk") == 400
        assert await status("/cameras/cam-in/events", b"<" * 9_000_000) == 413
        assert (await client.get("/healthz")).json() == {"status": "ok"}
        assert (await client.get("/status")).json()["gateway"] == "gateway-a"
    assert spool.counts().quarantine == 1
    assert sorted(plate for plate, _, _ in brief(spool)) == ["5678FGH", "9999XYZ"]


@pytest.mark.parametrize(
    ("method", "path", "answer", "kind", "shown"),
    [
        ("POST", "/cameras/cam-nord/events", 404, "unknown_camera", "/cameras/cam-nord/events"),
        ("POST", "/cameras/cam-out/a-secret-patch/events", 404, "unknown_camera", "/cameras/cam-out/…/events"),
        ("POST", "/cameras/cam-out/events", 404, "unknown_camera", "/cameras/cam-out/events"),
        ("POST", "/cameras/a-secret-path/events", 404, "unknown_camera", "/cameras/…/events"),
        ("POST", "/", 404, "unknown_address", "/"),
        ("POST", "/ISAPI/Event", 404, "unknown_address", "/…/…"),
        ("POST", "//cameras/cam-in/events", 404, "unknown_address", "//cameras/cam-in/events"),
        ("POST", "/cameras/cam-in", 404, "unknown_address", "/cameras/cam-in"),
        ("GET", "/cameras", 404, "unknown_address", "/cameras"),
        ("POST", "/status", 404, "unknown_address", "/…"),
        ("PUT", "/cameras/cam-in/events", 405, "wrong_method", "/cameras/cam-in/events"),
        ("PUT", "/cameras/cam-out/a-secret-path/events", 405, "wrong_method", "/cameras/cam-out/…/events"),
        ("GET", "/cameras/cam-in/events", 200, "test", "/cameras/cam-in/events"),
        ("GET", "/favicon.ico", 404, None, None),
    ],
)
async def test_what_reaches_no_camera_is_seen(
    world: World,
    caplog: pytest.LogCaptureFixture,
    method: str,
    path: str,
    answer: int,
    kind: str | None,
    shown: str | None,
) -> None:
    caplog.set_level("INFO", "parkmesh.gateway")
    spool = world.spool()
    body = camera.multipart(world.shot("1234BCD"))[0] if method != "GET" else b""
    async with world.gateway(spool) as decider, listener(decider) as client:
        for _ in range(3):
            response = await client.request(method, f"http://gateway{path}", content=body)
            assert response.status_code == answer
        if answer != 200:
            assert "/cameras/<name>/events" in response.json()["detail"] or response.headers["Allow"] == "POST"
        wrong = (await client.get("/status")).json()["wrong_posts"]
    assert wrong["total"] == (0 if kind in (None, "test") else 3)
    assert [(s["sender"], s["kind"], s["method"], s["path"], s["count"]) for s in wrong["senders"]] == (
        [("127.0.0.1", kind, method, shown, 3)] if kind else []
    )
    assert len([record for record in caplog.records if "127.0.0.1" in record.message]) == (1 if kind else 0)
    assert "a-secret-pa" not in caplog.text + str(wrong)
    assert brief(spool) == []
    assert world.pulses == []


async def test_a_slash_at_the_end_and_a_test_without_a_message_are_taken(world: World) -> None:
    spool = world.spool()
    body, kind = camera.multipart(world.shot("1234BCD"))
    async with world.gateway(spool) as decider, listener(decider) as client:
        response = await client.post("/cameras/cam-in/events/", content=body, headers={"Content-Type": kind})
        assert response.status_code == 200
        await settled(spool)
        world.now += 86_400_001
        assert (await client.post("/cameras/cam-in/events", content=b"")).status_code == 200
        assert decider.silent_cameras() == ["cam-out"]
        wrong = (await client.get("/status")).json()["wrong_posts"]
    assert (wrong["total"], [s["kind"] for s in wrong["senders"]]) == (0, ["test"])
    assert spool.counts().quarantine == 0
    assert brief(spool) == [("1234BCD", "exact", True)]


def test_more_senders_than_are_kept() -> None:
    strays = Strays(lambda: NOW)
    for number in range(500):
        strays.note("unknown_address", f"192.0.2.{number}", "POST", "/" + "x" * 10_000 + "\n")
    strays.note("unknown_address", "192.0.2.450", "POST", "/")
    assert strays.total == 501
    assert len(strays.newest()) == 100
    assert (strays.newest()[0].sender, strays.newest()[0].count) == ("192.0.2.450", 2)


async def test_200_only_when_it_is_on_disk(world: World) -> None:
    spool = world.spool()
    async with world.gateway(spool) as decider, listener(decider) as client:
        body, kind = camera.multipart(world.shot("1234BCD"))
        await decider.on_disk(lambda: spool._db.execute("ALTER TABLE inbox RENAME TO gone").fetchall())
        response = await client.post("/cameras/cam-in/events", content=body, headers={"Content-Type": kind})
        assert response.status_code == 503
        assert response.headers["Retry-After"] == "5"
        await decider.on_disk(lambda: spool._db.execute("ALTER TABLE gone RENAME TO inbox").fetchall())
        response = await client.post("/cameras/cam-in/events", content=body, headers={"Content-Type": kind})
        assert response.status_code == 200
    assert brief(spool) == [("1234BCD", "exact", True)]


async def test_what_is_not_urgent_gives_way_to_a_read_but_not_for_ever(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("parkmesh.gateway.decider._GIVE_WAY_S", 1e9)
    commanded, answered = asyncio.Event(), asyncio.Event()

    async def pulse(_: Relay) -> None:
        commanded.set()
        await answered.wait()

    world.pulse = pulse
    async with world.gateway() as decider:
        assert not decider.has_traffic()
        await decider.give_way()
        await post(decider, world.shot("1234BCD"))
        await commanded.wait()
        assert decider.has_traffic()
        other = asyncio.create_task(decider.give_way())
        await asyncio.sleep(0.02)
        assert not other.done()
        answered.set()
        await other
        answered.clear()
        monkeypatch.setattr("parkmesh.gateway.decider._GIVE_WAY_S", 0)
        await post(decider, world.shot("5678FGH"))
        await decider.give_way()  # a relay that doesn't answer keeps no record back
        answered.set()


async def test_a_silent_relay_keeps_nothing_back_for_longer_than_one_wait(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    commanded, answered = asyncio.Event(), asyncio.Event()

    async def pulse(_: Relay) -> None:
        commanded.set()
        await answered.wait()

    world.pulse = pulse
    async with world.gateway() as decider:
        await post(decider, world.shot("1234BCD"))
        await commanded.wait()
        await post(decider, world.shot("5678FGH"))  # waits behind it
        monkeypatch.setattr("parkmesh.gateway.decider._GIVE_WAY_S", 1e9)
        assert decider._has_read_in_hand()
        monkeypatch.setattr("parkmesh.gateway.decider._GIVE_WAY_S", 0.01)
        await asyncio.sleep(0.02)
        assert not decider._has_read_in_hand(), "each of 200 messages would wait anew"
        answered.set()


async def test_poison_is_kept_for_a_person_and_not_retried(world: World) -> None:
    spool = world.spool()
    async with world.gateway(spool) as decider:
        with pytest.raises(PoisonError):
            await decider.camera_message(decider.cameras["cam-in"], b"junk", "text/plain")
    [(source, body)] = spool._db.execute("SELECT source, body FROM quarantine").fetchall()
    assert (source, body) == ("cam-in", b"junk")
    assert spool.counts().inbox == 0


async def test_silent_cameras(world: World) -> None:
    spool = world.spool()
    async with world.gateway(spool) as decider:
        world.now += 86_400_000 + 1
        with suppress(PoisonError):
            await decider.camera_message(decider.cameras["cam-in"], b"junk", "")
        assert decider.silent_cameras() == ["cam-out"]
