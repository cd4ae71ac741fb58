"""The edge API: exactly-once effect, the access list, pushes, and answers to bad input."""

import asyncio
import hashlib
import itertools
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import asyncpg
import httpx
import msgspec
import previous_server
import pytest
from gateway_stream import frames, listed
from hypothesis import HealthCheck, given, settings, strategies
from parkmesh.protocol import edge
from parkmesh.server.db import database
from parkmesh.server.edge import app as edge_app
from parkmesh.server.edge import ingest
from parkmesh.server.http.problems import Problem
from running_server import Database, Server
from two_communities import TOKENS, apply, document, rows

Gateway = Callable[[str], httpx.AsyncClient]
NOW = 1_790_000_000_000


def passage(seq: int, **members: Any) -> dict[str, Any]:
    return {
        "type": "passage",
        "seq": seq,
        "times": {"received": NOW + seq},
        "gate": "main-in",
        "direction": "entry",
        "plate": "1234BCD",
        "decision": "granted",
        "reason": "exact",
        "opened": True,
    } | members


def state(seq: int, status: str, space: str = "a-01", **members: Any) -> dict[str, Any]:
    return {
        "type": "space_state",
        "seq": seq,
        "times": {"received": NOW + seq},
        "space": space,
        "status": status,
    } | members


def batch(epoch: int, *events: dict[str, Any]) -> dict[str, Any]:
    return {"epoch": epoch, "events": list(events)}


async def stored(owner: Any, community: str = "a") -> list[tuple[int, int]]:
    found = await rows(owner, community, "SELECT epoch, seq FROM passage WHERE community_id = $1 ORDER BY epoch, seq")
    return [(row["epoch"], row["seq"]) for row in found]


async def test_a_batch_is_applied_and_acknowledged(gateway: Gateway, owner: Any) -> None:
    async with gateway("gateway-a") as client:
        answer = await client.post("/edge/v1/events", json=batch(1, passage(1), state(2, "occupied"), state(3, "free")))
    assert (answer.status_code, answer.json()) == (200, {"epoch": 1, "acked": 3})
    assert await stored(owner) == [(1, 1)]
    assert await rows(owner, "a", "SELECT status FROM space_state WHERE community_id = $1") == [{"status": "free"}]
    assert await stored(owner, "b") == []


async def test_a_repeated_batch_has_no_second_effect(gateway: Gateway, owner: Any) -> None:
    async with gateway("gateway-a") as client:
        for _ in range(3):
            answer = await client.post("/edge/v1/events", json=batch(1, passage(1), passage(2)))
            assert answer.json() == {"epoch": 1, "acked": 2}
        overlapping = await client.post("/edge/v1/events", json=batch(1, passage(2), passage(3)))
        assert overlapping.json() == {"epoch": 1, "acked": 3}
    assert await stored(owner) == [(1, 1), (1, 2), (1, 3)]


async def test_a_gap_is_refused_and_the_answer_says_what_comes_next(gateway: Gateway, owner: Any) -> None:
    async with gateway("gateway-a") as client:
        await client.post("/edge/v1/events", json=batch(1, passage(1)))
        answer = await client.post("/edge/v1/events", json=batch(1, passage(3)))
        assert answer.status_code == 409
        assert answer.headers["content-type"] == "application/problem+json"
        problem = answer.json()
        assert problem["type"] == "urn:parkmesh:problem:sequence-gap"
        assert (problem["expected_epoch"], problem["expected_seq"]) == (1, 2)
    assert await stored(owner) == [(1, 1)]


