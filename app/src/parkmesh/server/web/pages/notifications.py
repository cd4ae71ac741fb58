"""Which e-mails one gets: switched on and off for each community, quiet hours, and the address that ends a kind."""

from dataclasses import dataclass
from datetime import time

from starlette.responses import Response

from parkmesh.server.communities import community_reads
from parkmesh.server.db import database
from parkmesh.server.http import problems
from parkmesh.server.http.problems import Problem
from parkmesh.server.identity.principals import Role
from parkmesh.server.notifications import preferences, unsubscribing
from parkmesh.server.notifications.preferences import Kind, QuietHours
from parkmesh.server.notifications.unsubscribing import Unsubscribing
from parkmesh.server.web import labels, links
from parkmesh.server.web.pages.rendering import render
from parkmesh.server.web.pages.visit import Access, Visit, action, page

PAGE = "/account/e-mails"


@dataclass(frozen=True)
class Place:
    """A community (None: the operator's desk) with the kinds of its e-mails, each with whether it is wanted."""

    key: str
    title: str | None
    community_id: int | None
    wanted: dict[Kind, bool]


async def _places(visit: Visit) -> list[Place]:
    principal, places = visit.principal, []
    if principal.operator:
        kinds = preferences.kinds(Role.OPERATOR, None)
        said = await preferences.wanted(visit.pool, principal.user_id, None)
        places.append(Place("desk", None, None, {kind: said.get(kind, True) for kind in kinds}))
    for member in principal.memberships.values():
        kinds = preferences.kinds(member.role, member.resident_id)
        said = await preferences.wanted(visit.pool, principal.user_id, member.community_id)
        async with database.in_community(visit.pool, member.community_id, read_only=True) as connection:
            community = await community_reads.community(connection, member.community_id)
        wanted = {kind: said.get(kind, True) for kind in kinds}
        places.append(Place(str(member.community_id), community.title, member.community_id, wanted))
    return places


async def show(visit: Visit) -> Response:
    return render(
        visit,
        "notifications.html",
        places=await _places(visit),
        quiet=await preferences.quiet_hours(visit.pool, visit.principal),
        kinds=labels.NOTICE,
    )


def _time(visit: Visit, name: str) -> time | None:
    text = visit.form.value(name).strip()
    if not text:
        return None
    try:
        return time.fromisoformat(text).replace(second=0, microsecond=0, tzinfo=None)
    except ValueError:
        visit.form.wrong(name, visit.language.gettext("Enter a time of day, such as 22:00."))
        return None


async def save(visit: Visit) -> Response:
    form = visit.form
    starts, ends = _time(visit, "quiet_from"), _time(visit, "quiet_until")
    if not form.errors and (starts is None) != (ends is None):
        missing = "quiet_from" if starts is None else "quiet_until"
        form.wrong(missing, visit.language.gettext("Enter both times, or none for no quiet hours."))
    if not form.errors:
        hours = QuietHours(starts, ends) if starts is not None and ends is not None else None
        try:
            await preferences.set_quiet_hours(visit.pool, visit.principal, hours)
        except Problem as problem:
            form.refused(problem, "quiet_until")
    if form.errors:
        return await show(visit)
    for place in await _places(visit):
        ticked = {kind: form.ticked(f"wanted-{place.key}", kind) for kind in place.wanted}
        await preferences.set_wanted(visit.pool, visit.principal.user_id, place.community_id, ticked)
    return visit.go(PAGE, done="saved")


def _ended(visit: Visit) -> Unsubscribing:
    token: str = visit.request.path_params["token"]
    found = unsubscribing.read(visit.settings.session_secret, token[:400])
    if found is None:
        raise problems.not_found()
    return found


async def ask_to_end(visit: Visit) -> Response:
    return render(visit, "unsubscribe.html", kind=labels.NOTICE[_ended(visit).kind], ended=False)


async def end(visit: Visit) -> Response:
    """End e-mails of a kind. Mail programs send this by themselves, in either form (RFC 8058): the token
    is all that it needs."""
    ended = _ended(visit)
    await preferences.set_wanted(visit.pool, ended.user_id, ended.community_id, {ended.kind: False})
    return render(visit, "unsubscribe.html", kind=labels.NOTICE[ended.kind], ended=True)


ROUTES = [
    page(PAGE, Access.SIGNED_IN, show),
    action(PAGE, Access.SIGNED_IN, save),
    page(f"/{links.UNSUBSCRIBE}/{{token}}", Access.ANYBODY, ask_to_end),
    action(f"/{links.UNSUBSCRIBE}/{{token}}", Access.ANYBODY, end, checked=False, files=True),
]
