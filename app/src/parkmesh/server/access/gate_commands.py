"""Opening gates by hand: who may, how often, the command that goes to the gateways, and its outcome.

A command is a row. It is ``refused`` at once when no gateway of the gate has a stream open. Otherwise it is ``sent``,
and ``edge_batch`` writes what the gateway reports: ``opened``, or ``not_opened`` when the barrier did not confirm. A
command that is still sent some seconds after its end is ``expired``: no gateway answered.
"""

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

import msgspec

from parkmesh.protocol.edge import Command
from parkmesh.server import audit, servers
from parkmesh.server.access import gates
from parkmesh.server.communities import rules
from parkmesh.server.db import database
from parkmesh.server.db.database import Connection
from parkmesh.server.http import problems
from parkmesh.server.http.messages import Message
from parkmesh.server.http.problems import Problem
from parkmesh.server.identity.principals import Membership, Principal, Role

LIFE = timedelta(seconds=10)
"""A gateway that receives a command later does not open."""
ANSWER = timedelta(seconds=5)
"""The time after a command's end in which its gateway's report still comes in."""
OPENINGS_PER_MINUTE = {Role.RESIDENT: 4}
"""How many openings a person may ask for in a minute; roles that aren't listed: ``STAFF_OPENINGS_PER_MINUTE``."""
STAFF_OPENINGS_PER_MINUTE = 30
VISITORS_OPENINGS_PER_MINUTE = 4
"""With the link of one pass."""

State = Literal["refused", "sent", "opened", "not_opened", "expired"]


@dataclass(frozen=True, slots=True)
class GateCommand:
    """A request to open a gate by hand.

    ``state`` is ``refused`` (no gateway of the gate was connected, nothing was sent), ``sent``, ``opened``,
    ``not_opened`` (the gateway tried, the barrier did not confirm) or ``expired`` (no gateway answered in time).
    ``expires``: a gateway that has not acted by then never will. ``done_at`` is when a server learned the outcome.
    """

    id: str
    gate: str
    state: State
    asked_at: datetime
    expires: datetime
    done_at: datetime | None

    @property
    def over(self) -> bool:
        """Tell whether the outcome is known."""
        return self.state != "sent"


_COLUMNS = """
k.id, k.gate, k.asked_at, k.expires_at AS expires, k.done_at,
CASE WHEN k.state = 'sent' AND k.expires_at + $1::interval < clock_timestamp() THEN 'expired' ELSE k.state END AS state
"""
# Servers of the previous release don't list their streams: while one lives, a gateway may be connected to it.
_REACHABLE = """
SELECT EXISTS (SELECT FROM gateway_stream s JOIN server v ON v.id = s.server_id AND v.started_at = s.server_started_at
               WHERE s.community_id = $1 AND (s.gates IS NULL OR $2 = ANY(s.gates))
                 AND v.last_seen_at > clock_timestamp() - $3::interval)
    OR EXISTS (SELECT FROM server v WHERE NOT v.lists_streams AND v.last_seen_at > clock_timestamp() - $3::interval)
"""


async def read(connection: Connection, community_id: int, command: str, *, actor: str | None = None) -> GateCommand:
    """Return a command as it stands, only one that ``actor`` asked for where given; raise ``Problem`` 404."""
    row = await connection.fetchrow(
        f"""
        SELECT {_COLUMNS} FROM gate_command k
        WHERE k.community_id = $2 AND k.id = $3 AND ($4::text IS NULL OR k.actor = $4)
        """,  # noqa: S608 - text of this module
        ANSWER,
        community_id,
        command,
        actor,
    )
    if row is None:
        raise problems.not_found()
    return GateCommand(**row)


async def read_as(connection: Connection, principal: Principal, member: Membership, command: str) -> GateCommand:
    """Return a command to a user: staff see all commands, residents their own; raise ``Problem`` 404."""
    actor = principal.actor if member.role is Role.RESIDENT else None
    return await read(connection, member.community_id, command, actor=actor)


