"""A community's lists as CSV tables: imported from its spreadsheets, and exported."""

import dataclasses
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import AwareDatetime

from parkmesh.server import audit
from parkmesh.server.db import database
from parkmesh.server.http.problems import Problem
from parkmesh.server.people import csv_export, csv_import
from parkmesh.server.web.answers import answers
from parkmesh.server.web.api.caller import SignedIn, Staff

in_community = APIRouter(tags=["tables"])

MEDIA_TYPE = "text/csv"
DryRun = Annotated[
    bool, Query(description="true: only report what the table would change, and its errors. false: apply it.")
]


_TABLE: dict[str, Any] = {
    "requestBody": {"required": True, "content": {MEDIA_TYPE: {"schema": {"type": "string", "maxLength": 2**21}}}}
}
_CSV: dict[int | str, dict[str, Any]] = {200: {"content": {MEDIA_TYPE: {"schema": {"type": "string"}}}}}


@in_community.post("/imports/{kind}", responses=answers(403, 409, 415), openapi_extra=_TABLE)
async def import_table(
    request: Request,
    principal: SignedIn,
    member: Staff,
    kind: Literal["units", "residents", "plates", "spaces"],
    dry_run: DryRun = True,
) -> csv_import.ImportReport:
    """Import a table (UTF-8, separated by ``;`` or ``,``, at most 10,000 rows and 2 MiB), completely or not at all.

    Columns (* means required): units: name*, lots, plate_limit; residents: email*, name*, unit; plates: plate*,
    email, label, valid_from, valid_until; spaces: name*, level, category, ev, accessible. An empty cell changes
    nothing.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != MEDIA_TYPE:
        raise Problem(415, "Send the table as text/csv.")
    data = await request.body()
    async with database.in_community(request.app.state.pool, member.community_id) as connection:
        report = await csv_import.run(connection, principal, member.community_id, kind, data, dry_run=dry_run)
    if report.mistakes and not dry_run:
        raise Problem(
            422,
            "The table has mistakes; nothing was applied.",
            kind="table",
            mistake_count=report.mistake_count,
            mistakes=[dataclasses.asdict(mistake) for mistake in report.mistakes],
        )
    return report


@in_community.get("/exports/{kind}", response_class=Response, responses={**_CSV, **answers(403)})
async def export_table(
    request: Request,
    principal: SignedIn,
    member: Staff,
    kind: Literal["people", "credentials", "passages", "spaces"],
    since: Annotated[AwareDatetime | None, Query(description="Of passages: received at or after this moment.")] = None,
    until: Annotated[AwareDatetime | None, Query(description="Of passages: received before this moment.")] = None,
) -> StreamingResponse:
    """Export a table (UTF-8 with a byte order mark, separated by ``;``). The audit trail names the caller."""
    pool = request.app.state.pool
    async with database.in_community(pool, member.community_id) as connection:
        await audit.record(connection, principal, member.community_id, f"{kind}.export", kind)
    name = f"{member.community}-{kind}.csv"
    return StreamingResponse(
        csv_export.write(pool, member.community_id, kind, since=since, until=until),
        media_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )
