"""Who is inside, corrections of it, and the counts."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict

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

PlateInPath = Annotated[str, Path(max_length=64, description="In any usual spelling.")]


class Presence(BaseModel):
    """``inside`` is null where nothing is known of the plate; ``gate`` is the one that it passed last."""

    model_config = ConfigDict(from_attributes=True)

    plate: str
    inside: bool | None
    since: datetime | None
    gate: str | None
    corrected: bool
    unit: str | None


class PresenceList(BaseModel):
    items: list[Presence]
    next: str | None


class Correction(Body):
    inside: bool
    reason: Reason


class Occupancy(BaseModel):
    """Cars by the gates beside spaces by the sensors. The missed ones are what the gates can't have seen in 7 days."""

    model_config = ConfigDict(from_attributes=True)

    inside: int
    spaces: int
    occupied: int
    free: int
    unknown: int
    missed_entries: int
    missed_exits: int
    corrections: int


def _plate(text: str) -> str:
    normal = plates.normalise(text)
    if normal is None:
        raise problems.not_found()
    return normal


@in_community.get("/occupancy", responses=answers(403))
async def get_occupancy(request: Request, member: Staff) -> Occupancy:
    """Count cars and spaces, and what the gates must have missed."""
    async with database.in_community(request.app.state.pool, member.community_id, read_only=True) as connection:
        return Occupancy.model_validate(await presence.occupancy(connection, member.community_id))


@in_community.get("/presence")
async def list_presence(
    request: Request,
    member: Member,
    page: paging.Page,
    inside: Annotated[bool | None, Query(description="Only those inside, or only those outside.")] = None,
) -> PresenceList:
    """List the plates of which it is known where they are. Residents see their unit's."""
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
    return PresenceList(items=[Presence.model_validate(item) for item in items], next=following)


@in_community.get("/presence/{plate}", responses={**preconditions.READ, **answers(403)})
async def get_presence(request: Request, response: Response, member: Staff, plate: PlateInPath) -> Presence:
    """Say where a plate is."""
    async with database.in_community(request.app.state.pool, member.community_id, read_only=True) as connection:
        found = Presence.model_validate(await presence.get(connection, member.community_id, _plate(plate)))
    preconditions.tag(response, found)
    return found


@in_community.put("/presence/{plate}", **preconditions.changing(403))
async def correct_presence(
    request: Request, response: Response, principal: SignedIn, member: Staff, plate: PlateInPath, body: Correction
) -> Presence:
    """Correct where a plate is. It holds until a gate sees the car again."""
    normal = _plate(plate)
    async with database.in_community(request.app.state.pool, member.community_id) as connection:
        await presence.lock(connection, member.community_id)
        preconditions.check(
            request, Presence.model_validate(await presence.get(connection, member.community_id, normal))
        )
        corrected = Presence.model_validate(
            await presence.correct(connection, principal, member.community_id, normal, body.inside, body.reason)
        )
    preconditions.tag(response, corrected)
    return corrected
