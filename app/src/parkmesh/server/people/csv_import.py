"""Tables of units, residents, plates, spaces and places on the map taken over from a community's own lists.

A table is applied whole or not at all. Every mistake is named by its line, also mistakes that only the database finds:
a dry run does all the work and rolls it back. Values that a table leaves out stay as they are, and nothing is ever
deleted. What an export wrote can be taken over: of its further columns nothing is taken, and its rows of people who
left, of refused plates and of visitors' plates are left out.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal
from zoneinfo import ZoneInfo

import asyncpg
from msgspec import structs

from parkmesh.domain import plates
from parkmesh.server import audit
from parkmesh.server.access import alike
from parkmesh.server.db.database import Connection
from parkmesh.server.http.messages import Message
from parkmesh.server.http.problems import Problem
from parkmesh.server.identity.principals import Principal
from parkmesh.server.people import csv_tables, table_places
from parkmesh.server.people.csv_tables import Column, Encoding, Row, Table
from parkmesh.server.people.mistakes import Confusion, Mistake, Wrong
from parkmesh.server.people.table_places import Placed
from parkmesh.server.people.units import PLATE_LIMIT
from parkmesh.server.spaces import spaces

MAX_BYTES = 2 * 1024 * 1024
MAX_ROWS = 10_000
MAX_MISTAKES = 200
LEAST_EXTENT = 0.001
"""The smallest width of a space that a table takes: it has three decimals."""
MAX_LEVELS = 1000

Kind = Literal["units", "residents", "plates", "spaces", "places"]

_EMAIL = re.compile(r"[^@\s]+@[^@\s]+")
_SPACE = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import did, or would do in a dry run.

    ``mistakes`` has the first of ``mistake_count`` mistakes. Where there is one, the import changes nothing.
    ``left_out`` counts rows that an export has and an import doesn't take: people who left, refused plates, visitors'
    plates. ``ignored`` names columns of which nothing is taken. ``encoding`` is what the file was read as; where it is
    windows-1252, which almost any file could be, ``sample`` has cells by which a person sees whether that is right.
    ``missing_units`` has the first units that rows of residents name and the community doesn't have; the import makes
    them if it was asked to. ``warnings`` has the first of ``warning_count`` new plates that gates may confuse with
    another; the import takes them.
    """

    applied: bool
    rows: int
    created: int
    updated: int
    unchanged: int
    mistake_count: int
    mistakes: list[Mistake]
    left_out: int
    ignored: list[str]
    encoding: Encoding
    sample: list[str]
    missing_units: list[str]
    warning_count: int = 0
    warnings: list[Confusion] = field(default_factory=list)


class _Done:
    """What was done so far in the transaction, and whether units may be made in it."""

    def __init__(self, make_units: bool) -> None:
        self.make_units = make_units
        self.created = 0
        self.updated = 0
        self.mistakes: list[Mistake] = []
        self.missing_units: list[str] = []
        self.confusions: list[Confusion] = []


class _DryRun(Exception):
    pass


def _email(cell: str) -> str:
    if len(cell) > 254 or not _EMAIL.fullmatch(cell):
        raise Wrong(Message("not an e-mail address"))
    return cell.lower()


def _plate(cell: str) -> str:
    plate = plates.normalise(cell)
    if plate is None:
        raise Wrong(Message("not a licence plate"))
    return plate


def _space(cell: str) -> str:
    if not _SPACE.fullmatch(cell):
        raise Wrong(Message("not a space's name: lower-case letters, digits and - inside"))
    return cell


def _note(cell: str) -> str:
    """Read what only exports say."""
    return cell


