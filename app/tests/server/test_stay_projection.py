"""Stays: the same under any order, duplication and delay of events; who may look; what becomes of them."""

import asyncio
import hashlib
import time
from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import asyncpg
import httpx
import msgspec
import pytest
from hypothesis import HealthCheck, settings, strategies
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from page_visitor import Visitor
from parkmesh.domain.stays import Movement, stays
from parkmesh.protocol import edge
from parkmesh.server.access import stay_projection
from parkmesh.server.commands import retention
from parkmesh.server.db import community_worker, database
from parkmesh.server.edge import ingest
from running_server import Database, Server
from two_communities import TOKENS, apply, document, rows

Gateway = Callable[[str], httpx.AsyncClient]
People = Callable[[str], Any]
A = "/api/v1/communities/a"
HOUR = 3_600_000
SECOND = "token-of-the-second-gateway-of-a"
OWN = "1234BCD"
PLATES = (OWN, "5678AXX", "9999ZZZ")


def movement(seq: int, plate: str, at: int, direction: edge.Direction, **members: Any) -> edge.Passage:
    given: dict[str, Any] = {"decision": "granted", "reason": "exact", "opened": True} | members
    return edge.Passage(seq, edge.Times(at), "main-in", direction, plate, **given)


def moment(ms: int) -> datetime:
    return datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=ms)


async def send(client: httpx.AsyncClient, epoch: int, *events: edge.Event) -> None:
    answer = await client.post("/edge/v1/events", content=msgspec.json.encode(edge.EventBatch(epoch, list(events))))
    assert answer.status_code == 200, answer.text


async def project(db: Database, owner: Any, community: str = "a") -> None:
    """Do now what the server does a moment later."""
    (found,) = await rows(owner, community, "SELECT id FROM community WHERE id = $1")
    async with database.create_pool(db.app, "test", 1) as pool:
        await stay_projection.project(pool, found["id"], datetime.now(UTC))


