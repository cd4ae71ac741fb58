"""The daily digest: what happened in a community the day before, for its administrators."""

from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from parkmesh.server.db import database
from parkmesh.server.db.database import Connection, Pool
from parkmesh.server.notifications import notices
from parkmesh.server.notifications.notices import Notice

AT = time(7)
"""When it is sent, by the community's clock."""

# By the clock of each community: it is past AT, it was there on the day before, and that day wasn't told yet.
_DUE = """
SELECT c.id, (clock_timestamp() AT TIME ZONE c.time_zone)::date - 1 AS day FROM community c
LEFT JOIN digest d ON d.community_id = c.id
WHERE c.offboarded_at IS NULL AND (clock_timestamp() AT TIME ZONE c.time_zone)::time >= $1
  AND c.created_at AT TIME ZONE c.time_zone < date_trunc('day', clock_timestamp() AT TIME ZONE c.time_zone)
  AND d.day IS DISTINCT FROM (clock_timestamp() AT TIME ZONE c.time_zone)::date - 1
"""
_TURN = """
INSERT INTO digest (community_id, day) VALUES ($1, $2)
ON CONFLICT (community_id) DO UPDATE SET day = excluded.day WHERE digest.day < excluded.day
RETURNING true
"""
_COUNTS = """
SELECT (SELECT count(*) FROM passage WHERE community_id = $1 AND received_at >= $2 AND received_at < $3
          AND decision = 'granted') AS granted,
       (SELECT count(*) FROM passage WHERE community_id = $1 AND received_at >= $2 AND received_at < $3
          AND decision = 'denied') AS denied,
       (SELECT count(*) FROM booking WHERE community_id = $1 AND created_at >= $2 AND created_at < $3) AS bookings,
       (SELECT count(*) FROM visitor_pass WHERE community_id = $1 AND created_at >= $2 AND created_at < $3) AS visitors,
       (SELECT count(*) FROM resident WHERE community_id = $1 AND erasure_asked_at IS NOT NULL) AS erasures,
       (SELECT count(*) FROM gateway_outage WHERE community_id = $1) AS offline
"""


async def send_due(pool: Pool) -> None:
    """Put the digests into the outbox that are due now, each once."""
    async with database.as_server(pool) as connection:
        rows = await connection.fetch(_DUE, AT)
    for row in rows:
        async with database.in_identity(pool) as connection:
            await database.set_community(connection, row["id"])
            if await connection.fetchval(_TURN, row["id"], row["day"]):
                await _send(connection, row["id"], row["day"])


async def _send(connection: Connection, community_id: int, day: date) -> None:
    place = await notices.place(connection, community_id)
    if place is None:
        return
    counts = await of_day(connection, community_id, day, ZoneInfo(place.zone))
    # A day on which nothing happened is not worth a mail.
    if any(counts.values()):
        notice = Notice("digest", {"day": day.isoformat(), "counts": counts})
        await notices.write(connection, place, [notice], datetime.now(UTC))


async def of_day(connection: Connection, community_id: int, day: date, zone: ZoneInfo) -> dict[str, Any]:
    """Return the counts of a day by the community's clock, which has 23 or 25 hours where the clock changes."""
    starts, ends = (datetime.combine(each, time(), zone) for each in (day, day + timedelta(days=1)))
    return dict(await connection.fetchrow(_COUNTS, community_id, starts, ends))
