"""Invitations into a community, and links that let a member set a new password.

Both work the same way: a link with a random token, and a short code for people who can't open a link, typed in together
with the e-mail address. The database keeps the token's SHA-256 and an argon2id hash of the code. Link and code hold for
``LIFE``, once; their maker can revoke them or make new ones, which ends the old.

Guessing a code is limited three ways: by address and account like signing in, and by ``CODE_ATTEMPTS`` for each
invitation, after which only its link is left.

An account that exists already is never touched by an invitation: its owner signs in first. An administrator makes no
reset for an account that belongs to another community too: the administrator could get into that one.
"""

import asyncio
import re
import secrets
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import IPv4Address, IPv6Address
from typing import Any, Literal

import asyncpg
from msgspec import Struct

from parkmesh.server import audit
from parkmesh.server.db import database
from parkmesh.server.db.database import Connection
from parkmesh.server.http import problems
from parkmesh.server.http.problems import Problem
from parkmesh.server.identity import limits, passwords, principals
from parkmesh.server.identity.accounts import refuse_weak
from parkmesh.server.identity.principals import Membership, Principal, Role
from parkmesh.server.outbox import messages
from parkmesh.server.people import members, units
from parkmesh.server.people.residents import no_such_unit
from parkmesh.server.telemetry import logs

LIFE = timedelta(days=14)
RESET_LIFE = timedelta(days=2)
CODE_ALPHABET = "23456789ABCDEFGHJKMNPQRSTVWXYZ"
CODE_LENGTH = 10
CODE_ATTEMPTS = 10
MAIL = "invitation"
"""The kind of the mail that carries an invitation."""
_NO_CODE = "!"
"""In place of a code's hash: no code fits it."""

Kind = Literal["join", "reset"]
State = Literal["pending", "accepted", "revoked", "expired"]

_NOT_IN_CODE = re.compile(r"[^0-9A-Z]")


class Invitation(Struct, frozen=True):
    """``state`` is of now; ``sent_at`` is when the link and code that hold were made."""

    id: int
    email: str
    role: Role
    unit_id: int | None
    unit: str | None
    state: State
    created_at: datetime
    sent_at: datetime
    expires_at: datetime


class Secrets(Struct, frozen=True):
    """What opens an invitation; shown once, to its maker. ``code`` is grouped for reading."""

    token: str
    code: str
    expires_at: datetime


class Offer(Struct, frozen=True):
    """What the holder of a link or code may know before accepting. ``account``: the address has an account already,
    whose owner signs in first."""

    kind: Kind
    email: str
    community_id: int
    community: str
    title: str
    role: Role | None
    unit: str | None
    account: bool
    expires_at: datetime


@dataclass(frozen=True)
class Claim:
    """What a client presents: a link's token, or an e-mail address with a code."""

    token: str | None = None
    email: str | None = None
    code: str | None = None


@dataclass(frozen=True)
class _Found:
    community_id: int
    id: int
    token_sha256: bytes


_STATE = """
    CASE WHEN i.accepted_at IS NOT NULL THEN 'accepted' WHEN i.revoked_at IS NOT NULL THEN 'revoked'
         WHEN i.expires_at <= now() THEN 'expired' ELSE 'pending' END
"""
_SELECT = f"""
    SELECT i.id, i.email, i.role, i.unit_id, u.name AS unit, {_STATE} AS state, i.created_at, i.sent_at, i.expires_at
    FROM invitation i LEFT JOIN unit u ON u.community_id = i.community_id AND u.id = i.unit_id
    WHERE i.community_id = $1 AND i.kind = 'join'
"""  # noqa: S608 - columns of this module


def _invitation(row: Any) -> Invitation:
    return Invitation(**(dict(row) | {"role": Role(row["role"])}))


async def page(
    connection: Connection, community_id: int, *, limit: int, after: tuple[int] | None = None
) -> list[Invitation]:
    """Return invitations, latest first. ``connection`` is inside ``database.in_community``."""
    rows = await connection.fetch(
        f"{_SELECT} AND ($2::bigint IS NULL OR i.id < $2) ORDER BY i.id DESC LIMIT $3",
        community_id,
        after[0] if after else None,
        limit,
    )
    return [_invitation(row) for row in rows]


