"""From a camera's message to a decided, durable record: persisted, decided here, barrier opened, passage appended.

Each gate has one worker, so its reads are taken in their order and a slow relay keeps no other gate. A worker holds
refused reads back for a moment: a better read of the same vehicle replaces them, and one car is one record.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import msgspec
from msgspec import Struct

from parkmesh.domain import access, passages, plates
from parkmesh.domain.access import Decision, Reason
from parkmesh.domain.passages import Recent, Seen
from parkmesh.gateway import hikvision
from parkmesh.gateway.config import Camera, Config, Relay
from parkmesh.gateway.freshness import CameraClock
from parkmesh.gateway.relays import RelayError
from parkmesh.gateway.spool import Read, Spool, SpoolError
from parkmesh.protocol.edge import AccessEntry, AccessList, Command, Direction, Passage, Times

T = TypeVar("T")
log = logging.getLogger("parkmesh.gateway")

_DISK_RETRY_S = 1.0

Pulse = Callable[[Relay], Awaitable[None]]


class _Held(Struct):
    """A refused read that waits for a better one: the passage to record at ``due`` unless one comes."""

    read_ids: list[int]
    passage: Passage
    plate: str | None
    due: int


class _Gate:
    """One gate's relay, queue and short memory."""

    def __init__(self, name: str, relay: Relay, direction: Direction, recent: Recent) -> None:
        self.name, self.relay, self.direction, self.recent = name, relay, direction, recent
        self.queue: asyncio.Queue[Read | Command | None] = asyncio.Queue()
        self.stopping = False
        self.held: list[_Held] = []


