"""A space of one's own, as a resident asks for it: the unit's place on the list, and answering an offer."""

from collections.abc import Awaitable, Callable

from starlette.responses import Response

from parkmesh.server.http.problems import Problem
from parkmesh.server.people import units
from parkmesh.server.reservations import space_requests
from parkmesh.server.spaces import spaces
from parkmesh.server.web.pages import idempotency
from parkmesh.server.web.pages.confirming import asked
from parkmesh.server.web.pages.levels import MAX_LEVELS
from parkmesh.server.web.pages.rendering import render
from parkmesh.server.web.pages.visit import Access, Visit, action, page


async def show(visit: Visit) -> Response:
    identity = visit.member.community_id
    async with visit.reading() as connection:
        unit_id = await units.unit_of(connection, identity, visit.member.resident_id)
        open_ = (
            await space_requests.page(connection, identity, limit=1, unit_id=unit_id, open_only=True) if unit_id else []
        )
        has_space = bool(unit_id) and await space_requests.has_space(connection, identity, unit_id or 0)
        levels = await spaces.levels(connection, identity, limit=MAX_LEVELS)
    return render(
        visit,
        "own_space.html",
        has_unit=unit_id is not None,
        has_space=has_space,
        place=open_[0] if open_ else None,
        levels=[level.name for level in levels if level.name],
    )


async def ask(visit: Visit) -> Response:
    """Put the unit on the list."""
    form, member = visit.form, visit.member
    try:
        async with visit.acting() as connection:
            attempt = await idempotency.begin(visit, connection)
            if attempt.answer is not None:
                return idempotency.again(attempt.answer)
            unit_id = await units.unit_of(connection, member.community_id, member.resident_id)
            level = form.text("level", least=0, most=60)
            if unit_id is None:
                form.wrong(
                    "", visit.language.gettext("You belong to no unit yet. Your administrators can change that.")
                )
            elif not form.errors:
                await space_requests.join(
                    connection,
                    visit.principal,
                    member.community_id,
                    unit_id=unit_id,
                    resident_id=member.resident_id,
                    ev=form.ticked("ev"),
                    accessible=form.ticked("accessible"),
                    level=level or None,
                    now=visit.now,
                )
                return await idempotency.finish(attempt, f"{visit.base}/own-space?done=space-asked")
    except Problem as problem:
        form.refused(problem)
    return await show(visit)


def _answering(change: Callable[..., Awaitable[object]], done: str) -> Callable[[Visit], Awaitable[Response]]:
    async def answer(visit: Visit) -> Response:
        identity = visit.member.community_id
        try:
            async with visit.acting() as connection:
                unit_id = await units.unit_of(connection, identity, visit.member.resident_id)
                await change(
                    connection, visit.principal, identity, visit.number("request"), visit.now, unit_id=unit_id or 0
                )
        except Problem as problem:
            visit.form.refused(problem, zone=visit.zone)
            visit.form.sent = False
            return await show(visit)
        return visit.go(f"{visit.base}/own-space", done=done)

    return answer


_OWN = "/communities/{community}/own-space"
ROUTES = [
    page(_OWN, Access.RESIDENT, show),
    action(_OWN, Access.RESIDENT, ask),
    action(f"{_OWN}/{{request}}/accept", Access.RESIDENT, _answering(space_requests.accept, "space-taken")),
    action(f"{_OWN}/{{request}}/decline", Access.RESIDENT, _answering(space_requests.decline, "space-declined")),
    action(
        f"{_OWN}/{{request}}/leave",
        Access.RESIDENT,
        asked("leave-space-requests", _answering(space_requests.leave, "space-left")),
    ),
]