async def get(connection: Connection, community_id: int, invitation_id: int, *, lock: bool = False) -> Invitation:
    """Return an invitation, locked for a change where asked; raise ``Problem`` 404."""
    if lock:
        await connection.execute(
            "SELECT FROM invitation WHERE community_id = $1 AND id = $2 FOR UPDATE", community_id, invitation_id
        )
    row = await connection.fetchrow(f"{_SELECT} AND i.id = $2", community_id, invitation_id)
    if row is None:
        raise problems.not_found()
    return _invitation(row)


async def invite(
    pool: database.Pool,
    principal: Principal,
    member: Membership,
    email: str,
    role: Role,
    unit: int | units.Named | None,
    *,
    mailed: bool,
) -> tuple[Invitation, Secrets]:
    """Invite an address into a community and a ``unit``, by its id or its name, and mail link and code to it where
    ``mailed``.

    Raises ``Problem`` 409 where the address belongs to a member or to a person who is invited already; 422 for an
    unknown unit that isn't to be made, and for an auditor with any. A unit is made only if the invitation is.
    """
    if role is Role.AUDITOR and unit is not None:
        raise Problem(422, "unit_id: an auditor belongs to no unit", kind="invalid")
    made = _new_secrets()
    code_hash = await passwords.hash_new(_plain(made.code))
    community_id = member.community_id
    async with members.with_accounts(pool, community_id) as connection:
        if await is_member(connection, community_id, email):
            raise Problem(409, "This address belongs to a member of the community already.", kind="member")
        unit_id = (
            await units.id_of(connection, principal, community_id, unit) if isinstance(unit, units.Named) else unit
        )
        await connection.execute(
            """
            UPDATE invitation SET revoked_at = now() WHERE community_id = $1 AND kind = 'join' AND email = $2
              AND accepted_at IS NULL AND revoked_at IS NULL AND expires_at <= now()
            """,
            community_id,
            email,
        )
        try:
            async with connection.transaction():
                invitation_id: int = await connection.fetchval(
                    """
                    INSERT INTO invitation
                        (community_id, kind, email, role, unit_id, token_sha256, code_hash, by_desk, expires_at)
                    VALUES ($1, 'join', $2, $3, $4, $5, $6, $7, now() + $8::interval) RETURNING id
                    """,
                    community_id,
                    email,
                    role.value,
                    unit_id,
                    principals.digest(made.token),
                    code_hash,
                    principal.operator,
                    LIFE,
                )
        except asyncpg.UniqueViolationError:
            raise Problem(409, "This address is invited already. Send that invitation again.", kind="invited") from None
        except asyncpg.ForeignKeyViolationError:
            raise no_such_unit() from None
        detail = {"role": role.value, "unit": unit_id}
        await audit.record(
            connection, principal, community_id, "invitation.create", f"invitation/{invitation_id}", detail
        )
        invitation = await get(connection, community_id, invitation_id)
        if mailed:
            await _mail(connection, community_id, [(invitation, made)])
    return invitation, Secrets(made.token, made.code, invitation.expires_at)


async def resend(
    pool: database.Pool, principal: Principal, community_id: int, invitation_id: int, *, mailed: bool
) -> tuple[Invitation, Secrets]:
    """Make a new link and code, from now on for ``LIFE``, and mail them where ``mailed``; the old ones end.

    Raises ``Problem`` 409 where the invitation is over.
    """
    made = _new_secrets()
    code_hash = await passwords.hash_new(_plain(made.code))
    async with members.with_accounts(pool, community_id) as connection:
        present = await get(connection, community_id, invitation_id, lock=True)
        if present.state not in ("pending", "expired"):
            raise Problem(409, "This invitation was accepted or revoked. Make a new one.", kind="over")
        await connection.execute(
            """
            UPDATE invitation SET token_sha256 = $3, code_hash = $4, code_attempts = 0, by_desk = $5, sent_at = now(),
                                  expires_at = now() + $6::interval
            WHERE community_id = $1 AND id = $2
            """,
            community_id,
            invitation_id,
            principals.digest(made.token),
            code_hash,
            principal.operator,
            LIFE,
        )
        await audit.record(connection, principal, community_id, "invitation.resend", f"invitation/{invitation_id}")
        invitation = await get(connection, community_id, invitation_id)
        if mailed:
            await _mail(connection, community_id, [(invitation, made)])
    return invitation, Secrets(made.token, made.code, invitation.expires_at)


