"""What staff see of all bookings and visitor passes, from a plate to its people and back, and what residents don't."""

import html
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import msgspec
import pytest
from page_visitor import Visitor, alerts
from parkmesh.protocol import edge
from two_communities import rows

People = Callable[[str], Any]
Gateway = Callable[[str], httpx.AsyncClient]
API, A = "/api/v1/communities/a", "/communities/a"
ADMINISTRATOR, RESIDENT, STRANGER = "administrator@a.example", "resident@a.example", "administrator@b.example"
BEGINS = (datetime.now(UTC) + timedelta(hours=2)).replace(minute=0, second=0, microsecond=0)
TIME = {"from": BEGINS.isoformat(), "until": (BEGINS + timedelta(hours=2)).isoformat()}


@pytest.fixture
async def made(people: People) -> dict[str, int]:
    """Ana invites a visitor with a space, and books another one."""
    admin, ana = await people(ADMINISTRATOR), await people(RESIDENT)
    for name, category in (("bay-1", "visitor"), ("free-1", "shared")):
        answer = await admin.post(f"{API}/spaces", json={"name": name, "category": category})
        assert answer.status_code == 201, answer.text
    visit = {"plate": "7777VIS", "name": "Grandma", "space": "bay-1", **TIME}
    ids = {}
    for kind, body in (("visitor-passes", visit), ("bookings", {"space": "free-1", **TIME})):
        answer = await ana.post(f"{API}/{kind}", json=body)
        assert answer.status_code == 201, answer.text
        ids[kind] = answer.json()["id"]
    return ids


@pytest.mark.parametrize(
    ("asked", "passes", "bookings"),
    [
        ({"q": "grandma"}, 1, ["bay-1"]),
        ({"q": "77-v"}, 1, ["bay-1"]),
        ({"q": "ana"}, 1, ["bay-1", "free-1"]),
        ({"q": "bay-1"}, 1, ["bay-1"]),
        ({"q": "free"}, 0, ["free-1"]),
        ({"q": "1A"}, 1, ["bay-1", "free-1"]),
        ({"q": "nobody"}, 0, []),
        ({"state": "upcoming"}, 1, ["bay-1", "free-1"]),
        ({"state": "open"}, 0, []),
        ({"starts_before": BEGINS.isoformat()}, 0, []),
    ],
)
@pytest.mark.usefixtures("made")
async def test_search(people: People, asked: dict[str, str], passes: int, bookings: list[str]) -> None:
    admin, other = await people(ADMINISTRATOR), await people(STRANGER)
    found = (await admin.get(f"{API}/visitor-passes", params=asked)).json()["items"]
    assert [item["resident"] for item in found] == ["Ana"] * passes
    found = (await admin.get(f"{API}/bookings", params=asked)).json()["items"]
    assert sorted(item["space"] for item in found) == bookings
    for kind in ("visitor-passes", "bookings"):
        assert (await other.get(f"/api/v1/communities/b/{kind}", params=asked)).json()["items"] == []


async def test_who_booked_and_invited_is_for_staff(people: People, made: dict[str, int], owner: Any) -> None:
    # Ana moves out, and Luis into her unit: he sees what is booked there, and not who she was.
    unit = "SELECT id FROM unit WHERE community_id = $1 AND name = '1A'"
    move = "UPDATE resident SET unit_id = ({}) WHERE community_id = $1 AND email = '{}'"
    await rows(owner, "a", move.format("NULL", RESIDENT))
    await rows(owner, "a", move.format(unit, RESIDENT).replace(RESIDENT, "luis@a.example"))
    await rows(
        owner,
        "a",
        "UPDATE membership SET resident_id = (SELECT id FROM resident WHERE community_id = $1 AND name = 'Luis')"
        " WHERE community_id = $1 AND role = 'resident'",
    )
    luis, admin = await people(RESIDENT), await people(ADMINISTRATOR)
    for kind, identity in made.items():
        (item,) = [item for item in (await luis.get(f"{API}/{kind}")).json()["items"] if item["id"] == identity]
        assert (item["resident_id"], item["resident"]) == (None, None)
        item = (await luis.get(f"{API}/{kind}/{identity}")).json()
        assert (item["resident_id"], item["resident"]) == (None, None)
        assert (await luis.get(f"{API}/{kind}", params={"q": "Ana"})).json()["items"] == []
        assert (await luis.get(f"{API}/{kind}", params={"resident_id": 1})).status_code == 403
        assert (await admin.get(f"{API}/{kind}/{identity}")).json()["resident"] == "Ana"


