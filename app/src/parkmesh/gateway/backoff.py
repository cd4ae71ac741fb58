"""How long to wait before trying again: longer each time, never in step with other gateways."""

import random
from email.utils import parsedate_to_datetime

FIRST_S, MOST_S = 0.5, 30.0
RETRY_AFTER_MOST_S = 300.0


class Backoff:
    """Full-jitter exponential back-off. ``source`` gives the randomness (seeded in tests)."""

    def __init__(self, source: random.Random | None = None) -> None:
        self._random = source or random.SystemRandom()
        self._failures = 0

    def reset(self) -> None:
        self._failures = 0

    def next_s(self, retry_after_s: float | None = None) -> float:
        """Return the seconds to wait after one more failure; never less than the server asked for."""
        ceiling = min(MOST_S, FIRST_S * 2 ** min(self._failures, 10))
        self._failures += 1
        wait = self._random.uniform(ceiling / 4, ceiling)
        if retry_after_s is None:
            return wait
        # Spread the gateways that were all told the same moment.
        return min(retry_after_s, RETRY_AFTER_MOST_S) + wait


def retry_after_s(header: str | None, now: float) -> float | None:
    """Read a Retry-After header (seconds or an HTTP date) as seconds from ``now`` (s since 1970)."""
    if not header:
        return None
    if header.strip().isdigit():
        return float(header.strip())
    try:
        return max(0.0, parsedate_to_datetime(header).timestamp() - now)
    except (TypeError, ValueError):
        return None
