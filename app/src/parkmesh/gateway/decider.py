"""From a camera's message to a decided, durable record: persisted, decided here, barrier opened, passage appended.

Each gate has one worker, so its reads are taken in their order and a slow relay keeps no other gate. A worker holds
refused reads back for a moment: a better read of the same vehicle replaces them, and one car is one record. Where exit
is free, they open when that moment is over and no better read has come. Where the community wants a wait before its
barrier opens, granted reads wait too, and are decided again when it is over.

The community's rules come with the access list; until a server has told them, the configuration's defaults hold.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import msgspec
from msgspec import Struct

from parkmesh.domain import access, free_exit, passages, plates
from parkmesh.domain.access import Decision, Reason
from parkmesh.domain.access_index import AccessIndex
from parkmesh.domain.community_rules import GateRules
from parkmesh.domain.free_exit import Leaving
from parkmesh.domain.passages import Recent, Seen
from parkmesh.gateway import drivers
from parkmesh.gateway.barrier import Barrier, BarrierStatus, Closed, Moves, Pulse, interlock
from parkmesh.gateway.code_book import CodeBook, Verdict
from parkmesh.gateway.config import Camera, Config, Reader
from parkmesh.gateway.drivers.types import PlateRead, PoisonError
from parkmesh.gateway.freshness import CameraClock
from parkmesh.gateway.gates import Relay
from parkmesh.gateway.sightings import Sightings
from parkmesh.gateway.spool import HeldList, Read, Spool, SpoolError
from parkmesh.protocol.edge import (
    AccessList,
    Command,
    Direction,
    Passage,
    PassCodes,
    PresenceUpdate,
    Times,
)

T = TypeVar("T")
log = logging.getLogger("parkmesh.gateway")

_DISK_RETRY_S = 1.0
_GIVE_WAY_S, _LOOK_S = 0.1, 0.002
"""For how long what isn't urgent waits for a read, which a relay that doesn't answer can keep in hand for seconds."""
_TRAFFIC_S = 2.0
_CODES = "codes"
"""The state with what was done with visitors' codes."""


async def _unknown(_: Relay) -> bool | None:
    return None


class _Held(Struct):
    """A refused read that waits for a better one: the passage to record at ``due`` unless one comes. ``seen`` has all
    reads of the vehicle. ``leaving``: it is at an exit that is free, and opens then."""

    read_ids: list[int]
    passage: Passage
    seen: Seen
    due: int
    leaving: Leaving | None = None


class _Waiting(Struct):
    """A granted read that waits for its barrier: further reads of the same vehicle join it."""

    read: Read
    read_ids: list[int]
    plate: str
    credential_id: str | None
    due: int
    seen: Seen


class CodeAnswer(Struct, frozen=True):
    """What became of a code at a gate. ``locked_ms``: the gate takes no PINs for so long."""

    decision: Decision
    opened: bool = False
    locked_ms: int = 0


class _Presented(Struct):
    """A code that was scanned or typed at ``at`` (ms), and who waits for the answer. It is never stored."""

    reader: Reader
    text: str
    at: int
    answer: asyncio.Future[CodeAnswer]


class _Gate:
    """One gate's relay, queue and short memory."""

    def __init__(self, name: str, barrier: Barrier, direction: Direction, recent: Recent) -> None:
        self.name, self.barrier, self.direction, self.recent = name, barrier, direction, recent
        self.queue: asyncio.Queue[Read | Command | _Presented | None] = asyncio.Queue()
        self.stopping = False
        self.busy_since: float | None = None
        self.held: list[_Held] = []
        self.waiting: list[_Waiting] = []


