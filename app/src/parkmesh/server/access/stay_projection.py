"""The projection of stays: every server brings the communities that it heard of up to date, a moment after the events.

``stay_progress`` keeps for each gateway up to which event its passages are in stays (``unread_passages``).
Corrections of presence are counted the same way, as gateway 0; they are made one at a time in each community.

A passage that opened a gate becomes a movement of a plate; where it was a misread, of the credential's plate, as
presence takes it. The stays of the plate are worked out anew (``domain.stays``) from the last one that was entered
before the earliest new movement: what lies before it can't change.

The transaction holds a lock of the community (as ``erase_passages`` does), so any number of servers may do this. It
starts when ``parkmesh_live`` tells of passages (``community_worker``). Passages older than ``stays.LONGEST`` are left
out: retention is about to delete them.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable
from datetime import UTC, datetime
from functools import partial
from typing import Any

from parkmesh.domain import stays
from parkmesh.domain.stays import Movement, Stay
from parkmesh.server.access import unread_passages
from parkmesh.server.db import database
from parkmesh.server.db.community_worker import CommunityWorker
from parkmesh.server.db.database import Connection

BATCH = 500
"""How many passages of a gateway one transaction takes."""

_PROGRESS = "stay_progress"
_BEHIND = f"""
{unread_passages.behind(_PROGRESS)}
UNION
SELECT c.community_id FROM presence_correction c
LEFT JOIN stay_progress s ON s.community_id = c.community_id AND s.gateway_id = 0
WHERE c.id > coalesce(s.seq, 0) AND ($1::bigint[] IS NULL OR c.community_id = ANY($1))
"""  # noqa: S608 - text of this package
_NEW = unread_passages.unread(
    _PROGRESS,
    """
    p.received_at AS at, p.direction = 'entry' AS inside, p.id AS passage,
    CASE WHEN p.credential_id ~ '^[0-9]{1,18}$' THEN p.credential_id::bigint END AS credential,
    coalesce(
        CASE WHEN p.reason <> 'exact' AND p.credential_id ~ '^[0-9]{1,18}$' THEN
            (SELECT c.plate FROM credential c WHERE c.community_id = p.community_id AND c.id = p.credential_id::bigint)
        END, p.plate) AS plate
    """,
    "p.opened AND p.decision = 'granted' AND p.plate <> '' AND p.received_at > $3",
)
_CORRECTIONS = """
SELECT c.id AS seq, c.plate, c.at, c.inside FROM presence_correction c
WHERE c.community_id = $1 AND c.id > coalesce((SELECT s.seq FROM stay_progress s
                                               WHERE s.community_id = $1 AND s.gateway_id = 0), 0)
ORDER BY c.id LIMIT $2
"""
_REMEMBER = """
INSERT INTO movement (community_id, plate, at, gateway_id, epoch, seq, inside, passage_id)
SELECT $1, m.* FROM unnest($2::text[], $3::timestamptz[], $4::bigint[], $5::bigint[], $6::bigint[], $7::boolean[],
                           $8::bigint[]) AS m
ON CONFLICT DO NOTHING
"""
# For each plate the entry of the last stay before its earliest new movement, and all movements behind it.
_AFFECTED = """
SELECT n.plate, m.* FROM unnest($2::text[], $3::timestamptz[], $4::bigint[], $5::bigint[], $6::bigint[])
    AS n(plate, at, gateway_id, epoch, seq)
LEFT JOIN LATERAL (
    SELECT s.entered_at, s.entered_gateway, s.entered_epoch, s.entered_seq, s.entered_passage FROM stay s
    WHERE s.community_id = $1 AND s.plate = n.plate
      AND (s.entered_at, s.entered_gateway, s.entered_epoch, s.entered_seq) < (n.at, n.gateway_id, n.epoch, n.seq)
    ORDER BY s.entered_at DESC, s.entered_gateway DESC, s.entered_epoch DESC, s.entered_seq DESC LIMIT 1
) s ON true
CROSS JOIN LATERAL (
    SELECT s.entered_at AS at, s.entered_gateway AS gateway, s.entered_epoch AS epoch, s.entered_seq AS seq,
           true AS inside, s.entered_passage AS passage
    WHERE s.entered_at IS NOT NULL
    UNION ALL
    SELECT o.at, o.gateway_id, o.epoch, o.seq, o.inside, o.passage_id FROM movement o
    WHERE o.community_id = $1 AND o.plate = n.plate
      AND (s.entered_at IS NULL OR (o.at, o.gateway_id, o.epoch, o.seq)
                                 > (s.entered_at, s.entered_gateway, s.entered_epoch, s.entered_seq))
) m
"""
# Only what a correction began can go: an entry that a gateway saw stays one.
_REMOVE = """
DELETE FROM stay s USING unnest($2::text[], $3::timestamptz[], $4::bigint[], $5::bigint[], $6::bigint[])
    AS n(plate, at, gateway_id, epoch, seq)
WHERE s.community_id = $1 AND s.plate = n.plate AND s.entered_passage IS NULL
  AND (s.entered_at, s.entered_gateway, s.entered_epoch, s.entered_seq) >= (n.at, n.gateway_id, n.epoch, n.seq)
  AND NOT s.entered_seq = ANY($7::bigint[])
"""
# In the order of the entries: a stay is closed before the next one of its plate opens.
_WRITE = """
INSERT INTO stay AS old (community_id, plate, entered_at, entered_gateway, entered_epoch, entered_seq, entered_passage,
                         left_at, left_passage, closed_by, credential_id, visitor_pass_id, unit_id)
