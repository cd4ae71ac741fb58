"""Passages: what happened at a community's gates, and who may see it.

Staff see all passages. A resident sees those that a credential of theirs, of their unit or of its visitors decided,
from the time when the plate was theirs and while the pass held: before and after, a plate has other owners. The plate
alone shows nothing: two units may hold one plate, and the gates decide by one credential of the two.
"""

from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from itertools import groupby
from typing import Any

from msgspec import Struct

from parkmesh.server.access import plate_search
from parkmesh.server.db import keyset
from parkmesh.server.db.database import Connection

LATELY = timedelta(days=2)
"""A first page is looked for in this time first: it is there, in the newest partitions, unless little happens."""


class Passage(Struct, frozen=True, gc=False):
    """``gate_title`` is the gate's name where the community knows none of it any more; ``command`` is the id of the
    command that opened the gate by hand, ``credential`` that of the credential that decided, where a single one did."""

    id: int
    received_at: datetime
    gate: str
    gate_title: str
    direction: str
    plate: str
    decision: str
    reason: str
    opened: bool | None
    gateway: str
    command: str | None = None
    credential: str | None = None


class Filter(Struct, frozen=True):
    """Which passages to show; None: any. ``plate`` is as of ``plate_search.part_of_plate``, ``until`` excluded."""

    plate: str | None = None
    gate: str | None = None
    direction: str | None = None
    decision: str | None = None
    since: datetime | None = None
    until: datetime | None = None


class Window(Struct, frozen=True):
    """A credential's time: from ``since`` until before ``until`` (None: until further notice)."""

    credential: str
    plate: str
    since: datetime
    until: datetime | None


class Seen(Struct, frozen=True, cache_hash=True):
    """The passages that a resident may see: those that these credentials decided in these windows."""

    windows: tuple[Window, ...] = ()

    def shows(self, credential: str | None, plate: str, at: datetime) -> bool:
        """Tell whether the resident may see a passage of a plate, decided by a credential, at a moment."""
        return any(
            (window.credential, window.plate) == (credential, plate)
            and window.since <= at
            and (window.until is None or at < window.until)
            for window in self.windows
        )


Columns = tuple[list[str], list[str], list[datetime], list[datetime | None]] | tuple[None, None, None, None]


def columns(seen: Seen | None) -> Columns:
    """Return ``seen`` as the four arrays that ``shown`` takes; None (everything) as four NULLs."""
    if seen is None:
        return None, None, None, None
    windows = seen.windows
    return (
        [item.plate for item in windows],
        [item.credential for item in windows],
        [item.since for item in windows],
        [item.until for item in windows],
    )


def windows_of(first: int) -> str:
    """Return the windows that are the arguments from ``first`` on (``columns``), as rows ``seen``."""
    kinds = ("text", "text", "timestamptz", "timestamptz")
    arrays = ", ".join(f"${first + place}::{kind}[]" for place, kind in enumerate(kinds))
    return f"unnest({arrays}) AS seen(plate, credential, since, until)"


def shown(first: int) -> str:
    """Return a condition: the passage ``p`` is in the windows of the arguments from ``first`` on.

    The plate must be the credential's: a misread may be another car's plate, and by its plate an index finds the
    passage.
    """
    return f"(${first}::text[] IS NULL OR p.plate = ANY(${first}) AND {decided_in(first)})"


def decided_in(first: int) -> str:
    """Return a condition: a credential of the windows decided the passage ``p``, misread or not."""
    return f"""EXISTS (
        SELECT FROM {windows_of(first)}
        WHERE seen.credential = p.credential_id AND seen.since <= p.received_at
          AND (seen.until IS NULL OR p.received_at < seen.until))"""


SINCE = "greatest(coalesce(c.held_from, c.created_at), c.valid_from)"
UNTIL = """
    least(c.valid_until, CASE c.status WHEN 'revoked' THEN coalesce(c.revoked_at, c.held_from, c.created_at) END)
"""
"""The window of the credential ``c``: since when its holder has the plate, and until when it may pass."""


def seen_in(rows: Iterable[Any]) -> Seen:
    """Return what a resident may see by these rows of ``credential``, ``plate``, ``since`` and ``until``."""
    windows = (Window(str(row["credential"]), row["plate"], row["since"], row["until"]) for row in rows)
    return Seen(tuple(item for item in windows if item.until is None or item.since < item.until))


_COLUMNS = """
SELECT p.id, p.received_at, p.gate, coalesce(k.title, p.gate) AS gate_title, p.direction, p.plate, p.decision,
       p.reason, p.opened, w.name AS gateway, CASE p.reason WHEN 'command' THEN p.device_event_id END AS command,
       p.credential_id AS credential
"""
_NAMES = """
JOIN gateway w ON w.community_id = p.community_id AND w.id = p.gateway_id
LEFT JOIN gate k ON k.community_id = p.community_id AND k.name = p.gate
"""
# $2 and $3 bound the time, $4 is the id at the bound that the page begins from. The bounds are always there: with them
# the partitions outside are left out when the statement starts.
_BOUNDS = {
    keyset.ON: "p.received_at >= $2 AND p.received_at <= $3 AND (p.received_at, p.id) < ($3, $4)",
    keyset.BACK: "p.received_at >= $2 AND p.received_at < $3 AND (p.received_at, p.id) > ($2, $4)",
}
_BEGINNING = datetime.fromisoformat("0001-01-02T00:00:00+00:00")
_END = datetime.fromisoformat("9999-12-30T00:00:00+00:00")


