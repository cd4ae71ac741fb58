"""The REST API, version 1. Its document is at ``/api/v1/openapi.json``."""

from collections.abc import Iterator
from functools import cache

from fastapi import APIRouter, Depends
from fastapi.routing import APIRoute

from parkmesh.server.web.answers import answers
from parkmesh.server.web.api import (
    api_keys,
    arrangements,
    audit,
    bars,
    bookings,
    checks,
    code_key,
    communities,
    counters,
    credentials,
    csv_files,
    desk,
    document,
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
    code_key,
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


@cache
def router() -> APIRouter:
    """Return the API's routes at their addresses, for every application of this process: FastAPI works them out at the
    first request, which takes longer than all else of a server's start, and nothing in them is of one application.

    Each part is included directly: a nested router would be worked out again at every level.
    """
    whole = APIRouter(generate_unique_id_function=document.operation_id)
    for part in _OUTSIDE:
        whole.include_router(part.router, prefix=_PREFIX, responses=_EVERYWHERE, dependencies=_CHECKED)
    for part in _IN_COMMUNITY:
        whole.include_router(
            part.in_community,
            prefix=f"{_PREFIX}/communities/{{community}}",
            responses=_EVERYWHERE | answers(404),
            dependencies=_CHECKED,
        )
    return whole
