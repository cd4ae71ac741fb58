"""The application's servers, for the operator's desk."""

from datetime import datetime

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict

from parkmesh.server import servers
from parkmesh.server.db import database
from parkmesh.server.http.problems import Problem
from parkmesh.server.web.answers import answers
from parkmesh.server.web.api.caller import SignedIn

router = APIRouter(tags=["desk"])


class Server(BaseModel):
    """``live``: heard of lately. A server that died without a word stays here for a day, not live."""

    model_config = ConfigDict(from_attributes=True)

    id: str
    edge_url: str
    web_url: str | None
    version: str
    started_at: datetime
    last_seen_at: datetime
    draining: bool
    live: bool


class Servers(BaseModel):
    items: list[Server]


@router.get("/desk/servers", responses=answers(403))
async def list_servers(request: Request, principal: SignedIn) -> Servers:
    """List the application's servers."""
    if not principal.operator:
        raise Problem(403, "Only the operator's desk may see the servers.")
    async with database.at_desk(request.app.state.pool) as connection:
        return Servers(items=[Server.model_validate(server) for server in await servers.read(connection)])