class Decider:
    """Decides on everything that asks to pass.

    ``pulse`` opens a barrier or raises RelayError; ``clock`` gives ms since 1970; ``appended`` is called after a record
    went into the spool.
    """

    def __init__(
        self,
        config: Config,
        spool: Spool,
        pulse: Pulse,
        *,
        clock: Callable[[], int],
        appended: Callable[[], None] = lambda: None,
    ) -> None:
        self._config, self._spool, self._pulse, self._clock, self._appended = config, spool, pulse, clock, appended
        # One thread: disk waits don't stop the loop, and writes keep their order.
        self._disk = ThreadPoolExecutor(1, thread_name_prefix="spool")
        self.cameras: dict[str, Camera] = {camera.name: camera for camera in config.cameras}
        self._clocks = {name: self._stored(f"clock/{name}", CameraClock) or CameraClock() for name in self.cameras}
        directions = {camera.gate: camera.direction for camera in reversed(config.cameras)}
        window_ms = int(config.same_plate_window_s * 1000)
        self._gates = {
            gate.name: _Gate(
                gate.name,
                gate.relay,
                directions.get(gate.name, "entry"),
                Recent(window_ms, self._stored(f"recent/{gate.name}", list[Seen])),
            )
            for gate in config.gates
        }
        self.list_version, self._entries = spool.access_list()
        # Read before anything new can arrive: what comes from now on reaches the workers through their queues.
        self._left = spool.unsettled()
        self.last_seen: dict[str, int] = {}
        self.started = clock()
        self.server_skew_ms = 0

    def _stored(self, key: str, kind: type[T]) -> T | None:
        value = self._spool.state(key)
        try:
            return None if value is None else msgspec.json.decode(value, type=kind)
        except msgspec.DecodeError:
            return None  # written by another release: a short memory is not worth failing for

    async def on_disk(self, work: Callable[[], T]) -> T:
        """Run a spool call in the disk thread."""
        return await asyncio.get_running_loop().run_in_executor(self._disk, work)

    # what comes in

    async def camera_message(self, camera: Camera, body: bytes, content_type: str) -> None:
        """Take one POST of a camera; return when it is durable (or needs no keeping).

        Raises PoisonError for what can't be understood (it is in quarantine then), SpoolError where it can't be kept.
        """
        now = self._clock()
        self.last_seen[camera.name] = now
        try:
            xml = hikvision.extract_xml(body, content_type)
            alert = hikvision.parse(xml)
        except hikvision.PoisonError as error:
            text = str(error)
            await self.on_disk(lambda: self._spool.quarantine(camera.name, now, text, body))
            raise
        if not alert.anpr or not alert.active:
            return
        read = await self.on_disk(lambda: self._spool.receive(camera.name, now, alert.event_id, xml))
        if read is None:
            log.info("camera %s: the same event again, ignored", camera.name)
            return
        self._gates[camera.gate].queue.put_nowait(read)

    def command(self, command: Command) -> None:
        """Carry out an open command: once, before it expires, or not at all."""
        gate = self._gates.get(command.gate)
        if gate is None:
            log.warning("command %s: there is no gate %s here", command.id, command.gate)
        else:
            gate.queue.put_nowait(command)

    async def activate(self, update: AccessList) -> None:
        """Make a new access list the active one, on disk and then in memory."""

        def store() -> tuple[int, list[AccessEntry]]:
            self._spool.activate(update)
            return self._spool.access_list()

        self.list_version, self._entries = await self.on_disk(store)
        log.info("access list %d is active: %d credentials", self.list_version, len(self._entries))

    def silent_cameras(self) -> list[str]:
        """Return the cameras that sent nothing for longer than the configured silence."""
        oldest = self._clock() - int(self._config.camera_silence_s * 1000)
        return [name for name in self.cameras if self.last_seen.get(name, self.started) < oldest]

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
                log.warning("a message of camera %s is dropped: the camera is no longer configured", read.camera)
                await self._settle([read.id], None)
        async with asyncio.TaskGroup() as workers:
            for gate in self._gates.values():
                workers.create_task(self._work(gate))

    def stop(self) -> None:
        """Let the workers finish what was taken, record the held reads, and end."""
        for gate in self._gates.values():
            gate.stopping = True
            gate.queue.put_nowait(None)

    def close(self) -> None:
        """End the disk thread, after everyone who uses it has ended."""
        self._disk.shutdown(wait=True)

    async def _work(self, gate: _Gate) -> None:
        while not (gate.stopping and gate.queue.empty()):
            item = await self._next(gate)
            try:
                if isinstance(item, Command):
                    await self._obey(gate, item)
                elif item is not None:
                    await self._decide(gate, item)
                await self._release(gate, self._clock())
            except SpoolError as error:
                log.error("gate %s: %s", gate.name, error)
                if gate.stopping:
                    return  # what isn't settled is still in the inbox, for the next start
                await asyncio.sleep(_DISK_RETRY_S)
                if isinstance(item, Read):
                    gate.queue.put_nowait(item)
        try:
            await self._release(gate, None)
        except SpoolError as error:
            log.error("gate %s: %s", gate.name, error)

    async def _next(self, gate: _Gate) -> Read | Command | None:
        """Wait for the next thing to do; None when a held read is due or the gate is stopping."""
        if not gate.held:
            return await gate.queue.get()
        wait_ms = max(0, min(held.due for held in gate.held) - self._clock())
        try:
            async with asyncio.timeout(wait_ms / 1000):
                return await gate.queue.get()
        except TimeoutError:
            return None

    async def _decide(self, gate: _Gate, read: Read) -> None:
        camera = self.cameras[read.camera]
        try:
            alert = hikvision.parse(read.body)
        except hikvision.PoisonError:  # accepted by another release
            await self._settle([read.id], None)
            return
        now, plate = self._clock(), plates.normalise(alert.plate or "")
        decision = access.decide(plate, self._entries, now + self.server_skew_ms)
        stale = self._stale(camera, alert, read, now)
        if stale and decision.granted:
            decision = Decision("denied", Reason.STALE, decision.credential_id)
        passage = Passage(
            seq=1,
            times=Times(read.received, alert.at),
            gate=gate.name,
            direction=camera.direction,
            plate=plate or "",
            decision=decision.outcome,
            reason=decision.reason.value,
            credential_id=decision.credential_id,
            access_list_version=self.list_version,
            confidence=alert.confidence,
            camera=camera.name,
            device_event_id=alert.event_id,
        )
        if stale:  # the record of an earlier moment has nothing to do with the vehicle that stands here now
            await self._settle([read.id], passage)
            self._tell(gate, passage)
            return
        same = gate.recent.same(gate.name, camera.direction, plate, decision, now)
        if same is not None:
            same.at = now
            await self._settle([read.id], None, self._memory(gate))
        elif decision.granted:
            await self._grant(gate, read, passage, plate)
        else:
            self._hold(gate, read, passage, plate, decision, now)

    def _stale(self, camera: Camera, alert: hikvision.Alert, read: Read, now: int) -> bool:
        """Tell whether a read is too old to open a gate: sent late by the camera, or kept here too long."""
        bound, clock = int(self._config.max_event_age_s * 1000), self._clocks[camera.name]
        if alert.retransmitted or abs(now - read.received) > bound:
            return True
        before = clock.age_ms(alert.at, read.received)
        clock.learn(alert.at, read.received, bound)
        return min(before, clock.age_ms(alert.at, read.received)) > bound

    async def _grant(self, gate: _Gate, read: Read, passage: Passage, plate: str | None) -> None:
        # Held reads of the same vehicle were bad ones of this passage.
        worse = [held for held in gate.held if _misread_of(held, plate)]
        read_ids = [read.id, *(read_id for held in worse for read_id in held.read_ids)]
        unconfirmed = msgspec.structs.replace(passage, opened=False)
        await self.on_disk(lambda: self._spool.opening(read.id, unconfirmed))
        opened = await self._open(gate)
        passage = msgspec.structs.replace(passage, opened=opened)
        self._remember(gate, passage, plate)
        gate.held = [held for held in gate.held if held not in worse]
        await self._settle(read_ids, passage, self._memory(gate))
        self._tell(gate, passage)

    async def _open(self, gate: _Gate) -> bool:
        started = time.monotonic()
        try:
            await self._pulse(gate.relay)
        except RelayError as error:
            log.error("gate %s: the barrier didn't confirm: %s", gate.name, error)
            return False
        log.info("gate %s: barrier opened in %d ms", gate.name, (time.monotonic() - started) * 1000)
        return True

    def _hold(self, gate: _Gate, read: Read, passage: Passage, plate: str | None, decision: Decision, now: int) -> None:
        for held in gate.held:
            one_car = Recent(1, [_seen(held.passage, held.plate, now)])
            if one_car.same(gate.name, passage.direction, plate, decision, now) is not None:
                held.read_ids.append(read.id)
                # The surest read stands for all; but one that was refused by name is never replaced.
                surer = held.plate is None or (passage.confidence or 0) > (held.passage.confidence or 0)
                if surer and held.passage.reason in passages.UNMATCHED:
                    held.passage, held.plate = passage, plate
                return
        due = now + int(self._config.denied_hold_s * 1000)
        gate.held.append(_Held([read.id], passage, plate, due))

    async def _release(self, gate: _Gate, now: int | None) -> None:
        """Record the held reads whose time is up (None: all)."""
        for held in [held for held in gate.held if now is None or held.due <= now]:
            await self._settle(held.read_ids, held.passage)
            gate.held.remove(held)
            self._remember(gate, held.passage, held.plate)
            self._tell(gate, held.passage)

    async def _obey(self, gate: _Gate, command: Command) -> None:
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
        # Claimed on disk before the barrier moves: whatever happens next, it is never carried out twice.
        claimed = await self.on_disk(lambda: self._spool.claim(command.id, passage))
        if claimed is None:
            log.warning("gate %s: command %s was carried out before, refused", gate.name, command.id)
            return
        passage = msgspec.structs.replace(passage, opened=await self._open(gate))
        await self._settle([claimed], passage)
        self._tell(gate, passage)

    # keeping

    def _remember(self, gate: _Gate, passage: Passage, plate: str | None) -> None:
        gate.recent.add(_seen(passage, plate, self._clock()))

    def _memory(self, gate: _Gate) -> dict[str, bytes]:
        return {f"recent/{gate.name}": msgspec.json.encode(gate.recent.seen)}

    async def _settle(
        self, read_ids: list[int], passage: Passage | None, states: dict[str, bytes] | None = None
    ) -> None:
        states = states or {}
        if passage is not None and passage.camera in self._clocks:
            states[f"clock/{passage.camera}"] = msgspec.json.encode(self._clocks[passage.camera])
        await self.on_disk(lambda: self._spool.settle(read_ids, passage, states))
        if passage is not None:
            self._appended()

    def _tell(self, gate: _Gate, passage: Passage) -> None:
        log.info("gate %s: %s %s (%s)", gate.name, plates.masked(passage.plate), passage.decision, passage.reason)


def _misread_of(held: _Held, plate: str | None) -> bool:
    """Tell whether a held read was a bad read of the vehicle whose plate is now known."""
    unmatched = held.passage.reason in passages.UNMATCHED
    return unmatched and (held.plate is None or (plate is not None and passages.similar(held.plate, plate)))


def _seen(passage: Passage, plate: str | None, at: int) -> Seen:
    return Seen(
        passage.gate, passage.direction, plate, passage.credential_id, passage.decision, bool(passage.opened), at
    )