async def test_a_new_epoch_starts_at_one_and_ends_the_old(gateway: Gateway, owner: Any) -> None:
    async with gateway("gateway-a") as client:
        await client.post("/edge/v1/events", json=batch(3, passage(1), passage(2)))
        late = await client.post("/edge/v1/events", json=batch(5, passage(2)))
        assert (late.status_code, late.json()["expected_epoch"], late.json()["expected_seq"]) == (409, 5, 1)
        # The refused batch has not ended the epoch before it.
        assert (await client.post("/edge/v1/events", json=batch(3, passage(3)))).json() == {"epoch": 3, "acked": 3}
        assert (await client.post("/edge/v1/events", json=batch(5, passage(1)))).json() == {"epoch": 5, "acked": 1}
        old = await client.post("/edge/v1/events", json=batch(3, passage(4)))
        assert (old.status_code, old.json()["type"]) == (409, "urn:parkmesh:problem:stale-epoch")
        assert (old.json()["expected_epoch"], old.json()["expected_seq"]) == (5, 2)
    assert await stored(owner) == [(3, 1), (3, 2), (3, 3), (5, 1)]


async def test_other_events_under_known_numbers_are_refused_and_not_taken_for_stored(
    gateway: Gateway, owner: Any
) -> None:
    now = int(time.time() * 1000)

    def at(seq: int, later: int = 0, **members: Any) -> dict[str, Any]:
        return passage(seq, times={"received": now - 100_000 + seq + later}, **members)

    async with gateway("gateway-a") as client:
        sensed = {"times": {"received": now - 50_000}}
        # The last one is from a clock that is ahead.
        lost = {"type": "gap", "seq": 2, "times": {"received": now - 100_000}, "kind": "spool_end_lost", "dropped": 3}
        held = [*(at(seq) for seq in range(1, 7)), state(7, "free", **sensed), at(8, 160_000)]
        held[1] = lost
        assert (await client.post("/edge/v1/events", json=batch(1, *held))).json() == {"epoch": 1, "acked": 8}
        assert (await client.post("/edge/v1/events", json=batch(1, *held))).json() == {"epoch": 1, "acked": 8}
        for events, other in (
            ([at(3), at(4, 1)], 4),
            ([at(4, gate="main-out")], 4),
            ([at(5), at(6), at(7)], 7),
            ([at(3), lost | {"seq": 4}], 4),
            ([at(1), lost | {"kind": "spool_lost"}], 2),
            ([at(6), state(7, "occupied", **sensed), at(8, 160_000), at(9)], 7),
        ):
            answer = await client.post("/edge/v1/events", json=batch(1, *events))
            assert (answer.status_code, answer.json()["type"]) == (409, "urn:parkmesh:problem:other-events"), (
                answer.text
            )
            assert (answer.json()["expected_epoch"], answer.json()["expected_seq"]) == (1, other)
        assert (await client.post("/edge/v1/events", json=batch(1, *held, at(9)))).json() == {"epoch": 1, "acked": 9}
        # What retention may have deleted is taken to be the same.
        long_ago = {"times": {"received": now - 3 * 86_400_000}}
        assert (await client.post("/edge/v1/events", json=batch(1, state(1, "free", **long_ago)))).status_code == 200


async def test_batches_that_race_are_applied_once(gateway: Gateway, owner: Any) -> None:
    async with gateway("gateway-a") as client:
        same = batch(1, *(passage(n) for n in range(1, 51)))
        answers = await asyncio.gather(*(client.post("/edge/v1/events", json=same) for _ in range(8)))
    assert {answer.json()["acked"] for answer in answers} == {50}
    assert len(await stored(owner)) == 50


STORED = (
    "SELECT epoch, seq, received_at, device_at, gate, direction, plate, decision, reason, opened, credential_id,"
    " access_list_version, confidence, camera, device_event_id FROM passage WHERE community_id = $1 ORDER BY seq",
    "SELECT plate, inside, at, epoch, seq, gate FROM presence WHERE community_id = $1 ORDER BY plate",
    "SELECT received_at, epoch, seq, status FROM observation WHERE community_id = $1 ORDER BY seq",
    "SELECT status, received_at, changed_at FROM space_state WHERE community_id = $1 ORDER BY received_at",
    "SELECT name, events, last_status, last_received_at FROM unknown_space WHERE community_id = $1 ORDER BY name",
    "SELECT epoch, seq, received_at, kind, dropped FROM gap WHERE community_id = $1 ORDER BY seq",
    "SELECT epoch, acked, unknown_gates, unknown_spaces, dropped FROM gateway WHERE community_id = $1",
)


async def test_servers_of_the_previous_release_store_the_same(filled: Database, owner: Any) -> None:
    """Community a's gateway talks to a server of that release, b's to one of this."""

    def events(community: str) -> list[edge.Event]:
        times = edge.Times(NOW + 250, NOW)
        full = ("exact", True, "7", 3, 0.25, 'cam "1" \x00', "4d5e\\u0000")
        return [
            edge.Passage(1, times, "main-in", "entry", "1234BCD", "granted", *full),
            edge.SpaceState(2, times, f"{community}-01", "occupied"),
            edge.Passage(3, edge.Times(NOW + 900), "side", "exit", "", "denied", "unknown_plate"),
            edge.SpaceState(4, times, "nowhere", "free"),
            edge.Gap(5, times, "space_state", 2**62),
            edge.SpaceState(6, edge.Times(NOW + 950), f"{community}-01", "free"),
        ]

    async with database.create_pool(filled.app, "test", 1) as pool:
        for first, last in ((0, 3), (1, 6)):
            token = hashlib.sha256(TOKENS["gateway-a"].encode()).digest()
            assert await previous_server.store(pool, token, edge.EventBatch(1, events("a")[first:last])) == last
            token = hashlib.sha256(TOKENS["gateway-b"].encode()).digest()
            assert (await ingest.store(pool, token, edge.EventBatch(1, events("b")[first:last]))).acked == last
    for query in STORED:
        found = await rows(owner, "a", query)
        assert found, query
        assert found == await rows(owner, "b", query), query


async def test_unknown_gates_and_spaces_lose_no_event_and_are_counted(gateway: Gateway, owner: Any) -> None:
    events = [
        passage(1, gate="demolished"),
        state(2, "occupied", "z-99"),
        state(3, "free", "z-99"),
        state(4, "occupied", "a-02"),
    ]
    async with gateway("gateway-a") as client:
        assert (await client.post("/edge/v1/events", json=batch(1, *events))).json()["acked"] == 4
    counted = await rows(owner, "a", "SELECT unknown_gates, unknown_spaces FROM gateway WHERE community_id = $1")
    assert counted == [{"unknown_gates": 1, "unknown_spaces": 2}]
    named = await rows(owner, "a", "SELECT name, events, last_status FROM unknown_space WHERE community_id = $1")
    assert named == [{"name": "z-99", "events": 2, "last_status": "free"}]
    assert await rows(owner, "a", "SELECT gate FROM passage WHERE community_id = $1") == [{"gate": "demolished"}]
    assert await rows(owner, "a", "SELECT status FROM space_state WHERE community_id = $1") == [{"status": "occupied"}]


async def test_reported_losses_and_odd_texts_are_kept(gateway: Gateway, owner: Any) -> None:
    gap = {"type": "gap", "seq": 2, "times": {"received": NOW}, "kind": "images\u0000", "dropped": 2**63 - 1}
    events = [passage(1, camera="cam\u0000\u202e", credential_id="not-a-number"), gap, gap | {"seq": 3}]
    async with gateway("gateway-a") as client:
        answer = await client.post("/edge/v1/events", json=batch(1, *events))
        assert (answer.status_code, answer.json()["acked"]) == (200, 3)
    assert len(await rows(owner, "a", "SELECT FROM gap WHERE community_id = $1")) == 2
    assert await rows(owner, "a", "SELECT camera FROM passage WHERE community_id = $1") == [
        {"camera": "cam\ufffd\u202e"}
    ]


def event(seq: int) -> edge.Event:
    """Return a passage for odd numbers, a space state for even ones."""
    times = edge.Times(received=NOW + seq)
    if seq % 2:
        return edge.Passage(seq, times, "main-in", "entry", "1234BCD", "granted", "exact")
    return edge.SpaceState(seq, times, "a-01", "free")


