"""A plate: whose it is, where it is, and what the gates saw of it lately. For staff."""

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from parkmesh.server.access import holders, passages, presence, stays
from parkmesh.server.access.holders import Holder
from parkmesh.server.access.presence import Presence
from parkmesh.server.access.stays import Stay
from parkmesh.server.db import database
from parkmesh.server.web.answers import answers
from parkmesh.server.web.api.caller import Staff
from parkmesh.server.web.api.passages import Passage, shown
from parkmesh.server.web.api.presence import PlateInPath, normal_plate

in_community = APIRouter(tags=["plates"])

LATEST = 20


class Plate(BaseModel):
    """A plate of a community, also one that nobody holds."""

    plate: str = Field(description="The plate in its normal spelling.")
    holders: list[Holder] = Field(description="Who holds the plate: valid credentials first, then revoked ones.")
    presence: Presence = Field(description="Whether the plate is inside.")
    passages: list[Passage] = Field(description=f"Its latest passages, {LATEST} at most.")
    stays: list[Stay] = Field(description=f"Its latest stays, {LATEST} at most.")


@in_community.get("/plates/{plate}", responses=answers(403))
async def get_plate(request: Request, member: Staff, plate: PlateInPath) -> Plate:
    """Read whose a plate is, whether it is inside, and its latest passages and stays."""
    normal, identity = normal_plate(plate), member.community_id
    async with database.in_community(request.app.state.pool, identity, read_only=True) as connection:
        seen = await passages.of_plate(connection, identity, normal, LATEST)
        whose = await holders.of_credentials(connection, identity, (passage.credential for passage in seen))
        return Plate(
            plate=normal,
            holders=await holders.of_plate(connection, identity, normal, LATEST),
            presence=await presence.get(connection, identity, normal),
            passages=[shown(passage, whose.get(passage.credential)) for passage in seen],
            stays=await stays.of_plate(connection, identity, normal, LATEST),
        )