class Decider:
    """Decides on everything that asks to pass.

    ``pulse`` opens a barrier or raises RelayError, ``closed`` asks where it is, ``moves`` has what else its relay can
    do; ``clock`` gives ms since 1970;
    ``appended`` is called after a record went into the spool; ``doubtful`` tells whether the clock is known to be
    wrong. ``sightings`` is told of reads and decisions.
    """

    def __init__(
        self,
        config: Config,
        spool: Spool,
        pulse: Pulse,
        *,
        clock: Callable[[], int],
        appended: Callable[[], None] = lambda: None,
        closed: Closed = _unknown,
        moves: Moves | None = None,
        doubtful: Callable[[], bool] = lambda: False,
        sightings: Sightings | None = None,
    ) -> None:
        self.sightings = sightings or Sightings(clock)
        self._doubtful, self._ahead = doubtful, 0
        self._arriving, self._last_message = 0, -_TRAFFIC_S
        self._config, self._spool, self._clock, self._appended = config, spool, clock, appended
        # One thread: disk waits don't stop the loop, and writes keep their order.
        self._disk = ThreadPoolExecutor(1, thread_name_prefix="spool")
        self.cameras: dict[str, Camera] = {camera.name: camera for camera in config.cameras}
        self._clocks = {name: self._stored(f"clock/{name}", CameraClock) or CameraClock() for name in self.cameras}
        directions = {camera.gate: camera.direction for camera in reversed(config.cameras)}
        self._gates: dict[str, _Gate] = {}
        for gate in config.gates:
            recent = Recent(0, self._stored(f"recent/{gate.name}", list[Seen]))
            pulsed_until = max((seen.open_until for seen in recent.seen), default=0)
            barrier = Barrier(
                gate, pulse, closed, clock=clock, pulsed_until=pulsed_until, moves=moves, doubtful=doubtful
            )
            self._gates[gate.name] = _Gate(gate.name, barrier, directions.get(gate.name, "entry"), recent)
        interlock(config.gates, {name: gate.barrier for name, gate in self._gates.items()})
        self._inside: dict[str, bool] = {}
        self._inside_since: dict[str, int] = {}
        self._codes = CodeBook(spool.pass_codes(), spool.state(_CODES))
        self._take_over(*self._known())
        # Read before anything new can arrive: what comes from now on reaches the workers through their queues.
        self._left = spool.unsettled()
        self.last_seen: dict[str, int] = {}
        self.started = clock()
        self.server_skew_ms = 0

    def _stored(self, key: str, kind: type[T]) -> T | None:
        value = self._spool.state(key)
        try:
            return None if value is None else msgspec.json.decode(value, type=kind)
        except ValueError:
            return None  # damaged, or written by another release: a short memory is not worth failing for

    async def on_disk(self, work: Callable[[], T]) -> T:
        """Run a spool call in the disk thread."""
        return await asyncio.get_running_loop().run_in_executor(self._disk, work)

    def has_traffic(self) -> bool:
        """Tell whether a camera has sent something a moment ago."""
        return time.monotonic() - self._last_message < _TRAFFIC_S

    async def give_way(self) -> None:
        """Wait while a read is on its way to its barrier, but not for long: for work that a car mustn't wait for."""
        until = time.monotonic() + _GIVE_WAY_S
        while self._has_read_in_hand() and time.monotonic() < until:  # noqa: ASYNC110 -- several things end it
            await asyncio.sleep(_LOOK_S)

    def _has_read_in_hand(self) -> bool:
        """Tell whether a read is on its way to a relay; one that is longer on it waits for a relay that is silent."""
        since = time.monotonic() - _GIVE_WAY_S
        return self._arriving > 0 or any(
            gate.busy_since > since if gate.busy_since is not None else not gate.queue.empty()
            for gate in self._gates.values()
        )

    # what comes in

    async def camera_message(self, camera: Camera, body: bytes, content_type: str) -> None:
        """Take one POST of a camera; return when it is durable (or needs no keeping).

        Raises PoisonError for what can't be understood (it is in quarantine then), SpoolError where it can't be kept:
        it is decided all the same if the spool is in memory, and isn't if the camera sends it again.
        """
        self._arriving, self._last_message = self._arriving + 1, time.monotonic()
        try:
            await self._take(camera, body, content_type)
        finally:
            self._arriving -= 1

    async def _take(self, camera: Camera, body: bytes, content_type: str) -> None:
        now = self._clock()
        self.last_seen[camera.name] = now
        try:
            driver = drivers.CAMERAS[camera.kind]
            message = driver.extract(body, content_type)
            plate_read = driver.parse(message)
        except PoisonError as error:
            text = str(error)
            await self.on_disk(lambda: self._spool.quarantine(camera.name, now, text, body))
            raise
        if not plate_read.anpr or not plate_read.active:
            return
        read = await self.on_disk(lambda: self._spool.receive(camera.name, now, plate_read.event_id, message))
        if read is None:
            log.info("camera %s: the same event again, ignored", camera.name)
        else:
            self.sightings.read(read.id, camera.name, camera.gate, plate_read)
            self._gates[camera.gate].queue.put_nowait(read)
        if self._spool.in_memory:
            raise SpoolError(self._spool.disk_error or "the spool is in memory")

    def heard(self, camera: Camera) -> None:
        """Note a sign of life of a camera that was no message."""
        self.last_seen[camera.name] = self._clock()

    def command(self, command: Command) -> None:
        """Carry out an open command: once, before it expires, or not at all."""
        gate = self._gates.get(command.gate)
        if gate is None:
            log.warning("command %s: there is no gate %s here", command.id, command.gate)
        else:
            gate.queue.put_nowait(command)

    async def present(self, reader: Reader, text: str) -> CodeAnswer:
        """Decide on a code that was scanned or typed at a reader, open its gate if it may pass, and return the answer.

        Raises SpoolError where the decision can't be kept.
        """
        answer: asyncio.Future[CodeAnswer] = asyncio.get_running_loop().create_future()
        self._gates[reader.gate].queue.put_nowait(_Presented(reader, text, self._clock(), answer))
        return await answer

    async def activate(self, update: AccessList) -> None:
        """Make a new access list the active one, on disk and then in memory."""

        def store() -> tuple[HeldList, AccessIndex, list[PresenceUpdate]]:
            self._spool.activate(update)
            return self._known()

        self._take_over(*await self.on_disk(store))
        if update.codes is not None:
            self._codes.take_over(update.codes)
        log.info("access list %d is active: %d credentials", self.list_version, len(self._listed))

    async def apply_presence(self, moves: list[PresenceUpdate]) -> None:
        """Take over where others say that plates are, on disk and then in memory; what is known of later holds."""
        await self.on_disk(lambda: self._spool.place(moves, self._clock()))
        self._place(moves, self._clock())

    def _place(self, moves: list[PresenceUpdate], now: int) -> None:
        for move in moves:
            known = self._inside_since.get(move.plate, 0)
            # What was written while the clock was ahead yields.
            if known <= move.at or known > now:
                self._inside[move.plate], self._inside_since[move.plate] = move.inside, move.at

    def _known(self) -> tuple[HeldList, AccessIndex, list[PresenceUpdate]]:
        held = self._spool.held()
        return held, AccessIndex(held.entries), self._spool.presence()

    def _take_over(self, held: HeldList, listed: AccessIndex, inside: list[PresenceUpdate]) -> None:
        self.list_version, self.list_epoch, self._listed = held.version, held.epoch, listed
        self.list_whole = held.whole
        if not held.whole:
            log.error(
                "the stored access list is damaged or missing: deciding by the copy of version %d, %d credentials, "
                "until a server has sent a full list",
                held.version,
                len(held.entries),
            )
        # Added, not put in the place of what is in memory: a car may be passing that isn't on disk yet.
        self._place(inside, self._clock())
        self.rules_known = held.rules is not None
        self._rules = held.rules or GateRules(
            refusal_hold_s=self._config.refusal_hold_s, same_plate_window_s=self._config.same_plate_window_s
        )
        for gate in self._gates.values():
            gate.recent.window_ms = self._rules.same_plate_window_s * 1000

    def clock_was_set(self, by_ms: int) -> None:
        """Note that the gateway's clock was set: the cameras' offsets to it moved along."""
        for clock in self._clocks.values():
            clock.moved(by_ms)

    def camera_clocks(self) -> dict[str, dict[str, int]]:
        """Return what is known of the cameras' clocks: how far behind they are, and how much more each day, in ms."""
        now = self._clock()
        return {
            name: {"behind_ms": clock.expected(now), "drift_ms_per_day": round(clock.drift * 86_400_000)}
            for name, clock in self._clocks.items()
            if clock.last_device is not None
        }

    @property
    def codes(self) -> PassCodes | None:
        """What was told of visitors' codes, None where no server has told any."""
        return self._codes.codes

    @property
    def rules(self) -> GateRules | None:
        """The community's rules, None where no server has told them."""
        return self._rules if self.rules_known else None

    def silent_cameras(self) -> list[str]:
        """Return the cameras that sent nothing for longer than the configured silence."""
        oldest = self._clock() - int(self._config.camera_silence_s * 1000)
        return [name for name in self.cameras if self.last_seen.get(name, self.started) < oldest]

    def barriers(self) -> dict[str, BarrierStatus]:
        """Return what is known of the barriers that are watched."""
        return {name: gate.barrier.status() for name, gate in self._gates.items() if gate.barrier.watched}

    async def watch(self) -> None:
        """Look after the barriers until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for gate in self._gates.values():
                if gate.barrier.watched:
                    tasks.create_task(gate.barrier.watch())

    # the workers

    async def run(self) -> None:
        """Settle what a crash left, then work until ``stop`` and everything that was taken is settled."""
        for read in self._left:
            camera = self.cameras.get(read.camera)
            if read.passage is not None:
                # We died while the barrier was being opened. The record stands; a second pulse could close it on a car.
                await self._settle([read.id], read.passage)
            elif camera is not None:
                self._gates[camera.gate].queue.put_nowait(read)
            else:
                log.warning("a message of camera %s is set aside: there is no such camera", read.camera)
                await self._abandon(read)
        async with asyncio.TaskGroup() as workers:
            for gate in self._gates.values():
                workers.create_task(self._work(gate))

    def longest_busy_s(self) -> float:
        """Return for how long the gate that has been busy longest has been so with one read or command."""
        now = time.monotonic()
        return max((now - gate.busy_since for gate in self._gates.values() if gate.busy_since is not None), default=0.0)

    def stop(self) -> None:
        """Let the workers finish what was taken, record the held reads, and end."""
        for gate in self._gates.values():
            gate.stopping = True
            gate.queue.put_nowait(None)

    def close(self) -> None:
        """End the disk thread, after all tasks that use it have ended."""
        self._disk.shutdown(wait=True)

    async def _work(self, gate: _Gate) -> None:
        while not (gate.stopping and gate.queue.empty()):
            item = await self._next(gate)
            gate.busy_since = time.monotonic()
            try:
                if isinstance(item, Command):
                    await self._execute_command(gate, item)
                elif isinstance(item, _Presented):
                    await self._decide_code(gate, item)
                elif item is not None:
                    await self._decide(gate, item)
                await self._end_waits(gate)
                await self._release(gate, self._clock())
            except SpoolError as error:
                log.error("gate %s: %s", gate.name, error)
                if isinstance(item, _Presented) and not item.answer.done():
                    item.answer.set_exception(error)
                if gate.stopping:
                    return  # what isn't settled is still in the inbox, for the next start
                await asyncio.sleep(_DISK_RETRY_S)
                if isinstance(item, Read):
                    gate.queue.put_nowait(item)
            finally:
                gate.busy_since = None
        try:
            await self._release(gate, None)
        except SpoolError as error:
            log.error("gate %s: %s", gate.name, error)

    async def _next(self, gate: _Gate) -> Read | Command | _Presented | None:
        """Wait for the next thing to do; None when a held or waiting read is due or the gate is stopping."""
        due = [*(held.due for held in gate.held), *(waiting.due for waiting in gate.waiting)]
        if not due:
            return await gate.queue.get()
        wait_ms = max(0, min(due) - self._clock())
        try:
            async with asyncio.timeout(wait_ms / 1000):
                return await gate.queue.get()
        except TimeoutError:
            return None

    async def _decide(self, gate: _Gate, read: Read) -> None:
        camera = self.cameras[read.camera]
        try:
            plate_read = self._parse(camera, read)
        except PoisonError:  # accepted by another release, or damaged on the disk since
            await self._abandon(read)
            return
        now, plate = self._clock(), plates.normalise(plate_read.plate or "")
        decision = access.decide(
            plate,
            self._listed,
            now + self.server_skew_ms,
            doubtful=self._doubtful(),
            matching=self._rules.plate_matching,
        )
        decision = self._sure_enough(decision, plate_read)
        stale = self._stale(camera, plate_read, read, now)
        if stale and decision.granted:
            decision = Decision("denied", Reason.STALE, decision.credential_id)
        passage = self._passage(gate, camera, read, plate_read, plate, decision)
        if stale:  # the record of an earlier moment has nothing to do with the vehicle that stands here now
            await self._settle([read.id], passage)
            self._tell(gate, passage)
            return
        # By the list alone first: the rules are for a car that wants in, not for one that was let in a moment ago.
        car = f"{camera.name}/{plate_read.car_id}" if plate_read.car_id else None
        leaving = self._leaving(plate, decision, car)
        free = not decision.granted and self._let_out(decision, camera.direction).granted
        waiting = next((w for w in gate.waiting if self._joins(w, plate, decision, car)), None)
        if waiting is None and free:
            waiting = self._waits_to_leave(gate, leaving)
        same = None if free else self._same(gate, camera.direction, plate, decision, now, car)
        if same is None and camera.direction == "exit":
            before = self._let_out_before(gate, leaving, now)
            same = before if before is not None and (free or leaving.names(before)) else None
        if waiting is not None:
            waiting.read_ids.append(read.id)
            waiting.seen.join(plate)
        elif same is not None and camera.direction == "exit" and leaving.names(same):
            decision = self._let_out(self._judge(plate, camera.direction), camera.direction)
            await self._name(gate, [read.id], self._passage(gate, camera, read, plate_read, plate, decision), same)
        elif same is not None and (decision.granted or (free and plate)) and await gate.barrier.is_closed_again():
            await self._open_again(gate, read, same)
        elif same is not None or gate.recent.seen_from_behind(gate.name, camera.direction, plate, decision, now):
            if same is not None:
                same.join(plate)
            await self._settle([read.id], None)
        elif free and self._stands_outside(gate, leaving, now):
            await self._settle([read.id], None)
        elif (decision := self._sure_enough(self._judge(plate, camera.direction), plate_read)).granted:
            passage = self._passage(gate, camera, read, plate_read, plate, decision)
            hold_s = self._rules.entry_hold_s if camera.direction == "entry" else self._rules.exit_hold_s
            if hold_s:
                due = now + hold_s * 1000
                seen = _seen(passage, plate, now, car)
                gate.waiting.append(_Waiting(read, [], plate or "", decision.credential_id, due, seen))
            else:
                await self._grant(gate, [read.id], passage, _seen(passage, plate, now, car))
        elif free:
            passage = self._passage(gate, camera, read, plate_read, plate, decision)
            self._hold_leaving(gate, read, passage, _seen(passage, plate, now, car), leaving)
        elif self._same(gate, camera.direction, plate, decision, now, car) is not None:
            await self._settle([read.id], None)
        else:
            passage = self._passage(gate, camera, read, plate_read, plate, decision)
            self._hold(gate, read, passage, _seen(passage, plate, now, car), decision)

    def _parse(self, camera: Camera, read: Read) -> PlateRead:
        return drivers.CAMERAS[camera.kind].parse(read.body)

    def _same(
        self, gate: _Gate, direction: Direction, plate: str | None, decision: Decision, now: int, car: str | None
    ) -> Seen | None:
        """Return the passage that a read belongs to. A car that has since been seen to go the other way, or was said
        to be elsewhere, makes a new one."""
        same = gate.recent.same(gate.name, direction, plate, decision, now, car)
        if same is None or not decision.granted:
            return same
        inside = self._inside.get(access.vehicle(plate or "", decision, self._listed))
        return same if inside is None or inside is (direction == "entry") else None

    def _sure_enough(self, decision: Decision, plate_read: PlateRead) -> Decision:
        least, least_misread = self._config.min_confidence, self._config.min_confidence_misread
        return access.sure_enough(decision, plate_read.confidence, least, least_misread)

    def _judge(self, plate: str | None, direction: Direction) -> Decision:
        now = self._clock() + self.server_skew_ms
        doubtful = self._doubtful()
        return access.judge(plate, self._listed, now, direction, self._rules, self._inside, doubtful=doubtful)

    def _joins(self, waiting: _Waiting, plate: str | None, decision: Decision, car: str | None) -> bool:
        """Tell whether a read is another one of the vehicle whose barrier is about to open."""
        told = car is not None and waiting.seen.car == car
        if decision.granted:
            return told or waiting.plate == plate or waiting.credential_id == decision.credential_id
        return decision.reason in passages.UNMATCHED and (told or waiting.seen.misread(plate))

    async def _end_waits(self, gate: _Gate) -> None:
        """Open for the cars whose wait is over, if they may still pass. Cars that still wait when the gateway stops are
        decided anew later: their reads are in the inbox."""
        now = self._clock()
        for waiting in [w for w in gate.waiting if w.due <= now]:
            read, camera = waiting.read, self.cameras[waiting.read.camera]
            plate_read, decision = self._parse(camera, read), self._judge(waiting.plate, camera.direction)
            decision = self._let_out(decision, camera.direction)
            passage = self._passage(gate, camera, read, plate_read, waiting.plate, decision)
            if decision.granted:
                await self._grant(gate, [read.id, *waiting.read_ids], passage, waiting.seen)
            else:
                await self._settle([read.id, *waiting.read_ids], passage)
                waiting.seen.outcome = "denied"
                self._remember(gate, waiting.seen, now)
                self._tell(gate, passage)
            gate.waiting.remove(waiting)

    async def _open_again(self, gate: _Gate, read: Read, seen: Seen) -> None:
        """Open for a vehicle that still stands there though the barrier has closed: the same passage, so no second
        record."""
        seen.open_until = gate.barrier.pulse_ends()
        # The read is settled before the barrier moves: whatever happens next, this read never opens twice.
        await self._settle([read.id], None, self._memory(gate))
        log.info("gate %s: %s still stands there", gate.name, plates.masked(seen.plate))
        await gate.barrier.open(self._clock() + int(self._config.max_event_age_s * 1000))

    def _passage(
        self, gate: _Gate, camera: Camera, read: Read, plate_read: PlateRead, plate: str | None, decision: Decision
    ) -> Passage:
        return Passage(
            seq=1,
            times=Times(read.received, plate_read.at),
            gate=gate.name,
            direction=camera.direction,
            plate=plate or "",
            decision=decision.outcome,
            reason=decision.reason.value,
            credential_id=decision.credential_id,
            access_list_version=self.list_version,
            confidence=plate_read.confidence,
            camera=camera.name,
            device_event_id=plate_read.event_id,
        )

    def _stale(self, camera: Camera, plate_read: PlateRead, read: Read, now: int) -> bool:
        """Tell whether a read is too old to open a gate: sent late by the camera, or kept here too long."""
        bound, clock = int(self._config.max_event_age_s * 1000), self._clocks[camera.name]
        if plate_read.retransmitted or abs(now - read.received) > bound:
            return True
        if self._doubtful():
            # It is this time at least. A camera that is ahead may be right; what is older than it, or than what a
            # camera said before, is old.
            if plate_read.at is None or clock.last_device is None:  # nothing is known of its clock
                return False
            ahead = plate_read.at + clock.expected(read.received) - read.received
            self._ahead = max(self._ahead, ahead)
            return ahead < self._ahead - bound
        before = clock.age_ms(plate_read.at, read.received)
        clock.learn(plate_read.at, read.received, bound)
        return min(before, clock.age_ms(plate_read.at, read.received)) > bound

    async def _grant(self, gate: _Gate, reads: list[int], passage: Passage, seen: Seen) -> None:
        # Held reads of the same vehicle were bad ones of this passage.
        worse = [held for held in gate.held if _misread_of(held, seen)]
        read_ids = [*reads, *(read_id for held in worse for read_id in held.read_ids)]
        unconfirmed = msgspec.structs.replace(passage, opened=False)
        await self.on_disk(lambda: self._spool.opening(reads[0], unconfirmed))
        outcome = await gate.barrier.open(self._clock() + int(self._config.max_event_age_s * 1000))
        opened = outcome == "opened"
        passage = msgspec.structs.replace(passage, opened=opened)
        for held in worse:
            for plate in (held.seen.plate, *held.seen.also):
                seen.join(plate)
        seen.opened, seen.unsure = opened, outcome == "unsure"
        self._remember(gate, seen, self._clock())
        gate.held = [held for held in gate.held if held not in worse]
        moved = self._move(passage) if opened and passage.plate else None
        while True:
            try:
                await self._settle(read_ids, passage, self._memory(gate), moved)
                break
            except SpoolError as error:
                # The barrier has moved: this read must not be decided again.
                log.error("gate %s: %s", gate.name, error)
                if gate.stopping:
                    return  # the unconfirmed record is in the inbox, for the next start
                await asyncio.sleep(_DISK_RETRY_S)
        self._tell(gate, passage)

    def _move(self, passage: Passage) -> PresenceUpdate:
        """Note where the vehicle of a passage is now."""
        decision = Decision("granted", Reason(passage.reason), passage.credential_id)
        car = access.vehicle(passage.plate, decision, self._listed)
        move = PresenceUpdate(car, passage.direction == "entry", passage.times.received)
        self._place([move], move.at)
        return move

    def _hold(self, gate: _Gate, read: Read, passage: Passage, seen: Seen, decision: Decision) -> None:
        for held in gate.held:
            held.seen.at = seen.at
            one_car = Recent(1, [held.seen])
            if one_car.same(gate.name, passage.direction, seen.plate, decision, seen.at, seen.car) is not None:
                held.read_ids.append(read.id)
                # The surest read stands for all; but one that was refused by name is never replaced.
                surer = held.seen.plate is None or (passage.confidence or 0) > (held.passage.confidence or 0)
                if surer and held.passage.reason in passages.UNMATCHED:
                    for plate in (held.seen.plate, *held.seen.also):
                        seen.join(plate)
                    held.passage, held.seen = passage, seen
                else:
                    held.seen.join(seen.plate)
                return
        gate.held.append(_Held([read.id], passage, seen, seen.at + self._rules.refusal_hold_s * 1000))

    async def _release(self, gate: _Gate, now: int | None) -> None:
        """Record the held reads whose time is up (None: all), and let out who may leave. Cars that still wait to leave
        when the gateway stops are decided anew later: their reads are in the inbox."""
        for held in [held for held in gate.held if now is None or held.due <= now]:
            if not any(held is other for other in gate.held):  # it was a bad read of a car that was let out just now
                continue
            decision = Decision("denied", Reason(held.passage.reason), held.passage.credential_id)
            if held.leaving is not None and self._let_out(decision, "exit").granted:
                if now is not None:
                    await self._leave(gate, held, held.leaving)
                continue
            at = self._clock()
            await self._settle(held.read_ids, held.passage)
            gate.held.remove(held)
            self._remember(gate, held.seen, at)
            self._tell(gate, held.passage)

    # the free exit

    def _let_out(self, decision: Decision, direction: Direction) -> Decision:
        return access.let_out(decision, direction, self._rules)

    def _leaving(self, plate: str | None, decision: Decision, car: str | None) -> Leaving:
        listed = decision.reason is not Reason.UNSURE and plate is not None and self._listed.of_plate(plate)
        vehicle = None if plate is None else access.vehicle(plate, decision, self._listed)
        return Leaving(plate, vehicle, decision.credential_id, car, sure=decision.granted or bool(listed))

    def _let_out_before(self, gate: _Gate, leaving: Leaving, now: int) -> Seen | None:
        return free_exit.let_out(gate.recent.seen, gate.name, leaving, now, gate.recent.window_ms)

    def _stands_outside(self, gate: _Gate, leaving: Leaving, now: int) -> bool:
        seen = [*gate.recent.seen, *(held.seen for held in gate.held), *(waiting.seen for waiting in gate.waiting)]
        return free_exit.stands_outside(seen, gate.name, leaving, now, gate.recent.window_ms)

    @staticmethod
    def _waits_to_leave(gate: _Gate, leaving: Leaving) -> _Waiting | None:
        """Return the granted read of the same vehicle whose exit barrier is about to open."""
        return next((w for w in gate.waiting if w.seen.direction == "exit" and leaving.is_of(w.seen)), None)

    def _hold_leaving(self, gate: _Gate, read: Read, passage: Passage, seen: Seen, leaving: Leaving) -> None:
        """Let a car that may only leave because exit is free wait for a better read. Its wait begins with its first
        read, and what the list has of it is the better one."""
        for held in gate.held:
            if held.leaving is None or not leaving.is_of(held.seen):
                continue
            held.read_ids.append(read.id)
            surer = seen.plate is not None and (passage.confidence or 0) > (held.passage.confidence or 0)
            better = surer or held.seen.plate is None if leaving.credential_id is None else True
            if better and held.leaving.credential_id is None:
                seen.car = seen.car or held.seen.car
                for plate in (held.seen.plate, *held.seen.also):
                    seen.join(plate)
                held.passage, held.seen, held.leaving = passage, seen, leaving
            else:
                held.seen.join(seen.plate)
            return
        # No longer than a read may be old that opens: a car is not kept for the sake of its record.
        hold_ms = min(self._rules.refusal_hold_s, self._config.max_event_age_s) * 1000
        wait_ms = max(int(hold_ms), self._rules.exit_hold_s * 1000, free_exit.LEAST_WAIT_MS)
        gate.held.append(_Held([read.id], passage, seen, seen.at + wait_ms, leaving))

    async def _leave(self, gate: _Gate, held: _Held, leaving: Leaving) -> None:
        """Let a car out whose wait for a better read is over, unless the read was of a car that is known by now."""
        now = self._clock()
        decision = Decision("granted", Reason.EXIT_IS_FREE, held.passage.credential_id)
        passage = msgspec.structs.replace(held.passage, decision=decision.outcome, reason=decision.reason.value)
        waiting, same = self._waits_to_leave(gate, leaving), self._let_out_before(gate, leaving, now)
        if waiting is not None:
            waiting.read_ids += held.read_ids
        elif same is not None and leaving.names(same):
            await self._name(gate, held.read_ids, passage, same)
        elif same is not None or self._stands_outside(gate, leaving, now):
            await self._settle(held.read_ids, None)
        else:
            # First, so that no read of this car is decided a second time if the gateway dies while it opens.
            await self._settle(held.read_ids[1:], None)
            held.read_ids = held.read_ids[:1]
            held.seen.outcome = "granted"
            await self._grant(gate, held.read_ids, passage, held.seen)
        gate.held = [other for other in gate.held if other is not held]

    async def _name(self, gate: _Gate, read_ids: list[int], passage: Passage, seen: Seen) -> None:
        """Record whose car it was that was let out as nobody's a moment ago. The barrier has had its pulse."""
        passage = msgspec.structs.replace(passage, opened=seen.opened)
        before, seen.plate, seen.credential_id = seen.plate, passage.plate, passage.credential_id
        seen.join(before)
        moved = self._move(passage) if seen.opened else None
        await self._settle(read_ids, passage, self._memory(gate), moved)
        self._tell(gate, passage)

    # commands

    async def _execute_command(self, gate: _Gate, command: Command) -> None:
        now = self._clock()
        if now + self.server_skew_ms >= command.expires:
            log.warning("gate %s: command %s came after it had expired, refused", gate.name, command.id)
            return
        passage = Passage(
            seq=1,
            times=Times(now),
            gate=gate.name,
            direction=gate.direction,
            plate="",
            decision="granted",
            reason=Reason.COMMAND.value,
            opened=False,
            access_list_version=self.list_version,
            device_event_id=command.id[:200],
        )
        # Claimed on disk before the barrier moves: whatever happens next, a command is never carried out twice.
        claimed = await self.on_disk(lambda: self._spool.claim(command.id, passage))
        if claimed is None:
            log.warning("gate %s: command %s was carried out before, refused", gate.name, command.id)
            return
        if gate.barrier.opened_just_now():
            log.info("gate %s: opened a moment ago, so command %s gives no second pulse", gate.name, command.id)
            opened = True
        else:
            opened = await gate.barrier.open(command.expires - self.server_skew_ms) == "opened"
        passage = msgspec.structs.replace(passage, opened=opened)
        await self._settle([claimed], passage)
        self._tell(gate, passage)

    # visitors' codes

    async def _decide_code(self, gate: _Gate, item: _Presented) -> None:
        if item.answer.cancelled():  # nobody waits any more: a barrier that opens now opens for nobody
            return
        direction, now = item.reader.direction, self._clock()
        # Aside: a PIN costs a moment, in which cameras are to be answered.
        kind, code = await asyncio.to_thread(self._codes.find, gate.name, item.text, now)
        now = self._clock()
        verdict = self._codes.judge(
            kind,
            code,
            item.text,
            gate=gate.name,
            direction=direction,
            now=now,
            time=now + self.server_skew_ms,
            window_ms=self._rules.same_plate_window_s * 1000,
            doubtful=self._doubtful(),
        )
        if verdict.decision.granted and now - item.at > self._config.max_event_age_s * 1000:
            stale = Decision("denied", Reason.STALE, verdict.decision.credential_id)
            verdict = msgspec.structs.replace(verdict, decision=stale)
        opened = verdict.again
        if verdict.decision.granted and not verdict.again:
            opened = await self._open_for_code(gate, item.reader, verdict, now)
        elif verdict.new:
            passage = self._code_passage(gate, item.reader, verdict, now)
            await self._settle([], passage, {_CODES: self._codes.memory()})
            self._tell(gate, passage)
        if not item.answer.done():
            item.answer.set_result(CodeAnswer(verdict.decision, opened, verdict.locked_ms))

    async def _open_for_code(self, gate: _Gate, reader: Reader, verdict: Verdict, now: int) -> bool:
        """Open a gate for a visitor's code; tell whether the barrier confirmed. What a camera read at this gate a
        moment ago, and no credential fits, is the visitor's car."""
        assert verdict.code is not None
        its = [
            held
            for held in gate.held
            if held.passage.direction == reader.direction and held.passage.reason in passages.UNMATCHED
        ]
        plate = next((held.seen.plate for held in its if held.seen.plate), None)
        passage = msgspec.structs.replace(self._code_passage(gate, reader, verdict, now), plate=plate or "")
        seen = msgspec.structs.replace(_seen(passage, plate, now, None), by_code=True)
        for held in its:
            for other in (held.seen.plate, *held.seen.also):
                seen.join(other)
        before = self._codes.use(verdict.code, gate.name, reader.direction, now)
        unconfirmed = msgspec.structs.replace(passage, opened=False)
        key = f"code/{verdict.code.visitor_pass}/{verdict.code.number}/{now}"
        # Kept before the barrier moves, as a command is: a code that opened can't be shown again after a crash.
        await self.on_disk(lambda: self._spool.settle([], None, {_CODES: self._codes.memory()}))
        claimed = await self.on_disk(lambda: self._spool.claim(key, unconfirmed))
        outcome = await gate.barrier.open()
        seen.opened, seen.unsure = outcome == "opened", outcome == "unsure"
        if not (seen.opened or seen.unsure):
            self._codes.unuse(verdict.code, before)
        self._remember(gate, seen, self._clock())
        gate.held = [held for held in gate.held if not any(held is one for one in its)]
        passage = msgspec.structs.replace(passage, opened=seen.opened)
        reads = [read_id for held in its for read_id in held.read_ids] + ([] if claimed is None else [claimed])
        moved = self._move(passage) if seen.opened and passage.plate else None
        await self._settle(reads, passage, {**self._memory(gate), _CODES: self._codes.memory()}, moved)
        self._tell(gate, passage)
        return seen.opened

    def _code_passage(self, gate: _Gate, reader: Reader, verdict: Verdict, now: int) -> Passage:
        return Passage(
            seq=1,
            times=Times(now),
            gate=gate.name,
            direction=reader.direction,
            plate="",
            decision=verdict.decision.outcome,
            reason=verdict.decision.reason.value,
            credential_id=verdict.decision.credential_id,
            access_list_version=self.list_version,
            camera=reader.name,
        )

    # keeping

    def _remember(self, gate: _Gate, seen: Seen, at: int) -> None:
        seen.at = at
        if seen.opened or seen.unsure:
            seen.open_until = gate.barrier.pulse_ends()
        gate.recent.add(seen)

    def _memory(self, gate: _Gate) -> dict[str, bytes]:
        return {f"recent/{gate.name}": msgspec.json.encode(gate.recent.seen)}

    async def _settle(
        self,
        read_ids: list[int],
        passage: Passage | None,
        states: dict[str, bytes] | None = None,
        moved: PresenceUpdate | None = None,
    ) -> None:
        states = states or {}
        if passage is not None and passage.camera in self._clocks:
            states[f"clock/{passage.camera}"] = msgspec.json.encode(self._clocks[passage.camera])
        await self.on_disk(lambda: self._spool.settle(read_ids, passage, states, moved))
        self.sightings.settled(read_ids, passage)
        if passage is not None:
            self._appended()

    async def _abandon(self, read: Read) -> None:
        await self.on_disk(lambda: self._spool.abandon(read, self._clock()))
        self._appended()

    def _tell(self, gate: _Gate, passage: Passage) -> None:
        log.info("gate %s: %s %s (%s)", gate.name, plates.masked(passage.plate), passage.decision, passage.reason)


def _misread_of(held: _Held, seen: Seen) -> bool:
    """Tell whether a held read was a bad read of the vehicle whose plate is now known."""
    told = seen.car is not None and seen.car == held.seen.car
    known = held.seen.plate is None or held.seen.misread(seen.plate)
    unmatched = held.passage.reason in passages.UNMATCHED or (held.leaving is not None and not held.leaving.sure)
    return unmatched and (told or known)


def _seen(passage: Passage, plate: str | None, at: int, car: str | None) -> Seen:
    return Seen(passage.gate, passage.direction, plate, passage.credential_id, passage.decision, False, at, car=car)
