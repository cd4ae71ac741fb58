"""Creates that may be sent again: the same ``Idempotency-Key`` has its effect once and gets the same answer.

The answer is stored in the transaction of the effect, so that neither is without the other. Routes use it through
``creating``, the forms of pages through ``pages.idempotency``. A ``Problem`` that is raised in between rolls everything
back: an attempt that failed may be made again with its key.
"""

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated

from fastapi import Depends, Header, Request, Response
from pydantic import BaseModel
from pydantic_core import to_json, to_jsonable_python

from parkmesh.server.db import database
from parkmesh.server.http.messages import Message
from parkmesh.server.http.problems import Problem
from parkmesh.server.identity.principals import Principal

KEPT = timedelta(hours=24)
MAX_KEY = 255
HEADER = "Idempotency-Key"


@dataclass(frozen=True)
class Once:
    """One attempt at a create. ``answer`` is what an earlier attempt with the same key got; None: do it now."""

    answer: Response | None
    _connection: database.Connection
    _place: tuple[int, str, bytes] | None
    _request: bytes

    async def keep(
        self,
        status: int,
        representation: object,
        headers: Mapping[str, str] | None = None,
        *,
        secret: Collection[str] = (),
    ) -> Response:
        """Store the answer of an effect that has taken place in this transaction, and return it.

        ``secret`` names members of the representation that are shown once and never stored, such as a new token: they
        are null where the answer is given again.
        """
        headers = dict(headers or {})
        if self._place is not None:
            body = to_jsonable_python(representation)
            await self._connection.execute(
                """
                INSERT INTO idempotency_key (community_id, actor, key_sha256, request_sha256, status, headers, body)
                VALUES ($1, $2, $3, $4, $5, $6, $7)
                """,
                *self._place,
                self._request,
                status,
                json.dumps(headers),
                json.dumps({name: None if name in secret else value for name, value in body.items()}),
            )
        return _json(to_json(representation).decode(), status, headers)


async def once(
    request: Request,
    connection: database.Connection,
    principal: Principal,
    community_id: int,
    body: BaseModel | None,
) -> Once:
    """Begin a create in the transaction of ``connection``; the caller calls ``keep`` at the create's end.

    ``community_id`` is ``database.OUTSIDE`` for what belongs to no community. A second attempt at the same time waits
    for the first one's end. Raises ``Problem`` 422 where the key was used for another request or has an unusable form.
    Without the header nothing is stored and ``answer`` is None.
    """
    key = request.headers.get(HEADER)
    digest = _digest(request, body)
    if key is None:
        return Once(None, connection, None, digest)
    if not 1 <= len(key) <= MAX_KEY or not key.isascii() or not key.isprintable():
        text = Message("%(header)s: 1 to %(most)s printable ASCII characters", header=HEADER, most=MAX_KEY)
        raise Problem(422, text, kind="invalid")
    place = (community_id, principal.actor, hashlib.sha256(key.encode()).digest())
    lock = hashlib.sha256(f"{community_id}:{principal.actor}:{key}".encode()).digest()
    await connection.execute("SELECT pg_advisory_xact_lock($1)", int.from_bytes(lock[:8], "big", signed=True))
    await connection.execute(
        "DELETE FROM idempotency_key WHERE community_id = $1 AND created_at < now() - $2::interval", community_id, KEPT
    )
    stored = await connection.fetchrow(
        """
        SELECT request_sha256, status, headers, body FROM idempotency_key
        WHERE community_id = $1 AND actor = $2 AND key_sha256 = $3
        """,
        *place,
    )
    if stored is None:
        return Once(None, connection, place, digest)
    if stored["request_sha256"] != digest:
        text = Message("%(header)s: this key was used for another request", header=HEADER)
        raise Problem(422, text, kind="idempotency-key-reused")
    answer = _json(stored["body"], stored["status"], {**json.loads(stored["headers"]), "Idempotency-Replayed": "true"})
    return Once(answer, connection, place, digest)


def _digest(request: Request, body: BaseModel | None) -> bytes:
    """Return what the key is bound to besides its owner: the call with its content."""
    content = "" if body is None else json.dumps(body.model_dump(mode="json"), sort_keys=True)
    return hashlib.sha256(f"{request.method} {request.url.path}?{request.url.query}\n{content}".encode()).digest()


def _json(body: str, status: int, headers: Mapping[str, str]) -> Response:
    return Response(body, status, headers, "application/json")


def _documented(
    idempotency_key: Annotated[
        str | None,
        Header(
            alias=HEADER,
            min_length=1,
            max_length=MAX_KEY,
            description="Any text of your own. The same text sent again within 24 hours creates nothing new and gets "
            "the first answer again; with another body it is refused.",
        ),
    ] = None,
) -> None:
    """Put the header into the API's document; ``once`` looks at it in the transaction."""


KEY = Depends(_documented)
