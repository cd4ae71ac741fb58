"""Passkeys, with an authenticator made of software: registering, signing in, and answers that are wrong in one way."""

import hashlib
import json
import os
import struct
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from parkmesh.server.http.problems import Problem
from parkmesh.server.identity import passkeys
from running_server import Database, Server, serving, settings
from two_communities import PASSWORD
from webauthn.helpers import encode_cbor

People = Callable[[str], Any]
ORIGIN, SITE = "https://parking.example", "parking.example"
PRESENT, VERIFIED, ATTESTED = 0x01, 0x04, 0x40


def _b64(data: bytes) -> str:
    return urlsafe_b64encode(data).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    return urlsafe_b64decode(text + "=" * (-len(text) % 4))


@dataclass
class Authenticator:
    """A security key with one passkey (ES256). Its attributes say what it answers, so that a test can make it lie."""

    origin: str = ORIGIN
    site: str = SITE
    flags: int = PRESENT | VERIFIED
    count: int = 0
    id: bytes = field(default_factory=lambda: os.urandom(32))
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    user: bytes | None = None

    def create(self, options: dict[str, Any]) -> dict[str, Any]:
        """Answer ``navigator.credentials.create`` with attestation none."""
        self.user = _bytes(options["user"]["id"])
        point = self.key.public_key().public_numbers()
        cose = {1: 2, 3: -7, -1: 1, -2: point.x.to_bytes(32), -3: point.y.to_bytes(32)}
        attested = bytes(16) + struct.pack(">H", len(self.id)) + self.id + encode_cbor(cose)
        statement = {"fmt": "none", "attStmt": {}, "authData": self._data(ATTESTED) + attested}
        return self._answer(options, "webauthn.create", attestationObject=_b64(encode_cbor(statement)))

    def get(self, options: dict[str, Any]) -> dict[str, Any]:
        """Answer ``navigator.credentials.get``."""
        self.count += 1
        data = self._data()
        answer = self._answer(options, "webauthn.get", authenticatorData=_b64(data), userHandle=_b64(self.user or b""))
        signed = data + hashlib.sha256(_bytes(answer["response"]["clientDataJSON"])).digest()
        answer["response"]["signature"] = _b64(self.key.sign(signed, ec.ECDSA(hashes.SHA256())))
        return answer

    def _data(self, more: int = 0) -> bytes:
        return hashlib.sha256(self.site.encode()).digest() + struct.pack(">BI", self.flags | more, self.count)

    def _answer(self, options: dict[str, Any], kind: str, **response: str) -> dict[str, Any]:
        client = {"type": kind, "challenge": options["challenge"], "origin": self.origin, "crossOrigin": False}
        response["clientDataJSON"] = _b64(json.dumps(client).encode())
        return {"id": _b64(self.id), "rawId": _b64(self.id), "type": "public-key", "response": response}


@pytest.fixture
async def server(filled: Database) -> AsyncIterator[Server]:
    """Run the server under a name that browsers would offer passkeys for."""
    async with serving(settings(filled.app, PARKMESH_PUBLIC_URL=f"{ORIGIN}/")) as running:
        yield running


@pytest.fixture
async def guest(server: Server) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=server.web, timeout=20) as client:
        yield client


async def _options(person: httpx.AsyncClient) -> dict[str, Any]:
    answer = await person.post("/api/v1/passkeys/registration", json={"password": PASSWORD})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()["public_key"]
    return found


async def _register(person: httpx.AsyncClient, key: Authenticator) -> httpx.Response:
    credential = key.create(await _options(person))
    return await person.post("/api/v1/passkeys", json={"name": "Key", "credential": credential})


async def _challenge(guest: httpx.AsyncClient) -> dict[str, Any]:
    found: dict[str, Any] = (await guest.post("/api/v1/sessions/passkey/options")).json()["public_key"]
    return found


async def _sign_in(guest: httpx.AsyncClient, credential: dict[str, Any]) -> httpx.Response:
    return await guest.post("/api/v1/sessions/passkey", json={"credential": credential})