COLUMNS: dict[Kind, Sequence[Column]] = {
    "units": (
        Column("name", csv_tables.text(60), required=True),
        Column("lots", csv_tables.number(0, 1000)),
        Column("plate_limit", csv_tables.number(0, 1000)),
        Column("plates", _note, taken=False),
        Column("people", _note, taken=False),
    ),
    "residents": (
        Column("email", _email, required=True),
        Column("name", csv_tables.text(120), required=True),
        Column("unit", csv_tables.text(60)),
        Column("id", _note, taken=False),
        Column("role", _note, taken=False),
        Column("active", csv_tables.yes_or_no, taken=False),
    ),
    "plates": (
        Column("plate", _plate, required=True),
        Column("email", _email),
        Column("label", csv_tables.text(60)),
        Column("valid_from", csv_tables.moment),
        Column("valid_until", csv_tables.moment),
        Column("status", csv_tables.one_of("active", "revoked"), taken=False),
        Column("name", _note, taken=False),
        Column("unit", _note, taken=False),
        Column("visitor", csv_tables.yes_or_no, taken=False),
    ),
    "spaces": (
        Column("name", _space, required=True),
        Column("level", csv_tables.text(60)),
        Column("category", csv_tables.one_of("assigned", "shared", "visitor")),
        Column("ev", csv_tables.yes_or_no),
        Column("accessible", csv_tables.yes_or_no),
        Column("status", _note, taken=False),
        Column("since", _note, taken=False),
        Column("unit", _note, taken=False),
    ),
    "places": (
        Column("space", _space, required=True),
        Column("level", csv_tables.text(60)),
        Column("x", csv_tables.decimal(0, spaces.MAX_EXTENT)),
        Column("y", csv_tables.decimal(0, spaces.MAX_EXTENT)),
        Column("w", csv_tables.decimal(LEAST_EXTENT, spaces.MAX_EXTENT)),
        Column("h", csv_tables.decimal(LEAST_EXTENT, spaces.MAX_EXTENT)),
        Column("rotation", csv_tables.decimal(0, 359.999)),
    ),
}
_KEYS: dict[Kind, tuple[str, ...]] = {
    "units": ("name",),
    "residents": ("email",),
    "plates": ("plate", "email"),
    "spaces": ("name",),
    "places": ("space",),
}


async def read(kind: Kind, data: bytes, zone: ZoneInfo) -> Table:
    """Read a file, beside the event loop: a workbook takes its time. ``zone`` is that of its times."""
    return await asyncio.to_thread(csv_tables.read, COLUMNS[kind], data, MAX_ROWS, zone)


async def run(
    connection: Connection,
    principal: Principal,
    community_id: int,
    kind: Kind,
    table: Table,
    *,
    dry_run: bool,
    encoding: Encoding | None = None,
    make_units: bool = False,
) -> ImportReport:
    """Apply a table, or see what it would do. ``connection`` is inside ``database.in_community``.

    ``encoding`` is what the caller takes the table for. Raises ``Problem`` 422 of kind ``encoding`` where it is another
    one, or where a table is to be applied whose sample was not confirmed.
    """
    if table.encoding != encoding and (encoding is not None or (table.sample and not dry_run)):
        raise Problem(
            422,
            Message("The table was read as %(encoding)s. Look at the sample and confirm it.", encoding=table.encoding),
            kind="encoding",
            encoding=table.encoding,
            sample=table.sample,
        )
    rows = [row for row in table.rows if not _left_out(kind, row)]
    done = _Done(make_units)
    done.mistakes = table.mistakes + _doubles(rows, _KEYS[kind])
    try:
        async with connection.transaction():
            if not done.mistakes:
                # Two tables at once take turns.
                await connection.execute(
                    "SELECT pg_advisory_xact_lock(hashtextextended($1, 6))", f"import/{community_id}"
                )
                await _APPLY[kind](connection, principal, community_id, rows, done)
            if done.mistakes or dry_run:
                raise _DryRun
            detail: dict[str, Any] = {"rows": len(rows), "created": done.created, "updated": done.updated}
            if done.missing_units:
                detail["units_made"] = len(done.missing_units)
            await audit.record(connection, principal, community_id, f"{kind}.import", f"{kind}", detail)
    except _DryRun:
        pass
    except asyncpg.UniqueViolationError:
        raise Problem(409, "Somebody changed the same things at this moment. Try again.", kind="conflict") from None
    return ImportReport(
        applied=not done.mistakes and not dry_run,
        rows=len(rows),
        created=0 if done.mistakes else done.created,
        updated=0 if done.mistakes else done.updated,
        unchanged=0 if done.mistakes else len(rows) - done.created - done.updated,
        mistake_count=len(done.mistakes),
        mistakes=sorted(done.mistakes, key=lambda mistake: mistake.line)[:MAX_MISTAKES],
        left_out=len(table.rows) - len(rows),
        ignored=table.ignored,
        encoding=table.encoding,
        sample=table.sample,
        missing_units=done.missing_units[:MAX_MISTAKES],
        warning_count=0 if done.mistakes else len(done.confusions),
        warnings=[] if done.mistakes else done.confusions[:MAX_MISTAKES],
    )


def _left_out(kind: Kind, row: Row) -> bool:
    """Tell whether an export wrote a row that must not come back: it would let people in who may no longer enter."""
    if kind == "residents":
        return row["active"] is False
    return kind == "plates" and (row["visitor"] is True or row["status"] == "revoked")


