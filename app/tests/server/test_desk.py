"""The operator's desk: every gateway at a glance, communities taken on and offboarded, and who did it."""

import asyncio
import hashlib
import json
import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest
from page_visitor import visiting
from parkmesh.server.db import database
from running_server import Server
from two_communities import TOKENS, rows

Gateway = Callable[[str], httpx.AsyncClient]
People = Callable[[str], Any]
DESK = "desk@parkmesh.example"
GATEWAYS = "/api/v1/desk/gateways"


async def beat(gateway: Gateway, name: str, **changes: Any) -> None:
    """Send a heartbeat of a gateway that is well, but for ``changes``."""
    async with gateway(name) as client:
        held = (await client.get("/edge/v1/access-list")).json()["version"]
        body = {
            "sent": int(time.time() * 1000), "version": "1.0", "backlog": 0, "access_list_version": held,
            "silent_cameras": [],
        } | changes  # fmt: skip
        answer = await client.post("/edge/v1/heartbeat", json=body)
        assert answer.status_code == 200, answer.text


async def states(client: httpx.AsyncClient, **params: str) -> dict[str, list[str]]:
    items = (await client.get(GATEWAYS, params=params)).json()["items"]
    return {item["name"]: item["states"] for item in items}


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({"backlog": 501}, "behind"),
        ({"access_list_version": 0}, "outdated"),
        ({"sent": 1_000}, "skewed"),
        ({"silent_cameras": ["cam-main-in"]}, "silent"),
        ({"device_faults": [{"kind": "battery_low", "name": "a-01"}]}, "devices"),
    ],
)
async def test_what_is_wrong_with_a_gateway_shows(
    people: People, gateway: Gateway, changes: dict[str, Any], state: str
) -> None:
    desk = await people(DESK)
    # Never heard of, and so it never took a list.
    assert await states(desk) == {"gateway-a": ["offline", "outdated"], "gateway-b": ["offline", "outdated"]}
    await beat(gateway, "gateway-a")
    await beat(gateway, "gateway-b", **changes)
    assert await states(desk) == {"gateway-a": [], "gateway-b": [state]}
    assert list(await states(desk, state=state)) == ["gateway-b"]
    assert list(await states(desk, state="ok")) == ["gateway-a"]
    counts = (await desk.get("/api/v1/desk/summary")).json()
    assert (counts["communities"], counts["gateways"], counts["ok"]) == (2, 2, 1)
    assert {name: n for name, n in counts["states"].items() if n} == {state: 1}


async def test_losses_are_shown_and_those_of_unknown_size_by_that_name(
    people: People, gateway: Gateway, server: Server
) -> None:
    gaps = [("space_state", 3), ("spool_put_back", 1), ("spool_lost", 7), ("spool", 1)]
    events = [
        {"type": "gap", "seq": seq, "times": {"received": int(time.time() * 1000)}, "kind": kind, "dropped": dropped}
        for seq, (kind, dropped) in enumerate(gaps, 1)
    ]
    async with gateway("gateway-b") as client:
        assert (await client.post("/edge/v1/events", json={"epoch": 1, "events": events})).status_code == 200
    items = (await (await people(DESK)).get(GATEWAYS)).json()["items"]
    assert [(i["name"], i["dropped"], i["losses_uncounted"]) for i in items] == [
        ("gateway-a", 0, 0),
        ("gateway-b", 12, 2),
    ]
    await beat(gateway, "gateway-a", device_faults=[{"kind": "battery_low", "name": "a-01"}])
    async with visiting(server.web, DESK) as desk:
        page = (await desk.get("/gateways")).text
    assert "a-01: Battery is low" in page
    assert page.count("losses of unknown size") == 1
    assert "2 losses of unknown size" in page
    own = (await (await people("administrator@b.example")).get("/api/v1/communities/b/gateways")).json()
    assert [item["losses_uncounted"] for item in own["items"]] == [2]


async def test_a_gateway_that_went_silent_is_offline(people: People, gateway: Gateway, owner: Any) -> None:
    await beat(gateway, "gateway-a")
    await rows(
        owner, "a", "UPDATE gateway SET last_heartbeat_at = now() - interval '91 seconds' WHERE community_id = $1"
    )
    assert (await states(await people(DESK)))["gateway-a"] == ["offline"]


async def test_gateways_come_in_pages_and_are_searched(people: People) -> None:
    desk = await people(DESK)
    first = (await desk.get(GATEWAYS, params={"limit": "1"})).json()
    second = (await desk.get(GATEWAYS, params={"limit": "1", "cursor": first["next"]})).json()
    assert [page["items"][0]["name"] for page in (first, second)] == ["gateway-a", "gateway-b"]
    assert second["next"] is None
    for text, found in (("community b", ["gateway-b"]), ("GATEWAY-A", ["gateway-a"]), ("%", []), ("nobody", [])):
        assert list(await states(desk, q=text)) == found
    listed = (await desk.get("/api/v1/communities", params={"limit": "1"})).json()
    rest = (await desk.get("/api/v1/communities", params={"limit": "1", "cursor": listed["next"]})).json()
    assert [item["name"] for item in listed["items"] + rest["items"]] == ["a", "b"]
    assert rest["next"] is None


