"""Coming in by an invitation, by link or by code; and setting a new password by a link."""

from urllib.parse import quote

from starlette.responses import Response

from parkmesh.server.http.problems import Problem
from parkmesh.server.identity import devices, principals
from parkmesh.server.people import invitations
from parkmesh.server.web import security
from parkmesh.server.web.pages import privacy
from parkmesh.server.web.pages.rendering import render
from parkmesh.server.web.pages.sessions import start_session
from parkmesh.server.web.pages.visit import Access, Visit, action, page

MAX_NAME, MAX_PASSWORD, MAX_CODE = 100, 1024, 40


async def show(visit: Visit) -> Response:
    """Show what a link is for, and the form that accepts it."""
    return await _offer(visit, invitations.Claim(token=_token(visit)))


def _token(visit: Visit) -> str:
    token: str = visit.request.path_params["token"]
    return token[:200]


async def _offer(visit: Visit, claim: invitations.Claim) -> Response:
    address = security.client_address(visit.request, visit.settings)
    try:
        offer = await invitations.look(visit.pool, claim, address)
    except Problem as problem:
        if problem.status_code != 404:
            raise
        visit.form.errors.clear()
        visit.form.sent = False
        visit.form.wrong("", visit.language.say(problem.detail))
        return render(visit, "join_code.html", 404)
    own = visit.asker is not None and visit.asker.email == offer.email
    told = await privacy.of(visit, offer.community_id) if offer.kind == "join" else {}
    return render(visit, "join.html", offer=offer, own=own, claim=claim, next=quote(visit.request.url.path), **told)


async def accept(visit: Visit) -> Response:
    claim = invitations.Claim(token=_token(visit))
    return await _accept(visit, claim)


async def _accept(visit: Visit, claim: invitations.Claim) -> Response:
    form, address = visit.form, security.client_address(visit.request, visit.settings)
    try:
        if form.value("act") == "join":
            if visit.asker is None:
                return visit.go("/sign-in", next=visit.request.url.path)
            if visit.lacks_factor:
                return visit.go("/second-factor")
            community = await invitations.accept(visit.pool, visit.principal, claim, address)
            return visit.go(f"/communities/{community}")
        name = form.text("name", most=MAX_NAME)
        password = form.value("password")[: MAX_PASSWORD + 1]
        if form.errors:
            return await _offer(visit, claim)
        token = await invitations.accept_as_new(
            visit.pool,
            claim,
            name=name,
            password=password,
            language=visit.language.code,
            address=address,
            device=_device(visit),
        )
        if visit.asker is not None:
            # The browser was signed in as another user: that session would live on and no page could end it.
            await principals.sign_out(visit.pool, visit.asker.session)
        return start_session(visit.settings, token, "/")
    except Problem as problem:
        form.refused(problem, "password" if problem.status_code == 422 else "")
    return await _offer(visit, claim)


async def reset(visit: Visit) -> Response:
    claim = invitations.Claim(token=_token(visit))
    password = visit.form.value("password")[: MAX_PASSWORD + 1]
    address = security.client_address(visit.request, visit.settings)
    try:
        token = await invitations.set_password(
            visit.pool, claim, password=password, address=address, device=_device(visit)
        )
        return start_session(visit.settings, token, "/")
    except Problem as problem:
        visit.form.refused(problem, "password")
    return await _offer(visit, claim)


def _device(visit: Visit) -> str:
    return devices.rough(visit.request.headers.get("user-agent", ""))


async def show_code(visit: Visit) -> Response:
    return render(visit, "join_code.html")


async def use_code(visit: Visit) -> Response:
    """Show what a code is for; with the further fields of that page, accept it."""
    form = visit.form
    claim = invitations.Claim(email=form.text("email", most=254).lower(), code=form.text("code", most=MAX_CODE))
    if form.errors:
        return render(visit, "join_code.html")
    if form.value("act"):
        return await _accept(visit, claim)
    return await _offer(visit, claim)


ROUTES = [
    page("/join", Access.ANYBODY, show_code),
    action("/join", Access.ANYBODY, use_code),
    page("/join/{token}", Access.ANYBODY, show),
    action("/join/{token}", Access.ANYBODY, accept),
    page("/reset/{token}", Access.ANYBODY, show),
    action("/reset/{token}", Access.ANYBODY, reset),
]
