"""Who may post to the listener: the login and the encryption that an address of the configuration asks for."""

import base64
import hmac
from typing import Literal

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from parkmesh.gateway import digest
from parkmesh.gateway.config import Login
from parkmesh.gateway.digest import Algorithm, Challenges
from parkmesh.gateway.strays import Strays

_ALGORITHMS: dict[str, tuple[Algorithm, ...]] = {"any": ("SHA-256", "MD5"), "md5": ("MD5",), "sha-256": ("SHA-256",)}
_ASKED_IN_VAIN = 3
"""A client that knows digest is asked once and logs in; one that is asked so often in a row doesn't."""


def user(request: Request) -> str:
    """Return the user that a request names, whether or not it may; empty where it names none."""
    answer = digest.read(request.headers.get("authorization", ""))
    return answer.username if answer else _basic(request)[0]


class Door:
    """Lets a request through, or gives the answer that asks for the login. Tells ``strays`` who can't log in."""

    def __init__(self, strays: Strays, challenges: Challenges | None = None) -> None:
        self._strays = strays
        self._challenges = challenges or Challenges()
        self._asked: dict[str, int] = {}

    def refusal(self, request: Request, name: str, login: Login | None, *, tls: bool) -> Response | None:
        """Return the answer to a request that may not post to the address ``name``, None if it may."""
        if tls and request.url.scheme != "https":
            self._note("no_tls", request)
            return _problem(403, "this address takes messages over TLS (https) only")
        if login is None:
            return None
        return self._login(request, name, login)

    def _login(self, request: Request, name: str, login: Login) -> Response | None:
        algorithms = _ALGORITHMS[login.algorithm]
        header = request.headers.get("authorization", "")
        secure = request.url.scheme == "https"
        answer = digest.read(header)
        stale = False
        if answer is not None:
            verdict = self._challenges.judge(
                answer, request.method, _target(request), login.user, login.password, algorithms
            )
            if verdict == "known":
                self._asked.pop(name, None)
                return None
            stale = verdict == "stale"
            if not stale:
                self._note("wrong_login", request)
        elif header and secure and _same(_basic(request), login):
            self._asked.pop(name, None)
            return None
        elif header:
            self._note("wrong_login", request)
        else:
            self._asked[name] = self._asked.get(name, 0) + 1
            if self._asked[name] >= _ASKED_IN_VAIN:
                self._note("no_login", request)
        response = _problem(401, "a login is needed here")
        for challenge in self._challenges.headers(algorithms, stale=stale):
            response.headers.append("WWW-Authenticate", challenge)
        if secure:  # without encryption, basic would tell everybody the password
            response.headers.append("WWW-Authenticate", f'Basic realm="{digest.REALM}", charset="UTF-8"')
        return response

    def _note(self, kind: Literal["no_tls", "no_login", "wrong_login"], request: Request) -> None:
        sender = request.client.host if request.client else "-"
        self._strays.note(kind, sender, request.method, request.url.path)


def _target(request: Request) -> str:
    path: bytes = request.scope.get("raw_path") or request.url.path.encode()
    path = path.partition(b"?")[0]
    query: bytes = request.scope.get("query_string", b"")
    return (path + b"?" + query if query else path).decode("latin-1")


def _basic(request: Request) -> tuple[str, str]:
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return "", ""
    try:
        name, _, password = base64.b64decode(given.strip(), validate=True).decode().partition(":")
    except ValueError:
        return "", ""
    return name, password


def _same(given: tuple[str, str], login: Login) -> bool:
    # Both are compared whichever is wrong: the time tells nothing.
    same = [
        hmac.compare_digest(one.encode(), other.encode())
        for one, other in zip(given, (login.user, login.password), strict=True)
    ]
    return all(same)


def _problem(status: int, title: str) -> Response:
    body = {"type": "about:blank", "title": title, "status": status}
    return JSONResponse(body, status, media_type="application/problem+json")
