"""Spaces, assignments, sharing and bookings, as people meet them through the API."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import asyncpg
import httpx
import pytest
from page_visitor import alerts, visiting
from parkmesh.domain import local_time
from running_server import Server
from two_communities import rows

People = Callable[[str], Any]
A = "/api/v1/communities/a"
MADRID = ZoneInfo("Europe/Madrid")
# A full hour that is near; the next one is at least half an hour away, so that no run crosses it.
NOW = (datetime.now(UTC) + timedelta(minutes=30)).replace(minute=0, second=0, microsecond=0)


def at(hours: float) -> str:
    """Return the moment so many hours after ``NOW``."""
    return (NOW + timedelta(hours=hours)).isoformat()


def window(start: float, end: float) -> dict[str, str]:
    return {"from": at(start), "until": at(end)}


def same(answered: str, wanted: str) -> bool:
    return datetime.fromisoformat(answered) == datetime.fromisoformat(wanted)


async def send(client: httpx.AsyncClient, method: str, path: str, status: int, **arguments: Any) -> Any:
    """Send a request, with the ETag of what is there where it changes something, and return the answer's JSON."""
    answer = await client.request(method, f"{A}{path}", **arguments)
    assert answer.status_code == status, (answer.status_code, answer.text)
    return answer.json() if answer.content else None


async def changed(client: httpx.AsyncClient, method: str, path: str, status: int, body: Any = None) -> Any:
    """Change an object, whatever its present state."""
    return await send(client, method, path, status, json=body, headers={"If-Match": "*"})


@pytest.fixture
async def units(owner: asyncpg.Connection) -> dict[str, int]:
    """Return the ids of the community's units by name."""
    return {row["name"]: row["id"] for row in await rows(owner, "a", "SELECT id, name FROM unit WHERE community_id=$1")}


@pytest.fixture
async def administrator(people: People) -> httpx.AsyncClient:
    client: httpx.AsyncClient = await people("administrator@a.example")
    return client


@pytest.fixture
async def resident(people: People) -> httpx.AsyncClient:
    """Return the client of the resident of unit 1A."""
    client: httpx.AsyncClient = await people("resident@a.example")
    return client


@pytest.fixture
async def shared_space(administrator: httpx.AsyncClient) -> str:
    await changed(administrator, "PATCH", "/spaces/a-03", 200, {"level": "P1", "category": "shared"})
    return "a-03"


@pytest.fixture
async def own_space(administrator: httpx.AsyncClient, units: dict[str, int]) -> str:
    """Return a space that belongs to unit 1A."""
    body = {"space": "a-01", "unit_id": units["1A"], "from": at(-1000)}
    await send(administrator, "POST", "/assignments", 201, json=body)
    return "a-01"


@pytest.fixture
async def neighbours_space(administrator: httpx.AsyncClient, units: dict[str, int]) -> str:
    """Return a space that belongs to unit 2B."""
    body = {"space": "a-02", "unit_id": units["2B"], "from": at(-1000)}
    await send(administrator, "POST", "/assignments", 201, json=body)
    return "a-02"


