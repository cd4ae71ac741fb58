"""What happened in a community, for those who want to be told: mails and webhooks are made from it.

An event is written by the transaction of the act, so neither is without the other. ``routed_at`` is set by the
transaction that makes the messages to all who want to be told of it: each gets its messages once.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from parkmesh.server.db import database
from parkmesh.server.db.database import Connection, Pool
from parkmesh.server.outbox import messages

TYPES: Mapping[str, str] = {
    "booking.created": "A space was booked.",
    "booking.moved": "A booking got another time.",
    "booking.cancelled": "A booking was cancelled, or its space was taken back.",
    "booking.no_show": "A booking ended because nobody came.",
    "credential.added": "A plate was registered.",
    "credential.revoked": "A plate was revoked: gates no longer open for it.",
    "credential.restored": "A revoked plate is valid again.",
    "gate.open_asked": "Somebody told a gate to open.",
    "gate.open_failed": "A gate was told to open, and the barrier did not confirm that it opened.",
    "gate.opened": "A gate that was told to open has opened.",
    "gateway.offline": "A gateway has sent nothing for 15 minutes.",
    "gateway.online": "A gateway that was offline is heard again.",
    "invitation.created": "A person was invited.",
    "invitation.accepted": "A person accepted their invitation.",
    "passage.denied": "A gate did not open for a vehicle.",
    "passage.granted": "A gate opened for a vehicle.",
    "passage.unconfirmed": "A vehicle was let in, but the barrier did not confirm that it opened.",
    "presence.corrected": "Staff corrected whether a vehicle is inside.",
    "resident.erasure_asked": "A person asks for their data to be erased.",
    "sharing.changed": "A space was shared, or its times changed.",
    "sharing.taken_back": "A shared space was taken back.",
    "space_request.assigned": "A unit got a space of its own by the waiting list.",
    "space_request.lapsed": "A unit did not answer in time when a space of its own was offered.",
    "space_request.offered": "The waiting list offers a unit a space of its own.",
    "stay.overstayed": "A car is still there after its pass or booking ended.",
    "violation.closed": "A violation of the rules of parking is closed.",
    "violation.opened": "A violation of the rules of parking was noticed.",
    "visitor_pass.cancelled": "A visitor's pass was cancelled.",
    "visitor_pass.changed": "A visitor's pass was changed.",
    "visitor_pass.created": "A visitor was invited.",
    "visitor_pass.first_used": "A visitor arrived for the first time with their pass.",
    "visitor_pass.plate_set": "A visitor's pass got a plate.",
    "waiting.claimed": "A unit took the space that the waiting list offered it.",
    "waiting.lapsed": "Nobody took an offer of the waiting list in time.",
    "waiting.offered": "The waiting list offers a unit a space.",
}
"""All types of events, each with what it means."""


@dataclass(frozen=True, slots=True)
class Event:
    """An event. ``object`` names what it is about by its id, as the audit trail does (``booking/48``); ``data`` has ids
    and codes, and names no person and no plate."""

    id: int
    event_id: UUID
    type: str
    object: str
    data: dict[str, Any]
    at: datetime


async def record(
    connection: Connection, community_id: int, type_: str, what: str, data: Mapping[str, Any] | None = None
) -> None:
    """Write an event. The transaction is in the community. Raises ``KeyError`` for a type that isn't in ``TYPES``."""
    await record_all(connection, community_id, [(type_, what, data or {}, None)])


async def record_all(
    connection: Connection,
    community_id: int,
    found: Sequence[tuple[str, str, Mapping[str, Any], datetime | None]],
) -> None:
    """Write events: type, object, data, and the time at which it happened (None: now)."""
    if not found:
        return
    for type_, *_ in found:
        TYPES[type_]
    await connection.execute(
        """
        INSERT INTO event (community_id, type, object, data, at)
        SELECT $1, e.type, e.object, e.data::jsonb, coalesce(e.at, clock_timestamp())
        FROM unnest($2::text[], $3::text[], $4::text[], $5::timestamptz[]) AS e(type, object, data, at)
        """,
        community_id,
        [type_ for type_, _, _, _ in found],
        [what for _, what, _, _ in found],
        [json.dumps(dict(data)) for _, _, data, _ in found],
        [at for *_, at in found],
    )
    await connection.execute("SELECT pg_notify($1, $2)", messages.CHANNEL, str(community_id))


async def waiting(pool: Pool, communities: Collection[int] | None) -> list[int]:
    """Return which of the communities (None: of all) have events for which no messages were made yet, in no order."""
    async with database.as_server(pool) as connection:
        rows = await connection.fetch(
            """
            SELECT DISTINCT community_id FROM event
            WHERE routed_at IS NULL AND ($1::bigint[] IS NULL OR community_id = ANY($1))
            """,
            None if communities is None else list(communities),
        )
    return [row["community_id"] for row in rows]


async def some_wait(connection: Connection, community_id: int) -> bool:
    """Tell whether messages of some event of the community are still to be made."""
    wait: bool = await connection.fetchval(
        "SELECT EXISTS (SELECT FROM event WHERE community_id = $1 AND routed_at IS NULL)", community_id
    )
    return wait


async def take(connection: Connection, community_id: int, limit: int) -> list[Event]:
    """Return events to make messages of, the oldest first. No other transaction takes them while this one lasts."""
    rows = await connection.fetch(
        """
        SELECT id, event_id, type, object, data, at FROM event WHERE community_id = $1 AND routed_at IS NULL
        ORDER BY id LIMIT $2 FOR UPDATE SKIP LOCKED
        """,
        community_id,
        limit,
    )
    return [Event(**{**row, "data": json.loads(row["data"])}) for row in rows]


async def routed(connection: Connection, community_id: int, ids: Collection[int]) -> None:
    """Note that the messages of events were made."""
    await connection.execute(
        "UPDATE event SET routed_at = clock_timestamp() WHERE community_id = $1 AND id = ANY($2)",
        community_id,
        list(ids),
    )
