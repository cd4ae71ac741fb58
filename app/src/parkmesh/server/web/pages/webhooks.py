"""Webhooks: where events are sent, whether they arrive, and sending them again.

A secret is in the answer to the form that made it: it stands in no address, and no cache may keep that page.
"""

from datetime import timedelta

from starlette.responses import Response

from parkmesh.server.db.database import Connection
from parkmesh.server.http import problems
from parkmesh.server.http.problems import Problem
from parkmesh.server.outbox import events
from parkmesh.server.web.pages import preconditions
from parkmesh.server.web.pages.confirming import asked
from parkmesh.server.web.pages.rendering import render
from parkmesh.server.web.pages.visit import Access, Visit, action, page
from parkmesh.server.webhooks import deliveries, endpoints
from parkmesh.server.webhooks.endpoints import Endpoint, Wish

MAX_URL = 500


async def show(visit: Visit) -> Response:
    paged = visit.paged()
    place = paged.after(int)
    async with visit.reading() as connection:
        found = await endpoints.listed(
            connection, visit.member.community_id, limit=paged.fetch, after=place[0] if place else 0
        )
    shown, following = paged.cut(found, lambda endpoint: (endpoint.id,))
    return render(visit, "webhooks.html", webhooks=shown, types=sorted(events.TYPES), next=visit.following(following))


async def create(visit: Visit) -> Response:
    wish = _wish(visit)
    if not visit.form.errors:
        try:
            async with visit.acting() as connection:
                endpoint, secret = await endpoints.create(
                    connection, visit.principal, visit.member.community_id, wish, visit.settings.webhooks
                )
        except Problem as problem:
            visit.form.refused(problem, "url")
        else:
            visit.form.sent = False
            return await _show_one(visit, endpoint.id, secret)
    return await show(visit)


def _wish(visit: Visit, *, enabled: bool = True) -> Wish:
    """Return what a form asks for; note what is wrong with it."""
    form = visit.form
    url = form.text("url", most=MAX_URL)
    types = None if form.ticked("all") else form.many("types")
    if types is not None and not (types and set(types) <= set(events.TYPES)):
        form.wrong("all", visit.language.gettext("Choose some events, or all."))
    return Wish(url, types, ["plate"] if form.ticked("plate") else [], enabled)


async def show_one(visit: Visit) -> Response:
    return await _show_one(visit, visit.number("webhook"))


async def _show_one(visit: Visit, number: int, secret: str = "") -> Response:
    """Show a webhook with what was sent; ``secret`` is one just made, shown this once."""
    identity = visit.member.community_id
    state = visit.query("state")
    paged = visit.paged()
    place = paged.after(int)
    async with visit.reading() as connection:
        endpoint = await _read(connection, visit, number)
        found = await deliveries.listed(
            connection,
            identity,
            endpoint.id,
            limit=paged.fetch,
            before=place[0] if place else None,
            state=_state(state),
        )
    shown, following = paged.cut(found, lambda delivery: (delivery.id,))
    return render(
        visit,
        "webhook.html",
        webhook=endpoint,
        types=sorted(events.TYPES),
        secret=secret,
        seen=preconditions.mark(endpoints.wanted(endpoint)),
        deliveries=shown,
        state=state if _state(state) else "",
        default_from=f"{visit.now.astimezone(visit.zone) - timedelta(hours=1):%Y-%m-%dT%H:%M}",
        default_until=f"{visit.now.astimezone(visit.zone):%Y-%m-%dT%H:%M}",
        next=visit.following(following),
    )


def _state(text: str) -> deliveries.State | None:
    states: dict[str, deliveries.State] = {"waiting": "waiting", "delivered": "delivered", "dead": "dead"}
    return states.get(text)


async def _read(connection: Connection, visit: Visit, number: int, *, lock: bool = False) -> Endpoint:
    found = await endpoints.read(connection, visit.member.community_id, number, lock=lock)
    if found is None:
        raise problems.not_found()
    return found


async def change(visit: Visit) -> Response:
    number = visit.number("webhook")
    wish = _wish(visit, enabled=visit.form.ticked("enabled"))
    if not visit.form.errors:
        try:
            async with visit.acting() as connection:
                present = await _read(connection, visit, number, lock=True)
                preconditions.check(visit, endpoints.wanted(present))
                await endpoints.change(
                    connection, visit.principal, visit.member.community_id, present, wish, visit.settings.webhooks
                )
            return visit.go(_address(visit, number), done="saved")
        except Problem as problem:
            preconditions.refused(visit, problem, "url")
    return await _show_one(visit, number)


async def rotate(visit: Visit) -> Response:
    """Make a new secret; the previous one is valid for a day beside it."""
    number = visit.number("webhook")
    async with visit.acting() as connection:
        present = await _read(connection, visit, number, lock=True)
        _, secret = await endpoints.rotate(connection, visit.principal, visit.member.community_id, present)
    visit.form.sent = False
    return await _show_one(visit, number, secret)


async def test(visit: Visit) -> Response:
    number = visit.number("webhook")
    try:
        async with visit.acting() as connection:
            present = await _read(connection, visit, number)
            await deliveries.test(connection, visit.principal, visit.member.community_id, present)
        return visit.go(_address(visit, number), done="webhook-sent")
    except Problem as problem:
        return await _refused(visit, problem, number)


async def redeliver(visit: Visit) -> Response:
    number = visit.number("webhook")
    try:
        async with visit.acting() as connection:
            present = await _read(connection, visit, number)
            identity, wanted = visit.member.community_id, visit.number("delivery")
            if await deliveries.redeliver(connection, visit.principal, identity, present, wanted) is None:
                raise problems.not_found()
        return visit.go(_address(visit, number), done="webhook-sent")
    except Problem as problem:
        return await _refused(visit, problem, number)


async def _refused(visit: Visit, problem: Problem, number: int) -> Response:
    visit.form.refused(problem)
    visit.form.sent = False
    return await _show_one(visit, number)


async def replay(visit: Visit) -> Response:
    number, form = visit.number("webhook"), visit.form
    try:
        async with visit.acting() as connection:
            since, until = form.moment("from", visit.zone), form.moment("until", visit.zone)
            if since is not None and until is not None:
                present = await _read(connection, visit, number)
                await deliveries.replay(connection, visit.principal, visit.member.community_id, present, since, until)
    except Problem as problem:
        form.refused(problem, "until")
    if form.errors:
        return await _show_one(visit, number)
    return visit.go(_address(visit, number), done="webhook-sent")


async def delete(visit: Visit) -> Response:
    async with visit.acting() as connection:
        present = await _read(connection, visit, visit.number("webhook"), lock=True)
        await endpoints.delete(connection, visit.principal, visit.member.community_id, present)
    return visit.go(f"{visit.base}/webhooks", done="removed")


def _address(visit: Visit, number: int) -> str:
    return f"{visit.base}/webhooks/{number}"


_HOOKS = "/communities/{community}/webhooks"
_HOOK = f"{_HOOKS}/{{webhook}}"
ROUTES = [
    page(_HOOKS, Access.STAFF, show),
    action(_HOOKS, Access.STAFF, create),
    page(_HOOK, Access.STAFF, show_one),
    action(_HOOK, Access.STAFF, change),
    action(f"{_HOOK}/rotate", Access.STAFF, rotate),
    action(f"{_HOOK}/test", Access.STAFF, test),
    action(f"{_HOOK}/replay", Access.STAFF, replay),
    action(f"{_HOOK}/deliveries/{{delivery}}/redeliver", Access.STAFF, redeliver),
    action(f"{_HOOK}/delete", Access.STAFF, asked("delete-webhook", delete)),
]
