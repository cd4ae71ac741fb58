"""What every call of the edge API begins with: the gateway's token, and the body in its form."""

import hashlib
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec
from starlette.requests import Request

from parkmesh.server.http.problems import Problem

T = TypeVar("T")


def unauthorised() -> Problem:
    """Return the answer to a missing or unknown token."""
    return Problem(
        401,
        "Authorization: Bearer with this gateway's token is required.",
        headers={"WWW-Authenticate": 'Bearer realm="parkmesh edge"'},
    )


def token_of(request: Request) -> bytes:
    """Return the SHA-256 of the bearer token; raise ``Problem`` 401 where there is none."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not 16 <= len(token) <= 512:
        raise unauthorised()
    return hashlib.sha256(token.encode("latin-1")).digest()


async def body_of(request: Request, decode: Callable[[bytes], T]) -> T:
    """Return the decoded body; raise ``Problem`` 400 for what is not JSON, 422 for JSON of another form."""
    body = await request.body()
    try:
        return decode(body)
    except msgspec.ValidationError as error:
        raise Problem(422, str(error), kind="invalid") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Problem(400, f"The body is not JSON: {error}", kind="malformed") from None


def identified(row: Any) -> tuple[int, int]:
    """Return a gateway's community and its id from what ``edge_identify`` found; raise ``Problem`` 401 where no gateway
    held the token."""
    if row["gateway_id"] is None:
        raise unauthorised()
    return row["community_id"], row["gateway_id"]
