"""Signing in and out."""

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from parkmesh.server import principals
from parkmesh.server.problems import Problem
from parkmesh.server.web import people, security
from parkmesh.server.web.pages.rendering import read_form, render


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
    form = await read_form(request)
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
        form = await read_form(request)
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


ROUTES = [
    Route("/sign-in", show_sign_in),
    Route("/sign-in", sign_in, methods=["POST"]),
    Route("/sign-out", sign_out, methods=["POST"]),
]
