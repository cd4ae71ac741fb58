"""The signed-in user of a request, by session cookie or by bearer token."""

from starlette.requests import Request

from parkmesh.server.http.problems import Problem
from parkmesh.server.identity import api_keys, principals, second_factor
from parkmesh.server.identity.principals import Principal
from parkmesh.server.settings import Settings
from parkmesh.server.telemetry import logs
from parkmesh.server.web import security

READS = frozenset({"GET", "HEAD", "OPTIONS"})
OWN = "/notification-preferences"
"""Ends the address of what a member sets for themself in a community."""


def bearer_token(request: Request) -> str | None:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" and token.strip() else None


def cookie_token(request: Request, settings: Settings) -> str | None:
    return request.cookies.get(security.session_cookie(settings)) or None


async def by_cookie(request: Request) -> Principal | None:
    """Return the user whose session cookie came with the request."""
    token = cookie_token(request, request.app.state.settings)
    principal = await principals.identify(request.app.state.pool, token) if token else None
    if principal is not None:
        logs.note(actor=principal.actor)
    return principal


async def lacks_factor(request: Request, principal: Principal) -> bool:
    """Tell whether a user has to prove more than a password before doing anything."""
    state = request.app.state
    return await second_factor.missing(state.pool, state.settings.second_factor, principal)


async def required(request: Request) -> Principal:
    """Return the user or the API key of a request as ``half_way``; raise ``Problem`` 403 without a second factor."""
    principal = await half_way(request)
    if await lacks_factor(request, principal):
        raise second_factor.refusal()
    return principal


async def half_way(request: Request) -> Principal:
    """Return the user or the API key of a request, with or without a second factor; raise ``Problem`` 401.

    A key works for the routes of its community, as often as ``key_limits`` lets it (429); one that may only read gets
    403 for anything else, and so does an auditor in their community. With a cookie, a request that changes something
    must carry the form token too: browsers send cookies unasked.
    """
    settings: Settings = request.app.state.settings
    bearer = bearer_token(request)
    token = bearer or cookie_token(request, settings)
    if bearer and bearer.startswith(api_keys.PREFIX):
        principal = await api_keys.identify(request.app.state.pool, bearer)
    else:
        principal = await principals.identify(request.app.state.pool, token) if token else None
    if principal is None:
        raise Problem(
            401, "Sign in first: POST /api/v1/sessions.", headers={"WWW-Authenticate": 'Bearer realm="parkmesh"'}
        )
    logs.note(actor=principal.actor)
    if principal.api_key is not None:
        request.app.state.key_limits.check(principal.api_key)
        _check_key(request, principal)
    check_may_change(request, principal)
    if bearer is None and request.method not in READS:
        security.check_csrf(settings, principal.session, request.headers.get(security.CSRF_HEADER))
    return principal


def _check_key(request: Request, principal: Principal) -> None:
    if "community" not in request.path_params and request.url.path != "/api/v1/communities":
        raise Problem(403, "An API key works for its community's routes only.")


def check_may_change(request: Request, principal: Principal) -> None:
    """Raise ``Problem`` 403 for a request that changes something in a community in which the user or key may only
    read. What is the user's own, such as which e-mails they get, is no part of the community."""
    place = principal.memberships.get(request.path_params.get("community", ""))
    if place is None or not place.reads_only or request.method in READS:
        return
    if principal.api_key is not None:
        raise Problem(403, "This API key may read but not change anything.")
    if not request.url.path.endswith(OWN):
        raise Problem(403, "Auditors read everything here and change nothing.", kind="reads-only")
