"""The waiting list for spaces of one's own: units ask for one, and get it in the order in which they asked.

A space that belongs to nobody is given by staff, to whoever has waited longest of those whom it fits, or offered by the
list, one unit after the other, ``ANSWER`` each. Somebody may be passed over for a reason, which their unit reads.
Connections are inside ``database.in_community``. Whatever changes the list holds the space concerned first and calls
``offers.enter`` then; ``space_turns`` has the order.
"""

from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Literal

from msgspec import Struct

from parkmesh.domain import space_line
from parkmesh.server import audit
from parkmesh.server.audit import Actor
from parkmesh.server.db import database
from parkmesh.server.db.community_worker import CommunityWorker
from parkmesh.server.db.database import Connection
from parkmesh.server.http import problems
from parkmesh.server.http.problems import Problem
from parkmesh.server.identity.principals import Principal
from parkmesh.server.reservations import assignments, offers, permits, space_turns
from parkmesh.server.reservations.space_turns import Turn
from parkmesh.server.spaces import spaces

ANSWER = timedelta(days=7)
"""How long a unit has to answer an offer."""
_ITSELF = audit.System("space requests")

State = Literal["waiting", "offered", "assigned", "left"]
Why = Literal["declined", "lapsed", "staff"]


class Passed(Struct, frozen=True):
    """A space that a unit didn't get although it fits. ``space`` None: it is gone; ``reason`` is what staff said."""

    space: str | None
    why: Why
    reason: str | None
    at: datetime


class SpaceRequest(Struct, frozen=True):
    """A unit's place on the list. ``position`` counts all who wait or have an offer from 1, None once it is over.
    ``space`` is what is offered (until ``offered_until``) or was assigned."""

    id: int
    unit: str
    unit_id: int
    ev: bool
    accessible: bool
    level: str | None
    state: State
    position: int | None
    space: str | None
    offered_until: datetime | None
    created_at: datetime
    passed: list[Passed]


class FreeSpace(Struct, frozen=True):
    """A space that belongs to nobody. ``next`` is the unit whose turn it is, None where it fits nobody who waits."""

    name: str
    level: str
    ev: bool
    accessible: bool
    next: str | None


_REQUEST = """
    SELECT r.id, u.name AS unit, r.unit_id, r.ev, r.accessible, r.level, r.state,
           CASE WHEN r.state IN ('waiting', 'offered') THEN 1 + (
               SELECT count(*) FROM space_request e
               WHERE e.community_id = r.community_id AND e.state IN ('waiting', 'offered')
                 AND (e.created_at, e.id) < (r.created_at, r.id)) END AS position,
           s.name AS space, r.offered_until, r.created_at
    FROM space_request r
    JOIN unit u ON u.community_id = r.community_id AND u.id = r.unit_id
    LEFT JOIN space s ON s.community_id = r.community_id AND s.id = r.space_id
    WHERE r.community_id = $1 AND ($2::bigint IS NULL OR r.unit_id = $2)
"""
# Of the category that belongs to units, and nobody's now or later.
_FREE = f"""
    FROM space s
    WHERE s.community_id = $1 AND {spaces.CATEGORY} = 'assigned'
      AND NOT EXISTS (SELECT FROM space_assignment a WHERE a.community_id = s.community_id AND a.space_id = s.id
                        AND (a.ends_at IS NULL OR a.ends_at > $2))
      AND NOT EXISTS (SELECT FROM space_request r WHERE r.community_id = s.community_id AND r.space_id = s.id
                        AND r.state = 'offered')
"""  # noqa: S608 - columns of spaces


async def page(
    connection: Connection,
    community_id: int,
    *,
    limit: int,
    after: tuple[datetime, int] | None = None,
    unit_id: int | None = None,
    open_only: bool = False,
) -> list[SpaceRequest]:
    """Return who asks for a space, the first come first; ``after`` is ``(created_at, id)`` of the last one before."""
    rows = await connection.fetch(
        f"""
        {_REQUEST} AND ($3::timestamptz IS NULL OR (r.created_at, r.id) > ($3, $4))
          AND (NOT $5 OR r.state IN ('waiting', 'offered'))
        ORDER BY r.created_at, r.id LIMIT $6
        """,
        community_id,
        unit_id,
        *(after or (None, 0)),
        open_only,
        limit,
    )
    passed = await _passed(connection, community_id, [row["id"] for row in rows])
    return [SpaceRequest(**row, passed=passed.get(row["id"], [])) for row in rows]


