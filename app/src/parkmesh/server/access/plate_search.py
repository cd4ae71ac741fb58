"""Plates by any part of them, of passages and stays.

``seen_plate`` holds each plate of a community once; all of them, some ten thousand, are looked through in milliseconds.
New plates are added a moment after their passages (``passage_events``), because ingestion must not wait for them.
"""

from collections.abc import Mapping

from parkmesh.domain import plates
from parkmesh.server.access.unread_passages import EVENTS
from parkmesh.server.db.database import Connection

MANY = 300
"""Up to so many plates with a part in common, an index finds what each did. More of them pass so often that a page is
full after a short look at what was latest."""

# Of each gateway by the key of its events: planned as a join, all its passages could be read.
_UNREAD = """
SELECT p.plate, p.reason, p.credential_id FROM passage p
WHERE p.community_id = $1 AND p.gateway_id = m.gateway_id
  AND (p.epoch, p.seq) > (m.old_epoch, m.old_seq) AND (p.epoch, p.seq) <= (m.epoch, m.seq)
OFFSET 0
"""
# A stay has the credential's plate where the camera misread it: see stay_projection.py.
_ADD = f"""
WITH m AS MATERIALIZED (
    SELECT m.*, coalesce(s.epoch, 0) AS old_epoch, coalesce(s.seq, 0) AS old_seq
    FROM unnest($2::bigint[], $3::bigint[], $4::bigint[]) AS m(gateway_id, epoch, seq)
    LEFT JOIN {EVENTS} s ON s.community_id = $1 AND s.gateway_id = m.gateway_id
)
INSERT INTO seen_plate (community_id, plate)
SELECT $1, a.plate
FROM (SELECT DISTINCT unnest(ARRAY[p.plate, c.plate]) AS plate
      FROM m CROSS JOIN LATERAL ({_UNREAD}) p
      LEFT JOIN credential c ON c.community_id = $1 AND p.reason <> 'exact'
          AND c.id = CASE WHEN p.credential_id ~ '^[0-9]{{1,18}}$' THEN p.credential_id::bigint END) a
WHERE a.plate <> '' AND a.plate NOT LIKE '~%'
ON CONFLICT DO NOTHING
"""  # noqa: S608 - text of this module


async def add(connection: Connection, community_id: int, read: Mapping[int, tuple[int, int]]) -> None:
    """Add the plates of the gateways' passages between their marks and those in ``read`` (as of
    ``unread_passages.marks``). The transaction holds a lock of the community that ``erase_passages`` takes."""
    epochs, seqs = zip(*read.values(), strict=True)
    await connection.execute(_ADD, community_id, list(read), epochs, seqs)


def part_of_plate(text: str) -> str | None:
    """Return the entered part of a plate in the spelling of plates; None where no plate can contain it."""
    kept = text.strip().upper()
    return kept if len(kept) == 1 and kept.isascii() and kept.isalnum() else plates.normalise(text)


# What was stored a moment ago and isn't added yet is looked through as it is.
_FEW = f"""
WITH m AS MATERIALIZED (
    SELECT g.id AS gateway_id, g.epoch, g.acked AS seq, coalesce(s.epoch, 0) AS old_epoch, coalesce(s.seq, 0) AS old_seq
    FROM gateway g LEFT JOIN {EVENTS} s ON s.community_id = $1 AND s.gateway_id = g.id
    WHERE g.community_id = $1 AND (g.epoch, g.acked) > (coalesce(s.epoch, 0), coalesce(s.seq, 0))
)
SELECT plate FROM seen_plate WHERE community_id = $1 AND strpos(plate, $2) > 0
UNION
SELECT p.plate FROM m CROSS JOIN LATERAL ({_UNREAD}) p WHERE strpos(p.plate, $2) > 0 AND p.plate NOT LIKE '~%'
LIMIT $3
"""  # noqa: S608 - text of this module


async def few_with(connection: Connection, community_id: int, part: str) -> list[str] | None:
    """Return the plates that contain ``part`` (as of ``part_of_plate``), in no order; None where they are many."""
    rows = await connection.fetch(_FEW, community_id, part, MANY + 1)
    return [row["plate"] for row in rows] if len(rows) <= MANY else None
