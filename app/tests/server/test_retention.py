"""Partitions of passages and observations, and what retention deletes, reports and leaves alone."""

import json
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import httpx
import pytest
from parkmesh.server.commands import retention
from parkmesh.server.db import database
from running_server import Database
from two_communities import rows

Gateway = Callable[[str], httpx.AsyncClient]
Command = Callable[..., subprocess.CompletedProcess[str]]
NOW = datetime.now(UTC)
DAY = timedelta(days=1)
OPENED = ("exact", "exit_is_free")


async def send(gateway: Gateway, epoch: int, *passages: tuple[datetime, str, str], name: str = "gateway-a") -> None:
    """Let a gateway report passages: when, plate, reason."""
    events = [
        {
            "type": "passage",
            "seq": seq,
            "times": {"received": int(at.timestamp() * 1000)},
            "gate": "main-in",
            "direction": "exit" if reason == "exit_is_free" else "entry",
            "plate": plate,
            "decision": "granted" if reason in OPENED else "denied",
            "reason": reason,
            "opened": reason in OPENED or None,
        }
        for seq, (at, plate, reason) in enumerate(passages, 1)
    ]
    async with gateway(name) as client:
        answer = await client.post("/edge/v1/events", json={"epoch": epoch, "events": events})
        assert answer.status_code == 200, answer.text


async def partition_of(owner: Any, plate: str) -> str:
    (found,) = await rows(
        owner, "a", "SELECT tableoid::regclass::text AS name FROM passage WHERE community_id = $1 AND plate = $2", plate
    )
    return str(found["name"])


async def test_passages_go_to_their_days_and_to_the_default_where_there_is_none(gateway: Gateway, owner: Any) -> None:
    await send(
        gateway, 1, (NOW, "TODAY", "exact"), (NOW - 40 * DAY, "PAST", "exact"), (NOW + 90 * DAY, "WRONG", "exact")
    )
    assert await partition_of(owner, "TODAY") == f"passage_{NOW:%Y%m%d}"
    assert await partition_of(owner, "PAST") == "passage_past"
    # A clock that is ahead is no longer believed; rows of the releases before this one are where nothing was made yet.
    assert await partition_of(owner, "WRONG") == f"passage_{NOW:%Y%m%d}"
    ahead = "UPDATE passage SET received_at = $2 WHERE community_id = $1 AND plate = 'WRONG'"
    await rows(owner, "a", ahead, NOW + 90 * DAY)
    assert await partition_of(owner, "WRONG") == "passage_default"
    day = (NOW + 90 * DAY).date()
    assert await owner.fetchval("SELECT make_partition('passage', $1)", day)
    assert await partition_of(owner, "WRONG") == f"passage_{day:%Y%m%d}"
    assert not await owner.fetchval("SELECT make_partition('passage', $1)", day)
    assert not await owner.fetchval("SELECT make_partition('passage', $1)", (NOW - 40 * DAY).date())
    # A day may have begun since the database was made.
    await owner.fetchval("SELECT make_partitions()")
    assert await owner.fetchval("SELECT make_partitions()") == 0


async def test_nobody_reads_a_partition_past_the_rules(filled: Database, owner: Any, gateway: Gateway) -> None:
    await send(gateway, 1, (NOW, "1234BCD", "exact"))
    partitions = await owner.fetch(
        """
        SELECT c.relname AS name, relrowsecurity AND relforcerowsecurity AS forced,
               ARRAY(SELECT polname::text FROM pg_policy p WHERE p.polrelid = c.oid ORDER BY 1) AS policies,
               has_table_privilege('parkmesh_app', c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE') AS granted
        FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = 'passage'::regclass
        """
    )
    assert len(partitions) >= 10
    for partition in partitions:
        expected = (True, ["retention", "tenant"], False)
        assert (partition["forced"], partition["policies"], partition["granted"]) == expected, partition["name"]
    async with database.create_pool(filled.app, "test", 1) as pool, pool.acquire() as connection:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.fetch(f"SELECT FROM passage_{NOW:%Y%m%d}")
        # The scope of retention is the owner's.
        await connection.execute("SELECT set_config('parkmesh.scope', 'retention', false)")
        for table in ("passage", "presence", "credential"):
            assert await connection.fetchval(f"SELECT count(*) FROM {table}") == 0  # noqa: S608


