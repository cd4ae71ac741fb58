"""No row of one community is visible to another: in the database, and through every route of the API."""

from collections.abc import Callable
from typing import Any

import asyncpg
import httpx
import pytest
from parkmesh.server.db import database
from running_server import Database, Server
from two_communities import held_for_long, rows

Gateway = Callable[[str], httpx.AsyncClient]
People = Callable[[str], Any]


async def test_every_table_has_row_level_security_forced(owner: Any) -> None:
    tables = await owner.fetch(
        """
        SELECT relname, relrowsecurity AND relforcerowsecurity AS forced,
               EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'community_id') AS tenant,
               ARRAY(SELECT polname::text FROM pg_policy p WHERE p.polrelid = c.oid) AS policies
        FROM pg_class c WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
          AND relname <> 'alembic_version'
        """
    )
    assert len(tables) >= 17
    assert [table["relname"] for table in tables if not table["forced"]] == []
    assert [table["relname"] for table in tables if table["tenant"] and "tenant" not in table["policies"]] == []
    views = await owner.fetch(
        """
        SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('v', 'm')
          AND NOT coalesce('security_invoker=true' = ANY(reloptions), false)
        """
    )
    assert views == []


async def test_the_community_leads_every_key_of_a_tenants_table(owner: Any) -> None:
    wrong = await owner.fetch(
        """
        SELECT i.indexrelid::regclass::text AS name FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
        JOIN pg_attribute t ON t.attrelid = c.oid AND t.attname = 'community_id'
        WHERE c.relnamespace = 'public'::regnamespace AND i.indisunique AND i.indkey[0] <> t.attnum
        """
    )
    # Gateways and API keys are found by their tokens before their community is known; messages and webhooks may be of
    # no community, and nobody chooses their numbers.
    found = {row["name"] for row in wrong}
    assert found == {
        "gateway_token_sha256_key",
        "api_key_token_sha256_key",
        "message_pkey",
        "webhook_endpoint_pkey",
        "webhook_delivery_pkey",
    }


async def _tenant_tables(connection: Any) -> list[str]:
    found = await connection.fetch(
        """
        SELECT c.relname FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'community_id'
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
          AND has_table_privilege('parkmesh_app', c.oid, 'SELECT')
        """
    )
    return [row["relname"] for row in found]


async def test_a_transaction_sees_its_community_and_without_one_nothing(filled: Database, owner: Any) -> None:
    (a,) = await rows(owner, "a", "SELECT id FROM community WHERE id = $1")
    (b,) = await rows(owner, "b", "SELECT id FROM community WHERE id = $1")
    tables = await _tenant_tables(owner)
    async with database.create_pool(filled.app, "test", 1) as pool:
        async with pool.acquire() as connection:
            for table in [*tables, "community", "app_user", "web_session"]:
                assert await connection.fetchval(f"SELECT count(*) FROM {table}") == 0, table  # noqa: S608
        async with database.in_community(pool, a["id"]) as connection:
            for table in tables:
                foreign = f"SELECT count(*) FROM {table} WHERE community_id <> $1"  # noqa: S608
                assert await connection.fetchval(foreign, a["id"]) == 0, table
            assert await connection.fetchval("SELECT count(*) FROM gate") == 2
            assert await connection.fetchval("SELECT count(*) FROM app_user") == 0
            changed = await connection.execute("UPDATE gate SET title = 'x' WHERE community_id = $1", b["id"])
            assert changed == "UPDATE 0"
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                async with connection.transaction():
                    await connection.execute("INSERT INTO unit (community_id, name) VALUES ($1, 'x')", b["id"])
        async with pool.acquire() as connection:
            # The setting ended with its transaction: a pooled connection carries no community over.
            assert await connection.fetchval("SELECT count(*) FROM gate") == 0


async def test_the_desk_sees_names_and_health_and_nothing_else(filled: Database, owner: Any) -> None:
    tables = await _tenant_tables(owner)
    async with database.create_pool(filled.app, "test", 1) as pool, database.at_desk(pool) as connection:
        assert await connection.fetchval("SELECT count(*) FROM community") == 2
        assert await connection.fetchval("SELECT count(*) FROM gateway") == 2
        # Of the trail it sees its own part, and how long the chains are.
        assert await connection.fetchval("SELECT count(*) FROM audit_entry WHERE community_id <> 0") == 0
        assert await connection.fetchval("SELECT count(*) FROM audit_link WHERE community_id <> 0") == 0
        for table in sorted(
            {*tables, "app_user", "web_session"} - {"gateway", "audit_entry", "audit_link", "audit_chain"}
        ):
            assert await connection.fetchval(f"SELECT count(*) FROM {table}") == 0, table  # noqa: S608


EXISTING = {"plate": "1234BCD", "gate": "main-in", "space": "b-01", "gateway": "gateway-b", "unit": "1"}
"""What the parts of an address are filled with besides numbers: b has them, so a leak would show."""


def _targets(openapi: dict[str, Any], community: str) -> list[tuple[str, str]]:
    """Return method and address of every route of a community. Objects are named as b has them."""
    targets = []
    for path, methods in openapi["paths"].items():
        for method, route in methods.items():
            if "{community}" not in path or method not in ("get", "put", "post", "patch", "delete"):
                continue
            names = {item["name"]: item["schema"] for item in route["parameters"] if item["in"] == "path"}
            values = {
                name: "1" if schema.get("type") == "integer" else EXISTING.get(name, "x")
                for name, schema in names.items()
            }
            targets.append((method, path.format(**(values | {"community": community}))))
    return targets


