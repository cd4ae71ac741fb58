"""What is kept for how long, and ``parkmesh retention run``, which deletes the rest and reports what went.

| what | kept | then |
|---|---|---|
| passages whose plate matched nothing | 72 hours | counted per day and gate, deleted |
| presence outside and movements of plates that nobody here has | 72 hours | deleted |
| all other passages | 30 days | counted the same way; their day's partition is dropped |
| what sensors said of spaces | 30 days | their day's partition is dropped |
| presence of plates outside, corrections of presence | 30 days | deleted |
| stays | 30 days after they ended; an open one ends 30 days after the entry | deleted |
| violations | 30 days after they were closed, 180 after their last step; as long as their stay | deleted |
| checks of plates | 30 days | deleted |
| permits for accessible spaces | 30 days after their last day | deleted |
| exceptions of visitors' nights | 30 days after their end | deleted |
| visitors' plates on the access list | 30 days after their validity | deleted |
| names and plates on visitor passes, reasons of their cancellation | 30 days after their validity | erased |
| reasons of bookings' cancellation | 30 days after the booked time | erased |
| what webhooks were sent | 30 days | deleted |
| places on the waiting list | 30 days after they ended | deleted |
| requests for a space of one's own | 30 days after they ended | deleted |
| events, from which mails and webhooks are made | 30 days | deleted |
| plates and reasons of bars | 30 days after the bar was lifted | erased |
| invitations | 30 days after they were accepted, revoked or expired | deleted |
| sessions | 30 days after they ended | deleted |
| attempts to sign in and openings of gates, which are counted to slow people down | 1 day | deleted |
| answers kept for Idempotency-Key | 24 hours | deleted |
| changes of the access list | 30 days, as long as no gateway needs them | deleted |
| networks that an account was used from | as long as they count (``limits.KNOWN``) | deleted |
| former keys of visitors' QR codes | until the last pass with a code of theirs is over | deleted |
| challenges for passkeys, servers that are gone | 1 day | deleted |
| a community that the desk offboarded and wants deleted | 7 days more | deleted with all it has (``deletion``) |

It works as the tables' owner, who alone may drop partitions, in the scope ``retention``; every step is a transaction of
its own, and an interrupted run is finished by the next one.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any

import asyncpg
from msgspec import Struct

from parkmesh.domain import stays
from parkmesh.domain.access import Reason
from parkmesh.domain.passages import UNMATCHED
from parkmesh.domain.retention import (
    ANSWERS_KEPT,
    CHANGES_KEPT,
    COUNTERS_KEPT,
    OBSERVATIONS_KEPT,
    PASSAGES_KEPT,
    PEOPLE_KEPT,
    UNMATCHED_KEPT,
    VIOLATIONS_KEPT,
)
from parkmesh.server.commands import deletion
from parkmesh.server.db import database
from parkmesh.server.identity import limits

LOCK_S, LOCK_TRIES = 2, 20


class Report(Struct, frozen=True):
    """What went (in a dry run: would go), in rows, the partitions that were dropped and made, and the communities that
    were deleted with their rows, which are in no other count (in a dry run: which would be)."""

    dry_run: bool
    at: datetime
    rows: dict[str, int]
    communities_deleted: dict[str, int]
    partitions_dropped: list[str]
    partitions_made: int


class _DryRun(Exception):
    """Roll back what was counted."""


# How many days longer a violation stays that nobody closed.
_LONGER = (VIOLATIONS_KEPT - PEOPLE_KEPT).days
# A plate that went out and that nobody here has: neither a credential nor a stay is of it.
_STRANGER_LEFT = """
NOT p.inside AND p.at < $1
AND NOT EXISTS (SELECT FROM credential c WHERE c.community_id = p.community_id AND c.plate = p.plate)
AND NOT EXISTS (SELECT FROM stay s WHERE s.community_id = p.community_id AND s.plate = p.plate)
"""
# $1 is the moment before which things go; the command's tag counts them.
_STEPS: tuple[tuple[str, timedelta, str], ...] = (
    ("presence", PASSAGES_KEPT, "DELETE FROM presence WHERE NOT inside AND at < $1"),
    ("presence_unmatched", UNMATCHED_KEPT, f"DELETE FROM presence p WHERE {_STRANGER_LEFT}"),  # noqa: S608 - a constant
    ("movement_unmatched", UNMATCHED_KEPT, f"DELETE FROM movement p WHERE {_STRANGER_LEFT}"),  # noqa: S608 - a constant
    ("presence_correction", PASSAGES_KEPT, "DELETE FROM presence_correction WHERE at < $1"),
    ("movement", PASSAGES_KEPT, "DELETE FROM movement WHERE at < $1"),
    (
        "stay_timeout",
        stays.LONGEST,
        f"""
        UPDATE stay SET left_at = entered_at + interval '{stays.LONGEST.days} days', closed_by = 'timeout'
        WHERE left_at IS NULL AND entered_at <= $1
        """,  # noqa: S608 - a constant
    ),
    ("stay", PASSAGES_KEPT, "DELETE FROM stay WHERE left_at < $1"),
    (
        "violation",
        PEOPLE_KEPT,
        f"""
        DELETE FROM violation v
        WHERE NOT EXISTS (SELECT FROM violation_step s WHERE s.community_id = v.community_id AND s.violation_id = v.id
                            AND s.at >= $1::timestamptz
                                - CASE v.state WHEN 'closed' THEN interval '0' ELSE interval '{_LONGER} days' END)
          AND NOT EXISTS (SELECT FROM stay s WHERE s.community_id = v.community_id AND s.id = v.stay_id)
        """,  # noqa: S608 - a constant
    ),
    ("plate_check", PASSAGES_KEPT, "DELETE FROM plate_check WHERE asked_at < $1"),
    ("permit", PEOPLE_KEPT, "DELETE FROM permit WHERE valid_until < ($1::timestamptz AT TIME ZONE 'UTC')::date"),
    ("visitor_nights_exception", PEOPLE_KEPT, "DELETE FROM visitor_nights_exception WHERE until < $1"),
    (
        "visitor_credential",
        PEOPLE_KEPT,
        "DELETE FROM credential WHERE visitor_pass_id IS NOT NULL AND valid_until < $1",
    ),
    (
        "visitor_pass",
        PEOPLE_KEPT,
        """
        UPDATE visitor_pass SET name = NULL, plate = NULL, cancel_reason = NULL
        WHERE ends_at < $1 AND (name IS NOT NULL OR plate IS NOT NULL OR cancel_reason IS NOT NULL)
        """,
    ),
    (
        "booking",
        PEOPLE_KEPT,
        "UPDATE booking SET cancel_reason = NULL WHERE ends_at < $1 AND cancel_reason IS NOT NULL",
    ),
    ("waiting", PEOPLE_KEPT, "DELETE FROM waiting WHERE ended_at < $1"),
    ("space_request", PEOPLE_KEPT, "DELETE FROM space_request WHERE ended_at < $1"),
    (
        "invitation",
        PEOPLE_KEPT,
        "DELETE FROM invitation WHERE least(accepted_at, revoked_at, expires_at) < $1",
    ),
    ("message", PEOPLE_KEPT, "DELETE FROM message WHERE least(delivered_at, dead_at) < $1"),
    (
        "bar",
        PEOPLE_KEPT,
        "UPDATE bar SET plate = NULL, reason = NULL WHERE lifted_at < $1 AND (plate IS NOT NULL OR reason IS NOT NULL)",
    ),
    (
        "former_pass_key",
        timedelta(0),
        """
        DELETE FROM former_pass_key f
        WHERE NOT EXISTS (
            SELECT FROM pass_code c JOIN visitor_pass p ON p.community_id = c.community_id AND p.id = c.visitor_pass_id
            WHERE c.community_id = f.community_id AND c.key = f.number AND p.ends_at > $1)
        """,
    ),
    ("webhook_delivery", PEOPLE_KEPT, "DELETE FROM webhook_delivery WHERE created_at < $1"),
    ("event", PEOPLE_KEPT, "DELETE FROM event WHERE at < $1 AND routed_at IS NOT NULL"),
    ("gate_command", PASSAGES_KEPT, "DELETE FROM gate_command WHERE asked_at < $1"),
    ("gate_opening", COUNTERS_KEPT, "DELETE FROM gate_opening WHERE at < $1"),
    ("idempotency_key", ANSWERS_KEPT, "DELETE FROM idempotency_key WHERE created_at < $1"),
)
_IDENTITY_STEPS: tuple[tuple[str, timedelta, str], ...] = (
    ("web_session", PEOPLE_KEPT, "DELETE FROM web_session WHERE least(expires_at, revoked_at) < $1"),
    ("sign_in_attempt", COUNTERS_KEPT, "DELETE FROM sign_in_attempt WHERE at < $1"),
    ("known_network", limits.KNOWN, "DELETE FROM known_network WHERE last_at < $1"),
    ("password_link", COUNTERS_KEPT, "DELETE FROM password_link WHERE expires_at < $1"),
    ("passkey_challenge", COUNTERS_KEPT, "DELETE FROM passkey_challenge WHERE expires_at < $1"),
)
_SERVER_STEPS = (("server", COUNTERS_KEPT, "DELETE FROM server WHERE last_seen_at < $1"),)

# What every gateway of a community holds is needed no longer. One that was never heard of, or that holds an older list,
# gets the full one.
_CHANGES = """
WITH old AS (
    SELECT community_id, max(version) AS version FROM access_list_change WHERE at < $1 GROUP BY community_id
), floor AS (
    UPDATE community c SET access_list_floor = old.version FROM old
    WHERE c.id = old.community_id AND c.access_list_floor < old.version
)
DELETE FROM access_list_change k USING old WHERE k.community_id = old.community_id AND k.version <= old.version
"""
_COUNT = """
INSERT INTO passage_count AS k (community_id, day, gate, direction, decision, reason, passages)
SELECT p.community_id, (p.received_at AT TIME ZONE coalesce(c.time_zone, 'UTC'))::date, p.gate, p.direction, p.decision,
       p.reason, count(*)
