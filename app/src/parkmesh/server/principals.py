"""Who is asking: signing in, sessions, and what a user may see.

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

from parkmesh.server import database, passwords, problems
from parkmesh.server.problems import Problem

SESSION_LIFE = timedelta(days=7)
ATTEMPT_WINDOW = timedelta(minutes=15)
ATTEMPTS_PER_ACCOUNT_AND_ADDRESS = 5
ATTEMPTS_PER_ADDRESS = 50


class Role(StrEnum):
    """What a user is to a community."""

    OPERATOR = "operator"
    ADMINISTRATOR = "administrator"
    RESIDENT = "resident"


@dataclass(frozen=True)
class Membership:
    """A user's place in one community."""

    community_id: int
    community: str
    role: Role
    resident_id: int | None


@dataclass(frozen=True)
class Principal:
    """A signed-in user with the rights of this moment. ``session`` is the SHA-256 of the session's token."""

    user_id: int
    email: str
    name: str
    operator: bool
    memberships: dict[str, Membership]
    session: bytes

    async def membership(self, pool: database.Pool, community: str) -> Membership:
        """Return the user's place in a community; the same 404 where it doesn't exist and where he has none."""
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
    pool: database.Pool, email: str, password: str, address: IPv4Address | IPv6Address, replaces: str | None = None
) -> str | None:
    """Return the token of a new session, or None where e-mail and password don't belong together.

    ``replaces`` is the token of a session that the browser still held; it is revoked. Raises ``Problem`` 429 after too
    many attempts from one address, counted in the database so that every server counts the same.
    """
    account = digest(email.strip().lower())
    await _reserve_attempt(pool, account, address)
    async with database.in_identity(pool) as connection:
        user = await connection.fetchrow(
            "SELECT id, password_hash FROM app_user WHERE email = $1 AND active", email.strip().lower()
        )
    if not await passwords.verify(user and user["password_hash"], password[: 4 * 1024]):
        return None
    token = secrets.token_urlsafe(32)
    async with database.in_identity(pool) as connection:
        await connection.execute(
            "DELETE FROM sign_in_attempt WHERE account_sha256 = $1 AND address = $2", account, address
        )
        await connection.execute("DELETE FROM web_session WHERE expires_at < now() AND user_id = $1", user["id"])
        await connection.execute(
            "INSERT INTO web_session (token_sha256, user_id, expires_at) VALUES ($1, $2, now() + $3::interval)",
            digest(token),
            user["id"],
            SESSION_LIFE,
        )
    if replaces:
        await sign_out(pool, digest(replaces))
    return token


async def sign_out(pool: database.Pool, session: bytes) -> None:
    """Revoke a session; its open live pages end with it."""
    async with database.in_identity(pool) as connection:
        await connection.execute(
            "UPDATE web_session SET revoked_at = now() WHERE token_sha256 = $1 AND revoked_at IS NULL", session
        )


async def _reserve_attempt(pool: database.Pool, account: bytes, address: IPv4Address | IPv6Address) -> None:
    """Count an attempt before the password is looked at, so that many at once can't slip past the limit."""
    async with database.in_identity(pool) as connection:
        await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 1))", str(address))
        await connection.execute(
            "DELETE FROM sign_in_attempt WHERE address = $1 AND at < now() - $2::interval", address, ATTEMPT_WINDOW
        )
        by_pair, by_address, wait_s = await connection.fetchrow(
            """
            SELECT count(*) FILTER (WHERE account_sha256 = $2), count(*),
                   ceil(extract(epoch FROM
                        coalesce(min(at) FILTER (WHERE account_sha256 = $2), min(at)) + $3::interval - now()))
            FROM sign_in_attempt WHERE address = $1
            """,
            address,
            account,
            ATTEMPT_WINDOW,
        )
        allowed = by_pair < ATTEMPTS_PER_ACCOUNT_AND_ADDRESS and by_address < ATTEMPTS_PER_ADDRESS
        if allowed:
            await connection.execute(
                "INSERT INTO sign_in_attempt (account_sha256, address) VALUES ($1, $2)", account, address
            )
    if not allowed:
        raise Problem(
            429,
            "Too many attempts to sign in from here. Wait a little and try again.",
            kind="too-many-attempts",
            headers={"Retry-After": str(max(1, int(wait_s)))},
        )
