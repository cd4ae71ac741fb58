"""Dependencies of routes that find the caller of the REST API and the caller's membership of the community."""

from typing import Annotated

from fastapi import Depends, Request

from parkmesh.server.http import problems
from parkmesh.server.http.problems import Problem
from parkmesh.server.identity.principals import Membership, Principal, Role
from parkmesh.server.web import authentication

SignedIn = Annotated[Principal, Depends(authentication.required)]
HalfWay = Annotated[Principal, Depends(authentication.half_way)]
"""Like ``SignedIn``, for the few acts that a user may do before the second factor."""


async def _member(request: Request, principal: SignedIn, community: str) -> Membership:
    return await principal.membership(request.app.state.pool, community)


async def _staff(member: Annotated[Membership, Depends(_member)]) -> Membership:
    if member.role is Role.RESIDENT:
        raise Problem(403, "Only the community's administrators and the operator's desk may do this.")
    return member


async def _person_staff(principal: SignedIn, member: Annotated[Membership, Depends(_staff)]) -> Membership:
    if principal.api_key is not None:
        raise Problem(403, "An API key can't do this; a person has to.")
    return member


async def _operator(principal: SignedIn) -> Principal:
    if not principal.operator:
        raise problems.not_found()
    return principal


Member = Annotated[Membership, Depends(_member)]
Staff = Annotated[Membership, Depends(_staff)]
PersonStaff = Annotated[Membership, Depends(_person_staff)]
"""Administrators and operators, but no API key."""
Operator = Annotated[Principal, Depends(_operator)]
"""The operator's desk; other callers are answered 404."""