FROM {passages} p LEFT JOIN community c ON c.id = p.community_id
GROUP BY 1, 2, 3, 4, 5, 6
ON CONFLICT (community_id, day, gate, direction, decision, reason)
    DO UPDATE SET passages = k.passages + excluded.passages
"""
# A plate is found for as long as there are passages or stays of it.
_PLATES = """
DELETE FROM seen_plate k
WHERE NOT EXISTS (
    SELECT FROM passage p WHERE p.community_id = k.community_id AND p.plate = k.plate AND p.received_at >= $1)
  AND NOT EXISTS (SELECT FROM stay s WHERE s.community_id = k.community_id AND s.plate = k.plate)
"""
# Whoever is let out because exit is free is a stranger, too, unless the list named a credential.
_OVER = f"""
received_at < $1 AND (NOT $2 OR reason = ANY($3) OR reason = '{Reason.EXIT_IS_FREE}' AND credential_id IS NULL)
"""
_BATCH = 50_000


async def run(connection: database.Connection, now: datetime, *, dry_run: bool = False) -> Report:
    """Delete what is over at ``now``; the connection is the owner's. A dry run only says what would go.

    Raises ``asyncpg.LockNotAvailableError`` where a table stayed in use; what was done until then stays done.
    """
    await connection.execute(f"SET lock_timeout = '{LOCK_S}s'")
    await connection.execute("SET statement_timeout = 0")
    rows: dict[str, int] = {}
    for scope, steps in (("retention", _STEPS), ("identity", _IDENTITY_STEPS), ("server", _SERVER_STEPS)):
        for name, kept, statement in steps:
            rows[name] = await _step(connection, scope, statement, now - kept, dry_run=dry_run)
    rows["access_list_change"] = await _step(connection, "retention", _CHANGES, now - CHANGES_KEPT, dry_run=dry_run)
    over = now - PASSAGES_KEPT
    rows["passage"], dropped = await _drop_partitions(connection, "passage", over, _COUNT, dry_run=dry_run)
    deleted = await _delete_passages(connection, over, unmatched=False, dry_run=dry_run)
    # In a dry run the partitions are still there and were counted with the rest.
    rows["passage"] = deleted if dry_run else rows["passage"] + deleted
    rows["passage_unmatched"] = await _delete_passages(
        connection, now - UNMATCHED_KEPT, unmatched=True, dry_run=dry_run, since=over if dry_run else None
    )
    rows["seen_plate"] = await _step(connection, "retention", _PLATES, over, dry_run=dry_run)
    over = now - OBSERVATIONS_KEPT
    rows["observation"], days = await _drop_partitions(connection, "observation", over, dry_run=dry_run)
    rows["observation"] += await _step(
        connection, "retention", "DELETE FROM observation_default WHERE received_at < $1", over, dry_run=dry_run
    )
    made = 0 if dry_run else await _patiently(lambda: connection.fetchval("SELECT make_partitions()"))
    # Last: one that can't be deleted keeps nothing else.
    communities = await _delete_communities(connection, now, dry_run=dry_run)
    return Report(dry_run, now, rows, communities, dropped + days, made)


async def _step(connection: database.Connection, scope: str, statement: str, before: datetime, *, dry_run: bool) -> int:
    """Run one statement in a transaction of its own; return how many rows it changed."""

    async def work() -> int:
        tag: str = await connection.execute(statement, before)
        return int(tag.rpartition(" ")[2])

    return await _patiently(lambda: _in_scope(connection, scope, work, dry_run=dry_run))


async def _in_scope(
    connection: database.Connection, scope: str, work: Callable[[], Awaitable[int]], *, dry_run: bool
) -> int:
    done = 0
    try:
        async with connection.transaction():
            await connection.execute("SELECT set_config('parkmesh.scope', $1, true)", scope)
            done = await work()
            if dry_run:
                raise _DryRun
    except _DryRun:
        pass
    return done


async def _patiently(work: Callable[[], Awaitable[int]]) -> int:
    """Try work again that didn't get a lock in time: transactions that queued behind it go first meanwhile."""
    for _ in range(LOCK_TRIES - 1):
        try:
            return await work()
        except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError):
            await asyncio.sleep(random.uniform(0.2, 1.0))  # noqa: S311
    return await work()


