"""Gateways that are offline for a while, and those that are heard again, as events."""

from datetime import timedelta

from parkmesh.server.db import database
from parkmesh.server.db.database import Pool
from parkmesh.server.outbox import events

AFTER = timedelta(minutes=15)

_HEARD = "greatest(g.last_heartbeat_at, g.last_events_at)"
# A gateway that was never heard isn't installed yet.
_CHANGED = f"""
SELECT g.community_id, g.id, g.name, {_HEARD} AS heard_at, o.gateway_id IS NULL AS is_new
FROM gateway g
LEFT JOIN gateway_outage o ON o.community_id = g.community_id AND o.gateway_id = g.id
WHERE (g.token_ends_at IS NULL OR g.token_ends_at > now())
  AND ({_HEARD} <= clock_timestamp() - $1::interval) = (o.gateway_id IS NULL)
ORDER BY g.community_id, g.id
"""  # noqa: S608 - text of this module


async def look(pool: Pool) -> None:
    """Write an event for each gateway that went offline, or that is heard again, since the last look of any server."""
    async with database.as_server(pool) as connection:
        rows = await connection.fetch(_CHANGED, AFTER)
    for row in rows:
        async with database.in_community(pool, row["community_id"]) as connection:
            # Of several servers that saw it, the one whose row changes tells.
            if row["is_new"]:
                done = await connection.fetchval(
                    """
                    INSERT INTO gateway_outage (community_id, gateway_id, heard_at) VALUES ($1, $2, $3)
                    ON CONFLICT DO NOTHING RETURNING true
                    """,
                    row["community_id"],
                    row["id"],
                    row["heard_at"],
                )
            else:
                done = await connection.fetchval(
                    "DELETE FROM gateway_outage WHERE community_id = $1 AND gateway_id = $2 RETURNING true",
                    row["community_id"],
                    row["id"],
                )
            if done:
                type_ = "gateway.offline" if row["is_new"] else "gateway.online"
                await events.record(
                    connection, row["community_id"], type_, f"gateway/{row['name']}", {"gateway": row["name"]}
                )
