"""Places of a level copied and put in line, by the API and on the page."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from page_visitor import Visitor, alerts, visiting
from running_server import Server
from two_communities import rows

People = Callable[[str], Any]
A, ADMIN = "/api/v1/communities/a", "administrator@a.example"
PLACES = "SELECT name, level, x, y, category FROM space WHERE community_id = $1 AND x IS NOT NULL ORDER BY name"


@pytest.fixture
async def admin(people: People) -> httpx.AsyncClient:
    client: httpx.AsyncClient = await people(ADMIN)
    return client


@pytest.fixture
async def levels(admin: httpx.AsyncClient) -> tuple[int, int]:
    """Return the levels P1, 20 by 12 with a-01 to a-03 in a crooked row, and P2, 20 by 5.5 and empty."""
    (first,) = [item for item in (await admin.get(f"{A}/levels")).json()["items"] if item["name"] == "P1"]
    size = {"width": 20, "height": 12}
    assert (await admin.patch(f"{A}/levels/{first['id']}", json=size, headers={"If-Match": "*"})).status_code == 200
    made = await admin.post(f"{A}/levels", json={"name": "P2", "ordinal": 2, "width": 20, "height": 5.5})
    assert made.status_code == 201, made.text
    for name, x, y in (("a-01", 0, 0), ("a-02", 3, 0.5), ("a-03", 10, 0)):
        place = {"x": x, "y": y, "w": 2.5, "h": 5, "rotation": 0}
        answer = await admin.patch(f"{A}/spaces/{name}", json={"geometry": place}, headers={"If-Match": "*"})
        assert answer.status_code == 200, answer.text
    return first["id"], made.json()["id"]


async def test_spaces_come_in_line_and_at_equal_distances(
    admin: httpx.AsyncClient, owner: Any, levels: tuple[int, int]
) -> None:
    here, chosen = f"{A}/levels/{levels[0]}/alignments", ["a-03", "a-01", "a-02"]
    before = await rows(owner, "a", PLACES)
    tried = await admin.post(here, json={"spaces": chosen, "how": "top"})
    assert [(item["name"], item["geometry"]["y"]) for item in tried.json()["spaces"]] == [(name, 0) for name in chosen]
    assert await rows(owner, "a", PLACES) == before
    over = await admin.post(f"{here}?dry_run=false", json={"spaces": chosen, "how": "left"})
    assert (over.status_code, over.json()["type"]) == (409, "urn:parkmesh:problem:overlap")
    for how in ("top", "across"):
        done = await admin.post(f"{here}?dry_run=false", json={"spaces": chosen, "how": how})
        assert (done.status_code, done.json()["applied"]) == (200, True), done.text
    assert [(row["x"], row["y"]) for row in await rows(owner, "a", PLACES)] == [(0, 0), (5, 0), (10, 0)]
    lacking = await admin.post(here, json={"spaces": ["a-01", "a-04", "b-77"], "how": "top"})
    assert (lacking.status_code, lacking.json()["spaces"]) == (409, ["a-04", "b-77"])
    for wrong in ({"spaces": ["a-01"]}, {"spaces": ["a-01", "a-01"]}, {"how": "middle"}):
        assert (await admin.post(here, json={"spaces": chosen, "how": "top"} | wrong)).status_code == 422


async def test_places_are_copied_beside_and_to_another_level(
    admin: httpx.AsyncClient, owner: Any, levels: tuple[int, int]
) -> None:
    here = f"{A}/levels/{levels[0]}/copies"
    body: dict[str, Any] = {"spaces": ["a-01", "a-02", "a-03"], "first": "a-04"}
    over = await admin.post(f"{here}?dry_run=false", json=body)
    assert (over.status_code, over.json()["type"]) == (409, "urn:parkmesh:problem:overlap")
    assert (await admin.post(f"{here}?dry_run=false", json=body | {"dy": 6})).status_code == 200
    other = {"spaces": ["a-01", "a-02", "a-03"], "first": "p2-11", "to_level": levels[1]}
    assert (await admin.post(f"{here}?dry_run=false", json=other)).json()["spaces"] == ["p2-11", "p2-12", "p2-13"]
    other |= {"create": True, "category": "shared"}
    outside = await admin.post(f"{here}?dry_run=false", json=other | {"dy": 0.2})
    assert (outside.status_code, outside.json()["spaces"]) == (409, ["p2-12"])
    done = await admin.post(f"{here}?dry_run=false", json=other)
    assert (done.status_code, [item["new"] for item in done.json()["spaces"]]) == (200, [True] * 3), done.text
    assert [tuple(row.values()) for row in (await rows(owner, "a", PLACES))[3:]] == [
        ("a-04", "P1", 0, 6, "assigned"), ("a-05", "P1", 3, 6.5, "assigned"), ("a-06", "P1", 10, 6, "assigned"),
        ("p2-11", "P2", 0, 0, "shared"), ("p2-12", "P2", 3, 0.5, "shared"), ("p2-13", "P2", 10, 0, "shared"),
    ]  # fmt: skip
    elsewhere = await admin.post(f"{here}?dry_run=false", json=body | {"to_level": levels[1]})
    assert (elsewhere.status_code, elsewhere.json()["type"]) == (409, "urn:parkmesh:problem:elsewhere")
    assert (await admin.post(here, json=body | {"to_level": 999_999})).status_code == 404
    named = await admin.post(here, json=body | {"first": "door"})
    assert (named.status_code, named.json()["detail"]) == (
        422, "first: the name of the copy of door can't follow from it",
    )  # fmt: skip


@pytest.fixture
async def page(server: Server) -> AsyncIterator[Visitor]:
    async with visiting(server.web, ADMIN) as visitor:
        yield visitor


async def test_the_page_shows_copies_on_the_other_level_before_it_saves_them(
    page: Visitor, owner: Any, levels: tuple[int, int]
) -> None:
    arrange = f"/communities/a/map/levels/{levels[0]}/arrange"
    entered = {
        "how": "copy", "every": "on", "first": "p2-01", "to_level": str(levels[1]), "dx": "1", "dy": "0",
        "category": "visitor",
    }  # fmt: skip
    lacking = await page.send(arrange, of=arrange, act="preview", **entered)
    assert lacking.status_code == 422
    assert "p2-01, p2-02, p2-03" in alerts(lacking)
    shown = await page.send(arrange, of=arrange, act="preview", create="on", **entered)
    assert shown.status_code == 200, alerts(shown)
    assert "3 spaces would be new" in shown.text
    assert shown.text.count("bay unknown chosen") == 3
    assert 'data-space="a-01"' not in shown.text, "the drawing is that of the level of the copies"
    assert len(await rows(owner, "a", PLACES)) == 3
    saved = await page.send(arrange, of=arrange, act="save", create="on", **entered)
    assert saved.headers["location"] == f"/communities/a/map/levels/{levels[1]}?done=placed"
    assert [row["x"] for row in (await rows(owner, "a", PLACES))[3:]] == [1, 4, 11]


async def test_the_page_says_what_is_missing_and_takes_many_boxes(
    page: Visitor, owner: Any, levels: tuple[int, int]
) -> None:
    arrange = f"/communities/a/map/levels/{levels[0]}/arrange"
    token = await page.token(arrange)
    for chosen, text in (
        ([], "Choose from 2 to 200 spaces"),
        (["a-01"], "Choose from 2 to 200 spaces"),
        ([f"b-{number}" for number in range(201)], "Choose from 2 to 200 spaces"),
        (["a-01", "a-04"], "no place on this level. a-04"),
    ):
        fields = {"csrf_token": token, "how": "top", "act": "save", "space": chosen}
        answer = await page.client.post(arrange, data=fields)
        assert answer.status_code == 422
        assert text in alerts(answer)
    fields = {"csrf_token": token, "how": "top", "act": "save", "space": ["a-01", "a-02"]}
    assert (await page.client.post(arrange, data=fields)).status_code == 303
    assert [row["y"] for row in await rows(owner, "a", PLACES)] == [0, 0, 0]
