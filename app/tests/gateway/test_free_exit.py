"""Who may leave where exit is free: everybody, once, and under the right plate."""

from pathlib import Path
from typing import Any

import msgspec
import pytest
from parkmesh.domain.community_rules import GateRules
from parkmesh.gateway.config import Camera
from parkmesh.gateway.decider import Decider
from parkmesh.gateway.spool import Spool
from parkmesh.protocol.edge import AccessEntry, AccessList, PresenceUpdate
from test_decider import NOW, World, brief, post, records, settled, until

OVER = AccessEntry("3", "3333KLM", "active", valid_until=NOW - 1)
ENTRIES = [
    AccessEntry("1", "1234BCD", "active"),
    AccessEntry("2", "2222FGH", "active"),
    OVER,
    AccessEntry("4", "4444MNP", "active", valid_from=NOW + 86_400_000),
    AccessEntry("5", "5555RST", "revoked"),
    AccessEntry("-6", "6666BBB", "revoked"),
    AccessEntry("7", "8080BCD", "revoked"),
    AccessEntry("8", "0B0BBCD", "active"),
]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def ruled(version: int = 8, **rules: Any) -> AccessList:
    return AccessList(version, True, ENTRIES, epoch=5, rules=GateRules(**rules))


def after(world: World, decider: Decider, ms: int) -> None:
    """Let time pass, and the gates look at their clock."""
    world.now += ms
    for gate in decider._gates.values():
        gate.queue.put_nowait(None)


async def taken(decider: Decider, spool: Spool) -> None:
    """Wait until everything that was sent is settled, or held."""
    gates = decider._gates.values()
    await until(lambda: spool.counts().inbox == sum(len(held.read_ids) for gate in gates for held in gate.held))


def both_ways(world: World) -> None:
    """Make the entry a gate for both directions, with a camera on each side."""
    cameras = [Camera("cam-in", "in", "entry"), Camera("cam-out", "in", "exit"), Camera("rear", "in", "exit")]
    world.config = msgspec.structs.replace(world.config, cameras=cameras)


@pytest.mark.parametrize(
    ("read", "credential"),
    [
        ("9999XYZ", None),
        ("unknown", None),
        ("3333KLM", "3"),
        ("4444MNP", "4"),
        ("5555RST", "5"),
        ("6666BBB", "-6"),
        ("8O8OBCD", None),  # may be two plates, of which one is revoked
    ],
)
@pytest.mark.parametrize("direction", ["entry", "exit"])
@pytest.mark.parametrize("free", [True, False])
async def test_who_may_not_come_in_may_leave(
    world: World, read: str, credential: str | None, direction: str, free: bool
) -> None:
    spool = world.spool()
    name, gate = ("cam-in", "in") if direction == "entry" else ("cam-out", "out")
    opens = free and direction == "exit"
    async with world.gateway(spool) as decider:
        await decider.activate(ruled(exit_is_free=free, refusal_hold_s=5))
        await post(decider, world.shot(read), name)
        await until(lambda: len(decider._gates[gate].held) == 1)
        after(world, decider, 4_999)
        await until(decider._gates[gate].queue.empty)
        assert (world.pulses, brief(spool)) == ([], [])
        after(world, decider, 2)
        await settled(spool)
    [record] = records(spool)
    assert (record.decision, record.opened) == (("granted", True) if opens else ("denied", None))
    assert (record.reason == "exit_is_free") == opens
    assert (record.credential_id, record.direction) == (credential, direction)
    assert len(world.pulses) == opens


async def test_a_read_that_is_too_old_lets_nobody_out(world: World) -> None:
    spool = world.spool()
    async with world.gateway(spool) as decider:
        await post(decider, world.shot("9999XYZ", retransmission=True), "cam-out")
        await post(decider, world.shot("3333KLM", ago_s=3_600), "cam-out")
        await settled(spool)
        world.now += 60_000
    assert [record.decision for record in records(spool)] == ["denied", "denied"]
    assert world.pulses == []


async def test_a_better_read_of_a_resident_takes_the_place_of_a_stranger(world: World) -> None:
    spool = world.spool()
    async with world.gateway(spool) as decider:
        await decider.activate(ruled())
        for plate in ("1234BC", "unknown", "1234BCD", "234BCD"):
            await post(decider, world.shot(plate), "cam-out")
            world.now += 1_500
        await settled(spool)
        world.now += 60_000
    assert brief(spool) == [("1234BCD", "exact", True)]
    assert len(world.pulses) == 1


