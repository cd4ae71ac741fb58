"""The ASGI application of the edge API. Raw routes and msgspec: ingestion is the hot path."""

import asyncio
import logging
import random
import time
from collections.abc import AsyncGenerator, Callable
from functools import partial

import msgspec
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from parkmesh.protocol.edge import (
    FEATURE_CODES,
    FEATURE_CODES_2,
    FEATURE_PRESENCE,
    FEATURE_RULES,
    MAX_MOVES,
    Command,
    Heartbeat,
    HeartbeatAck,
    ListChanged,
    Moved,
    Name,
    PresenceUpdate,
    Servers,
)
from parkmesh.server.db import database
from parkmesh.server.edge import access_list, ingest, releases
from parkmesh.server.edge.admission import Admission
from parkmesh.server.edge.announcements import Announcements
from parkmesh.server.edge.requests import body_of, identified, token_of, unauthorised
from parkmesh.server.edge.streams import End, Moves, NewVersion, Resync, Stream, Streams
from parkmesh.server.http import problems
from parkmesh.server.http.middleware import BodyLimit, RequestLog
from parkmesh.server.http.problems import Problem
from parkmesh.server.telemetry import logs

MAX_BODY = 4 * 1024 * 1024
"""Bytes. A batch of 1000 passages with every text at its longest, in UTF-8, stays below it."""
PING_S = 15.0
IDLE_S = 60.0
"""Seconds after which a stream that heard of no move looks by itself: a server that dies between storing events and
announcing them leaves the others without the news."""
MOVES_S = 0.3
"""Seconds from one look at what others see to the next: a backlog that comes in announces many moves."""
AGAIN_S = 1.0
"""The least seconds after which a stream looks again that could not."""
MAX_WAITING = 256
"""Requests that are in work or wait for it. More would only wait longer; they are told to come back."""
MAX_WAITING_BYTES = 48 * 1024 * 1024
"""Bytes of bodies in memory at once."""
LIVE_S = 30
"""Seconds after its last sign of life in which a server counts as there."""

_log = logging.getLogger(__name__)
_heartbeat = msgspec.json.Decoder(Heartbeat)
_encode = msgspec.json.encode


class _Standing(msgspec.Struct, frozen=True):
    """The newest version of a gateway's access list, the moment of ``time.monotonic`` when its token ends (None: it
    doesn't), and whether it has to know what other gateways see."""

    newest: ListChanged
    ends: float | None
    shares_presence: bool


def create(pool: database.Pool, streams: Streams, announcements: Announcements) -> Starlette:
    """Return the edge application. ``pool`` connects as the application's role."""
    few = Middleware(Admission, requests=releases.AT_ONCE, size=MAX_WAITING_BYTES, again_s=releases.AGAIN_S)
    app = Starlette(
        routes=[
            Route("/edge/v1/events", post_events, methods=["POST"]),
            Route("/edge/v1/access-list", get_access_list, methods=["GET"]),
            Route("/edge/v1/heartbeat", post_heartbeat, methods=["POST"]),
            Route("/edge/v1/stream", get_stream, methods=["GET"]),
            Route("/edge/v1/servers", get_servers, methods=["GET"]),
            Route("/edge/v1/releases/{serial:int}", releases.get_release, methods=["GET"], middleware=[few]),
            Route("/edge/v1/release-parts", releases.post_parts, methods=["POST"], middleware=[few]),
            Route("/edge/v1/release-report", releases.post_report, methods=["POST"]),
        ],
        middleware=[
            Middleware(RequestLog, application="edge"),
            Middleware(Admission, requests=MAX_WAITING, size=MAX_WAITING_BYTES),
            Middleware(BodyLimit, limit=MAX_BODY),
        ],
        exception_handlers=problems.handlers(),
    )
    app.state.pool = pool
    app.state.streams = streams
    app.state.announcements = announcements
    app.state.parts = releases.Parts()
    return app


def _json(value: object) -> Response:
    return Response(_encode(value), media_type="application/json")


async def post_events(request: Request) -> Response:
    token = token_of(request)
    batch = await body_of(request, ingest.read)
    try:
        ack = await ingest.store(request.app.state.pool, token, batch, request.app.state.announcements.changed)
    except ingest.NotIdentified:
        raise unauthorised() from None
    return _json(ack)


