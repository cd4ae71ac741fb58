"""How full a community is, by level and by kind of space."""

import time
from collections.abc import Callable
from typing import Any

import httpx
from page_visitor import Visitor
from two_communities import rows

Gateway = Callable[[str], httpx.AsyncClient]
People = Callable[[str], Any]
COUNTS = "/api/v1/communities/a/space-counts"
NONE = [0, 0, 0]


def shown(counts: dict[str, Any]) -> dict[str, list[int]]:
    """Return free, occupied and unknown by kind, without the kinds of which there are none."""
    by_kind = {kind: list(count.values()) for kind, count in counts.items() if isinstance(count, dict)}
    return {kind: count for kind, count in by_kind.items() if count != NONE}


async def test_spaces_are_counted_by_level_and_kind(people: People, gateway: Gateway, owner: Any) -> None:
    admin, resident = await people("administrator@a.example"), await people("resident@a.example")
    for name, members in (
        ("v-1", {"level": "P0", "category": "visitor", "accessible": True}),
        ("s-1", {"level": "P0", "category": "shared", "ev": True}),
        ("s-2", {"level": "P1", "category": "shared", "ev": True, "accessible": True}),
    ):
        assert (await admin.post("/api/v1/communities/a/spaces", json={"name": name, **members})).status_code == 201
    assert (
        await admin.post("/api/v1/communities/a/levels", json={"name": "roof", "ordinal": 5, "width": None})
    ).status_code == 201
    await rows(owner, "a", "UPDATE level SET ordinal = -1 WHERE community_id = $1 AND name = 'P1'")
    # A word of an earlier release for a kind of space.
    await rows(owner, "a", "UPDATE space SET category = 'ev' WHERE community_id = $1 AND name = 'a-06'")
    states = {"a-01": "occupied", "a-02": "free", "a-03": "unknown", "s-2": "free", "v-1": "occupied"}
    events = [
        {"type": "space_state", "seq": seq, "times": {"received": seq}, "space": space, "status": status}
        for seq, (space, status) in enumerate(states.items(), 1)
    ]
    async with gateway("gateway-a") as client:
        assert (await client.post("/edge/v1/events", json={"epoch": 1, "events": events})).status_code == 200

    answer = await admin.get(COUNTS)
    assert answer.status_code == 200, answer.text
    counts = answer.json()
    assert shown(counts["community"]) == {
        "every": [2, 2, 5],
        "assigned": [1, 1, 3],
        "shared": [1, 0, 2],
        "visitor": [0, 1, 0],
        "ev": [1, 0, 2],
        "accessible": [1, 1, 0],
    }
    assert [(level["level"], shown(level)) for level in counts["levels"]] == [
        ("P1", {"every": [2, 1, 4], "assigned": [1, 1, 3], "shared": [1, 0, 1], "ev": [1, 0, 1],
                "accessible": [1, 0, 0]}),
        ("P0", {"every": [0, 1, 1], "shared": [0, 0, 1], "visitor": [0, 1, 0], "ev": [0, 0, 1],
                "accessible": [0, 1, 0]}),
        ("roof", {}),
    ]  # fmt: skip
    # A resident is told the same of the spaces that anybody may use, and nothing of those of others.
    answer = await resident.get(COUNTS)
    assert answer.status_code == 200, answer.text
    seen = shown(answer.json()["community"])
    assert seen == shown(counts["community"]) | {"every": [1, 1, 7], "assigned": [0, 0, 5]}
    other = await people("administrator@b.example")
    assert (await other.get(COUNTS)).status_code == 404
    assert shown((await other.get("/api/v1/communities/b/space-counts")).json()["community"])["every"] == [0, 0, 6]


