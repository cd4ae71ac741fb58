"""Permits for accessible spaces: who may have one of these spaces, for how long, and what is told to the others."""

from collections.abc import AsyncIterator
from datetime import UTC, date, datetime, timedelta
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import pytest
from page_visitor import alerts, visiting
from parkmesh.server.commands import retention
from parkmesh.server.db import database
from parkmesh.server.reservations import bookings, permits, visitor_passes
from running_server import Database, Server
from test_bookings_concurrent import BASE, DESK, Act, Place, hours, make_place
from test_waiting_list import OPEN, cancel, claim, wait_for
from two_communities import rows

MADRID = ZoneInfo("Europe/Madrid")
HERE = "/api/v1/communities/a"
ANY = {"If-Match": "*"}


@pytest.fixture
async def place(filled: Database) -> AsyncIterator[Place]:
    """A community that asks for permits, with two people in its first unit, and s3 and v1 accessible."""
    async with database.create_pool(filled.app, "permits", 8) as pool:
        made = await make_place(filled.owner, pool)
        async with database.in_community(pool, made.community) as connection:
            await connection.execute(
                "UPDATE community_rules SET accessible_needs_permit = true WHERE community_id = $1", made.community
            )
            await connection.execute(
                "UPDATE space SET accessible = true WHERE community_id = $1 AND name IN ('s3', 'v1')", made.community
            )
            await connection.execute(
                """
                INSERT INTO resident (community_id, email, name, unit_id)
                VALUES ($1, 'one@x.example', 'One', $2), ($1, 'two@x.example', 'Two', $2)
                """,
                made.community,
                made.units[0],
            )
        yield made


def permitted(place: Place, name: str, until: date) -> Act:
    async def act(connection: Any) -> None:
        resident = await connection.fetchval(
            "SELECT id FROM resident WHERE community_id = $1 AND name = $2", place.community, name
        )
        await permits.put(connection, DESK, place.community, resident, None, until, BASE)

    return act


async def test_a_permit_of_one_of_the_unit_has_to_be_valid_until_the_end(place: Place) -> None:
    unit = place.units[0]
    # By the community's clock the night of the second day begins two hours before that of UTC.
    until_midnight = hours(0, 34)
    assert await place.act(place.book("s3", unit, hours(1, 3))) == "permit"
    assert await place.act(permitted(place, "Two", date(2027, 3, 27))) == "done"
    assert await place.act(place.book("s3", place.units[1], hours(1, 3))) == "permit"
    assert until_midnight.end.astimezone(MADRID) == datetime(2027, 3, 27, 23, tzinfo=MADRID)
    assert await place.act(place.book("s3", unit, hours(33, 36))) == "permit"
    assert await place.act(place.book("s3", unit, hours(33, 35))) == "done"


async def test_a_booking_moves_only_within_the_permit(place: Place) -> None:
    assert await place.act(permitted(place, "One", date(2027, 3, 27))) == "done"
    assert await place.act(place.book("s3", place.units[0], hours(1, 3))) == "done"

    def moved(start: int, end: int) -> Act:
        async def act(connection: Any) -> None:
            [booking] = await bookings.page(connection, place.community, limit=2)
            await bookings.move(connection, DESK, place.community, booking, hours(start, end), BASE)

        return act

    assert await place.act(moved(34, 40)) == "permit"
    assert await place.act(moved(30, 35)) == "done"
    # What is booked stays booked without the permit, but moves nowhere.
    await place.act(
        lambda connection: connection.execute("DELETE FROM permit WHERE community_id = $1", place.community)
    )
    assert await place.act(moved(31, 35)) == "permit"


async def test_the_waiting_list_offers_an_accessible_space_to_those_with_a_permit_alone(place: Place) -> None:
    with_permit, without = place.units
    assert await place.act(permitted(place, "One", date(2027, 3, 30))) == "done"
    assert await place.act(place.book("s3", with_permit, hours(2, 6))) == "done"
    assert await place.act(wait_for(place, without, hours(3, 5))) == "done"
    assert await place.act(wait_for(place, with_permit, hours(3, 5))) == "done"
    [booked] = await place.rows("SELECT id FROM booking WHERE community_id = $1")
    assert await place.act(cancel(place, booked["id"])) == "done"
    first, second = await place.rows(OPEN)
    assert [(first["unit_id"], first["state"]), (second["unit_id"], second["state"])] == [
        (without, "waiting"),
        (with_permit, "offered"),
    ]
    taken = "UPDATE permit SET valid_until = '2027-03-25' WHERE community_id = $1"
    await place.act(lambda connection: connection.execute(taken, place.community))
    assert await place.act(claim(place, second["id"])) == "permit"


async def test_an_accessible_visitors_space_needs_a_permit_unless_staff_book_it(place: Place) -> None:
    assert await place.act(place.issue(place.units[0], hours(1, 3), "v1")) == "permit"
    assert await place.act(
        lambda connection: visitor_passes.create(
            connection, DESK, place.community, unit_id=place.units[0], resident_id=None, window=hours(1, 3), name=None,
            plate="1234BCD", space="v1", now=BASE, permit_seen=True,
        )
    ) == "done"  # fmt: skip


async def test_permits_go_with_their_person_and_their_time(place: Place, filled: Database) -> None:
    assert await place.act(permitted(place, "One", date(2027, 3, 27))) == "done"
    owner = await database.connect(filled.owner, "test", 5)
    try:
        kept = await retention.run(owner, datetime(2027, 4, 26, 12, tzinfo=UTC))
        gone = await retention.run(owner, datetime(2027, 4, 27, 12, tzinfo=UTC))
    finally:
        await owner.close()
    assert (kept.rows["permit"], gone.rows["permit"]) == (0, 1)


async def test_staff_enter_a_permit_and_its_owner_alone_reads_it(server: Server, people: Any, owner: Any) -> None:
    administrator, resident = await people("administrator@a.example"), await people("resident@a.example")
    found = (await administrator.get(f"{HERE}/residents")).json()["items"]
    ana, other = (next(item["id"] for item in found if item["name"] == name) for name in ("Ana", "Luis"))
    day = (datetime.now(MADRID) + timedelta(days=40)).date().isoformat()
    body = {"number": " 28-1234 ", "valid_until": day}
    assert (await resident.put(f"{HERE}/residents/{ana}/permit", json=body)).status_code == 403
    for wrong in ({"valid_until": day}, {"number": None}, body | {"valid_until": "2020-01-01"}, body | {"number": ""}):
        assert (await administrator.put(f"{HERE}/residents/{ana}/permit", json=wrong)).status_code == 422
    assert (await administrator.put(f"{HERE}/residents/{ana}/permit", json=body)).status_code == 200
    assert (await administrator.put(f"{HERE}/residents/{other}/permit", json=body)).status_code == 200
    own = await resident.get(f"{HERE}/residents/{ana}/permit")
    assert own.json() == {"resident_id": ana, "number": "28-1234", "valid_until": day}
    assert (await resident.get(f"{HERE}/residents/{other}/permit")).status_code == 404
    exported = (await resident.get(f"{HERE}/residents/{ana}/personal-data")).json()
    assert exported["permit"] == {"number": "28-1234", "valid_until": day}
    # Another number is not told by the trail; who leaves has no permit any more.
    trail = await rows(
        owner, "a", "SELECT action, object, detail FROM audit_entry WHERE community_id = $1 AND action ~ 'permit'"
    )
    assert [(row["action"], row["object"]) for row in trail] == [
        ("permit.set", f"permit/{ana}"),
        ("permit.set", f"permit/{other}"),
    ]
    assert "28-1234" not in str(trail)
    left = await administrator.patch(f"{HERE}/residents/{other}", json={"active": False}, headers=ANY)
    assert left.status_code == 200, left.text
    assert (await administrator.get(f"{HERE}/residents/{other}/permit")).status_code == 404
    again = await administrator.put(f"{HERE}/residents/{other}/permit", json=body)
    assert again.json()["type"].endswith(":left")
    confirm = {"confirm": "resident@a.example"}
    erased = await administrator.post(f"{HERE}/residents/{ana}/erase", json=confirm)
    assert erased.status_code == 200, erased.text
    assert await rows(owner, "a", "SELECT FROM permit WHERE community_id = $1") == []


async def test_the_page_says_why_a_space_is_not_offered(server: Server, people: Any) -> None:
    administrator = await people("administrator@a.example")
    for space in ({"name": "bay-1", "accessible": True}, {"name": "bay-2", "accessible": False}):
        made = await administrator.post(f"{HERE}/spaces", json={"category": "shared", **space})
        assert made.status_code == 201, made.text
    begin = (datetime.now(MADRID) + timedelta(days=1)).replace(hour=10, minute=0, second=0, microsecond=0)
    times = {
        name: at.strftime("%Y-%m-%dT%H:%M") for name, at in (("from", begin), ("until", begin + timedelta(hours=2)))
    }
    book = f"/communities/a/book?{urlencode(times)}"
    found = (await administrator.get(f"{HERE}/residents")).json()["items"]
    ana = next(item["id"] for item in found if item["name"] == "Ana")
    person = f"/communities/a/people/{ana}"
    async with (
        visiting(server.web, "resident@a.example") as visitor,
        visiting(server.web, "administrator@a.example") as staff,
    ):
        page = (await visitor.get(book)).text
        assert page.index('data-space-name="bay-2"') < page.index('data-space-name="bay-1"')
        await administrator.patch(f"{HERE}/rules", json={"accessible_needs_permit": True}, headers=ANY)
        page = (await visitor.get(book)).text
        assert 'data-space-name="bay-1"' not in page
        assert "Accessible spaces are free too" in page
        assert "bay-1 is accessible" in (await visitor.get(f"{book}&space=bay-1")).text
        alone = (await visitor.get(f"{book}&accessible=on")).text
        assert "Accessible spaces are free too" in alone
        assert 'data-testid="wait"' not in alone
        refused = await visitor.send("/communities/a/book", of=book, space="bay-1", idempotency_key="k" * 20, **times)
        assert "kept for people with a permit" in alerts(refused)
        wrong = await staff.send(f"{person}/permit", of=person, permit_number="7", permit_until="2020-01-01")
        assert "This day is over." in alerts(wrong)
        day = (begin + timedelta(days=30)).date().isoformat()
        saved = await staff.send(f"{person}/permit", of=person, permit_number="7", permit_until=day)
        assert saved.headers["location"] == f"{person}?done=saved"
        page = (await visitor.get(book)).text
        assert 'data-space-name="bay-1"' in page
        assert 'data-testid="own-permit"' in page
        removed = await staff.send(f"{person}/permit/delete", of=person)
        assert removed.headers["location"] == f"{person}?done=removed"
        assert 'data-space-name="bay-1"' not in (await visitor.get(book)).text
