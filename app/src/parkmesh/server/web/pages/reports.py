"""Reports as tables, for staff."""

from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import Any, get_args
from urllib.parse import urlencode

from starlette.responses import Response

from parkmesh.server.access import gates
from parkmesh.server.http.problems import Problem
from parkmesh.server.reports import reports
from parkmesh.server.reports.reports import REPORTS, Kind
from parkmesh.server.web import labels
from parkmesh.server.web.pages import forms
from parkmesh.server.web.pages.rendering import render
from parkmesh.server.web.pages.visit import Access, Visit, page

KINDS: tuple[Kind, ...] = get_args(Kind)
DAYS = {"occupancy-by-hour": 1}
"""How many days are shown at first, today the last of them; of other reports ``USUAL_DAYS``."""
USUAL_DAYS = 7
SHARES = ("share", "unknown_share")
MINUTES = ("occupied_minutes", "offered_minutes", "booked_minutes")


async def show(visit: Visit) -> Response:
    """Show the report that the address asks for."""
    query = visit.request.query_params
    form = visit.form = forms.Form(visit.language, {name: query.getlist(name) for name in query}, sent=True)
    kind = next((item for item in KINDS if item == form.value("report")), KINDS[0])
    rows: Sequence[Any] = []
    async with visit.reading() as connection:
        today = visit.now.astimezone(visit.zone).date()
        last = form.optional_day("until") or today
        first = form.optional_day("from") or last - timedelta(days=DAYS.get(kind, USUAL_DAYS) - 1)
        if not form.errors:
            try:
                rows = await reports.read(connection, visit.member.community_id, kind, first, last, visit.now)
            except Problem as problem:
                form.refused(problem, "until")
        titles = {gate.name: gate.title for gate in await gates.all_of(connection, visit.member.community_id)}
    address = f"/api/v1{visit.base}/reports/{kind}/csv?{urlencode({'from': first, 'until': last})}"
    return render(
        visit,
        "reports.html",
        kinds=KINDS,
        kind=kind,
        first=first,
        last=last,
        columns=REPORTS[kind].columns,
        rows=[[_shown(visit, titles, name, getattr(row, name)) for name in REPORTS[kind].columns] for row in rows],
        table=None if form.errors else address,
        file=f"{visit.member.community}-{kind}-{first}-{last}.csv",
    )


def _shown(visit: Visit, titles: dict[str, str], column: str, value: Any) -> str:
    """Return what a cell says, nothing where nothing is known."""
    language = visit.language
    if value is None:
        return ""
    if column == "hour":
        return f"{value:02}:00"
    if column == "gate":
        return titles.get(value, str(value))
    if column == "reason":
        return labels.label(language, "reason", value)
    if column in SHARES:
        return language.percent(value)
    if column in MINUTES:
        return language.duration(timedelta(minutes=value))
    if isinstance(value, datetime):
        return language.moment(value, visit.zone)
    if isinstance(value, date):
        # On one line also in a narrow column.
        return language.day(value, form="d MMM").replace(" ", "\N{NO-BREAK SPACE}")
    return language.number(value) if isinstance(value, int | float) else str(value)


ROUTES = [page("/communities/{community}/reports", Access.STAFF, show)]