def _doubles(rows: Iterable[Row], key: tuple[str, ...]) -> list[Mistake]:
    first: dict[tuple[Any, ...], int] = {}
    mistakes = []
    for row in rows:
        value = tuple(row[name] for name in key)
        if value in first:
            mistakes.append(Mistake(row.line, key[0], Message("the same as in line %(line)s", line=first[value])))
        else:
            first[value] = row.line
    return mistakes


async def _units(connection: Connection, principal: Principal, community_id: int, rows: list[Row], done: _Done) -> None:
    names = [row["name"] for row in rows]
    found = await connection.fetch(
        "SELECT name, lots, plate_limit FROM unit WHERE community_id = $1 AND name = ANY($2) FOR UPDATE",
        community_id,
        names,
    )
    known = {row["name"]: row for row in found}
    await connection.execute(
        """
        INSERT INTO unit (community_id, name, lots, plate_limit)
        SELECT $1, u.name, u.lots, coalesce(u.plate_limit, $6)
        FROM unnest($2::text[], $3::int[], $4::int[]) AS u(name, lots, plate_limit)
        ON CONFLICT (community_id, name) DO UPDATE
            SET lots = coalesce(excluded.lots, unit.lots),
                plate_limit = CASE WHEN excluded.name = ANY($5) THEN excluded.plate_limit ELSE unit.plate_limit END
        """,
        community_id,
        names,
        [row["lots"] for row in rows],
        [row["plate_limit"] for row in rows],
        [row["name"] for row in rows if row["plate_limit"] is not None],
        PLATE_LIMIT,
    )
    _count(rows, known, "name", ("lots", "plate_limit"), done)


async def _residents(
    connection: Connection, principal: Principal, community_id: int, rows: list[Row], done: _Done
) -> None:
    units = {
        row["name"]: row["id"]
        for row in await connection.fetch("SELECT id, name FROM unit WHERE community_id = $1", community_id)
    }
    missing = [row for row in rows if row["unit"] is not None and row["unit"] not in units]
    done.missing_units = list(dict.fromkeys(row["unit"] for row in missing))
    if missing and not done.make_units:
        what = Message("the community has no such unit: import the units first, or let this import make them")
        done.mistakes += [Mistake(row.line, "unit", what) for row in missing]
        return
    made = await connection.fetch(
        """
        INSERT INTO unit (community_id, name, plate_limit) SELECT $1, u.name, $3 FROM unnest($2::text[]) AS u(name)
        RETURNING id, name
        """,
        community_id,
        done.missing_units,
        PLATE_LIMIT,
    )
    units |= {row["name"]: row["id"] for row in made}
    found = await connection.fetch(
        """
        SELECT r.email, r.name, u.name AS unit FROM resident r
        LEFT JOIN unit u ON u.community_id = r.community_id AND u.id = r.unit_id
        WHERE r.community_id = $1 AND r.email = ANY($2) FOR UPDATE OF r
        """,
        community_id,
        [row["email"] for row in rows],
    )
    known = {row["email"]: row for row in found}
    changed = [row for row in rows if _differs(row, known.get(row["email"]), ("name", "unit"))]
    await connection.execute(
        """
        INSERT INTO resident (community_id, email, name, unit_id)
        SELECT $1, u.email, u.name, u.unit_id
        FROM unnest($2::text[], $3::text[], $4::bigint[]) AS u(email, name, unit_id)
        ON CONFLICT (community_id, email) DO UPDATE
            SET name = excluded.name, unit_id = coalesce(excluded.unit_id, resident.unit_id)
        """,
        community_id,
        [row["email"] for row in changed],
        [row["name"] for row in changed],
        [units.get(row["unit"]) for row in changed],
    )
    _count(rows, known, "email", ("name", "unit"), done)


