"""Operators end the sessions of one user or of all, and remove a lost passkey."""

import json
from collections.abc import Awaitable, Callable
from subprocess import CompletedProcess
from typing import Any

import httpx
import pytest
from running_server import Database

People = Callable[[str], Awaitable[httpx.AsyncClient]]
RESIDENT, ADMIN = "resident@a.example", "administrator@a.example"


@pytest.fixture
def end_sessions(filled: Database, parkmesh: Callable[..., CompletedProcess[str]]) -> Callable[..., Any]:
    """Return a function that runs the command as on a server, with the application's own rights."""

    def run(*arguments: str) -> CompletedProcess[str]:
        return parkmesh("admin", "end-sessions", *arguments, PARKMESH_DATABASE_URL=filled.app)

    return run


async def live(*clients: httpx.AsyncClient) -> list[bool]:
    return [(await client.get("/api/v1/sessions/current")).status_code == 200 for client in clients]


async def test_one_user_is_signed_out_everywhere(people: People, end_sessions: Any, owner: Any) -> None:
    first, second, other = await people(RESIDENT), await people(RESIDENT), await people(ADMIN)
    await owner.execute("SELECT set_config('parkmesh.scope', 'identity', false)")
    await owner.execute(
        """
        INSERT INTO passkey (user_id, credential_id, public_key, sign_count, name, synced)
        SELECT id, decode(md5(email), 'hex'), '\\x00', 0, 'Key', false FROM app_user
        """
    )
    keys = await owner.fetchval("SELECT count(*) FROM passkey")
    kept = end_sessions("--email", "Resident@a.example")
    assert json.loads(kept.stdout) == {"changed": True, "sessions": 2, "passkeys": 0}
    assert await live(first, second, other) == [False, False, True]
    assert json.loads(end_sessions("--email", RESIDENT, "--passkeys").stdout)["passkeys"] == 1
    assert await owner.fetchval("SELECT count(*) FROM passkey") == keys - 1
    assert not json.loads(end_sessions("--email", RESIDENT, "--passkeys").stdout)["changed"]
    user = await owner.fetchval("SELECT id FROM app_user WHERE email = $1", RESIDENT)
    await owner.execute("SELECT set_config('parkmesh.scope', 'desk', false)")
    trail = await owner.fetch("SELECT actor, object FROM audit_entry WHERE action = 'session.revoke' ORDER BY id")
    assert [tuple(entry) for entry in trail] == [("system:admin", f"user/{user}")] * 2


async def test_everybody_is_signed_out(people: People, end_sessions: Any) -> None:
    clients = [await people(RESIDENT), await people(ADMIN)]
    assert json.loads(end_sessions("--everybody").stdout)["sessions"] == 2
    assert await live(*clients) == [False, False]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        ((), 2, "--everybody"),
        (("--everybody", "--email", RESIDENT), 2, "--everybody"),
        (("--email", "nobody@a.example"), 1, "there is no user nobody@a.example"),
    ],
)
async def test_nobody_is_signed_out_by_mistake(
    people: People, end_sessions: Any, arguments: tuple[str, ...], code: int, says: str
) -> None:
    client = await people(RESIDENT)
    done = end_sessions(*arguments)
    assert (done.returncode, says in done.stderr, done.stderr.count("\n") <= 4) == (code, True, True)
    assert await live(client) == [True]
