"""What hostile clients send to a real server: endless, nested, slow and ambiguous requests, planted sessions, addresses
that lead elsewhere. docs/security.md names where each attack is tested; here is what has no better place."""

import asyncio
import contextlib
import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from page_visitor import visiting
from parkmesh import __version__
from parkmesh.server.commands import run
from parkmesh.server.http import http_protocol, middleware
from parkmesh.server.identity import passwords, principals
from parkmesh.server.web import live
from running_server import Database, Server, serving, settings
from two_communities import PASSWORD, TOKENS

People = Callable[[str], Awaitable[httpx.AsyncClient]]
DESK = "desk@parkmesh.example"
PROBLEM = "application/problem+json"
DEEP = b'{"a":' * 12_000


async def exchange(base: str, request: bytes) -> tuple[int, dict[str, str], bytes]:
    """Send bytes as they are; return status, headers and body of the answer."""
    place = urlsplit(base)
    reader, writer = await asyncio.open_connection(place.hostname, place.port)
    try:
        writer.write(request)
        async with asyncio.timeout(10):
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
            body = await reader.readexactly(int(headers.get("content-length", "0")))
        return int(head[0].split()[1]), headers, body
    finally:
        writer.close()


SLOW = {
    "web": ("POST /api/v1/sessions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n", "/readyz"),
    "page": ("POST /sign-in HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n", "/sign-in"),
    "edge": (
        f"POST /edge/v1/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKENS['gateway-a']}\r\n",
        "/edge/v1/servers",
    ),
}


@pytest.mark.parametrize("application", SLOW)
async def test_a_body_that_trickles_in_is_given_up(
    server: Server, monkeypatch: pytest.MonkeyPatch, application: str
) -> None:
    monkeypatch.setattr(middleware, "BODY_S", 0.5)
    begin, other = SLOW[application]
    base = server.edge if application == "edge" else server.web
    slow = [asyncio.create_task(exchange(base, f"{begin}Content-Length: 1000\r\n\r\n{{".encode())) for _ in range(20)]
    await asyncio.sleep(0)
    # Slow clients keep no other client waiting.
    async with httpx.AsyncClient(base_url=base, headers={"Authorization": f"Bearer {TOKENS['gateway-a']}"}) as client:
        assert (await client.get(other)).status_code == 200
        assert not any(task.done() for task in slow)
        for status, headers, body in await asyncio.gather(*slow):
            assert (status, headers["content-type"], json.loads(body)["status"]) == (408, PROBLEM, 408)
        assert (await client.get(other)).status_code == 200


async def closed_after(base: str, *parts: bytes, pause_s: float) -> bool:
    """Send parts with pauses, the last one for ever; tell whether the server closes the connection within seconds."""
    place = urlsplit(base)
    reader, writer = await asyncio.open_connection(place.hostname, place.port)

    async def trickle() -> None:
        for part in itertools.chain(parts, itertools.repeat(parts[-1])):
            writer.write(part)
            await asyncio.sleep(pause_s)

    sending = asyncio.create_task(trickle())
    try:
        async with asyncio.timeout(5):
            # Answers that come before the end don't count, nor does a reset instead of an end.
            with contextlib.suppress(ConnectionError):
                while await reader.read(4096):
                    pass
        return True
    except TimeoutError:
        return False
    finally:
        sending.cancel()
        writer.close()


HEAD = b"GET /healthz HTTP/1.1\r\nHost: x\r\n"
TRICKLES = {
    "a head": (HEAD, b"X-A: b\r\n"),
    "a head after an answer": (HEAD + b"\r\n", b"GET /healthz HTTP/1.1\r\n", b"X-A: b\r\n"),
    "a second head in the tail of the first": (HEAD + b"\r\nGET", b" /"),
    "a body that was answered": (b"POST /api/v1/nothing HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n\r\n", b"x"),
}


@pytest.mark.parametrize("application", ["web", "edge"])
@pytest.mark.parametrize("case", TRICKLES)
async def test_a_head_that_trickles_in_is_given_up(
    server: Server, monkeypatch: pytest.MonkeyPatch, case: str, application: str
) -> None:
    monkeypatch.setattr(http_protocol, "HEAD_S", 0.4)
    assert await closed_after(getattr(server, application), *TRICKLES[case], pause_s=0.05)


async def test_a_connection_on_which_nothing_is_sent_ends(filled: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "KEEP_ALIVE_S", 0.4)
    async with serving(settings(filled.app)) as server:
        assert await closed_after(server.web, b"", pause_s=0.05)
        assert await closed_after(server.edge, b"", pause_s=0.05)