SELECT $1, n.plate, n.entered_at, n.gateway_id, n.epoch, n.seq, n.passage, n.left_at, n.left_passage, n.closed_by,
       h.id, h.visitor_pass_id, h.unit_id
FROM unnest($2::text[], $3::timestamptz[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[], $8::timestamptz[],
            $9::bigint[], $10::text[], $11::bigint[])
    AS n(plate, entered_at, gateway_id, epoch, seq, passage, left_at, left_passage, closed_by, credential)
LEFT JOIN LATERAL (
    SELECT c.id, c.visitor_pass_id, coalesce(r.unit_id, v.unit_id) AS unit_id FROM credential c
    LEFT JOIN resident r ON r.community_id = c.community_id AND r.id = c.resident_id
    LEFT JOIN visitor_pass v ON v.community_id = c.community_id AND v.id = c.visitor_pass_id
    WHERE c.community_id = $1 AND (c.id = n.credential OR n.passage IS NULL AND c.plate = n.plate)
    ORDER BY c.status, c.visitor_pass_id NULLS FIRST, c.id LIMIT 1
) h ON true
ORDER BY n.plate, n.entered_at, n.gateway_id, n.epoch, n.seq
ON CONFLICT ON CONSTRAINT stay_of_an_entry DO UPDATE
    SET left_at = excluded.left_at, left_passage = excluded.left_passage, closed_by = excluded.closed_by
    WHERE (old.left_at, old.left_passage, old.closed_by)
        IS DISTINCT FROM (excluded.left_at, excluded.left_passage, excluded.closed_by)
"""


async def project(pool: database.Pool, community_id: int, now: datetime) -> None:
    """Bring a community's stays up to date with all events that are stored."""
    more = True
    while more:
        async with database.in_community(pool, community_id) as connection:
            await unread_passages.enter(connection, "stays", community_id)
            more = await _project_some(connection, community_id, now)


async def _project_some(connection: Connection, community_id: int, now: datetime) -> bool:
    """Take the next batch of events; tell whether there are more."""
    passages = await connection.fetch(_NEW, community_id, BATCH, now - stays.LONGEST)
    corrections = await connection.fetch(_CORRECTIONS, community_id, BATCH)
    found = [
        (row["plate"], Movement(*(row[name] for name in ("at", "gateway_id", "epoch", "seq", "inside", "passage"))))
        for row in passages
        if row["seq"] is not None
    ]
    found += [(row["plate"], Movement(row["at"], 0, 0, row["seq"], row["inside"])) for row in corrections]
    if found:
        credentials = {row["passage"]: row["credential"] for row in passages}
        await _apply(connection, community_id, found, credentials, now)
    read = unread_passages.marks(passages)
    if corrections:
        read[0] = (0, corrections[-1]["seq"])
    await unread_passages.mark(connection, _PROGRESS, community_id, read)
    return len(corrections) == BATCH or any(row["more"] for row in passages)


async def _apply(
    connection: Connection,
    community_id: int,
    found: list[tuple[str, Movement]],
    credentials: dict[int, int | None],
    now: datetime,
) -> None:
    """Keep new movements of plates, and write the stays that they change."""
    await connection.execute(
        _REMEMBER, community_id, *_transposed((plate, *_key(move), move.inside, move.passage) for plate, move in found)
    )
    first: dict[str, Movement] = {}
    for plate, movement in found:
        first[plate] = min(movement, first.get(plate, movement))
    affected = await connection.fetch(
        _AFFECTED, community_id, *_transposed((plate, *_key(movement)) for plate, movement in first.items())
    )
    known: dict[str, list[Movement]] = defaultdict(list)
    for row in affected:
        known[row["plate"]].append(
            Movement(*(row[name] for name in ("at", "gateway", "epoch", "seq", "inside", "passage")))
        )
    made = [(plate, stay) for plate, movements in known.items() for stay in stays.stays(movements, now)]
    await connection.execute(
        _REMOVE,
        community_id,
        *_transposed((plate, *_key(min(movements))) for plate, movements in known.items()),
        [stay.entered.seq for _, stay in made if stay.entered.passage is None],
    )
    if made:
        await connection.execute(_WRITE, community_id, *_transposed(_written(made, credentials)))


def _key(movement: Movement) -> tuple[datetime, int, int, int]:
    return movement.at, movement.gateway, movement.epoch, movement.seq


def _transposed(rows: Iterable[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Return rows as the columns that a statement takes as arrays."""
    return list(zip(*rows, strict=True))


def _written(made: list[tuple[str, Stay]], credentials: dict[int, int | None]) -> Iterable[tuple[Any, ...]]:
    """Return stays as the rows that ``_WRITE`` takes."""
    return (
        (
            plate,
            *_key(stay.entered),
            stay.entered.passage,
            stay.left_at,
            stay.left_passage,
            stay.closed_by,
            credentials.get(stay.entered.passage or 0),
        )
        for plate, stay in made
    )


def worker(pool: database.Pool) -> CommunityWorker:
    """Return this server's part of the work. ``pool`` connects as the application's role."""

    async def work(community_id: int) -> None:
        await project(pool, community_id, datetime.now(UTC))

    return CommunityWorker("stays", partial(behind, pool), work)


async def behind(pool: database.Pool, communities: Collection[int] | None) -> list[int]:
    """Return which of the communities (None: of all) have events that aren't in stays, in no order."""
    async with database.as_server(pool) as connection:
        rows = await connection.fetch(_BEHIND, None if communities is None else list(communities))
    return [row["community_id"] for row in rows]