def no_mail() -> Problem:
    """Return the answer to what works by mail only, where the service sends none."""
    return Problem(409, "This service sends no e-mails. Its operators can set it up.", kind="no-mail")


@dataclass(frozen=True, slots=True)
class Skipped:
    """An address that was not invited. ``why`` is ``member`` (it has an account here), ``invited`` (an invitation is
    open) or ``left`` (the person has left the community)."""

    email: str
    why: Literal["member", "invited", "left"]


@dataclass(frozen=True, slots=True)
class BulkInvited:
    """How many people were invited by mail, and who was left out."""

    made: int
    skipped: list[Skipped]


async def invite_many(
    pool: database.Pool, principal: Principal, member: Membership, resident_ids: list[int] | None
) -> BulkInvited:
    """Invite people whom the community knows, by mail: those of ``resident_ids``, or all without an account (None).

    Their mails have a link and no code: a code costs much work to check and to make. Unknown ids are left out.
    """
    community_id = member.community_id
    async with members.with_accounts(pool, community_id) as connection:
        # One after the other: two at the same time would invite people twice.
        await connection.execute("SELECT pg_advisory_xact_lock(hashtextextended('invite many', $1))", community_id)
        rows = await connection.fetch(
            """
            SELECT r.email, r.unit_id, CASE
                WHEN NOT r.active THEN 'left'
                WHEN EXISTS (SELECT FROM membership m JOIN app_user u ON u.id = m.user_id
                             WHERE m.community_id = $1 AND u.email = r.email) THEN 'member'
                WHEN EXISTS (SELECT FROM invitation i WHERE i.community_id = $1 AND i.kind = 'join'
                             AND i.email = r.email AND i.accepted_at IS NULL AND i.revoked_at IS NULL
                             AND i.expires_at > now()) THEN 'invited' END AS why
            FROM resident r
            WHERE r.community_id = $1 AND r.erased_at IS NULL AND ($2::bigint[] IS NULL OR r.id = ANY($2))
            ORDER BY r.id
            """,
            community_id,
            resident_ids,
        )
        invited = [row for row in rows if row["why"] is None]
        skipped = [Skipped(row["email"], row["why"]) for row in rows if row["why"] is not None]
        if resident_ids is None:
            # They were not asked for one by one; members and people who left are no news.
            skipped = [item for item in skipped if item.why == "invited"]
        opened = [(row["email"], row["unit_id"], secrets.token_urlsafe(32)) for row in invited]
        await connection.execute(
            """
            UPDATE invitation SET revoked_at = now() WHERE community_id = $1 AND kind = 'join' AND email = ANY($2)
              AND accepted_at IS NULL AND revoked_at IS NULL
            """,
            community_id,
            [email for email, _, _ in opened],
        )
        made = await connection.fetch(
            """
            INSERT INTO invitation (community_id, kind, email, role, unit_id, token_sha256, code_hash, by_desk,
                                    expires_at)
            SELECT $1, 'join', o.email, 'resident', o.unit_id, o.token, $5, $6, now() + $7::interval
            FROM unnest($2::text[], $3::bigint[], $4::bytea[]) AS o(email, unit_id, token)
            RETURNING id, email
            """,
            community_id,
            [email for email, _, _ in opened],
            [unit_id for _, unit_id, _ in opened],
            [principals.digest(token) for _, _, token in opened],
            _NO_CODE,
            principal.operator,
            LIFE,
        )
        ids = {row["email"]: row["id"] for row in made}
        for email, unit_id, _ in opened:
            detail = {"role": Role.RESIDENT.value, "unit": unit_id, "many": True}
            await audit.record(
                connection, principal, community_id, "invitation.create", f"invitation/{ids[email]}", detail
            )
        await _mail_links(connection, community_id, [(email, token, None) for email, _, token in opened], LIFE)
    return BulkInvited(len(opened), skipped)