async def get(
    connection: Connection, community_id: int, request_id: int, *, unit_id: int | None = None
) -> SpaceRequest:
    """Return a place on the list, of ``unit_id`` only where given; raise ``Problem`` 404."""
    row = await connection.fetchrow(f"{_REQUEST} AND r.id = $3", community_id, unit_id, request_id)
    if row is None:
        raise problems.not_found()
    passed = await _passed(connection, community_id, [request_id])
    return SpaceRequest(**row, passed=passed.get(request_id, []))


async def _passed(connection: Connection, community_id: int, requests: list[int]) -> dict[int, list[Passed]]:
    rows = await connection.fetch(
        """
        SELECT p.request_id, s.name AS space, p.why, p.reason, p.at FROM space_request_pass p
        LEFT JOIN space s ON s.community_id = p.community_id AND s.id = p.space_id
        WHERE p.community_id = $1 AND p.request_id = ANY($2) ORDER BY p.id
        """,
        community_id,
        requests,
    )
    found: dict[int, list[Passed]] = {}
    for row in rows:
        found.setdefault(row["request_id"], []).append(Passed(row["space"], row["why"], row["reason"], row["at"]))
    return found


async def free(connection: Connection, community_id: int, now: datetime, *, limit: int) -> list[FreeSpace]:
    """Return the spaces that belong to nobody, by name, each with the unit whose turn it is."""
    rows = await connection.fetch(
        f"SELECT s.id, s.name, s.level, {spaces.EV} AS ev, {spaces.ACCESSIBLE} AS accessible {_FREE}"
        " ORDER BY s.name LIMIT $3",
        community_id,
        now,
        limit,
    )
    waiting = await space_turns.queue(connection, community_id, now)
    units = dict(
        await connection.fetch(
            """
            SELECT r.id, u.name FROM space_request r
            JOIN unit u ON u.community_id = r.community_id AND u.id = r.unit_id
            WHERE r.community_id = $1 AND r.state = 'waiting'
            """,
            community_id,
        )
    )
    found = []
    for row in rows:
        turns = space_line.line(waiting, space_line.Bay(row["level"], row["ev"], row["accessible"]))
        following = units.get(turns[0].id) if turns else None
        found.append(FreeSpace(row["name"], row["level"], row["ev"], row["accessible"], following))
    return found


async def line(connection: Connection, community_id: int, space: str, now: datetime) -> list[SpaceRequest]:
    """Return those whom a space fits, whose turn it is first; raise ``Problem`` 404 for a space that there isn't."""
    held = await spaces.get(connection, community_id, space)
    waiting = await space_turns.queue(connection, community_id, now)
    turns = space_line.line(waiting, space_line.Bay(held.level, held.ev, held.accessible))
    return [await get(connection, community_id, waits.id) for waits in turns]


async def join(
    connection: Connection,
    principal: Principal,
    community_id: int,
    *,
    unit_id: int,
    resident_id: int | None,
    ev: bool,
    accessible: bool,
    level: str | None,
    now: datetime,
) -> SpaceRequest:
    """Have a unit ask for a space of its own.

    Raises ``Problem`` 422 for a level that there isn't, 409 ``assigned`` where the unit has a space, 409 ``waiting``
    where it asks already, 409 ``permit`` where it asks for an accessible space and may have none.
    """
    if accessible:
        await permits.check(connection, community_id, unit_id, now)
    if level is not None and not await connection.fetchval(
        "SELECT EXISTS (SELECT FROM level WHERE community_id = $1 AND name = $2)", community_id, level
    ):
        raise Problem(422, "level: the community has no such level", kind="invalid")
    await offers.enter(connection, community_id)
    if await has_space(connection, community_id, unit_id):
        raise Problem(409, "Your unit has a space of its own.", kind="assigned")
    if await page(connection, community_id, limit=1, unit_id=unit_id, open_only=True):
        raise Problem(409, "Your unit is on the list already.", kind="waiting")
    request_id: int = await connection.fetchval(
        """
        INSERT INTO space_request (community_id, unit_id, resident_id, ev, accessible, level)
        VALUES ($1, $2, $3, $4, $5, $6) RETURNING id
        """,
        community_id,
        unit_id,
        resident_id,
        ev,
        accessible,
        level,
    )
    await audit.record(connection, principal, community_id, "space-request.join", f"space-request/{request_id}")
    return await get(connection, community_id, request_id)


