"""The audit trail: every act is in it, it can't be changed, and ``verify-audit`` reports tampering."""

import asyncio
import json
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import pytest
from alembic import command
from alembic.config import Config
from parkmesh.server import audit
from parkmesh.server.commands import verify_audit
from parkmesh.server.communities import audit_chain
from parkmesh.server.communities.audit_chain import Break, Head
from parkmesh.server.db import database, migrations, schema
from running_server import APP_PASSWORD, Database
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool
from two_communities import rows

Command = Callable[..., subprocess.CompletedProcess[str]]
DESK = audit.System("test")
TABLES = ("audit_entry", "audit_link", "audit_chain")


async def community_id(connection: Any, name: str) -> int:
    (row,) = await rows(connection, name, "SELECT id FROM community WHERE id = $1")
    return int(row["id"])


@pytest.fixture
async def pool(filled: Database) -> AsyncIterator[Any]:
    async with database.create_pool(filled.app, "test", 8) as made:
        yield made


@pytest.fixture
async def trail(pool: Any, owner: Any) -> int:
    """Return the id of community a, which has five entries."""
    identity = await community_id(owner, "a")
    for n in range(1, 6):
        async with database.in_community(pool, identity) as connection:
            await audit.record(connection, DESK, identity, "gate.open", f"gate/{n}", {"reason": f'árbol {n}\n"x"'})
    return identity


async def verify(pool: Any, community: str | None = "a", before: Head | None = None) -> verify_audit.Report:
    async with pool.acquire() as connection:
        return await verify_audit.verify(connection, community, {"a": before} if before else {})


async def broken(pool: Any, before: Head | None = None) -> Break:
    (found,) = (await verify(pool, before=before)).broken
    return found


async def tamper(owner: Any, *statements: str) -> None:
    """Change the trail as only the tables' owner can, with the triggers off."""
    for table in TABLES:
        await owner.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
    for statement in statements:
        await rows(owner, "a", statement)
    for table in TABLES:
        await owner.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER")


async def test_an_untouched_trail_holds(pool: Any, trail: int) -> None:
    report = await verify(pool, None)
    assert report.broken == []
    assert report.heads["a"].entries == 5
    assert msgspec.structs.replace(report.heads["b"], community_id=None) == Head(0, audit_chain.GENESIS.hex())
    assert verify_audit.OUTSIDE_NAME in report.heads


ENTRY = "(SELECT entry_id FROM audit_link WHERE community_id = $1 AND seq = {})"
CHANGE = "UPDATE audit_entry SET {} WHERE community_id = $1 AND id = {}"
DELETE = "DELETE FROM audit_entry WHERE community_id = $1 AND id = {}"
CHANGES = {
    "detail": ("detail = '{}'", "the detail was changed"),
    "salt": ("salt = '\\x00'", "the detail was changed"),
    "detail taken away": ("detail = NULL, salt = NULL", "no later entry says that it was erased"),
    "time": ("at = at + interval '1 microsecond'", "the entry was changed"),
    "actor": ("actor = 'system:other'", "the entry was changed"),
    "user": ("user_id = (SELECT min(user_id) FROM membership)", "the entry was changed"),
    "action": ("action = 'gate.close'", "the entry was changed"),
    "object": ("object = 'gate/99'", "the entry was changed"),
}


@pytest.mark.parametrize("change", CHANGES)
async def test_a_changed_entry_is_named(pool: Any, owner: Any, trail: int, change: str) -> None:
    assignment, says = CHANGES[change]
    await tamper(owner, CHANGE.format(assignment, ENTRY.format(3)))
    found = await broken(pool)
    assert (found.chain, found.seq) == ("a", 3)
    assert found.entry is not None
    assert says in found.problem


async def test_a_deleted_entry_is_named(pool: Any, owner: Any, trail: int) -> None:
    await owner.execute("ALTER TABLE audit_link DROP CONSTRAINT audit_link_community_id_entry_id_fkey")
    await tamper(owner, DELETE.format(ENTRY.format(3)))
    found = await broken(pool)
    assert (found.seq, found.problem) == (3, "the entry is missing")


DELETE_LINKED = """
WITH gone AS (DELETE FROM audit_link WHERE community_id = $1 AND seq {where} RETURNING entry_id)
DELETE FROM audit_entry USING gone WHERE community_id = $1 AND id = gone.entry_id
"""


async def delete(owner: Any, where: str, *more: str) -> None:
    await owner.execute("ALTER TABLE audit_link DROP CONSTRAINT audit_link_community_id_entry_id_fkey")
    await tamper(owner, DELETE_LINKED.format(where=where), *more)


