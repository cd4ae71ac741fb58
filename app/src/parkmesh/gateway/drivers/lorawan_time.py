"""The times that LoRaWAN network servers write."""

from datetime import UTC, datetime

import msgspec


def millis(text: str | None) -> int | None:
    """Read an ISO 8601 time, in UTC where it names no zone, as ms since 1970; None where it is none."""
    if not text:
        return None
    try:
        moment = msgspec.convert(text, type=datetime)
    except msgspec.ValidationError:
        return None
    value = int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
    return value if value >= 0 else None
