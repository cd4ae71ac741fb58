"""QR codes and PINs of visitor passes: from the visitor's page over a gateway's list to the passage that staff see."""

import asyncio
import html
import json
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from page_visitor import Visitor, alerts, visiting
from parkmesh.domain import pass_codes as codes
from parkmesh.gateway.config import Config, Reader
from parkmesh.gateway.decider import Decider
from parkmesh.gateway.gates import Gate, Relay
from parkmesh.gateway.intake import Intake
from parkmesh.gateway.listener import application
from parkmesh.gateway.spool import Spool
from parkmesh.gateway.strays import Strays
from parkmesh.protocol.edge import AccessList
from parkmesh.server.commands import retention
from parkmesh.server.reservations import pass_codes as pass_code_keys
from parkmesh.server.web import links
from running_server import Database, Server
from test_bookings import changed, send, window
from test_visitor_passes import address
from two_communities import rows

Gateway = Callable[[str], httpx.AsyncClient]
People = Callable[[str], Any]
ANY = {"If-Match": "*"}
RULES = "/api/v1/communities/a/rules"
CODE_KEY = "/api/v1/communities/a/code-key"


@pytest.fixture
async def using_codes(people: People) -> httpx.AsyncClient:
    """Let community a use codes; return its administrator."""
    client: httpx.AsyncClient = await people("administrator@a.example")
    answer = await client.patch(RULES, json={"visitor_codes": True}, headers=ANY)
    assert answer.status_code == 200, answer.text
    return client


@pytest.fixture
async def ana(people: People) -> httpx.AsyncClient:
    client: httpx.AsyncClient = await people("resident@a.example")
    return client


async def passes(client: httpx.AsyncClient, **wish: Any) -> Any:
    return await send(client, "POST", "/visitor-passes", 201, json={**window(0, 5), **wish})


async def pulled(gateway: Gateway, version: int = 0, epoch: int = 0, name: str = "gateway-a") -> AccessList:
    async with gateway(name) as client:
        query = f"version={version}&epoch={epoch}&features=rules,codes,codes-2"
        answer = await client.get(f"/edge/v1/access-list?{query}")
    return msgspec.json.decode(answer.content, type=AccessList)


class Site:
    """A gateway of community a without the line: it decides by the lists that it is handed."""

    def __init__(self, decider: Decider, spool: Spool, lan: httpx.AsyncClient) -> None:
        self.decider, self.spool, self.lan = decider, spool, lan

    async def shows(self, code: str, way: str = "in") -> tuple[int, str]:
        answer = await self.lan.post(f"/readers/{way}/codes", json={"code": code})
        return answer.status_code, answer.json()["reason"]

    async def drain(self, gateway: Gateway) -> None:
        """Bring what happened to the server."""
        events = [msgspec.json.decode(event) for event in self.spool.batch(100)]
        async with gateway("gateway-a") as client:
            answer = await client.post("/edge/v1/events", json={"epoch": self.spool.epoch, "events": events})
        assert answer.status_code == 200, answer.text


@asynccontextmanager
async def at_the_gate(folder: Path, listed: AccessList) -> AsyncIterator[Site]:
    async def opens(_: Relay) -> None: ...

    def now() -> int:
        return int(time.time() * 1000)

    config = Config(
        name="gateway-a",
        community="a",
        spool=str(folder / "spool.db"),
        token_file="token",
        servers=["http://127.0.0.1:1"],
        readers=[Reader("in", "main-in", "entry"), Reader("out", "main-out", "exit")],
        gates=[Gate("main-in", Relay("http://127.0.0.1:1")), Gate("main-out", Relay("http://127.0.0.1:2"))],
    )
    spool = Spool(Path(config.spool), now=now())
    decider = Decider(config, spool, opens, clock=now)
    await decider.activate(listed)
    running = asyncio.create_task(decider.run())
    app = application(Intake(config, spool, decider, clock=now), decider, dict, Strays(now), config.readers)
    try:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway") as lan:
            yield Site(decider, spool, lan)
    finally:
        decider.stop()
        await running
        decider.close()
        spool.close()


