"""What every route of the REST API keeps to: pages, preconditions, repeated creates; shown on API keys."""

import asyncio
import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from hypothesis import given, strategies
from parkmesh.server.db import keyset
from parkmesh.server.http.problems import Problem
from parkmesh.server.web import paging
from running_server import Server
from two_communities import rows

People = Callable[[str], Any]
KEYS = "/api/v1/communities/a/api-keys"
ADMINISTRATOR = "administrator@a.example"


def wish(name: str, **members: Any) -> dict[str, Any]:
    return {"name": name, "role": "reader"} | members


async def test_a_create_that_is_sent_again_has_its_effect_once(people: People, owner: Any) -> None:
    client = await people(ADMINISTRATOR)
    headers = {"Idempotency-Key": "order 66"}
    first = await client.post(KEYS, json=wish("parcel lockers"), headers=headers)
    again = await client.post(KEYS, json=wish("parcel lockers"), headers=headers)
    assert (first.status_code, again.status_code) == (201, 201)
    assert "idempotency-replayed" not in first.headers
    assert again.headers["idempotency-replayed"] == "true"
    # A token is shown once, and the stored answer holds none.
    assert again.json() == first.json() | {"token": None}
    assert [again.headers[name] for name in ("location", "etag")] == [first.headers[n] for n in ("location", "etag")]
    stored = await rows(owner, "a", "SELECT body FROM idempotency_key WHERE community_id = $1")
    assert first.json()["token"] not in str(stored)
    assert len(await rows(owner, "a", "SELECT FROM api_key WHERE community_id = $1")) == 1


# In this order: the assignment is of the space and the unit that are made before it.
CREATES: list[tuple[str, dict[str, Any]]] = [
    ("units", {"name": "9Z"}),
    ("levels", {"name": "P9"}),
    ("spaces", {"name": "z-01", "level": "P9", "category": "assigned"}),
    ("residents", {"email": "new@a.example", "name": "New"}),
    ("vehicles", {"plate": "9999ZZZ"}),
    ("gates", {"name": "north", "title": "North", "direction": "entry"}),
    ("assignments", {"space": "z-01", "from": "2030-01-01T00:00:00Z"}),
    ("api-keys", wish("lockers")),
]


async def test_whatever_is_created_says_where_it_is_and_in_which_state_and_is_there_once(people: People) -> None:
    client = await people(ADMINISTRATOR)
    unit = None
    for collection, body in CREATES:
        path, headers = KEYS.replace("api-keys", collection), {"Idempotency-Key": f"k {collection}"}
        body = body | ({"unit_id": unit} if collection == "assignments" else {})
        made, again = [await client.post(path, json=body, headers=headers) for _ in range(2)]
        assert (made.status_code, again.status_code) == (201, 201), made.text
        assert again.headers["idempotency-replayed"] == "true"
        unit = made.json()["id"] if collection == "units" else unit
        place = made.headers["location"]
        assert place.startswith(f"{path}/")
        found = await client.get(place)
        assert found.status_code == 200, found.text
        assert found.headers["etag"] == made.headers["etag"] == again.headers["etag"], collection
        assert found.json().items() <= made.json().items()
        changing = await client.delete(place, headers={"If-Match": '"0"'})
        assert changing.status_code == 412, changing.text


async def test_creates_with_one_key_at_the_same_time_have_one_effect(people: People, owner: Any) -> None:
    client = await people(ADMINISTRATOR)
    answers = await asyncio.gather(
        *(client.post(KEYS, json=wish("lockers"), headers={"Idempotency-Key": "k"}) for _ in range(6))
    )
    assert [answer.status_code for answer in answers] == [201] * 6
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert len(await rows(owner, "a", "SELECT FROM audit_entry WHERE community_id = $1")) == 1