async def test_staff_arranges_levels_and_spaces(administrator: httpx.AsyncClient, resident: httpx.AsyncClient) -> None:
    (level,) = (await send(resident, "GET", "/levels", 200))["items"]
    assert (level["name"], level["spaces"], level["width"]) == ("P1", 6, None)
    place = f"/levels/{level['id']}"
    read = await administrator.get(f"{A}{place}")
    renamed = {"name": "Sótano -1", "ordinal": -1, "width": 60, "height": 40.5}
    answer = await administrator.put(f"{A}{place}", json=renamed, headers={"If-Match": read.headers["etag"]})
    assert answer.status_code == 200
    stale = await administrator.put(f"{A}{place}", json=renamed, headers={"If-Match": read.headers["etag"]})
    assert stale.status_code == 412
    assert (await administrator.put(f"{A}{place}", json=renamed)).status_code == 428
    spaces = await send(resident, "GET", "/spaces", 200, params={"level": "Sótano -1", "limit": 4})
    assert [space["name"] for space in spaces["items"]] == ["a-01", "a-02", "a-03", "a-04"]
    rest = await send(
        resident, "GET", "/spaces", 200, params={"level": "Sótano -1", "cursor": spaces["next"], "limit": 4}
    )
    assert ([space["name"] for space in rest["items"]], rest["next"]) == (["a-05", "a-06"], None)
    geometry = {"x": 1, "y": 2.5, "w": 2.5, "h": 5, "rotation": 90}
    wanted = {"name": "a-20", "level": "P2", "category": "shared", "ev": True, "accessible": True, "geometry": geometry}
    made = await send(administrator, "POST", "/spaces", 201, json=wanted)
    assert wanted.items() <= made.items()
    assert (made["status"], made["unit"]) == ("unknown", None)
    assert (await send(administrator, "POST", "/spaces", 409, json=wanted))["type"].endswith(":taken")
    assert [space["name"] for space in (await send(resident, "GET", "/spaces?ev=true", 200))["items"]] == ["a-20"]
    levels = (await send(resident, "GET", "/levels", 200))["items"]
    assert [(item["name"], item["ordinal"], item["spaces"]) for item in levels] == [("Sótano -1", -1, 6), ("P2", 0, 1)]
    assert (await changed(administrator, "DELETE", f"/levels/{levels[1]['id']}", 409))["type"].endswith(":in-use")
    await changed(administrator, "DELETE", "/spaces/a-20", 204)
    await changed(administrator, "DELETE", f"/levels/{levels[1]['id']}", 204)
    for method, path, body in (
        ("POST", "/levels", {"name": "P9"}),
        ("PUT", place, renamed),
        ("DELETE", place, None),
        ("POST", "/spaces", wanted),
        ("PATCH", "/spaces/a-01", {"category": "shared"}),
        ("DELETE", "/spaces/a-01", None),
        ("POST", "/assignments", {"space": "a-01", "unit_id": 1, "from": at(0)}),
    ):
        await changed(resident, method, path, 403, body)


async def test_a_space_belongs_to_one_unit_at_a_time(
    administrator: httpx.AsyncClient, resident: httpx.AsyncClient, units: dict[str, int]
) -> None:
    first = {"space": "a-01", "unit_id": units["1A"], **window(0, 100)}
    made = await send(administrator, "POST", "/assignments", 201, json=first)
    rival = {"space": "a-01", "unit_id": units["2B"], "from": at(99)}
    refused = await send(administrator, "POST", "/assignments", 409, json=rival)
    assert refused["type"] == "urn:parkmesh:problem:overlap"
    assert same(refused["conflict"]["from"], at(0))
    assert same(refused["conflict"]["until"], at(100))
    # Half-open: the next one begins when this one ends.
    await send(administrator, "POST", "/assignments", 201, json=rival | {"from": at(100)})
    refused = await changed(administrator, "PUT", f"/assignments/{made['id']}", 409, {"from": at(0), "until": None})
    assert (same(refused["conflict"]["from"], at(100)), refused["conflict"]["until"]) == (True, None)
    assert len((await send(administrator, "GET", "/assignments", 200))["items"]) == 2
    own = (await send(resident, "GET", "/assignments", 200))["items"]
    assert [item["unit"] for item in own] == ["1A"]
    await changed(administrator, "PATCH", "/spaces/a-01", 409, {"level": "P1", "category": "shared"})
    shared = await changed(administrator, "PATCH", "/spaces/a-02", 200, {"level": "P1", "category": "shared"})
    assert shared["category"] == "shared"
    refused = await send(administrator, "POST", "/assignments", 409, json=rival | {"space": "a-02"})
    assert refused["type"].endswith(":category")


async def test_a_unit_name_is_shown_to_staff_and_to_the_unit(
    administrator: httpx.AsyncClient, resident: httpx.AsyncClient, own_space: str, neighbours_space: str
) -> None:
    seen = {item["name"]: item["unit"] for item in (await send(administrator, "GET", "/spaces", 200))["items"]}
    assert (seen[own_space], seen[neighbours_space]) == ("1A", "2B")
    seen = {item["name"]: item["unit"] for item in (await send(resident, "GET", "/spaces", 200))["items"]}
    assert (seen[own_space], seen[neighbours_space]) == ("1A", None)


