"""Violations: listed, opened by hand, followed by a warning, an appeal, and their end."""

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field

from parkmesh.server.access import credentials, plate_search, violations
from parkmesh.server.access.violations import MAX_TEXT, Kind, State, Violation
from parkmesh.server.db import database
from parkmesh.server.db.database import Connection
from parkmesh.server.http.problems import Problem
from parkmesh.server.identity.principals import Membership, Principal, Role
from parkmesh.server.web import paging, preconditions
from parkmesh.server.web.api import creating
from parkmesh.server.web.api.caller import Member, SignedIn, Staff
from parkmesh.server.web.api.creating import Made
from parkmesh.server.web.api.times import Moment
from parkmesh.server.web.fields import PRINTABLE, Body, IdInPath, Name, Plate

in_community = APIRouter(tags=["violations"])

# Lines may break.
_WRITTEN = r"^[^\x00-\x09\x0b-\x1f\x7f]*$"
Evidence = Annotated[str, Field(min_length=3, max_length=MAX_TEXT, pattern=_WRITTEN)]


class Violations(BaseModel):
    """``next`` is the ``cursor`` of the page that follows, null at the end."""

    items: list[Violation]
    next: str | None


class NewViolation(Body):
    """Give ``plate``, ``space``, or both."""

    kind: Kind = Field(description="What is wrong.")
    plate: Plate | None = None
    space: Name | None = Field(default=None, description="The name of the space where the car stands.")
    since: Moment | None = Field(default=None, description="Since when, as far as known; without it now.")
    evidence: Evidence = Field(description="What was seen, by whom, and where to find pictures.")


class Note(Body):
    note: str = Field(default="", max_length=MAX_TEXT, pattern=_WRITTEN, description="For the people concerned.")


class Appeal(Body):
    note: Evidence = Field(description="Why the violation is none.")


def _seen(principal: Principal, member: Membership) -> violations.Seen | None:
    if member.role is not Role.RESIDENT:
        return None
    return violations.Seen(member.resident_id or 0, principal.actor)


@in_community.get("/violations")
async def list_violations(
    request: Request,
    principal: SignedIn,
    member: Member,
    page: paging.Page,
    state: Annotated[State | None, Query(description="Only those in this state.")] = None,
    kind: Annotated[Kind | None, Query(description="Only those of this kind.")] = None,
    plate: Annotated[
        str | None, Query(max_length=64, pattern=PRINTABLE, description="A part of it, in any usual spelling.")
    ] = None,
) -> Violations:
    """List violations of the rules of parking, latest first. Residents see those of their unit, and those that they
    reported without what others wrote there."""
    before = page.after(datetime, int)
    part = plate_search.part_of_plate(plate) if plate else None
    if plate and part is None:
        return Violations(items=[], next=None)
    async with database.in_community(request.app.state.pool, member.community_id, read_only=True) as connection:
        found = await violations.page(
            connection,
            member.community_id,
            limit=page.fetch,
            before=None if before is None else (before[0], before[1]),
            seen=_seen(principal, member),
            only=violations.Filter(state, kind, part),
        )
    items, following = page.cut(found, lambda violation: (violation.opened_at, violation.id))
    return Violations(items=items, next=following)


@in_community.post("/violations", **creating.documented(Violation, 403, 429))
async def create_violation(request: Request, principal: SignedIn, member: Member, body: NewViolation) -> Response:
    """Open a violation by hand. Residents report violations: 10 a day at most, else 429 `too-many`."""
    plate, now = body.plate and credentials.spelled(body.plate), datetime.now(UTC)
    since = body.since or now
    if since > now:
        raise Problem(422, "since: a moment that is over is needed", kind="invalid")

    async def make(connection: Connection) -> Made:
        found = violations.Found(
            kind=body.kind,
            noticed_by="resident" if member.role is Role.RESIDENT else "staff",
            since=since,
            plate=plate,
            evidence=body.evidence,
        )
        opened = await violations.report(connection, principal, member.community_id, found, body.space, now)
        seen = _seen(principal, member)
        return Made(await violations.get(connection, member.community_id, opened, seen=seen), opened)

    return await creating.in_community(request, principal, member, body, make)


@in_community.get("/violations/{violation}", responses=preconditions.READ)
async def get_violation(
    request: Request, response: Response, principal: SignedIn, member: Member, violation: IdInPath
) -> Violation:
    """Read a violation with its steps."""
    async with database.in_community(request.app.state.pool, member.community_id, read_only=True) as connection:
        found = await violations.get(connection, member.community_id, violation, seen=_seen(principal, member))
    preconditions.tag(response, found)
    return found


@in_community.post("/violations/{violation}/warn", **preconditions.changing(403, 409))
async def warn_violation(
    request: Request, response: Response, principal: SignedIn, member: Staff, violation: IdInPath, body: Note
) -> Violation:
    """Note that the people concerned were warned, or that an appeal was turned down with a warning."""
    return await _step(request, response, principal, member, violation, "warned", body.note)


@in_community.post("/violations/{violation}/close", **preconditions.changing(403, 409))
async def close_violation(
    request: Request, response: Response, principal: SignedIn, member: Staff, violation: IdInPath, body: Note
) -> Violation:
    """Close a violation. It can't be opened again. 409 `state`: it is closed already."""
    return await _step(request, response, principal, member, violation, "closed", body.note)


@in_community.post("/violations/{violation}/appeal", **preconditions.changing(403, 409))
async def appeal_violation(
    request: Request, response: Response, principal: SignedIn, member: Member, violation: IdInPath, body: Appeal
) -> Violation:
    """Appeal against a violation of the own unit, once. Staff write down the appeal of somebody else."""
    return await _step(request, response, principal, member, violation, "appealed", body.note)


async def _step(
    request: Request,
    response: Response,
    principal: Principal,
    member: Membership,
    violation: int,
    state: State,
    note: str,
) -> Violation:
    seen = _seen(principal, member)
    async with database.in_community(request.app.state.pool, member.community_id) as connection:
        present = await violations.get(connection, member.community_id, violation, seen=seen, for_change=True)
        preconditions.check(request, present)
        violations.check_concerned(present, seen)
        await violations.step(connection, principal, member.community_id, present, state, note, datetime.now(UTC))
        changed = await violations.get(connection, member.community_id, violation, seen=seen)
    preconditions.tag(response, changed)
    return changed
