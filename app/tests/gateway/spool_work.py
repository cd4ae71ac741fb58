"""A gateway's work on its spool, chosen by a seed, as a process of its own: ``python spool_work.py FOLDER SEED
GENERATION STEPS``.

It goes on with what it finds in the folder, as a gateway that starts again does. Cameras post, barriers open, sensors
and commands come, batches go to a server whose answers are lost at times, lists change, and the spool is closed and
opened. The ledger in the folder says what the world was told.
"""

import random
import sys
from pathlib import Path

import httpx
from parkmesh.gateway.spool import Read, Spool, SpoolError
from parkmesh.protocol.edge import AccessList, Passage, PresenceUpdate, SpaceState, Times
from spool_world import Line, World, entries, open_ledger, run

START = 1_700_000_000_000
LATE = "after a crash"
MAX_BYTES = 6_000
GENERATION_MS = 10_000_000


def passage(events: str, at: int, *, opened: bool | None = None, reason: str = "in turn") -> Passage:
    """Return the record of camera messages (or a command) with these ids."""
    decision = "denied" if opened is None else "granted"
    return Passage(1, Times(at), "in", "entry", "1234BCD", decision, reason, opened, device_event_id=events)


def settle_left(spool: Spool, now: int) -> list[Read]:
    """Record what an earlier process took and didn't settle, as a gateway does that starts; return it."""
    left = spool.unsettled()
    for read in left:
        body = read.body.decode(errors="replace")
        event = (body if read.passage is None else read.passage.device_event_id or "").split(" ")[0][:200]
        spool.settle([read.id], passage(event, now, opened=False if read.passage else None, reason=LATE))
    return left


class Work:
    def __init__(self, folder: Path, chance: random.Random, generation: int) -> None:
        ledger = folder / "ledger"
        self._path, self._chance = folder / "spool.db", chance
        self.world = World(ledger.read_bytes() if ledger.exists() else b"", open_ledger(ledger))
        if self.world.in_memory:
            self.world.note("memory_died")
        self.now, self._number = START + generation * GENERATION_MS, generation * GENERATION_MS
        self._held: list[tuple[Read, str]] = []
        self._open()

    def _open(self) -> None:
        self.spool = Spool(self._path, now=self.now, max_bytes=MAX_BYTES)
        if not self.spool.in_memory:
            # Small enough for the log to be brought into the file now and then.
            self.spool._db.execute(f"PRAGMA wal_autocheckpoint = {self._chance.choice((20, 100, 1000))}")
        self._told_memory()
        self._line = Line(self.spool, self.world, lambda: self.now, lambda: self._chance.random() < 0.2)
        settle_left(self.spool, self.now)
        self._held = []

    def _told_memory(self) -> None:
        """Note where the spool goes on: what is only in memory may be lost with the process, and nobody was told
        otherwise."""
        if self.spool.in_memory != self.world.in_memory:
            self.world.note("memory", self.spool.in_memory)

    def _id(self, kind: str) -> str:
        self._number += 1
        return f"{kind}{self._number}"

    def step(self) -> None:
        self.now += 1_000
        act = self._chance.choices(
            (self.camera, self.sensors, self.send, self.list, self.command, self.keep, self.again),
            (12, 6, 6, 1, 1, 2, 0.3),
        )[0]
        try:
            act()
        except SpoolError:
            pass  # who sent it was told, and sends it again
        finally:
            self._told_memory()

    def camera(self) -> None:
        """A camera posts; the read opens the barrier, is refused, or waits to become one passage with the next."""
        event = self._id("e")
        read = self.spool.receive("cam", self.now, event, event.encode() + b" " * self._chance.choice((10, 3_000)))
        self._told_memory()
        assert read is not None, f"{event} is new"
        if not self.spool.in_memory:
            self.world.note("kept", event)
        self._held.append((read, event))
        if self._chance.random() < 0.3:
            return
        reads, self._held = self._held, []
        events, ids = "+".join(event for _, event in reads), [read.id for read, _ in reads]
        if self._chance.random() < 0.5:
            # A gate notes what it knows: the first read opens, the others join it.
            first = reads[0][1]
            self.spool.opening(ids[0], passage(first, self.now, opened=False))
            self._told_memory()
            self.world.note("pulsed", first)
            if len(ids) > 1:
                self.spool.settle(ids[1:], passage("+".join(event for _, event in reads[1:]), self.now - 1))
            moved = PresenceUpdate("1234BCD", True, self.now)
            self.spool.settle(ids[:1], passage(first, self.now, opened=True), {"recent/in": b"x" * 300}, moved)
        else:
            self.spool.settle(ids, passage(events, self.now))

    def sensors(self) -> None:
        for _ in range(self._chance.randint(1, 12)):
            space = self._id("s")
            self.spool.append(SpaceState(1, Times(self.now), space, "free"), once=space)
            self._told_memory()
            if not self.spool.in_memory:
                self.world.note("state", space)

    def send(self) -> None:
        try:
            run(self._line.push)
        except httpx.HTTPError:
            pass
        except Exception as error:
            if type(error).__name__ != "_Failed":
                raise

    def list(self) -> None:
        version = self.world.listing + 1
        full = self._chance.random() < 0.3 or self.spool.access_list()[0] != version - 1
        self.world.note("listing", version)
        old = {entry.credential_id for entry in entries(version - 1)}
        removed = [] if full else sorted(old - {entry.credential_id for entry in entries(version)})
        self.spool.activate(AccessList(version, full, entries(version), removed))
        if not self.spool.in_memory:
            self.world.note("listed", version)

    def command(self) -> None:
        command = self._id("c")
        claimed = self.spool.claim(command, passage(command, self.now, opened=False))
        self._told_memory()
        assert claimed is not None
        self.world.note("pulsed", command)
        self.spool.settle([claimed], passage(command, self.now, opened=True))

    def keep(self) -> None:
        if self._chance.random() < 0.5:
            self.spool.flush_marks()
        else:
            self.spool.recover(self.now)
        self.spool.salvage(self.now)
        self.spool.forget(self.now)

    def again(self) -> None:
        """The gateway ends and starts."""
        self.spool.close(self.now)
        if self.spool.in_memory:
            self.world.note("memory_died")
        self._told_memory()
        self._open()


def main() -> None:
    folder, (seed, generation, steps) = Path(sys.argv[1]), map(int, sys.argv[2:])
    work = Work(folder, random.Random(seed), generation)
    for _ in range(steps):
        work.step()
    work.spool.close(work.now)


if __name__ == "__main__":
    main()
