"""Passages: what happened at a community's gates."""

from datetime import datetime, timedelta

from msgspec import Struct

from parkmesh.domain import plates
from parkmesh.server.database import Connection

LATELY = timedelta(days=2)
"""A first page is looked for in this time first: it is there, in the newest partitions, unless little happens."""


class Passage(Struct, frozen=True):
    """``gate_title`` is the gate's name where the community knows none of it any more."""

    id: int
    received_at: datetime
    gate: str
    gate_title: str
    direction: str
    plate: str
    decision: str
    reason: str
    opened: bool | None
    gateway: str


class Filter(Struct, frozen=True):
    """Which passages to show; None: any. ``plate`` is the normalised beginning of one, ``until`` excluded."""

    plate: str | None = None
    gate: str | None = None
    direction: str | None = None
    decision: str | None = None
    since: datetime | None = None
    until: datetime | None = None


_QUERY = """
SELECT p.id, p.received_at, p.gate, coalesce(k.title, p.gate) AS gate_title, p.direction, p.plate, p.decision,
       p.reason, p.opened, w.name AS gateway
FROM passage p
JOIN gateway w ON w.community_id = p.community_id AND w.id = p.gateway_id
LEFT JOIN gate k ON k.community_id = p.community_id AND k.name = p.gate
WHERE p.community_id = $1
  AND p.received_at >= $2 AND p.received_at <= $3 AND (p.received_at, p.id) < ($3, $4)
  AND ($5::text[] IS NULL OR p.plate = ANY($5))
  AND ($6::text IS NULL OR p.plate ~>=~ $6 AND p.plate ~<~ $7)
  AND ($8::text IS NULL OR p.gate = $8) AND ($9::text IS NULL OR p.direction = $9)
  AND ($10::text IS NULL OR p.decision = $10)
ORDER BY p.received_at DESC, p.id DESC LIMIT $11
"""
# The bounds are always there: with them the partitions outside are left out when the statement starts.
_BEGINNING = datetime.fromisoformat("0001-01-02T00:00:00+00:00")
_END = datetime.fromisoformat("9999-12-30T00:00:00+00:00")


def beginning_of_plate(text: str) -> str | None:
    """Return what somebody typed of a plate in the spelling of plates; None where no plate begins like it."""
    kept = text.strip().upper()
    return kept if len(kept) == 1 and kept.isascii() and kept.isalnum() else plates.normalise(text)


async def search(
    connection: Connection,
    community_id: int,
    *,
    limit: int,
    before: tuple[datetime, int] | None = None,
    plates: list[str] | None = None,
    only: Filter | None = None,
) -> list[Passage]:
    """Return passages, latest first, of ``plates`` only where given; ``before`` is the last one of the page before."""
    only = only or Filter()
    until, last_id = before or (_END, 0)
    if only.until is not None and (before is None or only.until <= before[0]):
        until, last_id = only.until, 0
    arguments = (
        plates,
        only.plate,
        only.plate and only.plate[:-1] + chr(ord(only.plate[-1]) + 1),
        only.gate,
        only.direction,
        only.decision,
        limit,
    )
    since = only.since or _BEGINNING
    if before is None and only.since is None and only.until is None:
        lately = await connection.fetchval("SELECT now()") - LATELY
        rows = await connection.fetch(_QUERY, community_id, lately, until, last_id, *arguments)
        if len(rows) == limit:
            return [Passage(**row) for row in rows]
    rows = await connection.fetch(_QUERY, community_id, since, until, last_id, *arguments)
    return [Passage(**row) for row in rows]


async def plates_seen(connection: Connection, community_id: int, resident_id: int | None) -> list[str]:
    """Return the plates whose passages a resident may see: his own, and those of his unit with its visitors.

    A visitor's plate that another unit holds too is left out: a pass for a neighbour's car is no way to follow it.
    """
    rows = await connection.fetch(
        """
        SELECT DISTINCT c.plate FROM credential c
        LEFT JOIN resident r ON r.community_id = c.community_id AND r.id = c.resident_id
        LEFT JOIN visitor_pass v ON v.community_id = c.community_id AND v.id = c.visitor_pass_id
        WHERE c.community_id = $1 AND (c.resident_id = $2 OR coalesce(r.unit_id, v.unit_id) = (
            SELECT me.unit_id FROM resident me WHERE me.community_id = $1 AND me.id = $2))
          AND (c.visitor_pass_id IS NULL OR NOT EXISTS (
            SELECT FROM credential k JOIN resident o ON o.community_id = k.community_id AND o.id = k.resident_id
            WHERE k.community_id = $1 AND k.plate = c.plate AND o.unit_id IS DISTINCT FROM v.unit_id))
        """,
        community_id,
        resident_id,
    )
    return [row["plate"] for row in rows]
