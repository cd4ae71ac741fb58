"""Which spaces fit who asks: free for a time, the community's or shared, with what is wanted of them.

Connections are inside ``database.in_community``.
"""

from collections.abc import Collection

from parkmesh.domain.windows import Window
from parkmesh.server.db.database import Connection
from parkmesh.server.reservations import permits
from parkmesh.server.spaces import spaces

FREE = f"""
    FROM space s {spaces.STATE}
    WHERE s.community_id = $1
      AND NOT EXISTS (SELECT FROM booking b WHERE b.community_id = s.community_id AND b.space_id = s.id
                        AND b.status = 'active' AND b.ends_at > $2 AND b.starts_at < $3)
      AND ({spaces.CATEGORY} <> 'assigned'
           OR EXISTS (SELECT FROM shared_window w WHERE w.community_id = s.community_id AND w.space_id = s.id
                        AND w.ends_at >= $3 AND w.starts_at <= $2 AND w.unit_id IS DISTINCT FROM $4))
      AND CASE WHEN $5::text IS NULL THEN {spaces.CATEGORY} <> 'visitor' ELSE {spaces.CATEGORY} = $5 END
      AND ($6::boolean IS NULL OR {spaces.EV} = $6) AND ($7::boolean IS NULL OR {spaces.ACCESSIBLE} = $7)
      AND ($8::text IS NULL OR s.level = $8)
      AND ($10 OR NOT {spaces.ACCESSIBLE})
      AND NOT coalesce($2 <= now() AND t.status = 'occupied' AND t.received_at > now() - $9::interval, false)
"""  # noqa: S608 - columns of spaces
"""A condition on spaces ``s``: community, from, until, the unit that asks, category, charger, accessible, level,
how long a sensor's report counts, and whether the unit may have accessible ones ($1 to $10). Windows that aren't
written out yet count as not shared."""


async def take_first(
    connection: Connection,
    community_id: int,
    window: Window,
    *,
    unit_id: int,
    ev: bool | None,
    accessible: bool | None,
    level: str | None,
    busy: Collection[int],
) -> tuple[int | None, set[int]]:
    """Hold the first space that fits, those for few people last, and return its id.

    It waits for nobody: spaces that other transactions hold are passed over, and returned beside it with those of
    ``busy``, which are passed over unseen.
    """
    passed = set(busy)
    arguments = (
        community_id, window.start, window.end, unit_id, None, ev, accessible, level, spaces.FRESH,
        await permits.covers(connection, community_id, unit_id, window.end),
    )  # fmt: skip
    order = f"ORDER BY {spaces.ACCESSIBLE}, {spaces.EV}, s.name"
    for row in await connection.fetch(f"SELECT s.id {FREE} {order}", *arguments):
        space_id: int = row["id"]
        if space_id in passed:
            continue
        held = await connection.fetchval(
            "SELECT id FROM space WHERE community_id = $1 AND id = $2 FOR NO KEY UPDATE SKIP LOCKED",
            community_id,
            space_id,
        )
        # Whoever held it until a moment ago may have taken it: asked again, now that nobody else can.
        if held is None:
            passed.add(space_id)
        elif await connection.fetchval(f"SELECT s.id {FREE} AND s.id = $11", *arguments, space_id):
            return space_id, passed
    return None, passed
