"""Barred plates: refused at every gate, whoever holds them."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from gateway_stream import frames
from page_visitor import Visitor

People = Callable[[str], Any]
Gateway = Callable[[str], httpx.AsyncClient]
A = "/api/v1/communities/a"
ADMIN, RESIDENT = "administrator@a.example", "resident@a.example"


async def bar(client: httpx.AsyncClient, plate: str, reason: str = "Damaged the gate") -> dict[str, Any]:
    answer = await client.post(f"{A}/bars", json={"plate": plate, "reason": reason})
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def listed(client: httpx.AsyncClient, version: int = 0) -> dict[str, Any]:
    answer = await client.get(f"/edge/v1/access-list?version={version}")
    assert answer.status_code == 200, answer.text
    update: dict[str, Any] = answer.json()
    return update


def standing(update: dict[str, Any], plate: str) -> list[tuple[bool, str]]:
    """Return whether each entry of a plate is a bar, with its status."""
    return sorted(
        (entry["credential_id"].startswith("-"), entry["status"])
        for entry in update["entries"]
        if entry["plate"] == plate
    )


async def test_a_bar_reaches_the_gateways_and_revokes_every_credential_of_its_plate(
    people: People, gateway: Gateway
) -> None:
    admin, resident = await people(ADMIN), await people(RESIDENT)
    async with gateway("gateway-a") as edge, edge.stream("GET", "/edge/v1/stream") as stream:
        told = frames(stream)
        assert (await anext(told))[0] == "access-list"
        held = await listed(edge)
        assert standing(held, "1234BCD") == [(False, "active")]
        made = await bar(admin, "1234 bcd")
        assert made["plate"] == "1234BCD"
        name, changed = await anext(told)
        assert (name, changed["version"]) == ("access-list", held["version"] + 1)
        news = await listed(edge, held["version"])
        assert not news["full"]
        assert standing(news, "1234BCD") == [(False, "revoked"), (True, "revoked")]
        # Also one that is added later, by anybody.
        later = await admin.post(f"{A}/vehicles", json={"plate": "1234BCD"})
        assert later.status_code == 201, later.text
        assert set(standing(await listed(edge), "1234BCD")) == {(False, "revoked"), (True, "revoked")}
        # The neighbour community's car of the same plate is another car.
        async with gateway("gateway-b") as other:
            assert standing(await listed(other), "1234BCD") == [(False, "active")]
        (own,) = [item for item in (await resident.get(f"{A}/vehicles")).json()["items"] if item["plate"] == "1234BCD"]
        assert own["barred"]
        lifted = await admin.delete(f"{A}/bars/{made['id']}", headers={"If-Match": "*"})
        assert lifted.status_code == 204
        news = await listed(edge, news["version"])
        assert f"-{made['id']}" in news["removed"]
        assert set(standing(news, "1234BCD")) == {(False, "active")}
    assert (await admin.get(f"{A}/bars/{made['id']}")).status_code == 404


async def test_a_plate_that_nobody_owns_can_be_barred_once(people: People) -> None:
    admin = await people(ADMIN)
    await bar(admin, "7777ZZZ")
    again = await admin.post(f"{A}/bars", json={"plate": "7777-ZZZ", "reason": "again"})
    assert (again.status_code, again.json()["type"]) == (409, "urn:parkmesh:problem:taken")
    found = await admin.get(f"{A}/gates/main-in/decision", params={"plate": "7777ZZZ"})
    assert (found.json()["decision"], found.json()["reason"]) == ("denied", "barred")
    for plate, reason in (("", "why not"), ("7777ZZZ!", "x")):
        assert (await admin.post(f"{A}/bars", json={"plate": plate, "reason": reason})).status_code == 422


@pytest.mark.parametrize("email", [RESIDENT, "administrator@b.example"])
async def test_only_staff_of_the_community_bar_plates(people: People, email: str) -> None:
    client = await people(email)
    expected = 403 if email == RESIDENT else 404
    assert (await client.get(f"{A}/bars")).status_code == expected
    assert (await client.post(f"{A}/bars", json={"plate": "1234BCD", "reason": "spite"})).status_code == expected


async def test_staff_bar_a_plate_see_why_it_would_not_pass_and_lift_the_bar(admin: Visitor) -> None:
    bars = "/communities/a/bars"
    refused = await admin.send(bars, of=bars, plate="?", reason="")
    assert "Enter something here." in refused.text
    await admin.send(bars, of=bars, plate="7777 ZZZ", reason="Damaged the gate")
    explained = await admin.get("/communities/a/explain?plate=7777zzz&gate=main-in")
    assert "Plate barred" in explained.text
    assert "Damaged the gate" in explained.text
    known = await admin.get("/communities/a/explain?plate=1234BCD&gate=main-in")
    assert "Known plate" in known.text
    page = (await admin.get(bars)).text
    link = page.split(f'href="{bars}/')[1].split('"')[0]
    await admin.send(f"{bars}/{link}/lift", of=f"{bars}/{link}")
    assert "No plate is barred." in (await admin.get(bars)).text
