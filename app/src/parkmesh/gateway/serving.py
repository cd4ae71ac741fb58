"""How the agent listens: its sockets, and uvicorn as a part of the agent that the agent ends."""

import hashlib
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn

from parkmesh.gateway.watchdog import Watchdog


class ListenError(Exception):
    """A listening address can't be had."""


def bound(host: str, port: int) -> socket.socket:
    """Return a socket of this address. Raises ListenError."""
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except OSError as error:
        sock.close()
        raise ListenError(f"can't listen on {host}:{port}: {error.strerror}") from None
    return sock


@contextmanager
def listening(host: str, port: int, manager: Watchdog) -> Iterator[socket.socket]:
    """Give the socket of this address that the process before left with the service manager, or a new one, and leave
    it there for the next. Raises ListenError."""
    name = f"listen-{hashlib.sha256(f'{host} {port}'.encode()).hexdigest()[:12]}"
    with manager.kept(name) or bound(host, port) as sock:
        if port:  # the next process would take another free one
            manager.keep_open(name, sock)
        yield sock


class Server(uvicorn.Server):
    """uvicorn without its own signal handling: the agent decides when to end. ``started``: it answers from now on.

    ``context``: it speaks TLS, with whatever certificate the context has then.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        started: Callable[[], None] = lambda: None,
        context: ssl.SSLContext | None = None,
    ) -> None:
        config.load()
        config.ssl = context
        super().__init__(config)
        self._has_started = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._has_started()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield
