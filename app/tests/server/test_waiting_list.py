"""The waiting list: nobody is offered what fits somebody who came before, and no slot is held twice."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from page_visitor import mark, visiting
from parkmesh.domain.windows import Window
from parkmesh.server.db import database
from parkmesh.server.reservations import bookings, offers, waiting_list
from running_server import Database, Server
from test_bookings_concurrent import BASE, DESK, Act, Place, hours, make_place

MADRID = ZoneInfo("Europe/Madrid")
SPACES = 3
OPEN = "SELECT * FROM waiting WHERE community_id = $1 AND state IN ('waiting', 'offered') ORDER BY created_at, id"
HELD = "SELECT * FROM booking WHERE community_id = $1 AND status = 'active' ORDER BY id"


@pytest.fixture
async def pool(filled: Database) -> AsyncIterator[Any]:
    async with database.create_pool(filled.app, "waiting", 8) as made:
        yield made


async def place_with_a_queue(db: Database, pool: Any) -> Place:
    """Return a community with shared spaces c1 (with a charger), c2 and c3, and units enough to wait."""
    place = await make_place(db.owner, pool)
    owner = await asyncpg.connect(db.owner)
    try:
        async with owner.transaction():
            await database.set_community(owner, place.community)
            await owner.execute("DELETE FROM space WHERE community_id = $1", place.community)
            await owner.execute(
                """
                INSERT INTO space (community_id, name, level, category, ev) VALUES
                    ($1, 'c1', 'P1', 'shared', true), ($1, 'c2', 'P1', 'shared', false),
                    ($1, 'c3', 'P1', 'shared', false)
                """,
                place.community,
            )
            more = await owner.fetch(
                "INSERT INTO unit (community_id, name) SELECT $1, 'w' || n FROM generate_series(1, 3) n RETURNING id",
                place.community,
            )
        place.units += [row["id"] for row in more]
    finally:
        await owner.close()
    return place


def wait_for(place: Place, unit: int, window: Window, *, ev: bool = False, now: datetime = BASE) -> Act:
    return lambda connection: waiting_list.join(
        connection, DESK, place.community, unit_id=unit, resident_id=None, window=window, ev=ev, accessible=False,
        level=None, now=now,
    )  # fmt: skip


def cancel(place: Place, booking_id: int, now: datetime = BASE) -> Act:
    async def act(connection: Any) -> None:
        booking = await bookings.get(connection, place.community, booking_id, for_change=True)
        await bookings.cancel(connection, DESK, place.community, booking, None, now)

    return act


def claim(place: Place, waiting_id: int, now: datetime = BASE) -> Act:
    return lambda connection: waiting_list.claim(connection, DESK, place.community, waiting_id, now)


def leave(place: Place, waiting_id: int, now: datetime = BASE) -> Act:
    return lambda connection: waiting_list.leave(connection, DESK, place.community, waiting_id, now)


async def fill(place: Place, window: Window) -> None:
    for number in range(SPACES):
        assert await place.act(place.book(f"c{number + 1}", place.units[number % 2], window)) == "done"


async def test_what_is_cancelled_is_offered_to_the_first_and_then_to_the_next(filled: Database, pool: Any) -> None:
    place = await place_with_a_queue(filled, pool)
    await fill(place, hours(2, 6))
    first, second = place.units[2], place.units[3]
    assert await place.act(wait_for(place, first, hours(3, 5))) == "done"
    assert await place.act(wait_for(place, second, hours(3, 5))) == "done"
    [booked, *_] = await place.rows(HELD)
    assert await place.act(cancel(place, booked["id"])) == "done"
    assert [row["state"] for row in await place.rows(OPEN)] == ["offered", "waiting"]
    # Held: nobody else books it meanwhile, and the offer is no booking that anybody sees.
    assert await place.act(place.book("c1", place.units[4], hours(3, 5))) == "overlap"
    async with database.in_community(pool, place.community) as connection:
        assert await bookings.page(connection, place.community, limit=9, unit_id=first) == []
    late = BASE + offers.CLAIM
    one, two = await place.rows(OPEN)
    assert await place.act(claim(place, one["id"], late)) == "over"
    await offers.follow(pool, place.community, late)
    assert [(row["unit_id"], row["state"]) for row in await place.rows(OPEN)] == [(second, "offered")]
    assert await place.act(claim(place, two["id"], late + timedelta(minutes=1))) == "done"
    async with database.in_community(pool, place.community) as connection:
        [theirs] = await bookings.page(connection, place.community, limit=9, unit_id=second)
    assert (theirs.space, theirs.status) == ("c1", "active")
    told = "SELECT type, object FROM event WHERE community_id = $1 AND type LIKE 'waiting.%' ORDER BY id"
    assert [(row["type"], row["object"]) for row in await place.rows(told)] == [
        ("waiting.offered", f"waiting/{one['id']}"),
        ("waiting.lapsed", f"waiting/{one['id']}"),
        ("waiting.offered", f"waiting/{two['id']}"),
        ("waiting.claimed", f"waiting/{two['id']}"),
    ]


async def test_a_space_that_is_shared_anew_is_offered(filled: Database, pool: Any) -> None:
    place = await make_place(filled.owner, pool)
    waiting = place.units[1]
    assert await place.act(place.assign("s1", place.units[0], 0, None)) == "done"
    assert await place.act(place.book("s3", place.units[0], hours(2, 6))) == "done"
    assert await place.act(wait_for(place, waiting, hours(3, 5))) == "done"
    assert await place.act(place.share("s1", place.units[0], hours(2, 8))) == "done"
    assert [row["state"] for row in await place.rows(OPEN)] == ["offered"]


async def test_who_joins_while_a_space_is_free_is_told_to_book_it(filled: Database, pool: Any) -> None:
    place = await place_with_a_queue(filled, pool)
    assert await place.act(wait_for(place, place.units[0], hours(3, 5))) == "available"


def fits(waits: Any, space: str, start: datetime, end: datetime) -> bool:
    """Tell, knowing nothing of the code, whether a slot is of use to one who waits."""
    return bool(start <= waits["starts_at"] and waits["ends_at"] <= end and (not waits["ev"] or space == "c1"))


async def check_fair(place: Place) -> None:
    """Nobody waits while a space is free for them, so nobody later got what they could have had."""
    names = {row["id"]: row["name"] for row in await place.rows("SELECT id, name FROM space WHERE community_id = $1")}
    taken = await place.rows(HELD)
    for waits in await place.rows(OPEN):
        if waits["state"] != "waiting":
            continue
        for space_id, name in names.items():
            clash = any(
                row["space_id"] == space_id
                and row["starts_at"] < waits["ends_at"]
                and row["ends_at"] > waits["starts_at"]
                for row in taken
            )
            assert clash or not fits(waits, name, waits["starts_at"], waits["ends_at"]), (dict(waits), name)


TIMES = st.tuples(st.integers(1, 8), st.integers(1, 4)).map(lambda given: hours(given[0], sum(given)))
STEPS = st.lists(
    st.tuples(st.sampled_from(["join", "cancel", "claim", "leave", "lapse"]), st.integers(0, 9), TIMES, st.booleans()),
    max_size=14,
)


async def play(place: Place, step: tuple[str, int, Window, bool], now: datetime) -> None:
    act, number, window, ev = step
    if act == "join":
        await place.act(wait_for(place, place.units[2 + number % 3], window, ev=ev, now=now))
    elif act == "lapse":
        await offers.follow(place.pool, place.community, now)
    elif act == "cancel":
        found = [row for row in await place.rows(HELD) if row["held_until"] is None]
        if found:
            await place.act(cancel(place, found[number % len(found)]["id"], now))
    else:
        found = await place.rows(OPEN)
        if found:
            change = claim if act == "claim" else leave
            await place.act(change(place, found[number % len(found)]["id"], now))


async def test_the_list_is_fair_whatever_happens(filled: Database, pool: Any) -> None:
    loop = asyncio.get_running_loop()

    async def run(steps: list[Any]) -> None:
        place = await place_with_a_queue(filled, pool)
        await fill(place, hours(0, 13))
        spaces = await place.rows("SELECT id, name FROM space WHERE community_id = $1")
        names = {row["id"]: row["name"] for row in spaces}
        before: dict[int, Any] = {}
        for minutes, step in enumerate(steps):
            await play(place, step, BASE + timedelta(minutes=7 * minutes))
            await check_fair(place)
            rows = {row["id"]: row for row in await place.rows("SELECT * FROM waiting WHERE community_id = $1")}
            new = [row for row in rows.values() if row["state"] == "offered" and before.get(row["id"]) != "offered"]
            for offered in new:
                # Whoever came before and still waits could not have used what this one got.
                got = {row["id"]: row for row in await place.rows(HELD)}[offered["offer_id"]]
                for other in rows.values():
                    if other["state"] == "waiting" and other["created_at"] < offered["created_at"]:
                        assert not fits(other, names[got["space_id"]], got["starts_at"], got["ends_at"])
            before = {identity: row["state"] for identity, row in rows.items()}

    @settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
    @given(STEPS)
    def plays(steps: list[Any]) -> None:
        asyncio.run_coroutine_threadsafe(run(steps), loop).result(120)

    await asyncio.to_thread(plays)


async def test_at_once_no_slot_is_held_twice_and_nobody_is_passed_over(filled: Database, pool: Any) -> None:
    place = await place_with_a_queue(filled, pool)
    await fill(place, hours(2, 6))
    for unit in place.units[2:]:
        assert await place.act(wait_for(place, unit, hours(3, 5))) == "done"
    booked = [row["id"] for row in await place.rows(HELD)]
    grabs = [place.book(f"c{n}", place.units[0], hours(3, 5)) for n in (1, 2, 3)]
    await asyncio.wait_for(
        asyncio.gather(
            *(place.act(cancel(place, identity)) for identity in booked[:2]),
            *(offers.follow(pool, place.community, BASE) for _ in range(4)),
            *(place.act(grab) for grab in grabs),
        ),
        60,
    )
    await offers.follow(pool, place.community, BASE)
    await check_fair(place)
    open_ = await place.rows(OPEN)
    states = [row["state"] for row in open_]
    assert states == sorted(states)
    holds = [row["offer_id"] for row in open_ if row["offer_id"] is not None]
    assert len(holds) == len(set(holds))
    taken = await place.rows(HELD)
    for one in taken:
        for other in taken:
            if one["id"] < other["id"] and one["space_id"] == other["space_id"]:
                assert one["ends_at"] <= other["starts_at"] or other["ends_at"] <= one["starts_at"]
    # The same offer claimed and left at once: one of the two.
    if holds:
        first = open_[0]["id"]
        outcomes = await asyncio.gather(place.act(claim(place, first)), place.act(leave(place, first)))
        assert sorted(outcomes) == ["done", "over"]


async def test_a_resident_waits_and_takes_what_is_offered_on_the_page(server: Server, people: Any) -> None:
    administrator = await people("administrator@a.example")
    await administrator.post("/api/v1/communities/a/spaces", json={"name": "bay", "category": "shared"})
    units = (await administrator.get("/api/v1/communities/a/units")).json()["items"]
    other = next(unit["id"] for unit in units if unit["name"] != "1A")
    begin = (datetime.now(UTC) + timedelta(days=1)).replace(hour=10, minute=0, second=0, microsecond=0)
    times = {"from": begin.isoformat(), "until": (begin + timedelta(hours=2)).isoformat()}
    made = await administrator.post("/api/v1/communities/a/bookings", json={"space": "bay", "unit_id": other, **times})
    assert made.status_code == 201, made.text
    local = {
        name: datetime.fromisoformat(at).astimezone(MADRID).strftime("%Y-%m-%dT%H:%M") for name, at in times.items()
    }
    book, base = f"/communities/a/book?{urlencode(local)}", "/communities/a/waiting"
    async with visiting(server.web, "resident@a.example") as visitor:
        key = mark(await visitor.get(book), "idempotency_key")
        for _ in range(2):
            joined = await visitor.send(base, of=book, idempotency_key=key, **local)
            assert joined.headers["location"] == "/communities/a/book?done=waiting"
        assert "You are number 1." in (await visitor.get("/communities/a/book")).text
        path = f"/api/v1/communities/a/bookings/{made.json()['id']}/cancel"
        gone = await administrator.post(path, json={"reason": "works in the garage"}, headers={"If-Match": "*"})
        assert gone.status_code == 200, gone.text
        [item] = (await administrator.get("/api/v1/communities/a/waiting?open=true")).json()["items"]
        assert (item["state"], item["space"], item["position"]) == ("offered", "bay", 1)
        async with visiting(server.web, "administrator@a.example") as staff:
            assert "bay is offered until" in (await staff.get(base)).text
        claimed = await visitor.send(f"{base}/{item['id']}/claim", of="/communities/a/book")
        assert claimed.headers["location"] == "/communities/a/book?done=booked"
        mine = (await visitor.get("/communities/a/book")).text
        assert 'data-testid="booking" data-space-name="bay"' in mine
        assert 'data-testid="waiting"' not in mine
