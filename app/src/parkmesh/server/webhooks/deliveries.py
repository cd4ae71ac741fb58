"""What endpoints are sent: one row for each event and endpoint, from the event to the last attempt.

A worker takes what is due for ``LEASE`` and sends it outside of any transaction. Where the worker dies, another one
sends it again: at least once, under the same ``event_id``. Events name ids; what is sent is written when it is sent, so
that a plate that was erased meanwhile is sent to nobody.

``community_id`` is the endpoint's owner, None for the operator's desk, as in ``endpoints``.
"""

import json
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID, uuid4

from msgspec import Struct

from parkmesh.domain import webhooks
from parkmesh.server import audit
from parkmesh.server.db import database, keyset
from parkmesh.server.db.database import Connection, Pool
from parkmesh.server.http.problems import Problem
from parkmesh.server.outbox import messages
from parkmesh.server.outbox.events import Event
from parkmesh.server.outbox.messages import LEASE, MAX_ERROR
from parkmesh.server.webhooks import endpoints, stopping
from parkmesh.server.webhooks.endpoints import Endpoint
from parkmesh.server.webhooks.transport import Answered

TEST = "webhook.test"
"""The type of an event that people send to try an endpoint."""
MAX_REPLAY = 10_000

State = Literal["waiting", "delivered", "dead"]
_STATES: dict[State, str] = {
    "waiting": "delivered_at IS NULL AND dead_at IS NULL",
    "delivered": "delivered_at IS NOT NULL",
    "dead": "dead_at IS NOT NULL",
}
_COLUMNS = "id, event_id, type, at, due_at, attempts, last_at, last_status, last_error, delivered_at, dead_at"


class Delivery(Struct, frozen=True):
    """One event for one endpoint. ``event_id`` is what the receiver knows it by (``webhook-id``), ``at`` when it
    happened; ``due_at`` is the next attempt where it waits."""

    id: int
    event_id: UUID
    type: str
    at: datetime
    due_at: datetime
    attempts: int
    last_at: datetime | None
    last_status: int | None
    last_error: str | None
    delivered_at: datetime | None
    dead_at: datetime | None

    @property
    def state(self) -> State:
        if self.delivered_at is not None:
            return "delivered"
        return "waiting" if self.dead_at is None else "dead"


class Taken(Struct, frozen=True):
    """A delivery that a worker took. ``community_id`` is the community that the event is of (None: a test of the
    desk), ``owner`` that of the endpoint (None: the desk). ``attempts`` counts this one too."""

    owner: int | None
    community_id: int | None
    id: int
    endpoint_id: int
    event_id: UUID
    event: int | None
    type: str
    at: datetime
    attempts: int


class Request(Struct, frozen=True):
    """What is to be sent, where, and the secrets to sign it with."""

    taken: Taken
    url: str
    body: bytes
    secrets: list[bytes]


async def enqueue(connection: Connection, community_id: int, found: Sequence[Event]) -> None:
    """Have events sent to the endpoints of their community and of the desk that want them."""
    if not found:
        return
    async with database.in_scope(connection, "webhooks"):
        written: str = await connection.execute(
            """
            INSERT INTO webhook_delivery (community_id, about, endpoint_id, event_id, event, type, at)
            SELECT w.community_id, CASE WHEN w.community_id IS NULL THEN $1::bigint END, w.id, e.event_id, e.id,
                   e.type, e.at
            FROM webhook_endpoint w
            CROSS JOIN unnest($2::uuid[], $3::bigint[], $4::text[], $5::timestamptz[]) AS e(event_id, id, type, at)
            WHERE (w.community_id = $1 OR w.community_id IS NULL) AND w.enabled
              AND (w.types IS NULL OR e.type = ANY(w.types))
            ON CONFLICT DO NOTHING
            """,
            community_id,
            [event.event_id for event in found],
            [event.id for event in found],
            [event.type for event in found],
            [event.at for event in found],
        )
    if not written.endswith(" 0"):
        await messages.wake(connection)


