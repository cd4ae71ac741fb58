"""What people do to a community: revoke and restore credentials, open gates. Each act is written to the audit trail in
the transaction that does it."""

import secrets
import time
from typing import Literal

import msgspec

from parkmesh.protocol.edge import Command
from parkmesh.server import audit, database
from parkmesh.server.principals import Principal

COMMAND_LIFE_MS = 10_000


async def set_credential_status(
    pool: database.Pool, principal: Principal, community_id: int, plate: str, status: Literal["active", "revoked"]
) -> bool:
    """Set the status of every credential of a plate; tell whether the community has one.

    The access list's next version reaches the gateways by itself (a trigger of the table tells them).
    """
    async with database.in_community(pool, community_id) as connection:
        changed = await connection.fetch(
            """
            UPDATE credential SET status = $3 WHERE community_id = $1 AND plate = $2 AND status <> $3 RETURNING id
            """,
            community_id,
            plate,
            status,
        )
        if changed:
            action = "credential.revoke" if status == "revoked" else "credential.restore"
            await audit.record(connection, principal, community_id, action, plate, {})
            return True
        known: bool = await connection.fetchval(
            "SELECT EXISTS (SELECT FROM credential WHERE community_id = $1 AND plate = $2)", community_id, plate
        )
        return known


async def open_gate(
    pool: database.Pool, principal: Principal, community_id: int, gate: str, reason: str
) -> Command | None:
    """Send the gateways of a community the command to open a gate; None where the community has no such gate.

    The command lives for ``COMMAND_LIFE_MS``: a gateway that is not connected now will never see it.
    """
    async with database.in_community(pool, community_id) as connection:
        known = await connection.fetchval(
            "SELECT EXISTS (SELECT FROM gate WHERE community_id = $1 AND name = $2)", community_id, gate
        )
        if not known:
            return None
        command = Command(
            id=secrets.token_hex(12),
            gate=gate,
            expires=int(time.time() * 1000) + COMMAND_LIFE_MS,
            reason=reason,
        )
        detail = {"command": command.id, "reason": reason}
        await audit.record(connection, principal, community_id, "gate.open", gate, detail)
        await connection.execute(
            "SELECT pg_notify('parkmesh_command', $1)", f"{community_id}:{msgspec.json.encode(command).decode()}"
        )
    return command
