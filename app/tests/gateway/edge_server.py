"""A small edge server on loopback: real HTTP, every body validated with the wire format, a ledger of what arrived.

It does what the contract says and nothing more: applies a batch and advances the mark in one step, acknowledges the
highest contiguous ``seq``, sends lists as full or difference, streams changes and commands. Faults are asked for by
the test.
"""

import asyncio
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable
from types import TracebackType

import msgspec
import uvicorn
from parkmesh.protocol.edge import (
    AccessEntry,
    AccessList,
    Command,
    Event,
    EventAck,
    EventBatch,
    GateRules,
    Heartbeat,
    HeartbeatAck,
    Moved,
    Passage,
    PresenceUpdate,
    Servers,
)
from parkmesh.protocol.releases import Report
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

TOKEN = "edge-test-token"


class EdgeServer:
    """Serve in a thread of its own: ``with EdgeServer() as server``. ``events`` is the ledger in order of arrival."""

    def __init__(self, entries: list[AccessEntry] | None = None) -> None:
        self.sock = socket.socket()
        self.sock.bind(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.sock.getsockname()[1]}"
        self.entries = entries or []
        self.version = 1
        self.epoch = 0
        self.rules: GateRules | dict[str, object] | None = None
        """A dict: as a server of another release tells them."""
        self.live: list[str] | None = None
        self.differences: dict[int, AccessList] = {}
        self.list_requests: list[int] = []
        self.events: list[Event] = []
        self.marks: dict[int, int] = {}
        self.heartbeats: list[Heartbeat] = []
        self.takes_device_faults = False
        self.takes_counters = False
        self.release = 0
        self.release_reports: list[Report] = []
        self.clock_ahead_ms = 0
        self.fault: Callable[[str], Response | None] = lambda _: None
        self.refuses: Callable[[list[Event]], bool] = lambda _: False
        self.streams_opened = 0
        self.stream_features: list[str] = []
        self._stored: dict[tuple[int, int], Event] = {}
        self._streams: set[asyncio.Queue[bytes | None]] = set()
        self._server: uvicorn.Server | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._serve, daemon=True)

    # what tests do

    def passages(self) -> list[Passage]:
        return [event for event in self.events if isinstance(event, Passage)]

    def now(self) -> int:
        return time.time_ns() // 1_000_000 + self.clock_ahead_ms

    def change_list(self, entries: list[AccessEntry], *, removed: list[str] | None = None) -> None:
        """Upsert entries and remove ids, and tell the open streams."""
        gone = set(removed or [])
        kept = {e.credential_id: e for e in self.entries if e.credential_id not in gone}
        kept.update({e.credential_id: e for e in entries})
        self.differences[self.version] = AccessList(self.version + 1, False, entries, removed or [])
        self.entries, self.version = list(kept.values()), self.version + 1
        self._send("access-list", b'{"version":%d}' % self.version)

    def command(self, command: Command) -> None:
        self._send("command", msgspec.json.encode(command))

    def moved(self, *moves: PresenceUpdate) -> None:
        """Tell the open streams where plates are by the word of other gateways."""
        self._send("presence", msgspec.json.encode(Moved(list(moves))))

    @property
    def listeners(self) -> int:
        return len(self._streams)

    def _send(self, name: str, data: bytes) -> None:
        assert self._loop is not None
        message = b"event: " + name.encode() + b"\ndata: " + data + b"\n\n"
        for queue in list(self._streams):
            self._loop.call_soon_threadsafe(queue.put_nowait, message)

    # the four calls

    def _refuse(self, request: Request) -> Response | None:
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            return Response(status_code=401)
        return self.fault(request.url.path.rpartition("/")[2])

    async def _events(self, request: Request) -> Response:
        batch = msgspec.json.decode(await request.body(), type=EventBatch)
        if refusal := self._refuse(request):
            return refusal
        if self.refuses(batch.events):
            return Response(status_code=422)
        sequence = [event.seq for event in batch.events]
        assert sequence == list(range(sequence[0], sequence[0] + len(sequence))), "seq has gaps within a batch"
        mark = self.marks.get(batch.epoch, 0)
        newest = max(self.marks, default=batch.epoch)
        newest = max(newest, batch.epoch)
        if batch.epoch < newest or sequence[0] > mark + 1:
            expected = {"status": 409, "expected_epoch": newest, "expected_seq": self.marks.get(newest, 0) + 1}
            return Response(msgspec.json.encode(expected), 409, media_type="application/problem+json")
        for event in batch.events:
            if event.seq <= mark and self._stored.get((batch.epoch, event.seq)) != event:
                other = {"status": 409, "expected_epoch": batch.epoch, "expected_seq": event.seq}
                return Response(msgspec.json.encode(other), 409, media_type="application/problem+json")
        for event in batch.events:
            if event.seq > mark:
                self.events.append(event)
                self._stored[batch.epoch, event.seq] = event
        self.marks[batch.epoch] = max(mark, sequence[-1])
        if refusal := self.fault("after-events"):
            return refusal
        return _json(EventAck(batch.epoch, self.marks[batch.epoch]))

    async def _access_list(self, request: Request) -> Response:
        if refusal := self._refuse(request):
            return refusal
        held = int(request.query_params["version"])
        self.list_requests.append(held)
        if self.epoch and int(request.query_params["epoch"]) != self.epoch:
            return self._list(full=True)
        if held == self.version:
            return self._list(full=False)
        if held + 1 == self.version and held in self.differences:
            return _json(self.differences[held])
        return _json(AccessList(self.version, True, self.entries))

    def _list(self, *, full: bool) -> Response:
        listed = AccessList(self.version, full, self.entries if full else [], epoch=self.epoch)
        rules = {} if self.rules is None else {"rules": self.rules}
        return Response(msgspec.json.encode(msgspec.to_builtins(listed) | rules), media_type="application/json")

    async def _heartbeat(self, request: Request) -> Response:
        if refusal := self._refuse(request):
            return refusal
        self.heartbeats.append(msgspec.json.decode(await request.body(), type=Heartbeat))
        takes = (self.takes_device_faults, self.release, self.takes_counters)
        return _json(HeartbeatAck(self.now(), self.version, self.epoch, *takes))

    async def _release_report(self, request: Request) -> Response:
        if refusal := self._refuse(request):
            return refusal
        self.release_reports.append(msgspec.json.decode(await request.body(), type=Report))
        return Response(status_code=204)

    async def _servers(self, request: Request) -> Response:
        """Answer as a server of the first release where the test named no live ones."""
        if refusal := self._refuse(request):
            return refusal
        return Response(status_code=404) if self.live is None else _json(Servers(self.live))

    async def _stream(self, request: Request) -> Response:
        if refusal := self._refuse(request):
            return refusal
        self.stream_features = request.query_params.get("features", "").split(",")
        queue: asyncio.Queue[bytes | None] = asyncio.Queue()

        async def body() -> AsyncIterator[bytes]:
            self._streams.add(queue)
            self.streams_opened += 1
            try:
                yield b"event: ping\ndata: {}\n\n"
                while (message := await queue.get()) is not None:
                    yield message
            finally:
                self._streams.discard(queue)

        return StreamingResponse(body(), media_type="text/event-stream")

    # the process

    def _serve(self) -> None:
        app = Starlette(
            routes=[
                Route("/edge/v1/events", self._events, methods=["POST"]),
                Route("/edge/v1/access-list", self._access_list),
                Route("/edge/v1/heartbeat", self._heartbeat, methods=["POST"]),
                Route("/edge/v1/stream", self._stream),
                Route("/edge/v1/servers", self._servers),
                Route("/edge/v1/release-report", self._release_report, methods=["POST"]),
            ]
        )

        async def main() -> None:
            self._loop = asyncio.get_running_loop()
            config = uvicorn.Config(app, log_level="error", lifespan="off", timeout_graceful_shutdown=1)
            self._server = uvicorn.Server(config)
            await self._server.serve(sockets=[self.sock])

        asyncio.run(main())

    def __enter__(self) -> "EdgeServer":
        self._thread.start()
        while self._server is None or not self._server.started:
            time.sleep(0.01)
        return self

    def end_streams(self) -> None:
        assert self._loop is not None
        for queue in list(self._streams):
            self._loop.call_soon_threadsafe(queue.put_nowait, None)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end_streams()
        assert self._server is not None
        self._server.should_exit = True
        self._thread.join(timeout=10)


def _json(answer: msgspec.Struct) -> Response:
    return Response(msgspec.json.encode(answer), media_type="application/json")
