"""A person's permit for accessible spaces: staff enter it, the person reads it."""

from datetime import UTC, date, datetime
from typing import Annotated

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from parkmesh.server.db import database
from parkmesh.server.http import problems
from parkmesh.server.identity.principals import Role
from parkmesh.server.reservations import permits
from parkmesh.server.web.answers import answers
from parkmesh.server.web.api.caller import Member, SignedIn, Staff
from parkmesh.server.web.fields import PRINTABLE, Body, IdInPath

in_community = APIRouter(tags=["people"])

_LAST_DAY = "Its last day, by the community's clock."
_NUMBER = "What is printed on it; null: not entered."


class Permit(BaseModel):
    """A person's permit for accessible spaces."""

    model_config = ConfigDict(from_attributes=True)

    resident_id: int = Field(description="Whose it is.")
    number: str | None = Field(description=_NUMBER)
    valid_until: date = Field(description=_LAST_DAY)


class PermitBody(Body):
    """The whole permit."""

    number: (
        Annotated[
            str,
            StringConstraints(strip_whitespace=True, min_length=1, max_length=permits.MAX_NUMBER, pattern=PRINTABLE),
        ]
        | None
    ) = Field(description=_NUMBER)
    valid_until: date = Field(description=_LAST_DAY)


@in_community.get("/residents/{resident}/permit")
async def get_permit(request: Request, member: Member, resident: IdInPath) -> Permit:
    """Read a person's permit for accessible spaces. Residents read their own. 404: there is none."""
    if member.role is Role.RESIDENT and resident != member.resident_id:
        raise problems.not_found()
    async with database.in_community(request.app.state.pool, member.community_id, read_only=True) as connection:
        return Permit.model_validate(await permits.get(connection, member.community_id, resident))


@in_community.put("/residents/{resident}/permit", responses=answers(403, 409))
async def put_permit(
    request: Request, principal: SignedIn, member: Staff, resident: IdInPath, body: PermitBody
) -> Permit:
    """Give a person a permit for accessible spaces, in the place of the one before. No If-Match is needed: the last
    request counts. 409 `left`: the person has left."""
    async with database.in_community(request.app.state.pool, member.community_id) as connection:
        made = await permits.put(
            connection, principal, member.community_id, resident, body.number, body.valid_until, datetime.now(UTC)
        )
    return Permit.model_validate(made)


@in_community.delete("/residents/{resident}/permit", status_code=204, responses=answers(403))
async def delete_permit(request: Request, principal: SignedIn, member: Staff, resident: IdInPath) -> Response:
    """Take a person's permit away. What their unit has booked stays booked."""
    async with database.in_community(request.app.state.pool, member.community_id) as connection:
        await permits.delete(connection, principal, member.community_id, resident)
    return Response(status_code=204)
