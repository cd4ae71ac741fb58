"""A community's lists as CSV, streamed: as the list pages show them, with the same order and filters.

Rows are read by batches, each in a transaction of its own: a slow reader holds no connection. Each batch goes on behind
the last row of the batch before, so a row that keeps its place in the list is written once. Times are the community's.
"""

import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import astuple
from datetime import datetime
from typing import Any, Literal
from zoneinfo import ZoneInfo

from msgspec import Struct

from parkmesh.server import audit
from parkmesh.server.access import credentials, passages, plate_search, stays
from parkmesh.server.db import database
from parkmesh.server.http.messages import Message
from parkmesh.server.http.problems import Problem
from parkmesh.server.people import csv_tables, residents, table_headers, units
from parkmesh.server.people.csv_tables import Code
from parkmesh.server.reservations import bookings, visitor_passes
from parkmesh.server.spaces import spaces

BATCH = 1000

Kind = Literal[
    "units", "people", "credentials", "spaces", "places", "passages", "stays", "bookings", "visitor-passes", "audit"
]


class Filter(Struct, frozen=True, omit_defaults=True):
    """Which rows to write; None: any. ``since`` and ``until`` are of the time that a row is of: of a booking or pass
    those that touch it. ``plate`` is a part of one, ``action`` of the audit trail is as in ``audit.Filter``."""

    search: str | None = None
    unit_id: int | None = None
    level: str | None = None
    category: spaces.Category | None = None
    plate: str | None = None
    gate: str | None = None
    direction: str | None = None
    decision: str | None = None
    action: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    @property
    def given(self) -> set[str]:
        return {name for name in self.__struct_fields__ if getattr(self, name) is not None}


EVERYTHING = Filter()


_Placed = tuple[tuple[Any, ...], Sequence[object]]
"""A row's place in its list, and its cells."""


class _Asked(Struct, frozen=True):
    """A batch: ``limit`` rows behind ``place`` (None: from the start)."""

    pool: database.Pool
    community_id: int
    only: Filter
    place: Any
    limit: int

    def reading(self) -> AbstractAsyncContextManager[database.Connection]:
        return database.in_community(self.pool, self.community_id, read_only=True)


class _Export(Struct, frozen=True):
    """``filters`` are the fields of ``Filter`` that the list has."""

    header: Sequence[str]
    filters: frozenset[str]
    read: Callable[[_Asked], Awaitable[list[_Placed]]]


async def _units(asked: _Asked) -> list[_Placed]:
    async with asked.reading() as connection:
        found = await units.page(
            connection, asked.community_id, limit=asked.limit, after=asked.place, search=asked.only.search or ""
        )
    return [
        ((unit.name, unit.id), (unit.name, unit.lots, unit.plate_limit, unit.plates, len(unit.residents)))
        for unit in found
    ]


async def _people(asked: _Asked) -> list[_Placed]:
    async with asked.reading() as connection:
        found = await residents.page(
            connection,
            asked.community_id,
            limit=asked.limit,
            after=asked.place,
            unit_id=asked.only.unit_id,
            search=asked.only.search or "",
        )
    return [
        (
            (person.name, person.id),
            (person.id, person.email, person.name, person.unit, person.role and Code(person.role.value), person.active),
        )
        for person in found
    ]


async def _credentials(asked: _Asked) -> list[_Placed]:
    async with asked.reading() as connection:
        found = await credentials.page(
            connection,
            asked.community_id,
            limit=asked.limit,
            after=asked.place,
            search=asked.only.search or "",
            unit_id=asked.only.unit_id,
        )
        emails = await residents.emails(connection, asked.community_id, [item.resident_id for item in found])
    return [
        (
            (item.plate, item.id),
            (
                item.plate,
                emails.get(item.resident_id),
                item.label,
                item.valid_from,
                item.valid_until,
                Code(item.status),
                item.resident,
                item.unit,
                item.visitor,
            ),
        )
        for item in found
    ]


async def _spaces(asked: _Asked) -> list[_Placed]:
    async with asked.reading() as connection:
        found = await spaces.page(
            connection,
            asked.community_id,
            limit=asked.limit,
            after=asked.place and asked.place[0],
            level=asked.only.level,
            category=asked.only.category,
        )
    return [
        (
            (space.name,),
            (
                space.name,
                space.level,
                Code(space.category),
                space.ev,
                space.accessible,
                Code(space.status),
                space.since,
                space.unit,
            ),
        )
        for space in found
    ]


async def _places(asked: _Asked) -> list[_Placed]:
    async with asked.reading() as connection:
        found = await spaces.page(
            connection, asked.community_id, limit=asked.limit, after=asked.place and asked.place[0],
            level=asked.only.level,
        )  # fmt: skip
    return [
        ((space.name,), (space.level, space.name, *(astuple(at) if at else (None,) * 5)))
        for space in found
        for at in (space.geometry,)
    ]


async def _passages(asked: _Asked) -> list[_Placed]:
    only = asked.only
    plate = plate_search.part_of_plate(only.plate) if only.plate else None
    if only.plate and plate is None:
        return []
    wanted = passages.Filter(plate, only.gate, only.direction, only.decision, only.since, only.until)
    async with asked.reading() as connection:
        found = await passages.search(
            connection, asked.community_id, limit=asked.limit, before=asked.place, only=wanted
        )
    return [
        (
            (item.received_at, item.id),
            (
                item.received_at,
                item.gate,
                Code(item.direction),
                item.plate,
                Code(item.decision),
                Code(item.reason),
                item.opened,
                item.gateway,
            ),
        )
        for item in found
    ]