# (epoch above the first, first seq, number of events)
Sent = tuple[int, int, int]
sent_batches = strategies.lists(
    strategies.tuples(strategies.integers(0, 2), strategies.integers(1, 9), strategies.integers(1, 6)), max_size=25
)
first_epochs = itertools.count(10, 10)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=sent_batches)
def test_any_order_of_batches_ends_as_the_ledger_says(db: Database, batches: list[Sent]) -> None:
    # Each example takes epochs above those of the examples before: one gateway lives through all of them.
    asyncio.run(compare_with_ledger(db, next(first_epochs), batches))


async def compare_with_ledger(db: Database, first_epoch: int, batches: list[Sent]) -> None:
    """Send batches, keep a ledger of what must have had an effect, and compare it with the rows."""
    await apply(db.owner, document())
    token = hashlib.sha256(TOKENS["gateway-a"].encode()).digest()
    ledger: set[tuple[int, int]] = set()
    epoch, mark = first_epoch, 0
    async with database.create_pool(db.app, "test", 2) as pool:
        for above, start, length in [(0, 1, 1), *batches]:
            sent = edge.EventBatch(first_epoch + above, [event(seq) for seq in range(start, start + length)])
            known = mark if sent.epoch == epoch else 0
            taken = sent.epoch >= epoch and start <= known + 1
            if not taken:
                with pytest.raises(Problem) as refusal:
                    await ingest.store(pool, token, sent)
                assert refusal.value.status_code == 409
                continue
            ack = await ingest.store(pool, token, sent)
            epoch, mark = sent.epoch, max(known, start + length - 1)
            assert (ack.epoch, ack.acked) == (epoch, mark)
            ledger |= {(epoch, seq) for seq in range(known + 1, mark + 1) if seq % 2}
    connection = await asyncpg.connect(db.owner)
    try:
        assert [pair for pair in await stored(connection) if pair[0] >= first_epoch] == sorted(ledger)
        held = await rows(connection, "a", "SELECT epoch, acked FROM gateway WHERE community_id = $1")
        assert held == [{"epoch": epoch, "acked": mark}]
    finally:
        await connection.close()


async def test_a_revoked_plate_is_pushed_and_the_difference_carries_it(
    server: Server, gateway: Gateway, people: Callable[[str], Any]
) -> None:
    admin = await people("administrator@a.example")
    async with gateway("gateway-a") as client:
        full = (await client.get("/edge/v1/access-list")).json()
        assert full["full"] is True
        async with client.stream("GET", "/edge/v1/stream") as response:
            pushed = frames(response)
            name, data = await asyncio.wait_for(anext(pushed), 5)
            assert (name, data["version"]) == ("access-list", full["version"])
            answer = await admin.put("/api/v1/communities/a/credentials/1234-bcd", json={"status": "revoked"})
            assert (answer.status_code, answer.json()) == (200, {"plate": "1234BCD", "status": "revoked"})
            name, data = await asyncio.wait_for(anext(pushed), 5)
            assert (name, data["version"] > full["version"]) == ("access-list", True)
        difference = (await client.get("/edge/v1/access-list", params={"version": full["version"]})).json()
        assert difference["full"] is False
        assert [(entry["plate"], entry["status"]) for entry in difference["entries"]] == [("1234BCD", "revoked")]
    async with gateway("gateway-b") as other:
        untouched = (await other.get("/edge/v1/access-list")).json()
        assert {entry["status"] for entry in untouched["entries"]} == {"active"}