async def test_the_desk_is_the_operators_alone(people: People) -> None:
    for email in ("administrator@a.example", "resident@a.example"):
        client = await people(email)
        for path in (GATEWAYS, "/api/v1/desk/summary", "/api/v1/desk/audit"):
            assert (await client.get(path)).status_code == 404
        assert (await client.post("/api/v1/communities", json=wish("c"))).status_code == 404
        assert (await client.post("/api/v1/communities/a/offboard", json={"reason": "spite"})).status_code == 403
        assert (await client.post("/api/v1/communities/b/offboard", json={"reason": "spite"})).status_code == 404
    assert (await (await people("resident@a.example")).get("/api/v1/communities/a/audit")).status_code == 403


def wish(name: str, **members: Any) -> dict[str, Any]:
    return {
        "name": name,
        "title": "New community",
        "time_zone": "Europe/Madrid",
        "gates": [{"name": "main-in", "direction": "entry"}],
        "spaces": [{"name": "c-01", "level": "P1", "category": "assigned"}],
        "gateways": [{"name": f"gateway-{name}"}],
    } | members


async def test_a_community_is_taken_on_by_one_call(server: Server, people: People) -> None:
    desk = await people(DESK)
    headers = {"Idempotency-Key": "onboarding of c"}
    answer = await desk.post("/api/v1/communities", json=wish("c"), headers=headers)
    assert answer.status_code == 201, answer.text
    token = answer.json()["gateway_tokens"]["gateway-c"]
    shown = (await desk.get(answer.headers["location"])).json()
    assert (shown["title"], shown["role"], shown["offboarded_at"]) == ("New community", "operator", None)
    assert [gate["name"] for gate in (await desk.get("/api/v1/communities/c/gates")).json()["items"]] == ["main-in"]
    async with httpx.AsyncClient(base_url=server.edge, headers={"Authorization": f"Bearer {token}"}) as gateway:
        assert (await gateway.get("/edge/v1/access-list")).status_code == 200
    again = await desk.post("/api/v1/communities", json=wish("c"), headers=headers)
    assert (again.status_code, again.json()["gateway_tokens"]) == (201, None)
    assert (await desk.post("/api/v1/communities", json=wish("c"))).status_code == 409
    for place in ("/api/v1/desk/audit", "/api/v1/communities/c/audit"):
        made = [entry for entry in (await desk.get(place)).json()["items"] if entry["action"] == "community.create"]
        assert [(entry["actor_name"], entry["detail"]["name"]) for entry in made] == [("Desk", "c")]
        assert token not in json.dumps(made)


async def test_a_gateway_may_bring_the_hash_of_its_own_token(server: Server, people: People) -> None:
    desk = await people(DESK)
    mine = hashlib.sha256(b"token-made-on-the-gateway").hexdigest()
    answer = await desk.post(
        "/api/v1/communities", json=wish("c", gateways=[{"name": "gateway-c", "token_sha256": mine}])
    )
    assert answer.json()["gateway_tokens"] == {}
    taken = [{"name": "gateway-d", "token_sha256": hashlib.sha256(TOKENS["gateway-a"].encode()).hexdigest()}]
    refused = await desk.post("/api/v1/communities", json=wish("d", gateways=taken))
    assert refused.status_code == 409
    assert (await desk.get("/api/v1/communities/d")).status_code == 404


@pytest.mark.parametrize(
    "change",
    [
        {"name": "Bad Name"},
        {"time_zone": "Europe/Nowhere"},
        {"title": "a\x00b"},
        {"gates": [{"name": "g"}, {"name": "g"}]},
        {"gateways": [{"name": "g", "token_sha256": "00"}]},
        {"residents": []},
    ],
)
async def test_a_wish_that_makes_no_sense_is_refused_whole(people: People, change: dict[str, Any]) -> None:
    desk = await people(DESK)
    answer = await desk.post("/api/v1/communities", json=wish("c") | change)
    assert answer.status_code == 422, answer.text
    assert len((await desk.get("/api/v1/communities")).json()["items"]) == 2


