"""Searching passages: filters, pages, whose they are, and that it stays quick."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import msgspec
import pytest
from parkmesh.protocol import edge
from parkmesh.server import database, passages
from running_server import Database
from two_communities import rows

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


@pytest.fixture
async def seen(gateway: Gateway) -> None:
    events: list[edge.Event] = [
        edge.Passage(seq, edge.Times(NOW - hours * 3_600_000), gate, direction, plate, decision, "exact")
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
    resident = await people("resident@a.example")

    async def plates() -> list[str]:
        return [item["plate"] for item in (await resident.get(PASSAGES)).json()["items"]]

    assert await plates() == ["1234BCD", "1234BCD"]
    # Luis moves in with Ana: what their unit's cars did is theirs.
    await rows(
        owner,
        "a",
        """
        UPDATE resident SET unit_id = (SELECT unit_id FROM resident WHERE community_id = $1 AND name = 'Ana')
        WHERE community_id = $1 AND name = 'Luis'
        """,
    )
    assert await plates() == ["1234BCD", "5678AXX", "1234BCD"]
    # A filter shows no more than one's own.
    assert (await resident.get(PASSAGES, params={"decision": "denied"})).json()["items"] == []


@pytest.mark.usefixtures("seen")
async def test_a_pass_for_a_neighbour_s_car_is_no_way_to_follow_it(people: People) -> None:
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


async def test_a_search_by_plate_reads_an_index_and_lately_leaves_partitions_out(filled: Database, owner: Any) -> None:
    (community,) = await rows(owner, "a", "SELECT id FROM community WHERE id = $1")
    async with (
        database.create_pool(filled.app, "test", 1) as pool,
        database.in_community(pool, community["id"]) as connection,
    ):
        await connection.execute("SET LOCAL enable_seqscan = off; SET LOCAL enable_bitmapscan = off")
        since = datetime.now(UTC) - timedelta(hours=1)

        arguments = (community["id"], since, passages._END, 0, *([None] * 6), 50)
        lately = await connection.fetch(f"EXPLAIN {passages._QUERY}", *arguments)
        assert not any("passage_past" in line[0] for line in lately)
        # Row-level security lets the comparison into the index, since it gives nothing away; LIKE it would not.
        by_plate = await connection.fetch(
            "EXPLAIN SELECT FROM passage WHERE community_id = $1 AND plate ~>=~ '1234' AND plate ~<~ '1235'",
            community["id"],
        )
        conditions = [line[0] for line in by_plate if "Index Cond" in line[0]]
        assert conditions
        assert all("plate ~>=~ '1234'" in condition for condition in conditions)
