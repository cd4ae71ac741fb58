"""Releases that gateways fetch: published, told in the heartbeat, fetched in parts, and reported."""

import asyncio
import hashlib
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
import release_files
from page_visitor import visiting
from parkmesh.gateway.release_fetch import Fetch, Fetched, FetchError
from parkmesh.protocol import releases
from parkmesh.server.commands import release_publication
from parkmesh.server.edge import releases as edge_releases
from running_server import Database, Server
from two_communities import TOKENS

Gateway = Callable[[str], httpx.AsyncClient]
NEW_DIGEST = hashlib.sha256(release_files.NEW["lib/a/one.py"]).hexdigest()


async def publish(db: Database, **how: Any) -> release_publication.Published:
    """Publish with the application's own rights, as the command on an app server does."""
    connection = await asyncpg.connect(db.app)
    try:
        return await release_publication.publish(
            connection, *release_publication.read(json.dumps(release_files.document(**how)).encode())
        )
    finally:
        await connection.close()


async def shown(db: Database) -> dict[str, tuple[int, str, str]]:
    connection = await asyncpg.connect(db.app)
    try:
        found = await release_publication.orders(connection)
    finally:
        await connection.close()
    return {order.gateway: (order.serial, order.state, order.reason) for order in found}


async def told(client: httpx.AsyncClient) -> int:
    beat = {"sent": int(time.time() * 1000), "version": "1", "backlog": 0, "access_list_version": 1}
    answer = await client.post("/edge/v1/heartbeat", json=beat)
    assert answer.status_code == 200, answer.text
    return int(answer.json()["release"])


def folder(place: Path, files: dict[str, bytes]) -> Path:
    for path, content in files.items():
        (place / path).parent.mkdir(parents=True, exist_ok=True)
        (place / path).write_bytes(content)
    return place


def fetch(server: Server, inbox: Path, have: Path, name: str = "gateway-a", serial: int = 7) -> Fetched:
    with httpx.Client(headers={"Authorization": f"Bearer {TOKENS[name]}"}) as client:
        return Fetch(client, [server.edge], inbox, have, rate=0, sleep=lambda _: None).run(serial)


async def test_a_gateway_is_told_fetches_only_what_it_lacks_and_reports(
    filled: Database, server: Server, gateway: Gateway, tmp_path: Path
) -> None:
    async with gateway("gateway-a") as a, gateway("gateway-b") as b:
        assert await told(a) == 0
        done = await publish(filled, gateways={"a": ["gateway-a", "gateway-none"], "none": []})
        assert (done.ordered, done.unknown, done.new_parts) == (1, ["a/gateway-none", "none"], 4)
        assert (await told(a), await told(b)) == (7, 0)
        have = folder(tmp_path / "have", release_files.OLD)
        fetched = await asyncio.to_thread(fetch, server, tmp_path / "pull", have)
        assert (fetched.release, fetched.files, fetched.parts) == ("000000000007", 4, 2)
        assert (tmp_path / "pull/ready").read_text() == "7"
        names = {path.name for path in (tmp_path / "pull/parts").iterdir()}
        assert NEW_DIGEST in names
        assert len(names) == 2
        for result, state in (("not taken", "wanted"), ("kept", "kept")):
            report = {"serial": 7, "result": result, "reason": f"why {result}"}
            assert (await a.post("/edge/v1/release-report", json=report)).status_code == 204
            assert (await shown(filled))["gateway-a"] == (7, state, f"why {result}")
            async with visiting(server.web, "desk@parkmesh.example") as desk:
                page = (await desk.get("/gateways")).text
            words = {"wanted": "Fetches it at its next contact, and tries it", "kept": "Took it"}
            assert f"Release 000000000007: {words[state]}" in page
            assert f"why {result}" in page
            assert page.count('data-testid="release"') == 1, "the other gateway has no order"
        assert await told(a) == 0
        # What is done is done, and another gateway has no say in it.
        for client in (a, b):
            late = {"serial": 7, "result": "put back", "reason": "late"}
            assert (await client.post("/edge/v1/release-report", json=late)).status_code == 204
        assert (await shown(filled))["gateway-a"][1] == "kept"


async def test_a_fetch_that_was_interrupted_goes_on_and_mends_what_is_damaged(
    filled: Database, server: Server, tmp_path: Path
) -> None:
    await publish(filled)
    inbox, have = tmp_path / "pull", folder(tmp_path / "have", {})
    assert (await asyncio.to_thread(fetch, server, inbox, have)).parts == 4
    assert (await asyncio.to_thread(fetch, server, inbox, have)).parts == 0
    (inbox / "parts" / NEW_DIGEST).write_bytes(b"damaged")
    (inbox / "parts" / ("0" * 64)).write_bytes(b"of another release")
    assert (await asyncio.to_thread(fetch, server, inbox, have)).parts == 1
    assert len(list((inbox / "parts").iterdir())) == 4
    with pytest.raises(FetchError, match="HTTP 404: the release isn't there any more"):
        await asyncio.to_thread(fetch, server, inbox, have, serial=8)
    assert not (inbox / "ready").exists()


