"""The web application: signing in and out, forms, the live page, and answers to bad input."""

import asyncio
import contextlib
import functools
import html
import json
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import asyncpg
import httpx
import pytest
from parkmesh.server.commands import run
from parkmesh.server.http import sockets
from parkmesh.server.web import app as web_application
from parkmesh.server.web import security
from parkmesh.server.web.pages import forms
from running_server import SESSION_SECRET, Database, Server, serving, settings
from two_communities import PASSWORD, TOKENS, apply, rows

Gateway = Callable[[str], httpx.AsyncClient]
People = Callable[[str], Any]
DESK = "desk@parkmesh.example"


@pytest.fixture
async def browser(server: Server) -> AsyncIterator[httpx.AsyncClient]:
    """Return a client that keeps cookies and follows no redirect by itself."""
    async with httpx.AsyncClient(base_url=server.web, headers={"Accept": "text/html"}, timeout=20) as client:
        yield client


def form_token(page: httpx.Response) -> str:
    found = re.search(r'name="csrf_token" value="([^"]+)"', page.text)
    assert found, page.text
    return html.unescape(found[1])


async def sign_in(browser: httpx.AsyncClient, email: str, password: str = PASSWORD, **fields: str) -> httpx.Response:
    page = await browser.get("/sign-in")
    data = {"csrf_token": form_token(page), "email": email, "password": password} | fields
    return await browser.post("/sign-in", data=data)


async def test_a_page_leads_to_the_sign_in_and_back(browser: httpx.AsyncClient) -> None:
    first = await browser.get("/communities/a")
    assert (first.status_code, first.headers["location"]) == (303, "/sign-in?next=/communities/a")
    answer = await sign_in(browser, f" {DESK.upper()} ", next="/communities/a")
    assert (answer.status_code, answer.headers["location"]) == (303, "/communities/a")
    page = await browser.get("/communities/a")
    assert page.status_code == 200
    assert 'data-testid="space-tile" data-space="a-01" data-status="unknown"' in page.text


async def test_the_session_is_out_of_reach_for_scripts_and_other_sites(browser: httpx.AsyncClient) -> None:
    answer = await sign_in(browser, DESK)
    cookie = next(value for value in answer.headers.get_list("set-cookie") if value.startswith("parkmesh-session="))
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert "Secure" not in cookie


async def test_behind_https_cookies_are_secure(filled: Database) -> None:
    config = settings(filled.app, PARKMESH_PUBLIC_URL="https://parking.example")
    async with serving(config) as server, httpx.AsyncClient(base_url=server.web) as client:
        answer = await client.get("/sign-in")
        assert answer.headers["set-cookie"].startswith("__Host-parkmesh-form=")
        assert "Secure" in answer.headers["set-cookie"]
        assert "max-age" in answer.headers["strict-transport-security"]
        # No client here speaks https: what a browser would send by itself is given.
        form = answer.headers["set-cookie"].partition(";")[0]
        data = {"csrf_token": form_token(answer), "language": "es"}
        chosen = (await client.post("/language", data=data, headers={"Cookie": form})).headers["set-cookie"]
        assert chosen.startswith("__Host-parkmesh-language=es;")
        assert {"Secure", "HttpOnly", "Path=/", "SameSite=lax"} <= set(chosen.split("; "))
        page = await client.get("/sign-in", headers={"Cookie": chosen.partition(";")[0]})
        assert '<html lang="es">' in page.text
        page = await client.get("/sign-in", headers={"Cookie": "parkmesh-language=es"})
        assert '<html lang="en">' in page.text


async def test_signing_in_makes_a_new_session_and_ends_the_old(browser: httpx.AsyncClient, owner: Any) -> None:
    browser.cookies.set("parkmesh-session", "chosen-by-somebody-else")
    await browser.get("/sign-in")
    first = (await sign_in(browser, DESK)).cookies["parkmesh-session"]
    assert first != "chosen-by-somebody-else"
    browser.cookies.clear()
    page = await browser.get("/sign-in")
    browser.cookies.set("parkmesh-session", first)
    data = {"csrf_token": form_token(page), "email": DESK, "password": PASSWORD}
    second = (await browser.post("/sign-in", data=data)).cookies["parkmesh-session"]
    assert second != first
    await owner.execute("SELECT set_config('parkmesh.scope', 'identity', false)")
    assert await owner.fetchval("SELECT count(*) FROM web_session WHERE revoked_at IS NULL") == 1