async def test_a_passkey_signs_its_owner_in(people: People, guest: httpx.AsyncClient) -> None:
    resident, key = await people("resident@a.example"), Authenticator()
    registered = await _register(resident, key)
    assert registered.status_code == 201, registered.text
    answer = await _sign_in(guest, key.get(await _challenge(guest)))
    assert answer.status_code == 201, answer.text
    signed_in = {"Authorization": f"Bearer {answer.json()['token']}"}
    assert (await guest.get("/api/v1/sessions/current", headers=signed_in)).json()["email"] == "resident@a.example"
    sessions = (await guest.get("/api/v1/sessions", headers=signed_in)).json()["items"]
    assert [item["method"] for item in sessions if item["current"]] == ["passkey"]
    (listed,) = (await resident.get("/api/v1/passkeys")).json()["items"]
    assert (listed["name"], listed["last_used_at"] is not None) == ("Key", True)
    # The device is asked not to make a second one, and no other user can delete the passkey.
    assert [item["id"] for item in (await _options(resident))["excludeCredentials"]] == [_b64(key.id)]
    other = await people("administrator@a.example")
    remove, right = f"/api/v1/passkeys/{listed['id']}/remove", {"password": PASSWORD}
    assert (await other.post(remove, json=right)).status_code == 404
    assert (await resident.post(remove, json={"password": "guess"})).status_code == 422
    assert (await resident.post(remove, json=right)).status_code == 204
    assert (await _sign_in(guest, key.get(await _challenge(guest)))).status_code == 401


@pytest.mark.parametrize("act", ["registration", "remove"])
async def test_changing_passkeys_asks_for_the_password_again(
    people: People, guest: httpx.AsyncClient, act: str
) -> None:
    resident = await people("resident@a.example")
    if act == "remove":
        act = f"{(await _register(resident, Authenticator())).json()['id']}/remove"
    wrong = [await resident.post(f"/api/v1/passkeys/{act}", json={"password": "guess"}) for _ in range(6)]
    assert [answer.status_code for answer in wrong] == [422] * 5 + [429]
    assert (await guest.post(f"/api/v1/passkeys/{act}", json={"password": PASSWORD})).status_code == 401


LIES: dict[str, dict[str, Any]] = {
    "another site's origin": {"origin": "https://parking.example.evil.test"},
    "plain http": {"origin": "http://parking.example"},
    "another site's id": {"site": "evil.test"},
    "nobody there": {"flags": VERIFIED},
    "user not verified": {"flags": PRESENT},
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES)
async def test_a_device_that_lies_is_refused(people: People, guest: httpx.AsyncClient, lie: dict[str, Any]) -> None:
    resident, key = await people("resident@a.example"), Authenticator()
    assert (await _register(resident, Authenticator(**lie))).status_code == 422
    assert (await _register(resident, key)).status_code == 201
    copy: dict[str, Any] = {"id": key.id, "key": key.key, "user": key.user}
    liar = Authenticator(**(copy | lie))
    assert (await _sign_in(guest, liar.get(await _challenge(guest)))).status_code == 401


async def test_a_challenge_opens_one_attempt(people: People, guest: httpx.AsyncClient, owner: Any) -> None:
    resident, key = await people("resident@a.example"), Authenticator()
    credential = key.create(await _options(resident))
    body = {"name": "Key", "credential": credential}
    assert (await resident.post("/api/v1/passkeys", json=body)).status_code == 201
    assert (await resident.post("/api/v1/passkeys", json=body)).status_code == 422
    said = key.get(await _challenge(guest))
    assert (await _sign_in(guest, said)).status_code == 201
    assert (await _sign_in(guest, said)).status_code == 401
    # A challenge that the server never made, one for registering, one of another user, and one that is too old.
    made_up = {"challenge": _b64(os.urandom(32))}
    assert (await _sign_in(guest, key.get(made_up))).status_code == 401
    assert (await _sign_in(guest, key.get(await _options(resident)))).status_code == 401
    other = await people("administrator@a.example")
    stolen = Authenticator().create(await _options(resident))
    assert (await other.post("/api/v1/passkeys", json={"name": "x", "credential": stolen})).status_code == 422
    old = await _challenge(guest)
    await owner.execute("SELECT set_config('parkmesh.scope', 'identity', false)")
    await owner.execute("UPDATE passkey_challenge SET expires_at = now()")
    assert (await _sign_in(guest, key.get(old))).status_code == 401