class Deliveries(RuleBasedStateMachine):
    """Two gateways of one community see cars; what they saw arrives late, again, in any interleaving; people correct;
    stays are projected now and then.

    What was projected must be what follows from everything that had arrived until then, whatever was projected before.
    """

    db: Database

    @initialize(batch=strategies.sampled_from((1, 3, stay_projection.BATCH)))
    def begin(self, batch: int) -> None:
        self.before, stay_projection.BATCH = stay_projection.BATCH, batch
        self.loop = asyncio.new_event_loop()
        self.loop.run_until_complete(self.prepare())
        self.seen: list[list[edge.Passage]] = [[], []]
        self.heard: list[int] = [0, 0]
        self.moved: dict[str, list[Movement]] = defaultdict(list)
        self.base = int(time.time() * 1000) - HOUR
        self.projected = True

    async def prepare(self) -> None:
        self.owner = await asyncpg.connect(self.db.owner)
        self.pool = await database.create_pool(self.db.app, "test", 2)
        found = await rows(self.owner, "a", "SELECT id, epoch FROM gateway WHERE community_id = $1 ORDER BY id")
        self.gateways = [row["id"] for row in found]
        self.epoch = max(row["epoch"] for row in found) + 1
        (found,) = await rows(self.owner, "a", "SELECT id FROM credential WHERE community_id = $1 AND plate = $2", OWN)
        self.credential = str(found["id"])
        (found,) = await rows(self.owner, "a", "SELECT id FROM community WHERE id = $1")
        self.community = found["id"]
        # What an earlier run left isn't projected again.
        await stay_projection.project(self.pool, self.community, datetime.now(UTC))
        for table in ("presence", "movement", "stay"):
            await rows(self.owner, "a", f"DELETE FROM {table} WHERE community_id = $1")  # noqa: S608 - names from here

    def teardown(self) -> None:
        if not hasattr(self, "loop"):
            return
        for which in (1, 0):
            self.deliver(which, 0, 100)
        self.project()
        self.stays_follow_from_what_arrived()
        assert self.loop.run_until_complete(stay_projection.behind(self.pool, [self.community])) == []
        stay_projection.BATCH = self.before
        self.loop.run_until_complete(self.close())
        self.loop.close()

    async def close(self) -> None:
        await self.pool.close()
        await self.owner.close()

    @rule(
        which=strategies.integers(0, 1),
        plate=strategies.sampled_from(PLATES),
        at=strategies.integers(0, 6),
        direction=strategies.sampled_from(("entry", "exit")),
        opened=strategies.sampled_from((True, True, True, False)),
        misread=strategies.booleans(),
    )
    def a_car_passes(
        self, which: int, plate: str, at: int, direction: edge.Direction, opened: bool, misread: bool
    ) -> None:
        # Few moments, so that two gateways see a car in the same one; a gateway's clock may step back.
        seq = len(self.seen[which]) + 1
        given = {"credential_id": self.credential} if plate == OWN else {}
        if misread and plate == OWN:
            plate, given["reason"] = "1234BC0", "fuzzy"
        self.seen[which].append(movement(seq, plate, self.base + at, direction, opened=opened, **given))

    @rule(which=strategies.integers(0, 1), again=strategies.integers(0, 3), count=strategies.integers(1, 4))
    def deliver(self, which: int, again: int, count: int) -> None:
        """Send some of what is due, beginning with ``again`` records that were acknowledged before."""
        start = max(0, self.heard[which] - again)
        batch = self.seen[which][start : self.heard[which] + count]
        if not batch:
            return
        token = hashlib.sha256((TOKENS["gateway-a"], SECOND)[which].encode()).digest()
        ack = self.loop.run_until_complete(ingest.store(self.pool, token, edge.EventBatch(self.epoch, list(batch))))
        for passage in self.seen[which][self.heard[which] : ack.acked]:
            if passage.opened:
                plate = OWN if passage.reason == "fuzzy" else passage.plate
                entry = passage.direction == "entry"
                self.moved[plate].append(
                    Movement(moment(passage.times.received), self.gateways[which], self.epoch, passage.seq, entry, 1)
                )
                self.projected = False
        self.heard[which] = ack.acked

    @rule(plate=strategies.sampled_from(PLATES), inside=strategies.booleans())
    def somebody_corrects(self, plate: str, inside: bool) -> None:
        (made,) = self.loop.run_until_complete(
            rows(
                self.owner,
                "a",
                "SELECT c.id, c.at FROM correct_presence($2, $3, 'because') c WHERE $1 > 0",
                plate,
                inside,
            )
        )
        self.moved[plate].append(Movement(made["at"], 0, 0, made["id"], inside))
        self.projected = False
        # Cars that pass from now on do so just before and after it.
        self.base = int(made["at"].timestamp() * 1000) - 3

    @rule()
    def project(self) -> None:
        self.loop.run_until_complete(stay_projection.project(self.pool, self.community, datetime.now(UTC)))
        self.projected = True

    @invariant()
    def stays_follow_from_what_arrived(self) -> None:
        if not hasattr(self, "loop") or self.loop.is_closed() or not self.projected:
            return
        found = self.loop.run_until_complete(
            rows(
                self.owner,
                "a",
                """
                SELECT s.*, e.seq AS seq_of_passage, x.received_at AS exit_at, x.direction AS exit_direction
                FROM stay s
                LEFT JOIN passage e ON e.community_id = s.community_id AND e.id = s.entered_passage
                LEFT JOIN passage x ON x.community_id = s.community_id AND x.id = s.left_passage
                WHERE s.community_id = $1
                """,
            )
        )
        columns = ("plate", "entered_at", "entered_gateway", "entered_seq", "left_at", "closed_by")
        said = sorted(tuple(row[name] for name in columns) for row in found)
        expected = sorted(
            (plate, stay.entered.at, stay.entered.gateway, stay.entered.seq, stay.left_at, stay.closed_by)
            for plate, movements in self.moved.items()
            for stay in stays(movements, datetime.now(UTC))
        )
        assert said == expected
        for row in found:
            assert row["seq_of_passage"] == (row["entered_seq"] if row["entered_gateway"] else None)
            exit_seen = row["closed_by"] == "exit"
            assert (row["exit_at"], row["exit_direction"]) == ((row["left_at"], "exit") if exit_seen else (None, None))
            if row["plate"] == OWN:
                assert str(row["credential_id"]) == self.credential


def test_stays_end_the_same_under_any_order_duplication_and_delay(db: Database) -> None:
    wish = document()
    second = {"name": "gateway-a2", "token_sha256": hashlib.sha256(SECOND.encode()).hexdigest()}
    wish["communities"][0]["gateways"].append(second)
    asyncio.run(apply(db.owner, wish))
    machine = type("DeliveriesHere", (Deliveries,), {"db": db})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=20,
            stateful_step_count=25,
            deadline=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )


