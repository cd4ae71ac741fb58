"""The REST API, version 1. Its document is at ``/api/v1/openapi.json``."""

from collections.abc import Iterator

from fastapi import Depends, FastAPI
from fastapi.routing import APIRoute

from parkmesh.server.web.answers import answers
from parkmesh.server.web.api import (
    api_keys,
    arrangements,
    audit,
    bars,
    bookings,
    checks,
    communities,
    counters,
    credentials,
    csv_files,
    desk,
    gates,
    invitations,
    notifications,
    observations,
    passages,
    passkeys,
    permits,
    personal_data,
    plates,
    presence,
    privacy,
    queries,
    reports,
    residents,
    rows,
    rules,
    servers,
    sessions,
    sharing,
    space_requests,
    spaces,
    stays,
    units,
    violations,
    visitor_nights,
    visitor_passes,
    waiting,
    webhooks,
)

_PREFIX = "/api/v1"
_EVERYWHERE = answers(400, 401, 413, 422, 503)
_CHECKED = [Depends(queries.refuse_unknown)]
_OUTSIDE = (sessions, passkeys, invitations, communities, desk, audit, servers, visitor_passes, webhooks)
_IN_COMMUNITY = (
    communities,
    spaces,
    rows,
    arrangements,
    observations,
    counters,
    sharing,
    bookings,
    visitor_passes,
    waiting,
    space_requests,
    gates,
    passages,
    plates,
    presence,
    stays,
    checks,
    violations,
    visitor_nights,
    reports,
    rules,
    credentials,
    bars,
    units,
    residents,
    permits,
    personal_data,
    privacy,
    invitations,
    csv_files,
    api_keys,
    webhooks,
    notifications,
    desk,
    audit,
)


def routes() -> Iterator[APIRoute]:
    """Yield every route of the API."""
    routers = [part.router for part in _OUTSIDE] + [part.in_community for part in _IN_COMMUNITY]
    for router in routers:
        yield from (route for route in router.routes if isinstance(route, APIRoute))


def include(app: FastAPI) -> None:
    """Add the API's routes, each part directly: FastAPI works out a nested router again at every level, which would
    take most of a server's time to start."""
    for part in _OUTSIDE:
        app.include_router(part.router, prefix=_PREFIX, responses=_EVERYWHERE, dependencies=_CHECKED)
    for part in _IN_COMMUNITY:
        app.include_router(
            part.in_community,
            prefix=f"{_PREFIX}/communities/{{community}}",
            responses=_EVERYWHERE | answers(404),
            dependencies=_CHECKED,
        )
    webhooks.describe_events(app)
