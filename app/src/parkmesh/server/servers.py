"""The list of application servers that are alive: each says every few seconds that it is there.

It serves the gateways (which server to try next), the desk and ``parkmesh doctor``. Nothing depends on it to be right:
a server whose row is late still answers, one whose row is left behind doesn't.
"""

import asyncio
import contextlib
import logging
from dataclasses import dataclass
from datetime import datetime, timedelta

from parkmesh import __version__
from parkmesh.server.db import database
from parkmesh.server.telemetry import logs

BEAT_S = 10.0
LIVE_WITHIN = timedelta(seconds=35)
"""A server that was not heard of for longer counts as gone: three beats and a little."""
FORGOTTEN_AFTER = timedelta(hours=24)
"""How long the row of a server that died without a word is kept for the desk to see."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Server:
    """A server of the application.

    ``live`` is true while it reports in time. A server that stopped without notice stays in the list for a day, with
    ``live`` false.
    """

    id: str
    edge_url: str
    web_url: str | None
    version: str
    started_at: datetime
    last_seen_at: datetime
    draining: bool
    live: bool


async def read(connection: database.Connection) -> list[Server]:
    """Return all servers known, by name; any transaction of the application may ask."""
    rows = await connection.fetch(
        """
        SELECT id, edge_url, web_url, version, started_at, last_seen_at, draining,
               last_seen_at > clock_timestamp() - $1::interval AS live
        FROM server ORDER BY id
        """,
        LIVE_WITHIN,
    )
    return [Server(**row) for row in rows]


class Presence:
    """This process's own row."""

    def __init__(
        self, pool: database.Pool, server_id: str, edge_url: str, web_url: str | None, started_at: datetime
    ) -> None:
        self._pool = pool
        self._row = (server_id, edge_url, web_url, __version__, started_at)
        self._draining = False
        self._changed = asyncio.Event()

    async def run(self) -> None:
        """Keep the row fresh until cancelled; a database that is away is tried again at the next beat."""
        while True:
            self._changed.clear()
            try:
                await self._write()
            except Exception as error:  # noqa: BLE001 - whatever it was, the next beat must not depend on it
                _log.warning("not announced in the list of servers", extra={"fields": {"cause": logs.describe(error)}})
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(BEAT_S):
                    await self._changed.wait()

    def drain(self) -> None:
        """Say at once that this server takes no new work."""
        self._draining = True
        self._changed.set()

    async def remove(self) -> None:
        """Take the row away, unless another process took over the name since; do without where that fails."""
        try:
            async with asyncio.timeout(database.ACQUIRE_S), database.as_server(self._pool) as connection:
                await connection.execute(
                    "DELETE FROM server WHERE id = $1 AND started_at = $2", self._row[0], self._row[-1]
                )
        except database.OFFLINE as error:
            _log.warning("not removed from the list of servers", extra={"fields": {"cause": logs.describe(error)}})

    async def _write(self) -> None:
        async with database.as_server(self._pool) as connection:
            await connection.execute(
                """
                INSERT INTO server (id, edge_url, web_url, version, started_at, draining, lists_streams)
                VALUES ($1, $2, $3, $4, $5, $6, true)
                ON CONFLICT (id) DO UPDATE SET edge_url = excluded.edge_url, web_url = excluded.web_url,
                    version = excluded.version, started_at = excluded.started_at, draining = excluded.draining,
                    lists_streams = excluded.lists_streams, last_seen_at = now()
                """,
                *self._row,
                self._draining,
            )
            await connection.execute("DELETE FROM server WHERE last_seen_at < now() - $1::interval", FORGOTTEN_AFTER)