@pytest.mark.parametrize("first", ["1234BC", "unknown"])
async def test_a_resident_who_is_read_right_while_the_barrier_opens_is_booked_and_gets_no_second_pulse(
    world: World, first: str
) -> None:
    spool = world.spool()
    async with world.gateway(spool) as decider:
        await decider.activate(ruled(anti_passback="hard"))
        await decider.apply_presence([PresenceUpdate("1234BCD", True, world.now)])
        await post(decider, world.shot(first), "cam-out")
        await until(lambda: len(decider._gates["out"].held) == 1)
        after(world, decider, 5_001)
        await settled(spool)
        for plate in ("1234BCD", "1234BC", "1234BCD", "unknown"):
            world.now += 1_000
            await post(decider, world.shot(plate), "cam-out")
            await settled(spool)
        world.now += 60_000
        assert decider._inside["1234BCD"] is False
        await post(decider, world.shot("1234BCD"), "cam-in")  # so it may come in again
        await settled(spool)
    assert [reason for _, reason, _ in brief(spool)] == ["exit_is_free", "exact", "exact"]
    assert [p.credential_id for p in records(spool)] == [None, "1", "1"]
    assert world.pulses == ["http://127.0.0.1:2", "http://127.0.0.1:1"]


async def test_a_neighbour_s_plate_that_reads_alike_leaves_on_its_own(world: World) -> None:
    """Both are on the list, so none is a misread of the other."""
    spool = world.spool()
    alike = AccessEntry("9", "1234BCF", "revoked")
    async with world.gateway(spool) as decider:
        await decider.activate(AccessList(8, True, [*ENTRIES, alike], epoch=5, rules=GateRules()))
        await post(decider, world.shot("1234BCD"), "cam-out")
        await settled(spool)
        world.now += 3_000
        await post(decider, world.shot("1234BCF"), "cam-out")
        await until(lambda: len(decider._gates["out"].held) == 1)
        after(world, decider, 5_001)
        await settled(spool)
    assert brief(spool) == [("1234BCD", "exact", True), ("1234BCF", "exit_is_free", True)]


async def test_who_was_let_out_and_still_stands_there_gets_no_second_pulse(world: World) -> None:
    spool = world.spool()
    async with world.gateway(spool) as decider:
        await decider.activate(ruled())
        for stranger in ("9999XYZ", "3333KLM"):
            for _ in range(5):
                await post(decider, world.shot(stranger), "cam-out")
                await taken(decider, spool)
                after(world, decider, 5_001)
            await settled(spool)
            world.now += 60_000
    assert [(plate, opened) for plate, _, opened in brief(spool)] == [("9999XYZ", True), ("3333KLM", True)]
    assert len(world.pulses) == 2


async def test_a_barrier_that_failed_is_tried_again_by_the_next_read(world: World) -> None:
    spool = world.spool()
    async with world.gateway(spool) as decider:
        await decider.activate(ruled())
        for world.broken in (True, False):
            await post(decider, world.shot("9999XYZ"), "cam-out")
            await until(lambda: len(decider._gates["out"].held) == 1)
            after(world, decider, 5_001)
            await settled(spool)
    assert brief(spool) == [("9999XYZ", "exit_is_free", False), ("9999XYZ", "exit_is_free", True)]


async def test_hard_anti_passback_keeps_nobody_in_and_counts_who_left_as_outside(world: World) -> None:
    spool = world.spool()
    async with world.gateway(spool) as decider:
        await decider.activate(ruled(anti_passback="hard"))
        await decider.apply_presence([PresenceUpdate("2222FGH", False, NOW), PresenceUpdate("3333KLM", True, NOW)])
        await post(decider, world.shot("2222FGH"), "cam-out")  # outside, as far as is known: it is let out, and marked
        await settled(spool)
        await post(decider, world.shot("3333KLM"), "cam-out")  # its pass ended while it was inside
        await until(lambda: len(decider._gates["out"].held) == 1)
        after(world, decider, 5_001)
        await settled(spool)
        world.now += 60_000
        longer = msgspec.structs.replace(OVER, valid_until=None)
        await decider.activate(AccessList(9, False, [longer], epoch=5))
        await post(decider, world.shot("3333KLM"), "cam-in")
        await settled(spool)
    assert [(p.plate, p.direction, p.reason, p.opened) for p in records(spool)] == [
        ("2222FGH", "exit", "anti_passback", True),
        ("3333KLM", "exit", "exit_is_free", True),
        ("3333KLM", "entry", "exact", True),
    ]


