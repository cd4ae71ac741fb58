"""What a damaged spool still gives is brought over, once and in order; only what is really lost is told as lost."""

import copy
import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import NamedTuple
from unittest.mock import Mock

import pytest
from parkmesh.gateway import spool_salvage
from parkmesh.gateway.spool import Spool
from parkmesh.gateway.spool_first_page import FirstPage
from parkmesh.protocol.edge import AccessEntry, AccessList, Event, Gap, Passage, PresenceUpdate, SpaceState
from spool_records import NOW, events, passage, reopen, salvage, state
from spool_world import Line, World, run

RECORDS = 400


class Site(NamedTuple):
    spool: Spool
    world: World


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A spool with states behind passages, of which a server has some, and some more have a number."""
    spool = Spool(tmp_path / "spool.db", now=NOW)
    spool._db.execute("PRAGMA synchronous = OFF")  # to be made quickly
    for i in range(RECORDS // 4):
        spool.append(state(i))
    for i in range(RECORDS):
        spool.append(passage(i, NOW + i))
    world = World()
    take(world, spool, 10)
    spool.acknowledge(spool.epoch, 10)
    return Site(spool, world)


@pytest.fixture
def spool(site: Site) -> Spool:
    return site.spool


@pytest.fixture
def world(site: Site) -> World:
    return site.world


def take(world: World, spool: Spool, last: int) -> None:
    """Give the server the numbered records up to ``last``, without an answer."""
    world.note("took", spool.epoch, [one for one in map(json.loads, map(bytes, spool.batch(40))) if one["seq"] <= last])


def pages(path: Path, table: str) -> list[int]:
    """Return the numbers of a table's leaf pages, in their order (sqlite.org/dbstat.html, read without that module)."""
    content = path.read_bytes()
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        [(root,)] = db.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchall()

    def leaves(number: int) -> list[int]:
        page = content[(number - 1) * 4096 : number * 4096]
        if page[0] == 0x0D:
            return [number]
        cells = int.from_bytes(page[3:5])
        at = [int.from_bytes(page[12 + 2 * i : 14 + 2 * i]) for i in range(cells)]
        children = [int.from_bytes(page[cell : cell + 4]) for cell in at] + [int.from_bytes(page[8:12])]
        return [leaf for child in children for leaf in leaves(child)]

    return leaves(root)


def spoil(path: Path, *numbers: int) -> None:
    with path.open("r+b") as file:
        for number in numbers:
            file.seek((number - 1) * 4096)
            file.write(os.urandom(1) + b"\xff" * 4095)


def drained(spool: Spool, world: World) -> list[Event]:
    run(Line(spool, world, lambda: NOW + 10_000, lambda: False).drain)
    return world.took


def plates(told: list[Event]) -> list[str]:
    return [event.plate for event in told if isinstance(event, Passage)]


def told_lost(told: list[Event]) -> int:
    return sum(event.dropped for event in told if isinstance(event, Gap))


def test_all_but_the_rows_of_the_damaged_pages_is_brought_over_in_order(spool: Spool, world: World) -> None:
    spool.close()
    leaves = pages(spool.path, "waiting")
    spoil(spool.path, leaves[3], leaves[-4])
    again = Spool(spool.path, now=NOW + 5)
    assert again.salvaging
    assert events(again, 1000)[-1].seq == 40, "what came before has a number; nothing else gets one yet"
    again.append(passage(9_999, NOW + 999))
    told = drained(again, world)
    states = [event for event in told if isinstance(event, SpaceState)]
    found = plates(told)
    assert found == sorted(found)
    assert found[-1] == "9999BCD", "what came later comes later"
    # The acknowledged ones aren't there any more.
    missing = RECORDS + RECORDS // 4 - (len(found) - 1) - len(states)
    assert 0 < missing < 40
    assert told_lost(told) == missing
    assert not again.salvaging
    assert [one.name for one in spool.path.parent.glob("*.salvage-*")] == []
    assert (spool.path.parent / f"spool.db.corrupt-{NOW + 5}").exists()


def test_damage_outside_the_records_loses_none_and_tells_of_none(spool: Spool, world: World) -> None:
    spool.place([PresenceUpdate("1234BCD", True, NOW)], NOW)
    spool.settle([], None, {"trusted_time": b"17"})
    for i in range(300):
        spool.append(passage(1_000 + i, NOW + 1_000 + i), once=f"uplink-{i}")
    spool.close()
    with closing(sqlite3.connect(spool.path)) as db:
        [(index,)] = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'known_at'").fetchall()
    spoil(spool.path, index)
    again = Spool(spool.path, now=NOW + 5)
    told = drained(again, world)
    assert len(plates(told)) == RECORDS + 300
    assert told_lost(told) == 0
    assert again.presence() == [PresenceUpdate("1234BCD", True, NOW)]
    assert again.state("trusted_time") == b"17"
    assert not again.append(passage(1), once="uplink-7"), "what was known before is known"


