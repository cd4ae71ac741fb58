"""Limits on guessing: per account and network, per network, and per account without locking its owner out."""

import asyncio
from collections.abc import AsyncIterator
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

import pytest
from parkmesh.server.db import database
from parkmesh.server.http.problems import Problem
from parkmesh.server.identity import limits, principals
from running_server import Database
from two_communities import PASSWORD

ACCOUNT = bytes(32)
OTHER = bytes([1]) * 32
HOME = IPv4Address("198.51.100.7")


def attacker(number: int) -> IPv4Address:
    return IPv4Address("203.0.113.0") + number


@pytest.fixture
async def pool(db: Database) -> AsyncIterator[Any]:
    async with database.create_pool(db.app, "test", 8) as made:
        yield made


async def refused(pool: Any, account: bytes, address: IPv4Address | IPv6Address) -> int | None:
    """Make an attempt; return Retry-After where it was refused."""
    try:
        await limits.reserve(pool, account, address)
    except Problem as problem:
        return int((problem.headers or {})["Retry-After"]) if problem.status_code == 429 else -1
    return None


async def fill(pool: Any, account: bytes, attempts: int) -> None:
    """Guess at an account from many networks, each within its own bounds."""
    for number in range(attempts):
        assert await refused(pool, account, attacker(number // limits.PER_ACCOUNT_AND_NETWORK)) is None


async def test_one_network_guesses_at_one_account_a_few_times(pool: Any) -> None:
    outcomes = [await refused(pool, ACCOUNT, HOME) for _ in range(6)]
    assert outcomes[:5] == [None] * 5
    assert outcomes[5] is not None
    assert 890 <= outcomes[5] <= 901
    assert await refused(pool, OTHER, HOME) is None
    assert await refused(pool, ACCOUNT, attacker(1)) is None


async def test_one_network_guesses_at_many_accounts_no_more_often_in_all(pool: Any) -> None:
    for number in range(limits.PER_NETWORK):
        assert await refused(pool, bytes([number]) * 32, HOME) is None
    assert await refused(pool, b"\xff" * 32, HOME) is not None
    assert await refused(pool, b"\xff" * 32, attacker(1)) is None


async def test_many_networks_guess_at_one_account_no_more_often_in_all(pool: Any) -> None:
    await fill(pool, ACCOUNT, limits.PER_ACCOUNT)
    assert await refused(pool, ACCOUNT, attacker(200)) is not None
    assert await refused(pool, OTHER, attacker(200)) is None


async def test_an_owner_is_not_locked_out_by_guessers(pool: Any, db: Database) -> None:
    async with database.in_identity(pool) as connection:
        await limits.remember(connection, ACCOUNT, HOME)
    await fill(pool, ACCOUNT, limits.PER_ACCOUNT)
    assert await refused(pool, ACCOUNT, HOME) is None
    # From a network that the owner never used, the owner waits for the oldest attempt only, not for the whole window.
    async with database.in_identity(pool) as connection:
        await connection.execute("DELETE FROM sign_in_attempt WHERE address = $1", HOME)
    assert await refused(pool, ACCOUNT, attacker(200)) is not None
    async with database.in_identity(pool) as connection:
        await connection.execute("DELETE FROM sign_in_attempt WHERE id = (SELECT min(id) FROM sign_in_attempt)")
    assert await refused(pool, ACCOUNT, attacker(200)) is None


async def test_an_address_is_not_known_for_ever(pool: Any) -> None:
    old = "INSERT INTO known_network (account_sha256, network, last_at) VALUES ($1, $2, now() - interval '31 days')"
    async with database.in_identity(pool) as connection:
        await connection.execute(old, ACCOUNT, HOME)
    await fill(pool, ACCOUNT, limits.PER_ACCOUNT)
    assert await refused(pool, ACCOUNT, HOME) is not None
    async with database.in_identity(pool) as connection:
        await limits.remember(connection, ACCOUNT, attacker(1))
        known = await connection.fetch("SELECT network FROM known_network")
    assert [row["network"] for row in known] == [attacker(1)]


async def test_success_is_no_guess(pool: Any) -> None:
    for _ in range(4):
        await limits.reserve(pool, ACCOUNT, HOME)
    async with database.in_identity(pool) as connection:
        await limits.forget(connection, ACCOUNT, HOME)
    assert [await refused(pool, ACCOUNT, HOME) for _ in range(5)] == [None] * 5


async def test_many_at_once_get_no_further(pool: Any) -> None:
    outcomes = await asyncio.gather(*(refused(pool, ACCOUNT, HOME) for _ in range(20)))
    assert outcomes.count(None) == limits.PER_ACCOUNT_AND_NETWORK


@pytest.mark.parametrize(
    ("address", "stands_for"),
    [
        ("198.51.100.7", "198.51.100.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:db8:1:2::", "2001:db8:1:2::"),
        ("::ffff:198.51.100.7", "198.51.100.7"),
    ],
)
def test_a_customers_whole_network_counts_as_one(address: str, stands_for: str) -> None:
    assert limits.network(ip_address(address)) == ip_address(stands_for)


async def test_what_counts_no_more_is_deleted_whoever_made_it(pool: Any) -> None:
    async with database.in_identity(pool) as connection:
        await connection.execute(
            """
            INSERT INTO sign_in_attempt (account_sha256, address, at)
            SELECT $1, '203.0.113.1', now() - interval '16 minutes' FROM generate_series(1, 5)
            """,
            OTHER,
        )
    await limits.reserve(pool, ACCOUNT, HOME)
    async with database.in_identity(pool) as connection:
        assert await connection.fetchval("SELECT count(*) FROM sign_in_attempt") == 1


async def test_signing_in_makes_a_network_known(filled: Database) -> None:
    async with database.create_pool(filled.app, "test", 2) as pool:
        email = "desk@parkmesh.example"
        assert await principals.sign_in(pool, email, "wrong", HOME) is None
        async with database.in_identity(pool) as connection:
            assert await connection.fetchval("SELECT count(*) FROM known_network") == 0
        assert await principals.sign_in(pool, email, PASSWORD, HOME)
        await fill(pool, principals.digest(email), limits.PER_ACCOUNT)
        assert await principals.sign_in(pool, email, PASSWORD, HOME)
        with pytest.raises(Problem):
            await principals.sign_in(pool, email, PASSWORD, attacker(200))