async def _plates(
    connection: Connection, principal: Principal, community_id: int, rows: list[Row], done: _Done
) -> None:
    emails = {row["email"] for row in rows} - {None}
    people = {
        row["email"]: row
        for row in await connection.fetch(
            """
            SELECT id, email, unit_id, active FROM resident WHERE community_id = $1 AND email = ANY($2) FOR SHARE
            """,
            community_id,
            sorted(emails),
        )
    }
    for row in rows:
        if row["email"] is not None and (row["email"] not in people or not people[row["email"]]["active"]):
            what = Message("the community has no such resident, or the person left")
            done.mistakes.append(Mistake(row.line, "email", what))
        if row["valid_from"] and row["valid_until"] and row["valid_from"] >= row["valid_until"]:
            done.mistakes.append(Mistake(row.line, "valid_until", Message("not after valid_from")))
    if done.mistakes:
        return
    # Every transaction that adds a plate holds its unit first.
    touched = sorted({people[email]["unit_id"] for email in emails} - {None})
    await connection.execute(
        "SELECT FROM unit WHERE community_id = $1 AND id = ANY($2) ORDER BY id FOR UPDATE", community_id, touched
    )
    holders = [people[row["email"]]["id"] if row["email"] else None for row in rows]
    found = await connection.fetch(
        """
        SELECT c.id, c.plate, c.resident_id, c.label, c.valid_from, c.valid_until FROM credential c
        WHERE c.community_id = $1 AND c.visitor_pass_id IS NULL AND c.plate = ANY($2) FOR UPDATE
        """,
        community_id,
        [row["plate"] for row in rows],
    )
    known = {(row["plate"], row["resident_id"]): row for row in found}
    pairs = list(zip(rows, holders, strict=True))
    new = [(row, holder) for row, holder in pairs if (row["plate"], holder) not in known]
    changes: list[tuple[int, str, datetime | None, datetime | None]] = []
    for row, holder in pairs:
        present = known.get((row["plate"], holder))
        if present is None or not _differs(row, present, ("label", "valid_from", "valid_until")):
            continue
        wanted = [
            present[name] if row[name] is None or csv_tables.same(row[name], present[name]) else row[name]
            for name in ("label", "valid_from", "valid_until")
        ]
        if wanted[1] and wanted[2] and wanted[1] >= wanted[2]:
            done.mistakes.append(Mistake(row.line, "valid_until", Message("not after valid_from")))
        changes.append((present["id"], *wanted))
    if done.mistakes:
        return
    # One statement each: one version of the access list, one push to the gateways.
    if changes:
        await connection.execute(
            """
            UPDATE credential c SET label = u.label, valid_from = u.valid_from, valid_until = u.valid_until
            FROM unnest($2::bigint[], $3::text[], $4::timestamptz[], $5::timestamptz[])
                AS u(id, label, valid_from, valid_until)
            WHERE c.community_id = $1 AND c.id = u.id
            """,
            community_id,
            *(list(column) for column in zip(*changes, strict=True)),
        )
    if new:
        await connection.execute(
            """
            INSERT INTO credential (community_id, plate, resident_id, label, valid_from, valid_until)
            SELECT $1, u.plate, u.resident_id, coalesce(u.label, ''), u.valid_from, u.valid_until
            FROM unnest($2::text[], $3::bigint[], $4::text[], $5::timestamptz[], $6::timestamptz[])
                AS u(plate, resident_id, label, valid_from, valid_until)
            """,
            community_id,
            [row["plate"] for row, _ in new],
            [holder for _, holder in new],
            *([row[name] for row, _ in new] for name in ("label", "valid_from", "valid_until")),
        )
    done.created, done.updated = len(new), len(changes)
    await _check_room(connection, community_id, [row for row, _ in new], people, touched, done)
    others = await alike.each(connection, community_id, (row["plate"] for row, _ in new))
    done.confusions = [
        Confusion(row.line, row["plate"], list(others[row["plate"]])) for row, _ in new if row["plate"] in others
    ]


async def _check_room(
    connection: Connection, community_id: int, new: list[Row], people: dict[str, Any], units: list[int], done: _Done
) -> None:
    """Find the rows that make a unit hold more plates than it may."""
    full = {
        row["id"]: row["plate_limit"]
        for row in await connection.fetch(
            """
            SELECT u.id, u.plate_limit FROM unit u
            JOIN resident r ON r.community_id = u.community_id AND r.unit_id = u.id
            JOIN credential c ON c.community_id = r.community_id AND c.resident_id = r.id
            WHERE u.community_id = $1 AND u.id = ANY($2) AND c.status = 'active' AND c.visitor_pass_id IS NULL
            GROUP BY u.community_id, u.id HAVING count(*) > u.plate_limit
            """,
            community_id,
            units,
        )
    }
    for row in new:
        unit = people[row["email"]]["unit_id"] if row["email"] else None
        if unit in full:
            what = Message("the unit would hold more plates than its %(limit)s", limit=full[unit])
            done.mistakes.append(Mistake(row.line, "plate", what))


