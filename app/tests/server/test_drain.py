"""The end of a server: readiness goes first, work in flight ends, streams are told to go elsewhere, and it leaves the
list of servers. And that list while servers live."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx
import pytest
from parkmesh.server import servers
from parkmesh.server.db import database
from parkmesh.server.http import sockets
from running_server import Database, Server, serving, settings
from two_communities import PASSWORD, TOKENS, rows

DRAIN_S = 1.5
DESK = "desk@parkmesh.example"
BEAT = {"sent": 1, "version": "1", "backlog": 0, "access_list_version": 0}
EVENTS = {
    "epoch": 1,
    "events": [{"type": "space_state", "seq": 1, "times": {"received": 1}, "space": "a-01", "status": "free"}],
}


@pytest.fixture
async def draining(filled: Database) -> AsyncIterator[Server]:
    """Return a server that drains for a while once it is stopped."""
    async with serving(settings(filled.app, PARKMESH_DRAIN_SECONDS=str(DRAIN_S))) as running:
        yield running


def edge_client(server: Server, gateway: str = "gateway-a") -> httpx.AsyncClient:
    return httpx.AsyncClient(
        base_url=server.edge, headers={"Authorization": f"Bearer {TOKENS[gateway]}"}, timeout=httpx.Timeout(20)
    )


@asynccontextmanager
async def desk(server: Server) -> AsyncIterator[httpx.AsyncClient]:
    """Sign the desk in, for pages and for the API."""
    async with httpx.AsyncClient(base_url=server.web, timeout=20) as client:
        answer = await client.post("/api/v1/sessions", json={"email": DESK, "password": PASSWORD})
        token = answer.json()["token"]
        client.headers.update({"Authorization": f"Bearer {token}", "Cookie": f"parkmesh-session={token}"})
        yield client


async def until(condition: Callable[[], Any], what: str) -> None:
    """Wait until an asynchronous condition holds."""
    for _ in range(500):
        if await condition():
            return
        await asyncio.sleep(0.02)
    pytest.fail(f"never: {what}")


async def test_while_it_drains_it_is_not_ready_and_still_works(draining: Server, owner: Any) -> None:
    async with desk(draining) as person, edge_client(draining) as gateway:
        draining.stop.set()
        await until(lambda: _status(person, "/readyz", 503), "not ready")
        assert (await person.get("/readyz")).json() == {"status": "draining"}
        # Alive is another question than ready: a supervisor must not restart a server that is about to end in order.
        assert (await person.get("/healthz")).status_code == 200
        assert (await person.get("/api/v1/communities/a/spaces")).status_code == 200
        assert (await gateway.post("/edge/v1/events", json=EVENTS)).json() == {"epoch": 1, "acked": 1}
        assert (await gateway.post("/edge/v1/heartbeat", json=BEAT)).status_code == 200
        await until(lambda: owner.fetchval("SELECT draining FROM server"), "said to the gateways")
        assert not draining.task.done()
        await draining.task
    assert await owner.fetchval("SELECT count(*) FROM server") == 0


async def _status(client: httpx.AsyncClient, path: str, status: int) -> bool:
    return (await client.get(path)).status_code == status


async def test_streams_are_told_to_reconnect_and_end(draining: Server) -> None:
    async with (
        desk(draining) as person,
        edge_client(draining) as gateway,
        person.stream("GET", "/communities/a/stream") as page,
        gateway.stream("GET", "/edge/v1/stream") as edge_stream,
    ):
        page_lines, edge_lines = page.aiter_lines(), edge_stream.aiter_lines()
        assert (await anext(page_lines)).startswith("retry:")
        assert await anext(edge_lines) == "event: access-list"
        draining.stop.set()
        assert "event: reconnect" in [line async for line in page_lines]
        # A gateway's stream ends cleanly, without a frame cut in two; the gateway tries the next server.
        rest = [line async for line in edge_lines]
        assert rest[-1] == ""
        await draining.task


async def test_a_request_in_flight_is_answered(draining: Server, filled: Database, owner: Any) -> None:
    """The request waits for a row that another transaction holds, until the listeners have begun to close."""
    async with edge_client(draining) as gateway:
        async with owner.transaction():
            await database.set_scope(owner, "provision")
            identity = await owner.fetchval("SELECT id FROM community WHERE name = 'a'")
            await database.set_community(owner, identity)
            await owner.execute("SELECT FROM gateway WHERE community_id = $1 FOR UPDATE", identity)
            posting = asyncio.create_task(gateway.post("/edge/v1/events", json=EVENTS))
            await until(lambda: _waits(filled), "the request waits")
            draining.stop.set()
            await until(lambda: _refuses(draining), "the listeners are closed")
            assert not posting.done()
        answer = await posting
        assert (answer.status_code, answer.json()) == (200, {"epoch": 1, "acked": 1})
        await draining.task
    states = await rows(owner, "a", "SELECT status FROM space_state WHERE community_id = $1")
    assert states == [{"status": "free"}]


async def _waits(filled: Database) -> bool:
    connection = await database.connect(filled.owner, "test", 5)
    try:
        found: bool = await connection.fetchval("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)")
        return found
    finally:
        await connection.close()


async def _refuses(server: Server) -> bool:
    try:
        async with httpx.AsyncClient(base_url=server.web) as client:
            await client.get("/healthz")
    except httpx.TransportError:
        return True
    return False


async def test_a_stream_that_opens_while_the_server_goes_ends_at_once(draining: Server) -> None:
    async with desk(draining) as person:
        draining.stop.set()
        await until(lambda: _status(person, "/readyz", 503), "draining")
        async with person.stream("GET", "/communities/a/stream") as page:
            assert "event: reconnect" in [line async for line in page.aiter_lines()]
        await draining.task


async def test_a_server_is_in_the_list_as_long_as_it_runs(server: Server, owner: Any) -> None:
    await until(lambda: owner.fetchval("SELECT EXISTS (SELECT FROM server)"), "announced")
    found = await owner.fetch("SELECT id, edge_url, web_url, draining FROM server")
    assert [tuple(row) for row in found] == [("test", server.edge, server.web, False)]
    # Every scope may read the list: the edge API tells it to gateways while it works for their community.
    assert await rows(owner, "a", "SELECT id FROM server WHERE $1::bigint > 0") == [{"id": "test"}]
    server.stop.set()
    await server.task
    assert await owner.fetch("SELECT FROM server") == []


async def test_a_server_that_took_over_a_name_keeps_its_row(filled: Database, owner: Any) -> None:
    async with database.create_pool(filled.app, "test", 2) as pool:
        early = servers.Presence(pool, "s", "http://1", None, datetime.now(UTC) - timedelta(minutes=1))
        late = servers.Presence(pool, "s", "http://2", None, datetime.now(UTC))
        for presence, url in ((early, "http://1"), (late, "http://2")):
            task = asyncio.create_task(presence.run())
            await until(lambda url=url: owner.fetchval("SELECT edge_url = $1 FROM server", url), "announced")
            task.cancel()
        await early.remove()
        assert await owner.fetchval("SELECT edge_url FROM server") == "http://2"
        await late.remove()
        assert await owner.fetchval("SELECT count(*) FROM server") == 0


async def test_a_server_that_died_is_shown_as_gone_and_later_forgotten(
    server: Server, filled: Database, owner: Any, people: Callable[[str], Any]
) -> None:
    await until(lambda: owner.fetchval("SELECT EXISTS (SELECT FROM server)"), "announced")
    await _left_behind(owner, "died", timedelta(minutes=2))
    await _left_behind(owner, "forgotten", timedelta(days=2))
    person = await people(DESK)
    answer = (await person.get("/api/v1/desk/servers")).json()["items"]
    live = {item["id"]: item["live"] for item in answer}
    assert (live["test"], live["died"]) == (True, False)
    async with database.create_pool(filled.app, "test", 1) as pool:
        task = asyncio.create_task(servers.Presence(pool, "other", "http://o", None, datetime.now(UTC)).run())
        await until(
            lambda: owner.fetchval("SELECT NOT EXISTS (SELECT FROM server WHERE id = 'forgotten')"), "forgotten"
        )
        task.cancel()
    resident = await people("resident@a.example")
    assert (await resident.get("/api/v1/desk/servers")).status_code == 403


async def _left_behind(owner: Any, name: str, ago: timedelta) -> None:
    async with owner.transaction():
        await database.set_scope(owner, "server")
        await owner.execute(
            """
            INSERT INTO server (id, edge_url, version, started_at, last_seen_at)
            VALUES ($1, 'http://x', '1', now() - $2::interval, now() - $2::interval)
            """,
            name,
            ago,
        )


async def test_only_a_server_writes_the_list(filled: Database) -> None:
    connection = await database.connect(filled.app, "test", 5)
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute(
                "INSERT INTO server (id, edge_url, version, started_at) VALUES ('x', 'http://x', '1', now())"
            )
    finally:
        await connection.close()


async def test_the_doors_send_small_answers_at_once() -> None:
    accepted: asyncio.Queue[int] = asyncio.Queue()

    async def accept(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.put_nowait(writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()

    listener = sockets.listen("127.0.0.1", 0)
    async with await asyncio.start_server(accept, sock=listener):
        _, writer = await asyncio.open_connection(*listener.getsockname()[:2])
        assert await accepted.get() != 0
        writer.close()