async def test_a_gap_in_the_middle_is_named(pool: Any, owner: Any, trail: int) -> None:
    await delete(owner, "IN (2, 3)")
    found = await broken(pool)
    assert (found.seq, found.problem) == (2, "entry 2 of the chain is missing, and those up to 3")


async def test_a_gap_that_was_closed_is_found(pool: Any, owner: Any, trail: int) -> None:
    await delete(owner, "= 3")
    closed = "UPDATE audit_link SET seq = seq - 1 WHERE community_id = $1 AND seq = "
    await tamper(owner, closed + "4", closed + "5")
    found = await broken(pool)
    assert (found.seq, found.problem) == (3, "the link doesn't continue the one before")


async def test_an_end_that_was_cut_off_is_found_by_the_head(pool: Any, owner: Any, trail: int) -> None:
    await delete(owner, "= 5")
    found = await broken(pool)
    assert (found.seq, found.problem) == (4, "the chain ends here; its head counts 5 entries")


async def test_an_end_cut_off_with_its_head_is_found_by_an_earlier_report(pool: Any, owner: Any, trail: int) -> None:
    before = (await verify(pool)).heads["a"]
    head = """
        UPDATE audit_chain h SET entries = 4, hash = l.hash FROM audit_link l
        WHERE h.community_id = $1 AND l.community_id = $1 AND l.seq = 4
    """
    await delete(owner, "= 5", head)
    assert (await verify(pool)).broken == []
    found = await broken(pool, before=before)
    assert found.problem == "the chain ends here; the earlier report saw 5 entries"
    # The trail grows over the old length again: the hash at that place still tells.
    async with database.in_community(pool, trail) as connection:
        await audit.record(connection, DESK, trail, "gate.open", "gate/5")
    assert (await verify(pool)).broken == []
    assert "another one than the earlier report saw" in (await broken(pool, before=before)).problem


async def test_a_chain_that_vanished_whole_is_found_by_an_earlier_report(pool: Any, owner: Any, trail: int) -> None:
    before = (await verify(pool)).heads["a"]
    await delete(owner, "> 0", "DELETE FROM audit_chain WHERE community_id = $1")
    assert (await verify(pool)).broken == []
    assert (await broken(pool, before=before)).seq == 0


async def test_entries_that_changed_places_are_found(pool: Any, owner: Any, trail: int) -> None:
    await tamper(
        owner,
        "UPDATE audit_link SET seq = seq + 100 WHERE community_id = $1 AND seq IN (2, 3)",
        "UPDATE audit_link SET seq = 2 WHERE community_id = $1 AND seq = 103",
        "UPDATE audit_link SET seq = 3 WHERE community_id = $1 AND seq = 102",
    )
    found = await broken(pool)
    assert found.seq == 2


async def test_contents_that_changed_places_are_found(pool: Any, owner: Any, trail: int) -> None:
    swap = """
        UPDATE audit_entry e SET object = other.object, detail = other.detail, salt = other.salt
        FROM audit_link l, audit_link m, audit_entry other
        WHERE e.community_id = $1 AND l.community_id = $1 AND m.community_id = $1 AND other.community_id = $1
          AND e.id = l.entry_id AND other.id = m.entry_id AND (l.seq, m.seq) IN ((2, 4), (4, 2))
    """
    await tamper(owner, swap)
    assert (await broken(pool)).seq == 2


async def test_an_inserted_entry_is_found(pool: Any, owner: Any, trail: int) -> None:
    insert = """
        INSERT INTO audit_entry (community_id, actor, action, object) VALUES ($1, 'system:x', 'gate.open', 'gate/1')
    """
    await tamper(owner, insert)
    found = await broken(pool)
    assert found.problem == "an entry is not in the chain"
    assert found.entry is not None
    # With a link that its author made up.
    link = """
        INSERT INTO audit_link SELECT $1, 6, e.id, l.detail_sha256, l.hash, sha256(l.hash)
        FROM audit_link l, audit_entry e
        WHERE l.community_id = $1 AND l.seq = 5 AND e.community_id = $1
          AND e.id = (SELECT max(id) FROM audit_entry WHERE community_id = $1)
    """
    await tamper(owner, link)
    assert (await broken(pool)).seq == 6


