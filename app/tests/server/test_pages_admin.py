"""Pages of administrators and of the desk: API keys, lanes, maps, a person's data, choosing a unit, offboarding."""

import html
import re
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import pytest
from page_visitor import Visitor, alerts, mark, visiting
from parkmesh.server.spaces.spaces import Geometry, Level, Space
from parkmesh.server.web.pages import drawing, levels
from running_server import Server
from two_communities import rows

DESK, ADMIN, RESIDENT = "desk@parkmesh.example", "administrator@a.example", "resident@a.example"
STRANGER = "administrator@b.example"
MADRID = ZoneInfo("Europe/Madrid")
A = "/communities/a"
KEYS, LEVELS = f"{A}/api-keys", f"{A}/map/levels"


@pytest.fixture
async def desk(server: Server) -> AsyncIterator[Visitor]:
    async with visiting(server.web, DESK) as visitor:
        yield visitor


async def one(owner: Any, community: str, query: str, *arguments: Any) -> Any:
    """Return the only value of the only row of a query."""
    ((value,),) = [list(row.values()) for row in await rows(owner, community, query, *arguments)]
    return value


READ_BY_STAFF = [
    "people/units",
    "people/units/1",
    "api-keys",
    "gates/main-in",
    "map/levels",
    "map/levels/1",
    "map/levels/1/row",
    "map/levels/1/arrange",
    "people/1/data",
]
DONE_BY_STAFF = [
    "people/units", "people/units/1", "people/units/1/delete",
    "api-keys", "api-keys/1/revoke", "gates/main-in/lanes", "gates/main-in/lanes/x/delete", "map/levels",
    "map/levels/1", "map/levels/1/delete", "map/levels/1/place", "map/levels/1/row", "map/levels/1/arrange",
    "people/1/data",
]  # fmt: skip
OF_THE_DESK = [("GET", "offboard"), ("POST", "offboard"), ("POST", "delete"), ("POST", "keep")]


async def test_residents_and_other_communities_have_none_of_these(server: Server, subtests: pytest.Subtests) -> None:
    routes = [("GET", path) for path in READ_BY_STAFF] + [("POST", path) for path in DONE_BY_STAFF]
    for who, status in ((RESIDENT, 403), (STRANGER, 404)):
        async with visiting(server.web, who) as visitor:
            token = await visitor.token("/account")
            for method, path in routes + OF_THE_DESK:
                with subtests.test(f"{method} {path} as {who}"):
                    data = {"csrf_token": token} if method == "POST" else None
                    answer = await visitor.client.request(method, f"{A}/{path}", data=data)
                    assert answer.status_code == status


async def test_an_administrator_lets_no_community_go(admin: Visitor, owner: Any) -> None:
    assert (await admin.get(f"{A}/offboard")).status_code == 403
    for act in ("offboard", "delete", "keep"):
        assert (await admin.send(f"{A}/{act}", of="/account", reason="over", confirm="a")).status_code == 403
    assert await one(owner, "a", "SELECT offboarded_at FROM community WHERE id = $1") is None


# API keys


def shown_token(page: httpx.Response) -> str:
    found = re.search(r"pmk_[A-Za-z0-9_-]+", page.text)
    assert found, alerts(page)
    return found[0]


async def works(server: Server, token: str) -> bool:
    async with httpx.AsyncClient(base_url=server.web, headers={"Authorization": f"Bearer {token}"}) as program:
        return (await program.get("/api/v1/communities/a/gates")).status_code == 200


@pytest.mark.parametrize("who", [ADMIN, DESK])
async def test_a_key_is_shown_once_works_and_is_revoked(server: Server, owner: Any, who: str) -> None:
    async with visiting(server.web, who) as visitor:
        page = await visitor.send(KEYS, of=KEYS, name="Doorbell <x>", role="reader", last_day="")
        assert page.status_code == 200, alerts(page)
        # In the answer to the form only: in no address, no history, no cache.
        assert page.headers["cache-control"] == "no-store"
        assert "location" not in page.headers
        token = shown_token(page)
        assert await works(server, token)
        page = await visitor.get(KEYS)
        assert token not in page.text
        assert 'data-key="Doorbell &lt;x&gt;"' in page.text
        assert "May only read" in page.text
        key = await one(owner, "a", "SELECT id FROM api_key WHERE community_id = $1")
        for _ in range(2):
            answer = await visitor.send(f"{KEYS}/{key}/revoke", of=KEYS)
            assert answer.headers["location"] == f"{KEYS}?done=key-revoked"
        assert not await works(server, token)
        assert "/revoke" not in (await visitor.get(KEYS)).text