async def _state(owner: Any) -> dict[str, list[Any]]:
    """Return all that community b has, table by table, except rows that only note a visit."""
    tables = await _tenant_tables(owner)
    return {table: await rows(owner, "b", f"SELECT * FROM {table} WHERE community_id = $1") for table in tables}  # noqa: S608


async def test_every_route_answers_404_for_another_community(
    server: Server, people: People, owner: Any, subtests: pytest.Subtests
) -> None:
    outsiders = [await people("resident@a.example"), await people("administrator@a.example")]
    openapi = (await outsiders[0].get("/api/v1/openapi.json")).json()
    before = await _state(owner)
    for community in ("b", "nowhere", "a%00"):
        targets = _targets(openapi, community)
        assert len(targets) >= 12
        for method, target in targets:
            for outsider in outsiders:
                with subtests.test(f"{method} {target}"):
                    # The server checks who asks before it looks at the body.
                    answer = await outsider.request(method, target, json={} if method != "get" else None)
                    assert answer.status_code == 404, answer.text
                    assert answer.headers["content-type"] == "application/problem+json"
    for page in ("/communities/b", "/communities/b/stream"):
        with subtests.test(page):
            session = outsiders[0].headers["authorization"].removeprefix("Bearer ")
            answer = await outsiders[0].get(page, headers={"cookie": f"parkmesh-session={session}"})
            assert answer.status_code == 404
    assert await _state(owner) == before


async def test_without_a_session_every_route_answers_401(server: Server, subtests: pytest.Subtests) -> None:
    async with httpx.AsyncClient(base_url=server.web) as client:
        openapi = (await client.get("/api/v1/openapi.json")).json()
        for method, target in _targets(openapi, "a"):
            with subtests.test(f"{method} {target}"):
                answer = await client.request(method, target, json={} if method != "get" else None)
                assert answer.status_code == 401


async def test_residents_see_their_own_passages_and_may_change_nothing(
    people: People, gateway: Gateway, owner: Any
) -> None:
    await held_for_long(owner)
    times = {"received": 1_790_000_000_000}
    passage = {"type": "passage", "times": times, "gate": "main-in", "direction": "entry", "decision": "granted"}
    async with gateway("gateway-a") as client:
        entries = (await client.get("/edge/v1/access-list")).json()["entries"]
        own_credential = {entry["plate"]: entry["credential_id"] for entry in entries}
        events = [
            passage | {"seq": seq, "plate": plate, "reason": "exact", "credential_id": own_credential[plate]}
            for seq, plate in enumerate(("1234BCD", "5678AXX", "1234BCD"), 1)
        ]
        await client.post("/edge/v1/events", json={"epoch": 1, "events": events})
    resident, administrator = await people("resident@a.example"), await people("administrator@a.example")
    own = (await resident.get("/api/v1/communities/a/passages")).json()["items"]
    assert [item["plate"] for item in own] == ["1234BCD", "1234BCD"]
    assert len((await administrator.get("/api/v1/communities/a/passages")).json()["items"]) == 3
    assert (await resident.get("/api/v1/communities/a/gateways")).status_code == 403
    assert (await resident.get("/api/v1/communities/a/credentials")).status_code == 403
    revoke = await resident.put("/api/v1/communities/a/credentials/1234BCD", json={"status": "revoked"})
    assert revoke.status_code == 403
    opened = await resident.post("/api/v1/communities/a/gates/main-in/open", json={"reason": "no reason"})
    assert opened.status_code == 403


async def test_passages_come_in_pages_without_gaps_or_doubles(people: People, gateway: Gateway) -> None:
    passage = {"type": "passage", "gate": "main-in", "direction": "entry", "decision": "denied", "reason": "no_plate"}
    # Several in one instant: the place of a page is not a time alone.
    events = [
        passage | {"seq": seq, "plate": f"P{seq}", "times": {"received": 1_790_000_000_000 + seq // 4}}
        for seq in range(1, 24)
    ]
    async with gateway("gateway-a") as client:
        await client.post("/edge/v1/events", json={"epoch": 1, "events": events})
    desk = await people("desk@parkmesh.example")
    seen: list[str] = []
    cursor = None
    while True:
        params = {"limit": "5"} | ({"cursor": cursor} if cursor else {})
        page = (await desk.get("/api/v1/communities/a/passages", params=params)).json()
        seen += [item["plate"] for item in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert seen == [f"P{seq}" for seq in range(23, 0, -1)]


async def test_a_change_of_rights_acts_at_once(people: People, owner: Any) -> None:
    administrator = await people("administrator@a.example")
    assert (await administrator.get("/api/v1/communities/a/gateways")).status_code == 200
    await rows(owner, "a", "UPDATE membership SET role = 'resident' WHERE community_id = $1")
    assert (await administrator.get("/api/v1/communities/a/gateways")).status_code == 403
    await rows(owner, "a", "DELETE FROM membership WHERE community_id = $1")
    assert (await administrator.get("/api/v1/communities/a/gates")).status_code == 404
