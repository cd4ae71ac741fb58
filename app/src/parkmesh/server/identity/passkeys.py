"""Passkeys (WebAuthn): a second way to sign in, bound to this site's name and to its owner's device.

A passkey stands in for the password, so the device must have verified its user (PIN, finger, face). Challenges are
random, kept in the database as their SHA-256, live for ``CHALLENGE_LIFE`` and open one attempt: an answer uses up its
challenge before the server checks it. A counter that doesn't grow shows a copied authenticator, and is refused.
"""

import asyncio
import hashlib
import importlib
import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any
from urllib.parse import urlsplit

import asyncpg

from parkmesh.server import audit
from parkmesh.server.db import database
from parkmesh.server.db.database import Connection
from parkmesh.server.http import problems
from parkmesh.server.http.messages import Message
from parkmesh.server.http.problems import Problem
from parkmesh.server.identity import accounts, limits, principals
from parkmesh.server.identity.principals import Principal
from parkmesh.server.telemetry import logs

CHALLENGE_LIFE = timedelta(minutes=5)
MAX_PASSKEYS = 20
CHALLENGE_BYTES = 32


@dataclass(frozen=True)
class Site:
    """The site that passkeys are bound to. ``id`` is the host's name; ``origin`` is the site's origin as browsers state
    it."""

    id: str
    origin: str


@dataclass(frozen=True, slots=True)
class Passkey:
    """A passkey. ``synced`` means that its provider keeps a copy, so it survives the loss of the device."""

    id: int
    name: str
    synced: bool
    created_at: datetime
    last_used_at: datetime | None


def site(public_url: str | None) -> Site:
    """Return the site of an address; raise ``Problem`` 409 where browsers offer no passkeys for it."""
    parts = urlsplit(public_url or "")
    host = (parts.hostname or "").lower()
    if not host or _is_address(host) or not (parts.scheme == "https" or host == "localhost"):
        raise Problem(
            409,
            "Passkeys need the service's public address to be https:// with a host's name.",
            kind="passkeys-unavailable",
        )
    default = {"https": 443, "http": 80}.get(parts.scheme)
    port = f":{parts.port}" if parts.port and parts.port != default else ""
    return Site(host, f"{parts.scheme}://{host}{port}")


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


async def owned(pool: database.Pool, principal: Principal) -> list[Passkey]:
    """Return the user's passkeys, the oldest first."""
    async with database.in_identity(pool) as connection:
        rows = await connection.fetch(
            "SELECT id, name, synced, created_at, last_used_at FROM passkey WHERE user_id = $1 ORDER BY id",
            principal.user_id,
        )
    return [Passkey(**row) for row in rows]


async def delete(
    pool: database.Pool, principal: Principal, passkey_id: int, password: str, address: IPv4Address | IPv6Address
) -> None:
    """Delete one of the user's passkeys.

    Raises ``Problem`` 404 where it isn't one, 422 and 429 as ``accounts.confirm``.
    """
    if passkey_id not in {passkey.id for passkey in await owned(pool, principal)}:
        raise problems.not_found()
    await accounts.confirm(pool, principal, password, address)
    async with database.in_identity(pool) as connection:
        done = await connection.execute(
            "DELETE FROM passkey WHERE user_id = $1 AND id = $2", principal.user_id, passkey_id
        )
        if done == "DELETE 0":
            raise problems.not_found()
        await audit.record(connection, principal, database.OUTSIDE, "passkey.delete", f"passkey/{passkey_id}")
    logs.security("passkey_deleted", user=principal.user_id, passkey=passkey_id)


async def begin_registration(
    pool: database.Pool, here: Site, principal: Principal, password: str, address: IPv4Address | IPv6Address
) -> dict[str, Any]:
    """Return what ``navigator.credentials.create`` takes as ``publicKey``, as JSON.

    Raises ``Problem`` 422 and 429 as ``accounts.confirm``, 409 where the user has ``MAX_PASSKEYS``.
    """
    await accounts.confirm(pool, principal, password, address)
    async with database.in_identity(pool) as connection:
        known = await connection.fetch("SELECT credential_id FROM passkey WHERE user_id = $1", principal.user_id)
    if len(known) >= MAX_PASSKEYS:
        raise Problem(
            409, Message("You have %(limit)s passkeys; delete one first.", limit=MAX_PASSKEYS), kind="too-many"
        )
    ceremonies, challenge = await _ceremonies(), secrets.token_bytes(CHALLENGE_BYTES)
    async with database.in_identity(pool) as connection:
        await _keep_challenge(connection, challenge, principal.user_id)
    options: dict[str, Any] = ceremonies.registration_options(
        here.id,
        _handle(principal.user_id),
        principal.email,
        principal.name,
        [row["credential_id"] for row in known],
        challenge,
    )
    return options


