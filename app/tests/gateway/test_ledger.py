"""Exactly-once effect, counted from a ledger: the spool and a server, with every fault between them, in any order.

Hypothesis chooses the order: records are appended, batches are lost, delayed or repeated, acknowledgements are lost or
come late, the gateway is killed and started again, its disk fails and is well again. A failure prints the
steps and how to repeat them.
"""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from parkmesh.gateway.spool import Spool
from parkmesh.protocol.edge import Event, Gap, Passage, SpaceState, Times

Batch = tuple[int, list[Event]]


class Server:
    """The contract's server: a batch is applied and the mark advanced in one step, by ``(epoch, seq)``."""

    def __init__(self) -> None:
        self.epoch, self.mark = 0, 0
        self.ledger: list[Event] = []

    def take(self, batch: Batch) -> tuple[int, int] | None:
        """Apply a batch; return the acknowledgement, or None for a batch that can't follow (409)."""
        epoch, events = batch
        if epoch > self.epoch:
            self.epoch, self.mark = epoch, 0
        if epoch < self.epoch or events[0].seq > self.mark + 1:
            return None
        self.ledger += [event for event in events if event.seq > self.mark]
        self.mark = max(self.mark, events[-1].seq)
        return self.epoch, self.mark


class Faults(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.folder = TemporaryDirectory()
        self.now = 1_000
        self.spool = self.start()
        self.server = Server()
        self.in_order = True
        self.passages: list[str] = []
        self.states: list[str] = []
        self.on_the_way_up: list[Batch] = []
        self.on_the_way_down: list[tuple[int, int]] = []

    def start(self) -> Spool:
        spool = Spool(Path(self.folder.name) / "spool.db", now=self.now, max_bytes=1_500)
        # Here processes die, not machines: what was written is there, and the disk's speed isn't the test's subject.
        spool._db.execute("PRAGMA synchronous = OFF")
        return spool

    def teardown(self) -> None:
        # In the end disk and line are good: everything drains.
        assert self.spool.recover(self.now)
        while backlog := self.spool.counts().backlog:
            self.send(7)
            self.deliver(len(self.on_the_way_up) - 1, False)
            self.acknowledge(len(self.on_the_way_down) - 1)
            assert self.spool.counts().backlog < backlog, "the backlog doesn't drain"
        self.nothing_lost_nothing_doubled()
        self.spool.close()
        self.folder.cleanup()

    @rule()
    def a_car_passes(self) -> None:
        plate = f"{len(self.passages):04d}BCD"
        self.spool.append(Passage(1, Times(self.now), "in", "entry", plate, "denied", "unknown_plate"))
        self.passages.append(plate)

    @rule(count=st.integers(1, 6))
    def sensors_change(self, count: int) -> None:
        for _ in range(count):
            space = f"a-{len(self.states)}"
            self.spool.append(SpaceState(1, Times(self.now), space, "free"), once=space)
            self.spool.append(
                SpaceState(1, Times(self.now), space, "free"), once=space
            )  # delivered twice by the broker
            self.states.append(space)

    @rule(limit=st.integers(1, 7))
    def send(self, limit: int) -> None:
        records = self.spool.batch(limit)
        if records:
            events = [msgspec.json.decode(record, type=Event) for record in records]
            self.on_the_way_up.append((self.spool.epoch, events))

    @precondition(lambda self: self.on_the_way_up)
    @rule(which=st.integers(0, 9), repeated=st.booleans())
    def deliver(self, which: int, repeated: bool) -> None:
        batch = self.on_the_way_up[which % len(self.on_the_way_up)]
        if not repeated:  # else it arrives again later
            self.on_the_way_up.remove(batch)
        answer = self.server.take(batch)
        if answer is not None:
            self.on_the_way_down.append(answer)

    @precondition(lambda self: self.on_the_way_up)
    @rule()
    def a_request_is_lost(self) -> None:
        self.on_the_way_up.pop()

    @precondition(lambda self: self.on_the_way_down)
    @rule(which=st.integers(0, 9))
    def acknowledge(self, which: int) -> None:
        if self.on_the_way_down:  # none when the server refused the batch
            self.spool.acknowledge(*self.on_the_way_down.pop(which % len(self.on_the_way_down)))

    @precondition(lambda self: self.on_the_way_down)
    @rule()
    def an_answer_is_lost(self) -> None:
        self.on_the_way_down.pop()

    @rule()
    def the_disk_fails(self) -> None:
        if not self.spool.in_memory:
            self.spool._go_to_memory("full", self.now)
            self.in_order = False  # what waits on the disk comes after what is sent meanwhile

    @rule()
    def the_disk_is_well(self) -> None:
        assert self.spool.recover(self.now)

    @precondition(lambda self: not self.spool.in_memory)
    @rule()
    def the_gateway_is_killed(self) -> None:
        # Without a clean end: the lock goes with the process, the files stay as they are.
        self.spool._lock_file.close()
        self.now += 1
        killed, self.spool = self.spool, self.start()
        killed._db.close()

    @invariant()
    def nothing_doubled(self) -> None:
        plates = [event.plate for event in self.server.ledger if isinstance(event, Passage)]
        spaces = [event.space for event in self.server.ledger if isinstance(event, SpaceState)]
        assert len(plates) == len(set(plates))
        assert len(spaces) == len(set(spaces))

    def nothing_lost_nothing_doubled(self) -> None:
        plates: Any = [event.plate for event in self.server.ledger if isinstance(event, Passage)]
        came = self.passages if self.in_order else sorted(self.passages)
        assert (plates if self.in_order else sorted(plates)) == came, "passages lost or out of order"
        spaces = [event.space for event in self.server.ledger if isinstance(event, SpaceState)]
        dropped = sum(event.dropped for event in self.server.ledger if isinstance(event, Gap))
        assert len(spaces) + dropped == len(self.states), "sensor states neither arrived nor counted as dropped"
        assert self.server.mark == len(self.server.ledger)


Faults.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None, print_blob=True)
TestFaults = Faults.TestCase