async def _delete_communities(connection: database.Connection, now: datetime, *, dry_run: bool) -> dict[str, int]:
    """Delete the communities whose time has come; return how many rows each had, 0 in a dry run."""
    gone: dict[str, int] = {}
    async with connection.transaction():
        await connection.execute("SELECT set_config('parkmesh.scope', 'retention', true)")
        communities = await deletion.due(connection, now)
    for community in communities:
        rows = 0

        async def step(work: Callable[[], Awaitable[int]]) -> int:
            return await _patiently(lambda: _in_scope(connection, "retention", work, dry_run=False))

        if not dry_run:
            rows = await step(partial(deletion.forget_accounts, connection, community.id))
            # Until nothing is left: deleting a plate is a change of the access list, which is a row too.
            while True:
                before = rows
                for table in await deletion.tables(connection):
                    while done := await step(partial(deletion.delete_some, connection, community.id, table)):
                        rows += done
                if rows == before:
                    break
            rows += await step(partial(deletion.finish, connection, community, rows))
        gone[community.name] = rows
    return gone


async def _drop_partitions(
    connection: database.Connection, table: str, over: datetime, counting: str | None = None, *, dry_run: bool
) -> tuple[int, list[str]]:
    """Drop a table's partitions in which everything is over; return the rows and the partitions.

    ``counting`` keeps the counts of what goes.
    """
    last = over.astimezone(UTC).date() - timedelta(days=1)
    names = [name for name, day in await _partitions(connection, table) if day <= last]
    gone = 0
    for name in names:

        async def detach(name: str = name) -> int:
            # Quick, with the lock on the whole table; the counting that follows blocks no other transaction.
            attached = await connection.fetchval(
                "SELECT EXISTS (SELECT FROM pg_inherits WHERE inhrelid = to_regclass($1))", name
            )
            if attached and not dry_run:
                await connection.execute(f"ALTER TABLE {table} DETACH PARTITION {name}")
            return 0

        async def drop(name: str = name) -> int:
            if counting is not None:
                await connection.execute(counting.format(passages=name))
            count: int = await connection.fetchval(f"SELECT count(*) FROM {name}")  # noqa: S608 - matched below
            if not dry_run:
                await connection.execute(f"DROP TABLE {name}")
            return count

        await _patiently(partial(_in_scope, connection, "retention", detach, dry_run=dry_run))
        gone += await _patiently(partial(_in_scope, connection, "retention", drop, dry_run=dry_run))
    return gone, names


