"""Which e-mails an event makes: to whom, and what they say.

Each function takes events of its types and returns the notices of those that concern somebody. The transaction is in
the community and sees accounts (``members.with_accounts``). What a mail says is read here, a moment after the event: it
is kept with the mail and forgotten when the mail was sent.
"""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from parkmesh.domain import quiet_hours
from parkmesh.server.db.database import Connection
from parkmesh.server.identity.principals import Role
from parkmesh.server.notifications.preferences import AUDIENCE, Kind
from parkmesh.server.outbox import messages
from parkmesh.server.outbox.events import Event
from parkmesh.server.outbox.messages import Mail

FRESH = timedelta(hours=1)
"""Of what happened at a gate longer ago, nobody is told: the gateway was offline meanwhile."""
AGAIN = timedelta(minutes=15)
"""One e-mail tells of all refusals of a plate at a gate within this time: a camera reads a waiting car many times."""
LIFE: Mapping[Kind, timedelta] = {
    "visitor-arrived": timedelta(hours=12),
    "plate-refused": timedelta(hours=12),
    "digest": timedelta(days=1),
    "gateway-offline": timedelta(days=1),
}
"""After what time an e-mail that wasn't sent is useless; other kinds are never."""


@dataclass(frozen=True)
class Place:
    """The community that events happened in."""

    id: int
    name: str
    title: str
    zone: str
    language: str


@dataclass(frozen=True)
class Notice:
    """What to tell whom: a resident by ``resident_id``, or else all who are of the kind's audience. ``but`` is the user
    who did it and needs no mail. A mail that wasn't sent by ``useless_at`` isn't sent any more (None: see ``LIFE``)."""

    kind: Kind
    payload: dict[str, Any]
    resident_id: int | None = None
    but: int | None = None
    useless_at: datetime | None = None


def _number(event: Event) -> int:
    return int(event.object.rpartition("/")[2])


def _actor(event: Event) -> int | None:
    kind, _, number = event.data.get("by", "").partition(":")
    return int(number) if kind == "user" and number.isdigit() else None


async def _bookings(connection: Connection, place: Place, found: Sequence[Event], now: datetime) -> list[Notice]:
    rows = await connection.fetch(
        """
        SELECT b.id, s.name AS space, s.level, b.starts_at, b.ends_at, b.status, b.cancel_reason, b.resident_id,
               b.changes, coalesce(b.changed_at, b.cancelled_at, b.created_at) AS changed_at
        FROM booking b JOIN space s ON s.community_id = b.community_id AND s.id = b.space_id
        WHERE b.community_id = $1 AND b.id = ANY($2) AND b.resident_id IS NOT NULL
        """,
        place.id,
        [_number(event) for event in found],
    )
    known = {row["id"]: row for row in rows}
    notices = []
    # Of several changes of one booking, the last one is told.
    for number, event in {_number(event): event for event in found}.items():
        booking = known.get(number)
        if booking is None or booking["ends_at"] <= now:
            continue
        payload = {
            "booking": number,
            "space": booking["space"],
            "level": booking["level"],
            "from": booking["starts_at"].isoformat(),
            "until": booking["ends_at"].isoformat(),
            "changes": booking["changes"],
            "changed_at": booking["changed_at"].isoformat(),
            "reason": booking["cancel_reason"],
            "no_show": event.type == "booking.no_show",
        }
        if event.type in ("booking.cancelled", "booking.no_show"):
            notices.append(Notice("booking-cancelled", payload, booking["resident_id"], _actor(event)))
        elif booking["status"] == "active":
            payload["moved"] = event.type == "booking.moved"
            notices.append(Notice("booking-made", payload, booking["resident_id"]))
    return notices


async def _offers(connection: Connection, place: Place, found: Sequence[Event], now: datetime) -> list[Notice]:
    rows = await connection.fetch(
        """
        SELECT s.name AS space, s.level, b.starts_at, b.ends_at, b.held_until, w.resident_id
        FROM waiting w
        JOIN booking b ON b.community_id = w.community_id AND b.id = w.offer_id
        JOIN space s ON s.community_id = b.community_id AND s.id = b.space_id
        WHERE w.community_id = $1 AND w.id = ANY($2) AND w.state = 'offered' AND b.held_until > $3
        """,
        place.id,
        [_number(event) for event in found],
        now,
    )
    return [
        Notice(
            "space-offered",
            {
                "space": row["space"],
                "level": row["level"],
                "from": row["starts_at"].isoformat(),
                "until": row["ends_at"].isoformat(),
                "held_until": row["held_until"].isoformat(),
            },
            row["resident_id"],
            useless_at=row["held_until"],
        )
        for row in rows
        if row["resident_id"] is not None
    ]


