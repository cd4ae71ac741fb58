"""How full a community was: cars inside by its stays, and spaces by their sensors."""

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from parkmesh.domain import days, levels
from parkmesh.domain.windows import Window
from parkmesh.server.db.database import Connection
from parkmesh.server.reports.asked import Asked

LOOK_BACK = timedelta(days=31)
"""How far back the last observation before a report's first day is looked for: they are kept no longer."""


@dataclass(frozen=True, slots=True)
class OccupancyHour:
    """An hour of the community's clock.

    ``inside_…`` count cars by the gates. ``free_avg`` is the average number of spaces that their sensors reported free;
    ``unknown_share`` (0 to 1) is the part of all spaces' time without a report. All are null for an hour that has not
    begun; one that goes on counts until now.
    """

    day: date
    hour: int
    utc_offset: str
    inside_min: int | None
    inside_max: int | None
    inside_avg: float | None
    free_avg: float | None
    unknown_share: float | None


@dataclass(frozen=True, slots=True)
class SpaceUse:
    """How long a space was occupied; ``share`` (0 to 1) is of the time in which its state was known, null where it
    never was."""

    space: str
    occupied_minutes: int
    share: float | None


@dataclass(frozen=True, slots=True)
class _Held:
    """A state that a space's sensor reported, and how long it held."""

    status: str
    window: Window


_STAYS = """
SELECT entered_at, left_at FROM stay
WHERE community_id = $1 AND entered_at < $3 AND (left_at IS NULL OR left_at > $2)
"""
# The last state before the window, and each change in it.
_STATES = """
SELECT s.name, coalesce(b.status, CASE WHEN t.received_at < $2 THEN t.status END, 'unknown') AS status, $2 AS at,
       0 AS gateway_id, 0 AS epoch, 0 AS seq
FROM space s LEFT JOIN space_state t ON t.community_id = s.community_id AND t.space_id = s.id
LEFT JOIN LATERAL (
    SELECT o.status FROM observation o
    WHERE o.community_id = $1 AND o.space_id = s.id AND o.received_at < $2 AND o.received_at >= $2 - $4::interval
    ORDER BY o.received_at DESC, o.gateway_id DESC, o.epoch DESC, o.seq DESC LIMIT 1
) b ON true
WHERE s.community_id = $1
UNION ALL
SELECT s.name, o.status, o.received_at, o.gateway_id, o.epoch, o.seq FROM (
    SELECT o.*, lag(o.status) OVER (
        PARTITION BY o.space_id ORDER BY o.received_at, o.gateway_id, o.epoch, o.seq) AS before
    FROM observation o WHERE o.community_id = $1 AND o.received_at >= $2 AND o.received_at < $3
) o JOIN space s ON s.community_id = $1 AND s.id = o.space_id
WHERE o.before IS DISTINCT FROM o.status
ORDER BY name, at, gateway_id, epoch, seq
"""


async def by_hour(connection: Connection, asked: Asked) -> list[OccupancyHour]:
    """Return each hour of the days asked for, 23 to 25 of a day."""
    whole = asked.window
    rows = await connection.fetch(_STAYS, asked.community_id, whole.start, whole.end)
    inside = [(row["entered_at"], row["left_at"] or whole.end) for row in rows]
    held = await _held(connection, asked)
    # Many spaces and days are a second's work.
    return await asyncio.to_thread(_hours, asked, [Window(*item) for item in inside if item[0] < item[1]], held)


def _hours(asked: Asked, inside: list[Window], held: dict[str, list[_Held]]) -> list[OccupancyHour]:
    hours = days.hours(asked.first, asked.last, asked.zone)
    past = [window for hour in hours if (window := asked.past(hour.window))]
    cars = levels.levels(levels.changes(inside), past)
    free = levels.levels(levels.changes(_in_state(held, "free")), past)
    unknown = levels.levels(levels.changes(_in_state(held, "unknown")), past)
    found = [
        OccupancyHour(
            hour.day,
            hour.hour,
            hour.utc_offset,
            cars[index].least,
            cars[index].most,
            round(cars[index].average, 2),
            round(free[index].average, 2),
            round(unknown[index].average / len(held), 4) if held else None,
        )
        for index, hour in enumerate(hours[: len(past)])
    ]
    # The rest has not begun.
    nothing = (None, None, None, None, None)
    return found + [OccupancyHour(hour.day, hour.hour, hour.utc_offset, *nothing) for hour in hours[len(past) :]]


def _in_state(held: dict[str, list[_Held]], status: str) -> Iterator[Window]:
    return (item.window for items in held.values() for item in items if item.status == status)


async def space_use(connection: Connection, asked: Asked) -> list[SpaceUse]:
    """Return each space, by name."""
    found = []
    for space, items in (await _held(connection, asked)).items():
        occupied = sum((item.window.length for item in items if item.status == "occupied"), timedelta())
        known = sum((item.window.length for item in items if item.status != "unknown"), timedelta())
        share = round(occupied / known, 4) if known else None
        found.append(SpaceUse(space, occupied // timedelta(minutes=1), share))
    return found


async def _held(connection: Connection, asked: Asked) -> dict[str, list[_Held]]:
    """Return the states of each space in the days asked for, until now."""
    whole = asked.past(asked.window)
    if whole is None:
        rows = await connection.fetch(
            "SELECT name FROM space WHERE community_id = $1 ORDER BY name", asked.community_id
        )
        return {row["name"]: [] for row in rows}
    rows = await connection.fetch(_STATES, asked.community_id, whole.start, whole.end, LOOK_BACK)
    said: dict[str, list[tuple[datetime, str]]] = defaultdict(list)
    for row in rows:
        said[row["name"]].append((row["at"], row["status"]))
    return {
        space: [
            _Held(status, Window(at, end))
            for (at, status), (end, _) in zip(items, [*items[1:], (whole.end, "")], strict=True)
            if at < end
        ]
        for space, items in said.items()
    }
