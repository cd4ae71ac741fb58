"""Visitor passes: quota, the credential at the gates, and the link that a visitor opens without an account."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx
import pytest
from page_visitor import visiting
from parkmesh.server.web import links
from running_server import Server
from test_bookings import A, at, changed, same, send, window
from two_communities import rows

People = Callable[[str], Any]
Gateway = Callable[[str], httpx.AsyncClient]


@pytest.fixture
async def administrator(people: People) -> httpx.AsyncClient:
    client: httpx.AsyncClient = await people("administrator@a.example")
    return client


@pytest.fixture
async def resident(people: People) -> httpx.AsyncClient:
    client: httpx.AsyncClient = await people("resident@a.example")
    return client


@pytest.fixture
async def visitor(server: Server) -> Any:
    async with httpx.AsyncClient(base_url=server.web, timeout=20) as client:
        yield client


@pytest.fixture
async def visitors_space(administrator: httpx.AsyncClient) -> str:
    await changed(administrator, "PATCH", "/spaces/a-06", 200, {"level": "P1", "category": "visitor"})
    return "a-06"


async def passes(resident: httpx.AsyncClient, status: int = 201, **wish: Any) -> Any:
    return await send(resident, "POST", "/visitor-passes", status, json={**window(1, 5), **wish})


def address(made: dict[str, Any]) -> str:
    """Return where a visitor's link leads in the API."""
    return f"/api/v1/visits/{made['link'].rpartition('/')[2]}"


async def access_list(gateway: Gateway) -> dict[str, dict[str, Any]]:
    async with gateway("gateway-a") as client:
        entries = (await client.get("/edge/v1/access-list")).json()["entries"]
    return {entry["plate"]: entry for entry in entries}


def millis(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp() * 1000)


async def test_a_pass_opens_the_gates_for_its_time(resident: httpx.AsyncClient, gateway: Gateway) -> None:
    made = await passes(resident, plate="9999 zzz", name="Plumber")
    assert (made["plate"], made["name"], made["unit"], made["status"]) == ("9999ZZZ", "Plumber", "1A", "active")
    entry = (await access_list(gateway))["9999ZZZ"]
    assert (entry["valid_from"], entry["valid_until"]) == (millis(at(1)), millis(at(5)))
    await changed(resident, "PUT", f"/visitor-passes/{made['id']}", 200, {"plate": "8888 YYY", "name": None})
    entries = await access_list(gateway)
    assert "9999ZZZ" not in entries
    assert entries["8888YYY"]["credential_id"] == entry["credential_id"]
    await changed(resident, "POST", f"/visitor-passes/{made['id']}/cancel", 200, {})
    assert (await access_list(gateway))["8888YYY"]["status"] == "revoked"
    refused = await changed(resident, "PUT", f"/visitor-passes/{made['id']}", 409, {"plate": "7777XXX", "name": None})
    assert refused["type"].endswith(":over")


async def test_restoring_a_plate_brings_back_no_cancelled_pass(
    resident: httpx.AsyncClient, administrator: httpx.AsyncClient, gateway: Gateway, owner: asyncpg.Connection
) -> None:
    made = await passes(resident, plate="9999ZZZ")
    await changed(resident, "POST", f"/visitor-passes/{made['id']}/cancel", 200, {})
    # As the release before does it: by the plate alone.
    await rows(owner, "a", "UPDATE credential SET status = 'active' WHERE community_id = $1 AND plate = '9999ZZZ'")
    assert (await access_list(gateway))["9999ZZZ"]["status"] == "revoked"


async def test_several_passes_and_a_resident_may_have_one_plate(
    resident: httpx.AsyncClient, gateway: Gateway, owner: asyncpg.Connection
) -> None:
    first = await passes(resident, plate="1234BCD")
    await passes(resident, plate="1234BCD", **window(20, 30))
    await changed(resident, "POST", f"/visitor-passes/{first['id']}/cancel", 200, {})
    async with gateway("gateway-a") as client:
        entries = (await client.get("/edge/v1/access-list")).json()["entries"]
    assert sorted(item["status"] for item in entries if item["plate"] == "1234BCD") == ["active", "active", "revoked"]
    doubled = "INSERT INTO credential (community_id, plate) VALUES ($1, 'AB12')"
    await rows(owner, "a", doubled)
    with pytest.raises(asyncpg.UniqueViolationError):
        await rows(owner, "a", doubled)


