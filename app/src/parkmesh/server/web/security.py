"""What protects the web application: response headers, the address a request comes from, cookies and form tokens."""

import base64
import hmac
import secrets
from datetime import timedelta
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from parkmesh.server.http.problems import Problem
from parkmesh.server.settings import Settings

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
CSRF_HEADER = "X-CSRF-Token"
CSRF_FIELD = "csrf_token"


def headers(*, secure: bool) -> dict[str, str]:
    """Return the headers of every answer of a site that is reached by https (``secure``) or isn't."""
    return HEADERS | ({"Strict-Transport-Security": "max-age=31536000; includeSubDomains"} if secure else {})


class SecurityHeaders:
    """Put the headers on every answer; nothing but static files may be kept by a cache."""

    def __init__(self, app: ASGIApp, secure: bool) -> None:
        self._app = app
        self._headers = headers(secure=secure)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers[name] = value
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        await self._app(scope, receive, with_headers if scope["type"] == "http" else send)


def client_address(request: HTTPConnection, settings: Settings) -> IPv4Address | IPv6Address:
    """Return the address a request comes from: behind a trusted proxy the one that the proxy appended.

    Only the last entry counts; the client may have written those before it.
    """
    peer = _address(request.client.host if request.client else "")
    if any(peer in network for network in settings.trusted_proxies):
        appended = ",".join(request.headers.getlist("x-forwarded-for")).rpartition(",")[2].strip()
        if appended:
            return _address(appended)
    return peer


def _address(text: str) -> IPv4Address | IPv6Address:
    try:
        return ip_address(text)
    except ValueError:
        return IPv4Address(0)


def session_cookie(settings: Settings) -> str:
    return _cookie(settings, "session")


def form_cookie(settings: Settings) -> str:
    """Return the name of the cookie that the sign-in form is bound to, before there is a session."""
    return _cookie(settings, "form")


def language_cookie(settings: Settings) -> str:
    """Return the name of the cookie that keeps the chosen language."""
    return _cookie(settings, "language")


def _cookie(settings: Settings, name: str) -> str:
    """Return a cookie's name; the prefix makes browsers insist on https and on this host alone."""
    return f"__Host-parkmesh-{name}" if settings.secure_cookies else f"parkmesh-{name}"


def set_cookie(response: Response, settings: Settings, name: str, value: str, *, life: timedelta | None = None) -> None:
    """Set a cookie that scripts can't read and other sites' forms don't send. Without ``life`` it is the session's."""
    response.set_cookie(
        name,
        value,
        max_age=int(life.total_seconds()) if life else None,
        path="/",
        httponly=True,
        samesite="lax",
        secure=settings.secure_cookies,
    )


def delete_cookie(response: Response, settings: Settings, name: str) -> None:
    """Take a cookie back that ``set_cookie`` set."""
    response.delete_cookie(name, path="/", httponly=True, samesite="lax", secure=settings.secure_cookies)


def new_form_secret() -> str:
    return secrets.token_urlsafe(24)


def csrf_token(settings: Settings, bound_to: bytes) -> str:
    """Return the form token for a session or a form cookie: only a holder of the server's secret can make one."""
    tag = hmac.digest(settings.session_secret.encode(), b"csrf\0" + bound_to, "sha256")
    return base64.urlsafe_b64encode(tag).decode().rstrip("=")


def check_csrf(settings: Settings, bound_to: bytes, given: str | None) -> None:
    """Raise ``Problem`` 403 where the form token is missing or belongs to something else."""
    wanted = csrf_token(settings, bound_to)
    if not hmac.compare_digest(wanted.encode(), (given or "").encode("utf-8", "replace")):
        raise Problem(403, "The form has expired. Load the page again and send it once more.", kind="csrf")


def local_path(text: str) -> str:
    """Return a path of this site to go on to, or the start page for anything that could lead elsewhere."""
    parts = urlsplit(text) if text.startswith("/") and not text.startswith(("//", "/\\")) else None
    safe = parts is not None and not parts.scheme and not parts.netloc
    return text if safe and text.isprintable() and "\\" not in text else "/"
