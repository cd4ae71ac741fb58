"""The plates of a community."""

from datetime import datetime
from typing import Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict

from parkmesh.domain import plates
from parkmesh.server import database, operations, problems, reads
from parkmesh.server.web.api.common import Body, SignedIn, Staff, answers

in_community = APIRouter(tags=["credentials"])


class Credential(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    plate: str
    status: Literal["active", "revoked"]
    resident: str | None
    unit: str | None
    valid_from: datetime | None
    valid_until: datetime | None


class CredentialList(BaseModel):
    items: list[Credential]


class CredentialStatus(Body):
    status: Literal["active", "revoked"]


class CredentialState(BaseModel):
    plate: str
    status: Literal["active", "revoked"]


@in_community.get("/credentials", responses=answers(403))
async def list_credentials(request: Request, member: Staff) -> CredentialList:
    """List the community's plates."""
    async with database.in_community(request.app.state.pool, member.community_id, read_only=True) as connection:
        found = await reads.credentials(connection, member.community_id)
    return CredentialList(items=[Credential.model_validate(credential) for credential in found])


@in_community.put("/credentials/{plate}", responses=answers(403))
async def put_credential(
    request: Request, principal: SignedIn, member: Staff, plate: str, body: CredentialStatus
) -> CredentialState:
    """Revoke a plate or restore it. Gateways that are online know within seconds."""
    normal = plates.normalise(plate)
    pool = request.app.state.pool
    if normal is None or not await operations.set_credential_status(
        pool, principal, member.community_id, normal, body.status
    ):
        raise problems.not_found()
    return CredentialState(plate=normal, status=body.status)
