"""The signed-in user of a request, by session cookie or by bearer token."""

from starlette.requests import Request

from parkmesh.server import principals
from parkmesh.server.principals import Principal
from parkmesh.server.problems import Problem
from parkmesh.server.settings import Settings
from parkmesh.server.web import security


def bearer_token(request: Request) -> str | None:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.strip() else None


def cookie_token(request: Request, settings: Settings) -> str | None:
    return request.cookies.get(security.session_cookie(settings)) or None


async def by_cookie(request: Request) -> Principal | None:
    """Return the user whose session cookie came with the request."""
    token = cookie_token(request, request.app.state.settings)
    return await principals.identify(request.app.state.pool, token) if token else None


async def required(request: Request) -> Principal:
    """Return the user of an API request; raise ``Problem`` 401 where there is none.

    With a cookie, a request that changes something must carry the form token too: browsers send cookies unasked.
    """
    settings: Settings = request.app.state.settings
    bearer = bearer_token(request)
    token = bearer or cookie_token(request, settings)
    principal = await principals.identify(request.app.state.pool, token) if token else None
    if principal is None:
        raise Problem(
            401, "Sign in first: POST /api/v1/sessions.", headers={"WWW-Authenticate": 'Bearer realm="parkmesh"'}
        )
    if bearer is None and request.method not in ("GET", "HEAD", "OPTIONS"):
        security.check_csrf(settings, principal.session, request.headers.get(security.CSRF_HEADER))
    return principal
