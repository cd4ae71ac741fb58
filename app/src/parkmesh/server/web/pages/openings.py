"""The notice about a gate that was asked to open: on the page that asked, until the outcome is known.

The page's address names the command (``?opening=``). The page's script asks for the notice alone each second; without
scripts the page loads itself again.
"""

from dataclasses import dataclass
from urllib.parse import quote

from starlette.responses import Response

from parkmesh.server.access import gate_commands, gates
from parkmesh.server.db import database
from parkmesh.server.db.database import Connection
from parkmesh.server.http import problems
from parkmesh.server.http.problems import Problem
from parkmesh.server.reservations import visitor_passes
from parkmesh.server.web import links, security
from parkmesh.server.web.pages.rendering import render
from parkmesh.server.web.pages.visit import Access, Visit, page

PARAMETER = "opening"
VISIT = f"/{links.VISIT}"


@dataclass(frozen=True)
class Opening:
    """A command with the gate's title, and the address where its notice is asked for."""

    command: gate_commands.GateCommand
    title: str
    address: str


async def of(visit: Visit, connection: Connection) -> Opening | None:
    """Return the opening that a community's page tells of; None where its address names none that is theirs."""
    command = visit.query(PARAMETER)
    if not command:
        return None
    try:
        return await _titled(connection, visit, command)
    except Problem:
        return None


async def _titled(connection: Connection, visit: Visit, command: str) -> Opening:
    found = await gate_commands.read_as(connection, visit.principal, visit.member, command)
    title = await _title(connection, visit.member.community_id, found.gate)
    return Opening(found, title, f"{visit.base}/openings/{quote(command)}")


async def _title(connection: Connection, community_id: int, gate: str) -> str:
    try:
        return (await gates.get(connection, community_id, gate)).title
    except Problem:
        # It was deleted since.
        return gate


async def of_visitor(connection: Connection, community_id: int, token: str, command: str) -> Opening | None:
    """Return the opening that a visitor's page tells of; None where the link's pass didn't ask for it."""
    pass_id = await visitor_passes.pass_of(connection, community_id, token)
    if not command or pass_id is None:
        return None
    try:
        actor = gate_commands.visitor(pass_id)
        found = await gate_commands.read(connection, community_id, command, actor=actor)
    except Problem:
        return None
    title = await _title(connection, community_id, found.gate)
    return Opening(found, title, f"{VISIT}/{quote(token)}/openings/{quote(command)}")


async def show(visit: Visit) -> Response:
    """Answer with the notice alone."""
    async with visit.reading() as connection:
        opening = await _titled(connection, visit, visit.path("command"))
    return render(visit, "opening.html", gate_opening=opening)


async def show_visitor(visit: Visit) -> Response:
    """Answer with the notice alone, to a visitor with a link."""
    token = visit.request.path_params["token"]
    address = security.client_address(visit.request, visit.settings)
    community_id = await visitor_passes.enter(visit.pool, token, address)
    async with database.in_community(visit.pool, community_id, read_only=True) as connection:
        opening = await of_visitor(connection, community_id, token, visit.path("command"))
    await visitor_passes.entered(visit.pool, token, address)
    if opening is None:
        raise problems.not_found()
    return render(visit, "opening.html", gate_opening=opening)


ROUTES = [
    page("/communities/{community}/openings/{command}", Access.MEMBER, show),
    page(f"{VISIT}/{{token}}/openings/{{command}}", Access.ANYBODY, show_visitor),
]
