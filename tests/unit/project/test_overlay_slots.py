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
