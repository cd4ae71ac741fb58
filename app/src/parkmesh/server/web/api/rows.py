"""Rows of spaces: staff place many spaces of a level by one call, and see before what it would do."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field, model_validator

from parkmesh.domain import rows
from parkmesh.server.db import database
from parkmesh.server.spaces import rows as laying
from parkmesh.server.spaces import spaces
from parkmesh.server.spaces.spaces import Category
from parkmesh.server.web.answers import answers
from parkmesh.server.web.api.caller import SignedIn, Staff
from parkmesh.server.web.fields import NAME, Body, IdInPath

in_community = APIRouter(tags=["spaces"])

Coordinate = Annotated[float, Field(ge=0, le=spaces.MAX_EXTENT, allow_inf_nan=False)]
Extent = Annotated[float, Field(gt=0, le=spaces.MAX_EXTENT, allow_inf_nan=False)]
Angle = Annotated[float, Field(ge=0, lt=360, allow_inf_nan=False)]


class RowBody(Body):
    """Equal spaces one after the other, in the unit of the level's map."""

    first: Annotated[str, Field(min_length=1, max_length=54, pattern=NAME)] = Field(
        description="Name of the first space, with a number at its end that the other names count on from."
    )
    name_step: int = Field(default=1, ge=-100, le=100, description="By how much the number counts on; not 0.")
    count: int = Field(ge=1, le=rows.MOST, description="How many spaces the row has.")
    x: Coordinate = Field(description="Left edge of the first space, before it is turned.")
    y: Coordinate = Field(description="Top edge of the first space, before it is turned.")
    w: Extent = Field(description="Width of each space.")
    h: Extent = Field(description="Depth of each space.")
    rotation: Angle = Field(default=0, description="Degrees clockwise by which each space is turned about its middle.")
    direction: Angle = Field(default=0, description="Where the row runs to: 0 is to the right, 90 downwards.")
    gap: float = Field(default=0, ge=0, le=1000, allow_inf_nan=False, description="What stays free between neighbours.")
    create: bool = Field(default=False, description="Add the spaces that the community lacks.")
    category: Category = Field(default="assigned", description="Category of the spaces that are added.")
    overlapping: bool = Field(default=False, description="Accept that spaces lie over each other.")

    @model_validator(mode="after")
    def _named(self) -> "RowBody":
        try:
            self.names()
        except rows.NotNumberedError:
            raise ValueError("first has no number at its end from which count names can count on") from None
        return self

    def names(self) -> list[str]:
        return rows.names(self.first, self.name_step, self.count)

    def places(self) -> list[rows.Place]:
        first = rows.Place(self.x, self.y, self.w, self.h, self.rotation)
        return rows.places(rows.Row(first, self.direction, self.gap, self.count))


class RowSpace(BaseModel):
    """A space of the row."""

    model_config = ConfigDict(from_attributes=True)

    name: str = Field(description="The space's name.")
    geometry: spaces.Geometry = Field(description="Where it lies on the level's map.")
    new: bool = Field(description="The community had no space of this name.")


class RowReport(BaseModel):
    """What a row does, or would do."""

    model_config = ConfigDict(from_attributes=True)

    applied: bool = Field(description="Whether the spaces were placed.")
    spaces: list[RowSpace] = Field(description="The spaces of the row, in its order.")
    elsewhere: list[str] = Field(description="Names of spaces of the row that are on another level.")
    outside: list[str] = Field(description="Names of spaces that would lie outside of the level.")
    overlaps: list[tuple[str, str]] = Field(description="Pairs of names of spaces that would lie over each other.")

    @classmethod
    def of(cls, plan: laying.Plan, *, applied: bool) -> "RowReport":
        return cls(
            applied=applied,
            spaces=[RowSpace.model_validate(space) for space in plan.spaces],
            elsewhere=plan.elsewhere,
            outside=plan.outside,
            overlaps=plan.overlaps,
        )


DryRun = Annotated[bool, Query(description="Only tell what the row would do.")]


@in_community.post("/levels/{level}/rows", responses=answers(403, 404, 409))
async def place_row(
    request: Request, principal: SignedIn, member: Staff, level: IdInPath, body: RowBody, dry_run: DryRun = True
) -> RowReport:
    """Place a row of spaces on a level's map, completely or not at all. Spaces that the row names are moved there.

    409 names in `spaces` those that are in the way: on another level (`elsewhere`), outside of the level (`outside`),
    lacking while `create` is false (`missing`), over each other while `overlapping` is false (`overlap`). The same
    call again changes nothing more.
    """
    identity = member.community_id
    async with database.in_community(request.app.state.pool, identity, read_only=dry_run) as connection:
        found = await spaces.level(connection, identity, level, for_change=not dry_run)
        present = await spaces.all_of(connection, identity)
        plan = laying.plan(found, present, body.names(), body.places())
        if not dry_run:
            laying.check(plan, create=body.create, overlapping=body.overlapping)
            await laying.apply(connection, principal, identity, found, plan, body.category, datetime.now(UTC))
    return RowReport.of(plan, applied=not dry_run)
