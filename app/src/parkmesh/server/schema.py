"""``parkmesh migrate``: the application's role and the schema, brought up to this release.

Every booting server runs it, so it takes an advisory lock, changes nothing when there is nothing to do, and leaves a
schema alone that a newer release has already brought further (an older server keeps working on it: expand, contract).
"""

import base64
import hashlib
import hmac
import secrets
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from parkmesh.server import database

APP_ROLE = "parkmesh_app"
# Any constant will do, as long as every release uses the same.
LOCK_KEY = 7_120_451_009
LOCK_WAIT_S = 300


class MigrationError(Exception):
    """The schema could not be brought up to this release; the message says why."""


@dataclass(frozen=True)
class Migrated:
    """What ``migrate`` did. Revisions are None for an empty database."""

    before: str | None
    after: str | None
    role_created: bool
    newer: bool = False

    @property
    def changed(self) -> bool:
        return self.role_created or self.before != self.after


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
        await lock.execute(f"SET lock_timeout = '{LOCK_WAIT_S}s'")
        await lock.execute("SELECT pg_advisory_lock($1)", LOCK_KEY)
        role_created = await _ensure_role(lock, app_password)
        before, after, newer = await _upgrade(url)
    except asyncpg.LockNotAvailableError:
        raise MigrationError(f"another migration holds the lock for more than {LOCK_WAIT_S} s") from None
    finally:
        await lock.close()
    return Migrated(before, after, role_created, newer)


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
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    script = ScriptDirectory.from_config(config)
    head = script.get_current_head()
    known = {revision.revision for revision in script.walk_revisions()}

    def upgrade(connection: sa.Connection) -> tuple[str | None, str | None, bool]:
        before = MigrationContext.configure(connection).get_current_revision()
        if before is not None and before not in known:
            return before, before, True
        if before != head:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
        return before, head, False

    # The address goes to the driver as it is, so that both agree on what its options mean.
    engine = create_async_engine(
        "postgresql+asyncpg://",
        poolclass=NullPool,
        async_creator=lambda: asyncpg.connect(url, server_settings={"application_name": "parkmesh/migrate"}),
    )
    try:
        async with engine.begin() as connection:
            return await connection.run_sync(upgrade)
    finally:
        await engine.dispose()
