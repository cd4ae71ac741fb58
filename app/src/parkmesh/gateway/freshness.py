"""Tell whether a camera's read is fresh or an old read that was sent late: an old read must never open a gate.

Cameras' clocks are often wrong, so the age isn't simply 'now minus the camera's time': each camera's clock offset and
drift are learned from live reads. Two reads that arrive as far apart as the camera says they happened show a constant
offset; a backlog that is sent in one go doesn't.
"""

from msgspec import Struct

_STEADY_MS = 3_000
_APART_MS = 1_000
_DAY_MS = 86_400_000
_LEAST_WEIGHT = 1 / 8
_MOST_DRIFT = 0.002
"""No clock of a camera gains or loses more than 2 ms in a second."""


class CameraClock(Struct):
    """What is known of one camera's clock; plain data, so that it survives a restart. Offsets are receipt - device.

    ``offset`` was measured at ``measured``, and grows by ``drift`` ms with each ms. ``base`` is an earlier offset, of
    ``base_at``, from which the drift is learned.
    """

    offset: int = 0
    last_device: int | None = None
    last_received: int = 0
    drift: float = 0.0
    measured: int = 0
    base: int = 0
    base_at: int = 0

    def expected(self, received: int) -> int:
        """Return the offset that the clock should have by now."""
        return self.offset + round(self.drift * (received - self.measured)) if self.measured else self.offset

    def age_ms(self, device: int | None, received: int) -> int:
        """Return how old the read was when it arrived, in ms. A read without a device time counts as new.

        A read 'from the future' of the known offset is as doubtful as a late one, hence the absolute value.
        """
        return 0 if device is None else abs(received - device - self.expected(received))

    def learn(self, device: int | None, received: int, max_age_ms: int) -> None:
        """Take a read that wasn't marked as retransmitted into account."""
        if device is None:
            return
        offset, expected = received - device, self.expected(received)
        if abs(offset - expected) <= max_age_ms:
            self._follow(offset, expected, received)
        elif self.last_device is not None:
            steady = abs(offset - (self.last_received - self.last_device)) <= _STEADY_MS
            if steady and device - self.last_device >= _APART_MS:
                self.offset, self.measured = offset, received
                self.base, self.base_at = offset, received
        self.last_device, self.last_received = device, received

    def moved(self, by_ms: int) -> None:
        """Note that the gateway's own clock was set, by so many ms."""
        self.offset += by_ms
        self.base += by_ms
        self.last_received += by_ms
        if self.measured:
            self.measured += by_ms
            self.base_at += by_ms

    def _follow(self, offset: int, expected: int, received: int) -> None:
        """Follow an offset within the bound: slowly, as a single read may be late, but soon after a long silence."""
        silence = received - self.measured if self.measured else 0
        weight = min(1.0, max(_LEAST_WEIGHT, silence / _DAY_MS))
        self.offset, self.measured = expected + int((offset - expected) * weight), received
        if not self.base_at or received < self.base_at:
            self.base, self.base_at = self.offset, received
        elif received - self.base_at >= _DAY_MS:
            seen = (self.offset - self.base) / (received - self.base_at)
            self.drift = max(-_MOST_DRIFT, min(_MOST_DRIFT, (self.drift + seen) / 2))
            self.base, self.base_at = self.offset, received
