"""Presence: the same end under any order, duplication and delay; corrections; and how drift shows."""

import asyncio
import hashlib
import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import asyncpg
import httpx
import msgspec
import pytest
from hypothesis import HealthCheck, settings, strategies
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from parkmesh.domain.presence import Sighting, latest
from parkmesh.protocol import edge
from parkmesh.server.db import database
from parkmesh.server.edge import ingest
from running_server import Database
from two_communities import TOKENS, apply, document, rows

Gateway = Callable[[str], httpx.AsyncClient]
People = Callable[[str], Any]
NOW = 1_790_000_000_000
SECOND = "token-of-the-second-gateway-of-a"
PLATES = ("1234BCD", "5678AXX", "9999ZZZ")
ANY = {"If-Match": "*"}


def movement(seq: int, plate: str, at: int, direction: edge.Direction, **members: Any) -> edge.Passage:
    given: dict[str, Any] = {"decision": "granted", "reason": "exact", "opened": True} | members
    return edge.Passage(seq, edge.Times(at), "main-in", direction, plate, **given)


class Deliveries(RuleBasedStateMachine):
    """Two gateways of one community see cars; what they saw arrives late, again, in any interleaving; people correct.

    The model knows each sighting as soon as it was made. The database has heard those that arrived; at the end of every
    step it must say what the greatest of those says.
    """

    db: Database

    @initialize()
    def begin(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.loop.run_until_complete(self.prepare())
        # Of each gateway: what it saw, and how much of it the server has acknowledged.
        self.seen: list[list[edge.Passage]] = [[], []]
        self.heard: list[int] = [0, 0]
        self.known: dict[str, Sighting] = {}

    async def prepare(self) -> None:
        self.owner = await asyncpg.connect(self.db.owner)
        self.pool = await database.create_pool(self.db.app, "test", 2)
        found = await rows(self.owner, "a", "SELECT id, epoch FROM gateway WHERE community_id = $1 ORDER BY id")
        self.gateways = [row["id"] for row in found]
        self.epoch = max(row["epoch"] for row in found) + 1
        await rows(self.owner, "a", "DELETE FROM presence WHERE community_id = $1")

    def teardown(self) -> None:
        if not hasattr(self, "loop"):
            return
        # In the end everything arrives, once more in another order.
        for which in (1, 0):
            self.deliver(which, 0, 100)
        self.database_says_the_last_word()
        everything = [
            (plate, Sighting(p.times.received, self.gateways[which], self.epoch, p.seq, p.direction == "entry"))
            for which in (0, 1)
            for p in self.seen[which]
            for plate in [p.plate]
            if p.opened
        ]
        for plate, sighting in everything:
            assert latest(self.known[plate], sighting) == self.known[plate]
        self.loop.run_until_complete(self.close())
        self.loop.close()

    async def close(self) -> None:
        await self.pool.close()
        await self.owner.close()

    @rule(
        which=strategies.integers(0, 1),
        plate=strategies.sampled_from(PLATES),
        at=strategies.integers(0, 5),
        direction=strategies.sampled_from(("entry", "exit")),
        opened=strategies.booleans(),
    )
    def a_car_passes(self, which: int, plate: str, at: int, direction: edge.Direction, opened: bool) -> None:
        # Few moments, so that two gateways see a car in the same one; a gateway's clock may step back.
        seq = len(self.seen[which]) + 1
        self.seen[which].append(movement(seq, plate, NOW + at, direction, opened=opened))

    @rule(which=strategies.integers(0, 1), again=strategies.integers(0, 3), count=strategies.integers(1, 4))
    def deliver(self, which: int, again: int, count: int) -> None:
        """Send some of what is due, beginning with ``again`` records that were acknowledged before."""
        start = max(0, self.heard[which] - again)
        batch = self.seen[which][start : self.heard[which] + count]
        if not batch:
            return
        token = hashlib.sha256((TOKENS["gateway-a"], SECOND)[which].encode()).digest()
        ack = self.loop.run_until_complete(ingest.store(self.pool, token, edge.EventBatch(self.epoch, list(batch))))
        assert ack.acked == max(self.heard[which], batch[-1].seq)
        for passage in self.seen[which][self.heard[which] : ack.acked]:
            if passage.opened:
                sighting = Sighting(
                    passage.times.received,
                    self.gateways[which],
                    self.epoch,
                    passage.seq,
                    passage.direction == "entry",
                )
                self.known[passage.plate] = latest(self.known.get(passage.plate), sighting)
        self.heard[which] = ack.acked

    @rule(plate=strategies.sampled_from(PLATES), inside=strategies.booleans())
    def somebody_corrects(self, plate: str, inside: bool) -> None:
        async def correct() -> Sighting:
            (made,) = await rows(
                self.owner,
                "a",
                "SELECT c.id, c.at FROM correct_presence($2, $3, 'because') c WHERE $1 > 0",
                plate,
                inside,
            )
            return Sighting(int(made["at"].timestamp() * 1000), 0, 0, made["id"], inside)

        correction = self.loop.run_until_complete(correct())
        self.known[plate] = latest(self.known.get(plate), correction)
        assert self.known[plate] == correction, "a correction has the last word when it is made"

    @invariant()
    def database_says_the_last_word(self) -> None:
        if not hasattr(self, "loop") or self.loop.is_closed():
            return
        found = self.loop.run_until_complete(
            rows(self.owner, "a", "SELECT * FROM presence WHERE community_id = $1 ORDER BY plate")
        )
        said = {
            row["plate"]: Sighting(
                round(row["at"].timestamp() * 1000), row["gateway_id"], row["epoch"], row["seq"], row["inside"]
            )
            for row in found
        }
        assert said == self.known


def test_presence_ends_the_same_under_any_order_duplication_and_delay(db: Database) -> None:
    wish = document()
    second = {"name": "gateway-a2", "token_sha256": hashlib.sha256(SECOND.encode()).hexdigest()}
    wish["communities"][0]["gateways"].append(second)
    asyncio.run(apply(db.owner, wish))
    machine = type("DeliveriesHere", (Deliveries,), {"db": db})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=15,
            stateful_step_count=20,
            deadline=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )


