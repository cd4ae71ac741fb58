"""Sending one webhook over HTTPS, to nothing but public addresses.

The name in an address is resolved once, every address that it has is checked, and the connection goes to one of those:
a name that resolves to something else a moment later changes nothing. TLS names and verifies the name, not the address.
Redirections aren't followed, and no proxy of the environment is used.
"""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

import httpcore
from msgspec import Struct

from parkmesh import __version__
from parkmesh.domain.public_addresses import public
from parkmesh.server.settings import WebhookSettings

CONNECT_S = 5.0
TOTAL_S = 20.0
CONNECTIONS = 64

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]


class Answered(Struct, frozen=True):
    """What came of an attempt: the answer's status (None: none came, and ``error`` says why) and its Retry-After."""

    status: int | None
    retry_after: str | None = None
    error: str | None = None


class NotPublicError(OSError):
    """The name in an address resolves to an address that nothing is sent to."""


async def resolve(host: str, port: int) -> Sequence[str]:
    """Return the addresses of a name, in the system's order."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


class _ToPublicAddresses(httpcore.AsyncNetworkBackend):
    def __init__(self, settings: WebhookSettings, resolve_: Resolve) -> None:
        self._allowed = settings.networks
        self._resolve = resolve_
        self._network = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the interface's
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        addresses = await self._resolve(host, port)
        # All of them: one that is not public among others is no accident.
        if not addresses or not all(public(address, self._allowed) for address in addresses):
            raise NotPublicError("the name does not resolve to public addresses alone")
        failure: Exception | None = None
        for address in dict.fromkeys(addresses):
            try:
                return await self._network.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        assert failure is not None
        raise failure

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109 - the interface's
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        raise NotPublicError(path)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Sender:
    """Sends webhooks; ``resolve_`` is how names are resolved."""

    def __init__(self, settings: WebhookSettings, resolve_: Resolve = resolve, *, total_s: float = TOTAL_S) -> None:
        self._total_s = total_s
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=ssl.create_default_context(cafile=settings.ca_file),
            max_connections=CONNECTIONS,
            # A kept connection would go to the address that a name had some time ago.
            max_keepalive_connections=0,
            network_backend=_ToPublicAddresses(settings, resolve_),
        )

    async def send(self, url: str, body: bytes, headers: Mapping[str, str]) -> Answered:
        """Send one request; return what came of it."""
        parts = urlsplit(url)
        sent = {
            "Host": parts.netloc,
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            "User-Agent": f"parkmesh/{__version__}",
            **headers,
        }
        timeouts = {"connect": CONNECT_S, "read": self._total_s, "write": self._total_s, "pool": self._total_s}
        try:
            async with (
                asyncio.timeout(self._total_s),
                self._pool.stream(
                    "POST", url, headers=list(sent.items()), content=body, extensions={"timeout": timeouts}
                ) as answer,
            ):
                # The content is none of our concern, however long it is.
                found = {name.lower(): value for name, value in answer.headers}
                retry_after = found.get(b"retry-after")
                return Answered(answer.status, retry_after.decode("latin-1") if retry_after else None)
        except (TimeoutError, httpcore.TimeoutException):
            return Answered(None, error="no answer in time")
        except NotPublicError as error:
            return Answered(None, error=str(error))
        except socket.gaierror:
            return Answered(None, error="the name can't be resolved")
        except (OSError, ssl.SSLError, httpcore.NetworkError, httpcore.ProtocolError) as error:
            return Answered(None, error=f"no connection: {error}" if str(error) else "no connection")

    async def close(self) -> None:
        await self._pool.aclose()
