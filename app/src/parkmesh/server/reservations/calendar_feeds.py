"""Calendar addresses: what a user's calendar program reads of their bookings, shared times and visitors.

The address holds a token of which only the SHA-256 is stored; it begins with the community's number, so that the server
looks in that community alone. A user has one address in a community at a time: a new one ends the one before.
"""

import re
import secrets
from datetime import datetime, timedelta
from typing import Literal

from msgspec import Struct

from parkmesh.server import audit
from parkmesh.server.db import database
from parkmesh.server.db.database import Connection
from parkmesh.server.http import problems
from parkmesh.server.identity import principals
from parkmesh.server.identity.principals import Principal

KEPT = timedelta(days=30)
"""How long what is over and what was cancelled stays: a program that never sees it cancelled keeps it."""
MOST = 1000
_TOKEN = re.compile(r"([0-9a-f]{1,15})-[A-Za-z0-9_-]{43}")

Kind = Literal["booking", "visitor-pass", "shared"]


class Entry(Struct, frozen=True):
    """One thing to show. ``name`` names it for good within its kind; ``title`` is the space, or the visitor's name if
    one was given; ``place`` is the space's level, or the space booked for a visitor."""

    kind: Kind
    name: str
    title: str
    place: str
    from_: datetime
    until: datetime
    cancelled: bool
    changes: int
    changed_at: datetime


class Feed(Struct, frozen=True):
    """What an address shows. ``language`` is the user's, None where they chose none."""

    community: str
    community_title: str
    language: str | None
    entries: list[Entry]


async def made_at(connection: Connection, community_id: int, user_id: int) -> datetime | None:
    """Return when a user's present address was made, None where there is none."""
    found: datetime | None = await connection.fetchval(
        "SELECT created_at FROM calendar_feed WHERE community_id = $1 AND user_id = $2", community_id, user_id
    )
    return found


async def renew(connection: Connection, principal: Principal, community_id: int) -> str:
    """Return the token of a new address of the user; the one before shows nothing any more."""
    token = f"{community_id:x}-{secrets.token_urlsafe(32)}"
    await connection.execute(
        """
        INSERT INTO calendar_feed (community_id, user_id, token_sha256) VALUES ($1, $2, $3)
        ON CONFLICT (community_id, user_id)
            DO UPDATE SET token_sha256 = excluded.token_sha256, created_at = excluded.created_at
        """,
        community_id,
        principal.user_id,
        principals.digest(token),
    )
    await audit.record(connection, principal, community_id, "calendar.renew", f"user/{principal.user_id}")
    return token


async def end(connection: Connection, principal: Principal, community_id: int) -> None:
    """End the user's address, where there is one."""
    gone = await connection.fetchval(
        "DELETE FROM calendar_feed WHERE community_id = $1 AND user_id = $2 RETURNING true",
        community_id,
        principal.user_id,
    )
    if gone:
        await audit.record(connection, principal, community_id, "calendar.end", f"user/{principal.user_id}")


async def read(pool: database.Pool, token: str, now: datetime) -> Feed:
    """Return what an address shows; raise ``Problem`` 404 for one that shows nothing (any more)."""
    form = _TOKEN.fullmatch(token)
    if form is None or (community_id := int(form[1], 16)) >= 2**63:
        raise problems.not_found()
    async with database.in_community(pool, community_id, read_only=True) as connection:
        owner = await connection.fetchrow(
            """
            SELECT f.user_id, r.unit_id, c.name, c.title FROM calendar_feed f
            JOIN membership m USING (community_id, user_id)
            JOIN resident r ON r.community_id = m.community_id AND r.id = m.resident_id
            JOIN community c ON c.id = f.community_id
            WHERE f.community_id = $1 AND f.token_sha256 = $2 AND r.active AND c.offboarded_at IS NULL
            """,
            community_id,
            principals.digest(token),
        )
        if owner is None:
            raise problems.not_found()
        entries = await _entries(connection, community_id, owner["unit_id"], now - KEPT) if owner["unit_id"] else []
    async with database.in_identity(pool) as connection:
        user = await connection.fetchrow("SELECT active, language FROM app_user WHERE id = $1", owner["user_id"])
    if user is None or not user["active"]:
        raise problems.not_found()
    return Feed(owner["name"], owner["title"], user["language"], entries)


async def _entries(connection: Connection, community_id: int, unit_id: int, since: datetime) -> list[Entry]:
    rows = await connection.fetch(
        """
        SELECT * FROM (
            SELECT 'booking' AS kind, b.id::text AS name, s.name AS title, s.level AS place, b.starts_at AS from_,
                   b.ends_at AS until, b.status = 'cancelled' AS cancelled, b.changes,
                   coalesce(b.changed_at, b.cancelled_at, b.created_at) AS changed_at
            FROM booking b JOIN space s ON s.community_id = b.community_id AND s.id = b.space_id
            WHERE b.community_id = $1 AND b.unit_id = $2 AND b.visitor_pass_id IS NULL AND b.held_until IS NULL
              AND b.ends_at > $3 AND (b.status = 'active' OR b.cancelled_at > $3)
            UNION ALL
            SELECT 'visitor-pass', p.id::text, coalesce(p.name, ''),
                   coalesce((SELECT s.name FROM booking b
                             JOIN space s ON s.community_id = b.community_id AND s.id = b.space_id
                             WHERE b.community_id = p.community_id AND b.visitor_pass_id = p.id
                             ORDER BY b.id DESC LIMIT 1), ''),
                   p.starts_at, p.ends_at, p.status = 'cancelled', p.changes,
                   coalesce(p.changed_at, p.cancelled_at, p.created_at)
            FROM visitor_pass p
            WHERE p.community_id = $1 AND p.unit_id = $2 AND p.ends_at > $3
              AND (p.status = 'active' OR p.cancelled_at > $3)
            UNION ALL
            SELECT 'shared', s.id || '-' || extract(epoch FROM w.starts_at)::bigint, s.name, s.level, w.starts_at,
                   w.ends_at, false, 0, w.created_at
            FROM shared_window w JOIN space s ON s.community_id = w.community_id AND s.id = w.space_id
            WHERE w.community_id = $1 AND w.unit_id = $2 AND w.ends_at > $3
        ) found ORDER BY from_, kind, name LIMIT $4
        """,
        community_id,
        unit_id,
        since,
        MOST,
    )
    return [Entry(**row) for row in rows]
