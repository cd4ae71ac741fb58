"""What lab.aws does beyond moto for databases and tables, as AWS documents it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from lab import aws

from .conftest import Aws

Client = Callable[[str], Any]


@pytest.fixture(scope="module")
def server() -> Iterator[aws.Server]:
    running = aws.serve([("127.0.0.1", 0)])
    yield running
    running.shutdown()


@pytest.fixture
def client(server: aws.Server) -> Iterator[Client]:
    host, port = server.addresses[0]

    yield Aws(f"http://{host}:{port}", sys.executable).client
    aws.hooks.snapshot_created = None


@pytest.fixture
def database(client: Client) -> Iterator[str]:
    rds = client("rds")
    rds.create_db_instance(
        DBInstanceIdentifier="source",
        Engine="postgres",
        EngineVersion="17",
        DBInstanceClass="db.t4g.small",
        MultiAZ=True,
        DeletionProtection=True,
        BackupRetentionPeriod=7,
        Tags=[{"Key": "Project", "Value": "p"}],
    )
    yield "source"
    for each in rds.describe_db_instances()["DBInstances"]:
        name = each["DBInstanceIdentifier"]
        rds.modify_db_instance(DBInstanceIdentifier=name, DeletionProtection=False, ApplyImmediately=True)
        rds.delete_db_instance(DBInstanceIdentifier=name, SkipFinalSnapshot=True)


def test_a_restored_database_has_defaults_where_nothing_is_said(client: Client, database: str) -> None:
    rds = client("rds")
    rds.create_db_snapshot(DBInstanceIdentifier=database, DBSnapshotIdentifier="one")
    moment = datetime.now(UTC)
    of_snapshot = rds.restore_db_instance_from_db_snapshot(DBInstanceIdentifier="of", DBSnapshotIdentifier="one")
    of_moment = rds.restore_db_instance_to_point_in_time(
        SourceDBInstanceIdentifier=database, TargetDBInstanceIdentifier="at", RestoreTime=moment
    )
    for restored in (of_snapshot["DBInstance"], of_moment["DBInstance"]):
        assert not restored["DeletionProtection"]
        assert not restored["MultiAZ"]
        assert restored["TagList"] == []
        assert [each["DBParameterGroupName"] for each in restored["DBParameterGroups"]] == ["default.postgres17"]
    rds.delete_db_snapshot(DBSnapshotIdentifier="one")


def test_without_backups_there_is_no_moment_to_restore(client: Client, database: str) -> None:
    rds = client("rds")
    rds.modify_db_instance(DBInstanceIdentifier=database, BackupRetentionPeriod=0, ApplyImmediately=True)
    with pytest.raises(ClientError, match="PointInTimeRestoreNotEnabled"):
        rds.restore_db_instance_to_point_in_time(
            SourceDBInstanceIdentifier=database, TargetDBInstanceIdentifier="at", UseLatestRestorableTime=True
        )


def test_the_driver_makes_each_manual_snapshot_and_one_that_failed_is_none(client: Client, database: str) -> None:
    rds, made = client("rds"), []
    aws.hooks.snapshot_created = lambda *given: made.append(given)
    rds.create_db_snapshot(DBInstanceIdentifier=database, DBSnapshotIdentifier="two")
    rds.modify_db_instance(DBInstanceIdentifier=database, DeletionProtection=False, ApplyImmediately=True)
    assert made == [("source", "two", 5432)]

    def fail(*_given: Any) -> None:
        raise RuntimeError("no such container")

    aws.hooks.snapshot_created = fail
    with pytest.raises(ClientError, match="no such container"):
        rds.delete_db_instance(DBInstanceIdentifier=database, FinalDBSnapshotIdentifier="three")
    aws.hooks.snapshot_created = None
    names = [each["DBSnapshotIdentifier"] for each in rds.describe_db_snapshots(SnapshotType="manual")["DBSnapshots"]]
    assert names == ["two"]
    assert rds.describe_db_instances(DBInstanceIdentifier=database)["DBInstances"], "it wasn't deleted"
    rds.delete_db_snapshot(DBSnapshotIdentifier="two")


def test_a_deleted_table_with_point_in_time_recovery_leaves_a_system_backup(client: Client) -> None:
    tables = client("dynamodb")
    for name, recovery in (("kept", True), ("gone", False)):
        tables.create_table(
            TableName=name,
            KeySchema=[{"AttributeName": "slot", "KeyType": "HASH"}],
            AttributeDefinitions=[{"AttributeName": "slot", "AttributeType": "N"}],
            BillingMode="PAY_PER_REQUEST",
        )
        tables.update_continuous_backups(
            TableName=name, PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": recovery}
        )
        tables.delete_table(TableName=name)
    (backup,) = tables.list_backups(BackupType="SYSTEM")["BackupSummaries"]
    assert backup["TableName"] == "kept"
    assert backup["BackupExpiryDateTime"] - backup["BackupCreationDateTime"] == timedelta(days=35)
    assert tables.list_backups()["BackupSummaries"] == [], "those that a user made"
