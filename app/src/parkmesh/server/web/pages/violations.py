"""Violations: listed, opened by hand or reported, and followed to their end."""

from contextlib import suppress
from datetime import datetime

from starlette.responses import Response

from parkmesh.server import audit
from parkmesh.server.access import violations
from parkmesh.server.http.problems import Problem
from parkmesh.server.web import labels
from parkmesh.server.web.pages import idempotency, list_filters, preconditions
from parkmesh.server.web.pages.rendering import render
from parkmesh.server.web.pages.visit import Access, Visit, action, page

MIN_TEXT = 3
MAX_SPACE = 63
STATES: tuple[violations.State, ...] = ("open", "warned", "appealed", "closed")


def _seen(visit: Visit) -> violations.Seen | None:
    return None if visit.staff else violations.Seen(visit.member.resident_id or 0, visit.principal.actor)


async def show(visit: Visit) -> Response:
    """Show violations by pages, those that fit the filters of the address, and the form for another."""
    if not visit.form.sent:
        list_filters.read(visit)
    paged = visit.paged()
    place = paged.after(datetime, int)
    found = []
    async with visit.reading() as connection:
        with suppress(list_filters.NothingFits):
            found = await violations.page(
                connection,
                visit.member.community_id,
                limit=paged.fetch,
                way=paged.way,
                before=(place[0], place[1]) if place else None,
                seen=_seen(visit),
                only=_filter(visit),
            )
    shown, turns = visit.turned(paged, found, lambda violation: (violation.opened_at, violation.id))
    return render(
        visit,
        "violations.html",
        violations=shown,
        kinds=labels.VIOLATION,
        states=STATES,
        most=violations.MAX_TEXT,
        **turns,
    )


def _filter(visit: Visit) -> violations.Filter:
    state, kind = visit.query("state"), visit.query("only")
    return violations.Filter(
        state=next((item for item in STATES if item == state), None),
        kind=kind if kind in labels.VIOLATION else None,  # type: ignore[arg-type]  # the labels are those of the kinds
        plate=list_filters.plate(visit, "search"),
    )


async def create(visit: Visit) -> Response:
    """Open a violation by hand; residents report one."""
    form, identity = visit.form, visit.member.community_id
    kind = form.choice("kind", labels.VIOLATION)
    plate = form.optional_plate()
    space = form.text("space", least=0, most=MAX_SPACE).lower() or None
    evidence = form.writing("evidence", least=MIN_TEXT, most=violations.MAX_TEXT)
    if not form.errors:
        try:
            async with visit.acting() as connection:
                attempt = await idempotency.begin(visit, connection)
                if attempt.answer is not None:
                    return idempotency.again(attempt.answer)
                found = violations.Found(
                    kind=kind,  # type: ignore[arg-type]  # one of the labels
                    noticed_by="staff" if visit.staff else "resident",
                    since=visit.now,
                    plate=plate,
                    evidence=evidence,
                )
                opened = await violations.report(connection, visit.principal, identity, found, space, visit.now)
                location = f"{visit.base}/violations/{opened}?done=violation-opened"
                return await idempotency.finish(attempt, location)
        except Problem as problem:
            form.refused(problem, "plate" if problem.status_code == 422 and space is None else "space")
    return await show(visit)


async def show_one(visit: Visit) -> Response:
    """Show a violation with its steps, and what may be done with it."""
    async with visit.reading() as connection:
        found = await violations.get(
            connection, visit.member.community_id, visit.number("violation"), seen=_seen(visit)
        )
    called = await audit.called_now(visit.pool, visit.member.community_id, {step.actor for step in found.steps})
    return render(
        visit,
        "violation.html",
        violation=found,
        called=called,
        seen=preconditions.mark(found),
        most=violations.MAX_TEXT,
    )


async def warn(visit: Visit) -> Response:
    return await _step(visit, "warned")


async def close(visit: Visit) -> Response:
    return await _step(visit, "closed")


async def appeal(visit: Visit) -> Response:
    return await _step(visit, "appealed")


async def _step(visit: Visit, state: violations.State) -> Response:
    form, identity, seen = visit.form, visit.member.community_id, _seen(visit)
    note = form.writing("note", least=MIN_TEXT if state == "appealed" else 0, most=violations.MAX_TEXT)
    number = visit.number("violation")
    if not form.errors:
        try:
            async with visit.acting() as connection:
                present = await violations.get(connection, identity, number, seen=seen, for_change=True)
                preconditions.check(visit, present)
                violations.check_concerned(present, seen)
                await violations.step(connection, visit.principal, identity, present, state, note, visit.now)
            return visit.go(f"{visit.base}/violations/{number}", done=f"violation-{state}")
        except Problem as problem:
            preconditions.refused(visit, problem)
    return await show_one(visit)


_VIOLATIONS = "/communities/{community}/violations"
ROUTES = [
    page(_VIOLATIONS, Access.MEMBER, show),
    action(_VIOLATIONS, Access.MEMBER, create),
    page(f"{_VIOLATIONS}/{{violation}}", Access.MEMBER, show_one),
    action(f"{_VIOLATIONS}/{{violation}}/warn", Access.STAFF, warn),
    action(f"{_VIOLATIONS}/{{violation}}/close", Access.STAFF, close),
    action(f"{_VIOLATIONS}/{{violation}}/appeal", Access.MEMBER, appeal),
]
