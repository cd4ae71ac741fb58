"""Gates, lanes, opening by hand, what a gate would decide, the rules that reach it, and what other gates saw."""

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncGenerator, Callable
from typing import Any

import httpx
import msgspec
import pytest
from parkmesh.protocol import edge
from parkmesh.server.db import database
from parkmesh.server.edge import app as edge_app
from parkmesh.server.edge.announcements import Announcements
from running_server import Database, Server
from two_communities import apply, rows

Gateway = Callable[[str], httpx.AsyncClient]
People = Callable[[str], Any]
GATES = "/api/v1/communities/a/gates"
RULES = "/api/v1/communities/a/rules"
ANY = {"If-Match": "*"}


async def test_gates_and_lanes_are_made_changed_and_removed(people: People, owner: Any) -> None:
    admin = await people("administrator@a.example")
    lanes = [{"name": "left", "direction": "entry", "cameras": ["cam-1"]}, {"name": "right", "direction": "exit"}]
    made = await admin.post(GATES, json={"name": "north", "title": "North", "direction": "both", "lanes": lanes})
    assert made.status_code == 201, made.text
    assert made.headers["location"] == f"{GATES}/north"
    again = await admin.post(GATES, json={"name": "north", "title": "North", "direction": "both"})
    assert again.status_code == 409
    read = await admin.get(f"{GATES}/north")
    assert (read.json(), read.headers["etag"]) == (made.json(), made.headers["etag"])
    body = {"title": "North gate", "direction": "entry", "lanes": lanes[:1]}
    assert (await admin.put(f"{GATES}/north", json=body)).status_code == 428
    changed = await admin.put(f"{GATES}/north", json=body, headers={"If-Match": made.headers["etag"]})
    assert (changed.status_code, changed.json()["lanes"]) == (200, [lanes[0]])
    stale = await admin.put(f"{GATES}/north", json=body, headers={"If-Match": made.headers["etag"]})
    assert stale.status_code == 412
    assert [gate["name"] for gate in (await admin.get(GATES)).json()["items"]] == ["main-in", "main-out", "north"]
    assert (await admin.delete(f"{GATES}/north", headers=ANY)).status_code == 204
    assert (await admin.get(f"{GATES}/north")).status_code == 404
    acts = await rows(owner, "a", "SELECT action FROM audit_entry WHERE community_id = $1 ORDER BY id")
    assert [act["action"] for act in acts] == ["gate.create", "gate.change", "gate.delete"]
    resident = await people("resident@a.example")
    assert (await resident.get(GATES)).status_code == 200
    assert (await resident.post(GATES, json={"name": "x", "title": "X", "direction": "both"})).status_code == 403
    assert (await resident.delete(f"{GATES}/main-in", headers=ANY)).status_code == 403


@pytest.mark.parametrize(
    "body",
    [
        {"name": "North", "title": "N", "direction": "both"},
        {"name": "north", "title": "", "direction": "both"},
        {"name": "north", "title": "a\u0000b", "direction": "both"},
        {"name": "north", "title": "N", "direction": "up"},
        {"name": "north", "title": "N", "direction": "both", "lanes": [{"name": "l", "direction": "both"}]},
        {"name": "north", "title": "N", "direction": "both", "lanes": [{"name": "l", "direction": "exit"}] * 2},
        {"name": "north", "title": "N", "direction": "both", "colour": "red"},
    ],
)
async def test_what_is_no_gate_is_refused(people: People, body: dict[str, Any]) -> None:
    admin = await people("administrator@a.example")
    assert (await admin.post(GATES, json=body)).status_code == 422


async def test_who_may_open_a_gate(people: People, owner: Any, connected: None) -> None:
    opened = f"{GATES}/main-in/open"
    administrator, resident = await people("administrator@a.example"), await people("resident@a.example")
    assert (await administrator.post(opened, json={})).status_code == 422
    assert (await administrator.post(opened, json={"reason": "delivery"})).status_code == 202
    assert (await administrator.post(f"{GATES}/nowhere/open", json={"reason": "delivery"})).status_code == 404
    assert (await resident.post(opened, json={"reason": "please"})).status_code == 403
    assert (await administrator.patch(RULES, json={"residents_open_gates": True}, headers=ANY)).status_code == 200
    answers = [(await resident.post(opened, json={})).status_code for _ in range(5)]
    assert answers == [202, 202, 202, 202, 429]
    last = await resident.post(opened, json={})
    assert 1 <= int(last.headers["retry-after"]) <= 60
    told = await rows(owner, "a", "SELECT detail FROM audit_entry WHERE community_id = $1 AND action = 'gate.open'")
    assert [json.loads(row["detail"])["role"] for row in told] == ["administrator", *["resident"] * 4]


