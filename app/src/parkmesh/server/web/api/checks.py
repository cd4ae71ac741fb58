"""Checks of plates: may this car be here?"""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from parkmesh.server.access import checks, credentials, plate_search
from parkmesh.server.access.checks import Check
from parkmesh.server.db import database
from parkmesh.server.db.database import Connection
from parkmesh.server.web import paging
from parkmesh.server.web.answers import answers
from parkmesh.server.web.api import creating
from parkmesh.server.web.api.caller import SignedIn, Staff
from parkmesh.server.web.api.creating import Made
from parkmesh.server.web.api.times import Moment
from parkmesh.server.web.fields import PRINTABLE, Body, Name, Plate

in_community = APIRouter(tags=["violations"])


class NewCheck(Body):
    """Without ``space`` the check is whether the car may be in the community."""

    plate: Plate
    space: Name | None = Field(default=None, description="The name of the space where the car stands.")
    at: Moment | None = Field(default=None, description="The moment that is asked about; without it now.")


class Checks(BaseModel):
    """``next`` is the ``cursor`` of the page that follows, null at the end."""

    items: list[Check]
    next: str | None


@in_community.post("/checks", **creating.documented(Check, 403, changeable=False))
async def check_plate(request: Request, principal: SignedIn, member: Staff, body: NewCheck) -> Response:
    """Check whether a car may be where it is, until when and by what. The check is stored with who asked."""
    plate, now = credentials.spelled(body.plate), datetime.now(UTC)

    async def make(connection: Connection) -> Made:
        made = await checks.check(connection, principal, member.community_id, plate, body.space, body.at, now)
        return Made(made, changeable=False)

    return await creating.in_community(request, principal, member, body, make)


@in_community.get("/checks", responses=answers(403))
async def list_checks(
    request: Request,
    member: Staff,
    page: paging.Page,
    plate: Annotated[
        str | None, Query(max_length=64, pattern=PRINTABLE, description="A part of it, in any usual spelling.")
    ] = None,
) -> Checks:
    """List the checks of the last 30 days with their answers, latest first."""
    before = page.after(datetime, int)
    part = plate_search.part_of_plate(plate) if plate else None
    if plate and part is None:
        return Checks(items=[], next=None)
    async with database.in_community(request.app.state.pool, member.community_id, read_only=True) as connection:
        found = await checks.page(
            connection,
            member.community_id,
            limit=page.fetch,
            before=None if before is None else (before[0], before[1]),
            plate=part,
        )
    items, following = page.cut(found, lambda check: (check.asked_at, check.id))
    return Checks(items=items, next=following)
