"""The API against its own document: no request gets a 5xx or an answer that the document doesn't know.

Every operation gets generated requests, well-formed and not, as each role; community a exists in all of them, so that
they reach further than its application.
"""

import asyncio
import hashlib
import secrets
from typing import Any

import asyncpg
import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from running_server import Database, Server
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.openapi.checks import UndefinedStatusCode

EXAMPLES = 10
ROLES = {
    "nobody": None,
    "resident": "resident@a.example",
    "administrator": "administrator@a.example",
    "operator": "desk@parkmesh.example",
}


load_all_checks()
CHECKED = CHECKS.get_by_names(
    [
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_schema_conformance",
        "response_headers_conformance",
    ]
)


async def session_of(database: Database, email: str) -> str:
    """Open a session behind the server's back: signing in hundreds of times would only test the password hash."""
    token = secrets.token_urlsafe(32)
    connection = await asyncpg.connect(database.app)
    try:
        async with connection.transaction():
            await connection.execute("SELECT set_config('parkmesh.scope', 'identity', true)")
            await connection.execute(
                "INSERT INTO web_session (token_sha256, user_id, expires_at)"
                " SELECT $1, id, now() + interval '1 hour' FROM app_user WHERE email = $2",
                hashlib.sha256(token.encode()).digest(),
                email,
            )
    finally:
        await connection.close()
    return token


def send_generated(base_url: str, operation: Any, tokens: dict[str, str | None]) -> int:
    """Send requests made from the document, each as each role, and check every answer against it; return how many
    were sent. To make a request takes longer than to answer it."""
    sent = 0

    @settings(
        max_examples=EXAMPLES,
        deadline=None,
        database=None,
        derandomize=True,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(), here=st.booleans())
    def send(case: Any, here: bool) -> None:
        nonlocal sent
        if "community" in case.path_parameters and here:
            case.path_parameters["community"] = "a"
        for role, token in tokens.items():
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            sent += 1
            try:
                case.call_and_validate(base_url=base_url, headers=headers, checks=CHECKED, timeout=20)
            except Exception as error:
                error.add_note(f"As {role}.")
                raise

    send()
    return sent


async def document_of(server: Server) -> Any:
    async with httpx.AsyncClient(base_url=server.web, timeout=60) as client:
        return (await client.get("/api/v1/openapi.json")).json()


async def test_no_request_gets_an_answer_that_the_document_does_not_know(
    server: Server, filled: Database, subtests: Any
) -> None:
    document = await document_of(server)
    schema = schemathesis.openapi.from_dict(document)
    assert len(document["paths"]) > 15
    for path, methods in sorted(document["paths"].items()):
        for method in sorted(methods):
            with subtests.test(operation=f"{method.upper()} {path}"):
                tokens = {role: await session_of(filled, email) if email else None for role, email in ROLES.items()}
                sent = await asyncio.to_thread(send_generated, server.web, schema[path][method.upper()], tokens)
                assert sent > 0


async def test_the_check_itself_finds_an_answer_that_is_not_documented(server: Server) -> None:
    document = await document_of(server)
    del document["paths"]["/api/v1/communities"]["get"]["responses"]["401"]
    operation = schemathesis.openapi.from_dict(document)["/api/v1/communities"]["GET"]
    with pytest.RaisesGroup(UndefinedStatusCode, flatten_subgroups=True):
        await asyncio.to_thread(send_generated, server.web, operation, {"nobody": None})