async def test_a_server_projects_what_arrives_and_staff_look_it_up(
    people: People, gateway: Gateway, admin: Visitor
) -> None:
    client = await people("administrator@a.example")
    now = int(time.time() * 1000)
    async with gateway("gateway-a") as device:
        own = {
            entry["plate"]: entry["credential_id"]
            for entry in (await device.get("/edge/v1/access-list")).json()["entries"]
        }
        await send(
            device,
            1,
            movement(1, OWN, now - 5 * HOUR, "entry", credential_id=own[OWN]),
            movement(2, "9999ZZZ", now - 4 * HOUR, "entry"),
            movement(3, OWN, now - 3 * HOUR, "exit", credential_id=own[OWN]),
            movement(4, "9999ZZZ", now - 2 * HOUR, "entry"),
            movement(5, OWN, now - HOUR, "entry", credential_id=own[OWN]),
        )
    items: list[Any] = []
    for _ in range(100):
        items = (await client.get(f"{A}/stays")).json()["items"]
        if len(items) == 4:
            break
        await asyncio.sleep(0.1)
    assert [(item["plate"], item["unit"], item["closed_by"]) for item in items] == [
        (OWN, "1A", None),
        ("9999ZZZ", None, None),
        ("9999ZZZ", None, "missed_exit"),
        (OWN, "1A", "exit"),
    ]
    assert items[2]["left_at"] == items[1]["entered_at"]
    passages = {item["id"]: item for item in (await client.get(f"{A}/passages")).json()["items"]}
    assert passages[items[3]["left_passage"]]["received_at"] == items[3]["left_at"]

    async def plates(**filters: Any) -> list[str]:
        answer = await client.get(f"{A}/stays", params=filters)
        assert answer.status_code == 200, answer.text
        return [item["plate"] for item in answer.json()["items"]]

    assert await plates(plate="1234 b") == [OWN, OWN]
    assert await plates(plate="?!") == []
    assert await plates(open=True) == [OWN, "9999ZZZ"]
    assert await plates(open=False, plate="9") == ["9999ZZZ"]
    assert await plates(until=moment(now - 4 * HOUR).isoformat()) == [OWN]
    # From then on inside: of the two that ended, the one that ended later.
    assert await plates(**{"from": moment(now - 150 * 60_000).isoformat()}) == [OWN, "9999ZZZ", "9999ZZZ"]
    seen, cursor = [], None
    while cursor is not None or not seen:
        page = (await client.get(f"{A}/stays", params={"limit": 1} | ({"cursor": cursor} if cursor else {}))).json()
        seen += page["items"]
        cursor = page["next"]
    assert seen == items
    shown = (await admin.get("/communities/a/stays?open=no&plate=1234")).text
    assert shown.count('data-testid="stay-row"') == 1
    assert 'data-closed-by="exit"' in shown
    assert "2 hrs" in shown
    assert 'data-testid="stay-row"' not in (await admin.get("/communities/a/stays?plate=%3F%21")).text
    assert (await admin.get("/communities/a/stays?from=yesterday")).status_code == 422
    table = (await client.get(f"{A}/exports/stays")).content.decode("utf-8-sig").splitlines()
    assert table[0] == "plate;unit;entered_at;left_at;closed_by;visitor"
    assert len(table) == 5
    entered = moment(now - 5 * HOUR).astimezone(ZoneInfo("Europe/Madrid")).isoformat(timespec="seconds")
    assert any(line.startswith(f"{OWN};1A;{entered};") for line in table[1:])
    assert (await (await people("resident@a.example")).get(f"{A}/stays")).status_code == 403
    assert (await (await people("administrator@b.example")).get("/api/v1/communities/b/stays")).json()["items"] == []


async def test_passages_that_arrive_hours_later_find_their_stay(
    filled: Database, gateway: Gateway, people: People, owner: Any
) -> None:
    now = int(time.time() * 1000)
    async with gateway("gateway-a") as client:
        await send(client, 1, movement(1, "9999ZZZ", now - 9 * HOUR, "entry"), movement(2, "9999ZZZ", now, "exit"))
        await project(filled, owner)
        before = await rows(owner, "a", "SELECT id, entered_at, left_at FROM stay WHERE community_id = $1")
        # Another gateway was offline; here the same one with a new spool, which is a new epoch.
        await send(
            client, 2, movement(1, "9999ZZZ", now - 7 * HOUR, "exit"), movement(2, "9999ZZZ", now - 2 * HOUR, "entry")
        )
        await project(filled, owner)
    found = await rows(
        owner, "a", "SELECT id, entered_at, left_at, closed_by FROM stay WHERE community_id = $1 ORDER BY entered_at"
    )
    assert [(row["entered_at"], row["left_at"], row["closed_by"]) for row in found] == [
        (moment(now - 9 * HOUR), moment(now - 7 * HOUR), "exit"),
        (moment(now - 2 * HOUR), moment(now), "exit"),
    ]
    assert found[0]["id"] == before[0]["id"]


