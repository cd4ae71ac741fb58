"""The ASGI application of the web door: pages, the REST API, and what the load balancer asks."""

import asyncio
import json
from dataclasses import dataclass

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route

from parkmesh import __version__
from parkmesh.server import database, problems
from parkmesh.server.guard import BodyLimit, RequestLog
from parkmesh.server.live import Feeds
from parkmesh.server.settings import Settings
from parkmesh.server.web import api, pages
from parkmesh.server.web.pages import rendering
from parkmesh.server.web.security import SecurityHeaders

MAX_BODY = 64 * 1024
READY_S = 2.0


@dataclass
class Condition:
    """What the process knows about itself."""

    draining: bool = False


def create(pool: database.Pool, feeds: Feeds, settings: Settings, condition: Condition) -> FastAPI:
    """Return the web application. ``pool`` connects as the application's role."""
    app = FastAPI(
        title="parkmesh",
        version=__version__,
        summary="Parking management for many communities",
        openapi_url="/api/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        exception_handlers={**problems.HANDLERS, HTTPException: _http_error, RequestValidationError: _invalid},
    )
    app.add_middleware(BodyLimit, limit=MAX_BODY)
    app.add_middleware(SecurityHeaders, secure=settings.secure_cookies)
    app.add_middleware(RequestLog, door="web")
    app.include_router(api.router)
    app.router.routes += [
        Route("/healthz", live),
        Route("/readyz", ready),
        Mount("/static", rendering.StaticFilesWithVersions(directory=rendering.STATIC), name="static"),
        *pages.ROUTES,
    ]
    app.state.pool = pool
    app.state.feeds = feeds
    app.state.settings = settings
    app.state.condition = condition
    return app


async def _http_error(request: Request, error: Exception) -> Response:
    if not isinstance(error, HTTPException):
        raise error
    return rendering.error_page(request, error)


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
    """Answer 200 while this server should get requests: not draining, database there, schema there."""
    if request.app.state.condition.draining:
        return _answer(503, status="draining")
    try:
        async with asyncio.timeout(READY_S):
            (there,) = await database.fetchrow(
                request.app.state.pool, "SELECT to_regprocedure('web_identify(bytea)') IS NOT NULL"
            )
    except Exception:  # noqa: BLE001 - any failure means: send nobody here
        return _answer(503, status="no database")
    return _answer(200, status="ready") if there else _answer(503, status="no schema")
