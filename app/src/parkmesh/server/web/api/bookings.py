"""Free spaces and bookings."""

from datetime import UTC, datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from parkmesh.domain.windows import Window
from parkmesh.server.communities import community_reads, rules
from parkmesh.server.db import database
from parkmesh.server.db.database import Connection
from parkmesh.server.http.problems import Problem
from parkmesh.server.identity.principals import Membership, Role
from parkmesh.server.reservations import bookings, free_spaces
from parkmesh.server.reservations.states import State
from parkmesh.server.spaces.spaces import Category, Geometry
from parkmesh.server.web import paging, preconditions
from parkmesh.server.web.answers import answers
from parkmesh.server.web.api import creating, scope
from parkmesh.server.web.api.caller import Member, SignedIn
from parkmesh.server.web.api.creating import Made
from parkmesh.server.web.api.spaces import LevelAsked
from parkmesh.server.web.api.times import Asked, Moment, Shown
from parkmesh.server.web.fields import MAX_ID, NAME, Body, Id, IdInPath, Name, Reason, Search

in_community = APIRouter(tags=["bookings"])


class FreeSpace(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    name: str
    level: str
    category: Category
    ev: bool
    accessible: bool
    geometry: Geometry | None


class FreeSpaces(BaseModel):
    items: list[FreeSpace]
    next: str | None


class Booking(Shown):
    """``visitor_pass`` is the id of the visitor pass that the space is booked for, if any."""

    id: int
    space: str
    level: str
    unit: str
    unit_id: int
    until: datetime
    status: Literal["active", "cancelled"]
    visitor_pass: int | None
    cancelled_at: datetime | None
    cancel_reason: str | None
    created_at: datetime
    resident_id: int | None = Field(description="Id of the resident who booked. For staff, null for others.")
    resident: str | None = Field(description="Name of the resident who booked. For staff, null for others.")


class Bookings(BaseModel):
    items: list[Booking]
    next: str | None


class NewBooking(Asked):
    """Staff name the unit that the booking is for."""

    space: Name
    unit_id: Id | None = None


class BookingTime(Asked):
    """Another window for a booking. A booking that has begun may keep its beginning."""


class Cancellation(Body):
    """Staff give a reason."""

    reason: Reason | None = None


def needed_reason(member_role: Role, body: Cancellation) -> str | None:
    """Return the reason of a cancellation; raise ``Problem`` 422 if staff give none."""
    if member_role is not Role.RESIDENT and body.reason is None:
        raise Problem(422, "reason: say why, its unit reads it", kind="invalid")
    return body.reason


def _shown(member: Membership, found: bookings.Booking) -> Booking:
    """Return what a member sees: who booked is for staff, a unit's people may have changed since."""
    booking = Booking.model_validate(found)
    if member.role is Role.RESIDENT:
        return booking.model_copy(update={"resident_id": None, "resident": None})
    return booking


@in_community.get("/availability")
async def list_available(
    request: Request,
    member: Member,
    page: paging.Page,
    from_: Annotated[Moment, Query(alias="from")],
    until: Annotated[Moment, Query()],
    category: Annotated[
        Category | None, Query(description="Only spaces of this category. Without it visitors' spaces are left out.")
    ] = None,
    ev: bool | None = None,
    accessible: bool | None = None,
    level: LevelAsked = None,
) -> FreeSpaces:
    """List the spaces that can be booked for the whole window, by name, without those of a resident's own unit."""
    if not from_ < until:
        raise Problem(422, "until: must be later than from", kind="invalid")
    window, now = Window(from_, until), datetime.now(UTC)
    identity, after = member.community_id, page.after(str)
    # Not read-only: see free_spaces.available.
    async with database.in_community(request.app.state.pool, identity) as connection:
        zone = await community_reads.zone(connection, identity)
        bookings.check_window(window, await rules.read(connection, identity), now, zone)
        found = await free_spaces.available(
            connection,
            identity,
            window,
            limit=page.fetch,
            after=after[0] if after else None,
            unit_id=await scope.unit_seen(connection, member),
            category=category,
            ev=ev,
            accessible=accessible,
            level=level,
        )
    items, following = page.cut(found, lambda space: (space.name,))
    return FreeSpaces(items=[FreeSpace.model_validate(space) for space in items], next=following)


@in_community.get("/bookings", responses=answers(403))
async def list_bookings(
    request: Request,
    member: Member,
    page: paging.Page,
    space: Annotated[str | None, Query(max_length=63, pattern=NAME)] = None,
    status: Literal["active", "cancelled"] | None = None,
    ends_after: Annotated[Moment | None, Query()] = None,
    starts_before: Annotated[Moment | None, Query()] = None,
    search: Search = "",
    state: Annotated[
        State | None,
        Query(description="Only those that are `open` (running now), `upcoming`, `over` or `cancelled`."),
    ] = None,
    resident_id: Annotated[
        int | None, Query(ge=1, le=MAX_ID, description="Only those that this resident made. For staff.")
    ] = None,
) -> Bookings:
    """List bookings, latest first. Residents see their unit's bookings. `q` is a text in the names of the space, the
    unit, the visitor or who booked, or a part of the visitor's plate."""
    if member.role is Role.RESIDENT and resident_id is not None:
        raise Problem(403, "Only the community's administrators and the operator's desk may ask for that.")
    async with database.in_community(request.app.state.pool, member.community_id, read_only=True) as connection:
        found = await bookings.page(
            connection,
            member.community_id,
            limit=page.fetch,
            after=page.after(datetime, int),
            unit_id=await scope.unit_seen(connection, member),
            space=space,
            status=status,
            ends_after=ends_after,
            starts_before=starts_before,
            resident_id=resident_id,
            search=search.strip(),
            state=state,
            now=datetime.now(UTC),
        )
    items, following = page.cut(found, lambda booking: (booking.from_, booking.id))
    return Bookings(items=[_shown(member, booking) for booking in items], next=following)


@in_community.post("/bookings", **creating.documented(Booking, 403, 409))
async def create_booking(request: Request, principal: SignedIn, member: Member, body: NewBooking) -> Response:
    """Book a space. 409 `overlap` names the booking that is in the way. 409 `not-available`: the space isn't shared for
    the whole window. 409 `quota`: the unit has as many bookings as it may. 409 `permit`: the space is accessible
    and nobody of the unit has a permit that is valid for the whole window. 422 `outside-rules`."""
    now = datetime.now(UTC)

    async def make(connection: Connection) -> Made:
        made = _shown(
            member,
            await bookings.create(
                connection,
                principal,
                member.community_id,
                space=body.space,
                unit_id=await scope.unit_acting(connection, member, body.unit_id),
                resident_id=member.resident_id,
                window=body.window,
                now=now,
            ),
        )
        return Made(made, made.id)

    return await creating.in_community(request, principal, member, body, make)


@in_community.get("/bookings/{booking}", responses=preconditions.READ)
async def get_booking(request: Request, response: Response, member: Member, booking: IdInPath) -> Booking:
    """Read a booking. Residents read their unit's bookings."""
    async with database.in_community(request.app.state.pool, member.community_id, read_only=True) as connection:
        unit = await scope.unit_seen(connection, member)
        found = _shown(member, await bookings.get(connection, member.community_id, booking, unit_id=unit))
    preconditions.tag(response, found)
    return found


@in_community.put("/bookings/{booking}", **preconditions.changing(409))
async def move_booking(
    request: Request,
    response: Response,
    principal: SignedIn,
    member: Member,
    booking: IdInPath,
    body: BookingTime,
) -> Booking:
    """Move a booking to another window on the same space. 409 `overlap` names the booking that is in the way. 409
    `not-available`, 409 `over`, 409 `permit`. 409 `visitor`: the booking belongs to a visitor pass. 422
    `outside-rules`."""
    now = datetime.now(UTC)
    async with database.in_community(request.app.state.pool, member.community_id) as connection:
        unit = await scope.unit_seen(connection, member)
        present = await bookings.get(connection, member.community_id, booking, unit_id=unit, for_change=True)
        preconditions.check(request, _shown(member, present))
        moved = _shown(
            member, await bookings.move(connection, principal, member.community_id, present, body.window, now)
        )
    preconditions.tag(response, moved)
    return moved


@in_community.post("/bookings/{booking}/cancel", **preconditions.changing(409))
async def cancel_booking(
    request: Request,
    response: Response,
    principal: SignedIn,
    member: Member,
    booking: IdInPath,
    body: Cancellation,
) -> Booking:
    """Cancel a booking: the space is free at once. 409 if the booking is over."""
    now = datetime.now(UTC)
    async with database.in_community(request.app.state.pool, member.community_id) as connection:
        unit = await scope.unit_seen(connection, member)
        present = await bookings.get(connection, member.community_id, booking, unit_id=unit, for_change=True)
        preconditions.check(request, _shown(member, present))
        reason = needed_reason(member.role, body)
        cancelled = _shown(
            member, await bookings.cancel(connection, principal, member.community_id, present, reason, now)
        )
    preconditions.tag(response, cancelled)
    return cancelled
