"""The operator's desk: the health of all gateways at a glance, communities taken on, offboarded and deleted.

Reads take a connection of ``database.at_desk``.
"""

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

import msgspec
from msgspec import UNSET, Struct

from parkmesh.server import audit
from parkmesh.server.communities import desired, provision
from parkmesh.server.communities.community_reads import HEALTH, ONLINE_WITHIN, Community, Health
from parkmesh.server.db import database, keyset
from parkmesh.server.db.database import OUTSIDE, Connection
from parkmesh.server.http.messages import Message
from parkmesh.server.http.problems import Problem
from parkmesh.server.identity.principals import Principal

BACKLOG = 500
"""Events that wait at a gateway before it counts as behind: more than a busy minute."""
CLOCK_SKEW_MS = 5_000
"""By how much a gateway's clock may be wrong before it is shown."""
GATEWAY_GRACE = timedelta(minutes=15)
"""How long the gateways of an offboarded community keep their tokens, to take the list that revokes every plate."""
DELETION_GRACE = timedelta(days=7)
"""How long a community that is to be deleted can still be kept."""

State = Literal["offline", "behind", "outdated", "skewed", "silent", "devices"]
STATES: tuple[State, ...] = ("offline", "behind", "outdated", "skewed", "silent", "devices")

# States are worked out in one place, for the list and for the counts. $1 to $3 are their bounds. The token of a gateway
# that has left its community has ended.
_GATEWAYS = f"""
SELECT c.name AS community, c.title AS community_title, {HEALTH},
       array_remove(ARRAY[
           CASE WHEN g.last_heartbeat_at IS NULL OR g.last_heartbeat_at <= now() - $1::interval THEN 'offline' END,
           CASE WHEN g.backlog > $2 THEN 'behind' END,
           CASE WHEN g.access_list_version IS DISTINCT FROM c.access_list_version THEN 'outdated' END,
           CASE WHEN abs(g.clock_skew_ms) > $3 THEN 'skewed' END,
           CASE WHEN cardinality(g.silent_cameras) > 0 THEN 'silent' END,
           CASE WHEN cardinality(g.device_faults) > 0 THEN 'devices' END], NULL) AS states
FROM gateway g JOIN community c ON c.id = g.community_id WHERE c.offboarded_at IS NULL
    AND (g.token_ends_at IS NULL OR g.token_ends_at > now())
"""  # noqa: S608 - text of this program
_BOUNDS = (ONLINE_WITHIN, BACKLOG, CLOCK_SKEW_MS)


@dataclass(frozen=True, kw_only=True)
class GatewayHealth(Health):
    """``states`` is empty for a gateway with which nothing is wrong; ``outdated``: it holds an older access list.

    The counts are since the gateway exists.
    """

    community: str
    community_title: str
    states: list[State]


class ReleaseOrder(Struct, frozen=True):
    """A release that a gateway should fetch, and how it went. ``state`` is ``wanted`` until the gateway has kept it,
    put back what ran before, or refused it; ``reason``: why not, or why not yet."""

    serial: int
    release: str
    state: str
    reason: str
    ordered_at: datetime
    reported_at: datetime | None


@dataclass(frozen=True)
class Summary:
    """``states`` counts gateways; one in several states is in the count of each."""

    communities: int
    gateways: int
    ok: int
    states: dict[State, int]


class Details(Struct, frozen=True):
    name: str
    title: str
    time_zone: str
    offboarded_at: datetime | None
    deletion_due: datetime | None


class Offboarded(Struct, frozen=True):
    """``gateways_until``: when the tokens of the community's gateways end."""

    offboarded_at: datetime
    gateways_until: datetime


async def gateways(
    connection: Connection,
    *,
    limit: int,
    after: tuple[str, str] | None = None,
    way: keyset.Way = keyset.ON,
    state: State | Literal["ok"] | None = None,
    search: str | None = None,
) -> list[GatewayHealth]:
    """Return gateways by community and name; ``after`` is ``(community, name)`` of the last one of the page before.

    ``search`` is text within the names of community or gateway, or in the community's title.
    """
    rows = await connection.fetch(
        f"""
        SELECT * FROM ({_GATEWAYS}) h
        WHERE ($4::text IS NULL OR (h.community, h.name) {way.above} ($4, $5))
          AND ($6::text IS NULL OR $6 = ANY(h.states) OR $6 = 'ok' AND h.states = '{{}}')
          AND ($7::text IS NULL OR strpos(lower(h.community || ' ' || h.community_title || ' ' || h.name), $7) > 0)
        ORDER BY h.community {way.up}, h.name {way.up} LIMIT $8
        """,  # noqa: S608 - text of this module
        *_BOUNDS,
        *(after or (None, None)),
        state,
        search and search.lower(),
        limit,
    )
    return [GatewayHealth(**row) for row in rows]