async def has_space(connection: Connection, community_id: int, unit_id: int) -> bool:
    """Tell whether a unit has a space for good."""
    found: bool = await connection.fetchval(
        """
        SELECT EXISTS (SELECT FROM space_assignment WHERE community_id = $1 AND unit_id = $2 AND ends_at IS NULL)
        """,
        community_id,
        unit_id,
    )
    return found


async def offer(
    connection: Connection,
    principal: Principal,
    community_id: int,
    space: str,
    *,
    request_id: int | None,
    reason: str | None,
    now: datetime,
) -> SpaceRequest:
    """Let the list offer a space: to the unit whose turn it is, or to another for a reason.

    Raises ``Problem`` 404, 409 ``not-available`` where the space belongs to a unit or is offered, 409 ``nobody`` where
    it fits nobody who waits, and what ``space_turns.choose`` raises.
    """
    held = await spaces.lock(connection, community_id, space)
    await offers.enter(connection, community_id)
    if not await _is_free(connection, community_id, held.id, now):
        raise Problem(409, "The space belongs to a unit, is offered to one, or is shared.", kind="not-available")
    chosen = await _chosen(connection, community_id, held.id, request_id, now)
    await space_turns.choose(connection, community_id, held.id, chosen, reason, now)
    await _offer(connection, principal, community_id, chosen, held.id, now, now)
    return await get(connection, community_id, chosen)


async def assign(
    connection: Connection,
    principal: Principal,
    community_id: int,
    space: str,
    *,
    request_id: int | None,
    reason: str | None,
    now: datetime,
) -> SpaceRequest:
    """Give a space at once, without an offer, to the unit whose turn it is, or to another for a reason.

    Raises ``Problem`` as ``offer`` and ``assignments.create`` do.
    """
    held = await spaces.lock(connection, community_id, space)
    chosen = await _chosen(connection, community_id, held.id, request_id, now)
    unit_id = (await get(connection, community_id, chosen)).unit_id
    turn = Turn(chosen, reason=reason)
    await assignments.create(connection, principal, community_id, space, unit_id, now, None, now, turn)
    return await get(connection, community_id, chosen)


async def accept(
    connection: Connection,
    principal: Principal,
    community_id: int,
    request_id: int,
    now: datetime,
    *,
    unit_id: int | None = None,
) -> SpaceRequest:
    """Take the space that is offered. Raises ``Problem`` 404, 409 ``over`` where there is no offer (any more), 409
    ``permit`` where the unit had a permit when the space was offered and has none now."""
    found = await get(connection, community_id, request_id, unit_id=unit_id)
    if found.state == "assigned":
        return found
    if found.state != "offered" or found.space is None:
        raise Problem(409, "There is no offer any more.", kind="over")
    if found.accessible:
        await permits.check(connection, community_id, found.unit_id, now)
    turn = Turn(request_id, accepts=True)
    await assignments.create(connection, principal, community_id, found.space, found.unit_id, now, None, now, turn)
    return await get(connection, community_id, request_id)


async def decline(
    connection: Connection,
    principal: Principal,
    community_id: int,
    request_id: int,
    now: datetime,
    *,
    unit_id: int | None = None,
) -> SpaceRequest:
    """Decline an offer: the next gets it, and the unit keeps its place on the list. Raises ``Problem`` 404, 409
    ``over``."""
    found = await _held(connection, community_id, request_id, unit_id)
    if found.state != "offered":
        raise Problem(409, "There is no offer any more.", kind="over")
    await _pass_on(connection, principal, community_id, found, "declined", now)
    return await get(connection, community_id, request_id)