async def test_a_revoked_plate_gets_no_pass(
    resident: httpx.AsyncClient, administrator: httpx.AsyncClient, visitor: httpx.AsyncClient, owner: asyncpg.Connection
) -> None:
    await rows(owner, "a", "UPDATE credential SET status = 'revoked' WHERE community_id = $1 AND plate = '5678AXX'")
    assert (await passes(resident, 409, plate="5678AXX"))["type"].endswith(":plate")
    made = await passes(resident)
    refused = await visitor.put(address(made), json={"plate": "5678-AXX"})
    assert (refused.status_code, refused.json()["left"]) == (409, 2)
    # The attempt counts, so a visitor can't try out whose plates are revoked.
    assert (await visitor.get(address(made))).json()["plate_attempts_left"] == 2


async def test_a_pass_whose_plate_staff_revoked_opens_no_gate(
    resident: httpx.AsyncClient, administrator: httpx.AsyncClient, server: Server, owner: Any, connected: None
) -> None:
    await changed(administrator, "PATCH", "/rules", 200, {"visitors_open_gates": True})
    made = await passes(resident, plate="9999ZZZ")
    await rows(owner, "a", "UPDATE visitor_pass SET starts_at = now() - interval '1 hour' WHERE community_id = $1")
    link = f"/{links.VISIT}/{made['link'].rsplit('/', 1)[1]}"

    async def opened() -> int:
        async with visiting(server.web) as guest:
            shown = (await guest.get(link)).text
            answer = await guest.send(f"{link}/gates/main-in/open", of=link)
            # What the page offers is what would be done.
            assert ("/gates/main-in/open" in shown) == (answer.status_code == 303)
            return answer.status_code

    async def set_status(status: str) -> int:
        answer = await administrator.put(f"{A}/credentials/9999ZZZ", json={"status": status}, headers={"If-Match": "*"})
        return answer.status_code

    assert await opened() == 303
    assert await set_status("revoked") in (200, 204)
    assert await opened() == 409
    commands = await rows(owner, "a", "SELECT id FROM gate_command WHERE community_id = $1")
    assert len(commands) == 1
    # No way around: neither another plate, nor none, nor a new pass, nor a vehicle of the resident's own.
    for plate in (None, "8888YYY"):
        refused = await changed(resident, "PUT", f"/visitor-passes/{made['id']}", 409, {"plate": plate, "name": None})
        assert refused["type"].endswith(":revoked")
    async with visiting(server.web) as guest:
        assert (await guest.send(link, of=link, plate="8888YYY")).status_code == 422
    assert (await passes(resident, 409, plate="9999ZZZ"))["type"].endswith(":plate")
    await send(resident, "POST", "/vehicles", 409, json={"plate": "9999ZZZ", "label": "mine"})
    assert await set_status("active") in (200, 204)
    assert await opened() == 303


async def test_the_quota_is_of_a_month_of_the_community(
    resident: httpx.AsyncClient, administrator: httpx.AsyncClient, owner: asyncpg.Connection
) -> None:
    await rows(owner, "a", "INSERT INTO community_rules (community_id, visitor_passes_per_unit) VALUES ($1, 2)")
    # Half past eleven at night by UTC is the next month in Madrid already; eight in the evening is not.
    first = (datetime.now(UTC) + timedelta(days=35)).replace(day=1, hour=0, minute=0, second=0, microsecond=0)

    def of_month(hours: float) -> dict[str, Any]:
        start = first + timedelta(hours=hours)
        return {"from": start.isoformat(), "until": (start + timedelta(hours=1)).isoformat()}

    kept = await passes(resident, **of_month(1))
    await passes(resident, **of_month(-0.5))
    refused = await passes(resident, 409, **of_month(300))
    assert (refused["type"], refused["limit"]) == ("urn:parkmesh:problem:quota", 2)
    await passes(resident, **of_month(-4))
    quota = await send(resident, "GET", "/visitor-passes/quota", 200, params={"at": of_month(1)["from"]})
    assert quota == {"month": first.date().isoformat(), "used": 2, "limit": 2}
    # Cancelled before it began, it wasn't used.
    await changed(resident, "POST", f"/visitor-passes/{kept['id']}/cancel", 200, {})
    running = await passes(resident, **of_month(300))
    await rows(
        owner,
        "a",
        f"""
        UPDATE visitor_pass SET starts_at = now() - interval '1 hour' WHERE community_id = $1 AND id = {running["id"]}
        """,  # noqa: S608 - a number
    )
    await changed(resident, "POST", f"/visitor-passes/{running['id']}/cancel", 200, {})
    await passes(resident, 409, **of_month(301))


