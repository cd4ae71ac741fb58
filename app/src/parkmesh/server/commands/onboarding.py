"""What onboarding a community needs of the application: an administrator's invitation, plates for a test, and what came
of the test.

The plates belong to the community itself and end by themselves. An invitation's link is shown once, to its
maker.
"""

import asyncio
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from msgspec import Struct

from parkmesh.server.access import credentials
from parkmesh.server.db import database
from parkmesh.server.identity.principals import Membership, Principal, Role
from parkmesh.server.people import invitations, members
from parkmesh.server.settings import Settings
from parkmesh.server.web import links

LABEL = "Test of the gates"
_LOOK_EVERY_S = 0.5
_TRIES = 100


class UnknownCommunityError(Exception):
    """There is no community of that name."""


@dataclass(frozen=True)
class CommandLine(Principal):
    """Whoever runs ``parkmesh admin``: an operator whom no account tells."""

    @property
    def actor(self) -> str:
        return "system:admin"


ADMIN = CommandLine(user_id=0, email="", name="", operator=True, memberships={}, session=b"")


class Invited(Struct, frozen=True):
    """``state``: ``made`` now, ``pending`` since ``sent_at``, or ``member`` where the address has an account here.

    ``link`` and ``code`` are there only for an invitation that was made now; so is ``mailed``.
    """

    changed: bool
    state: Literal["made", "pending", "member"]
    email: str
    link: str | None = None
    code: str | None = None
    mailed: bool = False
    sent_at: datetime | None = None
    expires_at: datetime | None = None


class TestPlates(Struct, frozen=True):
    """Plates that open the community's gates until ``valid_until``."""

    __test__ = False

    changed: bool
    plates: list[str]
    valid_until: datetime


class TestPassage(Struct, frozen=True):
    """A passage as the application keeps it; ``opened``: the barrier confirmed the pulse (None: there was none)."""

    __test__ = False

    plate: str
    gate: str
    direction: str
    decision: str
    reason: str
    opened: bool | None
    camera: str | None
    received_at: datetime


async def _community(pool: database.Pool, name: str) -> int:
    async with database.at_desk(pool) as connection:
        found: int | None = await connection.fetchval("SELECT id FROM community WHERE name = $1", name)
    if found is None:
        raise UnknownCommunityError(f"there is no community {name}")
    return found


async def invite(pool: database.Pool, settings: Settings, community: str, email: str, *, again: bool) -> Invited:
    """Invite an address as administrator of a community.

    An invitation that waits is left alone, unless ``again``: then it gets a new link, which ends the one before. Raises
    ``UnknownCommunityError``; ``Problem`` where the address can't be invited.
    """
    community_id = await _community(pool, community)
    email = email.strip().lower()
    mailed = settings.mail is not None
    async with members.with_accounts(pool, community_id) as connection:
        if await invitations.is_member(connection, community_id, email):
            return Invited(changed=False, state="member", email=email)
        waiting = await connection.fetchrow(
            """
            SELECT id, sent_at, expires_at FROM invitation
            WHERE community_id = $1 AND kind = 'join' AND email = $2 AND accepted_at IS NULL AND revoked_at IS NULL
              AND expires_at > now()
            """,
            community_id,
            email,
        )
    if waiting is not None and not again:
        return Invited(False, "pending", email, sent_at=waiting["sent_at"], expires_at=waiting["expires_at"])
    if waiting is not None:
        invitation, made = await invitations.resend(pool, ADMIN, community_id, waiting["id"], mailed=mailed)
    else:
        member = Membership(community_id, community, Role.OPERATOR, None)
        invitation, made = await invitations.invite(pool, ADMIN, member, email, Role.ADMINISTRATOR, None, mailed=mailed)
    link = f"{(settings.public_url or '').rstrip('/')}/{links.JOIN}/{made.token}"
    return Invited(True, "made", email, link, made.code, mailed, invitation.sent_at, invitation.expires_at)


async def add_test_plates(pool: database.Pool, community: str, count: int, life: timedelta) -> TestPlates:
    """Give ``count`` invented plates to a community, for ``life``. Raises ``UnknownCommunityError``."""
    community_id = await _community(pool, community)
    until = datetime.now(UTC) + life
    async with database.in_community(pool, community_id) as connection:
        taken = {row["plate"] for row in await connection.fetch("SELECT plate FROM credential WHERE plate ~ '^TEST'")}
        made: list[str] = []
        for _ in range(_TRIES * count):
            plate = f"TEST{secrets.randbelow(9000) + 1000}"
            # Plates that differ in one character could be taken for each other's misreading.
            if all(sum(a != b for a, b in zip(plate, other, strict=False)) > 1 for other in (*taken, *made)):
                made.append(plate)
            if len(made) == count:
                break
        for plate in made:
            await credentials.add(
                connection,
                ADMIN,
                community_id,
                resident_id=None,
                plate=plate,
                label=LABEL,
                valid_until=until,
                by_staff=True,
            )
    return TestPlates(changed=bool(made), plates=made, valid_until=until)


async def passages_of(
    pool: database.Pool, community: str, plates: Sequence[str], since: timedelta, count: int, wait_s: float
) -> list[TestPassage]:
    """Return the latest passage of each plate at each gate and in each direction within ``since``.

    It returns as soon as there are ``count``, or after ``wait_s`` seconds. Raises ``UnknownCommunityError``.
    """
    community_id = await _community(pool, community)
    deadline = time.monotonic() + wait_s
    while True:
        async with database.in_community(pool, community_id, read_only=True) as connection:
            found = await connection.fetch(
                """
                SELECT DISTINCT ON (plate, gate, direction)
                       plate, gate, direction, decision, reason, opened, camera, received_at
                FROM passage
                WHERE community_id = $1 AND received_at > now() - $3::interval AND plate = ANY($2::text[])
                ORDER BY plate, gate, direction, received_at DESC
                """,
                community_id,
                list(plates),
                since,
            )
        if len(found) >= count or time.monotonic() >= deadline:
            return [TestPassage(**dict(row)) for row in found]
        await asyncio.sleep(_LOOK_EVERY_S)