async def _partitions(connection: database.Connection, table: str) -> list[tuple[str, date]]:
    """Return a table's partitions of days, oldest first, also those that an interrupted run has detached already."""
    found: list[Any] = await connection.fetch(
        """
        SELECT relname FROM pg_class
        WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relname ~ ('^' || $1 || '_[0-9]{8}$')
        ORDER BY relname
        """,
        table,
    )
    return [(row["relname"], datetime.strptime(row["relname"][-8:], "%Y%m%d").date()) for row in found]


async def _delete_passages(
    connection: database.Connection, before: datetime, *, unmatched: bool, dry_run: bool, since: datetime | None = None
) -> int:
    """Count and delete the passages before a moment, of those that matched nothing or all, some at a time.

    Partitions that begin later are left alone. ``since`` leaves out what is older, in a dry run.
    """
    arguments = (before, unmatched, [reason.value for reason in UNMATCHED])
    last = before.astimezone(UTC).date()
    names = ["passage_past", "passage_default"]
    names += [name for name, day in await _partitions(connection, "passage") if day <= last]
    gone = 0
    for name in names:
        if await connection.fetchval("SELECT to_regclass($1) IS NULL", name):
            continue
        # The names are of our own making (``_partitions``).
        batch = f"""
            WITH gone AS (
                DELETE FROM {name} WHERE ctid = ANY(ARRAY(SELECT ctid FROM {name} WHERE {_OVER} LIMIT {_BATCH}))
                RETURNING *
            ), counted AS ({_COUNT.format(passages="gone")}) SELECT count(*) FROM gone
        """  # noqa: S608
        count = f"SELECT count(*) FROM {name} WHERE {_OVER} AND ($4::timestamptz IS NULL OR received_at >= $4)"  # noqa: S608

        async def work(batch: str = batch, count: str = count) -> int:
            asked = connection.fetchval(count, *arguments, since) if dry_run else connection.fetchval(batch, *arguments)
            return int(await asked)

        while True:
            done = await _patiently(partial(_in_scope, connection, "retention", work, dry_run=dry_run))
            gone += done
            if dry_run or done < _BATCH:
                break
    return gone
