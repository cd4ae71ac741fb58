"""The gateway's HTTP listener on the community's LAN: cameras post here; health and status for people and monitoring.

A camera gets its 200 only after its message is on disk. 503 asks it to send again, 400 tells it not to. What reaches no
camera is counted and answered with what would be right (``strays``).
"""

import asyncio
import hmac
import logging
from collections.abc import Callable, Sequence

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from parkmesh.gateway import code_listener, drivers, listener_login
from parkmesh.gateway.config import Reader
from parkmesh.gateway.decider import Decider
from parkmesh.gateway.drivers.types import PoisonError
from parkmesh.gateway.intake import Address, Intake
from parkmesh.gateway.listener_login import Door
from parkmesh.gateway.spool import SpoolError
from parkmesh.gateway.strays import Kind, Strays

log = logging.getLogger("parkmesh.gateway")

MAX_BODY = 8 * 1024 * 1024
BODY_TIMEOUT_S = 20.0
_METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]
_AT_ONCE = 16
"""Bodies read at the same time: bounds the memory that cameras (or other senders on the LAN) can take."""


_ADDRESS = "A camera posts to /cameras/<name>/events, or to /cameras/<name>/<secret_path>/events where it has one."


def _problem(
    status: int, title: str, retry_after: str | None = None, *, detail: str = "", allow: str | None = None
) -> Response:
    headers = {"Retry-After": retry_after, "Allow": allow}
    body = {"type": "about:blank", "title": title, "status": status} | ({"detail": detail} if detail else {})
    given = {name: value for name, value in headers.items() if value}
    return JSONResponse(body, status, given, media_type="application/problem+json")


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


def application(
    intake: Intake,
    decider: Decider,
    status: Callable[[], dict[str, object]],
    strays: Strays,
    readers: Sequence[Reader] = (),
) -> Starlette:
    """Build the listener's application; ``status`` gives what ``GET /status`` shows (no plates, no secrets), together
    with what ``strays`` has counted. ``readers`` post visitors' codes."""
    slots = asyncio.Semaphore(_AT_ONCE)

    door = Door(strays)

    def known(request: Request) -> Address | None:
        fixed = intake.fixed.get(request.url.path)
        if fixed is not None:
            # Cameras that all post to one path are told apart by their users; any of them asks for the login.
            named = listener_login.user(request) if len(fixed) > 1 else ""
            return next((address for address in fixed if address.login and address.login.user == named), fixed[0])
        address = intake.addresses.get(request.path_params.get("camera", ""))
        given = request.path_params.get("secret", "")
        if address is None or not hmac.compare_digest((address.secret_path or "").encode(), given.encode()):
            return None
        return address

    def note(kind: Kind, request: Request, channel: str = "") -> None:
        sender = request.client.host if request.client else "-"
        strays.note(kind, sender, request.method, request.url.path, channel)

    async def events(request: Request) -> Response:
        address = known(request)
        if address is None:
            note("unknown_camera", request)
            return _problem(404, "no such camera, or the secret part of its address is wrong", detail=_ADDRESS)
        refusal = door.refusal(request, address.name, address.login, tls=address.tls)
        if refusal is not None:
            return refusal
        if request.method in ("GET", "HEAD"):
            note("test", request)
            return JSONResponse({"camera": address.name, "detail": "The address is right. The camera must use POST."})
        if request.method != "POST":
            note("wrong_method", request)
            return _problem(405, "a camera must use POST", detail="Set the method to POST.", allow="POST")
        intake.came_from(address, request.client.host if request.client else "-")
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
            if not body.strip():  # the button "test" of many cameras sends nothing
                intake.heard(address)
                note("test", request)
                return Response(status_code=200)
            try:
                strangers = await intake.take(address, body, request.headers.get("Content-Type", ""))
            except PoisonError as error:
                log.warning("camera %s: message put in quarantine: %s", address.name, error)
                return _problem(400, str(error))
            except SpoolError as error:
                log.error("camera %s: message not accepted: %s", address.name, error)
                return _problem(503, "the message can't be stored now", "5")
        for channel in strangers:
            note("unknown_channel", request, channel)
        return Response(drivers.answer(address.kind), 200, media_type="application/json")

    async def healthz(_: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def show_status(_: Request) -> Response:
        shown = await decider.on_disk(status)
        return JSONResponse({**shown, "wrong_posts": strays.document()})

    async def astray(request: Request, _: Exception) -> Response:
        # Browsers look for icons and scanners for anything: counted is what sends or names cameras.
        if request.method not in ("GET", "HEAD") or request.url.path.startswith(("/cameras", "/readers")):
            note("unknown_address", request)
        return _problem(404, "there is nothing at this address", detail=_ADDRESS)

    app = Starlette(
        routes=[
            # A slash at the end, as people type it, leads to the same camera: many cameras follow no redirection.
            Route(address + end, events, methods=_METHODS)
            for address in ("/cameras/{camera}/events", "/cameras/{camera}/{secret}/events")
            for end in ("", "/")
        ]
        + [Route(path, events, methods=_METHODS) for path in intake.fixed]
        + code_listener.routes(readers, decider, strays, door)
        + [Route("/healthz", healthz), Route("/status", show_status)],
        exception_handlers={404: astray, 405: astray},
    )
    app.router.redirect_slashes = False
    return app
