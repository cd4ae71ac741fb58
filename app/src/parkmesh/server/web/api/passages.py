"""Passages, by pages."""

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict

from parkmesh.server import database, reads
from parkmesh.server.principals import Role
from parkmesh.server.web.api.common import Member
from parkmesh.server.web.api.paging import MAX_PAGE, PAGE, decode_cursor, encode_cursor

in_community = APIRouter(tags=["passages"])


class Passage(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: int
    received_at: datetime
    gate: str
    direction: str
    plate: str
    decision: Literal["granted", "denied"]
    reason: str
    opened: bool | None
    gateway: str


class Passages(BaseModel):
    """``next`` is the ``cursor`` of the page that follows, null at the end."""

    items: list[Passage]
    next: str | None


@in_community.get("/passages")
async def list_passages(
    request: Request,
    member: Member,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = PAGE,
    cursor: Annotated[str | None, Query(max_length=64)] = None,
) -> Passages:
    """List passages, latest first. Residents see those of their own plates."""
    before = decode_cursor(cursor) if cursor else None
    async with database.in_community(request.app.state.pool, member.community_id, read_only=True) as connection:
        own = (
            await reads.plates_of(connection, member.community_id, member.resident_id)
            if member.role is Role.RESIDENT
            else None
        )
        found = await reads.passages(connection, member.community_id, limit=limit + 1, before=before, plates=own)
    page = found[:limit]
    more = len(found) > limit
    return Passages(
        items=[Passage.model_validate(passage) for passage in page],
        next=encode_cursor(page[-1].received_at, page[-1].id) if more else None,
    )
