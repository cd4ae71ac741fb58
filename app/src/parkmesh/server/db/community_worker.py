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
WORK_SHARE = 0.1
"""Share of its time that a worker works: the longer it took, the longer what changed is gathered, so that fewer
transactions do the work."""
LONGEST_S = 4.0
"""Seconds in which it is gathered at most, more or less."""
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
        gather = GATHER_S
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S * random.uniform(0.8, 1.2)):  # noqa: S311
                    await self._woken.wait()
            self._look = self._look or not self._woken.is_set()
            await asyncio.sleep(gather * random.uniform(0.5, 1.5))  # noqa: S311
            self._woken.clear()
            heard, self._changed = self._changed, set()
            everywhere, self._look = self._look, False
            began = time.monotonic()
            try:
                found = await self._behind(None if everywhere else heard)
                # Servers begin at different communities, so that they rarely wait for each other.
                random.shuffle(found)
                for community_id in found:
                    await self._work(community_id)
            except Exception as error:  # noqa: BLE001 - whatever it was, the next try must not depend on it
                _log.warning("%s are behind", self._what, extra={"fields": {"cause": logs.describe(error)}})
                self._look = True
            gather = min(LONGEST_S, max(GATHER_S, (time.monotonic() - began) / WORK_SHARE))
