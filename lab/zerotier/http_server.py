"""A small HTTP/1.1 server on asyncio streams, with the headers and the limits of the daemon's own.

Knows nothing of what is served: a handler takes a request and gives an answer.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import parse_qs, unquote

HEADER_LIMIT = 16384
BODY_LIMIT = 64 << 20
KEEP_ALIVE_SECONDS = 5
KEEP_ALIVE_REQUESTS = 5
REQUEST_SECONDS = 30
JSON = "application/json"

_REASONS = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    404: "Not Found",
    413: "Payload Too Large",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
}


@dataclass(frozen=True, slots=True)
class Request:
    """Header names are in lower case; ``host`` is the client's IP address."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes
    host: str


@dataclass(frozen=True, slots=True)
class Response:
    """An answer without a body has no content type."""

    status: int
    body: bytes = b""
    content_type: str = ""


Handler = Callable[[Request], Response]


class _BadRequestError(ValueError):
    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


async def _read_body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    if "chunked" in headers.get("transfer-encoding", "").lower():
        body = b""
        while True:
            try:
                size = int((await reader.readline()).split(b";")[0], 16)
            except ValueError:
                raise _BadRequestError(400) from None
            if size < 0 or len(body) + size > BODY_LIMIT:
                raise _BadRequestError(413)
            body += await reader.readexactly(size)
            await reader.readline()
            if size == 0:
                return body
    try:
        length = int(headers.get("content-length", "0"))
    except ValueError:
        raise _BadRequestError(400) from None
    if length < 0:
        raise _BadRequestError(400)
    if length > BODY_LIMIT:
        raise _BadRequestError(413)
    return await reader.readexactly(length)


async def _read_request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str) -> Request | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError:
        raise _BadRequestError(431) from None
    except asyncio.IncompleteReadError:
        return None
    lines = head.decode("latin-1").split("\r\n")
    parts = lines[0].split(" ")
    if len(parts) != 3 or not parts[2].startswith("HTTP/1."):
        raise _BadRequestError(400)
    headers = {}
    for line in lines[1:]:
        name, colon, value = line.partition(":")
        if colon:
            headers[name.strip().lower()] = value.strip()
    if headers.get("expect", "").lower() == "100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    body = await _read_body(reader, headers)
    path, _, query = parts[1].partition("?")
    pairs = {name: values[0] for name, values in parse_qs(query, keep_blank_values=True).items()}
    if parts[2] == "HTTP/1.0":
        headers.setdefault("connection", "close")
    return Request(parts[0], unquote(path), pairs, headers, body, host)


def _to_bytes(response: Response, keep: bool, head_only: bool) -> bytes:
    lines = [f"HTTP/1.1 {response.status} {_REASONS[response.status]}"]
    if not keep:
        lines.append("Connection: close")
    if head_only:
        lines.append("Accept-Ranges: bytes")
    lines.append(f"Content-Length: {len(response.body)}")
    if response.content_type:
        lines.append(f"Content-Type: {response.content_type}")
    if keep:
        lines.append(f"Keep-Alive: timeout={KEEP_ALIVE_SECONDS}, max={KEEP_ALIVE_REQUESTS}")
    head = "\r\n".join(lines).encode() + b"\r\n\r\n"
    return head if head_only else head + response.body


async def _serve(handler: Handler, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    host = writer.get_extra_info("peername")[0]
    for count in range(1, KEEP_ALIVE_REQUESTS + 1):
        try:
            seconds = REQUEST_SECONDS if count == 1 else KEEP_ALIVE_SECONDS
            async with asyncio.timeout(seconds):
                request = await _read_request(reader, writer, host)
        except _BadRequestError as error:
            writer.write(_to_bytes(Response(error.status), keep=False, head_only=False))
            break
        if request is None:
            break
        keep = count < KEEP_ALIVE_REQUESTS and request.headers.get("connection", "").lower() != "close"
        writer.write(_to_bytes(handler(request), keep, request.method == "HEAD"))
        await writer.drain()
        if not keep:
            break


async def listen(handler: Handler, port: int) -> list[asyncio.Server]:
    """Serve on all addresses of this host; raises OSError when the port is taken."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await _serve(handler, reader, writer)
        except (TimeoutError, OSError, EOFError):
            pass  # the client went away or was too slow
        finally:
            writer.close()

    servers = [await asyncio.start_server(connected, "0.0.0.0", port, limit=HEADER_LIMIT, backlog=512)]  # noqa: S104
    with contextlib.suppress(OSError):  # a host without IPv6
        servers.append(await asyncio.start_server(connected, "::", port, limit=HEADER_LIMIT, backlog=512))
    return servers
