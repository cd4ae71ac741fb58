"""Units, residents, accounts and vehicles: who may see and change what, and what a change does at the gates."""

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from argon2 import PasswordHasher
from parkmesh.server.identity import devices, passwords
from two_communities import PASSWORD, rows

Gateway = Callable[[str], httpx.AsyncClient]
People = Callable[[str], Any]
A = "/api/v1/communities/a"


async def _ids(owner: Any, community: str = "a") -> dict[str, int]:
    found = await rows(owner, community, "SELECT id, name FROM resident WHERE community_id = $1")
    found += await rows(owner, community, "SELECT id, name FROM unit WHERE community_id = $1")
    return {row["name"]: row["id"] for row in found}


async def _change(client: httpx.AsyncClient, path: str, changes: dict[str, Any]) -> httpx.Response:
    """Change the object at a path as a client does that has just read it."""
    seen = await client.get(path)
    return await client.patch(path, json=changes, headers={"If-Match": seen.headers.get("etag", "*")})


async def test_staff_keep_the_units(people: People, owner: Any) -> None:
    admin = await people("administrator@a.example")
    made = await admin.post(f"{A}/units", json={"name": " 3C ", "lots": 2})
    assert (made.status_code, made.json()["name"], made.json()["lots"]) == (201, "3C", 2)
    assert (await admin.post(f"{A}/units", json={"name": "3C"})).status_code == 409
    path = made.headers["location"]
    assert (await admin.patch(path, json={"lots": 1})).status_code == 428
    assert (await admin.patch(path, json={"lots": 1}, headers={"If-Match": '"other"'})).status_code == 412
    changed = await _change(admin, path, {"lots": None, "name": "3D"})
    assert (changed.status_code, changed.json()["lots"], changed.json()["name"]) == (200, None, "3D")
    assert (await _change(admin, path, {"name": "1A"})).status_code == 409
    names = [unit["name"] for unit in (await admin.get(f"{A}/units")).json()["items"]]
    assert names == ["1A", "2B", "3D"]
    first = (await admin.get(f"{A}/units", params={"limit": "2"})).json()
    rest = (await admin.get(f"{A}/units", params={"limit": "2", "cursor": first["next"]})).json()
    assert [len(first["items"]), len(rest["items"]), rest["next"]] == [2, 1, None]
    assert (await admin.delete(path, headers={"If-Match": changed.headers["etag"]})).status_code == 204
    assert (await admin.get(path)).status_code == 404
    lived_in = f"{A}/units/{(await _ids(owner))['1A']}"
    assert (await admin.delete(lived_in, headers={"If-Match": "*"})).status_code == 409
    acts = await rows(owner, "a", "SELECT action FROM audit_entry WHERE community_id = $1 ORDER BY id")
    assert [act["action"] for act in acts] == ["unit.create", "unit.change", "unit.delete"]


async def test_a_resident_sees_his_own_unit_and_himself(people: People, owner: Any) -> None:
    resident, ids = await people("resident@a.example"), await _ids(owner)
    own = (await resident.get(f"{A}/units")).json()["items"]
    assert [(unit["name"], [person["name"] for person in unit["residents"]]) for unit in own] == [("1A", ["Ana"])]
    assert (await resident.get(f"{A}/units/{ids['1A']}")).status_code == 200
    assert (await resident.get(f"{A}/units/{ids['2B']}")).status_code == 404
    assert (await resident.get(f"{A}/residents/{ids['Ana']}")).json()["email"] == "resident@a.example"
    assert (await resident.get(f"{A}/residents/{ids['Luis']}")).status_code == 404
    for method, path in (
        ("POST", f"{A}/units"),
        ("GET", f"{A}/residents"),
        ("GET", f"{A}/members"),
        ("DELETE", f"{A}/units/{ids['1A']}"),
        ("PATCH", f"{A}/residents/{ids['Ana']}"),
    ):
        body = {"json": {"name": "x"}} if method != "DELETE" else {}
        assert (await resident.request(method, path, **body)).status_code == 403, path


