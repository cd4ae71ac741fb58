"""Facility counters, and corrections by staff."""

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response
from pydantic import BaseModel, Field

from parkmesh.server.db import database
from parkmesh.server.spaces import counters
from parkmesh.server.web import preconditions
from parkmesh.server.web.answers import answers
from parkmesh.server.web.api.caller import SignedIn, Staff
from parkmesh.server.web.fields import NAME, Body, Reason

in_community = APIRouter(tags=["spaces"])

CounterInPath = Annotated[str, Path(min_length=1, max_length=63, pattern=NAME)]


class Counters(BaseModel):
    items: list[counters.Counter]


class CounterCorrection(Body):
    vehicles: int = Field(ge=0, le=counters.MOST, description="How many vehicles are in now.")
    reason: Reason


def _tag(counter: counters.Counter) -> str:
    # Not what is counted: it changes with every vehicle.
    return preconditions.etag(_corrected(counter))


def _corrected(counter: counters.Counter) -> object:
    return {"name": counter.name, "corrected_at": counter.corrected_at}


@in_community.get("/counters", responses=answers(403))
async def list_counters(request: Request, member: Staff) -> Counters:
    """List the counters at the ways in and out, by name."""
    async with database.in_community(request.app.state.pool, member.community_id, read_only=True) as connection:
        return Counters(items=await counters.all_of(connection, member.community_id))


@in_community.get("/counters/{counter}", responses={**preconditions.READ, **answers(403)})
async def get_counter(request: Request, response: Response, member: Staff, counter: CounterInPath) -> counters.Counter:
    """Read a counter. Its ETag changes with each correction, not with each vehicle."""
    async with database.in_community(request.app.state.pool, member.community_id, read_only=True) as connection:
        found = await counters.get(connection, member.community_id, counter)
    response.headers["ETag"] = _tag(found)
    return found


@in_community.put("/counters/{counter}", **preconditions.changing(403))
async def correct_counter(
    request: Request,
    response: Response,
    principal: SignedIn,
    member: Staff,
    counter: CounterInPath,
    body: CounterCorrection,
) -> counters.Counter:
    """Say how many vehicles are in now. Counting goes on from there."""
    async with database.in_community(request.app.state.pool, member.community_id) as connection:
        await counters.lock(connection, member.community_id, counter)
        present = await counters.get(connection, member.community_id, counter)
        preconditions.check(request, _corrected(present))
        corrected = await counters.correct(
            connection, principal, member.community_id, counter, body.vehicles, body.reason
        )
    response.headers["ETag"] = _tag(corrected)
    return corrected
