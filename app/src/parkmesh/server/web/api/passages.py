"""Passages, searched and by pages."""

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from parkmesh.server.access import holders, passages, plate_search
from parkmesh.server.access.holders import Holder
from parkmesh.server.db import database
from parkmesh.server.identity.principals import Role
from parkmesh.server.web import paging
from parkmesh.server.web.api.caller import Member
from parkmesh.server.web.api.times import Moment
from parkmesh.server.web.fields import PRINTABLE

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
    command: str | None = Field(description="The command that opened the gate by hand; null where a car asked.")
    holder: Holder | None = Field(
        default=None, description="Whose credential decided, for staff; null for residents, and where there is none."
    )


class Passages(BaseModel):
    """``next`` is the ``cursor`` of the next page, null on the last page."""

    items: list[Passage]
    next: str | None


def shown(passage: passages.Passage, holder: Holder | None) -> Passage:
    """Return a passage with whose credential decided it."""
    return Passage.model_validate(passage).model_copy(update={"holder": holder})


@in_community.get("/passages")
async def list_passages(
    request: Request,
    member: Member,
    page: paging.Page,
    plate: Annotated[
        str | None,
        Query(max_length=64, pattern=PRINTABLE, description="Any part of the plate, in any usual spelling."),
    ] = None,
    gate: Annotated[str | None, Query(max_length=63, pattern=PRINTABLE, description="Name of the gate.")] = None,
    direction: Literal["entry", "exit"] | None = None,
    decision: Literal["granted", "denied"] | None = None,
    from_: Annotated[Moment | None, Query(alias="from", description="At or after this moment.")] = None,
    until: Annotated[Moment | None, Query(description="Before this moment.")] = None,
) -> Passages:
    """List passages, latest first. Residents see the passages of their own and their unit's plates while these were
    theirs, and of visitors' plates while the visitor passes were valid."""
    before = page.after(datetime, int)
    part = plate_search.part_of_plate(plate) if plate else None
    if plate and part is None:
        return Passages(items=[], next=None)
    only = passages.Filter(part, gate, direction, decision, from_, until)
    async with database.in_community(request.app.state.pool, member.community_id, read_only=True) as connection:
        own = (
            await passages.seen_by(connection, member.community_id, member.resident_id)
            if member.role is Role.RESIDENT
            else None
        )
        found = await passages.search(
            connection,
            member.community_id,
            limit=page.fetch,
            before=None if before is None else (before[0], before[1]),
            seen=own,
            only=only,
        )
        decided = (passage.credential for passage in found)
        whose = await holders.of_credentials(connection, member.community_id, decided) if own is None else {}
    items, following = page.cut(found, lambda passage: (passage.received_at, passage.id))
    return Passages(items=[shown(passage, whose.get(passage.credential)) for passage in items], next=following)
