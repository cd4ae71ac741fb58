"""Webhooks: where events are sent, whether they arrive, and sending them again.

The pages are a community's, or the desk's for its own webhooks, which get the events of all communities. A secret is in
the answer to the form that made it: it stands in no address, and no cache may keep that page.
"""

from contextlib import AbstractAsyncContextManager
from datetime import timedelta

from starlette.responses import Response
from starlette.routing import Route

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


def _owner(visit: Visit) -> int | None:
    """Return the community whose webhooks the page shows, None for the desk's."""
    return None if visit.place is None else visit.place.community_id


def _base(visit: Visit) -> str:
    """Return the address of the list of webhooks."""
    return "/webhooks" if visit.place is None else f"{visit.base}/webhooks"


def _reading(visit: Visit) -> AbstractAsyncContextManager[Connection]:
    return endpoints.reading(visit.pool, None) if visit.place is None else visit.reading()


def _acting(visit: Visit) -> AbstractAsyncContextManager[Connection]:
    return endpoints.acting(visit.pool, None) if visit.place is None else visit.acting()


async def show(visit: Visit) -> Response:
    paged = visit.paged()
    place = paged.after(int)
    async with _reading(visit) as connection:
        found = await endpoints.listed(
            connection, _owner(visit), limit=paged.fetch, way=paged.way, after=place[0] if place else 0
        )
    shown, turns = visit.turned(paged, found, lambda endpoint: (endpoint.id,))
    return render(visit, "webhooks.html", webhooks=shown, types=sorted(events.TYPES), base=_base(visit), **turns)


async def create(visit: Visit) -> Response:
    wish = _wish(visit)
    if not visit.form.errors:
        try:
            async with _acting(visit) as connection:
                endpoint, secret = await endpoints.create(
                    connection, visit.principal, _owner(visit), wish, visit.settings.webhooks
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
    state = visit.query("state")
    paged = visit.paged()
    place = paged.after(int)
    async with _reading(visit) as connection:
        endpoint = await _read(connection, visit, number)
        found = await deliveries.listed(
            connection,
            _owner(visit),
            endpoint.id,
            limit=paged.fetch,
            way=paged.way,
            before=place[0] if place else None,
            state=_state(state),
        )
    shown, turns = visit.turned(paged, found, lambda delivery: (delivery.id,))
    return render(
        visit,
        "webhook.html",
        webhook=endpoint,
        types=sorted(events.TYPES),
        base=_base(visit),
        secret=secret,
        seen=preconditions.mark(endpoints.wanted(endpoint)),
        deliveries=shown,
        state=state if _state(state) else "",
        default_from=f"{visit.now.astimezone(visit.zone) - timedelta(hours=1):%Y-%m-%dT%H:%M}",
        default_until=f"{visit.now.astimezone(visit.zone):%Y-%m-%dT%H:%M}",
        **turns,
    )


def _state(text: str) -> deliveries.State | None:
    states: dict[str, deliveries.State] = {"waiting": "waiting", "delivered": "delivered", "dead": "dead"}
    return states.get(text)


async def _read(connection: Connection, visit: Visit, number: int, *, lock: bool = False) -> Endpoint:
    found = await endpoints.read(connection, _owner(visit), number, lock=lock)
    if found is None:
        raise problems.not_found()
    return found


async def change(visit: Visit) -> Response:
    number = visit.number("webhook")
    wish = _wish(visit, enabled=visit.form.ticked("enabled"))
    if not visit.form.errors:
        try:
            async with _acting(visit) as connection:
                present = await _read(connection, visit, number, lock=True)
                preconditions.check(visit, endpoints.wanted(present))
                await endpoints.change(
                    connection, visit.principal, _owner(visit), present, wish, visit.settings.webhooks
                )
            return visit.go(_address(visit, number), done="saved")
        except Problem as problem:
            preconditions.refused(visit, problem, "url")
    return await _show_one(visit, number)


async def rotate(visit: Visit) -> Response:
    """Make a new secret; the previous one is valid for a day beside it."""
    number = visit.number("webhook")
    async with _acting(visit) as connection:
        present = await _read(connection, visit, number, lock=True)
        _, secret = await endpoints.rotate(connection, visit.principal, _owner(visit), present)
    visit.form.sent = False
    return await _show_one(visit, number, secret)


async def test(visit: Visit) -> Response:
    number = visit.number("webhook")
    try:
        async with _acting(visit) as connection:
            present = await _read(connection, visit, number)
            await deliveries.test(connection, visit.principal, _owner(visit), present)
        return visit.go(_address(visit, number), done="webhook-sent")
    except Problem as problem:
        return await _refused(visit, problem, number)


async def redeliver(visit: Visit) -> Response:
    number = visit.number("webhook")
    try:
        async with _acting(visit) as connection:
            present = await _read(connection, visit, number)
            wanted = visit.number("delivery")
            if await deliveries.redeliver(connection, visit.principal, _owner(visit), present, wanted) is None:
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
        async with _acting(visit) as connection:
            since, until = form.moment("from", visit.zone), form.moment("until", visit.zone)
            if since is not None and until is not None:
                present = await _read(connection, visit, number)
                await deliveries.replay(connection, visit.principal, _owner(visit), present, since, until)
    except Problem as problem:
        form.refused(problem, "until")
    if form.errors:
        return await _show_one(visit, number)
    return visit.go(_address(visit, number), done="webhook-sent")


async def delete(visit: Visit) -> Response:
    async with _acting(visit) as connection:
        present = await _read(connection, visit, visit.number("webhook"), lock=True)
        await endpoints.delete(connection, visit.principal, _owner(visit), present)
    return visit.go(_base(visit), done="removed")


def _address(visit: Visit, number: int) -> str:
    return f"{_base(visit)}/{number}"


def _routes(hooks: str, access: Access) -> list[Route]:
    """Return the routes of the webhooks whose list is at ``hooks``."""
    hook = f"{hooks}/{{webhook}}"
    return [
        page(hooks, access, show),
        action(hooks, access, create),
        page(hook, access, show_one),
        action(hook, access, change),
        action(f"{hook}/rotate", access, rotate),
        action(f"{hook}/test", access, test),
        action(f"{hook}/replay", access, replay),
        action(f"{hook}/deliveries/{{delivery}}/redeliver", access, redeliver),
        action(f"{hook}/delete", access, asked("delete-webhook", delete)),
    ]


ROUTES = [
    *_routes("/communities/{community}/webhooks", Access.STAFF),
    *_routes("/webhooks", Access.OPERATOR),
]
