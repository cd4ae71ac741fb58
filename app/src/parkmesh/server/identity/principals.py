"""Principals: signing in, sessions, and what a user may see.

A session is a random token of which the database keeps the SHA-256. It ends when it is revoked, after 12 hours without
use, and after 7 days. Rights are read at every request, so a change of them acts at once.
"""

import hashlib
import json
import secrets
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address
from typing import Literal

from parkmesh.server import audit
from parkmesh.server.db import database
from parkmesh.server.http import problems
from parkmesh.server.identity import limits, passwords
from parkmesh.server.telemetry import logs

SESSION_LIFE = timedelta(days=7)

SessionMethod = Literal["password", "passkey", "invitation"]


class Role(StrEnum):
    """What a user is to a community."""

    OPERATOR = "operator"
    ADMINISTRATOR = "administrator"
    RESIDENT = "resident"
    READER = "reader"
    """An API key that may read what administrators read, and change nothing."""
    AUDITOR = "auditor"
    """A member who may read what administrators read, and change nothing."""


@dataclass(frozen=True)
class Membership:
    """A user's place in one community."""

    community_id: int
    community: str
    role: Role
    resident_id: int | None

    @property
    def reads_only(self) -> bool:
        """Tell whether nothing of the community may be changed."""
        return self.role in (Role.READER, Role.AUDITOR)


@dataclass(frozen=True)
class Principal:
    """The sender of a request, with the rights of this moment: a signed-in user, or an integrator's API key
    (``api_key`` is its id).

    ``session`` is the SHA-256 of the token that the request carries. A key has no ``user_id``: it is 0, no user's.
    """

    user_id: int
    email: str
    name: str
    operator: bool
    memberships: dict[str, Membership]
    session: bytes
    api_key: int | None = None

    @property
    def actor(self) -> str:
        """Return the name under which the audit trail knows this principal."""
        return f"user:{self.user_id}" if self.api_key is None else f"api-key:{self.api_key}"

    async def membership(self, pool: database.Pool, community: str) -> Membership:
        """Return the user's place in a community; the same 404 where the community doesn't exist and where the user has
        no place in it."""
        if not self.operator:
            if community not in self.memberships:
                raise problems.not_found()
            return self.memberships[community]
        if "\x00" in community:
            raise problems.not_found()
        async with database.at_desk(pool) as connection:
            community_id = await connection.fetchval("SELECT id FROM community WHERE name = $1", community)
        if community_id is None:
            raise problems.not_found()
        return Membership(community_id, community, Role.OPERATOR, None)


def digest(token: str) -> bytes:
    """Return what the database keeps of a token."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


async def identify(pool: database.Pool, token: str) -> Principal | None:
    """Return the user whose live session the token opens, or None."""
    session = digest(token)
    row = await database.fetchrow(pool, "SELECT * FROM web_identify($1)", session)
    if row["user_id"] is None:
        return None
    memberships = [
        Membership(item["community_id"], item["community"], Role(item["role"]), item["resident_id"])
        for item in json.loads(row["memberships"])
    ]
    return Principal(
        user_id=row["user_id"],
        email=row["email"],
        name=row["name"],
        operator=row["operator"],
        memberships={membership.community: membership for membership in memberships},
        session=session,
    )


async def sign_in(
    pool: database.Pool,
    email: str,
    password: str,
    address: IPv4Address | IPv6Address,
    replaces: str | None = None,
    device: str = "",
) -> str | None:
    """Return the token of a new session, or None where e-mail and password don't belong together.

    ``replaces`` is the token of a session that the browser still held; it is revoked. ``device`` is what the session's
    owner will know it by (``devices.rough``). Raises ``Problem`` 429 after too many attempts from one address, counted
    in the database so that every server counts the same.
    """
    account = digest(email.strip().lower())
    await limits.reserve(pool, account, address)
    async with database.in_identity(pool) as connection:
        user = await connection.fetchrow(
            "SELECT id, password_hash FROM app_user WHERE email = $1 AND active", email.strip().lower()
        )
    if not await passwords.verify(user and user["password_hash"], password[: 4 * 1024]):
        logs.security("authn_login_fail", refused=True, method="password", user=user and user["id"])
        return None
    # Only now is the password at hand that a stronger hash can be made of.
    renewed = await passwords.hash_new(password) if passwords.outdated(user["password_hash"]) else None
    async with database.in_identity(pool) as connection:
        if renewed:
            await connection.execute(
                "UPDATE app_user SET password_hash = $2 WHERE id = $1 AND password_hash = $3",
                user["id"],
                renewed,
                user["password_hash"],
            )
        await limits.forget(connection, account, address)
        await limits.remember(connection, account, address)
        token = await open_session(connection, user["id"], "password", device)
    if replaces:
        await sign_out(pool, digest(replaces))
    return token


async def open_session(connection: database.Connection, user_id: int, method: SessionMethod, device: str) -> str:
    """Return the token of a new session of a user who has just proved their identity. Never a token that the user sent.

    ``connection`` is in the identity's scope.
    """
    token = secrets.token_urlsafe(32)
    await connection.execute("DELETE FROM web_session WHERE expires_at < now() AND user_id = $1", user_id)
    await connection.execute(
        """
        INSERT INTO web_session (token_sha256, user_id, expires_at, method, device)
        VALUES ($1, $2, now() + $3::interval, $4, $5)
        """,
        digest(token),
        user_id,
        SESSION_LIFE,
        method,
        device,
    )
    if await connection.fetchval("SELECT operator FROM app_user WHERE id = $1", user_id):
        # The desk sees every community: the trail says who signed in at the desk.
        user = audit.User(user_id)
        await audit.record(connection, user, database.OUTSIDE, "session.create", user.name, {"method": method})
    logs.security("authn_login_success", method=method, user=user_id)
    return token


async def session_method(pool: database.Pool, session: bytes) -> SessionMethod | None:
    """Return how the owner of a session signed in, or None where there is no such session."""
    async with database.in_identity(pool) as connection:
        method: SessionMethod | None = await connection.fetchval(
            "SELECT method FROM web_session WHERE token_sha256 = $1", session
        )
    return method


async def sign_out(pool: database.Pool, session: bytes) -> None:
    """Revoke a session; its open live pages end with it."""
    async with database.in_identity(pool) as connection:
        user_id = await connection.fetchval(
            """
            UPDATE web_session SET revoked_at = now() WHERE token_sha256 = $1 AND revoked_at IS NULL RETURNING user_id
            """,
            session,
        )
    if user_id is not None:
        logs.security("session_revoked", user=user_id, why="signed out")