async def test_staff_keep_the_people(people: People, owner: Any) -> None:
    admin, ids = await people("administrator@a.example"), await _ids(owner)
    new = {"email": " Eva@A.example ", "name": "Eva", "unit_id": ids["2B"]}
    made = await admin.post(f"{A}/residents", json=new)
    assert made.status_code == 201, made.text
    assert made.json() == {
        "id": made.json()["id"],
        "email": "eva@a.example",
        "name": "Eva",
        "unit_id": ids["2B"],
        "unit": "2B",
        "active": True,
        "role": None,
        "erasure_asked_at": None,
    }
    assert (await admin.post(f"{A}/residents", json=new)).status_code == 409
    assert (await admin.post(f"{A}/residents", json=new | {"email": "x@y", "unit_id": 10**9})).status_code == 422
    path = made.headers["location"]
    moved = await _change(admin, path, {"unit_id": ids["1A"], "email": "eva@home.example"})
    assert (moved.json()["unit"], moved.json()["email"]) == ("1A", "eva@home.example")
    found = (await admin.get(f"{A}/residents", params={"q": "1a"})).json()["items"]
    assert sorted(person["name"] for person in found) == ["Ana", "Eva"]
    by_unit = (await admin.get(f"{A}/residents", params={"unit_id": ids["2B"]})).json()["items"]
    assert [person["name"] for person in by_unit] == ["Luis"]
    # The address of an account is changed by its owner.
    assert (await _change(admin, f"{A}/residents/{ids['Ana']}", {"email": "x@y.example"})).status_code == 409
    assert (await admin.delete(f"{A}/residents/{ids['Luis']}", headers={"If-Match": "*"})).status_code == 409
    assert (await admin.delete(path, headers={"If-Match": "*"})).status_code == 204
    # Another community's unit is as good as none.
    foreign = (await _ids(owner, "b"))["1A"]
    assert (await _change(admin, f"{A}/residents/{ids['Luis']}", {"unit_id": foreign})).status_code == 422


async def test_whoever_leaves_is_out_at_once(people: People, gateway: Gateway, owner: Any) -> None:
    admin, resident, ids = (
        await people("administrator@a.example"),
        await people("resident@a.example"),
        await _ids(owner),
    )
    assert (await resident.get(f"{A}/units")).status_code == 200
    left = await _change(admin, f"{A}/residents/{ids['Ana']}", {"active": False})
    assert (left.status_code, left.json()["active"], left.json()["role"]) == (200, False, None)
    assert (await resident.get(f"{A}/units")).status_code == 404
    async with gateway("gateway-a") as client:
        entries = (await client.get("/edge/v1/access-list")).json()["entries"]
    assert {entry["plate"]: entry["status"] for entry in entries} == {"1234BCD": "revoked", "5678AXX": "active"}
    # Coming back brings no plate back by itself.
    assert (await _change(admin, f"{A}/residents/{ids['Ana']}", {"active": True})).json()["active"] is True
    statuses = await rows(owner, "a", "SELECT status FROM credential WHERE community_id = $1 ORDER BY plate")
    assert [row["status"] for row in statuses] == ["revoked", "active"]


async def test_roles_change_at_once_and_nobody_locks_himself_out(people: People, owner: Any) -> None:
    admin, resident, desk = [
        await people(f"{who}.example") for who in ("administrator@a", "resident@a", "desk@parkmesh")
    ]
    members = {item["email"]: item for item in (await admin.get(f"{A}/members")).json()["items"]}
    assert sorted(members) == ["administrator@a.example", "resident@a.example"]
    promoted = await _change(admin, f"{A}/members/{members['resident@a.example']['id']}", {"role": "administrator"})
    assert promoted.json()["role"] == "administrator"
    assert (await resident.get(f"{A}/residents")).status_code == 200
    own = f"{A}/members/{members['administrator@a.example']['id']}"
    assert (await _change(admin, own, {"role": "resident"})).status_code == 409
    assert (await admin.delete(own, headers={"If-Match": "*"})).status_code == 409
    assert (await resident.delete(own, headers={"If-Match": "*"})).status_code == 204
    assert (await admin.get(f"{A}/residents")).status_code == 404
    assert (await desk.get(f"{A}/members")).status_code == 200
    # An account of another community isn't a member here.
    stranger = (await desk.get("/api/v1/communities/b/members")).json()["items"][0]["id"]
    assert (await desk.get(f"{A}/members/{stranger}")).status_code == 404