@pytest.mark.parametrize(
    ("wish", "status", "kind"),
    [
        (window(1, 74), 422, "outside-rules"),
        (window(-30, -20), 422, "outside-rules"),
        (window(24 * 61, 24 * 61 + 1), 422, "outside-rules"),
        ({"plate": "?"}, 422, "invalid"),
        ({"name": "a\nb"}, 422, "invalid"),
        ({"space": "a-01"}, 409, "category"),
        ({"unit_id": 2**62}, 404, None),
    ],
)
async def test_passes_keep_within_the_rules(
    resident: httpx.AsyncClient, wish: dict[str, Any], status: int, kind: str | None
) -> None:
    refused = await passes(resident, status, **wish)
    assert kind is None or refused["type"].endswith(f":{kind}")


async def test_a_visitors_space_is_booked_with_the_pass(
    resident: httpx.AsyncClient, administrator: httpx.AsyncClient, visitors_space: str, visitor: httpx.AsyncClient
) -> None:
    free = await send(resident, "GET", "/availability", 200, params=window(1, 5) | {"category": "visitor"})
    assert [space["name"] for space in free["items"]] == [visitors_space]
    assert (await send(resident, "GET", "/availability", 200, params=window(1, 5)))["items"] == []
    refused = await send(resident, "POST", "/bookings", 409, json={"space": visitors_space, **window(1, 5)})
    assert refused["type"].endswith(":category")
    made = await passes(resident, plate="9999ZZZ", space=visitors_space)
    assert made["space"] == visitors_space
    refused = await passes(resident, 409, space=visitors_space, **window(4, 6))
    assert refused["type"].endswith(":overlap")
    assert same(refused["conflict"]["from"], at(1))
    # The refused pass is not there in part.
    assert len((await send(resident, "GET", "/visitor-passes", 200))["items"]) == 1
    seen = (await visitor.get(address(made))).json()
    assert (seen["space"], seen["level"]) == (visitors_space, "P1")
    await changed(resident, "POST", f"/visitor-passes/{made['id']}/cancel", 200, {})
    (booking,) = (await send(resident, "GET", "/bookings", 200))["items"]
    assert (booking["visitor_pass"], booking["status"]) == (made["id"], "cancelled")
    await passes(resident, space=visitors_space, **window(4, 6))


async def test_the_link_shows_where_the_space_is_and_no_states(
    resident: httpx.AsyncClient,
    administrator: httpx.AsyncClient,
    visitors_space: str,
    server: Server,
    gateway: Gateway,
) -> None:
    made = await passes(resident, space=visitors_space)
    link = f"/{links.VISIT}/{address(made).rsplit('/', 1)[1]}"
    async with visiting(server.web) as visitor:
        before = await visitor.get(link)
        assert before.status_code == 200
        assert 'data-testid="way"' not in before.text
        for number, name in enumerate((visitors_space, "a-01")):
            place = {"x": 3 * number, "y": 0, "w": 2.5, "h": 5, "rotation": 0}
            await changed(administrator, "PATCH", f"/spaces/{name}", 200, {"level": "P1", "geometry": place})
        received = {"received": int(datetime.now(UTC).timestamp() * 1000)}
        event = {"type": "space_state", "seq": 1, "times": received, "space": "a-01", "status": "occupied"}
        async with gateway("gateway-a") as client:
            told = await client.post("/edge/v1/events", json={"epoch": 1, "events": [event]})
            assert told.status_code == 200, told.text
        page = (await visitor.get(link)).text
        drawn = page[page.index('data-testid="way"') : page.index("</svg>", page.index('data-testid="way"'))]
        assert drawn.count('class="bay free chosen"') == 1
        assert drawn.count('class="bay unknown"') == 1
        assert "occupied" not in page
        await changed(resident, "POST", f"/visitor-passes/{made['id']}/cancel", 200, {})
        assert 'data-testid="way"' not in (await visitor.get(link)).text


