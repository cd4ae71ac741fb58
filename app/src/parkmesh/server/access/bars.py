"""Bars: staff forbid a plate to pass, whoever holds it, and say why.

In the access list a bar is an entry of its own, whose id is below 0, and while it stands all credentials of exactly its
plate are revoked there, those too that are added later. So gateways of an earlier release refuse the plate without
knowing of bars; those of this one say ``barred``. Connections are inside ``database.in_community``.
"""

from dataclasses import dataclass
from datetime import datetime

import asyncpg

from parkmesh.domain import plates
from parkmesh.server import audit
from parkmesh.server.db import keyset
from parkmesh.server.db.database import Connection
from parkmesh.server.http import problems
from parkmesh.server.http.problems import Problem
from parkmesh.server.identity.principals import Principal


@dataclass(frozen=True, slots=True)
class Bar:
    """A plate that may not pass, and why."""

    id: int
    plate: str
    reason: str
    made_at: datetime


_SELECT = "SELECT id, plate, reason, made_at FROM bar WHERE community_id = $1 AND lifted_at IS NULL"


async def page(
    connection: Connection,
    community_id: int,
    *,
    limit: int,
    after: tuple[str] | None = None,
    way: keyset.Way = keyset.ON,
    search: str = "",
) -> list[Bar]:
    """Return the bars that stand, by plate; those whose plate or reason contains ``search``."""
    rows = await connection.fetch(
        f"""
        {_SELECT} AND ($2::text IS NULL OR plate {way.above} $2)
          AND ($3 = '' OR strpos(plate, $4) > 0 OR strpos(lower(reason), lower($3)) > 0)
        ORDER BY plate {way.up} LIMIT $5
        """,
        community_id,
        after[0] if after else None,
        search,
        plates.normalise(search) or search,
        limit,
    )
    return [Bar(**row) for row in rows]


async def get(connection: Connection, community_id: int, bar_id: int, *, lock: bool = False) -> Bar:
    """Return a bar that stands, locked where asked; raise ``Problem`` 404."""
    row = await connection.fetchrow(f"{_SELECT} AND id = $2" + (" FOR UPDATE" if lock else ""), community_id, bar_id)
    if row is None:
        raise problems.not_found()
    return Bar(**row)


async def of(connection: Connection, community_id: int, plate: str) -> Bar | None:
    """Return the bar that stands of a normalised plate."""
    row = await connection.fetchrow(f"{_SELECT} AND plate = $2", community_id, plate)
    return Bar(**row) if row else None


async def create(connection: Connection, principal: Principal, community_id: int, plate: str, reason: str) -> Bar:
    """Bar a normalised plate; raise ``Problem`` 409 where it is barred already."""
    try:
        async with connection.transaction():
            row = await connection.fetchrow(
                """
                INSERT INTO bar (community_id, plate, reason) VALUES ($1, $2, $3)
                RETURNING id, plate, reason, made_at
                """,
                community_id,
                plate,
                reason,
            )
    except asyncpg.UniqueViolationError:
        raise Problem(409, "This plate is barred already.", kind="taken") from None
    made = Bar(**row)
    await audit.record(
        connection, principal, community_id, "bar.create", f"bar/{made.id}", {"plate": plates.masked(plate)}
    )
    return made


async def lift(connection: Connection, principal: Principal, community_id: int, bar: Bar) -> None:
    """Let a plate pass again, as far as its credentials do. ``bar`` is locked."""
    await connection.execute(
        "UPDATE bar SET lifted_at = now() WHERE community_id = $1 AND id = $2", community_id, bar.id
    )
    await audit.record(
        connection, principal, community_id, "bar.lift", f"bar/{bar.id}", {"plate": plates.masked(bar.plate)}
    )
