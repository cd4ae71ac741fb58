"""``parkmesh doctor``: every check finds what it looks for, in judgement and on a real database."""

import asyncio
import dataclasses
import json
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from parkmesh.server import servers
from parkmesh.server.commands import doctor
from parkmesh.server.commands.doctor import Finding
from parkmesh.server.communities import community_reads
from parkmesh.server.db import database
from running_server import SESSION_SECRET, Database, Server

NOW = datetime(2026, 11, 22, tzinfo=UTC)
SECRET = "Zk3-9vQm1xLr8TtWc2YbNs7HpUe4Ga6Fd0Jo"
ENVIRONMENT = {
    "PARKMESH_DATABASE_URL": "postgresql://u:hunter2-secret@h/d",
    "PARKMESH_SESSION_SECRET": SECRET,
    "PARKMESH_PUBLIC_URL": "https://parking.example",
    "PARKMESH_EDGE_ADDRESS": "10.242.0.11",
}


def states(found: list[Finding]) -> dict[str, str]:
    return {finding.check: finding.state for finding in found}


@pytest.mark.parametrize(
    ("change", "check", "state"),
    [
        ({}, "environment", "ok"),
        ({}, "session secret", "ok"),
        ({}, "public URL", "ok"),
        ({}, "edge address", "ok"),
        ({"PARKMESH_DATABASE_URL": ""}, "environment", "fail"),
        ({"PARKMESH_SESSION_SECRET": "short"}, "environment", "fail"),
        ({"PARKMESH_SESSION_SECRET": "x" * 20}, "session secret", "warn"),
        ({"PARKMESH_SESSION_SECRET": "ab" * 20}, "session secret", "fail"),
        ({"PARKMESH_PUBLIC_URL": ""}, "public URL", "warn"),
        ({"PARKMESH_PUBLIC_URL": "http://parking.example"}, "public URL", "warn"),
        ({"PARKMESH_PUBLIC_URL": "http://localhost:8000"}, "public URL", "ok"),
        ({"PARKMESH_PUBLIC_URL": "https://parking.example/app"}, "public URL", "fail"),
        ({"PARKMESH_PUBLIC_URL": "https:///"}, "public URL", "fail"),
        ({"PARKMESH_EDGE_ADDRESS": ""}, "edge address", "warn"),
        ({"PARKMESH_EDGE_ADDRESS": "0.0.0.0"}, "edge address", "warn"),
        ({"PARKMESH_EDGE_ADDRESS": "server.example"}, "edge address", "fail"),
    ],
)
def test_the_environment_is_judged(change: dict[str, str], check: str, state: str) -> None:
    found = doctor.judge_settings(ENVIRONMENT | change)
    assert states(found)[check] == state
    assert all(finding.mend for finding in found if finding.state != "ok")
    assert SECRET not in str(found)
    assert "hunter2-secret" not in str(found)


def test_an_instance_without_an_overlay_slot_is_told(tmp_path: Path) -> None:
    file = tmp_path / "edge-address"
    environment = ENVIRONMENT | {"PARKMESH_EDGE_ADDRESS": "", "PARKMESH_EDGE_ADDRESS_FILE": str(file)}
    (finding,) = [found for found in doctor.judge_settings(environment) if found.check == "edge address"]
    assert (finding.state, "holds no overlay slot" in finding.text) == ("fail", True)
    file.write_text("10.242.0.11\n")
    assert states(doctor.judge_settings(environment))["edge address"] == "ok"


VERIFIED = "postgresql://u@h/d?sslmode=verify-full&sslrootcert=/ca.pem"


@pytest.mark.parametrize(
    ("finding", "state"),
    [
        (doctor.judge_version(180006), "ok"),
        (doctor.judge_version(140012), "fail"),
        (doctor.judge_tls(True, False, "postgresql://u@/d?host=/run"), "ok"),
        (doctor.judge_tls(False, True, VERIFIED), "ok"),
        (doctor.judge_tls(False, True, "postgresql://u@h/d"), "warn"),
        (doctor.judge_tls(False, True, "postgresql://u@h/d?sslmode=require"), "warn"),
        (doctor.judge_tls(False, False, "postgresql://u@h/d"), "fail"),
        (doctor.judge_clock(0.2), "ok"),
        (doctor.judge_clock(-2), "warn"),
        (doctor.judge_clock(30), "fail"),
        (doctor.judge_revision("3", "3", "123"), "ok"),
        (doctor.judge_revision("2", "3", "123"), "fail"),
        (doctor.judge_revision(None, "3", "123"), "fail"),
        (doctor.judge_revision("next", "3", "123"), "warn"),
        (doctor.judge_connections(97, 2), "ok"),
        (doctor.judge_connections(97, 8), "warn"),
        (doctor.judge_connections(97, 9), "fail"),
        (doctor.judge_partitions(NOW + timedelta(days=7), False, NOW), "ok"),
        (doctor.judge_partitions(NOW + timedelta(days=7), True, NOW), "warn"),
        (doctor.judge_partitions(NOW + timedelta(days=2), False, NOW), "warn"),
        (doctor.judge_partitions(NOW + timedelta(hours=2), False, NOW), "fail"),
        (doctor.judge_partitions(None, False, NOW), "fail"),
        (doctor.judge_retention(NOW - timedelta(days=30), NOW), "ok"),
        (doctor.judge_retention(None, NOW), "ok"),
        (doctor.judge_retention(NOW - timedelta(days=33), NOW), "fail"),
    ],
)
def test_what_the_database_tells_is_judged(finding: Finding, state: str) -> None:
    assert finding.state == state, finding
    assert bool(finding.mend) == (state != "ok")


