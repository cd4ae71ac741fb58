"""Stays, as staff look them up. How they come about is in ``stay_projection``."""

from dataclasses import dataclass
from datetime import datetime

from msgspec import Struct

from parkmesh.domain.stays import ClosedBy
from parkmesh.server.db.database import Connection


@dataclass(frozen=True, slots=True)
class Stay:
    """The time of one plate inside.

    ``unit`` held the plate when it entered; null where none did, or where it is gone. ``left_at`` and ``closed_by`` are
    null while the stay is open. ``closed_by`` is ``exit``, ``missed_exit`` (the plate entered again without an exit in
    between; ``left_at`` is when it entered), ``correction`` (by staff) or ``timeout`` (30 days after the entry). The
    passages are null where a correction stands for them.
    """

    id: int
    plate: str
    unit: str | None
    visitor_pass_id: int | None
    entered_at: datetime
    entered_passage: int | None
    left_at: datetime | None
    left_passage: int | None
    closed_by: ClosedBy | None


class Filter(Struct, frozen=True):
    """Which stays to show; None: any. ``plate`` is the normalised beginning of one; ``since`` and ``until`` (excluded)
    bound a time that the stay shares."""

    plate: str | None = None
    open: bool | None = None
    since: datetime | None = None
    until: datetime | None = None


_QUERY = """
SELECT s.id, s.plate, u.name AS unit, s.visitor_pass_id, s.entered_at, s.entered_passage, s.left_at, s.left_passage,
       s.closed_by
FROM stay s LEFT JOIN unit u ON u.community_id = s.community_id AND u.id = s.unit_id
WHERE s.community_id = $1 AND ($2::timestamptz IS NULL OR (s.entered_at, s.id) < ($2, $3))
  AND ($4::text IS NULL OR starts_with(s.plate, $4)) AND ($5::boolean IS NULL OR (s.left_at IS NULL) = $5)
  AND ($6::timestamptz IS NULL OR s.left_at IS NULL OR s.left_at > $6)
  AND ($7::timestamptz IS NULL OR s.entered_at < $7)
ORDER BY s.entered_at DESC, s.id DESC LIMIT $8
"""


async def page(
    connection: Connection,
    community_id: int,
    *,
    limit: int,
    before: tuple[datetime, int] | None = None,
    only: Filter | None = None,
) -> list[Stay]:
    """Return stays, latest entry first; ``before`` is the last one of the page before."""
    only = only or Filter()
    rows = await connection.fetch(
        _QUERY,
        community_id,
        *(before or (None, None)),
        only.plate,
        only.open,
        only.since,
        only.until,
        limit,
    )
    return [Stay(**row) for row in rows]
