"""Addresses of this site for people to pass on: a visitor's link, an invitation, a new password, a calendar."""

from starlette.requests import Request

from parkmesh.server.settings import Settings

VISIT, JOIN, RESET, PASSWORD, UNSUBSCRIBE, CALENDAR = "v", "join", "reset", "password", "unsubscribe", "calendar"


def absolute(request: Request, kind: str, token: str) -> str:
    """Return the address of the page ``kind`` for a token: under the public address, or, where none is set (a trial on
    one machine), under the address that the request came to."""
    settings: Settings = request.app.state.settings
    return f"{(settings.public_url or str(request.base_url)).rstrip('/')}/{kind}/{token}"