def test_the_machine_is_judged() -> None:
    assert states(doctor.judge_machine(0.5, 65536)) == {"disk": "ok", "open files": "ok"}
    assert states(doctor.judge_machine(0.1, 1024)) == {"disk": "warn", "open files": "warn"}
    assert states(doctor.judge_machine(0.01, -1)) == {"disk": "fail", "open files": "ok"}


def _server(name: str, **changed: Any) -> servers.Server:
    row = {"edge_url": "", "web_url": None, "version": "1", "started_at": NOW, "last_seen_at": NOW, "draining": False}
    return servers.Server(id=name, live=changed.pop("live", True), **(row | changed))


def test_the_list_of_servers_is_judged() -> None:
    assert states(doctor.judge_servers([_server("a"), _server("b")])) == {"servers": "ok"}
    assert states(doctor.judge_servers([_server("a"), _server("b", version="2")])) == {"servers": "warn"}
    assert states(doctor.judge_servers([])) == {"servers": "fail"}
    found = doctor.judge_servers([_server("a"), _server("b", live=False)])
    assert states(found) == {"servers": "ok", "servers gone": "warn"}
    assert "b" in found[1].text


def _gateway(**changed: Any) -> community_reads.Gateway:
    healthy: dict[str, Any] = {
        "name": "gateway", "online": True, "last_heartbeat_at": NOW, "last_events_at": NOW, "version": "1",
        "backlog": 0, "clock_skew_ms": 10, "access_list_version": 4, "newest_access_list_version": 4,
        "silent_cameras": [], "unknown_gates": 0, "unknown_spaces": 0, "dropped": 0,
    }  # fmt: skip
    known = {field.name for field in dataclasses.fields(community_reads.Gateway)}
    assert set(healthy) <= known
    return community_reads.Gateway(**(healthy | changed))


@pytest.mark.parametrize(
    ("changed", "check"),
    [
        ({}, "gateways"),
        ({"online": False}, "gateways silent"),
        ({"backlog": 5000}, "gateways behind"),
        ({"access_list_version": 3}, "access lists"),
        ({"clock_skew_ms": -90_000}, "gateways' clocks"),
        ({"silent_cameras": ["cam"]}, "cameras"),
    ],
)
def test_the_gateways_are_judged(changed: dict[str, Any], check: str) -> None:
    found = doctor.judge_gateways([("a", _gateway(**changed)), ("b", _gateway())])
    assert states(found) == {check: "warn" if changed else "ok"}
    if changed:
        assert "a/gateway" in found[0].text
        assert "b/gateway" not in found[0].text


def environment(db: Database, **changed: str) -> dict[str, str]:
    return ENVIRONMENT | {"PARKMESH_DATABASE_URL": db.app} | changed


async def examined(db: Database, **changed: str) -> dict[str, Finding]:
    return {finding.check: finding for finding in await doctor.examine(environment(db, **changed), 0)}


async def test_a_sound_deployment_has_nothing_that_fails(server: Server, filled: Database) -> None:
    found = await examined(filled)
    assert {name: finding for name, finding in found.items() if finding.state == "fail"} == {}
    for check in (
        "PostgreSQL", "database TLS", "clock", "database role", "notifications", "schema", "row-level security",
        "btree_gist", "partitions", "retention", "audit trail", "servers", "connections",
    ):  # fmt: skip
        assert found[check].state == "ok", found[check]
    # No gateway runs here.
    assert found["gateways silent"].state == "warn"


async def test_a_database_that_is_away_is_said_in_one_line() -> None:
    url = "postgresql://u:hunter2-secret@127.0.0.1:1/d"
    found = await doctor.examine(ENVIRONMENT | {"PARKMESH_DATABASE_URL": url}, 0)
    assert found[-1].check == "database"
    assert found[-1].state == "fail"
    assert "hunter2-secret" not in str(found)


async def test_the_owner_is_no_role_for_a_server(db: Database) -> None:
    found = await examined(db, PARKMESH_DATABASE_URL=db.owner)
    assert "owns tables" in found["database role"].text
    assert found["database role"].state == "fail"


