"""The QR code and the PIN of a visitor pass, and what gateways need to check them.

A pass has a code from the moment it is made, whether or not the community uses codes (rule ``visitor_codes``): the rule
may change while the pass is valid. Who gets a new link gets a new code with it. The community's signing key is made
with its first pass, and can be renewed: what the key before signed opens until its pass is over. What PINs are made of
stays, since gateways don't have it.

Connections are inside ``database.in_community``.
"""

import asyncio
import secrets
from dataclasses import dataclass
from datetime import datetime

import asyncpg
from msgspec import Struct

from parkmesh.domain import pass_codes
from parkmesh.domain.pass_codes import Code
from parkmesh.server import audit
from parkmesh.server.db.database import Connection
from parkmesh.server.http.messages import Message
from parkmesh.server.http.problems import Problem

MOST_FORMER = 3
"""So many former keys may still be in use: a gateway tries a PIN with each of them, 20 ms a key."""
_TRIES = 20
_TAKEN = """
SELECT EXISTS (SELECT FROM pass_code WHERE community_id = $1 AND visitor_pass_id <> $2 AND pin = ANY($3))
"""
_STANDING = """
SELECT k.number, k.renewed_at, count(DISTINCT f.number) AS former_keys, max(p.ends_at) AS former_until,
       ARRAY(SELECT g.name FROM gateway g
             WHERE g.community_id = k.community_id AND coalesce(g.access_list_version, 0) < k.list_version
               AND (g.token_ends_at IS NULL OR g.token_ends_at > now()) ORDER BY g.name) AS outdated_gateways
FROM pass_key k
LEFT JOIN (former_pass_key f
           JOIN pass_code c ON c.community_id = f.community_id AND c.key = f.number
           JOIN visitor_pass p ON p.community_id = c.community_id AND p.id = c.visitor_pass_id AND p.ends_at > now())
    ON f.community_id = k.community_id
WHERE k.community_id = $1 GROUP BY k.community_id
"""


class VisitorCode(Struct, frozen=True):
    """What opens the gates for a visitor: ``qr`` is the text of the QR code, ``pin`` what is typed instead."""

    qr: str
    pin: str


@dataclass(frozen=True)
class CodeKey:
    """The key that signs a community's codes. ``former_keys`` signed codes of passes that aren't over, the last of
    which ends at ``former_until``. ``outdated_gateways`` haven't heard of the present key yet: QR codes that it signed
    open nothing there."""

    number: int
    renewed_at: datetime | None
    former_keys: int
    former_until: datetime | None
    outdated_gateways: list[str]


async def renew(connection: Connection, community_id: int, pass_id: int) -> None:
    """Give a pass a code; the one that it had opens nothing any more, as soon as the gateways know."""
    await connection.execute(
        """
        INSERT INTO pass_key (community_id, signing, pins) VALUES ($1, $2, $3) ON CONFLICT (community_id) DO NOTHING
        """,
        community_id,
        secrets.token_bytes(pass_codes.KEY_BYTES),
        secrets.token_bytes(pass_codes.KEY_BYTES),
    )
    # A renewal waits: a code that it doesn't see yet would be of a key that it forgets.
    key = await connection.fetchrow(
        "SELECT number, signing, pins FROM pass_key WHERE community_id = $1 FOR SHARE", community_id
    )
    former = await connection.fetch("SELECT signing FROM former_pass_key WHERE community_id = $1", community_id)
    before = await connection.fetchval(
        "SELECT number FROM pass_code WHERE community_id = $1 AND visitor_pass_id = $2", community_id, pass_id
    )
    first = (before or 0) + 1
    # Two passes never have the same PIN: a number whose PIN another pass has is left out.
    for number in range(first, first + _TRIES):
        digits = pass_codes.pin(key["pins"], pass_id, number)
        digest, *others = [
            await asyncio.to_thread(pass_codes.pin_digest, one["signing"], digits) for one in (key, *former)
        ]
        if others and await connection.fetchval(_TAKEN, community_id, pass_id, others):
            continue
        try:
            async with connection.transaction():
                await connection.execute(
                    """
                    INSERT INTO pass_code (community_id, visitor_pass_id, number, pin, key) VALUES ($1, $2, $3, $4, $5)
                    ON CONFLICT (community_id, visitor_pass_id)
                        DO UPDATE SET number = excluded.number, pin = excluded.pin, key = excluded.key
                    """,
                    community_id,
                    pass_id,
                    number,
                    digest,
                    key["number"],
                )
        except asyncpg.UniqueViolationError:
            continue
        return
    raise RuntimeError(f"no PIN is free for visitor pass {pass_id}")


