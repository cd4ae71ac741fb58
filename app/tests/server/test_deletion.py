"""Communities that the desk offboarded are deleted with all they have, and nothing else is."""

import asyncio
import json
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest
from page_visitor import visiting
from parkmesh.server.commands import deletion, retention
from parkmesh.server.db import database
from running_server import Database, Server
from two_communities import PASSWORD, rows, until_one_waits

Gateway = Callable[[str], httpx.AsyncClient]
People = Callable[[str], Any]
Command = Callable[..., subprocess.CompletedProcess[str]]
A = "/api/v1/communities/a"
DESK = "desk@parkmesh.example"
ADMINISTRATOR = "administrator@a.example"


async def everything(owner: Any, community_id: int) -> dict[str, list[str]]:
    """Return all rows of a community, by table; partitions are in the table that they are part of."""
    tables = await owner.fetch(
        """
        SELECT c.relname AS name FROM pg_class c
        JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'community_id' AND NOT a.attisdropped
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
        """
    )
    found = {}
    async with owner.transaction():
        await owner.execute("SELECT set_config('parkmesh.community', $1, true)", str(community_id))
        for table in tables:
            query = f"SELECT to_jsonb(t)::text AS row FROM {table['name']} t WHERE community_id = $1"  # noqa: S608
            found[table["name"]] = sorted(row["row"] for row in await owner.fetch(query, community_id))
    return {name: held for name, held in found.items() if held}


async def community_id(owner: Any, name: str) -> int:
    (row,) = await rows(owner, name, "SELECT id FROM community WHERE id = $1")
    return int(row["id"])


async def accounts(owner: Any) -> dict[str, bool]:
    async with owner.transaction():
        await database.set_scope(owner, "identity")
        found = await owner.fetch("SELECT email, active FROM app_user")
    return {row["email"]: row["active"] for row in found}


async def due(owner: Any) -> None:
    await rows(owner, "a", "UPDATE community SET deletion_due = now() WHERE id = $1")


@pytest.fixture
async def lived(people: People, gateway: Gateway) -> None:
    """Let something happen in both communities, of which many tables hold a trace."""
    now = datetime.now(UTC)
    for name in ("a", "b"):
        base = f"/api/v1/communities/{name}"
        admin, resident = await people(f"administrator@{name}.example"), await people(f"resident@{name}.example")
        hours = {"from": now.isoformat(), "until": (now + timedelta(hours=2)).isoformat()}
        for client, path, body in (
            (admin, "/api-keys", {"name": "k", "role": "reader"}),
            (admin, "/invitations", {"email": f"new@{name}.example", "role": "resident"}),
            (admin, "/levels", {"name": "P2", "ordinal": 2}),
            (admin, "/spaces", {"name": "v-1", "level": "P2", "category": "visitor"}),
            (resident, "/visitor-passes", {"plate": "VISIT1", "space": "v-1", **hours}),
        ):
            answer = await client.post(base + path, json=body, headers={"Idempotency-Key": path})
            assert answer.status_code == 201, answer.text
        moments = [int((now - timedelta(days=days)).timestamp() * 1000) for days in (40, 0, 0)]
        passages = [
            {
                "type": "passage", "seq": seq, "times": {"received": at},
                "gate": "main-in", "direction": "entry", "plate": "1234BCD", "decision": "granted", "reason": "exact",
                "opened": True,
            }
            for seq, at in enumerate(moments, 1)
        ]  # fmt: skip
        state = {"type": "space_state", "seq": 4, "times": {"received": 1}, "space": f"{name}-01", "status": "free"}
        unknown = state | {"seq": 5, "space": "nowhere"}
        gap = {"type": "gap", "seq": 6, "times": {"received": 1}, "kind": "space_state", "dropped": 3}
        async with gateway(f"gateway-{name}") as client:
            events = {"epoch": 1, "events": [*passages, state, unknown, gap]}
            answer = await client.post("/edge/v1/events", json=events)
            assert answer.status_code == 200, answer.text


