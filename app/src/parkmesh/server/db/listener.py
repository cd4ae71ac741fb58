"""The process's one listening connection: what PostgreSQL's NOTIFY tells every server.

| channel | payload |
|---|---|
| ``parkmesh_live`` | ``<community id>:<what changed>``: p passages, s spaces, g gateways, v who sees what |
| ``parkmesh_access_list`` | ``<community id>:<version>`` |
| ``parkmesh_command`` | ``<community id>:<protocol.edge.Command as JSON>`` |
| ``parkmesh_gateway`` | id of a gateway whose token changed or ends, or whose community has another gateway more |
| ``parkmesh_user`` | id of a user whose session or rights ended |
| ``parkmesh_outbox`` | id of a community with new events, or nothing: mails or webhooks wait to be sent |
| ``parkmesh_probe`` | what this module sends itself, to know that it is heard and how late |
"""

import asyncio
import contextlib
import logging
import random
import secrets
import time
from collections.abc import Callable
from typing import Any

import asyncpg

from parkmesh.server.db import database
from parkmesh.server.telemetry import logs, metrics

CHANNELS = (
    "parkmesh_live",
    "parkmesh_access_list",
    "parkmesh_command",
    "parkmesh_gateway",
    "parkmesh_user",
    "parkmesh_outbox",
)
PROBE = "parkmesh_probe"
PROBE_S = 10.0
MAX_PAUSE_S = 5.0

_log = logging.getLogger(__name__)


class Listener:
    """Keeps listening, and says after every new connection that something may have been missed.

    ``on_message(channel, payload)`` and ``on_connected()`` are called on the event loop and must not block.
    """

    def __init__(
        self, url: str, name: str, on_message: Callable[[str, str], None], on_connected: Callable[[], None]
    ) -> None:
        self._url = url
        self._name = name
        self._on_message = on_message
        self._on_connected = on_connected
        self._probe = secrets.token_hex(8)
        self._probed_at = 0.0

    async def run(self) -> None:
        """Listen until cancelled."""
        pause = 0.1
        while True:
            try:
                connection = await database.connect(self._url, self._name, 0)
                try:
                    pause = 0.1
                    await self._listen(connection)
                finally:
                    with contextlib.suppress(Exception):
                        connection.terminate()
            except (database.DatabaseUnavailable, OSError, TimeoutError) as error:
                _log.warning("not listening to the database", extra={"fields": {"cause": logs.describe(error)}})
            except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                _log.warning("the listening connection was lost", extra={"fields": {"cause": logs.describe(error)}})
            # Servers that lost the same database must not come back in step.
            await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311
            pause = min(pause * 2, MAX_PAUSE_S)

    async def _listen(self, connection: database.Connection) -> None:
        closed = asyncio.Event()
        connection.add_termination_listener(lambda _: closed.set())
        for channel in CHANNELS:
            await connection.add_listener(channel, self._received)
        await connection.add_listener(PROBE, self._probe_came)
        self._on_connected()
        await self._send_probe(connection)
        while not closed.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(PROBE_S):
                    await closed.wait()
            if not closed.is_set():
                # A peer that vanished without a word would otherwise be waited for for ever.
                await self._send_probe(connection)

    async def _send_probe(self, connection: database.Connection) -> None:
        self._probed_at = time.perf_counter()
        await connection.execute("SELECT pg_notify($1, $2)", PROBE, self._probe, timeout=PROBE_S / 2)

    def _probe_came(self, _connection: Any, _pid: int, _channel: str, payload: str) -> None:
        if payload == self._probe:
            metrics.NOTIFICATION_LAG.set(time.perf_counter() - self._probed_at)

    def _received(self, _connection: Any, _pid: int, channel: str, payload: str) -> None:
        metrics.NOTIFICATIONS.labels(channel).inc()
        try:
            self._on_message(channel, payload)
        except Exception:  # noqa: BLE001 - one bad message must not end the listening
            _log.exception("a notification could not be handled", extra={"fields": {"channel": channel}})