async def withdraw(
    connection: Connection, principal: Principal, community_id: int, request_id: int, now: datetime
) -> SpaceRequest:
    """Take an offer back; the space is nobody's again. Raises ``Problem`` 404, 409 ``over``."""
    found = await _held(connection, community_id, request_id, None)
    if found.state != "offered":
        raise Problem(409, "There is no offer any more.", kind="over")
    await _wait_again(connection, community_id, request_id)
    await audit.record(connection, principal, community_id, "space-request.withdraw", f"space-request/{request_id}")
    return await get(connection, community_id, request_id)


async def leave(
    connection: Connection,
    principal: Principal,
    community_id: int,
    request_id: int,
    now: datetime,
    *,
    unit_id: int | None = None,
) -> SpaceRequest:
    """Take a unit off the list; what was offered to it goes to the next. Raises ``Problem`` 404, 409 ``over``."""
    found = await _held(connection, community_id, request_id, unit_id)
    if found.state == "left":
        return found
    if found.state == "assigned":
        raise Problem(409, "It is over already.", kind="over")
    if found.state == "offered":
        await _pass_on(connection, principal, community_id, found, "declined", now)
    await connection.execute(
        "UPDATE space_request SET state = 'left', ended_at = $3 WHERE community_id = $1 AND id = $2",
        community_id,
        request_id,
        now,
    )
    await audit.record(connection, principal, community_id, "space-request.leave", f"space-request/{request_id}")
    return await get(connection, community_id, request_id)


async def _held(connection: Connection, community_id: int, request_id: int, unit_id: int | None) -> SpaceRequest:
    """Return a request that nobody else changes until the end, with the space that is offered by it."""
    seen = await get(connection, community_id, request_id, unit_id=unit_id)
    if seen.state == "offered" and seen.space is not None:
        await spaces.lock(connection, community_id, seen.space)
    await offers.enter(connection, community_id)
    found = await get(connection, community_id, request_id, unit_id=unit_id)
    if found.state == "offered" and found.space != seen.space:
        raise Problem(409, "A space was offered at this moment. Look at it, then choose.", kind="changed")
    return found


async def _is_free(connection: Connection, community_id: int, space_id: int, now: datetime) -> bool:
    found: bool = await connection.fetchval(
        f"SELECT EXISTS (SELECT {_FREE} AND s.id = $3)",
        community_id,
        now,
        space_id,
    )
    return found


async def _chosen(
    connection: Connection, community_id: int, space_id: int, request_id: int | None, now: datetime
) -> int:
    """Return the request that gets a space: the one that staff chose, else the one whose turn it is."""
    if request_id is not None:
        return (await get(connection, community_id, request_id)).id
    turns = space_line.line(
        await space_turns.queue(connection, community_id, now),
        await space_turns.bay(connection, community_id, space_id),
    )
    if not turns:
        raise Problem(409, "The space fits nobody who waits.", kind="nobody")
    return turns[0].id


async def _offer(
    connection: Connection,
    actor: Actor,
    community_id: int,
    request_id: int,
    space_id: int,
    round_at: datetime,
    now: datetime,
) -> None:
    await connection.execute(
        """
        UPDATE space_request SET state = 'offered', space_id = $3, round_at = $4, offered_until = $5
        WHERE community_id = $1 AND id = $2
        """,
        community_id,
        request_id,
        space_id,
        round_at,
        now + ANSWER,
    )
    await audit.record(connection, actor, community_id, "space-request.offer", f"space-request/{request_id}")


async def _wait_again(connection: Connection, community_id: int, request_id: int) -> tuple[int, datetime]:
    """End an offer; return the space and since when the list has offered it."""
    row = await connection.fetchrow(
        """
        UPDATE space_request n SET state = 'waiting', space_id = NULL, round_at = NULL, offered_until = NULL
        FROM space_request o
        WHERE n.community_id = $1 AND n.id = $2 AND o.community_id = n.community_id AND o.id = n.id
        RETURNING o.space_id, o.round_at
        """,
        community_id,
        request_id,
    )
    return row["space_id"], row["round_at"]


