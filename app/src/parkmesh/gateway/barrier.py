"""One gate's barrier: when it may get a pulse, and what came of it.

Many barriers take a second pulse as *stop* or *close*. So pulses keep a least gap, and a passage gets one only. A
second one follows where the barrier's input knows nothing but *open*, and it is known to be closed again. What inputs
mean is in ``barrier_rules``; here is what is done about it, with any relay.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Literal

from msgspec import Struct

from parkmesh.gateway import barrier_rules, hold_open
from parkmesh.gateway.barrier_rules import Closing, Fault, Feedback, Position
from parkmesh.gateway.drivers.types import RelayError
from parkmesh.gateway.gates import TIMED_HERE, Gate, Relay

log = logging.getLogger("parkmesh.gateway")

Pulse = Callable[[Relay], Awaitable[None]]
"""Opens a barrier, or raises RelayError."""
Closed = Callable[[Relay], Awaitable[bool | None]]
"""Tells whether a barrier is closed; None where nobody knows."""
Outcome = Literal["opened", "failed", "unsure"]
"""``failed``: the relay did nothing. ``unsure``: it may have moved the barrier and didn't say so."""

_TAPPED_TWICE_MS = 5_000
_CLOSES_WITHIN_S, _ASK_EVERY_S = 15.0, 0.5
_LOOK_S, _LOOK_CLOSELY_S = 1.0, 0.25
_HOLD_FOR_S, _HOLD_AGAIN_MS = 90, 30_000
"""A barrier that is held open closes by itself if the gateway is gone for so long."""

_FAULTS: dict[Fault, str] = {
    "did_not_open": "the barrier got a pulse and is still closed",
    "still_open": "the barrier has been open for too long",
    "forced_open": "the barrier was opened by something else",
}


async def _unknown(_: Relay) -> bool | None:
    return None


async def _no_close(_: Relay) -> None:
    raise RelayError("nothing closes this barrier")


async def _no_hold(_: Relay, seconds: float) -> None:
    raise RelayError("this relay can't stay on")


class Moves(Struct, frozen=True):
    """What relays can do beside a pulse: tell whether a barrier's way is clear, close it, and keep its switch on for
    some seconds (0: off). Each raises RelayError."""

    clear: Closed = _unknown
    close: Pulse = _no_close
    hold: Callable[[Relay, float], Awaitable[None]] = _no_hold


class BarrierStatus(Struct, frozen=True):
    """``fault`` None: nothing is known to be wrong."""

    position: Position
    fault: Fault | None
    held_open: bool


