"""How many nights a visitor's car may stay in 28 days at one unit, and the exceptions that staff make.

Nights that are over are counted from stays, nights ahead from passes. Connections are inside ``database.in_community``.
"""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from parkmesh.domain import visitor_nights
from parkmesh.domain.windows import Window
from parkmesh.server import audit
from parkmesh.server.audit import Actor
from parkmesh.server.communities import rules
from parkmesh.server.db import keyset
from parkmesh.server.db.database import Connection
from parkmesh.server.http import problems
from parkmesh.server.http.messages import Message
from parkmesh.server.http.problems import Problem

_DAYS = timedelta(days=visitor_nights.DAYS)


@dataclass(frozen=True, slots=True)
class NightsException:
    """``plate`` may stay more nights as a visitor of ``unit``, by passes that end at ``until`` or before. ``made_by``
    is as the audit trail names who acts."""

    id: int
    unit: str
    unit_id: int
    plate: str
    until: datetime
    reason: str
    made_by: str
    made_at: datetime


_STAYED = """
SELECT s.entered_at AS since, coalesce(s.left_at, $4) AS until FROM stay s
JOIN visitor_pass p ON p.community_id = s.community_id AND p.id = s.visitor_pass_id
WHERE s.community_id = $1 AND p.unit_id = $2 AND s.plate = $3 AND (s.left_at IS NULL OR s.left_at > $5)
"""
_AHEAD = """
SELECT greatest(starts_at, $4) AS since, ends_at AS until FROM visitor_pass
WHERE community_id = $1 AND unit_id = $2 AND plate = $3 AND status = 'active' AND ends_at > $4
  AND id IS DISTINCT FROM $5
"""
_EXCEPTED = """
SELECT EXISTS (SELECT FROM visitor_nights_exception
               WHERE community_id = $1 AND unit_id = $2 AND plate = $3 AND until >= $4)
"""


async def check(
    connection: Connection,
    community_id: int,
    unit_id: int,
    plate: str | None,
    window: Window,
    now: datetime,
    *,
    pass_id: int | None = None,
) -> None:
    """Raise ``Problem`` 409 where a plate would stay more nights with a pass than the community allows.

    ``pass_id`` is the pass that gets the plate, where it exists already. The unit is held (``bookings.hold_unit``), so
    that of two passes made at once the second sees the first.
    """
    limit = (await rules.read(connection, community_id)).visitor_nights_in_28_days
    if plate is None or limit == 0 or await excess(connection, community_id, unit_id, plate, window, now, pass_id) == 0:
        return
    raise Problem(
        409,
        Message(
            "A visitor's car may stay %(limit)s nights in 28 days. With this pass this plate would stay longer. Choose "
            "a shorter time, or ask your administrators.",
            limit=limit,
        ),
        kind="nights",
        rule="visitor_nights_in_28_days",
        limit=limit,
    )


async def excess(
    connection: Connection,
    community_id: int,
    unit_id: int,
    plate: str,
    window: Window,
    now: datetime,
    pass_id: int | None = None,
) -> int:
    """Return by how many nights a plate would exceed the rule with a pass in ``window``; 0: it may have the pass."""
    limit = (await rules.read(connection, community_id)).visitor_nights_in_28_days
    if limit == 0 or await connection.fetchval(_EXCEPTED, community_id, unit_id, plate, window.end):
        return 0
    zone = ZoneInfo(await connection.fetchval("SELECT time_zone FROM community WHERE id = $1", community_id))
    stayed = await connection.fetch(_STAYED, community_id, unit_id, plate, now, now - _DAYS - timedelta(days=1))
    ahead = await connection.fetch(_AHEAD, community_id, unit_id, plate, now, pass_id)
    known: set[date] = set()
    for row in (*stayed, *ahead):
        known |= visitor_nights.nights(row["since"], row["until"], zone)
    added = visitor_nights.nights(max(window.start, now), window.end, zone)
    return max(0, visitor_nights.most(known, added - known) - limit)


async def except_plate(
    connection: Connection,
    principal: Actor,
    community_id: int,
    *,
    unit_id: int,
    plate: str,
    until: datetime,
    reason: str,
    now: datetime,
) -> NightsException:
    """Let a normalised plate stay more nights at a unit. Raises ``Problem`` 422 where ``until`` is over."""
    if until <= now:
        raise Problem(422, "until: a moment to come is needed", kind="invalid")
    made: int = await connection.fetchval(
        """
        INSERT INTO visitor_nights_exception (community_id, unit_id, plate, until, reason, made_by, made_at)
        VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING id
        """,
        community_id,
        unit_id,
        plate,
        until,
        reason,
        principal.actor,
        now,
    )
    detail = {"unit": unit_id, "until": until.isoformat()}
    await audit.record(
        connection, principal, community_id, "visitor-nights.except", f"visitor-nights-exception/{made}", detail
    )
    return await get(connection, community_id, made)


_SELECT = """
SELECT e.id, u.name AS unit, e.unit_id, e.plate, e.until, e.reason, e.made_by, e.made_at
FROM visitor_nights_exception e JOIN unit u ON u.community_id = e.community_id AND u.id = e.unit_id
WHERE e.community_id = $1
"""


async def get(connection: Connection, community_id: int, exception_id: int) -> NightsException:
    """Return an exception; raise ``Problem`` 404."""
    row = await connection.fetchrow(f"{_SELECT} AND e.id = $2", community_id, exception_id)
    if row is None:
        raise problems.not_found()
    return NightsException(**row)


async def page(
    connection: Connection, community_id: int, *, limit: int, after: int | None = None, way: keyset.Way = keyset.ON
) -> list[NightsException]:
    """Return exceptions, latest first; ``after`` is the id of the last one of the page before."""
    rows = await connection.fetch(
        f"{_SELECT} AND ($2::bigint IS NULL OR e.id {way.below} $2) ORDER BY e.id {way.down} LIMIT $3",
        community_id,
        after,
        limit,
    )
    return [NightsException(**row) for row in rows]


async def remove(connection: Connection, principal: Actor, community_id: int, exception_id: int) -> None:
    """Take an exception back; passes that were made by it stay. Raises ``Problem`` 404."""
    removed = await connection.fetchval(
        "DELETE FROM visitor_nights_exception WHERE community_id = $1 AND id = $2 RETURNING true",
        community_id,
        exception_id,
    )
    if not removed:
        raise problems.not_found()
    await audit.record(
        connection, principal, community_id, "visitor-nights.remove", f"visitor-nights-exception/{exception_id}"
    )
