"""One person's data in a community: exported whole, or erased.

The export holds the person, their account and plates, the passages, stays, violations and checks of those plates while
they held them, their permit, visits and bookings that they made, invitations to their address, and the entries of the
audit trail that mention them.
The account's sessions and passkeys are given to the account's owner alone: the account may serve other communities
too.

Erasing leaves no row that tells who the person was. Rows that others refer to stay without content: the person's, and
the account's where it belonged to this community alone (otherwise it goes on elsewhere). Passages and stays
keep their place under a pseudonym (``erase_passages``). The trail keeps who did what by numbers; texts about the person
are redacted, and its chain still holds. Gateways drop the plates with the next version of their list, which is now.
"""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from msgspec import Struct

from parkmesh.server import audit
from parkmesh.server.access import presence
from parkmesh.server.access.passages import SINCE, UNTIL, Seen, columns, decided_in, seen_in, windows_of
from parkmesh.server.db import database
from parkmesh.server.db.database import Connection
from parkmesh.server.http.problems import Problem
from parkmesh.server.identity import principals
from parkmesh.server.identity.principals import Principal
from parkmesh.server.people import members, residents
from parkmesh.server.people.residents import Resident
from parkmesh.server.reservations import permits, visitor_passes
from parkmesh.server.reservations.permits import Permit

MAX_PASSAGES = 50_000
MAX_PLATES = 10_000
ERASED = "Erased"

Rows = list[dict[str, Any]]


class PersonalData(Struct, frozen=True):
    """``sessions`` and ``passkeys`` are None unless the person asks for their own data; ``passages`` and
    ``stays`` are the latest ``MAX_PASSAGES``, ``presence`` the first ``MAX_PLATES``."""

    resident: Resident
    account: dict[str, Any] | None
    sessions: Rows | None
    passkeys: Rows | None
    credentials: Rows
    presence: Rows
    passages: Rows
    stays: Rows
    violations: Rows
    checks: Rows
    visitor_passes: Rows
    bookings: Rows
    invitations: Rows
    messages: Rows
    e_mails: Rows
    waiting: Rows
    space_requests: Rows
    permit: Permit | None
    bars: Rows
    audit: Rows


@dataclass(frozen=True, slots=True)
class Erased:
    """How many records of each kind were erased, cancelled or separated from the person.

    ``account`` is ``kept`` where it belongs to other communities too.
    """

    resident_id: int
    credentials: int
    passages: int
    visitor_passes: int
    bookings: int
    invitations: int
    audit_details: int
    sessions: int
    passkeys: int
    account: Literal["none", "erased", "kept"]


class _Person(Struct, frozen=True):
    """What belongs to a person: ``plates`` are those that no one else in the community holds. ``user_id`` is the
    person's account, present or former: ``member`` tells whether it belongs to the community now. ``seen``: the
    credentials while the person held them."""

    resident: Resident
    user_id: int | None
    member: bool
    credential_ids: list[int]
    plates: list[str]
    seen: Seen
    pass_ids: list[int]
    booking_ids: list[int]

    @property
    def actor(self) -> str | None:
        """Return how the audit trail names the person's account; None without one."""
        return f"user:{self.user_id}" if self.user_id else None

    @property
    def objects(self) -> list[str]:
        """Return the audit trail's names of the person and of what belongs to them."""
        names = [f"resident/{self.resident.id}", f"permit/{self.resident.id}"]
        names += [f"user/{self.user_id}"] if self.user_id else []
        names += [f"credential/{item}" for item in self.credential_ids]
        names += [f"visitor-pass/{item}" for item in self.pass_ids]
        return names + [f"booking/{item}" for item in self.booking_ids]


async def collect(pool: database.Pool, principal: Principal, community_id: int, resident_id: int) -> PersonalData:
    """Return all that is kept of a person; the trail notes that it was given out. Raises ``Problem`` 404."""
    async with members.with_accounts(pool, community_id) as connection:
        person = await _person(connection, community_id, resident_id)
        himself = person.user_id is not None and person.user_id == principal.user_id
        data = await _collect(connection, community_id, person, himself)
        await audit.record(connection, principal, community_id, "resident.export", f"resident/{resident_id}")
    return data


