"""Visitor passes, for units and for the visitors themselves."""

from datetime import UTC, datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from parkmesh.server.access import credentials
from parkmesh.server.db import database
from parkmesh.server.db.database import Connection
from parkmesh.server.http import problems
from parkmesh.server.http.problems import Problem
from parkmesh.server.identity.principals import Membership, Role
from parkmesh.server.reservations import visitor_passes
from parkmesh.server.reservations.states import State
from parkmesh.server.web import links, paging, preconditions, security
from parkmesh.server.web.answers import answers
from parkmesh.server.web.api import creating, plate_warnings, scope
from parkmesh.server.web.api.bookings import Cancellation, needed_reason
from parkmesh.server.web.api.caller import Member, SignedIn, Staff
from parkmesh.server.web.api.creating import Made
from parkmesh.server.web.api.times import Asked, Moment, Shown
from parkmesh.server.web.fields import MAX_ID, Body, Id, IdAsked, IdInPath, Label, Name, Plate, Search

router = APIRouter(tags=["visits"])
in_community = APIRouter(tags=["visitor passes"])

Token = Annotated[str, Path(max_length=64, description="The last part of the visitor's link.")]


class VisitorPass(Shown):
    """``space`` is the visitors' space that is booked for the visitor pass, if any."""

    id: int
    unit: str
    unit_id: int
    name: str | None
    plate: str | None
    until: datetime
    status: Literal["active", "cancelled"]
    space: str | None
    cancelled_at: datetime | None
    cancel_reason: str | None
    created_at: datetime
    resident_id: int | None = Field(description="Id of the resident who invited. For staff, null for others.")
    resident: str | None = Field(description="Name of the resident who invited. For staff, null for others.")


class WrittenPass(VisitorPass):
    """A visitor pass that was just written, with what to know of its plate."""

    warnings: plate_warnings.Warnings


class IssuedPass(WrittenPass):
    """``link`` shows the visitor pass to each person who has it. Only the first answer contains it."""

    link: str | None


class VisitorPasses(BaseModel):
    items: list[VisitorPass]
    next: str | None


class NewVisitorPass(Asked):
    """Without ``plate`` visitors enter it by their link. ``space`` books a visitors' space. Staff name the unit."""

    plate: Plate | None = None
    name: Label | None = None
    space: Name | None = None
    unit_id: Id | None = None


class VisitorPassBody(Body):
    plate: Plate | None
    name: Label | None


class Link(BaseModel):
    link: str


class Directions(BaseModel):
    directions: str


class DirectionsBody(Body):
    directions: str = Field(max_length=visitor_passes.MAX_DIRECTIONS, pattern=r"^[^\x00-\x09\x0b-\x1f\x7f]*$")


