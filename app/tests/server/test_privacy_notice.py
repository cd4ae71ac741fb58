"""What people are told of their data before they give them, and afterwards."""

import html
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from page_visitor import Visitor, alerts, visiting
from parkmesh.domain import retention
from running_server import Server

A = "/communities/a"
ADMIN = "administrator@a.example"


def notice(page: httpx.Response) -> str:
    """Return the text of a page's privacy notice."""
    assert page.status_code == 200, page.status_code
    found = re.search(r'data-testid="privacy">(.*?)</(?:section|details)>', page.text, re.S)
    assert found, page.url
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", found[1])))


@pytest.fixture
async def join_link(admin: Visitor) -> str:
    """Return the address of an invitation to community a."""
    people = f"{A}/people"
    page = await admin.send(f"{people}/invite", of=people, email="new@a.example", role="resident", unit="")
    found = re.search(r"/join/[^\s<\"]+", page.text)
    assert found, alerts(page)
    return found[0]


@pytest.fixture
async def visit_link(people: Callable[[str], Any]) -> str:
    """Return the address of a visitor's page in community a."""
    resident = await people("resident@a.example")
    now = datetime.now(UTC)
    window = {"from": now.isoformat(), "until": (now + timedelta(hours=2)).isoformat()}
    made = await resident.post(f"/api/v1{A}/visitor-passes", json={"name": "Eva", **window})
    assert made.status_code == 201, made.text
    return str(httpx.URL(made.json()["link"]).path)


async def test_everybody_is_told_before_they_give_data(
    server: Server,
    resident: Visitor,
    admin: Visitor,
    join_link: str,
    visit_link: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Other times than those of any text: what is told is what is kept.
    monkeypatch.setattr(retention, "PASSAGES_KEPT", timedelta(days=21))
    monkeypatch.setattr(retention, "PEOPLE_KEPT", timedelta(days=17))
    async with visiting(server.web) as stranger:
        joining, visitor = notice(await stranger.get(join_link)), notice(await stranger.get(visit_link))
        spanish = notice(await stranger.get(visit_link, headers={"Accept-Language": "es"}))
        assert (await stranger.get(f"{A}/privacy")).status_code == 303
    member = notice(await resident.get(f"{A}/privacy"))
    assert joining.strip() == f"What happens with your data {member.strip()}"
    for said in (member, visitor):
        assert "Community A decides what your data is used for" in said
        assert "21 days" in said
        assert "17 days after" in said
        assert "3 days if nobody here has the plate" in said
        assert "data protection authority" in said
    assert "Community A decide para qué se usan sus datos" in spanish
    assert "21 días" in spanish
    # A visitor's link may be passed on: it names no administrator.
    assert ADMIN in member
    assert ADMIN not in visitor
    assert "Your visitors" not in visitor
    assert f'href="{A}/privacy"' in (await resident.get("/account/data")).text
    async with visiting(server.web, "resident@b.example") as other:
        assert (await other.get(f"{A}/privacy")).status_code == 404


async def test_other_systems_that_get_data_are_told(resident: Visitor, admin: Visitor) -> None:
    assert "other systems" not in notice(await resident.get(f"{A}/privacy"))
    made = await admin.send(f"{A}/api-keys", of=f"{A}/api-keys", name="signs", role="reader", expires_at="")
    assert made.status_code in (200, 201, 303), alerts(made)
    assert "other systems, which get data of the community, plates too" in notice(await resident.get(f"{A}/privacy"))


async def test_the_community_names_its_contact(
    server: Server, resident: Visitor, admin: Visitor, people: Callable[[str], Any], visit_link: str
) -> None:
    page = f"{A}/privacy"
    assert 'name="contact"' not in (await resident.get(page)).text
    assert (await resident.send(page, of="/account", contact="me", seen="*")).status_code == 403
    old = await admin.seen(page)
    answer = await admin.send(page, of=page, seen=old, contact="privacy@a.example, +34 600 000 000")
    assert answer.status_code == 303, alerts(answer)
    async with visiting(server.web) as stranger:
        told = [notice(await stranger.get(visit_link)), notice(await resident.get(page))]
    for said in told:
        assert "Contact: privacy@a.example, +34 600 000 000" in said
        assert ADMIN not in said
    # Somebody else changed it since; and no text is lost that doesn't fit.
    stale = await admin.send(page, of=page, seen=old, contact="x")
    assert "Somebody changed this in the meantime" in alerts(stale)
    long = await admin.send(page, of=page, seen=await admin.seen(page), contact="y" * 201)
    assert (long.status_code, "y" * 201 in long.text) == (422, True)

    client, address = await people(ADMIN), f"/api/v1{A}/privacy-contact"
    read = await client.get(address)
    assert read.json() == {"contact": "privacy@a.example, +34 600 000 000"}
    cleared = await client.put(address, json={"contact": ""}, headers={"If-Match": read.headers["etag"]})
    assert (cleared.status_code, cleared.json()) == (200, {"contact": ""})
    again = await client.put(address, json={"contact": "x"}, headers={"If-Match": read.headers["etag"]})
    assert again.status_code == 412
    member = await people("resident@a.example")
    assert (await member.put(address, json={"contact": "x"}, headers={"If-Match": "*"})).status_code == 403
    assert ADMIN in notice(await resident.get(page))
