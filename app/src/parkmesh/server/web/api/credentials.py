"""All plates of a community, for its staff, and vehicles: the plates that residents registered."""

import dataclasses
from dataclasses import dataclass
from typing import Literal

from fastapi import APIRouter, Request, Response
from pydantic import AwareDatetime, BaseModel, Field

from parkmesh.domain import plates
from parkmesh.server.access import credentials
from parkmesh.server.db import database
from parkmesh.server.db.database import Connection
from parkmesh.server.http import problems
from parkmesh.server.http.problems import Problem
from parkmesh.server.identity.principals import Membership, Role
from parkmesh.server.people import units
from parkmesh.server.web import paging, preconditions
from parkmesh.server.web.answers import answers
from parkmesh.server.web.api import creating, plate_warnings
from parkmesh.server.web.api.caller import Member, SignedIn, Staff
from parkmesh.server.web.api.creating import Made
from parkmesh.server.web.fields import Body, Id, IdAsked, IdInPath, Label, Plate, Search

in_community = APIRouter(tags=["credentials"])

Status = Literal["active", "revoked"]


class CredentialList(BaseModel):
    items: list[credentials.Credential]
    next: str | None


class CredentialStatus(Body):
    status: Status


class CredentialState(BaseModel):
    plate: str
    status: Status


@dataclass(frozen=True, slots=True)
class RegisteredVehicle(credentials.Credential):
    """A vehicle that was just written, with what to know of its plate."""

    warnings: plate_warnings.Warnings = None


class NewVehicle(Body):
    """``resident_id``: the vehicle's owner. Without it the vehicle belongs to the resident who asks, or, if staff ask,
    to the community. Only staff set the validity."""

    plate: Plate
    label: Label = ""
    resident_id: Id | None = None
    valid_from: AwareDatetime | None = None
    valid_until: AwareDatetime | None = None


class VehicleChange(Body):
    """Absent members stay as they are. Only staff change ``status`` and the validity."""

    plate: Plate = Field(default_factory=str)
    label: Label = Field(default_factory=str)
    status: Status = Field(default_factory=lambda: "active")
    valid_from: AwareDatetime | None = None
    valid_until: AwareDatetime | None = None


_STAFF_ONLY = frozenset({"status", "valid_from", "valid_until"})


@in_community.get("/credentials", responses=answers(403))
async def list_credentials(
    request: Request,
    member: Staff,
    page: paging.Page,
    search: Search = "",
    resident_id: IdAsked = None,
    unit_id: IdAsked = None,
) -> CredentialList:
    """List the community's plates, visitors' plates too."""
    after = page.after(str, int)
    async with database.in_community(request.app.state.pool, member.community_id, read_only=True) as connection:
        found = await credentials.page(
            connection,
            member.community_id,
            limit=page.fetch,
            after=after,
            search=search,
            resident_id=resident_id,
            unit_id=unit_id,
        )
    items, following = page.cut(found, lambda credential: (credential.plate, credential.id))
    return CredentialList(items=items, next=following)


@in_community.put("/credentials/{plate}", responses=answers(403))
async def put_credential(
    request: Request, principal: SignedIn, member: Staff, plate: str, body: CredentialStatus
) -> CredentialState:
    """Revoke or restore a plate, for all its holders. Gateways that are online know within seconds."""
    normal = plates.normalise(plate)
    if normal is None:
        raise problems.not_found()
    async with database.in_community(request.app.state.pool, member.community_id) as connection:
        if not await credentials.set_status(connection, principal, member.community_id, normal, body.status):
            raise problems.not_found()
    return CredentialState(plate=normal, status=body.status)


def _by_staff(member: Membership) -> bool:
    return member.role is not Role.RESIDENT


async def _visible(
    connection: Connection, member: Membership, vehicle: int, *, lock: bool = False
) -> credentials.Credential:
    """Return a vehicle that the member may see: staff see all vehicles, residents their unit's."""
    found = await credentials.get(connection, member.community_id, vehicle, lock=lock)
    if not _by_staff(member) and found.resident_id != member.resident_id:
        own = await units.unit_of(connection, member.community_id, member.resident_id)
        if lock or found.visitor or own is None or found.unit_id != own:
            raise problems.not_found()
    return found


