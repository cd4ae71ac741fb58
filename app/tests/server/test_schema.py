"""``parkmesh migrate``: idempotent, safe to run many times at once, and strict about the application's role."""

import asyncio
import json
import subprocess
from collections.abc import Callable
from typing import Any

import asyncpg
import pytest
from parkmesh.server.db import schema
from running_server import APP_PASSWORD, Database

Command = Callable[..., subprocess.CompletedProcess[str]]

# What the application may do with each table, and nothing more: S select, I insert, U update (u: of some columns),
# D delete.
PRIVILEGES = {
    "alembic_version": "S",
    "access_list_change": "SI",
    "api_key": "SIu",
    "app_user": "SIu",
    "audit_chain": "S",
    "audit_entry": "SI",
    "audit_link": "S",
    "bar": "SIU",
    "booking": "SIU",
    "calendar_feed": "SIUD",
    "community": "SIu",
    "community_rules": "SIU",
    "counter": "SIUD",
    "credential": "SIUD",
    "digest": "SIU",
    "event": "SIU",
    "event_progress": "SIU",
    "gateway_outage": "SIUD",
    "notification_preference": "SIUD",
    "gap": "SI",
    "gate": "SIUD",
    "gateway": "SIU",
    "gateway_release": "SID",
    "gateway_release_order": "SIUD",
    "gateway_release_part": "SID",
    "gateway_stream": "SIUD",
    "idempotency_key": "SID",
    "known_network": "SIUD",
    "invitation": "SIuD",
    "level": "SIUD",
    "membership": "SIUD",
    "message": "SIUD",
    "passage": "SI",
    "observation": "SI",
    "passkey": "SIuD",
    "passkey_challenge": "SID",
    "pass_code": "SIU",
    "pass_key": "SIU",
    "former_pass_key": "SI",
    "permit": "SIUD",
    "seen_plate": "SI",
    "password_link": "SIUD",
    "resident": "SIUD",
    "server": "SIUD",
    "shared_window": "SID",
    "sharing_exception": "SID",
    "sharing_progress": "SIUD",
    "sharing_rule": "SIUD",
    "sign_in_attempt": "SID",
    "space": "SIUD",
    "space_assignment": "SIUD",
    "space_state": "SIUD",
    "unit": "SIUD",
    "unknown_space": "SIU",
    "privacy_contact": "SIUD",
    "visitor_directions": "SIU",
    "visitor_pass": "SIU",
    "presence": "SIUD",
    "presence_correction": "SID",
    "passage_count": "S",
    "lane": "SIUD",
    "gate_command": "SIU",
    "gate_opening": "SI",
    "movement": "SI",
    "stay": "SIUD",
    "stay_progress": "SIU",
    "waiting": "SIUD",
    "space_request": "SIU",
    "space_request_pass": "SIU",
    "violation": "SIU",
    "violation_step": "SIU",
    "plate_check": "SID",
    "visitor_nights_exception": "SID",
    "web_session": "SIuD",
    "webhook_delivery": "SIUD",
    "webhook_endpoint": "SIUD",
}


async def test_a_second_run_changes_nothing(empty_database: Database) -> None:
    first = await schema.migrate(empty_database.owner, APP_PASSWORD, 5)
    assert first.before is None
    assert first.changed
    second = await schema.migrate(empty_database.owner, APP_PASSWORD, 5)
    assert (second.before, second.changed) == (first.after, False)


async def test_servers_that_boot_at_once_migrate_once(empty_database: Database) -> None:
    done = await asyncio.gather(*(schema.migrate(empty_database.owner, APP_PASSWORD, 30) for _ in range(5)))
    assert [result.before for result in done].count(None) == 1
    assert len({result.after for result in done}) == 1


async def test_an_older_server_leaves_a_newer_schema_alone(db: Database) -> None:
    connection = await asyncpg.connect(db.owner)
    await connection.execute("UPDATE alembic_version SET version_num = 'of-next-year'")
    done = await schema.migrate(db.owner, APP_PASSWORD, 5)
    assert (done.newer, done.changed, done.after) == (True, False, "of-next-year")
    await connection.close()


