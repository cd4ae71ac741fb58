"""Tables of places on the map: mistakes by line, moves between levels, and what an empty cell leaves."""

from collections.abc import Callable
from typing import Any

import httpx
import pytest
from two_communities import rows

People = Callable[[str], Any]
A, ADMIN = "/api/v1/communities/a", "administrator@a.example"
PLACES = """
SELECT name, level, x, y, w, h, rotation FROM space WHERE community_id = $1 AND x IS NOT NULL ORDER BY name
"""


async def send(client: httpx.AsyncClient, table: str, *, dry_run: bool = False) -> httpx.Response:
    return await client.post(
        f"{A}/imports/places",
        params={"dry_run": dry_run},
        content=table.encode(),
        headers={"Content-Type": "text/csv"},
    )


@pytest.fixture
async def admin(people: People) -> httpx.AsyncClient:
    """Return an administrator of a community whose level P1 is 20 by 10, beside an empty P2 without a size."""
    client: httpx.AsyncClient = await people(ADMIN)
    (found,) = [item for item in (await client.get(f"{A}/levels")).json()["items"] if item["name"] == "P1"]
    size = {"width": 20, "height": 10}
    assert (await client.patch(f"{A}/levels/{found['id']}", json=size, headers={"If-Match": "*"})).status_code == 200
    assert (await client.post(f"{A}/levels", json={"name": "P2", "ordinal": 2})).status_code == 201
    return client


async def test_places_come_by_a_spanish_table(admin: httpx.AsyncClient, owner: Any) -> None:
    table = "Planta;Plaza;X;Y;Ancho;Fondo;Giro\nP1;a-01;0,5;1;2,5;5;\nP2;a-02;30;0;2,5;5;90\n"
    tried = (await send(admin, table, dry_run=True)).json()
    assert (tried["applied"], tried["updated"], tried["mistakes"]) == (False, 2, [])
    assert await rows(owner, "a", PLACES) == []
    assert (await send(admin, table)).json()["updated"] == 2
    assert [tuple(row.values()) for row in await rows(owner, "a", PLACES)] == [
        ("a-01", "P1", 0.5, 1, 2.5, 5, 0),
        ("a-02", "P2", 30, 0, 2.5, 5, 90),
    ]
    again = (await send(admin, table)).json()
    assert (again["updated"], again["unchanged"]) == (0, 2)
    assert (await send(admin, "space,x,level\na-01,3,\na-02,,P1\n")).status_code == 422, "30 is outside of P1"
    assert (await send(admin, "space,x,level\na-01,3,\na-03,,P2\n")).json()["updated"] == 2
    assert [tuple(row.values()) for row in await rows(owner, "a", PLACES)] == [
        ("a-01", "P1", 3, 1, 2.5, 5, 0),
        ("a-02", "P2", 30, 0, 2.5, 5, 90),
    ]
    acts = await rows(owner, "a", "SELECT detail FROM audit_entry WHERE community_id = $1 AND action = 'places.import'")
    assert len(acts) == 3


async def test_every_mistake_is_named_by_its_line(admin: httpx.AsyncClient, owner: Any) -> None:
    head = "space;level;x;y;w;h;rotation\n"
    kept = "a-01;;1;1;2.5;5;\n"
    answer = await send(admin, f"{head}{kept}a-02;;1.2.3;1;0;5;360\na-03;;2.5.;1;2;5;0\n")
    assert answer.status_code == 422
    assert [(item["line"], item["column"]) for item in answer.json()["mistakes"]] == [
        (3, "x"), (3, "w"), (3, "rotation"), (4, "x"),
    ]  # fmt: skip
    lines = ("a-77;;1;1;2;5;0", "a-02;P9;1;1;2;5;0", "a-03;;1;1;2.5;;0", "a-04;P1;17.6;1;2.5;5;0", "a-05;;4;1;2;5;")
    answer = await send(admin, head + kept + "\n".join(lines))
    assert [(item["line"], item["column"]) for item in answer.json()["mistakes"]] == [
        (3, "space"), (4, "level"), (5, "h"), (6, "x"),
    ]  # fmt: skip
    assert await rows(owner, "a", PLACES) == []
    (double,) = (await send(admin, f"{head}{kept}{kept}")).json()["mistakes"]
    assert (double["line"], double["column"]) == (3, "space")


async def test_what_lies_outside_already_can_stay_there(admin: httpx.AsyncClient, owner: Any) -> None:
    beyond = {"x": 100, "y": 0, "w": 2.5, "h": 5, "rotation": 0}
    answer = await admin.patch(f"{A}/spaces/a-01", json={"geometry": beyond}, headers={"If-Match": "*"})
    assert answer.status_code == 200, answer.text
    assert (await send(admin, "space,x\na-01,100\n")).json()["unchanged"] == 1
    assert (await send(admin, "space,x\na-01,101\n")).status_code == 422