async def test_a_late_entry_takes_the_place_of_the_correction_that_stood_for_it(
    filled: Database, gateway: Gateway, owner: Any
) -> None:
    now = int(time.time() * 1000)
    query = "SELECT entered_at, entered_passage IS NULL AS corrected, left_at FROM stay WHERE community_id = $1"
    correct = "SELECT c.at FROM correct_presence($2, true, 'seen inside') c WHERE $1 > 0"
    (correction,) = await rows(owner, "a", correct, "9999ZZZ")
    await project(filled, owner)
    (made,) = await rows(owner, "a", query)
    assert (made["entered_at"], made["corrected"]) == (correction["at"], True)
    async with gateway("gateway-a") as client:
        await send(client, 1, movement(1, "9999ZZZ", now - HOUR, "entry"))
        await project(filled, owner)
        assert [(row["entered_at"], row["corrected"]) for row in await rows(owner, "a", query)] == [
            (moment(now - HOUR), False)
        ]
        # It was outside again after all: the correction begins a stay once more.
        await send(client, 1, movement(2, "9999ZZZ", now - HOUR // 2, "exit"))
        await project(filled, owner)
    found = await rows(owner, "a", f"{query} ORDER BY entered_at")
    assert [(row["corrected"], row["left_at"]) for row in found] == [(False, moment(now - HOUR // 2)), (True, None)]


async def test_events_of_a_server_that_died_are_found_by_the_next(
    filled: Database, server: Server, owner: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is announced: the events are stored behind the server's back."""
    monkeypatch.setattr(community_worker, "LOOK_S", 0.1)
    async with database.create_pool(filled.app, "test", 1) as pool:
        token = hashlib.sha256(TOKENS["gateway-a"].encode()).digest()
        passage = movement(1, "9999ZZZ", int(time.time() * 1000), "entry")
        await ingest.store(pool, token, edge.EventBatch(1, [passage]))
        assert len(await stay_projection.behind(pool, None)) == 1
        projection = stay_projection.worker(pool)
        task = asyncio.create_task(projection.run())
        try:
            for _ in range(100):
                if await rows(owner, "a", "SELECT FROM stay WHERE community_id = $1"):
                    break
                await asyncio.sleep(0.1)
            else:
                pytest.fail("nobody found it")
        finally:
            task.cancel()


async def test_many_servers_project_at_once(filled: Database, gateway: Gateway, owner: Any) -> None:
    now = int(time.time() * 1000) - HOUR
    moved: dict[str, list[Movement]] = defaultdict(list)
    (community,) = await rows(owner, "a", "SELECT id FROM community WHERE id = $1")
    async with gateway("gateway-a") as client, database.create_pool(filled.app, "test", 6) as pool:
        for epoch in range(1, 4):
            passages = [movement(seq, f"P{seq % 5}", now + seq, "entry" if seq % 3 else "exit") for seq in range(1, 60)]
            await send(client, epoch, *passages)
            for item in passages:
                entry = item.direction == "entry"
                moved[item.plate].append(Movement(moment(item.times.received), 1, epoch, item.seq, entry, 1))
            await asyncio.gather(*(stay_projection.project(pool, community["id"], datetime.now(UTC)) for _ in range(6)))
    found = await rows(owner, "a", "SELECT * FROM stay WHERE community_id = $1")
    assert sorted((row["plate"], row["entered_at"], row["entered_epoch"], row["left_at"] or now) for row in found) == (
        sorted(
            (plate, stay.entered.at, stay.entered.epoch, stay.left_at or now)
            for plate, movements in moved.items()
            for stay in stays(movements, datetime.now(UTC))
        )
    )


async def test_stays_end_and_go_with_their_passages(filled: Database, gateway: Gateway, owner: Any) -> None:
    now = datetime.now(UTC)

    def ms(days: float) -> int:
        return int((now - timedelta(days=days)).timestamp() * 1000)

    async with gateway("gateway-a") as client:
        await send(
            client,
            1,
            # Past its time when it arrives.
            movement(1, "OLD11", ms(31), "entry"),
            movement(2, "GONE1", ms(29), "entry"),
            movement(3, "GONE1", ms(28), "exit"),
            movement(4, "LONG1", ms(29), "entry"),
            movement(5, "YOUNG", ms(1), "entry"),
        )
    await project(filled, owner)

    async def kept() -> dict[str, str | None]:
        found = await rows(owner, "a", "SELECT plate, closed_by FROM stay WHERE community_id = $1")
        return {row["plate"]: row["closed_by"] for row in found}

    assert await kept() == {"GONE1": "exit", "LONG1": None, "YOUNG": None}
    planned = await retention.run(owner, now + timedelta(days=3), dry_run=True)
    assert (planned.rows["stay"], planned.rows["stay_timeout"], planned.rows["movement"]) == (1, 1, 3)
    await retention.run(owner, now + timedelta(days=3))
    assert await kept() == {"LONG1": "timeout", "YOUNG": None}
    (ended,) = await rows(
        owner, "a", "SELECT left_at - entered_at AS stayed FROM stay WHERE community_id = $1 AND plate = 'LONG1'"
    )
    assert ended["stayed"] == timedelta(days=30)
    await retention.run(owner, now + timedelta(days=32))
    assert await kept() == {"YOUNG": "timeout"}
    await retention.run(owner, now + timedelta(days=60))
    assert await kept() == {}


async def test_an_erased_person_s_stays_go_on_under_a_pseudonym(
    filled: Database, gateway: Gateway, people: People, owner: Any
) -> None:
    now = int(time.time() * 1000)
    (ana,) = await rows(
        owner,
        "a",
        """
        SELECT c.id, r.id AS resident FROM credential c JOIN resident r ON r.id = c.resident_id
        WHERE c.community_id = $1 AND c.plate = '1234BCD'
        """,
    )
    own = {"credential_id": str(ana["id"])}
    async with gateway("gateway-a") as client:
        await send(
            client,
            1,
            movement(1, OWN, now - 4 * HOUR, "entry", **own),
            movement(2, "1234BC0", now - 3 * HOUR, "exit", reason="fuzzy", **own),
            movement(3, OWN, now - 2 * HOUR, "entry", **own),
            movement(4, "5678AXX", now - HOUR, "entry"),
        )
        await project(filled, owner)
        # Arrived and isn't projected yet, or is: it makes no difference.
        await send(client, 1, movement(5, OWN, now - HOUR, "exit", **own))
        admin = await people("administrator@a.example")
        done = await admin.post(f"{A}/residents/{ana['resident']}/erase", json={"confirm": "resident@a.example"})
        assert (done.status_code, done.json()["passages"]) == (200, 4), done.text
    await project(filled, owner)
    found = await rows(owner, "a", "SELECT * FROM stay WHERE community_id = $1 ORDER BY entered_at")
    assert [row["closed_by"] for row in found] == ["exit", "exit", None]
    pseudonym = found[0]["plate"]
    assert pseudonym.startswith("~")
    assert [row["plate"] for row in found] == [pseudonym, pseudonym, "5678AXX"]
    assert {(row["credential_id"], row["unit_id"]) for row in found[:2]} == {(None, None)}
    left = await rows(owner, "a", "SELECT FROM movement WHERE community_id = $1 AND plate = ANY($2)", [OWN, "1234BC0"])
    assert left == []


async def test_who_projects_waits_for_an_erasure(filled: Database, owner: Any) -> None:
    (community,) = await rows(owner, "a", "SELECT id FROM community WHERE id = $1")
    async with database.create_pool(filled.app, "test", 2) as pool:
        token = hashlib.sha256(TOKENS["gateway-a"].encode()).digest()
        await ingest.store(pool, token, edge.EventBatch(1, [movement(1, OWN, int(time.time() * 1000), "entry")]))
        async with database.in_community(pool, community["id"]) as erasing:
            assert await erasing.fetchval("SELECT erase_passages($1, $2)", [OWN], []) == 1
            projecting = asyncio.create_task(stay_projection.project(pool, community["id"], datetime.now(UTC)))
            await asyncio.sleep(0.3)
            assert not projecting.done()
        await projecting
    (stay,) = await rows(owner, "a", "SELECT plate FROM stay WHERE community_id = $1")
    assert stay["plate"].startswith("~")


async def test_new_passages_are_found_by_their_place_in_the_index(filled: Database, owner: Any) -> None:
    """Otherwise each projection would read all that a gateway has sent in 30 days."""
    (community,) = await rows(owner, "a", "SELECT id FROM community WHERE id = $1")
    async with (
        database.create_pool(filled.app, "test", 1) as pool,
        database.in_community(pool, community["id"]) as connection,
    ):
        await connection.execute("SET LOCAL enable_seqscan = off")
        plan = await connection.fetch(
            f"EXPLAIN {stay_projection._NEW}", community["id"], 500, datetime.now(UTC) - timedelta(days=30)
        )
    conditions = [row[0] for row in plan if "Index Cond" in row[0] and "old_seq" in row[0]]
    partitions = [row[0] for row in plan if " on passage_" in row[0]]
    assert len(conditions) == len(partitions) > 1