def _query(way: keyset.Way) -> str:
    return f"{_COLUMNS} FROM passage p {_NAMES} WHERE {_wanted(way)} AND $5::text[] IS NULL {_order(way)}"


def _of_plates(way: keyset.Way) -> str:
    # Each plate's latest passages, by the index of plates: looked for in the order of time, a rare plate would be found
    # after all others.
    order = _order(way)
    return f"""
        {_COLUMNS} FROM unnest($5::text[]) AS named(plate)
        CROSS JOIN LATERAL (SELECT p.* FROM passage p WHERE {_wanted(way)} AND p.plate = named.plate {order}) p
        {_NAMES} {order}
    """  # noqa: S608 - text of this module


def _order(way: keyset.Way) -> str:
    return f"ORDER BY p.received_at {way.down}, p.id {way.down} LIMIT $10"


def _wanted(way: keyset.Way) -> str:
    return f"""
        p.community_id = $1 AND {_BOUNDS[way]}
          AND {shown(11)}
          AND ($6::text IS NULL OR strpos(p.plate, $6) > 0 AND p.plate NOT LIKE '~%')
          AND ($7::text IS NULL OR p.gate = $7) AND ($8::text IS NULL OR p.direction = $8)
          AND ($9::text IS NULL OR p.decision = $9)
    """


async def search(
    connection: Connection,
    community_id: int,
    *,
    limit: int,
    before: tuple[datetime, int] | None = None,
    way: keyset.Way = keyset.ON,
    seen: Seen | None = None,
    only: Filter | None = None,
) -> list[Passage]:
    """Return passages, latest first, those that are ``seen`` where given; ``before`` is the last one of the page
    before, or on the way back the first one of the page after."""
    only = only or Filter()
    since, until, last_id = _bounds(before, way, only)
    named = await plate_search.few_with(connection, community_id, only.plate) if only.plate else None
    arguments = (
        named,
        only.plate if named is None else None,
        only.gate,
        only.direction,
        only.decision,
        limit,
        *columns(seen),
    )
    if named == []:
        return []
    query = _query(way) if named is None else _of_plates(way)
    if before is None and only.since is None and only.until is None:
        lately = await connection.fetchval("SELECT now()") - LATELY
        rows = await connection.fetch(query, community_id, lately, until, last_id, *arguments)
        if len(rows) == limit:
            return [Passage(**row) for row in rows]
    rows = await connection.fetch(query, community_id, since, until, last_id, *arguments)
    return [Passage(**row) for row in rows]


def _bounds(place: tuple[datetime, int] | None, way: keyset.Way, only: Filter) -> tuple[datetime, datetime, int]:
    """Return ``$2`` to ``$4`` of the statement."""
    since, until = only.since or _BEGINNING, only.until or _END
    if way is keyset.BACK and place is not None:
        return (since, until, 0) if since > place[0] else (place[0], until, place[1])
    if place is not None and until > place[0]:
        return since, place[0], place[1]
    return since, until, 0


async def of_plate(connection: Connection, community_id: int, plate: str, limit: int) -> list[Passage]:
    """Return the passages of one normalised plate, latest first."""
    bounds = (community_id, _BEGINNING, _END, 0)
    rows = await connection.fetch(
        _of_plates(keyset.ON), *bounds, [plate], None, None, None, None, limit, *columns(None)
    )
    return [Passage(**row) for row in rows]


async def seen_by(connection: Connection, community_id: int, resident_id: int | None) -> Seen:
    """Return what a resident sees."""
    if resident_id is None:
        return Seen()
    return (await seen_by_each(connection, community_id, [resident_id])).get(resident_id, Seen())


async def seen_by_each(connection: Connection, community_id: int, residents: Collection[int]) -> dict[int, Seen]:
    """Return what each of several residents sees, without those who see nothing: passages by their own credentials
    while they held them, and those by their unit's and its visitors' while the resident and the plate belonged to the
    unit.

    A visitor's plate that another unit holds too is left out: a pass for a neighbour's car is no way to follow it.
    """
    rows = await connection.fetch(
        f"""
        SELECT me.id AS resident_id, c.id AS credential, c.plate, {UNTIL} AS until,
               greatest({SINCE}, CASE WHEN me.id IS DISTINCT FROM coalesce(c.resident_id, v.resident_id)
                                      THEN greatest(me.unit_since, r.unit_since) END) AS since
        FROM resident me
        JOIN credential c ON c.community_id = me.community_id
        LEFT JOIN resident r ON r.community_id = c.community_id AND r.id = c.resident_id
        LEFT JOIN visitor_pass v ON v.community_id = c.community_id AND v.id = c.visitor_pass_id
        WHERE me.community_id = $1 AND me.id = ANY($2)
          AND (c.resident_id = me.id OR coalesce(r.unit_id, v.unit_id) = me.unit_id)
          AND (c.visitor_pass_id IS NULL OR NOT EXISTS (
            SELECT FROM credential k JOIN resident o ON o.community_id = k.community_id AND o.id = k.resident_id
            WHERE k.community_id = $1 AND k.plate = c.plate AND o.unit_id IS DISTINCT FROM v.unit_id))
        ORDER BY me.id
        """,  # noqa: S608 - text of this module
        community_id,
        list(residents),
    )
    return {resident_id: seen_in(own) for resident_id, own in groupby(rows, key=lambda row: row["resident_id"])}
