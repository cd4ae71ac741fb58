"""Which spaces can be booked for a time: those that nobody booked, and that are the community's or shared.

Connections are inside ``database.in_community``.
"""

from datetime import UTC, datetime

from parkmesh.domain.windows import Window
from parkmesh.server.db.database import Connection
from parkmesh.server.reservations import fitting, permits, sharing
from parkmesh.server.spaces import spaces
from parkmesh.server.spaces.spaces import Category, Space


async def available(
    connection: Connection,
    community_id: int,
    window: Window,
    *,
    limit: int,
    after: str | None = None,
    unit_id: int | None = None,
    category: Category | None = None,
    ev: bool | None = None,
    accessible: bool | None = None,
    level: str | None = None,
    permitted: bool | None = None,
) -> list[Space]:
    """Return the spaces that can be booked for the whole of ``window``, by name, none of ``unit_id``'s own.

    Where it begins now, none on which a sensor sees a car. Visitors' spaces are among them only where they are asked
    for by their category, accessible ones only where the unit may have them (``permitted`` None: as ``permits`` says).
    The transaction is one that may write: the windows of shared spaces are written out as far as the question reaches.
    """
    if category in (None, "assigned"):
        await sharing.extend_all_windows(connection, community_id, window.end, datetime.now(UTC))
    if permitted is None:
        permitted = await permits.covers(connection, community_id, unit_id, window.end)
    rows = await connection.fetch(
        f"SELECT {spaces.COLUMNS} {fitting.FREE} AND ($11::text IS NULL OR s.name > $11) ORDER BY s.name LIMIT $12",
        community_id,
        window.start,
        window.end,
        unit_id,
        category,
        ev,
        accessible,
        level,
        spaces.FRESH,
        permitted,
        after,
        limit,
    )
    return [spaces.from_row(row) for row in rows]
