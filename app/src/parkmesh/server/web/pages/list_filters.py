"""What pages of lists read of their address to show a part of a list."""

from datetime import datetime, time, timedelta

from parkmesh.domain.sharing import moment
from parkmesh.server.access import plate_search
from parkmesh.server.web.pages import forms
from parkmesh.server.web.pages.visit import Visit


class NothingFits(Exception):
    """No item can be what the address asks for."""


def read(visit: Visit) -> forms.Form:
    """Fill the page's form with what the address asks for, so that it is shown again, with what is wrong with it."""
    query = visit.request.query_params
    visit.form = forms.Form(visit.language, {name: query.getlist(name) for name in query}, sent=True)
    return visit.form


def entered_plate(visit: Visit, name: str = "plate") -> str:
    """Return the part of a plate as it was entered."""
    return visit.query(name)[: forms.MAX_PLATE]


def plate(visit: Visit, name: str = "plate") -> str | None:
    """Return the part of a plate that is asked for, None where none is; raise ``NothingFits`` where no plate has it."""
    if not visit.request.query_params.get(name, "").strip():
        return None
    part = plate_search.part_of_plate(entered_plate(visit, name))
    if part is None:
        raise NothingFits
    return part


def days(visit: Visit) -> tuple[datetime | None, datetime | None]:
    """Return the beginning of the day ``from`` and the end of the day ``until``, which counts whole; None where there
    is none. Notes an error of the form for what is no day."""
    since, until = visit.form.optional_day("from"), visit.form.optional_day("until")
    return (
        moment(since, time(), visit.zone) if since else None,
        moment(until + timedelta(days=1), time(), visit.zone) if until else None,
    )
