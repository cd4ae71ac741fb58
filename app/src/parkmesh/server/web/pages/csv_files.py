"""Import and export of a community's lists as CSV: a file is tried first, then taken over whole or not at all."""

from typing import get_args

from starlette.responses import Response

from parkmesh.server.http.problems import Problem
from parkmesh.server.people import csv_export, csv_import
from parkmesh.server.web.pages.rendering import render
from parkmesh.server.web.pages.visit import Access, Visit, action, page

COLUMNS: dict[csv_import.Kind, str] = {
    "units": "name;lots;plate_limit",
    "residents": "email;name;unit",
    "plates": "plate;email;label;valid_from;valid_until",
    "spaces": "name;level;category;ev;accessible",
}


async def show(visit: Visit, report: csv_import.ImportReport | None = None, table: str = "") -> Response:
    """Show the forms; after a trial the report of it and a form that takes the same table over."""
    if visit.community is None:
        async with visit.reading():
            pass
    return render(
        visit,
        "csv_files.html",
        report=report,
        table=table,
        columns=COLUMNS,
        exports=get_args(csv_export.Kind),
    )


async def take(visit: Visit) -> Response:
    """Try a table, or take it over."""
    form = visit.form
    chosen = form.choice("kind", tuple(COLUMNS))
    kind = next((item for item in COLUMNS if item == chosen), None)
    table = form.value("table")
    if not table.strip():
        form.wrong("table", visit.language.gettext("Choose a file or paste its lines."))
    if kind and not form.errors:
        dry_run = form.value("act") != "apply"
        try:
            async with visit.acting() as connection:
                report = await csv_import.run(
                    connection,
                    visit.principal,
                    visit.member.community_id,
                    kind,
                    table.encode("utf-8", "replace"),
                    dry_run=dry_run,
                )
            if report.applied:
                return visit.go(f"{visit.base}/transfer", done="imported")
            return await show(visit, report, table)
        except Problem as problem:
            form.refused(problem, "table")
    return await show(visit, table=table)


ROUTES = [
    page("/communities/{community}/transfer", Access.STAFF, show),
    action("/communities/{community}/transfer", Access.STAFF, take),
]
