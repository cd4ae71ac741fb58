"""Calendars as iCalendar: read back by an independent parser."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import icalendar
import pytest
from hypothesis import given
from hypothesis import strategies as st
from parkmesh.domain import ical
from parkmesh.domain.ical import Event

AT = datetime(2026, 12, 1, 9, tzinfo=ZoneInfo("Europe/Madrid"))
EVENT = Event(
    uid="booking-48@olivos.parking.example",
    changed_at=AT,
    sequence=2,
    start=AT,
    end=AT + timedelta(hours=2),
    summary="P1",
)
# What a calendar can hold: no control character but tab and line feed, no lone surrogate.
TEXTS = st.text(
    st.characters(exclude_categories=("Cs", "Cc"), exclude_characters="\u2028\u2029") | st.sampled_from('\t\n;,\\":')
)


def test_a_booking_is_written_as_calendars_expect_it() -> None:
    lines = ical.calendar([EVENT], "Parking").decode().split("\r\n")
    assert lines[lines.index("BEGIN:VEVENT") : lines.index("END:VEVENT") + 1] == [
        "BEGIN:VEVENT",
        "UID:booking-48@olivos.parking.example",
        "DTSTAMP:20261201T080000Z",
        "LAST-MODIFIED:20261201T080000Z",
        "SEQUENCE:2",
        "DTSTART:20261201T080000Z",
        "DTEND:20261201T100000Z",
        "STATUS:CONFIRMED",
        "SUMMARY:P1",
        "TRANSP:TRANSPARENT",
        "END:VEVENT",
    ]
    assert lines[-2:] == ["END:VCALENDAR", ""]


@given(summary=TEXTS, location=TEXTS, name=TEXTS)
def test_any_text_comes_back_from_another_parser(summary: str, location: str, name: str) -> None:
    event = Event(
        uid="a@b", changed_at=AT, sequence=0, start=AT, end=AT + timedelta(hours=1), summary=summary, location=location
    )
    octets = ical.calendar([event], name)
    for line in octets.split(b"\r\n"):
        assert len(line) <= 75
        assert b"\r" not in line
        assert b"\n" not in line
        line.decode()
    parsed = icalendar.Calendar.from_ical(octets)
    [read] = parsed.walk("VEVENT")
    # The parser knows no type for it, so it leaves the escapes in.
    assert str(parsed["NAME"]) == ical.text(name)
    assert str(read["SUMMARY"]) == summary
    assert str(read.get("LOCATION", "")) == location
    assert read["DTSTART"].dt == AT.astimezone(UTC)
    assert not read.errors


@given(st.text(st.characters()))
def test_no_text_adds_a_property(text: str) -> None:
    """What people write as a name stays one value, whatever it has of line ends and control characters."""
    event = Event(uid="a@b", changed_at=AT, sequence=0, start=AT, end=AT, summary=f"{text}\r\nATTENDEE:x\nEND:VEVENT")
    [read] = icalendar.Calendar.from_ical(ical.calendar([event], text)).walk("VEVENT")
    assert "ATTENDEE" not in read
    assert read["DTEND"].dt - read["DTSTART"].dt == timedelta(seconds=1)


def test_a_moment_without_offset_is_refused() -> None:
    with pytest.raises(ValueError, match="offset"):
        ical.moment(datetime(2026, 12, 1, 9))