async def test_a_key_ends_with_its_last_day_by_the_community_s_clock(admin: Visitor, owner: Any) -> None:
    today = datetime.now(MADRID).date()
    past = await admin.send(KEYS, of=KEYS, name="k", role="reader", last_day=(today - timedelta(days=1)).isoformat())
    assert past.status_code == 422
    assert 'href="#last_day"' in past.text
    await admin.send(KEYS, of=KEYS, name="k", role="reader", last_day=today.isoformat())
    ends = await one(owner, "a", "SELECT expires_at FROM api_key WHERE community_id = $1")
    assert ends == datetime.combine(today + timedelta(days=1), datetime.min.time(), MADRID)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"name": "", "role": "reader"}, "name"), ({"name": "k", "role": "operator"}, "role"),
        ({"name": "k", "role": "reader", "last_day": "soon"}, "last_day"),
        ({"name": "taken", "role": "reader"}, "name"),
    ],
)  # fmt: skip
async def test_what_is_no_key_is_refused(admin: Visitor, owner: Any, fields: dict[str, str], field: str) -> None:
    await admin.send(KEYS, of=KEYS, name="taken", role="administrator")
    page = await admin.send(KEYS, of=KEYS, **fields)
    assert page.status_code == 422
    assert f'href="#{field}"' in page.text
    assert "pmk_" not in page.text
    assert await one(owner, "a", "SELECT count(*) FROM api_key WHERE community_id = $1") == 1


async def test_nobody_revokes_another_community_s_key(server: Server, admin: Visitor, owner: Any) -> None:
    async with visiting(server.web, STRANGER) as stranger:
        await stranger.send("/communities/b/api-keys", of="/communities/b/api-keys", name="k", role="reader")
    key = await one(owner, "b", "SELECT id FROM api_key WHERE community_id = $1")
    assert (await admin.send(f"{KEYS}/{key}/revoke", of=KEYS)).status_code == 404
    assert await one(owner, "b", "SELECT revoked_at FROM api_key WHERE community_id = $1") is None


async def test_keys_come_in_pages_and_the_trail_knows_them(admin: Visitor) -> None:
    for n in range(51):
        await admin.send(KEYS, of=KEYS, name=f"k{n}", role="reader")
    page = await admin.get(KEYS)
    following = re.search(r'rel="next" href="([^"]+)"', page.text)
    assert following
    assert page.text.count('data-testid="api-key"') == 50
    assert (await admin.get(following[1])).text.count('data-testid="api-key"') == 1
    assert 'data-action="api-key.create"' in (await admin.get(f"{A}/audit?kind=api-key")).text


# Lanes

LANES = "SELECT l.name, l.direction, l.cameras FROM lane l WHERE l.community_id = $1 ORDER BY l.name"
GATE = f"{A}/gates/main-in"


async def test_lanes_are_added_changed_and_removed(admin: Visitor, owner: Any) -> None:
    async def save(**fields: str) -> httpx.Response:
        seen = {"seen": await admin.seen(f"{GATE}?lane={fields['lane_was']}")} if "lane_was" in fields else {}
        return await admin.send(f"{GATE}/lanes", of=GATE, **seen, **fields)

    answer = await save(lane_name="Left", lane_direction="entry", cameras="cam-1, CAM-2 ")
    assert (answer.status_code, answer.headers["location"]) == (303, f"{GATE}?done=saved")
    await save(lane_name="right", lane_direction="entry", cameras="")
    assert await rows(owner, "a", LANES) == [
        {"name": "left", "direction": "entry", "cameras": ["cam-1", "cam-2"]},
        {"name": "right", "direction": "entry", "cameras": []},
    ]
    page = await admin.get(f"{A}/gates")
    assert "2 lanes" in page.text
    form = await admin.get(f"{GATE}?lane=left")
    assert 'name="lane_was" value="left"' in form.text
    assert 'value="cam-1 cam-2"' in form.text
    taken = await save(lane_was="left", lane_name="right", lane_direction="entry", cameras="")
    assert taken.status_code == 422
    assert 'name="lane_was" value="left"' in taken.text
    await save(lane_was="left", lane_name="middle", lane_direction="entry", cameras="cam-9")
    assert [lane["name"] for lane in await rows(owner, "a", LANES)] == ["middle", "right"]
    # Giving the gate another title leaves its lanes.
    gate = {"gate_name": "main-in", "gate_exists": "yes", "gate_title": "In", "gate_direction": "entry"}
    seen = await admin.seen(f"{A}/gates", "gate_seen")
    changed = await admin.send(f"{A}/gates/save", of=GATE, gate_seen=seen, **gate)
    assert changed.status_code == 303
    assert len(await rows(owner, "a", LANES)) == 2
    answer = await admin.send(f"{GATE}/lanes/middle/delete", of=GATE)
    assert answer.headers["location"] == f"{GATE}?done=removed"
    assert [lane["name"] for lane in await rows(owner, "a", LANES)] == ["right"]
    assert (await admin.send(f"{GATE}/lanes/middle/delete", of=GATE)).status_code == 404
    lane = {"lane_was": "middle", "lane_name": "m", "lane_direction": "entry"}
    gone = await admin.send(f"{GATE}/lanes", of=GATE, seen=await admin.seen(f"{GATE}?lane=right"), **lane)
    assert gone.status_code == 404
    assert (await admin.get(f"{A}/gates/nowhere")).status_code == 404


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"lane_name": "No Lane"}, "lane_name"), ({"lane_name": ""}, "lane_name"),
        ({"lane_direction": "exit"}, "lane_direction"), ({"cameras": "cam_1"}, "cameras"),
        ({"cameras": " ".join(f"c{n}" for n in range(11))}, "cameras"), ({"cameras": "c c"}, "cameras"),
    ],
)  # fmt: skip
async def test_what_is_no_lane_is_refused(admin: Visitor, owner: Any, fields: dict[str, str], field: str) -> None:
    form = {"lane_name": "left", "lane_direction": "entry", "cameras": ""} | fields
    page = await admin.send(f"{GATE}/lanes", of=GATE, **form)
    assert page.status_code == 422
    assert f'href="#{field}"' in page.text
    assert await rows(owner, "a", LANES) == []


