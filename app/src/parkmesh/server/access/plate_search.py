"""Plates by any part of them, of passages and stays.

``plate_part`` holds each plate under each of its endings (a trigger adds those that are new): a part is the beginning
of an ending, so a range of its key finds it. Comparisons are leakproof, so the key serves below row-level security.
"""

from parkmesh.domain import plates
from parkmesh.server.db.database import Connection

MANY = 300
"""Up to so many plates with a part in common, an index finds what each did. More of them pass so often that a page is
full after a short look at what was latest."""


def part_of_plate(text: str) -> str | None:
    """Return the entered part of a plate in the spelling of plates; None where no plate can contain it."""
    kept = text.strip().upper()
    return kept if len(kept) == 1 and kept.isascii() and kept.isalnum() else plates.normalise(text)


async def few_with(connection: Connection, community_id: int, part: str) -> list[str] | None:
    """Return the plates that contain ``part`` (as of ``part_of_plate``), in no order; None where they are many."""
    rows = await connection.fetch(
        """
        SELECT DISTINCT plate FROM plate_part WHERE community_id = $1 AND part >= $2 AND part < $3 LIMIT $4
        """,
        community_id,
        part,
        part[:-1] + chr(ord(part[-1]) + 1),
        MANY + 1,
    )
    return [row["plate"] for row in rows] if len(rows) <= MANY else None