async def test_a_role_past_row_level_security_is_found(db: Database, postgres: Any) -> None:
    superuser = await asyncpg.connect(db.owner.replace("parkmesh_owner@", "postgres@"))
    try:
        await superuser.execute(
            "CREATE ROLE other_owner; CREATE TABLE other (); ALTER TABLE other OWNER TO other_owner"
        )
        await superuser.execute("ALTER ROLE parkmesh_app BYPASSRLS; GRANT other_owner TO parkmesh_app")
        finding = (await examined(db))["database role"]
    finally:
        await superuser.execute("ALTER ROLE parkmesh_app NOBYPASSRLS; DROP TABLE other; DROP ROLE other_owner")
        await superuser.close()
    assert finding.state == "fail"
    assert "has BYPASSRLS" in finding.text
    assert "member of the tables' owner" in finding.text


async def test_a_table_without_forced_row_level_security_is_found(db: Database) -> None:
    await _as_owner(db, "ALTER TABLE gate NO FORCE ROW LEVEL SECURITY")
    finding = (await examined(db))["row-level security"]
    assert (finding.state, "gate" in finding.text) == ("fail", True)


async def test_an_older_or_empty_schema_is_found(db: Database, empty_database: Database) -> None:
    assert (await examined(empty_database))["schema"].state == "fail"
    await _as_owner(db, "UPDATE alembic_version SET version_num = '0003'")
    finding = (await examined(db))["schema"]
    assert (finding.state, finding.mend) == ("fail", "run parkmesh migrate")


async def test_what_the_exclusion_constraints_need_is_looked_for(db: Database) -> None:
    await _as_owner(db, "DROP EXTENSION btree_gist CASCADE")
    assert (await examined(db))["btree_gist"].state == "fail"


async def test_missing_partitions_are_found(db: Database) -> None:
    await _as_owner(
        db,
        """
        DO $$ DECLARE v_name regclass; BEGIN
            FOR v_name IN SELECT c.oid FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
                WHERE i.inhparent = 'passage'::regclass AND pg_get_expr(c.relpartbound, c.oid) LIKE '%FROM (''%'
            LOOP EXECUTE format('DROP TABLE %s', v_name); END LOOP;
        END $$
        """,
    )
    assert (await examined(db))["partitions"].state == "fail"


async def test_passages_that_retention_left_behind_are_found(db: Database) -> None:
    await _as_owner(
        db,
        """
        ALTER TABLE passage DETACH PARTITION passage_past;
        CREATE TABLE passage_20200101 PARTITION OF passage FOR VALUES FROM ('2020-01-01Z') TO ('2020-01-02Z');
        """,
    )
    finding = (await examined(db))["retention"]
    assert finding.state == "fail"
    assert "2020-01-02" in finding.text


async def test_a_changed_end_of_the_audit_trail_is_found(filled: Database) -> None:
    await _as_owner(
        filled,
        """
        ALTER TABLE audit_chain NO FORCE ROW LEVEL SECURITY;
        ALTER TABLE audit_chain DISABLE TRIGGER USER;
        INSERT INTO audit_chain VALUES (0, 7, sha256('forged'))
            ON CONFLICT (community_id) DO UPDATE SET hash = excluded.hash;
        ALTER TABLE audit_chain ENABLE TRIGGER USER;
        ALTER TABLE audit_chain FORCE ROW LEVEL SECURITY;
        """,
    )
    assert (await examined(filled))["audit trail"].state == "fail"


class Pooled:
    """A connection as it is behind a pooler that keeps no session: what was listened to is forgotten."""

    def __init__(self, connection: Any) -> None:
        self.add_listener, self.remove_listener = connection.add_listener, connection.remove_listener
        self._connection = connection

    async def execute(self, query: str, *arguments: Any) -> Any:
        await self._connection.execute("UNLISTEN *")
        return await self._connection.execute(query, *arguments)


async def test_notifications_that_get_lost_are_found(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "NOTIFY_S", 0.3)
    connection = await database.connect(db.app, "test", 5)
    try:
        assert (await doctor.read_notifications(connection)).state == "ok"
        assert (await doctor.read_notifications(Pooled(connection))).state == "fail"
    finally:
        await connection.close()


async def _as_owner(db: Database, statement: str) -> None:
    connection = await asyncpg.connect(db.owner)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


def test_the_command_exits_with_1_where_something_fails(
    filled: Database, parkmesh: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    done = parkmesh("doctor", "--json", **environment(filled))
    found = {finding["check"]: finding for finding in json.loads(done.stdout)}
    # No server runs.
    assert (done.returncode, found["servers"]["state"]) == (1, "fail")
    assert found["servers"]["mend"]
    text = parkmesh("doctor", **environment(filled)).stdout
    assert "fail  servers " in text
    assert SESSION_SECRET not in done.stdout + text


async def test_the_command_exits_with_0_where_nothing_fails(
    server: Server, filled: Database, parkmesh: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    done = await asyncio.to_thread(parkmesh, "doctor", **environment(filled))
    assert done.returncode == 0, done.stdout