async def _mail(connection: Connection, community_id: int, opened: list[tuple[Invitation, "_New"]]) -> None:
    links = [(invitation.email, made.token, made.code) for invitation, made in opened]
    await _mail_links(connection, community_id, links, LIFE)


async def _mail_links(
    connection: Connection, community_id: int, opened: Sequence[tuple[str, str, str | None]], life: timedelta
) -> None:
    """Mail links and codes to their addresses, in the language of the account or of the community."""
    place = await connection.fetchrow(
        "SELECT title, time_zone, language, now() + $2::interval AS until FROM community WHERE id = $1",
        community_id,
        life,
    )
    chosen = dict(
        await connection.fetch(
            "SELECT email, language FROM app_user WHERE email = ANY($1) AND language IS NOT NULL",
            [email for email, _, _ in opened],
        )
    )
    known = {"community": place["title"], "until": place["until"].isoformat(), "zone": place["time_zone"]}
    await messages.mail(
        connection,
        community_id,
        MAIL,
        [
            messages.Mail(
                email,
                chosen.get(email, place["language"]),
                known | {"token": token, "code": code},
                useless_at=place["until"],
            )
            for email, token, code in opened
        ],
    )


async def revoke(connection: Connection, principal: Principal, community_id: int, invitation: Invitation) -> None:
    """End an invitation that is locked; raise ``Problem`` 409 where it was accepted."""
    if invitation.state == "accepted":
        raise Problem(409, "This invitation was accepted. Take the account out of the community instead.", kind="over")
    if invitation.state == "revoked":
        return
    await connection.execute(
        "UPDATE invitation SET revoked_at = now() WHERE community_id = $1 AND id = $2", community_id, invitation.id
    )
    await audit.record(connection, principal, community_id, "invitation.revoke", f"invitation/{invitation.id}")


async def offer_reset(pool: database.Pool, principal: Principal, member: Membership, user_id: int) -> Secrets:
    """Make a link and code with which a member sets a new password; earlier links and codes for that member end.

    Raises ``Problem`` 404 where the user is no member, 409 where the account belongs to more than this community.
    """
    made = _new_secrets()
    code_hash = await passwords.hash_new(_plain(made.code))
    community_id = member.community_id
    async with members.with_accounts(pool, community_id) as connection:
        account = await members.get(connection, community_id, user_id)
        if not await _may_be_reset(connection, community_id, user_id, by_desk=principal.operator):
            raise Problem(
                409,
                "This account doesn't belong to this community alone; the operator's desk can help its owner.",
                kind="not-yours",
            )
        await connection.execute(
            """
            UPDATE invitation SET revoked_at = now() WHERE community_id = $1 AND kind = 'reset' AND email = $2
              AND accepted_at IS NULL AND revoked_at IS NULL
            """,
            community_id,
            account.email,
        )
        expires_at: datetime = await connection.fetchval(
            """
            INSERT INTO invitation
                (community_id, kind, email, user_id, token_sha256, code_hash, by_desk, expires_at)
            VALUES ($1, 'reset', $2, $3, $4, $5, $6, now() + $7::interval) RETURNING expires_at
            """,
            community_id,
            account.email,
            user_id,
            principals.digest(made.token),
            code_hash,
            principal.operator,
            RESET_LIFE,
        )
        await audit.record(connection, principal, community_id, "password.offer-reset", f"user/{user_id}")
    return Secrets(made.token, made.code, expires_at)


