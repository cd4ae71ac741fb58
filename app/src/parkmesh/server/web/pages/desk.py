"""The operator's desk: all communities and gateways at a glance, communities taken on, offboarded and deleted."""

import re
from typing import Literal

from starlette.responses import Response

from parkmesh.server.communities import community_counts, desk
from parkmesh.server.db import database
from parkmesh.server.http import problems
from parkmesh.server.http.problems import Problem
from parkmesh.server.outbox import messages
from parkmesh.server.web.fields import MAX_REASON, MIN_REASON
from parkmesh.server.web.language import LANGUAGES
from parkmesh.server.web.pages.rendering import render
from parkmesh.server.web.pages.visit import Access, Visit, action, page

MAX_LINES = 500


async def show(visit: Visit) -> Response:
    """Show the fleet in figures and the communities by pages, each with its gateways."""
    search = visit.query("q")
    paged = visit.paged()
    place = paged.after(str)
    async with database.at_desk(visit.pool) as connection:
        summary = await desk.summary(connection)
        found = await desk.communities(
            connection, limit=paged.fetch, way=paged.way, after=place[0] if place else None, search=search or None
        )
        communities, turns = visit.turned(paged, found, lambda item: (item.name,))
        gateways: dict[str, list[desk.GatewayHealth]] = {}
        first = (communities[0].name, "") if communities else None
        for item in await desk.gateways(connection, limit=200, after=first, search=search or None):
            gateways.setdefault(item.community, []).append(item)
    return render(
        visit,
        "desk.html",
        summary=summary,
        communities=communities,
        gateways=gateways,
        search=search,
        **turns,
    )


async def show_gateways(visit: Visit) -> Response:
    """Show gateways by pages, those in one state where asked."""
    search, state = visit.query("q"), visit.query("state")
    states: tuple[desk.State | Literal["ok"], ...] = (*desk.STATES, "ok")
    known = next((item for item in states if item == state), None)
    paged = visit.paged()
    place = paged.after(str, str)
    async with database.at_desk(visit.pool) as connection:
        summary = await desk.summary(connection)
        found = await desk.gateways(
            connection,
            limit=paged.fetch,
            way=paged.way,
            after=(place[0], place[1]) if place else None,
            state=known,
            search=search or None,
        )
        orders = await desk.release_orders(connection, [(item.community, item.name) for item in found])
    gateways, turns = visit.turned(paged, found, lambda item: (item.community, item.name))
    return render(
        visit,
        "desk_gateways.html",
        gateways=gateways,
        orders=orders,
        summary=summary,
        search=search,
        state=known or "",
        states=("ok", *desk.STATES),
        **turns,
    )


async def show_messages(visit: Visit) -> Response:
    """Show messages that could not be sent."""
    paged = visit.paged()
    place = paged.after(int)
    found = await messages.dead(visit.pool, limit=paged.fetch, way=paged.way, after=place[0] if place else None)
    shown, turns = visit.turned(paged, found, lambda item: (item.id,))
    return render(
        visit,
        "desk_messages.html",
        messages=shown,
        mails=visit.settings.mail is not None,
        **turns,
    )


async def send_again(visit: Visit) -> Response:
    if not await messages.send_again(visit.pool, visit.number("message")):
        raise problems.not_found()
    return visit.go("/messages", done="sent-again")


async def show_onboard(visit: Visit) -> Response:
    return render(visit, "onboard.html", tokens=None)


async def onboard(visit: Visit) -> Response:
    """Make a community from a form; its gateways' tokens are shown this once."""
    form = visit.form
    wish: dict[str, object] = {
        "name": form.text("name", most=63),
        "title": form.text("title", most=120),
        "time_zone": form.text("time_zone", most=60),
        "language": form.choice("language", LANGUAGES),
        "gates": _gates(visit),
        "spaces": _spaces(visit),
        "gateways": [{"name": form.text("gateway", most=63)}],
    }
    if not form.errors:
        try:
            async with database.acquired(visit.pool) as connection, database.provisioning(connection):
                tokens = await desk.onboard(connection, visit.principal, desk.checked(wish))
            return render(visit, "onboard.html", tokens=tokens, name=wish["name"], title=wish["title"])
        except Problem as problem:
            form.refused(problem)
    return await show_onboard(visit)


