"""The people of a community: who they are, which unit they belong to, and whether they still do.

A resident needs no account; one gets it by accepting an invitation. A resident who leaves is deactivated: their plates
no longer open, and their account no longer belongs to the community. Connections are inside ``database.in_community``.
"""

from collections.abc import Iterable
from datetime import datetime
from typing import Any

import asyncpg
from msgspec import Struct, structs

from parkmesh.server import audit
from parkmesh.server.db import keyset
from parkmesh.server.db.database import Connection
from parkmesh.server.http import problems
from parkmesh.server.http.problems import Problem
from parkmesh.server.identity.principals import Principal, Role


class Resident(Struct, frozen=True):
    """``role`` is the role of the resident's account in the community, None without an account. ``erasure_asked_at``:
    since when the resident asks for the erasure of their data."""

    id: int
    email: str
    name: str
    unit_id: int | None
    unit: str | None
    active: bool
    role: Role | None
    erasure_asked_at: datetime | None


_SELECT = """
    SELECT r.id, r.email, r.name, r.unit_id, u.name AS unit, r.active, r.erasure_asked_at,
           (SELECT min(m.role) FROM membership m WHERE m.community_id = r.community_id AND m.resident_id = r.id) AS role
    FROM resident r LEFT JOIN unit u ON u.community_id = r.community_id AND u.id = r.unit_id
    WHERE r.community_id = $1 AND r.erased_at IS NULL
"""


def _resident(row: Any) -> Resident:
    values = dict(row)
    role = values.pop("role")
    return Resident(**values, role=Role(role) if role else None)


async def page(
    connection: Connection,
    community_id: int,
    *,
    limit: int,
    after: tuple[str, int] | None = None,
    way: keyset.Way = keyset.ON,
    unit_id: int | None = None,
    search: str = "",
) -> list[Resident]:
    """Return residents by name; of one unit, or whose name, e-mail or unit contains ``search``, where given."""
    rows = await connection.fetch(
        f"""
        {_SELECT} AND ($2::text IS NULL OR (r.name, r.id) {way.above} ($2, $3))
          AND ($4::bigint IS NULL OR r.unit_id = $4)
          AND ($5 = '' OR strpos(lower(concat_ws(' ', r.name, r.email, u.name)), lower($5)) > 0)
        ORDER BY r.name {way.up}, r.id {way.up} LIMIT $6
        """,
        community_id,
        *(after or (None, 0)),
        unit_id,
        search,
        limit,
    )
    return [_resident(row) for row in rows]


async def asking_for_erasure(connection: Connection, community_id: int) -> list[Resident]:
    """Return those who ask for the erasure of their data, who asked first before the others."""
    rows = await connection.fetch(
        f"{_SELECT} AND r.erasure_asked_at IS NOT NULL ORDER BY r.erasure_asked_at, r.id", community_id
    )
    return [_resident(row) for row in rows]


async def without_account(connection: Connection, community_id: int) -> int:
    """Return how many people of the community have neither an account nor an open invitation."""
    count: int = await connection.fetchval(
        """
        SELECT count(*) FROM resident r
        WHERE r.community_id = $1 AND r.active AND r.erased_at IS NULL
          AND NOT EXISTS (SELECT FROM membership m WHERE m.community_id = $1 AND m.resident_id = r.id)
          AND NOT EXISTS (SELECT FROM invitation i WHERE i.community_id = $1 AND i.kind = 'join' AND i.email = r.email
                          AND i.accepted_at IS NULL AND i.revoked_at IS NULL AND i.expires_at > now())
        """,
        community_id,
    )
    return count


async def get(connection: Connection, community_id: int, resident_id: int, *, lock: bool = False) -> Resident:
    """Return a resident, locked for a change where asked; raise ``Problem`` 404."""
    if lock:
        await connection.execute(
            "SELECT FROM resident WHERE community_id = $1 AND id = $2 FOR UPDATE", community_id, resident_id
        )
    row = await connection.fetchrow(f"{_SELECT} AND r.id = $2", community_id, resident_id)
    if row is None:
        raise problems.not_found()
    return _resident(row)


async def emails(
    connection: Connection, community_id: int, resident_ids: Iterable[int | None]
) -> dict[int | None, str]:
    """Return the addresses of some residents by id, without those who were erased."""
    rows = await connection.fetch(
        "SELECT id, email FROM resident WHERE community_id = $1 AND id = ANY($2) AND erased_at IS NULL",
        community_id,
        [item for item in resident_ids if item is not None],
    )
    return {row["id"]: row["email"] for row in rows}


