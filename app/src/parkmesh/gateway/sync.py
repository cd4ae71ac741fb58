"""The gateway's side of the edge API: events up, access list and commands down, through whichever server answers.

Loops that fail and recover on their own. The servers are tried in turn; one that failed is left at once, and only a
whole round without an answer waits (back-off with jitter, at least the server's Retry-After).

The gateway calls the servers that a server names as live, in its own order, so that all gateways spread over all
servers. After them it calls the servers of its configuration, which are all that it knows until a server has answered.
"""

import asyncio
import hashlib
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

import httpx
import msgspec

from parkmesh import __version__
from parkmesh.gateway import sse
from parkmesh.gateway.backoff import Backoff, retry_after_s
from parkmesh.gateway.config import Config
from parkmesh.gateway.decider import Decider
from parkmesh.gateway.spool import Spool, SpoolError
from parkmesh.gateway.trusted_clock import TrustedClock
from parkmesh.protocol.edge import (
    FEATURE_CODES,
    FEATURE_CODES_2,
    FEATURE_PRESENCE,
    FEATURE_RULES,
    AccessList,
    Command,
    CounterReading,
    DeviceFault,
    EventAck,
    Heartbeat,
    HeartbeatAck,
    ListChanged,
    Moved,
    Servers,
)
from parkmesh.protocol.releases import Report

log = logging.getLogger("parkmesh.gateway")

BATCH = 500
BATCH_BESIDE_CARS = 50
"""Records of a batch while cars come: what the disk's thread does with one, a read waits for."""
TOGETHER_S = 0.1
"""Seconds that records wait for others after all were sent: a request costs what sixty records do."""
TIMEOUT = httpx.Timeout(15.0, connect=3.0)
STREAM_SILENCE_S = 45.0
"""A stream without even a ping for this long is dead."""
STREAM_STEADY_S = STREAM_SILENCE_S + 15
"""A stream that lasted longer than any time-out worked."""
SERVERS_S = 60.0
"""Seconds between two questions for the servers that are there."""
MAX_SERVERS = 256
_REFUSED = (400, 422)
_ASKED = 3
"""Servers that must refuse a record before it is set aside: one of another release may know its form."""


class _Conflict(msgspec.Struct):
    """A 409 on events: what the server would take."""

    expected_epoch: int
    expected_seq: int


class _Numbered(msgspec.Struct):
    seq: int


class _Told(msgspec.Struct):
    rules: dict[str, msgspec.Raw]


class _Failed(Exception):
    """A call didn't work. ``asked_s`` is the server's Retry-After; ``worked``: it did for a good while before."""

    def __init__(self, text: str, asked_s: float | None = None, *, worked: bool = False) -> None:
        super().__init__(text)
        self.asked_s, self.worked = asked_s, worked
        self.conflict: _Conflict | None = None
        self.status = 0


def in_own_order(gateway: str, live: list[str], configured: list[str]) -> list[str]:
    """Return the servers in the order in which a gateway tries them: the live ones as its name has it, then the rest.

    By rendezvous hashing: gateways spread evenly, and a server that comes or goes moves no gateway that it doesn't
    have to.
    """

    def place(server: str) -> bytes:
        return hashlib.sha256(f"{gateway} {server}".encode()).digest()

    live = sorted({server.rstrip("/") for server in live}, key=place)
    return [*live, *(server for server in configured if server not in live)]


