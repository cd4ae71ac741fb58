"""Compression of whole answers with gzip, safe against BREACH.

BREACH reads a secret of a page by the size of its compressed answers to requests that another site makes in the
reader's name. A request that carries cookies is therefore answered compressed, but for static files, only where the
browser says that it comes from this site or from the reader (``Sec-Fetch-Site``): what other sites ask for has the
size of its text. Streams pass through untouched.
"""

import asyncio
import gzip

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LEAST = 512
"""Bytes below which compression saves nothing worth having."""
LARGE = 128 * 1024
"""Bytes from which on it is work for a thread."""
MOST = 1024 * 1024
"""Bytes from which on an answer in parts is not held for its end."""
LEVEL = 5
_WITHOUT_SECRETS = ("text/css", "text/javascript", "application/javascript", "image/svg+xml")
_TYPES = ("text/html", "text/css", "text/javascript", "application/javascript", "application/json", "image/svg+xml",
          "application/problem+json")  # fmt: skip
_OWN = ("same-origin", "none")


def accepts_gzip(header: str) -> bool:
    """Tell whether an ``Accept-Encoding`` header takes gzip (RFC 9110, section 12.5.3)."""
    weights: dict[str, float] = {}
    for item in header.lower().split(","):
        name, _, parameter = item.partition(";")
        try:
            weights[name.strip()] = float(parameter.strip().removeprefix("q=")) if parameter.strip() else 1.0
        except ValueError:
            weights[name.strip()] = 0.0
    return weights.get("gzip", weights.get("*", 0.0)) > 0


def safe(headers: Headers) -> bool:
    """Tell whether another site can have made a request in the reader's name: not without cookies."""
    return "cookie" not in headers or headers.get("sec-fetch-site") in _OWN


class Compression:
    """Compress whole answers, of the types that compress well."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        asked = Headers(scope=scope)
        accepted, unforged = accepts_gzip(asked.get("accept-encoding", "")), safe(asked)
        held: Message | None = None
        parts: list[bytes] = []

        async def compressed(message: Message) -> None:
            nonlocal held
            if message["type"] == "http.response.start" and _compressible(message):
                held = message
                return
            if held is not None:
                headers = MutableHeaders(raw=held["headers"])
                parts.append(message.get("body", b""))
                if message.get("more_body") and int(headers.get("content-length", MOST)) < MOST:
                    # A file in parts: its length is known, so it has an end.
                    return
                start, held = held, None
                headers.add_vary_header("Accept-Encoding, Sec-Fetch-Site")
                body = b"".join(parts)
                message = {**message, "body": body}
                wanted = accepted and (unforged or _type(headers) in _WITHOUT_SECRETS)
                if wanted and not message.get("more_body") and len(body) >= LEAST:
                    body = await _gzip(body)
                    headers["Content-Encoding"] = "gzip"
                    headers["Content-Length"] = str(len(body))
                    message = {**message, "body": body}
                start["headers"] = headers.raw
                await send(start)
            await send(message)

        await self._app(scope, receive, compressed)


def _compressible(start: Message) -> bool:
    headers = Headers(raw=start["headers"])
    return _type(headers) in _TYPES and "content-encoding" not in headers


def _type(headers: Headers) -> str:
    return headers.get("content-type", "").partition(";")[0].strip().lower()


async def _gzip(body: bytes) -> bytes:
    # Without the time, so that the same text has the same bytes.
    if len(body) >= LARGE:
        return await asyncio.to_thread(gzip.compress, body, LEVEL, mtime=0)
    return gzip.compress(body, LEVEL, mtime=0)
