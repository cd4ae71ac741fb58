"""Stays, filtered and by pages."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel

from parkmesh.server.access import plate_search, stays
from parkmesh.server.db import database
from parkmesh.server.web import paging
from parkmesh.server.web.answers import answers
from parkmesh.server.web.api.caller import Staff
from parkmesh.server.web.api.times import Moment
from parkmesh.server.web.fields import PRINTABLE

in_community = APIRouter(tags=["stays"])


class Stays(BaseModel):
    """``next`` is the ``cursor`` of the page that follows, null at the end."""

    items: list[stays.Stay]
    next: str | None


@in_community.get("/stays", responses=answers(403))
async def list_stays(
    request: Request,
    member: Staff,
    page: paging.Page,
    plate: Annotated[
        str | None, Query(max_length=64, pattern=PRINTABLE, description="Any part of it, in any usual spelling.")
    ] = None,
    open_: Annotated[bool | None, Query(alias="open", description="Only those that go on, or only those over.")] = None,
    from_: Annotated[Moment | None, Query(alias="from", description="Inside then or later.")] = None,
    until: Annotated[Moment | None, Query(description="Inside before.")] = None,
) -> Stays:
    """List the times of plates inside, latest entry first. A passage shows here some seconds after it arrived."""
    before = page.after(datetime, int)
    part = plate_search.part_of_plate(plate) if plate else None
    if plate and part is None:
        return Stays(items=[], next=None)
    async with database.in_community(request.app.state.pool, member.community_id, read_only=True) as connection:
        found = await stays.page(
            connection,
            member.community_id,
            limit=page.fetch,
            before=None if before is None else (before[0], before[1]),
            only=stays.Filter(part, open_, from_, until),
        )
    items, following = page.cut(found, lambda stay: (stay.entered_at, stay.id))
    return Stays(items=items, next=following)