async def test_a_resident_books_a_shared_space(
    resident: httpx.AsyncClient, administrator: httpx.AsyncClient, shared_space: str, units: dict[str, int], owner: Any
) -> None:
    free = await send(resident, "GET", "/availability", 200, params=window(1, 5))
    assert [space["name"] for space in free["items"]] == [shared_space]
    body = {"space": shared_space, **window(1, 5)}
    made = await send(resident, "POST", "/bookings", 201, json=body, headers={"Idempotency-Key": "k1"})
    assert (made["unit"], made["status"]) == ("1A", "active")
    again = await send(resident, "POST", "/bookings", 201, json=body, headers={"Idempotency-Key": "k1"})
    assert again == made
    assert (await send(resident, "GET", "/availability", 200, params=window(4, 6)))["items"] == []
    rival = {"space": shared_space, "unit_id": units["2B"], **window(4, 6)}
    refused = await send(administrator, "POST", "/bookings", 409, json=rival)
    assert refused["type"] == "urn:parkmesh:problem:overlap"
    assert same(refused["conflict"]["from"], at(1))
    assert same(refused["conflict"]["until"], at(5))
    next_one = await send(administrator, "POST", "/bookings", 201, json=rival | window(5, 6))
    # The neighbour's booking isn't the resident's to see or to cancel.
    assert [item["id"] for item in (await send(resident, "GET", "/bookings", 200))["items"]] == [made["id"]]
    await send(resident, "GET", f"/bookings/{next_one['id']}", 404)
    await changed(resident, "POST", f"/bookings/{next_one['id']}/cancel", 404, {})
    await send(resident, "POST", "/bookings", 404, json=rival | window(8, 9))
    everybodys = (await send(administrator, "GET", "/bookings", 200))["items"]
    assert [item["id"] for item in everybodys] == [next_one["id"], made["id"]]
    await changed(administrator, "POST", f"/bookings/{made['id']}/cancel", 422, {})
    gone = await changed(administrator, "POST", f"/bookings/{made['id']}/cancel", 200, {"reason": "water pipe"})
    assert (gone["status"], gone["cancel_reason"]) == ("cancelled", "water pipe")
    assert (await send(resident, "GET", f"/bookings/{made['id']}", 200))["cancel_reason"] == "water pipe"
    await send(administrator, "POST", "/bookings", 201, json=rival | window(1, 5))
    acts = await rows(owner, "a", "SELECT action FROM audit_entry WHERE community_id = $1 AND action LIKE 'booking%'")
    assert [act["action"] for act in acts].count("booking.create") == 3
    assert [act["action"] for act in acts].count("booking.cancel") == 1


@pytest.mark.parametrize(
    ("asked", "status", "kind"),
    [
        (window(-30, -20), 422, "outside-rules"),
        (window(-3, 3), 422, "outside-rules"),
        (window(1, 1 + 24 * 14 + 1), 422, "outside-rules"),
        (window(24 * 61, 24 * 61 + 1), 422, "outside-rules"),
        (window(3, 3), 422, "invalid"),
        ({"from": "2027-05-05T10:00:00", "until": "2027-05-05T11:00:00Z"}, 422, "invalid"),
        ({"from": 1810000000, "until": 1810003600}, 422, "invalid"),
        ({"from": "0001-01-01T00:00:00+14:00", "until": "9999-12-31T23:59:59-14:00"}, 422, "invalid"),
    ],
)
async def test_bookings_keep_within_the_rules(
    resident: httpx.AsyncClient, shared_space: str, asked: dict[str, str], status: int, kind: str
) -> None:
    refused = await send(resident, "POST", "/bookings", status, json={"space": shared_space, **asked})
    assert refused["type"].endswith(f":{kind}")
    if kind == "outside-rules":
        refused = await send(resident, "GET", "/availability", status, params=asked)
        assert refused["type"].endswith(f":{kind}")


