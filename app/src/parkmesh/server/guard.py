"""ASGI middleware of both doors: limits on bodies, and one log line per request.

Written against ASGI itself so that streams pass through untouched.
"""

import asyncio
import contextlib
import logging
import time

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from parkmesh.server import problems
from parkmesh.server.problems import Problem

BODY_S = 20.0
"""Seconds that a client has for sending its body."""
MAX_DISCARDED = 32 * 1024 * 1024
"""Bytes of a refused body that are read before the answer."""

_log = logging.getLogger(__name__)
_QUIET = frozenset({"/healthz", "/readyz"})


class BodyLimit:
    """Refuse bodies above ``limit`` bytes with 413 and those that trickle in with 408."""

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        deadline = asyncio.get_running_loop().time() + BODY_S
        received = 0
        complete = False
        for name, value in scope["headers"]:
            if name == b"content-length" and value.isdigit() and int(value) > self._limit:
                # Outside of the application's error handling: answered here, after a client that is still sending had
                # a chance to finish, or it would see a broken connection instead of the answer.
                await _discard(receive, int(value), deadline)
                problem = self._too_large()
                await problems.response(problem.status_code, problem.detail, headers=problem.headers)(
                    scope, receive, send
                )
                return

        async def limited() -> Message:
            nonlocal received, complete
            if complete:
                return await receive()
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                raise Problem(408, f"The body did not arrive within {BODY_S:g} s.") from None
            received += len(message.get("body", b""))
            complete = not message.get("more_body", False)
            if received > self._limit:
                raise self._too_large()
            return message

        await self._app(scope, limited, send)

    def _too_large(self) -> Problem:
        return Problem(413, f"The body is larger than {self._limit} bytes.", headers={"Connection": "close"})


async def _discard(receive: Receive, size: int, deadline: float) -> None:
    """Read and forget a body of up to ``MAX_DISCARDED`` bytes."""
    if size > MAX_DISCARDED:
        return
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout_at(deadline):
            while (await receive()).get("more_body", False):
                pass


class RequestLog:
    """Log method, route, status and duration. The route's pattern or its function, not the path: paths carry plates."""

    def __init__(self, app: ASGIApp, door: str) -> None:
        self._app = app
        self._door = door

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in _QUIET:
            await self._app(scope, receive, send)
            return
        began = time.perf_counter()
        status = 0

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            route, endpoint = scope.get("route"), scope.get("endpoint")
            fields = {
                "door": self._door,
                "method": scope["method"],
                "route": getattr(route, "path", None) or getattr(endpoint, "__name__", "unmatched"),
                "status": status,
                "ms": round((time.perf_counter() - began) * 1000, 1),
            }
            # A door that machines knock at all the time is logged where it says something.
            level = logging.INFO if self._door == "web" or status >= 400 else logging.DEBUG
            _log.log(level, "request", extra={"fields": fields})
