"""Plates that may not pass, and why a plate would pass or not."""

from typing import Literal

from starlette.responses import Response

from parkmesh.domain import access, plates
from parkmesh.server.access import bars, gates
from parkmesh.server.http.problems import Problem
from parkmesh.server.web.fields import MAX_REASON, MIN_REASON
from parkmesh.server.web.pages import idempotency, plate_notices
from parkmesh.server.web.pages.rendering import render
from parkmesh.server.web.pages.visit import Access, Visit, action, page


async def show(visit: Visit) -> Response:
    asked = visit.paged()
    after = asked.after(str)
    async with visit.reading() as connection:
        found = await bars.page(
            connection,
            visit.member.community_id,
            limit=asked.fetch,
            way=asked.way,
            after=after,
            search=visit.query("q", 60),
        )
    items, turns = visit.turned(asked, found, lambda bar: (bar.plate,))
    return render(visit, "bars.html", bars=items, search=visit.query("q", 60), **turns)


async def create(visit: Visit) -> Response:
    form, identity = visit.form, visit.member.community_id
    plate, reason = form.plate(), form.text("reason", least=MIN_REASON, most=MAX_REASON)
    if not form.errors and plate is not None:
        try:
            async with visit.acting() as connection:
                attempt = await idempotency.begin(visit, connection)
                if attempt.answer is not None:
                    return idempotency.again(attempt.answer)
                await bars.create(connection, visit.principal, identity, plate, reason)
                also = await plate_notices.of_barred(visit, connection, plate)
                location = f"{visit.base}/bars?done=barred{'&also=' * bool(also)}{also}"
                return await idempotency.finish(attempt, location)
        except Problem as problem:
            form.refused(problem, "plate")
    return await show(visit)


async def ask_to_lift(visit: Visit) -> Response:
    async with visit.reading() as connection:
        bar = await bars.get(connection, visit.member.community_id, visit.number("bar"))
    return render(visit, "bar.html", bar=bar)


async def lift(visit: Visit) -> Response:
    async with visit.acting() as connection:
        bar = await bars.get(connection, visit.member.community_id, visit.number("bar"), lock=True)
        await bars.lift(connection, visit.principal, visit.member.community_id, bar)
    return visit.go(f"{visit.base}/bars", done="bar-lifted")


async def explain(visit: Visit) -> Response:
    """Say what a gate would decide now on a plate, and why. It changes nothing."""
    identity, text, chosen = visit.member.community_id, visit.query("plate", 40), visit.query("gate")
    decision: access.Decision | None = None
    bar = None
    plate = plates.normalise(text) if text else None
    async with visit.reading() as connection:
        known = await gates.all_of(connection, identity)
        gate = next((gate for gate in known if gate.name == chosen), known[0] if known else None)
        if plate is not None and gate is not None:
            asked = visit.query("direction")
            way: Literal["entry", "exit"] = "exit" if "exit" in (asked, gate.direction) else "entry"
            decision = await gates.predict(connection, identity, plate, way)
            bar = await bars.of(connection, identity, plate)
    if text and plate is None:
        visit.form.wrong("plate", visit.language.gettext("This is not a licence plate: 2 to 12 letters and digits."))
    return render(visit, "explain.html", gates=known, gate=gate, plate=plate, entered=text, decision=decision, bar=bar)


ROUTES = [
    page("/communities/{community}/bars", Access.STAFF, show),
    action("/communities/{community}/bars", Access.STAFF, create),
    page("/communities/{community}/bars/{bar}", Access.STAFF, ask_to_lift),
    action("/communities/{community}/bars/{bar}/lift", Access.STAFF, lift),
    page("/communities/{community}/explain", Access.STAFF, explain),
]
