"""Pages for people: signing in, the communities, and each community's live page."""

import hashlib
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote
from zoneinfo import ZoneInfo

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from parkmesh.server import database, live, operations, principals, problems, reads
from parkmesh.server.principals import Principal, Role
from parkmesh.server.problems import Problem
from parkmesh.server.web import people, security, words

_HERE = Path(__file__).parent.parent
STATIC = _HERE / "static"

_VERSIONS = {file.name: hashlib.sha256(file.read_bytes()).hexdigest()[:12] for file in STATIC.iterdir()}
_templates = Environment(
    loader=FileSystemLoader(_HERE / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.globals["static"] = lambda name: f"/static/{name}?v={_VERSIONS[name]}"
_templates.globals["words"] = words
_templates.globals["Role"] = Role

MIN_REASON, MAX_REASON = 3, 200


class StaticFilesWithVersions(StaticFiles):
    """Our few static files; their addresses change with their content, so browsers may keep them."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        return response


def render(template: str, code: int = 200, **context: Any) -> HTMLResponse:
    context.setdefault("principal", None)
    context.setdefault("csrf", "")
    return HTMLResponse(_templates.get_template(template).render(**context), code)


def error_page(request: Request, error: HTTPException) -> Response:
    """Return an error as a page for browsers and as problem details for everything else."""
    members = error.members if isinstance(error, Problem) else {}
    kind = error.kind if isinstance(error, Problem) else None
    if request.url.path.startswith("/api/") or "text/html" not in request.headers.get("accept", ""):
        return problems.response(error.status_code, error.detail, kind=kind, headers=error.headers, **members)
    page = render("error.html", error.status_code, status=error.status_code, detail=error.detail)
    page.headers.update(error.headers or {})
    return page


def _session_context(request: Request, principal: Principal) -> dict[str, Any]:
    return {"principal": principal, "csrf": security.csrf_token(request.app.state.settings, principal.session)}


def _to_sign_in(request: Request) -> Response:
    target = request.url.path
    return RedirectResponse(f"/sign-in?next={quote(target)}" if target != "/" else "/sign-in", 303)


async def _form(request: Request) -> dict[str, str]:
    """Return a form's fields, the last of each name."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/x-www-form-urlencoded":
        raise Problem(415, "Expected a form.")
    try:
        fields = parse_qs((await request.body()).decode(), keep_blank_values=True, max_num_fields=20)
    except ValueError:
        raise Problem(400, "The form can't be read.", kind="malformed") from None
    return {name: values[-1] for name, values in fields.items()}


async def show_sign_in(request: Request) -> Response:
    if await people.by_cookie(request):
        return RedirectResponse(security.local_path(request.query_params.get("next", "/")), 303)
    return _sign_in_page(request, next_path=security.local_path(request.query_params.get("next", "/")))


def _sign_in_page(
    request: Request, *, next_path: str, status: int = 200, email: str = "", error: str = ""
) -> HTMLResponse:
    settings = request.app.state.settings
    cookie = request.cookies.get(security.form_cookie(settings)) or security.new_form_secret()
    page = render(
        "sign_in.html",
        status,
        csrf=security.csrf_token(settings, cookie.encode("utf-8", "replace")),
        next=next_path,
        email=email,
        error=error,
    )
    security.set_cookie(page, settings, security.form_cookie(settings), cookie)
    return page


async def sign_in(request: Request) -> Response:
    state = request.app.state
    form = await _form(request)
    bound_to = request.cookies.get(security.form_cookie(state.settings), "")
    email, password = form.get("email", ""), form.get("password", "")
    next_path = security.local_path(form.get("next", "/"))
    try:
        if not bound_to:
            raise Problem(403, "The form has expired. Try once more.", kind="csrf")
        security.check_csrf(state.settings, bound_to.encode("utf-8", "replace"), form.get(security.CSRF_FIELD))
        if "\x00" in email or len(email) > 254 or len(password) > 1024:
            token = None
        else:
            token = await principals.sign_in(
                state.pool,
                email,
                password,
                security.client_address(request, state.settings),
                replaces=people.cookie_token(request, state.settings),
            )
    except Problem as problem:
        page = _sign_in_page(
            request, next_path=next_path, status=problem.status_code, email=email[:254], error=problem.detail
        )
        page.headers.update(problem.headers or {})
        return page
    if token is None:
        message = "E-mail and password don't belong together."
        return _sign_in_page(request, next_path=next_path, status=401, email=email[:254], error=message)
    response = RedirectResponse(next_path, 303)
    security.set_cookie(response, state.settings, security.session_cookie(state.settings), token)
    response.delete_cookie(
        security.form_cookie(state.settings),
        path="/",
        httponly=True,
        samesite="lax",
        secure=state.settings.secure_cookies,
    )
    return response


async def sign_out(request: Request) -> Response:
    state = request.app.state
    principal = await people.by_cookie(request)
    if principal:
        form = await _form(request)
        security.check_csrf(state.settings, principal.session, form.get(security.CSRF_FIELD))
        await principals.sign_out(state.pool, principal.session)
    response = RedirectResponse("/sign-in", 303)
    response.delete_cookie(
        security.session_cookie(state.settings),
        path="/",
        httponly=True,
        samesite="lax",
        secure=state.settings.secure_cookies,
    )
    return response


async def show_communities(request: Request) -> Response:
    principal = await people.by_cookie(request)
    if principal is None:
        return _to_sign_in(request)
    pool = request.app.state.pool
    gateways: list[tuple[int, reads.Gateway]] = []
    if principal.operator:
        async with database.at_desk(pool) as connection:
            communities = await reads.communities(connection)
            gateways = await reads.gateways(connection, None)
    else:
        communities = []
        for member in principal.memberships.values():
            async with database.in_community(pool, member.community_id, read_only=True) as connection:
                communities.append(await reads.community(connection, member.community_id))
    now = datetime.now(UTC)
    health: dict[int, list[dict[str, object]]] = {}
    for community_id, gateway in gateways:
        seen = gateway.last_heartbeat_at
        line = {"gateway": gateway, "seen": words.ago((now - seen).total_seconds() if seen else None)}
        health.setdefault(community_id, []).append(line)
    return render(
        "communities.html",
        communities=communities,
        health=health,
        roles={name: member.role for name, member in principal.memberships.items()},
        **_session_context(request, principal),
    )


async def show_community(request: Request) -> Response:
    principal = await people.by_cookie(request)
    if principal is None:
        return _to_sign_in(request)
    pool = request.app.state.pool
    member = await principal.membership(pool, request.path_params["community"])
    identity = member.community_id
    async with database.in_community(pool, identity, read_only=True) as connection:
        community = await reads.community(connection, identity)
        own = await reads.plates_of(connection, identity, member.resident_id) if member.role is Role.RESIDENT else None
        gates = await reads.gates(connection, identity)
        spaces = await reads.spaces(connection, identity)
        passages = await reads.passages(connection, identity, limit=live.PASSAGES, plates=own)
        gateways = [gateway for _, gateway in await reads.gateways(connection, identity)]
    zone = ZoneInfo(community.time_zone)
    asked = request.query_params.get("asked")
    counts = {status: sum(space.status == status for space in spaces) for status in words.STATUS}
    return render(
        "community.html",
        community=community,
        member=member,
        gates=gates,
        levels=[(level, list(group)) for level, group in groupby(spaces, key=lambda space: space.level)],
        counts=counts,
        passages=[live.passage_row(passage, zone) for passage in passages],
        gateways=[(gateway, live.gateway_health(gateway)) for gateway in gateways],
        online_ms=int(reads.ONLINE_WITHIN.total_seconds() * 1000),
        passages_shown=live.PASSAGES,
        today=words.local_day(datetime.now(UTC), zone),
        asked=next((gate for gate in gates if gate.name == asked), None),
        min_reason=MIN_REASON,
        max_reason=MAX_REASON,
        **_session_context(request, principal),
    )


async def stream_community(request: Request) -> Response:
    principal = await people.by_cookie(request)
    if principal is None:
        raise Problem(401, "Sign in first.")
    state = request.app.state
    member = await principal.membership(state.pool, request.path_params["community"])
    own = None
    if member.role is Role.RESIDENT:
        async with database.in_community(state.pool, member.community_id, read_only=True) as connection:
            own = frozenset(await reads.plates_of(connection, member.community_id, member.resident_id))
    return StreamingResponse(
        state.feeds.watch(member.community_id, principal.user_id, own),
        media_type="text/event-stream",
        # Proxies that buffer would turn live into late.
        headers={"X-Accel-Buffering": "no"},
    )


async def open_gate(request: Request) -> Response:
    principal = await people.by_cookie(request)
    if principal is None:
        return _to_sign_in(request)
    state = request.app.state
    form = await _form(request)
    security.check_csrf(state.settings, principal.session, form.get(security.CSRF_FIELD))
    member = await principal.membership(state.pool, request.path_params["community"])
    if member.role is not Role.OPERATOR:
        raise Problem(403, "Only the operator's desk may open a gate from here.")
    reason = form.get("reason", "").strip()
    if not MIN_REASON <= len(reason) <= MAX_REASON or not reason.isprintable():
        raise Problem(422, f"A reason of {MIN_REASON} to {MAX_REASON} characters is needed.", kind="invalid")
    gate = request.path_params["gate"]
    if await operations.open_gate(state.pool, principal, member.community_id, gate, reason) is None:
        raise problems.not_found()
    return RedirectResponse(f"/communities/{quote(member.community)}?asked={quote(gate)}", 303)


ROUTES = [
    Route("/", show_communities),
    Route("/sign-in", show_sign_in),
    Route("/sign-in", sign_in, methods=["POST"]),
    Route("/sign-out", sign_out, methods=["POST"]),
    Route("/communities/{community}", show_community),
    Route("/communities/{community}/stream", stream_community),
    Route("/communities/{community}/gates/{gate}/open", open_gate, methods=["POST"]),
]
