"""Passages that somebody wants to be told of become events: a moment after they are stored, once each. Their plates are
found by any part from then on.

Ingestion is left as it is; ``event_progress`` keeps up to which event each gateway's passages were looked at
(``unread_passages``). Most passages concern nobody: an event is written where a known plate was refused, where a
visitor came for the first time with their pass, and where a gate was opened by hand; of all others only where somebody
asks for them.
"""

from collections.abc import Collection
from datetime import datetime
from typing import Any

from parkmesh.domain.access import Reason
from parkmesh.server.access import gate_commands, plate_search, unread_passages
from parkmesh.server.db import database
from parkmesh.server.db.database import Connection, Pool
from parkmesh.server.outbox import events

BATCH = 500
"""How many passages of a gateway one transaction takes."""

# A visitor's pass: that of the credential or the code which opened, or of the link that the opening was asked for with.
_PASS = f"""
CASE WHEN p.decision = 'denied' THEN NULL
     WHEN p.reason = '{Reason.COMMAND}' THEN
         (SELECT substr(k.actor, {len(gate_commands.visitor(0))})::bigint FROM gate_command k
          WHERE k.community_id = p.community_id AND k.id = p.device_event_id
            AND starts_with(k.actor, '{gate_commands.visitor(0)[:-1]}'))
     WHEN p.reason = '{Reason.BY_CODE}' THEN substring(p.credential_id FROM '^pass-([0-9]{{1,18}})$')::bigint
     WHEN p.credential_id ~ '^[0-9]{{1,18}}$' THEN
         (SELECT c.visitor_pass_id FROM credential c
          WHERE c.community_id = p.community_id AND c.id = p.credential_id::bigint)
END
"""  # noqa: S608 - constants
_NEW = unread_passages.unread(
    unread_passages.EVENTS,
    f"""
    p.id AS passage, p.gate, p.direction, p.decision, p.reason, p.opened, p.received_at,
    CASE WHEN p.credential_id ~ '^[0-9]{{1,18}}$' THEN p.credential_id::bigint END AS credential, {_PASS} AS pass
    """,
    f"""
    ($3 OR p.decision = 'denied' AND p.credential_id ~ '^[0-9]{{1,18}}$'
     OR p.reason = '{Reason.COMMAND}'
     OR EXISTS (SELECT FROM visitor_pass v
                WHERE v.community_id = p.community_id AND v.id = {_PASS} AND v.arrived_at IS NULL))
    """,
)
_ARRIVED = """
UPDATE visitor_pass v SET arrived_at = n.at FROM unnest($2::bigint[], $3::timestamptz[]) AS n(id, at)
WHERE v.community_id = $1 AND v.id = n.id AND v.arrived_at IS NULL
RETURNING v.id
"""


async def behind(pool: Pool, communities: Collection[int] | None) -> list[int]:
    """Return which of the communities (None: of all) have passages that weren't looked at."""
    async with database.as_server(pool) as connection:
        rows = await connection.fetch(
            unread_passages.behind(unread_passages.EVENTS), None if communities is None else list(communities)
        )
    return [row["community_id"] for row in rows]


async def project(connection: Connection, community_id: int, *, everything: bool = False) -> bool:
    """Write the events of a community's next unread passages, with ``everything`` of all of them, and add all their
    plates to the search; tell whether there are more. The transaction is in the community."""
    await unread_passages.enter(connection, "events", community_id)
    rows = await connection.fetch(_NEW, community_id, BATCH, everything)
    if not rows:
        return False
    found = sorted((row for row in rows if row["seq"] is not None), key=lambda row: row["received_at"])
    first: dict[int, Any] = {}
    for row in found:
        if row["pass"] is not None and row["opened"] and row["direction"] != "exit":
            first.setdefault(row["pass"], row)
    made = [_event(row, everything=everything) for row in found]
    if first:
        times = [row["received_at"] for row in first.values()]
        arrived = await connection.fetch(_ARRIVED, community_id, list(first), times)
        made += [_arrival(first[row["id"]]) for row in arrived]
    await events.record_all(connection, community_id, [event for event in made if event is not None])
    read = unread_passages.marks(rows)
    await plate_search.add(connection, community_id, read)
    await unread_passages.mark(connection, unread_passages.EVENTS, community_id, read)
    return any(row["more"] for row in rows)


_Made = tuple[str, str, dict[str, Any], datetime]


def _event(row: Any, *, everything: bool) -> _Made | None:
    data = {"passage": row["passage"], "gate": row["gate"], "direction": row["direction"], "reason": row["reason"]}
    if row["decision"] == "denied":
        type_ = "passage.denied"
        data["credential"] = row["credential"]
    elif row["reason"] == Reason.COMMAND:
        type_ = "gate.opened" if row["opened"] else "gate.open_failed"
    elif everything:
        type_ = "passage.granted" if row["opened"] else "passage.unconfirmed"
    else:
        return None
    return type_, f"passage/{row['passage']}", data, row["received_at"]


def _arrival(row: Any) -> _Made:
    data = {"passage": row["passage"], "gate": row["gate"], "visitor_pass": row["pass"]}
    return "visitor_pass.first_used", f"visitor-pass/{row['pass']}", data, row["received_at"]
