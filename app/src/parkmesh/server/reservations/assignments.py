"""Assignments: which unit a space belongs to, and from when until when.

Connections are inside ``database.in_community``. What a unit shares of its space is shared only while the space is its
own, so every change goes through ``sharing.rewrite``: it refuses what would leave a booking without its space.
"""

from datetime import datetime

from msgspec import Struct

from parkmesh.server import audit
from parkmesh.server.db.database import Connection
from parkmesh.server.http import problems
from parkmesh.server.http.problems import Problem
from parkmesh.server.identity.principals import Principal
from parkmesh.server.reservations import overlaps, sharing, space_turns
from parkmesh.server.reservations.space_turns import Turn
from parkmesh.server.spaces import spaces


class Assignment(Struct, frozen=True):
    """``until`` None: until further notice."""

    id: int
    space: str
    unit: str
    unit_id: int
    from_: datetime
    until: datetime | None


_ASSIGNMENT = """
    SELECT a.id, s.name AS space, u.name AS unit, a.unit_id, a.starts_at AS from_, a.ends_at AS until
    FROM space_assignment a
    JOIN space s ON s.community_id = a.community_id AND s.id = a.space_id
    JOIN unit u ON u.community_id = a.community_id AND u.id = a.unit_id
    WHERE a.community_id = $1
"""
_CONFLICTING = """
    SELECT starts_at, ends_at FROM space_assignment
    WHERE community_id = $1 AND space_id = $2 AND id <> $5 AND ($4::timestamptz IS NULL OR starts_at < $4)
      AND (ends_at IS NULL OR ends_at > $3)
    ORDER BY starts_at LIMIT 1
"""


async def page(
    connection: Connection,
    community_id: int,
    *,
    limit: int,
    after: tuple[str, datetime] | None = None,
    unit_id: int | None = None,
    space: str | None = None,
) -> list[Assignment]:
    """Return assignments by space and time, of one unit or one space only where given; ``after`` is
    ``(space, from_)`` of the last one before."""
    rows = await connection.fetch(
        f"""
        {_ASSIGNMENT} AND ($2::text IS NULL OR (s.name, a.starts_at) > ($2, $3))
          AND ($4::bigint IS NULL OR a.unit_id = $4) AND ($5::text IS NULL OR s.name = $5)
        ORDER BY s.name, a.starts_at LIMIT $6
        """,
        community_id,
        *(after or (None, None)),
        unit_id,
        space,
        limit,
    )
    return [Assignment(**row) for row in rows]


async def get(
    connection: Connection, community_id: int, assignment_id: int, *, unit_id: int | None = None
) -> Assignment:
    """Return an assignment, of ``unit_id`` only where given; raise ``Problem`` 404."""
    row = await connection.fetchrow(
        f"{_ASSIGNMENT} AND a.id = $2 AND ($3::bigint IS NULL OR a.unit_id = $3)",
        community_id,
        assignment_id,
        unit_id,
    )
    if row is None:
        raise problems.not_found()
    return Assignment(**row)


async def create(
    connection: Connection,
    principal: Principal,
    community_id: int,
    space: str,
    unit_id: int,
    from_: datetime,
    until: datetime | None,
    now: datetime,
    turn: Turn | None = None,
) -> Assignment:
    """Give a space to a unit; raise ``Problem`` 409 where it has it, or another one, in that time.

    ``turn`` is how the unit comes to it by the waiting list; without one, ``space_turns.given`` refuses what would jump
    the line.
    """
    held = await spaces.lock(connection, community_id, space)
    if held.category != "assigned":
        raise Problem(409, "Only a space of the category assigned can belong to a unit.", kind="category")
    async with overlaps.refused(connection, _CONFLICTING, community_id, held.id, from_, until, 0):
        assignment_id: int = await connection.fetchval(
            """
            INSERT INTO space_assignment (community_id, space_id, unit_id, starts_at, ends_at)
            VALUES ($1, $2, $3, $4, $5) RETURNING id
            """,
            community_id,
            held.id,
            unit_id,
            from_,
            until,
        )
    await sharing.rewrite(connection, community_id, held.id, now, strict=True)
    made = await get(connection, community_id, assignment_id)
    await _record(connection, principal, community_id, "create", made)
    await space_turns.given(connection, principal, community_id, held.id, unit_id, turn, now, for_good=until is None)
    return made


async def hold(connection: Connection, community_id: int, assignment_id: int) -> Assignment:
    """Return an assignment whose space is held for the rest of the transaction; raise ``Problem`` 404."""
    before = await get(connection, community_id, assignment_id)
    await spaces.lock(connection, community_id, before.space)
    return await get(connection, community_id, assignment_id)


async def change(
    connection: Connection,
    principal: Principal,
    community_id: int,
    assignment: Assignment,
    from_: datetime,
    until: datetime | None,
    now: datetime,
) -> Assignment:
    """Change the time of an assignment that is held; raise ``Problem`` 409 where it overlaps another, where there is a
    booking in the time that is given up, or as ``create`` does."""
    held = await spaces.lock(connection, community_id, assignment.space)
    async with overlaps.refused(connection, _CONFLICTING, community_id, held.id, from_, until, assignment.id):
        await connection.execute(
            "UPDATE space_assignment SET starts_at = $3, ends_at = $4 WHERE community_id = $1 AND id = $2",
            community_id,
            assignment.id,
            from_,
            until,
        )
    await sharing.rewrite(connection, community_id, held.id, now, strict=True)
    changed = await get(connection, community_id, assignment.id)
    await _record(connection, principal, community_id, "change", changed)
    if until is None or until > now:
        await space_turns.given(
            connection, principal, community_id, held.id, changed.unit_id, None, now, for_good=until is None
        )
    return changed


async def delete(
    connection: Connection, principal: Principal, community_id: int, assignment: Assignment, now: datetime
) -> None:
    """Take a space from a unit; raise ``Problem`` 409 where there is a booking in a window that the unit shared."""
    held = await spaces.lock(connection, community_id, assignment.space)
    await connection.execute(
        "DELETE FROM space_assignment WHERE community_id = $1 AND id = $2", community_id, assignment.id
    )
    await sharing.rewrite(connection, community_id, held.id, now, strict=True)
    await _record(connection, principal, community_id, "delete", assignment)


async def _record(
    connection: Connection, principal: Principal, community_id: int, verb: str, assignment: Assignment
) -> None:
    detail = {
        "space": assignment.space,
        "unit": assignment.unit,
        "from": assignment.from_.isoformat(),
        "until": assignment.until and assignment.until.isoformat(),
    }
    await audit.record(connection, principal, community_id, f"assignment.{verb}", f"assignment/{assignment.id}", detail)