async def _collect(connection: Connection, community_id: int, person: _Person, himself: bool) -> PersonalData:
    account = await connection.fetchrow(
        """
        SELECT u.id, u.email, u.name, u.created_at, m.role FROM app_user u
        JOIN membership m ON m.user_id = u.id AND m.community_id = $1 WHERE u.id = $2
        """,
        community_id,
        person.user_id,
    )
    return PersonalData(
        resident=person.resident,
        account=dict(account) if account else None,
        sessions=await _rows(
            connection,
            """
            SELECT device, method, created_at, last_seen_at, expires_at, revoked_at FROM web_session WHERE user_id = $1
            ORDER BY created_at
            """,
            person.user_id,
        )
        if himself
        else None,
        passkeys=await _rows(
            connection,
            "SELECT name, synced, created_at, last_used_at FROM passkey WHERE user_id = $1 ORDER BY id",
            person.user_id,
        )
        if himself
        else None,
        credentials=await _rows(
            connection,
            """
            SELECT id, plate, label, status, valid_from, valid_until, created_at FROM credential
            WHERE community_id = $1 AND resident_id = $2 AND visitor_pass_id IS NULL ORDER BY id
            """,
            community_id,
            person.resident.id,
        ),
        presence=[
            {"plate": item.plate, "inside": item.inside, "at": item.since}
            for item in await presence.page(connection, community_id, limit=MAX_PLATES, inside=None, seen=person.seen)
        ],
        passages=await _rows(
            connection,
            f"""
            SELECT p.received_at, p.gate, p.direction, p.plate, p.decision, p.reason, p.opened FROM passage p
            WHERE p.community_id = $1 AND {decided_in(3)}
            ORDER BY p.received_at DESC, p.id DESC LIMIT $2
            """,  # noqa: S608 - a condition of ours
            community_id,
            MAX_PASSAGES,
            *columns(person.seen),
        ),
        stays=await _rows(
            connection,
            f"""
            SELECT s.plate, s.entered_at, s.left_at, s.closed_by FROM stay s
            WHERE s.community_id = $1 AND (s.credential_id = ANY($2) OR EXISTS (
                SELECT FROM {windows_of(4)} WHERE seen.credential = s.credential_id::text
                  AND seen.since <= s.entered_at AND (seen.until IS NULL OR s.entered_at < seen.until)))
            ORDER BY s.entered_at DESC, s.id DESC LIMIT $3
            """,  # noqa: S608 - a condition of ours
            community_id,
            person.credential_ids,
            MAX_PASSAGES,
            *columns(person.seen),
        ),
        violations=await _rows(
            connection,
            f"""
            SELECT v.kind, v.plate, v.since, v.opened_at, v.noticed_by, v.evidence, v.state,
                   v.opened_by = $5 AS by_the_person,
                   (SELECT string_agg(s.note, E'\\n' ORDER BY s.id) FROM violation_step s
                    WHERE s.community_id = v.community_id AND s.violation_id = v.id AND s.actor = $5) AS written
            FROM violation v
            WHERE v.community_id = $1 AND (
                EXISTS (SELECT FROM {windows_of(6)} WHERE seen.plate = v.plate AND seen.since <= v.opened_at
                          AND (seen.until IS NULL OR v.opened_at < seen.until))
                OR v.opened_by = $5
                OR v.booking_id = ANY($2)
                OR EXISTS (SELECT FROM stay t WHERE t.community_id = v.community_id AND t.id = v.stay_id
                             AND t.credential_id = ANY($3))
                OR EXISTS (SELECT FROM violation_step s
                           WHERE s.community_id = v.community_id AND s.violation_id = v.id AND s.actor = $5))
            ORDER BY v.id DESC LIMIT $4
            """,  # noqa: S608 - a condition of ours
            community_id,
            person.booking_ids,
            person.credential_ids,
            MAX_PASSAGES,
            person.actor,
            *columns(person.seen),
        ),
        checks=await _rows(
            connection,
            f"""
            SELECT k.plate, k.at, k.asked_at, k.allowed, k.until, k.by, k.reason FROM plate_check k
            WHERE k.community_id = $1 AND EXISTS (
                SELECT FROM {windows_of(3)}
                WHERE seen.plate = k.plate AND seen.since <= k.at AND (seen.until IS NULL OR k.at < seen.until))
            ORDER BY k.id DESC LIMIT $2
            """,  # noqa: S608 - a condition of ours
            community_id,
            MAX_PASSAGES,
            *columns(person.seen),
        ),
        visitor_passes=await _rows(
            connection,
            """
            SELECT id, name, plate, starts_at, ends_at, status, cancelled_at, cancel_reason, created_at
            FROM visitor_pass WHERE community_id = $1 AND id = ANY($2) ORDER BY id
            """,
            community_id,
            person.pass_ids,
        ),
        bookings=await _rows(
            connection,
            """
            SELECT b.id, s.name AS space, b.starts_at, b.ends_at, b.status, b.cancelled_at, b.cancel_reason,
                   b.created_at
            FROM booking b JOIN space s ON s.community_id = b.community_id AND s.id = b.space_id
            WHERE b.community_id = $1 AND b.id = ANY($2) ORDER BY b.id
            """,
            community_id,
            person.booking_ids,
        ),
        invitations=await _rows(
            connection,
            """
            SELECT kind, email, role, created_at, sent_at, expires_at, accepted_at, revoked_at FROM invitation
            WHERE community_id = $1 AND email = $2 ORDER BY id
            """,
            community_id,
            person.resident.email,
        ),
        messages=await _rows(
            connection,
            """
            SELECT kind, created_at, delivered_at FROM message WHERE community_id = $1 AND recipient = $2 ORDER BY id
            """,
            community_id,
            person.resident.email,
        ),
        e_mails=await _rows(
            connection,
            "SELECT kind, wanted FROM notification_preference WHERE community_id = $1 AND user_id = $2 ORDER BY kind",
            community_id,
            person.user_id,
        ),
        waiting=await _rows(
            connection,
            """
            SELECT starts_at, ends_at, level, state, created_at, ended_at FROM waiting
            WHERE community_id = $1 AND resident_id = $2 ORDER BY id
            """,
            community_id,
            person.resident.id,
        ),
        space_requests=await _rows(
            connection,
            """
            SELECT r.ev, r.accessible, r.level, r.state, s.name AS space, r.created_at, r.ended_at,
                   (SELECT string_agg(p.reason, E'\\n' ORDER BY p.id) FROM space_request_pass p
                    WHERE p.community_id = r.community_id AND p.request_id = r.id) AS reasons
            FROM space_request r LEFT JOIN space s ON s.community_id = r.community_id AND s.id = r.space_id
            WHERE r.community_id = $1 AND r.resident_id = $2 ORDER BY r.id
            """,
            community_id,
            person.resident.id,
        ),
        permit=await permits.find(connection, community_id, person.resident.id),
        bars=await _rows(
            connection,
            "SELECT plate, reason, made_at, lifted_at FROM bar WHERE community_id = $1 AND plate = ANY($2) ORDER BY id",
            community_id,
            person.plates,
        ),
        # Other people who acted are left out: their names are their own data.
        audit=[
            row | {"detail": json.loads(row["detail"]) if row["detail"] else None}
            for row in await _rows(
                connection,
                """
                SELECT at, action, object, detail, user_id IS NOT DISTINCT FROM $3 AS by_the_person FROM audit_entry
                WHERE community_id = $1 AND (object = ANY($2) OR user_id = $3) ORDER BY id
                """,
                community_id,
                person.objects,
                person.user_id or -1,
            )
        ],
    )


