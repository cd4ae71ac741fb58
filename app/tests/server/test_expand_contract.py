"""Expand and contract: servers of the previous release keep working while and after this one migrates the database.

``PREVIOUS`` names that release. When a release is made, it moves on to it; the tests of the release before it then hold
the next migrations to the same promise.
"""

import asyncio
import hashlib
import os
import re
import subprocess
import sys
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import asyncpg
import previous_server
import pytest
from parkmesh.protocol.edge import EventBatch, Passage, Times
from parkmesh.server.db import database, migrations, schema
from running_server import APP_PASSWORD, Database
from two_communities import TOKENS, rows

ROOT = Path(__file__).parents[3]


@dataclass(frozen=True)
class Release:
    """A release: its commit, and the last revision of its schema."""

    commit: str
    revision: str


PREVIOUS = Release("618057b", "0002")

# What the previous release's servers do: every test of its web application, edge API and command. Left out is what
# looks at the schema itself (test_schema.py, and of test_rights.py the walks through the catalogue): that has grown.
PREVIOUS_TESTS = ("test_web_door.py", "test_edge_door.py", "test_apply.py", "test_rights.py")
ABOUT_THE_SCHEMA = (
    "test_every_table_has_row_level_security_forced",
    "test_the_community_leads_every_key_of_a_tenants_table",
    "test_a_transaction_sees_its_community_and_without_one_nothing",
    "test_the_desk_sees_names_and_health_and_nothing_else",
)

# Its conftest makes the template of all databases; this one lets the release of today migrate it.
NEW_TEMPLATE = """

@pytest.fixture(scope="session")
def migrated_template(cluster: Callable[[str], Database]) -> str:
    import os
    import subprocess

    created = cluster("template0")
    environment = {
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": os.environ["SOURCE_OF_TODAY"],
        "PARKMESH_DATABASE_URL": created.owner,
        "PARKMESH_APP_PASSWORD": APP_PASSWORD,
    }
    subprocess.run(
        [sys.executable, "-c", "from parkmesh.cli import main; main()", "migrate"], env=environment, check=True
    )
    return created.name
"""


