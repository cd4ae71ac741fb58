"""API keys: programs of integrators, bound to one community, worthless the moment they are revoked."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from parkmesh.server import api_keys, audit, database
from running_server import Database, Server
from two_communities import rows

People = Callable[[str], Any]
A = "/api/v1/communities/a"
ADMINISTRATOR = "administrator@a.example"


@pytest.fixture
async def made(people: People) -> Callable[..., Any]:
    """Return a function that makes a key of community a and gives the answer."""
    client = await people(ADMINISTRATOR)

    async def create(role: str, **members: Any) -> Any:
        wish = {"name": f"{role} of the test", "role": role} | members
        return await client.post(f"{A}/api-keys", json=wish)

    return create


def program(server: Server, token: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=server.web, headers={"Authorization": f"Bearer {token}"}, timeout=20)


async def test_a_reader_reads_and_changes_nothing(server: Server, made: Any, owner: Any) -> None:
    token = (await made("reader")).json()["token"]
    assert token.startswith("pmk_")
    async with program(server, token) as client:
        assert (await client.get(f"{A}/credentials")).status_code == 200
        assert (await client.get(f"{A}/gateways")).status_code == 200
        assert (await client.get(f"{A}/audit")).status_code == 200
        communities = (await client.get("/api/v1/communities")).json()["items"]
        assert [(item["name"], item["role"]) for item in communities] == [("a", "reader")]
        for method, path in (("PUT", "/credentials/1234BCD"), ("POST", "/gates/main-in/open"), ("POST", "/api-keys")):
            assert (await client.request(method, A + path, json={"status": "revoked"})).status_code == 403
    kept = await rows(owner, "a", "SELECT DISTINCT status FROM credential WHERE community_id = $1")
    assert kept == [{"status": "active"}]


async def test_a_key_sees_no_other_community_and_no_desk(server: Server, made: Any) -> None:
    for role in ("reader", "administrator"):
        async with program(server, (await made(role)).json()["token"]) as client:
            assert (await client.get("/api/v1/communities/b/gates")).status_code == 404
            assert (await client.get("/api/v1/communities/nowhere/gates")).status_code == 404
            for path in ("/api/v1/desk/gateways", "/api/v1/desk/audit", "/api/v1/sessions/current"):
                assert (await client.get(path)).status_code == 403
            assert (await client.post("/api/v1/communities", json={})).status_code in (403, 404)


async def test_keys_are_managed_by_people(server: Server, made: Any) -> None:
    key = (await made("administrator")).json()
    async with program(server, key["token"]) as client:
        assert (await client.get(f"{A}/credentials")).status_code == 200
        # One that leaked can't make itself a successor.
        for method in ("GET", "POST"):
            refused = await client.request(method, f"{A}/api-keys", json={"name": "heir", "role": "administrator"})
            assert refused.status_code == 403
        assert (await client.delete(f"{A}/api-keys/{key['id']}", headers={"If-Match": "*"})).status_code == 403


async def test_the_trail_names_the_key_that_acted(filled: Database, people: People, made: Any) -> None:
    key = (await made("administrator")).json()
    async with database.create_pool(filled.app, "test", 1) as pool:
        principal = await api_keys.identify(pool, key["token"])
        assert principal is not None
        member = await principal.membership(pool, "a")
        async with database.in_community(pool, member.community_id) as connection:
            await audit.record(connection, principal, member.community_id, "space.create", "space/1")
    latest, earlier = (await (await people(ADMINISTRATOR)).get(f"{A}/audit")).json()["items"]
    assert (latest["actor"], latest["actor_name"]) == (f"api-key:{key['id']}", key["name"])
    assert (earlier["action"], earlier["actor_name"]) == ("api-key.create", "Administrator")


async def test_the_list_says_when_a_key_was_used(server: Server, made: Any, people: People) -> None:
    key = (await made("reader")).json()
    administrator = await people(ADMINISTRATOR)
    (unused,) = (await administrator.get(f"{A}/api-keys")).json()["items"]
    assert unused["last_used_at"] is None
    async with program(server, key["token"]) as client:
        await client.get(f"{A}/gates")
    (used,) = (await administrator.get(f"{A}/api-keys")).json()["items"]
    assert used["last_used_at"] is not None


async def test_a_revoked_key_is_worthless_at_once(server: Server, made: Any, people: People) -> None:
    created = await made("reader")
    async with program(server, created.json()["token"]) as client:
        assert (await client.get(f"{A}/gates")).status_code == 200
        administrator = await people(ADMINISTRATOR)
        place = created.headers["location"]
        assert (await administrator.delete(place, headers={"If-Match": "*"})).status_code == 204
        assert (await client.get(f"{A}/gates")).status_code == 401
    # Its name is free again, and the list keeps it.
    assert (await made("reader")).status_code == 201
    names = [item["name"] for item in (await administrator.get(f"{A}/api-keys")).json()["items"]]
    assert names == ["reader of the test"] * 2


async def test_a_key_expires(server: Server, made: Any, owner: Any) -> None:
    past = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
    assert (await made("reader", expires_at=past)).status_code == 422
    assert (await made("reader", expires_at="2030-01-01T00:00:00")).status_code == 422
    soon = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    async with program(server, (await made("reader", expires_at=soon)).json()["token"]) as client:
        assert (await client.get(f"{A}/gates")).status_code == 200
        await rows(owner, "a", "UPDATE api_key SET expires_at = now() WHERE community_id = $1")
        assert (await client.get(f"{A}/gates")).status_code == 401


async def test_the_database_keeps_no_token_and_no_cookie_carries_one(server: Server, made: Any, owner: Any) -> None:
    token = (await made("reader")).json()["token"]
    stored = await rows(owner, "a", "SELECT to_jsonb(k)::text AS text FROM api_key k WHERE community_id = $1")
    assert token not in stored[0]["text"]
    trail = await rows(owner, "a", "SELECT detail::text FROM audit_entry WHERE community_id = $1")
    assert token not in json.dumps(trail)
    async with httpx.AsyncClient(base_url=server.web, cookies={"parkmesh-session": token}) as client:
        assert (await client.get(f"{A}/gates")).status_code == 401
        assert (await client.get("/communities/a")).status_code == 303


async def test_residents_have_no_keys(people: People) -> None:
    resident = await people("resident@a.example")
    assert (await resident.get(f"{A}/api-keys")).status_code == 403
    created = await resident.post(f"{A}/api-keys", json={"name": "mine", "role": "administrator"})
    assert created.status_code == 403


async def test_a_key_of_another_community_is_not_found(people: People, made: Any) -> None:
    key = (await made("reader")).json()["id"]
    other = await people("administrator@b.example")
    for path in (f"/api/v1/communities/b/api-keys/{key}", f"{A}/api-keys/{key}"):
        assert (await other.get(path)).status_code == 404
        assert (await other.delete(path, headers={"If-Match": "*"})).status_code == 404
