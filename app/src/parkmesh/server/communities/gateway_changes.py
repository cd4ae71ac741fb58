"""What the operator's playbooks ask and tell of gateways: one left its community, or gets new hardware.

A gateway that has new hardware, or is back, gets its new token by ``provision.apply``. A gateway's records end with its
token. Those that no server has by then are lost: a gap tells of it, at the place where the server's numbering of the
old spool stood. All functions take a connection of ``database.provisioning``.
"""

from datetime import datetime
from typing import Literal

from msgspec import Struct

from parkmesh.protocol.edge import GAP_GATEWAY_LOST
from parkmesh.server import audit
from parkmesh.server.db import database
from parkmesh.server.db.database import Connection

Spool = Literal["drained", "lost"]
"""What became of the old spool: every record came to a server, or nobody could read it (any more)."""


class RefusedError(Exception):
    """There is no such community or gateway, or the change makes no sense for it."""


class GatewayState(Struct, frozen=True):
    """What the server knows of a gateway. ``epoch`` and ``acked``: the last record that it has. ``backlog``: how many
    more the gateway had at ``last_heartbeat_at``, None where it never said."""

    name: str
    epoch: int
    acked: int
    backlog: int | None
    last_heartbeat_at: datetime | None
    last_events_at: datetime | None
    token_ends_at: datetime | None


class CommunityState(Struct, frozen=True):
    name: str
    title: str
    offboarded_at: datetime | None
    deletion_due: datetime | None
    gateways: list[GatewayState]


class Changed(Struct, frozen=True):
    """``gap``: the loss of records was recorded now."""

    changed: bool
    gap: bool
    gateway: GatewayState


async def community_id(connection: Connection, name: str) -> int:
    """Return the community's id and work for it from now on; raise ``RefusedError``."""
    found: int | None = await connection.fetchval("SELECT id FROM community WHERE name = $1", name)
    if found is None:
        raise RefusedError(f"there is no community {name!r}")
    await database.set_community(connection, found)
    return found


async def read(connection: Connection, community: str) -> CommunityState:
    """Return what the server knows of a community's gateways; raise ``RefusedError``."""
    identity = await community_id(connection, community)
    row = await connection.fetchrow(
        "SELECT name, title, offboarded_at, deletion_due FROM community WHERE id = $1", identity
    )
    names = await connection.fetch("SELECT name FROM gateway WHERE community_id = $1 ORDER BY name", identity)
    return CommunityState(**row, gateways=[await _state(connection, identity, name["name"]) for name in names])


async def end(connection: Connection, actor: audit.Actor, community: str, gateway: str, spool: Spool) -> Changed:
    """End a gateway's token: it has left the community, or its hardware goes. The community keeps its
    records. A second time changes nothing.

    Raises ``RefusedError``.
    """
    identity = await community_id(connection, community)
    await connection.execute("SELECT FROM gateway WHERE community_id = $1 AND name = $2 FOR UPDATE", identity, gateway)
    known = await _state(connection, identity, gateway)
    now: datetime = await connection.fetchval("SELECT now()")
    if known.token_ends_at is not None and known.token_ends_at <= now:
        return Changed(changed=False, gap=False, gateway=known)
    gap = spool == "lost" and await _record_gap(connection, identity, gateway)
    await connection.execute(
        "UPDATE gateway SET token_ends_at = now() WHERE community_id = $1 AND name = $2", identity, gateway
    )
    await _record(connection, actor, identity, "gateway.end", known, spool)
    return Changed(changed=True, gap=gap, gateway=await _state(connection, identity, gateway))


async def _state(connection: Connection, identity: int, gateway: str) -> GatewayState:
    row = await connection.fetchrow(
        """
        SELECT name, epoch, acked, backlog, last_heartbeat_at, last_events_at, token_ends_at FROM gateway
        WHERE community_id = $1 AND name = $2
        """,
        identity,
        gateway,
    )
    if row is None:
        raise RefusedError(f"the community has no gateway {gateway!r}")
    return GatewayState(**row)


async def _record_gap(connection: Connection, identity: int, gateway: str) -> bool:
    """Record that what follows the last known record is lost, unless it was before; how much nobody knows."""
    added: str = await connection.execute(
        """
        INSERT INTO gap (community_id, gateway_id, epoch, seq, received_at, kind, dropped)
        SELECT community_id, id, epoch, acked + 1, now(), $3, 1 FROM gateway WHERE community_id = $1 AND name = $2
        ON CONFLICT DO NOTHING
        """,
        identity,
        gateway,
        GAP_GATEWAY_LOST,
    )
    if added == "INSERT 0 0":
        return False
    # The number is taken: an old spool that came back after all would have to begin another epoch.
    await connection.execute(
        "UPDATE gateway SET acked = acked + 1, dropped = dropped + 1 WHERE community_id = $1 AND name = $2",
        identity,
        gateway,
    )
    return True


async def _record(
    connection: Connection, actor: audit.Actor, identity: int, action: str, known: GatewayState, spool: Spool
) -> None:
    detail = {"name": known.name, "spool": spool, "epoch": known.epoch, "acked": known.acked}
    number = await connection.fetchval(
        "SELECT id FROM gateway WHERE community_id = $1 AND name = $2", identity, known.name
    )
    await audit.record(connection, actor, identity, action, f"gateway/{number}", detail)
