"""Permits for accessible spaces: who has one until when, and for whom such a space may be booked.

A permit is a person's, a booking a unit's: where the community asks for permits, a unit may have an accessible space
for a time if one of its people has a permit that is valid for the whole of it. What is booked already stays booked when
a permit or the rule changes. Connections are inside ``database.in_community``.
"""

from datetime import date, datetime
from zoneinfo import ZoneInfo

from msgspec import Struct

from parkmesh.server import audit
from parkmesh.server.db.database import Connection
from parkmesh.server.http import problems
from parkmesh.server.http.problems import Problem
from parkmesh.server.identity.principals import Principal

MAX_NUMBER = 60
"""Characters of a permit's number."""


class Permit(Struct, frozen=True):
    """``number`` is what is printed on it, None where it isn't entered; ``valid_until`` is its last day by the
    community's clock."""

    resident_id: int
    number: str | None
    valid_until: date


_COVERED = """
SELECT NOT EXISTS (SELECT FROM community_rules WHERE community_id = $1 AND accessible_needs_permit)
    OR EXISTS (
        SELECT FROM permit p
        JOIN resident r ON r.community_id = p.community_id AND r.id = p.resident_id
        JOIN community c ON c.id = p.community_id
        WHERE p.community_id = $1 AND r.unit_id = $2 AND r.active
          AND (p.valid_until + 1)::timestamp AT TIME ZONE c.time_zone >= $3)
"""


async def find(connection: Connection, community_id: int, resident_id: int) -> Permit | None:
    """Return a person's permit, None where there is none."""
    row = await connection.fetchrow(
        "SELECT resident_id, number, valid_until FROM permit WHERE community_id = $1 AND resident_id = $2",
        community_id,
        resident_id,
    )
    return Permit(**row) if row else None


async def get(connection: Connection, community_id: int, resident_id: int) -> Permit:
    """Return a person's permit; raise ``Problem`` 404."""
    found = await find(connection, community_id, resident_id)
    if found is None:
        raise problems.not_found()
    return found


async def put(
    connection: Connection,
    principal: Principal,
    community_id: int,
    resident_id: int,
    number: str | None,
    valid_until: date,
    now: datetime,
) -> Permit:
    """Give a person a permit in the place of the one before.

    Raises ``Problem`` 404 for a person that there isn't, 409 ``left`` for one who has left, 422 for a last day that is
    over.
    """
    active = await connection.fetchval(
        "SELECT active FROM resident WHERE community_id = $1 AND id = $2 AND erased_at IS NULL FOR NO KEY UPDATE",
        community_id,
        resident_id,
    )
    if active is None:
        raise problems.not_found()
    if not active:
        raise Problem(409, "This person has left.", kind="left")
    zone = await connection.fetchval("SELECT time_zone FROM community WHERE id = $1", community_id)
    if valid_until < now.astimezone(ZoneInfo(zone)).date():
        raise Problem(422, "valid_until: the permit has expired", kind="invalid")
    wanted = Permit(resident_id, number, valid_until)
    if await find(connection, community_id, resident_id) != wanted:
        await connection.execute(
            """
            INSERT INTO permit (community_id, resident_id, number, valid_until) VALUES ($1, $2, $3, $4)
            ON CONFLICT (community_id, resident_id)
                DO UPDATE SET number = excluded.number, valid_until = excluded.valid_until
            """,
            community_id,
            resident_id,
            number,
            valid_until,
        )
        await audit.record(connection, principal, community_id, "permit.set", f"permit/{resident_id}")
    return wanted


async def delete(connection: Connection, principal: Principal, community_id: int, resident_id: int) -> None:
    """Take a person's permit away; raise ``Problem`` 404."""
    gone = await connection.fetchval(
        "DELETE FROM permit WHERE community_id = $1 AND resident_id = $2 RETURNING true", community_id, resident_id
    )
    if not gone:
        raise problems.not_found()
    await audit.record(connection, principal, community_id, "permit.delete", f"permit/{resident_id}")


async def covers(connection: Connection, community_id: int, unit_id: int | None, until: datetime) -> bool:
    """Tell whether a unit may have accessible spaces until then; None stands for staff, who ask for no unit."""
    if unit_id is None:
        return True
    covered: bool = await connection.fetchval(_COVERED, community_id, unit_id, until)
    return covered


async def check(connection: Connection, community_id: int, unit_id: int, until: datetime) -> None:
    """Raise ``Problem`` 409 ``permit`` where a unit may have no accessible space until then."""
    if not await covers(connection, community_id, unit_id, until):
        raise Problem(
            409,
            "This space is kept for people with a permit that is valid for the whole time. Administrators enter "
            "permits on the page of each person.",
            kind="permit",
            rule="accessible_needs_permit",
        )
