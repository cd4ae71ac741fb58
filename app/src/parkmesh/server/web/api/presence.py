"""The presence of plates, corrections by staff, and the counts."""

from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel

from parkmesh.domain import plates
from parkmesh.server.access import passages, presence
from parkmesh.server.db import database
from parkmesh.server.http import problems
from parkmesh.server.identity.principals import Role
from parkmesh.server.web import paging, preconditions
from parkmesh.server.web.answers import answers
from parkmesh.server.web.api.caller import Member, SignedIn, Staff
from parkmesh.server.web.fields import Body, Reason

in_community = APIRouter(tags=["presence"])

PlateInPath = Annotated[str, Path(max_length=64, description="The plate, in any usual spelling.")]


class PresenceList(BaseModel):
    items: list[presence.Presence]
    next: str | None


class Correction(Body):
    inside: bool
    reason: Reason


def normal_plate(text: str) -> str:
    """Return a plate of a path in its normal spelling; raise ``Problem`` 404."""
    normal = plates.normalise(text)
    if normal is None:
        raise problems.not_found()
    return normal


@in_community.get("/occupancy", responses=answers(403))
async def get_occupancy(request: Request, member: Staff) -> presence.Occupancy:
    """Count cars and spaces, and passages that the gates must have missed."""
    async with database.in_community(request.app.state.pool, member.community_id, read_only=True) as connection:
        return await presence.occupancy(connection, member.community_id)


@in_community.get("/presence")
async def list_presence(
    request: Request,
    member: Member,
    page: paging.Page,
    inside: Annotated[bool | None, Query(description="true: only plates inside. false: only plates outside.")] = None,
) -> PresenceList:
    """List the plates whose presence is known. Residents see their unit's plates."""
    async with database.in_community(request.app.state.pool, member.community_id, read_only=True) as connection:
        own = (
            await passages.seen_by(connection, member.community_id, member.resident_id)
            if member.role is Role.RESIDENT
            else None
        )
        after = page.after(str)
        found = await presence.page(
            connection,
            member.community_id,
            limit=page.fetch,
            after=after[0] if after else None,
            inside=inside,
            seen=own,
        )
    items, following = page.cut(found, lambda item: (item.plate,))
    return PresenceList(items=items, next=following)


@in_community.get("/presence/{plate}", responses={**preconditions.READ, **answers(403)})
async def get_presence(request: Request, response: Response, member: Staff, plate: PlateInPath) -> presence.Presence:
    """Say whether a plate is inside."""
    async with database.in_community(request.app.state.pool, member.community_id, read_only=True) as connection:
        found = await presence.get(connection, member.community_id, normal_plate(plate))
    preconditions.tag(response, found)
    return found


@in_community.put("/presence/{plate}", **preconditions.changing(403))
async def correct_presence(
    request: Request, response: Response, principal: SignedIn, member: Staff, plate: PlateInPath, body: Correction
) -> presence.Presence:
    """Correct the presence of a plate. The correction holds until a gate sees the car again."""
    normal = normal_plate(plate)
    async with database.in_community(request.app.state.pool, member.community_id) as connection:
        await presence.lock(connection, member.community_id)
        preconditions.check(request, (await presence.get(connection, member.community_id, normal)))
        corrected = await presence.correct(connection, principal, member.community_id, normal, body.inside, body.reason)
    preconditions.tag(response, corrected)
    return corrected