async def test_an_accessible_space_comes_last_where_any_will_do(
    resident: httpx.AsyncClient, administrator: httpx.AsyncClient, server: Server, owner: Any
) -> None:
    for name, accessible in (("a-04", True), ("a-05", False)):
        wish = {"level": "P1", "category": "visitor", "accessible": accessible}
        await changed(administrator, "PATCH", f"/spaces/{name}", 200, wish)
    fields = {"name": "", "plate": "", "space": "any"}
    fields |= {"from": at(24)[:16], "until": at(26)[:16]}
    async with visiting(server.web, "resident@a.example") as visitor:
        for number in ("first", "second"):
            page = "/communities/a/visitors"
            answer = await visitor.send(page, of=page, idempotency_key=f"key-of-the-{number}", **fields)
            assert answer.status_code == 200, answer.text
    booked = await rows(
        owner,
        "a",
        "SELECT s.name FROM booking b JOIN space s ON s.id = b.space_id AND s.community_id = $1 ORDER BY b.id",
    )
    assert [row["name"] for row in booked] == ["a-05", "a-04"]


async def test_a_visitor_sees_his_pass_and_nothing_else(
    resident: httpx.AsyncClient, administrator: httpx.AsyncClient, visitor: httpx.AsyncClient, owner: asyncpg.Connection
) -> None:
    await changed(administrator, "PUT", "/visitor-directions", 200, {"directions": "Second ramp.\nThen left."})
    await changed(resident, "PUT", "/visitor-directions", 403, {"directions": "x"})
    made = await passes(resident, name="Plumber")
    answer = await visitor.get(address(made))
    assert answer.status_code == 200
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json() == {
        "from": made["from"],
        "until": made["until"],
        "community": "Community A",
        "time_zone": "Europe/Madrid",
        "status": "upcoming",
        "plate": None,
        "plate_attempts_left": 3,
        "space": None,
        "level": None,
        "gates": [
            {"title": "Main entry", "direction": "entry"},
            {"title": "Main exit", "direction": "exit"},
        ],
        "directions": "Second ramp.\nThen left.",
        "code": None,
    }
    token = made["link"].rpartition("/")[2]
    stored = [dict(row) for row in await owner.fetch("SELECT * FROM audit_entry")]
    stored += await rows(owner, "a", "SELECT * FROM visitor_pass WHERE community_id = $1")
    stored += await rows(owner, "a", "SELECT * FROM idempotency_key WHERE community_id = $1")
    assert token not in repr(stored)
    await rows(owner, "a", "UPDATE visitor_pass SET starts_at = now() - interval '1 hour' WHERE community_id = $1")
    assert (await visitor.get(address(made))).json()["status"] == "open"
    await rows(owner, "a", "UPDATE visitor_pass SET ends_at = now() WHERE community_id = $1")
    assert (await visitor.get(address(made))).json()["status"] == "over"
    over = await visitor.put(address(made), json={"plate": "9999ZZZ"})
    assert (over.status_code, over.json()["type"]) == (409, "urn:parkmesh:problem:over")


async def test_a_visitor_says_his_plate_a_few_times(
    resident: httpx.AsyncClient, visitor: httpx.AsyncClient, gateway: Gateway
) -> None:
    made = await passes(resident)
    assert (await access_list(gateway)).keys() == {"1234BCD", "5678AXX"}
    for left, plate in ((2, "1111 AAA"), (2, "1111AAA"), (1, "1111AAB"), (0, "1111AAC")):
        answer = await visitor.put(address(made), json={"plate": plate})
        assert (answer.status_code, answer.json()["plate_attempts_left"]) == (200, left)
        assert plate.replace(" ", "") in await access_list(gateway)
    answer = await visitor.put(address(made), json={"plate": "1111AAD"})
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:parkmesh:problem:too-many")
    assert (await access_list(gateway)).keys() == {"1234BCD", "5678AXX", "1111AAC"}
    assert (await visitor.put(address(made), json={"plate": "?"})).status_code == 422


async def test_a_link_into_a_community_that_was_let_go_adds_no_plate(
    people: People, resident: httpx.AsyncClient, visitor: httpx.AsyncClient, gateway: Gateway
) -> None:
    made = await passes(resident)
    desk = await people("desk@parkmesh.example")
    assert (await desk.post(f"{A}/offboard", json={"reason": "contract ended"})).status_code == 200
    assert (await visitor.put(address(made), json={"plate": "1111AAA"})).status_code == 404
    # Its gateways still take the list, on which every plate is revoked.
    assert {entry["status"] for entry in (await access_list(gateway)).values()} == {"revoked"}


