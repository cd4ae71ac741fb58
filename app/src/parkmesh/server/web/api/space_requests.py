"""The waiting list for spaces of one's own."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from parkmesh.server.db import database
from parkmesh.server.db.database import Connection
from parkmesh.server.reservations import space_requests
from parkmesh.server.web import paging
from parkmesh.server.web.answers import answers
from parkmesh.server.web.api import creating, scope
from parkmesh.server.web.api.caller import Member, SignedIn, Staff
from parkmesh.server.web.api.creating import Made
from parkmesh.server.web.fields import NAME, PRINTABLE, Body, Id, IdInPath, Reason

in_community = APIRouter(tags=["waiting list"])


class PassedOver(BaseModel):
    """A space that a unit didn't get although it fits."""

    model_config = ConfigDict(from_attributes=True)

    space: str | None = Field(description="Name of the space; null: it is gone.")
    why: space_requests.Why = Field(
        description="`declined` or `lapsed`: it was offered to the unit; `staff`: others got it before its turn."
    )
    reason: str | None = Field(description="What staff said; null: they said nothing.")
    at: datetime = Field(description="When it happened.")


class SpaceRequest(BaseModel):
    """A unit's place on the list for a space of its own."""

    model_config = ConfigDict(from_attributes=True)

    id: int = Field(description="Its number.")
    unit: str = Field(description="Name of the unit that asks.")
    unit_id: int = Field(description="Number of the unit that asks.")
    ev: bool = Field(description="Only a space with a charger will do.")
    accessible: bool = Field(description="An accessible space is asked for.")
    level: str | None = Field(description="Only a space of this level will do; null: of any.")
    state: space_requests.State = Field(
        description="`waiting`; `offered`: the unit is asked whether it wants a space; `assigned`: it has one; `left`:"
        " it waits no longer."
    )
    position: int | None = Field(description="Place among all who wait, from 1; null: over.")
    space: str | None = Field(description="The space that is offered or was assigned.")
    offered_until: datetime | None = Field(description="Until when the unit can answer the offer.")
    created_at: datetime = Field(description="When the unit asked.")
    passed: list[PassedOver] = Field(description="Spaces that it didn't get although they fit, and why.")


class SpaceRequests(BaseModel):
    """``next`` is the ``cursor`` of the page that follows, null at the end."""

    items: list[SpaceRequest] = Field(description="The first come first.")
    next: str | None = Field(description="`cursor` of the page that follows; null at the end.")


class NewSpaceRequest(Body):
    """Staff name the unit that asks."""

    unit_id: Id | None = Field(default=None, description="The unit that asks; residents leave it out.")
    ev: bool = Field(default=False, description="Only a space with a charger will do.")
    accessible: bool = Field(default=False, description="An accessible space is asked for.")
    level: str | None = Field(
        default=None, max_length=60, pattern=PRINTABLE, description="Only a space of this level will do."
    )


class SpaceOffer(Body):
    """Which space the list gives to whom."""

    space: str = Field(min_length=1, max_length=63, pattern=NAME, description="Name of the space.")
    space_request: Id | None = Field(
        default=None, description="The request that gets it before its turn; null: the one whose turn it is."
    )
    reason: Reason | None = Field(
        default=None, description="Why others who have waited longer are passed over. Their units read it."
    )
    assign: bool = Field(default=False, description="Assign the space at once, without asking the unit.")


@in_community.get("/space-requests")
async def list_space_requests(
    request: Request,
    member: Member,
    page: paging.Page,
    open_: Annotated[bool, Query(alias="open", description="Only those who still wait or have an offer.")] = False,
) -> SpaceRequests:
    """List who asks for a space of their own, the first come first. Residents see their own unit."""
    after = page.after(datetime, int)
    async with database.in_community(request.app.state.pool, member.community_id, read_only=True) as connection:
        found = await space_requests.page(
            connection,
            member.community_id,
            limit=page.fetch,
            after=None if after is None else (after[0], after[1]),
            unit_id=await scope.unit_seen(connection, member),
            open_only=open_,
        )
    items, following = page.cut(found, lambda item: (item.created_at, item.id))
    return SpaceRequests(items=[SpaceRequest.model_validate(item) for item in items], next=following)