def whole(content: bytes) -> bytes:
    return os.urandom(4096) + content[4096:]


def nothing(content: bytes) -> bytes:
    return bytes(4096) + content[4096:]


def schema(content: bytes) -> bytes:
    return content.replace(b"CREATE TABLE waiting", b"CREATE TABLE wa\xfating", 1)


def size(content: bytes) -> bytes:
    return content[:28] + (5).to_bytes(4) + content[32:]


@pytest.mark.parametrize("damage", [whole, nothing, schema, size])
def test_a_damaged_first_page_is_put_back_and_loses_nothing(
    spool: Spool, world: World, damage: Callable[[bytes], bytes]
) -> None:
    spool.activate(AccessList(3, True, [AccessEntry("c1", "1111BCD", "active")]))
    spool.close()
    content = spool.path.read_bytes()
    spool.path.write_bytes(damage(content))
    assert spool.path.read_bytes() != content
    again = Spool(spool.path, now=NOW + 5)
    assert (again.epoch, again.salvaging, again.held().whole) == (spool.epoch, False, True)
    told = drained(again, world)
    assert len(plates(told)) == RECORDS
    assert told_lost(told) == 0


def test_a_first_page_that_is_put_back_serves_the_salvage_of_others(spool: Spool, world: World) -> None:
    for i in range(3):
        spool.receive("cam", NOW, f"event-{i}", b"read" * 500)
    spool.close()
    spoil(spool.path, pages(spool.path, "waiting")[2], 1)
    again = Spool(spool.path, now=NOW + 5)
    assert again.salvaging
    assert len(again.unsettled()) == 3
    told = drained(again, world)
    here = len(plates(told)) + sum(isinstance(event, SpaceState) for event in told)
    assert 0 < RECORDS + RECORDS // 4 - here == told_lost(told) < 40


def test_free_pages_that_a_first_page_named_lose_nothing(spool: Spool, world: World) -> None:
    told = drained(spool, world)
    spool.append(passage(7_777, NOW + 7_777))
    spool.close()
    spoil(spool.path, 1)
    again = Spool(spool.path, now=NOW + 5)
    told = drained(again, world)
    assert plates(told)[-1] == "7777BCD"
    assert told_lost(told) == 0


def test_a_first_page_that_is_as_it_was_is_left_alone(spool: Spool) -> None:
    """A log that was damaged during a checkpoint: a file whose size isn't the one that its first page says has lost
    something, which nothing may hide."""
    spool.close()
    with spool.path.open("ab") as file:
        file.write(bytes(4096))
    content = spool.path.read_bytes()
    assert not FirstPage(spool.path).put_back(closed=False)
    assert spool.path.read_bytes() == content


def test_without_its_copy_a_damaged_first_page_is_told_as_the_loss_of_all(spool: Spool, world: World) -> None:
    spool.close()
    spoil(spool.path, 1)
    copy_of_page = spool.path.with_name("spool.db.first-page")
    copy_of_page.write_bytes(copy_of_page.read_bytes().replace(b"waiting", b"wbiting"))
    again = Spool(spool.path, now=NOW + 5)
    again.append(passage(9_999, NOW + 999))
    told = drained(again, world)
    assert plates(told)[-1] == "9999BCD"
    assert told_lost(told) >= RECORDS + RECORDS // 4 - 10


def test_the_copy_of_the_first_page_knows_the_tables_of_a_later_release(spool: Spool) -> None:
    spool._db.execute("CREATE TABLE later (number INTEGER)")
    spool._db.execute("INSERT INTO later VALUES (17)")
    again = reopen(spool)
    again.close()
    spoil(spool.path, 1)
    assert Spool(spool.path, now=NOW + 5)._db.execute("SELECT number FROM later").fetchall() == [(17,)]


