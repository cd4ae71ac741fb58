"""The list of communities, and each community's live page."""

from datetime import UTC, datetime
from itertools import groupby
from urllib.parse import quote
from zoneinfo import ZoneInfo

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from parkmesh.server import database, live, operations, problems, reads
from parkmesh.server.principals import Role
from parkmesh.server.problems import Problem
from parkmesh.server.web import people, security, words
from parkmesh.server.web.pages.rendering import read_form, render, session_context, to_sign_in

MIN_REASON, MAX_REASON = 3, 200


async def show_communities(request: Request) -> Response:
    principal = await people.by_cookie(request)
    if principal is None:
        return to_sign_in(request)
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
        **session_context(request, principal),
    )


async def show_community(request: Request) -> Response:
    principal = await people.by_cookie(request)
    if principal is None:
        return to_sign_in(request)
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
        **session_context(request, principal),
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
        return to_sign_in(request)
    state = request.app.state
    form = await read_form(request)
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
    Route("/communities/{community}", show_community),
    Route("/communities/{community}/stream", stream_community),
    Route("/communities/{community}/gates/{gate}/open", open_gate, methods=["POST"]),
]
