"""Facility counters: how many vehicles are in, by the loops and light barriers at the ways in and out.

A counter drifts where a vehicle passes unseen; staff correct it. Counters of one name at several gateways are one.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from parkmesh.server import audit
from parkmesh.server.db.database import Connection
from parkmesh.server.http import problems
from parkmesh.server.identity.principals import Principal
from parkmesh.server.spaces import spaces

MOST = 100_000
"""More vehicles than any counter can stand at."""


@dataclass(frozen=True, slots=True)
class Counter:
    """``vehicles`` and ``free`` are null while the number is unknown: the counter or its gateway is silent. ``free`` is
    null, too, without a ``capacity``. ``drifted``: the count is below zero or above the capacity, so it is wrong.

    ``entries`` and ``exits`` are those of the present count, ``told_at`` is when its detectors spoke last.
    """

    name: str
    status: Literal["known", "unknown"]
    vehicles: int | None
    free: int | None
    capacity: int | None
    drifted: bool
    entries: int
    exits: int
    told_at: datetime | None
    corrected_at: datetime | None


_COUNTERS = f"""
SELECT c.name, sum(c.carried + c.entries - c.exits)::bigint AS net, max(c.capacity) AS capacity,
       sum(c.entries)::bigint AS entries, sum(c.exits)::bigint AS exits, min(c.told_at) AS told_at,
       max(c.corrected_at) AS corrected_at, bool_and(c.known AND coalesce({spaces.HEARD}, false)) AS known
FROM counter c JOIN gateway w ON w.community_id = c.community_id AND w.id = c.gateway_id
WHERE c.community_id = $1 AND ($2::text IS NULL OR c.name = $2) AND (w.token_ends_at IS NULL OR w.token_ends_at > now())
GROUP BY c.name ORDER BY c.name
"""  # noqa: S608 - text of another module


async def all_of(connection: Connection, community_id: int, name: str | None = None) -> list[Counter]:
    """Return the counters by name, or the one; ``connection`` is inside ``database.in_community``."""
    found = []
    for row in await connection.fetch(_COUNTERS, community_id, name):
        net, capacity, known = row["net"], row["capacity"], row["known"]
        vehicles = max(0, net)
        found.append(
            Counter(
                name=row["name"],
                status="known" if known else "unknown",
                vehicles=vehicles if known else None,
                free=max(0, capacity - vehicles) if known and capacity is not None else None,
                capacity=capacity,
                drifted=net < 0 or (capacity is not None and net > capacity),
                entries=row["entries"],
                exits=row["exits"],
                told_at=row["told_at"],
                corrected_at=row["corrected_at"],
            )
        )
    return found


async def get(connection: Connection, community_id: int, name: str) -> Counter:
    """Return a counter. Raises ``Problem`` 404."""
    found = await all_of(connection, community_id, name)
    if not found:
        raise problems.not_found()
    return found[0]


async def lock(connection: Connection, community_id: int, name: str) -> None:
    """Keep gateways and others from changing a counter until the transaction ends."""
    await connection.execute(
        "SELECT FROM counter WHERE community_id = $1 AND name = $2 ORDER BY gateway_id FOR UPDATE", community_id, name
    )


async def correct(
    connection: Connection, principal: Principal, community_id: int, name: str, vehicles: int, reason: str
) -> Counter:
    """Say how many vehicles are in now, whatever was counted; ``lock`` comes first. Raises ``Problem`` 404."""
    await get(connection, community_id, name)
    was = await connection.fetchval(
        """
        WITH counted AS (
            SELECT sum(carried + entries - exits)::bigint AS net, min(gateway_id) AS first
            FROM counter WHERE community_id = $1 AND name = $2
        )
        UPDATE counter c SET corrected_at = now(),
               carried = c.carried + CASE WHEN c.gateway_id = n.first THEN $3 - n.net ELSE 0 END
        FROM counted n WHERE c.community_id = $1 AND c.name = $2 RETURNING n.net
        """,
        community_id,
        name,
        vehicles,
    )
    detail = {"vehicles": vehicles, "counted": was, "reason": reason}
    await audit.record(connection, principal, community_id, "counter.correct", f"counter/{name}", detail)
    return await get(connection, community_id, name)