async def take(pool: Pool, limit: int, each: int, but: Collection[int] = ()) -> list[Taken]:
    """Take up to ``limit`` deliveries that are due, up to ``each`` of an endpoint: one that is slow holds up no other.

    No other worker takes them for ``LEASE``. ``but`` are endpoints to leave alone.
    """
    async with database.acquired(pool) as connection, connection.transaction():
        await database.set_scope(connection, "webhooks")
        rows = await connection.fetch(
            """
            UPDATE webhook_delivery d SET attempts = d.attempts + 1, due_at = clock_timestamp() + $3::interval,
                                          leased_until = clock_timestamp() + $3::interval
            FROM (
                SELECT w.id AS endpoint_id, due.id FROM webhook_endpoint w CROSS JOIN LATERAL (
                    SELECT x.id FROM webhook_delivery x
                    WHERE x.endpoint_id = w.id AND x.due_at <= clock_timestamp()
                      AND x.delivered_at IS NULL AND x.dead_at IS NULL
                    ORDER BY x.due_at LIMIT $2 FOR UPDATE SKIP LOCKED) due
                WHERE w.enabled AND w.id <> ALL($4::bigint[])
                LIMIT $1) due
            WHERE d.endpoint_id = due.endpoint_id AND d.id = due.id
            RETURNING d.community_id AS owner, coalesce(d.about, d.community_id) AS community_id, d.id,
                      d.endpoint_id, d.event_id, d.event, d.type, d.at, d.attempts
            """,
            limit,
            each,
            LEASE,
            list(but),
        )
    return sorted((Taken(**row) for row in rows), key=lambda taken: (taken.at, taken.id))


async def next_due_s(pool: Pool) -> float | None:
    """Return the seconds until the next delivery is due, None where none waits."""
    async with database.acquired(pool) as connection, connection.transaction(readonly=True):
        await database.set_scope(connection, "webhooks")
        found: float | None = await connection.fetchval(
            """
            SELECT extract(epoch FROM min(due.due_at) - clock_timestamp())::float8
            FROM webhook_endpoint w CROSS JOIN LATERAL (
                SELECT x.due_at FROM webhook_delivery x
                WHERE x.endpoint_id = w.id AND x.delivered_at IS NULL AND x.dead_at IS NULL
                ORDER BY x.due_at LIMIT 1) due
            WHERE w.enabled
            """
        )
    return found


_PLATE = """
coalesce(
    (SELECT p.plate FROM passage p WHERE p.community_id = e.community_id AND p.received_at = e.at
       AND p.id = CASE WHEN e.type LIKE 'passage.%' THEN (e.data ->> 'passage')::bigint END),
    (SELECT c.plate FROM credential c WHERE c.community_id = e.community_id
       AND e.object ~ '^credential/[0-9]{1,18}$' AND c.id = substr(e.object, 12)::bigint),
    (SELECT v.plate FROM visitor_pass v WHERE v.community_id = e.community_id
       AND e.object ~ '^visitor-pass/[0-9]{1,18}$' AND v.id = substr(e.object, 14)::bigint))
"""


async def requests(
    pool: Pool, community_id: int | None, taken: Sequence[Taken]
) -> tuple[list[Request], list[tuple[Taken, str]]]:
    """Return what is to be sent of the events of one community (None: tests of the desk), and the deliveries that can't
    be sent with why."""
    async with endpoints.reading(pool, community_id) as connection:
        await database.set_scope(connection, "webhooks")
        place = await connection.fetchrow("SELECT name, offboarded_at FROM community WHERE id = $1", community_id)
        known = await endpoints.all_read(connection, {item.endpoint_id for item in taken})
        rows = await connection.fetch(
            f"""
            SELECT e.id, e.object, e.data,
                   CASE WHEN e.id = ANY($3) THEN {_PLATE} END AS plate
            FROM event e WHERE e.community_id = $1 AND e.id = ANY($2)
            """,  # noqa: S608 - a constant
            community_id,
            [item.event for item in taken if item.event is not None],
            [item.event for item in taken if item.event is not None and _tells_plate(known, item)],
        )
    events = {row["id"]: row for row in rows}
    made: list[Request] = []
    impossible: list[tuple[Taken, str]] = []
    for item in taken:
        if community_id is not None and (place is None or place["offboarded_at"] is not None):
            impossible.append((item, "the community was offboarded"))
        elif item.endpoint_id not in known or (item.event is not None and item.event not in events):
            impossible.append((item, "the event is not kept any more"))
        else:
            try:
                made.append(_request(item, place and place["name"], *known[item.endpoint_id], events.get(item.event)))
            except ValueError as error:
                impossible.append((item, str(error)))
    return made, impossible


def _tells_plate(known: dict[int, tuple[Endpoint, list[bytes]]], item: Taken) -> bool:
    return item.endpoint_id in known and "plate" in known[item.endpoint_id][0].include