async def test_residents_keep_their_vehicles_and_gateways_follow(people: People, gateway: Gateway) -> None:
    resident = await people("resident@a.example")
    # Cyrillic letters that look Latin, lower case and separators are the same plate.
    added = await resident.post(f"{A}/vehicles", json={"plate": "4321-вмк", "label": "Van"})
    assert (added.status_code, added.json()["plate"], added.json()["unit"]) == (201, "4321BMK", "1A")
    path = added.headers["location"]
    assert (await resident.post(f"{A}/vehicles", json={"plate": "4321BMK"})).status_code == 409
    assert (await resident.post(f"{A}/vehicles", json={"plate": "??"})).status_code == 422
    mine = (await resident.get(f"{A}/vehicles")).json()["items"]
    assert [(item["plate"], item["label"]) for item in mine] == [("1234BCD", ""), ("4321BMK", "Van")]
    async with gateway("gateway-a") as client:

        async def held() -> list[str]:
            return sorted(entry["plate"] for entry in (await client.get("/edge/v1/access-list")).json()["entries"])

        assert await held() == ["1234BCD", "4321BMK", "5678AXX"]
        renamed = await _change(resident, path, {"plate": "9999ZZZ", "label": "New van"})
        assert (renamed.json()["plate"], renamed.json()["label"]) == ("9999ZZZ", "New van")
        assert await held() == ["1234BCD", "5678AXX", "9999ZZZ"]
        assert (await resident.delete(path, headers={"If-Match": "*"})).status_code == 204
        assert await held() == ["1234BCD", "5678AXX"]


async def test_a_resident_gets_at_no_vehicle_but_his_own(people: People, owner: Any) -> None:
    resident, admin, ids = (
        await people("resident@a.example"),
        await people("administrator@a.example"),
        await _ids(owner),
    )
    every = {item["plate"]: item["id"] for item in (await admin.get(f"{A}/vehicles")).json()["items"]}
    luis = f"{A}/vehicles/{every['5678AXX']}"
    assert (await resident.get(luis)).status_code == 404
    assert (await resident.patch(luis, json={"label": "x"}, headers={"If-Match": "*"})).status_code == 404
    assert (await resident.delete(luis, headers={"If-Match": "*"})).status_code == 404
    # The holder of a plate sees its passages: a resident can't add a neighbour's plate.
    assert (await resident.post(f"{A}/vehicles", json={"plate": "5678AXX"})).status_code == 409
    others = {"plate": "1111AAA", "resident_id": ids["Luis"]}
    assert (await resident.post(f"{A}/vehicles", json=others)).status_code == 403
    forever = {"plate": "1111AAA", "valid_until": "2099-01-01T00:00:00Z"}
    assert (await resident.post(f"{A}/vehicles", json=forever)).status_code == 403
    own = f"{A}/vehicles/{every['1234BCD']}"
    assert (await _change(resident, own, {"status": "active"})).status_code == 403


async def test_what_staff_revoked_stays_revoked(people: People) -> None:
    resident, admin = await people("resident@a.example"), await people("administrator@a.example")
    (own,) = (await resident.get(f"{A}/vehicles")).json()["items"]
    path = f"{A}/vehicles/{own['id']}"
    assert (await _change(admin, path, {"status": "revoked"})).json()["status"] == "revoked"
    assert (await resident.delete(path, headers={"If-Match": "*"})).status_code == 409
    assert (await _change(resident, path, {"plate": "1111AAA"})).status_code == 409
    assert (await resident.post(f"{A}/vehicles", json={"plate": "1234 bcd"})).status_code == 409
    assert (await _change(admin, path, {"status": "active"})).json()["status"] == "active"
    assert (await _change(resident, path, {"label": "Mine again"})).status_code == 200


async def test_a_unit_holds_as_many_plates_as_it_may(people: People, owner: Any) -> None:
    resident, admin, ids = (
        await people("resident@a.example"),
        await people("administrator@a.example"),
        await _ids(owner),
    )
    await _change(admin, f"{A}/units/{ids['1A']}", {"plate_limit": 3})
    at_once = [resident.post(f"{A}/vehicles", json={"plate": f"000{n}AAA"}) for n in range(6)]
    codes = sorted(answer.status_code for answer in await asyncio.gather(*at_once))
    assert codes == [201, 201, 409, 409, 409, 409]
    assert (await admin.get(f"{A}/units/{ids['1A']}")).json()["plates"] == 3
    full = await resident.post(f"{A}/vehicles", json={"plate": "0009AAA"})
    assert full.json()["type"] == "urn:parkmesh:problem:plate-limit"


