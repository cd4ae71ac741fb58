"""Levels, spaces and assignments: staff manage them, all members see the map."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self

from fastapi import APIRouter, Path, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field, model_validator

from parkmesh.server.db import database
from parkmesh.server.db.database import Connection
from parkmesh.server.reservations import assignments
from parkmesh.server.spaces import space_counts, spaces
from parkmesh.server.spaces.spaces import Category
from parkmesh.server.web import paging, preconditions
from parkmesh.server.web.api import creating, scope
from parkmesh.server.web.api.caller import Member, SignedIn, Staff
from parkmesh.server.web.api.creating import Made
from parkmesh.server.web.api.times import Moment, Shown
from parkmesh.server.web.api.whole_and_part import merged, part, whole
from parkmesh.server.web.fields import NAME, PRINTABLE, Body, Id, IdInPath, Name, Word

in_community = APIRouter(tags=["spaces"])

SpaceInPath = Annotated[str, Path(min_length=1, max_length=63, pattern=NAME)]
LevelName = Annotated[str, Field(max_length=60, pattern=PRINTABLE)]
LevelAsked = Annotated[str | None, Query(max_length=60, pattern=PRINTABLE, description="Name of the level.")]
Extent = Annotated[float, Field(gt=0, le=spaces.MAX_EXTENT, allow_inf_nan=False)]
Coordinate = Annotated[float, Field(ge=0, le=spaces.MAX_EXTENT, allow_inf_nan=False)]


class Levels(BaseModel):
    items: list[spaces.Level]
    next: str | None


class LevelBody(Body):
    """``ordinal`` orders levels, lowest first. Give ``width`` and ``height`` together, in the unit of the spaces'
    geometry."""

    name: Word
    ordinal: int = Field(default=0, ge=-1000, le=1000)
    width: Extent | None = None
    height: Extent | None = None

    @model_validator(mode="after")
    def _both(self) -> Self:
        if (self.width is None) != (self.height is None):
            raise ValueError("width and height go together")
        return self


class GeometryBody(Body):
    x: Coordinate
    y: Coordinate
    w: Extent
    h: Extent
    rotation: float = Field(default=0, ge=0, lt=360, allow_inf_nan=False)


class Space(BaseModel):
    """``unit`` is the unit that the space is assigned to now: staff see it of all spaces, residents of their own. Of
    spaces assigned to other units or to none, residents are told no state."""

    model_config = ConfigDict(from_attributes=True)

    name: str
    level: str
    category: Category
    ev: bool
    accessible: bool
    geometry: spaces.Geometry | None
    status: Literal["free", "occupied", "unknown"] = Field(
        description="unknown while its gateway is silent, or if the caller may not know it."
    )
    since: datetime | None = Field(description="When the state began; null for one that isn't known.")
    reported_at: datetime | None = Field(description="When the space's sensor last reported.")
    unit: str | None


class Spaces(BaseModel):
    items: list[Space]
    next: str | None


class SpaceBody(Body):
    """A ``level`` that doesn't exist yet is made."""

    level: LevelName = ""
    category: Category
    ev: bool = False
    accessible: bool = False
    geometry: GeometryBody | None = None

    def attributes(self) -> spaces.Attributes:
        place = self.geometry
        return spaces.Attributes(
            level=self.level,
            category=self.category,
            ev=self.ev,
            accessible=self.accessible,
            geometry=None if place is None else spaces.Geometry(place.x, place.y, place.w, place.h, place.rotation),
        )


_WholeLevel: Any = whole(LevelBody, "WholeLevel")
_LevelChange: Any = part(LevelBody, "LevelChange")
_WholeSpace: Any = whole(SpaceBody, "WholeSpace")
_SpaceChange: Any = part(SpaceBody, "SpaceChange")


class WholeLevel(_WholeLevel):  # type: ignore[misc]  # its base is made at run time
    """All fields of a level. Give ``width`` and ``height`` together, in the unit of the spaces' geometry."""


class LevelChange(_LevelChange):  # type: ignore[misc]  # as above
    """The fields of a level that change."""


class WholeSpace(_WholeSpace):  # type: ignore[misc]  # as above
    """All fields of a space but its name. A level that there isn't yet is made."""


