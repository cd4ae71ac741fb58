"""The list of gateways that have a stream open, kept in the database, so that every server knows who gets a command.

Changes are gathered and written in one transaction: at a roll thousands of gateways connect within seconds. What could
not be written is tried again. A row of a server that is gone doesn't count (``server.started_at``), so nothing is
deleted when a server ends.
"""

import asyncio
import logging
from collections.abc import Sequence
from datetime import datetime

from parkmesh.server.db import database
from parkmesh.server.telemetry import logs

GATHER_S = 0.05
"""Seconds in which changes are gathered before they are written."""
AGAIN_S = 1.0

_OPENED = """
INSERT INTO gateway_stream AS old (community_id, gateway_id, gates, server_id, server_started_at)
SELECT o.community_id, o.gateway_id, string_to_array(o.gates, ','), $4, $5
FROM unnest($1::bigint[], $2::bigint[], $3::text[]) AS o(community_id, gateway_id, gates) ORDER BY 1, 2
ON CONFLICT (community_id, gateway_id) DO UPDATE
    SET gates = excluded.gates, server_id = excluded.server_id, server_started_at = excluded.server_started_at,
        opened_at = excluded.opened_at
"""
_CLOSED = """
DELETE FROM gateway_stream s USING unnest($1::bigint[], $2::bigint[]) AS c(community_id, gateway_id)
WHERE s.community_id = c.community_id AND s.gateway_id = c.gateway_id
  AND s.server_id = $3 AND s.server_started_at = $4
"""

_log = logging.getLogger(__name__)

Gates = Sequence[str] | None


class StreamList:
    """This server's part of the list. ``pool`` connects as the application's role; ``server_id`` and ``started_at`` are
    those of the server's row."""

    def __init__(self, pool: database.Pool, server_id: str, started_at: datetime) -> None:
        self._pool = pool
        self._server = (server_id, started_at)
        self._open: dict[tuple[int, int], Gates] = {}
        self._changed: set[tuple[int, int]] = set()
        self._woken = asyncio.Event()

    def opened(self, community_id: int, gateway_id: int, gates: Gates) -> None:
        """Note a stream; ``gates`` is None where the gateway didn't name its gates."""
        self._open[community_id, gateway_id] = gates
        self._change(community_id, gateway_id)

    def closed(self, community_id: int, gateway_id: int) -> None:
        """Note that a gateway's stream ended."""
        self._open.pop((community_id, gateway_id), None)
        self._change(community_id, gateway_id)

    def resync(self) -> None:
        """Write all streams again: the database may be another one, of an earlier moment."""
        self._changed.update(self._open)
        self._woken.set()

    def _change(self, community_id: int, gateway_id: int) -> None:
        self._changed.add((community_id, gateway_id))
        self._woken.set()

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            await self._woken.wait()
            await asyncio.sleep(GATHER_S)
            self._woken.clear()
            if not await self.write():
                await asyncio.sleep(AGAIN_S)

    async def write(self) -> bool:
        """Write what changed; keep it for the next time and return False where the database doesn't take it."""
        writing, self._changed = sorted(self._changed), set()
        opened = [(key, self._open[key]) for key in writing if key in self._open]
        closed = [key for key in writing if key not in self._open]
        written = False
        try:
            async with database.as_server(self._pool) as connection:
                if opened:
                    gates = [None if names is None else ",".join(names) for _, names in opened]
                    await connection.execute(
                        _OPENED, [key[0] for key, _ in opened], [key[1] for key, _ in opened], gates, *self._server
                    )
                if closed:
                    await connection.execute(
                        _CLOSED, [key[0] for key in closed], [key[1] for key in closed], *self._server
                    )
            written = True
        except Exception as error:  # noqa: BLE001 - whatever it was, the next writing must not depend on it
            _log.warning("the list of streams could not be written", extra={"fields": {"cause": logs.describe(error)}})
        finally:
            if not written:
                self._changed.update(writing)
                self._woken.set()
        return written
