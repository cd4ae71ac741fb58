"""Sharing an assigned space while its unit is away. Residents act for their unit, staff for the unit that has the space
now or next."""

from datetime import UTC, date, datetime, time
from typing import Annotated, Any, Literal, Self

from fastapi import APIRouter, Path, Request, Response
from pydantic import BaseModel, ConfigDict, Field, field_serializer, field_validator, model_validator

from parkmesh.domain.sharing import Weekly
from parkmesh.server.db import database
from parkmesh.server.db.database import Connection
from parkmesh.server.identity.principals import Membership
from parkmesh.server.reservations import sharing
from parkmesh.server.web import preconditions
from parkmesh.server.web.answers import answers
from parkmesh.server.web.api import creating, scope
from parkmesh.server.web.api.caller import Member, SignedIn
from parkmesh.server.web.api.creating import Made
from parkmesh.server.web.api.spaces import SpaceInPath
from parkmesh.server.web.api.times import Asked, Day, Shown, Stretch
from parkmesh.server.web.api.whole_and_part import whole
from parkmesh.server.web.fields import Body, IdInPath

in_community = APIRouter(tags=["sharing"], prefix="/spaces/{space}/sharing")

DayName = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]
DAYS: tuple[DayName, ...] = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
Reading = Annotated[str, Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$", description="By the community's clock.")]
DayInPath = Annotated[Day, Path(description="By the community's clock.")]


class SharedWindow(Shown):
    id: int
    until: datetime


class Pattern(BaseModel):
    """Every week on ``days`` from ``starts`` to ``ends`` by the community's clock; if ``ends`` isn't later than
    ``starts``, it is on the next day. A clock time means the first moment at which the clock shows that time or a later
    one."""

    model_config = ConfigDict(from_attributes=True)

    id: int
    days: list[DayName]
    starts: time
    ends: time
    first_day: date
    last_day: date | None

    @field_validator("days", mode="before")
    @classmethod
    def _names(cls, days: list[int]) -> list[DayName]:
        return [DAYS[day] for day in days]

    @field_serializer("starts", "ends")
    def _reading(self, value: time) -> str:
        return value.isoformat("minutes")


class PatternBody(Body):
    days: list[DayName] = Field(min_length=1, max_length=7)
    starts: Reading
    ends: Reading
    first_day: Day
    last_day: Day | None = None

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.last_day is not None and self.last_day < self.first_day:
            raise ValueError("last_day must not be before first_day")
        return self

    def weekly(self) -> Weekly:
        return Weekly(
            frozenset(DAYS.index(day) for day in self.days),
            time.fromisoformat(self.starts),
            time.fromisoformat(self.ends),
            self.first_day,
            self.last_day,
        )


_WholePattern: Any = whole(PatternBody, "WholePattern")


class WholePattern(_WholePattern):  # type: ignore[misc]  # its base is made at run time
    """All fields of a pattern. ``last_day`` null: until further notice."""


class BlockedDay(BaseModel):
    day: date


class BlockedDayBody(Body):
    day: Day


class BookedStretch(Stretch):
    """When a shared space is booked, and by whom. Both names are null while the waiting list only offers that time."""

    unit: str | None = Field(description="Name of the unit that booked it.")
    resident: str | None = Field(
        description="Name of the resident who booked it; null where staff did or they left the unit."
    )


class Sharing(BaseModel):
    """``windows``, ``patterns``, ``blocked_days`` and ``withheld`` (windows that were taken back) are the unit's input.
    ``shared`` is the result: when the space is shared, as far ahead as bookings may begin. ``booked`` is when it is
    booked and by whom, ``open`` when it is still free to book."""

    model_config = ConfigDict(from_attributes=True)

    space: str
    unit: str
    windows: list[SharedWindow]
    patterns: list[Pattern]
    blocked_days: list[date]
    withheld: list[Stretch]
    shared: list[Stretch]
    booked: list[BookedStretch]
    open: list[Stretch]


async def _hold(connection: Connection, member: Membership, space: str, now: datetime) -> sharing.Held:
    unit = await scope.unit_seen(connection, member)
    return await sharing.hold(connection, member.community_id, space, unit, now)


async def _read(connection: Connection, member: Membership, space: str, now: datetime) -> Sharing:
    unit = await scope.unit_seen(connection, member)
    return Sharing.model_validate(await sharing.get(connection, member.community_id, space, unit, now))


@in_community.get("")
async def get_sharing(request: Request, member: Member, space: SpaceInPath) -> Sharing:
    """Read the sharing of a space of one's own unit."""
    async with database.in_community(request.app.state.pool, member.community_id, read_only=True) as connection:
        return await _read(connection, member, space, datetime.now(UTC))


@in_community.post("/windows", **creating.documented(SharedWindow, 409))
async def share_window(
    request: Request, principal: SignedIn, member: Member, space: SpaceInPath, body: Asked
) -> Response:
    """Share the space for one window. Parts that were taken back are shared again; blocked days stay blocked."""
    now = datetime.now(UTC)

    async def make(connection: Connection) -> Made:
        held = await _hold(connection, member, space, now)
        made = SharedWindow.model_validate(
            await sharing.share_once(connection, principal, member.community_id, held, body.window, now)
        )
        return Made(made)

    return await creating.in_community(request, principal, member, body, make)


@in_community.delete("/windows/{window}", **preconditions.deleting(409))
async def stop_window(
    request: Request, principal: SignedIn, member: Member, space: SpaceInPath, window: IdInPath
) -> Response:
    """Take back a whole window. 409 names the booking if the space is booked in the window."""
    now = datetime.now(UTC)
    async with database.in_community(request.app.state.pool, member.community_id) as connection:
        held = await _hold(connection, member, space, now)
        present = await sharing.once(connection, member.community_id, held, window)
        preconditions.check(request, SharedWindow.model_validate(present))
        await sharing.stop(connection, principal, member.community_id, held, window, now)
    return Response(status_code=204)


@in_community.post("/patterns", **creating.documented(Pattern, 409))
async def share_weekly(
    request: Request, principal: SignedIn, member: Member, space: SpaceInPath, body: PatternBody
) -> Response:
    """Share the space every week."""
    now = datetime.now(UTC)

    async def make(connection: Connection) -> Made:
        held = await _hold(connection, member, space, now)
        made = Pattern.model_validate(
            await sharing.share_weekly(connection, principal, member.community_id, held, body.weekly(), now)
        )
        return Made(made)

    return await creating.in_community(request, principal, member, body, make)


@in_community.put("/patterns/{pattern}", **preconditions.changing(409))
async def put_pattern(
    request: Request,
    response: Response,
    principal: SignedIn,
    member: Member,
    space: SpaceInPath,
    pattern: IdInPath,
    body: WholePattern,
) -> Pattern:
    """Change a pattern. 409 names the booking if the space is booked at a time that would no longer be shared."""
    now = datetime.now(UTC)
    async with database.in_community(request.app.state.pool, member.community_id) as connection:
        held = await _hold(connection, member, space, now)
        present = await sharing.pattern(connection, member.community_id, held, pattern)
        preconditions.check(request, Pattern.model_validate(present))
        changed = Pattern.model_validate(
            await sharing.change_pattern(connection, principal, member.community_id, held, pattern, body.weekly(), now)
        )
    preconditions.tag(response, changed)
    return changed


@in_community.delete("/patterns/{pattern}", **preconditions.deleting(409))
async def stop_pattern(
    request: Request, principal: SignedIn, member: Member, space: SpaceInPath, pattern: IdInPath
) -> Response:
    """Take back a pattern. 409 names the booking if the space is booked in one of the pattern's windows."""
    now = datetime.now(UTC)
    async with database.in_community(request.app.state.pool, member.community_id) as connection:
        held = await _hold(connection, member, space, now)
        present = await sharing.pattern(connection, member.community_id, held, pattern)
        preconditions.check(request, Pattern.model_validate(present))
        await sharing.stop(connection, principal, member.community_id, held, pattern, now)
    return Response(status_code=204)


@in_community.post("/blocked-days", **creating.documented(BlockedDay, 409, changeable=False))
async def block_day(
    request: Request, principal: SignedIn, member: Member, space: SpaceInPath, body: BlockedDayBody
) -> Response:
    """Block a day: the space isn't shared on it, despite windows and patterns. 409 names a booking on that day."""
    now = datetime.now(UTC)

    async def make(connection: Connection) -> Made:
        held = await _hold(connection, member, space, now)
        await sharing.block_day(connection, principal, member.community_id, held, body.day, now)
        return Made(BlockedDay(day=body.day), changeable=False)

    return await creating.in_community(request, principal, member, body, make)


@in_community.delete("/blocked-days/{day}", status_code=204, responses=answers(409))
async def unblock_day(
    request: Request, principal: SignedIn, member: Member, space: SpaceInPath, day: DayInPath
) -> Response:
    """Unblock a day. A blocked day has no content that another request could have changed, so no If-Match is needed."""
    now = datetime.now(UTC)
    async with database.in_community(request.app.state.pool, member.community_id) as connection:
        held = await _hold(connection, member, space, now)
        await sharing.unblock_day(connection, principal, member.community_id, held, day, now)
    return Response(status_code=204)


@in_community.post("/take-back", responses=answers(409))
async def take_back(request: Request, principal: SignedIn, member: Member, space: SpaceInPath, body: Asked) -> Sharing:
    """Stop sharing the space in a window, except where it is booked, and answer with the sharing as it is now:
    ``booked`` is what stays. 409 where all of it is booked. A second request changes nothing."""
    now = datetime.now(UTC)
    async with database.in_community(request.app.state.pool, member.community_id) as connection:
        held = await _hold(connection, member, space, now)
        await sharing.take_back(connection, principal, member.community_id, held, body.window, now, rest=True)
        return await _read(connection, member, space, now)