class VisitGate(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    title: str
    direction: Literal["entry", "exit", "both"]


class VisitCode(BaseModel):
    """What opens the gates that have a scanner or a keypad."""

    model_config = ConfigDict(from_attributes=True)

    qr: str = Field(description="The text of the QR code that the scanner reads.")
    pin: str = Field(description="The PIN for the keypad, 8 digits.")


class Visit(Shown):
    """A visitor pass as its visitor sees it; ``community`` is the title of the community."""

    community: str
    time_zone: str
    until: datetime
    status: Literal["upcoming", "open", "over", "cancelled"]
    plate: str | None
    plate_attempts_left: int
    space: str | None
    level: str | None
    gates: list[VisitGate]
    directions: str
    code: VisitCode | None = Field(
        description="QR code and PIN of the pass. Null if the community uses none, or the pass can't be used any more."
    )


class VisitPlate(Body):
    plate: Plate


def _shown(member: Membership, found: visitor_passes.VisitorPass) -> VisitorPass:
    """Return what a member sees: who invited is for staff, a unit's people may have changed since."""
    visitor_pass = VisitorPass.model_validate(found)
    if member.role is Role.RESIDENT:
        return visitor_pass.model_copy(update={"resident_id": None, "resident": None})
    return visitor_pass


@in_community.get("/visitor-passes", responses=answers(403))
async def list_visitor_passes(
    request: Request,
    member: Member,
    page: paging.Page,
    ends_after: Annotated[Moment | None, Query(description="Only those that end after this moment.")] = None,
    starts_before: Annotated[Moment | None, Query(description="Only those that begin before this moment.")] = None,
    search: Search = "",
    state: Annotated[
        State | None,
        Query(description="Only those that are `open` (running now), `upcoming`, `over` or `cancelled`."),
    ] = None,
    resident_id: Annotated[
        int | None, Query(ge=1, le=MAX_ID, description="Only those that this resident issued. For staff.")
    ] = None,
) -> VisitorPasses:
    """List visitor passes, latest first. Residents see their unit's visitor passes. `q` is a text in the names of the
    visitor, the unit, the space or who invited, or a part of the plate."""
    if member.role is Role.RESIDENT and resident_id is not None:
        raise Problem(403, "Only the community's administrators and the operator's desk may ask for that.")
    async with database.in_community(request.app.state.pool, member.community_id, read_only=True) as connection:
        found = await visitor_passes.page(
            connection,
            member.community_id,
            limit=page.fetch,
            after=page.after(datetime, int),
            unit_id=await scope.unit_seen(connection, member),
            ends_after=ends_after,
            starts_before=starts_before,
            resident_id=resident_id,
            search=search.strip(),
            state=state,
            now=datetime.now(UTC),
        )
    items, following = page.cut(found, lambda item: (item.from_, item.id))
    return VisitorPasses(items=[_shown(member, item) for item in items], next=following)


@in_community.get("/visitor-passes/quota", responses=answers(403))
async def get_visitor_quota(
    request: Request,
    member: Member,
    at: Annotated[Moment | None, Query(description="A moment of the month; without it now.")] = None,
    unit_id: IdAsked = None,
) -> visitor_passes.Quota:
    """Say how many visitor passes a unit has used in a month, and how many it may have. Staff name the unit."""
    async with database.in_community(request.app.state.pool, member.community_id, read_only=True) as connection:
        unit = await scope.unit_acting(connection, member, unit_id)
        return await visitor_passes.quota(connection, member.community_id, unit, at or datetime.now(UTC))


@in_community.post("/visitor-passes", **creating.documented(IssuedPass, 403, 409))
async def create_visitor_pass(request: Request, principal: SignedIn, member: Member, body: NewVisitorPass) -> Response:
    """Issue a visitor pass. 409 `quota`: the unit has used its visitor passes of the month. 409 `plate`: the plate
    can't have a visitor pass. 409 `overlap`: the space is booked. 409 `permit`: it is accessible and the
    unit has no permit; staff, who know of the visitor's, may book it. 422 `outside-rules`."""
    plate, now = body.plate and credentials.spelled(body.plate), datetime.now(UTC)

    async def make(connection: Connection) -> Made:
        made, token = await visitor_passes.create(
            connection,
            principal,
            member.community_id,
            unit_id=await scope.unit_acting(connection, member, body.unit_id),
            resident_id=member.resident_id,
            window=body.window,
            name=body.name,
            plate=plate,
            space=body.space,
            now=now,
            permit_seen=member.role is not Role.RESIDENT,
        )
        shown = _shown(member, made)
        warnings = await plate_warnings.of(connection, member, made.plate, made.unit_id)
        link = links.absolute(request, links.VISIT, token)
        issued = IssuedPass(**shown.model_dump(), link=link, warnings=warnings)
        return Made(issued, made.id, version=shown, secret={"link", "warnings"})

    return await creating.in_community(request, principal, member, body, make)


@in_community.get("/visitor-passes/{visitor_pass}", responses=preconditions.READ)
async def get_visitor_pass(request: Request, response: Response, member: Member, visitor_pass: IdInPath) -> VisitorPass:
    """Read a visitor pass. Residents read their unit's visitor passes."""
    async with database.in_community(request.app.state.pool, member.community_id, read_only=True) as connection:
        unit = await scope.unit_seen(connection, member)
        found = _shown(member, await visitor_passes.get(connection, member.community_id, visitor_pass, unit_id=unit))
    preconditions.tag(response, found)
    return found


@in_community.put("/visitor-passes/{visitor_pass}", **preconditions.changing(409))
async def put_visitor_pass(
    request: Request,
    response: Response,
    principal: SignedIn,
    member: Member,
    visitor_pass: IdInPath,
    body: VisitorPassBody,
) -> WrittenPass:
    """Change name and plate of a visitor pass that isn't over."""
    plate, now = body.plate and credentials.spelled(body.plate), datetime.now(UTC)
    async with database.in_community(request.app.state.pool, member.community_id) as connection:
        unit = await scope.unit_seen(connection, member)
        present = await visitor_passes.get(connection, member.community_id, visitor_pass, unit_id=unit, for_change=True)
        preconditions.check(request, _shown(member, present))
        changed = _shown(
            member,
            await visitor_passes.change(connection, principal, member.community_id, present, body.name, plate, now),
        )
        new_plate = plate if plate != present.plate else None
        warnings = await plate_warnings.of(connection, member, new_plate, changed.unit_id)
    preconditions.tag(response, changed)
    return WrittenPass(**changed.model_dump(), warnings=warnings)


@in_community.post("/visitor-passes/{visitor_pass}/link", responses=answers(409))
async def renew_visitor_link(request: Request, principal: SignedIn, member: Member, visitor_pass: IdInPath) -> Link:
    """Make a new link for a visitor pass. The old link stops working."""
    now = datetime.now(UTC)
    async with database.in_community(request.app.state.pool, member.community_id) as connection:
        unit = await scope.unit_seen(connection, member)
        present = await visitor_passes.get(connection, member.community_id, visitor_pass, unit_id=unit, for_change=True)
        token = await visitor_passes.new_link(connection, principal, member.community_id, present, now)
    return Link(link=links.absolute(request, links.VISIT, token))


@in_community.post("/visitor-passes/{visitor_pass}/cancel", **preconditions.changing(409))
async def cancel_visitor_pass(
    request: Request,
    response: Response,
    principal: SignedIn,
    member: Member,
    visitor_pass: IdInPath,
    body: Cancellation,
) -> VisitorPass:
    """Cancel a visitor pass and its booking. Gateways that are online know within seconds. 409 if the pass is over."""
    now = datetime.now(UTC)
    async with database.in_community(request.app.state.pool, member.community_id) as connection:
        unit = await scope.unit_seen(connection, member)
        present = await visitor_passes.get(connection, member.community_id, visitor_pass, unit_id=unit, for_change=True)
        preconditions.check(request, _shown(member, present))
        reason = needed_reason(member.role, body)
        cancelled = _shown(
            member, await visitor_passes.cancel(connection, principal, member.community_id, present, reason, now)
        )
    preconditions.tag(response, cancelled)
    return cancelled


@in_community.get("/visitor-directions", responses=preconditions.READ)
async def get_directions(request: Request, response: Response, member: Member) -> Directions:
    """Read the community's directions for visitors."""
    async with database.in_community(request.app.state.pool, member.community_id, read_only=True) as connection:
        found = Directions(directions=await visitor_passes.directions(connection, member.community_id))
    preconditions.tag(response, found)
    return found


@in_community.put("/visitor-directions", **preconditions.changing(403))
async def put_directions(
    request: Request, response: Response, principal: SignedIn, member: Staff, body: DirectionsBody
) -> Directions:
    """Set the community's directions for visitors."""
    async with database.in_community(request.app.state.pool, member.community_id) as connection:
        present = await visitor_passes.lock_directions(connection, member.community_id)
        preconditions.check(request, Directions(directions=present))
        await visitor_passes.set_directions(connection, principal, member.community_id, body.directions)
    changed = Directions(directions=body.directions)
    preconditions.tag(response, changed)
    return changed


@router.get("/visits/{token}", responses={**preconditions.READ, **answers(404, 429)})
async def get_visit(request: Request, response: Response, token: Token) -> Visit:
    """Show visitors their visitor pass. They need only the link."""
    state, address = request.app.state, security.client_address(request, request.app.state.settings)
    community_id = await visitor_passes.enter(state.pool, token, address)
    async with database.in_community(state.pool, community_id, read_only=True) as connection:
        found = await visitor_passes.visit(connection, community_id, token, datetime.now(UTC))
    if found is None:
        raise problems.not_found()
    await visitor_passes.entered(state.pool, token, address)
    shown = Visit.model_validate(found)
    preconditions.tag(response, shown)
    return shown


@router.put("/visits/{token}", responses={200: preconditions.READ[200], **answers(404, 409, 429)})
async def put_visit(request: Request, response: Response, token: Token, body: VisitPlate) -> Visit:
    """Set the plate of the visitor's pass, 3 times at most. No If-Match is needed: the last request counts."""
    plate = credentials.spelled(body.plate)
    state, address = request.app.state, security.client_address(request, request.app.state.settings)
    community_id = await visitor_passes.enter(state.pool, token, address)
    async with database.in_community(state.pool, community_id) as connection:
        found = await visitor_passes.say_plate(connection, community_id, token, plate, datetime.now(UTC))
    if found is None:
        raise problems.not_found()
    await visitor_passes.entered(state.pool, token, address)
    if isinstance(found, visitor_passes.PlateRefused):
        raise Problem(
            409, "This plate can't be used. Ask the person who invited you.", kind="plate", left=found.attempts_left
        )
    shown = Visit.model_validate(found)
    preconditions.tag(response, shown)
    return shown
