"""A transaction names its community or scope as it begins, and the connection that goes back knows neither."""

import asyncio

import pytest
from parkmesh.server.db import database
from running_server import Database

NAMED = """
SELECT coalesce(current_setting('parkmesh.community', true), '') AS community,
       coalesce(current_setting('parkmesh.scope', true), '') AS scope
"""


async def named(pool: database.Pool) -> tuple[str, str]:
    """Return what a transaction of the pool's connection that names nothing works for."""
    async with database.acquired(pool) as connection, connection.transaction():
        return tuple(await connection.fetchrow(NAMED))


async def test_what_a_transaction_names_ends_with_it(db: Database) -> None:
    async with database.create_pool(db.app, "test", 1) as pool:
        assert await named(pool) == ("", "")
        async with database.in_community(pool, 7) as connection:
            assert tuple(await connection.fetchrow(NAMED)) == ("7", "")
            async with connection.transaction():
                assert tuple(await connection.fetchrow(NAMED)) == ("7", "")
        assert await named(pool) == ("", "")
        async with database.as_server(pool) as connection:
            assert tuple(await connection.fetchrow(NAMED)) == ("", "server")
        assert await named(pool) == ("", "")


async def test_a_read_only_transaction_sees_one_state(db: Database) -> None:
    async with (
        database.create_pool(db.app, "test", 1) as pool,
        database.in_community(pool, 7, read_only=True) as connection,
    ):
        assert await connection.fetchval("SHOW transaction_isolation") == "repeatable read"
        assert await connection.fetchval("SHOW transaction_read_only") == "on"


@pytest.mark.parametrize("error", [ValueError, asyncio.CancelledError])
async def test_a_failed_transaction_leaves_no_name(db: Database, error: type[BaseException]) -> None:
    async with database.create_pool(db.app, "test", 1) as pool:
        with pytest.raises(error):
            async with database.in_community(pool, 7):
                raise error
        assert await named(pool) == ("", "")


async def test_a_begin_that_is_cancelled_leaves_no_name(db: Database) -> None:
    async with database.create_pool(db.app, "test", 1) as pool:

        async def begin() -> None:
            async with database.in_community(pool, 7):
                pass

        for turns in range(12):
            task = asyncio.create_task(begin())
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
            assert await named(pool) == ("", "")
