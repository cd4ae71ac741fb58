"""What units did: their visitors' nights, and the spaces that they shared."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from parkmesh.domain import days
from parkmesh.domain.windows import Window, intersect
from parkmesh.server.db.database import Connection
from parkmesh.server.reports.asked import Asked


@dataclass(frozen=True, slots=True)
class UnitVisitors:
    """``passes`` are a unit's visitor passes that held on these days. ``nights`` are the nights that its visitors' cars
    were inside at 4 in the morning, added up; a night belongs to the day on which it ends."""

    unit: str
    passes: int
    nights: int


@dataclass(frozen=True, slots=True)
class SharingUse:
    """How long units offered a space to others, and how much of that was booked, also for the days to come."""

    space: str
    offered_minutes: int
    booked_minutes: int


async def visitors(connection: Connection, asked: Asked) -> list[UnitVisitors]:
    """Return the units that had visitors, by name."""
    window = asked.window
    passes = await connection.fetch(
        """
        SELECT u.name AS unit, count(*) AS passes FROM visitor_pass v
        JOIN unit u ON u.community_id = v.community_id AND u.id = v.unit_id
        WHERE v.community_id = $1 AND v.starts_at < $3 AND least(v.ends_at, v.cancelled_at) > $2
          AND (v.cancelled_at IS NULL OR v.cancelled_at > v.starts_at)
        GROUP BY u.name
        """,
        asked.community_id,
        window.start,
        window.end,
    )
    stays = await connection.fetch(
        """
        SELECT u.name AS unit, s.entered_at, s.left_at FROM stay s
        JOIN unit u ON u.community_id = s.community_id AND u.id = s.unit_id
        WHERE s.community_id = $1 AND s.visitor_pass_id IS NOT NULL
          AND s.entered_at < $3 AND (s.left_at IS NULL OR s.left_at > $2)
        """,
        asked.community_id,
        window.start,
        window.end,
    )
    nights: dict[str, int] = defaultdict(int)
    for stay in stays:
        stayed = stay["entered_at"], stay["left_at"] or asked.now
        nights[stay["unit"]] += days.nights(*stayed, asked.first, asked.last, asked.zone)
    made = {row["unit"]: row["passes"] for row in passes}
    return [UnitVisitors(unit, made.get(unit, 0), nights.get(unit, 0)) for unit in sorted({*made, *nights})]


async def sharing(connection: Connection, asked: Asked) -> list[SharingUse]:
    """Return the spaces that were shared, by name."""
    window = asked.window
    place = (asked.community_id, window.start, window.end)
    offered = _by_space(await connection.fetch(_TIMES.format(table="shared_window", only="true"), *place))
    booked = _by_space(await connection.fetch(_TIMES.format(table="booking", only="t.status = 'active'"), *place))
    found = []
    for space, windows in sorted(offered.items()):
        within = intersect(windows, [window])
        found.append(SharingUse(space, _minutes(within), _minutes(intersect(within, booked.get(space, [])))))
    return found


_TIMES = """
SELECT s.name AS space, t.starts_at, t.ends_at FROM {table} t
JOIN space s ON s.community_id = t.community_id AND s.id = t.space_id
WHERE t.community_id = $1 AND t.starts_at < $3 AND t.ends_at > $2 AND {only}
"""


def _by_space(rows: Iterable[Any]) -> dict[str, list[Window]]:
    found: dict[str, list[Window]] = defaultdict(list)
    for row in rows:
        found[row["space"]].append(Window(row["starts_at"], row["ends_at"]))
    return found


def _minutes(windows: Iterable[Window]) -> int:
    return sum((window.length for window in windows), timedelta()) // timedelta(minutes=1)