async def test_openings_at_once_are_counted_one_by_one(people: People, connected: None) -> None:
    administrator, resident = await people("administrator@a.example"), await people("resident@a.example")
    await administrator.patch(RULES, json={"residents_open_gates": True}, headers=ANY)
    asked = (resident.post(f"{GATES}/main-in/open", json={}) for _ in range(8))
    assert sorted(answer.status_code for answer in await asyncio.gather(*asked)) == [202] * 4 + [429] * 4


async def test_rules_are_changed_by_staff_and_audited(people: People, owner: Any) -> None:
    administrator, resident = await people("administrator@a.example"), await people("resident@a.example")
    present = await resident.get(RULES)
    assert (present.status_code, present.json()["anti_passback"]) == (200, "off")
    wanted = present.json() | {"anti_passback": "hard", "lots_per_unit": 2}
    assert (await resident.put(RULES, json=wanted, headers=ANY)).status_code == 403
    assert (await administrator.put(RULES, json=wanted)).status_code == 428
    changed = await administrator.put(RULES, json=wanted, headers={"If-Match": present.headers["etag"]})
    assert (changed.status_code, changed.json()) == (200, wanted)
    stale = await administrator.put(RULES, json=wanted, headers={"If-Match": present.headers["etag"]})
    assert stale.status_code == 412
    same = await administrator.put(RULES, json=wanted, headers={"If-Match": changed.headers["etag"]})
    assert same.status_code == 200
    for wrong in ({"anti_passback": "maybe"}, {"entry_hold_s": 61}, {"lots_per_unit": -1}, {"colour": 1}):
        assert (await administrator.patch(RULES, json=wrong, headers=ANY)).status_code == 422
    (act,) = await rows(owner, "a", "SELECT detail FROM audit_entry WHERE community_id = $1")
    assert json.loads(act["detail"]) == {"anti_passback": ["off", "hard"], "lots_per_unit": [None, 2]}


async def access_list(client: httpx.AsyncClient, **asked: Any) -> edge.AccessList:
    answer = await client.get("/edge/v1/access-list", params=asked)
    return msgspec.json.decode(answer.content, type=edge.AccessList)


async def test_rules_units_and_corrections_reach_a_gateway_that_asks_for_them(people: People, gateway: Gateway) -> None:
    admin = await people("administrator@a.example")
    async with gateway("gateway-a") as client:
        raw = (await client.get("/edge/v1/access-list")).json()
        assert set(raw) == {"version", "full", "entries"}  # what a gateway of the first release knows, and no more
        assert all(set(entry) <= {"credential_id", "plate", "status"} for entry in raw["entries"])
        full = await access_list(client, version=raw["version"], epoch=0, features="rules")
        assert (full.full, full.version, full.epoch > 0) == (True, raw["version"], True)
        assert full.rules == edge.GateRules()
        units = {entry.plate: entry.unit for entry in full.entries}
        assert units["1234BCD"] is not None
        assert units["1234BCD"] != units["5678AXX"]

        asked = {"epoch": full.epoch, "features": "rules"}
        await admin.patch(RULES, json={"anti_passback": "soft", "entry_hold_s": 3}, headers=ANY)
        changed = await access_list(client, version=full.version, **asked)
        assert (changed.full, changed.version, changed.entries) == (False, full.version + 1, [])
        assert changed.rules == edge.GateRules(anti_passback="soft", entry_hold_s=3)
        assert changed.rules.exit_is_free
        await admin.patch(RULES, json={"exit_is_free": False}, headers=ANY)
        changed = await access_list(client, version=changed.version, **asked)
        assert (changed.full, changed.entries, changed.rules) == (
            False,
            [],
            edge.GateRules(anti_passback="soft", entry_hold_s=3, exit_is_free=False),
        )
        await admin.patch(RULES, json={"anti_passback": "soft", "entry_hold_s": 3, "booking_max_hours": 9}, headers=ANY)
        assert (await access_list(client, version=changed.version, **asked)).version == changed.version

        place = "/api/v1/communities/a/presence/1234BCD"
        assert (await admin.put(place, json={"inside": True, "reason": "seen"}, headers=ANY)).status_code == 200
        corrected = await access_list(client, version=changed.version, **asked)
        assert [(item.plate, item.inside) for item in corrected.presence] == [("1234BCD", True)]
        assert (await access_list(client, version=corrected.version, **asked)).presence == []
        whole = await access_list(client, version=1, epoch=1, features="rules")
        assert (whole.full, [item.plate for item in whole.presence]) == (True, ["1234BCD"])