async def _bookings(asked: _Asked) -> list[_Placed]:
    async with asked.reading() as connection:
        found = await bookings.page(
            connection,
            asked.community_id,
            limit=asked.limit,
            after=asked.place,
            unit_id=asked.only.unit_id,
            ends_after=asked.only.since,
            starts_before=asked.only.until,
        )
    return [
        (
            (item.from_, item.id),
            (
                item.id,
                item.space,
                item.level,
                item.unit,
                item.from_,
                item.until,
                Code(item.status),
                item.visitor_pass is not None,
                item.created_at,
                item.cancelled_at,
                item.cancel_reason,
            ),
        )
        for item in found
    ]


async def _stays(asked: _Asked) -> list[_Placed]:
    plate = plate_search.part_of_plate(asked.only.plate) if asked.only.plate else None
    if asked.only.plate and plate is None:
        return []
    wanted = stays.Filter(plate=plate, since=asked.only.since, until=asked.only.until)
    async with asked.reading() as connection:
        found = await stays.page(connection, asked.community_id, limit=asked.limit, before=asked.place, only=wanted)
    return [
        (
            (item.entered_at, item.id),
            (
                item.plate,
                item.unit,
                item.entered_at,
                item.left_at,
                item.closed_by and Code(item.closed_by),
                item.visitor_pass_id is not None,
            ),
        )
        for item in found
    ]


async def _visitor_passes(asked: _Asked) -> list[_Placed]:
    async with asked.reading() as connection:
        found = await visitor_passes.page(
            connection,
            asked.community_id,
            limit=asked.limit,
            after=asked.place,
            unit_id=asked.only.unit_id,
            ends_after=asked.only.since,
            starts_before=asked.only.until,
        )
    return [
        (
            (item.from_, item.id),
            (
                item.id,
                item.unit,
                item.name,
                item.plate,
                item.from_,
                item.until,
                Code(item.status),
                item.space,
                item.created_at,
                item.cancelled_at,
                item.cancel_reason,
            ),
        )
        for item in found
    ]


async def _audit(asked: _Asked) -> list[_Placed]:
    wanted = audit.Filter(action=asked.only.action, since=asked.only.since, until=asked.only.until)
    async with asked.reading() as connection:
        found = await audit.entries(
            connection, asked.community_id, limit=asked.limit, before=asked.place and asked.place[0], only=wanted
        )
    called = await audit.names(asked.pool, asked.community_id, found)
    return [
        (
            (entry.id,),
            (
                entry.seq,
                entry.at,
                entry.actor,
                called.get(entry.actor),
                entry.action,
                entry.object,
                json.dumps(entry.detail, ensure_ascii=False) if entry.detail else None,
                entry.hash.hex(),
            ),
        )
        for entry in found
    ]


_WHEN = frozenset({"since", "until"})
_EXPORTS: dict[Kind, _Export] = {
    "units": _Export(("name", "lots", "plate_limit", "plates", "people"), frozenset({"search"}), _units),
    "people": _Export(
        ("id", "email", "name", "unit", "role", "active"), frozenset({"search", "unit_id"}), _people
    ),
    "credentials": _Export(
        ("plate", "email", "label", "valid_from", "valid_until", "status", "name", "unit", "visitor"),
        frozenset({"search", "unit_id"}),
        _credentials,
    ),
    "spaces": _Export(
        ("name", "level", "category", "ev", "accessible", "status", "since", "unit"),
        frozenset({"level", "category"}),
        _spaces,
    ),
    "places": _Export(("level", "space", "x", "y", "w", "h", "rotation"), frozenset({"level"}), _places),
    "passages": _Export(
        ("received_at", "gate", "direction", "plate", "decision", "reason", "opened", "gateway"),
        frozenset({"plate", "gate", "direction", "decision"}) | _WHEN,
        _passages,
    ),
    "stays": _Export(
        ("plate", "unit", "entered_at", "left_at", "closed_by", "visitor"), frozenset({"plate"}) | _WHEN, _stays
    ),
    "bookings": _Export(
        (
            "id", "space", "level", "unit", "from", "until", "status", "visitor", "created_at", "cancelled_at",
            "cancel_reason",
        ),
        frozenset({"unit_id"}) | _WHEN,
        _bookings,
    ),
    "visitor-passes": _Export(
        (
            "id", "unit", "name", "plate", "from", "until", "status", "space", "created_at", "cancelled_at",
            "cancel_reason",
        ),
        frozenset({"unit_id"}) | _WHEN,
        _visitor_passes,
    ),
    "audit": _Export(
        ("seq", "time", "actor", "who", "action", "object", "detail", "hash"), frozenset({"action"}) | _WHEN, _audit
    ),
}  # fmt: skip


def check(kind: Kind, only: Filter) -> None:
    """Raise ``Problem`` 422 for a filter that the list doesn't have: more than was asked for must not get out."""
    for name in sorted(only.given - _EXPORTS[kind].filters):
        raise Problem(
            422, Message("%(name)s: this list has no such filter", name=_NAMES.get(name, name)), kind="invalid"
        )


_NAMES = {"search": "q", "unit_id": "unit"}


async def write(
    pool: database.Pool,
    community_id: int,
    kind: Kind,
    zone: ZoneInfo,
    only: Filter = EVERYTHING,
    language: table_headers.Language = table_headers.DEFAULT,
) -> AsyncGenerator[bytes]:
    """Yield a list by batches, times in ``zone``, names of columns and codes in ``language``."""
    export = _EXPORTS[kind]
    header = csv_tables.line(table_headers.shown(name, language) for name in export.header)
    yield (csv_tables.BYTE_ORDER_MARK + header).encode()
    place: Any = None
    while True:
        found = await export.read(_Asked(pool, community_id, only, place, BATCH))
        if found:
            yield "".join(csv_tables.line(cells, zone, language) for _, cells in found).encode()
        if len(found) < BATCH:
            return
        place = found[-1][0]