async def erase(pool: database.Pool, principal: Principal, community_id: int, resident_id: int, confirm: str) -> Erased:
    """Erase a person's data from a community; it can't be taken back.

    ``confirm`` is the person's e-mail address once more. Raises ``Problem`` 404, and 409 where ``confirm`` is another
    address or where administrators would erase themselves.
    """
    async with members.with_accounts(pool, community_id) as connection:
        await _hold(connection, community_id, await _person(connection, community_id, resident_id))
        await residents.get(connection, community_id, resident_id, lock=True)
        person = await _person(connection, community_id, resident_id)
        if confirm.strip().lower() != person.resident.email:
            raise Problem(409, "This is not the e-mail address of the person to erase.", kind="not-confirmed")
        residents.forbid_locking_oneself_out(principal, person.user_id)
        visits = await _erase_visits(connection, principal, community_id, person)
        bookings = await _run(
            connection,
            "UPDATE booking SET resident_id = NULL, cancel_reason = NULL WHERE community_id = $1 AND id = ANY($2)",
            community_id,
            person.booking_ids,
        )
        await connection.execute(
            """
            UPDATE space_request_pass p SET reason = NULL FROM space_request r
            WHERE p.community_id = $1 AND r.community_id = $1 AND r.id = p.request_id AND r.resident_id = $2
            """,
            community_id,
            resident_id,
        )
        for table in ("waiting", "space_request"):
            await connection.execute(
                f"UPDATE {table} SET resident_id = NULL WHERE community_id = $1 AND resident_id = $2",  # noqa: S608
                community_id,
                resident_id,
            )
        passages: int = await connection.fetchval(
            "SELECT erase_passages($1, $2)", person.plates, [str(item) for item in person.credential_ids]
        )
        for table in ("presence", "presence_correction"):
            await connection.execute(
                f"DELETE FROM {table} WHERE community_id = $1 AND plate = ANY($2)",  # noqa: S608 - names from here
                community_id,
                person.plates,
            )
        await _erase_violations(connection, community_id, person)
        credentials = await _run(
            connection,
            "DELETE FROM credential WHERE community_id = $1 AND id = ANY($2)",
            community_id,
            person.credential_ids,
        )
        invitations = await _run(
            connection,
            "DELETE FROM invitation WHERE community_id = $1 AND (email = $2 OR user_id = $3)",
            community_id,
            person.resident.email,
            person.user_id,
        )
        await connection.execute(
            "DELETE FROM message WHERE community_id = $1 AND recipient = $2", community_id, person.resident.email
        )
        for table in ("membership", "permit"):
            await connection.execute(
                f"DELETE FROM {table} WHERE community_id = $1 AND resident_id = $2",  # noqa: S608 - names from here
                community_id,
                resident_id,
            )
        await connection.execute(
            """
            UPDATE resident SET email = $3, name = $4, unit_id = NULL, active = false, erased_at = now(),
                                erasure_asked_at = NULL, former_user_id = NULL
            WHERE community_id = $1 AND id = $2
            """,
            community_id,
            resident_id,
            f"erased-{resident_id}@erased.invalid",
            ERASED,
        )
        details = await _redact(connection, principal, community_id, person)
        account, sessions, passkeys = await _erase_account(connection, community_id, person)
        report = Erased(
            resident_id=resident_id,
            credentials=credentials,
            passages=passages,
            visitor_passes=visits,
            bookings=bookings,
            invitations=invitations,
            audit_details=details,
            sessions=sessions,
            passkeys=passkeys,
            account=account,
        )
        detail = {"credentials": credentials, "passages": passages, "account": account}
        await audit.record(connection, principal, community_id, "resident.erase", f"resident/{resident_id}", detail)
    return report