async def test_a_unit_has_so_many_bookings_at_a_time(
    resident: httpx.AsyncClient, shared_space: str, owner: Any
) -> None:
    await rows(owner, "a", "INSERT INTO community_rules (community_id, bookings_per_unit) VALUES ($1, 2)")
    first = await send(resident, "POST", "/bookings", 201, json={"space": shared_space, **window(1, 2)})
    await send(resident, "POST", "/bookings", 201, json={"space": shared_space, **window(2, 3)})
    refused = await send(resident, "POST", "/bookings", 409, json={"space": shared_space, **window(3, 4)})
    assert (refused["type"], refused["limit"]) == ("urn:parkmesh:problem:quota", 2)
    await changed(resident, "POST", f"/bookings/{first['id']}/cancel", 200, {})
    await send(resident, "POST", "/bookings", 201, json={"space": shared_space, **window(3, 4)})
    # What is over counts no more.
    await rows(
        owner,
        "a",
        """
        UPDATE booking SET starts_at = starts_at - interval '9 days', ends_at = ends_at - interval '9 days'
        WHERE community_id = $1
        """,
    )
    await send(resident, "POST", "/bookings", 201, json={"space": shared_space, **window(1, 2)})


async def test_a_space_is_shared_booked_and_taken_back(
    resident: httpx.AsyncClient,
    administrator: httpx.AsyncClient,
    own_space: str,
    neighbours_space: str,
    units: dict[str, int],
) -> None:
    sharing = f"/spaces/{own_space}/sharing"
    neighbour = {"space": own_space, "unit_id": units["2B"]}
    refused = await send(administrator, "POST", "/bookings", 409, json=neighbour | window(1, 2))
    assert refused["type"].endswith(":not-available")
    shared = await send(resident, "POST", f"{sharing}/windows", 201, json=window(1, 20))
    # Its own unit takes it back instead of booking it, and doesn't find it among the free ones.
    own = await send(resident, "POST", "/bookings", 409, json={"space": own_space, **window(2, 3)})
    assert own["type"].endswith(":not-available")
    assert (await send(resident, "GET", "/availability", 200, params=window(2, 3)))["items"] == []
    free = (await send(administrator, "GET", "/availability", 200, params=window(2, 3)))["items"]
    assert [space["name"] for space in free] == [own_space]
    for outside in (window(0, 2), window(19, 21), window(0.5, 30)):
        assert (await send(administrator, "GET", "/availability", 200, params=outside))["items"] == []
        refused = await send(administrator, "POST", "/bookings", 409, json=neighbour | outside)
        assert refused["type"].endswith(":not-available")
    booked = await send(administrator, "POST", "/bookings", 201, json=neighbour | window(5, 8))
    state = await send(resident, "GET", sharing, 200)
    assert [(same(item["from"], at(5)), same(item["until"], at(8))) for item in state["booked"]] == [(True, True)]
    assert [(same(item["from"], at(8)), same(item["until"], shared["until"])) for item in state["open"][-1:]] == [
        (True, True)
    ]
    assert not any(same(item["from"], at(5)) or same(item["until"], at(8)) for item in state["open"])
    # Staff booked it for the unit: no resident did.
    assert [(item["unit"], item["resident"]) for item in state["booked"]] == [("2B", None)]
    for method, path, body in (
        ("DELETE", f"{sharing}/windows/{shared['id']}", None),
        ("POST", f"{sharing}/take-back", window(6, 7)),
    ):
        refused = await changed(resident, method, path, 409, body)
        assert refused["type"] == "urn:parkmesh:problem:overlap"
        assert same(refused["conflict"]["from"], at(5))
        assert same(refused["conflict"]["until"], at(8))
    # Partly booked: the rest is taken back, and what stays is said.
    state = await send(resident, "POST", f"{sharing}/take-back", 200, json=window(7, 12))
    assert [(same(item["from"], at(5)), same(item["until"], at(8))) for item in state["booked"]] == [(True, True)]
    assert [(item["from"], item["until"]) for item in state["shared"]] == [
        (shared["from"], booked["until"]),
        (at(12).replace("+00:00", "Z"), shared["until"]),
    ]
    refused = await send(administrator, "POST", "/bookings", 409, json=neighbour | window(9, 10))
    assert refused["type"].endswith(":not-available")
    await send(resident, "POST", f"{sharing}/windows", 201, json=window(9, 10))
    await send(administrator, "POST", "/bookings", 201, json=neighbour | window(9, 10))
    # What isn't the unit's is not there for it.
    for method, path, body in (
        ("GET", "", None),
        ("POST", "/windows", window(1, 2)),
        ("POST", "/take-back", window(1, 2)),
        ("POST", "/blocked-days", {"day": "2027-05-05"}),
        ("DELETE", "/blocked-days/2027-05-05", None),
        ("DELETE", "/windows/1", None),
        ("DELETE", "/patterns/1", None),
    ):
        await changed(resident, method, f"/spaces/{neighbours_space}/sharing{path}", 404, body)


