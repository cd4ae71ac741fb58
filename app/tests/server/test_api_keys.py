"""API keys: programs of integrators, bound to one community, worthless the moment they are revoked."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from parkmesh.server import audit
from parkmesh.server.db import database
from parkmesh.server.identity import api_keys
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


async def test_a_community_that_was_offboarded_has_no_keys(
    server: Server, made: Any, people: People, owner: Any
) -> None:
    desk = await people("desk@parkmesh.example")
    key = (await made("reader")).json()
    assert (await desk.post("/api/v1/communities/a/offboard", json={"reason": "ended"})).status_code == 200
    # As one that was made while the community was offboarded, which releases before this one allowed.
    await rows(owner, "a", "UPDATE api_key SET revoked_at = NULL WHERE community_id = $1")
    async with program(server, key["token"]) as client:
        assert (await client.get("/api/v1/communities/a/gates")).status_code == 401
    (listed,) = (await desk.get("/api/v1/communities/a/api-keys")).json()["items"]
    assert listed["revoked_at"] is not None
    (used,) = await rows(owner, "a", "SELECT last_used_at FROM api_key WHERE community_id = $1")
    assert used["last_used_at"] is None
    refused = await desk.post("/api/v1/communities/a/api-keys", json={"name": "late", "role": "reader"})
    assert (refused.status_code, refused.json()["type"]) == (409, "urn:parkmesh:problem:offboarded")
    (count,) = await rows(owner, "a", "SELECT count(*) FROM api_key WHERE community_id = $1")
    assert count["count"] == 1


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


# What an administrator's key may change. Everything else that changes something is for people: members and how they
# sign in, other keys, acts that can't be undone.
ALLOWED = {
    "POST /bars", "DELETE /bars/{bar}", "POST /checks",
    "POST /violations", "POST /violations/{violation}/warn", "POST /violations/{violation}/close",
    "POST /visitor-nights-exceptions", "DELETE /visitor-nights-exceptions/{exception}",
    "PATCH /levels/{level}", "PATCH /spaces/{space}", "PATCH /gates/{gate}", "PATCH /rules",
    "POST /levels", "PUT /levels/{level}", "DELETE /levels/{level}", "POST /levels/{level}/rows",
    "POST /levels/{level}/copies", "POST /levels/{level}/alignments",
    "POST /spaces", "PUT /spaces/{space}", "DELETE /spaces/{space}",
    "POST /assignments", "PUT /assignments/{assignment}", "DELETE /assignments/{assignment}",
    "POST /spaces/{space}/sharing/windows", "DELETE /spaces/{space}/sharing/windows/{window}",
    "POST /spaces/{space}/sharing/patterns", "PUT /spaces/{space}/sharing/patterns/{pattern}",
    "DELETE /spaces/{space}/sharing/patterns/{pattern}", "POST /spaces/{space}/sharing/blocked-days",
    "DELETE /spaces/{space}/sharing/blocked-days/{day}", "POST /spaces/{space}/sharing/take-back",
    "POST /bookings", "PUT /bookings/{booking}", "POST /bookings/{booking}/cancel",
    "POST /visitor-passes", "PUT /visitor-passes/{visitor_pass}", "POST /visitor-passes/{visitor_pass}/link",
    "POST /visitor-passes/{visitor_pass}/cancel", "PUT /visitor-directions", "PUT /privacy-contact",
    "POST /gates", "PUT /gates/{gate}", "DELETE /gates/{gate}", "POST /gates/{gate}/open",
    "POST /waiting", "POST /waiting/{waiting}/claim", "POST /waiting/{waiting}/leave",
    "PUT /presence/{plate}", "PUT /counters/{counter}", "PUT /rules", "PUT /credentials/{plate}",
    "POST /vehicles", "PATCH /vehicles/{vehicle}", "DELETE /vehicles/{vehicle}",
    "POST /units", "PATCH /units/{unit}", "DELETE /units/{unit}",
    "POST /residents", "PATCH /residents/{resident}", "DELETE /residents/{resident}",
    "POST /space-requests", "POST /space-offers", "POST /space-requests/{space_request}/accept",
    "POST /space-requests/{space_request}/decline", "POST /space-requests/{space_request}/withdraw",
    "POST /space-requests/{space_request}/leave",
    "PUT /residents/{resident}/permit", "DELETE /residents/{resident}/permit",
    "POST /imports/{kind}",
    "POST /webhooks", "PUT /webhooks/{webhook}", "DELETE /webhooks/{webhook}", "POST /webhooks/{webhook}/test",
    "POST /webhooks/{webhook}/rotate-secret", "POST /webhooks/{webhook}/deliveries/{delivery}/redeliver",
    "POST /webhooks/{webhook}/replay",
}  # fmt: skip


async def test_a_key_neither_lets_people_in_nor_changes_how_they_sign_in(
    server: Server, made: Any, people: People, owner: Any
) -> None:
    administrator = await people(ADMINISTRATOR)
    invited = await administrator.post(f"{A}/invitations", json={"email": "new@a.example", "role": "resident"})
    key = (await made("administrator")).json()
    members = (await administrator.get(f"{A}/members")).json()["items"]
    (resident,) = [item for item in members if item["email"] == "resident@a.example"]
    ids = {
        "invitation": invited.json()["id"], "user": resident["id"], "resident": resident["resident_id"],
        "key": key["id"], "session": "0" * 16, "violation": 1, "passkey": 1, "message": 1, "webhook": 1,
        "delivery": 1, "counter": "garage",
    }  # fmt: skip
    bodies = {
        "POST /invitations": {"email": "heir@a.example", "role": "administrator"},
        "PATCH /members/{user}": {"role": "administrator"},
        "POST /residents/{resident}/erase": {"confirm": "resident@a.example"},
        "POST /api-keys": {"name": "heir", "role": "administrator"},
        "PATCH /notification-preferences": {"e_mails": {}},
        "POST /violations/{violation}/appeal": {"note": "It is not ours."},
        "PUT /residents/{resident}/erasure-request": {"wanted": True},
        "POST /offboard": {"reason": "spite"},
        "PUT /account/password": {"current": "x" * 12, "new": "y" * 12},
    }
    signing_in = {"POST /sessions", "POST /sessions/passkey", "POST /sessions/passkey/options", "POST /password-resets",
                  "POST /invitations/look", "POST /invitations/accept", "PUT /visits/{token}"}  # fmt: skip
    document = (await administrator.get("/api/v1/openapi.json")).json()
    prefix = "/api/v1/communities/{community}"
    refused: set[str] = set()
    async with program(server, key["token"]) as client:
        for path, operations in document["paths"].items():
            here = path.startswith(prefix)
            for method in operations.keys() - {"get"}:
                name = f"{method.upper()} {path.removeprefix(prefix if here else '/api/v1')}"
                if name in (ALLOWED if here else signing_in):
                    continue
                answer = await client.request(
                    method, path.format(community="a", **ids), json=bodies.get(name), headers={"If-Match": "*"}
                )
                # There for the desk alone, for the resident alone, and for the unit concerned alone.
                hidden = {
                    (False, "POST /communities"),
                    (True, "PUT /residents/{resident}/erasure-request"),
                    (True, "POST /violations/{violation}/appeal"),
                }
                expected = 404 if (here, name) in hidden else 403
                assert answer.status_code == expected, f"{name}: {answer.status_code} {answer.text}"
                refused.add(name if here else f"outside {name}")
        assert refused >= {
            "POST /invitations", "POST /invitations/{invitation}/resend", "DELETE /invitations/{invitation}",
            "POST /members/{user}/password-reset", "PATCH /members/{user}", "DELETE /members/{user}",
            "POST /residents/{resident}/erase", "POST /api-keys", "DELETE /api-keys/{key}", "DELETE ", "POST /offboard",
            "outside POST /communities", "outside PUT /account/password", "outside POST /passkeys",
            "outside POST /invitations/join",
        }  # fmt: skip
        # Only a person may deactivate a resident with an account; a program may deactivate one without.
        place = f"{A}/residents/{resident['resident_id']}"
        sent_away = await client.patch(place, json={"active": False}, headers={"If-Match": "*"})
        assert sent_away.status_code == 403, sent_away.text
        renamed = await client.patch(place, json={"name": "Anna"}, headers={"If-Match": "*"})
        assert renamed.status_code == 200, renamed.text
        (other,) = await rows(owner, "a", "SELECT id FROM resident WHERE community_id = $1 AND name = 'Luis'")
        gone = await client.patch(f"{A}/residents/{other['id']}", json={"active": False}, headers={"If-Match": "*"})
        assert gone.status_code == 200, gone.text
        # Nor is an address changed to which an account belongs.
        moved = await client.patch(place, json={"email": "heir@a.example"}, headers={"If-Match": "*"})
        assert moved.status_code == 409
    assert (await administrator.get(f"{A}/members")).json()["items"] == members
    assert len((await administrator.get(f"{A}/api-keys")).json()["items"]) == 1
