"""What operators do about a stolen account or a lost device: end sessions, remove passkeys."""

from msgspec import Struct

from parkmesh.server import audit
from parkmesh.server.db import database
from parkmesh.server.db.database import Connection


class UnknownUserError(Exception):
    """There is no user of that address."""


class Revoked(Struct, frozen=True):
    """How many were ended and removed."""

    sessions: int
    passkeys: int

    @property
    def changed(self) -> bool:
        return bool(self.sessions or self.passkeys)


async def revoke(connection: Connection, email: str | None, *, passkeys: bool) -> Revoked:
    """End the sessions of the user with this address, or of all users, and remove the passkeys too where asked.

    Open live pages end with their sessions. Raises ``UnknownUserError``.
    """
    async with connection.transaction():
        await database.set_scope(connection, "identity")
        user_id = None
        if email is not None:
            user_id = await connection.fetchval("SELECT id FROM app_user WHERE email = $1", email.strip().lower())
            if user_id is None:
                raise UnknownUserError(f"there is no user {email}")
        ended = await connection.execute(
            """
            UPDATE web_session SET revoked_at = now()
            WHERE revoked_at IS NULL AND ($1::bigint IS NULL OR user_id = $1)
            """,
            user_id,
        )
        removed = "DELETE 0"
        if passkeys:
            removed = await connection.execute(
                "DELETE FROM passkey WHERE $1::bigint IS NULL OR user_id = $1",
                user_id,
            )
        done = Revoked(int(ended.removeprefix("UPDATE ")), int(removed.removeprefix("DELETE ")))
        if done.changed:
            what = audit.User(user_id).name if user_id else "users"
            detail = {"sessions": done.sessions, "passkeys": done.passkeys}
            await audit.record(connection, audit.System("admin"), database.OUTSIDE, "session.revoke", what, detail)
    return done