async def test_a_code_that_came_in_at_one_gateway_is_used_at_the_others(
    using_codes: httpx.AsyncClient, ana: httpx.AsyncClient, gateway: Gateway, server: Server, owner: Any, tmp_path: Path
) -> None:
    made = await passes(ana)
    await rows(owner, "a", "UPDATE visitor_pass SET starts_at = now() - interval '1 hour' WHERE community_id = $1")
    async with httpx.AsyncClient(base_url=server.web) as visitor:
        qr = (await visitor.get(address(made))).json()["code"]["qr"]
    before = await pulled(gateway)
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    async with at_the_gate(tmp_path / "here", before) as here, at_the_gate(tmp_path / "there", before) as there:
        assert await here.shows(qr) == (200, "by_code")
        await here.drain(gateway)
        now = await pulled(gateway, before.version, before.epoch)
        assert now.version > before.version, "the others are told to fetch it"
        await there.decider.activate(now)
        assert await there.shows(qr) == (403, "code_used")
        # The batch again, after a server that died: nothing changes, and nobody fetches anything.
        await here.drain(gateway)
        assert (await pulled(gateway, now.version, now.epoch)).version == now.version
        assert await there.shows(qr, "out") == (200, "by_code"), "nobody is kept inside"


async def test_a_visitor_comes_in_and_leaves_without_a_plate(
    using_codes: httpx.AsyncClient,
    ana: httpx.AsyncClient,
    admin: Visitor,
    gateway: Gateway,
    server: Server,
    owner: Any,
    tmp_path: Path,
) -> None:
    first = await passes(ana, name="Plumber")
    await rows(owner, "a", "UPDATE visitor_pass SET starts_at = now() - interval '1 hour' WHERE community_id = $1")
    listed = await pulled(gateway)
    made = await passes(ana, name="Cousin")  # the gateway doesn't know of this one yet
    await rows(owner, "a", "UPDATE visitor_pass SET starts_at = now() - interval '1 hour' WHERE community_id = $1")
    async with visiting(server.web) as visitor:
        page = (await visitor.get(f"/{links.VISIT}/{made['link'].rpartition('/')[2]}")).text
        code = (await visitor.client.get(address(made))).json()["code"]
        pin = (await visitor.client.get(address(first))).json()["code"]["pin"]
    assert re.search(r'data-testid="pin">(\d{4}) (\d{4})<', page)
    assert re.search(r'data-testid="qr"><svg [^>]*class="qr"', page)
    assert code["pin"] in re.sub(r"(?<=\d) (?=\d)", "", html.unescape(page))
    async with at_the_gate(tmp_path, listed) as site:
        assert await site.shows(code["qr"]) == (200, "by_code")
        assert await site.shows(pin) == (200, "by_code")
        assert await site.shows(code["qr"], "out") == (200, "by_code")
        await site.drain(gateway)
    seen = (await using_codes.get("/api/v1/communities/a/passages")).json()["items"]
    assert [(p["gate"], p["reason"], p["opened"], p["holder"]["visitor_pass_id"]) for p in seen] == [
        ("main-out", "by_code", True, made["id"]),
        ("main-in", "by_code", True, first["id"]),
        ("main-in", "by_code", True, made["id"]),
    ]
    assert (seen[0]["holder"]["credential"], seen[0]["holder"]["visitor"]) == (None, "Cousin")
    shown = (await admin.get("/communities/a/passages")).text
    assert shown.count("QR code or PIN") == 3
    assert f'/communities/a/visitor-passes/{made["id"]}">Cousin' in shown


