"""Levels and spaces: where cars stand, what each space is for, and its place on the map.

Connections are inside ``database.in_community``. A space is known to the outside by its name (sensors and signs carry
it), a level by its id.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

import asyncpg
import msgspec
from msgspec import Struct

from parkmesh.server import audit
from parkmesh.server.db import keyset
from parkmesh.server.db.database import Connection
from parkmesh.server.http import problems
from parkmesh.server.http.problems import Problem
from parkmesh.server.identity.principals import Principal

Category = Literal["assigned", "shared", "visitor"]
"""Who may use a space: the unit that it is assigned to, the resident who books it, or a visitor whose pass names it."""
Status = Literal["free", "occupied", "unknown"]
FRESH = timedelta(hours=24)
"""How long what a sensor said of a space is believed: sensors report at least once a day."""
MAX_EXTENT = 100_000
"""The largest coordinate of a map, in its own units."""


@dataclass(frozen=True, slots=True)
class Level:
    """A level. ``width`` and ``height`` are the extent of its map, null without a map; ``spaces`` is the number of its
    spaces."""

    id: int
    name: str
    ordinal: int
    width: float | None
    height: float | None
    spaces: int


@dataclass(frozen=True, slots=True)
class Geometry:
    """A rectangle on the level's map, in the map's units.

    ``x`` and ``y`` are the corner with the smallest values. ``rotation`` turns the rectangle about its centre, in
    degrees clockwise.
    """

    x: float
    y: float
    w: float
    h: float
    rotation: float


class Attributes(Struct, frozen=True):
    """What staff decides about a space."""

    level: str
    category: Category
    ev: bool = False
    accessible: bool = False
    geometry: Geometry | None = None


class Space(Struct, frozen=True, gc=False):
    """``status`` is ``unknown`` while the gateway of the space's sensor is silent. ``since`` is when the state began,
    by the gateway's clock, None while it is unknown for that reason or never reported; ``reported_at`` is the time of
    the sensor's last report.

    ``unit`` is the unit that it is assigned to now, as far as the asker may know. Of a space that is assigned to others
    a neighbour isn't told the state: it says who is at home.
    """

    id: int
    name: str
    level: str
    category: Category
    ev: bool
    accessible: bool
    geometry: Geometry | None
    status: Status
    since: datetime | None
    reported_at: datetime | None = None
    unit: str | None = None

    @property
    def attributes(self) -> Attributes:
        return Attributes(self.level, self.category, self.ev, self.accessible, self.geometry)


class Locked(Struct, frozen=True):
    """A space whose row this transaction holds: no other transaction changes who has it when."""

    id: int
    name: str
    category: Category
    accessible: bool


# The desired state of a community may use a kind of space as its category: words of releases before this one.
CATEGORY = """(CASE WHEN s.category IN ('assigned', 'visitor') THEN s.category
                     WHEN s.category IN ('shared', 'ev', 'accessible') THEN 'shared' ELSE 'assigned' END)"""
EV = "(s.ev OR s.category = 'ev')"
ACCESSIBLE = "(s.accessible OR s.category = 'accessible')"
SILENT_AFTER = "interval '5 minutes'"
"""A gateway that was not heard of for longer is silent: what it said of spaces may have changed since."""
HEARD = f"greatest(w.last_heartbeat_at, w.last_events_at) > now() - {SILENT_AFTER}"
"""Whether the gateway ``w`` was heard of lately; null for one that never was."""
STATUS = f"(CASE WHEN {HEARD} THEN t.status ELSE 'unknown' END)"
SINCE = f"(CASE WHEN {HEARD} THEN t.changed_at END)"
COLUMNS = f"""
    s.id, s.name, s.level, {CATEGORY} AS category, {EV} AS ev, {ACCESSIBLE} AS accessible, s.x, s.y, s.w, s.h,
    s.rotation, {STATUS} AS status, {SINCE} AS since, t.received_at AS reported_at
"""
STATE = """
LEFT JOIN space_state t ON t.community_id = s.community_id AND t.space_id = s.id
LEFT JOIN gateway w ON w.community_id = t.community_id AND w.id = t.gateway_id
"""
_NOW = """
    a.community_id = s.community_id AND a.space_id = s.id AND a.starts_at <= now()
    AND (a.ends_at IS NULL OR a.ends_at > now())