async def test_a_community_that_is_let_go_is_closed_and_keeps_its_data(
    server: Server, people: People, gateway: Gateway, owner: Any
) -> None:
    desk, resident = await people(DESK), await people("resident@a.example")
    administrator, neighbour = await people("administrator@a.example"), await people("resident@b.example")
    key = (await administrator.post("/api/v1/communities/a/api-keys", json={"name": "k", "role": "reader"})).json()
    place = "/api/v1/communities/a/offboard"
    done = await desk.post(place, json={"reason": "contract ended"})
    assert done.status_code == 200, done.text
    assert (await desk.post(place, json={"reason": "once more"})).json() == done.json()

    for client in (resident, administrator):
        assert (await client.get("/api/v1/communities/a/gates")).status_code == 401
    # Signed in anew, the community isn't there.
    assert (await (await people("resident@a.example")).get("/api/v1/communities/a/gates")).status_code == 404
    bearer = {"Authorization": f"Bearer {key['token']}"}
    async with httpx.AsyncClient(base_url=server.web, headers=bearer) as program:
        assert (await program.get("/api/v1/communities/a/gates")).status_code == 401
    assert (await neighbour.get("/api/v1/communities/b/gates")).status_code == 200

    # The gateway takes the list on which every plate is revoked; then its token ends.
    async with gateway("gateway-a") as client:
        entries = (await client.get("/edge/v1/access-list")).json()["entries"]
        assert {entry["status"] for entry in entries} == {"revoked"}
        until = datetime.fromisoformat(done.json()["gateways_until"])
        assert until - datetime.fromisoformat(done.json()["offboarded_at"]) == timedelta(minutes=15)
        await rows(owner, "a", "UPDATE gateway SET token_ends_at = now() WHERE community_id = $1")
        assert (await client.get("/edge/v1/access-list")).status_code == 401
    async with gateway("gateway-b") as client:
        assert (await client.get("/edge/v1/access-list")).status_code == 200

    assert len((await desk.get("/api/v1/communities/a/credentials")).json()["items"]) == 2
    assert list(await states(desk)) == ["gateway-b"]
    for trail in ("/api/v1/desk/audit", "/api/v1/communities/a/audit"):
        (entry,) = [item for item in (await desk.get(trail)).json()["items"] if item["action"] == "community.offboard"]
        assert entry["detail"] == {"reason": "contract ended"}


async def test_letting_go_and_a_batch_dont_wait_for_each_other_in_a_ring(people: People, owner: Any) -> None:
    desk = await people(DESK)
    (community,) = await rows(owner, "a", "SELECT id FROM community WHERE id = $1")
    async with owner.transaction():
        # As a batch of events: it holds its gateway first, and then refers to the community.
        await database.set_community(owner, community["id"])
        await owner.execute("SELECT FROM gateway WHERE community_id = $1 FOR UPDATE", community["id"])
        going = asyncio.create_task(desk.post("/api/v1/communities/a/offboard", json={"reason": "contract ended"}))
        for _ in range(250):
            if await owner.fetchval("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"):
                break
            await asyncio.sleep(0.02)
        else:
            pytest.fail("offboarding didn't come to the gateway")
        await owner.execute(
            "INSERT INTO presence (community_id, plate, inside, at, gateway_id, epoch, seq, gate) "
            "VALUES ($1, 'NEW1', true, now(), 1, 1, 1, 'main-in')",
            community["id"],
        )
    assert (await going).status_code == 200


async def test_the_trail_is_filtered_and_comes_in_pages(people: People) -> None:
    administrator = await people("administrator@a.example")
    keys = "/api/v1/communities/a/api-keys"
    for n in range(3):
        made = await administrator.post(keys, json={"name": f"key {n}", "role": "reader"})
        await administrator.delete(made.headers["location"], headers={"If-Match": "*"})
    trail = "/api/v1/communities/a/audit"

    async def actions(**params: str) -> list[str]:
        answer = await administrator.get(trail, params=params)
        assert answer.status_code == 200, answer.text
        return [item["action"] for item in answer.json()["items"]]

    assert await actions() == ["api-key.revoke", "api-key.create"] * 3
    assert await actions(action="api-key.revoke") == ["api-key.revoke"] * 3
    assert len(await actions(action="api-key.")) == 6
    assert await actions(action="api-key") == []
    every = (await administrator.get(trail)).json()["items"]
    assert [item["seq"] for item in every] == [6, 5, 4, 3, 2, 1]
    assert len(await actions(object=every[0]["object"])) == 2
    assert len(await actions(actor=every[0]["actor"])) == 6
    assert await actions(actor="system:retention") == []
    assert len(await actions(**{"from": every[2]["at"]})) == 3
    assert len(await actions(until=every[2]["at"])) == 3
    first = (await administrator.get(trail, params={"limit": "4"})).json()
    second = (await administrator.get(trail, params={"limit": "4", "cursor": first["next"]})).json()
    assert first["items"] + second["items"] == every


async def test_the_desks_sign_ins_are_in_its_trail(people: People) -> None:
    desk = await people(DESK)
    await people("resident@a.example")
    entries = (await desk.get("/api/v1/desk/audit", params={"action": "session."})).json()["items"]
    assert [(entry["action"], entry["actor_name"]) for entry in entries] == [("session.create", "Desk")]


async def test_onboarding_at_the_same_time_makes_one_community(people: People) -> None:
    desk = await people(DESK)
    answers = await asyncio.gather(*(desk.post("/api/v1/communities", json=wish("c")) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409]
