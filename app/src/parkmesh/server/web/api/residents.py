"""The residents of a community, and the accounts that belong to the community."""

from datetime import datetime
from typing import Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from parkmesh.server.db import database
from parkmesh.server.db.database import Connection
from parkmesh.server.http import problems
from parkmesh.server.identity.principals import Role
from parkmesh.server.people import members, residents
from parkmesh.server.web import paging, preconditions
from parkmesh.server.web.answers import answers
from parkmesh.server.web.api import creating
from parkmesh.server.web.api.caller import Member as AnyMember
from parkmesh.server.web.api.caller import PersonStaff, SignedIn, Staff
from parkmesh.server.web.api.creating import Made
from parkmesh.server.web.fields import Body, Email, Id, IdAsked, IdInPath, Search, Title

in_community = APIRouter(tags=["people"])

CommunityRole = Literal["administrator", "auditor", "resident"]


class Resident(BaseModel):
    """``role``: the role of the person's account in the community, null if the person has no account.
    ``erasure_asked_at``: when the person asked to have their data erased, null if they didn't."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    email: str
    name: str
    unit_id: int | None
    unit: str | None
    active: bool
    role: CommunityRole | None
    erasure_asked_at: datetime | None


class Residents(BaseModel):
    items: list[Resident]
    next: str | None


class NewResident(Body):
    email: Email
    name: Title
    unit_id: Id | None = None


class ResidentChange(Body):
    """Absent members stay as they are. ``active`` false: the person has left; their plates open no gate, and their
    account no longer belongs to the community."""

    email: Email = Field(default_factory=str)
    name: Title = Field(default_factory=str)
    unit_id: Id | None = None
    active: bool = Field(default_factory=bool)


class Member(BaseModel):
    """An account of the community. ``resident_id``: the account's resident, null if its owner doesn't live there."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    email: str
    name: str
    role: CommunityRole
    resident_id: int | None


class Members(BaseModel):
    items: list[Member]
    next: str | None


class MemberChange(Body):
    role: CommunityRole


@in_community.get("/residents", responses=answers(403))
async def list_residents(
    request: Request,
    member: Staff,
    page: paging.Page,
    search: Search = "",
    unit_id: IdAsked = None,
) -> Residents:
    """List the people of the community by name."""
    after = page.after(str, int)
    async with database.in_community(request.app.state.pool, member.community_id, read_only=True) as connection:
        found = await residents.page(
            connection, member.community_id, limit=page.fetch, after=after, unit_id=unit_id, search=search
        )
    items, following = page.cut(found, lambda resident: (resident.name, resident.id))
    return Residents(items=[Resident.model_validate(resident) for resident in items], next=following)


@in_community.post("/residents", **creating.documented(Resident, 403, 409))
async def create_resident(request: Request, principal: SignedIn, member: Staff, body: NewResident) -> Response:
    """Add a person. The person has no account until they accept an invitation."""

    async def make(connection: Connection) -> Made:
        made = Resident.model_validate(
            await residents.create(connection, principal, member.community_id, body.email, body.name, body.unit_id)
        )
        return Made(made, made.id)

    return await creating.in_community(request, principal, member, body, make)


@in_community.get("/residents/{resident}", responses=preconditions.READ)
async def get_resident(request: Request, response: Response, member: AnyMember, resident: IdInPath) -> Resident:
    """Read a person. Residents read their own entry."""
    if member.role is Role.RESIDENT and resident != member.resident_id:
        raise problems.not_found()
    async with database.in_community(request.app.state.pool, member.community_id, read_only=True) as connection:
        found = Resident.model_validate(await residents.get(connection, member.community_id, resident))
    preconditions.tag(response, found)
    return found


@in_community.patch("/residents/{resident}", **preconditions.changing(403, 409))
async def change_resident(
    request: Request, response: Response, principal: SignedIn, member: Staff, resident: IdInPath, body: ResidentChange
) -> Resident:
    """Change a person's name, unit or address, or deactivate a person who has left."""
    async with database.in_community(request.app.state.pool, member.community_id) as connection:
        present = await residents.get(connection, member.community_id, resident, lock=True)
        preconditions.check(request, Resident.model_validate(present))
        changed = Resident.model_validate(
            await residents.change(
                connection, principal, member.community_id, present, body.model_dump(exclude_unset=True)
            )
        )
    preconditions.tag(response, changed)
    return changed


@in_community.delete("/residents/{resident}", **preconditions.deleting(403, 409))
async def delete_resident(request: Request, principal: SignedIn, member: Staff, resident: IdInPath) -> Response:
    """Delete a person who was entered by mistake and has no plates, bookings or other objects."""
    async with database.in_community(request.app.state.pool, member.community_id) as connection:
        present = await residents.get(connection, member.community_id, resident, lock=True)
        preconditions.check(request, Resident.model_validate(present))
        await residents.delete(connection, principal, member.community_id, present)
    return Response(status_code=204)


@in_community.get("/members", responses=answers(403))
async def list_members(request: Request, member: Staff, page: paging.Page) -> Members:
    """List the accounts that belong to the community, by e-mail address."""
    after = page.after(str, int)
    async with members.with_accounts(request.app.state.pool, member.community_id) as connection:
        found = await members.page(connection, member.community_id, limit=page.fetch, after=after)
    items, following = page.cut(found, lambda item: (item.email, item.id))
    return Members(items=[Member.model_validate(item) for item in items], next=following)


@in_community.get("/members/{user}", responses={**preconditions.READ, **answers(403)})
async def get_member(request: Request, response: Response, member: Staff, user: IdInPath) -> Member:
    """Read one account of the community."""
    async with members.with_accounts(request.app.state.pool, member.community_id) as connection:
        found = Member.model_validate(await members.get(connection, member.community_id, user))
    preconditions.tag(response, found)
    return found


@in_community.patch("/members/{user}", **preconditions.changing(403, 409))
async def change_member(
    request: Request, response: Response, principal: SignedIn, member: PersonStaff, user: IdInPath, body: MemberChange
) -> Member:
    """Give an account another role. The role applies from the account's next request."""
    async with members.with_accounts(request.app.state.pool, member.community_id) as connection:
        present = await members.get(connection, member.community_id, user, lock=True)
        preconditions.check(request, Member.model_validate(present))
        changed = Member.model_validate(
            await members.change_role(connection, principal, member.community_id, present, Role(body.role))
        )
    preconditions.tag(response, changed)
    return changed


@in_community.delete("/members/{user}", **preconditions.deleting(403, 409))
async def remove_member(request: Request, principal: SignedIn, member: PersonStaff, user: IdInPath) -> Response:
    """Remove an account from the community. The person and their plates stay."""
    async with members.with_accounts(request.app.state.pool, member.community_id) as connection:
        present = await members.get(connection, member.community_id, user, lock=True)
        preconditions.check(request, Member.model_validate(present))
        await members.remove(connection, principal, member.community_id, present)
    return Response(status_code=204)