"""
HELD = f"LEFT JOIN space_assignment a ON {_NOW}"
"""The unit that has the space ``s`` now: ``a.unit_id``."""
# $2: null for all units' names, else the only unit whose name is shown.
_UNIT = f"""
    (SELECT u.name FROM space_assignment a JOIN unit u ON u.community_id = a.community_id AND u.id = a.unit_id
     WHERE {_NOW} AND ($2::bigint IS NULL OR a.unit_id = $2))
"""  # noqa: S608 - text of this module


def shows_state(unit_seen: int | None, category: str, unit_id: int | None) -> bool:
    """Tell whether one who sees this unit (None: all units, 0: none) is told the state of a space of this category that
    is assigned to ``unit_id`` now."""
    return unit_seen is None or category != "assigned" or unit_id == unit_seen


def from_row(row: Any) -> Space:
    """Return the space that a row of ``COLUMNS``, and of the unit after them where it is read, is."""
    identity, name, level, category, ev, accessible, x, y, w, h, rotation, status, since, reported_at, *unit = row
    geometry = None if x is None else Geometry(x, y, w, h, rotation)
    return Space(identity, name, level, category, ev, accessible, geometry, status, since, reported_at, *unit)


def _seen(row: Any, unit_seen: int | None) -> Space:
    """Return the space of a row of ``COLUMNS`` and ``_UNIT``, as one who sees this unit is shown it."""
    space = from_row(row)
    if unit_seen is None or space.category != "assigned" or space.unit is not None:
        return space
    return msgspec.structs.replace(space, status="unknown", since=None, reported_at=None)


async def heard_at(connection: Connection, community_id: int) -> datetime | None:
    """Return when a gateway of the community was last heard; None where none ever was."""
    found: datetime | None = await connection.fetchval(
        "SELECT max(greatest(last_heartbeat_at, last_events_at)) FROM gateway WHERE community_id = $1", community_id
    )
    return found


# Two statements, for one that leaves the unit out where its parameter is null is planned anew each time.
_ALL = f"SELECT {COLUMNS} FROM space s {STATE} WHERE s.community_id = $1 ORDER BY s.level, s.name"  # noqa: S608
_ALL_WITH_UNIT = f"""
SELECT {COLUMNS}, {_UNIT} AS unit FROM space s {STATE} WHERE s.community_id = $1 ORDER BY s.level, s.name
"""  # noqa: S608 - columns of this module


async def all_of(connection: Connection, community_id: int, *, unit_seen: int | None = None) -> list[Space]:
    """Return all spaces of a community with their states, by level and name; the unit is told only where ``unit_seen``
    is given (see ``get``)."""
    if unit_seen is None:
        return [from_row(row) for row in await connection.fetch(_ALL, community_id)]
    rows = await connection.fetch(_ALL_WITH_UNIT, community_id, unit_seen)
    return [_seen(row, unit_seen) for row in rows]


async def page(
    connection: Connection,
    community_id: int,
    *,
    limit: int,
    after: str | None = None,
    way: keyset.Way = keyset.ON,
    unit_seen: int | None = None,
    level: str | None = None,
    category: Category | None = None,
    ev: bool | None = None,
    accessible: bool | None = None,
) -> list[Space]:
    """Return spaces by name; ``after`` is the name of the last one before. ``unit_seen``: see ``get``."""
    rows = await connection.fetch(
        f"""
        SELECT {COLUMNS}, {_UNIT} AS unit FROM space s {STATE}
        WHERE s.community_id = $1 AND ($3::text IS NULL OR s.name {way.above} $3) AND ($4::text IS NULL OR s.level = $4)
          AND ($5::text IS NULL OR {CATEGORY} = $5) AND ($6::boolean IS NULL OR {EV} = $6)
          AND ($7::boolean IS NULL OR {ACCESSIBLE} = $7)
        ORDER BY s.name {way.up} LIMIT $8
        """,  # noqa: S608 - columns of this module
        community_id,
        unit_seen,
        after,
        level,
        category,
        ev,
        accessible,
        limit,
    )
    return [_seen(row, unit_seen) for row in rows]


async def get(connection: Connection, community_id: int, name: str, *, unit_seen: int | None = None) -> Space:
    """Return a space; raise ``Problem`` 404.

    Where ``unit_seen`` is given (0: no unit), no other unit's name is shown, nor the state of a space that is assigned
    to another unit or to none.
    """
    row = await connection.fetchrow(
        f"SELECT {COLUMNS}, {_UNIT} AS unit FROM space s {STATE} WHERE s.community_id = $1 AND s.name = $3",  # noqa: S608 - columns of this module
        community_id,
        unit_seen,
        name,
    )
    if row is None:
        raise problems.not_found()
    return _seen(row, unit_seen)


async def lock(connection: Connection, community_id: int, space: str | int) -> Locked:
    """Hold a space, by name or id, for the rest of the transaction; raise ``Problem`` 404.

    Every change of who has the space when calls this first (after it held a unit, where it does). Events of gateways
    pass: they refer to the space and don't change it.
    """
    row = await connection.fetchrow(
        f"""
        SELECT s.id, s.name, {CATEGORY} AS category, {ACCESSIBLE} AS accessible FROM space s
        WHERE s.community_id = $1 AND {"s.name" if isinstance(space, str) else "s.id"} = $2 FOR NO KEY UPDATE
        """,  # noqa: S608 - columns of this module
        community_id,
        space,
    )
    if row is None:
        raise problems.not_found()
    return Locked(**row)


async def create(
    connection: Connection, principal: Principal, community_id: int, name: str, wanted: Attributes
) -> Space:
    """Add a space, and the level that it names if it is new; raise ``Problem`` 409 where the name is taken."""
    try:
        async with connection.transaction():
            await connection.execute(
                """
                INSERT INTO space (community_id, name, level, category, ev, accessible, x, y, w, h, rotation)
                VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
                """,
                community_id,
                name,
                *_values(wanted),
            )
    except asyncpg.UniqueViolationError:
        raise Problem(409, "The community has a space of this name already.", kind="taken") from None
    made = await get(connection, community_id, name)
    await audit.record(
        connection, principal, community_id, "space.create", f"space/{made.id}", msgspec.to_builtins(wanted)
    )
    await _tell(connection, community_id)
    return made


async def change(
    connection: Connection, principal: Principal, community_id: int, name: str, wanted: Attributes, now: datetime
) -> Space:
    """Give a space its attributes; raise ``Problem`` 409 where its category changes while it is assigned or booked."""
    held = await lock(connection, community_id, name)
    if wanted.category != held.category:
        await _check_unused(connection, community_id, held.id, now)
    await connection.execute(
        """
        UPDATE space SET level = $3, category = $4, ev = $5, accessible = $6, x = $7, y = $8, w = $9, h = $10,
            rotation = $11
        WHERE community_id = $1 AND id = $2
        """,
        community_id,
        held.id,
        *_values(wanted),
    )
    await audit.record(
        connection, principal, community_id, "space.change", f"space/{held.id}", msgspec.to_builtins(wanted)
    )
    await _tell(connection, community_id)
    return await get(connection, community_id, name)


async def delete(connection: Connection, principal: Principal, community_id: int, name: str) -> None:
    """Delete a space that was never assigned, shared or booked; raise ``Problem`` 409 for any other."""
    held = await lock(connection, community_id, name)
    try:
        async with connection.transaction():
            for table in ("space_state", "sharing_progress"):
                await connection.execute(
                    f"DELETE FROM {table} WHERE community_id = $1 AND space_id = $2",  # noqa: S608 - names from here
                    community_id,
                    held.id,
                )
            await connection.execute("DELETE FROM space WHERE community_id = $1 AND id = $2", community_id, held.id)
    except asyncpg.ForeignKeyViolationError:
        raise Problem(409, "Assignments or bookings refer to this space.", kind="in-use") from None
    await audit.record(connection, principal, community_id, "space.delete", f"space/{held.id}", {"name": name})
    await _tell(connection, community_id)


def _values(wanted: Attributes) -> tuple[Any, ...]:
    place = wanted.geometry
    geometry = (None,) * 5 if place is None else (place.x, place.y, place.w, place.h, place.rotation)
    return (wanted.level, wanted.category, wanted.ev, wanted.accessible, *geometry)


async def _check_unused(connection: Connection, community_id: int, space_id: int, now: datetime) -> None:
    used = await connection.fetchval(
        """
        SELECT EXISTS (SELECT FROM space_assignment WHERE community_id = $1 AND space_id = $2
                                                      AND (ends_at IS NULL OR ends_at > $3))
            OR EXISTS (SELECT FROM booking WHERE community_id = $1 AND space_id = $2 AND status = 'active'
                                             AND ends_at > $3)
            OR EXISTS (SELECT FROM space_request WHERE community_id = $1 AND space_id = $2 AND state = 'offered')
        """,
        community_id,
        space_id,
        now,
    )
    if used:
        raise Problem(
            409, "The space is assigned, booked or offered; its category can't change before that ends.", kind="in-use"
        )


async def _tell(connection: Connection, community_id: int) -> None:
    await connection.execute("SELECT pg_notify('parkmesh_live', $1)", f"{community_id}:s")


_LEVEL = """
    l.id, l.name, l.ordinal, l.width, l.height,
    (SELECT count(*) FROM space s WHERE s.community_id = l.community_id AND s.level = l.name) AS spaces