async def test_a_change_of_lots_or_of_the_unit_is_a_change_of_the_list(gateway: Gateway, owner: Any) -> None:
    async with gateway("gateway-a") as client:
        held = await access_list(client, epoch=0, features="rules")
        asked = {"epoch": held.epoch, "features": "rules"}
        await rows(owner, "a", "UPDATE unit SET lots = 3 WHERE community_id = $1 AND name = '1A'")
        lots = await access_list(client, version=held.version, **asked)
        assert [(entry.plate, entry.lots) for entry in lots.entries] == [("1234BCD", 3)]
        await rows(owner, "a", "UPDATE resident SET unit_id = NULL WHERE community_id = $1 AND name = 'Ana'")
        moved = await access_list(client, version=lots.version, **asked)
        assert [(entry.plate, entry.unit) for entry in moved.entries] == [("1234BCD", None)]


async def test_another_epoch_and_forgotten_changes_bring_the_full_list(gateway: Gateway, owner: Any) -> None:
    async with gateway("gateway-a") as client:
        held = await access_list(client, epoch=0)
        await rows(owner, "a", "UPDATE credential SET status = 'revoked' WHERE community_id = $1 AND plate = '1234BCD'")
        assert not (await access_list(client, version=held.version, epoch=held.epoch)).full
        assert (await access_list(client, version=held.version, epoch=held.epoch + 1)).full
        await owner.execute("SELECT set_config('parkmesh.scope', 'retention', false)")
        await owner.execute("UPDATE community SET access_list_floor = access_list_version")
        assert (await access_list(client, version=held.version, epoch=held.epoch)).full
        beat = {"sent": 1, "version": "1", "backlog": 0, "access_list_version": 0}
        ack = (await client.post("/edge/v1/heartbeat", json=beat)).json()
        assert ack["access_list_epoch"] == held.epoch


async def test_what_a_gate_would_decide(people: People) -> None:
    admin = await people("administrator@a.example")

    async def predicted(plate: str, gate: str = "main-in") -> tuple[str, str]:
        answer = await admin.get(f"{GATES}/{gate}/decision", params={"plate": plate})
        assert answer.status_code == 200, answer.text
        return answer.json()["decision"], answer.json()["reason"]

    assert await predicted("1234-bcd") == ("granted", "exact")
    assert await predicted("9999 ZZZ") == ("denied", "unknown_plate")
    await admin.patch(RULES, json={"anti_passback": "hard"}, headers=ANY)
    await admin.put(
        "/api/v1/communities/a/presence/1234BCD", json={"inside": True, "reason": "seen there"}, headers=ANY
    )
    assert await predicted("1234BCD") == ("denied", "anti_passback")
    assert await predicted("1234BCD", "main-out") == ("granted", "exact")
    assert await predicted("9999ZZZ", "main-out") == ("granted", "exit_is_free")
    await admin.patch(RULES, json={"exit_is_free": False}, headers=ANY)
    assert await predicted("9999ZZZ", "main-out") == ("denied", "unknown_plate")
    await admin.patch(RULES, json={"lots_per_unit": 0}, headers=ANY)
    assert await predicted("5678AXX") == ("denied", "lots_full")
    assert (await (await people("resident@a.example")).get(f"{GATES}/main-in/decision?plate=X1")).status_code == 403


