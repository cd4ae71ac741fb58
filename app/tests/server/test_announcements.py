"""What servers tell each other of events that came in."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import asyncpg
import httpx
import pytest
from page_visitor import visiting
from parkmesh.server.db import database
from parkmesh.server.edge.announcements import Announcements
from parkmesh.server.web import live
from running_server import Database, Server
from test_edge_api import batch, passage, state
from two_communities import rows


@pytest.fixture
async def heard(filled: Database) -> AsyncIterator["asyncio.Queue[str]"]:
    """Return the payloads that another server hears."""
    payloads: asyncio.Queue[str] = asyncio.Queue()
    connection = await asyncpg.connect(filled.app)
    await connection.add_listener("parkmesh_live", lambda *told: payloads.put_nowait(told[3]))
    yield payloads
    await connection.close()


async def within(heard: "asyncio.Queue[str]", count: int) -> list[str]:
    async with asyncio.timeout(5):
        return [await heard.get() for _ in range(count)]


async def identity(owner: Any, community: str) -> int:
    (found,) = await rows(owner, community, "SELECT id FROM community WHERE id = $1")
    return int(found["id"])


async def test_what_a_batch_changed_is_told_once_it_is_stored(
    gateway: Callable[[str], httpx.AsyncClient], owner: Any, heard: "asyncio.Queue[str]"
) -> None:
    a, b = await identity(owner, "a"), await identity(owner, "b")
    async with gateway("gateway-a") as of_a, gateway("gateway-b") as of_b:
        answers = [
            await of_a.post("/edge/v1/events", json=batch(1, passage(1))),
            await of_b.post("/edge/v1/events", json=batch(1, state(1, "free", space="b-01"))),
        ]
        assert [answer.status_code for answer in answers] == [200, 200]
        assert set(await within(heard, 2)) == {f"{a}:p", f"{b}:s"}
        # The server that stored it may have died before it told: the repeated batch tells again.
        await of_a.post("/edge/v1/events", json=batch(1, passage(1)))
        assert await within(heard, 1) == [f"{a}:p"]


async def test_what_changes_meanwhile_is_told_together(filled: Database, heard: "asyncio.Queue[str]") -> None:
    async with database.create_pool(filled.app, "test", 1) as pool:
        announcements = Announcements(pool)
        for community, what in ((1, "p"), (2, "s"), (1, "ps"), (3, "g")):
            announcements.changed(community, what)
        assert await announcements.tell()
        assert set(await within(heard, 3)) == {"1:ps", "2:s", "3:g"}
        assert await announcements.tell()
        assert heard.empty()


async def test_what_could_not_be_told_is_told_later(filled: Database, heard: "asyncio.Queue[str]") -> None:
    pool = database.create_pool(filled.app, "test", 1)
    announcements = Announcements(pool)
    announcements.changed(1, "p")
    # A pool that isn't open: as while the database is away.
    assert not await announcements.tell()
    announcements.changed(1, "g")
    async with pool:
        assert await announcements.tell()
        (told,) = await within(heard, 1)
    assert set(told.removeprefix("1:")) == {"p", "g"}


async def test_what_was_being_told_when_the_server_ends_is_told_at_its_end(
    filled: Database, heard: "asyncio.Queue[str]"
) -> None:
    async with database.create_pool(filled.app, "test", 1) as pool:
        announcements = Announcements(pool)
        announcements.changed(1, "p")
        async with pool.acquire():
            telling = asyncio.create_task(announcements.run())
            await asyncio.sleep(0.3)
            telling.cancel()
            await asyncio.wait([telling])
        assert await announcements.tell()
        assert await within(heard, 1) == ["1:p"]


async def beats(client: httpx.AsyncClient) -> None:
    """Send one heartbeat after the other, each of which changes what a page shows of the gateway."""
    beat = {"version": "1.0", "access_list_version": 0, "silent_cameras": []}
    for backlog in range(1_000_000):
        sent = int(time.time() * 1000)
        await client.post("/edge/v1/heartbeat", json={**beat, "sent": sent, "backlog": backlog})
        await asyncio.sleep(0.05)


async def until(lines: AsyncIterator[str], text: str) -> None:
    async with asyncio.timeout(10):
        async for line in lines:
            if text in line:
                return
    pytest.fail(f"the stream ended without {text}")


async def test_a_page_finds_what_nobody_announced_whatever_else_it_hears(
    server: Server, gateway: Callable[[str], httpx.AsyncClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "IDLE_S", 1.0)
    monkeypatch.setattr(live, "PING_S", 0.2)
    monkeypatch.setattr(Announcements, "changed", lambda *_: None)
    async with visiting(server.web, "administrator@a.example") as admin, gateway("gateway-a") as client:
        beating = asyncio.create_task(beats(client))
        async with admin.client.stream("GET", "/communities/a/stream") as page:
            lines = page.aiter_lines()
            await until(lines, "data: ")
            await client.post("/edge/v1/events", json=batch(1, passage(1, plate="7777KKK")))
            await until(lines, "7777KKK")
        beating.cancel()


async def test_a_page_hears_that_we_are_there_while_all_that_happens_is_for_others(
    server: Server, gateway: Callable[[str], httpx.AsyncClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "PING_S", 1.0)

    async def drive(client: httpx.AsyncClient) -> None:
        for seq in range(1, 1_000_000):
            await client.post("/edge/v1/events", json=batch(1, passage(seq, plate="7777KKK")))
            await asyncio.sleep(0.05)

    async with visiting(server.web, "resident@a.example") as resident, gateway("gateway-a") as client:
        driving = asyncio.create_task(drive(client))
        async with resident.client.stream("GET", "/communities/a/stream") as page:
            await until(page.aiter_lines(), ": still here")
        driving.cancel()