async def test_a_pass_taken_back_and_a_new_link_reach_the_gates(
    using_codes: httpx.AsyncClient, ana: httpx.AsyncClient, gateway: Gateway, server: Server, tmp_path: Path
) -> None:
    made = await passes(ana)
    async with httpx.AsyncClient(base_url=server.web) as visitor:
        old = (await visitor.get(address(made))).json()["code"]
        held = await pulled(gateway)
        renewed = await send(ana, "POST", f"/visitor-passes/{made['id']}/link", 200)
        new = (await visitor.get(address(renewed))).json()["code"]
        assert old != new
        update = await pulled(gateway, held.version, held.epoch)
        assert (update.full, update.version > held.version) == (False, True)
        async with at_the_gate(tmp_path, held) as site:
            await site.decider.activate(update)
            assert await site.shows(old["qr"]) == (403, "revoked")
            assert await site.shows(old["pin"]) == (403, "unknown_code")
            await changed(ana, "POST", f"/visitor-passes/{made['id']}/cancel", 200, {})
            taken = await pulled(gateway, update.version, update.epoch)
            assert taken.version > update.version
            await site.decider.activate(taken)
            assert await site.shows(new["qr"]) == (403, "revoked")
            assert await site.shows(new["pin"]) == (403, "revoked")
        assert (await visitor.get(address(renewed))).json()["code"] is None


async def test_without_the_rule_nobody_has_a_code(
    ana: httpx.AsyncClient, gateway: Gateway, server: Server, people: People
) -> None:
    made = await passes(ana)
    held = await pulled(gateway)
    assert held.codes is not None
    assert held.codes.key == ""
    async with visiting(server.web) as visitor:
        assert (await visitor.client.get(address(made))).json()["code"] is None
        assert 'data-testid="qr"' not in (await visitor.get(f"/{links.VISIT}/{made['link'].rpartition('/')[2]}")).text
        administrator = await people("administrator@a.example")
        await administrator.patch(RULES, json={"visitor_codes": True}, headers=ANY)
        assert (await visitor.client.get(address(made))).json()["code"]
    update = await pulled(gateway, held.version, held.epoch)
    assert update.codes is not None
    assert [code.visitor_pass for code in update.codes.codes] == [made["id"]]
    theirs = await pulled(gateway, name="gateway-b")
    assert theirs.codes is not None
    assert (theirs.codes.key, theirs.codes.codes) == ("", [])
    async with gateway("gateway-a") as client:  # of the release before
        assert "codes" not in (await client.get("/edge/v1/access-list?version=0&epoch=0&features=rules")).json()


async def test_gateways_that_know_the_first_form_of_codes_are_told_no_more(
    using_codes: httpx.AsyncClient, ana: httpx.AsyncClient, gateway: Gateway, owner: Any
) -> None:
    former = await passes(ana)
    assert (await using_codes.post(f"{CODE_KEY}/renew", headers=ANY)).status_code == 200
    present = await passes(ana)
    await rows(owner, "a", "UPDATE pass_code SET used = 'entry', used_at = now() WHERE community_id = $1")
    async with gateway("gateway-a") as client:
        first, second = [
            (await client.get(f"/edge/v1/access-list?version=0&epoch=0&features=rules,{asked}")).json()["codes"]
            for asked in ("codes", "codes,codes-2")
        ]
    # They refuse a list with members that they don't know, and so would let in whom the list before let in.
    assert set(first) == {"key", "codes"}
    assert [set(code) - {"status"} for code in first["codes"]] == [
        {"visitor_pass", "number", "pin", "valid_from", "valid_until"}
    ]
    assert [code["visitor_pass"] for code in first["codes"]] == [present["id"]]
    assert [code["visitor_pass"] for code in second["codes"]] == [former["id"], present["id"]]
    assert [(code["used"], "used_at" in code) for code in second["codes"]] == [("entry", True)] * 2
    assert len(second["former"]) == 1


