"""The start page, the list of communities, and each community's live page."""

from datetime import UTC, datetime
from itertools import groupby

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from parkmesh.domain import words
from parkmesh.server.access import gate_commands, gates, passages
from parkmesh.server.communities import community_reads
from parkmesh.server.db import database
from parkmesh.server.http.problems import Problem
from parkmesh.server.identity import second_factor
from parkmesh.server.identity.principals import Role
from parkmesh.server.people import residents, units
from parkmesh.server.spaces import spaces as places
from parkmesh.server.web import authentication, labels, live
from parkmesh.server.web.fields import MAX_REASON, MIN_REASON
from parkmesh.server.web.pages import desk, home, openings
from parkmesh.server.web.pages.rendering import render
from parkmesh.server.web.pages.visit import Access, Visit, action, page


async def show_start(visit: Visit) -> Response:
    """Lead users to their start page: the desk, their only community, or the list of their communities."""
    memberships = list(visit.principal.memberships.values())
    if visit.principal.operator:
        return await desk.show(visit)
    if len(memberships) == 1:
        return visit.go(f"/communities/{memberships[0].community}")
    return await show_communities(visit)


async def show_communities(visit: Visit) -> Response:
    """Show a user who belongs to several communities, or to none, the list of them."""
    communities = []
    for member in visit.principal.memberships.values():
        async with database.in_community(visit.pool, member.community_id, read_only=True) as connection:
            communities.append(await community_reads.community(connection, member.community_id))
    roles = {name: member.role for name, member in visit.principal.memberships.items()}
    return render(visit, "communities.html", communities=communities, roles=roles)


async def show_community(visit: Visit) -> Response:
    """Show a community: live to its staff, to residents their own plates and spaces."""
    return await (show_live(visit) if visit.staff else home.show(visit))


async def show_live(visit: Visit, status: int = 200) -> Response:
    """Show all that happens: for staff."""
    identity = visit.member.community_id
    async with visit.reading() as connection:
        known = await gates.all_of(connection, identity)
        spaces = await places.all_of(connection, identity)
        latest = await passages.search(connection, identity, limit=live.PASSAGES)
        opening = await openings.of(visit, connection)
        gateways = [gateway for _, gateway in await community_reads.gateways(connection, identity)]
        heard_at = await places.heard_at(connection, identity)
        erasures = await residents.asking_for_erasure(connection, identity)
    return render(
        visit,
        "community.html",
        status,
        community=visit.community,
        gates=known,
        levels=[(level, list(group)) for level, group in groupby(spaces, key=lambda space: space.level)],
        counts={status: sum(space.status == status for space in spaces) for status in labels.STATUS},
        passages=latest,
        heard_at=heard_at,
        # For those who can erase somebody.
        erasures=0 if visit.member.reads_only else len(erasures),
        gateways=[(gateway, live.gateway_health(gateway)) for gateway in gateways],
        today=visit.language.day(datetime.now(UTC), visit.zone),
        gate_opening=opening,
        min_reason=MIN_REASON,
        max_reason=MAX_REASON,
        stream=stream_settings(visit, gateways),
    )


def stream_settings(visit: Visit, gateways: list[community_reads.Gateway]) -> dict[str, object]:
    """Return what the script of a live page has to know; ``gateways`` are the community's."""
    return {
        "address": f"{visit.base}/stream",
        "language": visit.language.code,
        "zone": visit.zone.key,
        "onlineMs": int(community_reads.ONLINE_WITHIN.total_seconds() * 1000),
        "rows": live.PASSAGES,
        "seen": {gateway.name: live.gateway_health(gateway).seen for gateway in gateways},
        "words": {
            **{name: labels.table(visit.language, name) for name in ("status", "decision", "passed", "reason")},
            "notConfirmed": visit.language.gettext(words.NOT_CONFIRMED),
            "live": visit.language.gettext("Live"),
            "silent": visit.language.gettext("No gateway is online"),
            "waiting": visit.language.gettext("Reconnecting…"),
            "online": visit.language.gettext("Online"),
            "offline": visit.language.gettext("Offline"),
            "never": visit.language.gettext("never seen"),
        },
    }


async def stream_community(request: Request) -> Response:
    principal = await authentication.by_cookie(request)
    if principal is None:
        raise Problem(401, "Sign in first.")
    if await authentication.lacks_factor(request, principal):
        raise second_factor.refusal()
    state = request.app.state
    member = await principal.membership(state.pool, request.path_params["community"])
    own, unit = None, None
    if member.role is Role.RESIDENT:
        async with database.in_community(state.pool, member.community_id, read_only=True) as connection:
            own = await passages.seen_by(connection, member.community_id, member.resident_id)
            unit = await units.unit_of(connection, member.community_id, member.resident_id) or 0
    return StreamingResponse(
        state.feeds.watch(
            member.community_id, principal.user_id, own, unit, None if own is None else member.resident_id
        ),
        media_type="text/event-stream",
        # Proxies that buffer would turn live into late.
        headers={"X-Accel-Buffering": "no"},
    )


async def open_gate(visit: Visit) -> Response:
    reason = visit.form.text("reason", least=MIN_REASON, most=MAX_REASON)
    if wrong := visit.form.errors.pop("reason", ""):
        # Every gate of the page has its own field.
        visit.form.wrong(f"reason-{visit.path('gate')}", wrong)
    if visit.form.errors:
        return await show_live(visit)
    gate = visit.request.path_params["gate"]
    try:
        asked = await gate_commands.open_gate(visit.pool, visit.principal, visit.member, gate, reason)
    except Problem as problem:
        if problem.status_code == 404:
            raise
        visit.form.refused(problem)
        answer = await show_live(visit, problem.status_code)
        answer.headers.update(problem.headers or {})
        return answer
    return visit.go(visit.base, opening=asked.id)


ROUTES = [
    page("/", Access.SIGNED_IN, show_start),
    page("/communities/{community}", Access.MEMBER, show_community),
    Route("/communities/{community}/stream", stream_community),
    action("/communities/{community}/gates/{gate}/open", Access.STAFF, open_gate),
]
