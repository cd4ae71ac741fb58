"""Whose turn it is on the list of those who ask for a space of their own, and the rule that nobody jumps the line.

A space that the list offers is nobody else's meanwhile, and a unit that waits gets a space only in its turn, or with a
reason for each that is passed over. Connections are inside ``database.in_community``; what is read here stays true to
the end of the transaction after ``offers.enter``, which comes after everything else that the transaction holds.
"""

from datetime import datetime

from msgspec import Struct

from parkmesh.domain import space_line
from parkmesh.domain.space_line import Bay, Waits
from parkmesh.server import audit
from parkmesh.server.audit import Actor
from parkmesh.server.db.database import Connection
from parkmesh.server.http import problems
from parkmesh.server.http.problems import Problem
from parkmesh.server.reservations import offers, permits
from parkmesh.server.spaces import spaces


class Turn(Struct, frozen=True):
    """By which request a unit gets a space: it ``accepts`` an offer, or staff chose it, with a ``reason`` where others
    are passed over."""

    request: int
    accepts: bool = False
    reason: str | None = None


async def queue(connection: Connection, community_id: int, now: datetime) -> list[Waits]:
    """Return those who wait and have no offer, the first come first."""
    rows = await connection.fetch(
        """
        SELECT id, unit_id, ev, accessible, level FROM space_request
        WHERE community_id = $1 AND state = 'waiting' ORDER BY created_at, id
        """,
        community_id,
    )
    return [
        Waits(
            row["id"],
            row["ev"],
            row["accessible"],
            row["level"],
            row["accessible"] and await permits.covers(connection, community_id, row["unit_id"], now),
        )
        for row in rows
    ]


async def bay(connection: Connection, community_id: int, space_id: int) -> Bay:
    """Return what matters of a space for those who wait."""
    row = await connection.fetchrow(
        f"""
        SELECT s.level, {spaces.EV} AS ev, {spaces.ACCESSIBLE} AS accessible FROM space s
        WHERE s.community_id = $1 AND s.id = $2
        """,  # noqa: S608 - columns of spaces
        community_id,
        space_id,
    )
    return Bay(row["level"], row["ev"], row["accessible"])


async def choose(
    connection: Connection, community_id: int, space_id: int, chosen: int, reason: str | None, now: datetime
) -> None:
    """Note whom it passes over that ``chosen`` gets a space.

    Raises ``Problem`` 409 ``over`` where the chosen one doesn't wait, 409 ``unfit`` where the space isn't what they ask
    for, 409 ``order`` where others have waited longer and no reason is given.
    """
    waiting, what = await queue(connection, community_id, now), await bay(connection, community_id, space_id)
    found = next((waits for waits in waiting if waits.id == chosen), None)
    if found is None:
        raise Problem(409, "This unit doesn't wait for a space any more, or has an offer.", kind="over")
    if not space_line.fits(found, what):
        raise Problem(409, "The space isn't one that this unit asked for.", kind="unfit")
    passed = space_line.passed_over(waiting, what, chosen)
    if passed and not reason:
        raise Problem(409, "Others have waited longer for such a space. Say why they are passed over.", kind="order")
    for waits in passed:
        await note_pass(connection, community_id, waits.id, space_id, "staff", reason, now)


async def note_pass(
    connection: Connection, community_id: int, request: int, space_id: int, why: str, reason: str | None, now: datetime
) -> None:
    """Keep that somebody doesn't get a space that fits them, and why."""
    await connection.execute(
        """
        INSERT INTO space_request_pass (community_id, request_id, space_id, why, reason, at)
        VALUES ($1, $2, $3, $4, $5, $6)
        """,
        community_id,
        request,
        space_id,
        why,
        reason,
        now,
    )


async def given(
    connection: Connection,
    actor: Actor,
    community_id: int,
    space_id: int,
    unit_id: int,
    turn: Turn | None,
    now: datetime,
    *,
    for_good: bool,
) -> None:
    """Bring the list in line with a space that a unit gets just now, in its ``turn`` or (None) without the list.

    It enters the list, so it is the last that its transaction does. Raises ``Problem`` 409 ``offered`` where the space
    is offered to others or the unit has another offer, 409 ``over`` where an offer has lapsed, and what ``choose``
    raises: a unit that waits gets no space for good before its turn.
    """
    await offers.enter(connection, community_id)
    held = await connection.fetchrow(
        """
        SELECT id, state, space_id, offered_until FROM space_request
        WHERE community_id = $1 AND unit_id = $2 AND state IN ('waiting', 'offered')
        """,
        community_id,
        unit_id,
    )
    if turn is not None and turn.accepts:
        if held is None or (held["id"], held["space_id"]) != (turn.request, space_id) or held["offered_until"] <= now:
            raise Problem(409, "There is no offer any more.", kind="over")
    else:
        await _check_not_offered(connection, community_id, space_id)
        if (held is None and turn is None) or not for_good:
            return
        if held is None or (turn is not None and held["id"] != turn.request):
            raise problems.not_found()
        if held["state"] == "offered":
            raise Problem(409, "Another space is offered to this unit. Take the offer back first.", kind="offered")
        await choose(connection, community_id, space_id, held["id"], turn.reason if turn else None, now)
    await connection.execute(
        """
        UPDATE space_request SET state = 'assigned', space_id = $3, round_at = NULL, offered_until = NULL, ended_at = $4
        WHERE community_id = $1 AND id = $2
        """,
        community_id,
        held["id"],
        space_id,
        now,
    )
    await audit.record(connection, actor, community_id, "space-request.assign", f"space-request/{held['id']}")


async def _check_not_offered(connection: Connection, community_id: int, space_id: int) -> None:
    offered = await connection.fetchval(
        """
        SELECT EXISTS (SELECT FROM space_request WHERE community_id = $1 AND space_id = $2 AND state = 'offered')
        """,
        community_id,
        space_id,
    )
    if offered:
        raise Problem(409, "The waiting list offers this space to a unit. Take the offer back first.", kind="offered")
