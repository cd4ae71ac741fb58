"""The waiting list for times in which nothing is free."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from parkmesh.server.db import database
from parkmesh.server.db.database import Connection
from parkmesh.server.reservations import waiting_list
from parkmesh.server.web import paging
from parkmesh.server.web.answers import answers
from parkmesh.server.web.api import creating, scope
from parkmesh.server.web.api.caller import Member, SignedIn
from parkmesh.server.web.api.creating import Made
from parkmesh.server.web.api.times import Asked, Shown
from parkmesh.server.web.fields import PRINTABLE, Id, IdInPath

in_community = APIRouter(tags=["waiting list"])


class Waiting(Shown):
    """A unit's place on the waiting list."""

    id: int = Field(description="Its number.")
    unit: str = Field(description="Name of the unit that waits.")
    unit_id: int = Field(description="Number of the unit that waits.")
    until: datetime = Field(description="End of the time that is waited for.")
    ev: bool = Field(description="Only a space with a charger will do.")
    accessible: bool = Field(description="Only an accessible space will do.")
    level: str | None = Field(description="Only a space of this level will do; null: of any.")
    state: waiting_list.State = Field(
        description="`waiting`; `offered`: a space is held for the unit; `claimed`: it is booked; `lapsed`: the offer"
        " or the time is over; `left`: the unit waits no longer."
    )
    position: int | None = Field(description="Place among those who wait for overlapping times, from 1; null: over.")
    space: str | None = Field(description="The space that is offered or was booked.")
    claim_until: datetime | None = Field(description="When the offer ends.")
    booking: int | None = Field(description="The booking that was made of the offer.")
    created_at: datetime = Field(description="When the unit joined.")


class WaitingPage(BaseModel):
    """``next`` is the ``cursor`` of the page that follows, null at the end."""

    items: list[Waiting] = Field(description="The first come first.")
    next: str | None = Field(description="`cursor` of the page that follows; null at the end.")


class NewWaiting(Asked):
    """Staff name the unit that waits."""

    unit_id: Id | None = Field(default=None, description="The unit that waits; residents leave it out.")
    ev: bool = Field(default=False, description="Only a space with a charger will do.")
    accessible: bool = Field(default=False, description="Only an accessible space will do.")
    level: str | None = Field(
        default=None, max_length=60, pattern=PRINTABLE, description="Only a space of this level will do."
    )


@in_community.get("/waiting")
async def list_waiting(
    request: Request,
    member: Member,
    page: paging.Page,
    open_: Annotated[bool, Query(alias="open", description="Only those who still wait or have an offer.")] = False,
) -> WaitingPage:
    """List who waits for a space, the first come first. Residents see their own unit."""
    after = page.after(datetime, int)
    async with database.in_community(request.app.state.pool, member.community_id, read_only=True) as connection:
        found = await waiting_list.page(
            connection,
            member.community_id,
            limit=page.fetch,
            after=None if after is None else (after[0], after[1]),
            unit_id=await scope.unit_seen(connection, member),
            open_only=open_,
        )
    items, following = page.cut(found, lambda waiting: (waiting.created_at, waiting.id))
    return WaitingPage(items=[Waiting.model_validate(item) for item in items], next=following)


@in_community.post("/waiting", **creating.documented(Waiting, 403, 409, changeable=False))
async def join_waiting(request: Request, principal: SignedIn, member: Member, body: NewWaiting) -> Response:
    """Wait for a space in a time in which nothing is free. What becomes free is offered to whoever came first, and held
    for 15 minutes. 409 `available`: a space is free. 409 `quota`, `overlap`, `permit`. 422 `outside-rules`."""

    async def make(connection: Connection) -> Made:
        made = await waiting_list.join(
            connection,
            principal,
            member.community_id,
            unit_id=await scope.unit_acting(connection, member, body.unit_id),
            resident_id=member.resident_id,
            window=body.window,
            ev=body.ev,
            accessible=body.accessible,
            level=body.level,
            now=datetime.now(UTC),
        )
        return Made(Waiting.model_validate(made), made.id, changeable=False)

    return await creating.in_community(request, principal, member, body, make)


@in_community.get("/waiting/{waiting}")
async def get_waiting(request: Request, member: Member, waiting: IdInPath) -> Waiting:
    """Read a place on the waiting list. Residents read their unit's."""
    async with database.in_community(request.app.state.pool, member.community_id, read_only=True) as connection:
        unit = await scope.unit_seen(connection, member)
        return Waiting.model_validate(await waiting_list.get(connection, member.community_id, waiting, unit_id=unit))


@in_community.post("/waiting/{waiting}/claim", responses=answers(403, 409))
async def claim_waiting(request: Request, principal: SignedIn, member: Member, waiting: IdInPath) -> Waiting:
    """Book the space that is offered. 409 `over`: there is no offer any more. 409 `permit`: the space is accessible and
    the unit has no permit any more."""
    async with database.in_community(request.app.state.pool, member.community_id) as connection:
        unit = await scope.unit_seen(connection, member)
        found = await waiting_list.claim(
            connection, principal, member.community_id, waiting, datetime.now(UTC), unit_id=unit
        )
    return Waiting.model_validate(found)


@in_community.post("/waiting/{waiting}/leave", responses=answers(403, 409))
async def leave_waiting(request: Request, principal: SignedIn, member: Member, waiting: IdInPath) -> Waiting:
    """Wait no longer, or decline an offer: the next who waits gets it. 409 `over`."""
    async with database.in_community(request.app.state.pool, member.community_id) as connection:
        unit = await scope.unit_seen(connection, member)
        found = await waiting_list.leave(
            connection, principal, member.community_id, waiting, datetime.now(UTC), unit_id=unit
        )
    return Waiting.model_validate(found)
