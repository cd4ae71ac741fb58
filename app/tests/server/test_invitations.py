"""Invitations, new passwords by link or code, and sessions: what opens once, what is limited, and what ends."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from parkmesh.server.identity import limits
from parkmesh.server.people import invitations
from running_server import Server
from two_communities import PASSWORD, rows

People = Callable[[str], Any]
A, B = "/api/v1/communities/a", "/api/v1/communities/b"
NEW = {"name": "Eva", "password": "a password of Eva's"}


@pytest.fixture
async def guest(server: Server) -> AsyncIterator[httpx.AsyncClient]:
    """Return a client that isn't signed in."""
    async with httpx.AsyncClient(base_url=server.web, timeout=20) as client:
        yield client


async def _invite(admin: httpx.AsyncClient, email: str = "eva@home.example", **more: Any) -> dict[str, Any]:
    answer = await admin.post(f"{A}/invitations", json={"email": email} | more)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def _unit(owner: Any, name: str = "1A", community: str = "a") -> int:
    (row,) = await rows(owner, community, "SELECT id FROM unit WHERE community_id = $1 AND name = $2", name)
    found: int = row["id"]
    return found


def _as(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def test_a_link_makes_an_account_once(people: People, guest: httpx.AsyncClient, owner: Any) -> None:
    admin = await people("administrator@a.example")
    made = await _invite(admin, " Eva@Home.example ", unit_id=await _unit(owner))
    assert made | {"state": "pending", "email": "eva@home.example", "unit": "1A"} == made
    claim = {"token": made["token"]}
    assert made["link"].endswith(f"/join/{claim['token']}")
    offer = (await guest.post("/api/v1/invitations/look", json=claim)).json()
    assert offer | {"title": "Community A", "unit": "1A", "role": "resident", "account": False} == offer
    accepted = await guest.post("/api/v1/invitations/accept", json=claim | NEW)
    assert accepted.status_code == 201, accepted.text
    own = await guest.get(f"{A}/units", headers=_as(accepted.json()["token"]))
    assert [person["name"] for person in own.json()["items"][0]["residents"]] == ["Ana", "Eva"]
    signed_in = await guest.post("/api/v1/sessions", json={"email": "eva@home.example", "password": NEW["password"]})
    assert signed_in.status_code == 201
    for path in ("look", "accept"):
        again = await guest.post(f"/api/v1/invitations/{path}", json=claim | (NEW if path == "accept" else {}))
        assert again.status_code == 404
    (listed,) = (await admin.get(f"{A}/invitations")).json()["items"]
    assert listed["state"] == "accepted"
    acts = await rows(owner, "a", "SELECT action FROM audit_entry WHERE community_id = $1 ORDER BY id")
    assert [act["action"] for act in acts] == ["invitation.create", "invitation.accept"]


async def test_an_invitation_names_its_unit_and_makes_it_where_asked(people: People, owner: Any) -> None:
    admin = await people("administrator@a.example")
    assert (await _invite(admin, "one@home.example", unit="1A"))["unit"] == "1A"
    wish = {"email": "two@home.example", "unit": "9Z"}
    refused = await admin.post(f"{A}/invitations", json=wish)
    assert (refused.status_code, refused.json()["type"]) == (422, "urn:parkmesh:problem:no-such-unit")
    assert "make_unit" in refused.json()["detail"]
    for wrong in ({"unit_id": 1, "unit": "1A"}, {"make_unit": True}, {"unit": " "}, {"unit": "x" * 61}):
        answer = await admin.post(f"{A}/invitations", json={"email": "two@home.example"} | wrong)
        assert answer.status_code == 422, wrong
    assert (await admin.post(f"{A}/invitations", json=wish | {"role": "auditor", "make_unit": True})).status_code == 422
    # An invitation that is refused makes no unit.
    taken = await admin.post(f"{A}/invitations", json={**wish, "email": "one@home.example", "make_unit": True})
    assert taken.status_code == 409
    made = "SELECT name, plate_limit FROM unit WHERE community_id = $1 AND name = '9Z'"
    assert await rows(owner, "a", made) == []
    assert (await _invite(admin, "two@home.example", unit="9Z", make_unit=True))["unit"] == "9Z"
    assert (await _invite(admin, "three@home.example", unit="9Z", make_unit=True))["unit"] == "9Z"
    assert await rows(owner, "a", made) == [{"name": "9Z", "plate_limit": 10}]
    acts = await rows(owner, "a", "SELECT action FROM audit_entry WHERE community_id = $1 AND action = 'unit.create'")
    assert len(acts) == 1


async def test_the_database_keeps_neither_link_nor_code(people: People, owner: Any) -> None:
    made = await _invite(await people("administrator@a.example"))
    stored = str(await rows(owner, "a", "SELECT * FROM invitation WHERE community_id = $1"))
    stored += str(await rows(owner, "a", "SELECT * FROM audit_entry WHERE community_id = $1"))
    stored += str(await rows(owner, "a", "SELECT * FROM idempotency_key WHERE community_id = $1"))
    code = made["code"]
    assert "eva@home.example" in stored
    assert not any(secret in stored for secret in (made["token"], code, code.replace("-", "")))


async def test_a_code_with_the_address_does_as_well(people: People, guest: httpx.AsyncClient) -> None:
    made = await _invite(await people("administrator@a.example"), role="administrator")
    code = made["code"]
    claim = {"email": "EVA@home.example", "code": code.lower().replace("-", " ")}
    wrong = {"email": "luis@home.example", "code": code}
    assert (await guest.post("/api/v1/invitations/look", json=wrong)).status_code == 404
    accepted = await guest.post("/api/v1/invitations/accept", json=claim | NEW)
    assert accepted.status_code == 201, accepted.text
    assert (await guest.get(f"{A}/members", headers=_as(accepted.json()["token"]))).status_code == 200


async def test_codes_cannot_be_guessed_from_one_address(people: People, guest: httpx.AsyncClient) -> None:
    made = await _invite(await people("administrator@a.example"))
    guess = {"email": "eva@home.example", "code": "2222233333"}
    tries = [await guest.post("/api/v1/invitations/look", json=guess) for _ in range(6)]
    assert [answer.status_code for answer in tries] == [404] * 5 + [429]
    assert int(tries[-1].headers["retry-after"]) > 0
    right = {"email": "eva@home.example", "code": made["code"]}
    assert (await guest.post("/api/v1/invitations/look", json=right)).status_code == 429


async def test_nor_from_many_addresses(people: People, guest: httpx.AsyncClient, owner: Any) -> None:
    admin = await people("administrator@a.example")
    made = await _invite(admin)
    guess = {"email": "eva@home.example", "code": "2222233333"}

    async def from_address(number: int, claim: dict[str, str]) -> int:
        headers = {"X-Forwarded-For": f"198.51.100.{number}"}
        return (await guest.post("/api/v1/invitations/look", json=claim, headers=headers)).status_code

    codes = await asyncio.gather(*(from_address(number, guess) for number in range(invitations.CODE_ATTEMPTS + 5)))
    assert set(codes) == {404}
    (counted,) = await rows(owner, "a", "SELECT code_attempts FROM invitation WHERE community_id = $1")
    assert counted["code_attempts"] == invitations.CODE_ATTEMPTS
    # The right code is dead now, the link lives, and a new code can be had.
    right = {"email": "eva@home.example", "code": made["code"]}
    assert await from_address(100, right) == 404
    assert await from_address(101, {"token": made["token"]}) == 200
    fresh = (await admin.post(f"{A}/invitations/{made['id']}/resend")).json()
    assert await from_address(102, right | {"code": fresh["code"]}) == 200
    assert await from_address(103, {"token": made["token"]}) == 404


async def test_revoked_and_old_invitations_open_nothing(people: People, guest: httpx.AsyncClient, owner: Any) -> None:
    admin = await people("administrator@a.example")
    made = await _invite(admin)
    path = f"{A}/invitations/{made['id']}"
    claim = {"token": made["token"]}
    await rows(owner, "a", "UPDATE invitation SET expires_at = now() WHERE community_id = $1")
    assert (await admin.get(path)).json()["state"] == "expired"
    assert (await guest.post("/api/v1/invitations/accept", json=claim | NEW)).status_code == 404
    # An address whose invitation ran out can be invited anew.
    again = await _invite(admin)
    claim = {"token": again["token"]}
    path = f"{A}/invitations/{again['id']}"
    assert (await admin.post(f"{A}/invitations", json={"email": "eva@home.example"})).status_code == 409
    seen = await admin.get(path)
    assert (await admin.delete(path, headers={"If-Match": seen.headers["etag"]})).status_code == 204
    assert (await guest.post("/api/v1/invitations/accept", json=claim | NEW)).status_code == 404
    assert (await admin.post(f"{path}/resend")).status_code == 409
    resident = await people("resident@a.example")
    for method, target in (("GET", f"{A}/invitations"), ("POST", f"{A}/invitations"), ("POST", f"{path}/resend")):
        assert (await resident.request(method, target, json={"email": "x@y.example"})).status_code == 403


async def test_whoever_has_an_account_signs_in_and_joins(people: People, guest: httpx.AsyncClient, owner: Any) -> None:
    admin, other, stranger = [
        await people(f"{who}.example") for who in ("administrator@a", "resident@b", "administrator@b")
    ]
    made = await _invite(admin, "resident@b.example", unit_id=await _unit(owner))
    claim = {"token": made["token"]}
    assert (await guest.post("/api/v1/invitations/look", json=claim)).json()["account"] is True
    # A holder of the link doesn't get at the account: its password stays.
    assert (await guest.post("/api/v1/invitations/accept", json=claim | NEW)).status_code == 409
    assert (await guest.post("/api/v1/invitations/join", json=claim)).status_code == 401
    assert (await stranger.post("/api/v1/invitations/join", json=claim)).status_code == 409
    assert (await other.get(f"{A}/units")).status_code == 404
    assert (await other.post("/api/v1/invitations/join", json=claim)).json() == {"community": "a"}
    assert (await other.get(f"{A}/units")).status_code == 200
    assert (await other.get(f"{B}/units")).status_code == 200
    assert (await admin.post(f"{A}/invitations", json={"email": "resident@b.example"})).status_code == 409


async def test_of_many_at_once_one_uses_it(people: People, guest: httpx.AsyncClient, owner: Any) -> None:
    made = await _invite(await people("administrator@a.example"))
    claim = {"token": made["token"]}
    answers = await asyncio.gather(
        *(guest.post("/api/v1/invitations/accept", json=claim | NEW | {"name": f"Eva {n}"}) for n in range(4))
    )
    assert sorted(answer.status_code for answer in answers) == [201, 404, 404, 404]
    assert len(await rows(owner, "a", "SELECT FROM membership WHERE community_id = $1")) == 3


async def test_who_was_entered_before_becomes_the_account_s_person(
    people: People, guest: httpx.AsyncClient, owner: Any
) -> None:
    made = await _invite(await people("administrator@a.example"), "luis@a.example")
    accepted = await guest.post("/api/v1/invitations/accept", json={"token": made["token"]} | NEW)
    mine = (await guest.get(f"{A}/vehicles", headers=_as(accepted.json()["token"]))).json()["items"]
    assert [(item["plate"], item["unit"]) for item in mine] == [("5678AXX", "2B")]


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"email": "eva@home.example"},
        {"code": "2222233333"},
        {"token": "x", "email": "eva@home.example", "code": "2222233333"},
        {"token": "x", "email": "eva@home.example"},
        {"token": "x" * 200},
    ],
)
async def test_a_claim_of_another_form_is_refused(guest: httpx.AsyncClient, body: dict[str, str]) -> None:
    assert (await guest.post("/api/v1/invitations/look", json=body)).status_code == 422


