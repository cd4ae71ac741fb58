"""``parkmesh migrate``: the application's role and the schema, brought up to this release.

Every booting server runs it, so it takes an advisory lock, changes nothing when there is nothing to do, and leaves a
schema alone that a newer release has already brought further (an older server keeps working on it: expand, contract).

Servers work while it runs. Each revision is a transaction of its own, so that its locks end with it, and waits for a
lock only briefly before it lets go and tries again: every transaction that comes after a waiting ALTER TABLE waits
behind it.
"""

import asyncio
import base64
import contextlib
import hashlib
import hmac
import logging
import random
import secrets
import time
from dataclasses import dataclass

import asyncpg
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from parkmesh.server.db import database, definitions, migrations

APP_ROLE = "parkmesh_app"
# Any constant will do, as long as every release uses the same.
LOCK_KEY = 7_120_451_009
LOCK_WAIT_S = 300
"""Seconds for another migration to end, and for a revision to get the locks on its tables."""
TABLE_LOCK_S = 0.5
"""Seconds that other transactions may wait behind a revision that waits for a table. Less than PostgreSQL's
deadlock_timeout: where a revision and a server wait for each other, the revision gives way."""

_log = logging.getLogger(__name__)


class MigrationError(Exception):
    """The schema could not be brought up to this release; the message says why."""


@dataclass(frozen=True)
class Migrated:
    """What ``migrate`` did. Revisions are None for an empty database."""

    before: str | None
    after: str | None
    role_created: bool
    newer: bool = False
    definitions: int = 0

    @property
    def changed(self) -> bool:
        return self.role_created or self.before != self.after or self.definitions > 0


def scram_verifier(password: str, salt: bytes, iterations: int = 4096) -> str:
    """Return PostgreSQL's SCRAM-SHA-256 verifier of a password: what it stores, so that the password itself is never
    in a statement that the database may log."""
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, iterations)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    server_key = hmac.digest(salted, b"Server Key", "sha256")
    stored_key = hashlib.sha256(client_key).digest()
    encoded = [base64.b64encode(part).decode() for part in (salt, stored_key, server_key)]
    return f"SCRAM-SHA-256${iterations}:{encoded[0]}${encoded[1]}:{encoded[2]}"


async def migrate(url: str, app_password: str, wait_s: float) -> Migrated:
    """Bring the database at ``url`` (its owner's address) up to this release, waiting up to ``wait_s`` seconds for it.

    Raises ``database.DatabaseUnavailable`` or ``MigrationError``.
    """
    if not app_password.isascii() or not app_password.isprintable():
        # Others would have to pass through SASLprep before they are hashed.
        raise MigrationError("PARKMESH_APP_PASSWORD holds characters outside of printable ASCII")
    lock = await database.connect(url, "parkmesh/migrate", wait_s)
    try:
        await _take_turn(lock)
        role_created = await _ensure_role(lock, app_password)
        before, after, newer = await _upgrade(url)
        applied = 0
        if not newer:
            applied = await _define(lock)
            await _look_ahead(lock)
    finally:
        await lock.close()
    return Migrated(before, after, role_created, newer, applied)


async def _take_turn(lock: database.Connection) -> None:
    """Wait for the lock in short statements: a waiting one would hold up an index that is built CONCURRENTLY."""
    deadline = time.monotonic() + LOCK_WAIT_S
    while not await lock.fetchval("SELECT pg_try_advisory_lock($1)", LOCK_KEY):
        if time.monotonic() > deadline:
            raise MigrationError(f"another migration holds the lock for more than {LOCK_WAIT_S} s")
        await asyncio.sleep(0.1)


async def _define(connection: database.Connection) -> int:
    """Apply the functions, triggers and policies that differ from their files; return how many."""
    pending = await definitions.pending(connection)
    gives_up = time.monotonic() + LOCK_WAIT_S
    await connection.execute(f"SET lock_timeout = {int(TABLE_LOCK_S * 1000)}")
    for definition in pending:
        while True:
            try:
                await definitions.apply(connection, definition)
                break
            except asyncpg.LockNotAvailableError:
                if time.monotonic() > gives_up:
                    raise MigrationError(
                        f"{definition.name}: its table was in use for more than {LOCK_WAIT_S} s"
                    ) from None
                await asyncio.sleep(random.uniform(0.5, 1.5))  # noqa: S311
            except asyncpg.PostgresError as error:
                raise MigrationError(f"{definition.name}: {error}") from error
    return len(pending)


