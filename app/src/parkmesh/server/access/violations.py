"""Violations of the rules of parking: opened by a rule, by staff or on a resident's report, and what became of them.

A violation is ``open``, then ``warned`` or ``appealed`` by a resident of the unit concerned, and ends ``closed``; each
step says who, when and why. Connections are inside ``database.in_community``.
"""

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

import msgspec
from msgspec import Struct

from parkmesh.server import audit
from parkmesh.server.audit import Actor
from parkmesh.server.db import keyset
from parkmesh.server.db.database import Connection
from parkmesh.server.http import problems
from parkmesh.server.http.messages import Message
from parkmesh.server.http.problems import Problem
from parkmesh.server.outbox import events

Kind = Literal[
    "overstay",
    "expired_pass",
    "no_pass",
    "in_others_space",
    "resident_in_visitor_space",
    "accessible_without_permit",
    "passback",
    "fire_lane",
    "double_parked",
    "abandoned",
]
State = Literal["open", "warned", "appealed", "closed"]
MAX_TEXT = 2000
"""Characters of evidence, and of the note of a step."""
REPORTS_A_DAY = 10
"""How many violations one resident may report in 24 hours."""


def check_concerned(present: "Violation", seen: "Seen | None") -> None:
    """Raise ``Problem`` 403 where a resident only reported the violation: it concerns others."""
    if seen is not None and present.unit_id is None:
        raise Problem(403, "Only the unit concerned can appeal.")


_BEFORE: dict[State, tuple[State, ...]] = {
    "warned": ("open", "appealed"),
    "appealed": ("open", "warned"),
    "closed": ("open", "warned", "appealed"),
}
"""From which states a violation comes into a state."""


@dataclass(frozen=True, slots=True)
class Step:
    """How a violation came into a state. ``actor`` is as the audit trail names it: ``user:<id>``, ``api-key:<id>`` or
    ``system:<part>``; empty where the asker may not know it."""

    state: State
    at: datetime
    actor: str
    note: str


@dataclass(frozen=True, slots=True)
class Violation:
    """``plate`` is null where it is unknown or was erased, ``unit`` is whose plate, visitor or booking it was then.

    ``since`` is since when the car was wrong there, ``opened_at`` when that was noticed. ``left_at`` is when its stay
    ended; null while the car is inside, and where no stay is known.
    """

    id: int
    kind: Kind
    plate: str | None
    unit: str | None
    unit_id: int | None
    space: str | None
    stay_id: int | None
    booking_id: int | None
    since: datetime
    opened_at: datetime
    noticed_by: Literal["rule", "staff", "resident"]
    evidence: str
    state: State
    left_at: datetime | None
    steps: list[Step]


class Filter(Struct, frozen=True):
    """Which violations to show; None: any. ``plate`` is the normalised part of one."""

    state: State | None = None
    kind: Kind | None = None
    plate: str | None = None


class Seen(Struct, frozen=True):
    """What a resident sees: what their unit is concerned in since they belong to it, and what they reported."""

    resident_id: int
    actor: str


class Found(Struct, frozen=True, kw_only=True):
    """What was noticed, before it is a violation."""

    kind: Kind
    noticed_by: Literal["rule", "staff", "resident"]
    since: datetime
    plate: str | None = None
    space_id: int | None = None
    unit_id: int | None = None
    stay_id: int | None = None
    booking_id: int | None = None
    evidence: str = ""


