"""One gate's barrier: when it may get a pulse, and what came of it.

Many barriers take a second pulse as *stop* or *close*. So pulses keep a least gap, and a passage gets one only. A
second one follows where the barrier's input knows nothing but *open*, and it is known to be closed again.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Literal

from parkmesh.gateway.config import Gate, Relay
from parkmesh.gateway.drivers.types import RelayError

log = logging.getLogger("parkmesh.gateway")

Pulse = Callable[[Relay], Awaitable[None]]
"""Opens a barrier, or raises RelayError."""
Closed = Callable[[Relay], Awaitable[bool | None]]
"""Tells whether a barrier is closed; None where nobody knows."""
Outcome = Literal["opened", "failed", "unsure"]
"""``failed``: the relay did nothing. ``unsure``: it may have moved the barrier and didn't say so."""

_TAPPED_TWICE_MS = 5_000
_CLOSES_WITHIN_S, _ASK_EVERY_S = 15.0, 0.5


class Barrier:
    """``clock`` gives ms since 1970; ``pulsed_until`` is when the last pulse of an earlier process ended, by it."""

    def __init__(
        self, gate: Gate, pulse: Pulse, closed: Closed, *, clock: Callable[[], int], pulsed_until: int = 0
    ) -> None:
        self._gate, self._pulse, self._closed, self._clock = gate, pulse, closed, clock
        self._pulse_ms, self._gap_ms = int(gate.relay.pulse_s * 1000), int(gate.min_gap_s * 1000)
        self._pulsed_until, self._opened_at = pulsed_until, 0

    def pulse_ends(self) -> int:
        """Return when a pulse that begins now ends."""
        return self._clock() + self._pulse_ms

    def opened_just_now(self) -> bool:
        """Tell whether it was opened a moment ago: who taps *Open* twice wants it opened once."""
        return 0 <= self._clock() - self._opened_at < max(_TAPPED_TWICE_MS, self._pulse_ms + self._gap_ms)

    async def is_closed_again(self) -> bool:
        """Tell whether a car that still stands there may get another pulse."""
        if self._gate.input != "open" or self._clock() < self._pulsed_until + self._gap_ms:
            return False
        return await self._is_closed() is True

    async def open(self) -> Outcome:
        """Give a pulse, as soon as one may be given."""
        wait_ms = min(self._pulsed_until + self._gap_ms - self._clock(), self._pulse_ms + self._gap_ms)
        if wait_ms > 0:
            await asyncio.sleep(wait_ms / 1000)
        if self._gate.input == "step" and await self._stays_open():
            log.warning("gate %s: the barrier is open, and a pulse would close it: none is given", self._gate.name)
            return "opened"
        started, before = time.monotonic(), self._pulsed_until
        self._pulsed_until = self.pulse_ends()
        try:
            await self._pulse(self._gate.relay)
        except RelayError as error:
            log.error("gate %s: the barrier didn't confirm: %s", self._gate.name, error)
            if error.may_have_moved:
                return "unsure"
            self._pulsed_until = before
            return "failed"
        log.info("gate %s: barrier opened in %d ms", self._gate.name, (time.monotonic() - started) * 1000)
        self._opened_at = self._clock()
        return "opened"

    async def _stays_open(self) -> bool:
        """Wait for a barrier that is known to be open to close; tell whether it is still open."""
        until = time.monotonic() + _CLOSES_WITHIN_S
        while await self._is_closed() is False:
            if time.monotonic() >= until:
                return True
            await asyncio.sleep(_ASK_EVERY_S)
        return False

    async def _is_closed(self) -> bool | None:
        try:
            return await self._closed(self._gate.relay)
        except RelayError as error:
            log.warning("gate %s: the barrier's position isn't known: %s", self._gate.name, error)
            return None