async def test_who_shares_a_space_sees_who_booked_it(
    resident: httpx.AsyncClient, server: Server, owner: asyncpg.Connection, own_space: str
) -> None:
    await send(resident, "POST", f"/spaces/{own_space}/sharing/windows", 201, json=window(1, 20))
    for start, held in ((5, None), (9, NOW + timedelta(hours=1))):
        await rows(
            owner,
            "a",
            """
            INSERT INTO booking (community_id, space_id, unit_id, resident_id, starts_at, ends_at, held_until)
            SELECT $1, s.id, r.unit_id, r.id, $3, $4, $5 FROM space s, resident r
            WHERE s.community_id = $1 AND s.name = $2 AND r.community_id = $1 AND r.email = 'luis@a.example'
            """,
            own_space,
            NOW + timedelta(hours=start),
            NOW + timedelta(hours=start + 1),
            held,
        )

    async def booked() -> list[tuple[bool, str | None, str | None]]:
        found = (await send(resident, "GET", f"/spaces/{own_space}/sharing", 200))["booked"]
        return [(same(item["from"], at(5)), item["unit"], item["resident"]) for item in found]

    # What the waiting list offers to somebody isn't booked by anybody yet.
    assert await booked() == [(True, "2B", "Luis"), (False, None, None)]
    async with visiting(server.web, "resident@a.example") as visitor:
        page = (await visitor.get(f"/communities/a/share/{own_space}")).text
        assert re.findall(r'<p class="muted small">([^<]+)</p></div></li>', page) == [
            "Luis, unit 2B",
            "Offered to a unit on the waiting list",
        ]
    await rows(owner, "a", "UPDATE resident SET unit_id = NULL WHERE community_id = $1 AND email = 'luis@a.example'")
    assert (await booked())[0] == (True, "2B", None)


async def test_what_is_shared_further_ahead_than_people_may_book_is_said(server: Server, own_space: str) -> None:
    page = f"/communities/a/share/{own_space}"

    def field(days: int) -> str:
        return (NOW + timedelta(days=days)).astimezone(MADRID).strftime("%Y-%m-%dT%H:%M")

    async with visiting(server.web, "resident@a.example") as visitor:
        for first, last, said in ((1, 59, False), (55, 90, True)):
            answer = await visitor.send(f"{page}/once", of=page, **{"from": field(first), "until": field(last)})
            assert answer.status_code == 303, alerts(answer)
            shown = await visitor.get(answer.headers["location"])
            assert ("at most 60 days ahead" in shown.text) is said
            assert ('data-testid="beyond"' in shown.text) is said
        spanish = await visitor.get(page, headers={"Accept-Language": "es"})
        assert "como máximo con 60 días de antelación" in spanish.text


