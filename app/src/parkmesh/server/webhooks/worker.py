"""The worker that sends webhooks. An endpoint that is slow or away holds up no other."""

import asyncio
import logging
import random
from collections import Counter, defaultdict
from datetime import UTC, datetime

from parkmesh.domain import webhooks
from parkmesh.server.db import database
from parkmesh.server.outbox.due_worker import IDLE_S, DueWorker, look_again_s
from parkmesh.server.telemetry import logs
from parkmesh.server.webhooks import deliveries
from parkmesh.server.webhooks.deliveries import Request, Taken
from parkmesh.server.webhooks.transport import Sender

AT_ONCE = 40
"""Requests under way."""
OF_ENDPOINT = 5
"""Requests under way to one endpoint."""

_log = logging.getLogger(__name__)


class WebhookWorker(DueWorker):
    """Takes what is due and sends it by ``sender``."""

    def __init__(self, pool: database.Pool, sender: Sender) -> None:
        super().__init__("webhooks")
        self._pool = pool
        self._sender = sender
        self._under_way: set[asyncio.Task[None]] = set()
        self._of_endpoint: Counter[int] = Counter()

    async def send_due(self) -> float:
        """Begin to send what is due, as far as there is room; return the seconds after which to look again. Each
        request that ends wakes the worker."""
        room = AT_ONCE - len(self._under_way)
        if room <= 0:
            return IDLE_S
        busy = [endpoint for endpoint, count in self._of_endpoint.items() if count > 0]
        taken = await deliveries.take(self._pool, room, OF_ENDPOINT, busy)
        if not taken:
            # What is due to busy endpoints waits for these.
            return IDLE_S if busy else look_again_s(await deliveries.next_due_s(self._pool))
        by_community: dict[int | None, list[Taken]] = defaultdict(list)
        for item in taken:
            by_community[item.community_id].append(item)
        for community_id, items in by_community.items():
            found, impossible = await deliveries.requests(self._pool, community_id, items)
            for item, why in impossible:
                await deliveries.gave_up(self._pool, item, why)
            for request in found:
                self._begin(request)
        return 0.0

    async def finish(self) -> None:
        """Wait for the requests that are under way."""
        await asyncio.gather(*self._under_way, return_exceptions=True)
        await self._sender.close()

    def _begin(self, request: Request) -> None:
        endpoint = request.taken.endpoint_id
        task = asyncio.create_task(self._send(request), name="webhook")
        self._under_way.add(task)
        self._of_endpoint[endpoint] += 1

        def ended(_: asyncio.Task[None]) -> None:
            self._under_way.discard(task)
            self._of_endpoint[endpoint] -= 1
            if not self._of_endpoint[endpoint]:
                del self._of_endpoint[endpoint]
            self.wake()

        task.add_done_callback(ended)

    async def _send(self, request: Request) -> None:
        taken = request.taken
        try:
            headers = webhooks.headers(str(taken.event_id), datetime.now(UTC), request.body, request.secrets)
            answer = await self._sender.send(request.url, request.body, headers)
            now, jitter = datetime.now(UTC), random.random()  # noqa: S311
            await deliveries.answered(self._pool, taken, answer, now, jitter)
        except Exception as error:  # noqa: BLE001 - it is sent again after its lease
            fields = {"delivery": taken.id, "cause": logs.describe(error)}
            _log.warning("a webhook was not sent", extra={"fields": fields})