async def test_a_gate_has_as_many_lanes_as_the_api_lets_it(admin: Visitor, owner: Any) -> None:
    for n in range(21):
        answer = await admin.send(f"{GATE}/lanes", of=GATE, lane_name=f"l{n:02}", lane_direction="entry")
        assert answer.status_code == (303 if n < 20 else 422)
    assert len(await rows(owner, "a", LANES)) == 20
    lane = {"lane_was": "l00", "lane_name": "l00", "lane_direction": "entry", "cameras": "c"}
    changed = await admin.send(f"{GATE}/lanes", of=GATE, seen=await admin.seen(f"{GATE}?lane=l00"), **lane)
    assert changed.status_code == 303


async def test_gates_and_spaces_take_short_names_only_and_no_gate_is_deleted_twice(admin: Visitor) -> None:
    page = await admin.send(f"{A}/gates/save", of=GATE, gate_name="No gate!", gate_title="x", gate_direction="entry")
    assert page.status_code == 422
    page = await admin.send(f"{A}/spaces", of=f"{A}/spaces", name="no space!", level="P1", category="shared")
    assert page.status_code == 422
    unknown = await admin.send(
        f"{A}/gates/save", of=GATE, gate_name="main-x", gate_exists="yes", gate_title="x", gate_direction="entry"
    )
    assert unknown.status_code == 404
    for status in (303, 404):
        assert (await admin.send(f"{GATE}/delete", of=f"{A}/gates")).status_code == status


# The map

PLACES = "SELECT name, x, y, w, h, rotation FROM space WHERE community_id = $1 AND x IS NOT NULL ORDER BY name"


@pytest.fixture
async def level(admin: Visitor, owner: Any) -> str:
    """Return the address of level P1, which is 20 m wide and 10 m deep."""
    level = await one(owner, "a", "SELECT id FROM level WHERE community_id = $1 AND name = 'P1'")
    size = {"name": "P1", "ordinal": "-1", "width": "20", "height": "10"}
    here = f"{LEVELS}/{level}"
    answer = await admin.send(here, of=here, seen=await admin.seen(here), **size)
    assert answer.headers["location"] == f"{here}?done=saved"
    return here


async def put(admin: Visitor, level: str, space: str, act: str = "save", **place: str) -> httpx.Response:
    fields = {"x": "0", "y": "0", "w": "2.5", "h": "5", "rotation": "0"} | place
    seen = await admin.seen(f"{level}?space={space}", "place_seen")
    return await admin.send(f"{level}/place", of=level, place_seen=seen, space=space, act=act, **fields)


async def test_spaces_are_placed_moved_resized_and_taken_off_the_map(admin: Visitor, owner: Any, level: str) -> None:
    answer = await put(admin, level, "a-01")
    assert answer.headers["location"] == f"{level}?done=placed"
    # The next one without a place is offered, beside the last one.
    page = await admin.get(level)
    assert 'name="space" value="a-02"' in page.text
    assert re.search(r'id="x" name="x" type="number" value="2.5"', page.text)
    assert page.text.count('data-testid="map-space"') == 1
    assert "5 spaces have no place yet" in page.text
    await put(admin, level, "a-02", x="2,5")
    moved = await put(admin, level, "a-01", x="10", y="4.25", w="3", h="5.5", rotation="90")
    assert moved.headers["location"] == f"{level}?done=placed&space=a-01"
    assert await rows(owner, "a", PLACES) == [
        {"name": "a-01", "x": 10.0, "y": 4.25, "w": 3.0, "h": 5.5, "rotation": 90.0},
        {"name": "a-02", "x": 2.5, "y": 0.0, "w": 2.5, "h": 5.0, "rotation": 0.0},
    ]
    page = await admin.get(f"{level}?space=a-01")
    assert re.search(r'id="y" name="y" type="number" value="4.25"', page.text)
    assert 'transform="rotate(90.0 414.0 252.0)"' in page.text
    taken = await put(admin, level, "a-02", act="take")
    assert taken.status_code == 303
    assert [row["name"] for row in await rows(owner, "a", PLACES)] == ["a-01"]
    # What else is known of the space stays.
    kept = await rows(owner, "a", "SELECT level, category FROM space WHERE community_id = $1 AND name = 'a-01'")
    assert kept == [{"level": "P1", "category": "assigned"}]
    assert 'data-action="space.change"' in (await admin.get(f"{A}/audit?kind=space")).text