async def test_the_live_servers_are_named(gateway: Gateway, owner: Any) -> None:
    await owner.execute("SELECT set_config('parkmesh.scope', 'server', false)")
    await owner.execute(
        """
        DELETE FROM server;
        INSERT INTO server (id, edge_url, version, started_at, last_seen_at, draining) VALUES
            ('live', 'http://10.242.0.11:8001', '1', now(), now(), false),
            ('goes', 'http://10.242.0.12:8001', '1', now(), now(), true),
            ('dead', 'http://10.242.0.13:8001', '1', now(), now() - interval '1 minute', false)
        """
    )
    async with gateway("gateway-a") as client:
        named = set((await client.get("/edge/v1/servers")).json()["servers"])
    # The server under test says every few seconds that it lives, and may have done so since.
    assert named - {client.base_url.copy_with(raw_path=b"")} == {"http://10.242.0.11:8001"}
    async with gateway("gateway-a") as stranger:
        stranger.headers["Authorization"] = "Bearer another-token-of-nobody"
        assert (await stranger.get("/edge/v1/servers")).status_code == 401


OTHER = "token-of-gateway-a2-0123456789"
MOVE = {"type": "passage", "direction": "entry", "decision": "granted", "reason": "exact", "opened": True}


async def second_gateway(filled: Database) -> None:
    """Give community a another gateway."""
    token = hashlib.sha256(OTHER.encode()).hexdigest()
    wish = {"name": "a", "gateways": [{"name": "gateway-a2", "token_sha256": token}]}
    await apply(filled.owner, {"communities": [wish]})


@pytest.fixture
async def second(server: Server) -> AsyncGenerator[httpx.AsyncClient]:
    """Return the client of that other gateway, whether the community has it yet or not."""
    headers = {"Authorization": f"Bearer {OTHER}"}
    async with httpx.AsyncClient(base_url=server.edge, headers=headers, timeout=20) as client:
        yield client


@pytest.fixture
async def strict(filled: Database, people: People) -> httpx.AsyncClient:
    """Give community a another gateway and a rule that needs what both see; return its administrator."""
    await second_gateway(filled)
    admin: httpx.AsyncClient = await people("administrator@a.example")
    await admin.patch(RULES, json={"anti_passback": "hard"}, headers=ANY)
    return admin


async def drive(client: httpx.AsyncClient, seq: int, plate: str, at: int, **members: Any) -> None:
    event = MOVE | {"seq": seq, "gate": "main-in", "plate": plate, "times": {"received": at}} | members
    answer = await client.post("/edge/v1/events", json={"epoch": 1, "events": [event]})
    assert answer.status_code == 200, answer.text


async def moves(client: httpx.AsyncClient, features: str = "presence") -> AsyncGenerator[set[tuple[str, bool]]]:
    """Yield what each frame of a stream says of plates: which is inside."""
    async with client.stream("GET", "/edge/v1/stream", params={"features": features}) as response:
        name = ""
        async for line in response.aiter_lines():
            key, _, value = line.partition(": ")
            name = value if key == "event" else name
            if key == "data" and name in ("presence", "command"):
                told = json.loads(value).get("presence", [])
                yield {(item["plate"], item["inside"]) for item in told}


async def next_of(stream: AsyncGenerator[set[tuple[str, bool]]]) -> set[tuple[str, bool]]:
    return await asyncio.wait_for(anext(stream), 5)


