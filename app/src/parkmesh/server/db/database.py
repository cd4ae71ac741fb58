"""Connections to PostgreSQL and the only ways to open a transaction on them.

Row-level security is forced on every table: a transaction sees nothing until settings say for which community or scope
it works. The settings last as long as the transaction:

| setting | set by | shows |
|---|---|---|
| ``parkmesh.community`` | ``in_community`` | one community's rows |
| ``parkmesh.scope=desk`` | ``at_desk``, for operators only | names, gateways' health, its webhooks, to read |
| ``parkmesh.scope=identity`` | ``in_identity``, for signing in | users and their sessions |
| ``parkmesh.scope=provision`` | ``provisioning``, for ``parkmesh admin`` | communities, users and the desk's webhooks |
| ``parkmesh.scope=retention`` | ``parkmesh retention run`` as the owner | what is kept for a time, to let it go |
| ``parkmesh.scope=server`` | ``as_server`` | the list of servers, to change (everybody reads it) |
| ``parkmesh.scope=webhooks`` | ``webhooks.deliveries``, for the workers | which webhooks are due |

The policies are in ``migrations/versions``.
"""

import asyncio
import ssl
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any, Literal

import asyncpg

from parkmesh.server.telemetry import metrics

OUTSIDE = 0
"""Stands for no community where a row must name one: the operator's own part of the audit trail."""
ACQUIRE_S = 5.0
STATEMENT_S = 30.0
OFFLINE = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)
"""What a database that is away, starting or refusing raises."""

Scope = Literal["desk", "identity", "mails", "provision", "retention", "server", "webhooks"]
# asyncpg ships no types; these names say what is meant.
Connection = Any
Pool = Any


class DatabaseUnavailable(Exception):
    """The database accepted no connection in time. The message says why and shows no secret."""


class _Pooled(asyncpg.Connection):  # type: ignore[misc]
    """A connection that goes back to its pool without a question to the database: all settings end with their
    transaction, and nothing else is kept in a session. (One left in a transaction is still rolled back.)"""

    _named = ""

    def get_reset_query(self) -> str:
        return ""

    def name_at_begin(self, setting: str, value: str) -> None:
        """Let the next transaction set ``setting`` in the message that begins it: one way to the database and back
        less for each transaction. ``value`` needs no quoting: a number, or a word of this package."""
        self._named = f"SET LOCAL {setting} = '{value}'"

    async def execute(self, query: str, *arguments: Any, **options: Any) -> Any:
        if self._named and query.startswith("BEGIN"):
            query, self._named = query + self._named, ""
        return await super().execute(query, *arguments, **options)


def create_pool(url: str, name: str, size: int) -> Pool:
    """Return a pool of at most ``size`` connections that opens none yet; enter it to use it."""
    return asyncpg.create_pool(
        url,
        min_size=0,
        max_size=size,
        connection_class=_Pooled,
        timeout=ACQUIRE_S,
        command_timeout=STATEMENT_S,
        max_inactive_connection_lifetime=300,
        server_settings={
            "application_name": name,
            "statement_timeout": str(int(STATEMENT_S * 1000)),
            "idle_in_transaction_session_timeout": str(int(STATEMENT_S * 1000)),
        },
    )


async def connect(url: str, name: str, wait_s: float) -> Connection:
    """Connect, waiting up to ``wait_s`` seconds for a database that is starting; raise ``DatabaseUnavailable``."""
    deadline = time.monotonic() + wait_s
    while True:
        try:
            return await asyncpg.connect(url, timeout=10, server_settings={"application_name": name})
        except (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError) as error:
            raise DatabaseUnavailable(f"the database refuses us: {error}") from None
        except ssl.SSLCertVerificationError as error:
            raise DatabaseUnavailable(f"the database's certificate isn't trusted: {error.verify_message}") from None
        except OFFLINE as error:
            if time.monotonic() >= deadline:
                # The driver's messages name host, port and user; none names the password.
                raise DatabaseUnavailable(
                    f"no connection to the database within {wait_s:g} s: {type(error).__name__}: {error}"
                ) from None
        await asyncio.sleep(min(1.0, max(0.05, deadline - time.monotonic())))


@asynccontextmanager
async def acquired(pool: Pool) -> AsyncGenerator[Connection]:
    """Take a connection of the pool; raise ``TimeoutError`` where none is free within ``ACQUIRE_S``."""
    began = time.perf_counter()
    try:
        connection = await pool.acquire(timeout=ACQUIRE_S)
    finally:
        metrics.DATABASE_WAIT.observe(time.perf_counter() - began)
    try:
        yield connection
    finally:
        await pool.release(connection)


async def fetchrow(pool: Pool, query: str, *arguments: Any) -> Any:
    """Run one statement in a transaction of its own; wait no longer than ``ACQUIRE_S`` for a connection."""
    async with acquired(pool) as connection:
        return await connection.fetchrow(query, *arguments)


async def set_community(connection: Connection, community_id: int | None) -> None:
    """Name the community for which the rest of the current transaction works (None: no community)."""
    await connection.execute("SELECT set_config('parkmesh.community', $1, true)", str(community_id or ""))


async def set_scope(connection: Connection, scope: Scope) -> None:
    """Name the scope in which the rest of the current transaction works."""
    await connection.execute("SELECT set_config('parkmesh.scope', $1, true)", scope)


@asynccontextmanager
async def in_scope(connection: Connection, scope: Scope) -> AsyncGenerator[None]:
    """Name the scope for a part of the current transaction; after it the one before holds again."""
    before = await connection.fetchval("SELECT parkmesh_scope()")
    await set_scope(connection, scope)
    yield
    # After an error the transaction ends, and the scope with it.
    await connection.execute("SELECT set_config('parkmesh.scope', $1, true)", before)


@asynccontextmanager
async def _begun(
    pool: Pool, setting: str, value: str, read_only: bool = False, isolation: str | None = None
) -> AsyncGenerator[Connection]:
    async with acquired(pool) as connection:
        # Nothing can come between: the first that a transaction waits for is the answer to its begin.
        connection.name_at_begin(setting, value)
        async with connection.transaction(readonly=read_only, isolation=isolation):
            yield connection


@asynccontextmanager
async def in_community(pool: Pool, community_id: int, *, read_only: bool = False) -> AsyncGenerator[Connection]:
    """Open a transaction that sees one community's rows; a read-only one sees a single state of them."""
    isolation = "repeatable_read" if read_only else "read_committed"
    async with _begun(pool, "parkmesh.community", str(int(community_id)), read_only, isolation) as connection:
        yield connection


@asynccontextmanager
async def at_desk(pool: Pool) -> AsyncGenerator[Connection]:
    """Open a read-only transaction for an operator: every community's name, its gateways' health, the desk's webhooks,
    nothing else."""
    async with _begun(pool, "parkmesh.scope", "desk", read_only=True) as connection:
        yield connection


@asynccontextmanager
async def in_identity(pool: Pool) -> AsyncGenerator[Connection]:
    """Open a transaction that sees users, sessions and sign-in attempts, and no community's rows."""
    async with _begun(pool, "parkmesh.scope", "identity") as connection:
        yield connection


@asynccontextmanager
async def as_server(pool: Pool) -> AsyncGenerator[Connection]:
    """Open a transaction in which a server keeps its own row in the list of servers."""
    async with _begun(pool, "parkmesh.scope", "server") as connection:
        yield connection


@asynccontextmanager
async def provisioning(connection: Connection) -> AsyncGenerator[Connection]:
    """Open the transaction in which ``parkmesh admin`` adds communities and users."""
    async with connection.transaction():
        await set_scope(connection, "provision")
        yield connection
