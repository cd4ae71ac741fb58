"""Bars: plates that may not pass, whoever holds them. For staff."""

import dataclasses
from dataclasses import dataclass
from typing import Annotated

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from parkmesh.server.access import bars, credentials
from parkmesh.server.db import database
from parkmesh.server.db.database import Connection
from parkmesh.server.web import paging, preconditions
from parkmesh.server.web.answers import answers
from parkmesh.server.web.api import creating, plate_warnings
from parkmesh.server.web.api.caller import SignedIn, Staff
from parkmesh.server.web.api.creating import Made
from parkmesh.server.web.fields import Body, IdInPath, Plate, Reason, Search

in_community = APIRouter(tags=["credentials"])


class Bars(BaseModel):
    """A page of bars."""

    items: list[bars.Bar] = Field(description="The bars of this page.")
    next: str | None = Field(description="The cursor of the next page; null on the last one.")


@dataclass(frozen=True, slots=True)
class MadeBar(bars.Bar):
    """A bar that was just made, with what to know of its plate."""

    warnings: plate_warnings.Warnings = None


class NewBar(Body):
    """A plate to bar."""

    plate: Plate
    reason: Annotated[
        Reason, Field(description="Why it may not pass. Staff see it, and the holder in the export of their data.")
    ]


@in_community.get("/bars", responses=answers(403))
async def list_bars(request: Request, member: Staff, page: paging.Page, search: Search = "") -> Bars:
    """List the plates that are barred, by plate."""
    after = page.after(str)
    async with database.in_community(request.app.state.pool, member.community_id, read_only=True) as connection:
        found = await bars.page(connection, member.community_id, limit=page.fetch, after=after, search=search)
    items, following = page.cut(found, lambda bar: (bar.plate,))
    return Bars(items=items, next=following)


@in_community.post("/bars", **creating.documented(MadeBar, 403, 409))
async def create_bar(request: Request, principal: SignedIn, member: Staff, body: NewBar) -> Response:
    """Bar a plate, whoever holds it. Gateways that are online refuse it within seconds."""
    plate = credentials.spelled(body.plate)

    async def make(connection: Connection) -> Made:
        made = await bars.create(connection, principal, member.community_id, plate, body.reason)
        warnings = await plate_warnings.of_barred(connection, member, made.plate)
        shown = MadeBar(**dataclasses.asdict(made), warnings=warnings)
        return Made(shown, made.id, version=made, secret={"warnings"})

    return await creating.in_community(request, principal, member, body, make)


@in_community.get("/bars/{bar}", responses={**preconditions.READ, **answers(403)})
async def get_bar(request: Request, response: Response, member: Staff, bar: IdInPath) -> bars.Bar:
    """Read a bar that stands."""
    async with database.in_community(request.app.state.pool, member.community_id, read_only=True) as connection:
        found = await bars.get(connection, member.community_id, bar)
    preconditions.tag(response, found)
    return found


@in_community.delete("/bars/{bar}", **preconditions.deleting(403))
async def lift_bar(request: Request, principal: SignedIn, member: Staff, bar: IdInPath) -> Response:
    """Lift a bar: the plate passes again, as far as its credentials do."""
    async with database.in_community(request.app.state.pool, member.community_id) as connection:
        present = await bars.get(connection, member.community_id, bar, lock=True)
        preconditions.check(request, present)
        await bars.lift(connection, principal, member.community_id, present)
    return Response(status_code=204)