@pytest.mark.usefixtures("lived")
async def test_everything_of_it_goes_and_nothing_of_others(
    people: People, owner: Any, filled: Database, parkmesh: Command, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(deletion, "BATCH", 2)
    desk, a, b = await people(DESK), await community_id(owner, "a"), await community_id(owner, "b")
    neighbour = await people("administrator@b.example")
    assert (await desk.delete(A)).status_code == 409
    await desk.post(f"{A}/offboard", json={"reason": "contract ended"})
    marked = await desk.delete(A)
    assert marked.status_code == 202, marked.text
    until = datetime.fromisoformat(marked.json()["deletion_due"])
    assert timedelta(days=6.9) < until - datetime.now(UTC) <= timedelta(days=7)
    assert (await desk.get(A)).json()["deletion_due"] == marked.json()["deletion_due"]
    assert (await desk.delete(A)).json() == marked.json()
    kept = tmp_path / "heads.json"
    assert parkmesh("verify-audit", "--heads", str(kept), PARKMESH_DATABASE_URL=filled.app).returncode == 0
    heads = json.loads(kept.read_text())["heads"]

    # Not before its time, even if retention is given a later time.
    assert (await retention.run(owner, datetime.now(UTC))).communities_deleted == {}
    assert (await retention.run(owner, until + timedelta(days=1), dry_run=True)).communities_deleted == {}
    others, held = await everything(owner, b), await everything(owner, a)
    assert len(held) >= 20
    await due(owner)
    planned = await retention.run(owner, datetime.now(UTC), dry_run=True)
    assert planned.communities_deleted == {"a": 0}
    # Servers may go on to make stays of its passages.
    assert held.keys() <= (await everything(owner, a)).keys()

    done = await retention.run(owner, datetime.now(UTC))
    assert list(done.communities_deleted) == ["a"]
    assert await everything(owner, a) == {}
    # Beside it, a server may have projected what the neighbour's gateway sent.
    left = await everything(owner, b)
    assert {name: len(left[name]) for name in others} == {name: len(found) for name, found in others.items()}
    for answer in (await desk.get(A), await desk.delete(A), await desk.post(f"{A}/keep")):
        assert answer.status_code == 404
    assert [item["name"] for item in (await desk.get("/api/v1/communities")).json()["items"]] == ["b"]
    assert (await neighbour.get("/api/v1/communities/b/passages")).json()["items"]
    assert (await retention.run(owner, datetime.now(UTC))).communities_deleted == {}

    # No account is left that belonged to that community alone, and the desk's trail says what went.
    left = await accounts(owner)
    assert {email for email, active in left.items() if active} == {
        DESK, "administrator@b.example", "resident@b.example"
    }  # fmt: skip
    assert not any(email.endswith("@a.example") for email in left)
    trail = (await desk.get("/api/v1/desk/audit", params={"action": "community."})).json()["items"]
    assert [entry["action"] for entry in trail] == ["community.deleted", "community.delete", "community.offboard"]
    assert trail[0]["actor"] == "system:retention"
    assert trail[0]["detail"] == {
        "name": "a", "entries": heads["a"]["entries"], "hash": heads["a"]["hash"], "rows": done.communities_deleted["a"]
    }  # fmt: skip

    # The other chains hold, and this one is known to have gone, unless the report saw another one.
    assert parkmesh("verify-audit", PARKMESH_DATABASE_URL=filled.app).returncode == 0
    after = parkmesh("verify-audit", "--against", str(kept), PARKMESH_DATABASE_URL=filled.app)
    assert after.returncode == 0, after.stdout
    assert "a" not in json.loads(after.stdout)["heads"]
    for wrong in ({"hash": "00" * 32}, {"entries": 1000}, {"community_id": 999}):
        kept.write_text(json.dumps({"heads": heads | {"a": heads["a"] | wrong}}))
        noticed = parkmesh("verify-audit", "--against", str(kept), PARKMESH_DATABASE_URL=filled.app)
        assert noticed.returncode == 1, wrong
        assert [found["chain"] for found in json.loads(noticed.stdout)["broken"]] == ["a"]


@pytest.mark.usefixtures("lived")
async def test_a_run_that_was_interrupted_is_finished_by_the_next(
    people: People, owner: Any, filled: Database, parkmesh: Command, monkeypatch: Any
) -> None:
    desk, a = await people(DESK), await community_id(owner, "a")
    await desk.post(f"{A}/offboard", json={"reason": "contract ended"})
    await desk.delete(A)
    await due(owner)
    finish = deletion.finish

    async def broken(*_: Any) -> int:
        raise ConnectionError

    monkeypatch.setattr(deletion, "finish", broken)
    with pytest.raises(ConnectionError):
        await retention.run(owner, datetime.now(UTC))
    # What is still there is a community with its whole trail.
    assert (await everything(owner, a)).keys() == {"audit_entry", "audit_link", "audit_chain"}
    assert parkmesh("verify-audit", PARKMESH_DATABASE_URL=filled.app).returncode == 0
    monkeypatch.setattr(deletion, "finish", finish)
    assert list((await retention.run(owner, datetime.now(UTC))).communities_deleted) == ["a"]
    assert await everything(owner, a) == {}


async def test_the_desk_may_think_again(people: People, owner: Any) -> None:
    desk = await people(DESK)
    await desk.post(f"{A}/offboard", json={"reason": "contract ended"})
    await desk.delete(A)
    for _ in range(2):
        assert (await desk.post(f"{A}/keep")).status_code == 204
    assert (await desk.get(A)).json()["deletion_due"] is None
    assert (await retention.run(owner, datetime.now(UTC) + timedelta(days=9), dry_run=True)).communities_deleted == {}
    trail = (await desk.get(f"{A}/audit", params={"action": "community."})).json()["items"]
    assert [entry["action"] for entry in trail] == ["community.keep", "community.delete", "community.offboard"]


async def test_nobody_else_deletes(server: Server, people: People, owner: Any, filled: Database) -> None:
    desk, admin = await people(DESK), await people(ADMINISTRATOR)
    key = (await admin.post(f"{A}/api-keys", json={"name": "k", "role": "administrator"})).json()["token"]
    bearer = {"Authorization": f"Bearer {key}"}
    async with httpx.AsyncClient(base_url=server.web, headers=bearer) as program:
        for client in (admin, program, await people("resident@a.example")):
            assert (await client.delete(A)).status_code == 403
            assert (await client.post(f"{A}/keep")).status_code == 403
    assert (await (await people("administrator@b.example")).delete(A)).status_code == 404
    # Nor can the trail be emptied by the owner in passing, of a community that stays or of one that has still time.
    a = await community_id(owner, "a")
    await desk.post(f"{A}/offboard", json={"reason": "contract ended"})
    await desk.delete(A)
    for table in ("audit_link", "audit_entry", "audit_chain"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="only added to"):
            await rows(owner, "a", f"DELETE FROM {table} WHERE community_id = $1")  # noqa: S608
    # And the application may not at all: neither when the time has come, nor by saying that it has.
    async with database.create_pool(filled.app, "test", 1) as pool:
        for time in ("now()", "now() + interval '6 days 23 hours'"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError, match="7 days"):
                async with database.in_community(pool, a) as connection:
                    await connection.execute(f"UPDATE community SET deletion_due = {time} WHERE id = $1", a)  # noqa: S608
        await due(owner)
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="permission denied"):
            async with database.in_community(pool, a) as connection:
                await connection.execute("DELETE FROM audit_link")


