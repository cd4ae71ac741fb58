"""Functions, triggers and policies are what their files say, whichever schema a database comes from."""

import asyncio
import re
import subprocess
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from alembic import command
from alembic.config import Config
from parkmesh.server.db import definitions, migrations, schema
from running_server import APP_PASSWORD, Database
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool
from test_expand_contract import PREVIOUS, ROOT

BEFORE_THE_FILES = "0008"
CHANGED_SINCE_THE_REVISIONS = {
    "functions api_key_identify",
    "functions bar_changed",
    "functions change_counted",
    "functions edge_batch",
    "functions edge_code_uses",
    "functions edge_counters",
    "functions edge_devices",
    "functions edge_wanted_release",
    "functions erase_passages",
    "functions membership_ended",
    "functions pass_code_changed",
    "functions pass_key_changed",
    "policies booking.server",
    "policies gap.desk",
    "policies space_state.server",
    "policies stay.server",
    "policies violation.server",
    "policies visitor_pass.server",
    "triggers bar.changed",
    "triggers booking.change_counted",
    "triggers community_rules.changed",
    "triggers former_pass_key.forgotten",
    "triggers membership.ended",
    "triggers pass_code.changed",
    "triggers pass_key.renewed",
    "triggers visitor_pass.change_counted",
    "triggers visitor_pass.code_ended",
}
FUNCTIONS = """
SELECT p.oid::regprocedure::text AS name, p.proname,
    pg_get_functiondef(p.oid) || coalesce(obj_description(p.oid, 'pg_proc'), '') || coalesce(p.proacl::text, '') AS text
FROM pg_proc p WHERE p.pronamespace = 'public'::regnamespace
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e')
"""
TRIGGERS = """
SELECT t.tgrelid::regclass || '.' || t.tgname AS name, pg_get_triggerdef(t.oid) AS text,
    t.tgfoid::regproc::text AS calls
FROM pg_trigger t WHERE NOT t.tgisinternal AND t.tgparentid = 0
"""
POLICIES = """
SELECT p.tablename || '.' || p.policyname AS name, p.tablename AS table,
    concat_ws(' ', p.permissive, p.roles, p.cmd, p.qual, p.with_check) AS text
FROM pg_policies p JOIN pg_class c ON c.relname = p.tablename WHERE p.schemaname = 'public' AND NOT c.relispartition
"""


async def catalogue(db: Database) -> dict[str, dict[str, str]]:
    """Return every function, trigger and policy of a database as PostgreSQL shows it."""
    connection = await asyncpg.connect(db.owner)
    try:
        return {
            kind: {row["name"]: row["text"] for row in await connection.fetch(query)}
            for kind, query in (("functions", FUNCTIONS), ("triggers", TRIGGERS), ("policies", POLICIES))
        }
    finally:
        await connection.close()


async def upgrade_to(db: Database, revision: str) -> None:
    """Bring an empty database to a revision as the releases before the files did."""
    await _execute(db, f"DO $$ BEGIN CREATE ROLE {schema.APP_ROLE} LOGIN; EXCEPTION WHEN duplicate_object THEN END $$")
    config = Config()
    config.set_main_option("script_location", str(migrations.FOLDER))

    def run(connection: Any) -> None:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)

    engine = create_async_engine(
        "postgresql+asyncpg://", poolclass=NullPool, async_creator=lambda: asyncpg.connect(db.owner)
    )
    async with engine.begin() as connection:
        await connection.run_sync(run)
    await engine.dispose()


async def _execute(db: Database, statement: str) -> None:
    connection = await asyncpg.connect(db.owner)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@pytest.mark.parametrize("revision", [PREVIOUS.revision, BEFORE_THE_FILES])
async def test_the_files_take_over_what_revisions_made(db: Database, empty_database: Database, revision: str) -> None:
    await upgrade_to(empty_database, revision)
    done = await schema.migrate(empty_database.owner, APP_PASSWORD, 5)
    assert (done.before, done.definitions) == (revision, len(definitions.read()))
    assert await catalogue(empty_database) == await catalogue(db)
    again = await schema.migrate(empty_database.owner, APP_PASSWORD, 5)
    assert (again.changed, again.definitions) == (False, 0)


async def test_the_files_change_only_the_functions_named_here(db: Database, empty_database: Database) -> None:
    await upgrade_to(empty_database, "head")
    by_revisions, by_files = await catalogue(empty_database), await catalogue(db)
    changed = {
        f"{kind} {name.partition('(')[0]}"
        for kind in by_files
        for name in by_revisions[kind].keys() | by_files[kind].keys()
        if by_revisions[kind].get(name) != by_files[kind].get(name)
    }
    assert changed == CHANGED_SINCE_THE_REVISIONS


