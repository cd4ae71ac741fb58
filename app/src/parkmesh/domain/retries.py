"""When what could not be delivered is tried again."""

from datetime import timedelta

WAITS = (
    timedelta(seconds=5), timedelta(minutes=5), timedelta(minutes=30), timedelta(hours=2), timedelta(hours=5),
    timedelta(hours=10), timedelta(hours=14), timedelta(hours=20), timedelta(hours=24),
)  # fmt: skip
"""The waits after the first, second … failed attempt (Standard Webhooks 1.0.0, "Retry schedule")."""


def wait_after(attempts: int) -> timedelta | None:
    """Return the wait after this many failed attempts, None where it is given up."""
    return WAITS[attempts - 1] if attempts <= len(WAITS) else None
