"""What a barrier's inputs mean, whichever device reports them: pure, by times in ms that the caller gives.

``Feedback`` tells whether a pulse opened the barrier, whether it stays open, and whether something else opened it.
``Closing`` tells when its way is clear, so that it may be closed.
"""

from typing import Literal

Position = Literal["closed", "open", "unknown"]
Fault = Literal["did_not_open", "still_open", "forced_open"]

OPENS_WITHIN_MS = 15_000
"""A barrier that is still closed so long after a pulse hasn't opened."""
MOVES_MS = 5_000
"""For so long after a pulse a barrier may be about to open, whatever its input says."""


class Feedback:
    """``others_open``: something else may open the barrier, too, and that is no fault."""

    def __init__(self, *, still_open_ms: int, others_open: bool) -> None:
        self._still_open_ms, self._others_open = still_open_ms, others_open
        self.position: Position = "unknown"
        self.fault: Fault | None = None
        self._pulsed: int | None = None
        self._answered = True
        self._open_since: int | None = None

    def pulsed(self, now: int) -> None:
        """Note that the barrier was told to open."""
        self._pulsed, self._answered = now, False
        if self._open_since is not None:
            self._open_since = now

    def saw(self, now: int, closed: bool | None, *, held: bool) -> Fault | None:
        """Take what the input says, None where nobody knows; return a fault that is new.

        ``held``: the barrier is kept open on purpose.
        """
        before = self.fault
        if closed is None:
            self.position = "unknown"
            return None
        if closed:
            self._closed(now, held=held)
        else:
            self._open(now, held=held)
        return self.fault if self.fault != before else None

    def _closed(self, now: int, *, held: bool) -> None:
        self.position, self._open_since = "closed", None
        if self.fault != "did_not_open":
            self.fault = None
        if self._pulsed is None or self._answered or held:
            return
        if now - self._pulsed >= OPENS_WITHIN_MS:
            self._answered, self.fault = True, "did_not_open"

    def _open(self, now: int, *, held: bool) -> None:
        told = held or (self._pulsed is not None and now - self._pulsed < OPENS_WITHIN_MS)
        if self.fault == "did_not_open":
            self.fault = None
        if self.position == "closed" and not told and not self._others_open:
            self.fault = "forced_open"
        self.position, self._answered = "open", True
        if self._open_since is None or held:
            self._open_since = now
        if held and self.fault == "still_open":
            self.fault = None
        if now - self._open_since >= self._still_open_ms and self.fault is None:
            self.fault = "still_open"


class Closing:
    """When to close a barrier that was opened: its way has been clear for ``clear_ms`` after something was in it, or
    for ``unused_ms`` where nothing came. Once for each opening, and never while the way isn't known to be clear."""

    def __init__(self, *, clear_ms: int, unused_ms: int) -> None:
        self._clear_ms, self._unused_ms = clear_ms, unused_ms
        self._opened: int | None = None
        self._passed = False
        self._clear_since: int | None = None

    @property
    def watching(self) -> bool:
        """Whether an opening waits for its closing."""
        return self._opened is not None

    def opened(self, now: int) -> None:
        """Note that the barrier was opened; a car may still come, whatever passed before."""
        self._opened, self._passed, self._clear_since = now, False, None

    def saw(self, now: int, clear: bool | None) -> bool:
        """Take what the input says, None where nobody knows; tell whether the barrier may be closed now."""
        if self._opened is None:
            return False
        if clear is not True:
            self._passed, self._clear_since = self._passed or clear is False, None
            return False
        if self._clear_since is None:
            self._clear_since = now
        wait = self._clear_ms if self._passed else self._unused_ms
        return now - max(self._clear_since, self._opened) >= wait

    def closed(self) -> None:
        """Note that the barrier was told to close."""
        self._opened = None


def shut(closed: bool | None, now: int, pulsed_until: int) -> bool:
    """Tell whether a barrier is surely closed and stays so for now: another door may open."""
    return closed is True and now >= pulsed_until + MOVES_MS