async def test_a_key_belongs_to_one_request_of_one_actor(people: People) -> None:
    client, desk = await people(ADMINISTRATOR), await people("desk@parkmesh.example")
    other = await people("administrator@b.example")
    headers = {"Idempotency-Key": "k"}
    assert (await client.post(KEYS, json=wish("one"), headers=headers)).status_code == 201
    reused = await client.post(KEYS, json=wish("two"), headers=headers)
    assert (reused.status_code, reused.json()["type"]) == (422, "urn:parkmesh:problem:idempotency-key-reused")
    assert (await desk.post(KEYS, json=wish("three"), headers=headers)).status_code == 201
    elsewhere = await other.post(KEYS.replace("/a/", "/b/"), json=wish("one"), headers=headers)
    assert elsewhere.status_code == 201


async def test_an_attempt_that_failed_may_be_made_again(people: People) -> None:
    client = await people(ADMINISTRATOR)
    taken = (await client.post(KEYS, json=wish("one"))).json()
    headers = {"Idempotency-Key": "k"}
    assert (await client.post(KEYS, json=wish("one"), headers=headers)).status_code == 409
    await client.delete(f"{KEYS}/{taken['id']}", headers={"If-Match": "*"})
    assert (await client.post(KEYS, json=wish("one"), headers=headers)).status_code == 201


async def test_a_key_is_forgotten_after_a_day(people: People, owner: Any) -> None:
    client = await people(ADMINISTRATOR)
    await client.post(KEYS, json=wish("one"), headers={"Idempotency-Key": "k"})
    await rows(
        owner, "a", "UPDATE idempotency_key SET created_at = now() - interval '25 hours' WHERE community_id = $1"
    )
    assert (await client.post(KEYS, json=wish("two"), headers={"Idempotency-Key": "k"})).status_code == 201


@pytest.mark.parametrize("key", ["", "x" * 256, "\xe9"])
async def test_an_unusable_key_is_refused(people: People, key: str) -> None:
    client = await people(ADMINISTRATOR)
    answer = await client.post(KEYS, json=wish("one"), headers={b"Idempotency-Key": key.encode("latin-1")})
    assert answer.status_code == 422


async def test_a_change_names_the_state_that_it_changes(people: People) -> None:
    client = await people(ADMINISTRATOR)
    created = await client.post(KEYS, json=wish("one"))
    place = created.headers["location"]
    assert (await client.get(place)).headers["etag"] == created.headers["etag"]
    assert (await client.delete(place)).status_code == 428
    for stale in ('"0"', "nonsense", f"W/{created.headers['etag']}"):
        assert (await client.delete(place, headers={"If-Match": stale})).status_code == 412
    several = f'"0", {created.headers["etag"]}'
    assert (await client.delete(place, headers={"If-Match": several})).status_code == 204
    late = await client.delete(place, headers={"If-Match": created.headers["etag"]})
    assert late.status_code == 412
    assert (await client.get(place)).headers["etag"] != created.headers["etag"]
    assert (await client.delete(place, headers={"If-Match": "*"})).status_code == 204


async def test_pages_hold_everything_once_and_cursors_are_our_own(people: People) -> None:
    client, desk = await people(ADMINISTRATOR), await people("desk@parkmesh.example")
    names = [f"key {n}" for n in range(7)]
    for name in names:
        assert (await client.post(KEYS, json=wish(name))).status_code == 201
    seen: list[str] = []
    cursor = None
    while True:
        page = (await client.get(KEYS, params={"limit": "3"} | ({"cursor": cursor} if cursor else {}))).json()
        seen += [item["name"] for item in page["items"]]
        if page["next"] is None:
            break
        cursor = page["next"]
    assert seen == names
    assert cursor is not None
    flipped = ("B" if cursor[0] != "B" else "C") + cursor[1:]
    altered = cursor[:-2] + ("A" if cursor[-2] != "A" else "B") + cursor[-1]
    for wrong in (flipped, altered, cursor[:-4], cursor + "AAAA", "", "*", "\xe9", "A" * 513):
        answer = await client.get(KEYS, params={"cursor": wrong})
        assert answer.status_code == 422, wrong
    # Of another list.
    assert (await desk.get(KEYS.replace("/a/", "/b/"), params={"cursor": cursor})).status_code == 422
    for limit in ("0", "201", "x"):
        assert (await client.get(KEYS, params={"limit": limit})).status_code == 422