async def test_every_function_trigger_and_policy_has_its_file(db: Database) -> None:
    files = {definition.name: definition.text for definition in definitions.read()}
    connection = await asyncpg.connect(db.owner)
    functions = {row["proname"] for row in await connection.fetch(FUNCTIONS)}
    triggers = await connection.fetch(TRIGGERS)
    policies = await connection.fetch(POLICIES)
    await connection.close()
    assert {f"functions/{name}.sql" for name in functions} | {
        f"policies/{row['table']}.sql" for row in policies
    } == set(files)
    for row in triggers:
        table, name = row["name"].split(".")
        assert re.search(rf"TRIGGER {name} [^;]* ON {table}\b", files[f"functions/{row['calls']}.sql"]), row["name"]
    for row in policies:
        table, name = row["name"].split(".")
        assert f"CREATE POLICY {name} ON {table}" in files[f"policies/{table}.sql"]


async def test_what_differs_is_applied_and_nothing_else(db: Database) -> None:
    before = await catalogue(db)
    await _execute(
        db,
        """
        CREATE OR REPLACE FUNCTION parkmesh_scope() RETURNS text LANGUAGE sql AS $$ SELECT 'wrong' $$;
        DROP POLICY tenant ON gate;
        UPDATE definition SET sha256 = '\\x00' WHERE name IN ('functions/parkmesh_scope.sql', 'policies/gate.sql');
        """,
    )
    done = await schema.migrate(db.owner, APP_PASSWORD, 5)
    assert (done.changed, done.definitions) == (True, 2)
    assert await catalogue(db) == before


async def test_an_older_server_leaves_newer_definitions_alone(db: Database) -> None:
    await _execute(db, "UPDATE definition SET sha256 = '\\x00', release = 1000000 WHERE name = 'policies/gate.sql'")
    done = await schema.migrate(db.owner, APP_PASSWORD, 5)
    assert (done.changed, done.definitions) == (False, 0)


async def test_a_file_that_fails_is_named_and_leaves_nothing_half_done(
    db: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = definitions.Definition("functions/broken.sql", "CREATE TABLE half (); SELECT no_such_function()")
    monkeypatch.setattr(definitions, "read", lambda: [broken])
    with pytest.raises(schema.MigrationError, match=r"functions/broken\.sql: .*no_such_function"):
        await schema.migrate(db.owner, APP_PASSWORD, 5)
    connection = await asyncpg.connect(db.owner)
    assert await connection.fetchval("SELECT to_regclass('half')") is None
    await connection.close()


async def test_a_table_in_use_is_waited_for(db: Database) -> None:
    await _execute(db, "UPDATE definition SET sha256 = '\\x00' WHERE name = 'policies/gate.sql'")
    reader = await asyncpg.connect(db.owner)
    reading = reader.transaction()
    await reading.start()
    await reader.execute("SELECT FROM gate")
    migrating = asyncio.create_task(schema.migrate(db.owner, APP_PASSWORD, 5))
    await asyncio.sleep(1)
    assert not migrating.done()
    await reading.rollback()
    assert (await migrating).definitions == 1
    await reader.close()


def test_a_change_of_a_file_has_its_number() -> None:
    known = definitions.releases(definitions.RELEASES.read_text())
    number, checksum = known[-1]
    assert [entry[0] for entry in known] == list(range(1, number + 1))
    assert checksum == definitions.digest(definitions.read()), "the files changed: see releases.txt"
    path = definitions.RELEASES.relative_to(ROOT).as_posix()
    shown = subprocess.run(
        ["git", "-C", str(ROOT), "show", f"{PREVIOUS.commit}:{path}"], capture_output=True, text=True, check=False
    )
    released = definitions.releases(shown.stdout)
    assert known[: len(released)] == released, "a number that was released keeps its checksum: append another line"


@pytest.mark.parametrize("change", ["text", "name"])
def test_each_change_gives_another_checksum(change: str) -> None:
    one = definitions.Definition("functions/a.sql", "SELECT 1")
    other = definitions.Definition(
        "functions/b.sql" if change == "name" else one.name, "SELECT 2" if change == "text" else one.text
    )
    assert definitions.digest([one]) != definitions.digest([other])


def test_functions_come_before_policies(tmp_path: Path) -> None:
    for name in ("policies/a.sql", "functions/z.sql"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text("SELECT 1")
    assert [definition.name for definition in definitions.read(tmp_path)] == ["functions/z.sql", "policies/a.sql"]