class SpaceChange(_SpaceChange):  # type: ignore[misc]  # as above
    """The fields of a space that change. ``geometry`` null takes the space off the map."""


class NewSpace(SpaceBody):
    """A space's name never changes, because sensors and signs use it."""

    name: Name


class SpaceAttributes(BaseModel):
    """The attributes that staff set for a space. Its ETag covers only these, so it doesn't change with every car."""

    model_config = ConfigDict(from_attributes=True)

    name: str
    level: str
    category: Category
    ev: bool
    accessible: bool
    geometry: spaces.Geometry | None


class Assignment(Shown):
    """``until`` null: the assignment has no end."""

    id: int
    space: str
    unit: str
    unit_id: int
    until: datetime | None


class Assignments(BaseModel):
    items: list[Assignment]
    next: str | None


class AssignedTime(Body):
    from_: Moment = Field(alias="from")
    until: Moment | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.until is not None and not self.from_ < self.until:
            raise ValueError("until must be later than from")
        return self


_WholeAssignedTime: Any = whole(AssignedTime, "WholeAssignedTime")


class WholeAssignedTime(_WholeAssignedTime):  # type: ignore[misc]  # as above
    """When a space belongs to a unit. ``until`` null: for good."""


class NewAssignment(AssignedTime):
    space: Name
    unit_id: Id


def _tag(space: spaces.Space) -> str:
    return preconditions.etag(SpaceAttributes.model_validate(space))


@in_community.get("/levels")
async def list_levels(request: Request, member: Member, page: paging.Page) -> Levels:
    """List levels, lowest first."""
    async with database.in_community(request.app.state.pool, member.community_id, read_only=True) as connection:
        found = await spaces.levels(connection, member.community_id, limit=page.fetch, after=page.after(int, int))
    items, following = page.cut(found, lambda level: (level.ordinal, level.id))
    return Levels(items=items, next=following)


@in_community.post("/levels", **creating.documented(spaces.Level, 403, 409))
async def create_level(request: Request, principal: SignedIn, member: Staff, body: LevelBody) -> Response:
    """Add a level."""

    async def make(connection: Connection) -> Made:
        made = await spaces.create_level(
            connection, principal, member.community_id, body.name, body.ordinal, body.width, body.height
        )
        return Made(made, made.id)

    return await creating.in_community(request, principal, member, body, make)


@in_community.get("/levels/{level}", responses=preconditions.READ)
async def get_level(request: Request, response: Response, member: Member, level: IdInPath) -> spaces.Level:
    """Read a level."""
    async with database.in_community(request.app.state.pool, member.community_id, read_only=True) as connection:
        found = await spaces.level(connection, member.community_id, level)
    preconditions.tag(response, found)
    return found


@in_community.put("/levels/{level}", **preconditions.changing(403, 409))
async def put_level(
    request: Request, response: Response, principal: SignedIn, member: Staff, level: IdInPath, body: WholeLevel
) -> spaces.Level:
    """Set all fields of a level. Its spaces follow its name."""
    return await _change_level(request, response, principal, member, level, lambda _: body)


@in_community.patch("/levels/{level}", **preconditions.changing(403, 409))
async def patch_level(
    request: Request, response: Response, principal: SignedIn, member: Staff, level: IdInPath, body: LevelChange
) -> spaces.Level:
    """Change some fields of a level; the others stay as they are. Its spaces follow its name."""
    return await _change_level(
        request, response, principal, member, level, lambda present: merged(WholeLevel, present, body)
    )


async def _change_level(
    request: Request,
    response: Response,
    principal: SignedIn,
    member: Staff,
    level: int,
    wanted: Callable[[spaces.Level], LevelBody],
) -> spaces.Level:
    async with database.in_community(request.app.state.pool, member.community_id) as connection:
        present = await spaces.level(connection, member.community_id, level, for_change=True)
        preconditions.check(request, present)
        body = wanted(present)
        changed = await spaces.change_level(
            connection, principal, member.community_id, level, body.name, body.ordinal, body.width, body.height
        )
    preconditions.tag(response, changed)
    return changed


