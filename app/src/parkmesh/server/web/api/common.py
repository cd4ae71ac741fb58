"""What every part of the REST API shares: forms of bodies and errors, who asks, and his place in the community."""

from http import HTTPStatus
from typing import Annotated

from fastapi import Depends, Request
from pydantic import BaseModel, ConfigDict

from parkmesh.server import problems
from parkmesh.server.principals import Membership, Principal, Role
from parkmesh.server.problems import Problem
from parkmesh.server.web import people


class Body(BaseModel):
    """A body that a client sends: unknown members are an error."""

    model_config = ConfigDict(extra="forbid")


class ProblemDetails(BaseModel):
    """RFC 9457."""

    type: str
    title: str
    status: int
    detail: str


def answers(*statuses: int) -> dict[int | str, dict[str, object]]:
    """Return the documentation of answers that carry problem details."""
    schema = ProblemDetails.model_json_schema()
    return {
        status: {"description": HTTPStatus(status).phrase, "content": {problems.MEDIA_TYPE: {"schema": schema}}}
        for status in statuses
    }


SignedIn = Annotated[Principal, Depends(people.required)]


async def _member(request: Request, principal: SignedIn, community: str) -> Membership:
    return await principal.membership(request.app.state.pool, community)


async def _staff(member: Annotated[Membership, Depends(_member)]) -> Membership:
    if member.role is Role.RESIDENT:
        raise Problem(403, "Only the community's administrators and the operator's desk may do this.")
    return member


Member = Annotated[Membership, Depends(_member)]
Staff = Annotated[Membership, Depends(_staff)]
