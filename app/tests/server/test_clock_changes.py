"""Bookings across the changes of the clock: how long they are, how far ahead, and what calendars and reports say."""

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import icalendar
import pytest
from page_visitor import Visitor, alerts, visiting
from parkmesh.domain.community_rules import Rules
from parkmesh.domain.windows import Window
from parkmesh.server.db import database
from parkmesh.server.http.problems import Problem
from parkmesh.server.reports import reports
from parkmesh.server.reservations import bookings
from running_server import Database, Server
from two_communities import rows

People = Callable[[str], Any]
API, A = "/api/v1/communities/a", "/communities/a"
MADRID = ZoneInfo("Europe/Madrid")


def last_sunday(year: int, month: int) -> date:
    """Return the day on which the clock changes in March or October."""
    last = date(year, month, 31)
    return last - timedelta(days=(last.weekday() + 1) % 7)


# Of the next year that has both ahead: at most 700 days from any day.
YEAR = datetime.now(UTC).year + 1
SPRING, AUTUMN = last_sunday(YEAR, 3), last_sunday(YEAR, 10)
DAY = timedelta(days=1)
# By the clock each is from noon to noon: how many hours they are.
ACROSS = {
    "spring": (SPRING - DAY, SPRING, 23),
    "autumn": (AUTUMN - DAY, AUTUMN, 25),
    "both": (SPRING - DAY, AUTUMN, (AUTUMN - SPRING + DAY).days * 24),
    "a week after both": (SPRING - DAY, AUTUMN + 7 * DAY, ((AUTUMN - SPRING).days + 8) * 24),
}


def noon(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, 12, tzinfo=MADRID)


@pytest.fixture
async def bay(people: People) -> None:
    """Let bookings be as long and as far ahead as any rule lets them, and have a space for them."""
    admin = await people("administrator@a.example")
    limits = {"booking_days_ahead": 730, "booking_max_hours": 8760, "bookings_per_unit": 10}
    changed = await admin.patch(f"{API}/rules", json=limits, headers={"If-Match": "*"})
    assert changed.status_code == 200, changed.text
    assert (await admin.post(f"{API}/spaces", json={"name": "bay", "category": "shared"})).status_code == 201


async def book(visitor: Visitor, first: date, last: date) -> httpx.Response:
    times = {"from": f"{first}T12:00", "until": f"{last}T12:00"}
    key = {"idempotency_key": f"{first}{last}".replace("-", "") * 2}
    return await visitor.send(f"{A}/book", of=f"{A}/book", space="bay", **times, **key)


@pytest.mark.parametrize("across", ACROSS)
async def test_a_booking_from_noon_to_noon_is_kept_as_it_was_entered(
    bay: None, people: People, owner: Any, server: Server, across: str
) -> None:
    first, last, hours = ACROSS[across]
    async with visiting(server.web, "resident@a.example") as visitor:
        made = await book(visitor, first, last)
        assert made.status_code == 303, alerts(made)
        (booked,) = await rows(owner, "a", "SELECT id, starts_at, ends_at FROM booking WHERE community_id = $1")
        assert (booked["starts_at"], booked["ends_at"]) == (noon(first), noon(last))
        assert booked["ends_at"] - booked["starts_at"] == timedelta(hours=hours)
        # The form for another time shows noon again, and sent as it is changes nothing.
        here = f"{A}/book/{booked['id']}"
        page = await visitor.get(here)
        assert re.findall(r'type="datetime-local" value="([^"]+)"', page.text) == [f"{first}T12:00", f"{last}T12:00"]
        seen = await visitor.seen(here)
        same = await visitor.send(here, of=here, seen=seen, **{"from": f"{first}T12:00", "until": f"{last}T12:00"})
        assert same.status_code == 303, alerts(same)
        (kept,) = await rows(owner, "a", "SELECT id, starts_at, ends_at FROM booking WHERE community_id = $1")
        assert kept == booked
        # Calendars read the same moments.
        address = re.search(r">https?://[^/<]+(/calendar/[^<]+)</p>", (await send_calendar(visitor)).text)
        assert address
        feed = await visitor.get(address[1])
        [event] = icalendar.Calendar.from_ical(feed.content).walk("VEVENT")
        assert (event["DTSTART"].dt, event["DTEND"].dt) == (noon(first), noon(last))
    answer = (await (await people("resident@a.example")).get(f"{API}/bookings/{booked['id']}")).json()
    assert datetime.fromisoformat(answer["until"]) - datetime.fromisoformat(answer["from"]) == timedelta(hours=hours)


async def send_calendar(visitor: Visitor) -> httpx.Response:
    return await visitor.send(f"{A}/calendar", of=f"{A}/calendar")


@pytest.mark.parametrize("across", ACROSS)
def test_the_longest_booking_counts_hours_that_pass(across: str) -> None:
    first, last, hours = ACROSS[across]
    window, now = Window(noon(first).astimezone(UTC), noon(last).astimezone(UTC)), noon(first - DAY).astimezone(UTC)
    bookings.check_window(window, Rules(booking_max_hours=hours), now, MADRID)
    with pytest.raises(Problem) as refused:
        bookings.check_window(window, Rules(booking_max_hours=hours - 1), now, MADRID)
    assert refused.value.members["rule"] == "booking_max_hours"


@pytest.mark.parametrize("change", [SPRING, AUTUMN])
def test_days_ahead_are_days_of_the_clock(change: date) -> None:
    now, last = noon(change - DAY).astimezone(UTC), noon(change + DAY).astimezone(UTC)
    limits = Rules(booking_days_ahead=2)
    bookings.check_begin(Window(last, last + DAY), limits, now, MADRID)
    late = last + timedelta(minutes=1)
    with pytest.raises(Problem) as refused:
        bookings.check_begin(Window(late, late + DAY), limits, now, MADRID)
    assert refused.value.members["rule"] == "booking_days_ahead"


async def test_reports_count_the_hours_of_each_day(filled: Database, owner: Any) -> None:
    for table in ("shared_window", "booking"):
        await rows(
            owner,
            "a",
            f"""
            INSERT INTO {table} (community_id, space_id, unit_id, starts_at, ends_at)
            SELECT $1, s.id, u.id, $2, $3 FROM space s, unit u
            WHERE s.community_id = $1 AND s.name = 'a-01' AND u.community_id = $1 AND u.name = '1A' RETURNING 1
            """,  # noqa: S608 - two tables
            noon(SPRING - DAY),
            noon(AUTUMN + DAY),
        )
    (community,) = await rows(owner, "a", "SELECT id FROM community WHERE id = $1")
    async with (
        database.create_pool(filled.app, "test", 1) as pool,
        database.in_community(pool, community["id"], read_only=True) as connection,
    ):
        for day, hours in ((SPRING, 23), (AUTUMN, 25), (SPRING + DAY, 24), (SPRING - DAY, 12)):
            found = await reports.read(
                connection, community["id"], "sharing-use", day, day, noon(AUTUMN + 30 * DAY).astimezone(UTC)
            )
            assert [(row.offered_minutes, row.booked_minutes) for row in found] == [(hours * 60, hours * 60)]
