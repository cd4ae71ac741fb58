"""What all pages share: templates, the session's context, forms, and errors as pages."""

import hashlib
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

from parkmesh.server import problems
from parkmesh.server.principals import Principal, Role
from parkmesh.server.problems import Problem
from parkmesh.server.web import security, words

_HERE = Path(__file__).parents[2]
STATIC = _HERE / "static"

_VERSIONS = {file.name: hashlib.sha256(file.read_bytes()).hexdigest()[:12] for file in STATIC.iterdir()}
_templates = Environment(
    loader=FileSystemLoader(_HERE / "templates"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_templates.globals["static"] = lambda name: f"/static/{name}?v={_VERSIONS[name]}"
_templates.globals["words"] = words
_templates.globals["Role"] = Role


class StaticFilesWithVersions(StaticFiles):
    """Our few static files; their addresses change with their content, so browsers may keep them."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        return response


def render(template: str, code: int = 200, **context: Any) -> HTMLResponse:
    context.setdefault("principal", None)
    context.setdefault("csrf", "")
    return HTMLResponse(_templates.get_template(template).render(**context), code)


def error_page(request: Request, error: HTTPException) -> Response:
    """Return an error as a page for browsers and as problem details for everything else."""
    members = error.members if isinstance(error, Problem) else {}
    kind = error.kind if isinstance(error, Problem) else None
    if request.url.path.startswith("/api/") or "text/html" not in request.headers.get("accept", ""):
        return problems.response(error.status_code, error.detail, kind=kind, headers=error.headers, **members)
    page = render("error.html", error.status_code, status=error.status_code, detail=error.detail)
    page.headers.update(error.headers or {})
    return page


def session_context(request: Request, principal: Principal) -> dict[str, Any]:
    return {"principal": principal, "csrf": security.csrf_token(request.app.state.settings, principal.session)}


def to_sign_in(request: Request) -> Response:
    target = request.url.path
    return RedirectResponse(f"/sign-in?next={quote(target)}" if target != "/" else "/sign-in", 303)


async def read_form(request: Request) -> dict[str, str]:
    """Return a form's fields, the last of each name."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != "application/x-www-form-urlencoded":
        raise Problem(415, "Expected a form.")
    try:
        fields = parse_qs((await request.body()).decode(), keep_blank_values=True, max_num_fields=20)
    except ValueError:
        raise Problem(400, "The form can't be read.", kind="malformed") from None
    return {name: values[-1] for name, values in fields.items()}
