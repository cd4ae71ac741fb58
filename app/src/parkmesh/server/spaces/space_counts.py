"""How full a community is by its sensors: free, occupied and unknown spaces by level and by kind."""

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from parkmesh.server.db.database import Connection
from parkmesh.server.spaces import counters, spaces
from parkmesh.server.spaces.counters import Counter

Kind = Literal["every", "assigned", "shared", "visitor", "ev", "accessible"]


@dataclass(frozen=True)
class Counts:
    """``unknown``: spaces without a sensor's report, or whose sensor reports that it doesn't know, and for residents
    all spaces that are assigned to others."""

    free: int
    occupied: int
    unknown: int


@dataclass(frozen=True, kw_only=True)
class CountsByKind:
    """``every`` counts each space once, and so do ``assigned``, ``shared`` and ``visitor`` together. Spaces for
    electric vehicles also count in ``ev``, accessible spaces in ``accessible``."""

    every: Counts
    assigned: Counts
    shared: Counts
    visitor: Counts
    ev: Counts
    accessible: Counts


@dataclass(frozen=True, kw_only=True)
class LevelCounts(CountsByKind):
    """The counts of one level; ``ordinal`` is its place in the order of levels, lowest first."""

    level: str
    ordinal: int


@dataclass(frozen=True)
class CommunityCounts:
    """``levels`` are all levels, lowest first, levels without spaces too. ``heard_at`` is when a gateway of the
    community was last heard; spaces of gateways that are silent count as unknown. ``counters`` are those at the ways in
    and out; residents are told none, since a small one tells who comes and goes."""

    community: CountsByKind
    levels: list[LevelCounts]
    heard_at: datetime | None
    counters: list[Counter]


_COUNTS = f"""
SELECT s.level, k.kind, CASE WHEN o.shown THEN {spaces.STATUS} ELSE 'unknown' END AS status, count(*) AS spaces
FROM space s {spaces.STATE} {spaces.HELD}
CROSS JOIN LATERAL (SELECT $2::bigint IS NULL OR {spaces.CATEGORY} <> 'assigned' OR a.unit_id = $2 AS shown) o
CROSS JOIN LATERAL unnest(
    ARRAY['every', {spaces.CATEGORY}, CASE WHEN {spaces.EV} THEN 'ev' END,
          CASE WHEN {spaces.ACCESSIBLE} THEN 'accessible' END]) AS k(kind)
WHERE s.community_id = $1 AND k.kind IS NOT NULL GROUP BY 1, 2, 3
"""  # noqa: S608 - columns of another module
_LEVELS = "SELECT name, ordinal FROM level WHERE community_id = $1 ORDER BY ordinal, id"

_Found = defaultdict[tuple[str | None, str, str], int]


async def count(connection: Connection, community_id: int, *, unit_seen: int | None = None) -> CommunityCounts:
    """Count the spaces of a community; ``connection`` is inside ``database.in_community``.

    Where ``unit_seen`` is given, spaces whose state ``spaces.get`` would not show count as unknown: a difference of two
    counts would tell the state of a single one.
    """
    found: _Found = defaultdict(int)
    for row in await connection.fetch(_COUNTS, community_id, unit_seen):
        for level in (row["level"], None):
            found[level, row["kind"], row["status"]] += row["spaces"]
    levels = await connection.fetch(_LEVELS, community_id)
    return CommunityCounts(
        CountsByKind(**_by_kind(found, None)),
        [LevelCounts(level=row["name"], ordinal=row["ordinal"], **_by_kind(found, row["name"])) for row in levels],
        await spaces.heard_at(connection, community_id),
        await counters.all_of(connection, community_id) if unit_seen is None else [],
    )


def _by_kind(found: _Found, level: str | None) -> dict[Kind, Counts]:
    """Return the counts of a level (None: of all)."""

    def counts(kind: Kind) -> Counts:
        return Counts(found[level, kind, "free"], found[level, kind, "occupied"], found[level, kind, "unknown"])

    kinds: tuple[Kind, ...] = ("every", "assigned", "shared", "visitor", "ev", "accessible")
    return {kind: counts(kind) for kind in kinds}
