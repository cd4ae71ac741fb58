"""How many requests an API key may make: so that one program that loops leaves the server to the others.

Each server counts by itself, in memory: a check costs no round trip, and n servers let a key make n times as many. A
key has a bucket of half a minute's requests that fills up again at the rate of the setting
``PARKMESH_KEY_REQUESTS_PER_MINUTE``.
"""

import math
import time
from collections.abc import Callable

from parkmesh.server.http.problems import Problem
from parkmesh.server.telemetry import logs

_SWEEP_AT = 1000


class KeyLimits:
    """The buckets of one server process. ``per_minute`` is what a key may make in the long run, ``clock`` returns
    seconds."""

    def __init__(self, per_minute: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.burst = per_minute // 2
        self._each_s = 60 / per_minute
        self._clock = clock
        self._full_at: dict[int, float] = {}

    def take(self, key: int) -> float:
        """Count a request of a key; return 0, or the seconds until its next one if it is refused (and not counted)."""
        now = self._clock()
        # The moment at which the bucket is full again says how much of it is left.
        full_at = max(self._full_at.get(key, now), now) + self._each_s
        excess = full_at - now - self.burst * self._each_s
        if excess > 1e-9:
            return excess
        self._full_at[key] = full_at
        if len(self._full_at) > _SWEEP_AT:
            self._full_at = {name: at for name, at in self._full_at.items() if at > now}
        return 0.0

    def check(self, key: int) -> None:
        """Count a request of a key; raise ``Problem`` 429 where there were too many."""
        wait_s = math.ceil(self.take(key))
        if wait_s:
            logs.security("excess_rate_limit_exceeded", refused=True, wait_s=wait_s)
            raise Problem(
                429,
                "This API key makes too many requests. Wait a little and try again.",
                kind="too-many-requests",
                headers={"Retry-After": str(wait_s)},
            )