async def test_the_live_map_is_drawn_by_the_places_once_all_have_one(admin: Visitor, level: str) -> None:
    for n in range(6):
        assert 'viewBox="0 0 720.0 360.0"' not in (await admin.get(f"{A}/map")).text
        await put(admin, level, f"a-{n + 1:02}", x=str(n * 2.5))
    assert 'viewBox="0 0 720.0 360.0"' in (await admin.get(f"{A}/map")).text


async def test_a_place_is_shown_before_it_is_saved(admin: Visitor, owner: Any, level: str) -> None:
    page = await put(admin, level, "a-03", act="preview", x="15", y="1")
    assert page.status_code == 200
    assert 'data-testid="previewed"' in page.text
    assert re.search(r'data-space="a-03".*?<rect x="543.0" y="39.0"', page.text, re.S)
    assert 'id="x" name="x" type="number" value="15"' in page.text
    assert await rows(owner, "a", PLACES) == []


@pytest.mark.parametrize(
    ("place", "field"),
    [
        ({"x": "18"}, "x"), ({"y": "6"}, "y"), ({"x": "-1"}, "x"), ({"w": "0"}, "w"), ({"h": "a"}, "h"),
        ({"x": "1e1"}, "x"), ({"x": "nan"}, "x"), ({"x": "9" * 400}, "x"), ({"rotation": "360"}, "rotation"),
        ({"rotation": "90"}, "x"), ({"x": "17.5", "rotation": "45"}, "x"),
    ],
)  # fmt: skip
async def test_a_place_outside_of_the_level_is_refused(
    admin: Visitor, owner: Any, level: str, place: dict[str, str], field: str
) -> None:
    page = await put(admin, level, "a-01", **place)
    assert page.status_code == 422
    assert f'href="#{field}"' in page.text
    assert 'name="space" value="a-01"' in page.text
    assert await rows(owner, "a", PLACES) == []


async def test_spaces_of_other_levels_and_communities_are_not_placed_here(admin: Visitor, level: str) -> None:
    await admin.send(f"{A}/spaces", of=f"{A}/spaces", name="x-01", level="P2", category="shared")
    for space in ("x-01", "b-01", "nothing"):
        assert (await put(admin, level, space)).status_code == 404


async def test_levels_are_added_renamed_and_deleted(admin: Visitor, owner: Any, level: str) -> None:
    form = {"name": "P2", "ordinal": "-2", "width": "30,5", "height": "12"}
    added = await admin.send(LEVELS, of=LEVELS, **form)
    new = added.headers["location"].removesuffix("?done=added")
    sizes = "SELECT ordinal, width, height FROM level WHERE community_id = $1 AND name = 'P2'"
    assert await rows(owner, "a", sizes) == [{"ordinal": -2, "width": 30.5, "height": 12.0}]
    page = await admin.get(LEVELS)
    assert page.text.index('data-level-name="P2"') < page.text.index('data-level-name="P1"')
    taken = await admin.send(LEVELS, of=LEVELS, **form)
    assert (taken.status_code, "has a level of this name" in alerts(taken)) == (422, True)
    for wrong in ({"width": "", "height": "5"}, {"ordinal": "1.5"}, {"ordinal": "1001"}, {"name": " "}):
        assert (await admin.send(LEVELS, of=LEVELS, **(form | {"name": "P3"} | wrong))).status_code == 422
    used = await admin.send(f"{level}/delete", of=level)
    assert used.status_code == 422
    renamed = {"name": "Ground", "ordinal": "0", "width": "", "height": ""}
    await admin.send(level, of=level, seen=await admin.seen(level), **renamed)
    assert await one(owner, "a", "SELECT DISTINCT level FROM space WHERE community_id = $1") == "Ground"
    assert (await admin.send(f"{new}/delete", of=new)).headers["location"] == f"{LEVELS}?done=removed"
    for answer in (await admin.get(new), await admin.send(new, of=LEVELS, **form)):
        assert answer.status_code == 404


def space(name: str, place: Geometry | None) -> Space:
    return Space(1, name, "P1", "shared", False, False, place, "free", None)


def test_the_next_space_is_proposed_beside_the_last_one_or_in_a_new_row() -> None:
    level = Level(1, "P1", 0, 10.0, 12.0, 3)
    first, second = Geometry(0, 0, 2.5, 5, 0), Geometry(7.5, 0, 2.5, 5, 0)
    assert levels.next_place(level, [space("a", None)]) == levels.BAY
    assert levels.next_place(level, [space("a", first)]) == Geometry(2.5, 0, 2.5, 5, 0)
    assert levels.next_place(level, [space("a", first), space("b", second)]) == Geometry(0, 5, 2.5, 5, 0)
    full = [*(space("a", place) for place in (first, second)), space("c", Geometry(7.5, 7, 2.5, 5, 0))]
    assert levels.next_place(level, full) == Geometry(7.5, 7, 2.5, 5, 0)


def test_what_has_no_place_is_not_on_the_drawing() -> None:
    placed = drawing.placed(Level(1, "P1", 0, None, None, 2), [space("a", levels.BAY), space("b", None)])
    assert placed
    assert [bay.space.name for bay in placed.bays] == ["a"]
    assert drawing.placed(Level(1, "P1", 0, None, None, 2), [space("b", None)]) is None


# Choosing a unit