async def _own_spaces(connection: Connection, place: Place, found: Sequence[Event], now: datetime) -> list[Notice]:
    rows = await connection.fetch(
        """
        SELECT r.id, s.name AS space, s.level, r.offered_until, r.resident_id FROM space_request r
        JOIN space s ON s.community_id = r.community_id AND s.id = r.space_id
        WHERE r.community_id = $1 AND r.id = ANY($2) AND r.state = 'offered' AND r.offered_until > $3
          AND r.resident_id IS NOT NULL
        """,
        place.id,
        [_number(event) for event in found],
        now,
    )
    return [
        Notice(
            "space-offered",
            {
                "space_request": row["id"],
                "space": row["space"],
                "level": row["level"],
                "held_until": row["offered_until"].isoformat(),
            },
            row["resident_id"],
            useless_at=row["offered_until"],
        )
        for row in rows
    ]


async def _arrivals(connection: Connection, place: Place, found: Sequence[Event], now: datetime) -> list[Notice]:
    rows = await connection.fetch(
        "SELECT id, name, plate, resident_id FROM visitor_pass WHERE community_id = $1 AND id = ANY($2)",
        place.id,
        [_number(event) for event in found],
    )
    known = {row["id"]: row for row in rows}
    gates = await _gates(connection, place)
    return [
        Notice(
            "visitor-arrived",
            {
                "visitor_pass": event.data["visitor_pass"],
                "visitor": visitor["name"],
                "plate": visitor["plate"],
                "gate": gates.get(event.data["gate"], event.data["gate"]),
                "at": event.at.isoformat(),
            },
            visitor["resident_id"],
        )
        for event in found
        if (visitor := known.get(_number(event))) and visitor["resident_id"] is not None and event.at > now - FRESH
    ]


async def _refusals(connection: Connection, place: Place, found: Sequence[Event], now: datetime) -> list[Notice]:
    fresh = [event for event in found if event.at > now - FRESH and event.data.get("credential") is not None]
    rows = await connection.fetch(
        """
        SELECT e.id, c.plate, coalesce(c.resident_id, v.resident_id) AS resident_id, c.visitor_pass_id
        FROM unnest($2::bigint[], $3::text[], $4::text[], $5::timestamptz[]) AS e(id, credential, gate, at)
        JOIN credential c ON c.community_id = $1 AND c.id = e.credential::bigint
        LEFT JOIN visitor_pass v ON v.community_id = $1 AND v.id = c.visitor_pass_id
        WHERE NOT EXISTS (
            SELECT FROM event o WHERE o.community_id = $1 AND o.type = 'passage.denied' AND o.id < e.id
              AND o.at BETWEEN e.at - $6::interval AND e.at
              AND o.data ->> 'credential' = e.credential AND o.data ->> 'gate' = e.gate)
        """,
        place.id,
        [event.id for event in fresh],
        [str(event.data["credential"]) for event in fresh],
        [event.data["gate"] for event in fresh],
        [event.at for event in fresh],
        AGAIN,
    )
    known = {row["id"]: row for row in rows}
    gates = await _gates(connection, place)
    return [
        Notice(
            "plate-refused",
            {
                "plate": refused["plate"],
                "of_visitor": refused["visitor_pass_id"] is not None,
                "gate": gates.get(event.data["gate"], event.data["gate"]),
                "reason": event.data["reason"],
                "at": event.at.isoformat(),
            },
            refused["resident_id"],
        )
        for event in fresh
        if (refused := known.get(event.id)) and refused["resident_id"] is not None
    ]


async def _erasures(connection: Connection, place: Place, found: Sequence[Event], now: datetime) -> list[Notice]:
    waiting = await connection.fetch(
        "SELECT id FROM resident WHERE community_id = $1 AND id = ANY($2) AND erasure_asked_at IS NOT NULL",
        place.id,
        [_number(event) for event in found],
    )
    return [Notice("erasure-asked", {"resident": row["id"]}) for row in waiting]