async def release_orders(
    connection: Connection, gateways: list[tuple[str, str]]
) -> dict[tuple[str, str], ReleaseOrder]:
    """Return what these gateways ``(community, name)`` should fetch; none for those that nothing was ordered for."""
    rows = await connection.fetch(
        """
        SELECT c.name AS community, g.name AS gateway, o.serial, r.release, o.state, o.reason, o.ordered_at,
               o.reported_at
        FROM unnest($1::text[], $2::text[]) AS wanted(community, gateway)
        JOIN community c ON c.name = wanted.community
        JOIN gateway g ON g.community_id = c.id AND g.name = wanted.gateway
        JOIN gateway_release_order o ON o.community_id = g.community_id AND o.gateway_id = g.id
        JOIN gateway_release r USING (serial)
        """,
        [community for community, _ in gateways],
        [name for _, name in gateways],
    )
    return {(community, gateway): ReleaseOrder(*order) for community, gateway, *order in rows}


async def summary(connection: Connection) -> Summary:
    """Count communities, and gateways by their states."""
    communities = await connection.fetchval("SELECT count(*) FROM community WHERE offboarded_at IS NULL")
    counts = ", ".join(f"count(*) FILTER (WHERE '{state}' = ANY(states)) AS {state}" for state in STATES)
    row = await connection.fetchrow(
        f"""
        SELECT count(*) AS gateways, count(*) FILTER (WHERE states = '{{}}') AS ok, {counts} FROM ({_GATEWAYS}) h
        """,  # noqa: S608 - text of this module
        *_BOUNDS,
    )
    return Summary(communities, row["gateways"], row["ok"], {state: row[state] for state in STATES})


async def communities(
    connection: Connection,
    *,
    limit: int,
    after: str | None = None,
    way: keyset.Way = keyset.ON,
    search: str | None = None,
) -> list[Community]:
    """Return communities by name, those that were offboarded too."""
    rows = await connection.fetch(
        f"""
        SELECT id, name, title, time_zone, offboarded_at FROM community
        WHERE ($1::text IS NULL OR name {way.above} $1)
          AND ($2::text IS NULL OR strpos(lower(name || ' ' || title), $2) > 0)
        ORDER BY name {way.up} LIMIT $3
        """,  # noqa: S608 - words of this module
        after,
        search and search.lower(),
        limit,
    )
    return [Community(**row) for row in rows]


async def details(connection: Connection, community_id: int) -> Details:
    """Return the community that the transaction is in."""
    row = await connection.fetchrow(
        "SELECT name, title, time_zone, offboarded_at, deletion_due FROM community WHERE id = $1", community_id
    )
    return Details(**row)


def checked(wish: Mapping[str, object]) -> desired.Community:
    """Return a new community as ``parkmesh admin apply`` takes it; raise ``Problem`` 422."""
    try:
        (community,) = desired.parse(msgspec.json.encode({"communities": [wish]})).communities
    except desired.DocumentError as error:
        where = str(error).replace("$.communities[0]", "$", 1)
        text = Message("The description of the community is not valid. %(error)s", error=where)
        raise Problem(422, text, kind="invalid") from None
    return community


async def onboard(connection: Connection, principal: Principal, wish: desired.Community) -> dict[str, str]:
    """Make a community with its gates, spaces and gateways; return the tokens of gateways that came without one.

    ``connection`` is in ``database.provisioning``. Raises ``Problem`` 409 where a community has the name already, or
    another gateway the token.
    """
    await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended('parkmesh admin apply', 0))")
    if await connection.fetchval("SELECT EXISTS (SELECT FROM community WHERE name = $1)", wish.name):
        raise Problem(409, "A community has this name already.", kind="exists")
    tokens: dict[str, str] = {}
    for gateway in wish.gateways:
        if gateway.token_sha256 is UNSET:
            tokens[gateway.name] = secrets.token_urlsafe(32)
            gateway.token_sha256 = hashlib.sha256(tokens[gateway.name].encode()).hexdigest()
    try:
        await provision.apply_community(connection, provision.Applied(), wish, "$")
    except desired.DocumentError as error:
        text = Message("The description contradicts existing data. %(error)s", error=error)
        raise Problem(409, text, kind="exists") from None
    identity = await connection.fetchval("SELECT id FROM community WHERE name = $1", wish.name)
    detail = {"name": wish.name, "gates": len(wish.gates), "spaces": len(wish.spaces), "gateways": len(wish.gateways)}
    await _record(connection, principal, identity, "community.create", detail)
    return tokens


