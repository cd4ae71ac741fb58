"""Opening gates by hand: a command's outcome, from the request to what the gateway reports."""

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from gateway_stream import frames, listed, report
from page_visitor import Visitor, visiting
from running_server import Server
from two_communities import rows

Gateway = Callable[[str], httpx.AsyncClient]
People = Callable[[str], Any]
A = "/communities/a"
GATES = f"/api/v1{A}/gates"
STREAM = "/edge/v1/stream"
ADMIN, RESIDENT = "administrator@a.example", "resident@a.example"


@pytest.mark.parametrize(
    ("opened", "state", "kind"), [(True, "opened", "notice"), (False, "not_opened", "alert")], ids=["opened", "not"]
)
async def test_a_command_has_the_outcome_that_its_gateway_reports(
    people: People, gateway: Gateway, admin: Visitor, connected: None, opened: bool, state: str, kind: str
) -> None:
    client = await people(ADMIN)
    asked = await client.post(f"{GATES}/main-in/open", json={"reason": "delivery"})
    assert (asked.status_code, asked.json()["state"], asked.json()["done_at"]) == (202, "sent", None)
    address = asked.headers["location"]
    assert address == f"{GATES}/main-in/commands/{asked.json()['id']}"
    assert (await client.get(address)).json() == asked.json()
    notice = f"{A}/openings/{asked.json()['id']}"
    assert f'data-follow="{notice}"' in (await admin.get(notice)).text
    async with gateway("gateway-a") as device:
        await report(device, asked.json()["id"], opened=opened)
    done = (await client.get(address)).json()
    assert (done["state"], done["done_at"] is None) == (state, False)
    told = (await admin.get(notice)).text
    assert f'class="{kind}"' in told
    assert f'data-state="{state}"' in told
    assert "data-follow" not in told
    (passage,) = (await client.get(f"/api/v1{A}/passages")).json()["items"]
    assert (passage["command"], passage["opened"]) == (asked.json()["id"], opened)
    row = (await admin.get(f"{A}/passages")).text
    assert ('class="chip good"' in row, 'class="chip warn"' in row) == (opened, not opened)


async def test_the_barrier_that_opened_has_the_last_word(people: People, gateway: Gateway, connected: None) -> None:
    client = await people(ADMIN)
    asked = (await client.post(f"{GATES}/main-in/open", json={"reason": "delivery"})).json()
    async with gateway("gateway-a") as device:
        for seq, opened in enumerate((False, True, False), 1):
            await report(device, asked["id"], opened=opened, seq=seq)
        # A gateway can't answer for another gate, nor for a command that isn't there.
        await report(device, "0" * 24, opened=True, seq=4)
    assert (await client.get(f"{GATES}/main-in/commands/{asked['id']}")).json()["state"] == "opened"


async def test_a_gateway_does_not_answer_for_another_community(
    people: People, gateway: Gateway, connected: None
) -> None:
    client = await people(ADMIN)
    asked = (await client.post(f"{GATES}/main-in/open", json={"reason": "delivery"})).json()
    async with gateway("gateway-b") as device:
        await report(device, asked["id"], opened=True)
    assert (await client.get(f"{GATES}/main-in/commands/{asked['id']}")).json()["state"] == "sent"


async def test_a_command_without_an_answer_expires(people: People, admin: Visitor, owner: Any, connected: None) -> None:
    client = await people(ADMIN)
    asked = (await client.post(f"{GATES}/main-in/open", json={"reason": "delivery"})).json()
    await rows(
        owner,
        "a",
        "UPDATE gate_command SET expires_at = now() - interval '6 s' WHERE community_id = $1 RETURNING id",
    )
    assert (await client.get(f"{GATES}/main-in/commands/{asked['id']}")).json()["state"] == "expired"
    page = (await admin.get(f"{A}?opening={asked['id']}")).text
    assert "the gate did not answer" in page
    assert "http-equiv" not in page


async def test_without_scripts_the_page_loads_itself_again_until_the_outcome_is_known(
    people: People, admin: Visitor, connected: None
) -> None:
    asked = (await (await people(ADMIN)).post(f"{GATES}/main-in/open", json={"reason": "delivery"})).json()
    page = (await admin.get(f"{A}?opening={asked['id']}")).text
    assert '<noscript><meta http-equiv="refresh" content="2"></noscript>' in page