async def _pass_on(
    connection: Connection, actor: Actor, community_id: int, found: SpaceRequest, why: Why, now: datetime
) -> None:
    """End an offer that wasn't accepted, and offer the space to the next who didn't decline it in this round."""
    space_id, round_at = await _end(connection, actor, community_id, found, why, now)
    await _offer_to_next(connection, community_id, space_id, round_at, now)


async def _end(
    connection: Connection, actor: Actor, community_id: int, found: SpaceRequest, why: Why, now: datetime
) -> tuple[int, datetime]:
    """End an offer that wasn't accepted; return the space and since when the list has offered it."""
    space_id, round_at = await _wait_again(connection, community_id, found.id)
    await space_turns.note_pass(connection, community_id, found.id, space_id, why, None, now)
    verb = "lapse" if why == "lapsed" else "decline"
    await audit.record(connection, actor, community_id, f"space-request.{verb}", f"space-request/{found.id}")
    return space_id, round_at


async def _offer_to_next(
    connection: Connection, community_id: int, space_id: int, round_at: datetime, now: datetime
) -> None:
    if not await _is_free(connection, community_id, space_id, now):
        return
    rows = await connection.fetch(
        """
        SELECT request_id FROM space_request_pass
        WHERE community_id = $1 AND space_id = $2 AND at >= $3 AND why IN ('declined', 'lapsed')
        """,
        community_id,
        space_id,
        round_at,
    )
    turns = space_line.line(
        await space_turns.queue(connection, community_id, now),
        await space_turns.bay(connection, community_id, space_id),
        {row["request_id"] for row in rows},
    )
    if turns:
        await _offer(connection, _ITSELF, community_id, turns[0].id, space_id, round_at, now)


async def _lapse(connection: Connection, community_id: int, requests: list[int], now: datetime) -> None:
    """End offers that nobody answered in time, unless somebody just did; then offer their spaces to the next.

    All end first: who still had an offer that is over would be passed over for the space of another.
    """
    seen = {request: (await get(connection, community_id, request)).space for request in requests}
    for space in sorted({space for space in seen.values() if space is not None}):
        await spaces.lock(connection, community_id, space)
    await offers.enter(connection, community_id)
    ended = []
    for request, before in seen.items():
        found = await get(connection, community_id, request)
        over = found.offered_until is not None and found.offered_until <= now
        if found.state == "offered" and found.space == before and over:
            ended.append(await _end(connection, _ITSELF, community_id, found, "lapsed", now))
    for space_id, round_at in ended:
        await _offer_to_next(connection, community_id, space_id, round_at, now)


def worker(pool: database.Pool) -> CommunityWorker:
    """Return this server's part of ending offers that nobody answered. ``pool`` connects as the application's role."""

    async def work(community_id: int) -> None:
        await follow(pool, community_id, datetime.now(UTC))

    return CommunityWorker("space requests", partial(behind, pool), work)


async def behind(pool: database.Pool, communities: Collection[int] | None) -> list[int]:
    """Return which of the communities (None: of all) have offers that nobody answered in time, in no order."""
    async with database.as_server(pool) as connection:
        rows = await connection.fetch(
            """
            SELECT DISTINCT community_id FROM space_request
            WHERE state = 'offered' AND offered_until <= $2 AND ($1::bigint[] IS NULL OR community_id = ANY($1))
            """,
            None if communities is None else list(communities),
            datetime.now(UTC),
        )
    return [row["community_id"] for row in rows]


async def follow(pool: database.Pool, community_id: int, now: datetime) -> None:
    """End the offers of a community that nobody answered in time, and offer their spaces to the next."""
    async with database.in_community(pool, community_id) as connection:
        rows = await connection.fetch(
            """
            SELECT id FROM space_request WHERE community_id = $1 AND state = 'offered' AND offered_until <= $2
            ORDER BY offered_until, id
            """,
            community_id,
            now,
        )
    if rows:
        async with database.in_community(pool, community_id) as connection:
            await _lapse(connection, community_id, [row["id"] for row in rows], now)
