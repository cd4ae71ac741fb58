"""Reports, as JSON and as CSV."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Generic, TypeVar

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel

from parkmesh.server.db import database
from parkmesh.server.reports import gates, occupancy, reports, units
from parkmesh.server.web.answers import answers
from parkmesh.server.web.api.caller import SignedIn, Staff
from parkmesh.server.web.api.times import Day

in_community = APIRouter(tags=["reports"])

First = Annotated[Day, Query(alias="from", description="The first day, of the community's calendar.")]
Last = Annotated[Day, Query(alias="until", description="The last day; at most 31 days in all.")]
Row = TypeVar("Row")


class Rows(BaseModel, Generic[Row]):
    items: list[Row]


async def _read(request: Request, member: Staff, kind: reports.Kind, first: Day, last: Day) -> Sequence[Any]:
    async with database.in_community(request.app.state.pool, member.community_id, read_only=True) as connection:
        return await reports.read(connection, member.community_id, kind, first, last, datetime.now(UTC))


@in_community.get("/reports/occupancy-by-hour", responses=answers(403))
async def report_occupancy(request: Request, member: Staff, first: First, last: Last) -> Rows[occupancy.OccupancyHour]:
    """Report how full the community was in each hour: 25 on a day on which the clock goes back, 23 where forward."""
    return Rows(items=list(await _read(request, member, "occupancy-by-hour", first, last)))


@in_community.get("/reports/denied", responses=answers(403))
async def report_denied(request: Request, member: Staff, first: First, last: Last) -> Rows[gates.Denied]:
    """Report who was denied where and why. Reads that matched nothing are kept for 72 hours only."""
    return Rows(items=list(await _read(request, member, "denied", first, last)))


@in_community.get("/reports/visitors", responses=answers(403))
async def report_visitors(request: Request, member: Staff, first: First, last: Last) -> Rows[units.UnitVisitors]:
    """Report units' visitor passes and the nights that their cars stayed."""
    return Rows(items=list(await _read(request, member, "visitors", first, last)))


@in_community.get("/reports/gates", responses=answers(403))
async def report_gates(request: Request, member: Staff, first: First, last: Last) -> Rows[gates.GateUse]:
    """Report how often each gate opened."""
    return Rows(items=list(await _read(request, member, "gates", first, last)))


@in_community.get("/reports/space-use", responses=answers(403))
async def report_space_use(request: Request, member: Staff, first: First, last: Last) -> Rows[occupancy.SpaceUse]:
    """Report how long each space was occupied, by its sensor."""
    return Rows(items=list(await _read(request, member, "space-use", first, last)))


@in_community.get("/reports/sharing-use", responses=answers(403))
async def report_sharing_use(request: Request, member: Staff, first: First, last: Last) -> Rows[units.SharingUse]:
    """Report how long spaces were shared, and how much of that was booked."""
    return Rows(items=list(await _read(request, member, "sharing-use", first, last)))


_CSV: dict[int | str, dict[str, Any]] = {200: {"content": {"text/csv": {"schema": {"type": "string"}}}}}


@in_community.get("/reports/{kind}/csv", response_class=Response, responses={**_CSV, **answers(403)})
async def report_as_table(
    request: Request, principal: SignedIn, member: Staff, kind: reports.Kind, first: First, last: Last
) -> Response:
    """Give out a report as a table (UTF-8 with a byte order mark, separated by ``;``). The trail tells who took it."""
    async with database.in_community(request.app.state.pool, member.community_id) as connection:
        table = await reports.table(connection, principal, member.community_id, kind, first, last, datetime.now(UTC))
    name = f"{member.community}-{kind}-{first}-{last}.csv"
    return Response(
        table,
        media_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )
