"""Calendars as other programs read them: iCalendar (RFC 5545, RFC 7986), written from plain events.

The text depends on nothing but the events, so a calendar that didn't change is the same octets.
"""

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from msgspec import Struct

MEDIA_TYPE = "text/calendar; charset=utf-8"
REFRESH = "PT1H"
_LINE_OCTETS = 75
_BREAKS = re.compile("\r\n|[\r\n\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
# RFC 5545 takes no other control characters, and a lone surrogate is no text.
_FORBIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")


class Event(Struct, frozen=True, kw_only=True):
    """One event. ``uid`` stays the same for good; ``changed_at`` is the last change, the ``sequence``-th (0: none yet).

    All times know their offset from UTC; fractions of seconds are left out, and an event lasts a second at least.
    ``cancelled``: calendars that have it strike it out.
    """

    uid: str
    changed_at: datetime
    sequence: int
    start: datetime
    end: datetime
    summary: str
    location: str = ""
    cancelled: bool = False


def calendar(events: Iterable[Event], name: str) -> bytes:
    """Return a calendar of events; ``name`` is what a program calls it."""
    lines = ["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//parkmesh//parking//EN", "CALSCALE:GREGORIAN"]
    lines += ["METHOD:PUBLISH", f"NAME:{text(name)}", f"X-WR-CALNAME:{text(name)}"]
    lines += [f"REFRESH-INTERVAL;VALUE=DURATION:{REFRESH}", f"X-PUBLISHED-TTL:{REFRESH}"]
    for event in events:
        lines += _event(event)
    lines.append("END:VCALENDAR")
    return b"".join(fold(line) for line in lines)


def _event(event: Event) -> list[str]:
    end = max(event.end, event.start + timedelta(seconds=1))
    return [
        "BEGIN:VEVENT",
        f"UID:{text(event.uid)}",
        f"DTSTAMP:{moment(event.changed_at)}",
        f"LAST-MODIFIED:{moment(event.changed_at)}",
        f"SEQUENCE:{event.sequence}",
        f"DTSTART:{moment(event.start)}",
        f"DTEND:{moment(end)}",
        f"STATUS:{'CANCELLED' if event.cancelled else 'CONFIRMED'}",
        f"SUMMARY:{text(event.summary)}",
        *([f"LOCATION:{text(event.location)}"] if event.location else []),
        # A space that is booked doesn't take up the time of the person.
        "TRANSP:TRANSPARENT",
        "END:VEVENT",
    ]


def moment(at: datetime) -> str:
    """Return a moment as RFC 5545 writes one in UTC. Raises ``ValueError`` for one without an offset."""
    if at.tzinfo is None:
        raise ValueError("a moment of a calendar knows its offset from UTC")
    return at.astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")


def text(value: str) -> str:
    """Return a text as a property's value (RFC 5545, 3.3.11); control characters are left out."""
    plain = _FORBIDDEN.sub("", _BREAKS.sub("\n", value))
    return plain.replace("\\", "\\\\").replace(";", "\\;").replace(",", "\\,").replace("\n", "\\n")


def fold(line: str) -> bytes:
    """Return a line with its end, folded so that none has more than 75 octets and no character is cut in two."""
    left, folded, room = line.encode(), [], _LINE_OCTETS
    while len(left) > room:
        cut = room
        while left[cut] & 0xC0 == 0x80:
            cut -= 1
        folded.append(left[:cut])
        # The space with which a continued line begins is one of its octets.
        left, room = left[cut:], _LINE_OCTETS - 1
    return b"\r\n ".join([*folded, left]) + b"\r\n"
