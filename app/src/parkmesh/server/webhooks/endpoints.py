"""Where events are sent: the addresses, their secrets, and which events they get.

An endpoint belongs to a community and gets its events, or to the operator's desk (``community_id`` None) and gets those
of all communities. Transactions are in the community, or for the desk in the scope ``provision`` (``desk`` to read);
``acting`` opens either. The database keeps the secrets as they are: they must be readable to sign with, and row level
security shows them to nobody but their owner and the servers' worker.
"""

import secrets
from collections.abc import AsyncGenerator, Collection
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Any, Literal

from msgspec import Struct

from parkmesh.domain import webhooks
from parkmesh.server import audit
from parkmesh.server.db import database, keyset
from parkmesh.server.db.database import OUTSIDE, Connection, Pool
from parkmesh.server.http.messages import Message
from parkmesh.server.http.problems import Problem
from parkmesh.server.outbox import events, messages
from parkmesh.server.settings import WebhookSettings

MOST = 20
"""Endpoints of a community, and of the desk."""
MAX_OVERLAP = timedelta(days=7)
OVERLAP = timedelta(hours=24)
"""How long the previous secret is valid beside a new one."""
PASSAGES = ("passage.denied", "passage.granted", "passage.unconfirmed")

_COLUMNS = """
id, url, types, include, enabled, stopped_why, failing_since, previous_until, made_by, created_at
"""


class Endpoint(Struct, frozen=True):
    """``types`` None: all events. ``stopped_why``: why the server switched it off. ``previous_until``: until when it is
    sent signatures with the previous secret too."""

    id: int
    url: str
    types: list[str] | None
    include: list[Literal["plate"]]
    enabled: bool
    stopped_why: Literal["failing", "gone"] | None
    failing_since: datetime | None
    previous_until: datetime | None
    made_by: str
    created_at: datetime


class Wish(Struct, frozen=True):
    """What people set of an endpoint."""

    url: str
    types: list[str] | None
    include: list[str]
    enabled: bool = True


def wanted(endpoint: Endpoint) -> Wish:
    """Return what people set of an endpoint."""
    return Wish(endpoint.url, endpoint.types, list(endpoint.include), endpoint.enabled)


@asynccontextmanager
async def reading(pool: Pool, community_id: int | None) -> AsyncGenerator[Connection]:
    """Open a read-only transaction in which the owner's endpoints and deliveries are seen."""
    opened = (
        database.at_desk(pool) if community_id is None else database.in_community(pool, community_id, read_only=True)
    )
    async with opened as connection:
        yield connection


@asynccontextmanager
async def acting(pool: Pool, community_id: int | None) -> AsyncGenerator[Connection]:
    """Open a transaction in which the owner's endpoints and deliveries can be changed."""
    if community_id is not None:
        async with database.in_community(pool, community_id) as connection:
            yield connection
    else:
        async with database.acquired(pool) as connection, database.provisioning(connection):
            yield connection


def part_of_trail(community_id: int | None) -> int:
    """Return the part of the audit trail that has the acts on the owner's endpoints."""
    return OUTSIDE if community_id is None else community_id


async def that_want_passages(pool: Pool) -> set[int | None]:
    """Return the communities of which some endpoint, on or off, gets events of passages; None is the desk."""
    async with database.acquired(pool) as connection, connection.transaction():
        await database.set_scope(connection, "webhooks")
        rows = await connection.fetch(
            "SELECT DISTINCT community_id FROM webhook_endpoint WHERE types IS NULL OR types && $1::text[]",
            list(PASSAGES),
        )
    return {row["community_id"] for row in rows}


async def listed(
    connection: Connection, community_id: int | None, *, limit: int, after: int, way: keyset.Way = keyset.ON
) -> list[Endpoint]:
    """Return endpoints with ids above ``after``, the oldest first."""
    rows = await connection.fetch(
        f"""
        SELECT {_COLUMNS} FROM webhook_endpoint
        WHERE community_id IS NOT DISTINCT FROM $1 AND id {way.above} $2 ORDER BY id {way.up} LIMIT $3
        """,  # noqa: S608 - columns of this module
        community_id,
        after,
        limit,
    )
    return [Endpoint(**row) for row in rows]


async def read(
    connection: Connection, community_id: int | None, endpoint_id: int, *, lock: bool = False
) -> Endpoint | None:
    """Return one endpoint, locked until the transaction's end if it is to be changed."""
    row = await connection.fetchrow(
        f"SELECT {_COLUMNS} FROM webhook_endpoint WHERE community_id IS NOT DISTINCT FROM $1 AND id = $2"  # noqa: S608
        + (" FOR NO KEY UPDATE" if lock else ""),
        community_id,
        endpoint_id,
    )
    return Endpoint(**row) if row else None


def _checked(wish: Wish, settings: WebhookSettings) -> Wish:
    """Return a wish with its types in order, each once; raise ``Problem`` 422 where it can't be."""
    try:
        webhooks.check_address(wish.url, settings.ports, settings.networks)
    except webhooks.UnusableAddressError:
        ports = ", ".join(str(port) for port in sorted(settings.ports))
        text = Message(
            "url: an https:// address of the public internet is needed, without user and #, port %(ports)s", ports=ports
        )
        raise Problem(422, text, kind="invalid") from None
    if wish.types is not None and (not wish.types or not set(wish.types) <= set(events.TYPES)):
        raise Problem(422, "types: unknown types of events, or none", kind="invalid")
    types = None if wish.types is None else sorted(set(wish.types))
    return Wish(wish.url, types, sorted(set(wish.include)), wish.enabled)


