"""The spool: durable before it returns, whole or not at all, bounded, and honest about what it dropped."""

import random
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from crash_points import CrashPoints
from parkmesh.gateway.spool import Spool, SpoolError, peek
from parkmesh.protocol.edge import AccessEntry, AccessList, Event, Gap, Passage, PresenceUpdate, SpaceState, Times
from spool_records import NOW, events, passage, reopen, salvage, state


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool.db", now=NOW)


def test_numbers_start_at_one_without_gaps_and_survive_a_restart(spool: Spool) -> None:
    for i in range(3):
        spool.append(passage(i))
    assert [e.seq for e in events(spool, 2)] == [1, 2]
    spool = reopen(spool)
    spool.append(passage(3))
    assert [e.seq for e in events(spool)] == [1, 2, 3, 4]
    assert spool.acknowledge(spool.epoch, 3) == 3
    spool = reopen(spool)
    assert [(e.seq, e.plate) for e in events(spool) if isinstance(e, Passage)] == [(4, "0003BCD")]
    assert spool.epoch == NOW


def test_a_batch_is_sent_unchanged_until_it_is_acknowledged(spool: Spool) -> None:
    spool.append(state(1))
    first = spool.batch(10)
    spool.append(passage(1))
    assert spool.batch(10)[:1] == first
    assert spool.batch(1) == first


def test_passages_overtake_sensor_states(spool: Spool) -> None:
    for i in range(3):
        spool.append(state(i))
    spool.append(passage(9))
    assert [type(e).__name__ for e in events(spool, 2)] == ["Passage", "SpaceState"]


def test_acknowledgements(spool: Spool) -> None:
    spool.append(passage(1))
    events(spool)
    assert spool.acknowledge(spool.epoch + 1, 1) == 0
    assert spool.acknowledge(spool.epoch, 0) == 0
    assert (spool.sent(1), spool.sent(2)) == (True, False)
    assert spool.acknowledge(spool.epoch, 1) == 1
    assert spool.acknowledge(spool.epoch, 1) == 0
    assert spool.counts().backlog == 0


