"""Changes that don't overwrite other people's changes: ETag on what is read, If-Match on what changes it.

A route that reads one object sets ``ETag`` (``tag``), one that changes it calls ``check`` inside the transaction, after
it read the object's present state ``FOR UPDATE``. In the decorator of a route ``responses=READ``, ``**changing(…)`` and
``**deleting(…)`` document the headers and answers.
"""

import hashlib
from typing import Annotated, Any

from fastapi import Depends, Header, Request, Response
from pydantic_core import to_json

from parkmesh.server.http.problems import Problem
from parkmesh.server.web.answers import answers

MAX_IF_MATCH = 1024

_ETAG_HEADER = {
    "ETag": {"description": "The version of this state, for If-Match.", "schema": {"type": "string"}},
}
READ: dict[int | str, dict[str, Any]] = {200: {"headers": _ETAG_HEADER}}
CREATED: dict[int | str, dict[str, Any]] = {201: {"headers": _ETAG_HEADER}}


def changing(*refusals: int) -> dict[str, Any]:
    """Return what a route's decorator needs to say of a change; ``refusals`` are the answers of its own."""
    return {"responses": {**READ, **answers(412, 428, *refusals)}, "dependencies": [_IF_MATCH]}


def deleting(*refusals: int) -> dict[str, Any]:
    """Return what a route's decorator needs to say of a deletion; ``refusals`` are the answers of its own."""
    return {"status_code": 204, "responses": answers(412, 428, *refusals), "dependencies": [_IF_MATCH]}


def etag(representation: object) -> str:
    """Return the strong entity tag of an object as the API shows it."""
    return f'"{hashlib.sha256(to_json(representation)).hexdigest()[:32]}"'


def tag(response: Response, representation: object) -> None:
    """Set ``ETag`` on the answer that carries ``representation``."""
    response.headers["ETag"] = etag(representation)


def check(request: Request, representation: object) -> None:
    """Let a change through whose If-Match names the object's present state, or is ``*``.

    Raises ``Problem`` 428 where the header is missing and 412 where the object is not in the state that the client saw.
    """
    given = request.headers.getlist("if-match")
    if not given:
        raise Problem(
            428,
            "Send If-Match with the ETag of the state that you saw, or * to overwrite any.",
            kind="precondition-required",
        )
    asked = {item.strip() for item in ",".join(given).split(",")}
    if "*" not in asked and etag(representation) not in asked:
        raise Problem(
            412,
            "It was changed since you read it. Read it again, and change it from there.",
            kind="precondition-failed",
        )


def _documented(
    if_match: Annotated[
        str | None,
        Header(
            alias="If-Match",
            max_length=MAX_IF_MATCH,
            description="`ETag` of the state that this changes, or `*`. 428 without it, 412 if it has changed since.",
        ),
    ] = None,
) -> None:
    """Put the header into the API's document; ``check`` looks at it when the present state is known."""


_IF_MATCH = Depends(_documented)
