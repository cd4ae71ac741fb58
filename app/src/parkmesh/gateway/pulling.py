"""Fetches the messages of cameras that can't post: one connection to each that stays, and is made anew when it ends.

What comes goes the same way as what is posted: to disk, once. A camera that does both counts a car once, too.
"""

import asyncio
import logging
from urllib.parse import urlsplit

import httpx
from msgspec import Struct

from parkmesh.gateway import drivers
from parkmesh.gateway.backoff import Backoff
from parkmesh.gateway.config import Pull
from parkmesh.gateway.drivers.types import PoisonError, StreamError
from parkmesh.gateway.intake import Address, Intake
from parkmesh.gateway.spool import SpoolError
from parkmesh.gateway.strays import Strays

log = logging.getLogger("parkmesh.gateway")

_CONNECT_S = 5.0
_REFUSED_S = 300.0
"""Cameras lock an account that logs in wrongly a few times in a row, for half an hour and more."""
_WELL_S = 30.0
"""A stream that lasted so long was one: the next try comes at once."""


class Pulled(Struct):
    """``connected``: the stream is there. ``fault``: why it isn't, None where it is or hasn't been tried."""

    connected: bool = False
    fault: str | None = None


class Puller:
    """Fetches what comes to one address of the intake."""

    def __init__(self, address: Address, pull: Pull, intake: Intake, strays: Strays) -> None:
        self._address, self._pull, self._intake, self._strays = address, pull, intake, strays
        self._driver = drivers.STREAMS[address.kind]
        self._host = urlsplit(pull.url).hostname or "-"
        self.state = Pulled()

    async def run(self) -> None:
        """Keep fetching until cancelled."""
        backoff = Backoff()
        loop = asyncio.get_running_loop()
        # A camera's certificate is its own. What is fetched opens a gate only by a known plate, as what is posted does.
        async with httpx.AsyncClient(trust_env=False, verify=False) as client:  # noqa: S501
            while True:
                began = loop.time()
                wait_s = 0.0
                try:
                    await self._stream(client)
                    fault = "the camera ended the stream"
                except _RefusedError as error:
                    fault, wait_s = str(error), _REFUSED_S
                except StreamError as error:
                    fault = str(error)
                except httpx.HTTPError as error:
                    fault = f"{type(error).__name__} at {self._pull.url}"
                if loop.time() - began > _WELL_S:
                    backoff.reset()
                self._lost(fault)
                await asyncio.sleep(wait_s or backoff.next_s())

    async def _stream(self, client: httpx.AsyncClient) -> None:
        url = self._pull.url.rstrip("/") + self._driver.PATH
        login = httpx.DigestAuth(self._pull.user, self._pull.password)
        timeout = httpx.Timeout(_CONNECT_S, read=self._driver.SILENCE_S)
        async with client.stream("GET", url, auth=login, timeout=timeout) as answer:
            if answer.status_code in (401, 403):
                raise _RefusedError(f"{self._pull.url} refuses user {self._pull.user!r} and the password")
            if answer.status_code != 200:
                raise StreamError(f"HTTP {answer.status_code} from {self._pull.url}")
            messages = self._driver.Messages(answer.headers.get("Content-Type", ""))
            async for chunk in answer.aiter_raw():
                if not self.state.connected:
                    self.state = Pulled(connected=True)
                    log.info("camera %s: its stream is there", self._address.name)
                for message in messages.feed(chunk):
                    await self._take(message)

    async def _take(self, message: bytes) -> None:
        self._intake.came_from(self._address, self._host)
        try:
            strangers = await self._intake.take(self._address, message, "")
        except PoisonError as error:
            log.warning("camera %s: message put in quarantine: %s", self._address.name, error)
            return
        except SpoolError as error:
            log.error("camera %s: message not stored: %s", self._address.name, error)
            return
        for channel in strangers:
            self._strays.note("unknown_channel", self._host, "GET", self._driver.PATH, channel)

    def _lost(self, fault: str) -> None:
        if self.state.connected or self.state.fault != fault:
            log.warning("camera %s: no stream: %s", self._address.name, fault)
        self.state = Pulled(fault=fault)


class _RefusedError(Exception):
    pass