async def test_weak_passwords_are_refused_and_the_invitation_stays(people: People, guest: httpx.AsyncClient) -> None:
    made = await _invite(await people("administrator@a.example"))
    claim = {"token": made["token"]}
    for password in ("short", "password1", "eva@home.example"):
        answer = await guest.post("/api/v1/invitations/accept", json=claim | NEW | {"password": password})
        assert (answer.status_code, answer.json()["type"]) == (422, "urn:parkmesh:problem:weak-password")
    assert (await guest.post("/api/v1/invitations/accept", json=claim | NEW)).status_code == 201


async def _member_id(admin: httpx.AsyncClient, email: str, community: str = A) -> int:
    items = (await admin.get(f"{community}/members")).json()["items"]
    return next(item["id"] for item in items if item["email"] == email)


async def test_a_reset_sets_a_new_password_and_ends_all_sessions(people: People, guest: httpx.AsyncClient) -> None:
    admin, resident = await people("administrator@a.example"), await people("resident@a.example")
    target = f"{A}/members/{await _member_id(admin, 'resident@a.example')}/password-reset"
    assert (await resident.post(target)).status_code == 403
    first = (await admin.post(target)).json()
    made = (await admin.post(target)).json()
    assert made["link"].endswith(f"/reset/{made['token']}")
    new = {"password": "a new one for Ana"}
    assert (await guest.post("/api/v1/password-resets", json={"token": first["token"]} | new)).status_code == 404
    # Making a link changes nothing yet, and a link for a password makes no user a member.
    assert (await resident.get(f"{A}/units")).status_code == 200
    claim = {"token": made["token"]}
    assert (await guest.post("/api/v1/invitations/accept", json=claim | NEW)).status_code == 404
    done = await guest.post("/api/v1/password-resets", json=claim | new)
    assert done.status_code == 201
    assert (await resident.get(f"{A}/units")).status_code == 401
    assert (await guest.get(f"{A}/units", headers=_as(done.json()["token"]))).status_code == 200
    for password, status in ((PASSWORD, 401), (new["password"], 201)):
        answer = await guest.post("/api/v1/sessions", json={"email": "resident@a.example", "password": password})
        assert answer.status_code == status
    assert (await guest.post("/api/v1/password-resets", json=claim | new)).status_code == 404


