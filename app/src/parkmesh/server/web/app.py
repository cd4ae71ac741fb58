"""The ASGI application of the web application: pages, the REST API, and the load balancer's health checks."""

import asyncio
import functools
import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from parkmesh import __version__
from parkmesh.server.db import database
from parkmesh.server.http import problems
from parkmesh.server.http.compression import Compression
from parkmesh.server.http.middleware import BodyLimit, RequestLog
from parkmesh.server.identity.key_limits import KeyLimits
from parkmesh.server.people import csv_import
from parkmesh.server.settings import Settings
from parkmesh.server.web import api, metrics, pages, security
from parkmesh.server.web.api import document, webhooks
from parkmesh.server.web.live import Feeds
from parkmesh.server.web.pages import rendering
from parkmesh.server.web.security import SecurityHeaders

MAX_BODY = 64 * 1024
# The sender of a table has been let in before the body is read.
IMPORTS = re.compile(r"/api/v1/communities/[^/]+/imports/[a-z]+")
# A form may write each byte as three characters, or as base64.
FORM_OF_IMPORTS = re.compile(r"/communities/[^/]+/transfer")
READY_S = 2.0
WITHOUT_DATABASE_S = 300.0
"""How long a server that was ready stays so while it can't reach the database. A failover of RDS takes one or two
minutes, and no other server would do better: without this the load balancer would find all of them unhealthy, and the
Auto Scaling group would replace them."""
_HANDLERS = problems.handlers(rendering.error_page)


@dataclass
class Condition:
    """What the process knows about itself."""

    draining: bool = False
    edge_is_open: Callable[[], bool] = lambda: True
    """Whether gateways can reach this server: without an overlay slot they can't, and people still can."""
    ready_at: float | None = None
    """When the database was last seen with its schema (monotonic)."""


def create(pool: database.Pool, feeds: Feeds, settings: Settings, condition: Condition) -> FastAPI:
    """Return the web application. ``pool`` connects as the application's role."""
    app = FastAPI(
        title="parkmesh",
        version=__version__,
        summary="Parking management for many communities",
        openapi_url="/api/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        # Such a redirect would be built from the Host that the client names.
        redirect_slashes=False,
        webhooks=webhooks.described_events(),
        exception_handlers={
            **_HANDLERS,
            RequestValidationError: _invalid,
            Exception: _unexpected,
        },
    )
    larger = {IMPORTS: csv_import.MAX_BYTES, FORM_OF_IMPORTS: 3 * csv_import.MAX_BYTES + MAX_BODY}
    app.add_middleware(Compression)
    app.add_middleware(BodyLimit, limit=MAX_BODY, larger=larger, answer=rendering.error_page)
    app.add_middleware(SecurityHeaders, secure=settings.secure_cookies)
    app.add_middleware(
        RequestLog, application="web", client=lambda request: str(security.client_address(request, settings))
    )
    app.openapi = functools.cache(lambda: document.write(app, api.routes(), settings))  # type: ignore[method-assign]
    app.router.routes += [
        *api.router().routes,
        Route("/healthz", live),
        Route("/readyz", ready),
        Route("/readyz/overlay", ready_for_gateways),
        Route("/metrics", metrics.show_metrics),
        Mount("/static", rendering.StaticFilesWithVersions(directory=rendering.STATIC), name="static"),
        *pages.ROUTES,
    ]
    app.state.pool = pool
    app.state.feeds = feeds
    app.state.settings = settings
    app.state.condition = condition
    app.state.key_limits = KeyLimits(settings.key_requests_per_minute)
    app.state.fleet = metrics.Fleet(pool)
    return app


async def _unexpected(request: Request, error: Exception) -> Response:
    # Answered outside of the middleware that puts the headers on all other answers.
    answer = await _HANDLERS[Exception](request, error)
    answer.headers.update(security.headers(secure=request.app.state.settings.secure_cookies))
    answer.headers["Cache-Control"] = "no-store"
    return answer


async def _invalid(request: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    # Where and what, never the value: it may be a password, and it may be text that no encoding takes.
    errors = [
        {"where": ".".join(str(part) for part in item["loc"]), "what": item["msg"]} for item in error.errors()[:20]
    ]
    return problems.response(422, "The request is not of the form that this takes.", kind="invalid", errors=errors)


def _answer(code: int, **members: str) -> Response:
    return Response(json.dumps(members), code, media_type="application/json")


async def live(request: Request) -> Response:
    """Answer as long as the process runs, whatever the database does."""
    return _answer(200, status="live", version=__version__)


async def ready(request: Request) -> Response:
    """Answer 200 while this server should get requests: not draining, schema there, database there or away for a short
    time only."""
    condition: Condition = request.app.state.condition
    if condition.draining:
        return _answer(503, status="draining")
    query = "SELECT to_regprocedure('web_identify(bytea)') IS NOT NULL"
    probe = asyncio.create_task(database.fetchrow(request.app.state.pool, query))
    probe.add_done_callback(lambda task: task.cancelled() or task.exception())
    # Its connection may be one to a host that is gone. Giving it back takes longer than the load balancer waits.
    await asyncio.wait({probe}, timeout=READY_S)
    if not probe.done():
        probe.cancel()
    if not probe.done() or probe.cancelled() or probe.exception() is not None:
        if condition.ready_at is not None and time.monotonic() - condition.ready_at < WITHOUT_DATABASE_S:
            return _answer(200, status="ready", database="away")
        return _answer(503, status="no database")
    (there,) = probe.result()
    if not there:
        return _answer(503, status="no schema")
    condition.ready_at = time.monotonic()
    return _answer(200, status="ready")


async def ready_for_gateways(request: Request) -> Response:
    """Answer 200 while gateways can reach this server: it holds an overlay slot. The load balancer doesn't ask this."""
    is_open = request.app.state.condition.edge_is_open()
    return _answer(200, status="ready") if is_open else _answer(503, status="no slot")