async def ask_for_erasure(
    connection: Connection, principal: Principal, community_id: int, resident_id: int, wanted: bool
) -> Resident:
    """Note that a person asks for the erasure of their data, or no longer does; return the person. Asking again changes
    nothing.

    The community's administrators erase; they see since when a person asks for it. ``connection`` is inside
    ``database.in_community``. Raises ``Problem`` 404.
    """
    person = await residents.get(connection, community_id, resident_id, lock=True)
    if (person.erasure_asked_at is not None) == wanted:
        return person
    await connection.execute(
        """
        UPDATE resident SET erasure_asked_at = CASE WHEN $3 THEN now() END
        WHERE community_id = $1 AND id = $2 AND erased_at IS NULL
        """,
        community_id,
        resident_id,
        wanted,
    )
    action = "resident.ask-erasure" if wanted else "resident.keep"
    await audit.record(connection, principal, community_id, action, f"resident/{resident_id}")
    return await residents.get(connection, community_id, resident_id)


async def _person(connection: Connection, community_id: int, resident_id: int) -> _Person:
    resident = await residents.get(connection, community_id, resident_id)
    passes = await connection.fetch(
        "SELECT id FROM visitor_pass WHERE community_id = $1 AND resident_id = $2 ORDER BY id",
        community_id,
        resident_id,
    )
    bookings = await connection.fetch(
        "SELECT id FROM booking WHERE community_id = $1 AND resident_id = $2 ORDER BY id", community_id, resident_id
    )
    credentials = await connection.fetch(
        f"""
        SELECT c.id, c.id AS credential, c.plate, {SINCE} AS since, {UNTIL} AS until, NOT EXISTS (
            SELECT FROM credential o WHERE o.community_id = c.community_id AND o.plate = c.plate
              AND o.resident_id IS DISTINCT FROM $2 AND NOT coalesce(o.visitor_pass_id = ANY($3), false)) AS only_his
        FROM credential c WHERE c.community_id = $1 AND (c.resident_id = $2 OR c.visitor_pass_id = ANY($3))
        ORDER BY c.id
        """,  # noqa: S608 - columns of another module
        community_id,
        resident_id,
        [row["id"] for row in passes],
    )
    user_id = await residents.member_user(connection, community_id, resident_id)
    # Not the account with the person's address: administrators enter that, and could name anybody's.
    former = await connection.fetchval(
        "SELECT former_user_id FROM resident WHERE community_id = $1 AND id = $2", community_id, resident_id
    )
    return _Person(
        resident=resident,
        user_id=user_id or former,
        member=user_id is not None,
        credential_ids=[row["id"] for row in credentials],
        plates=sorted({row["plate"] for row in credentials if row["only_his"]}),
        seen=seen_in(credentials),
        pass_ids=[row["id"] for row in passes],
        booking_ids=[row["id"] for row in bookings],
    )