async def post_heartbeat(request: Request) -> Response:
    token = token_of(request)
    beat = await body_of(request, _heartbeat.decode)
    row = await database.fetchrow(
        request.app.state.pool,
        "SELECT b.*, edge_wanted_release($1) AS release FROM edge_beat($1, $2, $3, $4, $5, $6) b",
        token,
        beat.sent,
        ingest.storable(beat.version),
        beat.backlog,
        beat.access_list_version,
        [ingest.storable(camera) for camera in beat.silent_cameras],
    )
    if row["access_list_version"] is None:
        raise unauthorised()
    if beat.device_faults is not None:
        faults = [f"{fault.kind} {fault.name}" for fault in beat.device_faults]
        await database.fetchrow(request.app.state.pool, "SELECT edge_devices($1, $2)", token, faults)
    if beat.counters is not None:
        counters = _encode(beat.counters).decode()
        await database.fetchrow(request.app.state.pool, "SELECT edge_counters($1, $2)", token, counters)
    version, epoch = row["access_list_version"], row["access_list_epoch"]
    ack = HeartbeatAck(row["server_time"], version, epoch, True, row["release"], takes_counters=True)
    return _json(ack)


async def get_servers(request: Request) -> Response:
    token = token_of(request)
    async with (
        database.acquired(request.app.state.pool) as connection,
        connection.transaction(readonly=True),
    ):
        await _enter(connection, token)
        found = await connection.fetch(
            """
            SELECT edge_url FROM server WHERE last_seen_at > now() - make_interval(secs => $1) AND NOT draining
            ORDER BY edge_url
            """,
            LIVE_S,
        )
    return _json(Servers([row["edge_url"] for row in found]))


def _number(request: Request, name: str) -> int | None:
    """Return a query parameter that is a count, None where it is absent; raise ``Problem`` 422 for anything else."""
    text = request.query_params.get(name)
    if text is None:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= 18):
        raise Problem(422, f"{name}: expected a number of up to 18 digits", kind="invalid")
    return int(text)


def _gates(request: Request) -> list[str] | None:
    """Return the gates that a gateway names as its own, None where it names none; raise ``Problem`` 422."""
    text = request.query_params.get("gates")
    if text is None:
        return None
    try:
        return msgspec.convert(text.split(",") if text else [], list[Name])
    except msgspec.ValidationError:
        raise Problem(422, "gates: expected names of gates, separated by commas", kind="invalid") from None


def _asked(request: Request, feature: str) -> bool:
    return feature in request.query_params.get("features", "").split(",")


async def get_access_list(request: Request) -> Response:
    token = token_of(request)
    held, epoch = _number(request, "version") or 0, _number(request, "epoch")
    pool = request.app.state.pool
    async with (
        database.acquired(pool) as connection,
        connection.transaction(readonly=True, isolation="repeatable_read"),
    ):
        community_id, _ = await _enter(connection, token)
        answer = await access_list.read(
            connection,
            community_id,
            held,
            epoch,
            with_rules=_asked(request, FEATURE_RULES),
            with_codes=_asked(request, FEATURE_CODES),
            with_codes_2=_asked(request, FEATURE_CODES_2),
        )
    return _json(answer)


async def get_stream(request: Request) -> Response:
    token = token_of(request)
    pool = request.app.state.pool
    with_presence, gates = _asked(request, FEATURE_PRESENCE), _gates(request)
    community_id, gateway_id = identified(await database.fetchrow(pool, _IDENTIFY, token))
    open_stream = partial(request.app.state.streams.open, community_id, gateway_id, gates)
    return StreamingResponse(
        _frames(pool, token, request.app.state.streams, open_stream, with_presence=with_presence),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-store"},
    )


