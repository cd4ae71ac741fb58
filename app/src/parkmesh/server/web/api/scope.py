"""The units that a member sees and acts for: residents their own unit, staff all units."""

from parkmesh.server.db.database import Connection
from parkmesh.server.http import problems
from parkmesh.server.http.problems import Problem
from parkmesh.server.identity.principals import Membership, Role
from parkmesh.server.people import units


async def unit_seen(connection: Connection, member: Membership) -> int | None:
    """Return the id of the unit that the member sees; None: all units, 0: no unit."""
    if member.role is not Role.RESIDENT:
        return None
    return await units.unit_of(connection, member.community_id, member.resident_id) or 0


async def unit_acting(connection: Connection, member: Membership, asked: int | None) -> int:
    """Return the unit that the member acts for: a resident's own unit, for staff the unit ``asked``.

    Raises ``Problem`` 422 if staff name no unit, 404 for a unit that isn't the resident's or doesn't exist, 403 for a
    resident without a unit.
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