async def test_a_unit_is_chosen_by_its_name_among_thousands(admin: Visitor, owner: Any) -> None:
    table = "name;lots\n" + "".join(f"T{n:04};\n" for n in range(3000))
    imported = await admin.send(f"{A}/transfer", of=f"{A}/transfer", kind="units", table=table, act="apply")
    assert imported.status_code == 303
    page = await admin.get(f"{A}/people")
    # Nothing is suggested by counting: what is typed is searched.
    assert f'data-search="{A}/unit-names"' in page.text
    assert page.text.count("<option value=") < 10
    for typed, names in (
        ("t29", ["T2900", "T2901"]), ("T0299", ["T0299"]), ("299", ["T0299", "T1299"]), ("", []), ("nothing", []),
    ):  # fmt: skip
        found = (await admin.get(f"{A}/unit-names", params={"q": typed})).json()
        assert found[:2] == names
        assert len(found) <= 20
    person = await one(owner, "a", "SELECT id FROM resident WHERE community_id = $1 AND name = 'Luis'")
    address = f"{A}/people/{person}"
    unit_of = "SELECT u.name FROM resident r JOIN unit u ON u.id = r.unit_id WHERE r.community_id = $1 AND r.id = $2"

    async def save(unit: str) -> httpx.Response:
        seen = await admin.seen(address)
        return await admin.send(address, of=address, seen=seen, name="Luis", unit=unit, active="on")

    assert (await save(" t2999 ")).status_code == 303
    assert await one(owner, "a", unit_of, person) == "T2999"
    unknown = await save("T299")
    assert unknown.status_code == 422
    assert "No unit is called exactly T299. Similar: T2990, T2991," in alerts(unknown)
    # What was entered stays, and the field now suggests the units like it.
    assert 'value="T299"' in unknown.text
    assert unknown.text.count('<option value="T299') == 10
    assert 'data-search="' in unknown.text
    assert "No unit is called nothing." in alerts(await save("nothing"))
    assert await one(owner, "a", unit_of, person) == "T2999"
    assert (await save("")).status_code == 303
    assert await one(owner, "a", "SELECT unit_id FROM resident WHERE community_id = $1 AND id = $2", person) is None


async def test_an_invitation_to_a_unit_that_is_not_there_offers_to_make_it(admin: Visitor, owner: Any) -> None:
    people, invite = f"{A}/people", f"{A}/people/invite"
    form = {"email": "eva@a.example", "role": "resident", "unit": " 7Z "}
    offered = await admin.send(invite, of=people, **form)
    assert (offered.status_code, "No unit is called 7Z." in alerts(offered)) == (422, True)
    assert 'name="make_unit" value="7Z"' in offered.text
    assert 'value="eva@a.example"' in offered.text
    # The button makes the unit that it named, no other that was entered since.
    other = await admin.send(invite, of=people, **{**form, "unit": "7Y"}, make_unit="7Z")
    assert (other.status_code, 'name="make_unit" value="7Y"' in other.text) == (422, True)
    # What is wrong beside keeps the unit from being made.
    assert (await admin.send(invite, of=people, **{**form, "email": "eva"}, make_unit="7Z")).status_code == 422
    member = await admin.send(invite, of=people, **{**form, "email": "resident@a.example"}, make_unit="7Z")
    assert "belongs to a member" in alerts(member)
    made = "SELECT name FROM unit WHERE community_id = $1 AND name LIKE '7%'"
    assert await rows(owner, "a", made) == []
    done = await admin.send(invite, of=people, **form, make_unit="7Z")
    assert 'data-testid="invitation-link"' in done.text
    assert await rows(owner, "a", made) == [{"name": "7Z"}]
    unit_of = "SELECT u.name FROM invitation i JOIN unit u ON u.id = i.unit_id WHERE i.community_id = $1"
    assert await one(owner, "a", unit_of) == "7Z"
    # Nothing is offered beside a unit that differs in capitals only, or to somebody who belongs to no unit.
    for name in ("ab", "AB"):
        await admin.send(f"{A}/people/units", of=people, name=name, plate_limit="5")
    for role, unit in (("resident", "Ab"), ("auditor", "9X")):
        page = await admin.send(invite, of=people, email="ia@a.example", role=role, unit=unit)
        assert (page.status_code, 'name="make_unit"' in page.text) == (422, False)


async def test_a_unit_is_never_guessed(admin: Visitor, owner: Any) -> None:
    for name in ("10a", "10A", "11B"):
        await admin.send(f"{A}/people/units", of=f"{A}/people", name=name, plate_limit="5")
    space = f"{A}/spaces/a-01"

    async def assign(unit: str) -> httpx.Response:
        return await admin.send(f"{space}/assign", of=space, unit=unit, **{"from": "2030-01-01T00:00", "until": ""})

    for unit in ("", "1B", "B", "1a1a"):
        page = await assign(unit)
        assert page.status_code == 422
        assert 'href="#unit"' in page.text
    assert (await assign("10A")).status_code == 303
    assigned = "SELECT u.name FROM space_assignment a JOIN unit u ON u.id = a.unit_id WHERE a.community_id = $1"
    assert await one(owner, "a", assigned) == "10A"
    # Two differ in capitals only: a name that is neither gets a question.
    await admin.send(f"{A}/people/units", of=f"{A}/people", name="ab", plate_limit="5")
    await admin.send(f"{A}/people/units", of=f"{A}/people", name="AB", plate_limit="5")
    assert "exactly" in alerts(await assign("Ab"))


