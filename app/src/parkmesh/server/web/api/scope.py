"""Whose things somebody sees and acts for: residents their unit's, staff everybody's."""

from parkmesh.server.db.database import Connection
from parkmesh.server.http import problems
from parkmesh.server.http.problems import Problem
from parkmesh.server.identity.principals import Membership, Role
from parkmesh.server.people import units


async def unit_seen(connection: Connection, member: Membership) -> int | None:
    """Return the unit whose things the member sees; None: all units', 0: none."""
    if member.role is not Role.RESIDENT:
        return None
    return await units.unit_of(connection, member.community_id, member.resident_id) or 0


async def unit_acting(connection: Connection, member: Membership, asked: int | None) -> int:
    """Return the unit that the member acts for: a resident's own, for staff the one that is asked for.

    Raises ``Problem`` 422 where staff names none, 404 for a unit that isn't the resident's or that there isn't, 403 for
    a resident without a unit.
    """
    if member.role is Role.RESIDENT:
        own = await units.unit_of(connection, member.community_id, member.resident_id)
        if own is None:
            raise Problem(403, "You belong to no unit. Ask the community's administrators.", kind="no-unit")
        if asked not in (None, own):
            raise problems.not_found()
        return own
    if asked is None:
        raise Problem(422, "unit_id: say for which unit", kind="invalid")
    return (await units.get(connection, member.community_id, asked)).id
