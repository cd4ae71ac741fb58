"""Upgrades of the database: which version is chosen, the steps towards it, and how each end is told."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import boto3
import pytest

from lab import aws

ROOT = Path(__file__).resolve().parents[3]
NAME = "p-e-database"
OPTIONS: dict[str, Any] = {
    "name": NAME,
    "version": "17",
    "parameter_group": f"{NAME}-17",
    "snapshot": f"{NAME}-before-17",
    "asked": False,
}
TARGETS = [{"EngineVersion": each} for each in ("17.7", "17.10", "18.1")]


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.parent.name + "_" + path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def upgrade() -> ModuleType:
    return load(ROOT / "library" / "database_upgrade.py")


@pytest.fixture(scope="module")
def action() -> ModuleType:
    return load(ROOT / "action_plugins" / "database_upgrade.py")


@pytest.fixture(scope="module")
def rds() -> Iterator[Any]:
    server = aws.serve([("127.0.0.1", 0)])
    client = boto3.client(
        "rds",
        endpoint_url=f"http://127.0.0.1:{server.addresses[0][1]}",
        region_name="eu-north-1",
        aws_access_key_id="test",
        aws_secret_access_key="test",
    )
    for major in ("17", "18"):
        client.create_db_parameter_group(
            DBParameterGroupName=f"{NAME}-{major}", DBParameterGroupFamily=f"postgres{major}", Description="test"
        )
    client.create_db_instance(
        DBInstanceIdentifier=NAME,
        Engine="postgres",
        EngineVersion="17",
        DBInstanceClass="db.t4g.medium",
        AllocatedStorage=20,
        MasterUsername="owner",
        MasterUserPassword="throw-away",
        Tags=[{"Key": "Project", "Value": "p"}],
    )
    yield client
    server.shutdown()


@pytest.mark.parametrize(
    ("asked", "version"), [("17", "17.10"), ("18", "18.1"), ("17.7", "17.7"), ("17.6", "17.6"), ("18.1", "18.1")]
)
def test_the_newest_is_chosen_where_none_is_named(upgrade: ModuleType, asked: str, version: str) -> None:
    assert upgrade.chosen("17.6", asked, TARGETS) == version


@pytest.mark.parametrize("asked", ["17.5", "16", "19", "18.2"])
def test_what_rds_doesn_t_offer_is_refused_with_what_it_does(upgrade: ModuleType, asked: str) -> None:
    with pytest.raises(upgrade.UpgradeError, match=r"can be upgraded to 17\.7, 17\.10, 18\.1$"):
        upgrade.chosen("17.6", asked, TARGETS)


def test_a_database_at_the_newest_version_is_left_as_it_is(upgrade: ModuleType) -> None:
    assert upgrade.chosen("17.10", "17", [{"EngineVersion": "18.1"}]) == "17.10"


def walk(upgrade: ModuleType, action: ModuleType, rds: Any, **given: Any) -> tuple[dict[str, Any], list[str]]:
    """All steps, as the action plugin takes them."""
    lines: list[str] = []

    def call(other: Mapping[str, Any]) -> dict[str, Any]:
        result: dict[str, Any] = upgrade.step(rds, {**OPTIONS, **given, **other}, dry=False)
        return result

    result = action.follow(call({}), call, lines.append, wait_s=60, poll_s=0, sleep=lambda _: None)
    return result, lines


def test_a_snapshot_comes_first_and_a_second_run_changes_nothing(
    upgrade: ModuleType, action: ModuleType, rds: Any
) -> None:
    dry = upgrade.step(rds, OPTIONS, dry=True)
    assert dry["progress"] == f"{NAME} would be upgraded from PostgreSQL 17.6 to 17.7."
    assert rds.describe_db_snapshots(SnapshotType="manual")["DBSnapshots"] == []
    result, lines = walk(upgrade, action, rds)
    assert (result["done"], result["changed"]) == (True, True)
    assert lines == [
        f"The snapshot {NAME}-before-17 of PostgreSQL 17.6 is being made.",
        f"{NAME} is being upgraded from PostgreSQL 17.6 to 17.7.",
        f"{NAME} is PostgreSQL 17.7.",
    ]
    (snapshot,) = rds.describe_db_snapshots(DBSnapshotIdentifier=f"{NAME}-before-17")["DBSnapshots"]
    assert (snapshot["EngineVersion"], snapshot["TagList"]) == ("17.6", [{"Key": "Project", "Value": "p"}])
    again, _ = walk(upgrade, action, rds)
    assert (again["done"], again["changed"]) == (True, False)
    # Another snapshot than that of the present version is no snapshot before.
    with pytest.raises(upgrade.UpgradeError, match=r"before-17 is a snapshot of p-e-database, 17\.6"):
        walk(upgrade, action, rds, version="18", parameter_group=f"{NAME}-18")
    result, _ = walk(upgrade, action, rds, version="18", parameter_group=f"{NAME}-18", snapshot=f"{NAME}-before-18")
    assert (result["done"], result["before"]) == (True, "18.1")


def test_an_upgrade_that_rds_gives_up_ends_with_its_event(action: ModuleType) -> None:
    still = {
        "changed": True,
        "done": False,
        "asked": True,
        "refused": True,
        "version": "18.1",
        "progress": "refused",
    }
    lines: list[str] = []
    result = action.follow(dict(still), lambda _: dict(still), lines.append, wait_s=60, poll_s=0, sleep=lambda _: None)
    assert (result["done"], result["refused"], lines) == (False, True, ["refused"])
