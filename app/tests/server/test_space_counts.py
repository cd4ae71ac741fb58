"""How full a community is, by level and by kind of space."""

from collections.abc import Callable
from typing import Any

import httpx
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
