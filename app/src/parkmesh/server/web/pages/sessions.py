"""Signing in and out, and the choice of a language."""

import json

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from parkmesh.server.http.problems import Problem
from parkmesh.server.identity import accounts, devices, passkeys, principals
from parkmesh.server.settings import Settings
from parkmesh.server.web import authentication, language, security
from parkmesh.server.web.pages import forms
from parkmesh.server.web.pages.rendering import render
from parkmesh.server.web.pages.visit import Access, Visit, action, check_form, page


async def show_sign_in(visit: Visit) -> Response:
    next_path = security.local_path(visit.request.query_params.get("next", "/"))
    if visit.asker:
        return RedirectResponse(next_path, 303)
    return _sign_in_page(visit, next_path)


def _sign_in_page(visit: Visit, next_path: str, status: int = 200) -> Response:
    return render(
        visit,
        "sign_in.html",
        status,
        next=next_path,
        passkeys_work=passkeys_work(visit),
        mails=visit.settings.mail is not None,
    )


def passkeys_work(visit: Visit) -> bool:
    """Tell whether browsers offer passkeys for this site's address."""
    try:
        passkeys.site(visit.settings.public_url)
    except Problem:
        return False
    return True


async def sign_in_with_passkey(visit: Visit) -> Response:
    """Take what the browser's device answered to the question that the page's script asked for."""
    form, next_path = visit.form, security.local_path(visit.form.value("next"))
    try:
        credential = json.loads(form.value("credential"))
    except (ValueError, RecursionError):
        credential = None
    form.fields.pop("credential", None)
    token = None
    if isinstance(credential, dict):
        token = await passkeys.sign_in(
            visit.pool,
            passkeys.site(visit.settings.public_url),
            credential,
            security.client_address(visit.request, visit.settings),
            devices.rough(visit.request.headers.get("user-agent", "")),
            authentication.cookie_token(visit.request, visit.settings),
        )
    if token is None:
        form.wrong("", visit.language.gettext("This passkey was not accepted. Try again."))
        return _sign_in_page(visit, next_path, 401)
    return start_session(visit.settings, token, next_path)


async def show_second_factor(visit: Visit) -> Response:
    """Ask a user who signed in without a passkey for their passkey, or to register a first one."""
    if not visit.lacks_factor:
        return visit.go("/")
    return render(visit, "second_factor.html", has_passkey=bool(await passkeys.owned(visit.pool, visit.principal)))


async def sign_in(visit: Visit) -> Response:
    request, form = visit.request, visit.form
    email, password = form.value("email"), form.value("password")
    next_path = security.local_path(form.value("next"))
    # A user who is signed in and signs in again still holds the form from before the first sign-in.
    visit.asker = None
    try:
        check_form(visit)
        if "\x00" in email or len(email) > 254 or len(password) > 1024:
            token = None
        else:
            token = await principals.sign_in(
                visit.pool,
                email,
                password,
                security.client_address(request, visit.settings),
                replaces=authentication.cookie_token(request, visit.settings),
                device=devices.rough(request.headers.get("user-agent", "")),
            )
    except Problem as problem:
        form.wrong("", forms.problem_text(visit.language, problem))
        page = _sign_in_page(visit, next_path, problem.status_code)
        page.headers.update(problem.headers or {})
        return page
    if token is None:
        form.wrong("", visit.language.gettext("E-mail and password don't belong together."))
        return _sign_in_page(visit, next_path, 401)
    return start_session(visit.settings, token, next_path)


def start_session(settings: Settings, token: str, next_path: str) -> Response:
    """Return the answer that gives the browser its session and sends it on."""
    response = RedirectResponse(next_path, 303)
    security.set_cookie(response, settings, security.session_cookie(settings), token)
    security.delete_cookie(response, settings, security.form_cookie(settings))
    return response


async def sign_out(visit: Visit) -> Response:
    await principals.sign_out(visit.pool, visit.principal.session)
    response = RedirectResponse("/sign-in", 303)
    # Nothing of ours may be kept (no-store), but pages that one could go back to are held in memory.
    response.headers["Clear-Site-Data"] = '"cache", "storage"'
    security.delete_cookie(response, visit.settings, security.session_cookie(visit.settings))
    return response


async def choose_language(visit: Visit) -> Response:
    code = visit.form.value("language")
    response = RedirectResponse(_came_from(visit.request), 303)
    if code in language.LANGUAGES:
        name = security.language_cookie(visit.settings)
        security.set_cookie(response, visit.settings, name, code, life=language.COOKIE_LIFE)
        if visit.asker:
            # Messages are in the language that the pages are in.
            await accounts.choose_language(visit.pool, visit.principal, code)
    return response


def _came_from(request: Request) -> str:
    """Return the page of this site that the browser says it comes from, the start page otherwise."""
    origin, found, path = request.headers.get("referer", "").partition(f"//{request.url.netloc}/")
    return security.local_path(f"/{path}") if found and origin in ("http:", "https:") else "/"


ROUTES = [
    page("/sign-in", Access.ANYBODY, show_sign_in),
    action("/sign-in", Access.ANYBODY, sign_in, checked=False),
    action("/sign-in/passkey", Access.ANYBODY, sign_in_with_passkey),
    page("/second-factor", Access.HALF_WAY, show_second_factor),
    action("/sign-out", Access.HALF_WAY, sign_out),
    action("/language", Access.ANYBODY, choose_language),
]
