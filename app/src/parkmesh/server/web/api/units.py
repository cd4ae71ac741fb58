"""Units of a community: staff see all units, residents their own."""

from typing import Annotated

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from parkmesh.server.db import database
from parkmesh.server.db.database import Connection
from parkmesh.server.http import problems
from parkmesh.server.identity.principals import Membership, Role
from parkmesh.server.people import units
from parkmesh.server.web import paging, preconditions
from parkmesh.server.web.api import creating
from parkmesh.server.web.api.caller import Member, SignedIn, Staff
from parkmesh.server.web.api.creating import Made
from parkmesh.server.web.fields import Body, IdInPath, Search, Word

in_community = APIRouter(tags=["units"])

Lots = Annotated[int, Field(ge=0, le=1000)]


class Units(BaseModel):
    items: list[units.Unit]
    next: str | None


class NewUnit(Body):
    name: Word
    lots: Lots | None = None
    plate_limit: Lots = units.PLATE_LIMIT


class UnitChange(Body):
    """Absent members stay as they are."""

    name: Word = Field(default_factory=str)
    lots: Lots | None = None
    plate_limit: Lots = Field(default_factory=int)


async def _own_unit(connection: Connection, member: Membership) -> int | None:
    return await units.unit_of(connection, member.community_id, member.resident_id)


@in_community.get("/units")
async def list_units(request: Request, member: Member, page: paging.Page, search: Search = "") -> Units:
    """List units by name. Residents see their own unit."""
    async with database.in_community(request.app.state.pool, member.community_id, read_only=True) as connection:
        if member.role is Role.RESIDENT:
            own = await _own_unit(connection, member)
            unit = await units.get(connection, member.community_id, own) if own else None
            return Units(items=[(unit)] if unit else [], next=None)
        after = page.after(str, int)
        found = await units.page(connection, member.community_id, limit=page.fetch, after=after, search=search)
    items, following = page.cut(found, lambda unit: (unit.name, unit.id))
    return Units(items=items, next=following)


@in_community.post("/units", **creating.documented(units.Unit, 403, 409))
async def create_unit(request: Request, principal: SignedIn, member: Staff, body: NewUnit) -> Response:
    """Add a unit."""

    async def make(connection: Connection) -> Made:
        made = await units.create(connection, principal, member.community_id, body.name, body.lots, body.plate_limit)
        return Made(made, made.id)

    return await creating.in_community(request, principal, member, body, make)


@in_community.get("/units/{unit}", responses=preconditions.READ)
async def get_unit(request: Request, response: Response, member: Member, unit: IdInPath) -> units.Unit:
    """Read a unit. Residents read their own unit."""
    async with database.in_community(request.app.state.pool, member.community_id, read_only=True) as connection:
        if member.role is Role.RESIDENT and unit != await _own_unit(connection, member):
            raise problems.not_found()
        found = await units.get(connection, member.community_id, unit)
    preconditions.tag(response, found)
    return found


@in_community.patch("/units/{unit}", **preconditions.changing(403, 409))
async def change_unit(
    request: Request, response: Response, principal: SignedIn, member: Staff, unit: IdInPath, body: UnitChange
) -> units.Unit:
    """Change a unit's name, its ``lots`` or its ``plate_limit``."""
    async with database.in_community(request.app.state.pool, member.community_id) as connection:
        present = await units.get(connection, member.community_id, unit, lock=True)
        preconditions.check(request, present)
        changes = body.model_dump(exclude_unset=True)
        changed = await units.change(connection, principal, member.community_id, present, changes)
    preconditions.tag(response, changed)
    return changed


@in_community.delete("/units/{unit}", **preconditions.deleting(403, 409))
async def delete_unit(request: Request, principal: SignedIn, member: Staff, unit: IdInPath) -> Response:
    """Delete a unit that has no people and no objects left."""
    async with database.in_community(request.app.state.pool, member.community_id) as connection:
        present = await units.get(connection, member.community_id, unit, lock=True)
        preconditions.check(request, present)
        await units.delete(connection, principal, member.community_id, unit)
    return Response(status_code=204)
