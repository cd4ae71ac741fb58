"""Keys for integrators' programs: which there are, making one, revoking it.

A key's token is in the answer to the form that made it: it stands in no address, and no cache may keep that page.
"""

from datetime import datetime, time, timedelta

from starlette.responses import Response

from parkmesh.server.http import problems
from parkmesh.server.http.problems import Problem
from parkmesh.server.identity import api_keys
from parkmesh.server.web import labels
from parkmesh.server.web.pages.confirming import asked
from parkmesh.server.web.pages.rendering import render
from parkmesh.server.web.pages.visit import Access, Visit, action, page

MAX_NAME = 60


async def show(visit: Visit, made: tuple[api_keys.ApiKey, str] | None = None) -> Response:
    """Show keys by pages; ``made`` is the key just made with its token, shown this once."""
    paged = visit.paged()
    place = paged.after(int)
    async with visit.reading() as connection:
        found = await api_keys.listed(
            connection, visit.member.community_id, limit=paged.fetch, way=paged.way, after=place[0] if place else 0
        )
    shown, turns = visit.turned(paged, found, lambda key: (key.id,))
    return render(
        visit,
        "api_keys.html",
        keys=shown,
        made=made[0] if made else None,
        token=made[1] if made else "",
        today=visit.now.astimezone(visit.zone).date().isoformat(),
        **turns,
    )


async def create(visit: Visit) -> Response:
    """Make a key. It works until the end of its last day, by the community's clock."""
    form, identity = visit.form, visit.member.community_id
    name, role = form.text("name", most=MAX_NAME), form.choice("role", labels.KEY_ROLE)
    last_day = form.optional_day("last_day")
    if not form.errors:
        try:
            async with visit.acting() as connection:
                ends = datetime.combine(last_day + timedelta(days=1), time(), visit.zone) if last_day else None
                made = await api_keys.create(connection, visit.principal, identity, name, role, ends)
        except Problem as problem:
            form.refused(problem, "last_day" if problem.status_code == 422 else "name")
        else:
            form.sent = False
            return await show(visit, made)
    return await show(visit)


async def revoke(visit: Visit) -> Response:
    identity = visit.member.community_id
    async with visit.acting() as connection:
        key = await api_keys.read(connection, identity, visit.number("key"), lock=True)
        if key is None:
            raise problems.not_found()
        await api_keys.revoke(connection, visit.principal, identity, key)
    return visit.go(f"{visit.base}/api-keys", done="key-revoked")


_KEYS = "/communities/{community}/api-keys"
ROUTES = [
    page(_KEYS, Access.STAFF, show),
    action(_KEYS, Access.STAFF, create),
    action(f"{_KEYS}/{{key}}/revoke", Access.STAFF, asked("revoke-key", revoke)),
]
