"""Starts the page beside the agent's other parts. Nothing that goes wrong with it stops a gate."""

import asyncio
import contextlib
import logging
import socket
import ssl
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette

from parkmesh.gateway import doctor_looks, host
from parkmesh.gateway.config import Config, LocalPage
from parkmesh.gateway.decider import Decider
from parkmesh.gateway.page.app import Sources, application
from parkmesh.gateway.page.entrance import Entrance
from parkmesh.gateway.serving import ListenError, Server, bound
from parkmesh.gateway.support import Tail

log = logging.getLogger("parkmesh.gateway")

_RETRY_S = 30.0


async def serve(
    config: Config,
    token: str,
    decider: Decider,
    status: Callable[[], dict[str, Any]],
    sensors: Callable[[], dict[str, tuple[int, str]]],
    clock: Callable[[], int],
    context: ssl.SSLContext | None = None,
) -> None:
    """Serve the page of a configuration that has one, until cancelled. ``status`` is what ``GET /status`` shows.
    ``context``: over TLS."""
    assert config.local_page is not None
    journal = Tail()
    logging.getLogger("parkmesh").addHandler(journal)
    sources = Sources(
        config=config,
        decider=decider,
        status=status,
        look=lambda told: doctor_looks.look(config, told, token, clock()),
        sensors=sensors,
        readings=lambda: host.read(Path(config.spool)),
        clock=clock,
        journal=journal,
    )
    app = application(sources, Entrance(config.local_page.password, time.monotonic))
    try:
        await _keep_serving(config.local_page, app, context)
    finally:
        logging.getLogger("parkmesh").removeHandler(journal)


async def _keep_serving(page: LocalPage, app: Starlette, context: ssl.SSLContext | None) -> None:
    """Where the page's address can't be had, try again later."""
    told = ""
    while True:
        try:
            with bound(page.host, page.port) as sock:
                log.info("the page is on %s:%d", page.host, sock.getsockname()[1])
                await _run(app, sock, context)
        except ListenError as error:
            if str(error) != told:
                log.error("the page: %s", error)
            told = str(error)
        except Exception:
            log.exception("the page ended")
        await asyncio.sleep(_RETRY_S)


async def _run(app: Starlette, sock: socket.socket, context: ssl.SSLContext | None) -> None:
    server = Server(
        uvicorn.Config(
            app,
            log_config=None,
            access_log=False,
            lifespan="off",
            server_header=False,
            timeout_keep_alive=15,
            timeout_graceful_shutdown=1,
            limit_concurrency=32,
        ),
        context=context,
    )
    serving = asyncio.ensure_future(server.serve(sockets=[sock]))
    try:
        await asyncio.shield(serving)
    except asyncio.CancelledError:
        server.should_exit = True
        with contextlib.suppress(asyncio.CancelledError):
            await serving
        raise