async def test_other_communities_units_are_neither_suggested_nor_taken(server: Server, admin: Visitor) -> None:
    async with visiting(server.web, STRANGER) as stranger:
        await stranger.send("/communities/b/people/units", of="/communities/b/people", name="Secret 7", plate_limit="5")
    page = await admin.send(
        f"{A}/people/invite", of=f"{A}/people", email="x@a.example", role="resident", unit="Secret 7"
    )
    assert page.status_code == 422
    assert '<option value="Secret 7"' not in page.text
    # So few units are suggested at once.
    assert '<option value="1A"' in page.text
    assert "data-search=" not in page.text
    assert (await admin.get(f"{A}/unit-names?q=Secret")).json() == []
    assert (await admin.get("/communities/b/unit-names?q=Secret")).status_code == 404


def link(page: httpx.Response, rel: str) -> str:
    """Return the address of the page beside a page of a list."""
    found = re.search(rf'rel="{rel}" href="([^"]+)"', page.text)
    assert found, rel
    return html.unescape(found[1])


def unit_names(page: httpx.Response) -> list[str]:
    return re.findall(r'data-testid="unit".*?<a [^>]*>([^<]+)<', page.text, re.S)


async def test_units_are_found_changed_and_deleted(admin: Visitor, owner: Any) -> None:
    units = f"{A}/people/units"
    for n in range(60):
        added = await admin.send(units, of=units, name=f"T{n:02}", lots="", plate_limit="5")
        assert added.headers["location"] == f"{units}?done=added"
    page = await admin.get(units)
    assert page.text.count('data-testid="unit"') == 50
    following = re.search(r'rel="next" href="([^"]+)"', page.text)
    assert following
    assert 'rel="prev"' not in page.text
    last = await admin.get(html.unescape(following[1]))
    assert last.text.count('data-testid="unit"') == 12
    assert unit_names(await admin.get(link(last, "prev"))) == unit_names(page)
    # A search is the same search on the pages beside.
    last = await admin.get(link(await admin.get(f"{units}?q=T&done=added"), "next"))
    assert (last.text.count('data-testid="unit"'), "done=" in str(last.url)) == (10, False)
    assert link(last, "prev").startswith(f"{units}?q=T&cursor=")
    assert 'value="T"' in (await admin.get(link(last, "prev"))).text
    assert (await admin.get(f"{units}?q=t59")).text.count('data-testid="unit"') == 1
    assert (await admin.send(units, of=units, name="T01", plate_limit="5")).status_code == 422
    unit = await one(owner, "a", "SELECT id FROM unit WHERE community_id = $1 AND name = 'T59'")
    here = f"{units}/{unit}"
    seen = await admin.seen(here)
    taken = await admin.send(here, of=here, seen=seen, name="T58", lots="2", plate_limit="7")
    assert (taken.status_code, "of this name" in alerts(taken)) == (422, True)
    answer = await admin.send(here, of=here, seen=seen, name="X1", lots="2", plate_limit="7")
    assert answer.status_code == 303, alerts(answer)
    changed = await rows(
        owner, "a", "SELECT name, lots, plate_limit FROM unit WHERE community_id = $1 AND id = $2", unit
    )
    assert changed == [{"name": "X1", "lots": 2, "plate_limit": 7}]
    for status in (303, 404):
        assert (await admin.send(f"{here}/delete", of=units)).status_code == status
    lived_in = await one(owner, "a", "SELECT id FROM unit WHERE community_id = $1 AND name = '1A'")
    page = await admin.send(f"{units}/{lived_in}/delete", of=units)
    assert page.status_code == 422
    assert "still belong to this unit" in alerts(page)


async def test_an_invitation_names_its_unit(admin: Visitor, owner: Any) -> None:
    page = await admin.send(f"{A}/people/invite", of=f"{A}/people", email="x@a.example", role="resident", unit="2b")
    assert page.status_code == 200, alerts(page)
    query = "SELECT u.name FROM invitation i JOIN unit u ON u.id = i.unit_id WHERE i.community_id = $1"
    assert await one(owner, "a", query) == "2B"


async def test_a_mistake_in_one_form_of_a_page_changes_nothing_in_the_others(admin: Visitor, owner: Any) -> None:
    person = await one(owner, "a", "SELECT id FROM resident WHERE community_id = $1 AND name = 'Ana'")
    address = f"{A}/people/{person}"
    page = await admin.send(f"{address}/plates", of=address, plate="?!", label="")
    assert page.status_code == 422
    assert re.search(r'id="name" name="name" type="text" value="Ana"', page.text)
    assert re.search(r'id="unit" name="unit" type="text" value="1A"', page.text)
    assert re.search(r'id="active" name="active" value="on" checked', page.text)
    # A box that was cleared stays cleared where its own form is shown again.
    page = await admin.send(address, of=address, name="", unit="1A")
    assert page.status_code == 422
    assert not re.search(r'id="active" name="active" value="on" checked', page.text)