async def _spaces(
    connection: Connection, principal: Principal, community_id: int, rows: list[Row], done: _Done
) -> None:
    fields = ("level", "category", "ev", "accessible")
    known = {space.name: space for space in await spaces.all_of(connection, community_id)}
    new = [row for row in rows if row["name"] not in known]
    await connection.execute(
        """
        INSERT INTO space (community_id, name, level, category, ev, accessible)
        SELECT $1, u.name, coalesce(u.level, ''), coalesce(u.category, 'shared'), coalesce(u.ev, false),
               coalesce(u.accessible, false)
        FROM unnest($2::text[], $3::text[], $4::text[], $5::bool[], $6::bool[])
            AS u(name, level, category, ev, accessible)
        """,
        community_id,
        [row["name"] for row in new],
        *([row[name] for row in new] for name in fields),
    )
    done.created = len(new)
    now = datetime.now(UTC)
    same_category = []
    for row in rows:
        present = known.get(row["name"])
        given = {name: row[name] for name in fields if row[name] is not None}
        if present is None or structs.replace(present, **given) == present:
            continue
        done.updated += 1
        wanted = structs.replace(
            spaces.Attributes(present.level, present.category, present.ev, present.accessible, present.geometry),
            **given,
        )
        if wanted.category == present.category:
            same_category.append((row["name"], *(getattr(wanted, name) for name in fields)))
            continue
        try:
            # Whether it may change depends on who has the space when.
            await spaces.change(connection, principal, community_id, row["name"], wanted, now)
        except Problem as problem:
            done.mistakes.append(Mistake(row.line, "category", problem.detail))
    if same_category:
        await connection.execute(
            """
            UPDATE space s SET level = u.level, category = u.category, ev = u.ev, accessible = u.accessible
            FROM unnest($2::text[], $3::text[], $4::text[], $5::bool[], $6::bool[])
                AS u(name, level, category, ev, accessible)
            WHERE s.community_id = $1 AND s.name = u.name
            """,
            community_id,
            *(list(column) for column in zip(*same_category, strict=True)),
        )
    await connection.execute("SELECT pg_notify('parkmesh_live', $1)", f"{community_id}:s")


async def _places(
    connection: Connection, principal: Principal, community_id: int, rows: list[Row], done: _Done
) -> None:
    # Before what they are is read: levels may not shrink or go, and spaces not move, until this is written.
    await connection.execute("SELECT FROM level WHERE community_id = $1 ORDER BY id FOR SHARE", community_id)
    await connection.execute(
        "SELECT FROM space WHERE community_id = $1 AND name = ANY($2) ORDER BY name FOR NO KEY UPDATE",
        community_id,
        [row["space"] for row in rows],
    )
    present = {space.name: space for space in await spaces.all_of(connection, community_id)}
    levels = {level.name: level for level in await spaces.levels(connection, community_id, limit=MAX_LEVELS)}
    changes: list[Placed] = []
    for row in rows:
        found = table_places.placed(row, present.get(row["space"]), levels)
        if isinstance(found, Mistake):
            done.mistakes.append(found)
        elif found:
            changes.append(found)
    done.updated = len(changes)
    if done.mistakes or not changes:
        return
    places = [change.geometry for change in changes]
    await connection.execute(
        """
        UPDATE space s SET level = u.level, x = u.x, y = u.y, w = u.w, h = u.h, rotation = u.rotation
        FROM unnest($2::text[], $3::text[], $4::float8[], $5::float8[], $6::float8[], $7::float8[], $8::float8[])
            AS u(name, level, x, y, w, h, rotation)
        WHERE s.community_id = $1 AND s.name = u.name
        """,
        community_id,
        [change.name for change in changes],
        [change.level for change in changes],
        *([at and getattr(at, field) for at in places] for field in ("x", "y", "w", "h", "rotation")),
    )
    await connection.execute("SELECT pg_notify('parkmesh_live', $1)", f"{community_id}:s")


def _differs(row: Row, present: Any | None, fields: Iterable[str]) -> bool:
    """Tell whether a row says anything that isn't so already."""
    return present is None or any(
        row[name] is not None and not csv_tables.same(row[name], present[name]) for name in fields
    )


def _count(rows: Iterable[Row], known: dict[str, Any], key: str, fields: tuple[str, ...], done: _Done) -> None:
    for row in rows:
        present = known.get(row[key])
        if present is None:
            done.created += 1
        elif _differs(row, present, fields):
            done.updated += 1


_APPLY: dict[Kind, Callable[[Connection, Principal, int, list[Row], _Done], Awaitable[None]]] = {
    "units": _units,
    "residents": _residents,
    "plates": _plates,
    "spaces": _spaces,
    "places": _places,
}