async def test_an_administrator_resets_no_account_that_is_more_than_his(
    people: People, guest: httpx.AsyncClient
) -> None:
    admin, desk, other = [
        await people(f"{who}.example") for who in ("administrator@a", "desk@parkmesh", "administrator@b")
    ]
    user = await _member_id(admin, "resident@a.example")
    made = (await admin.post(f"{A}/members/{user}/password-reset")).json()
    # In the meantime the resident joins b, as its administrator: the link from a would be a way into b.
    invited = await other.post(f"{B}/invitations", json={"email": "resident@a.example", "role": "administrator"})
    resident = await people("resident@a.example")
    joined = await resident.post("/api/v1/invitations/join", json={"token": invited.json()["token"]})
    assert joined.status_code == 200
    new = {"password": "a new one for Ana"}
    assert (await guest.post("/api/v1/password-resets", json={"token": made["token"]} | new)).status_code == 404
    assert (await admin.post(f"{A}/members/{user}/password-reset")).status_code == 409
    by_desk = (await desk.post(f"{A}/members/{user}/password-reset")).json()
    assert (await guest.post("/api/v1/password-resets", json={"token": by_desk["token"]} | new)).status_code == 201


async def test_sessions_are_listed_and_revoked(people: People, guest: httpx.AsyncClient) -> None:
    first, second, third = [await people("resident@a.example") for _ in range(3)]
    other = await people("administrator@a.example")
    items = (await first.get("/api/v1/sessions")).json()["items"]
    assert len(items) == 3
    assert [item["device"] for item in items] == ["Python"] * 3
    (current,) = [item["id"] for item in items if item["current"]]
    mine = (await second.get("/api/v1/sessions")).json()["items"]
    (second_id,) = [item["id"] for item in mine if item["current"]]
    assert second_id != current
    # Another user's session can't be ended, and looks like none.
    assert (await other.delete(f"/api/v1/sessions/{second_id}")).status_code == 404
    assert (await first.delete(f"/api/v1/sessions/{second_id}")).status_code == 204
    assert (await second.get("/api/v1/sessions")).status_code == 401
    assert (await first.post("/api/v1/sessions/revoke-others")).json() == {"ended": 1}
    assert (await third.get("/api/v1/sessions")).status_code == 401
    assert (await first.get("/api/v1/sessions")).status_code == 200
    assert (await guest.get("/api/v1/sessions", headers=_as(current))).status_code == 401


async def test_a_password_change_leaves_one_new_session(people: People, guest: httpx.AsyncClient) -> None:
    first, second = await people("resident@a.example"), await people("resident@a.example")
    path, change = "/api/v1/account/password", {"current": PASSWORD, "new": "something else entirely"}
    assert (await first.put(path, json=change | {"current": "wrong"})).status_code == 422
    assert (await first.put(path, json=change | {"new": "password1"})).status_code == 422
    done = await first.put(path, json=change)
    assert done.status_code == 200
    for client in (first, second):
        assert (await client.get("/api/v1/sessions")).status_code == 401
    (left,) = (await guest.get("/api/v1/sessions", headers=_as(done.json()["token"]))).json()["items"]
    assert left["current"] is True
    again = {"email": "resident@a.example", "password": change["new"]}
    assert (await guest.post("/api/v1/sessions", json=again)).status_code == 201


async def test_a_password_cannot_be_guessed_through_its_change(people: People) -> None:
    resident = await people("resident@a.example")
    change = {"current": "wrong", "new": "something else entirely"}
    codes = [(await resident.put("/api/v1/account/password", json=change)).status_code for _ in range(6)]
    assert codes == [422] * limits.PER_ACCOUNT_AND_NETWORK + [429]
