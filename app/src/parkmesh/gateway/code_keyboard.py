"""Reads scanners and keypads at USB: opens the device, keeps its keys from everybody else, and shows codes to the gate.

Neither codes nor PINs are logged or kept. There is nothing to answer with: the barrier opens, or it doesn't.
"""

import asyncio
import errno
import fcntl
import logging
import os
from collections.abc import Callable

from msgspec import Struct

from parkmesh.gateway.backoff import Backoff
from parkmesh.gateway.config import Reader
from parkmesh.gateway.decider import Decider
from parkmesh.gateway.drivers.code_hid import EVENT, Keys
from parkmesh.gateway.spool import SpoolError

log = logging.getLogger("parkmesh.gateway")

_GRAB = 0x40044590
"""``EVIOCGRAB``: without it, what is scanned is also typed into the host's console."""
_EVENTS_AT_ONCE = 64


class Plugged(Struct):
    """``connected``: the device is there. ``fault``: why it isn't."""

    connected: bool = False
    fault: str | None = None


def grab(device: int) -> None:
    """Keep the keys of an open device for us. Raises OSError."""
    fcntl.ioctl(device, _GRAB, 1)


class Keyboard:
    """One reader at USB. ``grabbed`` is what keeps the device's keys for us."""

    def __init__(self, reader: Reader, decider: Decider, grabbed: Callable[[int], None] = grab) -> None:
        self._reader, self._decider, self._grab = reader, decider, grabbed
        self._path = reader.device or ""
        self.state = Plugged()

    async def run(self) -> None:
        """Read until cancelled; open the device anew when it is plugged in again."""
        backoff = Backoff()
        while True:
            try:
                await self._session(backoff)
                fault = "it was unplugged"
            except OSError as error:
                fault = "it was unplugged" if error.errno == errno.ENODEV else f"{self._path}: {error.strerror}"
            if self.state.connected or self.state.fault != fault:
                log.warning("reader %s: %s", self._reader.name, fault)
            self.state = Plugged(fault=fault)
            await asyncio.sleep(backoff.next_s())

    async def _session(self, backoff: Backoff) -> None:
        device = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            self._grab(device)
            self.state = Plugged(connected=True)
            backoff.reset()
            log.info("reader %s: it is there", self._reader.name)
            keys = Keys()
            while chunk := await _read(device):
                for code in keys.feed(chunk):
                    await self._show(code)
        finally:
            os.close(device)

    async def _show(self, code: str) -> None:
        try:
            answer = await self._decider.present(self._reader, code)
        except SpoolError as error:
            log.error("reader %s: the decision can't be stored: %s", self._reader.name, error)
            return
        log.info("reader %s: %s", self._reader.name, answer.decision.reason)


async def _read(device: int) -> bytes:
    """Return the next bytes of a device, nothing at its end. Raises OSError."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()

    def there_is_some() -> None:
        if not ready.done():
            ready.set_result(None)

    loop.add_reader(device, there_is_some)
    try:
        await ready
    finally:
        loop.remove_reader(device)
    return os.read(device, EVENT.size * _EVENTS_AT_ONCE)