def test_overflow_drops_sensor_states_only_and_says_so(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool.db", now=NOW, max_bytes=4_000)
    for i in range(100):
        spool.append(state(i))
        spool.append(passage(i))
    spool = reopen(spool)
    got = events(spool, 1_000)
    assert [e.plate for e in got if isinstance(e, Passage)] == [f"{i:04d}BCD" for i in range(100)]
    [gap] = [e for e in got if isinstance(e, Gap)]
    kept = [e for e in got if isinstance(e, SpaceState)]
    assert gap.kind == "space_state"
    assert gap.dropped + len(kept) == 100
    assert gap.dropped >= 90
    assert [e.seq for e in got] == list(range(1, len(got) + 1))
    assert spool.counts().dropped == gap.dropped


def test_what_was_numbered_is_never_dropped(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool.db", now=NOW, max_bytes=500)
    spool.append(state(1))
    assert len(events(spool)) == 1
    for i in range(20):
        spool.append(state(i))
    assert next(e.space for e in events(spool) if isinstance(e, SpaceState)) == "a-1"


def fill_the_disk(spool: Spool) -> int:
    """Let no more pages be written, and append passages until the spool is in memory; return how many."""
    spool._reserve.free()
    pages = spool._db.execute("PRAGMA page_count").fetchone()[0]
    spool._db.execute(f"PRAGMA max_page_count = {pages + 2}")
    kept = 0
    while not spool.in_memory:
        spool.append(passage(kept))
        kept += 1
    return kept


def make_room(spool: Spool) -> None:
    assert spool._disk is not None
    spool._disk.execute("PRAGMA max_page_count = 100000")


def test_a_full_disk_is_told_and_nothing_is_lost_or_half_written(spool: Spool) -> None:
    spool.activate(AccessList(3, True, [ONE, TWO]))
    first = spool.receive("cam", NOW, "before", b"x")
    assert first is not None
    kept = fill_the_disk(spool)
    assert spool.disk_error == f"{spool.path}: the disk is full; free some space on it"
    assert spool.receive("cam", NOW, "event", b"x" * 100_000) is not None
    assert spool.receive("cam", NOW, "event", b"x" * 100_000) is None
    spool.settle([first.id], passage(kept))
    spool.activate(AccessList(4, False, [THREE]))
    assert spool.access_list() == (4, [ONE, TWO, THREE])
    sent = events(spool)  # what came since is sent, in the same numbering
    assert [e.plate for e in sent if isinstance(e, Passage)] == [f"{i:04d}BCD" for i in (kept - 1, kept)]
    assert [e.seq for e in sent] == [1, 2]
    assert spool.acknowledge(spool.epoch, 1) == 1
    assert spool.counts().backlog == kept
    assert not spool.recover(NOW)
    make_room(spool)
    assert spool.recover(NOW)
    assert (spool.in_memory, spool.disk_error) == (False, None)
    spool = reopen(spool)
    rest = events(spool, 20_000)
    assert sorted(e.plate for e in rest if isinstance(e, Passage)) == sorted(
        f"{i:04d}BCD" for i in range(kept + 1) if i != kept - 1
    )
    assert [e.seq for e in rest] == list(range(2, kept + 2))
    assert held_by(spool) == (4, [ONE, TWO, THREE], True)
    assert [len(read.body) for read in spool.unsettled()] == [100_000]


def test_a_reserve_is_freed_before_the_disk_counts_as_full(spool: Spool, caplog: pytest.LogCaptureFixture) -> None:
    assert spool._reserve._path.stat().st_size == 8 * 1024 * 1024
    pages = spool._db.execute("PRAGMA page_count").fetchone()[0]
    spool._db.execute(f"PRAGMA max_page_count = {pages}")
    while spool._reserve._path.exists():
        spool.append(passage(1))
    assert "going on with the room that was reserved" in caplog.text
    make_room(spool)
    assert spool.recover(NOW)
    assert spool._reserve._path.exists()


def test_what_the_memory_has_no_room_for_is_counted_and_stops_nothing(spool: Spool) -> None:
    fill_the_disk(spool)
    pages = spool._db.execute("PRAGMA page_count").fetchone()[0]
    spool._db.execute(f"PRAGMA max_page_count = {pages}")
    for i in range(1_000):
        spool.append(passage(i))
    read = spool.receive("cam", NOW, "event", b"x" * 10_000)
    assert read is not None
    spool.opening(read.id, passage(1))
    spool.settle([read.id], passage(1))
    assert spool.claim("open-1", passage(2)) is not None
    make_room(spool)
    assert spool.recover(NOW)
    [gap] = [event for event in events(spool, 20_000) if isinstance(event, Gap)]
    assert gap.kind == "unstored_passage"
    assert gap.dropped > 900


def test_records_that_come_together_are_kept_in_one_step(spool: Spool) -> None:
    steps: list[str] = []
    spool._db.set_trace_callback(lambda text: steps.append(text) if text == "COMMIT" else None)
    states = [SpaceState(1, Times(NOW), f"s-{number}", "occupied", "sensor") for number in range(3)]
    assert spool.append_all([(states[0], "a"), (states[1], "a"), (states[2], None)]) == [True, False, True]
    assert spool.append_all([(states[1], "a")]) == [False]
    assert spool.append_all([]) == []
    assert len(steps) == 2
    spool = reopen(spool)
    assert [event.space for event in events(spool) if isinstance(event, SpaceState)] == ["s-0", "s-2"]


def test_of_records_that_the_memory_has_no_room_for_together_each_is_tried(spool: Spool) -> None:
    fill_the_disk(spool)
    pages = spool._db.execute("PRAGMA page_count").fetchone()[0]
    spool._db.execute(f"PRAGMA max_page_count = {pages}")
    small = SpaceState(1, Times(NOW), "s-1", "occupied", "sensor")
    large = SpaceState(1, Times(NOW), "s" * 1_000_000, "occupied", "sensor")
    before = spool.counts().waiting
    assert spool.append_all([(large, "a"), (small, "b"), (large, None)]) == [True, True, True]
    assert (spool.counts().waiting - before, spool._lost) == (1, {"unstored_space_state": 2})


def test_what_was_only_in_memory_when_the_gateway_died_is_told(spool: Spool) -> None:
    kept = fill_the_disk(spool)
    spool._lock_file.close()  # as a kill -9 leaves it
    survivor = Spool(spool.path, now=NOW + 1)
    gap, *rest = events(survivor, 20_000)
    assert gap == Gap(1, Times(NOW + 1), "memory_lost", 1)
    assert len(rest) == kept - 1
    assert not any(isinstance(event, Gap) for event in events(reopen(survivor), 20_000)[1:])


@pytest.mark.parametrize("sent", [False, True])
def test_a_spool_whose_disk_can_not_be_read_begins_in_memory(tmp_path: Path, sent: bool) -> None:
    path = tmp_path / "spool.db"
    spool = Spool(path, now=NOW)
    spool.activate(AccessList(3, True, [ONE]))
    spool.append(passage(1))
    events(spool)
    spool.append(passage(2))
    spool.close()
    path.rename(tmp_path / "elsewhere")
    path.mkdir()  # stands for a disk that isn't there: no file can be opened
    spool = Spool(path, now=NOW + 9)
    assert (spool.in_memory, spool.epoch, held_by(spool)) == (True, NOW + 9, (3, [ONE], False))
    spool.append(passage(3))
    if sent:
        assert [(e.seq, e.plate) for e in events(spool) if isinstance(e, Passage)] == [(1, "0003BCD")]
    assert not spool.recover(NOW)
    path.rmdir()
    (tmp_path / "elsewhere").rename(path)
    assert spool.recover(NOW)
    assert spool.epoch == (NOW + 9 if sent else NOW)
    # What was sent from memory keeps its numbers, since the server may have it.
    order = ["0003BCD", "0001BCD", "0002BCD"] if sent else ["0001BCD", "0002BCD", "0003BCD"]
    assert [(e.seq, e.plate) for e in events(spool) if isinstance(e, Passage)] == list(enumerate(order, 1))
    assert held_by(spool) == (3, [ONE], True)


def test_a_second_process_is_refused(spool: Spool) -> None:
    with pytest.raises(SpoolError, match="another gateway process"):
        Spool(spool.path, now=NOW)


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(SpoolError, match="must be able to write there"):
        Spool(tmp_path / "file" / "spool.db", now=NOW)


def test_a_file_that_is_no_spool_any_more_is_set_aside_and_a_new_epoch_starts(tmp_path: Path) -> None:
    path = tmp_path / "spool.db"
    spool = Spool(path, now=NOW)
    for i in range(200):
        spool.append(passage(i))
    spool.close()
    path.write_bytes(b"not a database" * 1_000)
    spool = Spool(path, now=NOW + 5)
    assert spool.epoch == NOW + 5
    salvage(spool)
    [gap] = events(spool)
    assert isinstance(gap, Gap)
    assert (gap.kind, gap.dropped) == ("spool_lost", 200)
    assert (tmp_path / f"spool.db.corrupt-{NOW + 5}").exists()


def test_the_same_event_is_taken_once_for_a_week(spool: Spool) -> None:
    assert spool.receive("cam", NOW, "uuid:pid", b"1") is not None
    spool = reopen(spool)
    assert spool.receive("cam", NOW + 1, "uuid:pid", b"1") is None
    assert spool.receive("other", NOW + 1, "uuid:pid", b"1") is not None
    assert spool.receive("cam", NOW + 8 * 86_400_000, "uuid:pid", b"1") is not None
    assert [read.camera for read in spool.unsettled()] == ["cam", "other", "cam"]


def test_an_uplink_is_appended_once(spool: Spool) -> None:
    assert spool.append(state(1), once="uplink/1")
    assert not spool.append(state(1), once="uplink/1")
    assert spool.counts().waiting == 1


def test_quarantine_is_bounded(spool: Spool) -> None:
    for i in range(300):
        spool.quarantine("cam", NOW, f"error {i}", b"x" * 100_000)
    assert spool.counts().quarantine == 200
    assert spool._db.execute("SELECT max(length(body)), min(error) FROM quarantine").fetchone() == (16384, "error 100")


ONE = AccessEntry("c1", "1111BCD", "active", None, NOW)
TWO = AccessEntry("c2", "2222BCD", "revoked", NOW, None)
THREE = AccessEntry("c3", "3333BCD", "active")


def test_the_access_list_full_and_difference(spool: Spool) -> None:
    assert spool.access_list() == (0, [])
    spool.activate(AccessList(3, True, [ONE, TWO]))
    spool = reopen(spool)
    assert spool.access_list() == (3, [ONE, TWO])
    changed = msgspec.structs.replace(ONE, status="revoked")
    spool.activate(AccessList(5, False, [changed, THREE], ["c2", "unknown"]))
    assert spool.access_list() == (5, [changed, THREE])
    spool.activate(AccessList(1, True, [TWO]))  # a restored server may have a smaller version
    assert spool.access_list() == (1, [TWO])


def test_a_crash_while_activating_leaves_the_old_or_the_new_list(spool: Spool, tmp_path: Path) -> None:
    spool.activate(AccessList(1, True, [ONE, TWO]))
    points: CrashPoints[None] = CrashPoints(spool, tmp_path / "crashes", lambda: None)
    spool.activate(AccessList(2, True, [TWO, THREE]))
    points.last()
    lists = []
    for point in points.points:
        copy = Spool(point.spool, now=NOW)
        lists.append(copy.access_list())
        copy.close()
    assert lists[0] == (1, [ONE, TWO])
    assert lists[-1] == (2, [TWO, THREE])
    assert len(points.points) > 5
    assert {version for version, _ in lists} == {1, 2}
    assert all(entries == ([ONE, TWO] if version == 1 else [TWO, THREE]) for version, entries in lists)


def test_a_command_is_claimed_once(spool: Spool) -> None:
    claimed = spool.claim("open-1", passage(1))
    assert claimed is not None
    spool = reopen(spool)
    assert spool.claim("open-1", passage(1)) is None
    [left] = spool.unsettled()
    assert (left.id, left.passage) == (claimed, passage(1))


def test_numbering_anew_for_a_restored_server(spool: Spool) -> None:
    for i in range(3):
        spool.append(passage(i))
    events(spool)
    spool.acknowledge(spool.epoch, 1)
    spool.renumber(above=spool.epoch, lost=1, now=NOW)
    assert spool.epoch == NOW + 1
    spool = reopen(spool)
    assert spool.epoch == NOW + 1
    first, second, gap = events(spool)
    assert [first.seq, second.seq, gap.seq] == [1, 2, 3]
    assert isinstance(first, Passage)
    assert first.plate == "0001BCD"
    assert gap == Gap(3, Times(NOW), "lost_by_server", 1)


def test_numbering_anew_in_a_spool_that_was_put_back(spool: Spool) -> None:
    for i in range(3):
        spool.append(passage(i))
    events(spool)
    spool.acknowledge(spool.epoch, 2)
    spool.renumber(above=spool.epoch, lost=0, now=NOW, put_back=3)
    first, gap = events(spool)
    assert isinstance(first, Passage)
    assert first.plate == "0002BCD"
    assert gap == Gap(2, Times(NOW), "spool_put_back", 1)


def test_the_file_is_written_through(spool: Spool) -> None:
    assert spool._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert spool._db.execute("PRAGMA synchronous").fetchone() == (2,)


def test_peek_beside_a_running_gateway(spool: Spool) -> None:
    spool.append(passage(1))
    spool.append(state(1))
    spool.batch(1)
    counts, epoch, version = peek(spool.path)
    assert (counts.backlog, counts.numbered, counts.waiting, epoch, version) == (2, 1, 1, NOW, 0)
    with pytest.raises(SpoolError):
        peek(spool.path.with_name("none.db"))


_APPEND_FOR_EVER = """
import sys
from contextlib import closing
from pathlib import Path
from parkmesh.gateway.spool import Spool
from parkmesh.protocol.edge import Passage, Times
spool = Spool(Path(sys.argv[1]), now=1)
for number in range(1_000_000):
    spool.append(Passage(1, Times(1), "in", "entry", f"{number:07d}", "denied", "unknown_plate"))
    print(number, flush=True)
"""


def test_what_was_appended_survives_kill_9(tmp_path: Path) -> None:
    path = tmp_path / "spool.db"
    child = subprocess.Popen([sys.executable, "-c", _APPEND_FOR_EVER, str(path)], stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    seen = -1
    while seen < 150:
        seen = int(child.stdout.readline())
    child.send_signal(signal.SIGKILL)
    rest = child.stdout.read().split("\n")
    child.wait()
    child.stdout.close()
    told = max([seen, *(int(line) for line in rest[:-1])])
    plates = [e.plate for e in events(Spool(path, now=2), 100_000) if isinstance(e, Passage)]
    assert plates[: told + 1] == [f"{number:07d}" for number in range(told + 1)]
    assert len(plates) - (told + 1) in (0, 1)  # at most the event that was being told


def test_an_error_of_sqlite_names_the_file(spool: Spool) -> None:
    spool._db.execute("DROP TABLE waiting")
    with pytest.raises(SpoolError, match=r"spool\.db: no such table: waiting"):
        spool.append(passage(1))


def test_what_a_clock_that_was_ahead_wrote_yields(spool: Spool) -> None:
    day = 86_400_000
    spool.settle([], None, moved=PresenceUpdate("1234BCD", True, NOW + day))
    spool.place([PresenceUpdate("5678AXX", True, NOW + day)], NOW + day)
    spool.settle([], None, moved=PresenceUpdate("1234BCD", False, NOW))
    spool.place([PresenceUpdate("5678AXX", False, NOW - 1)], NOW)
    spool.place([PresenceUpdate("1234BCD", True, NOW - 1)], NOW)
    assert {item.plate: item.inside for item in spool.presence()} == {"1234BCD": False, "5678AXX": False}


def test_a_damaged_record_is_set_aside_and_keeps_none_back(spool: Spool) -> None:
    for i in range(3):
        spool.append(passage(i))
    with spool._transaction() as db:
        db.execute("UPDATE waiting SET body = replace(body, 'passage', 'passbge') WHERE id = 2")
    damaged = Gap(2, Times(NOW), "damaged_record", 1)
    assert [getattr(e, "plate", e) for e in (msgspec.json.decode(r, type=Event) for r in spool.batch(9, NOW))] == [
        "0000BCD",
        damaged,
        "0002BCD",
    ]
    # One that is damaged after it was numbered doesn't keep a new epoch from starting.
    with spool._transaction() as db:
        db.execute("UPDATE numbered SET body = x'ff' WHERE seq = 1")
    assert spool.stand_in(1, NOW).kind == "damaged_record"
    spool.renumber(above=0, lost=0, now=NOW)
    assert [type(e).__name__ for e in events(spool)] == ["Gap", "Gap", "Passage"]
    assert spool.counts().quarantine == 2


def test_a_damaged_note_of_an_opening_barrier_never_opens_it_again(spool: Spool) -> None:
    first, second = (spool.receive("cam", NOW, f"event-{i}", b"x") for i in range(2))
    assert first is not None
    assert second is not None
    spool.opening(first.id, passage(1))
    with spool._transaction() as db:
        db.execute("UPDATE inbox SET passage = x'7bff' WHERE id = ?", (first.id,))
    spool = reopen(spool)
    assert spool.unsettled() == [second]
    assert events(spool) == [Gap(1, Times(NOW), "damaged_record", 1)]


def held_by(spool: Spool) -> tuple[int, list[AccessEntry], bool]:
    held = spool.held()
    return held.version, held.entries, held.whole


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE access_list SET plate = CAST(x'31ff3131424344' AS TEXT) WHERE credential_id = 'c1'",
        "UPDATE access_list SET plate = '1111BCF' WHERE credential_id = 'c1'",
        "UPDATE access_list SET status = 'revokfd' WHERE credential_id = 'c2'",
        "UPDATE access_list SET valid_until = 'x' WHERE credential_id = 'c1'",
        "DELETE FROM access_list WHERE credential_id = 'c2'",
        "UPDATE access_list SET valid_until = valid_until + 4096 WHERE credential_id = 'c1'",
        "UPDATE meta SET value = x'ff' WHERE key = 'list_version'",
    ],
)
def test_a_damaged_access_list_yields_to_its_copy_until_a_full_one_comes(spool: Spool, damage: str) -> None:
    spool.activate(AccessList(3, True, [ONE, TWO]))
    with spool._transaction() as db:
        db.execute(damage)
    spool = reopen(spool)
    assert held_by(spool) == (3, [ONE, TWO], False)
    if "meta" not in damage:
        with pytest.raises(SpoolError, match="the access list is damaged"):
            spool.activate(AccessList(4, False, [THREE]))
    spool.activate(AccessList(4, True, [TWO, THREE]))
    assert held_by(reopen(spool)) == (4, [TWO, THREE], True)


def test_a_damaged_list_with_a_damaged_copy_is_none(spool: Spool) -> None:
    spool.activate(AccessList(3, True, [ONE, TWO]))
    with spool._transaction() as db:
        db.execute("UPDATE access_list SET plate = '1111BCF' WHERE credential_id = 'c1'")
    spool.list_copy.write_bytes(spool.list_copy.read_bytes().replace(b"1111BCD", b"1111BCF"))
    assert held_by(reopen(spool)) == (0, [], False)


def test_a_list_that_an_earlier_release_wrote_is_no_damaged_one(spool: Spool) -> None:
    spool.activate(AccessList(3, True, [ONE]))
    with spool._transaction() as db:  # it knows of no check
        db.execute("INSERT INTO access_list VALUES ('c3', '3333BCD', 'active', NULL, NULL)")
        db.execute("UPDATE meta SET value = 4 WHERE key = 'list_version'")
    spool = reopen(spool)
    assert held_by(spool) == (4, [ONE, THREE], True)
    with spool._transaction() as db:
        db.execute("DELETE FROM access_list")
        db.execute("UPDATE meta SET value = 0 WHERE key = 'list_version'")
    assert held_by(spool) == (4, [ONE, THREE], False)  # its copy was made at the start


def test_a_broken_spool_leaves_the_copy_of_its_list(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool.db", now=NOW)
    spool.activate(AccessList(3, True, [ONE, TWO]))
    spool.close()
    spool.path.write_bytes(b"not a database" * 1_000)
    assert held_by(Spool(spool.path, now=NOW)) == (3, [ONE, TWO], False)


def test_damaged_rows_keep_nothing_from_starting(spool: Spool) -> None:
    spool.place([PresenceUpdate("1234BCD", True, NOW), PresenceUpdate("5678FGH", True, NOW)], NOW)
    first, second = (spool.receive("cam", NOW, f"event-{i}", b"x") for i in range(2))
    assert first is not None
    spool.append(passage(1))
    spool.batch(1)
    with spool._transaction() as db:
        db.execute("UPDATE presence SET plate = CAST(x'ff32' AS TEXT) WHERE plate = '1234BCD'")
        db.execute("UPDATE inbox SET received = 'x' WHERE id = ?", (first.id,))
        db.execute("UPDATE meta SET value = x'00' WHERE key = 'next_seq'")
        db.execute("INSERT INTO state VALUES ('rules', x'ff')")
    spool = reopen(spool)
    assert spool.presence() == [PresenceUpdate("5678FGH", True, NOW)]
    assert spool.unsettled() == [second]
    assert spool.epoch > NOW  # what the server has of the other isn't known any more
    [gap, record] = events(spool)
    assert (gap, getattr(record, "plate", "")) == (Gap(1, Times(NOW + 1), "damaged_record", 2), "0001BCD")


def test_a_damaged_schema_whose_text_is_none_is_set_aside(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool.db", now=NOW)
    spool.activate(AccessList(3, True, [ONE]))
    spool.close()
    content = spool.path.read_bytes()
    spool.path.write_bytes(content.replace(b"CREATE INDEX known_at", b"CREATE IN\xce\xce\xce known_at"))
    assert spool.path.read_bytes() != content
    (tmp_path / "spool.db.first-page").unlink()
    assert held_by(Spool(spool.path, now=NOW + 5)) == (3, [ONE], False)


@pytest.mark.parametrize(
    "flip",
    [
        "UPDATE numbered SET seq = 4 WHERE seq = 2",
        "UPDATE numbered SET seq = seq + 1024 WHERE seq = 1",
        "UPDATE meta SET value = 1 WHERE key = 'next_seq'",
        "UPDATE meta SET value = 67 WHERE key = 'next_seq'",
        "UPDATE meta SET key = 'next_seQ' WHERE key = 'next_seq'",
    ],
)
def test_numbers_that_are_no_run_any_more_begin_anew_and_lose_no_record(tmp_path: Path, flip: str) -> None:
    spool = Spool(tmp_path / "spool.db", now=NOW)
    for i in range(5):
        spool.append(passage(i))
    spool.batch(2)
    spool.close()
    with closing(sqlite3.connect(spool.path)) as db, db:
        db.execute(flip)
    again = Spool(spool.path, now=NOW + 5)
    events = [msgspec.json.decode(raw, type=dict) for raw in again.batch(100, NOW + 5)]
    assert again.epoch == NOW + 5
    assert [event["seq"] for event in events] == [1, 2, 3, 4, 5, 6]
    assert sorted(event["type"] for event in events) == ["gap", *["passage"] * 5]


@pytest.mark.parametrize("kind", ["NULL", "7", "0.5", "'text'"])
@pytest.mark.parametrize("table", ["waiting", "numbered"])
def test_a_record_whose_type_is_damaged_is_set_aside_or_refused_alone(tmp_path: Path, table: str, kind: str) -> None:
    spool = Spool(tmp_path / "spool.db", now=NOW)
    for i in range(4):
        spool.append(passage(i))
    spool.batch(2)
    spool.close()
    with closing(sqlite3.connect(spool.path)) as db, db:
        # As the disk does it: the rule that it isn't null doesn't hold.
        db.execute("PRAGMA writable_schema = on")
        db.execute("UPDATE sqlite_master SET sql = replace(sql, 'body BLOB NOT NULL', 'body BLOB')")
        db.commit()
    with closing(sqlite3.connect(spool.path)) as db, db:
        db.execute(f"UPDATE {table} SET body = {kind} WHERE rowid = (SELECT min(rowid) FROM {table})")  # noqa: S608
    again = Spool(spool.path, now=NOW + 5)
    batch = again.batch(100, NOW + 5)
    assert len(batch) == 4
    if (table, kind) == ("numbered", "NULL"):  # nothing is left of it
        assert msgspec.json.decode(batch[0], type=Event) == Gap(1, Times(NOW + 5), "damaged_record", 1)
    elif table == "numbered":
        assert again.stand_in(1, NOW + 5).kind == "damaged_record"


@pytest.mark.parametrize("flip", ["dropped = 'x'", "dropped = -1", "since = -5", "since = 'x'", "since = 0.5"])
def test_a_damaged_gap_is_still_told(tmp_path: Path, flip: str) -> None:
    spool = Spool(tmp_path / "spool.db", now=NOW)
    spool.close()
    with closing(sqlite3.connect(spool.path)) as db, db:
        db.execute("INSERT INTO gaps VALUES ('space_state', 3, 5)")
        db.execute(f"UPDATE gaps SET {flip}")  # noqa: S608
    (raw,) = Spool(spool.path, now=NOW + 5).batch(100, NOW + 5)
    gap = msgspec.json.decode(raw, type=Gap)
    assert (gap.kind, gap.dropped) == ("space_state", 1 if "dropped" in flip else 3)


def test_a_file_of_an_unknown_format_is_set_aside(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool.db", now=NOW)
    spool.append(passage(1))
    spool.close()
    content = bytearray((tmp_path / "spool.db").read_bytes())
    content[47] ^= 8  # the schema's format number
    (tmp_path / "spool.db").write_bytes(content)
    (tmp_path / "spool.db.first-page").unlink()
    spool = Spool(tmp_path / "spool.db", now=NOW + 5)
    salvage(spool)
    (raw,) = spool.batch(100, NOW + 5)
    assert msgspec.json.decode(raw, type=Gap) == Gap(1, Times(NOW), "spool_lost", 1)
    assert (tmp_path / f"spool.db.corrupt-{NOW + 5}").exists()


def test_damage_that_only_a_query_finds_is_mended_and_the_backlog_drains(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool.db", now=NOW)
    for i in range(5):
        spool.append(passage(i))
    spool.close()
    with closing(sqlite3.connect(spool.path)) as db, db:
        # An index with a row that its table hasn't: a quick check doesn't look at that.
        db.execute("PRAGMA writable_schema = on")
        [row] = db.execute("SELECT * FROM sqlite_master WHERE name = 'waiting_lane'").fetchall()
        db.execute("DELETE FROM sqlite_master WHERE name = 'waiting_lane'")
        db.commit()
    with closing(sqlite3.connect(spool.path)) as db, db:
        db.execute("DELETE FROM waiting WHERE id = 3")
        db.execute("PRAGMA writable_schema = on")
        db.execute("INSERT INTO sqlite_master VALUES (?, ?, ?, ?, ?)", row)
        db.commit()
    again = Spool(spool.path, now=NOW + 5)
    assert not again.in_memory
    again.batch(100, NOW + 5)
    assert again.in_memory, "the query found nothing"
    assert again.recover(NOW + 6)
    assert [event.plate for event in events(again) if isinstance(event, Passage)] == [
        f"000{i}BCD" for i in (0, 1, 3, 4)
    ]
    assert not again.in_memory


def test_a_bit_that_flips_anywhere_keeps_nothing_from_starting(tmp_path: Path) -> None:
    listed = [AccessEntry(f"c{i}", f"{i:04d}BCD", "active" if i % 3 else "revoked", None, NOW + i) for i in range(90)]
    spool = Spool(tmp_path / "spool.db", now=NOW)
    spool.activate(AccessList(3, True, listed))
    spool.place([PresenceUpdate(entry.plate, True, NOW) for entry in listed], NOW)
    for i in range(5):
        spool.receive("cam", NOW, f"event-{i}", b"x" * 100)
        spool.append(passage(i))
    spool.batch(2)
    spool.close()
    content, copy = spool.path.read_bytes(), spool.list_copy.read_bytes()
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    set_aside = 0
    for number in range(250):
        folder = tmp_path / str(number)
        folder.mkdir()
        place = chance.randrange(len(content))
        damaged = bytearray(content)
        damaged[place] ^= 1 << chance.randrange(8)
        (folder / "spool.db").write_bytes(damaged)
        (folder / "spool.db.list").write_bytes(copy)
        survivor = Spool(folder / "spool.db", now=NOW + 5)
        held = survivor.held()
        assert sorted(held.entries, key=lambda e: e.credential_id) == sorted(listed, key=lambda e: e.credential_id), (
            f"another list after a flip at {place}, seed {seed}"
        )
        survivor.presence(), survivor.unsettled(), survivor.batch(100, NOW)
        set_aside += not held.whole
        survivor.close()
    assert set_aside > 10, "the damage was never found"


def test_a_heartbeat_at_rest_writes_nothing(spool: Spool) -> None:
    """An SD card wears with each write."""
    spool.append(passage(1))
    events(spool)
    spool.acknowledge(spool.epoch, 1)
    spool.flush_marks()
    before = {path.name: (path.stat().st_mtime_ns, path.stat().st_size) for path in spool.path.parent.iterdir()}
    for beat in range(10):
        spool.counts()
        spool.forget(NOW + beat * 30_000)
        spool.recover(NOW + beat * 30_000)
        spool.flush_marks()
    after = {path.name: (path.stat().st_mtime_ns, path.stat().st_size) for path in spool.path.parent.iterdir()}
    assert after == before
