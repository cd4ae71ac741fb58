"""A community's lists as files: imported from its spreadsheets, and exported."""

import dataclasses
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import StreamingResponse

from parkmesh.server import audit
from parkmesh.server.communities import community_reads
from parkmesh.server.db import database
from parkmesh.server.http.problems import Problem
from parkmesh.server.people import csv_export, csv_import, csv_tables, table_headers
from parkmesh.server.spaces import spaces
from parkmesh.server.web.answers import answers
from parkmesh.server.web.api.caller import SignedIn, Staff
from parkmesh.server.web.api.times import Moment
from parkmesh.server.web.fields import PRINTABLE, IdAsked

in_community = APIRouter(tags=["tables"])

MEDIA_TYPE = "text/csv"
WORKBOOK = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
DryRun = Annotated[
    bool, Query(description="true: only report what the table would change, and its errors. false: apply it.")
]
MakeUnits = Annotated[bool, Query(description="Of residents: make the units that the community doesn't have.")]
Confirmed = Annotated[
    csv_tables.Encoding | None,
    Query(
        description="The `encoding` that the dry run told. windows-1252 is applied only with it: first a person looks "
        "whether the `sample` is right."
    ),
]


# Both are bytes: a table of text may be in any of three encodings. A client that can't tell them apart sends the last.
_TABLE: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            WORKBOOK: {"schema": {"type": "string", "format": "binary", "maxLength": 2**21}},
            MEDIA_TYPE: {"schema": {"type": "string", "format": "binary", "maxLength": 2**21}},
        },
    }
}
_CSV: dict[int | str, dict[str, Any]] = {200: {"content": {MEDIA_TYPE: {"schema": {"type": "string"}}}}}


async def _zone(request: Request, community_id: int) -> ZoneInfo:
    async with database.in_community(request.app.state.pool, community_id, read_only=True) as connection:
        return ZoneInfo((await community_reads.community(connection, community_id)).time_zone)


@in_community.post("/imports/{kind}", responses=answers(403, 409, 415), openapi_extra=_TABLE)
async def import_table(
    request: Request,
    principal: SignedIn,
    member: Staff,
    kind: csv_import.Kind,
    dry_run: DryRun = True,
    encoding: Confirmed = None,
    make_units: MakeUnits = False,
) -> csv_import.ImportReport:
    """Import a table, completely or not at all: text separated by `;`, `,` or tabs in UTF-8, UTF-16 or Windows-1252, or
    the first sheet of an XLSX workbook; at most 10,000 rows and 2 MiB.

    Columns (* means required): units: name*, lots, plate_limit; residents: email*, name*, unit; plates: plate*,
    email, label, valid_from, valid_until; spaces: name*, level, category, ev, accessible; places: space*, level, x, y,
    w, h, rotation, of spaces and levels that exist already. Their Spanish names are understood as well. An empty cell
    changes nothing. An exported file can be imported as it is.
    """
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() not in (MEDIA_TYPE, WORKBOOK):
        raise Problem(415, "Send the table as text/csv or as an XLSX workbook.")
    zone = await _zone(request, member.community_id)
    table = await csv_import.read(kind, await request.body(), zone)
    async with database.in_community(request.app.state.pool, member.community_id) as connection:
        report = await csv_import.run(
            connection,
            principal,
            member.community_id,
            kind,
            table,
            dry_run=dry_run,
            encoding=encoding,
            make_units=make_units,
        )
    if report.mistakes and not dry_run:
        raise Problem(
            422,
            "The table has mistakes; nothing was applied.",
            kind="table",
            mistake_count=report.mistake_count,
            mistakes=[dataclasses.asdict(mistake) for mistake in report.mistakes],
        )
    return report


def _filter(
    search: Annotated[
        str | None,
        Query(
            alias="q",
            max_length=100,
            pattern=PRINTABLE,
            description="Of units, people, credentials.",
        ),
    ] = None,
    unit: IdAsked = None,
    level: Annotated[str | None, Query(max_length=60, pattern=PRINTABLE, description="Of spaces and places.")] = None,
    category: Annotated[spaces.Category | None, Query(description="Of spaces.")] = None,
    plate: Annotated[
        str | None, Query(max_length=64, pattern=PRINTABLE, description="Of passages: its beginning.")
    ] = None,
    gate: Annotated[str | None, Query(max_length=100, pattern=PRINTABLE, description="Of passages.")] = None,
    direction: Annotated[Literal["entry", "exit"] | None, Query(description="Of passages.")] = None,
    decision: Annotated[Literal["granted", "denied"] | None, Query(description="Of passages.")] = None,
    action: Annotated[
        str | None,
        Query(
            max_length=120,
            pattern=PRINTABLE,
            description="Of the audit trail: as in its list.",
        ),
    ] = None,
    since: Annotated[
        Moment | None,
        Query(description="Passages, entries of the trail from then on; bookings, passes that end later."),
    ] = None,
    until: Annotated[
        Moment | None,
        Query(description="Passages, entries of the trail before; bookings, passes that begin before."),
    ] = None,
) -> csv_export.Filter:
    return csv_export.Filter(
        search or None, unit, level or None, category, plate or None, gate or None, direction, decision,
        action or None, since, until,
    )  # fmt: skip


@in_community.get("/exports/{kind}", response_class=Response, responses={**_CSV, **answers(403)})
async def export_table(
    request: Request,
    principal: SignedIn,
    member: Staff,
    kind: csv_export.Kind,
    only: Annotated[csv_export.Filter, Depends(_filter)],
    language: Annotated[
        table_headers.Language, Query(description="Of the columns' names and of codes. en: those of the API.")
    ] = table_headers.DEFAULT,
) -> StreamingResponse:
    """Export a list (UTF-8 with a byte order mark, separated by `;`), times by the community's clock with their
    offset. A filter that the list doesn't have is 422. The audit trail names the caller."""
    csv_export.check(kind, only)
    pool = request.app.state.pool
    async with database.in_community(pool, member.community_id) as connection:
        zone = ZoneInfo((await community_reads.community(connection, member.community_id)).time_zone)
        # Which filters, never their values: those may name a person.
        detail = {"filters": sorted(only.given)} if only.given else None
        await audit.record(connection, principal, member.community_id, f"{kind}.export", kind, detail)
    name = f"{member.community}-{kind}.csv"
    return StreamingResponse(
        csv_export.write(pool, member.community_id, kind, zone, only, language),
        media_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )
