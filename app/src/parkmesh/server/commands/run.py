"""``parkmesh serve``: both applications in one process, and an orderly end.

On SIGTERM the server first reports that it is not ready: the load balancer stops sending, and the list of servers tells
the gateways. After the drain time live pages and gateways' streams are ended (their clients connect to other servers),
both listeners close, work in flight ends, and the server leaves the list.
"""

import asyncio
import contextlib
import gc
import logging
import signal
import socket
from collections.abc import Awaitable, Callable, Generator
from datetime import UTC, datetime
from ipaddress import ip_address

import uvicorn
from starlette.types import ASGIApp

from parkmesh.server import servers, settings
from parkmesh.server.access import stay_projection
from parkmesh.server.db import database
from parkmesh.server.db.community_worker import CommunityWorker
from parkmesh.server.db.listener import Listener
from parkmesh.server.edge import app as edge_app
from parkmesh.server.edge.announcements import Announcements
from parkmesh.server.edge.stream_list import StreamList
from parkmesh.server.edge.streams import Streams
from parkmesh.server.http.http_protocol import BoundedProtocol
from parkmesh.server.mail.worker import MailWorker
from parkmesh.server.notifications import routing
from parkmesh.server.outbox import messages
from parkmesh.server.reservations import no_shows, offers, space_requests
from parkmesh.server.web import app as web_app
from parkmesh.server.web import live
from parkmesh.server.web.pages import rendering
from parkmesh.server.webhooks.transport import Sender
from parkmesh.server.webhooks.worker import WebhookWorker

WEB_CONNECTIONS = 6
EDGE_CONNECTIONS = 4
LISTENERS = 1
COLLECT_AFTER = (2_000, 20, 50)
"""Objects made and not freed before the youngest are looked at, and how many such looks before one at older ones. A
look at 10,000 took 10 to 20 ms, in which no request is answered."""
KEEP_ALIVE_S = 150
"""Seconds that a quiet connection stays open: longer than a load balancer keeps it (``aws_service_idle_timeout_s``),
which otherwise sends a request just as its connection is closed."""

EdgeSocket = socket.socket | Callable[[], Awaitable[socket.socket]]
"""The edge API's bound socket, or what waits for it: an instance may get its overlay slot late, or not at all."""

_log = logging.getLogger(__name__)


class Application(uvicorn.Server):
    """A uvicorn server whose process handles the signals itself: there are two of them in it."""

    def __init__(self, app: ASGIApp, name: str, stop_s: float) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                lifespan="off",
                ws="none",
                http=BoundedProtocol,
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=int(stop_s),
            )
        )
        self.name = name
        self.opened = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.opened.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