async def look(pool: database.Pool, claim: Claim, address: IPv4Address | IPv6Address) -> Offer:
    """Return what a claim is for; raise ``Problem`` 404 for one that opens nothing (any more), 429 after many."""
    found = await _find(pool, claim, address)
    async with _claimed(pool, found) as (connection, row):
        place = await connection.fetchrow(
            """
            SELECT c.name, c.title, u.name AS unit
            FROM community c LEFT JOIN unit u ON u.community_id = c.id AND u.id = $2 WHERE c.id = $1
            """,
            found.community_id,
            row["unit_id"],
        )
        account = await connection.fetchval("SELECT EXISTS (SELECT FROM app_user WHERE email = $1)", row["email"])
    return Offer(
        kind=row["kind"],
        email=row["email"],
        community_id=found.community_id,
        community=place["name"],
        title=place["title"],
        role=Role(row["role"]) if row["role"] else None,
        unit=place["unit"],
        account=account,
        expires_at=row["expires_at"],
    )


async def accept_as_new(
    pool: database.Pool,
    claim: Claim,
    *,
    name: str,
    password: str,
    language: str,
    address: IPv4Address | IPv6Address,
    device: str,
) -> str:
    """Make an account for the invited address and return the token of its first session. ``language`` is that of
    messages to the user.

    Raises ``Problem`` 404 and 429 as ``look``, 422 for a weak password, 409 where the address has an account.
    """
    found = await _find(pool, claim, address)
    password_hash = await passwords.hash_new(password)
    async with _claimed(pool, found, kind="join") as (connection, row):
        refuse_weak(password, row["email"], name)
        user_id = await connection.fetchval(
            """
            INSERT INTO app_user (email, name, password_hash, language) VALUES ($1, $2, $3, $4)
            ON CONFLICT DO NOTHING RETURNING id
            """,
            row["email"],
            name,
            password_hash,
            language,
        )
        if user_id is None:
            raise Problem(409, "This address has an account. Sign in with it first.", kind="has-account")
        await _join(connection, found, row, user_id, name)
        await _succeeded(connection, claim, address)
        return await principals.open_session(connection, user_id, "invitation", device)


async def accept(pool: database.Pool, principal: Principal, claim: Claim, address: IPv4Address | IPv6Address) -> str:
    """Let a signed-in user join by an invitation to their own address; return the community's name.

    Raises ``Problem`` 404 and 429 as ``look``, 409 where the invitation is for another address or the user is a member.
    """
    found = await _find(pool, claim, address)
    async with _claimed(pool, found, kind="join") as (connection, row):
        if row["email"] != principal.email:
            raise Problem(409, "This invitation is for another address than your account's.", kind="other-account")
        if not await connection.fetchval("SELECT active FROM app_user WHERE id = $1", principal.user_id):
            raise _invalid()
        await _join(connection, found, row, principal.user_id, principal.name)
        await _succeeded(connection, claim, address)
        community: str = await connection.fetchval("SELECT name FROM community WHERE id = $1", found.community_id)
    return community


async def set_password(
    pool: database.Pool, claim: Claim, *, password: str, address: IPv4Address | IPv6Address, device: str
) -> str:
    """Set a new password by a reset link or code; all sessions end, and the token of a new one is returned.

    Raises ``Problem`` 404 and 429 as ``look``, 422 for a weak password.
    """
    found = await _find(pool, claim, address)
    password_hash = await passwords.hash_new(password)
    async with _claimed(pool, found, kind="reset") as (connection, row):
        user = await connection.fetchrow("SELECT email, name FROM app_user WHERE id = $1 AND active", row["user_id"])
        # What the account belongs to may have changed since the link was made.
        if user is None or not await _may_be_reset(
            connection, found.community_id, row["user_id"], by_desk=row["by_desk"]
        ):
            raise _invalid()
        refuse_weak(password, user["email"], user["name"])
        await connection.execute("UPDATE app_user SET password_hash = $2 WHERE id = $1", row["user_id"], password_hash)
        await connection.execute(
            "UPDATE web_session SET revoked_at = now() WHERE user_id = $1 AND revoked_at IS NULL", row["user_id"]
        )
        await connection.execute(
            "DELETE FROM sign_in_attempt WHERE account_sha256 = $1", principals.digest(user["email"])
        )
        await _use_up(connection, found)
        await audit.record(
            connection, audit.User(row["user_id"]), found.community_id, "password.reset", f"user/{row['user_id']}"
        )
        await _succeeded(connection, claim, address)
        return await principals.open_session(connection, row["user_id"], "invitation", device)


