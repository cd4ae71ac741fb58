"""What the logs say of signing in and of being refused: when, who, from where; and what they never say."""

import json
import logging
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import httpx
import pytest
from page_visitor import visiting
from parkmesh.server.telemetry import logs
from running_server import SESSION_SECRET, Server
from two_communities import PASSWORD, TOKENS

People = Callable[[str], Awaitable[httpx.AsyncClient]]
RESIDENT = "resident@a.example"
FAR = {"X-Forwarded-For": "198.51.100.7"}


class Lines(logging.Handler):
    """Keeps what the server logs, as the text that journald would get."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(logs.JsonLines("test", [SESSION_SECRET]))
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        # The tests' own client writes here too; uvicorn's lines are switched off in a server's process.
        if not record.name.startswith(("httpx", "httpcore", "uvicorn")):
            self.texts.append(self.format(record))

    def of(self, event: str) -> list[dict[str, Any]]:
        return [line for line in map(json.loads, self.texts) if line.get("event") == event]

    def requests(self) -> list[dict[str, Any]]:
        return [line for line in map(json.loads, self.texts) if line["message"] == "request"]


@pytest.fixture
def lines() -> Iterator[Lines]:
    handler, root = Lines(), logging.getLogger()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield handler
    root.removeHandler(handler)
    root.setLevel(before)


@pytest.fixture
async def resident_id(owner: Any) -> int:
    await owner.execute("SELECT set_config('parkmesh.scope', 'identity', false)")
    found: int = await owner.fetchval("SELECT id FROM app_user WHERE email = $1", RESIDENT)
    return found


async def test_signing_in_and_failing_to_is_logged_with_who_and_from_where(
    server: Server, resident_id: int, lines: Lines
) -> None:
    async with httpx.AsyncClient(base_url=server.web, headers=FAR) as client:
        for email, password, status in (
            (RESIDENT, "a wrong password", 401),
            ("nobody@nowhere.example", "another wrong one", 401),
            (RESIDENT, PASSWORD, 201),
        ):
            answer = await client.post("/api/v1/sessions", json={"email": email, "password": password})
            assert answer.status_code == status
    known, unknown = lines.of("authn_login_fail")
    assert (known["user"], known["method"], known["client"]) == (resident_id, "password", "198.51.100.7")
    assert (known["level"], "time" in known, known["server"]) == ("warning", True, "test")
    assert ("user" in unknown, unknown["client"]) == (False, "198.51.100.7")
    (success,) = lines.of("authn_login_success")
    assert (success["user"], success["method"], success["level"]) == (resident_id, "password", "info")
    token = answer.json()["token"]
    for secret in (RESIDENT, "nobody@nowhere.example", "a wrong password", "another wrong one", PASSWORD, token):
        assert secret not in "".join(lines.texts)


async def test_too_many_attempts_are_logged(server: Server, lines: Lines) -> None:
    async with httpx.AsyncClient(base_url=server.web, headers=FAR) as client:
        for _ in range(6):
            await client.post("/api/v1/sessions", json={"email": RESIDENT, "password": "wrong"})
    assert len(lines.of("authn_login_fail")) == 5
    (refused,) = lines.of("excess_rate_limit_exceeded")
    assert (refused["client"], refused["level"]) == ("198.51.100.7", "warning")
    assert (lines.requests()[-1]["status"], lines.requests()[-1]["problem"]) == (429, "too-many-attempts")


async def test_the_end_of_sessions_and_changes_of_passwords_are_logged(
    people: People, resident_id: int, lines: Lines
) -> None:
    first, second, third = [await people(RESIDENT) for _ in range(3)]
    (other,) = [item["id"] for item in (await third.get("/api/v1/sessions")).json()["items"]][2:]
    assert (await third.delete(f"/api/v1/sessions/{other}")).status_code == 204
    assert (await third.post("/api/v1/sessions/revoke-others")).json()["ended"] == 1
    assert {client: (await client.get("/api/v1/sessions/current")).status_code for client in (first, second)} == {
        first: 401, second: 401
    }  # fmt: skip
    wrong = await third.put("/api/v1/account/password", json={"current": "wrong", "new": "four words are enough"})
    right = await third.put("/api/v1/account/password", json={"current": PASSWORD, "new": "four words are enough"})
    assert (wrong.status_code, right.status_code) == (422, 200)
    third.headers["Authorization"] = f"Bearer {right.json()['token']}"
    assert (await third.delete("/api/v1/sessions/current")).status_code == 204
    assert [line["why"] for line in lines.of("session_revoked")] == ["by its owner", "by their owner", "signed out"]
    assert {line["user"] for line in lines.of("session_revoked")} == {resident_id}
    (failed,), (changed,) = lines.of("authn_login_fail"), lines.of("authn_password_change")
    assert (failed["user"], failed["why"], changed["user"]) == (resident_id, "confirmation", resident_id)
    assert "four words are enough" not in "".join(lines.texts)


async def test_invitations_that_are_accepted_or_guessed_at_are_logged(
    server: Server, people: People, lines: Lines
) -> None:
    administrator = await people("administrator@a.example")
    made = (await administrator.post("/api/v1/communities/a/invitations", json={"email": "eva@home.example"})).json()
    async with visiting(server.web) as visitor:
        guess = await visitor.send("/join", of="/join", email="eva@home.example", code="AAAA-BBBB-CC")
        assert guess.status_code == 404
        join = f"/join/{made['token']}"
        answer = await visitor.send(join, of=join, act="new", name="Eva", password="four words are enough")
        assert answer.status_code == 303
    assert [line["method"] for line in lines.of("authn_login_fail")] == ["invitation code"]
    (accepted,) = lines.of("invitation_accepted")
    assert accepted["invitation"] == made["id"]
    assert [line["method"] for line in lines.of("authn_login_success")] == ["password", "invitation"]
    for secret in (made["token"], made["code"], "AAAA-BBBB-CC", "eva@home.example", "four words are enough"):
        assert secret not in "".join(lines.texts)


async def test_what_is_refused_is_logged_with_who_asked(
    server: Server, people: People, resident_id: int, lines: Lines
) -> None:
    resident = await people(RESIDENT)
    assert (await resident.get("/api/v1/communities/b/spaces")).status_code == 404
    assert (await resident.get("/api/v1/communities/a/audit")).status_code == 403
    assert (await resident.post("/api/v1/passkeys/registration", json={"pass": "1"})).status_code == 422
    async with visiting(server.web, RESIDENT, **FAR) as visitor:
        assert (await visitor.client.post("/sign-out", data={"csrf_token": "forged"})).status_code == 403
    other, staff, invalid, forged = [line for line in lines.requests() if line["status"] >= 400]
    for line in (other, staff, invalid, forged):
        assert line["actor"] == f"user:{resident_id}"
    assert (forged["problem"], forged["client"]) == ("csrf", "198.51.100.7")
    assert (other["client"], staff["status"], invalid["status"]) == ("127.0.0.1", 403, 422)


async def test_a_gateway_s_refused_token_is_logged_with_its_address(server: Server, lines: Lines) -> None:
    async with httpx.AsyncClient(base_url=server.edge, headers={"Authorization": "Bearer guessed-token"}) as client:
        assert (await client.get("/edge/v1/servers")).status_code == 401
    (line,) = lines.requests()
    assert (line["application"], line["status"], line["client"]) == ("edge", 401, "127.0.0.1")
    assert not any(secret in "".join(lines.texts) for secret in ("guessed-token", *TOKENS.values()))


async def test_what_one_request_notes_is_on_no_line_of_another(lines: Lines) -> None:
    with logs.request(client="192.0.2.1"):
        logs.note(actor="user:1")
        with logs.request(client="192.0.2.2"):
            logging.getLogger("test").warning("inner")
        logging.getLogger("test").warning("outer")
    logs.note(actor="user:2")
    logging.getLogger("test").warning("alone")
    inner, outer, alone = map(json.loads, lines.texts)
    assert (inner["client"], "actor" in inner) == ("192.0.2.2", False)
    assert (outer["client"], outer["actor"]) == ("192.0.2.1", "user:1")
    assert not {"client", "actor"} & set(alone)


async def test_a_line_stays_one_line_whatever_somebody_sends(server: Server, lines: Lines) -> None:
    async with httpx.AsyncClient(base_url=server.web) as client:
        await client.get("/sign-in", headers={"X-Forwarded-For": '1.2.3.4\t"}{"event": "authn_login_success"'})
    assert all(text.count("\n") == 0 and json.loads(text) for text in lines.texts)
    assert lines.requests()[-1]["client"] == "0.0.0.0"
