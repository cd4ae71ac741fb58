"""Searching passages: filters, pages, whose they are and when, and that it stays quick."""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import msgspec
import pytest
from parkmesh.domain.access import decide
from parkmesh.domain.access_index import AccessIndex
from parkmesh.protocol import edge
from parkmesh.server.access import passages
from parkmesh.server.db import database, keyset
from running_server import Database
from two_communities import held_for_long, rows

Gateway = Callable[[str], httpx.AsyncClient]
People = Callable[[str], Any]
PASSAGES = "/api/v1/communities/a/passages"
NOW = int(datetime.now(UTC).timestamp() * 1000)
SEEN: tuple[tuple[str, str, edge.Direction, edge.Decision, int], ...] = (
    ("1234BCD", "main-in", "entry", "granted", 0),
    ("1234BCF", "main-in", "entry", "denied", 1),
    ("5678AXX", "main-out", "exit", "granted", 2),
    ("1234BCD", "main-out", "exit", "granted", 50),
    ("", "main-in", "entry", "denied", 51),
)
"""Plate, gate, direction, decision, and how many hours ago."""


async def credential(owner: Any, plate: str) -> str | None:
    """Return the id of the oldest credential of a plate, as a gateway names it."""
    query = "SELECT min(id)::text AS id FROM credential WHERE community_id = $1 AND plate = $2"
    found: str | None = (await rows(owner, "a", query, plate))[0]["id"]
    return found


@pytest.fixture
async def seen(gateway: Gateway, owner: Any) -> None:
    own = {plate: await credential(owner, plate) for plate, *_ in SEEN}
    events: list[edge.Event] = [
        edge.Passage(
            seq,
            edge.Times(NOW - hours * 3_600_000),
            gate,
            direction,
            plate,
            decision,
            "exact",
            credential_id=own[plate],
        )
        for seq, (plate, gate, direction, decision, hours) in enumerate(SEEN, 1)
    ]
    async with gateway("gateway-a") as client:
        answer = await client.post("/edge/v1/events", content=msgspec.json.encode(edge.EventBatch(1, events)))
        assert answer.status_code == 200


def ago(hours: float) -> str:
    return datetime.fromtimestamp(NOW / 1000 - hours * 3600, UTC).isoformat()


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({}, [0, 1, 2, 3, 4]),
        ({"plate": "1234"}, [0, 1, 3]),
        ({"plate": "12 34-bc"}, [0, 1, 3]),
        ({"plate": "1234bcd"}, [0, 3]),
        ({"plate": "5"}, [2]),
        ({"plate": "%"}, []),
        ({"plate": "1234BC_"}, [0, 1, 3]),
        ({"gate": "main-out"}, [2, 3]),
        ({"gate": "nowhere"}, []),
        ({"direction": "exit", "decision": "granted"}, [2, 3]),
        ({"decision": "denied"}, [1, 4]),
        ({"from": ago(2)}, [0, 1, 2]),
        ({"until": ago(2)}, [3, 4]),
        ({"from": ago(50), "until": ago(1)}, [2, 3]),
    ],
)
@pytest.mark.usefixtures("seen")
async def test_filters(people: People, asked: dict[str, str], found: list[int]) -> None:
    admin = await people("administrator@a.example")
    answer = await admin.get(PASSAGES, params=asked)
    assert answer.status_code == 200, answer.text
    shown = [(item["plate"], item["gate"], item["direction"], item["decision"]) for item in answer.json()["items"]]
    assert shown == [SEEN[number][:4] for number in found]
    # The same in pages of one.
    paged, cursor = [], None
    while cursor is not None or not paged:
        page = (
            await admin.get(PASSAGES, params={"limit": 1, **asked, **({"cursor": cursor} if cursor else {})})
        ).json()
        paged += page["items"]
        cursor = page["next"]
        if not page["items"]:
            break
    assert paged == answer.json()["items"]


@pytest.mark.parametrize(
    "asked",
    [
        {"from": "yesterday"},
        {"from": "2026-01-01T00:00:00"},
        {"direction": "up"},
        {"plate": "x" * 65},
        {"gate": "\u0000"},
    ],
)
async def test_questions_that_make_no_sense(people: People, asked: dict[str, str]) -> None:
    admin = await people("administrator@a.example")
    assert (await admin.get(PASSAGES, params=asked)).status_code == 422