async def _find(pool: database.Pool, claim: Claim, address: IPv4Address | IPv6Address) -> _Found:
    """Return the invitation that a claim opens; raise ``Problem`` 404 or 429."""
    await limits.reserve(pool, _account(claim), address)
    rows = await _presented(pool, claim)
    if claim.token is not None:
        if not rows:
            raise _refused("link")
        # A client that holds the link is not guessing: trying a second password must not count as an attempt.
        async with database.in_identity(pool) as connection:
            await limits.forget(connection, _account(claim), address)
        return _Found(rows[0]["community_id"], rows[0]["id"], rows[0]["token_sha256"])
    code = _plain(claim.code or "")
    opened = None
    for row in rows or [None]:
        # As much work for an address without an invitation.
        if await _code_attempt(pool, row) and await asyncio.to_thread(
            passwords.matches, row and row["code_hash"], code
        ):
            opened = opened or row
    if opened is None:
        raise _refused("code")
    return _Found(opened["community_id"], opened["id"], opened["token_sha256"])


def _refused(method: str) -> Problem:
    logs.security("authn_login_fail", refused=True, method=f"invitation {method}")
    return _invalid()


async def _presented(pool: database.Pool, claim: Claim) -> list[Any]:
    """Return the pending invitations with the token, or to the address, of a claim."""
    async with database.in_identity(pool) as connection:
        if claim.token is not None:
            await connection.execute(
                "SELECT set_config('parkmesh.invitation_token', $1, true)", principals.digest(claim.token).hex()
            )
        else:
            await connection.execute(
                "SELECT set_config('parkmesh.invitation_email', $1, true)", (claim.email or "").strip().lower()
            )
        rows: list[Any] = await connection.fetch(
            """
            SELECT community_id, id, token_sha256, code_hash FROM invitation
            WHERE (token_sha256 = parkmesh_invitation_token() OR email = parkmesh_invitation_email())
              AND accepted_at IS NULL AND revoked_at IS NULL AND expires_at > now()
            ORDER BY sent_at DESC LIMIT 8
            """
        )
    return rows


async def _code_attempt(pool: database.Pool, row: Any | None) -> bool:
    """Count an attempt at an invitation's code before it is looked at; tell whether one was left."""
    if row is None:
        return True
    async with database.in_community(pool, row["community_id"]) as connection:
        counted = await connection.fetchval(
            """
            UPDATE invitation SET code_attempts = code_attempts + 1
            WHERE community_id = $1 AND id = $2 AND code_attempts < $3 RETURNING true
            """,
            row["community_id"],
            row["id"],
            CODE_ATTEMPTS,
        )
    return bool(counted)


@asynccontextmanager
async def _claimed(
    pool: database.Pool, found: _Found, kind: Kind | None = None
) -> AsyncGenerator[tuple[Connection, Any]]:
    """Open the transaction in which an invitation that was found is used, with its row locked and still pending.

    The account that uses it is held first: one that is being erased meanwhile doesn't join.
    """
    async with members.with_accounts(pool, found.community_id) as connection:
        await connection.execute(
            """
            SELECT FROM app_user u JOIN invitation i ON i.user_id = u.id OR i.email = u.email
            WHERE i.community_id = $1 AND i.id = $2 FOR NO KEY UPDATE OF u
            """,
            found.community_id,
            found.id,
        )
        row = await connection.fetchrow(
            """
            SELECT kind, email, role, unit_id, user_id, by_desk, expires_at FROM invitation
            WHERE community_id = $1 AND id = $2 AND token_sha256 = $3 AND ($4::text IS NULL OR kind = $4)
              AND accepted_at IS NULL AND revoked_at IS NULL AND expires_at > now()
            FOR UPDATE
            """,
            found.community_id,
            found.id,
            found.token_sha256,
            kind,
        )
        if row is None:
            raise _invalid()
        yield connection, row