async def test_a_plate_that_no_camera_reads_is_nowhere(world: World) -> None:
    spool = world.spool()
    async with world.gateway(spool) as decider:
        await post(decider, world.shot("unknown"), "cam-out")
        await until(lambda: len(decider._gates["out"].held) == 1)
        after(world, decider, 5_001)
        await settled(spool)
    assert brief(spool) == [("", "exit_is_free", True)]
    assert spool.presence() == []


@pytest.mark.parametrize("outside_first", [True, False])
@pytest.mark.parametrize(("front", "back"), [("9999XYZ", "9999XYZ"), ("9999XYZ", "unknown"), ("unknown", "9999XYZ")])
async def test_a_stranger_at_the_entry_is_not_let_in_by_the_camera_of_the_exit(
    world: World, outside_first: bool, front: str, back: str
) -> None:
    both_ways(world)
    spool = world.spool()
    reads = [(front, "cam-in"), (back, "cam-out")]
    async with world.gateway(spool) as decider:
        await decider.activate(ruled())
        for plate, name in reads if outside_first else reversed(reads):
            await post(decider, world.shot(plate), name)
            world.now += 500
        await post(decider, world.shot(back), "rear")
        await taken(decider, spool)
        after(world, decider, 5_001)
        await settled(spool)
    assert world.pulses == []
    assert [(p.direction, p.decision) for p in records(spool)] == [("entry", "denied")]


async def test_who_leaves_by_a_gate_for_both_directions_is_not_refused_when_seen_from_behind(world: World) -> None:
    both_ways(world)
    spool = world.spool()
    async with world.gateway(spool) as decider:
        await decider.activate(ruled())
        for plate in ("3333KLM", "9999XYZ"):
            await post(decider, world.shot(plate), "cam-out")
            await post(decider, world.shot(plate), "rear")
            await until(lambda: len(decider._gates["in"].held) == 1)
            after(world, decider, 5_001)
            await settled(spool)
            world.now += 2_000
            await post(decider, world.shot(plate), "cam-in")
            await settled(spool)
            world.now += 60_000
    assert brief(spool) == [("3333KLM", "exit_is_free", True), ("9999XYZ", "exit_is_free", True)]


async def test_who_waits_to_leave_when_the_gateway_stops_is_decided_anew(world: World) -> None:
    spool = world.spool()
    async with world.gateway(spool) as decider:
        await decider.activate(ruled())
        await post(decider, world.shot("9999XYZ"), "cam-out")
        await until(lambda: len(decider._gates["out"].held) == 1)
    assert (spool.counts().inbox, brief(spool)) == (1, [])
    async with world.gateway(spool) as decider:
        await until(lambda: len(decider._gates["out"].held) == 1)
        after(world, decider, 5_001)
        await settled(spool)
    assert brief(spool) == [("9999XYZ", "exit_is_free", True)]


async def test_the_wait_is_no_longer_than_a_read_may_be_old_and_never_nothing(world: World) -> None:
    spool = world.spool()
    async with world.gateway(spool) as decider:
        for version, rules, wait_s in ((8, {"refusal_hold_s": 600}, 20), (9, {"refusal_hold_s": 0}, 2)):
            await decider.activate(ruled(version, **rules))
            await post(decider, world.shot("9999XYZ"), "cam-out")
            await until(lambda: len(decider._gates["out"].held) == 1)
            assert decider._gates["out"].held[0].due == world.now + wait_s * 1000
            after(world, decider, wait_s * 1000)
            await settled(spool)
            world.now += 60_000
    assert len(world.pulses) == 2


async def test_a_car_that_waits_for_the_exit_hold_is_no_stranger(world: World) -> None:
    spool = world.spool()
    async with world.gateway(spool) as decider:
        await decider.activate(ruled(exit_hold_s=3))
        for plate in ("1234BC", "1234BCD", "1234CD"):
            await post(decider, world.shot(plate), "cam-out")
        await until(lambda: spool.counts().inbox == 3 and len(decider._gates["out"].waiting) == 1)
        after(world, decider, 5_001)
        await settled(spool)
    assert brief(spool) == [("1234BCD", "exact", True)]
    assert len(world.pulses) == 1


async def test_a_camera_for_both_directions_lets_no_stranger_out(world: World) -> None:
    """It is configured as one of the entry: nobody knows which way the car wants."""
    spool = world.spool()
    async with world.gateway(spool) as decider:
        await decider.activate(ruled())
        await post(decider, world.shot("9999XYZ"))
    assert brief(spool) == [("9999XYZ", "unknown_plate", None)]