# $2, $3: a resident and how the trail names them, null for staff. Of what residents reported on other units they see
# only what they wrote themselves.
_OWN = """
(v.unit_id IS NOT NULL AND EXISTS (SELECT FROM resident me WHERE me.community_id = v.community_id AND me.id = $2
                                     AND me.unit_id = v.unit_id AND me.unit_since <= v.opened_at))
"""
_SELECT = f"""
SELECT v.id, v.kind, v.plate, CASE WHEN o.own THEN u.name END AS unit, CASE WHEN o.own THEN v.unit_id END AS unit_id,
       s.name AS space, CASE WHEN o.own THEN v.stay_id END AS stay_id,
       CASE WHEN o.own THEN v.booking_id END AS booking_id, v.since, v.opened_at, v.noticed_by,
       v.state,
       CASE WHEN $2::bigint IS NULL OR v.noticed_by <> 'resident' OR v.opened_by = $3 THEN v.evidence ELSE '' END
           AS evidence, CASE WHEN o.own THEN t.left_at END AS left_at,
       (SELECT json_agg(json_build_object(
            'state', p.state, 'at', p.at,
            'actor', CASE WHEN $2::bigint IS NULL OR p.actor = $3 THEN p.actor ELSE '' END,
            'note', CASE WHEN o.own OR p.actor = $3 THEN p.note ELSE '' END) ORDER BY p.id)
        FROM violation_step p WHERE p.community_id = v.community_id AND p.violation_id = v.id) AS steps
FROM violation v
CROSS JOIN LATERAL (SELECT $2::bigint IS NULL OR {_OWN} AS own) o
LEFT JOIN unit u ON u.community_id = v.community_id AND u.id = v.unit_id
LEFT JOIN space s ON s.community_id = v.community_id AND s.id = v.space_id
LEFT JOIN stay t ON t.community_id = v.community_id AND t.id = v.stay_id
WHERE v.community_id = $1 AND (o.own OR v.opened_by = $3::text)
"""  # noqa: S608 - text of this module


async def page(
    connection: Connection,
    community_id: int,
    *,
    limit: int,
    before: tuple[datetime, int] | None = None,
    way: keyset.Way = keyset.ON,
    seen: Seen | None = None,
    only: Filter | None = None,
) -> list[Violation]:
    """Return violations, latest first, those that are ``seen`` where given; ``before`` is the last one of the page
    before."""
    only = only or Filter()
    rows = await connection.fetch(
        f"""
        {_SELECT} AND ($4::timestamptz IS NULL OR (v.opened_at, v.id) {way.below} ($4, $5))
          AND ($6::text IS NULL OR v.state = $6) AND ($7::text IS NULL OR v.kind = $7)
          AND ($8::text IS NULL OR strpos(v.plate, $8) > 0)
        ORDER BY v.opened_at {way.down}, v.id {way.down} LIMIT $9
        """,
        community_id,
        *_seen(seen),
        *(before or (None, None)),
        only.state,
        only.kind,
        only.plate,
        limit,
    )
    return [_violation(row) for row in rows]


async def get(
    connection: Connection, community_id: int, violation_id: int, *, seen: Seen | None = None, for_change: bool = False
) -> Violation:
    """Return a violation that is ``seen`` where given, held where it is to be changed; raise ``Problem`` 404."""
    row = await connection.fetchrow(
        f"{_SELECT} AND v.id = $4{' FOR NO KEY UPDATE OF v' if for_change else ''}",
        community_id,
        *_seen(seen),
        violation_id,
    )
    if row is None:
        raise problems.not_found()
    return _violation(row)


def _seen(seen: Seen | None) -> tuple[int | None, str | None]:
    return (seen.resident_id, seen.actor) if seen else (None, None)


def _violation(row: Any) -> Violation:
    return Violation(**{**row, "steps": msgspec.convert(json.loads(row["steps"] or "[]"), list[Step])})


async def report(
    connection: Connection, principal: Actor, community_id: int, found: Found, space: str | None, now: datetime
) -> int:
    """Open a violation that somebody saw, whose plate they entered; return its id.

    The unit is the one that holds the plate, or whose visitor's it is, where only one does. Raises ``Problem`` 422
    where neither plate nor space is given or the space doesn't exist, 429 where a resident reports too much.
    """
    if found.plate is None and space is None:
        raise Problem(422, "plate: give the plate, the space, or both", kind="invalid")
    if found.noticed_by == "resident":
        await _check_amount(connection, principal, community_id, now)
    space_id = await find_space(connection, community_id, space)
    unit_id = found.plate and await connection.fetchval(_UNIT_OF, community_id, found.plate, now)
    whole = msgspec.structs.replace(found, space_id=space_id, unit_id=unit_id)
    opened = await open_one(connection, principal, community_id, whole, now)
    assert opened is not None, "only what rules notice is noticed twice"
    return opened


# Residents' own plates first: a visitor's pass for a neighbour's car doesn't make it a visitor's.
_UNIT_OF = """
WITH held AS (
    SELECT r.unit_id, 1 AS rank FROM credential c
    JOIN resident r ON r.community_id = c.community_id AND r.id = c.resident_id
    WHERE c.community_id = $1 AND c.plate = $2 AND c.visitor_pass_id IS NULL AND r.unit_id IS NOT NULL
    UNION
    SELECT p.unit_id, 2 FROM visitor_pass p
    WHERE p.community_id = $1 AND p.plate = $2 AND p.starts_at <= $3 AND p.ends_at > $3 - interval '2 days'
)
SELECT min(unit_id) FROM held WHERE rank = (SELECT min(rank) FROM held) HAVING count(DISTINCT unit_id) = 1
"""


