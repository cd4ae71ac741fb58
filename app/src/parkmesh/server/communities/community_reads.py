"""What pages and the API show of one community, read inside its transaction.

Every function takes a connection from ``database.in_community`` or ``at_desk``.
"""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from msgspec import Struct

from parkmesh.protocol.edge import UNCOUNTED_GAPS
from parkmesh.server.db.database import Connection

ONLINE_WITHIN = timedelta(seconds=90)
"""A gateway that was not heard of for longer counts as offline."""


class Community(Struct, frozen=True):
    """``offboarded_at``: when the desk let it go, as far as the reader tells."""

    id: int
    name: str
    title: str
    time_zone: str
    offboarded_at: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Health:
    """A gateway's health. ``dropped``, ``unknown_gates`` and ``unknown_spaces`` count since the gateway was added.

    ``losses_uncounted`` are those of which nobody knows how many events they were; each is in ``dropped`` as 1.

    The REST API answers with this class and its subclasses, so its document shows their fields and docstrings.
    """

    name: str
    last_heartbeat_at: datetime | None
    last_events_at: datetime | None
    version: str | None
    backlog: int | None
    clock_skew_ms: int | None
    access_list_version: int | None
    newest_access_list_version: int
    silent_cameras: list[str]
    unknown_gates: int
    unknown_spaces: int
    dropped: int
    losses_uncounted: int = 0
    device_faults: list[str] = field(default_factory=list)


HEALTH = f"""
g.name, g.last_heartbeat_at, g.last_events_at, g.version, g.backlog, g.clock_skew_ms, g.access_list_version,
c.access_list_version AS newest_access_list_version, g.silent_cameras, g.unknown_gates, g.unknown_spaces, g.dropped,
g.device_faults,
(SELECT count(*) FROM gap x WHERE x.community_id = g.community_id AND x.gateway_id = g.id
    AND x.kind IN ({", ".join(f"'{kind}'" for kind in sorted(UNCOUNTED_GAPS))})) AS losses_uncounted
"""  # noqa: S608 - text of this program
"""The columns of ``Health``: ``g`` is the gateway, ``c`` its community."""


@dataclass(frozen=True, kw_only=True)
class Gateway(Health):
    online: bool


async def community(connection: Connection, community_id: int) -> Community:
    row = await connection.fetchrow("SELECT id, name, title, time_zone FROM community WHERE id = $1", community_id)
    return Community(**row)


async def zone(connection: Connection, community_id: int) -> ZoneInfo:
    """Return the time zone of the community's clock."""
    return ZoneInfo(await connection.fetchval("SELECT time_zone FROM community WHERE id = $1", community_id))


async def communities(connection: Connection) -> list[Community]:
    """Return all communities that the transaction may see."""
    rows = await connection.fetch("SELECT id, name, title, time_zone FROM community ORDER BY name")
    return [Community(**row) for row in rows]


async def gateways(connection: Connection, community_id: int | None) -> list[tuple[int, Gateway]]:
    """Return ``(community id, gateway)`` pairs; None asks for all that the transaction may see.

    A gateway that has left its community isn't among them.
    """
    rows = await connection.fetch(
        f"""
        SELECT g.community_id, coalesce(g.last_heartbeat_at > now() - $2::interval, false) AS online, {HEALTH}
        FROM gateway g JOIN community c ON c.id = g.community_id
        WHERE ($1::bigint IS NULL OR g.community_id = $1)
          AND (g.token_ends_at IS NULL OR g.token_ends_at > now() OR c.offboarded_at IS NOT NULL)
        ORDER BY g.community_id, g.name
        """,  # noqa: S608 - text of this module
        community_id,
        ONLINE_WITHIN,
    )
    found = [dict(row) for row in rows]
    return [(row.pop("community_id"), Gateway(**row)) for row in found]