async def test_signing_out_ends_the_session_on_the_server(browser: httpx.AsyncClient) -> None:
    await sign_in(browser, DESK)
    token = browser.cookies["parkmesh-session"]
    page = await browser.get("/")
    refused = await browser.post("/sign-out", data={"csrf_token": "x"})
    assert refused.status_code == 403
    answer = await browser.post("/sign-out", data={"csrf_token": form_token(page)})
    assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in")
    assert answer.headers["clear-site-data"] == '"cache", "storage"'
    browser.cookies.set("parkmesh-session", token)
    assert (await browser.get("/")).status_code == 303


async def test_a_form_without_its_token_is_refused(browser: httpx.AsyncClient, owner: Any, connected: None) -> None:
    data = {"email": DESK, "password": PASSWORD}
    assert (await browser.post("/sign-in", data=data)).status_code == 403
    page = await browser.get("/sign-in")
    assert (await browser.post("/sign-in", data=data)).status_code == 403
    # A token of another browser's form.
    token = form_token(page)
    browser.cookies.clear()
    await browser.get("/sign-in")
    assert (await browser.post("/sign-in", data=data | {"csrf_token": token})).status_code == 403
    await sign_in(browser, DESK)
    forged = await browser.post("/communities/a/gates/main-in/open", data={"reason": "forged"})
    assert forged.status_code == 403
    api_call = await browser.post("/api/v1/communities/a/gates/main-in/open", json={"reason": "forged"})
    assert api_call.status_code == 403
    assert await rows(owner, "a", "SELECT FROM audit_entry WHERE community_id = $1") == []
    current = (await browser.get("/api/v1/sessions/current")).json()
    allowed = await browser.post(
        "/api/v1/communities/a/gates/main-in/open",
        json={"reason": "ambulance"},
        headers={"X-CSRF-Token": current["csrf_token"]},
    )
    assert allowed.status_code == 202


async def test_the_desk_opens_a_gate_from_the_page(browser: httpx.AsyncClient, owner: Any, connected: None) -> None:
    await sign_in(browser, DESK)
    token = form_token(await browser.get("/communities/a"))
    answer = await browser.post(
        "/communities/a/gates/main-in/open", data={"csrf_token": token, "reason": "removal van"}
    )
    (command,) = await rows(owner, "a", "SELECT id FROM gate_command WHERE community_id = $1")
    assert (answer.status_code, answer.headers["location"]) == (303, f"/communities/a?opening={command['id']}")
    assert "waiting for the gate" in (await browser.get(answer.headers["location"])).text
    for reason, gate, status in (("x", "main-in", 422), ("a\x00bc", "main-in", 422), ("good reason", "nowhere", 404)):
        refused = await browser.post(f"/communities/a/gates/{gate}/open", data={"csrf_token": token, "reason": reason})
        assert refused.status_code == status
    audit = await rows(owner, "a", "SELECT detail FROM audit_entry WHERE community_id = $1")
    assert [json.loads(entry["detail"])["reason"] for entry in audit] == ["removal van"]


async def test_guessing_is_slowed_per_account_and_address(server: Server, browser: httpx.AsyncClient) -> None:
    codes = [(await sign_in(browser, DESK, f"guess {n}")).status_code for n in range(6)]
    assert codes == [401] * 5 + [429]
    blocked = await sign_in(browser, DESK)
    assert blocked.status_code == 429
    assert 0 < int(blocked.headers["retry-after"]) <= 900
    # From elsewhere, as the load balancer tells, the account is not locked; what the client claims does not count.
    elsewhere = {"X-Forwarded-For": "203.0.113.9"}
    page = await browser.get("/sign-in")
    data = {"csrf_token": form_token(page), "email": DESK, "password": PASSWORD}
    claimed = {"X-Forwarded-For": "203.0.113.9, 127.0.0.1"}
    assert (await browser.post("/sign-in", data=data, headers=claimed)).status_code == 429
    assert (await browser.post("/sign-in", data=data, headers=elsewhere)).status_code == 303


