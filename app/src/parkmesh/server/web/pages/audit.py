"""The audit trail: of a community for its staff, of the desk's own acts for operators."""

import json
import re

from starlette.responses import Response

from parkmesh.server import audit
from parkmesh.server.communities import audit_chain
from parkmesh.server.db import database
from parkmesh.server.http.problems import Problem
from parkmesh.server.web.pages import exports
from parkmesh.server.web.pages.rendering import render
from parkmesh.server.web.pages.visit import Access, Visit, page

HASH = re.compile("[0-9a-f]{64}")

KINDS = (
    "api-key", "booking", "community", "credential", "gate", "invitation", "level", "member", "passkey", "password",
    "permit", "presence", "report", "resident", "rules", "session", "sharing", "space", "space-request", "unit",
    "violation", "visitor-nights", "visitor-pass",
)  # fmt: skip
"""What acts are about, as they are filtered by."""


def _filter(visit: Visit) -> audit.Filter:
    kind = visit.query("kind")
    return audit.Filter(action=f"{kind}." if kind in KINDS else None)


async def show(visit: Visit) -> Response:
    async with visit.reading() as connection:
        return await _show(visit, connection, visit.member.community_id)


async def show_of_desk(visit: Visit) -> Response:
    async with database.at_desk(visit.pool) as connection:
        return await _show(visit, connection, database.OUTSIDE)


async def _show(visit: Visit, connection: database.Connection, community_id: int) -> Response:
    paged = visit.paged()
    place = paged.after(int)
    found = await audit.entries(
        connection,
        community_id,
        limit=paged.fetch,
        way=paged.way,
        before=place[0] if place else None,
        only=_filter(visit),
    )
    entries, turns = visit.turned(paged, found, lambda entry: (entry.id,))
    called = await audit.names(visit.pool, community_id, entries)
    return render(
        visit,
        "audit.html",
        entries=[(entry, called.get(entry.actor, entry.actor), _text(entry)) for entry in entries],
        kinds=KINDS,
        kind=visit.query("kind"),
        export=exports.link(visit, "audit", action=_filter(visit).action) if visit.place else "",
        zone=visit.zone if visit.community else None,
        **turns,
    )


async def verify(visit: Visit) -> Response:
    """Compute the chain again, from an earlier head on where the reader gives one."""
    entries, told = visit.query("entries"), visit.query("hash").lower()
    earlier = None
    if entries or told:
        if entries.isascii() and entries.isdigit() and len(entries) < 16 and HASH.fullmatch(told):
            earlier = audit_chain.Head(int(entries), told)
        else:
            visit.form.wrong("hash", visit.language.gettext("Enter both: how many entries there were, and the hash."))
    found = None
    async with visit.reading():
        pass
    if not visit.form.errors:
        identity, name = visit.member.community_id, visit.member.community
        try:
            found = await audit_chain.verify_community(visit.pool, identity, name, earlier)
        except Problem as problem:
            visit.form.refused(problem)
    broken = found if isinstance(found, audit_chain.Break) else None
    head = None if broken else found
    return render(visit, "audit_verified.html", head=head, broken=broken, entries=entries, hash=told)


def _text(entry: audit.Entry) -> str:
    """Return what an entry tells besides, readable; a part that is a list or an object as JSON."""
    if not entry.detail:
        return ""
    return ", ".join(
        f"{name.replace('_', ' ')}: {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}"
        for name, value in entry.detail.items()
    )


ROUTES = [
    page("/communities/{community}/audit", Access.STAFF, show),
    page("/communities/{community}/audit/verification", Access.STAFF, verify),
    page("/audit", Access.OPERATOR, show_of_desk),
]