def test_a_cursor_is_read_as_it_was_written() -> None:
    place = (datetime(2026, 11, 22, 10, 30, 0, 123456, UTC), 2**40, "a-01 \u00e9")
    key, other = b"k" * 32, b"o" * 32
    first = paging.PageAsked(1, None, key)
    items, cursor = first.cut(["x", "y"], lambda item: place)
    assert items == ["x"]
    assert paging.PageAsked(1, cursor, key).after(datetime, int, str) == place
    for wrong, form in ((other, (datetime, int, str)), (key, (datetime, int)), (key, (int, str, str))):
        with pytest.raises(Problem):
            paging.PageAsked(1, cursor, wrong).after(*form)
    # The same page has the same address.
    assert first.cut(["x", "y"], lambda item: place)[1] == cursor


@given(count=strategies.integers(0, 20), limit=strategies.integers(1, 7))
def test_pages_lead_to_the_end_of_a_list_and_back(count: int, limit: int) -> None:
    def read(cursor: str | None) -> tuple[list[str], paging.Turns]:
        page = paging.PageAsked(limit, cursor or None, b"k" * 32)
        place, listed = page.after(str), names if page.way is keyset.ON else names[::-1]
        rest = listed[listed.index(place[0]) + 1 :] if place else listed
        return page.turned(rest[: page.fetch], lambda name: (name,))

    # Also where the place itself looks like the mark of a way.
    names = ["before", *(f"{n:02}" for n in range(count))]
    shown, turns = read(None)
    assert turns.previous is None
    there = [shown]
    while turns.next is not None:
        shown, turns = read(turns.next)
        there.append(shown)
    assert [name for page in there for name in page] == names
    back = [shown]
    while turns.previous is not None:
        shown, turns = read(turns.previous)
        back.append(shown)
    assert back == there[::-1]
    assert len(there) == 1 or turns.next is not None


def test_a_page_whose_items_are_gone_leads_to_the_beginning() -> None:
    first = paging.PageAsked(1, None, b"k" * 32)
    _, beside = first.turned(["x", "y"], lambda name: (name,))
    second = paging.PageAsked(1, beside.next, b"k" * 32)
    assert second.turned([], lambda name: (name,)) == ([], paging.Turns(previous="", next=None))
    _, beside = second.turned(["y"], lambda name: (name,))
    back = paging.PageAsked(1, beside.previous, b"k" * 32)
    assert back.turned([], lambda name: (name,)) == ([], paging.Turns(previous=None, next=""))
    assert first.turned([], lambda name: (name,)) == ([], paging.Turns(previous=None, next=None))


@pytest.mark.parametrize("held", ["Ana Garc\u00eda", "1234BCD", "ana@example.com"])
def test_a_cursor_shows_nobody_s_name_or_plate(held: str) -> None:
    _, cursor = paging.PageAsked(1, None, b"k" * 32).cut(["x", "y"], lambda item: (held, 7))
    assert cursor
    raw = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
    assert held.encode() not in raw
    assert json.dumps(held).strip('"').encode() not in raw


async def test_the_document_names_the_headers(server: Server) -> None:
    async with httpx.AsyncClient(base_url=server.web) as client:
        document = (await client.get("/api/v1/openapi.json")).json()
    assert document["openapi"].startswith("3.1")
    create = document["paths"]["/api/v1/communities/{community}/api-keys"]["post"]
    assert "Idempotency-Key" in [item["name"] for item in create["parameters"]]
    assert "ETag" in create["responses"]["201"]["headers"]
    revoke = document["paths"]["/api/v1/communities/{community}/api-keys/{key}"]["delete"]
    assert "If-Match" in [item["name"] for item in revoke["parameters"]]
    assert {"412", "428"} <= set(revoke["responses"])


async def test_no_two_schemas_share_a_name(server: Server) -> None:
    """Where two do, their names are those of modules, which generators make into names of classes."""
    async with httpx.AsyncClient(base_url=server.web) as client:
        document = (await client.get("/api/v1/openapi.json")).json()
    assert [name for name in document["components"]["schemas"] if "__" in name] == []
