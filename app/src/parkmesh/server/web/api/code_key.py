"""The key that signs the QR codes of visitor passes, and its renewal."""

from fastapi import APIRouter, Request, Response

from parkmesh.server.db import database
from parkmesh.server.http import problems
from parkmesh.server.reservations import pass_codes
from parkmesh.server.reservations.pass_codes import CodeKey
from parkmesh.server.web import preconditions
from parkmesh.server.web.answers import answers
from parkmesh.server.web.api.caller import PersonStaff, SignedIn, Staff

in_community = APIRouter(tags=["visitor passes"])


def _identity(key: CodeKey) -> object:
    # Passes end by themselves, and gateways catch up: that is no other key.
    return {"number": key.number}


@in_community.get("/code-key", responses={**preconditions.READ, **answers(403)})
async def get_code_key(request: Request, response: Response, member: Staff) -> CodeKey:
    """Read which key signs visitors' QR codes. 404 before the community's first visitor pass."""
    async with database.in_community(request.app.state.pool, member.community_id, read_only=True) as connection:
        found = await pass_codes.key(connection, member.community_id)
    if found is None:
        raise problems.not_found()
    response.headers["ETag"] = preconditions.etag(_identity(found))
    return found


@in_community.post("/code-key/renew", **preconditions.changing(403, 409))
async def renew_code_key(request: Request, response: Response, principal: SignedIn, member: PersonStaff) -> CodeKey:
    """Make a new key for visitors' QR codes. Codes that visitors have already open until their visitor passes are over.
    409 while codes of 3 former keys are valid."""
    async with database.in_community(request.app.state.pool, member.community_id) as connection:
        present = await pass_codes.key(connection, member.community_id, lock=True)
        if present is None:
            raise problems.not_found()
        preconditions.check(request, _identity(present))
        renewed = await pass_codes.renew_key(connection, principal, member.community_id, present)
    response.headers["ETag"] = preconditions.etag(_identity(renewed))
    return renewed