@pytest.mark.usefixtures("seen")
async def test_residents_see_their_units_passages(people: People, owner: Any) -> None:
    await held_for_long(owner)
    resident = await people("resident@a.example")

    async def plates() -> list[str]:
        return [item["plate"] for item in (await resident.get(PASSAGES)).json()["items"]]

    assert await plates() == ["1234BCD", "1234BCD"]
    # Luis moves in with Ana: what their unit's cars do is theirs, and not what they did before.
    await move_in(owner)
    assert await plates() == ["1234BCD", "1234BCD"]
    await rows(owner, "a", "UPDATE resident SET unit_since = now() - interval '9 days' WHERE community_id = $1")
    assert await plates() == ["1234BCD", "5678AXX", "1234BCD"]
    # A filter shows no more than one's own.
    assert (await resident.get(PASSAGES, params={"decision": "denied"})).json()["items"] == []


async def move_in(owner: Any) -> None:
    await rows(
        owner,
        "a",
        """
        UPDATE resident SET unit_id = (SELECT unit_id FROM resident WHERE community_id = $1 AND name = 'Ana')
        WHERE community_id = $1 AND name = 'Luis'
        """,
    )


@pytest.mark.parametrize(
    ("held", "found"),
    [
        ({}, []),
        ({"held_from": 49}, [0]),
        ({"held_from": 51}, [0, 3]),
        ({"held_from": None, "created_at": 51}, [0, 3]),
        ({"held_from": 99, "valid_from": 40}, [0]),
        ({"held_from": 99, "valid_until": 1}, [3]),
        ({"held_from": 99, "status": "revoked", "revoked_at": 1}, [3]),
        ({"held_from": 99, "status": "revoked", "revoked_at": None}, []),
    ],
)
@pytest.mark.usefixtures("seen")
async def test_a_plate_has_other_owners_before_and_after(
    people: People, owner: Any, held: dict[str, Any], found: list[int]
) -> None:
    for column, value in held.items():  # hours ago
        moment = None if value is None else datetime.now(UTC) - timedelta(hours=value) if column != "status" else value
        await rows(
            owner,
            "a",
            f"UPDATE credential SET {column} = $2 WHERE community_id = $1 AND plate = '1234BCD'",  # noqa: S608
            moment,
        )
    resident, admin = await people("resident@a.example"), await people("administrator@a.example")
    items = (await resident.get(PASSAGES)).json()["items"]
    assert [(item["plate"], item["gate"]) for item in items] == [SEEN[number][:2] for number in found]
    (me,) = await rows(owner, "a", "SELECT id FROM resident WHERE community_id = $1 AND name = 'Ana'")
    own = (await resident.get(f"/api/v1/communities/a/residents/{me['id']}/personal-data")).json()
    assert [item["gate"] for item in own["passages"]] == [SEEN[number][1] for number in found]
    assert len((await admin.get(PASSAGES)).json()["items"]) == len(SEEN)
    page = await resident.get("/communities/a/history", headers={"Cookie": cookie(resident)})
    assert page.text.count("passage-reason") == len(found)


def cookie(resident: httpx.AsyncClient) -> str:
    return "parkmesh-session=" + resident.headers["Authorization"].removeprefix("Bearer ")


async def test_a_plate_that_changes_hands_or_letters_begins_anew(people: People, owner: Any) -> None:
    await held_for_long(owner)
    before = await rows(owner, "a", "SELECT id, held_from FROM credential WHERE community_id = $1 ORDER BY id")
    resident = await people("resident@a.example")
    place = f"/api/v1/communities/a/vehicles/{before[0]['id']}"
    answer = await resident.patch(place, json={"label": "blue"}, headers={"If-Match": "*"})
    assert answer.status_code == 200, answer.text
    assert await rows(owner, "a", "SELECT id, held_from FROM credential WHERE community_id = $1 ORDER BY id") == before
    assert (await resident.patch(place, json={"plate": "NEW123"}, headers={"If-Match": "*"})).status_code == 200
    (mine, other) = await rows(owner, "a", "SELECT held_from FROM credential WHERE community_id = $1 ORDER BY id")
    assert datetime.now(UTC) - mine["held_from"] < timedelta(minutes=1)
    assert other["held_from"] == before[1]["held_from"]