# Changes that another user made in the meantime


async def test_what_somebody_else_changed_is_not_overwritten(
    admin: Visitor, owner: Any, level: str, subtests: pytest.Subtests
) -> None:
    await admin.send(f"{GATE}/lanes", of=GATE, lane_name="left", lane_direction="entry", cameras="cam-0")
    unit = await one(owner, "a", "SELECT id FROM unit WHERE community_id = $1 AND name = '1A'")
    person = await one(owner, "a", "SELECT id FROM resident WHERE community_id = $1 AND name = 'Ana'")
    units, people, space = f"{A}/people/units/{unit}", f"{A}/people/{person}", f"{A}/spaces/a-02"
    place = {"space": "a-01", "act": "save", "y": "1", "w": "2.5", "h": "5", "rotation": "0"}
    # The page with the form, its mark's field, where it goes, what stays in it, and a field that two people change.
    forms = [
        (units, "seen", units, {"name": "1A", "plate_limit": "9"}, ("lots", "41", "42")),
        (people, "seen", people, {"unit": "1A", "active": "on"}, ("name", "Ana B", "Ana C")),
        (space, "seen", space, {"category": "assigned"}, ("level", "P7", "P8")),
        (level, "seen", level, {"name": "P1", "width": "20", "height": "10"}, ("ordinal", "41", "42")),
        (f"{level}?space=a-01", "place_seen", f"{level}/place", place, ("x", "1.25", "2.75")),
        (
            f"{GATE}?lane=left", "seen", f"{GATE}/lanes",
            {"lane_was": "left", "lane_name": "left", "lane_direction": "entry"}, ("cameras", "cam-1", "cam-2"),
        ),
        (
            f"{A}/gates", "gate_seen", f"{A}/gates/save",
            {"gate_name": "main-in", "gate_exists": "yes", "gate_direction": "entry"}, ("gate_title", "East", "West"),
        ),
    ]  # fmt: skip
    for page, field, address, fields, (changed, first, second) in forms:
        with subtests.test(address):
            seen = await admin.seen(page, field)
            answer = await admin.send(address, of=page, **fields, **{field: seen, changed: first})
            assert answer.status_code == 303, alerts(answer)
            stale = await admin.send(address, of=page, **fields, **{field: seen, changed: second})
            assert stale.status_code == 422
            assert "Somebody changed this in the meantime" in alerts(stale)
            # It shows what holds now, and the next attempt is made knowing it.
            assert f'value="{first}"' in stale.text
            assert f'value="{second}"' not in stale.text
            answer = await admin.send(address, of=page, **fields, **{field: mark(stale, field), changed: second})
            assert answer.status_code == 303, alerts(answer)
            unmarked = await admin.send(address, of=page, **fields, **{changed: first})
            assert unmarked.status_code == 422


async def test_a_form_with_a_mistake_keeps_the_mark_of_the_state_it_was_filled_with(admin: Visitor, owner: Any) -> None:
    unit = await one(owner, "a", "SELECT id FROM unit WHERE community_id = $1 AND name = '1A'")
    here = f"{A}/people/units/{unit}"
    seen = await admin.seen(here)
    await admin.send(here, of=here, seen=seen, name="1A", lots="4", plate_limit="9")
    wrong = await admin.send(here, of=here, seen=seen, name="", lots="", plate_limit="9")
    assert 'href="#name"' in wrong.text
    assert mark(wrong) == seen


# One person's data


async def test_a_person_is_erased_by_whoever_enters_the_address_once_more(admin: Visitor, owner: Any) -> None:
    person = await one(owner, "a", "SELECT id FROM resident WHERE community_id = $1 AND name = 'Ana'")
    address = f"{A}/people/{person}/data"
    assert f'href="{address}"' in (await admin.get(f"{A}/people/{person}")).text
    for confirm in ("", "luis@a.example"):
        page = await admin.send(address, of=address, confirm=confirm)
        assert page.status_code == 422
        assert 'href="#confirm"' in page.text
    page = await admin.send(address, of=address, confirm=" Resident@A.example ")
    assert 'data-testid="erased"' in page.text, alerts(page)
    assert '<dd data-erased="credentials">1</dd>' in page.text
    assert "resident@a.example" not in page.text
    assert await one(owner, "a", "SELECT name FROM resident WHERE community_id = $1 AND id = $2", person) == "Erased"
    for path in (address, f"{A}/people/{person}"):
        assert (await admin.get(path)).status_code == 404
    again = await admin.send(address, of=f"{A}/people", confirm="resident@a.example")
    assert again.status_code == 404


async def test_a_person_s_data_is_given_out_as_a_file_and_the_trail_notes_it(admin: Visitor, owner: Any) -> None:
    person = await one(owner, "a", "SELECT id FROM resident WHERE community_id = $1 AND name = 'Ana'")
    page = await admin.get(f"{A}/people/{person}/data")
    link = re.search(r'href="([^"]+)" download="a-person-\d+\.json"', page.text)
    assert link
    given = await admin.get(link[1])
    assert given.json()["resident"]["email"] == "resident@a.example"
    assert given.headers["cache-control"] == "no-store"
    assert 'data-action="resident.export"' in (await admin.get(f"{A}/audit?kind=resident")).text