@in_community.delete("/levels/{level}", **preconditions.deleting(403, 409))
async def delete_level(request: Request, principal: SignedIn, member: Staff, level: IdInPath) -> Response:
    """Delete a level without spaces."""
    async with database.in_community(request.app.state.pool, member.community_id) as connection:
        present = await spaces.level(connection, member.community_id, level, for_change=True)
        preconditions.check(request, present)
        await spaces.delete_level(connection, principal, member.community_id, level)
    return Response(status_code=204)


@in_community.get("/spaces")
async def list_spaces(
    request: Request,
    member: Member,
    page: paging.Page,
    level: LevelAsked = None,
    category: Category | None = None,
    ev: bool | None = None,
    accessible: bool | None = None,
) -> Spaces:
    """List the community's spaces with their states, by name. Residents are told no state of others' spaces."""
    after = page.after(str)
    async with database.in_community(request.app.state.pool, member.community_id, read_only=True) as connection:
        found = await spaces.page(
            connection,
            member.community_id,
            limit=page.fetch,
            after=after[0] if after else None,
            unit_seen=await scope.unit_seen(connection, member),
            level=level,
            category=category,
            ev=ev,
            accessible=accessible,
        )
    items, following = page.cut(found, lambda space: (space.name,))
    return Spaces(items=[Space.model_validate(space) for space in items], next=following)


@in_community.post("/spaces", **creating.documented(Space, 403, 409))
async def create_space(request: Request, principal: SignedIn, member: Staff, body: NewSpace) -> Response:
    """Add a space."""

    async def make(connection: Connection) -> Made:
        made = await spaces.create(connection, principal, member.community_id, body.name, body.attributes())
        return Made(Space.model_validate(made), made.name, version=SpaceAttributes.model_validate(made))

    return await creating.in_community(request, principal, member, body, make)


@in_community.get("/spaces/{space}", responses=preconditions.READ)
async def get_space(request: Request, response: Response, member: Member, space: SpaceInPath) -> Space:
    """Read a space. Its ETag covers the attributes that staff set, not its state. Residents are told no state of
    others' spaces."""
    async with database.in_community(request.app.state.pool, member.community_id, read_only=True) as connection:
        unit = await scope.unit_seen(connection, member)
        found = await spaces.get(connection, member.community_id, space, unit_seen=unit)
    response.headers["ETag"] = _tag(found)
    return Space.model_validate(found)


@in_community.put("/spaces/{space}", **preconditions.changing(403, 409))
async def put_space(
    request: Request, response: Response, principal: SignedIn, member: Staff, space: SpaceInPath, body: WholeSpace
) -> Space:
    """Set what a space is for and where it is on the map."""
    return await _change_space(request, response, principal, member, space, lambda _: body)


@in_community.patch("/spaces/{space}", **preconditions.changing(403, 409))
async def patch_space(
    request: Request, response: Response, principal: SignedIn, member: Staff, space: SpaceInPath, body: SpaceChange
) -> Space:
    """Change some of what a space is for and where it is on the map; the rest stays as it is."""
    return await _change_space(
        request, response, principal, member, space, lambda present: merged(WholeSpace, present, body)
    )


async def _change_space(
    request: Request,
    response: Response,
    principal: SignedIn,
    member: Staff,
    space: str,
    wanted: Callable[[SpaceAttributes], SpaceBody],
) -> Space:
    async with database.in_community(request.app.state.pool, member.community_id) as connection:
        await spaces.lock(connection, member.community_id, space)
        present = SpaceAttributes.model_validate(await spaces.get(connection, member.community_id, space))
        preconditions.check(request, present)
        attributes = wanted(present).attributes()
        changed = await spaces.change(connection, principal, member.community_id, space, attributes, datetime.now(UTC))
    response.headers["ETag"] = _tag(changed)
    return Space.model_validate(changed)


@in_community.delete("/spaces/{space}", **preconditions.deleting(403, 409))
async def delete_space(request: Request, principal: SignedIn, member: Staff, space: SpaceInPath) -> Response:
    """Delete a space that was never assigned or booked."""
    async with database.in_community(request.app.state.pool, member.community_id) as connection:
        await spaces.lock(connection, member.community_id, space)
        present = await spaces.get(connection, member.community_id, space)
        preconditions.check(request, SpaceAttributes.model_validate(present))
        await spaces.delete(connection, principal, member.community_id, space)
    return Response(status_code=204)