async def test_differences_lead_to_the_full_list(filled: Database, owner: Any, gateway: Gateway) -> None:
    changes = [
        "UPDATE credential SET status = 'revoked' WHERE community_id = $1 AND plate = '1234BCD'",
        "INSERT INTO credential (community_id, plate) VALUES ($1, 'NEW1'), ($1, 'NEW2')",
        "UPDATE credential SET plate = 'NEW3' WHERE community_id = $1 AND plate = 'NEW2'",
        "DELETE FROM credential WHERE community_id = $1 AND plate = 'NEW1'",
        "UPDATE credential SET valid_until = now() WHERE community_id = $1",
        "UPDATE credential SET status = status WHERE community_id = $1",
    ]
    async with gateway("gateway-a") as client:

        async def fetch(version: int) -> edge.AccessList:
            answer = await client.get("/edge/v1/access-list", params={"version": version})
            return msgspec.json.decode(answer.content, type=edge.AccessList)

        bases = [await fetch(0)]
        for change in changes:
            await rows(owner, "a", change)
            bases.append(await fetch(0))
        newest = bases[-1]
        assert [base.version - bases[0].version for base in bases] == [0, 1, 2, 3, 4, 5, 5]
        for base in bases:
            difference = await fetch(base.version)
            assert not difference.full
            held = {entry.credential_id: entry for entry in base.entries}
            held |= {entry.credential_id: entry for entry in difference.entries}
            for removed in difference.removed:
                held.pop(removed, None)
            assert held == {entry.credential_id: entry for entry in newest.entries}
            assert difference.version == newest.version
        assert (await fetch(newest.version + 1)).full


async def test_a_command_reaches_the_stream_of_its_community_only(
    gateway: Gateway, people: Callable[[str], Any], owner: Any
) -> None:
    desk = await people("desk@parkmesh.example")
    async with (
        gateway("gateway-a") as a,
        gateway("gateway-b") as b,
        a.stream("GET", "/edge/v1/stream") as of_a,
        b.stream("GET", "/edge/v1/stream") as of_b,
    ):
        to_a, to_b = frames(of_a), frames(of_b)
        await asyncio.wait_for(anext(to_a), 5)
        await asyncio.wait_for(anext(to_b), 5)
        await listed(owner, "a")
        answer = await desk.post("/api/v1/communities/a/gates/main-in/open", json={"reason": "ambulance"})
        assert answer.status_code == 202
        name, command = await asyncio.wait_for(anext(to_a), 5)
        assert (name, command["gate"], command["reason"]) == ("command", "main-in", "ambulance")
        assert 5_000 < command["expires"] - time.time() * 1000 <= 10_000
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(anext(to_b), 0.3)
    audit = await rows(owner, "a", "SELECT action, object, detail FROM audit_entry WHERE community_id = $1")
    assert [(entry["action"], entry["object"]) for entry in audit] == [("gate.open", "gate/main-in")]
    assert json.loads(audit[0]["detail"]) == {
        "command": command["id"],
        "state": "sent",
        "reason": "ambulance",
        "role": "operator",
    }


async def test_a_new_token_ends_the_stream_and_the_old_one_is_refused(filled: Database, gateway: Gateway) -> None:
    async with gateway("gateway-a") as client, client.stream("GET", "/edge/v1/stream") as response:
        pushed = frames(response)
        await asyncio.wait_for(anext(pushed), 5)
        wish = {"communities": [{"name": "a", "gateways": [{"name": "gateway-a", "token_sha256": "0" * 64}]}]}
        await apply(filled.owner, wish)
        with pytest.raises(StopAsyncIteration):
            await asyncio.wait_for(anext(pushed), 5)
        assert (await client.get("/edge/v1/access-list")).status_code == 401


