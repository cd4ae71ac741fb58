"""playbooks/destroy-environment.yml on lab.aws: what else is left of an environment goes too, and what stays is told.

test_playbooks.py destroys what the playbooks make. This is about what they don't make, and about the guards.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from .conftest import Aws, Run

DATA = "playbooks/provision-data.yml"
MONITORED = ("-e", '{"aws_data_monitoring_interval_s": 60, "aws_data_performance_insights": true}')
DESTROY = "playbooks/destroy-environment.yml"
CONFIRMED = ("-e", "destroy_confirm=parkmesh-test")
KEEPING = ("-e", "aws_data_final_snapshot=true", "-e", "aws_data_secret_recovery_days=7")
TAGS = [{"Key": "Project", "Value": "parkmesh"}, {"Key": "Environment", "Value": "test"}]
OF_ANOTHER = [{"Key": "Project", "Value": "parkmesh"}, {"Key": "Environment", "Value": "test-two"}]


def leave_behind(aws: Aws) -> None:
    """What AWS, an interrupted run or people leave of an environment, and some that belongs to others."""
    ec2, cloudwatch, logs = aws.client("ec2"), aws.client("cloudwatch"), aws.client("logs")
    ours = [{"Name": f"tag:{each['Key']}", "Values": [each["Value"]]} for each in TAGS]
    groups = ec2.describe_security_groups(Filters=ours)["SecurityGroups"]
    subnet = ec2.describe_subnets(Filters=ours)["Subnets"][0]["SubnetId"]
    ec2.create_network_interface(SubnetId=subnet, Groups=[groups[0]["GroupId"]])
    for tags in (TAGS, OF_ANOTHER):
        ec2.allocate_address(Domain="vpc", TagSpecifications=[{"ResourceType": "elastic-ip", "Tags": tags}])
        volume = ec2.create_volume(
            AvailabilityZone="eu-west-1a", Size=1, TagSpecifications=[{"ResourceType": "volume", "Tags": tags}]
        )["VolumeId"]
        ec2.create_snapshot(VolumeId=volume, TagSpecifications=[{"ResourceType": "snapshot", "Tags": tags}])
        environment = tags[1]["Value"]
        cloudwatch.put_metric_alarm(
            AlarmName=f"parkmesh-{environment}-alarm",
            Namespace="AWS/RDS",
            MetricName="FreeStorageSpace",
            Statistic="Minimum",
            Period=60,
            EvaluationPeriods=1,
            Threshold=1,
            ComparisonOperator="LessThanThreshold",
            Tags=tags,
        )
        logs.create_log_group(
            logGroupName=f"/parkmesh/{environment}/app", tags={"Project": "parkmesh", "Environment": environment}
        )
        # As of a service that was destroyed halfway.
        aws.client("wafv2").create_web_acl(
            Name=f"parkmesh-{environment}-app",
            Scope="REGIONAL",
            DefaultAction={"Allow": {}},
            VisibilityConfig={"SampledRequestsEnabled": True, "CloudWatchMetricsEnabled": True, "MetricName": "app"},
            Tags=tags,
        )
    logs.create_log_group(logGroupName="/aws/rds/instance/parkmesh-test-database/postgresql")
    logs.create_log_group(logGroupName="/parkmesh/test/hand")


def there(aws: Aws) -> dict[str, list[str]]:
    ec2, rds = aws.client("ec2"), aws.client("rds")
    return {
        "interface": [each["NetworkInterfaceId"] for each in ec2.describe_network_interfaces()["NetworkInterfaces"]],
        "address": [each["AllocationId"] for each in ec2.describe_addresses()["Addresses"]],
        "volume": [each["VolumeId"] for each in ec2.describe_volumes()["Volumes"]],
        "snapshot": [each["SnapshotId"] for each in ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]],
        "alarm": [each["AlarmName"] for each in aws.client("cloudwatch").describe_alarms()["MetricAlarms"]],
        "log group": [each["logGroupName"] for each in aws.client("logs").describe_log_groups()["logGroups"]],
        "database": [each["DBInstanceIdentifier"] for each in rds.describe_db_instances()["DBInstances"]],
        "parameters": [
            each["DBParameterGroupName"] for each in rds.describe_db_parameter_groups()["DBParameterGroups"]
        ],
        "database snapshot": [
            each["DBSnapshotIdentifier"] for each in rds.describe_db_snapshots(SnapshotType="manual")["DBSnapshots"]
        ],
        "role": [each["RoleName"] for each in aws.client("iam").list_roles()["Roles"]],
        "table": aws.client("dynamodb").list_tables()["TableNames"],
        "secret": [each["Name"] for each in aws.client("secretsmanager").list_secrets()["SecretList"]],
        "web ACL": [each["Name"] for each in aws.client("wafv2").list_web_acls(Scope="REGIONAL")["WebACLs"]],
    }


@pytest.fixture(scope="module")
def before(aws: Aws) -> dict[str, list[str]]:
    return there(aws)


@pytest.fixture(scope="module")
def built(aws: Aws, before: dict[str, list[str]]) -> dict[str, list[str]]:
    for playbook, given in (("playbooks/provision-network.yml", ()), (DATA, MONITORED)):
        run = aws.play(playbook, *given)
        assert run.status == 0, run.output
    leave_behind(aws)
    rds = aws.client("rds")
    # An earlier major version's, and one of another environment whose name begins like this one's.
    for name in ("parkmesh-test-database-16", "parkmesh-test-database-two-17"):
        rds.create_db_parameter_group(DBParameterGroupName=name, DBParameterGroupFamily="postgres16", Description=name)
    return there(aws)


def test_the_database_is_monitored_as_asked_and_a_second_run_changes_nothing(aws: Aws, built: dict[str, Any]) -> None:
    run = aws.play(DATA, *MONITORED)
    assert (run.status, run.changed) == (0, 0), run.output
    (database,) = aws.client("rds").describe_db_instances()["DBInstances"]
    assert (database["MonitoringInterval"], database["PerformanceInsightsEnabled"]) == (60, True)
    assert database["MonitoringRoleArn"].endswith(":role/parkmesh-test-database-monitoring")


def test_what_is_protected_goes_only_when_asked(aws: Aws, built: dict[str, Any]) -> None:
    run = aws.play(DESTROY, *CONFIRMED)
    assert run.status != 0
    said = " ".join(run.output.split())
    assert "Protected from deletion: database parkmesh-test-database, table parkmesh-test-slots." in said
    assert "-e destroy_protected=true" in run.output
    assert there(aws) == built


def test_the_overlay_stays_while_gateways_are_online(aws: Aws, built: dict[str, Any], tmp_path: Path) -> None:
    online = tmp_path / "online.yml"
    online.write_text("gateways: {hosts: {g-1: {}}}\noverlay_online: {hosts: {g-1: {}}}\n")
    with_overlay = ("-i", str(online), "-e", "destroy_overlay=true", "-e", "destroy_protected=true")
    run = aws.play(DESTROY, *CONFIRMED, *with_overlay)
    assert run.status != 0
    assert "Gateways are online: g-1" in run.output
    assert there(aws) == built


def test_a_dry_run_says_what_would_go(aws: Aws, built: dict[str, Any]) -> None:
    run = aws.play(DESTROY, *CONFIRMED, "-e", "destroy_protected=true", "--check")
    assert run.status == 0, run.output
    assert run.changed > 5
    assert "database: 1" in run.output
    assert "This was a dry run" in run.output
    assert there(aws) == built


@pytest.fixture(scope="module")
def destroyed(aws: Aws, built: dict[str, Any]) -> Run:
    return aws.play(DESTROY, *CONFIRMED, *KEEPING, "-e", "destroy_protected=true")


def test_everything_of_the_environment_goes_and_nothing_of_others(
    aws: Aws, before: dict[str, list[str]], built: dict[str, list[str]], destroyed: Run
) -> None:
    assert destroyed.status == 0, destroyed.output
    now = there(aws)
    (snapshot,) = now.pop("database snapshot")
    assert snapshot.startswith("parkmesh-test-database-final-2")
    assert now.pop("log group") == ["/parkmesh/test-two/app", "/parkmesh/test/hand"]
    assert now.pop("alarm") == ["parkmesh-test-two-alarm"]
    assert now.pop("web ACL") == ["parkmesh-test-two-app"]
    assert set(now.pop("parameters")) - set(before["parameters"]) <= {
        "parkmesh-test-database-two-17",
        # RDS has it by itself.
        "default.postgres17",
    }
    for kind in ("address", "volume", "snapshot"):
        assert len(set(now.pop(kind)) - set(before[kind])) == 1, kind
    assert now == {kind: before[kind] for kind in now}


def test_it_ends_with_what_is_left_and_why(destroyed: Run) -> None:
    said = " ".join(destroyed.output.rpartition("TASK [Say what is left]")[2].split())
    assert re.search(r"left: database snapshot parkmesh-test-database-final-\d+: its data, to restore from", said)
    assert re.search(
        r"left: secret in recovery parkmesh-test-session: AWS deletes it after \d{4}-\d\d-\d\d; until then", said
    )
    assert re.search(r"left: table backup parkmesh-test-slots: AWS keeps it until \d{4}-\d\d-\d\d, at no cost", said)
    assert "left: log group /parkmesh/test/hand: no playbook made it" in said
    assert "subnet" not in said
    assert "secret:parkmesh-test-session" not in said, "told once"
    assert "natgateway" not in said
    steps = [line for line in destroyed.output.splitlines() if re.match(r"TASK \[\d of 6: ", line)]
    assert len(steps) == 5


def test_destroying_again_changes_nothing_and_makes_no_second_snapshot(aws: Aws, destroyed: Run) -> None:
    now = there(aws)
    run = aws.play(DESTROY, *CONFIRMED, *KEEPING)
    assert (run.status, run.changed) == (0, 0), run.output
    assert there(aws) == now
