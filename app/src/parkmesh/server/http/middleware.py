"""ASGI middleware of both applications: limits on bodies; for each request one log line and its place in the metrics.

Written against ASGI itself so that streams pass through untouched.
"""

import asyncio
import contextlib
import logging
import re
import time
from collections.abc import Callable, Mapping

from starlette.requests import HTTPConnection, Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from parkmesh.server.http import messages, problems
from parkmesh.server.http.problems import Problem
from parkmesh.server.telemetry import logs, metrics

BODY_S = 20.0
"""Seconds that a client has for sending its body."""
MAX_DISCARDED = 32 * 1024 * 1024
"""Bytes of a refused body that are read before the answer."""

_log = logging.getLogger(__name__)
_QUIET = frozenset({"/healthz", "/readyz", "/readyz/overlay", "/metrics"})
_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"})


class BodyLimit:
    """Refuse bodies above ``limit`` bytes with 413 and those that trickle in with 408.

    ``larger`` gives paths (a pattern for the whole of each) a limit of their own. ``answer`` says what is refused.
    """

    def __init__(
        self,
        app: ASGIApp,
        limit: int,
        larger: Mapping[re.Pattern[str], int] | None = None,
        answer: problems.Answer = problems.answer,
    ) -> None:
        self._app = app
        self._answer = answer
        self._limit = limit
        self._larger = dict(larger or {})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"]
        limit = next((size for pattern, size in self._larger.items() if pattern.fullmatch(path)), self._limit)
        deadline = asyncio.get_running_loop().time() + BODY_S
        received = 0
        complete = False
        for name, value in scope["headers"]:
            if name == b"content-length" and value.isdigit() and int(value) > limit:
                # Outside of the application's error handling: answered here, after a client that is still sending had
                # a chance to finish, or it would see a broken connection instead of the answer.
                await _discard(receive, int(value), deadline)
                problem = self._too_large(limit)
                await self._answer(Request(scope), problem)(scope, receive, send)
                return

        async def limited() -> Message:
            nonlocal received, complete
            if complete:
                return await receive()
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                text = messages.Message("The body did not arrive within %(seconds)s s.", seconds=f"{BODY_S:g}")
                raise Problem(408, text) from None
            received += len(message.get("body", b""))
            complete = not message.get("more_body", False)
            if received > limit:
                raise self._too_large(limit)
            return message

        await self._app(scope, limited, send)

    def _too_large(self, limit: int) -> Problem:
        return Problem(
            413,
            messages.Message("The body is larger than %(limit)s bytes.", limit=limit),
            headers={"Connection": "close"},
        )


async def _discard(receive: Receive, size: int, deadline: float) -> None:
    """Read and forget a body of up to ``MAX_DISCARDED`` bytes."""
    if size > MAX_DISCARDED:
        return
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout_at(deadline):
            while (await receive()).get("more_body", False):
                pass


def route_of(scope: Scope) -> str:
    """Return the pattern of the route that a request took, or its function's name; never the path, which holds plates.

    The framework keeps the whole pattern of a route in routers within routers apart from the route itself.
    """
    context = scope.get("fastapi", {}).get("effective_route_context")
    route, endpoint = context or scope.get("route"), scope.get("endpoint")
    return str(getattr(route, "path", None) or getattr(endpoint, "__name__", "unmatched"))


def peer(request: HTTPConnection) -> str:
    """Return the address that a connection comes from."""
    return request.client.host if request.client else ""


class RequestLog:
    """Log and count method, route, status and duration of requests; ``client`` says where one comes from."""

    def __init__(self, app: ASGIApp, application: str, client: Callable[[HTTPConnection], str] = peer) -> None:
        self._app = app
        self._application = application
        self._client = client

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in _QUIET:
            await self._app(scope, receive, send)
            return
        with logs.request(client=self._client(HTTPConnection(scope))):
            await self._logged(scope, receive, send)

    async def _logged(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = time.perf_counter()
        status = 0
        # Streams last for hours: what is measured is the time until the answer begins.
        answered = began

        async def noting(message: Message) -> None:
            nonlocal status, answered
            if message["type"] == "http.response.start":
                status = message["status"]
                answered = time.perf_counter()
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            route = route_of(scope)
            metrics.REQUESTS.labels(self._application, _method(scope), route, status).inc()
            if status:
                metrics.REQUEST_SECONDS.labels(self._application, route).observe(answered - began)
            fields = {
                "application": self._application,
                "method": scope["method"],
                "route": route,
                "status": status,
                "ms": round((time.perf_counter() - began) * 1000, 1),
            }
            # What machines ask all the time is logged where it says something.
            level = logging.INFO if self._application == "web" or status >= 400 else logging.DEBUG
            _log.log(level, "request", extra={"fields": fields})


def _method(scope: Scope) -> str:
    """Return the method as a label: what a client makes up must not make labels."""
    method: str = scope["method"]
    return method if method in _METHODS else "other"