async def test_a_stream_outlasts_a_database_that_is_away(gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    look, looks = edge_app._standing, itertools.count()

    async def away_at_first(*arguments: Any, **options: Any) -> Any:
        if next(looks) == 0:
            raise TimeoutError
        return await look(*arguments, **options)

    monkeypatch.setattr(edge_app, "_standing", away_at_first)
    monkeypatch.setattr(edge_app, "AGAIN_S", 0.05)
    async with gateway("gateway-a") as client, client.stream("GET", "/edge/v1/stream") as response:
        name, _ = await asyncio.wait_for(anext(frames(response)), 5)
    assert (name, next(looks)) == ("access-list", 2)


async def ended(pushed: AsyncIterator[tuple[str, Any]], within: float = 5) -> None:
    """Wait until a stream ends."""
    async with asyncio.timeout(within):
        async for _ in pushed:
            pass


async def test_the_end_of_a_token_ends_the_stream(gateway: Gateway, people: Callable[[str], Any], owner: Any) -> None:
    desk = await people("desk@parkmesh.example")
    async with (
        gateway("gateway-a") as a,
        gateway("gateway-b") as b,
        a.stream("GET", "/edge/v1/stream") as of_a,
        b.stream("GET", "/edge/v1/stream") as of_b,
    ):
        to_a, to_b = frames(of_a), frames(of_b)
        for pushed in (to_a, to_b):
            await asyncio.wait_for(anext(pushed), 5)
        # A community that is offboarded: its gateways hear of the emptied list first, on the stream that they have.
        await desk.post("/api/v1/communities/a/offboard", json={"reason": "contract ended"})
        name, _ = await asyncio.wait_for(anext(to_a), 5)
        assert name == "access-list"
        # The time comes by itself: nothing is notified at that moment.
        await rows(
            owner, "a", "UPDATE gateway SET token_ends_at = now() + interval '1.5 seconds' WHERE community_id = $1"
        )
        began = time.monotonic()
        await ended(to_a)
        assert time.monotonic() - began > 1
        assert (await a.get("/edge/v1/access-list")).status_code == 401
        # The other community's goes on.
        await desk.put("/api/v1/communities/b/credentials/1234BCD", json={"status": "revoked"})
        assert (await asyncio.wait_for(anext(to_b), 5))[0] == "access-list"
        # One that is gone altogether.
        await rows(owner, "b", "DELETE FROM gateway WHERE community_id = $1")
        await ended(to_b)


async def test_a_heartbeat_is_seen_by_the_staff(gateway: Gateway, people: Callable[[str], Any]) -> None:
    beat = {
        "sent": int(time.time() * 1000) - 60_000,
        "version": "0.1.0",
        "backlog": 7,
        "access_list_version": 2,
        "silent_cameras": ["cam-main-in"],
    }
    async with gateway("gateway-a") as client:
        ack = (await client.post("/edge/v1/heartbeat", json=beat)).json()
        assert abs(ack["server_time"] - time.time() * 1000) < 60_000
    admin = await people("administrator@a.example")
    (seen,) = (await admin.get("/api/v1/communities/a/gateways")).json()["items"]
    assert (seen["name"], seen["online"], seen["backlog"], seen["version"]) == ("gateway-a", True, 7, "0.1.0")
    assert seen["silent_cameras"] == ["cam-main-in"]
    assert (ack["takes_device_faults"], seen["device_faults"]) == (True, [])
    assert -70_000 < seen["clock_skew_ms"] < -50_000
    assert seen["newest_access_list_version"] == ack["access_list_version"]


BAD_EVENTS: dict[str, tuple[bytes, int]] = {
    "nothing": (b"", 400),
    "not JSON": (b"{", 400),
    "not UTF-8": (json.dumps(batch(1, passage(1, camera="@"))).encode().replace(b"@", b"\xff"), 400),
    "a lone surrogate": (json.dumps(batch(1, passage(1, camera="\ud800"))).encode(), 400),
    "another form": (b"[]", 422),
    "no events": (b'{"epoch":1,"events":[]}', 422),
    "epoch nought": (json.dumps(batch(0, passage(1))).encode(), 422),
    "a number that no database holds": (json.dumps(batch(2**63, passage(1))).encode(), 422),
    "a time after the year 9999": (json.dumps(batch(1, passage(1, times={"received": 2**60}))).encode(), 422),
    "a hole in the batch": (json.dumps(batch(1, passage(1), passage(3))).encode(), 422),
    "an unknown member": (json.dumps(batch(1, passage(1, colour="red"))).encode(), 422),
    "a confidence that is none": (json.dumps(batch(1, passage(1, confidence=2))).encode(), 422),
    "too many events": (json.dumps(batch(1, *(state(n, "free") for n in range(1, 1002)))).encode(), 422),
    "too deep": (b'{"epoch":' + b"[" * 100_000, 422),
    "too large": (b" " * (4 * 1024 * 1024 + 1), 413),
}


async def test_bad_batches_are_problems(gateway: Gateway, owner: Any, subtests: pytest.Subtests) -> None:
    async with gateway("gateway-a") as client:
        for case, (body, status) in BAD_EVENTS.items():
            with subtests.test(case):
                answer = await client.post("/edge/v1/events", content=body)
                assert answer.status_code == status, answer.text
                assert answer.headers["content-type"] == "application/problem+json"
                assert answer.json()["status"] == status
    assert await stored(owner) == []


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"plate": "X" * 5000}, "$.events[2] (seq 3): Expected `str` of length <= 16 - at `$.plate`"),
        ({"seq": "three"}, "$.events[2]: Expected `int`, got `str` - at `$.seq`"),
        ({"type": "parade"}, "$.events[2] (seq 3): Invalid value 'parade' - at `$.type`"),
    ],
)
async def test_an_event_that_is_none_is_named_and_the_others_get_through(
    gateway: Gateway, owner: Any, wrong: dict[str, Any], said: str
) -> None:
    events = [passage(1, plate="1111AAA"), state(2, "free"), passage(3) | wrong, passage(4, plate="4444DDD")]

    async with gateway("gateway-a") as client:

        async def send(*sent: dict[str, Any]) -> httpx.Response:
            return await client.post("/edge/v1/events", json=batch(1, *sent))

        refused = await send(*events)
        assert (refused.status_code, refused.json()["detail"]) == (422, said)
        assert "XXX" not in refused.text
        assert await stored(owner) == []
        # What a gateway does then: fewer, until it is one, and a gap in the place of that one.
        assert (await send(*events[:2])).json()["acked"] == 2
        assert (await send(events[2])).status_code == 422
        gap = {
            "type": "gap",
            "seq": 3,
            "times": {"received": 1_700_000_000_000},
            "kind": "refused_passage",
            "dropped": 1,
        }
        assert (await send(gap)).json()["acked"] == 3
        assert (await send(events[3])).json()["acked"] == 4
    seen = await rows(owner, "a", "SELECT plate FROM passage WHERE community_id = $1 ORDER BY seq")
    assert [item["plate"] for item in seen] == ["1111AAA", "4444DDD"]


