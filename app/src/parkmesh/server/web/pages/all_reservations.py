"""All bookings and all visitor passes of a community, for its staff: searched, and cancelled with a reason.

Both are lists of the same kind with another subject each.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, get_args

from starlette.responses import Response
from starlette.routing import Route

from parkmesh.server.http.problems import Problem
from parkmesh.server.people.csv_export import Kind
from parkmesh.server.reservations import bookings, visitor_passes
from parkmesh.server.reservations.states import State, state_of
from parkmesh.server.web.fields import MAX_REASON, MIN_REASON
from parkmesh.server.web.pages import exports, list_filters
from parkmesh.server.web.pages.rendering import render
from parkmesh.server.web.pages.visit import Access, Visit, action, page


@dataclass(frozen=True, slots=True)
class _Subject:
    """``path`` is the end of the list's address and the name of its export, ``name`` that of one item in addresses,
    templates and what was done."""

    path: Kind
    name: str
    done: str
    read: Callable[..., Awaitable[list[Any]]]
    get: Callable[..., Awaitable[Any]]
    cancel: Callable[..., Awaitable[Any]]

    async def show(self, visit: Visit) -> Response:
        """Show items by pages, those that fit the filters of the address."""
        asked = list_filters.read(visit).value("state")
        paged = visit.paged()
        place = paged.after(datetime, int)
        async with visit.reading() as connection:
            since, until = list_filters.days(visit)
            found = await self.read(
                connection,
                visit.member.community_id,
                limit=paged.fetch,
                way=paged.way,
                after=(place[0], place[1]) if place else None,
                search=visit.query("q", 60),
                state=next((state for state in get_args(State) if state == asked), None),
                now=visit.now,
                ends_after=since,
                starts_before=until,
            )
        shown, turns = visit.turned(paged, found, lambda item: (item.from_, item.id))
        return render(
            visit,
            f"all_{self.path.replace('-', '_')}.html",
            found=[(item, _state(visit, item)) for item in shown],
            export=exports.link(visit, self.path, since=since, until=until),
            **turns,
        )

    async def show_one(self, visit: Visit) -> Response:
        async with visit.reading() as connection:
            found = await self.get(connection, visit.member.community_id, visit.number(self.name))
        return render(visit, f"any_{self.name}.html", state=_state(visit, found), **{self.name: found})

    async def cancel_one(self, visit: Visit) -> Response:
        """Cancel an item for its unit, which reads the reason."""
        identity, number = visit.member.community_id, visit.number(self.name)
        reason = visit.form.text("reason", least=MIN_REASON, most=MAX_REASON)
        if not visit.form.errors:
            try:
                async with visit.acting() as connection:
                    present = await self.get(connection, identity, number, for_change=True)
                    await self.cancel(connection, visit.principal, identity, present, reason, visit.now)
                return visit.go(f"{visit.base}/{self.path}/{number}", done=self.done)
            except Problem as problem:
                visit.form.refused(problem)
        return await self.show_one(visit)

    def routes(self) -> list[Route]:
        path = f"/communities/{{community}}/{self.path}"
        one = f"{path}/{{{self.name}}}"
        return [
            page(path, Access.STAFF, self.show),
            page(one, Access.STAFF, self.show_one),
            action(one, Access.STAFF, self.cancel_one),
        ]


def _state(visit: Visit, item: Any) -> State:
    return state_of(item.status, item.from_, item.until, visit.now)


_BOOKINGS = _Subject("bookings", "booking", "booking-cancelled", bookings.page, bookings.get, bookings.cancel)
_VISITOR_PASSES = _Subject(
    "visitor-passes", "visitor_pass", "pass-cancelled", visitor_passes.page, visitor_passes.get, visitor_passes.cancel
)
ROUTES = [*_BOOKINGS.routes(), *_VISITOR_PASSES.routes()]