async def _frames(
    pool: database.Pool, token: bytes, streams: Streams, open_stream: Callable[[], Stream], *, with_presence: bool
) -> AsyncGenerator[bytes]:
    """Yield the frames of one gateway's stream; what is pushed is never older than what was sent before."""
    stream = open_stream()
    try:
        standing: _Standing | None = None
        sent: ListChanged | None = None
        told: dict[str, PresenceUpdate] = {}
        ends: float | None = None
        looked = time.monotonic()
        # Registered first, read second: a version that comes in between is pushed, not missed.
        stream.offer(Resync())
        while True:
            item = await _next(stream, PING_S if ends is None else min(PING_S, ends - time.monotonic()))
            if isinstance(item, End) or (ends is not None and time.monotonic() >= ends):
                return
            if item is None:
                yield _frame("ping", {"time": int(time.time() * 1000)})
                if time.monotonic() - looked < IDLE_S:
                    continue
            elif isinstance(item, Command):
                if item.expires > time.time() * 1000:
                    yield _frame("command", item)
                continue
            elif isinstance(item, NewVersion) and sent is not None and item.version <= sent.version:
                continue
            elif isinstance(item, Moves) and (early_s := looked + MOVES_S - time.monotonic()) > 0:
                # The stream hears of no more moves until then.
                asyncio.get_running_loop().call_later(early_s, stream.offer, item)
                continue
            # Before it looks: what moves meanwhile is told once more.
            stream.moves_wait = False
            try:
                if standing is None or not isinstance(item, Moves | None):
                    standing = await _standing(pool, token, with_presence=with_presence)
                known = await _presence(pool, token) if standing.shares_presence else {}
            except database.OFFLINE as error:
                # It is away, or has too much to do: the gateway keeps its stream, and hears a little later.
                _log.warning("a stream could not look", extra={"fields": {"cause": logs.describe(error)}})
                again_s = random.uniform(AGAIN_S, 3 * AGAIN_S)  # noqa: S311 - spreads those who wait
                asyncio.get_running_loop().call_later(again_s, stream.offer, Resync())
                continue
            stream.shares_presence = standing.shares_presence
            looked = time.monotonic()
            ends = standing.ends
            if standing.newest != sent:
                sent = standing.newest
                yield _frame("access-list", sent)
            news = [move for plate, move in known.items() if told.get(plate) != move]
            told = known
            for n in range(0, len(news), MAX_MOVES):
                yield _frame("presence", Moved(news[n : n + MAX_MOVES]))
    except Problem:
        # The token was changed while the stream was open; the gateway hears why when it connects again.
        return
    finally:
        streams.close(stream)


async def _next(stream: Stream, seconds: float) -> object:
    try:
        async with asyncio.timeout(seconds):
            return await stream.items.get()
    except TimeoutError:
        return None


def _frame(event: str, data: object) -> bytes:
    return b"event: %s\ndata: %s\n\n" % (event.encode(), _encode(data))


_IDENTIFY = "SELECT * FROM edge_identify($1)"


async def _enter(connection: database.Connection, token: bytes) -> tuple[int, int]:
    """Enter the community of the gateway that holds the token for the rest of the transaction."""
    return identified(await connection.fetchrow(_IDENTIFY, token))


_STANDING = """
SELECT c.access_list_version, c.access_list_epoch, extract(epoch FROM g.token_ends_at - now())::float8 AS ends_in_s,
       $3 AND EXISTS (SELECT FROM gateway o WHERE o.community_id = $1 AND o.id <> $2)
          AND (EXISTS (SELECT FROM community_rules r WHERE r.community_id = $1
                       AND (r.anti_passback <> 'off' OR r.lots_per_unit IS NOT NULL))
               OR EXISTS (SELECT FROM unit u WHERE u.community_id = $1 AND u.lots IS NOT NULL)) AS shares_presence
FROM community c JOIN gateway g ON g.community_id = c.id AND g.id = $2 WHERE c.id = $1
"""


async def _standing(pool: database.Pool, token: bytes, *, with_presence: bool) -> _Standing:
    """Return how things stand for the gateway that holds a token; raise ``Problem`` 401 where none does."""
    async with database.acquired(pool) as connection, connection.transaction(readonly=True):
        community_id, gateway_id = await _enter(connection, token)
        row = await connection.fetchrow(_STANDING, community_id, gateway_id, with_presence)
    newest = ListChanged(row["access_list_version"], row["access_list_epoch"])
    ends = None if row["ends_in_s"] is None else time.monotonic() + row["ends_in_s"]
    return _Standing(newest, ends, row["shares_presence"])


async def _presence(pool: database.Pool, token: bytes) -> dict[str, PresenceUpdate]:
    """Return where the plates are on which others than this gateway had the last word."""
    async with database.acquired(pool) as connection, connection.transaction(readonly=True):
        community_id, gateway_id = await _enter(connection, token)
        found = await access_list.presence(connection, community_id, by_others_than=gateway_id)
    return {item.plate: item for item in found}
