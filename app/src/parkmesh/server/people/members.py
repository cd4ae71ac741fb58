"""Accounts that belong to a community, and what they may do there.

The names of accounts belong to signing in, not to a community: these functions take the pool and open a transaction
that sees accounts and community.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from msgspec import Struct

from parkmesh.server import audit
from parkmesh.server.db import database, keyset
from parkmesh.server.db.database import Connection
from parkmesh.server.http import problems
from parkmesh.server.identity.principals import Principal, Role
from parkmesh.server.people.residents import forbid_locking_oneself_out


class Member(Struct, frozen=True):
    """``id`` is the account's; ``resident_id`` the person of the community whose account it is, None for a
    caretaker."""

    id: int
    email: str
    name: str
    role: Role
    resident_id: int | None


@asynccontextmanager
async def with_accounts(pool: database.Pool, community_id: int) -> AsyncGenerator[Connection]:
    """Open a transaction that sees one community's rows and accounts too."""
    async with database.in_identity(pool) as connection:
        await database.set_community(connection, community_id)
        yield connection


_SELECT = """
    SELECT u.id, u.email, u.name, m.role, m.resident_id FROM membership m JOIN app_user u ON u.id = m.user_id
    WHERE m.community_id = $1
"""


def _member(row: Any) -> Member:
    return Member(row["id"], row["email"], row["name"], Role(row["role"]), row["resident_id"])


async def page(
    connection: Connection,
    community_id: int,
    *,
    limit: int,
    after: tuple[str, int] | None = None,
    way: keyset.Way = keyset.ON,
) -> list[Member]:
    """Return members by e-mail address. ``connection`` is from ``with_accounts``, as below."""
    rows = await connection.fetch(
        f"""
        {_SELECT} AND ($2::text IS NULL OR (u.email, u.id) {way.above} ($2, $3))
        ORDER BY u.email {way.up}, u.id {way.up} LIMIT $4
        """,
        community_id,
        *(after or (None, 0)),
        limit,
    )
    return [_member(row) for row in rows]


async def get(connection: Connection, community_id: int, user_id: int, *, lock: bool = False) -> Member:
    """Return a member, locked for a change where asked; raise ``Problem`` 404."""
    if lock:
        await connection.execute(
            "SELECT FROM membership WHERE community_id = $1 AND user_id = $2 FOR UPDATE", community_id, user_id
        )
    row = await connection.fetchrow(f"{_SELECT} AND m.user_id = $2", community_id, user_id)
    if row is None:
        raise problems.not_found()
    return _member(row)


async def change_role(
    connection: Connection, principal: Principal, community_id: int, member: Member, role: Role
) -> Member:
    """Make a member an administrator, an auditor or a resident; acts at the member's next request. Users can't change
    their own role."""
    if role is member.role:
        return member
    forbid_locking_oneself_out(principal, member.id)
    await connection.execute(
        "UPDATE membership SET role = $3 WHERE community_id = $1 AND user_id = $2", community_id, member.id, role.value
    )
    await audit.record(connection, principal, community_id, "member.change", f"user/{member.id}", {"role": role.value})
    return await get(connection, community_id, member.id)


async def remove(connection: Connection, principal: Principal, community_id: int, member: Member) -> None:
    """Take an account out of the community. The person and their plates stay."""
    forbid_locking_oneself_out(principal, member.id)
    await connection.execute("DELETE FROM membership WHERE community_id = $1 AND user_id = $2", community_id, member.id)
    await audit.record(connection, principal, community_id, "member.remove", f"user/{member.id}")
