"""Rows of spaces on a level's map, by the API and on the page."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from page_visitor import Visitor, alerts, visiting
from running_server import Server
from two_communities import rows

People = Callable[[str], Any]
A, ADMIN = "/api/v1/communities/a", "administrator@a.example"
PLACES = "SELECT name, x, y, category FROM space WHERE community_id = $1 AND x IS NOT NULL ORDER BY name"
ROW = {"first": "a-05", "count": 4, "x": 1, "y": 2, "w": 2.5, "h": 5, "gap": 0.5}


@pytest.fixture
async def level(people: People) -> int:
    """Return the level of the seeded spaces a-01 to a-06, 20 by 10."""
    admin = await people(ADMIN)
    (found,) = [item for item in (await admin.get(f"{A}/levels")).json()["items"] if item["name"] == "P1"]
    size = {"width": 20, "height": 10}
    assert (await admin.patch(f"{A}/levels/{found['id']}", json=size, headers={"If-Match": "*"})).status_code == 200
    return int(found["id"])


async def test_a_row_places_spaces_and_adds_those_that_are_asked_for(people: People, owner: Any, level: int) -> None:
    admin = await people(ADMIN)
    here = f"{A}/levels/{level}/rows"
    dry = (await admin.post(here, json=ROW)).json()
    assert [(item["name"], item["new"], item["geometry"]["x"]) for item in dry["spaces"]] == [
        ("a-05", False, 1), ("a-06", False, 4), ("a-07", True, 7), ("a-08", True, 10),
    ]  # fmt: skip
    assert await rows(owner, "a", PLACES) == []
    lacking = await admin.post(f"{here}?dry_run=false", json=ROW)
    assert (lacking.status_code, lacking.json()["spaces"]) == (409, ["a-07", "a-08"])
    assert await rows(owner, "a", PLACES) == []
    wanted = ROW | {"create": True, "category": "visitor"}
    for _ in range(2):
        done = await admin.post(f"{here}?dry_run=false", json=wanted)
        assert (done.status_code, done.json()["applied"]) == (200, True), done.text
    placed = await rows(owner, "a", PLACES)
    assert [(row["name"], row["x"], row["y"]) for row in placed] == [
        ("a-05", 1, 2), ("a-06", 4, 2), ("a-07", 7, 2), ("a-08", 10, 2),
    ]  # fmt: skip
    assert [row["category"] for row in placed[2:]] == ["visitor", "visitor"]


async def test_what_is_in_the_way_is_named(people: People, owner: Any, level: int) -> None:
    admin = await people(ADMIN)
    here = f"{A}/levels/{level}/rows?dry_run=false"
    assert (await admin.post(here, json=ROW | {"count": 2})).status_code == 200
    before = await rows(owner, "a", PLACES)
    await admin.post(f"{A}/spaces", json={"name": "a-20", "category": "shared", "level": "P2"})
    cases: list[tuple[dict[str, object], str, list[str]]] = [
        ({"first": "a-01", "count": 1, "x": 3}, "overlap", ["a-01", "a-05", "a-06"]),
        ({"first": "a-01", "count": 2, "x": 15}, "outside", ["a-02"]),
        ({"first": "a-20", "count": 1, "x": 10}, "elsewhere", ["a-20"]),
    ]
    for change, kind, names in cases:
        refused = await admin.post(here, json=ROW | change)
        assert (refused.status_code, refused.json()["type"]) == (409, f"urn:parkmesh:problem:{kind}")
        assert refused.json()["spaces"] == names
    for change in ({"first": "door"}, {"name_step": 0}, {"name_step": -2}, {"count": 201}):
        assert (await admin.post(here, json=ROW | change)).status_code == 422
    assert await rows(owner, "a", PLACES) == before
    over = await admin.post(here, json=ROW | {"first": "a-01", "count": 2, "x": 3, "overlapping": True})
    assert over.status_code == 200


@pytest.fixture
async def page(server: Server) -> AsyncIterator[Visitor]:
    async with visiting(server.web, ADMIN) as visitor:
        yield visitor


async def test_the_page_shows_a_row_before_it_saves_it(page: Visitor, owner: Any, level: int) -> None:
    row = f"/communities/a/map/levels/{level}/row"
    entered = {name: str(value) for name, value in ROW.items()} | {
        "name_step": "1", "rotation": "0", "direction": "0", "category": "shared",
    }  # fmt: skip
    lacking = await page.send(row, of=row, act="preview", **entered)
    assert lacking.status_code == 422
    assert "a-07, a-08" in alerts(lacking)
    shown = await page.send(row, of=row, act="preview", create="on", **entered)
    assert shown.status_code == 200
    assert "2 spaces would be new" in shown.text
    assert shown.text.count("bay unknown chosen") == 4
    assert 'name="first" type="text" value="a-05"' in shown.text
    assert await rows(owner, "a", PLACES) == []
    saved = await page.send(row, of=row, act="save", create="on", **entered)
    assert saved.headers["location"] == f"/communities/a/map/levels/{level}?done=placed"
    assert len(await rows(owner, "a", PLACES)) == 4