@in_community.get("/space-counts")
async def count_spaces(request: Request, member: Member) -> space_counts.CommunityCounts:
    """Count free, occupied and unknown spaces, by level and by kind. To residents, spaces assigned to others are
    unknown."""
    async with database.in_community(request.app.state.pool, member.community_id, read_only=True) as connection:
        unit = await scope.unit_seen(connection, member)
        return await space_counts.count(connection, member.community_id, unit_seen=unit)


@in_community.get("/assignments")
async def list_assignments(
    request: Request,
    member: Member,
    page: paging.Page,
    space: Annotated[str | None, Query(max_length=63, pattern=NAME)] = None,
) -> Assignments:
    """List assignments of spaces to units. Residents see their unit's assignments."""
    async with database.in_community(request.app.state.pool, member.community_id, read_only=True) as connection:
        found = await assignments.page(
            connection,
            member.community_id,
            limit=page.fetch,
            after=page.after(str, datetime),
            unit_id=await scope.unit_seen(connection, member),
            space=space,
        )
    items, following = page.cut(found, lambda assignment: (assignment.space, assignment.from_))
    return Assignments(items=[Assignment.model_validate(item) for item in items], next=following)


@in_community.post("/assignments", **creating.documented(Assignment, 403, 409))
async def create_assignment(request: Request, principal: SignedIn, member: Staff, body: NewAssignment) -> Response:
    """Assign a space to a unit. 409 `overlap` names the window in which the space is assigned to another unit."""

    async def make(connection: Connection) -> Made:
        unit = await scope.unit_acting(connection, member, body.unit_id)
        made = Assignment.model_validate(
            await assignments.create(
                connection,
                principal,
                member.community_id,
                body.space,
                unit,
                body.from_,
                body.until,
                datetime.now(UTC),
            )
        )
        return Made(made, made.id)

    return await creating.in_community(request, principal, member, body, make)


@in_community.get("/assignments/{assignment}", responses=preconditions.READ)
async def get_assignment(request: Request, response: Response, member: Member, assignment: IdInPath) -> Assignment:
    """Read an assignment. Residents read their unit's assignments."""
    async with database.in_community(request.app.state.pool, member.community_id, read_only=True) as connection:
        unit = await scope.unit_seen(connection, member)
        found = Assignment.model_validate(
            await assignments.get(connection, member.community_id, assignment, unit_id=unit)
        )
    preconditions.tag(response, found)
    return found


@in_community.put("/assignments/{assignment}", **preconditions.changing(403, 409))
async def put_assignment(
    request: Request,
    response: Response,
    principal: SignedIn,
    member: Staff,
    assignment: IdInPath,
    body: WholeAssignedTime,
) -> Assignment:
    """Change the window of an assignment. 409 names the window in which the space is assigned to another unit, or the
    window of a booking that would lose its sharing."""
    now = datetime.now(UTC)
    async with database.in_community(request.app.state.pool, member.community_id) as connection:
        present = await assignments.hold(connection, member.community_id, assignment)
        preconditions.check(request, Assignment.model_validate(present))
        changed = Assignment.model_validate(
            await assignments.change(connection, principal, member.community_id, present, body.from_, body.until, now)
        )
    preconditions.tag(response, changed)
    return changed


@in_community.delete("/assignments/{assignment}", **preconditions.deleting(403, 409))
async def delete_assignment(request: Request, principal: SignedIn, member: Staff, assignment: IdInPath) -> Response:
    """Delete an assignment. 409 names the booking if the space is booked while the unit shares it."""
    now = datetime.now(UTC)
    async with database.in_community(request.app.state.pool, member.community_id) as connection:
        present = await assignments.hold(connection, member.community_id, assignment)
        preconditions.check(request, Assignment.model_validate(present))
        await assignments.delete(connection, principal, member.community_id, present, now)
    return Response(status_code=204)
