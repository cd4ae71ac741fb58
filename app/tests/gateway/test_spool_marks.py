"""What a spool has lost is noticed by its marks, and told with its number where that is known."""

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from parkmesh.gateway import spool_marks
from parkmesh.gateway.spool import Spool
from parkmesh.gateway.spool_marks import Marks, MarksFile
from parkmesh.protocol.edge import UNCOUNTED_GAPS, Event, Gap, Passage, Times
from spool_records import NOW, events, passage, reopen, salvage, state


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    return Spool(tmp_path / "spool.db", now=NOW)


def marks(spool: Spool) -> Marks:
    noted = MarksFile(spool.path.with_name("spool.db.marks")).read()
    assert noted is not None
    return noted


def lose_the_log(spool: Spool, write: Callable[[], object]) -> Spool:
    """Start again without what ``write`` wrote: the end of the log didn't survive."""
    folder = spool.path.with_name("after")
    folder.mkdir()
    for name in ("spool.db", "spool.db-wal"):
        shutil.copy(spool.path.with_name(name), folder)
    write()
    shutil.copy(spool.path.with_name("spool.db.marks"), folder)
    return Spool(folder / "spool.db", now=NOW + 1)


def test_a_lost_end_of_the_log_is_told_with_its_number_and_once(spool: Spool) -> None:
    spool.append(passage(0))

    def write() -> None:
        for i in range(1, 41):
            spool.append(passage(i))
        for i in range(3):
            spool.receive("cam", NOW, f"event-{i}", b"read")

    spool = reopen(lose_the_log(spool, write))
    first, gap = events(spool)
    assert isinstance(first, Passage)
    assert gap == Gap(2, Times(NOW + 1), "spool_end_lost", 43)
    assert spool.epoch == NOW, "no server has objected: what it may have keeps its numbers"


def test_a_lost_end_that_the_server_has_is_no_loss(spool: Spool) -> None:
    def write() -> None:
        for i in range(1, 41):
            spool.append(passage(i))
        events(spool)
        spool.acknowledge(spool.epoch, 40)

    spool = lose_the_log(spool, write)
    assert events(spool) == []
    # New records get numbers that the server knows of others: it says so, and nothing is told a second time.
    spool.append(passage(50))
    [again] = events(spool)
    assert again.seq == 1
    spool.renumber(above=spool.epoch, lost=0, now=NOW + 2, put_back=1)
    [again] = events(spool)
    assert isinstance(again, Passage)


def test_a_loss_beyond_what_was_told_is_told_too(spool: Spool) -> None:
    def write() -> None:
        spool.append(passage(1))
        events(spool)
        spool.acknowledge(spool.epoch, 1)

    spool = lose_the_log(spool, write)
    spool.renumber(above=spool.epoch, lost=0, now=NOW + 2, put_back=2)
    assert [(e.kind, e.dropped) for e in events(spool) if isinstance(e, Gap)] == [("spool_put_back", 1)]


@pytest.mark.parametrize("how", ["broken", "gone"])
def test_a_spool_that_is_set_aside_or_gone_tells_what_it_held(spool: Spool, how: str) -> None:
    for i in range(30):
        spool.append(passage(i))
    spool.append(state(1))
    events(spool, 10)
    spool.acknowledge(spool.epoch, 7)
    spool.receive("cam", NOW, "event", b"read")
    spool.close()
    if how == "gone":
        spool.path.unlink()
    else:
        spool.path.write_bytes(b"not a database" * 1_000)
    # The clock lost its time, too.
    spool = Spool(spool.path, now=NOW - 5)
    assert spool.epoch == NOW + 1
    spool = reopen(spool)
    salvage(spool, NOW - 5)
    assert events(spool) == [Gap(1, Times(NOW - 5), "spool_lost", 30 - 7 + 1 + 1)]