async def until_signal(
    config: settings.Settings,
    web_socket: socket.socket,
    edge_socket: EdgeSocket,
    started: Callable[[], None] = lambda: None,
) -> None:
    """Serve until SIGTERM or SIGINT; call ``started`` once both applications take requests (see ``serve``)."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    await serve(config, web_socket, edge_socket, stop, started)


async def serve(
    config: settings.Settings,
    web_socket: socket.socket,
    edge_socket: EdgeSocket,
    stop: asyncio.Event,
    started: Callable[[], None] = lambda: None,
) -> None:
    """Serve both applications until ``stop`` is set, then drain and end.

    Where the edge API's socket is still to come, people are served without it. Such a server isn't in the list of
    servers, by which gateways go.
    """
    condition = web_app.Condition()
    name = f"parkmesh/{config.server_id}"
    async with (
        database.create_pool(config.database_url, f"{name}/web", WEB_CONNECTIONS) as web_pool,
        database.create_pool(config.database_url, f"{name}/edge", EDGE_CONNECTIONS) as edge_pool,
    ):
        started_at = datetime.now(UTC)
        stream_list = StreamList(edge_pool, config.server_id, started_at)
        feeds, streams, announcements = live.Feeds(web_pool), Streams(stream_list), Announcements(edge_pool)
        mails = MailWorker(edge_pool, config.mail, config.public_url or _url(web_socket), config.session_secret)
        hooks = WebhookWorker(edge_pool, Sender(config.webhooks))
        stays = stay_projection.worker(web_pool)
        events = routing.worker(web_pool, mails=config.mail is not None)
        listener = Listener(
            config.database_url,
            f"{name}/listener",
            lambda channel, payload: dispatch(channel, payload, feeds, streams, mails, hooks, stays, events),
            lambda: resync(feeds, streams, mails, hooks, stays, events),
        )
        web = Application(web_app.create(web_pool, feeds, config, condition), "web", config.stop_s)
        gateways = Application(edge_app.create(edge_pool, streams, announcements), "edge", config.stop_s)
        # Not only when it is ready: without a database that may be in hours.
        _spare_collections()
        condition.edge_is_open = gateways.opened.is_set
        presences: list[servers.Presence] = []
        background: list[asyncio.Task[None]] = []

        async def serve_edge() -> None:
            sock = edge_socket if isinstance(edge_socket, socket.socket) else await edge_socket()
            presence = servers.Presence(
                web_pool, config.server_id, _url(sock), None if _everywhere(web_socket) else _url(web_socket),
                started_at,
            )  # fmt: skip
            presences.append(presence)
            background.append(asyncio.create_task(presence.run(), name="presence"))
            _log.info("serving gateways", extra={"fields": {"edge": _address(sock)}})
            await gateways.serve(sockets=[sock])

        listening = asyncio.create_task(listener.run(), name="listener")
        announcing = asyncio.create_task(announcements.run(), name="announcements")
        listing = asyncio.create_task(stream_list.run(), name="stream list")
        mailing = asyncio.create_task(mails.run(), name="mails")
        hooking = asyncio.create_task(hooks.run(), name="webhooks")
        routing_events = asyncio.create_task(events.run(), name="events")
        watching = asyncio.create_task(routing.watch(web_pool, mails=config.mail is not None), name="watch")
        projecting = asyncio.create_task(stays.run(), name="stays")
        offering = asyncio.create_task(offers.worker(web_pool).run(), name="waiting lists")
        lapsing = asyncio.create_task(space_requests.worker(web_pool).run(), name="space requests")
        releasing = asyncio.create_task(no_shows.worker(web_pool).run(), name="no-shows")
        serving_edge = asyncio.create_task(serve_edge(), name=gateways.name)
        applications = [asyncio.create_task(web.serve(sockets=[web_socket]), name=web.name), serving_edge]
        stopping = asyncio.create_task(stop.wait(), name="signal")
        opening = asyncio.create_task(
            _opened(web, *([gateways] if isinstance(edge_socket, socket.socket) else [])), name="opening"
        )
        await asyncio.wait([stopping, listening, opening, *applications], return_when=asyncio.FIRST_COMPLETED)
        if opening.done():
            # Beside the first requests: it is no reason to be ready later.
            compiling = asyncio.create_task(asyncio.to_thread(rendering.compile_templates), name="templates")
            compiling.add_done_callback(lambda _: _spare_collections())
            _log.info("serving", extra={"fields": {"web": _address(web_socket)}})
            started()
            await asyncio.wait([stopping, listening, *applications], return_when=asyncio.FIRST_COMPLETED)
        if stop.is_set():
            condition.draining = True
            for presence in presences:
                presence.drain()
            _log.info("draining", extra={"fields": {"seconds": config.drain_s}})
            await asyncio.sleep(config.drain_s)
        feeds.end()
        streams.end()
        web.should_exit = gateways.should_exit = True
        stopping.cancel()
        opening.cancel()
        if not presences:
            serving_edge.cancel()
        results = await asyncio.gather(*applications, return_exceptions=True)
        for task in (
            listening, announcing, listing, mailing, hooking, projecting, routing_events, watching, offering, lapsing,
            releasing, *background,
        ):  # fmt: skip
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
        await announcements.tell()
        for presence in presences:
            await presence.remove()
        for result in results:
            # Cancelled: the edge API, which had no socket yet.
            if isinstance(result, BaseException) and not isinstance(result, asyncio.CancelledError):
                raise result
    _log.info("stopped")


def _spare_collections() -> None:
    """Keep the garbage collector off what lives as long as the process and, mostly, off what lives for long.

    A full collection looks at every object while no request is answered; with 2,000 open pages it took 0.4 s. Until the
    applications are made there is none at all (see ``cli.serve``): what a start makes lives on, and to look for garbage
    in it takes a sixth of its time.
    """
    gc.freeze()
    gc.enable()
    gc.set_threshold(*COLLECT_AFTER)


async def _opened(*applications: Application) -> None:
    for application in applications:
        await application.opened.wait()


def dispatch(
    channel: str,
    payload: str,
    feeds: live.Feeds,
    streams: Streams,
    mails: MailWorker,
    hooks: WebhookWorker,
    stays: CommunityWorker,
    events: CommunityWorker,
) -> None:
    """Hand a notification of the database to whom it concerns (see ``notifications`` for the
    payloads)."""
    if channel == messages.CHANNEL:
        # A community has new events; nothing: mails or webhooks were put into the outbox.
        if payload.isdigit():
            events.changed(int(payload))
        else:
            mails.wake()
            hooks.wake()
        return
    identity, _, rest = payload.partition(":")
    if channel == "parkmesh_live":
        feeds.changed(int(identity), rest)
        if "p" in rest:
            streams.moved(int(identity))
            stays.changed(int(identity))
            events.changed(int(identity))
    elif channel == "parkmesh_access_list":
        feeds.changed(int(identity), "v")
        streams.new_version(int(identity), int(rest))
    elif channel == "parkmesh_command":
        streams.command(int(identity), rest)
    elif channel == "parkmesh_gateway":
        streams.check_gateway(int(identity))
    elif channel == "parkmesh_user":
        feeds.end_user(int(identity))


def resync(
    feeds: live.Feeds,
    streams: Streams,
    mails: MailWorker,
    hooks: WebhookWorker,
    stays: CommunityWorker,
    events: CommunityWorker,
) -> None:
    """Bring everything up to date after a time in which notifications may have been missed."""
    feeds.resync()
    streams.resync()
    mails.wake()
    hooks.wake()
    stays.resync()
    events.resync()


def _everywhere(sock: socket.socket) -> bool:
    return ip_address(sock.getsockname()[0]).is_unspecified


def _url(sock: socket.socket) -> str:
    """Return where others reach an application; one that listens everywhere is reached by the machine's name."""
    return f"http://{socket.gethostname()}:{sock.getsockname()[1]}" if _everywhere(sock) else f"http://{_address(sock)}"


def _address(sock: socket.socket) -> str:
    host, port = sock.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
