"""The gateway's clock, as far as it can be trusted.

Small computers lose the time with their power, and without the line nobody corrects it. What is certain is the highest
time that was ever trusted: a server's word, and the time that has passed since. A clock that says something earlier, or
much later, is known to be wrong: the time is then at least that highest one, and nobody is refused for more than that.
While the process runs, a clock that jumps doesn't take the gateway's time along.
"""

from collections.abc import Callable

_TOLERANCE_MS = 60_000
_LONGEST_OFF_MS = 30 * 86_400_000
"""A gateway without power for longer than this is less likely than a wrong clock."""


class TrustedClock:
    """Calling it gives ms since 1970. ``machine`` is the computer's own clock, ``elapsed`` ms that only rise, and
    ``highest`` what was stored of an earlier process (0: nothing)."""

    def __init__(self, machine: Callable[[], int], elapsed: Callable[[], int], highest: int = 0) -> None:
        self.machine, self._elapsed = machine, elapsed
        self._highest, self._highest_at = highest, elapsed()
        self._anchor: tuple[int, int] | None = None

    def __call__(self) -> int:
        machine = self.machine()
        if self._anchor is not None:
            expected = self._anchor[0] + self._elapsed() - self._anchor[1]
            return machine if abs(machine - expected) <= _TOLERANCE_MS else expected
        return self.highest if self._is_wrong(machine) else machine

    @property
    def highest(self) -> int:
        """Return the highest time that can be trusted: what was known, and the time since."""
        return self._highest + self._elapsed() - self._highest_at if self._highest else 0

    @property
    def doubtful(self) -> bool:
        """Tell whether the machine's clock is known to be wrong, and by how much isn't known."""
        return self._anchor is None and self._is_wrong(self.machine())

    def trust(self, server_time: int) -> int:
        """Take a server's word. The machine's clock is followed again from now on: return by how much this sets the
        gateway's time, in ms, 0 where it wasn't known."""
        before, doubted = self(), self.doubtful
        self._anchor = self.machine(), self._elapsed()
        self._highest, self._highest_at = server_time, self._anchor[1]
        return 0 if doubted else self() - before

    def _is_wrong(self, machine: int) -> bool:
        known = self.highest
        return bool(known) and not known - _TOLERANCE_MS <= machine <= known + _LONGEST_OFF_MS
