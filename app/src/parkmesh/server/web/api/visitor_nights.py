"""Exceptions from the rule of how many nights a visitor's car may stay."""

from datetime import UTC, datetime

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from parkmesh.server.access import credentials
from parkmesh.server.db import database
from parkmesh.server.db.database import Connection
from parkmesh.server.people import units
from parkmesh.server.reservations import visitor_nights
from parkmesh.server.reservations.visitor_nights import NightsException
from parkmesh.server.web import paging
from parkmesh.server.web.answers import answers
from parkmesh.server.web.api import creating
from parkmesh.server.web.api.caller import SignedIn, Staff
from parkmesh.server.web.api.creating import Made
from parkmesh.server.web.api.times import Moment
from parkmesh.server.web.fields import Body, Id, IdInPath, Plate, Reason

in_community = APIRouter(tags=["visitor passes"])


class NightsExceptions(BaseModel):
    """``next`` is the ``cursor`` of the page that follows, null at the end."""

    items: list[NightsException]
    next: str | None


class NewNightsException(Body):
    """The plate may have passes of the unit that end at ``until`` or before, whatever the rule says."""

    unit_id: Id = Field(description="The unit that it visits.")
    plate: Plate
    until: Moment = Field(description="Until when; a moment to come.")
    reason: Reason = Field(description="Why, for the audit trail's readers.")


@in_community.get("/visitor-nights-exceptions", responses=answers(403))
async def list_nights_exceptions(request: Request, member: Staff, page: paging.Page) -> NightsExceptions:
    """List the exceptions from the rule `visitor_nights_in_28_days`, latest first."""
    after = page.after(int)
    async with database.in_community(request.app.state.pool, member.community_id, read_only=True) as connection:
        found = await visitor_nights.page(
            connection, member.community_id, limit=page.fetch, after=after[0] if after else None
        )
    items, following = page.cut(found, lambda item: (item.id,))
    return NightsExceptions(items=items, next=following)


@in_community.post("/visitor-nights-exceptions", **creating.documented(NightsException, 403, changeable=False))
async def create_nights_exception(
    request: Request, principal: SignedIn, member: Staff, body: NewNightsException
) -> Response:
    """Let a visitor's car stay more nights at a unit than the rule allows."""
    plate, now = credentials.spelled(body.plate), datetime.now(UTC)

    async def make(connection: Connection) -> Made:
        made = await visitor_nights.except_plate(
            connection,
            principal,
            member.community_id,
            unit_id=(await units.get(connection, member.community_id, body.unit_id)).id,
            plate=plate,
            until=body.until,
            reason=body.reason,
            now=now,
        )
        return Made(made, changeable=False)

    return await creating.in_community(request, principal, member, body, make)


@in_community.delete("/visitor-nights-exceptions/{exception}", status_code=204, responses=answers(403))
async def delete_nights_exception(
    request: Request, principal: SignedIn, member: Staff, exception: IdInPath
) -> Response:
    """Take an exception back. Passes that were made by it stay."""
    async with database.in_community(request.app.state.pool, member.community_id) as connection:
        await visitor_nights.remove(connection, principal, member.community_id, exception)
    return Response(status_code=204)