@pytest.mark.parametrize("acked", [40, 25, 10])
def test_what_the_server_has_of_the_numbered_records_is_not_doubled(spool: Spool, world: World, acked: int) -> None:
    """The answer was lost; then a page with numbered records, too. A server tells what it has by its answer."""
    take(world, spool, acked)
    epoch = spool.epoch
    spool.close()
    leaves = pages(spool.path, "numbered")
    spoil(spool.path, leaves[len(leaves) // 2])
    again = Spool(spool.path, now=NOW + 5)
    assert again.epoch == epoch, "its numbers still hold"
    told = drained(again, world)
    found = plates(told)
    assert len(found) == len(set(found))
    missing = RECORDS - len(found)
    assert missing <= told_lost(told) <= missing + 1 if acked < 40 else missing == 0
    if acked == 40:
        assert told_lost(told) == 0, "the server had all that the page had"


@pytest.mark.parametrize("table", ["waiting", "numbered", "inbox", "meta", "state"])
def test_a_table_without_its_first_page_keeps_nothing_from_starting(spool: Spool, world: World, table: str) -> None:
    for i in range(3):
        spool.receive("cam", NOW, f"event-{i}", b"read" * 500)
    spool.close()
    with closing(sqlite3.connect(spool.path)) as db:
        [(root,)] = db.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,)).fetchall()
    spoil(spool.path, root)
    again = Spool(spool.path, now=NOW + 5)
    told = drained(again, world)
    reads = len(again.unsettled())
    here = len(plates(told)) + sum(isinstance(event, SpaceState) for event in told) + reads
    assert reads == (0 if table == "inbox" else 3)
    assert told_lost(told) >= RECORDS + RECORDS // 4 + 3 - here
    assert (told_lost(told) > 0) == (table in ("waiting", "numbered", "inbox"))


def test_a_kill_in_the_midst_of_it_doubles_and_loses_nothing(spool: Spool, world: World, tmp_path: Path) -> None:
    spool.close()
    spoil(spool.path, pages(spool.path, "waiting")[2])
    again, stops = Spool(spool.path, now=NOW + 5), 0
    counts = []
    while True:
        folder = tmp_path / f"killed-{stops}"
        shutil.copytree(tmp_path, folder, ignore=shutil.ignore_patterns("killed-*"))
        killed = Spool(folder / "spool.db", now=NOW + 6)
        told = drained(killed, copy.deepcopy(world))
        found = plates(told)
        assert found == sorted(set(found))
        counts.append((len(found), told_lost(told)))
        killed.close()
        if not again.salvage(NOW + 5):
            break
        stops += 1
    assert len(set(counts)) == 1
    assert stops > 1


def test_damage_met_while_the_gateway_runs_loses_only_what_can_not_be_read(spool: Spool, world: World) -> None:
    read = spool.receive("cam", NOW, "event", b"read")
    assert read is not None
    spool._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    spoil(spool.path, pages(spool.path, "waiting")[5])
    spool._db.execute("PRAGMA cache_size = 0")
    spool._db.execute("PRAGMA shrink_memory")
    line = Line(spool, world, lambda: NOW + 7, lambda: False)
    run(line.drain)
    assert spool.path.with_name(f"spool.db.corrupt-{NOW + 7}").exists()
    spool.settle([read.id], passage(7_777, NOW + 777))
    run(line.drain)
    found = plates(world.took)
    assert len(found) == len(set(found))
    states = sum(isinstance(event, SpaceState) for event in world.took)
    assert told_lost(world.took) == RECORDS + RECORDS // 4 - (len(found) - 1) - states
    assert 0 < told_lost(world.took) < 40
    assert reopen(spool).unsettled() == []


def test_a_disk_that_reads_slowly_ends_it_in_time(spool: Spool, world: World) -> None:
    spool.close()
    spoil(spool.path, pages(spool.path, "waiting")[2])
    again = Spool(spool.path, now=NOW + 5)
    times = iter(range(0, 10_000, 40))
    again._salvages[0]._clock = lambda: float(next(times))
    salvage(again)
    assert not again.salvaging
    told = drained(again, world)
    assert told_lost(told) > 100


def test_a_disk_that_is_full_at_its_begin_loses_nothing_of_it(
    spool: Spool, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool.receive("cam", NOW, "event", b"read")
    spool.close()
    with closing(sqlite3.connect(spool.path)) as db:
        [(index,)] = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'known_at'").fetchall()
    spoil(spool.path, index)
    full = sqlite3.OperationalError("database or disk is full")
    full.sqlite_errorcode = sqlite3.SQLITE_FULL
    with monkeypatch.context() as patched:
        patched.setattr(spool_salvage, "begin", Mock(side_effect=full))
        again = Spool(spool.path, now=NOW + 5)
    assert again.in_memory
    again.append(passage(9_999, NOW + 999))
    assert len(events(again)) == 1
    assert again.recover(NOW + 6)
    told = drained(again, world)
    assert sorted(set(plates(told))) == [*(f"{i:04d}BCD" for i in range(RECORDS)), "9999BCD"]
    assert told_lost(told) == 0
    assert [read.body for read in again.unsettled()] == [b"read"]