class Sync:
    """Keeps one gateway in step with the servers. ``clock`` gives ms since 1970."""

    def __init__(
        self, config: Config, spool: Spool, decider: Decider, client: httpx.AsyncClient, *, clock: TrustedClock
    ) -> None:
        self._config, self._spool, self._decider, self._client, self._clock = config, spool, decider, client, clock
        self._configured = [server.rstrip("/") for server in config.servers]
        self._gates = ",".join(gate.name for gate in config.gates)
        self._servers = self._configured
        self._current = 0
        self.release_wanted: Callable[[int], None] = lambda _: None
        """Hears the number of the release that this gateway should take, 0 for none."""
        self.device_faults: Callable[[], list[DeviceFault]] = list
        """Tells what is wrong with sensors and barriers."""
        self._takes_device_faults: set[str] = set()
        self.counters: Callable[[], list[CounterReading]] = list
        """Tells what the facility counters have counted."""
        self._takes_counters: set[str] = set()
        self._no_counters_told = False
        self._more_events = asyncio.Event()
        self._list_wanted = asyncio.Event()
        self.last_sync: int | None = None
        self.errors: dict[str, str] = {}
        """The last failure of each loop that hasn't worked since, by the loop's name, the newest last."""
        self.stream_up = False

    def wake(self) -> None:
        """A record was appended: push it now."""
        self._more_events.set()

    @property
    def last_error(self) -> str | None:
        return next(reversed(self.errors.values()), None)

    @property
    def server(self) -> str:
        return self._servers[self._current]

    async def run(self) -> None:
        """Work until cancelled."""
        self._more_events.set()
        self._list_wanted.set()
        async with asyncio.TaskGroup() as loops:
            for name, step in (
                ("events", self._push_together),
                ("access list", self._pull),
                ("stream", self._listen),
                ("heartbeat", self._send_heartbeat),
            ):
                loops.create_task(self._forever(name, step))
            loops.create_task(self._look_around())

    async def push_all(self, look_s: float) -> None:
        """Push until no record waits, without the other loops; look whether any does every ``look_s`` seconds."""
        pushing = asyncio.create_task(self._forever("events", self._push))
        try:
            while True:
                counts = await self._decider.on_disk(self._spool.counts)
                if not counts.backlog:
                    return
                await asyncio.sleep(look_s)
        finally:
            pushing.cancel()
            await asyncio.wait({pushing})

    async def _look_around(self) -> None:
        """Ask for the live servers now and then. An answer that doesn't come changes nothing."""
        while True:
            with suppress(_Failed, httpx.HTTPError, msgspec.DecodeError):
                response = await self._client.get(f"{self.server}/edge/v1/servers", timeout=TIMEOUT)
                self._check(response)
                self.use(msgspec.json.decode(response.content, type=Servers).servers)
            await asyncio.sleep(SERVERS_S)

    def use(self, live: list[str]) -> None:
        """Call the live servers from now on, and keep to the server in use if it is live."""
        current = self.server
        usable = [server for server in live[:MAX_SERVERS] if server.startswith(("http://", "https://"))]
        self._servers = in_own_order(self._config.name, usable, self._configured)
        stay = current in (server.rstrip("/") for server in usable)
        self._current = self._servers.index(current) if stay else 0

    @property
    def servers(self) -> list[str]:
        """The servers in the order in which they are called, the one in use first."""
        return self._servers[self._current :] + self._servers[: self._current]

    async def report_release(self, report: Report) -> None:
        """Tell the server in use how a release went. Raises ``ValueError`` where it doesn't take it."""
        body, json_type = msgspec.json.encode(report), {"Content-Type": "application/json"}
        url = f"{self.server}/edge/v1/release-report"
        answer = await self._client.post(url, content=body, headers=json_type, timeout=TIMEOUT)
        if answer.status_code != 204:
            raise ValueError(f"{url}: HTTP {answer.status_code}")

    async def _forever(self, what: str, step: Callable[[str], Awaitable[object]]) -> None:
        """Repeat a step; after a failure go on with the next server, after a round of failures wait first."""
        backoff, failed, asked_s, told = Backoff(), 0, None, set[str]()
        while True:
            server = self.server
            try:
                await step(server)
            except (_Failed, httpx.HTTPError, msgspec.DecodeError, ValueError, SpoolError) as error:
                # An httpx error often has no text of its own.
                text = f"{what} at {server}: {str(error) or type(error).__name__}"
                if text not in told:  # once per outage: a line that is down for a week must not fill the journal
                    log.warning("%s", text)
                    told.add(text)
                self.errors.pop(what, None)
                self.errors[what] = text
                if self.server == server:
                    self._current = (self._current + 1) % len(self._servers)
                if isinstance(error, _Failed):
                    asked_s = max(filter(None, (asked_s, error.asked_s)), default=None)
                    if error.worked:
                        backoff.reset()
                        told.clear()
                failed += 1
                if failed % len(self._servers) == 0:
                    await asyncio.sleep(backoff.next_s(asked_s))
                    asked_s = None
            else:
                failed, asked_s = 0, None
                told.clear()
                backoff.reset()

    async def _call(self, what: str, method: str, url: str, body: bytes | None = None) -> bytes:
        response = await self._client.request(
            method, url, content=body, headers={"Content-Type": "application/json"} if body else None, timeout=TIMEOUT
        )
        try:
            self._check(response)
        except _Failed as failure:
            failure.status = response.status_code
            if response.status_code == 409:
                with suppress(msgspec.DecodeError):
                    failure.conflict = msgspec.json.decode(response.content, type=_Conflict)
            raise
        self.last_sync = self._clock()
        self.errors.pop(what, None)
        return response.content

    @staticmethod
    def _check(response: httpx.Response) -> None:
        if response.status_code != 200:
            raise _Failed(
                f"HTTP {response.status_code}", retry_after_s(response.headers.get("Retry-After"), time.time())
            )

    async def _push_together(self, server: str) -> None:
        """Send one batch; if that was all, let more records come before the next one."""
        if await self._push(server):
            await asyncio.sleep(TOGETHER_S)

    async def _push(self, server: str) -> bool:
        """Send one batch and tell whether it had all there was, or wait until there is something to send."""
        self._more_events.clear()
        await self._decider.give_way()
        size = BATCH_BESIDE_CARS if self._decider.has_traffic() else BATCH
        records = await self._decider.on_disk(lambda: self._spool.batch(size, self._clock()))
        if not records:
            await self._more_events.wait()
            return False
        while True:
            try:
                await self._send(server, records)
                return len(records) < size
            except _Failed as failure:
                if failure.conflict is not None:
                    await self._start_over(failure.conflict, records)
                if failure.status not in _REFUSED:
                    raise
                if len(records) == 1:
                    await self._pass_by(server, records, str(failure))
                    return False
            # One record that a server can't take must not keep back all behind it: find it.
            records = records[: len(records) // 2]

    async def _pass_by(self, server: str, records: list[msgspec.Raw], error: str) -> None:
        """Go on after a record that ``server`` refuses: another server takes it, or one takes a gap in its place.

        If even the gap is refused it isn't the record: nothing is set aside, and the failure is raised.
        """
        for other in [known for known in self._servers if known != server][: _ASKED - 1]:
            with suppress(_Failed, httpx.HTTPError, msgspec.DecodeError):
                await self._send(other, records)
                return
        seq, now, epoch = await self._decider.on_disk(self._spool.first_seq), self._clock(), self._spool.epoch
        if seq is None:
            return
        gap = await self._decider.on_disk(lambda: self._spool.stand_in(seq, now))
        try:
            answer = await self._post(server, [msgspec.Raw(msgspec.json.encode(gap))])
        except _Failed as failure:
            if failure.conflict is not None:
                # The server has this record as it was before the disk damaged it, and the answer was lost.
                await self._start_over(failure.conflict, records)
            raise
        ack = msgspec.json.decode(answer, type=EventAck)
        if (ack.epoch, ack.acked) != (epoch, seq):
            raise _Failed(f"the server acknowledged another record (epoch {ack.epoch}, seq {ack.acked})")
        await self._decider.on_disk(lambda: self._spool.replaced(seq, error, now))
        log.error("record %d was refused (%s): set aside, a gap %s tells of it", seq, error, gap.kind)

    async def _post(self, server: str, records: list[msgspec.Raw]) -> bytes:
        body = msgspec.json.encode({"epoch": self._spool.epoch, "events": records})
        return await self._call("events", "POST", f"{server}/edge/v1/events", body)

    async def _send(self, server: str, records: list[msgspec.Raw]) -> None:
        """Send records and forget what the server has."""
        await self._decider.give_way()
        answer = await self._post(server, records)
        ack = msgspec.json.decode(answer, type=EventAck)
        await self._decider.give_way()
        if ack.epoch == self._spool.epoch and not await self._decider.on_disk(lambda: self._spool.sent(ack.acked)):
            await self._put_back(ack.acked)
            return
        if await self._decider.on_disk(lambda: self._spool.acknowledge(ack.epoch, ack.acked)) == 0:
            raise _Failed(f"the server acknowledged nothing new (epoch {ack.epoch}, seq {ack.acked})")

    async def _start_over(self, conflict: _Conflict, records: list[msgspec.Raw]) -> None:
        """Follow a server that can't take our numbering: number what it doesn't have anew."""
        try:
            first = msgspec.json.decode(records[0], type=_Numbered).seq
        except ValueError:  # damaged on the disk
            known = await self._decider.on_disk(self._spool.first_seq)
            first = known or 1
        same_epoch = conflict.expected_epoch == self._spool.epoch
        lost = first - conflict.expected_seq if same_epoch else 0
        if same_epoch and lost <= 0:
            await self._put_back(conflict.expected_seq - 1)
            return
        now = self._clock()
        # An epoch in which the server had acknowledged something is over only where a later spool has begun another.
        put_back = conflict.expected_seq if not same_epoch and first > 1 else None
        await self._decider.on_disk(
            lambda: self._spool.renumber(above=conflict.expected_epoch, lost=lost, now=now, put_back=put_back)
        )
        log.error("the server can't go on with our numbering (it lost %d records); started a new epoch", lost)

    async def _put_back(self, same: int) -> None:
        """Go on after this spool was put back to an earlier state: the server has our records up to ``same``, and
        others under the numbers after it."""
        epoch, now = self._spool.epoch, self._clock()

        def start_over() -> None:
            self._spool.acknowledge(epoch, same)
            self._spool.renumber(above=epoch, lost=0, now=now, put_back=same + 1)

        await self._decider.on_disk(start_over)
        log.error("the spool was put back to an earlier state; the server has newer records. Started a new epoch")

    async def _pull(self, server: str) -> None:
        """Fetch the access list when it is wanted."""
        await self._list_wanted.wait()
        # Cleared before the request: what is announced while it runs is fetched again.
        self._list_wanted.clear()
        held, epoch = self._decider.list_version, self._decider.list_epoch
        if not self._decider.list_whole:
            held, epoch = 0, 0  # the answer is a full list
        query = f"version={held}&epoch={epoch}&features={FEATURE_RULES},{FEATURE_CODES},{FEATURE_CODES_2}"
        try:
            content = await self._call("access list", "GET", f"{server}/edge/v1/access-list?{query}")
            update = self._with_all_rules(content, msgspec.json.decode(content, type=AccessList))
            # The version is that of before, but a release before may have held the rules without one that is new.
            told = update.rules not in (None, self._decider.rules) or update.codes not in (None, self._decider.codes)
            if update.full or update.version != held or told:
                await self._decider.activate(update)
        except BaseException:
            self._list_wanted.set()
            raise

    def _with_all_rules(self, content: bytes, update: AccessList) -> AccessList:
        """Return an answer with the rules that its server doesn't know, as servers of the release before do while they
        are replaced: what is known of them here holds."""
        known = self._decider.rules
        if update.rules is None or known is None:
            return update
        told = msgspec.json.decode(content, type=_Told).rules
        kept = {name: value for name, value in msgspec.structs.asdict(known).items() if name not in told}
        return msgspec.structs.replace(update, rules=msgspec.structs.replace(update.rules, **kept))

    async def _listen(self, server: str) -> None:
        """Follow the stream until it ends. Commands act at once and are never stored for later."""
        address = f"{server}/edge/v1/stream?features={FEATURE_PRESENCE}&gates={self._gates}"
        timeout, started, ended = httpx.Timeout(STREAM_SILENCE_S, connect=3.0), time.monotonic(), "the stream ended"
        try:
            async with self._client.stream("GET", address, timeout=timeout) as response:
                self._check(response)
                self.stream_up = True
                self.errors.pop("stream", None)
                # The list may have changed while no stream was open.
                self._list_wanted.set()
                async for event in sse.events(response.aiter_lines()):
                    if event.name == "access-list":
                        changed = msgspec.json.decode(event.data, type=ListChanged)
                        self._heard_of(changed.version, changed.epoch)
                    elif event.name == "command":
                        self._decider.command(msgspec.json.decode(event.data, type=Command))
                    elif event.name == "presence":
                        await self._decider.apply_presence(msgspec.json.decode(event.data, type=Moved).presence)
        except httpx.HTTPError as error:
            ended = str(error) or type(error).__name__
        finally:
            self.stream_up = False
        # Servers end their streams when they are replaced; that is no reason to wait longer each time.
        raise _Failed(ended, worked=time.monotonic() - started > STREAM_STEADY_S)

    def _counted(self) -> list[CounterReading] | None:
        """Return all counters; that there are none is said once."""
        return self.counters() or (None if self._no_counters_told else [])

    def _heard_of(self, version: int, epoch: int) -> None:
        """Ask for the list if the gateway holds another one. Where the server tells no epoch, the version alone
        counts."""
        if (version, epoch or self._decider.list_epoch) != (self._decider.list_version, self._decider.list_epoch):
            self._list_wanted.set()

    async def _send_heartbeat(self, server: str) -> None:
        counts = await self._decider.on_disk(self._spool.counts)
        sent = self._clock.machine()
        beat = Heartbeat(
            sent=sent,
            version=__version__,
            backlog=counts.backlog,
            access_list_version=self._decider.list_version,
            silent_cameras=self._decider.silent_cameras(),
            device_faults=self.device_faults() if server in self._takes_device_faults else None,
            counters=self._counted() if server in self._takes_counters else None,
        )
        answer = await self._call("heartbeat", "POST", f"{server}/edge/v1/heartbeat", msgspec.json.encode(beat))
        ack = msgspec.json.decode(answer, type=HeartbeatAck)
        # A server of the release before refuses what it doesn't know.
        (self._takes_device_faults.add if ack.takes_device_faults else self._takes_device_faults.discard)(server)
        (self._takes_counters.add if ack.takes_counters else self._takes_counters.discard)(server)
        self._no_counters_told = beat.counters == [] or self._no_counters_told
        # The server's clock decides when credentials and commands expire; half the round trip is close enough.
        self._decider.server_skew_ms = ack.server_time - (sent + self._clock.machine()) // 2
        if set_by_ms := self._clock.trust(ack.server_time):
            self._decider.clock_was_set(set_by_ms)
        self._heard_of(ack.access_list_version, ack.access_list_epoch)
        self.release_wanted(ack.release)
        await self._decider.on_disk(lambda: self._spool.forget(self._clock()))
        await asyncio.sleep(self._config.heartbeat_s)
