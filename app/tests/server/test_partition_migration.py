"""A database of the release before, with passages in it and servers at work, becomes a partitioned one."""

import asyncio
import hashlib
from typing import Any

import asyncpg
import previous_server
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from parkmesh.protocol import edge
from parkmesh.server.db import database, migrations, schema
from running_server import APP_PASSWORD, Database
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool
from two_communities import rows

TOKEN = hashlib.sha256(b"token-of-the-old-gateway").digest()
DAY_MS = 86_400_000
MIGRATIONS = migrations.FOLDER


async def upgrade(url: str, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))

    def run(connection: sa.Connection) -> None:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)

    engine = create_async_engine(
        "postgresql+asyncpg://", poolclass=NullPool, async_creator=lambda: asyncpg.connect(url)
    )
    async with engine.begin() as connection:
        await connection.run_sync(run)
    await engine.dispose()


async def released(base: Database) -> None:
    """Bring an empty database to the schema of the release before, with a community in it."""
    connection = await asyncpg.connect(base.owner)
    try:
        if not await connection.fetchval("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = 'parkmesh_app')"):
            await connection.execute(f"CREATE ROLE parkmesh_app LOGIN NOINHERIT PASSWORD '{APP_PASSWORD}'")
        await upgrade(base.owner, "0002")
        async with database.provisioning(connection):
            identity = await connection.fetchval(
                "INSERT INTO community (name, title, time_zone) VALUES ('a', 'A', 'Europe/Madrid') RETURNING id"
            )
            await database.set_community(connection, identity)
            await connection.execute(
                "INSERT INTO gateway (community_id, name, token_sha256) VALUES ($1, 'gateway-a', $2)", identity, TOKEN
            )
    finally:
        await connection.close()


async def send(pool: Any, first: int, *received: int) -> None:
    events: list[edge.Event] = [
        edge.Passage(seq, edge.Times(at), "main-in", "entry", f"P{seq:03d}", "granted", "exact", True)
        for seq, at in enumerate(received, first)
    ]
    await previous_server.store(pool, TOKEN, edge.EventBatch(1, events))


async def test_passages_of_the_release_before_stay_and_new_ones_go_on(empty_database: Database) -> None:
    base = empty_database
    await released(base)
    owner = await asyncpg.connect(base.owner)
    now = int(await owner.fetchval("SELECT extract(epoch FROM now()) * 1000"))
    async with database.create_pool(base.app, "test", 3) as pool:
        # Old ones, new ones, and one of a gateway whose clock is wrong.
        await send(pool, 1, now - 60 * DAY_MS, now - 1, now, now + 400 * DAY_MS)
        last = (await rows(owner, "a", "SELECT max(id) AS id FROM passage WHERE community_id = $1"))[0]["id"]
        await schema.migrate(base.owner, APP_PASSWORD, 5)
        # The old server's call is the same; its next passage comes after those before it.
        await send(pool, 5, now + 1, now + 2)
    # In three days.
    await rows(
        owner,
        "a",
        """
        INSERT INTO passage (community_id, gateway_id, epoch, seq, received_at, gate, direction, plate, decision,
                             reason, access_list_version)
        SELECT community_id, gateway_id, epoch, 7, received_at + interval '3 days', gate, direction, plate, decision,
               reason, 0
        FROM passage WHERE community_id = $1 AND seq = 6 RETURNING id
        """,
    )
    found = await rows(
        owner,
        "a",
        "SELECT seq, id, tableoid::regclass::text AS place FROM passage WHERE community_id = $1 ORDER BY seq",
    )
    places = [row["place"] for row in found]
    assert places[:5] == ["passage_past", "passage_past", "passage_past", "passage_default", "passage_past"]
    assert places[5] == "passage_past"
    assert places[6].startswith("passage_2")
    assert len({row["id"] for row in found}) == 7
    assert min(row["id"] for row in found[4:]) > last
    # No index was left behind half built, and no partition lacks one.
    invalid = await owner.fetch("SELECT indexrelid::regclass FROM pg_index WHERE NOT indisvalid")
    assert invalid == []
    presence = await rows(owner, "a", "SELECT plate FROM presence WHERE community_id = $1 ORDER BY plate")
    assert [row["plate"] for row in presence] == ["P005", "P006"]
    await owner.close()


async def test_an_interrupted_migration_is_taken_up_again(empty_database: Database) -> None:
    base = empty_database
    await released(base)
    owner = await asyncpg.connect(base.owner)
    now = int(await owner.fetchval("SELECT extract(epoch FROM now()) * 1000"))
    async with database.create_pool(base.app, "test", 3) as pool:
        await send(pool, 1, now, now + 400 * DAY_MS)
        await upgrade(base.owner, "0006")
        # A transaction holds the table while the last step wants it; the migration has to give up and try again.
        holder = await pool.acquire()
        transaction = holder.transaction()
        await transaction.start()
        await holder.fetch("SELECT FROM passage")
        migrating = asyncio.create_task(schema.migrate(base.owner, APP_PASSWORD, 5))
        await asyncio.sleep(3)
        assert not migrating.done()
        await transaction.rollback()
        await pool.release(holder)
        await asyncio.wait_for(migrating, 60)
    counted = await rows(owner, "a", "SELECT count(*) AS n FROM passage WHERE community_id = $1")
    assert counted == [{"n": 2}]
    assert await owner.fetchval("SELECT make_partitions()") == 0
    await owner.close()


async def test_servers_work_while_the_table_is_turned_over(empty_database: Database) -> None:
    """Passages keep coming during the migration: none is lost, none is refused."""
    base = empty_database
    await released(base)
    owner = await asyncpg.connect(base.owner)
    now = int(await owner.fetchval("SELECT extract(epoch FROM now()) * 1000"))
    sent = 0
    async with database.create_pool(base.app, "test", 2) as pool:
        migrating = asyncio.create_task(schema.migrate(base.owner, APP_PASSWORD, 5))
        while not migrating.done() or sent < 20:
            await send(pool, sent + 1, now + sent)
            sent += 1
        await migrating
    counted = await rows(owner, "a", "SELECT count(*) AS n, max(seq) AS last FROM passage WHERE community_id = $1")
    assert counted == [{"n": sent, "last": sent}]
    await owner.close()
