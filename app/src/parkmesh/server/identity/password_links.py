"""Links with which users who forgot their password set a new one: asked for by e-mail address, sent by mail.

A link holds for ``LIFE``, once; a new one ends those before. The answer to a request is the same for an address without
an account. Operators get no link: their passwords are set where the servers are (``parkmesh admin apply``).
"""

import secrets
from datetime import timedelta
from ipaddress import IPv4Address, IPv6Address

from parkmesh.server import audit
from parkmesh.server.db import database
from parkmesh.server.http.problems import Problem
from parkmesh.server.identity import limits, passwords, principals
from parkmesh.server.identity.accounts import refuse_weak
from parkmesh.server.outbox import messages
from parkmesh.server.telemetry import logs

LIFE = timedelta(minutes=30)
MAIL = "password-link"


async def reserve(pool: database.Pool, email: str, address: IPv4Address | IPv6Address) -> None:
    """Count a request for a link; raise ``Problem`` 429 after too many."""
    # Apart from sign-ins: asking for links must not keep the owner from signing in.
    await limits.reserve(pool, principals.digest(f"password link {email}"), address)


async def send(pool: database.Pool, email: str, language: str) -> None:
    """Send a link to the account with an e-mail address, where there is one.

    It takes longer where there is one: call it after the client has its answer.
    """
    token = secrets.token_urlsafe(32)
    async with database.in_identity(pool) as connection:
        # Held, so that of two requests at once the later one ends the other's link.
        user = await connection.fetchrow(
            "SELECT id, language FROM app_user WHERE email = $1 AND active AND NOT operator FOR NO KEY UPDATE", email
        )
        if user is None:
            return
        await connection.execute(
            "UPDATE password_link SET used_at = now() WHERE user_id = $1 AND used_at IS NULL", user["id"]
        )
        until = await connection.fetchval(
            """
            INSERT INTO password_link (token_sha256, user_id, expires_at) VALUES ($1, $2, now() + $3::interval)
            RETURNING expires_at
            """,
            principals.digest(token),
            user["id"],
            LIFE,
        )
        mail = messages.Mail(email, user["language"] or language, {"token": token}, useless_at=until)
        await messages.mail(connection, None, MAIL, [mail])
        await audit.record(
            connection, audit.User(user["id"]), database.OUTSIDE, "password.ask-link", f"user/{user['id']}"
        )


async def holds(pool: database.Pool, token: str, address: IPv4Address | IPv6Address) -> bool:
    """Tell whether a link can still be used. Raises ``Problem`` 429 after too many tries."""
    account = principals.digest(f"password link token {token}")
    await limits.reserve(pool, account, address)
    async with database.in_identity(pool) as connection:
        found = await connection.fetchval(
            "SELECT true FROM password_link WHERE token_sha256 = $1 AND used_at IS NULL AND expires_at > now()",
            principals.digest(token),
        )
        if found:
            await limits.forget(connection, account, address)
    return bool(found)


async def use(
    pool: database.Pool, token: str, *, password: str, address: IPv4Address | IPv6Address, device: str
) -> str:
    """Set a new password; all sessions end, and the token of a new one is returned.

    Raises ``Problem`` 404 for a link that was used or is too old, 422 for a weak password, 429.
    """
    if not await holds(pool, token, address):
        logs.security("authn_login_fail", refused=True, method="password link")
        raise invalid()
    password_hash = await passwords.hash_new(password)
    async with database.in_identity(pool) as connection:
        user = await connection.fetchrow(
            """
            SELECT u.id, u.email, u.name FROM password_link l JOIN app_user u ON u.id = l.user_id
            WHERE l.token_sha256 = $1 AND l.used_at IS NULL AND l.expires_at > now() AND u.active AND NOT u.operator
            FOR UPDATE OF l
            """,
            principals.digest(token),
        )
        if user is None:
            raise invalid()
        refuse_weak(password, user["email"], user["name"])
        await connection.execute("UPDATE app_user SET password_hash = $2 WHERE id = $1", user["id"], password_hash)
        await connection.execute(
            "UPDATE web_session SET revoked_at = now() WHERE user_id = $1 AND revoked_at IS NULL", user["id"]
        )
        await connection.execute(
            "UPDATE password_link SET used_at = now() WHERE user_id = $1 AND used_at IS NULL", user["id"]
        )
        await connection.execute(
            "DELETE FROM sign_in_attempt WHERE account_sha256 = $1", principals.digest(user["email"])
        )
        await audit.record(connection, audit.User(user["id"]), database.OUTSIDE, "password.reset", f"user/{user['id']}")
        session = await principals.open_session(connection, user["id"], "invitation", device)
    logs.security("authn_password_change", user=user["id"])
    return session


def invalid() -> Problem:
    """Return the answer to a link that opens nothing (any more)."""
    return Problem(404, "This link is not valid: it was used, or is too old. Ask for a new one.", kind="claim")
