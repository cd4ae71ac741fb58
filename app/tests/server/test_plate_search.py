"""Plates found by any part of them: what is found, by whom, and until when."""

import asyncio
import importlib
import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from parkmesh.domain.retention import PASSAGES_KEPT
from parkmesh.server.access import passage_events, passages, plate_search
from parkmesh.server.commands import retention
from parkmesh.server.db import database
from running_server import Database
from two_communities import rows

PASS = """
INSERT INTO passage (community_id, gateway_id, epoch, seq, received_at, device_at, gate, direction, plate, decision,
                     reason, access_list_version)
SELECT $1, w.id, 1, n, now() - $3::interval, now(), 'main-in', 'entry', p, 'denied', 'unknown_plate', 0
FROM unnest($2::text[]) WITH ORDINALITY u(p, n), gateway w WHERE w.community_id = $1
"""
KNOWN = "SELECT plate FROM seen_plate WHERE community_id = $1 ORDER BY plate"


async def passed(db: Database, owner: Any, community: str, epoch: int, plates: list[str], ago: timedelta) -> None:
    """Store passages as a gateway's batch does, its epoch ``epoch``, and let a server look at them."""
    await rows(owner, community, PASS.replace("w.id, 1, n", f"w.id, {epoch}, n"), plates, ago)
    mark = "UPDATE gateway SET epoch = $2, acked = $3 WHERE community_id = $1 RETURNING community_id AS id"
    (place,) = await rows(owner, community, mark, epoch, len(plates))
    async with database.create_pool(db.app, "test", 1) as pool, database.in_community(pool, place["id"]) as connection:
        assert not await passage_events.project(connection, place["id"])


async def test_a_plate_is_found_before_a_server_has_looked_at_it(filled: Database, owner: Any) -> None:
    await rows(owner, "a", PASS, ["NEWCAR1", "~NEWCAR2"], timedelta())
    mark = "UPDATE gateway SET epoch = 1, acked = 2 WHERE community_id = $1 RETURNING community_id AS id"
    (place,) = await rows(owner, "a", mark)
    async with database.create_pool(filled.app, "test", 1) as pool, database.in_community(pool, place["id"]) as looking:
        for _ in range(2):
            assert await plate_search.few_with(looking, place["id"], "WCAR") == ["NEWCAR1"]
            await passage_events.project(looking, place["id"])


async def known(owner: Any) -> list[str]:
    return [row["plate"] for row in await rows(owner, "a", KNOWN)]


@pytest.mark.parametrize("many", [False, True])
async def test_any_part_finds_its_plates(
    filled: Database, owner: Any, monkeypatch: pytest.MonkeyPatch, many: bool
) -> None:
    if many:
        monkeypatch.setattr(plate_search, "MANY", 0)
    plates = ["".join(letters) for letters in itertools.product("AB1", repeat=4)]
    await passed(filled, owner, "a", 1, [*plates, "", "~AB"], timedelta())
    await passed(filled, owner, "b", 1, ["ABBAB"], timedelta())
    (community,) = await rows(owner, "a", "SELECT $1::bigint AS id")
    async with database.create_pool(filled.app, "test", 1) as pool:
        for part in ("A", "1", "AB", "B1A", "AB1B", "ABBAB", "C"):
            async with database.in_community(pool, community["id"], read_only=True) as connection:
                found = await passages.search(connection, community["id"], limit=200, only=passages.Filter(plate=part))
            assert sorted(item.plate for item in found) == [plate for plate in sorted(plates) if part in plate]


async def test_a_plate_is_forgotten_with_its_last_passage(filled: Database, owner: Any) -> None:
    old, new = PASSAGES_KEPT + timedelta(days=2), timedelta(hours=1)
    await passed(filled, owner, "a", 1, ["OLD111", "BOTH22"], old)
    await passed(filled, owner, "a", 2, ["BOTH22", "NEW333"], new)
    assert await known(owner) == ["BOTH22", "NEW333", "OLD111"]
    await retention.run(owner, datetime.now(UTC))
    assert await known(owner) == ["BOTH22", "NEW333"]
    # Erased: under a pseudonym, and found by no part any more.
    await rows(owner, "a", "SELECT erase_passages(ARRAY['BOTH22'], '{}'), $1::bigint")
    assert await known(owner) == ["NEW333"]


async def test_communities_do_not_see_each_other_s_plates(filled: Database, owner: Any) -> None:
    await passed(filled, owner, "a", 1, ["SECRET1"], timedelta())
    (other,) = await rows(owner, "b", "SELECT $1::bigint AS id")
    async with (
        database.create_pool(filled.app, "test", 1) as pool,
        database.in_community(pool, other["id"]) as connection,
    ):
        assert await connection.fetch("SELECT FROM seen_plate WHERE plate = 'SECRET1'") == []
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("DELETE FROM seen_plate")


async def test_a_misread_is_found_by_the_plate_that_it_was_let_in_as(filled: Database, owner: Any) -> None:
    credential = "INSERT INTO credential (community_id, plate) VALUES ($1, '1234BBB') RETURNING id"
    (held,) = await rows(owner, "a", credential)
    misread = PASS.replace("access_list_version)", "access_list_version, credential_id)")
    misread = misread.replace("'denied', 'unknown_plate', 0", f"'granted', 'fuzzy', 0, {held['id']}")
    await rows(owner, "a", misread, ["1Z34BBB"], timedelta())
    await passed(filled, owner, "a", 2, [""], timedelta())
    assert await known(owner) == ["1234BBB", "1Z34BBB"]


async def test_what_is_erased_while_it_is_looked_at_is_not_found_again(filled: Database, owner: Any) -> None:
    await rows(owner, "a", PASS, ["ERASED1"], timedelta())
    mark = "UPDATE gateway SET epoch = 1, acked = 1 WHERE community_id = $1 RETURNING community_id AS id"
    (place,) = await rows(owner, "a", mark)
    async with database.create_pool(filled.app, "test", 2) as pool:
        async with database.in_community(pool, place["id"]) as looking:
            await passage_events.project(looking, place["id"])

            async def erase() -> None:
                async with database.in_community(pool, place["id"]) as connection:
                    await connection.execute("SELECT erase_passages(ARRAY['ERASED1'], '{}')")

            erasing = asyncio.create_task(erase())
            await asyncio.sleep(0.2)
            assert not erasing.done()
        await erasing
    assert await known(owner) == []


@given(st.text(max_size=70))
def test_any_text_is_a_part_or_none(text: str) -> None:
    part = plate_search.part_of_plate(text)
    assert part is None or (part.isascii() and part.isalnum() and part == part.upper())


async def test_the_revision_takes_up_what_is_stored(owner: Any) -> None:
    revision = importlib.import_module("parkmesh.server.db.migrations.versions.0018_seen_plates")
    for community in ("a", "b"):
        await rows(owner, community, PASS, ["STORED1", "", "~ERASED"], timedelta())
    async with owner.transaction():
        await database.set_scope(owner, "retention")
        await owner.execute("DELETE FROM seen_plate")
    for _ in range(2):  # it may be repeated
        async with owner.transaction():
            await owner.execute(revision.STORED)
        for community in ("a", "b"):
            found = await rows(owner, community, "SELECT plate FROM seen_plate WHERE community_id = $1")
            assert [row["plate"] for row in found] == ["STORED1"]
