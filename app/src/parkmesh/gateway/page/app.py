"""The page's web application: sign in, look, give a test pulse, take an export along.

It shares the agent's event loop with the gates. So nothing here is long: what takes time waits in a thread, answers are
kept for some seconds, and what is asked again and again (``/live``) reads only memory.
"""

import asyncio
import json
import logging
import re
import secrets
import time
from collections.abc import Awaitable, Callable
from hashlib import sha256
from importlib import resources
from typing import Any
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from parkmesh.gateway import doctor, host, support
from parkmesh.gateway.config import Config
from parkmesh.gateway.decider import Decider
from parkmesh.gateway.doctor import Finding, Looks
from parkmesh.gateway.gates import Gate
from parkmesh.gateway.page import entrance, language, views
from parkmesh.gateway.page.entrance import Entrance, Session
from parkmesh.gateway.page.language import Language
from parkmesh.gateway.page.views import Assets, Shown
from parkmesh.protocol.edge import Command

log = logging.getLogger("parkmesh.gateway")

COOKIE = "parkmesh-gateway"
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
_MAX_FORM = 4096
_FORM_TIMEOUT_S = 10.0
_STATUS_S, _STATUS_KEPT_S = 2.0, 2.0
_LOOKED_S = 10.0
"""Seconds in which nobody looks at everything a second time: it asks devices and servers."""
_PULSE_S = 5.0
_COMMAND_MS = 10_000
_COMMAND = re.compile(r"^local-[0-9a-f]{16}$")
_RELOAD_S = 15

Handler = Callable[[Request, Session, Language], Awaitable[Response]]


class Sources:
    """What the pages show, from the parts of the agent. ``status`` reads the spool and must run in the disk's thread;
    ``look`` looks at everything and blocks; ``sensors`` gives each sensor's last state; ``clock`` ms since 1970."""

    def __init__(
        self,
        config: Config,
        decider: Decider,
        status: Callable[[], dict[str, Any]],
        look: Callable[[dict[str, Any]], Looks],
        sensors: Callable[[], dict[str, tuple[int, str]]],
        readings: Callable[[], host.Readings],
        clock: Callable[[], int],
        journal: support.Tail,
    ) -> None:
        self.config, self.decider, self.clock, self.journal, self.sensors = config, decider, clock, journal, sensors
        self._status, self._look, self._readings = status, look, readings
        self._kept: tuple[float, dict[str, Any] | None, host.Readings] | None = None
        self._looked: tuple[float, list[Finding]] | None = None
        self._busy = asyncio.Lock()

    async def status(self) -> tuple[dict[str, Any] | None, host.Readings]:
        """Return the agent's status of the last seconds, None where its disk doesn't answer in time."""
        async with self._busy:
            if self._kept is None or time.monotonic() - self._kept[0] > _STATUS_KEPT_S:
                found: dict[str, Any] | None = None
                try:
                    async with asyncio.timeout(_STATUS_S):
                        found = await asyncio.shield(self.decider.on_disk(self._status))
                except TimeoutError:
                    log.warning("the page: the disk doesn't answer")
                self._kept = time.monotonic(), found, await asyncio.to_thread(self._readings)
            return self._kept[1], self._kept[2]

    async def findings(self) -> tuple[dict[str, Any] | None, list[Finding]]:
        """Return the status, and what it and the computer tell without asking around."""
        status, readings = await self.status()
        looks = Looks(now=self.clock(), status=status or {"running": True}, host=readings)
        return status, doctor.judge(self.config, looks)

    async def everything(self) -> list[Finding]:
        """Return what is found by looking at everything."""
        status, _ = await self.status()
        async with self._busy:
            if self._looked is None or time.monotonic() - self._looked[0] > _LOOKED_S:
                looks = await asyncio.to_thread(self._look, status or {"running": True})
                self._looked = time.monotonic(), doctor.judge(self.config, looks)
            return self._looked[1]

    def shown(self, status: dict[str, Any] | None, findings: list[Finding]) -> Shown:
        sightings = self.decider.sightings
        return Shown(
            now=self.clock(),
            config=self.config,
            status=status,
            findings=findings,
            reads=sightings.reads(),
            passages=sightings.passages(),
            version=sightings.version,
            sensors=self.sensors(),
        )


