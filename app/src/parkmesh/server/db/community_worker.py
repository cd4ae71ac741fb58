"""A server's part of work that follows what happens in communities: a moment after it, and again where it was missed.

Any number of servers do the same work; ``work`` makes sure that what one did no other does again. A server that died,
or a notification that was lost, costs a delay: every ``LOOK_S`` each server looks for communities that are behind.
"""

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Awaitable, Callable, Collection

from parkmesh.server.telemetry import logs

GATHER_S = 1.0
"""Seconds in which what changed is gathered, more or less: servers that hear of the same don't work in step."""
REST = 9
"""How many times as long as its work took a worker rests after each community: people's requests wait for the same
database, and what happens meanwhile is gathered, so that fewer transactions do the work."""
ROUND_S = 4.0
"""Seconds of rest at most while all communities that are behind have their turn."""
LOOK_S = 60.0
"""Seconds after which a server looks for communities that are behind without having heard of them."""

_log = logging.getLogger(__name__)


class CommunityWorker:
    """``behind`` returns which of some communities (None: of all) have work, ``work`` does that of one community;
    ``what`` is behind where it failed, as the log says it."""

    def __init__(
        self,
        what: str,
        behind: Callable[[Collection[int] | None], Awaitable[list[int]]],
        work: Callable[[int], Awaitable[None]],
    ) -> None:
        self._what = what
        self._behind = behind
        self._work = work
        self._changed: set[int] = set()
        self._woken = asyncio.Event()
        self._look = True

    def changed(self, community_id: int) -> None:
        """Note that something happened in a community."""
        self._changed.add(community_id)
        self._woken.set()

    def resync(self) -> None:
        """Look at all communities: notifications may have been missed."""
        self._look = True
        self._woken.set()

    async def run(self) -> None:
        """Work until cancelled. What failed is found again by the next look."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S * random.uniform(0.8, 1.2)):  # noqa: S311
                    await self._woken.wait()
            self._look = self._look or not self._woken.is_set()
            await asyncio.sleep(GATHER_S * random.uniform(0.5, 1.5))  # noqa: S311
            self._woken.clear()
            heard, self._changed = self._changed, set()
            everywhere, self._look = self._look, False
            try:
                found = await self._behind(None if everywhere else heard)
                # Servers begin at different communities, so that they rarely wait for each other.
                random.shuffle(found)
                for community_id in found:
                    began = time.monotonic()
                    await self._work(community_id)
                    await asyncio.sleep(min(REST * (time.monotonic() - began), ROUND_S / len(found)))
            except Exception as error:  # noqa: BLE001 - whatever it was, the next try must not depend on it
                _log.warning("%s are behind", self._what, extra={"fields": {"cause": logs.describe(error)}})
                self._look = True