async def test_nobody_changes_the_trail_in_passing(pool: Any, owner: Any, trail: int) -> None:
    async def as_owner(statement: str) -> None:
        async with owner.transaction():
            await database.set_community(owner, trail)
            await owner.execute(statement)

    async def as_application(statement: str) -> None:
        async with database.in_community(pool, trail) as connection:
            await connection.execute(statement)

    for table in TABLES:
        for statement in (
            f"UPDATE {table} SET community_id = community_id",  # noqa: S608
            f"DELETE FROM {table}",  # noqa: S608
            f"TRUNCATE {table} CASCADE",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await as_owner(statement)
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await as_application(statement)
    assert (await verify(pool)).broken == []


async def test_acts_at_the_same_time_make_one_chain(pool: Any, owner: Any, trail: int) -> None:
    async def act(n: int) -> None:
        async with database.in_community(pool, trail) as connection:
            await audit.record(connection, DESK, trail, "gate.open", f"gate/{n}")
            await audit.record(connection, DESK, trail, "gate.close", f"gate/{n}")

    await asyncio.gather(*(act(n) for n in range(30)))
    report = await verify(pool)
    assert report.broken == []
    assert report.heads["a"].entries == 65


async def test_an_act_that_failed_leaves_no_trace(pool: Any, trail: int) -> None:
    async def act() -> None:
        async with database.in_community(pool, trail) as connection:
            await audit.record(connection, DESK, trail, "gate.open", "gate/1")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await act()
    assert (await verify(pool)).heads["a"].entries == 5


async def test_servers_of_the_release_before_write_entries_too(pool: Any, owner: Any, trail: int) -> None:
    await owner.execute("SELECT set_config('parkmesh.scope', 'identity', false)")
    user = await owner.fetchval("SELECT min(id) FROM app_user")
    await owner.execute("SELECT set_config('parkmesh.scope', '', false)")
    async with database.in_community(pool, trail) as connection:
        await connection.execute(
            "INSERT INTO audit_entry (community_id, user_id, action, object, detail) VALUES ($1, $2, $3, $4, $5)",
            trail, user, "gate.open", "main-in", "{}",
        )  # fmt: skip
    assert (await verify(pool)).heads["a"].entries == 6
    (last,) = await rows(owner, "a", "SELECT actor FROM audit_entry WHERE community_id = $1 ORDER BY id DESC LIMIT 1")
    assert last["actor"] == f"user:{user}"


async def test_what_somebody_typed_can_be_erased_and_the_chain_holds(pool: Any, owner: Any, trail: int) -> None:
    before = (await verify(pool)).heads["a"]
    entries = await rows(owner, "a", "SELECT id FROM audit_entry WHERE community_id = $1 ORDER BY id")
    third = entries[2]["id"]
    async with database.in_community(pool, trail) as connection:
        assert await audit.redact(connection, DESK, trail, [third, 10**9]) == [third]
    report = await verify(pool, before=before)
    assert report.broken == []
    assert report.heads["a"].entries == 6
    kept = await rows(owner, "a", "SELECT detail, salt FROM audit_entry WHERE community_id = $1 AND id = $2", third)
    assert kept == [{"detail": None, "salt": None}]
    # Another community's entries are out of reach.
    async with database.in_community(pool, await community_id(owner, "b")) as connection:
        assert await audit.redact(connection, DESK, await community_id(owner, "b"), [entries[0]["id"]]) == []


def test_the_command_says_what_is_wrong_and_where(filled: Database, parkmesh: Command, tmp_path: Path) -> None:
    async def act() -> int:
        async with database.create_pool(filled.app, "test", 1) as pool:
            owner = await asyncpg.connect(filled.owner)
            identity = await community_id(owner, "a")
            for n in range(3):
                async with database.in_community(pool, identity) as connection:
                    await audit.record(connection, DESK, identity, "gate.open", f"gate/{n}")
            await owner.close()
            return identity

    identity = asyncio.run(act())
    first = parkmesh("verify-audit", PARKMESH_DATABASE_URL=filled.app)
    assert first.returncode == 0, first.stderr
    assert json.loads(first.stdout)["heads"]["a"]["entries"] == 3
    anchor = tmp_path / "head.json"
    anchor.write_text(first.stdout)

    async def cut() -> None:
        owner = await asyncpg.connect(filled.owner)
        await tamper(owner, CHANGE.format("object = 'gate/7'", ENTRY.format(2)))
        await owner.close()

    asyncio.run(cut())
    second = parkmesh("verify-audit", "--community", "a", "--against", str(anchor), PARKMESH_DATABASE_URL=filled.app)
    assert second.returncode == 1
    (found,) = json.loads(second.stdout)["broken"]
    assert (found["chain"], found["seq"]) == ("a", 2)
    assert f"entry {found['entry']}" in second.stderr
    assert identity > 0
    unknown = parkmesh("verify-audit", "--community", "nowhere", PARKMESH_DATABASE_URL=filled.app)
    assert (unknown.returncode, unknown.stdout) == (2, "")
    anchor.write_text("{")
    assert parkmesh("verify-audit", "--against", str(anchor), PARKMESH_DATABASE_URL=filled.app).returncode == 2


def test_heads_are_kept_from_run_to_run_and_never_those_of_a_broken_trail(
    filled: Database, parkmesh: Command, tmp_path: Path
) -> None:
    kept, environment = tmp_path / "heads.json", {"PARKMESH_DATABASE_URL": filled.app}

    async def act(*statements: str) -> None:
        owner = await asyncpg.connect(filled.owner)
        identity = await community_id(owner, "a")
        async with database.create_pool(filled.app, "test", 1) as pool:
            for n in range(0 if statements else 2):
                async with database.in_community(pool, identity) as connection:
                    await audit.record(connection, DESK, identity, "gate.open", f"gate/{n}")
        if statements:
            await tamper(owner, *statements)
        await owner.close()

    asyncio.run(act())
    assert parkmesh("verify-audit", "--heads", str(kept), **environment).returncode == 0
    asyncio.run(act())
    followed = parkmesh("verify-audit", "--against", str(kept), "--heads", str(kept), **environment)
    assert followed.returncode == 0, followed.stderr
    assert kept.read_text() == followed.stdout
    assert json.loads(kept.read_text())["heads"]["a"]["entries"] == 4

    # The end is cut off and the head corrected: by itself the chain holds.
    last = "DELETE FROM audit_link WHERE community_id = $1 AND seq = 4"
    entry = "DELETE FROM audit_entry WHERE community_id = $1 AND id = (SELECT max(id) FROM audit_entry)"
    head = """
        UPDATE audit_chain c SET entries = 3, hash = l.hash FROM audit_link l
        WHERE c.community_id = $1 AND l.community_id = $1 AND l.seq = 3
    """
    asyncio.run(act(last, entry, head))
    assert parkmesh("verify-audit", **environment).returncode == 0
    before = kept.read_text()
    noticed = parkmesh("verify-audit", "--against", str(kept), "--heads", str(kept), **environment)
    assert noticed.returncode == 1
    assert "the earlier report saw 4 entries" in noticed.stderr
    assert kept.read_text() == before
    assert [file.name for file in tmp_path.iterdir()] == ["heads.json"]
    assert parkmesh("verify-audit", "--community", "a", "--heads", str(kept), **environment).returncode == 2
    nowhere = parkmesh("verify-audit", "--heads", str(tmp_path / "nowhere" / "heads.json"), **environment)
    assert (nowhere.returncode, "Traceback" in nowhere.stderr) == (1, False)


async def upgrade_to(url: str, revision: str) -> None:
    """Bring an empty database's schema to an older revision."""
    config = Config()
    config.set_main_option("script_location", str(migrations.FOLDER))

    def upgrade(connection: Any) -> None:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)

    async def connect() -> Any:
        return await asyncpg.connect(url)

    engine = create_async_engine("postgresql+asyncpg://", poolclass=NullPool, async_creator=connect)
    async with engine.begin() as connection:
        await connection.run_sync(upgrade)
    await engine.dispose()