async def _join(connection: Connection, found: _Found, row: Any, user_id: int, name: str) -> None:
    """Make a user a member, and link the person that the community knows by this address (or a new person) to the
    user. An auditor is no person of the community."""
    resident_id = None
    if row["role"] != Role.AUDITOR:
        resident_id = await connection.fetchval(
            """
            INSERT INTO resident AS known (community_id, email, name, unit_id) VALUES ($1, $2, $3, $4)
            ON CONFLICT (community_id, email) DO UPDATE
                SET active = true, unit_id = coalesce(excluded.unit_id, known.unit_id)
            RETURNING id
            """,
            found.community_id,
            row["email"],
            name,
            row["unit_id"],
        )
    try:
        async with connection.transaction():
            await connection.execute(
                "INSERT INTO membership (community_id, user_id, role, resident_id) VALUES ($1, $2, $3, $4)",
                found.community_id,
                user_id,
                row["role"],
                resident_id,
            )
    except asyncpg.UniqueViolationError:
        raise Problem(409, "You are a member of this community already.", kind="member") from None
    await _use_up(connection, found)
    detail = {"role": row["role"], "unit": row["unit_id"], "resident": resident_id}
    await audit.record(
        connection,
        audit.User(user_id),
        found.community_id,
        "invitation.accept",
        f"invitation/{found.id}",
        detail,
    )


async def _use_up(connection: Connection, found: _Found) -> None:
    logs.security("invitation_accepted", community=found.community_id, invitation=found.id)
    await connection.execute(
        "UPDATE invitation SET accepted_at = now() WHERE community_id = $1 AND id = $2", found.community_id, found.id
    )


async def is_member(connection: Connection, community_id: int, email: str) -> bool:
    """Tell whether an address is that of a member's account. ``connection`` is from ``members.with_accounts``."""
    found: bool = await connection.fetchval(
        """
        SELECT EXISTS (SELECT FROM membership m JOIN app_user u ON u.id = m.user_id
                       WHERE m.community_id = $1 AND u.email = $2)
        """,
        community_id,
        email,
    )
    return found


async def _may_be_reset(connection: Connection, community_id: int, user_id: int, *, by_desk: bool) -> bool:
    """Tell whether a link from this community may set the password of an account of it."""
    await connection.execute("SELECT set_config('parkmesh.user', $1, true)", str(user_id))
    row = await connection.fetchrow(
        """
        SELECT u.operator, EXISTS (SELECT FROM membership m WHERE m.user_id = u.id AND m.community_id = $1) AS here,
               EXISTS (SELECT FROM membership m WHERE m.user_id = u.id AND m.community_id <> $1) AS elsewhere
        FROM app_user u WHERE u.id = $2
        """,
        community_id,
        user_id,
    )
    await connection.execute("SELECT set_config('parkmesh.user', '', true)")
    # Operators sign in to every community: their passwords are set where the servers are (parkmesh admin apply).
    return bool(row and row["here"] and not row["operator"] and (by_desk or not row["elsewhere"]))


async def _succeeded(connection: Connection, claim: Claim, address: IPv4Address | IPv6Address) -> None:
    await limits.forget(connection, _account(claim), address)


def _account(claim: Claim) -> bytes:
    """Return what attempts are counted by, apart from those at the account's password."""
    if claim.token is not None:
        return principals.digest(f"invitation token {claim.token}")
    return principals.digest(f"invitation code {(claim.email or '').strip().lower()}")


@dataclass(frozen=True)
class _New:
    token: str
    code: str


def _new_secrets() -> _New:
    letters = "".join(secrets.choice(CODE_ALPHABET) for _ in range(CODE_LENGTH))
    return _New(secrets.token_urlsafe(32), f"{letters[:5]}-{letters[5:]}")


def _plain(code: str) -> str:
    """Return a code as it is hashed, however it was typed."""
    return _NOT_IN_CODE.sub("", code.upper())[: CODE_LENGTH * 2]


def _invalid() -> Problem:
    return Problem(
        404, "This link or code is not valid: it was used or revoked, or is too old. Ask for a new one.", kind="claim"
    )
