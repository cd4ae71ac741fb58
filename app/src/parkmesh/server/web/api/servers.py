"""The app servers, for the operator's desk."""

from fastapi import APIRouter, Request
from pydantic import BaseModel

from parkmesh.server import servers
from parkmesh.server.db import database
from parkmesh.server.http.problems import Problem
from parkmesh.server.web.answers import answers
from parkmesh.server.web.api.caller import SignedIn

router = APIRouter(tags=["desk"])


class Servers(BaseModel):
    items: list[servers.Server]


@router.get("/desk/servers", responses=answers(403))
async def list_servers(request: Request, principal: SignedIn) -> Servers:
    """List the app servers."""
    if not principal.operator:
        raise Problem(403, "Only the operator's desk may see the servers.")
    async with database.at_desk(request.app.state.pool) as connection:
        return Servers(items=await servers.read(connection))