def _request(item: Taken, community: str | None, endpoint: Endpoint, secrets: list[bytes], event: Any) -> Request:
    what, data, plate = (
        ("", {}, None) if event is None else (event["object"], json.loads(event["data"]), event["plate"])
    )
    if "plate" not in endpoint.include:
        plate = None
    return Request(item, endpoint.url, webhooks.body(item.type, item.at, community, what, data, plate), secrets)


async def gave_up(pool: Pool, taken: Taken, why: str) -> None:
    """Note that a delivery can't be sent, ever."""
    async with endpoints.acting(pool, taken.owner) as connection:
        await connection.execute(
            """
            UPDATE webhook_delivery SET dead_at = clock_timestamp(), last_at = clock_timestamp(), last_error = $3,
                                        leased_until = NULL
            WHERE endpoint_id = $1 AND id = $2
            """,
            taken.endpoint_id,
            taken.id,
            why[:MAX_ERROR],
        )


async def answered(pool: Pool, taken: Taken, answer: Answered, now: datetime, jitter: float) -> None:
    """Note what came of an attempt; where it failed, when it is tried again. An endpoint that is gone, or that has
    taken nothing for ``STOPPED_AFTER``, gets nothing more, and its maker a mail."""
    meaning = webhooks.Answer.FAILED if answer.status is None else webhooks.meaning(answer.status)
    asked = None if answer.status is None else webhooks.asked_wait(answer.status, answer.retry_after, now)
    wait: timedelta | None = None
    if meaning is webhooks.Answer.FAILED:
        wait = webhooks.next_wait(taken.attempts, asked, jitter)
    async with endpoints.acting(pool, taken.owner) as connection:
        # The endpoint first, as whoever deletes it does.
        endpoint = await endpoints.read(connection, taken.owner, taken.endpoint_id, lock=True)
        if endpoint is None:
            return
        await connection.execute(
            """
            UPDATE webhook_delivery
            SET last_at = clock_timestamp(), last_status = $3, last_error = $4,
                delivered_at = CASE WHEN $5 THEN clock_timestamp() END,
                dead_at = CASE WHEN NOT $5 AND $6::interval IS NULL THEN clock_timestamp() END,
                due_at = clock_timestamp() + coalesce($6::interval, interval '0'), leased_until = NULL
            WHERE endpoint_id = $1 AND id = $2
            """,
            taken.endpoint_id,
            taken.id,
            answer.status,
            answer.error and answer.error[:MAX_ERROR],
            meaning is webhooks.Answer.TAKEN,
            wait,
        )
        if meaning is not webhooks.Answer.TAKEN:
            await stopping.failed(connection, taken.owner, endpoint, gone=meaning is webhooks.Answer.GONE)
        elif endpoint.failing_since is not None:
            await connection.execute("UPDATE webhook_endpoint SET failing_since = NULL WHERE id = $1", endpoint.id)


async def listed(
    connection: Connection,
    community_id: int | None,
    endpoint_id: int,
    *,
    limit: int,
    before: int | None = None,
    way: keyset.Way = keyset.ON,
    state: State | None = None,
) -> list[Delivery]:
    """Return an endpoint's deliveries, the latest first; ``before`` is the id of the last one of the page before."""
    rows = await connection.fetch(
        f"""
        SELECT {_COLUMNS} FROM webhook_delivery
        WHERE community_id IS NOT DISTINCT FROM $1 AND endpoint_id = $2 AND ($3::bigint IS NULL OR id {way.below} $3)
          AND {_STATES[state] if state else "true"}
        ORDER BY id {way.down} LIMIT $4
        """,  # noqa: S608 - constants
        community_id,
        endpoint_id,
        before,
        limit,
    )
    return [Delivery(**row) for row in rows]


async def test(
    connection: Connection, principal: audit.Actor, community_id: int | None, endpoint: Endpoint
) -> Delivery:
    """Have an event sent that tells of nothing, to try an endpoint. Raises ``Problem`` 409 where it is off."""
    _check_on(endpoint)
    row = await connection.fetchrow(
        f"""
        INSERT INTO webhook_delivery (community_id, endpoint_id, event_id, type, at)
        VALUES ($1, $2, $3, $4, clock_timestamp()) RETURNING {_COLUMNS}
        """,  # noqa: S608
        community_id,
        endpoint.id,
        uuid4(),
        TEST,
    )
    await audit.record(
        connection, principal, endpoints.part_of_trail(community_id), "webhook.test", f"webhook/{endpoint.id}"
    )
    await messages.wake(connection)
    return Delivery(**row)