@pytest.mark.parametrize(("kind", "their", "audited"), [
    ("bookings", "book", "booking.cancel"), ("visitor-passes", "visitors", "visitor-pass.cancel"),
])  # fmt: skip
async def test_cancelling_says_why(
    admin: Visitor, resident: Visitor, made: dict[str, int], owner: Any, kind: str, their: str, audited: str
) -> None:
    place = f"{A}/{kind}/{made[kind]}"
    refused = await admin.send(place, of=place, reason=" ")
    assert refused.status_code == 422
    assert alerts(refused)
    # Neither is a resident's page, whose unit it is.
    assert (await resident.get(place)).status_code == 403
    done = await admin.send(place, of=place, reason="The lift is <repaired>")
    assert done.status_code == 303, alerts(done)
    page = html.unescape((await admin.get(done.headers["Location"])).text)
    assert "The lift is <repaired>" in page
    assert 'data-testid="cancel"' not in page
    assert "The lift is <repaired>" in html.unescape((await resident.get(f"{A}/{their}")).text)
    (entry,) = await rows(
        owner, "a",
        "SELECT detail::text FROM audit_entry WHERE community_id = $1 AND action = $2 AND object LIKE $3",
        audited, f"%/{made[kind]}",
    )  # fmt: skip
    assert "The lift is <repaired>" in entry["detail"]


async def test_from_a_plate_to_its_people_and_back(
    admin: Visitor, resident: Visitor, people: People, made: dict[str, int], owner: Any, gateway: Gateway
) -> None:
    (held,) = await rows(owner, "a", "SELECT id FROM credential WHERE community_id = $1 AND plate = '7777VIS'")
    now = int(datetime.now(UTC).timestamp() * 1000)
    event = edge.Passage(
        1,
        edge.Times(now),
        "main-in",
        "entry",
        "7777VIS",
        "granted",
        "exact",
        opened=True,
        credential_id=str(held["id"]),
    )
    async with gateway("gateway-a") as client:
        answer = await client.post("/edge/v1/events", content=msgspec.json.encode(edge.EventBatch(1, [event])))
        assert answer.status_code == 200
    api, ana, other = await people(ADMINISTRATOR), await people(RESIDENT), await people(STRANGER)
    plate = (await api.get(f"{API}/plates/7777-vis")).json()
    (holder,) = plate["holders"]
    assert (holder["resident"], holder["unit"], holder["visitor"]) == ("Ana", "1A", "Grandma")
    assert plate["presence"]["inside"] is True
    assert [item["holder"] for item in plate["passages"]] == [holder]
    (listed,) = (await api.get(f"{API}/passages", params={"plate": "7vi"})).json()["items"]
    assert listed["holder"] == holder
    # A resident learns whose credential it was from no passage, and no plate at all from the route.
    assert (await ana.get(f"{API}/plates/7777VIS")).status_code == 403
    assert {item["holder"] for item in (await ana.get(f"{API}/passages")).json()["items"]} <= {None}
    theirs = (await other.get("/api/v1/communities/b/plates/7777VIS")).json()
    assert (theirs["holders"], theirs["passages"], theirs["presence"]["inside"]) == ([], [], None)
    # On the pages by links alone: passages, plate, person, pass, plate.
    (ana_id,) = await rows(owner, "a", "SELECT id FROM resident WHERE community_id = $1 AND name = 'Ana'")
    person, visit = f"{A}/people/{ana_id['id']}", f"{A}/visitor-passes/{made['visitor-passes']}"
    way = [f"{A}/passages?plate=77v", f"{A}/plates/7777VIS", person, visit, f"{A}/plates/7777VIS"]
    for place, following in pairwise(way):
        page = await admin.get(place)
        assert page.status_code == 200, place
        assert f'href="{following}"' in page.text, f"{place} leads to {following}"
    assert (await resident.get(f"{A}/plates/7777VIS")).status_code == 403
    assert (await admin.get(f"{A}/plates/7777%20vis")).headers["Location"] == f"{A}/plates/7777VIS"
    assert (await admin.get(f"{A}/plates/%3F")).status_code == 404


@pytest.mark.parametrize("kind", ["bookings", "visitor-passes"])
async def test_the_lists_are_filtered_as_asked(
    admin: Visitor, resident: Visitor, made: dict[str, int], kind: str
) -> None:
    day = BEGINS.astimezone(ZoneInfo("Europe/Madrid")).date()
    for asked, shown in (
        ({}, True), ({"q": "7vis"}, True), ({"q": "nothing"}, False),
        ({"state": "upcoming"}, True), ({"state": "over"}, False), ({"state": "?"}, True),
        ({"from": day, "until": day}, True), ({"from": day + timedelta(days=2)}, False),
        ({"until": day - timedelta(days=1)}, False), ({"from": "never"}, True),
    ):  # fmt: skip
        page = await admin.get(f"{A}/{kind}", params=asked)
        assert page.status_code == (422 if "never" in asked.values() else 200)
        assert (f'href="{A}/{kind}/{1 if kind == "visitor-passes" else made[kind]}"' in page.text) == (
            shown and not (kind == "bookings" and asked.get("q") == "7vis")
        ), asked
    assert (await resident.get(f"{A}/{kind}")).status_code == 403
