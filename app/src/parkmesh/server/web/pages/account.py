"""The user's own account: signed-in devices, the password and passkeys."""

from starlette.responses import Response

from parkmesh.server.http.problems import Problem
from parkmesh.server.identity import accounts, devices, passkeys
from parkmesh.server.web import security
from parkmesh.server.web.pages.rendering import render
from parkmesh.server.web.pages.sessions import passkeys_work
from parkmesh.server.web.pages.visit import Access, Visit, action, page

MAX_PASSWORD = 1024


async def show(visit: Visit) -> Response:
    return render(
        visit,
        "account.html",
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


ROUTES = [
    page("/account", Access.SIGNED_IN, show),
    action("/account/sessions/end-others", Access.SIGNED_IN, end_other_sessions),
    action("/account/sessions/{session}/end", Access.SIGNED_IN, end_session),
    action("/account/passkeys/remove", Access.SIGNED_IN, remove_passkey),
    action("/account/password", Access.SIGNED_IN, change_password),
]
