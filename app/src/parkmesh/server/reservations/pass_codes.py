"""The QR code and the PIN of a visitor pass, and what gateways need to check them.

A pass has a code from the moment it is made, whether or not the community uses codes (rule ``visitor_codes``): the rule
may change while the pass is valid. Who gets a new link gets a new code with it. The community's signing key is made
with its first pass.

Connections are inside ``database.in_community``.
"""

import asyncio
import secrets
from datetime import datetime

import asyncpg
from msgspec import Struct

from parkmesh.domain import pass_codes
from parkmesh.domain.pass_codes import Code
from parkmesh.server.db.database import Connection

_TRIES = 20


class VisitorCode(Struct, frozen=True):
    """What opens the gates for a visitor: ``qr`` is the text of the QR code, ``pin`` what is typed instead."""

    qr: str
    pin: str


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
    key = await connection.fetchrow("SELECT signing, pins FROM pass_key WHERE community_id = $1", community_id)
    before = await connection.fetchval(
        "SELECT number FROM pass_code WHERE community_id = $1 AND visitor_pass_id = $2", community_id, pass_id
    )
    first = (before or 0) + 1
    # Two passes never have the same PIN: a number whose PIN another pass has is left out.
    for number in range(first, first + _TRIES):
        digits = pass_codes.pin(key["pins"], pass_id, number)
        digest = await asyncio.to_thread(pass_codes.pin_digest, key["signing"], digits)
        try:
            async with connection.transaction():
                await connection.execute(
                    """
                    INSERT INTO pass_code (community_id, visitor_pass_id, number, pin) VALUES ($1, $2, $3, $4)
                    ON CONFLICT (community_id, visitor_pass_id)
                        DO UPDATE SET number = excluded.number, pin = excluded.pin
                    """,
                    community_id,
                    pass_id,
                    number,
                    digest,
                )
        except asyncpg.UniqueViolationError:
            continue
        return
    raise RuntimeError(f"no PIN is free for visitor pass {pass_id}")


async def of_pass(connection: Connection, community_id: int, pass_id: int) -> VisitorCode | None:
    """Return a pass's code; None where the community uses none, or where the pass is of a release before and got no new
    link since."""
    row = await connection.fetchrow(
        """
        SELECT k.signing, k.pins, c.number, p.starts_at, p.ends_at
        FROM pass_code c
        JOIN pass_key k ON k.community_id = c.community_id
        JOIN visitor_pass p ON p.community_id = c.community_id AND p.id = c.visitor_pass_id
        JOIN community_rules r ON r.community_id = c.community_id AND r.visitor_codes
        WHERE c.community_id = $1 AND c.visitor_pass_id = $2
        """,
        community_id,
        pass_id,
    )
    if row is None:
        return None
    code = Code(pass_id, row["number"], _millis(row["starts_at"]), _millis(row["ends_at"]))
    return VisitorCode(pass_codes.text(row["signing"], code), pass_codes.pin(row["pins"], pass_id, row["number"]))


def _millis(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
