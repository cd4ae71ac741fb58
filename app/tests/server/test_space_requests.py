"""The waiting list for spaces of one's own: nobody is passed over without a reason that they can read."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from page_visitor import alerts, mark, visiting
from parkmesh.server.commands import retention
from parkmesh.server.db import database
from parkmesh.server.reservations import assignments, space_requests
from running_server import Database, Server
from test_bookings_concurrent import BASE, DESK, Act, Place, make_place
from two_communities import rows

HERE = "/api/v1/communities/a"
OPEN = "SELECT * FROM space_request WHERE community_id = $1 AND state IN ('waiting', 'offered') ORDER BY created_at, id"
PASSES = "SELECT request_id, why, reason FROM space_request_pass WHERE community_id = $1 ORDER BY id"
# Those of the community of place_with_spaces, and whether they have a charger.
CHARGER = {"o1": False, "o2": True, "o3": False}


@pytest.fixture
async def pool(filled: Database) -> AsyncIterator[Any]:
    async with database.create_pool(filled.app, "space requests", 8) as made:
        yield made


async def place_with_spaces(db: Database, pool: Any) -> Place:
    """Return a community with the spaces o1 to o3 that belong to nobody, and five units."""
    place = await make_place(db.owner, pool)
    owner = await asyncpg.connect(db.owner)
    try:
        async with owner.transaction():
            await database.set_community(owner, place.community)
            await owner.execute("DELETE FROM space WHERE community_id = $1", place.community)
            for name, ev in CHARGER.items():
                await owner.execute(
                    "INSERT INTO space (community_id, name, level, category, ev) VALUES ($1, $2, 'P1', 'assigned', $3)",
                    place.community,
                    name,
                    ev,
                )
            more = await owner.fetch(
                "INSERT INTO unit (community_id, name) SELECT $1, 'w' || n FROM generate_series(1, 3) n RETURNING id",
                place.community,
            )
        place.units += [row["id"] for row in more]
    finally:
        await owner.close()
    return place


def asks(place: Place, unit: int, *, ev: bool = False, now: datetime = BASE) -> Act:
    return lambda connection: space_requests.join(
        connection, DESK, place.community, unit_id=unit, resident_id=None, ev=ev, accessible=False, level=None, now=now
    )


def gives(
    place: Place, space: str, request: int | None = None, reason: str | None = None, *, assign: bool = False,
    now: datetime = BASE,
) -> Act:  # fmt: skip
    give = space_requests.assign if assign else space_requests.offer
    return lambda connection: give(connection, DESK, place.community, space, request_id=request, reason=reason, now=now)


def answers(place: Place, request: int, how: str, now: datetime = BASE) -> Act:
    change = getattr(space_requests, how)
    return lambda connection: change(connection, DESK, place.community, request, now)


async def states(place: Place) -> list[str]:
    found = await place.rows("SELECT state FROM space_request WHERE community_id = $1 ORDER BY id")
    return [row["state"] for row in found]


async def test_an_offer_goes_from_one_to_the_next_until_somebody_takes_it(filled: Database, pool: Any) -> None:
    place = await place_with_spaces(filled, pool)
    for unit in place.units[:3]:
        assert await place.act(asks(place, unit)) == "done"
    assert await place.act(asks(place, place.units[0])) == "waiting"
    first, second, third = [row["id"] for row in await place.rows(OPEN)]
    assert await place.act(gives(place, "o1")) == "done"
    assert await states(place) == ["offered", "waiting", "waiting"]
    # Nobody else gets it meanwhile, and its kind stays.
    assert await place.act(place.assign("o1", place.units[4], 0, None)) == "offered"
    assert await place.act(gives(place, "o1")) == "not-available"
    assert await place.act(answers(place, first, "decline")) == "done"
    assert await states(place) == ["waiting", "offered", "waiting"]
    late = BASE + space_requests.ANSWER
    assert await place.act(answers(place, second, "accept", late)) == "over"
    await space_requests.follow(pool, place.community, late)
    assert await states(place) == ["waiting", "waiting", "offered"]
    assert await place.act(answers(place, third, "accept", late)) == "done"
    assert await place.act(answers(place, third, "accept", late)) == "done"
    [given] = await place.rows("SELECT unit_id, ends_at FROM space_assignment WHERE community_id = $1")
    assert (given["unit_id"], given["ends_at"]) == (place.units[2], None)
    assert [tuple(row) for row in await place.rows(PASSES)] == [(first, "declined", None), (second, "lapsed", None)]
    told = "SELECT type FROM event WHERE community_id = $1 AND type LIKE 'space_request.%' ORDER BY id"
    assert [row["type"].partition(".")[2] for row in await place.rows(told)] == [
        "offered", "offered", "lapsed", "offered", "assigned",
    ]  # fmt: skip
    assert await place.act(asks(place, place.units[2])) == "assigned"
    # What was declined last time is offered again another time, to whoever came first.
    assert await place.act(gives(place, "o3", now=late)) == "done"
    assert await states(place) == ["offered", "waiting", "assigned"]


async def test_offers_that_lapse_together_pass_over_nobody(filled: Database, pool: Any) -> None:
    place = await place_with_spaces(filled, pool)
    for unit in place.units[:3]:
        assert await place.act(asks(place, unit)) == "done"
    assert await place.act(gives(place, "o1")) == "done"
    assert await place.act(gives(place, "o2")) == "done"
    assert await states(place) == ["offered", "offered", "waiting"]
    await space_requests.follow(pool, place.community, BASE + space_requests.ANSWER)
    # The first had o1 and the second o2: each is offered the other's before the third is offered one.
    assert await states(place) == ["offered", "offered", "waiting"]
    found = await place.rows("SELECT unit_id, space_id FROM space_request WHERE community_id = $1 ORDER BY id")
    names = {row["id"]: row["name"] for row in await place.rows("SELECT id, name FROM space WHERE community_id = $1")}
    assert [names.get(row["space_id"]) for row in found] == ["o2", "o1", None]


async def test_who_is_passed_over_reads_why(filled: Database, pool: Any) -> None:
    place = await place_with_spaces(filled, pool)
    for unit, ev in zip(place.units[:3], (False, True, False), strict=True):
        assert await place.act(asks(place, unit, ev=ev)) == "done"
    first, charging, third = [row["id"] for row in await place.rows(OPEN)]
    for assign in (False, True):
        assert await place.act(gives(place, "o1", third, assign=assign)) == "order"
        assert await place.act(gives(place, "o1", charging, "a test", assign=assign)) == "unfit"
    # Nor by assigning it without the list, for good or from an assignment that had an end.
    assert await place.act(place.assign("o1", place.units[2], 0, None)) == "order"
    assert await place.act(place.assign("o3", place.units[2], 0, 9)) == "done"

    async def for_good(connection: Any) -> None:
        [temporary] = await assignments.page(connection, place.community, limit=2, space="o3")
        await assignments.change(connection, DESK, place.community, temporary, temporary.from_, None, BASE)

    assert await place.act(for_good) == "order"
    assert await place.rows(PASSES) == []
    assert await place.act(gives(place, "o1", third, "has a wheelchair", assign=True)) == "done"
    # The one who needs a charger could not have used it.
    assert [tuple(row) for row in await place.rows(PASSES)] == [(first, "staff", "has a wheelchair")]
    async with database.in_community(pool, place.community) as connection:
        [passed] = (await space_requests.get(connection, place.community, first)).passed
    assert (passed.space, passed.reason) == ("o1", "has a wheelchair")
    # Whose turn it is gets a space without the list too, and is on it no longer.
    assert await place.act(place.assign("o2", place.units[0], 0, None)) == "done"
    assert await states(place) == ["assigned", "waiting", "assigned"]
    # Units that never asked are none of the list's business.
    assert await place.act(place.assign("o1", place.units[3], 0, None)) == "overlap"


STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["join", "give", "give", "assign", "direct", "accept", "decline", "decline", "leave", "lapse", "free"]
        ),
        st.integers(0, 9),
        st.integers(0, 4),
        st.booleans(),
    ),
    max_size=16,
)


async def play(place: Place, step: tuple[str, int, int, bool], now: datetime) -> None:
    act, number, other, flag = step
    space = list(CHARGER)[number % 3]
    open_ = await place.rows(OPEN)
    if act == "join":
        await place.act(asks(place, place.units[other], ev=flag, now=now))
    elif act in ("give", "assign"):
        chosen = open_[other % len(open_)]["id"] if open_ and flag else None
        reason = "a test" if number % 2 else None
        await place.act(gives(place, space, chosen, reason, assign=act == "assign", now=now))
    elif act == "direct":
        await place.act(
            lambda connection: assignments.create(
                connection, DESK, place.community, space, place.units[other], now, None, now
            )
        )
    elif act == "lapse":
        await space_requests.follow(place.pool, place.community, now)
    elif act == "free":

        async def freed(connection: Any) -> None:
            given = await assignments.page(connection, place.community, limit=9, space=space)
            for assignment in given:
                held = await assignments.hold(connection, place.community, assignment.id)
                await assignments.delete(connection, DESK, place.community, held, now)

        await place.act(freed)
    else:
        # An answer needs an offer; who leaves may be anybody.
        may = [row["id"] for row in open_ if act == "leave" or row["state"] == "offered"]
        if may:
            await place.act(answers(place, may[other % len(may)], act, now))


async def test_the_list_is_fair_whatever_happens(filled: Database, pool: Any) -> None:
    loop = asyncio.get_running_loop()

    async def run(steps: list[Any]) -> None:
        place = await place_with_spaces(filled, pool)
        names = {
            row["id"]: row["name"] for row in await place.rows("SELECT id, name FROM space WHERE community_id = $1")
        }
        for unit in place.units[:3]:
            await place.act(asks(place, unit))
        before = {row["id"]: row for row in await place.rows(OPEN)}
        for number, step in enumerate(steps):
            now = BASE + timedelta(days=3 * number)
            await play(place, step, now)
            every = await place.rows("SELECT * FROM space_request WHERE community_id = $1 ORDER BY created_at, id")
            passes = await place.rows("SELECT * FROM space_request_pass WHERE community_id = $1")
            for got in every:
                was = before.get(got["id"])
                fresh = was is None or (was["state"], was["space_id"]) != (got["state"], got["space_id"])
                if got["state"] not in ("offered", "assigned") or not fresh:
                    continue
                if was is not None and was["state"] == "offered" and got["state"] == "assigned":
                    continue
                # Whoever came before and waits, and could use it, has a reason, staff's or their own.
                for other in every:
                    earlier = (other["created_at"], other["id"]) < (got["created_at"], got["id"])
                    if not earlier or other["state"] != "waiting":
                        continue
                    if other["ev"] and not CHARGER[names[got["space_id"]]]:
                        continue
                    since = got["round_at"] or now
                    assert any(
                        row["request_id"] == other["id"] and row["space_id"] == got["space_id"] and row["at"] >= since
                        and (row["why"] != "staff" or row["reason"])
                        for row in passes
                    ), (step, dict(got), dict(other))  # fmt: skip
            # No space is two units', or offered while it is somebody's.
            offered = [row["space_id"] for row in every if row["state"] == "offered"]
            owned = await place.rows("SELECT space_id FROM space_assignment WHERE community_id = $1")
            assert len(set(offered)) == len(offered)
            assert not set(offered) & {row["space_id"] for row in owned}
            before = {row["id"]: row for row in every}

    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
    @given(STEPS)
    def plays(steps: list[Any]) -> None:
        asyncio.run_coroutine_threadsafe(run(steps), loop).result(120)

    await asyncio.to_thread(plays)


async def test_at_once_a_space_is_given_once(filled: Database, pool: Any) -> None:
    place = await place_with_spaces(filled, pool)
    for unit in place.units:
        assert await place.act(asks(place, unit)) == "done"
    requests = [row["id"] for row in await place.rows(OPEN)]
    assert await place.act(gives(place, "o1")) == "done"
    late = BASE + space_requests.ANSWER - timedelta(seconds=1)
    outcomes = await asyncio.wait_for(
        asyncio.gather(
            place.act(answers(place, requests[0], "accept", late)),
            place.act(answers(place, requests[0], "decline", late)),
            place.act(place.assign("o1", place.units[0], 0, None)),
            *(place.act(gives(place, space, assign=True)) for space in ("o2", "o3", "o2", "o3")),
            *(space_requests.follow(pool, place.community, late) for _ in range(3)),
            place.act(answers(place, requests[4], "leave", late)),
        ),
        60,
    )
    owned = await place.rows("SELECT space_id, unit_id FROM space_assignment WHERE community_id = $1")
    assert len({row["space_id"] for row in owned}) == len(owned)
    assert len({row["unit_id"] for row in owned}) == len(owned)
    assigned = await place.rows(
        "SELECT unit_id, space_id FROM space_request WHERE community_id = $1 AND state = 'assigned'"
    )
    assert {tuple(sorted(dict(row).items())) for row in assigned} == {tuple(sorted(dict(row).items())) for row in owned}
    assert sorted(outcomes[:2], key=str) in (["done", "over"], ["changed", "done"], ["over", "done"])


async def asked_for_space(administrator: httpx.AsyncClient, unit: str) -> int:
    units = (await administrator.get(f"{HERE}/units")).json()["items"]
    body = {"unit_id": next(item["id"] for item in units if item["name"] == unit)}
    made = await administrator.post(f"{HERE}/space-requests", json=body)
    assert made.status_code == 201, made.text
    return int(made.json()["id"])


async def test_a_resident_sees_their_place_and_takes_what_is_offered(server: Server, people: Any) -> None:
    administrator = await people("administrator@a.example")
    other = await asked_for_space(administrator, "2B")
    own, staffs = "/communities/a/own-space", "/communities/a/space-requests"
    async with (
        visiting(server.web, "resident@a.example") as visitor,
        visiting(server.web, "administrator@a.example") as staff,
    ):
        assert own in (await visitor.get("/communities/a")).text
        key = mark(await visitor.get(own), "idempotency_key")
        for _ in range(2):
            joined = await visitor.send(own, of=own, idempotency_key=key, level="P1")
            assert joined.headers["location"] == f"{own}?done=space-asked"
        assert "number 2 on the list" in (await visitor.get(own)).text
        [_, mine] = (await administrator.get(f"{HERE}/space-requests?open=true")).json()["items"]
        # Residents see their own unit's place alone, and give nothing away.
        resident = await people("resident@a.example")
        assert [item["id"] for item in (await resident.get(f"{HERE}/space-requests")).json()["items"]] == [mine["id"]]
        assert (await resident.post(f"{HERE}/space-requests/{other}/leave")).status_code == 404
        assert (await resident.post(f"{HERE}/space-offers", json={"space": "a-01"})).status_code == 403
        assert "Next: unit 2B" in (await staff.get(staffs)).text
        line = f"{staffs}/spaces/a-01"
        refused = await staff.send(line, of=line, act="offer", request=mine["id"])
        assert "Others have waited longer" in alerts(refused)
        given = await staff.send(line, of=line, act="offer", request=mine["id"], reason="moved out of 3C")
        assert given.headers["location"] == f"{staffs}?done=space-offered"
        assert '<p class="small">a-01, until' in (await staff.get(staffs)).text
        assert "moved out of 3C" in (await staff.get(staffs)).text
        for page in (own, "/communities/a"):
            assert 'data-testid="space-offer"' in (await visitor.get(page)).text
        taken = await visitor.send(f"{own}/{mine['id']}/accept", of=own)
        assert taken.headers["location"] == f"{own}?done=space-taken"
        assert "Your unit has a space of its own." in (await visitor.get(own)).text
        assert "a-01" in (await visitor.get("/communities/a")).text
        left = await staff.send(f"{staffs}/{other}/remove", of=staffs)
        assert left.headers["location"] == f"{staffs}?done=removed"
        again = await staff.send(staffs, of=staffs, unit="2B", level="P1")
        assert again.headers["location"] == f"{staffs}?done=added"


async def test_a_request_is_exported_and_forgotten_with_its_person(server: Server, people: Any, owner: Any) -> None:
    administrator, resident = await people("administrator@a.example"), await people("resident@a.example")
    made = await resident.post(f"{HERE}/space-requests", json={"ev": False, "level": "P1"})
    assert made.status_code == 201, made.text
    assert (await resident.post(f"{HERE}/space-requests", json={"level": "P9"})).status_code == 422
    other = await asked_for_space(administrator, "2B")
    body = {"space": "a-01", "space_request": other, "reason": "their neighbour Ana agrees"}
    given = await administrator.post(f"{HERE}/space-offers", json=body)
    assert given.json()["state"] == "offered", given.text
    ana = next(
        item["id"] for item in (await administrator.get(f"{HERE}/residents")).json()["items"] if item["name"] == "Ana"
    )
    [exported] = (await resident.get(f"{HERE}/residents/{ana}/personal-data")).json()["space_requests"]
    assert (exported["state"], exported["reasons"]) == ("waiting", "their neighbour Ana agrees")
    erased = await administrator.post(f"{HERE}/residents/{ana}/erase", json={"confirm": "resident@a.example"})
    assert erased.status_code == 200, erased.text
    assert [row["resident_id"] for row in await rows(owner, "a", OPEN)] == [None, None]
    assert [row["reason"] for row in await rows(owner, "a", PASSES)] == [None]
    left = await administrator.post(f"{HERE}/space-requests/{made.json()['id']}/leave")
    assert left.status_code == 200, left.text
    gone = await retention.run(owner, datetime.now(UTC) + timedelta(days=31))
    assert gone.rows["space_request"] == 1
    assert [row["id"] for row in await rows(owner, "a", OPEN)] == [other]
