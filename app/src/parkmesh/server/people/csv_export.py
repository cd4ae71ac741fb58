"""A community's people, plates, passages and spaces as CSV, streamed.

Rows are read by batches, each in a transaction of its own: a slow reader holds no connection. Each batch goes on behind
the last row of the batch before, so a row that stays in the table is written once.
"""

from collections.abc import AsyncGenerator, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

from msgspec import Struct

from parkmesh.server.db import database
from parkmesh.server.people import csv_tables
from parkmesh.server.spaces import spaces

BATCH = 1000
_ALWAYS = (datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC))

Kind = Literal["people", "credentials", "passages", "spaces"]


class _Export(Struct, frozen=True):
    """``query`` takes the community, the place behind which to go on (its first column; null: from the start) and a
    limit. The columns after the first are written under ``header``."""

    header: Sequence[str]
    query: str


_EXPORTS: dict[Kind, _Export] = {
    "people": _Export(
        ("id", "email", "name", "unit", "role", "active"),
        """
        SELECT r.id AS place, r.id, r.email, r.name, u.name AS unit,
               (SELECT min(m.role) FROM membership m
                WHERE m.community_id = r.community_id AND m.resident_id = r.id) AS role, r.active
        FROM resident r LEFT JOIN unit u ON u.community_id = r.community_id AND u.id = r.unit_id
        WHERE r.community_id = $1 AND ($2::bigint IS NULL OR r.id > $2) AND r.erased_at IS NULL
        ORDER BY r.id LIMIT $3
        """,
    ),
    "credentials": _Export(
        ("plate", "email", "label", "valid_from", "valid_until", "status", "name", "unit", "visitor"),
        """
        SELECT c.id AS place, c.plate, r.email, c.label, c.valid_from, c.valid_until, c.status, r.name,
               u.name AS unit, c.visitor_pass_id IS NOT NULL AS visitor
        FROM credential c
        LEFT JOIN resident r ON r.community_id = c.community_id AND r.id = c.resident_id
        LEFT JOIN unit u ON u.community_id = r.community_id AND u.id = r.unit_id
        WHERE c.community_id = $1 AND ($2::bigint IS NULL OR c.id > $2) ORDER BY c.id LIMIT $3
        """,
    ),
    "spaces": _Export(
        ("name", "level", "category", "ev", "accessible", "status", "since"),
        f"""
        SELECT s.id AS place, s.name, s.level, {spaces.CATEGORY} AS category, {spaces.EV} AS ev,
               {spaces.ACCESSIBLE} AS accessible, coalesce(t.status, 'unknown') AS status, t.changed_at AS since
        FROM space s {spaces.STATE}
        WHERE s.community_id = $1 AND ($2::bigint IS NULL OR s.id > $2) ORDER BY s.id LIMIT $3
        """,  # noqa: S608 - columns of another module
    ),
    "passages": _Export(
        ("received_at", "gate", "direction", "plate", "decision", "reason", "opened", "gateway"),
        """
        SELECT (p.received_at, p.id) AS place, p.received_at, p.gate, p.direction, p.plate, p.decision, p.reason,
               p.opened, w.name AS gateway
        FROM passage p JOIN gateway w ON w.community_id = p.community_id AND w.id = p.gateway_id
        WHERE p.community_id = $1 AND (p.received_at, p.id) > ($2, $3) AND p.received_at < $4
        ORDER BY p.received_at, p.id LIMIT $5
        """,
    ),
}


async def write(
    pool: database.Pool, community_id: int, kind: Kind, *, since: datetime | None = None, until: datetime | None = None
) -> AsyncGenerator[bytes]:
    """Yield a table by batches; of passages those received at or after ``since`` and before ``until``."""
    export = _EXPORTS[kind]
    yield (csv_tables.BYTE_ORDER_MARK + csv_tables.line(export.header)).encode()
    place: Any = None
    while True:
        async with database.in_community(pool, community_id, read_only=True) as connection:
            rows = await connection.fetch(export.query, community_id, *_arguments(kind, place, since, until), BATCH)
        if rows:
            yield "".join(csv_tables.line(list(row)[1:]) for row in rows).encode()
        if len(rows) < BATCH:
            return
        place = rows[-1]["place"]


def _arguments(kind: Kind, place: Any, since: datetime | None, until: datetime | None) -> tuple[Any, ...]:
    if kind != "passages":
        return (place,)
    first = (since or _ALWAYS[0], 0) if place is None else tuple(place)
    return (*first, until or _ALWAYS[1])