async def test_vehicles_counted_at_the_ways_in_and_out(people: People, gateway: Gateway, admin: Visitor) -> None:
    client, resident = await people("administrator@a.example"), await people("resident@a.example")
    began = 1_700_000_000_000
    garage = {"name": "garage", "since": began, "entries": 30, "exits": 10, "known": True, "capacity": 25}

    async def counted(*counters: dict[str, Any]) -> dict[str, Any] | None:
        beat = {"sent": int(time.time() * 1000), "version": "1", "backlog": 0, "access_list_version": 1}
        async with gateway("gateway-a") as device:
            answer = await device.post("/edge/v1/heartbeat", json={**beat, "counters": counters})
            assert answer.json()["takes_counters"], answer.text
        found: list[dict[str, Any]] = (await client.get(COUNTS)).json()["counters"]
        return found[0] if found else None

    def number(counter: dict[str, Any] | None) -> tuple[Any, ...]:
        assert counter is not None
        return counter["status"], counter["vehicles"], counter["free"], counter["drifted"]

    assert number(await counted(garage | {"told": began + 5000})) == ("known", 20, 5, False)
    # A heartbeat that was overtaken has less, and changes nothing.
    assert number(await counted(garage | {"entries": 29})) == ("known", 20, 5, False)
    assert number(await counted(garage | {"known": False})) == ("unknown", None, None, False)
    # A new spool counts from zero: what was inside still is.
    anew = {"name": "garage", "since": began + 9, "entries": 1, "exits": 0, "known": True, "capacity": 25}
    assert number(await counted(anew)) == ("known", 21, 4, False)
    assert number(await counted(anew | {"exits": 23})) == ("known", 0, 25, True), "below zero: some were missed"

    path = "/api/v1/communities/a/counters/garage"
    tag = (await client.get(path)).headers["ETag"]
    seven = {"vehicles": 7, "reason": "counted them"}
    assert (await client.put(path, json=seven)).status_code == 428
    answer = await client.put(path, json=seven, headers={"If-Match": tag})
    assert (answer.status_code, answer.json()["vehicles"], answer.json()["drifted"]) == (200, 7, False)
    assert (await client.put(path, json=seven, headers={"If-Match": tag})).status_code == 412, "corrected since"
    assert number(await counted(anew | {"entries": 3, "exits": 23})) == ("known", 9, 16, False)
    act = (await client.get("/api/v1/communities/a/audit?object=counter/garage")).json()["items"][0]
    assert (act["action"], act["detail"]) == ("counter.correct", {"counted": -2, **seven})

    page = (await admin.get("/communities/a/gates")).text
    assert 'data-testid="counter-garage">9 of 25<' in page
    fields = {"counter": "garage", "vehicles": "12", "counter_reason": "counted again"}
    sent = await admin.send("/communities/a/counters", of="/communities/a/gates", **fields)
    assert sent.status_code == 303, sent.text
    assert (await client.get(path)).json()["vehicles"] == 12
    assert (await client.put(f"{path}-b", json=seven, headers={"If-Match": "*"})).status_code == 404

    assert (await resident.get(COUNTS)).json()["counters"] == [], "a small counter tells who comes and goes"
    assert (await resident.get(path)).status_code == 403
    other = await people("administrator@b.example")
    assert (await other.get("/api/v1/communities/b/space-counts")).json()["counters"] == []
    assert await counted() is None, "a counter that is no longer in the configuration is gone"


async def test_counters_of_one_name_at_two_gateways_are_one(owner: Any, people: People) -> None:
    client = await people("administrator@a.example")
    await rows(
        owner,
        "a",
        """
        WITH second AS (
            INSERT INTO gateway (community_id, name, token_sha256)
                VALUES ($1, 'gateway-a2', sha256('second')) RETURNING id
        ), heard AS (
            UPDATE gateway SET last_heartbeat_at = now() WHERE community_id = $1 RETURNING id
        )
        INSERT INTO counter (community_id, gateway_id, name, since, entries, exits, known)
            SELECT $1, id, 'garage', now(), 5, 2, true FROM heard
            UNION ALL SELECT $1, id, 'garage', now(), 0, 1, true FROM second
        """,
    )
    [counter] = (await client.get(COUNTS)).json()["counters"]
    assert (counter["status"], counter["vehicles"]) == ("unknown", None), "one of them was never heard"
    await rows(owner, "a", "UPDATE gateway SET last_heartbeat_at = now() WHERE community_id = $1")
    [counter] = (await client.get(COUNTS)).json()["counters"]
    assert (counter["vehicles"], counter["entries"], counter["exits"]) == (2, 5, 3)
    path = "/api/v1/communities/a/counters/garage"
    body = {"vehicles": 4, "reason": "counted them"}
    assert (await client.put(path, json=body, headers={"If-Match": "*"})).json()["vehicles"] == 4