async def of_pass(connection: Connection, community_id: int, pass_id: int) -> VisitorCode | None:
    """Return a pass's code; None where the community uses none, where the pass is of a release before and got no new
    link since, or where it is over and its key forgotten."""
    row = await connection.fetchrow(
        """
        SELECT CASE c.key WHEN k.number THEN k.signing ELSE f.signing END AS signing, k.pins, c.number,
               p.starts_at, p.ends_at
        FROM pass_code c
        JOIN pass_key k ON k.community_id = c.community_id
        LEFT JOIN former_pass_key f ON f.community_id = c.community_id AND f.number = c.key
        JOIN visitor_pass p ON p.community_id = c.community_id AND p.id = c.visitor_pass_id
        JOIN community_rules r ON r.community_id = c.community_id AND r.visitor_codes
        WHERE c.community_id = $1 AND c.visitor_pass_id = $2
        """,
        community_id,
        pass_id,
    )
    if row is None or row["signing"] is None:
        return None
    code = Code(pass_id, row["number"], _millis(row["starts_at"]), _millis(row["ends_at"]))
    return VisitorCode(pass_codes.text(row["signing"], code), pass_codes.pin(row["pins"], pass_id, row["number"]))


async def key(connection: Connection, community_id: int, *, lock: bool = False) -> CodeKey | None:
    """Return what is known of a community's key, held where it is to be renewed; None before its first pass."""
    if lock:
        await connection.execute("SELECT FROM pass_key WHERE community_id = $1 FOR UPDATE", community_id)
    row = await connection.fetchrow(_STANDING, community_id)
    return None if row is None else CodeKey(**row)


async def renew_key(connection: Connection, principal: audit.Actor, community_id: int, present: CodeKey) -> CodeKey:
    """Put another key in the place of the one that is held. Gateways take both until the last pass whose code the key
    before signed is over; of that they take only what their list names, since the key may be in the wrong hands.

    Raises ``Problem`` 409 ``code-keys`` while ``MOST_FORMER`` former keys are in use.
    """
    if present.former_keys >= MOST_FORMER:
        raise Problem(
            409,
            Message(
                "Codes of %(keys)s former keys are still valid. A new key can be made when the passes of one are over.",
                keys=present.former_keys,
            ),
            kind="code-keys",
        )
    await connection.execute(
        "INSERT INTO former_pass_key (community_id, number, signing) "
        "SELECT community_id, number, signing FROM pass_key WHERE community_id = $1",
        community_id,
    )
    await connection.execute(
        "UPDATE pass_key SET signing = $2, number = number + 1, renewed_at = now() WHERE community_id = $1",
        community_id,
        secrets.token_bytes(pass_codes.KEY_BYTES),
    )
    # The trigger has made this version: the first list with the key.
    await connection.execute(
        "UPDATE pass_key k SET list_version = c.access_list_version FROM community c "
        "WHERE c.id = k.community_id AND k.community_id = $1",
        community_id,
    )
    detail = {"number": present.number + 1}
    await audit.record(connection, principal, community_id, "code-key.renew", "code-key", detail)
    renewed = await key(connection, community_id)
    assert renewed is not None
    return renewed


def _millis(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
