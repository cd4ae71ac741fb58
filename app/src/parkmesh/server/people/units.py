"""Units of a community: the dwellings that residents belong to, with their lots and how many plates they may hold.

Connections are inside ``database.in_community``.
"""

import dataclasses
import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import asyncpg

from parkmesh.server import audit
from parkmesh.server.db import keyset
from parkmesh.server.db.database import Connection
from parkmesh.server.http import problems
from parkmesh.server.http.problems import Problem
from parkmesh.server.identity.principals import Principal

PLATE_LIMIT = 10
"""How many plates a unit may hold where nobody said."""


@dataclass(frozen=True, slots=True)
class Named:
    """A unit by its name; with ``make`` it is made where the community has none of that name."""

    name: str
    make: bool = False


@dataclass(frozen=True, slots=True)
class UnitResident:
    """A resident of a unit."""

    id: int
    name: str
    active: bool


@dataclass(frozen=True, slots=True)
class Unit:
    """A unit. ``lots`` is how many of its vehicles may be inside at once; null means the community's rule.

    ``plates`` counts the plates that its residents hold, out of ``plate_limit``.
    """

    id: int
    name: str
    lots: int | None
    plate_limit: int
    plates: int
    residents: list[UnitResident]


_COLUMNS = """
    u.id, u.name, u.lots, u.plate_limit,
    (SELECT count(*) FROM credential c JOIN resident r ON r.community_id = c.community_id AND r.id = c.resident_id
     WHERE c.community_id = u.community_id AND r.unit_id = u.id AND c.status = 'active'
       AND c.visitor_pass_id IS NULL) AS plates,
    (SELECT coalesce(json_agg(json_build_object('id', r.id, 'name', r.name, 'active', r.active)
                              ORDER BY r.name, r.id), '[]')
     FROM resident r WHERE r.community_id = u.community_id AND r.unit_id = u.id AND r.erased_at IS NULL) AS residents
"""


def _unit(row: Any) -> Unit:
    residents = [UnitResident(**item) for item in json.loads(row["residents"])]
    return Unit(row["id"], row["name"], row["lots"], row["plate_limit"], row["plates"], residents)


async def unit_of(connection: Connection, community_id: int, resident_id: int | None) -> int | None:
    """Return the id of a resident's unit."""
    found: int | None = await connection.fetchval(
        "SELECT unit_id FROM resident WHERE community_id = $1 AND id = $2", community_id, resident_id
    )
    return found


async def units_of(connection: Connection, community_id: int, residents: Collection[int]) -> dict[int, int]:
    """Return the ids of the units of several residents, without those who belong to none."""
    rows = await connection.fetch(
        "SELECT id, unit_id FROM resident WHERE community_id = $1 AND id = ANY($2) AND unit_id IS NOT NULL",
        community_id,
        list(residents),
    )
    return {row["id"]: row["unit_id"] for row in rows}


async def page(
    connection: Connection,
    community_id: int,
    *,
    limit: int,
    after: tuple[str, int] | None = None,
    way: keyset.Way = keyset.ON,
    search: str = "",
) -> list[Unit]:
    """Return units by name, those whose name contains ``search``; ``after`` is the place of the last one before."""
    rows = await connection.fetch(
        f"""
        SELECT {_COLUMNS} FROM unit u
        WHERE u.community_id = $1 AND ($2::text IS NULL OR (u.name, u.id) {way.above} ($2, $3))
          AND ($4 = '' OR strpos(lower(u.name), lower($4)) > 0)
        ORDER BY u.name {way.up}, u.id {way.up} LIMIT $5
        """,  # noqa: S608 - columns of this module
        community_id,
        *(after or (None, 0)),
        search,
        limit,
    )
    return [_unit(row) for row in rows]


async def named(connection: Connection, community_id: int, text: str, *, limit: int) -> list[tuple[int, str]]:
    """Return id and name of units whose name contains ``text``: first the exact name, then names that differ from
    ``text`` in capitals only, then the shortest names."""
    rows = await connection.fetch(
        """
        SELECT id, name FROM unit WHERE community_id = $1 AND strpos(lower(name), lower($2)) > 0
        ORDER BY name <> $2, lower(name) <> lower($2), length(name), name LIMIT $3
        """,
        community_id,
        text,
        limit,
    )
    return [(row["id"], row["name"]) for row in rows]