async def test_two_passes_never_have_one_pin(
    using_codes: httpx.AsyncClient,
    ana: httpx.AsyncClient,
    gateway: Gateway,
    owner: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def few(secret: bytes, visitor_pass: int, number: int) -> str:
        return f"0000000{number}"

    monkeypatch.setattr(codes, "pin", few)
    await asyncio.gather(*(passes(ana) for _ in range(2)))
    # Digests of another key's PINs look different; the PINs are the same.
    assert (await using_codes.post(f"{CODE_KEY}/renew", headers=ANY)).status_code == 200
    await passes(ana)
    found = await rows(owner, "a", "SELECT number, pin FROM pass_code WHERE community_id = $1 ORDER BY number")
    assert [row["number"] for row in found] == [1, 2, 3]
    assert len({row["pin"] for row in found}) == 3
    key = (await rows(owner, "a", "SELECT signing FROM pass_key WHERE community_id = $1"))[0]["signing"]
    assert found[2]["pin"] == codes.pin_digest(key, "00000003")


async def test_a_barred_plate_s_pass_opens_nothing(
    using_codes: httpx.AsyncClient, ana: httpx.AsyncClient, gateway: Gateway, people: People
) -> None:
    made = await passes(ana, plate="9999ZZZ")
    answer = await using_codes.post("/api/v1/communities/a/bars", json={"plate": "9999ZZZ", "reason": "blocks the way"})
    assert answer.status_code == 201, answer.text
    listed = await pulled(gateway)
    assert listed.codes is not None
    assert [(code.visitor_pass, code.status) for code in listed.codes.codes] == [(made["id"], "revoked")]


async def test_a_renewed_key_leaves_the_codes_that_visitors_have(
    using_codes: httpx.AsyncClient,
    ana: httpx.AsyncClient,
    gateway: Gateway,
    server: Server,
    owner: Any,
    tmp_path: Path,
) -> None:
    async def code(of: Any) -> Any:
        started = "UPDATE visitor_pass SET starts_at = now() - interval '1 hour'"
        await rows(owner, "a", f"{started} WHERE community_id = $1 AND starts_at > now()")
        async with httpx.AsyncClient(base_url=server.web) as visitor:
            return (await visitor.get(address(of))).json()["code"]

    assert (await using_codes.get(CODE_KEY)).status_code == 404, "there is no key before the first pass"
    first, forgotten = await passes(ana, name="Plumber"), await passes(ana, name="Cousin")
    old, lost = await code(first), await code(forgotten)
    before = await pulled(gateway)
    [stolen] = await rows(owner, "a", "SELECT signing FROM pass_key WHERE community_id = $1")
    assert (await using_codes.post(f"{CODE_KEY}/renew")).status_code == 428
    assert (await ana.post(f"{CODE_KEY}/renew", headers=ANY)).status_code == 403
    seen = (await using_codes.get(CODE_KEY)).headers["etag"]
    answer = await using_codes.post(f"{CODE_KEY}/renew", headers={"If-Match": seen})
    assert answer.status_code == 200, answer.text
    again = await using_codes.post(f"{CODE_KEY}/renew", headers={"If-Match": seen})
    assert again.status_code == 412, "an answer that was lost makes no third key"
    told = answer.json()
    assert (told["number"], told["former_keys"], told["former_until"]) == (2, 1, forgotten["until"])
    assert "gateway-a" in told["outdated_gateways"]
    new = await passes(ana, name="Painter")
    fresh = await code(new)
    renewed = await pulled(gateway, before.version, before.epoch)
    assert (await code(first)) == old, "the visitor's page shows what gateways without the line take, too"
    forged = codes.text(stolen["signing"], codes.Code(999, 1, 0, 2**42))
    taken_over = codes.text(stolen["signing"], codes.Code(new["id"], 1, 0, 2**42))
    async with at_the_gate(tmp_path, before) as site:
        assert await site.shows(forged) == (200, "by_code"), "whoever has the key makes codes"
        assert await site.shows(fresh["qr"]) == (403, "unknown_code"), "the line is down"
        assert await site.shows(old["qr"]) == (200, "by_code")
        assert await site.shows(old["qr"], "out") == (200, "by_code")
        await site.decider.activate(renewed)
        assert await site.shows(forged, "out") == (403, "unknown_code")
        assert await site.shows(taken_over) == (403, "unknown_code")
        for shown in (old["pin"], fresh["qr"], lost["pin"], fresh["pin"]):
            assert await site.shows(shown, "out") == (200, "by_code")
        assert await site.shows(old["qr"]) == (200, "by_code")
        link = await send(ana, "POST", f"/visitor-passes/{forgotten['id']}/link", 200)
        await site.decider.activate(await pulled(gateway, renewed.version, renewed.epoch))
        assert await site.shows(lost["qr"]) == (403, "revoked")
        assert await site.shows((await code(link))["qr"]) == (200, "by_code")
    # The last code of the former key runs out: nothing of it stays.
    await rows(owner, "a", "UPDATE visitor_pass SET ends_at = now() WHERE id = $2 AND community_id = $1", first["id"])
    report = await retention.run(owner, datetime.now(UTC))
    assert report.rows["former_pass_key"] == 1
    after = await pulled(gateway, renewed.version, renewed.epoch)
    assert after.version > renewed.version + 1
    assert after.codes is not None
    assert (after.codes.former, {one.key for one in after.codes.codes}) == ([], {0})
    assert (await using_codes.get(CODE_KEY)).json()["former_keys"] == 0
    trail = (await using_codes.get("/api/v1/communities/a/audit?action=code-key.renew")).json()["items"]
    assert [(act["object"], act["detail"]) for act in trail] == [("code-key", {"number": 2})]


async def test_staff_renew_the_key_on_the_gates_page(
    using_codes: httpx.AsyncClient, ana: httpx.AsyncClient, admin: Visitor
) -> None:
    gates = "/communities/a/gates"
    assert 'data-testid="code-key"' not in (await admin.get(gates)).text, "there is no key before the first pass"

    async def renew(seen: str) -> httpx.Response:
        return await admin.send("/communities/a/code-key", of=gates, code_key_seen=seen)

    for renewals in range(1, pass_code_keys.MOST_FORMER + 1):
        await passes(ana)
        seen = await admin.seen(gates, "code_key_seen")
        assert (await renew(seen)).headers["location"] == f"{gates}?done=code-key-renewed"
        assert "changed this in the meantime" in alerts(await renew(seen))
        assert (await using_codes.get(CODE_KEY)).json()["former_keys"] == renewals
    shown = html.unescape((await admin.get(gates)).text)
    assert "Codes of the key before stay valid until" in shown
    assert "New codes don't open yet at: gateway-a" in shown
    await passes(ana)
    assert "former keys are still valid" in alerts(await renew(await admin.seen(gates, "code_key_seen")))
    answer = await using_codes.post(f"{CODE_KEY}/renew", headers=ANY)
    assert (answer.status_code, answer.json()["type"].rpartition(":")[2]) == (409, "code-keys")


async def test_operators_renew_keys_that_are_old(
    using_codes: httpx.AsyncClient, ana: httpx.AsyncClient, filled: Database, parkmesh: Callable[..., Any]
) -> None:
    def renew(*arguments: str) -> Any:
        done = parkmesh("admin", "renew-code-keys", *arguments, PARKMESH_DATABASE_URL=filled.app)
        return json.loads(done.stdout) if done.returncode == 0 else done.returncode

    nothing: dict[str, Any] = {
        "changed": False, "renewed": [], "kept": [], "refused": [], "unknown": [], "outdated_gateways": []
    }  # fmt: skip
    await passes(ana)
    named = ("--community=a", "--community=x", "--older-than-hours=1")
    assert renew() == renew("--all", "--community=a") == 2
    first = {"changed": True, "renewed": ["a"], "kept": ["b"], "outdated_gateways": ["a/gateway-a"]}
    assert renew("--all") == {**nothing, **first}
    assert renew(*named) == {**nothing, "kept": ["a"], "unknown": ["x"]}
    assert (await using_codes.get(CODE_KEY)).json()["number"] == 2
    [entry] = (await using_codes.get("/api/v1/communities/a/audit?action=code-key.renew")).json()["items"]
    assert entry["actor"] == "system:admin"
