"""A second factor for the desk and administrators: with a password alone they may only register a first passkey, or use
it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import httpx
import pytest
from page_visitor import visiting
from parkmesh.server.identity import second_factor
from parkmesh.server.identity.principals import Membership, Principal, Role
from parkmesh.server.settings import SettingError
from parkmesh.server.web import pages
from running_server import Database, Server, serving, settings
from starlette.routing import Route
from test_passkeys import Authenticator
from two_communities import PASSWORD

People = Callable[[str], Awaitable[httpx.AsyncClient]]
DESK, ADMIN, RESIDENT = "desk@parkmesh.example", "administrator@a.example", "resident@a.example"
SITE = "http://localhost"
# What one may do with a password alone: see who one is, sign out, and register a first passkey.
HALF_WAY = {
    ("get", "/api/v1/sessions/current"),
    ("delete", "/api/v1/sessions/current"),
    ("post", "/api/v1/passkeys/registration"),
    ("post", "/api/v1/passkeys"),
}


@pytest.fixture
def rule() -> str:
    return "staff"


@pytest.fixture
async def server(filled: Database, rule: str) -> AsyncIterator[Server]:
    config = settings(filled.app, PARKMESH_PUBLIC_URL=SITE, PARKMESH_SECOND_FACTOR=rule)
    async with serving(config) as running:
        yield running


@pytest.fixture
def key() -> Authenticator:
    return Authenticator(origin=SITE, site="localhost")


async def register(person: httpx.AsyncClient, key: Authenticator) -> httpx.Response:
    answer = await person.post("/api/v1/passkeys/registration", json={"password": PASSWORD})
    if answer.status_code != 200:
        return answer
    credential = key.create(answer.json()["public_key"])
    return await person.post("/api/v1/passkeys", json={"name": "Key", "credential": credential})


async def by_passkey(server: Server, key: Authenticator) -> httpx.AsyncClient:
    client = httpx.AsyncClient(base_url=server.web, timeout=20)
    options = (await client.post("/api/v1/sessions/passkey/options")).json()["public_key"]
    answer = await client.post("/api/v1/sessions/passkey", json={"credential": key.get(options)})
    assert answer.status_code == 201, answer.text
    client.headers["Authorization"] = f"Bearer {answer.json()['token']}"
    return client


def is_refused(answer: httpx.Response) -> bool:
    return answer.status_code == 403 and answer.json()["type"] == "urn:parkmesh:problem:second-factor"


async def test_no_route_opens_to_a_password_alone(server: Server, people: People, subtests: pytest.Subtests) -> None:
    desk = await people(DESK)
    async with httpx.AsyncClient(base_url=server.web) as guest:
        tried = 0
        for path, methods in (await guest.get("/api/v1/openapi.json")).json()["paths"].items():
            address = path.replace("{community}", "a").replace("{", "").replace("}", "")
            for method in methods:
                # A route that answers a stranger is for signing in, not for the desk.
                if (await guest.request(method, address)).status_code != 401 or (method, path) in HALF_WAY:
                    continue
                tried += 1
                with subtests.test(f"{method} {path}"):
                    assert is_refused(await desk.request(method, address))
    assert tried > 60
    assert (await desk.get("/api/v1/sessions/current")).json()["email"] == DESK


async def test_no_page_opens_to_a_password_alone(server: Server, subtests: pytest.Subtests) -> None:
    tried = 0
    async with visiting(server.web, DESK) as visitor, httpx.AsyncClient(base_url=server.web) as guest:
        data = {"csrf_token": await visitor.token("/second-factor")}
        for route in pages.ROUTES:
            assert isinstance(route, Route)
            address = route.path.replace("{community}", "a").replace("{", "").replace("}", "")
            method = "GET" if "GET" in (route.methods or ()) else "POST"
            stranger = await guest.request(method, address, data=data)
            # What a stranger may open is no thing of the desk's.
            closed = stranger.status_code == 401 or stranger.headers.get("location", "").startswith("/sign-in")
            if not closed or address in ("/second-factor", "/sign-out"):
                continue
            tried += 1
            with subtests.test(f"{method} {address}"):
                if address.endswith("/stream"):
                    assert is_refused(await visitor.get(address, headers={"Accept": "text/event-stream"}))
                    continue
                answer = await visitor.client.request(method, address, data=data)
                assert (answer.status_code, answer.headers.get("location")) == (303, "/second-factor")
    assert tried > 50


async def test_the_first_passkey_opens_the_desk_and_a_stolen_password_adds_none(
    server: Server, people: People, key: Authenticator
) -> None:
    desk = await people(DESK)
    assert (await register(desk, key)).status_code == 201
    # The session itself is still one of a password.
    assert is_refused(await desk.get("/api/v1/desk/summary"))
    assert is_refused(await register(desk, Authenticator(origin=SITE, site="localhost")))
    thief = await people(DESK)
    assert is_refused(await register(thief, Authenticator(origin=SITE, site="localhost")))
    assert is_refused(await thief.post("/api/v1/passkeys/1/remove", json={"password": PASSWORD}))
    whole = await by_passkey(server, key)
    assert (await whole.get("/api/v1/desk/summary")).status_code == 200
    assert (await register(whole, Authenticator(origin=SITE, site="localhost"))).status_code == 201
    # A new password leaves one session: of the same strength.
    change = {"current": PASSWORD, "new": "four words are enough"}
    token = (await whole.put("/api/v1/account/password", json=change)).json()["token"]
    whole.headers["Authorization"] = f"Bearer {token}"
    assert (await whole.get("/api/v1/desk/summary")).status_code == 200
    await whole.aclose()


async def test_a_passkey_that_was_being_made_is_refused_once_there_is_another(
    server: Server, people: People, key: Authenticator
) -> None:
    desk = await people(DESK)
    begun = (await desk.post("/api/v1/passkeys/registration", json={"password": PASSWORD})).json()["public_key"]
    assert (await register(desk, key)).status_code == 201
    late = Authenticator(origin=SITE, site="localhost").create(begun)
    assert is_refused(await desk.post("/api/v1/passkeys", json={"name": "Late", "credential": late}))


async def test_what_the_page_asks_for(server: Server, people: People, key: Authenticator) -> None:
    async with visiting(server.web, DESK) as visitor:
        assert "data-passkey-registration" in (await visitor.get("/second-factor")).text
        await register(await people(DESK), key)
        page = (await visitor.get("/second-factor")).text
        assert ("data-passkey-entrance" in page, "data-passkey-registration" in page) == (True, False)
        answer = await visitor.send("/sign-out", of="/second-factor")
        assert answer.headers["location"] == "/sign-in"
    async with visiting(server.web, RESIDENT) as visitor:
        assert (await visitor.get("/second-factor")).headers["location"] == "/"


@pytest.mark.parametrize(
    ("rule", "refused"), [("none", []), ("desk", [DESK]), ("staff", [DESK, ADMIN])], ids=["none", "desk", "staff"]
)
async def test_whom_the_rule_is_for(people: People, refused: list[str]) -> None:
    found = [who for who in (DESK, ADMIN, RESIDENT) if is_refused(await (await people(who)).get("/api/v1/communities"))]
    assert found == refused


@pytest.mark.parametrize("rule", ["desk"])
async def test_a_link_is_no_second_factor(server: Server, people: People, key: Authenticator, owner: Any) -> None:
    await owner.execute("SELECT set_config('parkmesh.scope', 'identity', false)")
    desk = await people(DESK)
    await owner.execute("UPDATE web_session SET method = 'invitation'")
    assert is_refused(await desk.get("/api/v1/desk/summary"))


def test_a_key_of_an_integrator_has_one_factor() -> None:
    member = Membership(1, "a", Role.ADMINISTRATOR, None)
    assert not second_factor.needed("staff", Principal(0, "", "key", False, {"a": member}, b"", api_key=1))
    assert second_factor.needed("staff", Principal(1, ADMIN, "Admin", False, {"a": member}, b""))


@pytest.mark.parametrize(
    "environment",
    [
        {"PARKMESH_SECOND_FACTOR": "sms", "PARKMESH_PUBLIC_URL": "https://parking.example"},
        {"PARKMESH_SECOND_FACTOR": "desk", "PARKMESH_PUBLIC_URL": "http://parking.example"},
        {"PARKMESH_SECOND_FACTOR": "staff"},
    ],
)
def test_a_rule_that_nobody_could_follow_is_refused_at_the_start(environment: dict[str, str]) -> None:
    with pytest.raises(SettingError, match="PARKMESH_SECOND_FACTOR"):
        settings("postgresql://parkmesh@/x", **environment)
    assert settings("postgresql://parkmesh@/x").second_factor == "none"