NO_TOKENS = [None, "Bearer", "Bearer short", "Basic dG9rZW4=", "Bearer " + "x" * 40, "Bearer é" * 9]
CALLS = {
    "events": batch(1, passage(1)),
    "heartbeat": {"sent": 1, "version": "1", "backlog": 0, "access_list_version": 0},
    "access-list": None,
    "stream": None,
}


async def test_without_a_token_there_is_nothing(server: Server, subtests: pytest.Subtests) -> None:
    async with httpx.AsyncClient(base_url=server.edge) as client:
        for header, (path, body) in itertools.product(NO_TOKENS, CALLS.items()):
            with subtests.test(f"{path} with {header}"):
                answer = await client.request(
                    "POST" if body else "GET",
                    f"/edge/v1/{path}",
                    headers={b"authorization": header.encode("latin-1")} if header else {},
                    json=body,
                )
                assert answer.status_code == 401
                assert answer.headers["content-type"] == "application/problem+json"
                assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_bad_versions_are_problems(gateway: Gateway, subtests: pytest.Subtests) -> None:
    async with gateway("gateway-a") as client:
        for version in ("-1", "x", "1.5", "9" * 19, "\u0663"):
            with subtests.test(version):
                answer = await client.get("/edge/v1/access-list", params={"version": version})
                assert answer.status_code == 422


async def test_each_door_has_its_own_routes_only(server: Server, gateway: Gateway) -> None:
    async with gateway("gateway-a") as client:
        for path in ("/", "/sign-in", "/readyz", "/api/v1/communities"):
            assert (await client.get(path)).status_code == 404
        for path in ("/edge/v1/events", "/edge/v1/access-list", "/edge/v1/stream"):
            assert (await client.get(server.web + path)).status_code == 404
        assert (await client.get("/edge/v1/events")).status_code == 405