async def test_a_visitor_s_car_is_seen_while_its_pass_holds(people: People, owner: Any, gateway: Gateway) -> None:
    resident = await people("resident@a.example")
    begins = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    answer = await resident.post(
        "/api/v1/communities/a/visitor-passes",
        json={"plate": "VISIT1", "from": begins.isoformat(), "until": (begins + timedelta(hours=2)).isoformat()},
    )
    assert answer.status_code == 201, answer.text
    # It was yesterday's: a gateway stores nothing of the future.
    begins -= timedelta(days=1)
    await rows(
        owner,
        "a",
        """
        UPDATE credential SET valid_from = valid_from - interval '1 day', valid_until = valid_until - interval '1 day',
                              created_at = created_at - interval '2 days', held_from = held_from - interval '2 days'
        WHERE community_id = $1 AND plate = 'VISIT1' RETURNING id
        """,
    )
    hours = (-2.0, -0.5, 0.0, 1.9, 2.0, 5.0)  # after it began
    moments = [int((begins + timedelta(hours=hour)).timestamp() * 1000) for hour in hours]
    events: list[edge.Event] = [
        edge.Passage(
            seq,
            edge.Times(at),
            "main-in",
            "entry",
            "VISIT1",
            "granted",
            "exact",
            opened=True,
            credential_id=await credential(owner, "VISIT1"),
        )
        for seq, at in enumerate(moments, 1)
    ]
    async with gateway("gateway-a") as client:
        content = msgspec.json.encode(edge.EventBatch(1, events))
        assert (await client.post("/edge/v1/events", content=content)).status_code == 200
    items = (await resident.get(PASSAGES)).json()["items"]
    shown = [int(datetime.fromisoformat(item["received_at"]).timestamp() * 1000) for item in items]
    assert shown == [moments[3], moments[2]]
    # The plate was last seen after the pass was over: only staff may see where it is.
    assert (await resident.get("/api/v1/communities/a/presence")).json()["items"] == []


async def updates(resident: httpx.AsyncClient) -> AsyncGenerator[list[str]]:
    """Yield the plates of each update of a live page."""
    headers = {"Cookie": cookie(resident)}
    async with resident.stream("GET", "/communities/a/stream", headers=headers) as response:
        assert response.status_code == 200
        async for line in response.aiter_lines():
            if line.startswith("data: {"):
                found = json.loads(line.removeprefix("data: ")).get("passages", [])
                yield [row["plate"] for row in found]


async def test_what_a_live_page_shows_ends_with_the_plate(people: People, owner: Any, gateway: Gateway) -> None:
    resident, admin = await people("resident@a.example"), await people("administrator@a.example")
    mine, every, own = updates(resident), updates(admin), await credential(owner, "1234BCD")
    async with gateway("gateway-a") as client, asyncio.timeout(20):

        async def drive(seq: int) -> None:
            now = edge.Times(int(datetime.now(UTC).timestamp() * 1000))
            event = edge.Passage(
                seq, now, "main-in", "entry", "1234BCD", "granted", "exact", opened=True, credential_id=own
            )
            content = msgspec.json.encode(edge.EventBatch(1, [event]))
            assert (await client.post("/edge/v1/events", content=content)).status_code == 200

        await anext(mine)
        await anext(every)
        await drive(1)
        assert await anext(mine) == await anext(every) == ["1234BCD"]
        # The page stays open, and shows only what the resident may see now.
        answer = await admin.put(
            "/api/v1/communities/a/credentials/1234BCD", json={"status": "revoked"}, headers={"If-Match": "*"}
        )
        assert answer.status_code in (200, 204), answer.text
        await asyncio.sleep(1)
        await drive(2)
        assert await anext(every) == ["1234BCD"]
        restored = await admin.put(
            "/api/v1/communities/a/credentials/1234BCD", json={"status": "active"}, headers={"If-Match": "*"}
        )
        assert restored.status_code in (200, 204)
        await asyncio.sleep(1)
        await drive(3)
        assert await anext(mine) == ["1234BCD"]
    await mine.aclose()
    await every.aclose()


@pytest.mark.usefixtures("seen")
async def test_a_pass_for_a_neighbour_s_car_is_no_way_to_follow_it(people: People, owner: Any) -> None:
    await held_for_long(owner)
    resident = await people("resident@a.example")
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    answer = await resident.post(
        "/api/v1/communities/a/visitor-passes",
        json={
            "plate": "5678AXX",
            "from": tomorrow.isoformat(),
            "until": (tomorrow + timedelta(hours=2)).isoformat(),
        },
    )
    assert answer.status_code == 201, answer.text
    shown = [item["plate"] for item in (await resident.get(PASSAGES)).json()["items"]]
    assert shown == ["1234BCD", "1234BCD"]


