"""The gateway's HTTP listener on the community's LAN: cameras post here; health and status for people and monitoring.

A camera gets its 200 only after its message is on disk. 503 asks it to send again, 400 tells it not to.
"""

import asyncio
import hmac
import logging
from collections.abc import Callable

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from parkmesh.gateway.config import Camera
from parkmesh.gateway.decider import Decider
from parkmesh.gateway.drivers.types import PoisonError
from parkmesh.gateway.spool import SpoolError

log = logging.getLogger("parkmesh.gateway")

MAX_BODY = 8 * 1024 * 1024
BODY_TIMEOUT_S = 20.0
_AT_ONCE = 16
"""Bodies read at the same time: bounds the memory that cameras (or other senders on the LAN) can take."""


def _problem(status: int, title: str, retry_after: str | None = None) -> Response:
    headers = {"Retry-After": retry_after} if retry_after else None
    body = {"type": "about:blank", "title": title, "status": status}
    return JSONResponse(body, status, headers, media_type="application/problem+json")


class _TooLarge(Exception):
    pass


async def _body(request: Request) -> bytes:
    chunks: list[bytes] = []
    size = 0
    async with asyncio.timeout(BODY_TIMEOUT_S):
        async for chunk in request.stream():
            size += len(chunk)
            if size > MAX_BODY:
                raise _TooLarge
            chunks.append(chunk)
    return b"".join(chunks)


def application(decider: Decider, status: Callable[[], dict[str, object]]) -> Starlette:
    """Build the listener's application; ``status`` gives what ``GET /status`` shows (no plates, no secrets)."""
    slots = asyncio.Semaphore(_AT_ONCE)

    def known(request: Request) -> Camera | None:
        camera = decider.cameras.get(request.path_params["camera"])
        given = request.path_params.get("secret", "")
        if camera is None or not hmac.compare_digest((camera.secret_path or "").encode(), given.encode()):
            return None
        return camera

    async def events(request: Request) -> Response:
        camera = known(request)
        if camera is None:
            return _problem(404, "no such camera")
        if slots.locked():
            return _problem(503, "too many messages at once", "1")
        async with slots:
            try:
                body = await _body(request)
            except _TooLarge:
                return _problem(413, f"the message is larger than {MAX_BODY} bytes")
            except TimeoutError:
                return _problem(408, "the message took too long")
            except ClientDisconnect:
                return _problem(400, "the message was cut off")
            try:
                await decider.camera_message(camera, body, request.headers.get("Content-Type", ""))
            except PoisonError as error:
                log.warning("camera %s: message put in quarantine: %s", camera.name, error)
                return _problem(400, str(error))
            except SpoolError as error:
                log.error("camera %s: message not accepted: %s", camera.name, error)
                return _problem(503, "the message can't be stored now", "5")
        return Response(status_code=200)

    async def healthz(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def show_status(_: Request) -> Response:
        return JSONResponse(await decider.on_disk(status))

    return Starlette(
        routes=[
            Route("/cameras/{camera}/events", events, methods=["POST"]),
            Route("/cameras/{camera}/{secret}/events", events, methods=["POST"]),
            Route("/healthz", healthz),
            Route("/status", show_status),
        ]
    )
