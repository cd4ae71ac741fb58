"""PUT replaces with every field, PATCH changes some (RFC 7396), and unknown query parameters are refused."""

from collections.abc import Callable
from typing import Any

import pytest
from fastapi.exceptions import RequestValidationError
from hypothesis import given, strategies
from parkmesh.server.web.api import spaces
from parkmesh.server.web.api.whole_and_part import _merge, merged, part, whole
from parkmesh.server.web.fields import Body
from pydantic import Field

People = Callable[[str], Any]
A = "/api/v1/communities/a"
ADMIN = "administrator@a.example"
ANY = {"If-Match": "*"}


async def test_a_put_with_one_field_does_not_reset_the_others(people: People) -> None:
    admin = await people(ADMIN)
    before = (await admin.get(f"{A}/rules")).json()
    refused = await admin.put(f"{A}/rules", json={"booking_max_hours": 5}, headers=ANY)
    assert refused.status_code == 422
    assert {"body.anti_passback", "body.entry_hold_s"} <= {error["where"] for error in refused.json()["errors"]}
    assert (await admin.get(f"{A}/rules")).json() == before
    put = await admin.put(f"{A}/rules", json=before | {"booking_max_hours": 5}, headers=ANY)
    assert put.json() == before | {"booking_max_hours": 5}
    patched = await admin.patch(f"{A}/rules", json={"lots_per_unit": 3}, headers={"If-Match": put.headers["etag"]})
    assert patched.json() == before | {"booking_max_hours": 5, "lots_per_unit": 3}
    assert patched.headers["etag"] != put.headers["etag"]
    # Null is a value of this rule, and none of that one.
    cleared = await admin.patch(f"{A}/rules", json={"lots_per_unit": None}, headers=ANY)
    assert cleared.json()["lots_per_unit"] is None
    wrong = await admin.patch(f"{A}/rules", json={"anti_passback": None}, headers=ANY)
    assert wrong.status_code == 422
    assert wrong.json()["errors"][0]["where"] == "body.anti_passback"


@pytest.mark.parametrize("media", ["application/json", "application/merge-patch+json"])
async def test_a_patch_is_a_merge_patch(people: People, media: str) -> None:
    admin = await people(ADMIN)
    space = f"{A}/spaces/a-01"
    placed = {"x": 1, "y": 2, "w": 3, "h": 4, "rotation": 90}
    whole_space = {"level": "P1", "category": "shared", "ev": True, "accessible": True, "geometry": placed}
    assert (await admin.put(space, json=whole_space, headers=ANY)).status_code == 200
    headers = ANY | {"Content-Type": media}
    moved = await admin.patch(space, content=b'{"geometry": {"x": 9}}', headers=headers)
    assert moved.status_code == 200, moved.text
    assert {name: moved.json()[name] for name in whole_space} == whole_space | {"geometry": placed | {"x": 9}}
    taken_off = await admin.patch(space, content=b'{"geometry": null}', headers=headers)
    assert taken_off.json()["geometry"] is None
    assert (await admin.patch(space, content=b'{"geometry": {"x": 9}}', headers=headers)).status_code == 422


@pytest.mark.parametrize(
    ("path", "put", "missing"),
    [
        ("/spaces/a-01", {"category": "shared"}, {"level", "ev", "accessible", "geometry"}),
        ("/gates/main-in", {"title": "T", "direction": "entry"}, {"lanes"}),
        ("/gates/main-in", {"title": "T", "direction": "entry", "lanes": [{"name": "l", "direction": "entry"}]}, None),
        ("/spaces/a-01", {"level": "", "category": "shared", "ev": False, "accessible": False,
                          "geometry": {"x": 1, "y": 1, "w": 1, "h": 1}}, None),
    ],
)  # fmt: skip
async def test_no_put_fills_in_what_it_was_not_given(
    people: People, path: str, put: dict[str, Any], missing: set[str] | None
) -> None:
    admin = await people(ADMIN)
    before = (await admin.get(A + path)).json()
    refused = await admin.put(A + path, json=put, headers=ANY)
    assert refused.status_code == 422
    found = {error["where"].rpartition(".")[2] for error in refused.json()["errors"]}
    assert found == (missing or {"cameras" if "gates" in path else "rotation"})
    assert (await admin.get(A + path)).json() == before


