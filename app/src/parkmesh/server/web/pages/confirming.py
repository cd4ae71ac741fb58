"""Asking before something is done that is not easily undone.

A form whose handler is ``asked`` about is sent with ``confirmed``: the page's script asks and adds it. From a
browser without scripts it comes without, and is answered by a page that asks and holds the same fields.
"""

from functools import wraps
from urllib.parse import urlsplit

from starlette.responses import Response

from parkmesh.server.web import labels, security
from parkmesh.server.web.pages.rendering import render
from parkmesh.server.web.pages.visit import Handler, Visit

CONFIRMED = "confirmed"
MAX_WHAT = 200
_OWN = {security.CSRF_FIELD, CONFIRMED}


def asked(question: str, handler: Handler, *, act: str = "") -> Handler:
    """Return a handler that asks one of ``labels.QUESTIONS`` first; with ``act`` only for that ``act`` of the form."""

    @wraps(handler)
    async def asking(visit: Visit) -> Response:
        sure = visit.form.value(CONFIRMED) == "yes" or (act and visit.form.value("act") != act)
        return await (handler(visit) if sure else _ask(visit, question))

    return asking


async def _ask(visit: Visit, question: str) -> Response:
    if visit.place is not None:
        # The page's head names the community.
        async with visit.reading():
            pass
    return render(
        visit,
        "confirm.html",
        question=labels.QUESTIONS[question],
        what=visit.form.value("what")[:MAX_WHAT],
        fields=[(name, value) for name, values in visit.form.fields.items() if name not in _OWN for value in values],
        back=_back(visit),
    )


def _back(visit: Visit) -> str:
    """Return the address of the page with the form, of this site whatever the browser says."""
    came_from = urlsplit(visit.request.headers.get("referer", ""))
    path = "/" + came_from.path.lstrip("/\\")
    return f"{path}?{came_from.query}" if came_from.query else path