async def counted(owner: Any) -> dict[tuple[str, str], int]:
    found = await rows(owner, "a", "SELECT day, reason, passages FROM passage_count WHERE community_id = $1")
    return {(f"{row['day']:%Y%m%d}", row["reason"]): row["passages"] for row in found}


async def test_passages_are_counted_and_let_go(gateway: Gateway, owner: Any) -> None:
    await send(
        gateway,
        1,
        (NOW - 31 * DAY, "OLD1", "exact"),
        (NOW - 29 * DAY, "YOUNG", "exact"),
        (NOW - 29 * DAY, "STRANGER1", "unknown_plate"),
        (NOW - 4 * DAY, "", "no_plate"),
        (NOW - 2 * DAY, "STRANGER2", "unknown_plate"),
        (NOW, "TODAY", "exact"),
    )
    planned = await retention.run(owner, NOW, dry_run=True)
    assert (planned.rows["passage"], planned.rows["passage_unmatched"]) == (1, 2)
    assert len(await rows(owner, "a", "SELECT FROM passage WHERE community_id = $1")) == 6
    assert await counted(owner) == {}

    done = await retention.run(owner, NOW)
    assert {name: count for name, count in done.rows.items() if count} == {
        "passage": 1,
        "passage_unmatched": 2,
    }
    kept = await rows(owner, "a", "SELECT plate FROM passage WHERE community_id = $1 ORDER BY received_at")
    assert [row["plate"] for row in kept] == ["YOUNG", "STRANGER2", "TODAY"]
    assert sorted(count for (_, reason), count in (await counted(owner)).items()) == [1, 1, 1]
    again = await retention.run(owner, NOW)
    assert not any(again.rows.values())
    assert len(await counted(owner)) == 3

    # A month later whole days go at once, and so does what comes late.
    later = NOW + 32 * DAY
    planned = await retention.run(owner, later, dry_run=True)
    assert planned.rows["passage"] == 3
    done = await retention.run(owner, later)
    assert (done.rows["passage"], f"passage_{NOW:%Y%m%d}" in done.partitions_dropped) == (3, True)
    assert done.partitions_dropped == planned.partitions_dropped
    before = sum((await counted(owner)).values())
    await send(gateway, 2, (NOW, "LATE", "exact"))
    assert (await retention.run(owner, later)).rows["passage"] == 1
    assert sum((await counted(owner)).values()) == before + 1 == 7


async def test_of_a_stranger_that_was_let_out_nothing_is_kept_longer_than_of_one_that_was_refused(
    gateway: Gateway, owner: Any, people: Callable[[str], Any]
) -> None:
    await send(
        gateway,
        1,
        (NOW - 4 * DAY, "STRANGER1", "exit_is_free"),
        (NOW - 4 * DAY, "1234BCD", "exit_is_free"),  # a resident's, unsure
        (NOW - 2 * DAY, "STRANGER2", "exit_is_free"),
    )
    await rows(owner, "a", "UPDATE passage SET credential_id = '1' WHERE community_id = $1 AND plate = '1234BCD'")
    planned = await retention.run(owner, NOW, dry_run=True)
    done = await retention.run(owner, NOW)
    # The plates to search by are filled beside it, so that there may be some already.
    assert {name: count for name, count in done.rows.items() if count and name != "seen_plate"} == {
        "passage_unmatched": 1,
        "presence_unmatched": 1,
    }
    assert {**planned.rows, "seen_plate": 0} == {**done.rows, "seen_plate": 0}
    for table in ("passage", "presence"):
        kept = await rows(owner, "a", f"SELECT plate FROM {table} WHERE community_id = $1 ORDER BY plate")  # noqa: S608
        assert [row["plate"] for row in kept] == ["1234BCD", "STRANGER2"]


async def test_a_run_that_was_interrupted_is_finished_by_the_next(gateway: Gateway, owner: Any) -> None:
    await send(gateway, 1, (NOW, "TODAY", "exact"))
    await owner.execute(f"ALTER TABLE passage DETACH PARTITION passage_{NOW:%Y%m%d}")
    done = await retention.run(owner, NOW + 32 * DAY)
    assert done.rows["passage"] == 1
    assert sum((await counted(owner)).values()) == 1