"""


async def levels(
    connection: Connection, community_id: int, *, limit: int, after: tuple[int, int] | None = None
) -> list[Level]:
    """Return levels, lowest first; ``after`` is ``(ordinal, id)`` of the last one before."""
    rows = await connection.fetch(
        f"""
        SELECT {_LEVEL} FROM level l WHERE l.community_id = $1 AND ($2::bigint IS NULL OR (l.ordinal, l.id) > ($2, $3))
        ORDER BY l.ordinal, l.id LIMIT $4
        """,  # noqa: S608 - columns of this module
        community_id,
        *(after or (None, 0)),
        limit,
    )
    return [Level(**row) for row in rows]


async def level(connection: Connection, community_id: int, level_id: int, *, for_change: bool = False) -> Level:
    """Return a level, held for the rest of the transaction where it is to be changed; raise ``Problem`` 404."""
    if for_change:
        await connection.execute(
            "SELECT FROM level WHERE community_id = $1 AND id = $2 FOR UPDATE", community_id, level_id
        )
    row = await connection.fetchrow(
        f"SELECT {_LEVEL} FROM level l WHERE l.community_id = $1 AND l.id = $2",  # noqa: S608 - columns of this module
        community_id,
        level_id,
    )
    if row is None:
        raise problems.not_found()
    return Level(**row)


async def create_level(
    connection: Connection,
    principal: Principal,
    community_id: int,
    name: str,
    ordinal: int,
    width: float | None,
    height: float | None,
) -> Level:
    """Add a level; raise ``Problem`` 409 where the name is taken."""
    try:
        async with connection.transaction():
            level_id: int = await connection.fetchval(
                """
                INSERT INTO level (community_id, name, ordinal, width, height) VALUES ($1, $2, $3, $4, $5) RETURNING id
                """,
                community_id,
                name,
                ordinal,
                width,
                height,
            )
    except asyncpg.UniqueViolationError:
        raise _level_taken() from None
    await audit.record(connection, principal, community_id, "level.create", f"level/{level_id}", {"name": name})
    return await level(connection, community_id, level_id)


async def change_level(
    connection: Connection,
    principal: Principal,
    community_id: int,
    level_id: int,
    name: str,
    ordinal: int,
    width: float | None,
    height: float | None,
) -> Level:
    """Change a level; its spaces follow its name. Raises ``Problem`` 404, and 409 where the name is taken."""
    try:
        async with connection.transaction():
            await connection.execute(
                "UPDATE level SET name = $3, ordinal = $4, width = $5, height = $6 WHERE community_id = $1 AND id = $2",
                community_id,
                level_id,
                name,
                ordinal,
                width,
                height,
            )
    except asyncpg.UniqueViolationError:
        raise _level_taken() from None
    await audit.record(connection, principal, community_id, "level.change", f"level/{level_id}", {"name": name})
    return await level(connection, community_id, level_id)


async def delete_level(connection: Connection, principal: Principal, community_id: int, level_id: int) -> None:
    """Delete a level; raise ``Problem`` 409 while spaces are on it."""
    try:
        async with connection.transaction():
            await connection.execute("DELETE FROM level WHERE community_id = $1 AND id = $2", community_id, level_id)
    except asyncpg.ForeignKeyViolationError:
        raise Problem(409, "There are spaces on this level. Move them first.", kind="in-use") from None
    await audit.record(connection, principal, community_id, "level.delete", f"level/{level_id}")


def _level_taken() -> Problem:
    return Problem(409, "The community has a level of this name already.", kind="taken")
