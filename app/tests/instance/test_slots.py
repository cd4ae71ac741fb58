"""Leasing overlay slots: against DynamoDB and EC2 as moto emulates them, with rivals in threads."""

import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import boto3
import pytest
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st
from moto import mock_aws
from moto.moto_api._internal import moto_api_backend
from parkmesh.instance.slots import (
    ATTEMPTS,
    EC2_KNOWS_AFTER_MS,
    Place,
    Slot,
    SlotError,
    SlotTable,
    candidates,
    gone_holders,
    lease,
    primary_port,
)

NOW = 1_700_000_000_000
TABLE = "parkmesh-test-slots"
REGION = "eu-west-1"
PLACE = Place("10.80.80.7", "eu-west-1a")


class Clients(NamedTuple):
    dynamodb: Any
    ec2: Any


class Cloud:
    """A region with the slot table and real (emulated) instances."""

    def __init__(self, aws: Clients, slots: int) -> None:
        self.dynamodb, self.ec2 = aws.dynamodb, aws.ec2
        self.dynamodb.create_table(
            TableName=TABLE,
            KeySchema=[{"AttributeName": "slot", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "slot", "AttributeType": "N"}],
            BillingMode="PAY_PER_REQUEST",
        )
        for number in range(1, slots + 1):
            item = {
                "slot": {"N": str(number)},
                "address": {"S": f"{number:010x}"},
                "ip": {"S": f"10.242.0.{10 + number}"},
            }
            self.dynamodb.put_item(TableName=TABLE, Item=item)
        self.table = self.open(SlotTable)
        self.pauses: list[float] = []

    def launch(self) -> str:
        started = self.ec2.run_instances(ImageId="ami-12c6146b", MinCount=1, MaxCount=1, InstanceType="t3.small")
        return str(started["Instances"][0]["InstanceId"])

    def open(self, kind: type[SlotTable], table: str = TABLE) -> SlotTable:
        return kind(table, self.dynamodb, lambda: self.ec2)

    def lease(self, me: str, now: int = NOW, seed: int = 1, table: SlotTable | None = None) -> Slot:
        return lease(
            table or self.table, me, PLACE, clock=lambda: now, sleep=self.pauses.append, source=random.Random(seed)
        )

    def holders(self) -> dict[int, str | None]:
        return {slot.number: slot.holder for slot in self.table.read()}


@pytest.fixture(scope="module")
def clients() -> Iterator[Clients]:
    with pytest.MonkeyPatch.context() as environment:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            environment.setenv(name, "testing")
        environment.delenv("AWS_PROFILE", raising=False)
        with mock_aws():
            yield Clients(boto3.client("dynamodb", region_name=REGION), boto3.client("ec2", region_name=REGION))


@pytest.fixture
def aws(clients: Clients) -> Clients:
    """An empty region. Making boto3's clients takes longer than all the tests."""
    moto_api_backend.reset()
    return clients


@pytest.fixture
def cloud(aws: Clients) -> Cloud:
    return Cloud(aws, slots=2)


def test_two_instances_get_two_slots(cloud: Cloud) -> None:
    a, b = cloud.launch(), cloud.launch()
    slots = {cloud.lease(a), cloud.lease(b, seed=2)}
    assert {(slot.number, slot.ip) for slot in slots} == {(1, "10.242.0.11"), (2, "10.242.0.12")}
    assert sorted(filter(None, cloud.holders().values())) == sorted([a, b])
    assert cloud.pauses == []


def test_the_lease_says_where_its_holder_is(cloud: Cloud) -> None:
    slot = cloud.lease("i-1")
    item = cloud.dynamodb.get_item(TableName=TABLE, Key={"slot": {"N": str(slot.number)}})["Item"]
    place = {"instance": {"S": "i-1"}, "private_ip": {"S": "10.80.80.7"}, "zone": {"S": "eu-west-1a"}}
    assert item["holder_place"] == {"M": place}


def test_each_slot_has_a_port_of_its_own() -> None:
    assert [primary_port(slot) for slot in (1, 2, 150)] == [20001, 20002, 20150]


def test_a_reboot_keeps_the_slot(cloud: Cloud) -> None:
    me = cloud.launch()
    first = cloud.lease(me)
    again = cloud.lease(me, now=NOW + 1_000, seed=99)
    assert (again.number, again.leased_at) == (first.number, NOW + 1_000)
    assert list(cloud.holders().values()).count(me) == 1


def test_racing_instances_never_share_a_slot(aws: Clients) -> None:
    cloud = Cloud(aws, slots=8)
    instances = [cloud.launch() for _ in range(8)]
    together = threading.Barrier(8)
    atomic = threading.Lock()

    class Table(SlotTable):
        """DynamoDB's conditional writes are atomic; the emulator's, called by threads, are not."""

        def take(self, slot: Slot, me: str, now: int, place: Place) -> bool:
            with atomic:
                return super().take(slot, me, now, place)

    table = cloud.open(Table)

    def boot(me: str) -> int:
        together.wait()
        return cloud.lease(me, seed=7, table=table).number  # one seed: all want the same slot first

    with ThreadPoolExecutor(8) as pool:
        numbers = list(pool.map(boot, instances))
    assert sorted(numbers) == list(range(1, 9))
    assert cloud.holders() == dict(zip(numbers, instances, strict=True))