async def test_an_answer_has_a_bounded_size_and_at_least_one_part(filled: Database, gateway: Gateway) -> None:
    import random

    source = random.Random(1)
    files = {f"lib/{n}": source.randbytes(edge_releases.ANSWER_BYTES // 2 - 100) for n in range(3)}
    files["lib/large"] = source.randbytes(2 * edge_releases.ANSWER_BYTES)
    await publish(filled, files=files)
    wanted = [hashlib.sha256(files[name]).hexdigest() for name in files]
    async with gateway("gateway-a") as client:
        answer = await client.post("/edge/v1/release-parts", json={"parts": wanted})
        assert [digest for digest, _ in releases.read_frames(answer.content)] == wanted[:2]
        answer = await client.post("/edge/v1/release-parts", json={"parts": wanted[3:] + wanted[:1]})
        assert [digest for digest, _ in releases.read_frames(answer.content)] == wanted[3:]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"parts": ["0" * 64]}, 404),
        ({"parts": []}, 422),
        ({"parts": ["x"]}, 422),
        ({"parts": ["0" * 64] * 257}, 422),
    ],
)
async def test_bad_questions_get_problem_details(gateway: Gateway, body: dict[str, Any], status: int) -> None:
    async with gateway("gateway-a") as client:
        answer = await client.post("/edge/v1/release-parts", json=body)
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
        assert (await client.get("/edge/v1/releases/99999999999999999999")).status_code == 404


async def test_without_a_token_of_a_gateway_nothing_is_served(filled: Database, server: Server) -> None:
    await publish(filled)
    async with httpx.AsyncClient(base_url=server.edge, headers={"Authorization": "Bearer " + "x" * 32}) as client:
        assert (await client.get("/edge/v1/releases/7")).status_code == 401
        assert (await client.post("/edge/v1/release-parts", json={"parts": [NEW_DIGEST]})).status_code == 401
        report = {"serial": 7, "result": "kept"}
        assert (await client.post("/edge/v1/release-report", json=report)).status_code == 401


async def test_few_downloads_run_at_once_and_the_others_are_told_when_to_return(
    filled: Database, gateway: Gateway, owner: Any
) -> None:
    await publish(filled)
    async with gateway("gateway-a") as client:
        async with owner.transaction():
            # Held up in the database, until the lock ends.
            await owner.execute("LOCK TABLE gateway_release")
            held = [asyncio.create_task(client.get("/edge/v1/releases/7")) for _ in range(edge_releases.AT_ONCE)]
            await asyncio.sleep(0.5)
            refused = await client.get("/edge/v1/releases/7")
            assert refused.status_code == 503
            assert edge_releases.AGAIN_S[0] <= int(refused.headers["retry-after"]) <= edge_releases.AGAIN_S[1]
            assert await told(client) == 0
        assert {(await task).status_code for task in held} == {200}


async def test_a_number_goes_up_and_a_document_that_is_not_whole_is_refused(filled: Database) -> None:
    await publish(filled, gateways={"a": []})
    with pytest.raises(release_publication.DocumentError, match="number 7 isn't above 7"):
        await publish(filled)
    assert (await shown(filled)) == {"gateway-a": (7, "wanted", "")}
    whole = release_files.document(serial=8)
    for broken, says in (
        ({**whole, "parts": whole["parts"][1:]}, "lacks 1 parts"),
        ({**whole, "signature": ""}, "the signature has 0 bytes"),
        ({**whole, "parts": [{**whole["parts"][0], "sha256": "0" * 64}]}, "its SHA-256 is another"),
        (release_files.document({"../x": b""}), "no file of a release"),
        (release_files.document(format=2), "format 2"),
    ):
        with pytest.raises(release_publication.DocumentError, match=says):
            release_publication.read(json.dumps(broken).encode())


async def test_old_releases_go_with_their_parts_and_those_that_are_waited_for_stay(
    filled: Database, owner: Any
) -> None:
    await publish(filled, serial=1, files={"lib/one": b"1"}, gateways={"a": []})
    for serial in range(2, 8):
        await publish(filled, serial=serial, files={"lib/one": str(serial).encode()})
    assert [row["serial"] for row in await owner.fetch("SELECT serial FROM gateway_release ORDER BY 1")] == [
        *(1, 4, 5, 6, 7)
    ]
    assert await owner.fetchval("SELECT count(*) FROM gateway_release_part") == 5
    connection = await asyncpg.connect(filled.app)
    assert await release_publication.cancel(connection, {"a": ["gateway-none"]}) == 0
    assert await release_publication.cancel(connection, {"a": []}) == 1
    await connection.close()
    await publish(filled, serial=8)
    assert [row["serial"] for row in await owner.fetch("SELECT serial FROM gateway_release ORDER BY 1")] == [5, 6, 7, 8]


def test_the_commands_print_json(filled: Database, parkmesh: Callable[..., Any]) -> None:
    where = {"PARKMESH_DATABASE_URL": filled.app}
    document = json.dumps(release_files.document(gateways={"a": ["gateway-a"]}))
    done = parkmesh("admin", "publish-release", "--file=-", stdin=document, **where)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["ordered"] == 1
    done = parkmesh("admin", "publish-release", "--file=-", stdin=document, **where)
    assert (done.returncode, len(done.stderr.strip().splitlines())) == (2, 1), done.stderr
    done = parkmesh("admin", "show-releases", **where)
    assert json.loads(done.stdout)[0]["state"] == "wanted"
    done = parkmesh("admin", "cancel-releases", "--file=-", stdin='{"a": []}', **where)
    assert json.loads(done.stdout) == {"changed": True, "ended": 1}
