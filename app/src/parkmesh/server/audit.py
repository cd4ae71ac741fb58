"""The audit trail: who did what to which object. Written in the transaction of the act, so that neither is without the
other; chained by hashes when it commits (``migrations/versions/0004_audit.py``, ``audit_chain``)."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from msgspec import Struct

from parkmesh.server.db import database, keyset
from parkmesh.server.db.database import OUTSIDE, Connection, Pool
from parkmesh.server.outbox import events

EVENTS: Mapping[str, str] = {
    "booking.cancel": "booking.cancelled",
    "booking.change": "booking.moved",
    "booking.create": "booking.created",
    "booking.no-show": "booking.no_show",
    "credential.create": "credential.added",
    "credential.restore": "credential.restored",
    "credential.revoke": "credential.revoked",
    "gate.open": "gate.open_asked",
    "invitation.accept": "invitation.accepted",
    "invitation.create": "invitation.created",
    "presence.correct": "presence.corrected",
    "resident.ask-erasure": "resident.erasure_asked",
    "sharing.block": "sharing.changed",
    "sharing.change": "sharing.changed",
    "sharing.pattern": "sharing.changed",
    "sharing.stop": "sharing.changed",
    "sharing.take-back": "sharing.taken_back",
    "sharing.unblock": "sharing.changed",
    "sharing.window": "sharing.changed",
    "space-request.assign": "space_request.assigned",
    "space-request.lapse": "space_request.lapsed",
    "space-request.offer": "space_request.offered",
    "visitor-pass.cancel": "visitor_pass.cancelled",
    "visitor-pass.change": "visitor_pass.changed",
    "visitor-pass.create": "visitor_pass.created",
    "visitor-pass.plate": "visitor_pass.plate_set",
    "waiting.claim": "waiting.claimed",
    "waiting.lapse": "waiting.lapsed",
    "waiting.offer": "waiting.offered",
}
"""The acts that are events too, by their action."""


class Actor(Protocol):
    """The actor of an entry: a ``Principal`` or a part of the system."""

    @property
    def actor(self) -> str: ...

    @property
    def user_id(self) -> int: ...


@dataclass(frozen=True)
class System:
    """A part of the system that acts by itself, such as ``retention``."""

    part: str
    user_id: int = 0

    @property
    def actor(self) -> str:
        return f"system:{self.part}"


@dataclass(frozen=True)
class User:
    """A user who is not signed in yet, or not any more."""

    user_id: int

    @property
    def actor(self) -> str:
        return f"user:{self.user_id}"

    @property
    def name(self) -> str:
        """Return the user's name in the trail where the user is the object."""
        return f"user/{self.user_id}"


async def record(
    connection: Connection,
    principal: Actor,
    community_id: int,
    action: str,
    what: str,
    detail: Mapping[str, Any] | None = None,
) -> None:
    """Write one entry: ``action`` is ``<object>.<verb>`` (``credential.revoke``), ``what`` names the object by its id
    (``credential/12``): entries outlive people's data, so action and object name no person.

    ``detail`` holds no secret and no more of a person than the act needs; it can be erased (``redact``).
    An act of ``EVENTS`` becomes an event too, for those who want to be told.
    ``community_id`` is ``database.OUTSIDE`` for acts outside of communities, in the scope ``identity``, ``provision``.
    """
    await connection.execute(
        """
        INSERT INTO audit_entry (community_id, user_id, actor, action, object, detail) VALUES ($1, $2, $3, $4, $5, $6)
        """,
        community_id,
        principal.user_id or None,
        principal.actor,
        action,
        what,
        json.dumps(detail or {}),
    )
    if action in EVENTS and community_id != OUTSIDE:
        await events.record(connection, community_id, EVENTS[action], what, {"by": principal.actor})


async def redact(connection: Connection, principal: Actor, community_id: int, entries: Iterable[int]) -> list[int]:
    """Erase the detail of entries and record that it was done; return the ids of those that had any.

    The chain keeps the salted hash of what was there, so it still holds.
    """
    rows = await connection.fetch("SELECT audit_redact($1, $2) AS id", community_id, list(entries))
    erased = [row["id"] for row in rows]
    for entry in erased:
        await record(connection, principal, community_id, "audit.redact", f"audit/{entry}")
    return erased


class Entry(Struct, frozen=True):
    """One entry. ``seq`` is its place in the chain and ``hash`` the chain's hash there; ``detail`` None: erased."""

    id: int
    seq: int
    at: datetime
    actor: str
    user_id: int | None
    action: str
    object: str
    detail: dict[str, Any] | None
    hash: bytes


class Filter(Struct, frozen=True):
    """Which entries to show; None: any. ``action`` is a whole one or its beginning with a full stop (``gate.``)."""

    action: str | None = None
    actor: str | None = None
    object: str | None = None
    since: datetime | None = None
    until: datetime | None = None


EVERYTHING = Filter()


async def entries(
    connection: Connection,
    community_id: int,
    *,
    limit: int,
    before: int | None = None,
    way: keyset.Way = keyset.ON,
    only: Filter = EVERYTHING,
) -> list[Entry]:
    """Return entries, latest first; ``before`` is the id of the last one of the page before."""
    rows = await connection.fetch(
        f"""
        SELECT e.id, l.seq, e.at, e.actor, e.user_id, e.action, e.object, e.detail, l.hash
        FROM audit_entry e JOIN audit_link l ON l.community_id = e.community_id AND l.entry_id = e.id
        WHERE e.community_id = $1 AND ($2::bigint IS NULL OR e.id {way.below} $2)
          AND ($3::text IS NULL OR e.action = $3 OR right($3, 1) = '.' AND starts_with(e.action, $3))
          AND ($4::text IS NULL OR e.actor = $4) AND ($5::text IS NULL OR e.object = $5)
          AND ($6::timestamptz IS NULL OR e.at >= $6) AND ($7::timestamptz IS NULL OR e.at < $7)
        ORDER BY e.id {way.down} LIMIT $8
        """,  # noqa: S608 - words of a way
        community_id,
        before,
        only.action,
        only.actor,
        only.object,
        only.since,
        only.until,
        limit,
    )
    return [Entry(**{**row, "detail": row["detail"] and json.loads(row["detail"])}) for row in rows]


async def names(pool: Pool, community_id: int, found: Iterable[Entry]) -> dict[str, str]:
    """Return what the users and API keys that acted are called now, by ``actor``."""
    return await called_now(pool, community_id, {entry.actor for entry in found})


async def called_now(pool: Pool, community_id: int, actors: Iterable[str]) -> dict[str, str]:
    """Return what users and API keys are called now, by ``actor`` (``user:12``); those that are gone are left out."""
    named = list(actors)
    users = {int(actor.removeprefix("user:")) for actor in named if actor.startswith("user:")}
    keys = [int(actor.removeprefix("api-key:")) for actor in named if actor.startswith("api-key:")]
    called: dict[str, str] = {}
    if users:
        async with database.in_identity(pool) as connection:
            rows = await connection.fetch("SELECT id, name FROM app_user WHERE id = ANY($1)", list(users))
        called |= {f"user:{row['id']}": row["name"] for row in rows}
    if keys:
        async with database.in_community(pool, community_id, read_only=True) as connection:
            rows = await connection.fetch(
                "SELECT id, name FROM api_key WHERE community_id = $1 AND id = ANY($2)", community_id, keys
            )
        called |= {f"api-key:{row['id']}": row["name"] for row in rows}
    return called
