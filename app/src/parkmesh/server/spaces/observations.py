"""What sensors said of a space over time. The latest of it is the space's status."""

from datetime import datetime

from msgspec import Struct

from parkmesh.protocol.edge import SpaceStatus
from parkmesh.server.db.database import Connection

Place = tuple[datetime, int, int, int]
"""What orders observations: when they were received, by which gateway, its epoch and number."""


class Observation(Struct, frozen=True):
    """``received_at`` is the gateway's clock."""

    received_at: datetime
    status: SpaceStatus
    gateway: str
    gateway_id: int
    epoch: int
    seq: int

    @property
    def place(self) -> Place:
        return (self.received_at, self.gateway_id, self.epoch, self.seq)


_OF_SPACE = """
SELECT o.received_at, o.status, g.name AS gateway, o.gateway_id, o.epoch, o.seq
FROM space s
JOIN observation o ON o.community_id = s.community_id AND o.space_id = s.id
JOIN gateway g ON g.community_id = o.community_id AND g.id = o.gateway_id
WHERE s.community_id = $1 AND s.name = $2
  AND ($3::timestamptz IS NULL OR o.received_at >= $3) AND ($4::timestamptz IS NULL OR o.received_at < $4)
  AND ($5::timestamptz IS NULL OR (o.received_at, o.gateway_id, o.epoch, o.seq) < ($5, $6, $7, $8))
ORDER BY o.received_at DESC, o.gateway_id DESC, o.epoch DESC, o.seq DESC LIMIT $9
"""


async def of_space(
    connection: Connection,
    community_id: int,
    space: str,
    *,
    limit: int,
    since: datetime | None = None,
    until: datetime | None = None,
    before: Place | None = None,
) -> list[Observation]:
    """Return up to ``limit`` observations of a space in [since, until), the latest first, those after ``before``."""
    rows = await connection.fetch(
        _OF_SPACE, community_id, space, since, until, *(before or (None, None, None, None)), limit
    )
    return [Observation(**row) for row in rows]
