"""What all pages share: templates, static files, and errors as pages."""

import hashlib
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from parkmesh.domain import plate_spacing
from parkmesh.server.http import problems
from parkmesh.server.http.problems import Problem
from parkmesh.server.identity.principals import Role
from parkmesh.server.web import labels, language, security
from parkmesh.server.web.language import LANGUAGES, Language
from parkmesh.server.web.pages import idempotency, navigation, reading_only
from parkmesh.server.web.pages.visit import Visit

_HERE = Path(__file__).parents[1]
STATIC = _HERE / "static"
TEMPLATES = _HERE / "templates"

_VERSIONS = {file.name: hashlib.sha256(file.read_bytes()).hexdigest()[:12] for file in STATIC.iterdir()}


def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n"],
    )
    environment.install_gettext_callables(newstyle=True, **language.jinja_callables())  # type: ignore[attr-defined]
    environment.globals["static"] = lambda name: f"/static/{name}?v={_VERSIONS[name]}"
    environment.filters["spaced"] = plate_spacing.spaced
    environment.filters["zone"] = ZoneInfo
    environment.globals["labels"] = labels
    environment.globals["Role"] = Role
    environment.globals["LANGUAGES"] = LANGUAGES
    return environment


_templates = _environment()


def compile_templates() -> None:
    """Compile all templates: the first request for a page need not wait for it, nor hold up other requests."""
    for name in _templates.list_templates():
        _templates.get_template(name)


class StaticFilesWithVersions(StaticFiles):
    """Our few static files; their addresses change with their content, so browsers may keep them."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        return response


def render(visit: Visit, template: str, status: int = 200, **context: Any) -> HTMLResponse:
    """Return a page. Without a session its forms are bound to a cookie that comes with it."""
    cookie = None
    if visit.asker:
        bound_to = visit.asker.session
    else:
        name = security.form_cookie(visit.settings)
        cookie = visit.request.cookies.get(name) or security.new_form_secret()
        bound_to = cookie.encode("utf-8", "replace")
    page = _html(
        template,
        422 if visit.form.errors and status == 200 else status,
        visit.language,
        visit=visit,
        principal=visit.asker,
        member=visit.place,
        form=visit.form,
        navigation=navigation.of(visit),
        here=visit.request.url.path,
        csrf=security.csrf_token(visit.settings, bound_to),
        idempotency_key=idempotency.new_key(),
        done=labels.DONE.get(visit.query("done"), ""),
        also=[labels.ALSO[code] for code in (visit.also or visit.query("also")).split(",") if code in labels.ALSO],
        **context,
    )
    if cookie:
        security.set_cookie(page, visit.settings, security.form_cookie(visit.settings), cookie)
    return page


def _html(template: str, code: int, reader: Language, **context: Any) -> HTMLResponse:
    context["label"] = lambda table, key: labels.label(reader, table, key)
    context["choices"] = lambda table, keys: [(key, labels.label(reader, table, key)) for key in keys]
    text = _templates.get_template(template).render(language=reader, **context)
    form = context.get("form")
    if form and form.errors:
        # The summary of errors names the fields, and stands above them: now their labels are known.
        text = _templates.get_template(template).render(language=reader, **context)
    place = context["member"]
    return HTMLResponse(reading_only.without_changes(text) if place and place.reads_only else text, code)


def error_page(request: Request, error: HTTPException) -> Response:
    """Return an error as a page for browsers and as problem details for everything else."""
    members = error.members if isinstance(error, Problem) else {}
    kind = error.kind if isinstance(error, Problem) else None
    if request.url.path.startswith("/api/") or "text/html" not in request.headers.get("accept", ""):
        return problems.response(error.status_code, error.detail, kind=kind, headers=error.headers, **members)
    reader = language.of(request)
    text = error.detail if isinstance(error, Problem) else labels.STATUS_CODE.get(error.status_code, error.detail)
    page = _html(
        "error.html",
        error.status_code,
        reader,
        status=error.status_code,
        detail=reader.say(text),
        principal=None,
        member=None,
        csrf="",
        navigation=navigation.NOTHING,
        done="",
        also=(),
    )
    page.headers.update(error.headers or {})
    return page
