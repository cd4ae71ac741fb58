"""The outbox: messages wait here until a worker of some server has sent them.

A message is put in by the transaction of the act that it tells of, so neither is without the other. A worker takes what
is due for ``LEASE`` and sends it outside of any transaction. Where the worker dies, another one sends the message
again: at least once, with the same ``event_id``, which receivers know it by.
"""

import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from parkmesh.domain import retries
from parkmesh.server.db import database, keyset
from parkmesh.server.db.database import Connection, Pool

LEASE = timedelta(minutes=2)
"""How long a worker has for what it took."""
ABANDONED = timedelta(days=1)
"""How long mails wait where a server sends none: in a roll that sets mail up, other servers send them already."""
MAX_ERROR = 300
CHANNEL = "parkmesh_outbox"


@dataclass(frozen=True, slots=True)
class Mail:
    """A mail to put into the outbox: an address, a language's code, and what the text is made of.

    It is sent at ``due_at`` (None: at once), and given up where it was not sent by ``useless_at``.
    """

    recipient: str
    language: str
    payload: Mapping[str, Any]
    due_at: datetime | None = None
    useless_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """A message that a worker took. ``attempts`` counts this one too."""

    id: int
    event_id: UUID
    community_id: int | None
    kind: str
    recipient: str
    language: str
    payload: dict[str, Any]
    created_at: datetime
    attempts: int


@dataclass(frozen=True, slots=True)
class DeadMessage:
    """A message that could not be sent and was given up. ``community`` is None for one about an account. One with a
    link that opens something can't be sent again (``repeatable``): a new link is needed."""

    id: int
    kind: str
    recipient: str
    community: str | None
    created_at: datetime
    dead_at: datetime
    attempts: int
    last_error: str
    repeatable: bool


@asynccontextmanager
async def _scope(pool: Pool) -> AsyncGenerator[Connection]:
    async with database.acquired(pool) as connection, connection.transaction():
        await database.set_scope(connection, "mails")
        yield connection


async def mail(connection: Connection, community_id: int | None, kind: str, mails: Sequence[Mail]) -> None:
    """Put mails of one kind into the outbox. The transaction is in the community, or in the scope ``identity`` for
    mails about an account (None)."""
    if not mails:
        return
    await connection.execute(
        """
        INSERT INTO message (community_id, channel, kind, recipient, language, payload, due_at, useless_at)
        SELECT $1, 'mail', $2, m.recipient, m.language, m.payload::jsonb, coalesce(m.due_at, clock_timestamp()),
               m.useless_at
        FROM unnest($3::text[], $4::text[], $5::text[], $6::timestamptz[], $7::timestamptz[])
            AS m(recipient, language, payload, due_at, useless_at)
        """,
        community_id,
        kind,
        [mail.recipient for mail in mails],
        [mail.language for mail in mails],
        [json.dumps(dict(mail.payload)) for mail in mails],
        [mail.due_at for mail in mails],
        [mail.useless_at for mail in mails],
    )
    await wake(connection)


async def wake(connection: Connection) -> None:
    """Have the workers look for what is due, once the transaction has committed."""
    await connection.execute("SELECT pg_notify($1, '')", CHANNEL)


async def take(pool: Pool, limit: int) -> list[Message]:
    """Take up to ``limit`` messages that are due; no other worker takes them for ``LEASE``."""
    async with _scope(pool) as connection:
        await connection.execute(
            """
            UPDATE message SET dead_at = clock_timestamp(), payload = '{}',
                               last_error = left(concat_ws('; ', 'too late', last_error), $1)
            WHERE due_at <= clock_timestamp() AND useless_at <= clock_timestamp() AND delivered_at IS NULL
              AND dead_at IS NULL
            """,
            MAX_ERROR,
        )
        rows = await connection.fetch(
            """
            UPDATE message m SET attempts = m.attempts + 1, due_at = clock_timestamp() + $2::interval
            FROM (SELECT id FROM message
                  WHERE due_at <= clock_timestamp() AND delivered_at IS NULL AND dead_at IS NULL
                  ORDER BY due_at LIMIT $1 FOR UPDATE SKIP LOCKED) due
            WHERE m.id = due.id
            RETURNING m.id, m.event_id, m.community_id, m.kind, m.recipient, m.language, m.payload, m.created_at,
                      m.attempts
            """,
            limit,
            LEASE,
        )
    return [
        Message(**{**row, "payload": json.loads(row["payload"])}) for row in sorted(rows, key=lambda row: row["id"])
    ]