async def test_a_new_link_ends_the_old_one(resident: httpx.AsyncClient, visitor: httpx.AsyncClient) -> None:
    made = await passes(resident)
    renewed = await send(resident, "POST", f"/visitor-passes/{made['id']}/link", 200)
    assert (await visitor.get(address(made))).status_code == 404
    assert (await visitor.get(address(renewed))).status_code == 200


async def test_a_link_is_shown_once(resident: httpx.AsyncClient, owner: asyncpg.Connection) -> None:
    wish, headers = window(1, 5), {"Idempotency-Key": "visit-1"}
    first = await send(resident, "POST", "/visitor-passes", 201, json=wish, headers=headers)
    again = await send(resident, "POST", "/visitor-passes", 201, json=wish, headers=headers)
    assert first["link"]
    assert again == first | {"link": None, "warnings": None}
    stored = await rows(owner, "a", "SELECT * FROM idempotency_key WHERE community_id = $1")
    assert first["link"].rpartition("/")[2] not in repr(stored)


async def test_guessing_links_is_slowed_and_says_nothing(
    resident: httpx.AsyncClient, visitor: httpx.AsyncClient
) -> None:
    made = await passes(resident)
    token = made["link"].rpartition("/")[2]
    community = token.partition("-")[0]
    guesses = [
        *("x", "0" * 64, "%00", "fffffffffffffff-" + "a" * 32, "7fffffffffffffff-" + "a" * 32),
        *(f"{community}-{n:032}" for n in range(45)),
    ]
    answers = [await visitor.get(f"/api/v1/visits/{guess}") for guess in guesses]
    assert {answer.status_code for answer in answers} == {404}
    assert len({answer.text for answer in answers}) == 1
    slowed = await visitor.get(f"/api/v1/visits/{community}-{'b' * 32}")
    assert (slowed.status_code, int(slowed.headers["retry-after"]) > 0) == (429, True)
    assert (await visitor.put(f"/api/v1/visits/{community}-{'b' * 32}", json={"plate": "1111AAA"})).status_code == 429


async def test_a_visitor_who_looks_often_is_not_slowed(resident: httpx.AsyncClient, visitor: httpx.AsyncClient) -> None:
    made = await passes(resident)
    for _ in range(60):
        assert (await visitor.get(address(made))).status_code == 200


async def test_passes_of_others_are_not_there(
    people: People, resident: httpx.AsyncClient, administrator: httpx.AsyncClient, owner: asyncpg.Connection
) -> None:
    (unit,) = await rows(owner, "a", "SELECT id FROM unit WHERE community_id = $1 AND name = '2B'")
    refused = await send(administrator, "POST", "/visitor-passes", 422, json=window(1, 5))
    assert "unit_id" in refused["detail"]
    body = {**window(1, 5), "unit_id": unit["id"]}
    made = await send(administrator, "POST", "/visitor-passes", 201, json=body)
    await send(resident, "POST", "/visitor-passes", 404, json=body)
    place = f"/visitor-passes/{made['id']}"
    await send(resident, "GET", place, 404)
    await changed(resident, "PUT", place, 404, {"plate": None, "name": None})
    await changed(resident, "POST", f"{place}/cancel", 404, {})
    await send(resident, "POST", f"{place}/link", 404)
    assert (await send(resident, "GET", "/visitor-passes", 200))["items"] == []
    assert len((await send(administrator, "GET", "/visitor-passes", 200))["items"]) == 1
    await changed(administrator, "POST", f"{place}/cancel", 422, {})
    await changed(administrator, "POST", f"{place}/cancel", 200, {"reason": "asked to"})
    stranger = await people("resident@b.example")
    for path in (place, "/visitor-passes", "/bookings", "/availability", "/visitor-directions"):
        assert (await stranger.get(f"{A}{path}")).status_code == 404


async def test_a_resident_without_a_unit_has_no_passes_and_bookings(
    resident: httpx.AsyncClient, owner: asyncpg.Connection
) -> None:
    await rows(owner, "a", "UPDATE resident SET unit_id = NULL WHERE community_id = $1")
    assert (await passes(resident, 403))["type"].endswith(":no-unit")
    await send(resident, "POST", "/bookings", 403, json={"space": "a-01", **window(1, 2)})
    for path in ("/visitor-passes", "/bookings", "/assignments"):
        assert (await send(resident, "GET", path, 200))["items"] == []
