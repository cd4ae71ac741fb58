"""Which e-mails a user wants, and when not: kinds of e-mails that can be switched off, and quiet hours.

Invitations, links for a new password and what concerns the security of an account can't be switched off.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import time
from typing import Literal, cast

from msgspec import Struct

from parkmesh.server.db import database
from parkmesh.server.db.database import Connection, Pool
from parkmesh.server.http.problems import Problem
from parkmesh.server.identity.principals import Principal, Role

Kind = Literal[
    "booking-made",
    "booking-cancelled",
    "space-offered",
    "visitor-arrived",
    "plate-refused",
    "erasure-asked",
    "digest",
    "gateway-offline",
]
Audience = Literal["resident", "administrator", "operator"]
AUDIENCE: Mapping[Kind, Audience] = {
    "booking-made": "resident",
    "booking-cancelled": "resident",
    "space-offered": "resident",
    "visitor-arrived": "resident",
    "plate-refused": "resident",
    "erasure-asked": "administrator",
    "digest": "administrator",
    "gateway-offline": "operator",
}
"""Whom each kind of e-mail is for. Everybody gets what is for them, unless they switched it off."""


@dataclass(frozen=True)
class Place:
    """The e-mails of one community (None: of the operator's desk), each with whether it is wanted."""

    community_id: int | None
    wanted: dict[Kind, bool]


class QuietHours(Struct, frozen=True):
    """The time of day, by the community's clock, in which no e-mails are sent; over midnight where it ends earlier than
    it starts."""

    starts: time
    ends: time


def known(kind: str) -> Kind | None:
    """Return a kind of e-mails that can be switched off by its word, None for any other word."""
    return cast(Kind, kind) if kind in AUDIENCE else None


def kinds(role: Role, resident_id: int | None) -> list[Kind]:
    """Return the kinds of e-mails that are for a member with a role, and with a place as a resident or without one."""
    audiences: set[Audience] = set()
    if role is Role.OPERATOR:
        audiences.add("operator")
    if role is Role.ADMINISTRATOR:
        audiences.add("administrator")
    if resident_id is not None:
        audiences.add("resident")
    return [kind for kind, audience in AUDIENCE.items() if audience in audiences]


async def wanted(pool: Pool, user_id: int, community_id: int | None) -> dict[Kind, bool]:
    """Return what a user said of the kinds of e-mails in a community (None: at the desk)."""
    async with database.in_identity(pool) as connection:
        rows = await connection.fetch(
            """
            SELECT kind, wanted FROM notification_preference
            WHERE user_id = $1 AND community_id IS NOT DISTINCT FROM $2
            """,
            user_id,
            community_id,
        )
    return {row["kind"]: row["wanted"] for row in rows if row["kind"] in AUDIENCE}


async def set_wanted(pool: Pool, user_id: int, community_id: int | None, wish: Mapping[Kind, bool]) -> None:
    """Note which kinds of e-mails a user wants in a community (None: at the desk)."""
    async with database.in_identity(pool) as connection:
        await connection.execute(
            """
            INSERT INTO notification_preference (user_id, community_id, kind, wanted)
            SELECT $1, $2, w.kind, w.wanted FROM unnest($3::text[], $4::boolean[]) AS w(kind, wanted)
            ON CONFLICT (community_id, user_id, kind) DO UPDATE SET wanted = excluded.wanted
            """,
            user_id,
            community_id,
            list(wish),
            list(wish.values()),
        )


async def quiet_hours(pool: Pool, principal: Principal) -> QuietHours | None:
    async with database.in_identity(pool) as connection:
        row = await connection.fetchrow("SELECT quiet_from, quiet_until FROM app_user WHERE id = $1", principal.user_id)
    return None if row is None or row["quiet_from"] is None else QuietHours(row["quiet_from"], row["quiet_until"])


async def set_quiet_hours(pool: Pool, principal: Principal, hours: QuietHours | None) -> None:
    """Set a user's quiet hours (None: there are none). Raises ``Problem`` 422 for hours that are no time at all."""
    if hours and hours.starts == hours.ends:
        raise Problem(422, "Quiet hours end at another time than they start.", kind="invalid")
    async with database.in_identity(pool) as connection:
        await connection.execute(
            "UPDATE app_user SET quiet_from = $2, quiet_until = $3 WHERE id = $1",
            principal.user_id,
            hours.starts if hours else None,
            hours.ends if hours else None,
        )


async def forget(connection: Connection, user_id: int, community_id: int) -> None:
    """Forget what a user who leaves a community wanted there. The transaction is in the scope ``identity``."""
    await connection.execute(
        "DELETE FROM notification_preference WHERE user_id = $1 AND community_id = $2", user_id, community_id
    )