async def test_retention_waits_for_nobody_for_ever(filled: Database, owner: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(retention, "LOCK_TRIES", 2)
    monkeypatch.setattr(retention, "LOCK_S", 0.1)
    async with database.create_pool(filled.app, "test", 1) as pool, pool.acquire() as reader, reader.transaction():
        await reader.fetch("SELECT FROM passage")
        with pytest.raises(asyncpg.LockNotAvailableError):
            await retention.run(owner, NOW + 40 * DAY)


async def test_people_and_counters_are_let_go(owner: Any) -> None:
    await rows(
        owner,
        "a",
        """
        WITH unit AS (SELECT id FROM unit WHERE community_id = $1 LIMIT 1), pass AS (
            INSERT INTO visitor_pass (community_id, unit_id, name, plate, starts_at, ends_at, month, token_sha256)
            SELECT $1, id, 'Eva', 'VISIT' || days, now() - days * interval '1 day' - interval '1 hour',
                   now() - days * interval '1 day', now(), sha256(days::text::bytea)
            FROM unit, unnest(ARRAY[5, 40]) days
            RETURNING id, plate, ends_at)
        INSERT INTO credential (community_id, plate, visitor_pass_id, valid_until)
        SELECT $1, plate, id, ends_at FROM pass
        """,
    )
    await rows(
        owner,
        "a",
        """
        INSERT INTO booking (community_id, space_id, unit_id, starts_at, ends_at, status, cancelled_at, cancel_reason)
        SELECT $1, s.id, u.id, now() - days * interval '1 day' - interval '1 hour', now() - days * interval '1 day',
               'cancelled', now(), reason
        FROM (SELECT min(id) AS id FROM space WHERE community_id = $1) s,
             (SELECT min(id) AS id FROM unit WHERE community_id = $1) u,
             (VALUES (5, 'Eva is ill'), (40, 'Eva was ill'), (41, NULL)) AS b(days, reason)
        """,
    )
    await rows(
        owner,
        "a",
        """
        INSERT INTO presence (community_id, plate, inside, at, gateway_id, epoch, seq, gate)
        SELECT $1, 'P' || days || inside::text, inside, now() - days * interval '1 day', 1, 1, 1, 'x'
        FROM unnest(ARRAY[5, 40]) days, unnest(ARRAY[true, false]) inside
        """,
    )
    await rows(
        owner,
        "a",
        "INSERT INTO gate_opening SELECT $1, 'user:1', now() - d * interval '1 day' FROM unnest(ARRAY[0, 2]) d",
    )
    await rows(
        owner,
        "a",
        """
        INSERT INTO gate_command (community_id, id, gate, actor, state, asked_at, expires_at)
        SELECT $1, d, 'x', 'user:1', 'sent', now() - d * interval '1 day', now() FROM unnest(ARRAY[5, 40]) d
        """,
    )
    async with owner.transaction():
        await database.set_scope(owner, "identity")
        await owner.execute(
            """
            INSERT INTO web_session (token_sha256, user_id, expires_at)
            SELECT sha256(d::text::bytea), (SELECT min(id) FROM app_user), now() - d * interval '1 day'
            FROM unnest(ARRAY[-1, 5, 40]) d;
            INSERT INTO sign_in_attempt (account_sha256, address, at)
            SELECT 'x', '10.0.0.1', now() - d * interval '1 day' FROM unnest(ARRAY[0, 2]) d
            """
        )
    await rows(owner, "a", "UPDATE access_list_change SET at = now() - interval '40 days' WHERE community_id = $1")
    held = (await rows(owner, "a", "SELECT access_list_version AS v FROM community WHERE id = $1"))[0]["v"]
    done = await retention.run(owner, NOW)
    assert {name: count for name, count in done.rows.items() if count} == {
        "presence": 1,
        "presence_unmatched": 1,
        "visitor_credential": 1,
        "visitor_pass": 1,
        "booking": 1,
        "gate_command": 1,
        "gate_opening": 1,
        "web_session": 1,
        "sign_in_attempt": 1,
        "access_list_change": done.rows["access_list_change"],
    }
    (community,) = await rows(
        owner, "a", "SELECT access_list_version AS v, access_list_floor AS floor FROM community WHERE id = $1"
    )
    assert (community["v"], community["floor"]) == (held + 1, held)
    changes = await rows(owner, "a", "SELECT version FROM access_list_change WHERE community_id = $1")
    assert [change["version"] for change in changes] == [held + 1]
    names = await rows(owner, "a", "SELECT name FROM visitor_pass WHERE community_id = $1 ORDER BY ends_at")
    assert [row["name"] for row in names] == [None, "Eva"]
    reasons = await rows(owner, "a", "SELECT cancel_reason FROM booking WHERE community_id = $1 ORDER BY ends_at")
    assert [row["cancel_reason"] for row in reasons] == [None, None, "Eva is ill"]
    assert not any((await retention.run(owner, NOW)).rows.values())


def test_the_commands_print_json_and_say_whose_they_are(filled: Database, parkmesh: Command) -> None:
    done = parkmesh("retention", "run", "--dry-run", PARKMESH_DATABASE_URL=filled.owner)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert (report["dry_run"], report["partitions_dropped"]) == (True, [])
    refused = parkmesh("retention", "run", PARKMESH_DATABASE_URL=filled.app)
    assert refused.returncode == 1
    assert "the owner's address" in refused.stderr
    epoch = parkmesh("admin", "new-epoch", PARKMESH_DATABASE_URL=filled.app)
    assert (epoch.returncode, json.loads(epoch.stdout)) == (0, {"changed": True, "communities": 2})
    assert parkmesh("retention", "run").returncode == 2


async def test_a_new_epoch_makes_gateways_take_the_full_list(
    gateway: Gateway, filled: Database, parkmesh: Command
) -> None:
    async with gateway("gateway-a") as client:
        held = (await client.get("/edge/v1/access-list?epoch=0")).json()
        async with client.stream("GET", "/edge/v1/stream") as response:
            lines = response.aiter_lines()
            assert json.loads(await told(lines)) == {"version": held["version"], "epoch": held["epoch"]}
            parkmesh("admin", "new-epoch", PARKMESH_DATABASE_URL=filled.app)
            assert json.loads(await told(lines))["epoch"] != held["epoch"]
        now = (await client.get(f"/edge/v1/access-list?version={held['version']}&epoch={held['epoch']}")).json()
        assert now["full"] is True


async def told(lines: Any) -> str:
    while True:
        line: str = await anext(lines)
        if line.startswith('data: {"version'):
            return line.removeprefix("data: ")


async def test_observations_are_kept_in_the_partitions_of_their_days(
    gateway: Gateway, people: Callable[[str], Any], owner: Any
) -> None:
    moments = [NOW - 40 * DAY, NOW - 2 * DAY, NOW - 2 * DAY, NOW]
    statuses = ["free", "occupied", "free", "occupied"]
    events = [
        {
            "type": "space_state", "seq": seq, "times": {"received": int(at.timestamp() * 1000)},
            "space": "a-01", "status": status,
        }
        for seq, (at, status) in enumerate(zip(moments, statuses, strict=True), 1)
    ]  # fmt: skip
    async with gateway("gateway-a") as client:
        for _ in range(2):
            # Sent again, an event is no second observation.
            assert (await client.post("/edge/v1/events", json={"epoch": 1, "events": events})).status_code == 200
    desk = await people("desk@parkmesh.example")
    path = "/api/v1/communities/a/spaces/a-01/observations"
    first = (await desk.get(path, params={"limit": 3})).json()
    rest = (await desk.get(path, params={"cursor": first["next"]})).json()
    seen = [*first["items"], *rest["items"]]
    assert [item["status"] for item in seen] == list(reversed(statuses))
    assert rest["next"] is None
    lately = (
        await desk.get(path, params={"from": (NOW - 3 * DAY).isoformat(), "until": (NOW - DAY).isoformat()})
    ).json()
    assert [item["status"] for item in lately["items"]] == ["free", "occupied"]
    assert (await desk.get("/api/v1/communities/a/spaces/none/observations")).status_code == 404
    resident = await people("resident@a.example")
    assert (await resident.get(path)).status_code == 403

    planned = await retention.run(owner, NOW, dry_run=True)
    assert planned.rows["observation"] == 1
    assert (await retention.run(owner, NOW)).rows["observation"] == 1
    # A month later the day of the last one goes with its partition.
    done = await retention.run(owner, NOW + 32 * DAY)
    assert f"observation_{NOW:%Y%m%d}" in done.partitions_dropped
    assert done.rows["observation"] == 3
    assert (await desk.get(path)).json()["items"] == []
