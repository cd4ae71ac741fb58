"""A real server on loopback, in the test's own event loop."""

import asyncio
import gc
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
import pytest
from parkmesh.server.commands import run
from parkmesh.server.http import sockets
from parkmesh.server.settings import Settings, from_environment

APP_PASSWORD = "app-password-of-the-tests"
SESSION_SECRET = "session-secret-of-the-tests"


@dataclass(frozen=True)
class Database:
    """One database and its addresses: as its owner and as the application."""

    name: str
    owner: str
    app: str


@dataclass
class Server:
    """A running server: base addresses of its applications, and the event that stops it."""

    web: str
    edge: str
    stop: asyncio.Event
    task: asyncio.Task[None]


def settings(url: str, **environment: str) -> Settings:
    base = {
        "PARKMESH_DATABASE_URL": url,
        "PARKMESH_SESSION_SECRET": SESSION_SECRET,
        "PARKMESH_DRAIN_SECONDS": "0",
        "PARKMESH_SERVER_ID": "test",
    }
    return from_environment(base | environment)


@asynccontextmanager
async def serving(config: Settings, web: socket.socket | None = None) -> AsyncIterator[Server]:
    """Run a server on free ports for as long as the context lasts; ``web`` is a socket whose port has to be known."""
    web, edge = web or sockets.listen("127.0.0.1", 0), sockets.listen("127.0.0.1", 0)
    stop = asyncio.Event()
    task = asyncio.create_task(run.serve(config, web, edge, stop))
    server = Server(f"http://127.0.0.1:{web.getsockname()[1]}", f"http://127.0.0.1:{edge.getsockname()[1]}", stop, task)
    try:
        async with httpx.AsyncClient(base_url=server.web) as client:
            for _ in range(200):
                try:
                    if (await client.get("/readyz")).status_code == 200:
                        break
                except httpx.TransportError:
                    pass
                await asyncio.sleep(0.02)
            else:
                pytest.fail("the server did not become ready")
        yield server
    finally:
        stop.set()
        await asyncio.wait_for(task, 30)
        # A server's start takes all that this process holds out of the collector's sight, also what others left.
        gc.unfreeze()
