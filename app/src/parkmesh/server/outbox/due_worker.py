"""A worker that sends what is due, of mails or webhooks. Every server runs one; none of them takes what another has."""

import asyncio
import contextlib
import logging
from abc import ABC, abstractmethod

from parkmesh.server.telemetry import logs

IDLE_S = 60.0
"""Seconds after which the worker looks without having been woken: another server may have died with what it took."""
AGAIN_S = 5.0
SOON_S = 0.1

_log = logging.getLogger(__name__)


def look_again_s(due_s: float | None) -> float:
    """Return the seconds until the next look, where the next is due in ``due_s`` (None: none waits)."""
    return IDLE_S if due_s is None else min(IDLE_S, max(SOON_S, due_s))


class DueWorker(ABC):
    """``what`` it sends, as the log says it."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._woken = asyncio.Event()
        self._woken.set()

    def wake(self) -> None:
        """Look at once: something was put into the outbox."""
        self._woken.set()

    @abstractmethod
    async def send_due(self) -> float:
        """Send what is due, or begin to; return the seconds after which to look again."""

    async def finish(self) -> None:  # noqa: B027 - most have nothing to do
        """Bring to its end what ``send_due`` began."""

    async def run(self) -> None:
        """Send until cancelled; what was taken is sent to its end first."""
        while True:
            sending = asyncio.ensure_future(self.send_due())
            try:
                again_s = await asyncio.shield(sending)
            except asyncio.CancelledError:
                with contextlib.suppress(Exception):
                    await sending
                await self.finish()
                raise
            except Exception as error:  # noqa: BLE001 - whatever it was, the next look must not depend on it
                _log.warning("%s could not be sent", self._what, extra={"fields": {"cause": logs.describe(error)}})
                again_s = AGAIN_S
            try:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(again_s):
                        await self._woken.wait()
            except asyncio.CancelledError:
                await self.finish()
                raise
            self._woken.clear()