async def send(client: httpx.AsyncClient, epoch: int, *passages: edge.Passage) -> None:
    answer = await client.post("/edge/v1/events", content=msgspec.json.encode(edge.EventBatch(epoch, list(passages))))
    assert answer.status_code == 200, answer.text


async def test_only_a_barrier_that_opened_moves_a_car_and_a_misread_moves_the_right_one(
    gateway: Gateway, owner: Any
) -> None:
    (ana,) = await rows(owner, "a", "SELECT id FROM credential WHERE community_id = $1 AND plate = '1234BCD'")
    async with gateway("gateway-a") as client:
        await send(
            client,
            1,
            movement(1, "1234BC0", NOW, "entry", reason="fuzzy", credential_id=str(ana["id"])),
            movement(2, "5678AXX", NOW, "entry", opened=False),
            movement(3, "6666JKL", NOW, "entry", decision="denied", reason="unknown_plate", opened=None),
            movement(4, "", NOW, "entry", reason="command"),
            movement(5, "7777JKL", NOW, "entry", reason="fuzzy", credential_id="not-a-number"),
        )
    found = await rows(owner, "a", "SELECT plate, inside FROM presence WHERE community_id = $1 ORDER BY plate")
    assert [(row["plate"], row["inside"]) for row in found] == [("1234BCD", True), ("7777JKL", True)]
    assert await rows(owner, "b", "SELECT FROM presence WHERE community_id = $1") == []


async def test_staff_corrects_and_the_gate_has_the_next_word(people: People, gateway: Gateway, owner: Any) -> None:
    admin, resident = await people("administrator@a.example"), await people("resident@a.example")
    place = "/api/v1/communities/a/presence/1234-bcd"
    async with gateway("gateway-a") as client:
        # A clock that is ahead doesn't make a correction worthless.
        ahead = int(datetime.now().timestamp() * 1000) + 3_600_000
        await send(client, 1, movement(1, "1234BCD", ahead, "entry"))
        seen = await admin.get(place)
        assert (seen.json()["inside"], seen.json()["gate"], seen.json()["corrected"]) == (True, "main-in", False)
        assert seen.json()["unit"] == "1A"
        body = {"inside": False, "reason": "seen outside"}
        assert (await resident.put(place, json=body, headers=ANY)).status_code == 403
        assert (await admin.put(place, json=body)).status_code == 428
        fixed = await admin.put(place, json=body, headers={"If-Match": seen.headers["etag"]})
        assert (fixed.status_code, fixed.json()["inside"], fixed.json()["corrected"]) == (200, False, True)
        assert (await admin.put(place, json=body, headers={"If-Match": seen.headers["etag"]})).status_code == 412
        late = movement(2, "1234BCD", ahead - 3_600_000, "entry")
        await send(client, 1, late, movement(3, "5678AXX", ahead, "entry"))
        assert (await admin.get(place)).json()["inside"] is False
        (ana,) = await rows(owner, "a", "SELECT id FROM credential WHERE community_id = $1 AND plate = '1234BCD'")
        await send(client, 1, movement(4, "1234BCD", ahead + 10_000, "entry", credential_id=str(ana["id"])))
        assert (await admin.get(place)).json()["inside"] is True
    inside = (await admin.get("/api/v1/communities/a/presence", params={"inside": True})).json()["items"]
    assert [item["plate"] for item in inside] == ["1234BCD", "5678AXX"]
    own = (await resident.get("/api/v1/communities/a/presence")).json()["items"]
    assert [item["plate"] for item in own] == ["1234BCD"]
    assert (await resident.get(place)).status_code == 403
    nothing = (await admin.get("/api/v1/communities/a/presence/7777KKK")).json()
    assert (nothing["inside"], nothing["since"]) == (None, None)
    assert (await admin.get("/api/v1/communities/a/presence/%3F%21")).status_code == 404
    (act,) = await rows(owner, "a", "SELECT action, detail FROM audit_entry WHERE community_id = $1")
    assert (act["action"], json.loads(act["detail"])["reason"]) == ("presence.correct", "seen outside")