async def test_many_guesses_at_once_get_no_further(server: Server) -> None:
    async with httpx.AsyncClient(base_url=server.web, timeout=30) as client:
        answers = await asyncio.gather(
            *(client.post("/api/v1/sessions", json={"email": DESK, "password": f"guess {n}"}) for n in range(12))
        )
    assert sorted(answer.status_code for answer in answers) == [401] * 5 + [429] * 7


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("/communities/a", "/communities/a"),
        ("//evil.example", "/"),
        ("/\\evil.example", "/"),
        ("https://evil.example", "/"),
        ("javascript:alert(1)", "/"),
        ("/a\nb", "/"),
        ("/ok\\evil", "/"),
        ("", "/"),
    ],
)
def test_a_redirect_stays_on_this_site(text: str, path: str) -> None:
    assert security.local_path(text) == path


async def test_every_page_carries_a_strict_policy(browser: httpx.AsyncClient) -> None:
    await sign_in(browser, DESK)
    for path in ("/", "/communities/a", "/sign-in", "/communities/nowhere", "/static/live.js", "/api/v1/communities"):
        answer = await browser.get(path)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "<script>" not in answer.text
        if answer.headers.get("content-type", "").startswith("text/html"):
            assert not re.search(r"\s(style|on[a-z]+)=", answer.text)


async def test_names_and_plates_are_text_on_the_page(
    browser: httpx.AsyncClient, filled: Database, gateway: Gateway
) -> None:
    await apply(filled.owner, {"communities": [{"name": "a", "title": "<script>alert(1)</script>"}]})
    passage = {
        "type": "passage", "seq": 1, "times": {"received": 1}, "gate": "main-in", "direction": "entry",
        "plate": '"><img src=x>', "decision": "denied", "reason": "<b>",
    }  # fmt: skip
    async with gateway("gateway-a") as client:
        await client.post("/edge/v1/events", json={"epoch": 1, "events": [passage]})
    await sign_in(browser, DESK)
    page = (await browser.get("/communities/a")).text
    assert "<script>alert" not in page
    assert "<img src=x>" not in page


async def test_a_passage_is_on_the_page_at_once(server: Server, gateway: Gateway, people: People) -> None:
    desk = await people(DESK)
    session = desk.headers["authorization"].removeprefix("Bearer ")
    async with (
        gateway("gateway-a") as client,
        httpx.AsyncClient(base_url=server.web, cookies={"parkmesh-session": session}, timeout=20) as page,
        page.stream("GET", "/communities/a/stream") as response,
    ):
        assert response.headers["content-type"].startswith("text/event-stream")
        updates = _updates(response)
        snapshot = await asyncio.wait_for(anext(updates), 5)
        assert {tile["status"] for tile in snapshot["spaces"]} == {"unknown"}
        received = int(time.time() * 1000)
        events = [
            {
                "type": "passage", "seq": 1, "times": {"received": received}, "gate": "main-in",
                "direction": "entry", "plate": "1234BCD", "decision": "granted", "reason": "exact", "opened": True,
            },
            {"type": "space_state", "seq": 2, "times": {"received": received}, "space": "a-03", "status": "occupied"},
        ]  # fmt: skip
        await client.post("/edge/v1/events", json={"epoch": 1, "events": events})
        update = await asyncio.wait_for(anext(updates), 5)
        (row,) = update["passages"]
        assert (row["plate"], row["shown"], row["decision"], row["gate"], row["reason"]) == (
            "1234BCD",
            "1234 BCD",
            "granted",
            "Main entry",
            "Known plate",
        )
        assert update["spaces"] == [{"name": "a-03", "status": "occupied"}]