async def test_who_asks_to_be_erased_is_seen_where_it_is_done(admin: Visitor, owner: Any) -> None:
    person = await one(owner, "a", "SELECT id FROM resident WHERE community_id = $1 AND name = 'Ana'")
    address = f"{A}/people/{person}/data"
    assert "erasure-asked" not in (await admin.get(address)).text
    await rows(owner, "a", "UPDATE resident SET erasure_asked_at = now() WHERE community_id = $1 AND id = $2", person)
    assert "Ana asked for this on" in (await admin.get(address)).text


async def test_nobody_erases_another_community_s_person(admin: Visitor, owner: Any) -> None:
    person = await one(owner, "b", "SELECT id FROM resident WHERE community_id = $1 AND name = 'Luis'")
    address = f"{A}/people/{person}/data"
    assert (await admin.get(address)).status_code == 404
    assert (await admin.send(address, of=f"{A}/people", confirm="luis@b.example")).status_code == 404
    assert await one(owner, "b", "SELECT erased_at FROM resident WHERE community_id = $1 AND id = $2", person) is None


async def test_an_administrator_does_not_erase_himself(admin: Visitor, owner: Any) -> None:
    made = "INSERT INTO resident (community_id, email, name) VALUES ($1, $2, 'Admin') RETURNING id"
    person = await one(owner, "a", made, ADMIN)
    member = """
        UPDATE membership m SET resident_id = $2 WHERE m.community_id = $1 AND m.role = 'administrator' RETURNING 1
    """
    assert await one(owner, "a", member, person) == 1
    address = f"{A}/people/{person}/data"
    page = await admin.send(address, of=address, confirm=ADMIN)
    assert page.status_code == 422
    assert "your own access" in alerts(page)
    assert await one(owner, "a", "SELECT erased_at FROM resident WHERE community_id = $1 AND id = $2", person) is None


# Letting a community go

OFFBOARD = f"{A}/offboard"


async def test_the_desk_lets_a_community_go_that_it_names_once_more(server: Server, desk: Visitor, owner: Any) -> None:
    page = await desk.get("/")
    assert f'href="{OFFBOARD}"' in page.text
    page = await desk.get(OFFBOARD)
    for held, number in (("residents", 2), ("plates", 2), ("accounts", 2), ("spaces", 6), ("gateways", 1)):
        assert f'<dd data-held="{held}">{number}</dd>' in page.text
    for fields, field in (
        ({"reason": "contract ended", "confirm": ""}, "confirm"),
        ({"reason": "contract ended", "confirm": "b"}, "confirm"),
        ({"reason": "", "confirm": "a"}, "reason"),
    ):  # fmt: skip
        page = await desk.send(OFFBOARD, of=OFFBOARD, **fields)
        assert page.status_code == 422
        assert f'href="#{field}"' in page.text
    assert await one(owner, "a", "SELECT offboarded_at FROM community WHERE id = $1") is None
    async with visiting(server.web, ADMIN) as administrator:
        answer = await desk.send(OFFBOARD, of=OFFBOARD, reason="contract ended", confirm=" A ")
        assert answer.headers["location"] == f"{OFFBOARD}?done=offboarded"
        assert (await administrator.get(A)).headers["location"].startswith("/sign-in")
    page = await desk.get(OFFBOARD)
    assert "It was offboarded on" in page.text
    assert 'data-testid="offboard-form"' not in page.text
    row = (await desk.get("/?q=community+a")).text
    assert "Offboarded</span>" in row
    assert "contract ended" in (await desk.get("/audit?kind=community")).text
    assert (await desk.get("/communities/nowhere/offboard")).status_code == 404


async def test_a_community_that_was_let_go_is_deleted_after_a_while_in_which_it_can_be_kept(
    desk: Visitor, owner: Any
) -> None:
    due = "SELECT deletion_due FROM community WHERE id = $1"
    early = await desk.send(f"{A}/delete", of=OFFBOARD, confirm="a")
    assert early.status_code == 422
    assert "Offboard the community first" in alerts(early)
    await desk.send(OFFBOARD, of=OFFBOARD, reason="contract ended", confirm="a")
    wrong = await desk.send(f"{A}/delete", of=OFFBOARD, confirm="b")
    assert wrong.status_code == 422
    assert 'href="#confirm"' in wrong.text
    assert await one(owner, "a", due) is None
    answer = await desk.send(f"{A}/delete", of=OFFBOARD, confirm="a")
    assert answer.headers["location"] == f"{OFFBOARD}?done=community-deleted"
    assert await one(owner, "a", due) is not None
    page = await desk.get(OFFBOARD)
    assert 'data-testid="deletion-due"' in page.text
    assert 'data-testid="delete-form"' not in page.text
    answer = await desk.send(f"{A}/keep", of=OFFBOARD)
    assert answer.headers["location"] == f"{OFFBOARD}?done=community-kept"
    assert await one(owner, "a", due) is None
