"""Overstays, noticed by any server within a minute: each opens one violation, however many servers look.

A visitor's stay overstays after its passes and the community's grace. Of a booked space the gates know nothing: there
the sensor tells, of a car that came before the booking ended and stands there since. Both end by themselves where the
exit turns out to have been in time: a gateway that was offline delivers it late.
"""

import json
from datetime import datetime, timedelta
from typing import Any

from parkmesh.domain.overstays import overstayed_since
from parkmesh.domain.windows import Window
from parkmesh.server import audit
from parkmesh.server.access import violations
from parkmesh.server.communities import rules
from parkmesh.server.db import database
from parkmesh.server.db.database import Connection, Pool
from parkmesh.server.outbox import events
from parkmesh.server.spaces import spaces

LOOKED_BACK = timedelta(days=2)
"""How long after its end a booking is looked at: servers may have been down, or a gateway silent."""
_RULE = audit.System("overstay")

# A pass that was cancelled ended then. A plate that is a resident's too may stay.
_VISITORS_INSIDE = """
SELECT s.id, s.plate, s.unit_id, s.entered_at,
       (SELECT json_agg(json_build_array(p.starts_at, least(p.ends_at, p.cancelled_at))) FROM visitor_pass p
        WHERE p.community_id = s.community_id AND (p.id = s.visitor_pass_id OR p.plate = s.plate)
          AND p.starts_at < least(p.ends_at, p.cancelled_at)) AS passes
FROM stay s
WHERE s.community_id = $1 AND s.left_at IS NULL AND s.visitor_pass_id IS NOT NULL
  AND NOT EXISTS (SELECT FROM violation v
                  WHERE v.community_id = s.community_id AND v.stay_id = s.id AND v.kind = 'overstay')
  AND NOT EXISTS (SELECT FROM credential c WHERE c.community_id = s.community_id AND c.plate = s.plate
                    AND c.visitor_pass_id IS NULL AND c.status = 'active')
ORDER BY s.id
"""
# Visitors with a plate are known by their stay. A booking of the same unit that follows goes on with it.
_IN_BOOKED_SPACES = f"""
SELECT b.id, b.unit_id, b.space_id, b.ends_at FROM booking b
JOIN space s ON s.community_id = b.community_id AND s.id = b.space_id {spaces.STATE}
LEFT JOIN visitor_pass p ON p.community_id = b.community_id AND p.id = b.visitor_pass_id
WHERE b.community_id = $1 AND b.status = 'active' AND p.plate IS NULL AND b.ends_at <= $2 AND b.ends_at > $3
  AND {spaces.STATUS} = 'occupied' AND t.changed_at >= b.starts_at AND t.changed_at < b.ends_at
  AND NOT EXISTS (SELECT FROM booking n WHERE n.community_id = b.community_id AND n.space_id = b.space_id
                    AND n.unit_id = b.unit_id AND n.status = 'active' AND n.starts_at <= b.ends_at + $4::interval
                    AND n.ends_at > b.ends_at)
  AND NOT EXISTS (SELECT FROM space_assignment a WHERE a.community_id = b.community_id AND a.space_id = b.space_id
                    AND a.unit_id = b.unit_id AND a.starts_at <= $2 AND (a.ends_at IS NULL OR a.ends_at > $2))
  AND NOT EXISTS (SELECT FROM violation v
                  WHERE v.community_id = b.community_id AND v.booking_id = b.id AND v.kind = 'overstay')
ORDER BY b.id
"""  # noqa: S608 - columns of another module
_LEFT_IN_TIME = """
SELECT v.id FROM violation v JOIN stay s ON s.community_id = v.community_id AND s.id = v.stay_id
WHERE v.community_id = $1 AND v.kind = 'overstay' AND v.noticed_by = 'rule' AND v.state <> 'closed'
  AND s.left_at < v.since + $2::interval
ORDER BY v.id
"""

