"""Places of a level copied or put in line by one call, after a look at what it would do."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Request
from pydantic import Field, JsonValue, field_validator

from parkmesh.domain import rows
from parkmesh.domain.arrangements import How, NotAlikeError
from parkmesh.server.db import database
from parkmesh.server.http.messages import Message
from parkmesh.server.http.problems import Problem
from parkmesh.server.spaces import arrangements as arranging
from parkmesh.server.spaces import rows as laying
from parkmesh.server.spaces import spaces
from parkmesh.server.spaces.spaces import Category
from parkmesh.server.web.answers import answers
from parkmesh.server.web.api.caller import SignedIn, Staff
from parkmesh.server.web.api.rows import DryRun, RowReport
from parkmesh.server.web.fields import NAME, Body, IdInPath

in_community = APIRouter(tags=["spaces"])

ShortName = Annotated[str, Field(min_length=1, max_length=63, pattern=NAME)]
Offset = Annotated[float, Field(ge=-spaces.MAX_EXTENT, le=spaces.MAX_EXTENT, allow_inf_nan=False)]

_UNIQUE: dict[str, JsonValue] = {"uniqueItems": True}


def _different(names: list[str]) -> list[str]:
    if len(set(names)) < len(names):
        raise ValueError("a name is in it twice")
    return names


class CopyBody(Body):
    """Places to copy, in the unit of the level's map."""

    spaces: list[ShortName] = Field(
        min_length=1,
        max_length=rows.MOST,
        description="Names of the spaces whose places are copied.",
        json_schema_extra=_UNIQUE,
    )
    first: ShortName = Field(
        description="Name of the first copy. The others differ from it as the names in `spaces` differ from its first."
    )
    to_level: int | None = Field(
        default=None, ge=1, le=2**63 - 1, description="Id of the level that gets the copies; null: the same level."
    )
    dx: Offset = Field(default=0, description="How far to the right of its original each copy lies.")
    dy: Offset = Field(default=0, description="How far below its original each copy lies.")
    create: bool = Field(default=False, description="Add the spaces that the community lacks.")
    category: Category = Field(default="assigned", description="Category of the spaces that are added.")
    overlapping: bool = Field(default=False, description="Accept that spaces lie over each other.")

    different = field_validator("spaces")(_different)


class AlignBody(Body):
    """Spaces to put in line."""

    spaces: list[ShortName] = Field(
        min_length=2, max_length=rows.MOST, description="Names of the spaces.", json_schema_extra=_UNIQUE
    )
    how: How = Field(
        description="`left` and `top`: their edges on the line of the outermost. `across` and `down`: equal distances; "
        "the first and the last stay."
    )
    overlapping: bool = Field(default=False, description="Accept that spaces lie over each other.")

    different = field_validator("spaces")(_different)


@in_community.post("/levels/{level}/copies", responses=answers(403, 404, 409))
async def copy_places(
    request: Request, principal: SignedIn, member: Staff, level: IdInPath, body: CopyBody, dry_run: DryRun = True
) -> RowReport:
    """Copy places of a level to others beside them or to another level, completely or not at all.

    A copy that has the name of a space moves that space. 409 names in `spaces` those that have no place on the level
    (`unplaced`), and those that are in the way, as for rows.
    """
    identity = member.community_id
    async with database.in_community(request.app.state.pool, identity, read_only=dry_run) as connection:
        source = await spaces.level(connection, identity, level)
        target = await spaces.level(connection, identity, body.to_level or level, for_change=not dry_run)
        present = await spaces.all_of(connection, identity)
        try:
            plan = arranging.copy(source, target, present, body.spaces, body.first, body.dx, body.dy)
        except NotAlikeError as wrong:
            what = Message("first: the name of the copy of %(name)s can't follow from it", name=str(wrong))
            raise Problem(422, what, kind="invalid") from None
        if not dry_run:
            laying.check(plan, create=body.create, overlapping=body.overlapping)
            await laying.apply(connection, principal, identity, target, plan, body.category, datetime.now(UTC))
    return RowReport.of(plan, applied=not dry_run)


@in_community.post("/levels/{level}/alignments", responses=answers(403, 404, 409))
async def align_places(
    request: Request, principal: SignedIn, member: Staff, level: IdInPath, body: AlignBody, dry_run: DryRun = True
) -> RowReport:
    """Put spaces of a level in line or at equal distances, completely or not at all.

    Edges are those that are seen once the space is turned. 409 names in `spaces` those that have no place on the level
    (`unplaced`), those that would lie outside of it (`outside`) or, while `overlapping` is false, over each other
    (`overlap`).
    """
    identity = member.community_id
    async with database.in_community(request.app.state.pool, identity, read_only=dry_run) as connection:
        found = await spaces.level(connection, identity, level, for_change=not dry_run)
        present = await spaces.all_of(connection, identity)
        plan = arranging.align(found, present, body.spaces, body.how)
        if not dry_run:
            laying.check(plan, create=False, overlapping=body.overlapping)
            await laying.apply(connection, principal, identity, found, plan, "assigned", datetime.now(UTC))
    return RowReport.of(plan, applied=not dry_run)
