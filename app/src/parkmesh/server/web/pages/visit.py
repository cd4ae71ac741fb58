"""The right to see a page: the pages' counterpart of the API's ``SignedIn``, ``Member`` and ``Staff``.

A page is a function that takes a ``Visit``. The decorators here make it an endpoint: they find out who asks and which
place the user has in the community of the path, and check the token of every form before the page's code runs.
"""

import hmac
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum, auto
from functools import cached_property, wraps
from typing import Any, TypeVar
from urllib.parse import quote, urlencode
from zoneinfo import ZoneInfo

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from parkmesh.server.communities import community_reads
from parkmesh.server.db import database
from parkmesh.server.http import problems
from parkmesh.server.http.problems import Problem
from parkmesh.server.identity.principals import Membership, Principal, Role
from parkmesh.server.settings import Settings
from parkmesh.server.web import authentication, language, paging, security
from parkmesh.server.web.language import Language
from parkmesh.server.web.pages import forms

PAGE = 50
UTC_ZONE = ZoneInfo("UTC")
_SAID = ("cursor", "done", "also")
"""Parameters of an address that belong to one page of a list alone."""

T = TypeVar("T")


class Access(Enum):
    """Who may see a page."""

    ANYBODY = auto()
    HALF_WAY = auto()
    """Signed in, with the second factor or still without it."""
    SIGNED_IN = auto()
    OPERATOR = auto()
    MEMBER = auto()
    STAFF = auto()
    RESIDENT = auto()


@dataclass
class Visit:
    """One request for a page."""

    request: Request
    language: Language
    form: forms.Form
    asker: Principal | None = None
    place: Membership | None = None
    community: community_reads.Community | None = None
    lacks_factor: bool = False
    also: str = ""
    """What the page says beside what was done, as codes of ``labels.ALSO``; the address may have it too."""

    @property
    def principal(self) -> Principal:
        """The signed-in user."""
        assert self.asker is not None, "this page is for everybody"
        return self.asker

    @property
    def member(self) -> Membership:
        """The user's place in the community of the path."""
        assert self.place is not None, "this page belongs to no community"
        return self.place

    @property
    def settings(self) -> Settings:
        settings: Settings = self.request.app.state.settings
        return settings

    @property
    def pool(self) -> database.Pool:
        return self.request.app.state.pool

    @property
    def staff(self) -> bool:
        return self.place is not None and self.place.role is not Role.RESIDENT

    @property
    def base(self) -> str:
        """The address of the community's pages."""
        return f"/communities/{quote(self.member.community)}"

    @cached_property
    def now(self) -> datetime:
        """The moment that all of this visit is judged by."""
        return datetime.now(UTC)

    @cached_property
    def zone(self) -> ZoneInfo:
        """The community's time zone, known after the first ``reading`` or ``acting``; UTC at the desk."""
        if self.place is None:
            return UTC_ZONE
        assert self.community is not None, "nothing was read of the community yet"
        return ZoneInfo(self.community.time_zone)

    def query(self, name: str, most: int = 100) -> str:
        """Return a parameter of the address, nothing where it could not be one of ours."""
        text = self.request.query_params.get(name, "").strip()
        return text if len(text) <= most and text.isprintable() else ""

    @asynccontextmanager
    async def reading(self) -> AsyncGenerator[database.Connection]:
        """Open a read-only transaction in the community."""
        async with database.in_community(self.pool, self.member.community_id, read_only=True) as connection:
            await self._meet(connection)
            yield connection

    @asynccontextmanager
    async def acting(self) -> AsyncGenerator[database.Connection]:
        """Open a transaction in the community that may change it."""
        async with database.in_community(self.pool, self.member.community_id) as connection:
            await self._meet(connection)
            yield connection

    def path(self, name: str) -> str:
        """Return a part of the path, such as the name of a gate."""
        text: str = self.request.path_params[name]
        if not text.isprintable() or len(text) > 100:
            raise problems.not_found()
        return text

    def number(self, name: str) -> int:
        """Return a part of the path that is an object's number."""
        text = self.path(name)
        if not text.isascii() or not text.isdigit() or int(text) > forms.MAX_NUMBER:
            raise problems.not_found()
        return int(text)

    async def _meet(self, connection: database.Connection) -> None:
        if self.community is None:
            self.community = await community_reads.community(connection, self.member.community_id)

    def paged(self, limit: int = PAGE) -> paging.PageAsked:
        """Return the page of a list that the address asks for."""
        request = self.request
        key = hmac.digest(self.settings.session_secret.encode(), b"page\0" + request.url.path.encode(), "sha256")
        return paging.PageAsked(limit, self.query("cursor", paging.MAX_CURSOR) or None, key)

    def following(self, cursor: str | None) -> str:
        """Return the address of another page of a list, nothing where there is none."""
        if cursor is None:
            return ""
        query = {name: value for name, value in self.request.query_params.items() if name not in _SAID}
        if cursor:
            query["cursor"] = cursor
        return f"{self.request.url.path}?{urlencode(query)}" if query else self.request.url.path

    def turned(
        self, paged: paging.PageAsked, found: Sequence[T], place: Callable[[T], tuple[Any, ...]]
    ) -> tuple[list[T], dict[str, Any]]:
        """Return the items of a page of a list, and what its ``parts.pager`` takes: the addresses of the pages beside
        it as ``previous`` and ``next``."""
        items, turns = paged.turned(found, place)
        return items, {"previous": self.following(turns.previous), "next": self.following(turns.next)}

    def go(self, path: str, **query: str) -> Response:
        """Send the browser on to a page after a form was accepted. ``done`` names what the page says was done, ``also``
        what it says beside. Empty parameters are left out."""
        query = {name: value for name, value in query.items() if value}
        return RedirectResponse(f"{path}?{urlencode(query)}" if query else path, 303)


