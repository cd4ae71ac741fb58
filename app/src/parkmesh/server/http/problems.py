"""Errors as problem details (RFC 9457), for both applications of the server."""

import json
import logging
from collections.abc import Callable, Coroutine, Mapping
from http import HTTPStatus
from typing import Any

import asyncpg
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from parkmesh.server.telemetry import logs

MEDIA_TYPE = "application/problem+json"
RETRY_AFTER_S = 2

_log = logging.getLogger(__name__)


class Problem(HTTPException):
    """An answer other than success. ``members`` are added to the problem details; ``kind`` names the type of problem.

    It is an ``HTTPException`` so that frameworks let it pass through while they read a body.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        kind: str | None = None,
        headers: Mapping[str, str] | None = None,
        **members: Any,
    ) -> None:
        super().__init__(status, detail, headers)
        self.kind = kind
        self.members = members


def response(
    status: int,
    detail: str,
    *,
    kind: str | None = None,
    headers: Mapping[str, str] | None = None,
    **members: Any,
) -> Response:
    """Return problem details as a response."""
    body = {
        "type": f"urn:parkmesh:problem:{kind}" if kind else "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        **members,
    }
    return Response(json.dumps(body), status, headers, MEDIA_TYPE)


def not_found() -> Problem:
    """Return the same answer for objects that don't exist and for objects that the client may not know of."""
    return Problem(404, "This doesn't exist, or you may not see it.")


def answer(request: Request, error: HTTPException) -> Response:
    """Return an error as problem details, for every client."""
    if isinstance(error, Problem):
        return response(error.status_code, error.detail, kind=error.kind, headers=error.headers, **error.members)
    return response(error.status_code, error.detail, headers=error.headers)


def _http(error: Exception) -> HTTPException:
    assert isinstance(error, HTTPException), "the handler of these is asked for nothing else"
    return error


def _unavailable(error: Exception) -> Problem:
    _log.warning("the database could not be reached", extra={"fields": {"cause": logs.describe(error)}})
    return Problem(
        503,
        "The service is not available at the moment; try again soon.",
        headers={"Retry-After": str(RETRY_AFTER_S)},
    )


def _contended(error: Exception) -> Problem:
    _log.warning("two changes got in each other's way", extra={"fields": {"cause": logs.describe(error)}})
    return Problem(
        503,
        "Somebody else is changing the same thing; try again.",
        headers={"Retry-After": str(RETRY_AFTER_S)},
    )


def _not_storable(error: Exception) -> Problem:
    _log.warning("a value could not be stored", extra={"fields": {"cause": type(error).__name__}})
    return Problem(422, "A value is outside of what can be stored.", kind="invalid")


def _conflict(error: Exception) -> Problem:
    # The last resort: where a constraint is expected to refuse, the act itself says better what was in the way.
    _log.warning("a constraint refused a change", extra={"fields": {"cause": logs.describe(error)}})
    overlap = isinstance(error, asyncpg.ExclusionViolationError)
    return Problem(409, "This contradicts existing data.", kind="overlap" if overlap else "conflict")


def _driver(error: Exception) -> Problem:
    # The driver refuses a value with an InterfaceError that is a ValueError too; the others are lost connections.
    return (_not_storable if isinstance(error, ValueError) else _unavailable)(error)


def _unexpected(error: Exception) -> Problem:
    return Problem(500, "Something went wrong on our side; it has been logged.")


_MEANING: dict[type[Exception], Callable[[Exception], HTTPException]] = {
    HTTPException: _http,
    # The database is away, starting, or out of connections.
    OSError: _unavailable,
    TimeoutError: _unavailable,
    asyncpg.InterfaceError: _driver,
    asyncpg.PostgresConnectionError: _unavailable,
    asyncpg.CannotConnectNowError: _unavailable,
    asyncpg.TooManyConnectionsError: _unavailable,
    asyncpg.AdminShutdownError: _unavailable,
    asyncpg.QueryCanceledError: _unavailable,
    asyncpg.InvalidAuthorizationSpecificationError: _unavailable,
    # Two at once got in each other's way; one of them goes first next time.
    asyncpg.DeadlockDetectedError: _contended,
    asyncpg.SerializationError: _contended,
    asyncpg.LockNotAvailableError: _contended,
    # Values that passed validation and that the database still refuses: the asker's fault, never a 500.
    asyncpg.DataError: _not_storable,
    asyncpg.IntegrityConstraintViolationError: _conflict,
    Exception: _unexpected,
}

Answer = Callable[[Request, HTTPException], Response]
Handlers = dict[int | type[Exception], Callable[[Request, Any], Coroutine[Any, Any, Response]]]


def handlers(by: Answer = answer) -> Handlers:
    """Return a framework's handlers of exceptions: what each means is decided here, how it is said by ``by``."""

    def handler(
        meaning: Callable[[Exception], HTTPException],
    ) -> Callable[[Request, Any], Coroutine[Any, Any, Response]]:
        async def handle(request: Request, error: Exception) -> Response:
            problem = meaning(error)
            logs.note(problem=getattr(problem, "kind", None) or problem.status_code)
            return by(request, problem)

        return handle

    return {error: handler(meaning) for error, meaning in _MEANING.items()}