async def get(connection: Connection, community_id: int, unit_id: int, *, lock: bool = False) -> Unit:
    """Return a unit, locked for a change where asked; raise ``Problem`` 404."""
    if lock:
        await connection.execute(
            "SELECT FROM unit WHERE community_id = $1 AND id = $2 FOR UPDATE", community_id, unit_id
        )
    row = await connection.fetchrow(
        f"SELECT {_COLUMNS} FROM unit u WHERE u.community_id = $1 AND u.id = $2",  # noqa: S608 - columns of this module
        community_id,
        unit_id,
    )
    if row is None:
        raise problems.not_found()
    return _unit(row)


async def create(
    connection: Connection, principal: Principal, community_id: int, name: str, lots: int | None, plate_limit: int
) -> Unit:
    """Add a unit; raise ``Problem`` 409 where the name is taken."""
    try:
        async with connection.transaction():
            unit_id: int = await connection.fetchval(
                "INSERT INTO unit (community_id, name, lots, plate_limit) VALUES ($1, $2, $3, $4) RETURNING id",
                community_id,
                name,
                lots,
                plate_limit,
            )
    except asyncpg.UniqueViolationError:
        raise _taken() from None
    await audit.record(
        connection,
        principal,
        community_id,
        "unit.create",
        f"unit/{unit_id}",
        {"lots": lots, "plate_limit": plate_limit},
    )
    return await get(connection, community_id, unit_id)


async def id_of(connection: Connection, principal: Principal, community_id: int, unit: Named) -> int:
    """Return the id of the unit of exactly this name, made here if it may be; raise ``Problem`` 422 where there is
    none."""
    query = "SELECT id FROM unit WHERE community_id = $1 AND name = $2"
    found: int | None = await connection.fetchval(query, community_id, unit.name)
    if found is not None:
        return found
    if not unit.make:
        raise Problem(
            422,
            "unit: the community has no such unit: make it first, or ask for it to be made with make_unit",
            kind="no-such-unit",
        )
    return (await create(connection, principal, community_id, unit.name, None, PLATE_LIMIT)).id


async def change(
    connection: Connection, principal: Principal, community_id: int, unit: Unit, changes: dict[str, Any]
) -> Unit:
    """Change ``name``, ``lots`` or ``plate_limit`` of a unit that is locked; raise ``Problem`` 409 where the name is
    taken."""
    wanted = dataclasses.replace(unit, **changes)
    if wanted == unit:
        return unit
    try:
        async with connection.transaction():
            await connection.execute(
                "UPDATE unit SET name = $3, lots = $4, plate_limit = $5 WHERE community_id = $1 AND id = $2",
                community_id,
                unit.id,
                wanted.name,
                wanted.lots,
                wanted.plate_limit,
            )
    except asyncpg.UniqueViolationError:
        raise _taken() from None
    await audit.record(connection, principal, community_id, "unit.change", f"unit/{unit.id}", changes)
    return wanted


async def delete(connection: Connection, principal: Principal, community_id: int, unit_id: int) -> None:
    """Delete a unit to which nothing belongs any more; raise ``Problem`` 409 where something does."""
    await connection.execute(
        """
        DELETE FROM invitation WHERE community_id = $1 AND unit_id = $2
          AND (accepted_at IS NOT NULL OR revoked_at IS NOT NULL OR expires_at < now())
        """,
        community_id,
        unit_id,
    )
    try:
        async with connection.transaction():
            await connection.execute("DELETE FROM unit WHERE community_id = $1 AND id = $2", community_id, unit_id)
    except asyncpg.ForeignKeyViolationError:
        raise Problem(
            409, "People, invitations, spaces or visits still belong to this unit. Move them first.", kind="in-use"
        ) from None
    await audit.record(connection, principal, community_id, "unit.delete", f"unit/{unit_id}")


def _taken() -> Problem:
    return Problem(409, "The community has a unit of this name already.", kind="taken")
