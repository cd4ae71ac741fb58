"""More than can be done is refused at once, with when to come back; nothing that was let in is forgotten."""

import asyncio
from typing import Any

import httpx
from parkmesh.server.edge.admission import AGAIN_S, Admission
from starlette.types import Receive, Scope, Send


class Work:
    """An application whose answers wait until the test lets them go."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.begun = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.begun += 1
        if scope["path"].endswith("/broken"):
            raise RuntimeError
        stream = scope["path"] == "/edge/v1/stream"
        if stream:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        await self.go.wait()
        if not stream:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})


def client(app: Any) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(app, raise_app_exceptions=False), base_url="http://edge")


async def until_begun(work: Work, count: int) -> None:
    async with asyncio.timeout(5):
        while work.begun < count:  # noqa: ASYNC110 -- it becomes true in another task
            await asyncio.sleep(0)


async def test_the_one_too_many_is_told_when_to_come_back() -> None:
    work = Work()
    async with client(Admission(work, requests=2, size=1000)) as edge:
        taken = [asyncio.create_task(edge.post("/events", content=b"x")) for _ in range(2)]
        await until_begun(work, 2)
        refused = await edge.post("/events", content=b"x")
        assert (refused.status_code, refused.headers["content-type"]) == (503, "application/problem+json")
        assert AGAIN_S[0] <= int(refused.headers["retry-after"]) <= AGAIN_S[1]
        work.go.set()
        assert [(await task).status_code for task in taken] == [200, 200]
        # Requests that failed also leave room again.
        for _ in range(5):
            assert (await edge.post("/broken")).status_code == 500
        assert (await edge.post("/events", content=b"x")).status_code == 200


async def test_bodies_are_bounded_together_and_a_single_large_one_is_not_refused() -> None:
    work = Work()
    async with client(Admission(work, requests=9, size=100)) as edge:
        large = asyncio.create_task(edge.post("/events", content=b"x" * 200))
        await until_begun(work, 1)
        assert (await edge.post("/events", content=b"x")).status_code == 503
        work.go.set()
        assert (await large).status_code == 200


async def test_an_open_stream_takes_no_place() -> None:
    work = Work()
    async with client(Admission(work, requests=1, size=100)) as edge:
        streams = [asyncio.create_task(edge.get("/edge/v1/stream")) for _ in range(3)]
        await until_begun(work, 3)
        work.go.set()
        assert [(await task).status_code for task in streams] == [200, 200, 200]