async def _updates(response: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    async for line in response.aiter_lines():
        if line.startswith("event: reconnect"):
            return
        if line.startswith("data: "):
            yield json.loads(line.removeprefix("data: "))


async def test_a_live_page_ends_with_its_session(server: Server, people: People) -> None:
    desk = await people(DESK)
    session = desk.headers["authorization"].removeprefix("Bearer ")
    async with (
        httpx.AsyncClient(base_url=server.web, cookies={"parkmesh-session": session}, timeout=20) as page,
        page.stream("GET", "/communities/a/stream") as response,
    ):
        updates = _updates(response)
        await asyncio.wait_for(anext(updates), 5)
        assert (await desk.delete("/api/v1/sessions/current")).status_code == 204
        with pytest.raises(StopAsyncIteration):
            await asyncio.wait_for(anext(updates), 5)
        assert (await page.get("/communities/a/stream")).status_code == 401


async def test_live_pages_survive_a_lost_connection_to_the_database(
    server: Server, gateway: Gateway, people: People, postgres: Any, filled: Database
) -> None:
    desk = await people(DESK)
    session = desk.headers["authorization"].removeprefix("Bearer ")
    state = {"type": "space_state", "seq": 1, "times": {"received": 1}, "space": "a-01", "status": "occupied"}
    async with (
        gateway("gateway-a") as client,
        httpx.AsyncClient(base_url=server.web, cookies={"parkmesh-session": session}, timeout=20) as page,
        page.stream("GET", "/communities/a/stream") as response,
    ):
        updates = _updates(response)
        await asyncio.wait_for(anext(updates), 5)
        await asyncio.to_thread(
            postgres.psql,
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{filled.name}';",  # noqa: S608
        )
        for _ in range(50):
            answer = await client.post("/edge/v1/events", json={"epoch": 1, "events": [state]})
            assert answer.status_code in (200, 503)
            if answer.status_code == 200:
                break
            assert answer.headers["retry-after"]
            await asyncio.sleep(0.1)
        update = await asyncio.wait_for(anext(updates), 10)
        assert {"name": "a-01", "status": "occupied"} in update["spaces"]


BAD_REQUESTS: list[tuple[str, str, dict[str, Any], int]] = [
    ("GET", "/api/v1/nothing", {}, 404),
    ("PUT", "/api/v1/communities", {}, 405),
    ("GET", "/api/v1/communities/a/passages?limit=0", {}, 422),
    ("GET", "/api/v1/communities/a/passages?limit=x", {}, 422),
    ("GET", "/api/v1/communities/a/passages?cursor=x", {}, 422),
    ("GET", "/api/v1/communities/a/passages?cursor=%00%ff", {}, 422),
    ("GET", "/api/v1/communities/a/passages?cursor=" + "f" * 21 + "8", {}, 422),
    ("PUT", "/api/v1/communities/a/credentials/1234BCD", {"json": {"status": "gone"}}, 422),
    ("PUT", "/api/v1/communities/a/credentials/1234BCD", {"json": {"status": "active", "x": 1}}, 422),
    ("PUT", "/api/v1/communities/a/credentials/1234BCD", {"content": b"{"}, 422),
    ("PUT", "/api/v1/communities/a/credentials/1234BCD", {"content": b"\xff\xfe"}, 422),
    ("PUT", "/api/v1/communities/a/credentials/1234BCD", {"content": b"[" * 60_000}, 400),
    ("PUT", "/api/v1/communities/a/credentials/1234BCD", {"content": b" " * 70_000}, 413),
    ("PUT", "/api/v1/communities/a/credentials/%00", {"json": {"status": "revoked"}}, 404),
    ("PUT", "/api/v1/communities/a/credentials/NOSUCH1", {"json": {"status": "revoked"}}, 404),
    ("POST", "/api/v1/communities/a/gates/main-in/open", {"json": {"reason": ""}}, 422),
    ("POST", "/api/v1/communities/a/gates/main-in/open", {"json": {"reason": "a\x00b"}}, 422),
    ("POST", "/api/v1/communities/a/gates/main-in/open", {"content": b'{"reason": "\\ud800 it"}'}, 422),
    ("POST", "/api/v1/communities/a/gates/nowhere/open", {"json": {"reason": "good reason"}}, 404),
    ("POST", "/api/v1/communities/a/gates/%00/open", {"json": {"reason": "good reason"}}, 404),
    ("POST", "/api/v1/sessions", {"json": {"email": "a\x00@b", "password": "x"}}, 422),
    ("POST", "/api/v1/sessions", {"json": {"email": "x" * 300, "password": "x"}}, 422),
    ("POST", "/sign-out", {"json": {}}, 303),
    ("POST", "/sign-in", {"json": {}}, 415),
    ("POST", "/sign-in", {"data": {f"f{n}": "x" for n in range(forms.MAX_FIELDS + 1)}}, 400),
]


async def test_bad_requests_are_problems(people: People, subtests: pytest.Subtests) -> None:
    desk = await people(DESK)
    for method, path, body, status in BAD_REQUESTS:
        with subtests.test(f"{method} {path} {str(body)[:50]}"):
            headers = {"content-type": "application/json"} if "content" in body else {}
            answer = await desk.request(method, path, headers=headers, **body)
            assert answer.status_code == status, answer.text
            if status != 303:
                assert answer.headers["content-type"] == "application/problem+json"
                assert answer.json()["status"] == status


async def test_the_openapi_document_names_every_answer(server: Server) -> None:
    async with httpx.AsyncClient(base_url=server.web) as client:
        openapi = (await client.get("/api/v1/openapi.json")).json()
    assert openapi["openapi"].startswith("3.1")
    assert all(path.startswith("/api/v1/") for path in openapi["paths"])
    for path, methods in openapi["paths"].items():
        for method, operation in methods.items():
            for status, answer in operation["responses"].items():
                if int(status) >= 400:
                    shared = openapi["components"]["responses"][answer["$ref"].rpartition("/")[2]]
                    assert list(shared["content"]) == ["application/problem+json"], (path, method, status)


SOCKET = ".s.PGSQL.5432"


async def test_a_server_that_was_ready_stays_so_while_the_database_is_away_and_not_for_ever(
    filled: Database, database_host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a failover, connections fall silent and new ones get no answer; another server would do no better."""
    heard = asyncio.Event()
    heard.set()

    async def pass_on(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while part := await source.read(65536):
            await heard.wait()
            target.write(part)

    async def lead(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, to = await asyncio.open_unix_connection(f"{unquote(database_host)}/{SOCKET}")
        await asyncio.wait(
            [asyncio.create_task(pass_on(reader, to)), asyncio.create_task(pass_on(back, writer))],
            return_when=asyncio.FIRST_COMPLETED,
        )
        to.close()
        writer.close()

    monkeypatch.setattr(web_application, "READY_S", 0.3)
    with tempfile.TemporaryDirectory() as folder:
        await asyncio.start_unix_server(lead, f"{folder}/{SOCKET}")
        url = filled.app.replace(database_host, folder)
        async with serving(settings(url)) as server, httpx.AsyncClient(base_url=server.web) as client:
            heard.clear()
            answer = await client.get("/readyz")
            assert (answer.status_code, answer.json()) == (200, {"status": "ready", "database": "away"})
            monkeypatch.setattr(web_application, "WITHOUT_DATABASE_S", 0.0)
            answer = await client.get("/readyz")
            assert (answer.status_code, answer.json()) == (503, {"status": "no database"})
            heard.set()


async def test_without_a_database_the_server_lives_and_is_not_ready() -> None:
    web, edge = sockets.listen("127.0.0.1", 0), sockets.listen("127.0.0.1", 0)
    config = settings("postgresql://parkmesh_app:hunter2-secret@127.0.0.1:1/none")
    stop = asyncio.Event()
    task = asyncio.create_task(run.serve(config, web, edge, stop))
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{web.getsockname()[1]}") as client:
            assert (await client.get("/healthz")).status_code == 200
            assert (await client.get("/readyz")).status_code == 503
            answer = await client.get("/api/v1/communities", headers={"Authorization": "Bearer abc"})
            assert answer.status_code == 503
            assert answer.headers["retry-after"]
            assert answer.headers["content-type"] == "application/problem+json"
    finally:
        stop.set()
        await task


async def test_without_an_overlay_slot_people_are_served(filled: Database, tmp_path: Path) -> None:
    web, file = sockets.listen("127.0.0.1", 0), tmp_path / "edge-address"
    with contextlib.closing(sockets.listen("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    stop = asyncio.Event()
    config = settings(filled.app, PARKMESH_SERVER_ID="late")
    task = asyncio.create_task(run.serve(config, web, lambda: sockets.listen_when_known(file, port), stop))

    async def listed() -> list[str]:
        connection = await asyncpg.connect(filled.owner)
        try:
            return [row["edge_url"] for row in await connection.fetch("SELECT edge_url FROM server WHERE id = 'late'")]
        finally:
            await connection.close()

    async def until(url: str, status: int) -> None:
        async with httpx.AsyncClient() as client:
            for _ in range(200):
                with contextlib.suppress(httpx.TransportError):
                    if (await client.get(url)).status_code == status:
                        return
                await asyncio.sleep(0.05)
        pytest.fail(f"{url} didn't answer {status}")

    base = f"http://127.0.0.1:{web.getsockname()[1]}"
    try:
        await until(f"{base}/readyz", 200)
        await until(f"{base}/readyz/overlay", 503)
        async with httpx.AsyncClient() as client:
            assert "parkmesh_edge_open 0.0" in (await client.get(f"{base}/metrics")).text
            assert await listed() == []
            file.write_text("127.0.0.1\n")
            await until(f"{base}/readyz/overlay", 200)
            assert "parkmesh_edge_open 1.0" in (await client.get(f"{base}/metrics")).text
            await until(f"http://127.0.0.1:{port}/nothing", 404)
            for _ in range(100):
                if found := await listed():
                    break
                await asyncio.sleep(0.05)
            assert found == [f"http://127.0.0.1:{port}"]
    finally:
        stop.set()
        await asyncio.wait_for(task, 30)
    assert await listed() == []


async def test_a_server_that_never_got_a_slot_ends_in_order(filled: Database, tmp_path: Path) -> None:
    web, stop = sockets.listen("127.0.0.1", 0), asyncio.Event()
    waiting = functools.partial(sockets.listen_when_known, tmp_path / "edge-address", 0)
    task = asyncio.create_task(run.serve(settings(filled.app), web, waiting, stop))
    await asyncio.sleep(0.5)
    stop.set()
    await asyncio.wait_for(task, 30)


def test_the_process_drains_on_sigterm_and_logs_no_secret(filled: Database) -> None:
    with contextlib.closing(sockets.listen("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    process = subprocess.Popen(
        [sys.executable, "-c", "from parkmesh.cli import main; main()", "serve", "--host", "127.0.0.1",
         "--port", str(port), "--edge-port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={
            "PATH": "/usr/bin:/bin",
            "PYTHONPATH": ":".join(sys.path),
            "PARKMESH_DATABASE_URL": filled.app,
            "PARKMESH_SESSION_SECRET": SESSION_SECRET,
            "PARKMESH_DRAIN_SECONDS": "1",
            # An address that no interface has: the overlay is not up yet.
            "PARKMESH_EDGE_ADDRESS": "10.242.0.11",
        },
    )  # fmt: skip
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
            _until_ready(client)
            body = {"email": DESK, "password": PASSWORD}
            token = client.post("/api/v1/sessions", json=body).json()["token"]
            headers = {"Cookie": f"parkmesh-session={token}"}
            with client.stream("GET", "/communities/a/stream", headers=headers) as response:
                lines = response.iter_lines()
                assert next(lines).startswith("retry:")
                process.send_signal(signal.SIGTERM)
                with httpx.Client(base_url=f"http://127.0.0.1:{port}") as other:
                    while other.get("/readyz").status_code == 200:
                        time.sleep(0.02)
                    assert other.get("/healthz").status_code == 200
                assert "event: reconnect" in list(lines)
        output, _ = process.communicate(timeout=20)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0, output
    for line in output.splitlines():
        json.loads(line)
    for secret in (SESSION_SECRET, PASSWORD, token, "app-password-of-the-tests", *TOKENS.values()):
        assert secret not in output


def _until_ready(client: httpx.Client) -> None:
    for _ in range(400):
        with contextlib.suppress(httpx.TransportError):
            if client.get("/readyz").status_code == 200:
                return
        time.sleep(0.05)
    pytest.fail("the server did not become ready")


def test_serve_says_in_one_line_what_it_lacks(parkmesh: Callable[..., subprocess.CompletedProcess[str]]) -> None:
    url = {"PARKMESH_DATABASE_URL": "postgresql://u:hunter2-secret@h/d"}
    for environment, says in (
        ({}, "PARKMESH_DATABASE_URL"),
        (url, "PARKMESH_SESSION_SECRET"),
        (url | {"PARKMESH_SESSION_SECRET": "short"}, "PARKMESH_SESSION_SECRET"),
        (url | {"PARKMESH_SESSION_SECRET": "x" * 20, "PARKMESH_TRUSTED_PROXIES": "x"}, "PARKMESH_TRUSTED_PROXIES"),
        (
            url | {"PARKMESH_WEBHOOK_PORT": "8443"},
            "PARKMESH_WEBHOOK_PORT is no setting: is PARKMESH_WEBHOOK_PORTS meant?",
        ),
        (url | {"PARKMESH_COLOUR": "hunter2-secret"}, "PARKMESH_COLOUR is no setting of the server"),
    ):
        done = parkmesh("serve", **environment)
        assert (done.returncode, len(done.stderr.strip().splitlines())) == (2, 1), done.stderr
        assert says in done.stderr
        assert "hunter2-secret" not in done.stderr