async def test_staff_set_validity_and_search(people: People, owner: Any) -> None:
    admin, ids = await people("administrator@a.example"), await _ids(owner)
    body = {
        "plate": "7777KKK",
        "resident_id": ids["Luis"],
        "label": "Rental",
        "valid_from": "2026-01-02T00:00:00+01:00",
    }
    wrong = await admin.post(f"{A}/vehicles", json=body | {"valid_until": "2026-01-01T00:00:00+01:00"})
    assert wrong.status_code == 422
    made = await admin.post(f"{A}/vehicles", json=body, headers={"Idempotency-Key": "k"})
    again = await admin.post(f"{A}/vehicles", json=body, headers={"Idempotency-Key": "k"})
    # Warnings may name other people's plates, so they aren't stored for an answer that is repeated.
    assert (made.status_code, again.status_code, again.json()) == (201, 201, made.json() | {"warnings": None})
    assert made.json()["valid_from"] == "2026-01-01T23:00:00Z"
    for query, plates in (
        ("7777-kkk", ["7777KKK"]),
        ("luis", ["5678AXX", "7777KKK"]),
        ("rental", ["7777KKK"]),
        ("%", []),
    ):
        found = (await admin.get(f"{A}/credentials", params={"q": query})).json()["items"]
        assert [item["plate"] for item in found] == plates, query
    company = await admin.post(f"{A}/vehicles", json={"plate": "8888CCC", "label": "Post"})
    assert (company.json()["resident"], company.json()["unit"]) == (None, None)


async def test_the_trail_names_no_plate_in_full(people: People, owner: Any) -> None:
    admin = await people("administrator@a.example")
    await admin.post(f"{A}/vehicles", json={"plate": "7777KKK"})
    await admin.put(f"{A}/credentials/1234BCD", json={"status": "revoked"})
    entries = await rows(owner, "a", "SELECT action, object, detail::text FROM audit_entry WHERE community_id = $1")
    assert {entry["action"] for entry in entries} == {"credential.create", "credential.revoke"}
    assert not any(plate in str(entry) for entry in entries for plate in ("7777KKK", "1234BCD"))


@pytest.mark.parametrize(
    ("password", "good"),
    [
        ("short", False),
        ("password1", False),
        ("QWERTYUIOP", False),
        ("aaaaaaaaaaaa", False),
        ("ana@home.example", False),
        ("four words are enough", True),
    ],
)
def test_weak_passwords_are_told_apart(password: str, good: bool) -> None:
    assert (passwords.weakness(password, "ana@home.example", "Ana") is None) is good


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:133.0) Gecko/20100101 Firefox/133.0", "Firefox on Windows"),
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit Version/18.0 Safari/604.1",
            "Safari on iPhone",
        ),
        ("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/131.0 Safari/537.36 Edg/131.0", "Edge on Linux"),
        ("<script>alert(1)</script>" * 100, ""),
    ],
)
def test_a_device_has_a_rough_name(header: str, name: str) -> None:
    assert devices.rough(header) == name


@pytest.mark.usefixtures("servers_hashes")
async def test_a_hash_of_older_parameters_is_renewed_when_its_owner_signs_in(people: People, owner: Any) -> None:
    old = PasswordHasher(time_cost=1, memory_cost=8_192, parallelism=1).hash(PASSWORD)
    await owner.execute("SELECT set_config('parkmesh.scope', 'identity', false)")
    await owner.execute("UPDATE app_user SET password_hash = $1 WHERE email = 'resident@a.example'", old)
    for _ in range(2):
        await people("resident@a.example")
    stored = await owner.fetchval("SELECT password_hash FROM app_user WHERE email = 'resident@a.example'")
    assert (stored != old, "m=19456,t=2" in stored, passwords.matches(stored, PASSWORD)) == (True, True, True)