@in_community.post("/space-requests", **creating.documented(SpaceRequest, 403, 409, changeable=False))
async def create_space_request(
    request: Request, principal: SignedIn, member: Member, body: NewSpaceRequest
) -> Response:
    """Ask for a space of the unit's own. 409 `assigned`: it has one. 409 `waiting`: it asks already. 409 `permit`: it
    asks for an accessible space and has no permit."""

    async def make(connection: Connection) -> Made:
        made = await space_requests.join(
            connection,
            principal,
            member.community_id,
            unit_id=await scope.unit_acting(connection, member, body.unit_id),
            resident_id=member.resident_id,
            ev=body.ev,
            accessible=body.accessible,
            level=body.level,
            now=datetime.now(UTC),
        )
        return Made(SpaceRequest.model_validate(made), made.id, changeable=False)

    return await creating.in_community(request, principal, member, body, make)


@in_community.get("/space-requests/{space_request}")
async def get_space_request(request: Request, member: Member, space_request: IdInPath) -> SpaceRequest:
    """Read a place on the list. Residents read their unit's."""
    async with database.in_community(request.app.state.pool, member.community_id, read_only=True) as connection:
        unit = await scope.unit_seen(connection, member)
        return SpaceRequest.model_validate(
            await space_requests.get(connection, member.community_id, space_request, unit_id=unit)
        )


@in_community.post("/space-offers", responses=answers(403, 409))
async def offer_space(request: Request, principal: SignedIn, member: Staff, body: SpaceOffer) -> SpaceRequest:
    """Offer a space that belongs to nobody to the unit whose turn it is, or assign it at once. An offer that is
    declined or not answered in 7 days goes to the next. 409 `order`: others have waited longer and no reason is given.
    409 `unfit`: the space isn't what the unit asked for. 409 `nobody`: it fits nobody who waits. 409 `not-available`,
    `offered`, `over`."""
    give = space_requests.assign if body.assign else space_requests.offer
    async with database.in_community(request.app.state.pool, member.community_id) as connection:
        found = await give(
            connection,
            principal,
            member.community_id,
            body.space,
            request_id=body.space_request,
            reason=body.reason,
            now=datetime.now(UTC),
        )
    return SpaceRequest.model_validate(found)


@in_community.post("/space-requests/{space_request}/accept", responses=answers(403, 409))
async def accept_space(request: Request, principal: SignedIn, member: Member, space_request: IdInPath) -> SpaceRequest:
    """Take the space that is offered: it is assigned to the unit from now on. 409 `over`: there is no offer any more.
    409 `permit`: the space is accessible and the unit has no permit any more."""
    async with database.in_community(request.app.state.pool, member.community_id) as connection:
        found = await space_requests.accept(
            connection, principal, member.community_id, space_request, datetime.now(UTC),
            unit_id=await scope.unit_seen(connection, member),
        )  # fmt: skip
    return SpaceRequest.model_validate(found)


@in_community.post("/space-requests/{space_request}/decline", responses=answers(403, 409))
async def decline_space(request: Request, principal: SignedIn, member: Member, space_request: IdInPath) -> SpaceRequest:
    """Decline the space that is offered: it goes to the next, and the unit keeps its place on the list. 409 `over`."""
    async with database.in_community(request.app.state.pool, member.community_id) as connection:
        found = await space_requests.decline(
            connection, principal, member.community_id, space_request, datetime.now(UTC),
            unit_id=await scope.unit_seen(connection, member),
        )  # fmt: skip
    return SpaceRequest.model_validate(found)


@in_community.post("/space-requests/{space_request}/withdraw", responses=answers(403, 409))
async def withdraw_space_offer(
    request: Request, principal: SignedIn, member: Staff, space_request: IdInPath
) -> SpaceRequest:
    """Take an offer back: the unit waits again, and the space is offered to nobody. 409 `over`."""
    async with database.in_community(request.app.state.pool, member.community_id) as connection:
        found = await space_requests.withdraw(
            connection, principal, member.community_id, space_request, datetime.now(UTC)
        )
    return SpaceRequest.model_validate(found)


@in_community.post("/space-requests/{space_request}/leave", responses=answers(403, 409))
async def leave_space_requests(
    request: Request, principal: SignedIn, member: Member, space_request: IdInPath
) -> SpaceRequest:
    """Give up the unit's place on the list; what is offered to it goes to the next. 409 `over`."""
    async with database.in_community(request.app.state.pool, member.community_id) as connection:
        found = await space_requests.leave(
            connection, principal, member.community_id, space_request, datetime.now(UTC),
            unit_id=await scope.unit_seen(connection, member),
        )  # fmt: skip
    return SpaceRequest.model_validate(found)