Handler = Callable[[Visit], Awaitable[Response]]


def page(path: str, access: Access, handler: Handler) -> Route:
    """Return the route of a page that is read."""
    return Route(path, _endpoint(access, handler), methods=["GET"])


def action(
    path: str,
    access: Access,
    handler: Handler,
    *,
    checked: bool = True,
    files: bool = False,
    max_fields: int = forms.MAX_FIELDS,
) -> Route:
    """Return the route that a form is sent to, with ``files`` also a form with a file; with ``checked`` False the
    handler calls ``check_form`` itself. ``max_fields`` is for forms with a box for each of many things."""
    return Route(path, _endpoint(access, handler, checked, files, max_fields), methods=["POST"])


def _endpoint(
    access: Access,
    handler: Handler,
    checked: bool = True,
    files: bool = False,
    max_fields: int = forms.MAX_FIELDS,
) -> Callable[[Request], Awaitable[Response]]:
    @wraps(handler)
    async def endpoint(request: Request) -> Response:
        visit = Visit(request, language.of(request), forms.Form(language.of(request)))
        visit.asker = await authentication.by_cookie(request)
        if visit.asker is None and access is not Access.ANYBODY:
            return to_sign_in(request)
        visit.lacks_factor = visit.asker is not None and await authentication.lacks_factor(request, visit.asker)
        if visit.lacks_factor and access not in (Access.ANYBODY, Access.HALF_WAY):
            return visit.go("/second-factor")
        if request.method == "POST":
            visit.form = await forms.read(request, visit.language, files=files, max_fields=max_fields)
            if checked:
                check_form(visit)
        if "community" in request.path_params:
            visit.place = await visit.principal.membership(visit.pool, request.path_params["community"])
            authentication.check_may_change(request, visit.principal)
        _check(access, visit)
        return await handler(visit)

    return endpoint


def _check(access: Access, visit: Visit) -> None:
    if access is Access.OPERATOR and not visit.principal.operator:
        if visit.place is None:
            raise problems.not_found()
        raise Problem(403, "Only the operator's desk may do this.")
    if access is Access.STAFF and not visit.staff:
        raise Problem(403, "Only the community's administrators and the operator's desk may do this.")
    if access is Access.RESIDENT and visit.member.resident_id is None:
        raise Problem(403, "Only residents of this community have this page.")


def check_form(visit: Visit) -> None:
    """Raise ``Problem`` 403 where the form's token belongs neither to the session nor, without one, to the browser."""
    request, given = visit.request, visit.form.value(security.CSRF_FIELD)
    if visit.asker:
        security.check_csrf(visit.settings, visit.asker.session, given)
        return
    cookie = request.cookies.get(security.form_cookie(visit.settings), "")
    if not cookie:
        raise Problem(403, "The form has expired. Load the page again and send it once more.", kind="csrf")
    security.check_csrf(visit.settings, cookie.encode("utf-8", "replace"), given)


def to_sign_in(request: Request) -> Response:
    """Send a user who is not signed in to the sign-in page, and afterwards back to the requested page."""
    target = request.url.path if request.method == "GET" else "/"
    return RedirectResponse(f"/sign-in?next={quote(target)}" if target != "/" else "/sign-in", 303)
