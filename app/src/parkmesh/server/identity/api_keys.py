"""Keys for integrators: programs that read or administer one community. The database keeps the SHA-256 of a token."""

import secrets
from datetime import datetime

import asyncpg
from msgspec import Struct

from parkmesh.server import audit
from parkmesh.server.db import database, keyset
from parkmesh.server.db.database import Connection
from parkmesh.server.http.problems import Problem
from parkmesh.server.identity.principals import Membership, Principal, Role, digest

PREFIX = "pmk_"
"""Begins every key's token, so that its finder recognises a leaked token."""

_COLUMNS = """
id, name, role, created_at, expires_at,
coalesce(revoked_at, (SELECT c.offboarded_at FROM community c WHERE c.id = community_id)) AS revoked_at, last_used_at
"""


class ApiKey(Struct, frozen=True):
    """``last_used_at`` is known to the minute. A key that is revoked stays in the list: the audit trail names it. When
    the community is offboarded, all its keys are revoked."""

    id: int
    name: str
    role: str
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    last_used_at: datetime | None


async def identify(pool: database.Pool, token: str) -> Principal | None:
    """Return the principal of the live key that has the token, or None."""
    row = await database.fetchrow(pool, "SELECT * FROM api_key_identify($1)", digest(token))
    if row["key_id"] is None:
        return None
    member = Membership(row["community_id"], row["community"], Role(row["role"]), None)
    return Principal(
        user_id=0,
        email="",
        name=row["name"],
        operator=False,
        memberships={member.community: member},
        session=digest(token),
        api_key=row["key_id"],
    )


async def listed(
    connection: Connection, community_id: int, *, limit: int, after: int, way: keyset.Way = keyset.ON
) -> list[ApiKey]:
    """Return keys with ids above ``after``, oldest first."""
    rows = await connection.fetch(
        f"""
        SELECT {_COLUMNS} FROM api_key
        WHERE community_id = $1 AND id {way.above} $2 ORDER BY id {way.up} LIMIT $3
        """,  # noqa: S608 - columns of this module
        community_id,
        after,
        limit,
    )
    return [ApiKey(**row) for row in rows]


async def read(connection: Connection, community_id: int, key_id: int, *, lock: bool = False) -> ApiKey | None:
    """Return one key, locked until the transaction's end if it is to be changed."""
    row = await connection.fetchrow(
        f"SELECT {_COLUMNS} FROM api_key WHERE community_id = $1 AND id = $2" + (" FOR UPDATE" if lock else ""),  # noqa: S608
        community_id,
        key_id,
    )
    return ApiKey(**row) if row else None


async def create(
    connection: Connection, principal: Principal, community_id: int, name: str, role: str, expires_at: datetime | None
) -> tuple[ApiKey, str]:
    """Make a key; return it with its token, which can't be read again.

    Raises ``Problem`` 409 where a live key has this name or the community was offboarded, 422 where it would have
    expired already.
    """
    # Held, so that a community that is offboarded at this moment waits, and then revokes this key too.
    if await connection.fetchval("SELECT offboarded_at FROM community WHERE id = $1 FOR SHARE", community_id):
        raise Problem(409, "This community was offboarded; no key can be made.", kind="offboarded")
    if expires_at is not None and expires_at <= await connection.fetchval("SELECT now()"):
        raise Problem(422, "expires_at: has passed already", kind="invalid")
    token = PREFIX + secrets.token_urlsafe(32)
    try:
        async with connection.transaction():
            row = await connection.fetchrow(
                f"""
                INSERT INTO api_key (community_id, name, role, token_sha256, expires_at) VALUES ($1, $2, $3, $4, $5)
                RETURNING {_COLUMNS}
                """,  # noqa: S608 - columns of this module
                community_id,
                name,
                role,
                digest(token),
                expires_at,
            )
    except asyncpg.UniqueViolationError:
        raise Problem(
            409, "A key with this name exists; revoke it first or choose another name.", kind="exists"
        ) from None
    key = ApiKey(**row)
    detail = {"name": name, "role": role, "expires_at": expires_at and expires_at.isoformat()}
    await audit.record(connection, principal, community_id, "api-key.create", f"api-key/{key.id}", detail)
    return key, token


async def revoke(connection: Connection, principal: Principal, community_id: int, key: ApiKey) -> None:
    """Revoke a key that ``read`` locked: it opens nothing from now on."""
    if key.revoked_at is not None:
        return
    await connection.execute(
        "UPDATE api_key SET revoked_at = now() WHERE community_id = $1 AND id = $2", community_id, key.id
    )
    await audit.record(connection, principal, community_id, "api-key.revoke", f"api-key/{key.id}", {"name": key.name})
