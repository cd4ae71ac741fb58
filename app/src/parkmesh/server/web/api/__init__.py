"""The REST API, version 1. Its document is at ``/api/v1/openapi.json``."""

from fastapi import APIRouter

from parkmesh.server.web.api import communities, credentials, passages, sessions
from parkmesh.server.web.api.common import answers

router = APIRouter(prefix="/api/v1", responses=answers(400, 401, 413, 422, 503))
for part in (sessions, communities):
    router.include_router(part.router)
_in_community = APIRouter(prefix="/communities/{community}", responses=answers(404))
for part in (communities, passages, credentials):
    _in_community.include_router(part.in_community)
router.include_router(_in_community)
