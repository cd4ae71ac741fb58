"""Forms that create something and are sent twice: the second answer leads to the same page as the first.

A form carries a random key. Its effect and the page that it led to are written in one transaction, in the table that
keeps the API's answers to repeated creates.
"""

import secrets

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from parkmesh.server.db import database
from parkmesh.server.web import idempotency
from parkmesh.server.web.pages.visit import Visit

FIELD = "idempotency_key"


class Led(BaseModel):
    """Where a form led."""

    location: str


def new_key() -> str:
    """Return the key of a form that is shown anew."""
    return secrets.token_urlsafe(16)


async def begin(visit: Visit, connection: database.Connection) -> idempotency.Once:
    """Begin the effect of a form in the transaction of ``connection``; it was done before where ``answer`` is set."""
    key = visit.form.value(FIELD)
    headers = [(idempotency.HEADER.lower().encode(), key.encode("ascii", "replace"))] if key else []
    scope = {**visit.request.scope, "headers": headers}
    return await idempotency.once(Request(scope), connection, visit.principal, visit.member.community_id, None)


async def finish(attempt: idempotency.Once, location: str) -> Response:
    """Keep where the form led, and send the browser there."""
    await attempt.keep(303, Led(location=location))
    return RedirectResponse(location, 303)


def again(answer: Response) -> Response:
    """Send the browser to where the form led the first time."""
    return RedirectResponse(Led.model_validate_json(bytes(answer.body)).location, 303)