async def _check_amount(connection: Connection, principal: Actor, community_id: int, now: datetime) -> None:
    # One at a time, so that none is overlooked that is written at this moment.
    await connection.execute(
        "SELECT pg_advisory_xact_lock(hashtextextended('violation:' || $2, $1::bigint))", community_id, principal.actor
    )
    made = await connection.fetchval(
        "SELECT count(*) FROM violation WHERE community_id = $1 AND opened_by = $2 AND opened_at > $3",
        community_id,
        principal.actor,
        now - timedelta(days=1),
    )
    if made >= REPORTS_A_DAY:
        raise Problem(
            429,
            Message("You can report %(limit)s violations a day. Call your administrators.", limit=REPORTS_A_DAY),
            kind="too-many",
        )


async def find_space(connection: Connection, community_id: int, name: str | None) -> int | None:
    """Return the id of the space of that name, None for none; raise ``Problem`` 422 where there is no such space."""
    if name is None:
        return None
    found: int | None = await connection.fetchval(
        "SELECT id FROM space WHERE community_id = $1 AND name = $2", community_id, name
    )
    if found is None:
        raise Problem(422, "space: there is no space of this name", kind="invalid")
    return found


async def open_one(
    connection: Connection, principal: Actor, community_id: int, found: Found, now: datetime
) -> int | None:
    """Open a violation; return its id, None where the same stay or booking has one of this kind already."""
    opened: int | None = await connection.fetchval(
        """
        INSERT INTO violation (community_id, kind, plate, unit_id, space_id, stay_id, booking_id, since, opened_at,
                               noticed_by, opened_by, evidence)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12) ON CONFLICT DO NOTHING RETURNING id
        """,
        community_id,
        found.kind,
        found.plate,
        found.unit_id,
        found.space_id,
        found.stay_id,
        found.booking_id,
        found.since,
        now,
        found.noticed_by,
        principal.actor,
        found.evidence,
    )
    if opened is None:
        return None
    await _write_step(connection, principal, community_id, opened, "open", "", now)
    await audit.record(
        connection, principal, community_id, "violation.open", f"violation/{opened}", {"kind": found.kind}
    )
    about = {"violation": opened, "kind": found.kind, "noticed_by": found.noticed_by, "unit": found.unit_id}
    await events.record(connection, community_id, "violation.opened", f"violation/{opened}", about)
    return opened


async def step(
    connection: Connection,
    principal: Actor,
    community_id: int,
    present: Violation,
    state: State,
    note: str,
    now: datetime,
) -> None:
    """Bring a violation that is held into another state; raise ``Problem`` 409 where it can't come there from its
    present one."""
    if present.state not in _BEFORE.get(state, ()):
        if state == "warned":
            raise Problem(409, "Only an open or appealed violation can be followed by a warning.", kind="state")
        if state == "appealed":
            raise Problem(409, "This violation was appealed already, or it is closed.", kind="state")
        raise Problem(409, "This violation is closed already.", kind="state")
    await connection.execute(
        "UPDATE violation SET state = $3 WHERE community_id = $1 AND id = $2", community_id, present.id, state
    )
    await _write_step(connection, principal, community_id, present.id, state, note, now)
    verb = {"warned": "warn", "appealed": "appeal", "closed": "close"}[state]
    await audit.record(connection, principal, community_id, f"violation.{verb}", f"violation/{present.id}")
    if state == "closed":
        about = {"violation": present.id, "kind": present.kind}
        await events.record(connection, community_id, "violation.closed", f"violation/{present.id}", about)


async def _write_step(
    connection: Connection,
    principal: Actor,
    community_id: int,
    violation_id: int,
    state: State,
    note: str,
    now: datetime,
) -> None:
    await connection.execute(
        """
        INSERT INTO violation_step (community_id, violation_id, state, at, actor, note) VALUES ($1, $2, $3, $4, $5, $6)
        """,
        community_id,
        violation_id,
        state,
        now,
        principal.actor,
        note,
    )
