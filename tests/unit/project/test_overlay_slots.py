"""The pool of overlay slots: made once, corrected in place, leases and identities never touched."""

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import boto3
import pytest
from moto import mock_aws

MODULE = Path(__file__).resolve().parents[3] / "library" / "overlay_slots.py"
NETWORK = {"network_id": "5d38c9707ddffc6e", "moon_id": None, "moon": None}
SLOTS = [{"slot": 1, "ip": "10.242.0.11"}, {"slot": 2, "ip": "10.242.0.12"}]
IDENTITIES = {1: "aaaaaaaaa1:0:11:21\n", 2: "aaaaaaaaa2:0:12:22\n"}


@pytest.fixture(scope="module")
def slots() -> ModuleType:
    spec = importlib.util.spec_from_file_location("overlay_slots", MODULE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def leases(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    with mock_aws():
        client = boto3.client("dynamodb", region_name="eu-west-1")
        client.create_table(
            TableName="slots",
            KeySchema=[{"AttributeName": "slot", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "slot", "AttributeType": "N"}],
            BillingMode="PAY_PER_REQUEST",
        )
        yield client


@pytest.fixture
def pool(slots: ModuleType, leases: Any) -> Any:
    return slots.Pool(boto3.client("secretsmanager", region_name="eu-west-1"), leases, "slots", "slot-")


def test_a_slot_without_identity_is_reported_and_not_made(slots: ModuleType, pool: Any) -> None:
    assert slots.reconcile(pool, SLOTS, {}, NETWORK, dry=False) == (False, [1, 2], [])


def test_slots_are_made_and_a_second_run_changes_nothing(slots: ModuleType, pool: Any) -> None:
    changed, missing, members = slots.reconcile(pool, SLOTS, IDENTITIES, NETWORK, dry=False)
    assert (changed, missing) == (True, [])
    assert members[1] == {"slot": 2, "address": "aaaaaaaaa2", "ip": "10.242.0.12"}
    secret = pool.secret(1)
    assert (secret["identity_public"], secret["identity_secret"]) == ("aaaaaaaaa1:0:11", "aaaaaaaaa1:0:11:21")
    assert slots.reconcile(pool, SLOTS, {}, NETWORK, dry=False) == (False, [], members)


def test_a_dry_run_says_so_and_writes_nothing(slots: ModuleType, pool: Any) -> None:
    assert slots.reconcile(pool, SLOTS, IDENTITIES, NETWORK, dry=True)[0] is True
    assert pool.secret(1) is None
    assert pool.items(may_be_absent=False) == {}


def test_a_dry_run_works_before_there_is_a_table(slots: ModuleType, pool: Any, leases: Any) -> None:
    leases.delete_table(TableName="slots")
    assert slots.reconcile(pool, SLOTS, {}, NETWORK, dry=True) == (False, [1, 2], [])
    with pytest.raises(leases.exceptions.ResourceNotFoundException):
        slots.reconcile(pool, SLOTS, {}, NETWORK, dry=False)


def test_a_new_address_or_network_keeps_identity_and_lease(slots: ModuleType, pool: Any, leases: Any) -> None:
    slots.reconcile(pool, SLOTS, IDENTITIES, NETWORK, dry=False)
    leases.update_item(
        TableName="slots",
        Key={"slot": {"N": "1"}},
        UpdateExpression="SET holder = :holder",
        ExpressionAttributeValues={":holder": {"S": "i-1"}},
    )
    moved = [{"slot": 1, "ip": "10.242.0.99"}, SLOTS[1]]
    other = {1: "bbbbbbbbb1:0:33:44"}
    changed, _, members = slots.reconcile(pool, moved, other, {**NETWORK, "network_id": "ffffffffffffffff"}, dry=False)
    assert changed
    assert members[0] == {"slot": 1, "address": "aaaaaaaaa1", "ip": "10.242.0.99"}
    item = pool.items(may_be_absent=False)[1]
    assert (item["holder"], item["ip"]) == ({"S": "i-1"}, {"S": "10.242.0.99"})
    assert pool.secret(1)["network_id"] == "ffffffffffffffff"


@pytest.mark.parametrize("identity", ["", "aaaaaaaaa1", "aaaaaaaaa1:0:11", "aaaaaaaaa1:0::21", "a:0:1:2:3"])
def test_a_broken_identity_is_refused_without_being_printed(slots: ModuleType, pool: Any, identity: str) -> None:
    with pytest.raises(ValueError, match="slot 1") as error:
        slots.reconcile(pool, SLOTS[:1], {1: identity}, NETWORK, dry=False)
    assert "aaaaaaaaa1" not in str(error.value)
    assert pool.secret(1) is None


def test_the_secret_is_json_with_what_an_instance_reads_at_boot(slots: ModuleType, pool: Any) -> None:
    slots.reconcile(pool, SLOTS[:1], IDENTITIES, {**NETWORK, "moon_id": "000000aaaaaaaaa9", "moon": "AAAA"}, dry=False)
    assert json.loads(json.dumps(pool.secret(1))) == {
        "slot": 1,
        "address": "aaaaaaaaa1",
        "identity_public": "aaaaaaaaa1:0:11",
        "identity_secret": "aaaaaaaaa1:0:11:21",
        "ip": "10.242.0.11",
        "network_id": "5d38c9707ddffc6e",
        "moon_id": "000000aaaaaaaaa9",
        "moon": "AAAA",
    }


@pytest.fixture
def states(monkeypatch: pytest.MonkeyPatch, pool: Any) -> dict[str, str]:
    """What EC2 says of instances."""
    known: dict[str, str] = {}
    monkeypatch.setattr(pool, "states", lambda holders: {h: known[h] for h in holders if h in known})
    return known


def lease(leases: Any, slot: int, holder: str, leased_at: int) -> None:
    leases.update_item(
        TableName="slots",
        Key={"slot": {"N": str(slot)}},
        UpdateExpression="SET holder = :holder, leased_at = :at",
        ExpressionAttributeValues={":holder": {"S": holder}, ":at": {"N": str(leased_at)}},
    )


@pytest.mark.parametrize(
    ("holder", "state", "age_ms", "free"),
    [
        ("i-1", "running", 10**9, False),
        ("i-1", "shutting-down", 10**9, False),
        ("i-1", "terminated", 0, True),
        ("i-1", None, 60_000, False),
        ("i-1", None, 700_000, True),
        ("rotation", None, 0, True),
    ],
)
def test_a_slot_is_free_when_its_holder_is_gone_for_good(
    slots: ModuleType, pool: Any, leases: Any, states: dict[str, str], holder: str, state: str, age_ms: int, free: bool
) -> None:
    slots.reconcile(pool, SLOTS, IDENTITIES, NETWORK, dry=False)
    if state:
        states[holder] = state
    lease(leases, 1, holder, pool.clock() - age_ms)
    assert [slot["free"] for slot in slots.gather(pool)] == [free, True]


def test_a_reserved_slot_is_nobody_else_s_until_it_has_its_new_identity(
    slots: ModuleType, pool: Any, leases: Any, states: dict[str, str]
) -> None:
    slots.reconcile(pool, SLOTS, IDENTITIES, NETWORK, dry=False)
    states["i-1"] = "running"
    lease(leases, 2, "i-1", 1)
    assert slots.reserve(pool, [1, 2], dry=True)[:2] == (
        True,
        [{"slot": 1, "address": "aaaaaaaaa1", "ip": "10.242.0.11"}],
    )
    assert "holder" not in pool.items(may_be_absent=False)[1]
    changed, reserved, held = slots.reserve(pool, [1, 2], dry=False)
    assert (changed, [slot["slot"] for slot in reserved]) == (True, [1])
    assert held == [{"slot": 2, "holder": "i-1"}]
    assert pool.items(may_be_absent=False)[1]["holder"] == {"S": "rotation"}
    # An interrupted rotation is taken up again.
    assert slots.reserve(pool, [1], dry=False)[0] is False
    members = slots.rotate(pool, {1: "bbbbbbbbb1:0:33:44"}, dry=False)
    assert members == [{"slot": 1, "address": "bbbbbbbbb1", "ip": "10.242.0.11"}]
    item = pool.items(may_be_absent=False)[1]
    assert (item["address"], "holder" in item) == ({"S": "bbbbbbbbb1"}, False)
    secret = pool.secret(1)
    assert (secret["identity_secret"], secret["ip"], secret["network_id"]) == (
        "bbbbbbbbb1:0:33:44",
        "10.242.0.11",
        NETWORK["network_id"],
    )
    assert slots.reconcile(pool, SLOTS, {}, NETWORK, dry=False)[0] is False


def test_a_slot_that_an_instance_takes_first_is_not_reserved(slots: ModuleType, pool: Any, leases: Any) -> None:
    slots.reconcile(pool, SLOTS, IDENTITIES, NETWORK, dry=False)
    take = pool.reserve

    def quicker(slot: int, was: str | None) -> bool:
        lease(leases, slot, "i-9", pool.clock())
        return bool(take(slot, was))

    pool.reserve = quicker
    changed, reserved, held = slots.reserve(pool, [1], dry=False)
    assert (changed, reserved, [slot["slot"] for slot in held]) == (False, [], [1])
    assert pool.items(may_be_absent=False)[1]["holder"] == {"S": "i-9"}


def test_only_a_reserved_slot_gets_a_new_identity(slots: ModuleType, pool: Any) -> None:
    slots.reconcile(pool, SLOTS, IDENTITIES, NETWORK, dry=False)
    with pytest.raises(slots.PoolError, match="slot 1 isn't reserved"):
        slots.rotate(pool, {1: "bbbbbbbbb1:0:33:44"}, dry=False)
    with pytest.raises(slots.PoolError, match="no slot 7"):
        slots.reserve(pool, [7], dry=False)
    assert pool.secret(1)["address"] == "aaaaaaaaa1"


@pytest.mark.parametrize("recovery_days", [0, 7])
def test_a_removed_pool_is_made_anew_also_while_its_secrets_could_be_restored(
    slots: ModuleType, pool: Any, leases: Any, states: dict[str, str], recovery_days: int
) -> None:
    slots.reconcile(pool, SLOTS, IDENTITIES, NETWORK, dry=False)
    states["i-1"] = "running"
    lease(leases, 1, "i-1", 1)
    assert slots.remove(pool, force=False, recovery_days=recovery_days, dry=False) == (
        False,
        [{"slot": 1, "holder": "i-1"}],
    )
    assert slots.remove(pool, force=True, recovery_days=recovery_days, dry=True)[0] is True
    assert pool.secret(1) is not None
    assert slots.remove(pool, force=True, recovery_days=recovery_days, dry=False)[0] is True
    assert slots.remove(pool, force=False, recovery_days=recovery_days, dry=False) == (False, [])
    assert slots.reconcile(pool, SLOTS, {}, NETWORK, dry=False) == (False, [1, 2], [])
    new = {1: "bbbbbbbbb1:0:33:44", 2: "bbbbbbbbb2:0:33:44"}
    assert slots.reconcile(pool, SLOTS, new, NETWORK, dry=False)[0] is True
    assert pool.secret(1)["address"] == "bbbbbbbbb1"
    assert slots.reconcile(pool, SLOTS, {}, NETWORK, dry=False)[0] is False
