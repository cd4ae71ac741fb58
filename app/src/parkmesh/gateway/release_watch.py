"""The agent's part in taking a release that a server tells it to take: fetch it, and tell the server how it went.

The agent decides at gates and isn't root: a process of its own fetches (``release_fetch``), and the root program
``parkmesh-pull`` checks, installs and tries what was fetched.
"""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import msgspec

import parkmesh
from parkmesh.gateway.release_fetch import INBOX
from parkmesh.protocol.releases import Report, Result

log = logging.getLogger("parkmesh.gateway")

KEY = "release.pub"
"""The public key, beside the token."""
SPREAD_HEARTBEATS = 2
"""Times between heartbeats within which gateways that are told at once begin to fetch."""
FIRST_AGAIN_S, MOST_AGAIN_S = 60.0, 3600.0
TAKEN_S = 600.0
"""Seconds within which the root program must have begun with what was fetched."""
TRIAL_S = 1800.0
"""Longer than any trial."""
_FINAL = ("kept", "put back", "refused")

Fetcher = Callable[[int], Awaitable[str | None]]
"""Fetches the release of a number; returns what went wrong, None where it is ready."""


class Outcome(msgspec.Struct, frozen=True):
    """What ``parkmesh-pull`` wrote of its last work; ``asked`` is the number that the agent had asked for."""

    asked: int
    serial: int
    release: str
    result: str
    reason: str
    at: int


def release_folder() -> Path | None:
    """Return the folder of the release that this process runs, None where it runs from elsewhere."""
    lib = Path(parkmesh.__file__).resolve().parents[1]
    return lib.parent if (lib.parent / ".complete").exists() else None


class ReleaseWatch:
    """Follow what the server wants. ``report`` tells it; ``release`` is the running one's folder, None if unknown.

    ``spread_s`` are the seconds within which gateways that are told at once begin to fetch.
    """

    def __init__(
        self,
        spool: Path,
        token_file: Path,
        release: Path | None,
        fetch: Fetcher,
        report: Callable[[Report], Awaitable[None]],
        *,
        spread_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._inbox, self._key, self._fetch, self._report = spool.parent / INBOX, token_file.parent / KEY, fetch, report
        self._outcome_file = release.parent.parent / "pulled.json" if release else None
        self._spread_s, self._clock, self._began = spread_s, clock, clock()
        self._told = asyncio.Event()
        self._failures = 0
        self._not_before = 0.0
        self._ready_since: float | None = None
        self._reported: Report | None = None
        self.wanted = 0
        self.fault: str | None = None
        """Why the release isn't taken, in a few words."""

    def told(self, serial: int) -> None:
        """A server answered; ``serial`` is the release that this gateway should take, 0 for none."""
        if serial != self.wanted:
            self._failures, self._ready_since, self._reported = 0, None, None
            self.fault = None
            self._not_before = self._clock() + random.uniform(0, self._spread_s)  # noqa: S311 - spreads the gateways
        self.wanted = serial
        if serial:
            self._told.set()

    def outcome(self) -> Outcome | None:
        """Return how the last release went that this gateway fetched, None where none is known."""
        if self._outcome_file is None:
            return None
        try:
            return msgspec.json.decode(self._outcome_file.read_bytes(), type=Outcome)
        except (OSError, msgspec.DecodeError):
            return None

    def document(self) -> dict[str, object]:
        """Return what the status tells."""
        last = self.outcome()
        return {"wanted": self.wanted, "fault": self.fault, "last": msgspec.to_builtins(last) if last else None}

    async def run(self) -> None:
        """Work until cancelled; each word of a server leads to one step at most."""
        while True:
            await self._told.wait()
            self._told.clear()
            try:
                await self._step(self.wanted)
            except (httpx.HTTPError, OSError, ValueError) as error:
                log.warning("release %d: %s", self.wanted, str(error) or type(error).__name__)

    async def _step(self, serial: int) -> None:
        if self._outcome_file is None or not self._key.exists():
            await self._not_taken(serial, "this gateway isn't set up to fetch releases: parking_gateway_release_key")
            return
        last = self.outcome()
        if last is not None and serial in (last.asked, last.serial):
            if last.result in _FINAL:
                result: Result = last.result  # type: ignore[assignment]
                await self._tell(Report(serial, result, last.reason))
                return
            if last.result == "on trial":
                # The trial ends this agent, whichever way it goes: one that stays saw the end of an interrupted one.
                if self._clock() - self._began > TRIAL_S:
                    await self._tell(Report(serial, "put back", "its trial was interrupted"))
                return
            age_s = time.time() - last.at
            if 0 <= age_s < MOST_AGAIN_S:
                await self._not_taken(serial, last.reason)
                return
        if (self._inbox / "ready").exists():
            self._ready_since = self._ready_since or self._clock()
            if self._clock() - self._ready_since > TAKEN_S:
                await self._not_taken(serial, "it is fetched, and parkmesh-gateway-pull.path doesn't take it")
            return
        self._ready_since = None
        if self._clock() < self._not_before:
            return
        why = await self._fetch(serial)
        if why is None:
            self._failures = 0
            return
        again_s = min(MOST_AGAIN_S, FIRST_AGAIN_S * 2 ** min(self._failures, 10))
        self._failures += 1
        self._not_before = self._clock() + random.uniform(again_s / 2, again_s)  # noqa: S311
        await self._not_taken(serial, why)

    async def _not_taken(self, serial: int, why: str) -> None:
        if why != self.fault:
            log.error("release %d is not taken: %s", serial, why)
        self.fault = why
        await self._tell(Report(serial, "not taken", why[:1000]))

    async def _tell(self, report: Report) -> None:
        """Report, unless the server has heard the same."""
        if report == self._reported:
            return
        await self._report(report)
        self._reported = report
        if report.result != "not taken":
            self.fault = None if report.result == "kept" else f"{report.result}: {report.reason}"
            log.info("release %d: %s %s", report.serial, report.result, report.reason)
