"""A forgotten password: asking for a link by mail, and setting a new password with it."""

from starlette.background import BackgroundTask
from starlette.responses import Response

from parkmesh.server.http.problems import Problem
from parkmesh.server.identity import devices, password_links, principals
from parkmesh.server.people import invitations
from parkmesh.server.web import links, security
from parkmesh.server.web.pages.rendering import render
from parkmesh.server.web.pages.sessions import start_session
from parkmesh.server.web.pages.visit import Access, Visit, action, page

MAX_PASSWORD = 1024
FORGOT = "/forgot-password"


async def show_forgot(visit: Visit) -> Response:
    if visit.settings.mail is None:
        raise invitations.no_mail()
    return render(visit, "forgot_password.html")


async def ask(visit: Visit) -> Response:
    """Have a link sent. The answer is the same whether or not there is an account."""
    if visit.settings.mail is None:
        raise invitations.no_mail()
    form = visit.form
    email = form.text("email", most=254).lower()
    if "@" not in email[1:-1]:
        form.wrong("email", visit.language.gettext("Enter an e-mail address."))
    if form.errors:
        return render(visit, "forgot_password.html")
    try:
        await password_links.reserve(visit.pool, email, security.client_address(visit.request, visit.settings))
    except Problem as problem:
        form.refused(problem, "email")
        refused = render(visit, "forgot_password.html", problem.status_code)
        refused.headers.update(problem.headers or {})
        return refused
    answer = visit.go(FORGOT, done="password-link")
    answer.background = BackgroundTask(password_links.send, visit.pool, email, visit.language.code)
    return answer


def _token(visit: Visit) -> str:
    token: str = visit.request.path_params["token"]
    return token[:200]


async def show(visit: Visit) -> Response:
    address = security.client_address(visit.request, visit.settings)
    if not await password_links.holds(visit.pool, _token(visit), address):
        visit.form.wrong("", visit.language.gettext(password_links.invalid().detail))
        return render(visit, "forgot_password.html", 404)
    return render(visit, "new_password.html")


async def set_password(visit: Visit) -> Response:
    form = visit.form
    password = form.value("password")[: MAX_PASSWORD + 1]
    form.fields.pop("password", None)
    try:
        token = await password_links.use(
            visit.pool,
            _token(visit),
            password=password,
            address=security.client_address(visit.request, visit.settings),
            device=devices.rough(visit.request.headers.get("user-agent", "")),
        )
    except Problem as problem:
        form.refused(problem, "password" if problem.status_code == 422 else "")
        if problem.status_code == 404:
            return render(visit, "forgot_password.html", 404)
        answer = render(visit, "new_password.html", problem.status_code)
        answer.headers.update(problem.headers or {})
        return answer
    if visit.asker is not None:
        # The browser was signed in as another user: that session would live on and no page could end it.
        await principals.sign_out(visit.pool, visit.asker.session)
    return start_session(visit.settings, token, "/")


ROUTES = [
    page(FORGOT, Access.ANYBODY, show_forgot),
    action(FORGOT, Access.ANYBODY, ask),
    page(f"/{links.PASSWORD}/{{token}}", Access.ANYBODY, show),
    action(f"/{links.PASSWORD}/{{token}}", Access.ANYBODY, set_password),
]
