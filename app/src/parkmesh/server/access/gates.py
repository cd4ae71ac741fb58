"""Gates with their lanes. Every act is in the audit trail of the transaction that does it."""

import time
from dataclasses import dataclass
from typing import Any, Literal

import msgspec

from parkmesh.domain import access
from parkmesh.domain.access_index import scan
from parkmesh.server import audit
from parkmesh.server.db.database import Connection
from parkmesh.server.edge import access_list
from parkmesh.server.http import problems
from parkmesh.server.http.messages import Message
from parkmesh.server.http.problems import Problem
from parkmesh.server.identity.principals import Principal

MAX_GATES = 200
MAX_LANES, MAX_CAMERAS = 20, 10

Direction = Literal["entry", "exit"]


@dataclass(frozen=True, slots=True)
class Lane:
    """A lane of a gate. ``cameras`` are names in the configuration of the gateway."""

    name: str
    direction: Direction
    cameras: list[str]


@dataclass(frozen=True, slots=True)
class Gate:
    """A gate with its lanes."""

    name: str
    title: str
    direction: Literal["entry", "exit", "both"]
    lanes: list[Lane]


_GATES = """
SELECT g.id, g.name, g.title, g.direction, coalesce((
    SELECT jsonb_agg(jsonb_build_object('name', l.name, 'direction', l.direction, 'cameras', l.cameras) ORDER BY l.name)
    FROM lane l WHERE l.community_id = g.community_id AND l.gate_id = g.id), '[]')::text AS lanes
FROM gate g WHERE g.community_id = $1
"""


def _gate(row: Any) -> Gate:
    return Gate(row["name"], row["title"], row["direction"], msgspec.json.decode(row["lanes"], type=list[Lane]))


async def all_of(connection: Connection, community_id: int) -> list[Gate]:
    """Return the community's gates in the order in which they were made."""
    return [_gate(row) for row in await connection.fetch(f"{_GATES} ORDER BY g.id", community_id)]


async def page(connection: Connection, community_id: int, *, limit: int, after: str | None = None) -> list[Gate]:
    """Return gates by name; ``after`` is the last one of the page before."""
    rows = await connection.fetch(
        f"{_GATES} AND ($2::text IS NULL OR g.name > $2) ORDER BY g.name LIMIT $3", community_id, after, limit
    )
    return [_gate(row) for row in rows]


async def get(connection: Connection, community_id: int, name: str, *, lock: bool = False) -> Gate:
    """Return one gate; raise ``Problem`` 404 where there is none. ``lock`` keeps others from changing it."""
    if lock:
        await connection.execute(
            "SELECT FROM gate WHERE community_id = $1 AND name = $2 FOR UPDATE", community_id, name
        )
    row = await connection.fetchrow(f"{_GATES} AND g.name = $2", community_id, name)
    if row is None:
        raise problems.not_found()
    return _gate(row)


async def create(connection: Connection, principal: Principal, community_id: int, gate: Gate) -> Gate:
    """Add a gate; raise ``Problem`` 409 where there is one of its name or there are ``MAX_GATES``."""
    count = await connection.fetchval("SELECT count(*) FROM gate WHERE community_id = $1", community_id)
    if count >= MAX_GATES:
        raise Problem(409, Message("A community has at most %(limit)s gates.", limit=MAX_GATES), kind="limit")
    made = await connection.fetchval(
        """
        INSERT INTO gate (community_id, name, title, direction) VALUES ($1, $2, $3, $4)
        ON CONFLICT (community_id, name) DO NOTHING RETURNING id
        """,
        community_id,
        gate.name,
        gate.title,
        gate.direction,
    )
    if made is None:
        raise Problem(409, Message("There is a gate %(name)s already.", name=gate.name), kind="exists")
    await _set_lanes(connection, community_id, made, gate.lanes)
    await audit.record(connection, principal, community_id, "gate.create", f"gate/{gate.name}", _detail(gate))
    return gate


async def change(connection: Connection, principal: Principal, community_id: int, gate: Gate) -> Gate:
    """Give a gate that exists and is locked (``get``) another title, direction and other lanes."""
    changed = await connection.fetchval(
        "UPDATE gate SET title = $3, direction = $4 WHERE community_id = $1 AND name = $2 RETURNING id",
        community_id,
        gate.name,
        gate.title,
        gate.direction,
    )
    await _set_lanes(connection, community_id, changed, gate.lanes)
    await audit.record(connection, principal, community_id, "gate.change", f"gate/{gate.name}", _detail(gate))
    return gate


async def delete(connection: Connection, principal: Principal, community_id: int, name: str) -> None:
    """Remove a gate with its lanes. Passages keep its name."""
    await connection.execute("DELETE FROM gate WHERE community_id = $1 AND name = $2", community_id, name)
    await audit.record(connection, principal, community_id, "gate.delete", f"gate/{name}")


async def _set_lanes(connection: Connection, community_id: int, gate_id: int, lanes: list[Lane]) -> None:
    await connection.execute("DELETE FROM lane WHERE community_id = $1 AND gate_id = $2", community_id, gate_id)
    await connection.executemany(
        "INSERT INTO lane (community_id, gate_id, name, direction, cameras) VALUES ($1, $2, $3, $4, $5)",
        [(community_id, gate_id, lane.name, lane.direction, lane.cameras) for lane in lanes],
    )


def _detail(gate: Gate) -> dict[str, Any]:
    shown: dict[str, Any] = msgspec.to_builtins(gate)
    return shown


async def predict(
    connection: Connection, community_id: int, plate: str | None, direction: Direction
) -> access.Decision:
    """Return what a gateway would decide now on a normalised plate, by the list, the rules and the presence known here.

    They are the functions that the gateways use (``domain.access``).
    """
    entries = await access_list.entries(connection, community_id)
    rows = await connection.fetch("SELECT plate, inside FROM presence WHERE community_id = $1", community_id)
    inside = {row["plate"]: row["inside"] for row in rows}
    acting = await access_list.gate_rules(connection, community_id)
    decision = access.judge(plate, scan(entries), time.time_ns() // 1_000_000, direction, acting, inside)
    return access.let_out(decision, direction, acting)
