"""The worker that makes events into messages: a moment after the act, on any server, each event once.

It also looks for what happens by itself: passages that concern somebody, gateways that are offline, cars
that overstay, days that are over.
"""

import asyncio
import logging
import random
from collections.abc import Collection
from datetime import UTC, datetime

from parkmesh.server import webhooks
from parkmesh.server.access import overstays, passage_events
from parkmesh.server.db import database
from parkmesh.server.db.community_worker import CommunityWorker
from parkmesh.server.notifications import digests, notices, outages
from parkmesh.server.outbox import events
from parkmesh.server.telemetry import logs

BATCH = 200
WATCH_S = 45.0
"""Seconds between two looks for gateways that are offline, overstays and digests that are due: a minute at most."""

_log = logging.getLogger(__name__)


async def route(pool: database.Pool, community_id: int, *, everything: bool, mails: bool) -> None:
    """Make the mails and webhooks of all events of a community that have none yet. With ``everything`` each passage is
    an event. Without ``mails`` the deployment sends none, and none are made."""
    more = True
    while more:
        async with database.in_community(pool, community_id) as connection:
            more = await passage_events.project(connection, community_id, everything=everything)
            wait = await events.some_wait(connection, community_id)
    while wait:
        async with database.in_identity(pool) as connection:
            await database.set_community(connection, community_id)
            found = await events.take(connection, community_id, BATCH)
            if found and (place := await notices.place(connection, community_id)):
                await webhooks.enqueue(connection, community_id, found)
                if mails:
                    now = datetime.now(UTC)
                    await notices.write(connection, place, await notices.of(connection, place, found, now), now)
            await events.routed(connection, community_id, [event.id for event in found])
            wait = len(found) == BATCH


class _Work:
    """One server's part of the work: each time it looks which communities are behind, it asks once for all of them who
    wants passages."""

    def __init__(self, pool: database.Pool, *, mails: bool) -> None:
        self._pool = pool
        self._mails = mails
        self._want_passages: set[int | None] = set()

    async def behind(self, communities: Collection[int] | None) -> list[int]:
        """Return which of the communities (None: of all) have events without messages, or passages to look at."""
        waiting = await events.waiting(self._pool, communities)
        found = list({*waiting, *await passage_events.behind(self._pool, communities)})
        if found:
            self._want_passages = await webhooks.that_want_passages(self._pool)
        return found

    async def of(self, community_id: int) -> None:
        """Make one community's messages."""
        everything = not self._want_passages.isdisjoint((community_id, None))
        await route(self._pool, community_id, everything=everything, mails=self._mails)


def worker(pool: database.Pool, *, mails: bool) -> CommunityWorker:
    """Return this server's part of the work."""
    work = _Work(pool, mails=mails)
    return CommunityWorker("events", work.behind, work.of)


async def watch(pool: database.Pool, *, mails: bool) -> None:
    """Look for what happens by itself, until cancelled."""
    while True:
        try:
            await outages.look(pool)
            await overstays.look(pool, datetime.now(UTC))
            if mails:
                await digests.send_due(pool)
        except Exception as error:  # noqa: BLE001 - whatever it was, the next look must not depend on it
            _log.warning(
                "gateways, overstays, digests weren't looked at", extra={"fields": {"cause": logs.describe(error)}}
            )
        await asyncio.sleep(WATCH_S * random.uniform(0.8, 1.2))  # noqa: S311
