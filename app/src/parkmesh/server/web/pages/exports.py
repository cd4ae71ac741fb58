"""Links to exports: a list as a file, filtered as its page is."""

from datetime import datetime
from urllib.parse import quote, urlencode

from parkmesh.server.people import csv_export, table_headers
from parkmesh.server.web.pages.visit import Visit


def language(visit: Visit) -> table_headers.Language:
    """Return the language of the page as the one of a table."""
    return "es" if visit.language.code == "es" else "en"


def link(visit: Visit, kind: csv_export.Kind, **filters: str | int | datetime | None) -> str:
    """Return the address of an export with those of the route's parameters that have a value."""
    given = {
        name: value.isoformat() if isinstance(value, datetime) else str(value)
        for name, value in filters.items()
        if value not in (None, "")
    }
    if language(visit) != table_headers.DEFAULT:
        given["language"] = language(visit)
    address = f"/api/v1/communities/{quote(visit.member.community)}/exports/{kind}"
    return f"{address}?{urlencode(given)}" if given else address