async def _hold(connection: Connection, community_id: int, person: _Person) -> None:
    """Hold a person's account and invitations, in the order in which joining holds them: an account that joins another
    community at this moment does so before or after."""
    await connection.execute("SELECT FROM app_user WHERE id = $1 FOR UPDATE", person.user_id)
    await connection.execute(
        "SELECT FROM invitation WHERE community_id = $1 AND (email = $2 OR user_id = $3) ORDER BY id FOR UPDATE",
        community_id,
        person.resident.email,
        person.user_id,
    )


async def _erase_visits(connection: Connection, principal: Principal, community_id: int, person: _Person) -> int:
    """Cancel the visits that the person let in, and forget who came."""
    now = datetime.now(UTC)
    for pass_id in person.pass_ids:
        seen = await visitor_passes.get(connection, community_id, pass_id)
        if seen.status == "active" and seen.until > now:
            await visitor_passes.cancel(connection, principal, community_id, seen, None, now)
    return await _run(
        connection,
        """
        UPDATE visitor_pass SET name = NULL, plate = NULL, cancel_reason = NULL, resident_id = NULL
        WHERE community_id = $1 AND id = ANY($2)
        """,
        community_id,
        person.pass_ids,
    )


async def _erase_violations(connection: Connection, community_id: int, person: _Person) -> None:
    """Forget the person's plates in violations and checks, and what was written of them and by them.

    What erases the stays ran before: a stay without a credential under a pseudonym is an erased one's.
    """
    concerned = [
        row["id"]
        for row in await connection.fetch(
            """
            SELECT v.id FROM violation v WHERE v.community_id = $1 AND (
                v.plate = ANY($2) OR v.booking_id = ANY($3)
                OR EXISTS (SELECT FROM stay t WHERE t.community_id = v.community_id AND t.id = v.stay_id
                             AND starts_with(t.plate, '~')))
            """,
            community_id,
            person.plates,
            person.booking_ids,
        )
    ]
    await connection.execute(
        """
        UPDATE violation SET plate = CASE WHEN id = ANY($2) THEN NULL ELSE plate END, evidence = ''
        WHERE community_id = $1 AND (id = ANY($2) OR opened_by = $3)
        """,
        community_id,
        concerned,
        person.actor,
    )
    await connection.execute(
        "UPDATE violation_step SET note = '' WHERE community_id = $1 AND (violation_id = ANY($2) OR actor = $3)",
        community_id,
        concerned,
        person.actor,
    )
    for table in ("plate_check", "visitor_nights_exception"):
        await connection.execute(
            f"DELETE FROM {table} WHERE community_id = $1 AND plate = ANY($2)",  # noqa: S608 - names from here
            community_id,
            person.plates,
        )