async def test_a_neighbour_s_visitor_is_not_seen_by_registering_the_plate(
    people: People, owner: Any, gateway: Gateway
) -> None:
    await held_for_long(owner)
    resident, admin = await people("resident@a.example"), await people("administrator@a.example")
    units = await rows(owner, "a", "SELECT name, id FROM unit WHERE community_id = $1")
    now = datetime.now(UTC)
    answer = await admin.post(
        "/api/v1/communities/a/visitor-passes",
        json={
            "plate": "7777KKK",
            "unit_id": next(unit["id"] for unit in units if unit["name"] == "2B"),
            "from": now.isoformat(),
            "until": (now + timedelta(hours=2)).isoformat(),
        },
    )
    assert answer.status_code == 201, answer.text
    # The resident may not have it,
    taken = await resident.post("/api/v1/communities/a/vehicles", json={"plate": "7777 KKK", "label": "mine"})
    assert (taken.status_code, taken.json()["type"]) == (409, "urn:parkmesh:problem:plate-not-available")
    own = (await resident.get("/api/v1/communities/a/vehicles")).json()["items"][0]
    place = f"/api/v1/communities/a/vehicles/{own['id']}"
    changed = await resident.patch(place, json={"plate": "7777KKK"}, headers={"If-Match": "*"})
    assert changed.status_code == 409
    # and one who had it before, or got it from staff, sees no passage that the visitor's credential decided.
    await rows(
        owner,
        "a",
        """
        INSERT INTO credential (community_id, plate, resident_id, held_from)
        SELECT community_id, '7777KKK', id, '2020-01-01Z' FROM resident WHERE community_id = $1 AND name = 'Ana'
        """,
    )
    visitors = await credential(owner, "7777KKK")
    mine, every = updates(resident), updates(admin)
    async with gateway("gateway-a") as client, asyncio.timeout(20):
        listed = edge_list(await client.get("/edge/v1/access-list"))
        decision = decide("7777KKK", AccessIndex(listed), int(now.timestamp() * 1000) + 60_000)
        assert (decision.outcome, decision.credential_id) == ("granted", visitors)
        await anext(mine)
        await anext(every)
        at = edge.Times(int(now.timestamp() * 1000) + 1000)
        events: list[edge.Event] = [
            edge.Passage(1, at, "main-in", "entry", "7777KKK", "granted", "exact", True, visitors),
            edge.Passage(2, at, "main-in", "entry", "1234BCD", "granted", "exact", True, str(own["id"])),
        ]
        content = msgspec.json.encode(edge.EventBatch(1, events))
        assert (await client.post("/edge/v1/events", content=content)).status_code == 200
        assert sorted(await anext(every)) == ["1234BCD", "7777KKK"]
        assert await anext(mine) == ["1234BCD"]
    await mine.aclose()
    await every.aclose()
    assert [item["plate"] for item in (await resident.get(PASSAGES)).json()["items"]] == ["1234BCD"]
    page = await resident.get("/communities/a/history", headers={"Cookie": cookie(resident)})
    assert page.text.count("passage-reason") == 1
    inside = (await resident.get("/api/v1/communities/a/presence")).json()["items"]
    assert [item["plate"] for item in inside] == ["1234BCD"]
    (me,) = await rows(owner, "a", "SELECT id FROM resident WHERE community_id = $1 AND name = 'Ana'")
    given = (await resident.get(f"/api/v1/communities/a/residents/{me['id']}/personal-data")).json()
    assert [item["plate"] for item in given["passages"]] == ["1234BCD"]
    assert [item["plate"] for item in given["presence"]] == ["1234BCD"]
    # Staff correct where the visitor's car is: that is no word on the resident's car either.
    where = "/api/v1/communities/a/presence/7777KKK"
    corrected = await admin.put(where, json={"inside": True, "reason": "seen there"}, headers={"If-Match": "*"})
    assert corrected.status_code == 200
    inside = (await resident.get("/api/v1/communities/a/presence")).json()["items"]
    assert [item["plate"] for item in inside] == ["1234BCD"]


def edge_list(answer: httpx.Response) -> list[edge.AccessEntry]:
    return msgspec.json.decode(answer.content, type=edge.AccessList).entries


async def test_a_search_by_plate_reads_an_index_and_lately_leaves_partitions_out(filled: Database, owner: Any) -> None:
    (community,) = await rows(owner, "a", "SELECT id FROM community WHERE id = $1")
    async with (
        database.create_pool(filled.app, "test", 1) as pool,
        database.in_community(pool, community["id"]) as connection,
    ):
        await connection.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off")
        # Today only: in the first hour of a day an hour back is yesterday's, which is in the partition of the past.
        since = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        arguments = (community["id"], since, passages._END, 0, *([None] * 5), 50, *([None] * 4))
        lately = await connection.fetch(f"EXPLAIN {passages._query(keyset.ON)}", *arguments)
        assert not any("passage_past" in line[0] for line in lately)
        # Row-level security lets the comparison into the index, since it gives nothing away; LIKE it would not.
        by_plate = await connection.fetch(
            "EXPLAIN SELECT FROM passage WHERE community_id = $1 AND plate ~>=~ '1234' AND plate ~<~ '1235'",
            community["id"],
        )
        conditions = [line[0] for line in by_plate if "Index Cond" in line[0]]
        assert conditions
        assert all("plate ~>=~ '1234'" in condition for condition in conditions)
