"""What the world outside a spool knows: which messages were answered, which barriers moved, what a server has.

Each fact is a line of a ledger, written down at the moment at which it became one. A ledger that is cut anywhere
is what the world knew then, so a crash can be judged by it.
"""

import asyncio
import json
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import msgspec
from parkmesh.gateway.config import Config
from parkmesh.gateway.spool import Spool
from parkmesh.gateway.sync import Sync
from parkmesh.protocol.edge import AccessEntry, Event, EventAck, EventBatch, Gap, Passage, SpaceState

SERVER = "http://server"


def entries(version: int) -> list[AccessEntry]:
    """Return the access list of a version: everything in it tells which one it is."""
    return [AccessEntry(f"{i:02d}", f"{version:04d}BC{'DFGHJKLMNP'[i]}", "active") for i in range(version % 3, 10)]


class World:
    """The facts of a ledger; ``write`` adds one. ``took`` is everything that the server has, in its order."""

    def __init__(self, lines: bytes = b"", write: Callable[[bytes], object] = lambda _: None) -> None:
        self._write = write
        self.kept: set[str] = set()
        self.pulsed: Counter[str] = Counter()
        self.states: set[str] = set()
        self.listing = self.listed = 0
        self.in_memory = self.was_in_memory = self.memory_died = False
        self.took: list[Event] = []
        self._stored: dict[tuple[int, int], Event] = {}
        self._epoch = self._mark = 0
        for line in lines.splitlines():
            self._apply(*json.loads(line))

    def note(self, what: str, *values: Any) -> None:
        self._write(json.dumps([what, *values]).encode() + b"\n")
        self._apply(what, *values)

    def _apply(self, what: str, *values: Any) -> None:
        match what:
            case "kept":
                self.kept.add(values[0])
            case "pulsed":
                self.pulsed[values[0]] += 1
            case "state":
                self.states.add(values[0])
            case "listing":
                self.listing = values[0]
            case "listed":
                self.listed = values[0]
            case "memory":
                self.in_memory = values[0]
                self.was_in_memory |= self.in_memory
            case "memory_died":
                self.in_memory, self.memory_died = False, True
            case "took":
                self._take(values[0], msgspec.convert(values[1], list[Event]))

    def _take(self, epoch: int, events: list[Event]) -> None:
        if epoch > self._epoch:
            self._epoch, self._mark = epoch, 0
        for event in events:
            self._stored[epoch, event.seq] = event
            self._mark = event.seq
        self.took += events

    def receive(self, batch: EventBatch) -> EventAck | tuple[int, int]:
        """Take a batch as a server does; what can't follow is answered with the epoch and number that can."""
        epoch, events = batch.epoch, batch.events
        mark = self._mark if epoch == self._epoch else 0
        if epoch < self._epoch or events[0].seq > mark + 1:
            newest = max(epoch, self._epoch)
            return newest, (self._mark if newest == self._epoch else 0) + 1
        for event in events:
            if event.seq <= mark and self._stored.get((epoch, event.seq)) != event:
                return epoch, event.seq
        fresh = [event for event in events if event.seq > mark]
        if fresh:
            self.note("took", epoch, msgspec.to_builtins(fresh))
        return EventAck(epoch, self._mark)

    # what is in the server's records

    def events_told(self) -> Counter[str]:
        """Return how often each camera message or command is in the server's passages."""
        return Counter(
            one for event in self.took if isinstance(event, Passage) for one in (event.device_event_id or "").split("+")
        )

    def states_told(self) -> Counter[str]:
        return Counter(event.space for event in self.took if isinstance(event, SpaceState))

    def gaps(self) -> Counter[str]:
        """Return how many records are told as lost, by kind of gap."""
        lost: Counter[str] = Counter()
        for event in self.took:
            if isinstance(event, Gap):
                lost[event.kind] += event.dropped
        return lost


class Line:
    """The gateway's own sync, with a world's server at the other end. ``cut`` tells whether an answer is lost."""

    def __init__(self, spool: Spool, world: World, clock: Callable[[], int], cut: Callable[[], bool]) -> None:
        self._spool, self._world, self._clock, self._cut = spool, world, clock, cut
        config = msgspec.convert(
            {
                "name": "gateway-a",
                "community": "a",
                "spool": str(spool.path),
                "token_file": "-",
                "servers": [SERVER],
                "cameras": [],
                "gates": [],
            },
            Config,
        )
        client = httpx.AsyncClient(transport=httpx.MockTransport(self._serve), trust_env=False)
        decider: Any = SimpleNamespace(on_disk=_now, give_way=_no_car, has_traffic=lambda: False)
        self._sync = Sync(config, spool, decider, client, clock=clock)  # type: ignore[arg-type]

    def _serve(self, request: httpx.Request) -> httpx.Response:
        try:
            answer = self._world.receive(msgspec.json.decode(request.content, type=EventBatch))
        except ValueError:  # damaged
            return httpx.Response(422)
        if self._cut():
            raise httpx.ReadError("the line is down")
        if isinstance(answer, EventAck):
            return httpx.Response(200, content=msgspec.json.encode(answer))
        return httpx.Response(409, json={"expected_epoch": answer[0], "expected_seq": answer[1]})

    async def push(self) -> None:
        """Send one batch, if there is anything."""
        if self._spool.batch(1, self._clock()):  # of a spool in memory, what waits on the disk can't be sent
            await self._sync._push(SERVER)

    async def drain(self) -> None:
        """Send everything; a conflict is followed, and nothing may need more tries than there are batches."""
        tries = 0
        while self._spool.salvage(self._clock()):
            pass
        while self._spool.counts().backlog:
            tries += 1
            assert tries < 50, f"the backlog doesn't drain: {self._spool.counts()}"
            try:
                await self.push()
            except Exception as error:
                if type(error).__name__ != "_Failed":
                    raise
            self._spool.recover(self._clock())  # as the agent does, now and then
            while self._spool.salvage(self._clock()):
                pass


async def _no_car() -> None:
    pass


async def _now(work: Callable[[], Any]) -> Any:
    return work()


def run(work: Callable[[], Awaitable[None]]) -> None:
    async def wait() -> None:
        await work()

    asyncio.run(wait())


def open_ledger(path: Path) -> Callable[[bytes], object]:
    """Return what adds lines to a ledger file, each with one system call."""
    return path.open("ab", buffering=0).write