async def _outages(connection: Connection, place: Place, found: Sequence[Event], now: datetime) -> list[Notice]:
    rows = await connection.fetch(
        """
        SELECT g.name, o.heard_at FROM gateway_outage o
        JOIN gateway g ON g.community_id = o.community_id AND g.id = o.gateway_id
        WHERE o.community_id = $1 AND g.name = ANY($2)
        """,
        place.id,
        [event.data["gateway"] for event in found],
    )
    return [
        Notice("gateway-offline", {"gateway": row["name"], "heard_at": row["heard_at"].isoformat()}) for row in rows
    ]


async def _gates(connection: Connection, place: Place) -> dict[str, str]:
    return dict(await connection.fetch("SELECT name, title FROM gate WHERE community_id = $1", place.id))


_Maker = Callable[[Connection, Place, Sequence[Event], datetime], Awaitable[list[Notice]]]
MAKERS: Sequence[tuple[frozenset[str], _Maker]] = (
    (frozenset({"booking.created", "booking.moved", "booking.cancelled", "booking.no_show"}), _bookings),
    (frozenset({"waiting.offered"}), _offers),
    (frozenset({"space_request.offered"}), _own_spaces),
    (frozenset({"visitor_pass.first_used"}), _arrivals),
    (frozenset({"passage.denied"}), _refusals),
    (frozenset({"resident.erasure_asked"}), _erasures),
    (frozenset({"gateway.offline"}), _outages),
)


async def place(connection: Connection, community_id: int) -> Place | None:
    """Return what mails of a community need of it; None for one that the desk let go: nobody is told of it any more."""
    row = await connection.fetchrow(
        "SELECT id, name, title, time_zone AS zone, language FROM community WHERE id = $1", community_id
    )
    return Place(**row) if row else None


async def of(connection: Connection, where: Place, found: Sequence[Event], now: datetime) -> list[Notice]:
    """Return what events make to tell."""
    notices: list[Notice] = []
    for types, make in MAKERS:
        if concerned := [event for event in found if event.type in types]:
            notices += await make(connection, where, concerned, now)
    return notices


# Those who may be told: residents by their place, administrators of the community, operators.
_READERS = """
SELECT u.id, u.email, u.language, u.quiet_from, u.quiet_until, m.resident_id, coalesce(m.role, 'operator') AS role,
       coalesce((SELECT jsonb_object_agg(p.kind, p.wanted) FROM notification_preference p
                 WHERE p.user_id = u.id
                   AND p.community_id IS NOT DISTINCT FROM CASE WHEN u.operator THEN NULL ELSE $1 END), '{}') AS wishes
FROM app_user u LEFT JOIN membership m ON m.user_id = u.id AND m.community_id = $1
WHERE u.active AND (m.resident_id = ANY($2) OR $3 AND m.role = 'administrator' OR $4 AND u.operator)
"""


async def write(connection: Connection, where: Place, notices: Sequence[Notice], now: datetime) -> None:
    """Put the mails of notices into the outbox: of each to those who are to be told of it and want to be."""
    if not notices:
        return
    audiences = {AUDIENCE[notice.kind] for notice in notices}
    rows = await connection.fetch(
        _READERS,
        where.id,
        [notice.resident_id for notice in notices if notice.resident_id is not None],
        Role.ADMINISTRATOR in audiences,
        Role.OPERATOR in audiences,
    )
    readers = [(row, json.loads(row["wishes"])) for row in rows]
    zone = ZoneInfo(where.zone)
    known = {"community": where.title, "name": where.name, "zone": where.zone, "path": f"/communities/{where.name}"}
    mails: dict[Kind, list[Mail]] = {}
    for notice in notices:
        for reader, wishes in readers:
            if notice.but == reader["id"] or not wishes.get(notice.kind, True) or not _concerns(notice, reader):
                continue
            due = None
            if reader["quiet_from"] is not None:
                due = quiet_hours.end(now, zone, reader["quiet_from"], reader["quiet_until"])
            life = LIFE.get(notice.kind)
            known_of = None if AUDIENCE[notice.kind] == "operator" else where.id
            mails.setdefault(notice.kind, []).append(
                Mail(
                    reader["email"],
                    reader["language"] or where.language,
                    known | notice.payload | {"user": reader["id"], "in": known_of},
                    due,
                    notice.useless_at or ((due or now) + life if life else None),
                )
            )
    for kind, made in mails.items():
        await messages.mail(connection, where.id, kind, made)


def _concerns(notice: Notice, reader: Any) -> bool:
    audience = AUDIENCE[notice.kind]
    if audience == "resident":
        return reader["resident_id"] is not None and reader["resident_id"] == notice.resident_id
    return bool(reader["role"] == audience)
