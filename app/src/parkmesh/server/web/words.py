"""What pages say: words for reasons, states and times."""

from datetime import datetime
from zoneinfo import ZoneInfo

_REASONS = {
    "exact": "Known plate",
    "fuzzy": "Known plate, read with a doubt",
    "command": "Opened by the desk",
    "no_plate": "No plate read",
    "unknown_plate": "Unknown plate",
    "revoked": "Access revoked",
    "not_yet_valid": "Not valid yet",
    "expired": "No longer valid",
    "ambiguous": "More than one plate fits",
    "stale": "Read arrived too late",
}
STATUS = {"free": "Free", "occupied": "Occupied", "unknown": "Unknown"}
PASSED = {"entry": "in", "exit": "out"}
DIRECTION = {"entry": "Entry", "exit": "Exit", "both": "Entry and exit"}


def reason_text(reason: str, decision: str, opened: bool | None) -> str:
    """Return why a passage was decided as it was; a barrier that did not answer is said, not hidden."""
    text = _REASONS.get(reason, reason.replace("_", " ").capitalize())
    return f"{text}; the barrier did not confirm" if decision == "granted" and opened is False else text


def local_time(moment: datetime, zone: ZoneInfo) -> str:
    """Return the time of day at the community, to the second."""
    return moment.astimezone(zone).strftime("%H:%M:%S")


def local_day(moment: datetime, zone: ZoneInfo) -> str:
    """Return the day at the community, short."""
    return moment.astimezone(zone).strftime("%d %b %Y").lstrip("0")


def ago(seconds: float | None) -> str:
    """Return how long ago something was, in the largest fitting unit."""
    if seconds is None:
        return "never"
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit} ago"
    return f"{max(0, int(seconds))} s ago"
