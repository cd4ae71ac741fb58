"""What the database refuses becomes an answer that says so, never a 500."""

from datetime import UTC, datetime
from typing import Any

import asyncpg
import httpx
import pytest
from parkmesh.server.http import problems
from parkmesh.server.http.problems import Problem
from parkmesh.server.reservations import overlaps
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

MORNING = datetime(2026, 11, 22, 9, 0, tzinfo=UTC), datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
NOON = datetime(2026, 11, 22, 11, 0, tzinfo=UTC), datetime(2026, 11, 22, 13, 0, tzinfo=UTC)

INSERT = "INSERT INTO taken (during) VALUES (tstzrange($1, $2))"
CONFLICTING = "SELECT lower(during), upper(during) FROM taken WHERE during && tstzrange($1, $2)"


@pytest.fixture
async def taken(owner: Any) -> Any:
    """Return a connection with a table that takes no two windows that overlap."""
    await owner.execute("CREATE TEMP TABLE taken (during tstzrange NOT NULL, EXCLUDE USING gist (during WITH &&))")
    return owner


async def test_a_refused_overlap_names_the_window_in_the_way(taken: Any) -> None:
    async with taken.transaction():
        await taken.execute(INSERT, *MORNING)
        with pytest.raises(Problem) as refused:
            async with overlaps.refused(taken, CONFLICTING, *NOON):
                await taken.execute(INSERT, *NOON)
        assert (refused.value.status_code, refused.value.kind) == (409, "overlap")
        window = {"from": MORNING[0].isoformat(), "until": MORNING[1].isoformat()}
        assert refused.value.members == {"conflict": window}
        # The transaction goes on.
        assert await taken.fetchval("SELECT count(*) FROM taken") == 1


async def test_an_unbounded_window_is_null_where_it_has_no_end(taken: Any) -> None:
    await taken.execute(INSERT, MORNING[0], None)
    with pytest.raises(Problem) as refused:
        async with overlaps.refused(taken, CONFLICTING, *NOON):
            await taken.execute(INSERT, *NOON)
    assert refused.value.members == {"conflict": {"from": MORNING[0].isoformat(), "until": None}}


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (asyncpg.ExclusionViolationError, 409, "urn:parkmesh:problem:overlap"),
        (asyncpg.UniqueViolationError, 409, "urn:parkmesh:problem:conflict"),
        (asyncpg.ForeignKeyViolationError, 409, "urn:parkmesh:problem:conflict"),
        (asyncpg.CheckViolationError, 409, "urn:parkmesh:problem:conflict"),
        (asyncpg.NumericValueOutOfRangeError, 422, "urn:parkmesh:problem:invalid"),
        (asyncpg.DeadlockDetectedError, 503, "about:blank"),
        (asyncpg.SerializationError, 503, "about:blank"),
        (asyncpg.TooManyConnectionsError, 503, "about:blank"),
        (TimeoutError, 503, "about:blank"),
    ],
)
async def test_errors_of_the_database_become_answers(error: type[Exception], status: int, kind: str) -> None:
    async def fail(request: Request) -> Response:
        raise error("duplicate key (plate)=(1234BCD)")

    app = Starlette(routes=[Route("/", fail)], exception_handlers=problems.handlers())
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://server") as client:
        answer = await client.get("/")
    assert (answer.status_code, answer.json()["type"]) == (status, kind)
    assert answer.headers["content-type"] == "application/problem+json"
    assert "1234BCD" not in answer.text
    assert ("retry-after" in answer.headers) == (status == 503)