@pytest.mark.parametrize("page", ["book", "visitors", "share/{space}/once"])
async def test_every_form_asks_about_a_time_that_comes_twice_and_refuses_one_that_is_skipped(
    administrator: httpx.AsyncClient, own_space: str, server: Server, owner: Any, page: str
) -> None:
    await rows(owner, "a", "INSERT INTO community_rules (community_id, booking_days_ahead) VALUES ($1, 730)")
    action = f"/communities/a/{page.format(space=own_space)}"
    form = action.removesuffix("/once")
    # The next change of each kind, so that the test doesn't depend on its day.
    autumn, spring = changes(datetime.now(UTC))
    async with visiting(server.web, "resident@a.example") as visitor:

        async def sent(begin: str, end: str, **more: str) -> httpx.Response:
            fields = {"space": "", "name": "", "plate": "", "from": begin, "until": end} | more
            if action.endswith("/book"):
                # Searching asks in the same way as booking.
                return await visitor.client.get(action, params={"from": begin, "until": end} | more)
            key = {"idempotency_key": f"key-{begin}-{end}-{len(more)}"}
            return await visitor.send(action, of=form, **fields, **key)

        skipped = await sent(f"{spring}T02:30", f"{spring}T05:00")
        assert "The clock skips 02:30 on that day. Choose 01:55 or 03:00." in alerts(skipped)
        asked = await sent(f"{autumn}T02:30", f"{autumn}T02:45")
        assert "The clock shows 02:30 twice on that day." in alerts(asked)
        for offset in ("+02:00", "+01:00"):
            assert f'<option value="{offset}">' in asked.text
        # From the first half past two to a quarter to three an hour later; the other way round it would end before.
        refused = await sent(
            f"{autumn}T02:45", f"{autumn}T02:30", **{"from-offset": "+01:00", "until-offset": "+02:00"}
        )
        assert "The end must be after the beginning." in alerts(refused)
        taken = await sent(f"{autumn}T02:45", f"{autumn}T02:30", **{"from-offset": "+02:00", "until-offset": "+01:00"})
        assert alerts(taken) == ""
    if action.endswith("/once"):
        state = await rows(owner, "a", "SELECT starts_at, ends_at FROM sharing_rule WHERE community_id = $1")
        begin = datetime.fromisoformat(f"{autumn}T02:45+02:00")
        assert [tuple(row.values()) for row in state] == [(begin, begin + timedelta(minutes=45))]


def changes(now: datetime) -> tuple[str, str]:
    """Return the next days on which Madrid's clock repeats, and skips, half past two."""
    found = {}
    for day in range(1, 500):
        wall = (now + timedelta(days=day)).replace(hour=2, minute=30, second=0, microsecond=0, tzinfo=None)
        found.setdefault(len(local_time.moments(wall, MADRID)), wall.date().isoformat())
    return found[2], found[0]


async def test_a_page_takes_back_what_is_not_booked_and_says_what_stays(
    resident: httpx.AsyncClient, administrator: httpx.AsyncClient, own_space: str, units: dict[str, int], server: Server
) -> None:
    sharing, page = f"/spaces/{own_space}/sharing", f"/communities/a/share/{own_space}"
    shared = await send(resident, "POST", f"{sharing}/windows", 201, json=window(1, 20))
    wish = {"space": own_space, "unit_id": units["2B"]} | window(5, 8)
    booked = await send(administrator, "POST", "/bookings", 201, json=wish)
    async with visiting(server.web, "resident@a.example") as visitor:
        open_next = (await visitor.get(page)).text.partition('id="next-title"')[2]
        assert open_next.count("<li>") == 2
        answer = await visitor.send(f"{page}/stop", of=page, rule=shared["id"])
        assert (answer.status_code, "done=share-rest-stopped" in answer.headers["location"]) == (303, True)
        open_next = (await visitor.get(page)).text.partition('id="next-title"')[2]
        assert open_next.count("<li>") == 0
        assert (await visitor.get(page)).text.partition('id="booked-title"')[2].partition("</ul>")[0].count(
            "booked-by"
        ) == 1
    state = await send(resident, "GET", sharing, 200)
    assert [(item["from"], item["until"]) for item in state["shared"]] == [(booked["from"], booked["until"])]
    assert state["open"] == []
    # Where no one booked, all of it is taken back, and nothing more is said.
    second = await send(resident, "POST", f"{sharing}/windows", 201, json=window(30, 40))
    async with visiting(server.web, "resident@a.example") as visitor:
        answer = await visitor.send(f"{page}/stop", of=page, rule=second["id"])
        assert "done=share-stopped" in answer.headers["location"]