async def _redact(connection: Connection, principal: Principal, community_id: int, person: _Person) -> int:
    """Erase what the trail says about the person and what the person wrote into it."""
    entries = await connection.fetch(
        """
        SELECT id FROM audit_entry
        WHERE community_id = $1 AND (object = ANY($2) OR user_id = $3) AND detail IS NOT NULL AND detail <> '{}'
        ORDER BY id
        """,
        community_id,
        person.objects,
        person.user_id or -1,
    )
    return len(await audit.redact(connection, principal, community_id, [row["id"] for row in entries]))


async def _erase_account(
    connection: Connection, community_id: int, person: _Person
) -> tuple[Literal["none", "erased", "kept"], int, int]:
    """Erase the account where it belongs nowhere else; return what became of it, and how many sessions and passkeys
    went with it."""
    if person.user_id is None:
        return "none", 0, 0
    await connection.execute("SELECT set_config('parkmesh.user', $1, true)", str(person.user_id))
    needed = await connection.fetchval(
        """
        SELECT operator OR EXISTS (SELECT FROM membership m WHERE m.user_id = u.id)
        FROM app_user u WHERE id = $1
        """,
        person.user_id,
    )
    await connection.execute("SELECT set_config('parkmesh.user', '', true)")
    if needed:
        return "kept" if person.member else "none", 0, 0
    await connection.execute(
        "DELETE FROM idempotency_key WHERE community_id = $1 AND actor = $2", community_id, f"user:{person.user_id}"
    )
    return "erased", *await erase_accounts(connection, [person.user_id])


async def erase_accounts(connection: Connection, users: list[int]) -> tuple[int, int]:
    """Erase accounts, in the scope ``identity``; return how many sessions and passkeys went with them."""
    emails = await connection.fetch("SELECT email FROM app_user WHERE id = ANY($1)", users)
    for table in ("sign_in_attempt", "known_network"):
        await connection.execute(
            f"DELETE FROM {table} WHERE account_sha256 = ANY($1)",  # noqa: S608 - names from here
            [principals.digest(row["email"]) for row in emails],
        )
    await connection.execute(
        "DELETE FROM message WHERE community_id IS NULL AND recipient = ANY($1)", [row["email"] for row in emails]
    )
    await connection.execute("DELETE FROM password_link WHERE user_id = ANY($1)", users)
    sessions = await _run(connection, "DELETE FROM web_session WHERE user_id = ANY($1)", users)
    passkeys = await _run(connection, "DELETE FROM passkey WHERE user_id = ANY($1)", users)
    await connection.execute("DELETE FROM passkey_challenge WHERE user_id = ANY($1)", users)
    # The number stays: the trail knows by it that one hand did this and that.
    await connection.execute(
        """
        UPDATE app_user SET email = 'erased-' || id || '@erased.invalid', name = $2, password_hash = NULL,
                            language = NULL, active = false
        WHERE id = ANY($1)
        """,
        users,
        ERASED,
    )
    return sessions, passkeys


async def _rows(connection: Connection, query: str, *arguments: Any) -> Rows:
    return [dict(row) for row in await connection.fetch(query, *arguments)]


async def _run(connection: Connection, statement: str, *arguments: Any) -> int:
    """Run a statement and return how many rows it touched."""
    done: str = await connection.execute(statement, *arguments)
    return int(done.rpartition(" ")[2])
