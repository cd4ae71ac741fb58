"""Import and export of a community's lists as files: a file is tried first, then taken over whole or not at all."""

import base64
import binascii
from typing import get_args

from starlette.responses import Response

from parkmesh.server.http.problems import Problem
from parkmesh.server.people import csv_export, csv_import, csv_tables, table_headers
from parkmesh.server.web.pages import exports
from parkmesh.server.web.pages.rendering import render
from parkmesh.server.web.pages.visit import Access, Visit, action, page

ENCODINGS: tuple[csv_tables.Encoding, ...] = get_args(csv_tables.Encoding)


async def show(visit: Visit, report: csv_import.ImportReport | None = None, data: bytes = b"") -> Response:
    """Show the forms; after a trial the report of it and a form that takes the same bytes over."""
    if visit.community is None:
        async with visit.reading():
            pass
    language = exports.language(visit)
    return render(
        visit,
        "csv_files.html",
        report=report,
        data=base64.urlsafe_b64encode(data).decode(),
        columns={
            kind: ";".join(table_headers.shown(column.name, language) for column in columns if column.taken)
            for kind, columns in csv_import.COLUMNS.items()
        },
        column=lambda name: table_headers.shown(name, language),
        exports=[(kind, exports.link(visit, kind)) for kind in get_args(csv_export.Kind)],
    )


async def take(visit: Visit) -> Response:
    """Try a table, or take it over."""
    form = visit.form
    chosen = form.choice("kind", tuple(csv_import.COLUMNS))
    kind = next((item for item in csv_import.COLUMNS if item == chosen), None)
    data = _data(visit)
    if not data.strip():
        form.wrong("file", visit.language.gettext("Choose a file or paste its lines."))
    elif len(data) > csv_import.MAX_BYTES:
        most = visit.language.number(csv_import.MAX_BYTES // 2**20)
        form.wrong("file", visit.language.gettext("The file is larger than %(most)s MiB.", most=most))
    if kind and not form.errors:
        try:
            async with visit.reading():
                pass
            table = await csv_import.read(kind, data, visit.zone)
            async with visit.acting() as connection:
                report = await csv_import.run(
                    connection,
                    visit.principal,
                    visit.member.community_id,
                    kind,
                    table,
                    dry_run=form.value("act") != "apply",
                    encoding=next((item for item in ENCODINGS if item == form.value("encoding")), None),
                    make_units=form.ticked("make_units"),
                )
            if report.applied:
                return visit.go(
                    f"{visit.base}/transfer", done="imported", also="import-alike" if report.warnings else ""
                )
            return await show(visit, report, data)
        except Problem as problem:
            form.refused(problem, "file")
    return await show(visit)


def _data(visit: Visit) -> bytes:
    """Return the table: a chosen file, the bytes that were tried before, or pasted lines."""
    form = visit.form
    if "file" in form.files:
        return form.files["file"]
    try:
        tried = base64.b64decode(form.value("data"), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        tried = b""
    return tried or form.value("table").encode("utf-8", "replace")


ROUTES = [
    page("/communities/{community}/transfer", Access.STAFF, show),
    action("/communities/{community}/transfer", Access.STAFF, take, files=True),
]