async def test_a_window_that_starts_now_offers_no_space_on_which_a_car_stands(
    resident: httpx.AsyncClient, administrator: httpx.AsyncClient, owner: Any
) -> None:
    await changed(administrator, "PATCH", "/spaces/a-04", 200, {"level": "P1", "category": "shared"})
    begin = datetime.now(UTC).replace(microsecond=0)

    async def offered(start: datetime) -> list[str]:
        asked = {"from": start.isoformat(), "until": (start + timedelta(hours=2)).isoformat()}
        return [item["name"] for item in (await send(resident, "GET", "/availability", 200, params=asked))["items"]]

    async def sensed(status: str, ago: timedelta) -> None:
        await rows(
            owner,
            "a",
            """
            INSERT INTO space_state AS old (community_id, space_id, status, received_at, changed_at, gateway_id)
            SELECT s.community_id, s.id, $2, now() - $3::interval, now() - $3::interval, g.id
            FROM space s JOIN gateway g ON g.community_id = s.community_id WHERE s.community_id = $1 AND s.name = 'a-04'
            ON CONFLICT (community_id, space_id) DO UPDATE
                SET status = excluded.status, received_at = excluded.received_at
            """,
            status,
            ago,
        )

    for status, ago, now, later in (
        ("occupied", timedelta(hours=5), [], ["a-04"]),
        ("occupied", timedelta(days=2), ["a-04"], ["a-04"]),
        ("free", timedelta(hours=5), ["a-04"], ["a-04"]),
    ):
        await sensed(status, ago)
        assert (await offered(begin), await offered(begin + timedelta(hours=3))) == (now, later), (status, ago)


async def test_weekly_patterns_and_blocked_days(
    resident: httpx.AsyncClient, administrator: httpx.AsyncClient, own_space: str, units: dict[str, int]
) -> None:
    sharing = f"/spaces/{own_space}/sharing"
    day = (datetime.now(MADRID) + timedelta(days=8)).date()
    name = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")[day.weekday()]
    wish = {"days": [name], "starts": "08:00", "ends": "18:00", "first_day": day.isoformat(), "last_day": None}
    pattern = await send(resident, "POST", f"{sharing}/patterns", 201, json=wish)
    assert wish.items() <= pattern.items()

    def local(hour: int, weeks: int = 0) -> str:
        moment = datetime(day.year, day.month, day.day, hour, tzinfo=MADRID) + timedelta(weeks=weeks)
        return moment.astimezone(UTC).isoformat()

    book = {"space": own_space, "unit_id": units["2B"]}
    await send(administrator, "POST", "/bookings", 409, json=book | {"from": local(7), "until": local(9)})
    made = await send(administrator, "POST", "/bookings", 201, json=book | {"from": local(8), "until": local(18)})
    late = {"from": local(8, 7), "until": local(18, 7)}
    await send(administrator, "POST", "/bookings", 201, json=book | late)
    refused = await send(resident, "POST", f"{sharing}/blocked-days", 409, json={"day": day.isoformat()})
    assert same(refused["conflict"]["from"], local(8))
    for change in (("PUT", wish | {"starts": "09:00"}), ("DELETE", None)):
        refused = await changed(resident, change[0], f"{sharing}/patterns/{pattern['id']}", 409, change[1])
        assert same(refused["conflict"]["from"], local(8))
    longer = await changed(resident, "PUT", f"{sharing}/patterns/{pattern['id']}", 200, wish | {"ends": "20:00"})
    assert longer["ends"] == "20:00"
    await changed(administrator, "POST", f"/bookings/{made['id']}/cancel", 200, {"reason": "not needed"})
    await send(resident, "POST", f"{sharing}/blocked-days", 201, json={"day": day.isoformat()})
    await send(administrator, "POST", "/bookings", 409, json=book | {"from": local(8), "until": local(9)})
    state = await send(resident, "GET", sharing, 200)
    assert (state["blocked_days"], len(state["patterns"])) == ([day.isoformat()], 1)
    await send(resident, "DELETE", f"{sharing}/blocked-days/{day.isoformat()}", 204)
    await send(administrator, "POST", "/bookings", 201, json=book | {"from": local(19), "until": local(20)})


async def test_windows_reach_further_when_they_are_needed(
    resident: httpx.AsyncClient, administrator: httpx.AsyncClient, own_space: str, units: dict[str, int], owner: Any
) -> None:
    wish = {
        "days": ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"],
        "starts": "00:00",
        "ends": "00:00",
        "first_day": NOW.date().isoformat(),
    }
    await send(resident, "POST", f"/spaces/{own_space}/sharing/patterns", 201, json=wish)
    await rows(owner, "a", "INSERT INTO community_rules (community_id, booking_days_ahead) VALUES ($1, 200)")
    far = window(24 * 190, 24 * 191)
    free = await send(administrator, "GET", "/availability", 200, params=far)
    assert [space["name"] for space in free["items"]] == [own_space]
    further = window(24 * 199, 24 * 200)
    await rows(
        owner,
        "a",
        """
        UPDATE sharing_progress SET known_until = now() WHERE community_id = $1
        """,
    )
    await rows(owner, "a", "DELETE FROM shared_window WHERE community_id = $1 AND ends_at > now()")
    await send(administrator, "POST", "/bookings", 201, json={"space": own_space, "unit_id": units["2B"], **further})