async def test_it_is_not_kept_once_its_deletion_may_have_begun(people: People, owner: Any, server: Server) -> None:
    desk = await people(DESK)
    await desk.post(f"{A}/offboard", json={"reason": "contract ended"})
    await desk.delete(A)
    await due(owner)
    refused = await desk.post(f"{A}/keep")
    assert (refused.status_code, refused.json()["type"]) == (409, "urn:parkmesh:problem:over")
    assert (await desk.get(A)).json()["deletion_due"] is not None
    async with visiting(server.web, DESK) as visitor:
        page = await visitor.send("/communities/a/keep", of="/communities/a/offboard")
    assert page.status_code == 422
    assert "The community can&#39;t be kept any more" in page.text
    assert list((await retention.run(owner, datetime.now(UTC))).communities_deleted) == ["a"]


async def test_who_joins_elsewhere_while_his_community_is_deleted_keeps_his_account(
    people: People, owner: Any, filled: Database
) -> None:
    desk = await people(DESK)
    await desk.post(f"{A}/offboard", json={"reason": "contract ended"})
    await desk.delete(A)
    await due(owner)
    identity, elsewhere = await community_id(owner, "a"), await community_id(owner, "b")
    joining, deleting = await asyncpg.connect(filled.owner), await asyncpg.connect(filled.owner)
    try:
        # As ``invitations`` does it, and not yet committed.
        transaction = joining.transaction()
        await transaction.start()
        await database.set_scope(joining, "identity")
        await database.set_community(joining, elsewhere)
        user = await joining.fetchval("SELECT id FROM app_user WHERE email = 'resident@a.example' FOR NO KEY UPDATE")
        await joining.execute(
            "INSERT INTO membership (community_id, user_id, role) VALUES ($1, $2, 'resident')", elsewhere, user
        )

        async def forget() -> int:
            async with deleting.transaction():
                await database.set_scope(deleting, "retention")
                return await deletion.forget_accounts(deleting, identity)

        forgotten = asyncio.create_task(forget())
        await until_one_waits(owner)
        await transaction.commit()
        assert await forgotten == 2
    finally:
        await joining.close()
        await deleting.close()
    left = await accounts(owner)
    assert left["resident@a.example"]
    assert ADMINISTRATOR not in left


async def test_who_belongs_elsewhere_too_keeps_his_account(people: People, owner: Any, server: Server) -> None:
    async with owner.transaction():
        await database.set_scope(owner, "identity")
        user = await owner.fetchval("SELECT id FROM app_user WHERE email = $1", ADMINISTRATOR)
    await rows(
        owner, "b", "INSERT INTO membership (community_id, user_id, role) VALUES ($1, $2, 'administrator')", user
    )
    desk = await people(DESK)
    await desk.post(f"{A}/offboard", json={"reason": "contract ended"})
    await desk.delete(A)
    await due(owner)
    await retention.run(owner, datetime.now(UTC))
    left = await accounts(owner)
    assert left[ADMINISTRATOR]
    assert "resident@a.example" not in left
    async with httpx.AsyncClient(base_url=server.web) as client:
        answer = await client.post("/api/v1/sessions", json={"email": ADMINISTRATOR, "password": PASSWORD})
        assert answer.status_code == 201