async def offboard(connection: Connection, principal: audit.Actor, community_id: int, reason: str) -> Offboarded:
    """Let a community go: its members, API keys and plates have access no more; its data stays until it is due.

    ``connection`` is in ``database.provisioning``. Gateways that are online take the list on which every plate is
    revoked; their tokens end after ``GATEWAY_GRACE``. One that is offline knows its old list until that expires.
    Offboarding a second time changes nothing.
    """
    await database.set_community(connection, community_id)
    # Held so that a batch of events, which holds its gateway, may still refer to it: the gateways are changed below.
    before = await connection.fetchval(
        "SELECT offboarded_at FROM community WHERE id = $1 FOR NO KEY UPDATE", community_id
    )
    if before is not None:
        return Offboarded(before, before + GATEWAY_GRACE)
    for statement in (
        "UPDATE credential SET status = 'revoked' WHERE community_id = $1 AND status = 'active'",
        "UPDATE api_key SET revoked_at = now() WHERE community_id = $1 AND revoked_at IS NULL",
        """
        UPDATE web_session SET revoked_at = now() WHERE revoked_at IS NULL AND user_id IN (
            SELECT m.user_id FROM membership m JOIN app_user u ON u.id = m.user_id
            WHERE m.community_id = $1 AND NOT u.operator)
        """,
    ):
        await connection.execute(statement, community_id)
    at = await connection.fetchval(
        "UPDATE community SET offboarded_at = now() WHERE id = $1 RETURNING offboarded_at", community_id
    )
    await connection.execute(
        "UPDATE gateway SET token_ends_at = $2 WHERE community_id = $1", community_id, at + GATEWAY_GRACE
    )
    await _record(connection, principal, community_id, "community.offboard", {"reason": reason})
    return Offboarded(at, at + GATEWAY_GRACE)


async def delete_community(connection: Connection, principal: Principal, community_id: int) -> datetime:
    """Mark a community that was offboarded for deletion; return from when on ``parkmesh retention run`` deletes it.

    ``connection`` is in ``database.provisioning``. A second time changes nothing. Raises ``Problem`` 409 for one that
    was not offboarded.
    """
    await database.set_community(connection, community_id)
    before = await connection.fetchrow(
        "SELECT offboarded_at, deletion_due FROM community WHERE id = $1 FOR NO KEY UPDATE", community_id
    )
    if before["offboarded_at"] is None:
        raise Problem(409, "Offboard the community first: it is in use.", kind="in-use")
    if before["deletion_due"] is not None:
        kept: datetime = before["deletion_due"]
        return kept
    due: datetime = await connection.fetchval(
        "UPDATE community SET deletion_due = now() + $2::interval WHERE id = $1 RETURNING deletion_due",
        community_id,
        DELETION_GRACE,
    )
    await _record(connection, principal, community_id, "community.delete", {"due": due.isoformat()})
    return due


async def keep_community(connection: Connection, principal: Principal, community_id: int) -> None:
    """Take back that a community is to be deleted; it stays offboarded. ``connection`` is in ``database.provisioning``.

    Raises ``Problem`` 409 where its time has come: some of it may be gone already.
    """
    await database.set_community(connection, community_id)
    over = await connection.fetchval(
        "SELECT deletion_due <= now() FROM community WHERE id = $1 FOR NO KEY UPDATE", community_id
    )
    if over is None:
        return
    if over:
        raise Problem(409, "The community can't be kept any more: it is being deleted.", kind="over")
    await connection.execute("UPDATE community SET deletion_due = NULL WHERE id = $1", community_id)
    await _record(connection, principal, community_id, "community.keep", {})


async def _record(
    connection: Connection, principal: audit.Actor, community_id: int, action: str, detail: Mapping[str, object]
) -> None:
    """Write an act into the community's trail and into the desk's own."""
    await database.set_community(connection, community_id)
    for place in (community_id, OUTSIDE):
        await audit.record(connection, principal, place, action, f"community/{community_id}", detail)