async def register(
    pool: database.Pool, here: Site, principal: Principal, credential: dict[str, Any], name: str
) -> Passkey:
    """Keep a passkey that the user's device has just made.

    Raises ``Problem`` 422 where the answer is wrong in any way, 409 where the passkey is registered already.
    """
    ceremonies = await _ceremonies()
    answer = ceremonies.read(credential)
    if answer is None or not await _use_challenge(pool, answer.challenge, principal.user_id):
        raise _wrong()
    made = ceremonies.registered(credential, answer.challenge, here.id, here.origin)
    if made is None:
        raise _wrong()
    async with database.in_identity(pool) as connection:
        try:
            async with connection.transaction():
                row = await connection.fetchrow(
                    """
                    INSERT INTO passkey (user_id, credential_id, public_key, sign_count, name, synced)
                    VALUES ($1, $2, $3, $4, $5, $6) RETURNING id, name, synced, created_at, last_used_at
                    """,
                    principal.user_id,
                    made.credential_id,
                    made.public_key,
                    made.sign_count,
                    name,
                    made.synced,
                )
        except asyncpg.UniqueViolationError:
            raise Problem(409, "This passkey is registered already.", kind="taken") from None
        await audit.record(connection, principal, database.OUTSIDE, "passkey.create", f"passkey/{row['id']}")
    logs.security("passkey_created", user=principal.user_id, passkey=row["id"])
    return Passkey(**row)


async def begin_sign_in(pool: database.Pool, here: Site, address: IPv4Address | IPv6Address) -> dict[str, Any]:
    """Return what ``navigator.credentials.get`` takes as ``publicKey``, as JSON: the device knows whose passkey it has.

    Raises ``Problem`` 429 after too many from one address.
    """
    ceremonies, challenge = await _ceremonies(), secrets.token_bytes(CHALLENGE_BYTES)
    # An account of its own for each challenge: only the address is limited.
    await limits.reserve(pool, _digest(challenge), address)
    async with database.in_identity(pool) as connection:
        await _keep_challenge(connection, challenge, None)
    options: dict[str, Any] = ceremonies.authentication_options(here.id, challenge)
    return options


async def sign_in(
    pool: database.Pool,
    here: Site,
    credential: dict[str, Any],
    address: IPv4Address | IPv6Address,
    device: str,
    replaces: str | None = None,
) -> str | None:
    """Return the token of a new session, or None where the answer of the device is wrong in any way.

    ``replaces`` is the token of a session that the browser still held; it is revoked.
    """
    token = await _sign_in(pool, here, credential, address, device)
    if token is None:
        logs.security("authn_login_fail", refused=True, method="passkey")
    elif replaces:
        await principals.sign_out(pool, principals.digest(replaces))
    return token


async def _sign_in(
    pool: database.Pool,
    here: Site,
    credential: dict[str, Any],
    address: IPv4Address | IPv6Address,
    device: str,
) -> str | None:
    ceremonies = await _ceremonies()
    answer = ceremonies.read(credential)
    if answer is None or not await _use_challenge(pool, answer.challenge, None):
        return None
    async with database.in_identity(pool) as connection:
        known = await connection.fetchrow(
            """
            SELECT p.id, p.user_id, p.public_key, p.sign_count FROM passkey p JOIN app_user u ON u.id = p.user_id
            WHERE p.credential_id = $1 AND u.active FOR UPDATE OF p
            """,
            answer.credential_id,
        )
        if known is None or answer.handle not in (None, _handle(known["user_id"])):
            return None
        count = ceremonies.proved(
            credential, answer.challenge, here.id, here.origin, known["public_key"], known["sign_count"]
        )
        if count is None:
            logs.note(passkey_of=known["user_id"])
            return None
        await connection.execute(
            "UPDATE passkey SET sign_count = $2, last_used_at = now() WHERE id = $1",
            known["id"],
            count,
        )
        await limits.forget(connection, _digest(answer.challenge), address)
        return await principals.open_session(connection, known["user_id"], "passkey", device)


def _handle(user_id: int) -> bytes:
    """Return the name under which a device keeps a user; it doesn't say who the user is."""
    return user_id.to_bytes(8)


def _digest(challenge: bytes) -> bytes:
    return hashlib.sha256(challenge).digest()


async def _ceremonies() -> Any:
    """Load ``passkey_ceremonies`` on a thread: other requests go on meanwhile."""
    return await asyncio.to_thread(importlib.import_module, "parkmesh.server.identity.passkey_ceremonies")


async def _keep_challenge(connection: Connection, challenge: bytes, user_id: int | None) -> None:
    await connection.execute("DELETE FROM passkey_challenge WHERE expires_at < now()")
    await connection.execute(
        "INSERT INTO passkey_challenge (challenge_sha256, user_id, expires_at) VALUES ($1, $2, now() + $3::interval)",
        _digest(challenge),
        user_id,
        CHALLENGE_LIFE,
    )


async def _use_challenge(pool: database.Pool, challenge: bytes, user_id: int | None) -> bool:
    """Use a challenge up; tell whether it is one of ours, for this user and this purpose, and live."""
    async with database.in_identity(pool) as connection:
        used = await connection.fetchval(
            """
            DELETE FROM passkey_challenge
            WHERE challenge_sha256 = $1 AND user_id IS NOT DISTINCT FROM $2 AND expires_at > now() RETURNING true
            """,
            _digest(challenge),
            user_id,
        )
    return bool(used)


def _wrong() -> Problem:
    return Problem(422, "This passkey could not be registered. Try once more.", kind="passkey")
