"""Old data is said to be old: spaces of a gateway that is silent are unknown, with the time of the last word."""

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx
import pytest
from page_visitor import Visitor
from parkmesh.server.commands import sample
from running_server import Database
from two_communities import rows

People = Callable[[str], Any]
Gateway = Callable[[str], httpx.AsyncClient]
A = "/api/v1/communities/a"
ADMIN = "administrator@a.example"


async def report(client: httpx.AsyncClient, states: dict[str, str]) -> None:
    now = int(time.time() * 1000)
    events = [
        {"type": "space_state", "seq": seq, "times": {"received": now}, "space": space, "status": status}
        for seq, (space, status) in enumerate(states.items(), 1)
    ]
    assert (await client.post("/edge/v1/events", json={"epoch": 1, "events": events})).status_code == 200


async def fall_silent(owner: Any, minutes: float) -> None:
    await rows(
        owner,
        "a",
        """
        UPDATE gateway SET last_events_at = now() - $2 * interval '1 min',
                           last_heartbeat_at = now() - $2 * interval '1 min' - interval '1 s'
        WHERE community_id = $1 RETURNING id
        """,
        minutes,
    )


@pytest.mark.parametrize(("minutes", "silent"), [(0.0, False), (4.0, False), (6.0, True), (600.0, True)])
async def test_spaces_of_a_silent_gateway_are_unknown_wherever_they_are_shown(
    people: People, gateway: Gateway, admin: Visitor, owner: Any, minutes: float, silent: bool
) -> None:
    client = await people(ADMIN)
    async with gateway("gateway-a") as device:
        await report(device, {"a-01": "free", "a-02": "occupied", "a-03": "free"})
    await fall_silent(owner, minutes)
    found = {space["name"]: space for space in (await client.get(f"{A}/spaces")).json()["items"]}
    assert found["a-01"]["status"] == ("unknown" if silent else "free")
    assert (found["a-01"]["since"] is None) == silent
    # The time of the last word is there in any case; a space that never reported has none.
    assert found["a-01"]["reported_at"] is not None
    assert (found["a-06"]["status"], found["a-06"]["reported_at"]) == ("unknown", None)
    counts = (await client.get(f"{A}/space-counts")).json()
    every = counts["community"]["every"]
    assert (every["free"], every["occupied"], every["unknown"]) == ((0, 0, 6) if silent else (2, 1, 3))
    heard_at = datetime.fromisoformat(counts["heard_at"])
    assert abs(datetime.now(UTC) - timedelta(minutes=minutes) - heard_at) < timedelta(seconds=20)
    occupancy = (await client.get(f"{A}/occupancy")).json()
    assert (occupancy["free"], occupancy["occupied"], occupancy["unknown"]) == ((0, 0, 6) if silent else (2, 1, 3))
    assert occupancy["heard_at"] == counts["heard_at"]
    page = (await admin.get("/communities/a")).text
    assert ('data-testid="count-free">0<' in page) == silent
    assert "Last heard:" in page
    assert "Last heard:" in (await admin.get("/communities/a/map")).text
    export = await client.get(f"{A}/exports/spaces")
    assert ("occupied" in export.text) != silent


async def test_a_gateway_that_is_heard_again_shows_its_spaces_again(
    people: People, gateway: Gateway, owner: Any
) -> None:
    client = await people(ADMIN)
    async with gateway("gateway-a") as device:
        await report(device, {"a-01": "free"})
        await fall_silent(owner, 60)
        beat = {"sent": int(time.time() * 1000), "version": "1", "backlog": 0, "access_list_version": 1}
        assert (await device.post("/edge/v1/heartbeat", json=beat)).status_code == 200
    assert (await client.get(f"{A}/spaces/a-01")).json()["status"] == "free"


async def test_a_community_without_gateways_was_never_heard(people: People, owner: Any) -> None:
    counts = (await (await people(ADMIN)).get(f"{A}/space-counts")).json()
    assert counts["heard_at"] is None


async def test_the_sample_s_gateways_stay_online(db: Database) -> None:
    await sample.fill(db.app, "a password of the sample")
    connection = await asyncpg.connect(db.owner)
    try:
        old = "UPDATE gateway SET last_heartbeat_at = now() - interval '1 h' WHERE community_id = $1 RETURNING id"
        for name in sample.LEVELS:
            assert len(await rows(connection, name, old)) == 1
        beating = asyncio.create_task(sample.keep_alive(db.app))
        fresh = """
        SELECT version FROM gateway WHERE community_id = $1 AND last_heartbeat_at > now() - interval '1 min'
        """
        for name in sample.LEVELS:
            for _ in range(100):
                if found := await rows(connection, name, fresh):
                    break
                await asyncio.sleep(0.05)
            assert "simulated" in found[0]["version"]
        beating.cancel()
    finally:
        await connection.close()
