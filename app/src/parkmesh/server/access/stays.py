"""Stays, as staff look them up. How they come about is in ``stay_projection``."""

from dataclasses import dataclass
from datetime import datetime

from msgspec import Struct

from parkmesh.domain.stays import ClosedBy
from parkmesh.server.access import plate_search
from parkmesh.server.db import keyset
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
    """Which stays to show; None: any. ``plate`` is a part of one; ``since`` and ``until`` (excluded)
    bound a time that the stay shares."""

    plate: str | None = None
    open: bool | None = None
    since: datetime | None = None
    until: datetime | None = None


_COLUMNS = """
SELECT s.id, s.plate, u.name AS unit, s.visitor_pass_id, s.entered_at, s.entered_passage, s.left_at, s.left_passage,
       s.closed_by
"""
_UNIT = "LEFT JOIN unit u ON u.community_id = s.community_id AND u.id = s.unit_id"


def _query(way: keyset.Way) -> str:
    return f"{_COLUMNS} FROM stay s {_UNIT} WHERE {_wanted(way)} AND $9::text[] IS NULL {_order(way)}"


def _of_plates(way: keyset.Way) -> str:
    # Each plate's latest stays, as in ``passages``.
    order = _order(way)
    return f"""
        {_COLUMNS} FROM unnest($9::text[]) AS named(plate)
        CROSS JOIN LATERAL (SELECT s.* FROM stay s WHERE {_wanted(way)} AND s.plate = named.plate {order}) s
        {_UNIT} {order}
    """  # noqa: S608 - text of this module


def _order(way: keyset.Way) -> str:
    return f"ORDER BY s.entered_at {way.down}, s.id {way.down} LIMIT $8"


def _wanted(way: keyset.Way) -> str:
    return f"""
        s.community_id = $1 AND ($2::timestamptz IS NULL OR (s.entered_at, s.id) {way.below} ($2, $3))
          AND ($4::text IS NULL OR strpos(s.plate, $4) > 0 AND s.plate NOT LIKE '~%')
          AND ($5::boolean IS NULL OR (s.left_at IS NULL) = $5)
          AND ($6::timestamptz IS NULL OR s.left_at IS NULL OR s.left_at > $6)
          AND ($7::timestamptz IS NULL OR s.entered_at < $7)
    """


async def page(
    connection: Connection,
    community_id: int,
    *,
    limit: int,
    before: tuple[datetime, int] | None = None,
    way: keyset.Way = keyset.ON,
    only: Filter | None = None,
) -> list[Stay]:
    """Return stays, latest entry first; ``before`` is the last one of the page before."""
    only = only or Filter()
    named = await plate_search.few_with(connection, community_id, only.plate) if only.plate else None
    rows = await connection.fetch(
        _query(way) if named is None else _of_plates(way),
        community_id,
        *(before or (None, None)),
        only.plate if named is None else None,
        only.open,
        only.since,
        only.until,
        limit,
        named,
    )
    return [Stay(**row) for row in rows]


async def of_plate(connection: Connection, community_id: int, plate: str, limit: int) -> list[Stay]:
    """Return the stays of one normalised plate, latest entry first."""
    rows = await connection.fetch(
        _of_plates(keyset.ON), community_id, None, None, None, None, None, None, limit, [plate]
    )
    return [Stay(**row) for row in rows]
