"""The values that cameras write as numbers or as text, made into the gateway's own: pure.

None stands for what isn't there or isn't understood: no field but the plate is worth refusing a message for.
"""

import hashlib
import math
from datetime import UTC, datetime

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST_MS = 253_402_300_800_000
"""The year 10000: numbers beyond it are no times."""
_LONGEST_ID = 190


def text(value: object) -> str | None:
    """Return a text, a number or a truth as text without spaces around it; None for anything else and for nothing."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else None
    if isinstance(value, int):
        return str(value) if abs(value) < 2**64 else None
    return value.strip() or None if isinstance(value, str) else None


def number(value: object) -> float | None:
    """Return a number, also one that is written as text; None for anything else, NaN and infinity."""
    if isinstance(value, bool):
        return None
    written = text(value)
    try:
        found = float(written) if written else math.nan
    except ValueError:
        return None
    return found if math.isfinite(found) else None


def share(value: object, whole: float = 1) -> float | None:
    """Return a confidence from 0 to ``whole`` as one from 0 to 1; None outside of that."""
    found = number(value)
    return found / whole if found is not None and 0 <= found <= whole else None


def percent_or_share(value: object) -> float | None:
    """Read 97, 97.0 or 0.97 as 0.97. A whole 1 is one percent; only a fraction written as one is a share."""
    written, found = text(value), number(value)
    if written is None or found is None:
        return None
    return share(found, 1 if "." in written and found <= 1 else 100)


def iso_ms(value: object) -> int | None:
    """Read an ISO 8601 time as ms since 1970. Without a zone it is taken as UTC: the gateway learns a camera's offset
    as that of any wrong clock."""
    written = text(value)
    try:
        moment = datetime.fromisoformat(written) if written else None
    except ValueError:
        return None
    if moment is None:
        return None
    ms = int(((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH).total_seconds() * 1000)
    return ms if ms >= 0 else None


def epoch_ms(value: object, per_second: int) -> int | None:
    """Read a count of seconds or of parts of them (``per_second`` 1000: milliseconds) since 1970 as ms."""
    found = number(value)
    if found is None:
        return None
    ms = round(found * 1000 / per_second)
    return ms if 0 <= ms < _LATEST_MS else None


def event_id(*parts: str | None) -> str:
    """Return the parts that are there as one id, short enough to be kept."""
    return ":".join(part for part in parts if part)[:_LONGEST_ID]


def digest(*parts: str | bytes | None) -> str:
    """Return an id of an event that has none: equal for equal parts."""
    found = hashlib.sha256()
    for part in parts:
        found.update(part if isinstance(part, bytes) else (part or "").encode("utf-8", "replace"))
        found.update(b"\x00")
    return "sha256:" + found.hexdigest()[:32]