async def test_what_was_written_before_there_was_a_chain_is_in_it(
    migrated_template: str, empty_database: Database
) -> None:
    await upgrade_to(empty_database.owner, "0003")
    owner = await asyncpg.connect(empty_database.owner)
    async with owner.transaction():
        await database.set_scope(owner, "provision")
        new = "INSERT INTO community (name, title, time_zone) VALUES ($1, $1, 'Europe/Madrid') RETURNING id"
        communities = [await owner.fetchval(new, name) for name in ("a", "b")]
        user = await owner.fetchval("INSERT INTO app_user (email, name) VALUES ('x@x.example', 'X') RETURNING id")
    for n in range(3):
        for community in communities:
            async with owner.transaction():
                await database.set_community(owner, community)
                entry = "INSERT INTO audit_entry (community_id, user_id, action, object) VALUES ($1, $2, 'x.y', $3)"
                await owner.execute(entry, community, user, str(n))
    await schema.migrate(empty_database.owner, APP_PASSWORD, 5)
    report = await verify_audit.verify(owner, None, {})
    assert report.broken == []
    assert {name: head.entries for name, head in report.heads.items()} == {"(outside)": 0, "a": 3, "b": 3}
    await tamper(owner, CHANGE.format("object = 'z'", ENTRY.format(2)))
    (found,) = (await verify_audit.verify(owner, None, {})).broken
    assert (found.chain, found.seq) == ("a", 2)
    await owner.close()