async def test_the_password_of_the_application_is_the_one_given(db: Database) -> None:
    await schema.migrate(db.owner, "another-password", 5)
    try:
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(db.app)
        connection = await asyncpg.connect(db.app.replace(APP_PASSWORD, "another-password"))
        await connection.close()
    finally:
        await schema.migrate(db.owner, APP_PASSWORD, 5)


async def test_the_application_owns_nothing_and_may_only_what_it_needs(db: Database) -> None:
    connection = await asyncpg.connect(db.owner)
    try:
        role = await connection.fetchrow("SELECT * FROM pg_roles WHERE rolname = $1", schema.APP_ROLE)
        assert not any(role[right] for right in ("rolsuper", "rolbypassrls", "rolcreaterole", "rolcreatedb"))
        owned = await connection.fetchval("SELECT count(*) FROM pg_class WHERE relowner = $1", role["oid"])
        assert owned == 0
        assert await _privileges(connection) == PRIVILEGES
        assert not await connection.fetchval("SELECT has_schema_privilege($1, 'public', 'CREATE')", schema.APP_ROLE)
    finally:
        await connection.close()


async def _privileges(connection: Any) -> dict[str, str]:
    found = await connection.fetch(
        """
        SELECT c.relname AS name,
               has_table_privilege($1, c.oid, 'SELECT') AS "S", has_table_privilege($1, c.oid, 'INSERT') AS "I",
               has_table_privilege($1, c.oid, 'UPDATE') AS "U", has_table_privilege($1, c.oid, 'DELETE') AS "D",
               has_any_column_privilege($1, c.oid, 'UPDATE') AS "u",
               has_table_privilege($1, c.oid, 'TRUNCATE') AS "T"
        FROM pg_class c WHERE c.relkind IN ('r', 'p', 'v', 'm') AND c.relnamespace = 'public'::regnamespace
        """,
        schema.APP_ROLE,
    )
    spelled = {
        row["name"]: "".join(letter for letter in "SIUuDT" if row[letter] and not (letter == "u" and row["U"]))
        for row in found
    }
    return {name: letters for name, letters in spelled.items() if letters}


async def test_a_role_past_row_level_security_is_refused(db: Database, postgres: Any) -> None:
    postgres.psql("ALTER ROLE parkmesh_app BYPASSRLS;")
    try:
        with pytest.raises(schema.MigrationError, match="NOBYPASSRLS"):
            await schema.migrate(db.owner, APP_PASSWORD, 5)
    finally:
        postgres.psql("ALTER ROLE parkmesh_app NOBYPASSRLS;")


def test_the_command_prints_json(empty_database: Database, parkmesh: Command) -> None:
    done = parkmesh("migrate", PARKMESH_DATABASE_URL=empty_database.owner, PARKMESH_APP_PASSWORD=APP_PASSWORD)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["changed"] is True


@pytest.mark.parametrize(
    ("environment", "says", "code"),
    [
        ({}, "PARKMESH_DATABASE_URL is not set", 2),
        ({"PARKMESH_DATABASE_URL": "mysql://u:hunter2-secret@h/d", "PARKMESH_APP_PASSWORD": "x"}, "postgresql://", 2),
        ({"PARKMESH_DATABASE_URL": "postgresql://u:hunter2-secret@h:port/d", "PARKMESH_APP_PASSWORD": "x"}, "form", 2),
        ({"PARKMESH_DATABASE_URL": "postgresql://u:hunter2-secret@127.0.0.1:1/d"}, "PARKMESH_APP_PASSWORD", 2),
        (
            {"PARKMESH_DATABASE_URL": "postgresql://u:hunter2-secret@127.0.0.1:1/d", "PARKMESH_APP_PASSWORD": "x"},
            "no connection to the database within 0.2 s",
            1,
        ),
    ],
)
def test_wrong_settings_are_one_clear_line(
    parkmesh: Command, environment: dict[str, str], says: str, code: int
) -> None:
    done = parkmesh("migrate", "--wait", "0.2", **environment)
    assert done.returncode == code
    assert says in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert "hunter2-secret" not in done.stderr + done.stdout
