"""What residents see of spaces that belong to neighbours: where they are, never whether a car is in them."""

import asyncio
import json
from collections.abc import AsyncGenerator, Callable
from typing import Any

import httpx
import pytest
from page_visitor import Visitor
from two_communities import rows

People = Callable[[str], Any]
Gateway = Callable[[str], httpx.AsyncClient]
A = "/api/v1/communities/a"
OWN, NEIGHBOURS, NOBODYS, SHARED, VISITORS = "a-01", "a-02", "a-03", "a-04", "a-05"
HIDDEN = (NEIGHBOURS, NOBODYS)
ALL = (OWN, *HIDDEN, SHARED, VISITORS)


def states(first: int, status: str, *names: str) -> dict[str, Any]:
    """Return a gateway's message, numbered from ``first``: these spaces (all) have this state."""
    events = [
        {"type": "space_state", "seq": seq, "times": {"received": seq}, "space": space, "status": status}
        for seq, space in enumerate(names or ALL, first)
    ]
    return {"epoch": 1, "events": events}


async def report(client: httpx.AsyncClient, message: dict[str, Any]) -> None:
    answer = await client.post("/edge/v1/events", json=message)
    assert (answer.status_code, answer.json()["acked"]) == (200, message["events"][-1]["seq"]), answer.text


@pytest.fixture
async def full(owner: Any, gateway: Gateway) -> None:
    """Give the resident's unit and a neighbour's one space each, and occupy all spaces."""
    for space, unit in ((OWN, "1A"), (NEIGHBOURS, "2B")):
        await rows(
            owner,
            "a",
            """
            INSERT INTO space_assignment (community_id, space_id, unit_id, starts_at)
            SELECT $1, s.id, u.id, now() - interval '1 day' FROM space s JOIN unit u USING (community_id)
            WHERE community_id = $1 AND s.name = $2 AND u.name = $3
            """,
            space,
            unit,
        )
    for space, category in ((SHARED, "shared"), (VISITORS, "visitor")):
        await rows(owner, "a", "UPDATE space SET category = $3 WHERE community_id = $1 AND name = $2", space, category)
    async with gateway("gateway-a") as client:
        await report(client, states(1, "occupied"))


@pytest.mark.usefixtures("full")
async def test_the_api_hides_whether_a_neighbour_is_at_home(people: People) -> None:
    resident, admin = await people("resident@a.example"), await people("administrator@a.example")
    for client, hidden in ((resident, HIDDEN), (admin, ())):
        listed = {item["name"]: item for item in (await client.get(f"{A}/spaces")).json()["items"]}
        for name in ALL:
            read = (await client.get(f"{A}/spaces/{name}")).json()
            assert read == listed[name]
            shown = (read["status"], read["since"] is None, read["reported_at"] is None)
            assert shown == (("unknown", True, True) if name in hidden else ("occupied", False, False)), name
        assert listed[OWN]["unit"] == "1A"
    assert {item["unit"] for item in (await resident.get(f"{A}/spaces")).json()["items"]} == {"1A", None}


@pytest.mark.usefixtures("full")
async def test_counts_of_residents_say_nothing_of_neighbours_spaces(people: People, gateway: Gateway) -> None:
    resident = await people("resident@a.example")
    counts = (await resident.get(f"{A}/space-counts")).json()
    (level,) = [item for item in counts["levels"] if item["level"] == "P1"]
    for found in (counts["community"], level):
        # Their own one, the shared one and the visitors'; the rest of the six counts as unknown.
        assert found["every"] == {"free": 0, "occupied": 3, "unknown": 3}
        assert found["assigned"] == {"free": 0, "occupied": 1, "unknown": 3}
        assert (found["shared"]["occupied"], found["visitor"]["occupied"]) == (1, 1)
    async with gateway("gateway-a") as client:
        await report(client, states(6, "free", NEIGHBOURS))
    after = (await resident.get(f"{A}/space-counts")).json()
    assert after["community"] == counts["community"]
    assert after["levels"] == counts["levels"]


async def tiles(client: httpx.AsyncClient) -> AsyncGenerator[dict[str, str]]:
    """Yield the spaces of each update of a live page by name."""
    cookie = "parkmesh-session=" + client.headers["authorization"].removeprefix("Bearer ")
    async with client.stream("GET", "/communities/a/stream", headers={"Cookie": cookie}) as page:
        assert page.status_code == 200
        async for line in page.aiter_lines():
            if line.startswith("data: {"):
                found = json.loads(line.removeprefix("data: ")).get("spaces", [])
                yield {tile["name"]: tile["status"] for tile in found}


@pytest.mark.usefixtures("full")
async def test_the_live_stream_hides_it_too(people: People, gateway: Gateway, owner: Any) -> None:
    mine, every = tiles(await people("resident@a.example")), tiles(await people("administrator@a.example"))
    async with gateway("gateway-a") as client, asyncio.timeout(20):
        assert await anext(mine) == {OWN: "occupied", SHARED: "occupied", VISITORS: "occupied"}
        assert (await anext(every)).keys() == {*ALL, "a-06"}
        # Not even that something happened: the next that the resident hears is of the shared space.
        await report(client, states(6, "free", NEIGHBOURS))
        assert await anext(every) == {NEIGHBOURS: "free"}
        await report(client, states(7, "free", SHARED))
        assert await anext(mine) == await anext(every) == {SHARED: "free"}
        # Of a unit that they move to, they see the space.
        await rows(
            owner,
            "a",
            """
            UPDATE resident SET unit_id = (SELECT id FROM unit WHERE community_id = $1 AND name = '2B')
            WHERE community_id = $1 AND email = 'resident@a.example'
            """,
        )
        await asyncio.sleep(1)
        await report(client, states(8, "free", OWN))
        assert await anext(every) == {OWN: "free"}
        await report(client, states(9, "occupied"))
        assert await anext(mine) == {NEIGHBOURS: "occupied", SHARED: "occupied"}


@pytest.mark.usefixtures("full")
async def test_a_live_stream_that_served_staff_alone_hides_it_from_the_resident_who_joins(
    people: People, gateway: Gateway
) -> None:
    every = tiles(await people("administrator@a.example"))
    async with gateway("gateway-a") as client, asyncio.timeout(20):
        assert (await anext(every)).keys() == {*ALL, "a-06"}
        mine = tiles(await people("resident@a.example"))
        assert await anext(mine) == {OWN: "occupied", SHARED: "occupied", VISITORS: "occupied"}
        await report(client, states(6, "free", NEIGHBOURS))
        await report(client, states(7, "free", SHARED))
        assert await anext(mine) == {SHARED: "free"}


@pytest.mark.usefixtures("full")
async def test_pages_hide_it_also_where_they_refuse_something(resident: Visitor) -> None:
    home = "/communities/a"
    for page in (
        await resident.get(home),
        await resident.send(f"{home}/gates/main-in/open", of="/account", reason=""),
        await resident.send(f"{home}/gates/main-in/open", of="/account", reason="a guest waits"),
    ):
        shown = page.text
        for name in HIDDEN:
            assert f'data-name="{name}"' not in shown
            assert f'aria-label="{name} · Occupied"' not in shown
            assert f'data-space="{name}" data-status' not in shown
