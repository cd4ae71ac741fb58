"""The user's own account: signed-in devices, the password, passkeys, and the data that communities keep of the user."""

from dataclasses import dataclass

from starlette.responses import Response

from parkmesh.server.communities import community_reads
from parkmesh.server.db import database
from parkmesh.server.http.problems import Problem
from parkmesh.server.identity import accounts, devices, passkeys
from parkmesh.server.people import personal_data, residents
from parkmesh.server.web import security
from parkmesh.server.web.pages.rendering import render
from parkmesh.server.web.pages.sessions import passkeys_work
from parkmesh.server.web.pages.visit import Access, Visit, action, page

MAX_PASSWORD = 1024


@dataclass(frozen=True)
class Place:
    """A community that one lives in."""

    community: community_reads.Community
    resident: residents.Resident


async def _places(visit: Visit) -> list[Place]:
    places = []
    for member in visit.principal.memberships.values():
        if member.resident_id is not None:
            identity = member.community_id
            async with database.in_community(visit.pool, identity, read_only=True) as connection:
                community = await community_reads.community(connection, identity)
                places.append(Place(community, await residents.get(connection, identity, member.resident_id)))
    return places


async def show(visit: Visit) -> Response:
    return render(
        visit,
        "account.html",
        places=await _places(visit),
        sessions=await accounts.sessions(visit.pool, visit.principal),
        passkeys=await passkeys.owned(visit.pool, visit.principal),
        passkeys_work=passkeys_work(visit),
    )


async def remove_passkey(visit: Visit) -> Response:
    form = visit.form
    password, passkey = form.value("remove_password")[: MAX_PASSWORD + 1], form.number("passkey", 0)
    address = security.client_address(visit.request, visit.settings)
    try:
        await passkeys.delete(visit.pool, visit.principal, passkey, password, address)
    except Problem as problem:
        form.refused(problem, "remove_password")
        return await show(visit)
    return visit.go("/account", done="passkey-removed")


async def end_session(visit: Visit) -> Response:
    await accounts.end_session(visit.pool, visit.principal, visit.path("session"))
    return visit.go("/account", done="session-ended")


async def end_other_sessions(visit: Visit) -> Response:
    await accounts.end_other_sessions(visit.pool, visit.principal)
    return visit.go("/account", done="sessions-ended")


async def change_password(visit: Visit) -> Response:
    form = visit.form
    current, new = (form.value(name)[: MAX_PASSWORD + 1] for name in ("current_password", "new_password"))
    address = security.client_address(visit.request, visit.settings)
    try:
        device = devices.rough(visit.request.headers.get("user-agent", ""))
        token = await accounts.change_password(visit.pool, visit.principal, current, new, address, device)
    except Problem as problem:
        form.refused(problem, "current_password" if problem.kind == "wrong-password" else "new_password")
        return await show(visit)
    response = visit.go("/account", done="password-changed")
    security.set_cookie(response, visit.settings, security.session_cookie(visit.settings), token)
    return response


async def ask_for_erasure(visit: Visit) -> Response:
    """Ask the administrators to erase one's data, or take that back."""
    wanted = visit.form.value("wanted") == "yes"
    member = visit.member
    assert member.resident_id is not None, "only residents come here"
    async with visit.acting() as connection:
        await personal_data.ask_for_erasure(
            connection, visit.principal, member.community_id, member.resident_id, wanted
        )
    return visit.go("/account", done="erasure-asked" if wanted else "erasure-taken-back")


ROUTES = [
    page("/account", Access.SIGNED_IN, show),
    action("/account/sessions/end-others", Access.SIGNED_IN, end_other_sessions),
    action("/account/sessions/{session}/end", Access.SIGNED_IN, end_session),
    action("/account/passkeys/remove", Access.SIGNED_IN, remove_passkey),
    action("/account/password", Access.SIGNED_IN, change_password),
    action("/communities/{community}/my-data/erasure", Access.RESIDENT, ask_for_erasure),
]