async def test_another_clock_moves_the_windows_but_no_booking_loses_its(
    resident: httpx.AsyncClient, administrator: httpx.AsyncClient, own_space: str, units: dict[str, int], owner: Any
) -> None:
    day = (datetime.now(MADRID) + timedelta(days=8)).date()
    wish = {
        "days": ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"],
        "starts": "08:00",
        "ends": "10:00",
        "first_day": day.isoformat(),
    }
    await send(resident, "POST", f"/spaces/{own_space}/sharing/patterns", 201, json=wish)
    start = datetime(day.year, day.month, day.day, 8, tzinfo=MADRID).astimezone(UTC)
    book = {"space": own_space, "unit_id": units["2B"]}
    kept = {"from": start.isoformat(), "until": (start + timedelta(hours=1)).isoformat()}
    await send(administrator, "POST", "/bookings", 201, json=book | kept)
    await rows(owner, "a", "UPDATE community SET time_zone = 'America/Santiago' WHERE id = $1")
    there = datetime(day.year, day.month, day.day, 9, tzinfo=ZoneInfo("America/Santiago")).astimezone(UTC)
    moved = {"from": there.isoformat(), "until": (there + timedelta(hours=1)).isoformat()}
    free = await send(administrator, "GET", "/availability", 200, params=moved)
    assert [space["name"] for space in free["items"]] == [own_space]
    outside = await rows(
        owner,
        "a",
        """
        SELECT b.id FROM booking b WHERE b.community_id = $1
          AND NOT EXISTS (SELECT FROM shared_window w WHERE w.community_id = b.community_id
                            AND w.space_id = b.space_id AND w.starts_at <= b.starts_at AND w.ends_at >= b.ends_at)
        """,
    )
    assert outside == []


async def test_an_assignment_that_somebody_booked_into_stays(
    resident: httpx.AsyncClient, administrator: httpx.AsyncClient, own_space: str, units: dict[str, int]
) -> None:
    (assignment,) = (await send(administrator, "GET", "/assignments", 200))["items"]
    await send(resident, "POST", f"/spaces/{own_space}/sharing/windows", 201, json=window(1, 50))
    book = {"space": own_space, "unit_id": units["2B"], **window(10, 20)}
    booking = await send(administrator, "POST", "/bookings", 201, json=book)
    place = f"/assignments/{assignment['id']}"
    for method, body in (("DELETE", None), ("PUT", {"from": at(-1000), "until": at(19)})):
        refused = await changed(administrator, method, place, 409, body)
        assert same(refused["conflict"]["from"], at(10))
    await changed(administrator, "PUT", place, 200, {"from": at(-1000), "until": at(20)})
    refused = await send(administrator, "POST", "/bookings", 409, json=book | window(25, 30))
    assert refused["type"].endswith(":not-available")
    await changed(administrator, "POST", f"/bookings/{booking['id']}/cancel", 200, {"reason": "moved"})
    await changed(administrator, "DELETE", place, 204)
    await send(resident, "GET", f"/spaces/{own_space}/sharing", 404)


async def test_kinds_of_spaces_of_earlier_desired_states(resident: httpx.AsyncClient, owner: Any) -> None:
    await rows(owner, "a", "UPDATE space SET category = 'ev' WHERE community_id = $1 AND name = 'a-04'")
    await rows(owner, "a", "UPDATE space SET category = 'odd' WHERE community_id = $1 AND name = 'a-05'")
    seen = {item["name"]: item for item in (await send(resident, "GET", "/spaces", 200))["items"]}
    assert (seen["a-04"]["category"], seen["a-04"]["ev"]) == ("shared", True)
    assert seen["a-05"]["category"] == "assigned"
    free = await send(resident, "GET", "/availability", 200, params={**window(1, 2), "ev": "true"})
    assert [space["name"] for space in free["items"]] == ["a-04"]