@pytest.fixture(scope="module")
def previous(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the previous release's application and its tests."""
    done = subprocess.run(
        ["git", "-C", str(ROOT), "archive", "--format=tar", PREVIOUS.commit, "app", "pyproject.toml"],
        capture_output=True,
    )
    if done.returncode != 0:
        reason = done.stderr.decode(errors="replace").strip().splitlines()
        pytest.skip(f"the previous release {PREVIOUS.commit} is not in this clone's history: {reason[-1:]}")
    folder = tmp_path_factory.mktemp("previous")
    with tarfile.open(fileobj=BytesIO(done.stdout)) as archive:
        archive.extractall(folder, filter="data")
    return folder


@pytest.fixture
def at_previous(empty_database: Database, previous: Path, password_file: Path) -> Database:
    """Return a database that the previous release made and filled: communities a and b."""
    environment = {
        "PATH": "/usr/bin:/bin",
        "PYTHONPATH": str(previous / "app/src"),
        "PARKMESH_DATABASE_URL": empty_database.owner,
        "PARKMESH_APP_PASSWORD": APP_PASSWORD,
    }
    code = """
import asyncio, os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from parkmesh.server import schema
from two_communities import apply, document
url = os.environ["PARKMESH_DATABASE_URL"]
asyncio.run(schema.migrate(url, os.environ["PARKMESH_APP_PASSWORD"], 5))
asyncio.run(apply(url, document(Path(sys.argv[2]))))
"""
    subprocess.run(
        [sys.executable, "-c", code, str(previous / "app/tests/server"), str(password_file)],
        env=environment,
        check=True,
    )
    return empty_database


async def test_the_previous_releases_tests_pass_on_the_new_schema(previous: Path) -> None:
    conftest = previous / "app/tests/server/conftest.py"
    conftest.write_text(conftest.read_text() + NEW_TEMPLATE)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    done = await asyncio.to_thread(
        subprocess.run,
        [
            sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o", "addopts=--strict-markers",
            *(f"app/tests/server/{name}" for name in PREVIOUS_TESTS),
            "-k", " and ".join(f"not {name}" for name in ABOUT_THE_SCHEMA),
        ],
        cwd=previous,
        env=environment | {"SOURCE_OF_TODAY": str(Path(schema.__file__).parents[3])},
        capture_output=True,
        text=True,
        timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    counted = re.search(r"(\d+) passed", done.stdout)
    assert counted, done.stdout[-1000:]
    assert int(counted[1]) >= 50, "most of the previous release's tests were not run"


def _batch(first: int, count: int) -> EventBatch:
    times = Times(1_790_000_000_000)
    return EventBatch(
        1,
        [
            Passage(seq, times, "main-in", "entry", "1234BCD", "granted", "exact", True)
            for seq in range(first, first + count)
        ],
    )


async def _passages(db: Database) -> int:
    connection = await asyncpg.connect(db.owner)
    try:
        (found,) = await rows(connection, "a", "SELECT count(*) FROM passage WHERE community_id = $1")
        return int(found["count"])
    finally:
        await connection.close()


async def test_events_go_on_while_the_schema_changes_and_none_is_lost(at_previous: Database) -> None:
    """A server that is connected all the time: its prepared statements outlive every change under them."""
    token = hashlib.sha256(TOKENS["gateway-a"].encode()).digest()
    migrating: asyncio.Task[schema.Migrated] | None = None
    sent = 0
    async with database.create_pool(at_previous.app, "test", 1) as pool:
        while migrating is None or not migrating.done() or sent < 60:
            assert await previous_server.store(pool, token, _batch(sent + 1, 5)) == sent + 5
            sent += 5
            if migrating is None and sent >= 30:
                migrating = asyncio.create_task(schema.migrate(at_previous.owner, APP_PASSWORD, 5))
        done = await migrating
    assert done.before == PREVIOUS.revision
    assert done.changed
    assert await _passages(at_previous) == sent


async def test_a_migration_that_waits_for_a_table_lets_others_pass(at_previous: Database) -> None:
    """A transaction reads a table for long. The revision that changes the table waits, and writers don't."""
    reader, writer, watcher = [await asyncpg.connect(at_previous.owner) for _ in range(3)]
    try:
        reading = reader.transaction()
        await reading.start()
        await reader.execute("SELECT FROM space")
        migrating = asyncio.create_task(schema.migrate(at_previous.owner, APP_PASSWORD, 5))
        waits = """
            SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND relation = 'space'::regclass)
        """
        for _ in range(1000):
            if await watcher.fetchval(waits):
                break
            assert not migrating.done(), "no revision changes the table: let the test hold another one"
            await asyncio.sleep(0.02)
        else:
            pytest.fail("the migration never waited")
        # As servers of the previous release write. It would hang for as long as the reader reads.
        async with asyncio.timeout(60):
            assert await rows(writer, "a", "UPDATE space SET level = 'P9' WHERE community_id = $1 RETURNING level")
        assert not migrating.done()
        # What was through before it has kept: a revision's locks end with it, not with the whole migration.
        assert await watcher.fetchval("SELECT version_num FROM alembic_version") > PREVIOUS.revision
        await reading.rollback()
        assert (await migrating).changed
    finally:
        for connection in (reader, writer, watcher):
            await connection.close()


# Tables that devices fill and servers write all the time: none may be locked for as long as its rows take to read.
GROWING = ("passage", "space_state", "gap", "access_list_change", "gateway")


def statements(script: str) -> list[str]:
    """Return the statements of a script, without comments; bodies in dollar quotes stay in their statement."""
    found, current, position = [], "", 0
    token = re.compile(r"--[^\n]*|'(?:[^']|'')*'|(\$\w*\$).*?\1|;", re.DOTALL)
    for match in token.finditer(script):
        current += script[position : match.start()]
        position = match.end()
        if match[0] == ";":
            found.append(current)
            current = ""
        elif not match[0].startswith("--"):
            current += match[0]
    return [" ".join(text.split()) for text in (*found, current + script[position:]) if text.strip()]


def long_locks(script: str) -> list[str]:
    """Return the statements of a revision that read or rewrite a whole table of ``GROWING`` under a lock that keeps
    others from writing it. A table that the same revision makes is empty and may be treated in any way."""
    made = set(re.findall(r"CREATE TABLE (?:IF NOT EXISTS )?(\w+)", script))
    tables = [table for table in GROWING if table not in made]
    return [
        statement
        for statement in statements(script)
        for table in tables
        if any(re.search(pattern.format(table=table), statement, re.IGNORECASE) for pattern in LONG)
    ]


LONG = (
    r"^CREATE (UNIQUE )?INDEX (?!CONCURRENTLY)(IF NOT EXISTS )?\w+ ON {table}\b",
    r"^ALTER TABLE {table}\b.* ALTER (COLUMN )?\w+ (SET DATA )?TYPE\b",
    r"^ALTER TABLE {table}\b.* ALTER (COLUMN )?\w+ SET NOT NULL",
    r"^ALTER TABLE {table}\b.* ADD (COLUMN )?\w+ (?![^,]*DEFAULT)[^,]*NOT NULL",
    r"^ALTER TABLE {table}\b.* ADD (COLUMN )?\w+ [^,]*(random|gen_random_uuid|clock_timestamp|GENERATED ALWAYS AS \()",
    r"^ALTER TABLE {table}\b.* ADD (CONSTRAINT \w+ )?(CHECK|FOREIGN KEY)(?!.*NOT VALID)",
    r"^ALTER TABLE {table}\b.* ADD (CONSTRAINT \w+ )?(UNIQUE|PRIMARY KEY|EXCLUDE)(?! USING INDEX)",
    r"^UPDATE {table}\b",
    r"^(CLUSTER|VACUUM FULL|TRUNCATE|REINDEX TABLE (?!CONCURRENTLY)) ?{table}\b",
)


@pytest.mark.parametrize(
    ("script", "found"),
    [
        ("CREATE INDEX passage_x ON passage (gate)", True),
        ("CREATE UNIQUE INDEX IF NOT EXISTS passage_x ON passage (gate)", True),
        ("CREATE INDEX CONCURRENTLY passage_x ON passage (gate)", False),
        ("CREATE INDEX unit_x ON unit (name)", False),
        ("CREATE INDEX passage_x ON passage_count (gate)", False),
        ("CREATE TABLE passage (id int); CREATE INDEX passage_x ON passage (gate)", False),
        ("ALTER TABLE gap ALTER COLUMN seq TYPE numeric", True),
        ("ALTER TABLE gap ALTER seq SET DATA TYPE numeric", True),
        ("ALTER TABLE gap ALTER seq SET NOT NULL", True),
        ("ALTER TABLE gap ADD COLUMN x int NOT NULL", True),
        ("ALTER TABLE gap ADD COLUMN x int NOT NULL DEFAULT 0", False),
        ("ALTER TABLE gap ADD COLUMN x int DEFAULT 0 NOT NULL", False),
        ("ALTER TABLE gap ADD COLUMN x int, ADD COLUMN y text", False),
        ("ALTER TABLE gap ADD COLUMN x uuid NOT NULL DEFAULT gen_random_uuid()", True),
        ("ALTER TABLE gateway ADD CHECK (backlog >= 0)", True),
        ("ALTER TABLE gateway ADD CONSTRAINT c CHECK (backlog >= 0) NOT VALID", False),
        ("ALTER TABLE gateway VALIDATE CONSTRAINT c", False),
        ("ALTER TABLE passage ADD CONSTRAINT c UNIQUE (id)", True),
        ("ALTER TABLE passage ADD CONSTRAINT c UNIQUE USING INDEX i", False),
        ("SELECT 1; UPDATE space_state SET status = 'free'", True),
        ("-- UPDATE gap SET x = 1;\nSELECT 'UPDATE gap'; SELECT $x$; UPDATE gap $x$", False),
    ],
)
def test_a_statement_that_locks_a_growing_table_for_long_is_known(script: str, found: bool) -> None:
    assert bool(long_locks(script)) == found


class Recorder:
    """A database driver that does nothing and remembers what it was told."""

    def __init__(self) -> None:
        self.script = ""
        self.connection = self
        self.dbapi_connection = self

    def run_async(self, work: Callable[[Any], Any]) -> None:
        work(self)

    def execute(self, script: str) -> None:
        self.script += f"{script}\n;\n"


def revisions() -> list[str]:
    files = (migrations.FOLDER / "versions").glob("0*.py")
    return sorted(file.stem for file in files if file.stem[:4] > PREVIOUS.revision)


@pytest.mark.parametrize("name", revisions())
def test_no_revision_locks_a_growing_table_for_long(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    revision = import_module(f"parkmesh.server.db.migrations.versions.{name}")
    recorder = Recorder()
    monkeypatch.setattr(revision, "op", SimpleNamespace(get_bind=lambda: recorder))
    revision.upgrade()
    assert recorder.script.strip(), "nothing was recorded: the revision works in a way that this test doesn't see"
    assert long_locks(recorder.script) == []
