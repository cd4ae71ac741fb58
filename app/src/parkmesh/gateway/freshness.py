"""Tell whether a camera's read is fresh or an old read that was sent late: an old read must never open a gate.

Cameras' clocks are often wrong, so the age isn't simply 'now minus the camera's time': each camera's clock offset is
learned from live reads. Two reads that arrive as far apart as the camera says they happened show a constant offset;
a backlog that is sent in one go doesn't.
"""

from msgspec import Struct

_STEADY_MS = 3_000
_APART_MS = 1_000


class CameraClock(Struct):
    """What is known of one camera's clock; plain data, so that it survives a restart. Offsets are receipt - device."""

    offset: int = 0
    last_device: int | None = None
    last_received: int = 0

    def age_ms(self, device: int | None, received: int) -> int:
        """Return how old the read was when it arrived, in ms. A read without a device time counts as new.

        A read 'from the future' of the known offset is as doubtful as a late one, hence the absolute value.
        """
        return 0 if device is None else abs(received - device - self.offset)

    def learn(self, device: int | None, received: int, max_age_ms: int) -> None:
        """Take a read that wasn't marked as retransmitted into account."""
        if device is None:
            return
        offset = received - device
        if abs(offset - self.offset) <= max_age_ms:
            # Within the bound: follow slow drift, towards the smaller delay.
            self.offset += (offset - self.offset) // 8
        elif self.last_device is not None:
            steady = abs(offset - (self.last_received - self.last_device)) <= _STEADY_MS
            if steady and device - self.last_device >= _APART_MS:
                self.offset = offset
        self.last_device, self.last_received = device, received
