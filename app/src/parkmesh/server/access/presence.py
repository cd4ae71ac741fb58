"""Presence, as the gates saw it and people corrected it, with counts that show how far it has drifted."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from parkmesh.server import audit
from parkmesh.server.access import passages
from parkmesh.server.db.database import Connection
from parkmesh.server.identity.principals import Principal
from parkmesh.server.spaces import spaces

DRIFT_WITHIN = timedelta(days=7)
"""How far back missed reads are looked for."""


@dataclass(frozen=True, slots=True)
class Presence:
    """Whether a plate is inside; ``inside`` is null where that is unknown.

    ``gate`` is the gate that it passed last, null after a correction. ``unit`` is the unit that holds the plate, null
    where no unit or more than one holds it.
    """

    plate: str
    inside: bool | None
    since: datetime | None
    gate: str | None
    corrected: bool
    unit: str | None


@dataclass(frozen=True, slots=True)
class Occupancy:
    """Vehicles inside by the gates, beside the states of spaces by the sensors.

    ``missed_exits`` counts entries of vehicles that were inside already, ``missed_entries`` exits of vehicles that were
    outside already, and ``corrections`` what staff corrected: each in the last 7 days. ``heard_at`` is when a gateway
    of the community was last heard; spaces of gateways that are silent are unknown.
    """

    inside: int
    spaces: int
    occupied: int
    free: int
    unknown: int
    missed_entries: int
    missed_exits: int
    corrections: int
    heard_at: datetime | None


_PRESENCE = """
SELECT p.plate, p.inside, p.at AS since, nullif(p.gate, '') AS gate, p.gateway_id = 0 AS corrected, h.unit
FROM presence p
LEFT JOIN LATERAL (
    SELECT min(u.name) AS unit FROM credential c
    LEFT JOIN resident r ON r.community_id = c.community_id AND r.id = c.resident_id
    LEFT JOIN visitor_pass v ON v.community_id = c.community_id AND v.id = c.visitor_pass_id
    JOIN unit u ON u.community_id = c.community_id AND u.id = coalesce(r.unit_id, v.unit_id)
    WHERE c.community_id = p.community_id AND c.plate = p.plate HAVING count(DISTINCT u.id) = 1
) h ON true
WHERE p.community_id = $1
"""
# $5 to $8: the windows of ``passages.columns``. The passage that moved the plate tells which credential decided it.
# Where there is none (a correction, or its time is over), no other person's credential may have held the plate.
_SHOWN = f"""
($5::text[] IS NULL OR p.plate = ANY($5) AND EXISTS (
    SELECT FROM {passages.windows_of(5)}
    WHERE seen.plate = p.plate AND seen.since <= p.at AND (seen.until IS NULL OR p.at < seen.until)
      AND coalesce(
        (SELECT coalesce(m.credential_id = seen.credential, false) FROM passage m
         WHERE m.community_id = p.community_id AND m.gateway_id = p.gateway_id AND m.epoch = p.epoch AND m.seq = p.seq
           AND m.received_at = p.at),
        NOT EXISTS (
          SELECT FROM credential c WHERE c.community_id = p.community_id AND c.plate = p.plate AND c.id::text <> ALL($6)
            AND {passages.SINCE} <= p.at AND ({passages.UNTIL} IS NULL OR p.at < {passages.UNTIL})))))
"""  # noqa: S608 - text of ours


async def page(
    connection: Connection,
    community_id: int,
    *,
    limit: int,
    after: str | None = None,
    inside: bool | None = True,
    seen: passages.Seen | None = None,
) -> list[Presence]:
    """Return plates in their order: those inside (True), outside (False) or both (None). Where ``seen`` is given, only
    plates whose last movement one of its credentials decided."""
    rows = await connection.fetch(
        f"""{_PRESENCE} AND ($2::text IS NULL OR p.plate > $2) AND ($3::boolean IS NULL OR p.inside = $3)
        AND {_SHOWN} ORDER BY p.plate LIMIT $4""",
        community_id,
        after,
        inside,
        limit,
        *passages.columns(seen),
    )
    return [Presence(**row) for row in rows]


async def get(connection: Connection, community_id: int, plate: str) -> Presence:
    """Return where a normalised plate is."""
    row = await connection.fetchrow(f"{_PRESENCE} AND p.plate = $2", community_id, plate)
    return Presence(**row) if row else Presence(plate, None, None, None, False, None)


async def lock(connection: Connection, community_id: int) -> None:
    """Keep others from correcting the community's presence until the transaction ends."""
    await connection.execute("SELECT FROM community WHERE id = $1 FOR NO KEY UPDATE", community_id)


async def correct(
    connection: Connection, principal: Principal, community_id: int, plate: str, inside: bool, reason: str
) -> Presence:
    """Set where a normalised plate is, whatever the gates saw until now. The gateways hear of it with the access
    list."""
    correction = await connection.fetchval("SELECT id FROM correct_presence($1, $2, $3)", plate, inside, reason)
    detail = {"plate": plate, "inside": inside, "reason": reason}
    await audit.record(connection, principal, community_id, "presence.correct", f"presence/{correction}", detail)
    return await get(connection, community_id, plate)


async def occupancy(connection: Connection, community_id: int) -> Occupancy:
    """Count cars and spaces, and what the gates must have missed."""
    row = await connection.fetchrow(
        f"""
        WITH move AS (
            SELECT p.direction, lag(p.direction) OVER (
                PARTITION BY coalesce(c.plate, p.plate) ORDER BY p.received_at, p.gateway_id, p.epoch, p.seq) AS before
            FROM passage p
            LEFT JOIN credential c ON p.reason <> 'exact' AND c.community_id = p.community_id
                AND c.id = CASE WHEN p.credential_id ~ '^[0-9]{{1,18}}$' THEN p.credential_id::bigint END
            WHERE p.community_id = $1 AND p.received_at > now() - $2::interval
              AND p.opened AND p.decision = 'granted' AND p.plate <> ''
        )
        SELECT (SELECT count(*) FROM presence WHERE community_id = $1 AND inside) AS inside,
               (SELECT count(*) FROM space WHERE community_id = $1) AS spaces,
               (SELECT count(*) FILTER (WHERE {spaces.STATUS} = 'occupied') FROM space s {spaces.STATE}
                WHERE s.community_id = $1) AS occupied,
               (SELECT count(*) FILTER (WHERE {spaces.STATUS} = 'free') FROM space s {spaces.STATE}
                WHERE s.community_id = $1) AS free,
               (SELECT count(*) FROM move WHERE direction = 'exit' AND before = 'exit') AS missed_entries,
               (SELECT count(*) FROM move WHERE direction = 'entry' AND before = 'entry') AS missed_exits,
               (SELECT count(*) FROM presence_correction
                WHERE community_id = $1 AND at > now() - $2::interval) AS corrections
        """,  # noqa: S608 - columns of spaces
        community_id,
        DRIFT_WITHIN,
    )
    heard_at = await spaces.heard_at(connection, community_id)
    return Occupancy(unknown=row["spaces"] - row["occupied"] - row["free"], heard_at=heard_at, **row)
