"""The rules of a community."""

from typing import Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from parkmesh.server.communities import rules
from parkmesh.server.db import database
from parkmesh.server.web import preconditions
from parkmesh.server.web.api.caller import Member, SignedIn, Staff
from parkmesh.server.web.fields import Body

in_community = APIRouter(tags=["rules"])


class RulesBody(Body):
    """All of them: what is left out goes back to its default.

    ``lots_per_unit``: cars of a unit inside at once, null: any number. ``anti_passback``: a car that is inside
    already is let in (``off``), let in and marked (``soft``) or refused (``hard``). ``entry_hold_s``,
    ``exit_hold_s``: seconds before the barrier opens. ``refusal_hold_s``: seconds that an unmatched read waits for a
    better one. ``same_plate_window_s``: seconds in which a plate counts once. ``visitors_open_gates``: by the link of a
    pass while it is valid. The others bound visitors and bookings.
    """

    lots_per_unit: int | None = Field(default=None, ge=0, le=1000)
    anti_passback: Literal["off", "soft", "hard"] = "off"
    entry_hold_s: int = Field(default=0, ge=0, le=60)
    exit_hold_s: int = Field(default=0, ge=0, le=60)
    refusal_hold_s: int = Field(default=5, ge=0, le=600)
    same_plate_window_s: int = Field(default=30, ge=1, le=3600)
    residents_open_gates: bool = False
    visitors_open_gates: bool = False
    visitor_passes_per_unit: int = Field(default=10, ge=0, le=10000)
    visitor_pass_max_hours: int = Field(default=72, ge=1, le=8760)
    booking_max_hours: int = Field(default=336, ge=1, le=8760)
    booking_days_ahead: int = Field(default=60, ge=1, le=730)
    bookings_per_unit: int = Field(default=5, ge=0, le=1000)


class Rules(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    lots_per_unit: int | None
    anti_passback: Literal["off", "soft", "hard"]
    entry_hold_s: int
    exit_hold_s: int
    refusal_hold_s: int
    same_plate_window_s: int
    residents_open_gates: bool
    visitors_open_gates: bool
    visitor_passes_per_unit: int
    visitor_pass_max_hours: int
    booking_max_hours: int
    booking_days_ahead: int
    bookings_per_unit: int


@in_community.get("/rules", responses=preconditions.READ)
async def get_rules(request: Request, response: Response, member: Member) -> Rules:
    """Read the rules."""
    async with database.in_community(request.app.state.pool, member.community_id, read_only=True) as connection:
        found = Rules.model_validate(await rules.read(connection, member.community_id))
    preconditions.tag(response, found)
    return found


@in_community.put("/rules", **preconditions.changing(403))
async def put_rules(request: Request, response: Response, principal: SignedIn, member: Staff, body: RulesBody) -> Rules:
    """Set the rules. Gateways that are online go by them within seconds."""
    wanted = rules.Rules(**body.model_dump())
    async with database.in_community(request.app.state.pool, member.community_id) as connection:
        present = await rules.lock(connection, member.community_id)
        preconditions.check(request, Rules.model_validate(present))
        changed = Rules.model_validate(await rules.change(connection, principal, member.community_id, present, wanted))
    preconditions.tag(response, changed)
    return changed