def _detail(wish: Wish) -> dict[str, Any]:
    """Return what the trail keeps; that plates leave the community is there to be seen."""
    return {"url": wish.url, "types": wish.types, "include": wish.include, "enabled": wish.enabled}


async def _hold(connection: Connection, community_id: int | None) -> None:
    """Have two endpoints that are made at once counted one after the other; refuse them to a community that is gone."""
    if community_id is None:
        await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended('webhooks of the desk', 0))")
    elif await connection.fetchval("SELECT offboarded_at FROM community WHERE id = $1 FOR NO KEY UPDATE", community_id):
        raise Problem(409, "This community was offboarded; it sends nothing.", kind="offboarded")


async def create(
    connection: Connection, principal: audit.Actor, community_id: int | None, wish: Wish, settings: WebhookSettings
) -> tuple[Endpoint, str]:
    """Add an endpoint; return it with its secret, as the receiver enters it.

    Raises ``Problem`` 422 for a wish that can't be, 409 where the owner has ``MOST`` or was offboarded.
    """
    wish = _checked(wish, settings)
    await _hold(connection, community_id)
    present = await connection.fetchval(
        "SELECT count(*) FROM webhook_endpoint WHERE community_id IS NOT DISTINCT FROM $1", community_id
    )
    if present >= MOST:
        raise Problem(409, "There are as many webhooks as there may be; delete one first.", kind="too-many")
    secret = secrets.token_bytes(webhooks.SECRET_BYTES)
    row = await connection.fetchrow(
        f"""
        INSERT INTO webhook_endpoint (community_id, url, types, include, enabled, secret, made_by)
        VALUES ($1, $2, $3, $4, $5, $6, $7) RETURNING {_COLUMNS}
        """,  # noqa: S608
        community_id,
        wish.url,
        wish.types,
        wish.include,
        wish.enabled,
        secret,
        principal.actor,
    )
    endpoint = Endpoint(**row)
    await audit.record(
        connection, principal, part_of_trail(community_id), "webhook.create", f"webhook/{endpoint.id}", _detail(wish)
    )
    return endpoint, webhooks.shown(secret)


async def change(
    connection: Connection,
    principal: audit.Actor,
    community_id: int | None,
    endpoint: Endpoint,
    wish: Wish,
    settings: WebhookSettings,
) -> Endpoint:
    """Change an endpoint that ``read`` locked. Switched on again, it is as one that never failed. Raises ``Problem``
    422."""
    wish = _checked(wish, settings)
    row = await connection.fetchrow(
        f"""
        UPDATE webhook_endpoint SET url = $3, types = $4, include = $5, enabled = $6,
               stopped_why = CASE WHEN $6 THEN NULL ELSE stopped_why END,
               failing_since = CASE WHEN $6 AND NOT enabled OR url <> $3 THEN NULL ELSE failing_since END
        WHERE community_id IS NOT DISTINCT FROM $1 AND id = $2 RETURNING {_COLUMNS}
        """,  # noqa: S608
        community_id,
        endpoint.id,
        wish.url,
        wish.types,
        wish.include,
        wish.enabled,
    )
    await audit.record(
        connection, principal, part_of_trail(community_id), "webhook.change", f"webhook/{endpoint.id}", _detail(wish)
    )
    await messages.wake(connection)
    return Endpoint(**row)


async def delete(connection: Connection, principal: audit.Actor, community_id: int | None, endpoint: Endpoint) -> None:
    """Delete an endpoint with its deliveries."""
    await connection.execute(
        "DELETE FROM webhook_endpoint WHERE community_id IS NOT DISTINCT FROM $1 AND id = $2", community_id, endpoint.id
    )
    detail = {"url": endpoint.url}
    await audit.record(
        connection, principal, part_of_trail(community_id), "webhook.delete", f"webhook/{endpoint.id}", detail
    )


async def rotate(
    connection: Connection,
    principal: audit.Actor,
    community_id: int | None,
    endpoint: Endpoint,
    overlap: timedelta = OVERLAP,
) -> tuple[Endpoint, str]:
    """Give an endpoint a new secret and return both. Requests are signed with the previous one too for ``overlap``."""
    secret = secrets.token_bytes(webhooks.SECRET_BYTES)
    row = await connection.fetchrow(
        f"""
        UPDATE webhook_endpoint SET secret = $3,
               previous_secret = CASE WHEN $4::interval > interval '0' THEN secret END,
               previous_until = CASE WHEN $4::interval > interval '0' THEN now() + $4::interval END
        WHERE community_id IS NOT DISTINCT FROM $1 AND id = $2 RETURNING {_COLUMNS}
        """,  # noqa: S608
        community_id,
        endpoint.id,
        secret,
        overlap,
    )
    detail = {"overlap_s": int(overlap.total_seconds())}
    await audit.record(
        connection, principal, part_of_trail(community_id), "webhook.rotate-secret", f"webhook/{endpoint.id}", detail
    )
    return Endpoint(**row), webhooks.shown(secret)


async def all_read(connection: Connection, ids: Collection[int]) -> dict[int, tuple[Endpoint, list[bytes]]]:
    """Return endpoints of any owner by id, each with its valid secrets, the newest first. The scope is ``webhooks``."""
    rows = await connection.fetch(
        f"""
        SELECT {_COLUMNS}, secret, CASE WHEN previous_until > clock_timestamp() THEN previous_secret END AS previous
        FROM webhook_endpoint WHERE id = ANY($1)
        """,  # noqa: S608
        list(ids),
    )
    return {
        row["id"]: (
            Endpoint(**{name: row[name] for name in Endpoint.__struct_fields__}),
            [secret for secret in (row["secret"], row["previous"]) if secret],
        )
        for row in rows
    }