async def delivered(pool: Pool, ids: Sequence[int]) -> None:
    """Note that messages were sent; what they were made of is forgotten."""
    async with _scope(pool) as connection:
        await connection.execute(
            """
            UPDATE message SET delivered_at = clock_timestamp(), payload = '{}', last_error = NULL WHERE id = ANY($1)
            """,
            list(ids),
        )


async def failed(pool: Pool, message: Message, error: str, *, final: bool, secret: bool) -> None:
    """Note why a message wasn't sent; it is tried again after the next of ``retries.WAITS``, unless this was ``final``.

    What a ``secret`` message is made of is forgotten when it is given up: it can't be sent again.
    """
    wait = None if final else retries.wait_after(message.attempts)
    async with _scope(pool) as connection:
        await connection.execute(
            """
            UPDATE message SET last_error = $2, due_at = clock_timestamp() + coalesce($3::interval, interval '0'),
                               dead_at = CASE WHEN $3::interval IS NULL THEN clock_timestamp() END,
                               payload = CASE WHEN $3::interval IS NULL AND $4 THEN '{}' ELSE payload END
            WHERE id = $1
            """,
            message.id,
            error[:MAX_ERROR],
            wait,
            secret,
        )


async def drop_mails(pool: Pool) -> int:
    """Delete the mails that have waited for ``ABANDONED`` on a deployment that sends none; return how many."""
    async with _scope(pool) as connection:
        done: str = await connection.execute(
            """
            DELETE FROM message WHERE channel = 'mail' AND delivered_at IS NULL AND dead_at IS NULL
              AND created_at < clock_timestamp() - $1::interval
            """,
            ABANDONED,
        )
    return int(done.rpartition(" ")[2])


async def next_due_s(pool: Pool) -> float | None:
    """Return the seconds until the next message is due, None where none waits."""
    async with _scope(pool) as connection:
        found: float | None = await connection.fetchval(
            """
            SELECT extract(epoch FROM min(due_at) - clock_timestamp())::float8 FROM message
            WHERE delivered_at IS NULL AND dead_at IS NULL
            """
        )
    return found


async def dead(pool: Pool, *, limit: int, after: int | None = None, way: keyset.Way = keyset.ON) -> list[DeadMessage]:
    """Return messages that were given up, the latest first; ``after`` is the id of the last one of the page before."""
    async with database.at_desk(pool) as connection:
        rows = await connection.fetch(
            f"""
            SELECT m.id, m.kind, m.recipient, c.name AS community, m.created_at, m.dead_at, m.attempts,
                   coalesce(m.last_error, '') AS last_error, m.payload <> '{{}}' AS repeatable
            FROM message m LEFT JOIN community c ON c.id = m.community_id
            WHERE m.dead_at IS NOT NULL AND ($1::bigint IS NULL OR m.id {way.below} $1)
            ORDER BY m.id {way.down} LIMIT $2
            """,  # noqa: S608 - words of a way
            after,
            limit,
        )
    return [DeadMessage(**row) for row in rows]


async def send_again(pool: Pool, message_id: int) -> bool:
    """Have a message that was given up sent again; return False where there is none, or it is not repeatable."""
    async with _scope(pool) as connection:
        done = await connection.fetchval(
            """
            UPDATE message SET dead_at = NULL, attempts = 0, due_at = clock_timestamp()
            WHERE id = $1 AND dead_at IS NOT NULL AND payload <> '{}' RETURNING true
            """,
            message_id,
        )
        if done:
            await wake(connection)
    return bool(done)