async def redeliver(
    connection: Connection, principal: audit.Actor, community_id: int | None, endpoint: Endpoint, delivery_id: int
) -> Delivery | None:
    """Have a delivery sent once more, as if for the first time; one that waits is sent now. None: there is none.

    Raises ``Problem`` 409 where the endpoint is off.
    """
    _check_on(endpoint)
    row = await connection.fetchrow(
        f"""
        UPDATE webhook_delivery
        SET attempts = CASE WHEN delivered_at IS NULL AND dead_at IS NULL THEN attempts ELSE 0 END,
            -- Where a worker has it now, it isn't sent twice at once.
            due_at = CASE WHEN leased_until > clock_timestamp() THEN due_at ELSE clock_timestamp() END,
            delivered_at = NULL, dead_at = NULL
        WHERE community_id IS NOT DISTINCT FROM $1 AND endpoint_id = $2 AND id = $3 RETURNING {_COLUMNS}
        """,  # noqa: S608
        community_id,
        endpoint.id,
        delivery_id,
    )
    if row is None:
        return None
    detail = {"delivery": delivery_id}
    await audit.record(
        connection,
        principal,
        endpoints.part_of_trail(community_id),
        "webhook.redeliver",
        f"webhook/{endpoint.id}",
        detail,
    )
    await messages.wake(connection)
    return Delivery(**row)


async def replay(
    connection: Connection,
    principal: audit.Actor,
    community_id: int | None,
    endpoint: Endpoint,
    since: datetime,
    until: datetime,
) -> int:
    """Have all events of a time sent (again) that the endpoint wants; return how many. What waits is left as it is.

    Raises ``Problem`` 409 where the endpoint is off, 422 where the time ends before it begins or has more than
    ``MAX_REPLAY`` events.
    """
    _check_on(endpoint)
    if until <= since:
        raise Problem(422, "until: not after from", kind="invalid")
    rows = await connection.fetch(
        """
        SELECT found.* FROM community c CROSS JOIN LATERAL (
            SELECT e.community_id, e.id, e.event_id, e.type, e.at FROM event e
            WHERE e.community_id = c.id AND e.at >= $2 AND e.at < $3 AND ($4::text[] IS NULL OR e.type = ANY($4))
            ORDER BY e.at, e.id LIMIT $5) found
        WHERE CASE WHEN $1::bigint IS NULL THEN c.offboarded_at IS NULL ELSE c.id = $1 END
        ORDER BY found.at, found.id LIMIT $5
        """,
        community_id,
        since,
        until,
        endpoint.types,
        MAX_REPLAY + 1,
    )
    if len(rows) > MAX_REPLAY:
        raise Problem(422, "until: too many events; choose a shorter time", kind="invalid")
    written: str = await connection.execute(
        """
        INSERT INTO webhook_delivery AS d (community_id, about, endpoint_id, event_id, event, type, at)
        SELECT $1::bigint, CASE WHEN $1::bigint IS NULL THEN e.about END, $2, e.event_id, e.event, e.type, e.at
        FROM unnest($3::bigint[], $4::uuid[], $5::bigint[], $6::text[], $7::timestamptz[])
            AS e(about, event_id, event, type, at)
        ON CONFLICT (community_id, endpoint_id, event_id) DO UPDATE
        SET attempts = 0, due_at = clock_timestamp(), delivered_at = NULL, dead_at = NULL
        WHERE d.delivered_at IS NOT NULL OR d.dead_at IS NOT NULL
        """,
        community_id,
        endpoint.id,
        [row["community_id"] for row in rows],
        [row["event_id"] for row in rows],
        [row["id"] for row in rows],
        [row["type"] for row in rows],
        [row["at"] for row in rows],
    )
    count = int(written.rpartition(" ")[2])
    detail = {"from": since.isoformat(), "until": until.isoformat(), "events": count}
    await audit.record(
        connection, principal, endpoints.part_of_trail(community_id), "webhook.replay", f"webhook/{endpoint.id}", detail
    )
    await messages.wake(connection)
    return count


def _check_on(endpoint: Endpoint) -> None:
    if not endpoint.enabled:
        raise Problem(409, "This webhook is off; switch it on first.", kind="switched-off")