async def _look_ahead(connection: database.Connection) -> None:
    """Make the partitions of the days ahead. A table in use is no reason not to boot: the next one makes them."""
    await connection.execute(f"SET lock_timeout = {int(TABLE_LOCK_S * 1000)}")
    with contextlib.suppress(asyncpg.LockNotAvailableError):
        await connection.execute("SELECT make_partitions()")


async def _ensure_role(connection: database.Connection, password: str) -> bool:
    """Create the application's role or set its password; tell whether it was created."""
    verifier = scram_verifier(password, secrets.token_bytes(16))
    role = await connection.fetchrow(
        "SELECT rolsuper, rolbypassrls, rolcreaterole, rolcreatedb FROM pg_roles WHERE rolname = $1", APP_ROLE
    )
    if role is None:
        await connection.execute(f"CREATE ROLE {APP_ROLE} LOGIN NOINHERIT PASSWORD '{verifier}'")
        return True
    if any(role.values()):
        raise MigrationError(
            f"role {APP_ROLE} has attributes that let it past row-level security or make roles; "
            f"remove them: ALTER ROLE {APP_ROLE} NOSUPERUSER NOBYPASSRLS NOCREATEROLE NOCREATEDB"
        )
    await connection.execute(f"ALTER ROLE {APP_ROLE} LOGIN PASSWORD '{verifier}'")
    return False


async def _upgrade(url: str) -> tuple[str | None, str | None, bool]:
    """Run the migrations that are missing; return the revision before, after, and whether the schema is newer."""
    config = Config()
    config.set_main_option("script_location", str(migrations.FOLDER))
    script = ScriptDirectory.from_config(config)
    head = script.get_current_head()
    known = {revision.revision for revision in script.walk_revisions()}

    def step(connection: sa.Connection) -> tuple[str | None, str | None]:
        """Run the next revision; return the ones before and after it, the same where there is none."""
        before = MigrationContext.configure(connection).get_current_revision()
        if before == head or (before is not None and before not in known):
            return before, before
        # Of the connection, not of the transaction: a revision may end it and go on outside of one.
        connection.execute(sa.text(f"SET lock_timeout = {int(TABLE_LOCK_S * 1000)}"))
        config.attributes["connection"] = connection
        command.upgrade(config, "+1")
        return before, MigrationContext.configure(connection).get_current_revision()

    # The address goes to the driver as it is, so that both agree on what its options mean.
    engine = create_async_engine(
        "postgresql+asyncpg://",
        poolclass=NullPool,
        async_creator=lambda: asyncpg.connect(url, server_settings={"application_name": "parkmesh/migrate"}),
    )
    gives_up = time.monotonic() + LOCK_WAIT_S
    done: list[str | None] = []
    try:
        while True:
            try:
                async with engine.begin() as connection:
                    before, after = await connection.run_sync(step)
            except (asyncpg.LockNotAvailableError, sa.exc.DBAPIError) as error:
                if not _lock_not_available(error):
                    raise
                if time.monotonic() > gives_up:
                    raise MigrationError(f"a table was in use for more than {LOCK_WAIT_S} s") from None
                _log.warning("a table is in use, trying again", extra={"fields": {"cause": str(error)}})
                # Transactions that waited behind us go first.
                await asyncio.sleep(random.uniform(0.5, 1.5))  # noqa: S311
                continue
            done.append(before)
            if before == after:
                return done[0], after, after is not None and after not in known
    finally:
        await engine.dispose()


def _lock_not_available(error: BaseException) -> bool:
    """Tell whether a revision did not get a lock in time, said by the driver or by SQLAlchemy for it."""
    causes = (error, getattr(error, "orig", None))
    return any(getattr(cause, "sqlstate", None) == asyncpg.LockNotAvailableError.sqlstate for cause in causes)
