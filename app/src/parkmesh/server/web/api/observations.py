"""Observations of a space by sensors, by pages."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict

from parkmesh.protocol.edge import SpaceStatus
from parkmesh.server.db import database
from parkmesh.server.spaces import observations, spaces
from parkmesh.server.web import paging
from parkmesh.server.web.answers import answers
from parkmesh.server.web.api.caller import Staff
from parkmesh.server.web.api.spaces import SpaceInPath
from parkmesh.server.web.api.times import Moment

in_community = APIRouter(tags=["spaces"])


class Observation(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    received_at: datetime
    status: SpaceStatus
    gateway: str


class Observations(BaseModel):
    """``next`` is the ``cursor`` of the next page, null on the last page."""

    items: list[Observation]
    next: str | None


@in_community.get("/spaces/{space}/observations", responses=answers(403))
async def list_observations(
    request: Request,
    member: Staff,
    page: paging.Page,
    space: SpaceInPath,
    from_: Annotated[Moment | None, Query(alias="from", description="At or after this moment.")] = None,
    until: Annotated[Moment | None, Query(description="Before this moment.")] = None,
) -> Observations:
    """List the observations of a space, latest first, as long as they are kept."""
    place = page.after(datetime, int, int, int)
    async with database.in_community(request.app.state.pool, member.community_id, read_only=True) as connection:
        await spaces.get(connection, member.community_id, space)
        found = await observations.of_space(
            connection, member.community_id, space, limit=page.fetch, since=from_, until=until, before=place
        )
    items, following = page.cut(found, lambda item: item.place)
    return Observations(items=[Observation.model_validate(item) for item in items], next=following)