async def test_who_is_not_slow_keeps_his_connection(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_protocol, "HEAD_S", 0.3)
    place = urlsplit(server.web)
    reader, writer = await asyncio.open_connection(place.hostname, place.port)
    for pause_s in (0.0, 0.5, 0.5):
        await asyncio.sleep(pause_s)
        for part in (HEAD[:9], HEAD[9:], b"\r\n"):
            writer.write(part)
            await asyncio.sleep(0.05)
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        await reader.readexactly(len('{"status": "live", "version": ""}') + len(__version__))
    writer.close()


def test_a_page_that_does_not_read_its_updates_takes_no_more_memory() -> None:
    viewer = live.Viewer(1, None, None)
    viewer.behind = False
    for number in range(live.QUEUE * 10):
        viewer.offer(b"%d" % number)
    assert viewer.frames.qsize() == live.QUEUE
    # It gets a whole snapshot once it reads again: what it missed is not lost.
    assert viewer.behind


@pytest.mark.parametrize(
    ("path", "media", "size"),
    [
        ("/api/v1/sessions", "application/json", 70_000),
        ("/sign-in", "application/x-www-form-urlencoded", 70_000),
        ("/edge/v1/events", "application/json", 4 * 1024 * 1024 + 1),
    ],
)
async def test_a_body_without_a_length_is_counted_while_it_comes(
    server: Server, path: str, media: str, size: int
) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(size // 10_000 + 1):
            yield b"x" * 10_000

    base = server.edge if path.startswith("/edge/") else server.web
    headers = {"Content-Type": media, "Authorization": f"Bearer {TOKENS['gateway-a']}"}
    async with httpx.AsyncClient(base_url=base, timeout=20) as client:
        answer = await client.post(path, content=endless(), headers=headers)
    assert (answer.status_code, answer.headers["content-type"]) == (413, PROBLEM)


async def test_no_route_falls_over_a_deeply_nested_body(server: Server, people: People, subtests: Any) -> None:
    desk = await people(DESK)
    tried = 0
    for path, methods in (await desk.get("/api/v1/openapi.json")).json()["paths"].items():
        address = path.replace("{community}", "a").replace("{", "").replace("}", "")
        for method, operation in methods.items():
            if "application/json" in operation.get("requestBody", {}).get("content", {}):
                tried += 1
                with subtests.test(f"{method} {path}"):
                    headers = {"Content-Type": "application/json", "If-Match": "*"}
                    answer = await desk.request(method, address, content=DEEP, headers=headers)
                    assert (answer.status_code, answer.headers["content-type"]) == (400, PROBLEM), answer.text
    assert tried > 20


AMBIGUOUS = {
    "two lengths": b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
    "a length that is none": b"Content-Length: 5x\r\n\r\nhello",
    "a signed length": b"Content-Length: +5\r\n\r\nhello",
    "an encoding nobody knows": b"Transfer-Encoding: gzip\r\n\r\nhello",
    "chunked twice": b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "a chunk of no size": b"Transfer-Encoding: chunked\r\n\r\nxyz\r\nhello\r\n0\r\n\r\n",
    "a folded name": b"Content-Length : 5\r\n\r\nhello",
}


@pytest.mark.parametrize("case", AMBIGUOUS)
async def test_a_request_whose_end_is_unclear_is_refused(server: Server, case: str) -> None:
    start = b"POST /api/v1/sessions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    status, _, _ = await exchange(server.web, start + AMBIGUOUS[case])
    assert status in (400, 501)


async def test_methods_that_only_echo_are_refused(server: Server) -> None:
    async with httpx.AsyncClient(base_url=server.web) as client:
        for path in ("/", "/sign-in", "/healthz", "/static/live.js", "/api/v1/sessions"):
            answer = await client.request("TRACE", path, headers={"Cookie": "parkmesh-session=secret"})
            assert answer.status_code == 405, path
            assert "secret" not in answer.text


@pytest.fixture
async def behind_https(filled: Database) -> AsyncIterator[Server]:
    async with serving(settings(filled.app, PARKMESH_PUBLIC_URL="https://parking.example")) as running:
        yield running


async def test_an_error_of_ours_tells_nothing_and_keeps_the_headers(
    behind_https: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError("the inside of the server")

    monkeypatch.setattr(principals, "identify", broken)
    async with httpx.AsyncClient(base_url=behind_https.web, headers={"Authorization": "Bearer x"}) as client:
        answer = await client.get("/api/v1/communities")
        sound = await client.get("/sign-in")
    assert (answer.status_code, answer.headers["content-type"]) == (500, PROBLEM)
    assert "inside" not in answer.text
    for name in (
        "content-security-policy",
        "strict-transport-security",
        "x-content-type-options",
        "referrer-policy",
        "cache-control",
    ):
        assert answer.headers[name] == sound.headers[name], name
    assert "includeSubDomains" in answer.headers["strict-transport-security"]


async def test_an_account_that_is_made_gets_no_session_that_somebody_planted(server: Server, people: People) -> None:
    planted = "chosen-by-somebody-else"
    administrator = await people("administrator@a.example")
    invitation = {"email": "eva@home.example"}
    made = (await administrator.post("/api/v1/communities/a/invitations", json=invitation)).json()
    join = f"/join/{made['token']}"
    async with visiting(server.web) as visitor:
        visitor.client.cookies.set("parkmesh-session", planted)
        answer = await visitor.send(join, of=join, act="new", name="Eva", password="four words are enough")
        assert answer.status_code == 303, answer.text
        fresh = answer.cookies["parkmesh-session"]
    async with httpx.AsyncClient(base_url=server.web) as client:
        for token, status in ((planted, 401), (fresh, 200)):
            answer = await client.get("/api/v1/sessions/current", headers={"Authorization": f"Bearer {token}"})
            assert answer.status_code == status


async def test_an_account_that_is_made_ends_the_session_that_the_browser_had(server: Server, people: People) -> None:
    administrator, resident = await people("administrator@a.example"), await people("resident@a.example")
    made = (await administrator.post("/api/v1/communities/a/invitations", json={"email": "eva@home.example"})).json()
    join = f"/join/{made['token']}"
    assert (await resident.get("/api/v1/sessions/current")).status_code == 200
    async with visiting(server.web) as visitor:
        visitor.client.cookies.set("parkmesh-session", resident.headers["authorization"].removeprefix("Bearer "))
        answer = await visitor.send(join, of=join, act="new", name="Eva", password="four words are enough")
        assert answer.status_code == 303, answer.text
    assert (await resident.get("/api/v1/sessions/current")).status_code == 401


@pytest.mark.parametrize(
    "change",
    [
        "last_seen_at = now() - interval '12 hours 1 minute'",
        "expires_at = now() - interval '1 second'",
        "created_at = now() - interval '8 days', expires_at = now() - interval '1 day'",
        "revoked_at = now()",
    ],
)
async def test_a_session_ends_by_itself(people: People, owner: Any, change: str) -> None:
    client = await people("resident@a.example")
    assert (await client.get("/api/v1/sessions/current")).status_code == 200
    async with owner.transaction():
        await owner.execute("SELECT set_config('parkmesh.scope', 'identity', true)")
        assert await owner.execute(f"UPDATE web_session SET {change}") == "UPDATE 1"  # noqa: S608 - texts above
    assert (await client.get("/api/v1/sessions/current")).status_code == 401


async def test_a_session_lasts_a_week_at_most(people: People, owner: Any) -> None:
    await people("resident@a.example")
    async with owner.transaction():
        await owner.execute("SELECT set_config('parkmesh.scope', 'identity', true)")
        assert await owner.fetchval("SELECT expires_at <= now() + interval '7 days' FROM web_session")


ELSEWHERE = ["https://evil.example/", "//evil.example", "/\\evil.example", "/\t/evil.example", "javascript:alert(1)"]


async def test_signing_in_leads_to_no_other_site(server: Server) -> None:
    async with visiting(server.web) as visitor:
        for target in ELSEWHERE:
            visitor.client.cookies.clear()
            answer = await visitor.send("/sign-in", of="/sign-in", email=DESK, password=PASSWORD, next=target)
            assert (answer.status_code, answer.headers["location"]) == (303, "/"), target
        for target in ELSEWHERE:
            answer = await visitor.get("/sign-in", params={"next": target})
            assert (answer.status_code, answer.headers["location"]) == (303, "/"), target


async def test_no_redirect_is_built_from_the_host_that_a_client_names(server: Server) -> None:
    async with httpx.AsyncClient(base_url=server.web, headers={"Host": "evil.example"}) as client:
        for path in ("/sign-in/", "/communities/", "/api/v1/sessions/", "/static", "//evil.example/", "/healthz/"):
            answer = await client.get(path)
            assert "evil.example" not in urlsplit(answer.headers.get("location", "")).netloc, path


@pytest.mark.parametrize("password", ["parkmesh", "ParkMesh2026", "parking1!", "aparcamiento", "administrator"])
def test_words_of_this_service_are_no_passwords(password: str) -> None:
    assert passwords.weakness(password) is not None