def test_a_log_damaged_while_it_went_to_the_file_is_told(spool: Spool, tmp_path: Path) -> None:
    """Each page of the file may be there before the others, so the ids can be newer than the rows."""
    for i in range(5):
        spool.append(passage(i))
    spool.batch(2)
    log, marks_file = spool.path.with_name("spool.db-wal"), spool.path.with_name("spool.db.marks")
    before, frames, noted = spool.path.read_bytes(), bytearray(log.read_bytes()), marks_file.read_bytes()
    spool._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    after = spool.path.read_bytes()
    assert len(before) == len(after)
    frames[32 + 24 + 100] ^= 1  # in the first page of the log
    pages = [at for at in range(0, len(after), 4096) if before[at : at + 4096] != after[at : at + 4096]]
    assert len(pages) > 3
    for at in pages:
        folder = tmp_path / f"page-{at}"
        folder.mkdir()
        (folder / "spool.db").write_bytes(before[:at] + after[at : at + 4096] + before[at + 4096 :])
        (folder / "spool.db-wal").write_bytes(frames)
        (folder / "spool.db.marks").write_bytes(noted)
        found = Spool(folder / "spool.db", now=NOW + 1)
        salvage(found)
        told = events(found)
        if found.in_memory:
            assert found.recover(NOW + 2)
            salvage(found)
            told = events(found)
        assert any(isinstance(event, Gap) for event in told), f"page at {at}: nothing is told"
        found.close()


def test_a_start_after_a_kill_misses_no_log(spool: Spool, tmp_path: Path) -> None:
    for i in range(3_000):  # the log begins anew meanwhile
        spool.append(passage(i))
        if i % 500 == 0:
            folder = tmp_path / f"killed-{i}"
            shutil.copytree(spool.path.parent, folder, ignore=shutil.ignore_patterns("killed-*"))
            found = Spool(folder / "spool.db", now=NOW + 1)
            assert found.counts().waiting == i + 1
            assert found.state("loss_told") is None
            found.close()


@pytest.mark.parametrize("without", ["missing", "damaged"])
def test_without_marks_nobody_knows_how_much_is_lost(spool: Spool, without: str) -> None:
    for i in range(30):
        spool.append(passage(i))
    spool.close()
    file = spool.path.with_name("spool.db.marks")
    if without == "missing":
        file.unlink()
    else:
        file.write_bytes(bytes(len(file.read_bytes())))
    spool.path.write_bytes(b"not a database" * 1_000)
    spool = Spool(spool.path, now=NOW + 5)
    salvage(spool)
    [gap] = events(spool)
    assert isinstance(gap, Gap)
    assert gap.kind in UNCOUNTED_GAPS


def test_a_torn_mark_leaves_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "marks"
    file = MarksFile(path)
    file.note(Marks(1, 2, 3, 4, 5, 6))
    file.note(Marks(1, 2, 4, 4, 6, 6))
    content = path.read_bytes()
    assert MarksFile(path).read() == Marks(1, 2, 4, 4, 6, 6)
    for at in range(len(content) // 2):  # the second note went to the first place
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        assert MarksFile(path).read() == Marks(1, 2, 3, 4, 5, 6)


class Acts(RuleBasedStateMachine):
    """Whatever a spool does: its marks are those of its tables, and a start after a kill finds nothing lost."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self.spool = Spool(Path(self._folder.name) / "spool.db", now=NOW, max_bytes=2_000)
        self.number, self.reads = 0, list[int]()

    def teardown(self) -> None:
        self.spool.close()
        self._folder.cleanup()

    @rule(kind=st.sampled_from([passage, state]))
    def append(self, kind: Callable[[int], Event]) -> None:
        self.number += 1
        self.spool.append(kind(self.number))

    @rule()
    def receive(self) -> None:
        self.number += 1
        read = self.spool.receive("cam", NOW, f"event-{self.number}", b"read")
        assert read is not None
        self.reads.append(read.id)

    @rule(tells=st.booleans())
    def settle(self, tells: bool) -> None:
        self.spool.settle(self.reads[:1], passage(self.number) if tells else None)
        self.reads = self.reads[1:]

    @rule(limit=st.integers(1, 20))
    def number_some(self, limit: int) -> None:
        self.spool.batch(limit)

    @rule(acked=st.integers(0, 40))
    def acknowledge(self, acked: int) -> None:
        self.spool.acknowledge(self.spool.epoch, acked)

    @rule()
    def renumber(self) -> None:
        self.spool.renumber(above=self.spool.epoch, lost=0, now=NOW)

    @rule()
    def fails_and_recovers(self) -> None:
        self.spool._go_to_memory("a fault", NOW)
        self.append(passage)
        assert self.spool.recover(NOW)

    @rule()
    def start_again(self) -> None:
        self.spool = reopen(self.spool)
        assert self.spool.state("loss_told") is None

    @invariant()
    def marks_are_true(self) -> None:
        waiting = self.spool._db.execute("SELECT count(*) FROM waiting").fetchone()[0]
        end = self.spool._log.end() if self.spool._log is not None else None
        assert marks(self.spool) == spool_marks.of(self.spool._db, waiting, end)


TestActs = Acts.TestCase
TestActs.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
