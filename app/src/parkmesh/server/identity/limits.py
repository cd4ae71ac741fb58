"""How often a client may guess a secret: counted in the database, so that every server counts the same.

An attempt is counted before the secret is looked at, so that many at once can't slip past, and forgotten when it was
right. There are three bounds within ``WINDOW``: of attempts at one account from one network, of all attempts from one
network, and, much wider, of attempts at one account from everywhere, against guessing from many addresses. The last
can't be used to lock an owner out: networks from which the owner signed in lately are exempt from it, and elsewhere the
owner waits until the oldest attempt is out of the window, which is seconds where an attacker keeps it full.

A network is an IPv4 address, or the 64 bits of an IPv6 address that a customer is given.
"""

from datetime import timedelta
from ipaddress import IPv4Address, IPv6Address

from parkmesh.server.db import database
from parkmesh.server.db.database import Connection, Pool
from parkmesh.server.http.problems import Problem
from parkmesh.server.telemetry import logs

WINDOW = timedelta(minutes=15)
PER_ACCOUNT_AND_NETWORK = 5
PER_NETWORK = 50
PER_ACCOUNT = 100
KNOWN = timedelta(days=30)
"""How long the network of a successful sign-in stays exempt from the bound of the account."""

_SWEPT = 20


def network(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """Return the address that stands for everything one attacker is likely to hold."""
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return IPv6Address(int(address) >> 64 << 64)


async def reserve(pool: Pool, account: bytes, address: IPv4Address | IPv6Address) -> None:
    """Count an attempt at the account whose digest is ``account``; raise ``Problem`` 429 where there were too many."""
    origin = network(address)
    async with database.in_identity(pool) as connection:
        # Always in this order, so that no two wait for each other.
        await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 1))", str(origin))
        await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended($1, 2))", account.hex())
        wait_s = await _wait(connection, account, origin)
        if wait_s is None:
            await connection.execute(
                "INSERT INTO sign_in_attempt (account_sha256, address) VALUES ($1, $2)", account, origin
            )
        await _sweep(connection)
    if wait_s is not None:
        logs.security("excess_rate_limit_exceeded", refused=True, wait_s=wait_s)
        raise Problem(
            429,
            "Too many attempts. Wait a little and try again.",
            kind="too-many-attempts",
            headers={"Retry-After": str(wait_s)},
        )


async def forget(connection: Connection, account: bytes, address: IPv4Address | IPv6Address) -> None:
    """Forget the attempts of a client that has now succeeded. ``connection`` is in the identity's scope."""
    await connection.execute(
        "DELETE FROM sign_in_attempt WHERE account_sha256 = $1 AND address = $2", account, network(address)
    )


async def remember(connection: Connection, account: bytes, address: IPv4Address | IPv6Address) -> None:
    """Remember for ``KNOWN`` that the account's owner is at this network. ``connection`` is in the identity's scope."""
    await connection.execute(
        """
        INSERT INTO known_network AS k (account_sha256, network) VALUES ($1, $2)
        ON CONFLICT (account_sha256, network) DO UPDATE SET last_at = now() WHERE k.last_at < now() - interval '1 day'
        """,
        account,
        network(address),
    )
    await connection.execute(
        "DELETE FROM known_network WHERE account_sha256 = $1 AND last_at < now() - $2::interval", account, KNOWN
    )


async def _wait(connection: Connection, account: bytes, origin: IPv4Address | IPv6Address) -> int | None:
    """Return the seconds to wait before the next attempt, None where it may be made now."""
    row = await connection.fetchrow(
        """
        WITH recent AS (
            SELECT account_sha256 = $1 AS same_account, address = $2 AS same_network, at FROM sign_in_attempt
            WHERE (account_sha256 = $1 OR address = $2) AND at > now() - $3::interval)
        SELECT count(*) FILTER (WHERE same_account AND same_network) AS pair,
               min(at) FILTER (WHERE same_account AND same_network) AS pair_from,
               count(*) FILTER (WHERE same_network) AS network, min(at) FILTER (WHERE same_network) AS network_from,
               count(*) FILTER (WHERE same_account) AS account, min(at) FILTER (WHERE same_account) AS account_from,
               now() AS now,
               EXISTS (SELECT FROM known_network WHERE account_sha256 = $1 AND network = $2
                       AND last_at > now() - $4::interval) AS known
        FROM recent
        """,
        account,
        origin,
        WINDOW,
        KNOWN,
    )
    bounds = [("pair", PER_ACCOUNT_AND_NETWORK), ("network", PER_NETWORK)]
    if not row["known"]:
        bounds.append(("account", PER_ACCOUNT))
    waits = [row[f"{name}_from"] + WINDOW - row["now"] for name, most in bounds if row[name] >= most]
    return max(1, int(max(waits).total_seconds()) + 1) if waits else None


async def _sweep(connection: Connection) -> None:
    """Delete a few attempts that count no more: their clients may never come back. One sweeper at a time."""
    if not await connection.fetchval("SELECT pg_try_advisory_xact_lock(hashtextextended('sign_in_attempt', 3))"):
        return
    await connection.execute(
        """
        DELETE FROM sign_in_attempt WHERE at < now() - $1::interval AND id IN (
            SELECT id FROM sign_in_attempt ORDER BY id LIMIT $2)
        """,
        WINDOW,
        _SWEPT,
    )