class _Headers:
    """Put the headers on every answer that doesn't have its own."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = {name.lower() for name, _ in message["headers"]}
                added = [(name.encode(), value.encode()) for name, value in HEADERS.items()]
                message["headers"] = [*message["headers"], *(one for one in added if one[0] not in given)]
            await send(message)

        await self._app(scope, receive, with_headers if scope["type"] == "http" else send)


def _assets() -> tuple[Assets, dict[str, tuple[bytes, str]]]:
    """Return the addresses of the page's own files, which change with their content, and the files by path."""
    kinds = {"page.css": "text/css", "page.js": "text/javascript", "mark.svg": "image/svg+xml"}
    folder = resources.files("parkmesh.gateway.page")
    files = {f"/{name}": (folder.joinpath(name).read_bytes(), kind) for name, kind in kinds.items()}
    named = [f"{path}?v={sha256(content).hexdigest()[:12]}" for path, (content, _) in files.items()]
    return Assets(*named), files


def application(sources: Sources, door: Entrance) -> Starlette:
    """Build the page's application."""
    config = sources.config
    assert config.local_page is not None
    fixed_language = config.local_page.language
    assets, files = _assets()
    gates = {gate.name: gate for gate in config.gates}

    def language_of(request: Request) -> Language:
        return language.of(fixed_language or language.preferred(request.headers.get("accept-language", "")))

    def page(reader: Language, title: str, content: object, status: int = 200, **how: Any) -> HTMLResponse:
        return HTMLResponse(views.document(reader, assets, title, content, **how), status)

    def to(path: str) -> Response:
        return RedirectResponse(path, 303)

    def signed_in(handler: Handler) -> Callable[[Request], Awaitable[Response]]:
        async def checked(request: Request) -> Response:
            session = door.session(request.cookies.get(COOKIE))
            if session is None:
                return Response(status_code=401) if request.url.path == "/live" else to("/sign-in")
            return await handler(request, session, language_of(request))

        return checked

    def expired(reader: Language) -> Response:
        text = reader.say("The form has expired. Load the page again and send it once more.")
        return page(
            reader, reader.say("Nothing was done"), views.message(reader, reader.say("Nothing was done"), text), 403
        )

    async def asset(request: Request) -> Response:
        content, kind = files[request.url.path]
        return Response(content, media_type=kind, headers={"cache-control": "public, max-age=86400"})

    async def sign_in(request: Request) -> Response:
        reader, wrong, status, headers = language_of(request), None, 200, {}
        if request.method == "POST":
            if not _of_this_site(request):
                return expired(reader)
            given = (await _form(request)).get("password", "")
            made = await door.sign_in(_sender(request), given)
            if isinstance(made, str):
                answer = to("/")
                answer.set_cookie(
                    COOKIE,
                    made,
                    max_age=entrance.SESSION_S,
                    httponly=True,
                    samesite="strict",
                    secure=request.url.scheme == "https",
                )
                return answer
            status, wrong = 403, reader.say("The password is wrong.")
            if made:
                status, seconds = 429, int(made) + 1
                headers = {"retry-after": str(seconds)}
                wrong = reader.say("Too many wrong passwords. Try again in %(seconds)s s.", seconds=seconds)
        content = views.sign_in(reader, config.name, wrong)
        answer = page(reader, reader.say("Sign in"), content, status, narrow=True)
        answer.headers.update(headers)
        return answer

    async def sign_out(request: Request, session: Session, reader: Language) -> Response:
        if not entrance.allowed(session, (await _form(request)).get("csrf", "")):
            return expired(reader)
        door.end(request.cookies.get(COOKIE))
        answer = to("/sign-in")
        answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
        return answer

    async def overview(_: Request, session: Session, reader: Language) -> Response:
        status, findings = await sources.findings()
        content = views.overview(reader, sources.shown(status, findings), session.csrf)
        return page(reader, config.name, content, csrf=session.csrf, reload_s=_RELOAD_S)

    async def live(request: Request, _: Session, reader: Language) -> Response:
        version = sources.decider.sightings.version
        if request.query_params.get("seen") == str(version):
            return Response(status_code=204)
        return HTMLResponse(views.live(reader, sources.shown(None, [])))

    async def check(_: Request, session: Session, reader: Language) -> Response:
        found = await sources.everything()
        return page(reader, reader.say("What was looked at"), views.check(reader, found), csrf=session.csrf)

    def known_gate(request: Request) -> Gate | None:
        return gates.get(request.path_params["gate"])

    async def pulse(request: Request, session: Session, reader: Language) -> Response:
        gate = known_gate(request)
        if gate is None:
            return await missing(request, None)
        title = reader.say("Test pulse at %(gate)s", gate=gate.name)
        if request.method == "GET":
            done = request.query_params.get("done", "")
            if _COMMAND.match(done):
                passage = sources.decider.sightings.of_command(done)
                return page(reader, title, views.pulsed(reader, gate, passage), csrf=session.csrf, narrow=True)
            content = views.pulse(reader, gate, session.csrf, f"local-{secrets.token_hex(8)}")
            return page(reader, title, content, csrf=session.csrf, narrow=True)
        form = await _form(request)
        command_id = form.get("command", "")
        if not (
            _of_this_site(request) and entrance.allowed(session, form.get("csrf", "")) and _COMMAND.match(command_id)
        ):
            return expired(reader)
        log.info("gate %s: a test pulse is asked for by %s", gate.name, _sender(request))
        expires = sources.clock() + sources.decider.server_skew_ms + _COMMAND_MS
        sources.decider.command(Command(command_id, gate.name, expires, "local page"))
        await sources.decider.sightings.outcome(command_id, _PULSE_S)
        return to(f"/gates/{gate.name}/pulse?done={command_id}")

    async def export(_: Request, __: Session, ___: Language) -> Response:
        status, findings = await sources.findings()
        now = sources.clock()

        def written() -> bytes:
            told = support.document(
                config, status or {}, findings, sources.decider.sightings, list(sources.journal.lines), now
            )
            return json.dumps(told, indent=1, ensure_ascii=False).encode()

        name = f"{config.name}-{time.strftime('%Y%m%d-%H%M%S', time.localtime(now / 1000))}.json"
        headers = {"content-disposition": f'attachment; filename="{name}"'}
        return Response(await asyncio.to_thread(written), media_type="application/json", headers=headers)

    async def missing(request: Request, _: Exception | None) -> Response:
        reader = language_of(request)
        title = reader.say("There is nothing at this address")
        return page(reader, title, views.message(reader, title, request.url.path[:100]), 404, narrow=True)

    return Starlette(
        routes=[
            Route("/", signed_in(overview)),
            Route("/sign-in", sign_in, methods=["GET", "POST"]),
            Route("/sign-out", signed_in(sign_out), methods=["POST"]),
            Route("/live", signed_in(live)),
            Route("/check", signed_in(check)),
            Route("/gates/{gate}/pulse", signed_in(pulse), methods=["GET", "POST"]),
            Route("/export", signed_in(export)),
            *(Route(path, asset) for path in files),
        ],
        exception_handlers={404: missing},
        middleware=[Middleware(_Headers)],
    )


def _sender(request: Request) -> str:
    return request.client.host if request.client else "-"


def _of_this_site(request: Request) -> bool:
    """Tell whether a form came from a page of ours, as far as the browser says."""
    origin = request.headers.get("origin")
    return origin is None or origin.partition("://")[2] == request.headers.get("host")


async def _form(request: Request) -> dict[str, str]:
    """Return the fields of a form; one that is too large, too slow or none is empty."""
    content = b""
    try:
        async with asyncio.timeout(_FORM_TIMEOUT_S):
            async for chunk in request.stream():
                content += chunk
                if len(content) > _MAX_FORM:
                    return {}
    except (TimeoutError, ClientDisconnect):
        return {}
    fields = parse_qs(content.decode("utf-8", "replace"), max_num_fields=10, keep_blank_values=True)
    return {name: values[0] for name, values in fields.items()}
