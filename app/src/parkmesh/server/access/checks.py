"""Checks of plates: whether a car may be where it is. Each is stored with who asked and what the answer was.

Connections are inside ``database.in_community``.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from parkmesh.domain import checks
from parkmesh.domain.checks import By, Reason, Right
from parkmesh.server.access import violations
from parkmesh.server.audit import Actor
from parkmesh.server.communities import rules
from parkmesh.server.db import keyset
from parkmesh.server.db.database import Connection
from parkmesh.server.spaces import spaces


@dataclass(frozen=True, slots=True)
class Check:
    """Whether ``plate`` may be in ``space`` (null: anywhere in the community) at ``at``, as it was answered then.

    ``until`` is when that right ends or ended; null where it has no end, or where there is no right. ``by`` is
    ``resident``, ``pass``, ``booking`` or ``none``. ``grace``: the right has ended, but the car may stay on for a
    little while. ``reason`` is ``valid``, ``grace``, ``other_space`` (it may be in the community, but not in this
    space), ``revoked``, ``ended``, ``not_begun`` or ``unknown``.
    """

    id: int
    plate: str
    space: str | None
    at: datetime
    asked_at: datetime
    asked_by: str
    allowed: bool
    until: datetime | None
    by: By
    grace: bool
    reason: Reason


# $2 plate, $3 moment, $4 space or null. A visitor whose pass names no space may be in any visitors' space that nobody
# has booked, and in those of the unit visited.
_RIGHTS = f"""
WITH place AS (SELECT s.id, {spaces.CATEGORY} AS category FROM space s WHERE s.community_id = $1 AND s.id = $4),
own AS (SELECT a.unit_id FROM space_assignment a WHERE a.community_id = $1 AND a.space_id = $4 AND a.starts_at <= $3
          AND (a.ends_at IS NULL OR a.ends_at > $3)),
resident AS (SELECT c.valid_from, c.valid_until, r.unit_id FROM credential c
             LEFT JOIN resident r ON r.community_id = c.community_id AND r.id = c.resident_id
             WHERE c.community_id = $1 AND c.plate = $2 AND c.visitor_pass_id IS NULL AND c.status = 'active'),
pass AS (SELECT p.id, p.unit_id, p.starts_at, least(p.ends_at, p.cancelled_at) AS ends_at FROM visitor_pass p
         WHERE p.community_id = $1 AND p.plate = $2 AND p.starts_at < least(p.ends_at, p.cancelled_at)
           AND NOT EXISTS (SELECT FROM credential c WHERE c.community_id = $1 AND c.visitor_pass_id = p.id
                             AND c.status = 'revoked' AND p.status = 'active')),
booked AS (SELECT b.unit_id, b.visitor_pass_id, b.starts_at, least(b.ends_at, b.cancelled_at) AS ends_at
           FROM booking b WHERE b.community_id = $1 AND b.space_id = $4)
SELECT 'resident' AS by, valid_from AS since, valid_until AS until,
       $4::bigint IS NULL OR unit_id IN (SELECT unit_id FROM own) AS here FROM resident
UNION ALL
SELECT 'pass', starts_at, ends_at, $4 IS NULL OR unit_id IN (SELECT unit_id FROM own)
       OR EXISTS (SELECT FROM place WHERE category = 'visitor')
          AND NOT EXISTS (SELECT FROM booked b WHERE b.starts_at <= $3 AND b.ends_at > $3
                            AND b.visitor_pass_id IS DISTINCT FROM pass.id) FROM pass
UNION ALL
SELECT 'booking', starts_at, ends_at, true FROM booked
WHERE starts_at < ends_at
  AND (visitor_pass_id IS NULL AND unit_id IN (SELECT unit_id FROM resident)
       OR visitor_pass_id IN (SELECT id FROM pass))
"""  # noqa: S608 - columns of another module
# As for a visitor's plate: revoked for whichever holder, and nobody holds it still.
_REVOKED = """
SELECT coalesce(bool_or(c.status = 'revoked') AND NOT bool_or(c.status = 'active'), false)
FROM credential c LEFT JOIN visitor_pass p ON p.community_id = c.community_id AND p.id = c.visitor_pass_id
WHERE c.community_id = $1 AND c.plate = $2 AND (p.id IS NULL OR p.status = 'active')
"""


async def check(
    connection: Connection,
    principal: Actor,
    community_id: int,
    plate: str,
    space: str | None,
    at: datetime | None,
    now: datetime,
) -> Check:
    """Check a normalised plate, in a space where given, at a moment (None: now), and store the check.

    Raises ``Problem`` 422 where there is no such space.
    """
    space_id = await violations.find_space(connection, community_id, space)
    moment = at or now
    rows = await connection.fetch(_RIGHTS, community_id, plate, moment, space_id)
    revoked = await connection.fetchval(_REVOKED, community_id, plate)
    grace = timedelta(minutes=(await rules.read(connection, community_id)).overstay_grace_minutes)
    answer = checks.check([Right(**row) for row in rows], moment, grace, revoked=revoked)
    stored: int = await connection.fetchval(
        """
        INSERT INTO plate_check (community_id, plate, space_id, at, asked_at, asked_by, allowed, until, by, grace,
                                 reason)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11) RETURNING id
        """,
        community_id,
        plate,
        space_id,
        moment,
        now,
        principal.actor,
        answer.allowed,
        answer.until,
        answer.by,
        answer.grace,
        answer.reason,
    )
    return Check(
        stored, plate, space, moment, now, principal.actor, answer.allowed, answer.until, answer.by, answer.grace,
        answer.reason,
    )  # fmt: skip


async def page(
    connection: Connection,
    community_id: int,
    *,
    limit: int,
    before: tuple[datetime, int] | None = None,
    way: keyset.Way = keyset.ON,
    plate: str | None = None,
) -> list[Check]:
    """Return stored checks, latest first; ``plate`` is the normalised part of one."""
    rows = await connection.fetch(
        f"""
        SELECT k.id, k.plate, s.name AS space, k.at, k.asked_at, k.asked_by, k.allowed, k.until, k.by, k.grace, k.reason
        FROM plate_check k LEFT JOIN space s ON s.community_id = k.community_id AND s.id = k.space_id
        WHERE k.community_id = $1 AND ($2::timestamptz IS NULL OR (k.asked_at, k.id) {way.below} ($2, $3))
          AND ($4::text IS NULL OR strpos(k.plate, $4) > 0)
        ORDER BY k.asked_at {way.down}, k.id {way.down} LIMIT $5
        """,  # noqa: S608 - words of a way
        community_id,
        *(before or (None, None)),
        plate,
        limit,
    )
    return [Check(**row) for row in rows]