@in_community.get("/vehicles")
async def list_vehicles(request: Request, member: Member, page: paging.Page) -> CredentialList:
    """List vehicles by plate. Residents see their unit's vehicles, staff see all."""
    async with database.in_community(request.app.state.pool, member.community_id, read_only=True) as connection:
        after = page.after(str, int)
        unit = resident = None
        if not _by_staff(member):
            unit = await units.unit_of(connection, member.community_id, member.resident_id)
            # Residents without a unit see their own; accounts without a resident see none.
            resident = None if unit else member.resident_id or 0
        found = await credentials.page(
            connection,
            member.community_id,
            limit=page.fetch,
            after=after,
            unit_id=unit,
            resident_id=resident,
            visitors=False,
        )
    items, following = page.cut(found, lambda credential: (credential.plate, credential.id))
    return CredentialList(items=items, next=following)


@in_community.post("/vehicles", **creating.documented(RegisteredVehicle, 403, 409))
async def add_vehicle(request: Request, principal: SignedIn, member: Member, body: NewVehicle) -> Response:
    """Register a plate. Residents register their own plates, as many as the unit may hold."""
    staff = _by_staff(member)
    if not staff:
        _forbid_others(member, body.resident_id)
        _forbid_staffs(body)
    plate = credentials.spelled(body.plate)

    async def make(connection: Connection) -> Made:
        made = await credentials.add(
            connection,
            principal,
            member.community_id,
            resident_id=body.resident_id if staff else member.resident_id,
            plate=plate,
            label=body.label,
            valid_from=body.valid_from,
            valid_until=body.valid_until,
            by_staff=staff,
        )
        shown = await _registered(connection, member, made)
        return Made(shown, made.id, version=made, secret={"warnings"})

    return await creating.in_community(request, principal, member, body, make)


@in_community.get("/vehicles/{vehicle}", responses=preconditions.READ)
async def get_vehicle(
    request: Request, response: Response, member: Member, vehicle: IdInPath
) -> credentials.Credential:
    """Read a vehicle. Residents read their unit's vehicles."""
    async with database.in_community(request.app.state.pool, member.community_id, read_only=True) as connection:
        found = await _visible(connection, member, vehicle)
    preconditions.tag(response, found)
    return found


@in_community.patch("/vehicles/{vehicle}", **preconditions.changing(403, 409))
async def change_vehicle(
    request: Request, response: Response, principal: SignedIn, member: Member, vehicle: IdInPath, body: VehicleChange
) -> RegisteredVehicle:
    """Change a vehicle's plate or label; staff also its status and validity. Residents change their own vehicles."""
    staff = _by_staff(member)
    if not staff:
        _forbid_staffs(body)
    changes = body.model_dump(exclude_unset=True)
    if "plate" in changes:
        changes["plate"] = credentials.spelled(body.plate)
    async with database.in_community(request.app.state.pool, member.community_id) as connection:
        present = await _visible(connection, member, vehicle, lock=True)
        preconditions.check(request, present)
        changed = await credentials.change(connection, principal, member.community_id, present, changes, by_staff=staff)
        shown = await _registered(connection, member, changed, new_plate=changed.plate != present.plate)
    preconditions.tag(response, changed)
    return shown


@in_community.delete("/vehicles/{vehicle}", **preconditions.deleting(403, 409))
async def remove_vehicle(request: Request, principal: SignedIn, member: Member, vehicle: IdInPath) -> Response:
    """Remove a vehicle. Residents remove their own vehicles, unless staff revoked them."""
    async with database.in_community(request.app.state.pool, member.community_id) as connection:
        present = await _visible(connection, member, vehicle, lock=True)
        preconditions.check(request, present)
        await credentials.remove(connection, principal, member.community_id, present, by_staff=_by_staff(member))
    return Response(status_code=204)


async def _registered(
    connection: Connection, member: Membership, vehicle: credentials.Credential, *, new_plate: bool = True
) -> RegisteredVehicle:
    plate = vehicle.plate if new_plate else None
    warnings = await plate_warnings.of(connection, member, plate, vehicle.unit_id)
    return RegisteredVehicle(**dataclasses.asdict(vehicle), warnings=warnings)


def _forbid_others(member: Membership, resident_id: int | None) -> None:
    if member.resident_id is None or resident_id not in (None, member.resident_id):
        raise Problem(403, "Residents register their own vehicles.")


def _forbid_staffs(body: NewVehicle | VehicleChange) -> None:
    if _STAFF_ONLY & body.model_fields_set:
        raise Problem(403, "Only the community's administrators and the operator's desk may set status and validity.")
