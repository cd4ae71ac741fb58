"""The calendar that other programs read: its address and what it answers."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx
import icalendar
from page_visitor import Visitor, visiting
from running_server import Server
from two_communities import rows

People = Callable[[str], Any]
A = "/api/v1/communities/a"
PAGE = "/communities/a/calendar"
RESIDENT = "resident@a.example"
NOW = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)


def window(start: float, end: float) -> dict[str, str]:
    return {"from": (NOW + timedelta(hours=start)).isoformat(), "until": (NOW + timedelta(hours=end)).isoformat()}


async def address(visitor: Visitor) -> str:
    """Make an address and return its path."""
    made = await visitor.send(PAGE, of=PAGE)
    assert made.status_code == 200, made.text
    found = re.search(r">https?://[^/<]+(/calendar/[^<]+)</p>", made.text)
    assert found, made.text
    return found[1]


async def events(client: httpx.AsyncClient, path: str) -> dict[str, Any]:
    answer = await client.get(path)
    assert answer.status_code == 200, answer.text
    return {str(event["UID"]): event for event in icalendar.Calendar.from_ical(answer.content).walk("VEVENT")}


async def test_bookings_and_visitors_are_in_the_calendar_and_keep_their_history(
    server: Server, people: People, owner: asyncpg.Connection
) -> None:
    administrator, resident = await people("administrator@a.example"), await people(RESIDENT)
    await administrator.post(f"{A}/spaces", json={"name": "bay", "category": "shared"})
    made = (await resident.post(f"{A}/bookings", json={"space": "bay", **window(2, 4)})).json()
    await resident.post(f"{A}/visitor-passes", json={"name": "Eva; tía, de Ana", **window(5, 8)})
    async with visiting(server.web, RESIDENT) as visitor, httpx.AsyncClient(base_url=server.web) as anybody:
        path = await address(visitor)
        first = await anybody.get(path)
        assert first.headers["content-type"] == "text/calendar; charset=utf-8"
        assert first.headers["cache-control"] == "private, max-age=300"
        assert "set-cookie" not in first.headers
        again = await anybody.get(path, headers={"If-None-Match": first.headers["etag"]})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])
        assert (await anybody.get(path)).content == first.content

        found = await events(anybody, path)
        [uid] = [uid for uid in found if uid.startswith(f"booking-{made['id']}@a.")]
        booked = found[uid]
        assert (booked["SEQUENCE"], booked["STATUS"], str(booked["TRANSP"])) == (0, "CONFIRMED", "TRANSPARENT")
        assert booked["DTSTART"].dt == NOW + timedelta(hours=2)
        [guest] = [event for other, event in found.items() if other.startswith("visitor-pass-")]
        assert "Eva; tía, de Ana" in str(guest["SUMMARY"])

        await resident.put(f"{A}/bookings/{made['id']}", json=window(3, 5), headers={"If-Match": "*"})
        moved = (await events(anybody, path))[uid]
        assert (moved["SEQUENCE"], moved["DTSTART"].dt) == (1, NOW + timedelta(hours=3))
        await resident.post(f"{A}/bookings/{made['id']}/cancel", json={}, headers={"If-Match": "*"})
        gone = (await events(anybody, path))[uid]
        assert (gone["SEQUENCE"], gone["STATUS"]) == (2, "CANCELLED")
        assert gone["DTSTAMP"].dt >= moved["DTSTAMP"].dt
        [row] = await rows(owner, "a", "SELECT changes FROM booking WHERE community_id = $1")
        assert row["changes"] == 2
        long_ago = """
            UPDATE booking SET cancelled_at = now() - interval '31 d' WHERE community_id = $1 RETURNING id
        """
        await rows(owner, "a", long_ago)
        assert uid not in await events(anybody, path)


async def test_a_new_address_ends_the_one_before(server: Server, people: People, owner: asyncpg.Connection) -> None:
    async with visiting(server.web, RESIDENT) as visitor, httpx.AsyncClient(base_url=server.web) as anybody:
        first = await address(visitor)
        kept = await rows(owner, "a", "SELECT token_sha256 FROM calendar_feed WHERE community_id = $1")
        assert first.split("-", 1)[1].encode() not in bytes(kept[0]["token_sha256"])
        second = await address(visitor)
        assert first != second
        assert (await anybody.get(first)).status_code == 404
        assert (await anybody.get(second)).status_code == 200
        # The same secret under another community's number is nobody's.
        number, _, secret = second.removeprefix("/calendar/").partition("-")
        assert (await anybody.get(f"/calendar/{int(number, 16) + 1:x}-{secret}")).status_code == 404
        for made_up in ("x", "f" * 15 + "-" + "a" * 43, "1-short"):
            assert (await anybody.get(f"/calendar/{made_up}.ics")).status_code == 404
        assert (await visitor.send(f"{PAGE}/end", of=PAGE)).status_code == 303
        assert (await anybody.get(second)).status_code == 404


async def test_the_calendar_ends_with_the_membership(server: Server, people: People, owner: asyncpg.Connection) -> None:
    async with visiting(server.web, RESIDENT) as visitor, httpx.AsyncClient(base_url=server.web) as anybody:
        path = await address(visitor)
        inactive = """
            UPDATE resident SET active = false WHERE community_id = $1 AND email = 'resident@a.example' RETURNING id
        """
        await rows(owner, "a", inactive)
        assert (await anybody.get(path)).status_code == 404
        ended = "DELETE FROM membership WHERE community_id = $1 AND role = 'resident' RETURNING user_id"
        await rows(owner, "a", ended)
        assert await rows(owner, "a", "SELECT * FROM calendar_feed WHERE community_id = $1") == []


async def test_other_peoples_things_are_in_no_calendar(server: Server, people: People) -> None:
    administrator = await people("administrator@a.example")
    await administrator.post(f"{A}/spaces", json={"name": "bay", "category": "shared"})
    units = {unit["name"]: unit["id"] for unit in (await administrator.get(f"{A}/units")).json()["items"]}
    other = next(identity for name, identity in units.items() if name != "1A")
    made = await administrator.post(f"{A}/bookings", json={"space": "bay", "unit_id": other, **window(2, 4)})
    assert made.status_code == 201, made.text
    async with visiting(server.web, RESIDENT) as visitor, httpx.AsyncClient(base_url=server.web) as anybody:
        assert await events(anybody, await address(visitor)) == {}
