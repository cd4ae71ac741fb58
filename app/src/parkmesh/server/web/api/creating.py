"""Routes that create objects: once for each ``Idempotency-Key``, and answered with 201, ETag and Location::

@in_community.post("/things", **creating.documented(Thing, 403, 409))
async def create_thing(request: Request, principal: SignedIn, member: Staff, body: NewThing) -> Response:
    async def make(connection: Connection) -> Made:
        made = await things.create(connection, principal, member.community_id, body.name)
        return Made(made, made.id)

    return await creating.in_community(request, principal, member, body, make)
"""

from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import Any

from fastapi import Request, Response
from pydantic import BaseModel

from parkmesh.server.db import database
from parkmesh.server.db.database import Connection
from parkmesh.server.identity.principals import Membership, Principal
from parkmesh.server.web import idempotency, preconditions
from parkmesh.server.web.answers import answers


@dataclass(frozen=True)
class Made:
    """The created object, as the answer shows it.

    ``name``: the end of the object's address, None if it has no address. ``version``: the state that If-Match is
    compared with, if that isn't all of ``shown``. ``changeable`` false: the object never changes, so it has no ETag.
    ``secret``: members that only the first answer shows and that are never stored.
    """

    shown: object
    name: int | str | None = None
    version: object | None = None
    changeable: bool = True
    secret: Collection[str] = ()


Make = Callable[[Connection], Awaitable[Made]]


def documented(shown: type, *refusals: int, changeable: bool = True) -> dict[str, Any]:
    """Return the arguments that the decorator of a creating route needs."""
    return {
        "status_code": 201,
        "response_model": shown,
        "responses": {**(preconditions.CREATED if changeable else {}), **answers(*refusals)},
        "dependencies": [idempotency.KEY],
    }


async def in_community(
    request: Request, principal: Principal, member: Membership, body: BaseModel, make: Make
) -> Response:
    """Create an object of the member's community in a new transaction."""
    async with database.in_community(request.app.state.pool, member.community_id) as connection:
        return await within(connection, request, principal, member.community_id, body, make)


async def within(
    connection: Connection, request: Request, principal: Principal, community_id: int, body: BaseModel, make: Make
) -> Response:
    """Create an object in the transaction of ``connection``; ``community_id`` as ``idempotency.once`` takes it.

    ``make`` isn't called if an earlier attempt with the same key was answered already.
    """
    once = await idempotency.once(request, connection, principal, community_id, body)
    if once.answer is not None:
        return once.answer
    made = await make(connection)
    headers = {}
    if made.name is not None:
        headers["Location"] = f"{request.url.path}/{made.name}"
    if made.changeable:
        headers["ETag"] = preconditions.etag(made.version or made.shown)
    return await once.keep(201, made.shown, headers, secret=made.secret)