class Barrier:
    """``clock`` gives ms since 1970; ``pulsed_until`` is when the last pulse of an earlier process ended, by it.
    ``doubtful`` tells whether that clock is known to be wrong: then nothing is held open."""

    def __init__(
        self,
        gate: Gate,
        pulse: Pulse,
        closed: Closed,
        *,
        clock: Callable[[], int],
        pulsed_until: int = 0,
        moves: Moves | None = None,
        doubtful: Callable[[], bool] = lambda: False,
    ) -> None:
        self._gate, self._pulse, self._closed, self._clock = gate, pulse, closed, clock
        self._moves, self._doubtful = moves or Moves(), doubtful
        self._pulse_ms, self._gap_ms = int(gate.relay.pulse_s * 1000), int(gate.min_gap_s * 1000)
        self._pulsed_until, self._opened_at = pulsed_until, 0
        self.interlocked: Sequence[Barrier] = ()
        """Barriers that must be closed before this one opens."""
        self.turn = asyncio.Lock()
        """Who moves the barrier has it. Interlocked barriers share one."""
        self._feedback = Feedback(still_open_ms=int(gate.still_open_s * 1000), others_open=gate.others_open)
        self._closing: Closing | None = None
        if gate.close_after_clear_s is not None:
            self._closing = Closing(
                clear_ms=int(gate.close_after_clear_s * 1000), unused_ms=int(gate.close_unused_s * 1000)
            )
        self._held_at: int | None = None
        self._complaints: dict[str, str] = {}

    # opening

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

    async def open(self, until: int | None = None) -> Outcome:
        """Give a pulse, as soon as one may be given, and none at ``until`` or later."""
        await self._gap()
        if self._gate.input == "step" and await self._stays_open():
            log.warning("gate %s: the barrier is open, and a pulse would close it: none is given", self.name)
            return "opened"
        give_up = time.monotonic() + _CLOSES_WITHIN_S
        # Waiting takes no turn: the barrier that we wait for may need it to close.
        while await self._others_shut(give_up, until):
            async with self.turn:
                if self._held_at is not None:
                    return self._was_opened()
                if not await self._all_shut():
                    continue
                await self._gap()
                if until is not None and self._clock() >= until:
                    log.warning("gate %s: it is too late for this pulse: none is given", self.name)
                    return "failed"
                return await self._give_pulse()
        return "failed"

    async def _gap(self) -> None:
        wait_ms = min(self._pulsed_until + self._gap_ms - self._clock(), self._pulse_ms + self._gap_ms)
        if wait_ms > 0:
            await asyncio.sleep(wait_ms / 1000)

    async def _give_pulse(self) -> Outcome:
        started, before = time.monotonic(), self._pulsed_until
        self._pulsed_until = self.pulse_ends()
        self._feedback.pulsed(self._clock())
        if self._closing is not None:
            self._closing.opened(self._clock())
        try:
            await self._pulse(self._gate.relay)
        except RelayError as error:
            log.error("gate %s: the barrier didn't confirm: %s", self._gate.name, error)
            if error.may_have_moved:
                return "unsure"
            self._pulsed_until = before
            return "failed"
        log.info("gate %s: barrier opened in %d ms", self._gate.name, (time.monotonic() - started) * 1000)
        return self._was_opened()

    def _was_opened(self) -> Outcome:
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

    async def _others_shut(self, give_up: float, until: int | None) -> bool:
        """Wait for the interlocked barriers to close; tell whether all surely are."""
        while not await self._all_shut():
            if time.monotonic() >= give_up or (until is not None and self._clock() >= until):
                names = ", ".join(other.name for other in self.interlocked)
                log.warning("gate %s: not opened, as its interlocked gates aren't all closed: %s", self.name, names)
                return False
            await asyncio.sleep(_ASK_EVERY_S)
        return True

    async def _all_shut(self) -> bool:
        return all([await other.is_shut() for other in self.interlocked])

    async def is_shut(self) -> bool:
        """Tell whether the barrier is surely closed, and not about to open."""
        if self._held_at is not None:
            return False
        return barrier_rules.shut(await self._is_closed(), self._clock(), self._pulsed_until)

    @property
    def name(self) -> str:
        return self._gate.name

    # watching

    @property
    def watched(self) -> bool:
        """Whether there is anything to watch."""
        relay = self._gate.relay
        return relay.tells_closed or self._closing is not None or bool(self._gate.hold_open) or relay.kind in TIMED_HERE

    def status(self) -> BarrierStatus:
        """Return what is known of the barrier's position, and what is wrong with it."""
        return BarrierStatus(self._feedback.position, self._feedback.fault, self._held_at is not None)

    async def watch(self) -> None:
        """Look after the barrier until cancelled: hold it open, close it behind cars, note what its inputs say."""
        if self._gate.relay.kind in TIMED_HERE:
            # An earlier process may have ended within a pulse.
            await self._hold(0)
        while True:
            await self.look()
            closely = self._closing is not None and self._closing.watching
            await asyncio.sleep(_LOOK_CLOSELY_S if closely else _LOOK_S)

    async def look(self) -> None:
        """Look once."""
        await self._keep_hold()
        held = self._held_at is not None
        if self._gate.relay.tells_closed:
            fault = self._feedback.saw(self._clock(), await self._is_closed(), held=held)
            if fault is not None:
                log.error("gate %s: %s", self.name, _FAULTS[fault])
        if self._closing is not None and self._closing.watching and not held:
            await self._close_behind(self._closing)

    async def _keep_hold(self) -> None:
        now = self._clock()
        wanted = bool(self._gate.hold_open) and not self._doubtful() and hold_open.due(self._gate.hold_open, now)
        if not wanted and self._held_at is None:
            return
        if wanted and self._held_at is not None and 0 <= now - self._held_at < _HOLD_AGAIN_MS:
            return
        async with self.turn:
            if wanted and self._held_at is None and self._clock() < self._pulsed_until + self._gap_ms:
                return  # a pulse ends first
            if wanted and self._held_at is None and self.interlocked and not await self._all_shut():
                return
            if not await self._hold(_HOLD_FOR_S if wanted else 0):
                if self._held_at is not None and now - self._held_at >= _HOLD_FOR_S * 1000:
                    self._held_at = None  # it is closed by now, and cars need their pulses
                return
            if wanted is not (self._held_at is not None):
                log.info("gate %s: %s", self.name, "held open from now on" if wanted else "no longer held open")
            self._held_at = now if wanted else None
            if wanted:
                self._feedback.pulsed(now)

    async def _hold(self, seconds: float) -> bool:
        try:
            await self._moves.hold(self._gate.relay, seconds)
        except RelayError as error:
            self._complain("hold", f"it can't be {'held open' if seconds else 'let go'}: {error}")
            return False
        self._complaints.pop("hold", None)
        return True

    async def _close_behind(self, closing: Closing) -> None:
        if not closing.saw(self._clock(), await self._is_clear()):
            return
        async with self.turn:
            # A car may have come, or a pulse, while we waited for our turn.
            if self._clock() < self._pulsed_until + self._gap_ms or not closing.saw(
                self._clock(), await self._is_clear()
            ):
                return
            closing.closed()
            try:
                await self._moves.close(self._gate.relay)
            except RelayError as error:
                log.error("gate %s: the barrier didn't confirm that it closes: %s", self.name, error)
            else:
                log.info("gate %s: closed behind a car", self.name)

    async def _is_closed(self) -> bool | None:
        return await self._asked(self._closed, "position")

    async def _is_clear(self) -> bool | None:
        return await self._asked(self._moves.clear, "way")

    async def _asked(self, ask: Closed, what: str) -> bool | None:
        try:
            told = await ask(self._gate.relay)
        except RelayError as error:
            self._complain(what, f"the barrier's {what} isn't known: {error}")
            return None
        self._complaints.pop(what, None)
        return told

    def _complain(self, about: str, text: str) -> None:
        """Say something once, though it is found out every second."""
        if self._complaints.get(about) != text:
            self._complaints[about] = text
            log.warning("gate %s: %s", self.name, text)


def interlock(gates: Sequence[Gate], barriers: dict[str, Barrier]) -> None:
    """Let barriers know of those that must be closed before they open. Of interlocked barriers one opens at a time."""
    pairs = {frozenset((gate.name, other)) for gate in gates for other in gate.interlock}
    together = asyncio.Lock()
    for name, barrier in barriers.items():
        others = sorted(other for pair in pairs if name in pair for other in pair - {name})
        if others:
            barrier.interlocked = [barriers[other] for other in others]
            barrier.turn = together