def test_a_lost_race_goes_on_with_another_slot(cloud: Cloud) -> None:
    a, b = cloud.launch(), cloud.launch()

    class Late(SlotTable):
        """Another server leases the slot between our reading and our write."""

        def take(self, slot: Slot, me: str, now: int, place: Place) -> bool:
            if None not in cloud.holders().values() or a not in cloud.holders().values():
                assert cloud.table.take(slot, a, now, place)
            return super().take(slot, me, now, place)

    mine = cloud.lease(b, table=cloud.open(Late))
    assert sorted(cloud.holders().values(), key=str) == sorted([a, b])
    assert cloud.holders()[mine.number] == b


def test_a_slot_is_taken_over_only_after_termination(cloud: Cloud) -> None:
    a, b, c = (cloud.launch() for _ in range(3))
    cloud.lease(a)
    kept = cloud.lease(b)
    cloud.ec2.stop_instances(InstanceIds=[a])
    with pytest.raises(SlotError, match="all 2 overlay slots are held by instances that aren't terminated"):
        cloud.lease(c, now=NOW + 365 * 86_400_000)  # a year later: the clock alone frees nothing
    assert len(cloud.pauses) == ATTEMPTS - 1
    assert all(0 < pause <= 8 for pause in cloud.pauses)
    cloud.ec2.terminate_instances(InstanceIds=[a])
    assert cloud.lease(c).number != kept.number
    assert set(cloud.holders().values()) == {b, c}


def test_an_unknown_holder_is_gone_only_when_ec2_had_time_to_know_it(cloud: Cloud) -> None:
    cloud.lease("i-0aaaaaaaaaaaaaaaa")
    cloud.lease("i-0bbbbbbbbbbbbbbbb")
    me = cloud.launch()
    with pytest.raises(SlotError):
        cloud.lease(me, now=NOW + EC2_KNOWS_AFTER_MS)
    assert cloud.lease(me, now=NOW + EC2_KNOWS_AFTER_MS + 1).holder == me


def test_two_instances_want_the_same_dead_holders_slot(aws: Clients) -> None:
    cloud = Cloud(aws, slots=1)
    dead, a, b = (cloud.launch() for _ in range(3))
    cloud.lease(dead)
    cloud.ec2.terminate_instances(InstanceIds=[dead])
    stale = cloud.table.read()[0]
    assert cloud.table.take(stale, a, NOW, PLACE)
    assert not cloud.table.take(stale, b, NOW, PLACE)
    assert cloud.holders() == {1: a}


def test_a_slot_that_is_not_in_the_table_is_not_made(cloud: Cloud) -> None:
    assert not cloud.table.take(Slot(9, "0" * 10, "10.242.0.99"), "i-1", NOW, PLACE)
    assert 9 not in cloud.holders()


def test_an_empty_table(aws: Clients) -> None:
    with pytest.raises(SlotError, match="the slot table is empty: provision"):
        Cloud(aws, slots=0).lease("i-1")


def test_a_missing_table_fails_at_once(cloud: Cloud) -> None:
    table = cloud.open(SlotTable, "no-such-table")
    with pytest.raises(SlotError, match="ResourceNotFoundException"):
        cloud.lease("i-1", table=table)
    assert cloud.pauses == []


def test_throttling_is_waited_out(cloud: Cloud) -> None:
    class Throttled(SlotTable):
        calls = 0

        def read(self) -> list[Slot]:
            self.calls += 1
            if self.calls < 4:
                error: Any = {"Error": {"Code": "ProvisionedThroughputExceededException", "Message": "slow down"}}
                raise ClientError(error, "Scan")
            return super().read()

    assert cloud.lease("i-1", table=cloud.open(Throttled)).holder == "i-1"
    assert len(cloud.pauses) == 3


_HOLDER = st.sampled_from([None, "me", "alive", "dead", "unknown"])


@given(st.lists(_HOLDER, max_size=6), st.integers(0, 2**32))
def test_the_order_of_candidates(holders: list[str | None], seed: int) -> None:
    slots = [Slot(i, "", "", holder, NOW) for i, holder in enumerate(holders)]
    gone = gone_holders(slots, {"alive": "running", "dead": "terminated"}, NOW)
    ordered = [slot.holder for slot in candidates(slots, "me", gone, random.Random(seed))]
    assert ordered == sorted(ordered, key=["me", None, "dead"].index)
    assert len(ordered) == sum(holder in ("me", None, "dead") for holder in holders)


@pytest.mark.parametrize("state", ["pending", "running", "shutting-down", "stopping", "stopped"])
def test_only_terminated_is_gone(state: str) -> None:
    slot = Slot(1, "", "", "i-1", 0)
    assert gone_holders([slot], {"i-1": state}, NOW) == frozenset()
    assert gone_holders([slot], {"i-1": "terminated"}, NOW) == {"i-1"}


def test_an_instance_that_ends_frees_its_own_slot_only(cloud: Cloud) -> None:
    first, second = cloud.launch(), cloud.launch()
    mine, other = cloud.lease(first), cloud.lease(second, seed=2)
    assert cloud.table.release(first) == [mine.number]
    assert cloud.table.release(first) == []
    assert cloud.holders()[mine.number] is None
    assert cloud.holders()[other.number] == second
    assert cloud.lease(first).holder == first