async def test_what_one_gateway_sees_reaches_the_other_at_once(
    second: httpx.AsyncClient, strict: httpx.AsyncClient, gateway: Gateway
) -> None:
    admin, now = strict, int(time.time() * 1000)
    async with gateway("gateway-a") as first, gateway("gateway-b") as foreign:
        await drive(first, 1, "1234BCD", now)
        # At first all that is known by others, then what changes, and never what the gateway saw itself.
        here, there = moves(first), moves(second)
        assert await next_of(there) == {("1234BCD", True)}
        await drive(second, 1, "5678AXX", now)
        assert await next_of(here) == {("5678AXX", True)}
        await drive(first, 2, "5678AXX", now + 1, direction="exit")
        assert await next_of(there) == {("5678AXX", False)}
        # Delivered late: the other gateway's word on it was later, and holds.
        await drive(second, 2, "5678AXX", now - 60_000)
        await drive(first, 3, "NEW1", now + 2)
        assert await next_of(there) == {("NEW1", True)}
        # Passages while no stream was open are told on the next stream.
        await there.aclose()
        await drive(first, 4, "NEW1", now + 3, direction="exit")
        there = moves(second)
        assert await next_of(there) == {("1234BCD", True), ("5678AXX", False), ("NEW1", False)}
        # A person's correction goes to both gateways.
        place = "/api/v1/communities/a/presence/1234BCD"
        assert (await admin.put(place, json={"inside": False, "reason": "seen"}, headers=ANY)).status_code == 200
        assert await next_of(there) == await next_of(here) == {("1234BCD", False)}
        # Not to a community that shares nothing but the plate, nor to a gateway that didn't ask.
        for client, features in ((foreign, "presence"), (second, "")):
            quiet = moves(client, features)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(quiet), 0.5)
        await here.aclose()
        await there.aclose()


async def test_what_nobody_announced_reaches_the_other_gateway_after_a_while(
    second: httpx.AsyncClient, strict: httpx.AsyncClient, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(edge_app, "PING_S", 0.1)
    monkeypatch.setattr(edge_app, "IDLE_S", 0.3)
    now = int(time.time() * 1000)
    async with gateway("gateway-a") as first:
        await drive(second, 1, "1234BCD", now)
        here = moves(first)
        assert await next_of(here) == {("1234BCD", True)}
        await asyncio.sleep(0.3)
        # The server that stores it dies before it can say so.
        monkeypatch.setattr(Announcements, "changed", lambda *_: None)
        await drive(second, 2, "5678AXX", now)
        assert await next_of(here) == {("5678AXX", True)}
        await here.aclose()


async def test_many_moves_are_looked_at_together(
    second: httpx.AsyncClient, strict: httpx.AsyncClient, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[bytes] = []
    look = edge_app._presence

    async def counted(pool: database.Pool, token: bytes) -> dict[str, edge.PresenceUpdate]:
        looks.append(token)
        return await look(pool, token)

    monkeypatch.setattr(edge_app, "_presence", counted)
    monkeypatch.setattr(edge_app, "MOVES_S", 2.0)
    now = int(time.time() * 1000)
    async with gateway("gateway-a") as first:
        await drive(second, 1, "1234BCD", now)
        here = moves(first)
        assert await next_of(here) == {("1234BCD", True)}
        for seq in range(2, 16):
            await drive(second, seq, f"CAR{seq}", now)
            await asyncio.sleep(0.1)
        heard: set[tuple[str, bool]] = set()
        while len(heard) < 14:
            heard |= await next_of(here)
        assert len(looks) <= 5
        await here.aclose()


async def test_it_is_told_as_soon_as_it_matters(
    second: httpx.AsyncClient, filled: Database, gateway: Gateway, people: People
) -> None:
    admin, now = await people("administrator@a.example"), int(time.time() * 1000)
    async with gateway("gateway-a") as first:
        here = moves(first)
        waiting = asyncio.create_task(anext(here))
        await admin.patch(RULES, json={"anti_passback": "hard"}, headers=ANY)
        await drive(first, 1, "1234BCD", now)
        await asyncio.sleep(0.5)
        assert not waiting.done()
        # Another gateway comes while the stream is open.
        await second_gateway(filled)
        await asyncio.sleep(0.3)
        await drive(second, 1, "5678AXX", now)
        assert await asyncio.wait_for(waiting, 5) == {("5678AXX", True)}
        # The rule goes, and comes back.
        await admin.patch(RULES, json={"anti_passback": "off"}, headers=ANY)
        waiting = asyncio.create_task(anext(here))
        await asyncio.sleep(0.3)
        await drive(second, 2, "5678AXX", now + 1, direction="exit")
        await asyncio.sleep(0.5)
        assert not waiting.done()
        await admin.patch(RULES, json={"lots_per_unit": 1}, headers=ANY)
        assert await asyncio.wait_for(waiting, 5) == {("5678AXX", False)}
        await here.aclose()