# Where one of the three above may find something, whatever the communities' rules: the longest grace is a day.
_DUE = """
SELECT d.community_id FROM (
    SELECT s.community_id FROM stay s
    JOIN visitor_pass p ON p.community_id = s.community_id AND p.id = s.visitor_pass_id
    WHERE s.left_at IS NULL AND least(p.ends_at, p.cancelled_at) <= $1
      AND NOT EXISTS (SELECT FROM violation v
                      WHERE v.community_id = s.community_id AND v.stay_id = s.id AND v.kind = 'overstay')
    UNION
    SELECT b.community_id FROM booking b
    JOIN space_state t ON t.community_id = b.community_id AND t.space_id = b.space_id
    WHERE b.status = 'active' AND b.ends_at <= $1 AND b.ends_at > $2
      AND t.status = 'occupied' AND t.changed_at >= b.starts_at AND t.changed_at < b.ends_at
      AND NOT EXISTS (SELECT FROM violation v
                      WHERE v.community_id = b.community_id AND v.booking_id = b.id AND v.kind = 'overstay')
    UNION
    SELECT v.community_id FROM violation v
    JOIN stay s ON s.community_id = v.community_id AND s.id = v.stay_id
    WHERE v.kind = 'overstay' AND v.noticed_by = 'rule' AND v.state <> 'closed'
      AND s.left_at <= v.since + interval '1 day'
) d JOIN community c ON c.id = d.community_id AND c.offboarded_at IS NULL
ORDER BY 1
"""


async def due(pool: Pool, now: datetime) -> list[int]:
    """Return the communities to look at. Of ten thousand, few have a car whose time is over."""
    async with database.as_server(pool) as connection:
        rows = await connection.fetch(_DUE, now, now - LOOKED_BACK)
    return [row["community_id"] for row in rows]


async def look(pool: Pool, now: datetime) -> None:
    """Open and close the violations of all communities that are due."""
    for community_id in await due(pool, now):
        async with database.in_community(pool, community_id) as connection:
            await _look(connection, community_id, now)


async def _look(connection: Connection, community_id: int, now: datetime) -> None:
    grace = timedelta(minutes=(await rules.read(connection, community_id)).overstay_grace_minutes)
    for row in await connection.fetch(_VISITORS_INSIDE, community_id):
        passes = [Window(*map(datetime.fromisoformat, ends)) for ends in json.loads(row["passes"] or "[]")]
        since = overstayed_since(row["entered_at"], passes, grace, now)
        if since is not None:
            about = {"stay": row["id"], "since": since.isoformat()}
            found = violations.Found(
                kind="overstay", noticed_by="rule", since=since, plate=row["plate"], unit_id=row["unit_id"],
                stay_id=row["id"],
            )  # fmt: skip
            await _open(connection, community_id, found, f"stay/{row['id']}", about, now)
    for row in await connection.fetch(_IN_BOOKED_SPACES, community_id, now - grace, now - LOOKED_BACK, grace):
        about = {"booking": row["id"], "since": row["ends_at"].isoformat()}
        found = violations.Found(
            kind="overstay", noticed_by="rule", since=row["ends_at"], unit_id=row["unit_id"], space_id=row["space_id"],
            booking_id=row["id"],
        )  # fmt: skip
        await _open(connection, community_id, found, f"booking/{row['id']}", about, now)
    for row in await connection.fetch(_LEFT_IN_TIME, community_id, grace):
        present = await violations.get(connection, community_id, row["id"], for_change=True)
        # Of several servers that saw it, the first closes it.
        if present.state != "closed":
            await violations.step(connection, _RULE, community_id, present, "closed", "", now)


async def _open(
    connection: Connection,
    community_id: int,
    found: violations.Found,
    what: str,
    about: dict[str, Any],
    now: datetime,
) -> None:
    """Open a violation and tell of it. Of several servers that saw it, the one whose row is new tells."""
    if await violations.open_one(connection, _RULE, community_id, found, now) is not None:
        await events.record(connection, community_id, "stay.overstayed", what, about)
