"""What users do with their own account: see and end their sessions, change their password.

A session is known by the first bytes of its token's digest: enough to tell a person's own sessions apart, and nothing
that could be used as one.
"""

from datetime import datetime
from ipaddress import IPv4Address, IPv6Address

from msgspec import Struct

from parkmesh.server import audit
from parkmesh.server.db import database
from parkmesh.server.http import problems
from parkmesh.server.http.problems import Problem
from parkmesh.server.identity import limits, passwords, principals
from parkmesh.server.identity.principals import Principal
from parkmesh.server.telemetry import logs

_NAME_BYTES = 8


class Session(Struct, frozen=True):
    """``device`` is a rough name, or empty; ``current`` marks the session that asks."""

    id: str
    device: str
    method: str
    created_at: datetime
    last_seen_at: datetime
    expires_at: datetime
    current: bool


async def sessions(pool: database.Pool, principal: Principal) -> list[Session]:
    """Return the user's live sessions, the latest used first."""
    async with database.in_identity(pool) as connection:
        rows = await connection.fetch(
            """
            SELECT encode(substr(token_sha256, 1, $2), 'hex') AS id, device, method, created_at, last_seen_at,
                   expires_at, token_sha256 = $3 AS current
            FROM web_session WHERE user_id = $1 AND revoked_at IS NULL AND expires_at > now()
              AND last_seen_at > now() - interval '12 hours'
            ORDER BY last_seen_at DESC, token_sha256
            """,
            principal.user_id,
            _NAME_BYTES,
            principal.session,
        )
    return [Session(**row) for row in rows]


async def choose_language(pool: database.Pool, principal: Principal, language: str) -> None:
    """Note the language in which the user wants messages."""
    async with database.in_identity(pool) as connection:
        await connection.execute("UPDATE app_user SET language = $2 WHERE id = $1", principal.user_id, language)


async def end_session(pool: database.Pool, principal: Principal, session: str) -> None:
    """Revoke one of the user's sessions; raise ``Problem`` 404 where it isn't one."""
    async with database.in_identity(pool) as connection:
        done = await connection.execute(
            """
            UPDATE web_session SET revoked_at = now()
            WHERE user_id = $1 AND encode(substr(token_sha256, 1, $3), 'hex') = $2 AND revoked_at IS NULL
            """,
            principal.user_id,
            session,
            _NAME_BYTES,
        )
    if done == "UPDATE 0":
        raise problems.not_found()
    logs.security("session_revoked", user=principal.user_id, why="by its owner")


async def end_other_sessions(pool: database.Pool, principal: Principal) -> int:
    """Revoke all sessions of the user but the session that asks; return how many were revoked."""
    async with database.in_identity(pool) as connection:
        ended = await _end_all(connection, principal.user_id, principal.session)
    logs.security("session_revoked", user=principal.user_id, sessions=ended, why="by their owner")
    return ended


async def confirm(pool: database.Pool, principal: Principal, password: str, address: IPv4Address | IPv6Address) -> None:
    """Make sure that the account's owner asks: an open session in other hands must not be enough to take over the
    account.

    Raises ``Problem`` 422 where ``password`` is not the account's, 429 after too many attempts.
    """
    account = principals.digest(principal.email)
    await limits.reserve(pool, account, address)
    async with database.in_identity(pool) as connection:
        stored = await connection.fetchval("SELECT password_hash FROM app_user WHERE id = $1", principal.user_id)
    if not await passwords.verify(stored, password):
        logs.security("authn_login_fail", refused=True, method="password", user=principal.user_id, why="confirmation")
        raise Problem(422, "This is not your password.", kind="wrong-password")
    async with database.in_identity(pool) as connection:
        await limits.forget(connection, account, address)


async def change_password(
    pool: database.Pool,
    principal: Principal,
    current: str,
    new: str,
    address: IPv4Address | IPv6Address,
    device: str,
) -> str:
    """Change the password and return the token of a new session, the only one that is left and of the same method.

    Raises ``Problem`` 422 where ``current`` is not the password or ``new`` is weak, 429 after too many attempts.
    """
    refuse_weak(new, principal.email, principal.name)
    await confirm(pool, principal, current, address)
    method = await principals.session_method(pool, principal.session) or "password"
    password_hash = await passwords.hash_new(new)
    async with database.in_identity(pool) as connection:
        await connection.execute(
            "UPDATE app_user SET password_hash = $2 WHERE id = $1", principal.user_id, password_hash
        )
        await _end_all(connection, principal.user_id, None)
        await audit.record(connection, principal, database.OUTSIDE, "password.change", f"user/{principal.user_id}")
        token = await principals.open_session(connection, principal.user_id, method, device)
    logs.security("authn_password_change", user=principal.user_id)
    return token


def refuse_weak(password: str, *about: str) -> None:
    """Raise ``Problem`` 422 where a password must not be chosen."""
    why = passwords.weakness(password, *about)
    if why:
        raise Problem(422, why, kind="weak-password")


async def _end_all(connection: database.Connection, user_id: int, but: bytes | None) -> int:
    done: str = await connection.execute(
        """
        UPDATE web_session SET revoked_at = now()
        WHERE user_id = $1 AND revoked_at IS NULL AND token_sha256 IS DISTINCT FROM $2
        """,
        user_id,
        but,
    )
    return int(done.removeprefix("UPDATE "))