async def test_a_passkey_is_its_owner_s_alone(people: People, guest: httpx.AsyncClient) -> None:
    resident, other = await people("resident@a.example"), await people("administrator@a.example")
    key, others = Authenticator(), Authenticator()
    assert (await _register(resident, key)).status_code == 201
    assert (await _register(other, others)).status_code == 201
    assert (await _register(other, Authenticator(id=key.id))).status_code == 409
    # Another's passkey with one's own key or one's own user's name.
    forged = Authenticator(id=key.id, key=others.key, user=key.user)
    assert (await _sign_in(guest, forged.get(await _challenge(guest)))).status_code == 401
    confused = Authenticator(id=key.id, key=key.key, user=others.user)
    assert (await _sign_in(guest, confused.get(await _challenge(guest)))).status_code == 401


async def test_a_copied_authenticator_is_found_out(people: People, guest: httpx.AsyncClient) -> None:
    resident, key = await people("resident@a.example"), Authenticator()
    await _register(resident, key)
    copy = Authenticator(id=key.id, key=key.key, user=key.user)
    for _ in range(2):
        assert (await _sign_in(guest, key.get(await _challenge(guest)))).status_code == 201
    assert (await _sign_in(guest, copy.get(await _challenge(guest)))).status_code == 401


async def test_whoever_is_no_longer_active_does_not_sign_in(
    people: People, guest: httpx.AsyncClient, owner: Any
) -> None:
    resident, key = await people("resident@a.example"), Authenticator()
    await _register(resident, key)
    await owner.execute("SELECT set_config('parkmesh.scope', 'identity', false)")
    await owner.execute("UPDATE app_user SET active = false WHERE email = 'resident@a.example'")
    assert (await _sign_in(guest, key.get(await _challenge(guest)))).status_code == 401


@pytest.mark.parametrize(
    "credential",
    [
        {},
        {"response": None},
        {"response": {"clientDataJSON": 7}, "rawId": "AA"},
        {"response": {"clientDataJSON": "!!"}, "rawId": "AA"},
        {"response": {"clientDataJSON": _b64(b"[" * 30_000)}, "rawId": "AA"},
        {"response": {"clientDataJSON": _b64(b'{"challenge": []}')}, "rawId": "AA"},
        {"response": {"clientDataJSON": _b64(b'{"challenge": "AA"}'), "userHandle": {}}, "rawId": "AA"},
        {"response": {"clientDataJSON": _b64(b'{"challenge": "AA"}')}, "rawId": None},
    ],
)
async def test_what_is_no_answer_is_refused(people: People, guest: httpx.AsyncClient, credential: Any) -> None:
    assert (await _sign_in(guest, credential)).status_code == 401
    resident = await people("resident@a.example")
    answer = await resident.post("/api/v1/passkeys", json={"name": "x", "credential": credential})
    assert answer.status_code == 422


@pytest.mark.parametrize("part", ["attestationObject", "authenticatorData", "signature"])
async def test_broken_parts_are_refused(people: People, guest: httpx.AsyncClient, part: str) -> None:
    resident, key = await people("resident@a.example"), Authenticator()
    if part == "attestationObject":
        for broken in ("", "AA", _b64(b"\xa1" * 40), _b64(b"\x9f" * 500)):
            credential = key.create(await _options(resident))
            credential["response"][part] = broken
            body = {"name": "x", "credential": credential}
            assert (await resident.post("/api/v1/passkeys", json=body)).status_code == 422
        return
    await _register(resident, key)
    for broken in ("", "AA", _b64(os.urandom(70))):
        credential = key.get(await _challenge(guest))
        credential["response"][part] = broken
        assert (await _sign_in(guest, credential)).status_code == 401


@pytest.mark.parametrize(
    ("url", "site"),
    [
        ("https://Parking.example/", passkeys.Site("parking.example", "https://parking.example")),
        ("https://parking.example:8443", passkeys.Site("parking.example", "https://parking.example:8443")),
        ("https://parking.example:443", passkeys.Site("parking.example", "https://parking.example")),
        ("http://localhost:8000", passkeys.Site("localhost", "http://localhost:8000")),
        ("http://parking.example", None),
        ("https://192.0.2.1", None),
        ("https://[2001:db8::1]", None),
        (None, None),
    ],
)
def test_passkeys_belong_to_a_name(url: str | None, site: passkeys.Site | None) -> None:
    if site:
        assert passkeys.site(url) == site
    else:
        with pytest.raises(Problem, match="https"):
            passkeys.site(url)