async def create(
    connection: Connection, principal: Principal, community_id: int, email: str, name: str, unit_id: int | None
) -> Resident:
    """Add a person without an account; raise ``Problem`` 409 where the address is known, 422 for an unknown unit."""
    try:
        async with connection.transaction():
            resident_id: int = await connection.fetchval(
                "INSERT INTO resident (community_id, email, name, unit_id) VALUES ($1, $2, $3, $4) RETURNING id",
                community_id,
                email,
                name,
                unit_id,
            )
    except asyncpg.UniqueViolationError:
        raise _taken() from None
    except asyncpg.ForeignKeyViolationError:
        raise no_such_unit() from None
    await audit.record(
        connection, principal, community_id, "resident.create", f"resident/{resident_id}", {"unit": unit_id}
    )
    return await get(connection, community_id, resident_id)


async def change(
    connection: Connection, principal: Principal, community_id: int, resident: Resident, changes: dict[str, Any]
) -> Resident:
    """Change ``email``, ``name``, ``unit_id`` or ``active`` of a resident who is locked.

    Raises ``Problem`` 409 where the address is taken or belongs to an account, or where administrators would lock
    themselves out; 422 for an unknown unit.
    """
    wanted = structs.replace(resident, **changes)
    if wanted == resident:
        return resident
    if wanted.email != resident.email and resident.role is not None:
        raise Problem(409, "Their account signs in with this address; only they can change it.", kind="has-account")
    if resident.active and not wanted.active:
        await _leave(connection, principal, community_id, resident)
    try:
        async with connection.transaction():
            await connection.execute(
                """
                UPDATE resident SET email = $3, name = $4, unit_id = $5, active = $6
                WHERE community_id = $1 AND id = $2
                """,
                community_id,
                resident.id,
                wanted.email,
                wanted.name,
                wanted.unit_id,
                wanted.active,
            )
    except asyncpg.UniqueViolationError:
        raise _taken() from None
    except asyncpg.ForeignKeyViolationError:
        raise no_such_unit() from None
    # Which fields changed; also the new value, unless the field names or addresses a person.
    detail = {key: value if key in ("unit_id", "active") else "changed" for key, value in changes.items()}
    await audit.record(connection, principal, community_id, "resident.change", f"resident/{resident.id}", detail)
    return await get(connection, community_id, resident.id)


async def delete(connection: Connection, principal: Principal, community_id: int, resident: Resident) -> None:
    """Delete a resident who was entered by mistake and to whom nothing belongs. Other residents are deactivated or
    erased."""
    try:
        async with connection.transaction():
            await connection.execute(
                "DELETE FROM resident WHERE community_id = $1 AND id = $2", community_id, resident.id
            )
    except asyncpg.ForeignKeyViolationError:
        raise Problem(
            409,
            "This person has an account, plates or visits here. Deactivate them or erase their data instead.",
            kind="in-use",
        ) from None
    await audit.record(connection, principal, community_id, "resident.delete", f"resident/{resident.id}")


async def _leave(connection: Connection, principal: Principal, community_id: int, resident: Resident) -> None:
    """Take from a resident who leaves what lets them in: plates, the account's membership, permit, invitations.

    Raises ``Problem`` 403 where a program would take away a person's account, 409 where administrators would take away
    their own.
    """
    if principal.api_key is not None and resident.role is not None:
        raise Problem(403, "An API key can't do this; a person has to.")
    forbid_locking_oneself_out(principal, await member_user(connection, community_id, resident.id))
    await connection.execute(
        "UPDATE credential SET status = 'revoked' WHERE community_id = $1 AND resident_id = $2 AND status = 'active'",
        community_id,
        resident.id,
    )
    for table in ("membership", "permit"):
        await connection.execute(
            f"DELETE FROM {table} WHERE community_id = $1 AND resident_id = $2",  # noqa: S608 - names from here
            community_id,
            resident.id,
        )
    await connection.execute(
        """
        UPDATE invitation SET revoked_at = now()
        WHERE community_id = $1 AND email = $2 AND accepted_at IS NULL AND revoked_at IS NULL
        """,
        community_id,
        resident.email,
    )


async def member_user(connection: Connection, community_id: int, resident_id: int) -> int | None:
    """Return the id of the user who is this resident, or None where the resident has no account here."""
    found: int | None = await connection.fetchval(
        "SELECT user_id FROM membership WHERE community_id = $1 AND resident_id = $2 ORDER BY user_id LIMIT 1",
        community_id,
        resident_id,
    )
    return found


def forbid_locking_oneself_out(principal: Principal, user_id: int | None) -> None:
    """Raise ``Problem`` 409 where users would take away their own place in the community; operators have none."""
    if user_id is not None and user_id == principal.user_id and not principal.operator:
        raise Problem(
            409, "You can't remove your own access to the community; another administrator can.", kind="own-place"
        )


def no_such_unit() -> Problem:
    return Problem(422, "unit: the community has no such unit", kind="invalid")


def _taken() -> Problem:
    return Problem(409, "The community has a person with this e-mail address already.", kind="taken")
