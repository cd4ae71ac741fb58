"""Opening gates by hand: who may, how often, and the command that goes to the gateways."""

import secrets
import time
from typing import Any

import msgspec

from parkmesh.protocol.edge import Command
from parkmesh.server import audit
from parkmesh.server.access import gates
from parkmesh.server.communities import rules
from parkmesh.server.db import database
from parkmesh.server.db.database import Connection
from parkmesh.server.http.messages import Message
from parkmesh.server.http.problems import Problem
from parkmesh.server.identity.principals import Membership, Principal, Role

COMMAND_LIFE_MS = 10_000
OPENINGS_PER_MINUTE = {Role.RESIDENT: 4}
"""How often somebody may ask in a minute; who isn't named may ``STAFF_OPENINGS_PER_MINUTE`` times."""
STAFF_OPENINGS_PER_MINUTE = 30
VISITORS_OPENINGS_PER_MINUTE = 4
"""By the link of one pass."""


async def open_gate(
    pool: database.Pool, principal: Principal, member: Membership, gate: str, reason: str | None
) -> Command:
    """Send the gateways of a community the command to open a gate.

    Staff may, with a reason; residents where the community's rules let them. The command lives for
    ``COMMAND_LIFE_MS``: a gateway that is not connected now will never see it. Raises ``Problem`` 404 where there is
    no such gate, 403, 422 without a reason that is needed, 429 for who asks too often.
    """
    community_id = member.community_id
    async with database.in_community(pool, community_id) as connection:
        await gates.get(connection, community_id, gate)
        if member.role is Role.READER:
            raise Problem(403, "This API key may read but not change anything.")
        if member.role is Role.RESIDENT:
            if not (await rules.read(connection, community_id)).residents_open_gates:
                raise Problem(403, "This community doesn't let its residents open gates from here.")
        elif not reason:
            raise Problem(422, "reason: say why you open the gate", kind="invalid")
        most = OPENINGS_PER_MINUTE.get(member.role, STAFF_OPENINGS_PER_MINUTE)
        await _reserve_opening(connection, community_id, principal.actor, most)
        detail = {"reason": reason, "role": member.role.value}
        return await _send(connection, principal, community_id, gate, reason or "resident", detail)


async def open_gate_for_visitor(connection: Connection, community_id: int, gate: str, pass_id: int) -> Command:
    """Send the command to open a gate for somebody who has the link of a pass that is valid now.

    Raises ``Problem`` 404 where there is no such gate, 403 where the community's rules don't let visitors, 429.
    """
    await gates.get(connection, community_id, gate)
    if not (await rules.read(connection, community_id)).visitors_open_gates:
        raise Problem(403, "This community doesn't let its visitors open gates from here.")
    await _reserve_opening(connection, community_id, f"visitor-pass:{pass_id}", VISITORS_OPENINGS_PER_MINUTE)
    detail = {"reason": None, "role": "visitor", "pass": pass_id}
    return await _send(connection, audit.System("visitor"), community_id, gate, "visitor", detail)


async def _send(
    connection: Connection, actor: audit.Actor, community_id: int, gate: str, reason: str, detail: dict[str, Any]
) -> Command:
    """Send the command that is allowed and counted, and write it down."""
    command = Command(
        id=secrets.token_hex(12), gate=gate, expires=int(time.time() * 1000) + COMMAND_LIFE_MS, reason=reason
    )
    detail = {"command": command.id, **detail}
    await audit.record(connection, actor, community_id, "gate.open", f"gate/{gate}", detail)
    await connection.execute(
        "SELECT pg_notify('parkmesh_command', $1)", f"{community_id}:{msgspec.json.encode(command).decode()}"
    )
    return command


async def _reserve_opening(connection: Connection, community_id: int, actor: str, most: int) -> None:
    """Count an opening of this minute; raise ``Problem`` 429 where there were ``most`` already."""
    # One after the other, or those who ask at once would not see each other.
    await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, $2))", f"open {actor}", community_id)
    recent, wait_s = await connection.fetchrow(
        """
        SELECT count(*), coalesce(ceil(extract(epoch FROM min(at) + interval '1 minute' - clock_timestamp())), 0)::int
        FROM gate_opening WHERE community_id = $1 AND actor = $2 AND at > clock_timestamp() - interval '1 minute'
        """,
        community_id,
        actor,
    )
    if recent >= most:
        raise Problem(
            429,
            Message("At most %(limit)s openings a minute. Wait a little and try again.", limit=most),
            kind="too-many-openings",
            headers={"Retry-After": str(max(1, wait_s))},
        )
    await connection.execute("INSERT INTO gate_opening (community_id, actor) VALUES ($1, $2)", community_id, actor)