def offline(command: GateCommand) -> Problem:
    """Return the answer to a request that was refused because no gateway of the gate is connected."""
    return Problem(
        409,
        "The gateway of this gate is offline. Nothing was sent to the gate.",
        kind="gateway-offline",
        command=command.id,
    )


async def open_gate(
    pool: database.Pool, principal: Principal, member: Membership, gate: str, reason: str | None
) -> GateCommand:
    """Send the gateways of a community the command to open a gate.

    Staff may, with a reason; residents where the community's rules let them. Raises ``Problem`` 404 where there is no
    such gate, 403, 422 without a reason that is needed, 429 after too many requests, 409 while no gateway of the gate
    is connected.
    """
    community_id = member.community_id
    async with database.in_community(pool, community_id) as connection:
        found = await gates.get(connection, community_id, gate)
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
        asked = await _ask(connection, principal, principal.actor, community_id, found, reason, detail)
    # After the transaction: the request and its refusal are kept.
    if asked.state == "refused":
        raise offline(asked)
    return asked


def visitor(pass_id: int) -> str:
    """Return the actor of commands that are asked for with the link of a pass."""
    return f"visitor-pass:{pass_id}"


async def open_gate_for_visitor(connection: Connection, community_id: int, gate: str, pass_id: int) -> GateCommand:
    """Send the command to open a gate for a visitor with the link of a pass that is valid now.

    The command may be ``refused``; the caller says so after the transaction (``offline``). Raises ``Problem`` 404 where
    there is no such gate, 403 where the community's rules don't let visitors, 429.
    """
    found = await gates.get(connection, community_id, gate)
    if not (await rules.read(connection, community_id)).visitors_open_gates:
        raise Problem(403, "This community doesn't let its visitors open gates from here.")
    actor = visitor(pass_id)
    await _reserve_opening(connection, community_id, actor, VISITORS_OPENINGS_PER_MINUTE)
    detail = {"reason": None, "role": "visitor", "pass": pass_id}
    return await _ask(connection, audit.System("visitor"), actor, community_id, found, None, detail)


async def _ask(
    connection: Connection,
    by: audit.Actor,
    actor: str,
    community_id: int,
    gate: gates.Gate,
    reason: str | None,
    detail: dict[str, Any],
) -> GateCommand:
    """Keep the command that is allowed and counted, and send it where a gateway of the gate is connected."""
    reachable = await connection.fetchval(_REACHABLE, community_id, gate.name, servers.LIVE_WITHIN)
    row = await connection.fetchrow(
        f"""
        WITH k AS (
            INSERT INTO gate_command (community_id, id, gate, direction, actor, reason, state, asked_at, expires_at,
                                      done_at)
            SELECT $2, $3, $4, nullif($5, 'both'), $6, $7, $8, now.at, now.at + $9::interval,
                   CASE $8 WHEN 'refused' THEN now.at END
            FROM (SELECT clock_timestamp() AS at) now RETURNING *
        ) SELECT {_COLUMNS} FROM k
        """,  # noqa: S608 - text of this module
        ANSWER,
        community_id,
        secrets.token_hex(12),
        gate.name,
        gate.direction,
        actor,
        reason,
        "sent" if reachable else "refused",
        LIFE,
    )
    asked = GateCommand(**row)
    detail = {"command": asked.id, "state": asked.state, **detail}
    await audit.record(connection, by, community_id, "gate.open", f"gate/{gate.name}", detail)
    if reachable:
        expires = int(asked.expires.timestamp() * 1000)
        command = Command(id=asked.id, gate=gate.name, expires=expires, reason=reason or detail["role"])
        await connection.execute(
            "SELECT pg_notify('parkmesh_command', $1)", f"{community_id}:{msgspec.json.encode(command).decode()}"
        )
    return asked


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