async def test_gates_and_levels_are_patched(people: People) -> None:
    admin = await people(ADMIN)
    gate = await admin.patch(f"{A}/gates/main-in", json={"title": "New"}, headers=ANY)
    assert (gate.status_code, gate.json()["title"], gate.json()["direction"]) == (200, "New", "entry")
    (level,) = (await admin.get(f"{A}/levels")).json()["items"]
    address = f"{A}/levels/{level['id']}"
    assert (await admin.patch(address, json={"ordinal": 4}, headers=ANY)).json() == level | {"ordinal": 4}
    # Width and height go together, also after the change.
    assert (await admin.patch(address, json={"width": 4}, headers=ANY)).status_code == 422
    assert (await admin.patch(address, json={"colour": 4}, headers=ANY)).status_code == 422
    assert (await admin.patch(address, json={"ordinal": 5})).status_code == 428
    resident = await people("resident@a.example")
    assert (await resident.patch(address, json={"ordinal": 5}, headers=ANY)).status_code == 403


_json = strategies.recursive(
    strategies.none() | strategies.integers() | strategies.text(),
    lambda inner: strategies.dictionaries(strategies.text(), inner),
)


@given(_json, _json)
def test_merging_a_patch_twice_is_merging_it_once(target: Any, patch: Any) -> None:
    once = _merge(target, patch)
    assert _merge(once, patch) == once


class _Inner(Body):
    a: int
    b: int = 2


class _Outer(Body):
    one: _Inner | None = None
    many: list[_Inner] = Field(default=[], max_length=3)
    number: int = Field(default=1, ge=1)


def test_whole_and_part_reach_what_is_within() -> None:
    every, some = whole(_Outer, "Every"), part(_Outer, "Some")
    assert every.model_json_schema()["required"] == ["one", "many", "number"]
    with pytest.raises(ValueError, match=r"many\.0\.b"):
        every.model_validate({"one": None, "many": [{"a": 1}], "number": 1})
    with pytest.raises(ValueError, match=r"many\.0\.b"):
        some.model_validate({"many": [{"a": 1}]})
    with pytest.raises(ValueError, match="greater than or equal to 1"):
        some.model_validate({"number": 0})
    present = every.model_validate({"one": {"a": 1, "b": 5}, "many": [], "number": 7})
    changed = merged(every, present, some.model_validate({"one": {"a": 3}}))
    assert changed.model_dump() == {"one": {"a": 3, "b": 5}, "many": [], "number": 7}
    with pytest.raises(RequestValidationError):
        merged(every, present, some.model_validate({"number": None}))
    assert isinstance(merged(spaces.WholeLevel, {"name": "P1", "ordinal": 1, "width": None, "height": None},
                             spaces.LevelChange(ordinal=2)), spaces.LevelBody)  # fmt: skip


# Query parameters


@pytest.mark.parametrize(
    "path",
    [
        "/communities?limt=5",
        f"{A.removeprefix('/api/v1')}/passages?plat=1234",
        f"{A.removeprefix('/api/v1')}/spaces?Level=P1",
        f"{A.removeprefix('/api/v1')}/rules?x=",
        f"{A.removeprefix('/api/v1')}/gates/main-in?x=1",
    ],
)
async def test_an_unknown_query_parameter_is_refused_and_named(people: People, path: str) -> None:
    admin = await people(ADMIN)
    refused = await admin.get(f"/api/v1{path}")
    assert (refused.status_code, refused.json()["type"]) == (422, "urn:parkmesh:problem:unknown-parameter")
    assert path.partition("?")[2].partition("=")[0] in refused.json()["detail"]
    assert (await admin.get(f"/api/v1{path.partition('?')[0]}")).status_code == 200


async def test_changes_refuse_unknown_parameters_too(people: People) -> None:
    admin = await people(ADMIN)
    refused = await admin.patch(f"{A}/rules?dry_run=true", json={"lots_per_unit": 3}, headers=ANY)
    assert refused.status_code == 422
    assert (await admin.get(f"{A}/rules")).json()["lots_per_unit"] is None


async def test_known_parameters_are_taken_wherever_they_come_from(people: People) -> None:
    """A page's parameters come from a dependency, others from the route itself."""
    admin = await people(ADMIN)
    for query in ("limit=5", "limit=5&plate=12", "from=2026-01-01T00:00:00Z&until=2027-01-01T00:00:00Z", ""):
        assert (await admin.get(f"{A}/passages?{query}")).status_code == 200
