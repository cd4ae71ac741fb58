"""Tell all servers which communities' events came in: after the commit that stored them, many in one notification.

A transaction that notifies holds a lock of the whole database until its commit is on disk. If batches notified in their
own transactions, they would commit one after the other, and a disk that is slow for a moment would hold up all
gateways; without the lock they share a flush. If the server dies before it announces a batch, pages and streams learn
of the batch when the gateway repeats it, or when they next look by themselves (``live.IDLE_S``, ``app.IDLE_S``).
"""

import asyncio
import logging

from parkmesh.server.db import database
from parkmesh.server.telemetry import logs

GATHER_S = 0.05
"""Seconds in which what changed is gathered before it is told."""
AGAIN_S = 1.0

# The commit doesn't wait for the disk: a crash of the database ends the listening connections too, and they start anew.
_TELL = """
SELECT pg_notify('parkmesh_live', changed)
FROM set_config('synchronous_commit', 'off', true), unnest($1::text[]) AS changed
"""

_log = logging.getLogger(__name__)


class Announcements:
    """What changed and wasn't told yet. ``pool`` connects as the application's role."""

    def __init__(self, pool: database.Pool) -> None:
        self._pool = pool
        self._changed: dict[int, str] = {}
        self._woken = asyncio.Event()

    def changed(self, community_id: int, what: str) -> None:
        """Remember what of a community (letters of the channel ``parkmesh_live``) changed."""
        known = self._changed.get(community_id, "")
        self._changed[community_id] = known + "".join(letter for letter in what if letter not in known)
        self._woken.set()

    async def run(self) -> None:
        """Tell until cancelled."""
        while True:
            await self._woken.wait()
            await asyncio.sleep(GATHER_S)
            self._woken.clear()
            if not await self.tell():
                await asyncio.sleep(AGAIN_S)

    async def tell(self) -> bool:
        """Tell what is known now; keep it for the next time and return False where the database doesn't take it."""
        telling, self._changed = self._changed, {}
        if not telling:
            return True
        told = False
        try:
            async with database.acquired(self._pool) as connection:
                await connection.execute(_TELL, [f"{identity}:{what}" for identity, what in telling.items()])
            told = True
        except Exception as error:  # noqa: BLE001 - whatever it was, the next telling must not depend on it
            _log.warning("what changed could not be told", extra={"fields": {"cause": logs.describe(error)}})
        finally:
            # Also where this is cancelled: a server that ends tells once more.
            if not told:
                for identity, what in telling.items():
                    self.changed(identity, what)
        return told