async def test_while_no_gateway_of_the_gate_is_connected_nothing_is_sent(
    people: People, gateway: Gateway, admin: Visitor, owner: Any
) -> None:
    client = await people(ADMIN)
    refused = await client.post(f"{GATES}/main-in/open", json={"reason": "delivery"})
    assert (refused.status_code, refused.json()["type"]) == (409, "urn:parkmesh:problem:gateway-offline")
    kept = await client.get(f"{GATES}/main-in/commands/{refused.json()['command']}")
    assert kept.json()["state"] == "refused"
    page = await admin.send(f"{A}/gates/main-in/open", of=A, reason="delivery")
    assert page.status_code == 409
    assert "The gateway of this gate is offline" in page.text
    # Another gateway of the community, which has the other gate.
    async with gateway("gateway-a") as device, device.stream("GET", f"{STREAM}?gates=main-out") as stream:
        heard = frames(stream)
        await asyncio.wait_for(anext(heard), 5)
        await listed(owner, "a")
        assert (await client.post(f"{GATES}/main-in/open", json={"reason": "delivery"})).status_code == 409
        sent = await client.post(f"{GATES}/main-out/open", json={"reason": "delivery"})
        assert sent.status_code == 202
        name, command = await asyncio.wait_for(anext(heard), 5)
        assert (name, command["id"]) == ("command", sent.json()["id"])
        await report(device, command["id"], opened=True, gate="main-out")
    # The gate's own direction, not the entry that a gateway without a camera takes it for.
    (passage,) = (await client.get(f"/api/v1{A}/passages")).json()["items"]
    assert (passage["gate"], passage["direction"]) == ("main-out", "exit")
    await listed(owner, "a", 0)
    assert (await client.post(f"{GATES}/main-out/open", json={"reason": "delivery"})).status_code == 409


async def test_a_server_that_is_gone_or_of_the_previous_release_counts_as_it_should(
    people: People, owner: Any, connected: None
) -> None:
    client = await people(ADMIN)

    async def outcome() -> int:
        answer: httpx.Response = await client.post(f"{GATES}/main-in/open", json={"reason": "delivery"})
        return answer.status_code

    assert await outcome() == 202
    # The row of a stream of an earlier life of the server.
    change = "UPDATE gateway_stream SET server_started_at = now() - interval '1 h' WHERE community_id = $1 RETURNING 1"
    await rows(owner, "a", change)
    assert await outcome() == 409
    # A server of the previous release doesn't list its streams: the gateway may be connected to it.
    async with owner.transaction():
        await owner.execute("SELECT set_config('parkmesh.scope', 'server', true)")
        await owner.execute(
            "INSERT INTO server (id, edge_url, version, started_at) VALUES ('old', 'http://old', '0', now())"
        )
    assert await outcome() == 202


@pytest.mark.parametrize("gates", ["Main", "a,,b", "a b", "a" * 64, "%00", "main-in,"])
async def test_a_gateway_names_its_gates_properly(gateway: Gateway, gates: str) -> None:
    async with gateway("gateway-a") as device:
        assert (await device.get(f"{STREAM}?gates={gates}")).status_code == 422


async def test_residents_and_visitors_see_their_own_commands_only(
    people: People, server: Server, connected: None
) -> None:
    staff, resident = await people(ADMIN), await people(RESIDENT)
    rule = {"residents_open_gates": True}
    assert (await staff.patch(f"/api/v1{A}/rules", json=rule, headers={"If-Match": "*"})).status_code == 200
    of_staff = (await staff.post(f"{GATES}/main-in/open", json={"reason": "delivery"})).json()
    own = (await resident.post(f"{GATES}/main-in/open", json={})).json()
    assert (await resident.get(f"{GATES}/main-in/commands/{own['id']}")).status_code == 200
    assert (await staff.get(f"{GATES}/main-in/commands/{own['id']}")).status_code == 200
    for hidden in (of_staff["id"], "nothing", "%00"):
        assert (await resident.get(f"{GATES}/main-in/commands/{hidden}")).status_code == 404
    assert (await staff.get(f"{GATES}/main-out/commands/{own['id']}")).status_code == 404
    other = await people("administrator@b.example")
    assert (await other.get(f"/api/v1/communities/b/gates/main-in/commands/{own['id']}")).status_code == 404
    async with visiting(server.web, RESIDENT) as visitor:
        assert "data-follow" in (await visitor.get(f"{A}?opening={own['id']}")).text
        assert 'data-testid="opening"' not in (await visitor.get(f"{A}?opening={of_staff['id']}")).text
        assert (await visitor.get(f"{A}/openings/{of_staff['id']}")).status_code == 404