@pytest.mark.parametrize("stored_before", [False, True])
async def test_a_gateway_whose_clock_was_a_day_ahead_is_heard_once_it_is_right(
    people: People, gateway: Gateway, owner: Any, stored_before: bool
) -> None:
    admin = await people("administrator@a.example")
    now, day = int(datetime.now().timestamp() * 1000), 86_400_000

    def batch(first: int, at: int, direction: edge.Direction, status: edge.SpaceStatus) -> list[edge.Event]:
        return [movement(first, "1234BCD", at, direction), edge.SpaceState(first + 1, edge.Times(at), "a-01", status)]

    async def where() -> tuple[bool, str]:
        inside = (await admin.get("/api/v1/communities/a/presence/1234BCD")).json()["inside"]
        return inside, (await admin.get("/api/v1/communities/a/spaces/a-01")).json()["status"]

    async with gateway("gateway-a") as client:
        wrong = edge.EventBatch(1, batch(1, now + day, "entry", "occupied"))
        assert (await client.post("/edge/v1/events", content=msgspec.json.encode(wrong))).status_code == 200
        assert await where() == (True, "occupied")
        if stored_before:
            # As the releases before stored it, and by another gateway.
            ahead = datetime.fromtimestamp((now + day) / 1000, UTC)
            await rows(owner, "a", "UPDATE presence SET at = $2 WHERE community_id = $1", ahead)
            await rows(
                owner,
                "a",
                """
                INSERT INTO gateway (community_id, name, token_sha256) VALUES ($1, 'other', sha256('other'))
                RETURNING id
                """,
            )
            await rows(
                owner,
                "a",
                """
                UPDATE space_state s SET received_at = $2, gateway_id = g.id FROM gateway g
                WHERE s.community_id = $1 AND g.community_id = $1 AND g.name = 'other'
                """,
                ahead,
            )
        await asyncio.sleep(0.01)
        right = int(datetime.now().timestamp() * 1000)
        again = edge.EventBatch(1, batch(3, right, "exit", "free"))
        assert (await client.post("/edge/v1/events", content=msgspec.json.encode(again))).status_code == 200
        assert await where() == (False, "free")
        # What another gateway saw before that and delivers now changes nothing.
        late = edge.EventBatch(1, [movement(5, "1234BCD", right - 1000, "entry")])
        assert (await client.post("/edge/v1/events", content=msgspec.json.encode(late))).status_code == 200
        assert await where() == (False, "free")
    times = await rows(owner, "a", "SELECT received_at FROM passage WHERE community_id = $1")
    assert all(row["received_at"] <= datetime.now(UTC) for row in times)


async def test_drift_shows_in_the_counts(people: People, gateway: Gateway) -> None:
    now = int(datetime.now().timestamp() * 1000) - 3_600_000
    ways: tuple[tuple[str, edge.Direction], ...] = (
        ("1234BCD", "entry"),
        ("5678AXX", "entry"),
        ("1234BCD", "entry"),
        ("5678AXX", "exit"),
        ("5678AXX", "exit"),
    )
    events: list[edge.Event] = [
        movement(seq, plate, now + seq, direction) for seq, (plate, direction) in enumerate(ways, 1)
    ]
    events.append(edge.SpaceState(len(events) + 1, edge.Times(now), "a-01", "occupied"))
    async with gateway("gateway-a") as client:
        body = msgspec.json.encode(edge.EventBatch(1, events))
        assert (await client.post("/edge/v1/events", content=body)).status_code == 200
    admin = await people("administrator@a.example")
    counts = (await admin.get("/api/v1/communities/a/occupancy")).json()
    assert counts.pop("heard_at") is not None
    assert counts == {
        "inside": 1,
        "spaces": 6,
        "occupied": 1,
        "free": 0,
        "unknown": 5,
        "missed_entries": 1,
        "missed_exits": 1,
        "corrections": 0,
    }
    resident = await people("resident@a.example")
    assert (await resident.get("/api/v1/communities/a/occupancy")).status_code == 403