async def show_offboarding(visit: Visit) -> Response:
    """Say what goes when the community is offboarded or, once it is, deleted; and ask for its short name."""
    identity = visit.member.community_id
    async with visit.reading() as connection:
        community = await desk.details(connection, identity)
        held = await community_counts.count(connection, identity)
    return render(
        visit,
        "offboard.html",
        community=community,
        held=held,
        gateways_until=community.offboarded_at and community.offboarded_at + desk.GATEWAY_GRACE,
        grace=desk.DELETION_GRACE,
    )


async def offboard(visit: Visit) -> Response:
    """Offboard a community whose short name was entered once more."""
    form, member = visit.form, visit.member
    reason = form.text("reason", least=MIN_REASON, most=MAX_REASON)
    _check_confirmed(visit)
    if form.errors:
        return await show_offboarding(visit)
    async with database.acquired(visit.pool) as connection, database.provisioning(connection):
        await desk.offboard(connection, visit.principal, member.community_id, reason)
    return visit.go(visit.request.url.path, done="offboarded")


async def delete(visit: Visit) -> Response:
    """Have a community deleted that was offboarded and whose short name was entered once more."""
    _check_confirmed(visit)
    if not visit.form.errors:
        try:
            async with database.acquired(visit.pool) as connection, database.provisioning(connection):
                await desk.delete_community(connection, visit.principal, visit.member.community_id)
            return visit.go(f"{visit.base}/offboard", done="community-deleted")
        except Problem as problem:
            visit.form.refused(problem)
    return await show_offboarding(visit)


async def keep(visit: Visit) -> Response:
    """Take back that a community is to be deleted."""
    try:
        async with database.acquired(visit.pool) as connection, database.provisioning(connection):
            await desk.keep_community(connection, visit.principal, visit.member.community_id)
        return visit.go(f"{visit.base}/offboard", done="community-kept")
    except Problem as problem:
        visit.form.refused(problem)
    return await show_offboarding(visit)


def _check_confirmed(visit: Visit) -> None:
    if visit.form.value("confirm").strip().lower() != visit.member.community:
        text = visit.language.gettext("Enter %(name)s to confirm.", name=visit.member.community)
        visit.form.wrong("confirm", text)


def _gates(visit: Visit) -> list[dict[str, str]]:
    """Return the gates that were written one to a line: name, direction, title."""
    gates = []
    for number, line in enumerate(_lines(visit, "gates"), 1):
        name, direction, title = (*(part.strip() for part in line.split(",", 2)), "", "")[:3]
        if direction not in ("entry", "exit", "both"):
            text = visit.language.gettext("Line %(number)s: write name, direction, title.", number=number)
            visit.form.wrong("gates", text)
        gates.append({"name": name, "direction": direction, "title": title or name})
    return gates


def _spaces(visit: Visit) -> list[dict[str, str]]:
    """Return the spaces that were written one range to a line: level, first name, last name."""
    spaces = []
    for number, line in enumerate(_lines(visit, "spaces"), 1):
        level, first, last = (*(part.strip() for part in line.split(",", 2)), "", "")[:3]
        begin, end = (re.fullmatch(r"(.*?)(\d{1,6})", text) for text in (first, last or first))
        if not begin or not end or begin[1] != end[1] or not 0 <= int(end[2]) - int(begin[2]) < MAX_LINES:
            text = visit.language.gettext("Line %(number)s: write level, first space, last space.", number=number)
            visit.form.wrong("spaces", text)
            continue
        width = len(begin[2])
        spaces += [
            {"name": f"{begin[1]}{space:0{width}}", "level": level} for space in range(int(begin[2]), int(end[2]) + 1)
        ]
    return spaces


def _lines(visit: Visit, name: str) -> list[str]:
    return [line for line in visit.form.value(name).splitlines() if line.strip()][:MAX_LINES]


_OFFBOARD = "/communities/{community}/offboard"
ROUTES = [
    page("/gateways", Access.OPERATOR, show_gateways),
    page("/messages", Access.OPERATOR, show_messages),
    action("/messages/{message}/again", Access.OPERATOR, send_again),
    page("/onboard", Access.OPERATOR, show_onboard),
    action("/onboard", Access.OPERATOR, onboard),
    page(_OFFBOARD, Access.OPERATOR, show_offboarding),
    action(_OFFBOARD, Access.OPERATOR, offboard),
    action("/communities/{community}/delete", Access.OPERATOR, delete),
    action("/communities/{community}/keep", Access.OPERATOR, keep),
]
