"""Rolling back and forward on lab.aws: the pin, what keeps it and what lifts it. Each test builds on those before."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import pytest

from lab.aws import BASE_IMAGE_ID

from .conftest import Aws, Run
from .outcomes import group, launch_data
from .test_playbooks import BAKE, DATA, NETWORK, SERVICE, readable_secrets

RETENTION = "playbooks/run-retention.yml"
ROLLBACK = "playbooks/rollback-service.yml"
NAME = "parkmesh-test-app"
OTHERWISE = (
    "-e",
    json.dumps(
        {
            "aws_data_deletion_protection": False,
            "aws_data_table_recovery": False,
            "aws_service_alarms": False,
            "aws_service_deletion_protection": False,
            "aws_service_dual_stack": False,
            "aws_service_managed_policies": ["AmazonSSMManagedInstanceCore"],
        }
    ),
)
"""What an environment has otherwise than by default."""
NO_ALARMS = ("-e", '{"aws_service_alarms": false}')


def images(aws: Aws) -> dict[str, str]:
    """The environment's images by their release."""
    found = {}
    for image in aws.client("ec2").describe_images(Owners=["self"])["Images"]:
        tags = {tag["Key"]: tag["Value"] for tag in image["Tags"]}
        found[tags["Release"]] = image["ImageId"]
    return found


def running(aws: Aws) -> set[str]:
    """The images that the group's servers run."""
    ids = [each["InstanceId"] for each in group(aws)["Instances"]]
    reservations = aws.client("ec2").describe_instances(InstanceIds=ids)["Reservations"]
    return {each["ImageId"] for reservation in reservations for each in reservation["Instances"]}


def pin(aws: Aws) -> dict[str, Any] | None:
    found = aws.client("ssm").get_parameters(Names=["/parkmesh/test/image-pin"])["Parameters"]
    return json.loads(found[0]["Value"]) if found else None


def instances_of(aws: Aws, role: str) -> list[dict[str, Any]]:
    filters = [{"Name": "tag:Role", "Values": [role]}]
    reservations = aws.client("ec2").describe_instances(Filters=filters)["Reservations"]
    return [each for reservation in reservations for each in reservation["Instances"]]


def refreshes(aws: Aws) -> list[dict[str, Any]]:
    """The group's refreshes, the latest first."""
    answer = aws.client("autoscaling").describe_instance_refreshes(AutoScalingGroupName=NAME)
    found: list[dict[str, Any]] = answer["InstanceRefreshes"]
    return found


def succeeded(run: Run) -> Run:
    assert run.status == 0, run.output
    return run


def said(run: Run) -> str:
    """What a run printed, without line breaks."""
    return " ".join(run.output.split())


def migrated(aws: Aws) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(
        aws.client("ssm").get_parameter(Name="/parkmesh/test/migration")["Parameter"]["Value"]
    )
    return found


@pytest.fixture(scope="module")
def first(aws: Aws) -> str:
    """The image of a service that ran no other. It is of a release whose servers migrate the database themselves."""
    for playbook, arguments in ((NETWORK, ()), (DATA, OTHERWISE), (BAKE, ("-e", "release=one"))):
        succeeded(aws.play(playbook, *arguments))
    aws.client("ec2").delete_tags(Resources=[images(aws)["one"]], Tags=[{"Key": "Maintenance"}])
    succeeded(aws.play(SERVICE, *OTHERWISE))
    return images(aws)["one"]


@pytest.fixture(scope="module")
def second(aws: Aws, first: str) -> str:
    """The image to which the service was rolled after the first."""
    succeeded(aws.play(BAKE, "-e", "release=two"))
    run = succeeded(aws.play(SERVICE))
    assert "The roll to version 2 is" in run.output
    assert "The roll to version 2 succeeded." in run.output
    return images(aws)["two"]


def test_protection_recovery_alarms_and_ipv6_can_be_left_out_and_a_policy_added(aws: Aws, first: str) -> None:
    elb, tables, slots = aws.client("elbv2"), aws.client("dynamodb"), "parkmesh-test-slots"
    (balancer,) = elb.describe_load_balancers()["LoadBalancers"]
    attributes = elb.describe_load_balancer_attributes(LoadBalancerArn=balancer["LoadBalancerArn"])["Attributes"]
    values = {each["Key"]: each["Value"] for each in attributes}
    assert (balancer["IpAddressType"], values.get("deletion_protection.enabled", "false")) == ("ipv4", "false")
    assert aws.client("rds").describe_db_instances()["DBInstances"][0]["DeletionProtection"] is False
    assert not tables.describe_table(TableName=slots)["Table"].get("DeletionProtectionEnabled", False)
    backups = tables.describe_continuous_backups(TableName=slots)["ContinuousBackupsDescription"]
    assert backups["PointInTimeRecoveryDescription"]["PointInTimeRecoveryStatus"] == "DISABLED"
    assert aws.client("cloudwatch").describe_alarms()["MetricAlarms"] == []
    assert json.loads(base64.b64decode(launch_data(aws)["UserData"]))["measures"] is False
    policies = aws.client("iam").list_attached_role_policies(RoleName=NAME)["AttachedPolicies"]
    assert [each["PolicyName"] for each in policies] == ["AmazonSSMManagedInstanceCore"]


def test_where_there_is_no_image_before_a_rollback_says_so(aws: Aws, first: str) -> None:
    run = aws.play(ROLLBACK)
    assert run.status != 0
    assert f"There is no image before {first}" in said(run)
    assert pin(aws) is None


def test_without_an_instance_for_maintenance_there_is_nothing_to_run_the_retention_on(aws: Aws, first: str) -> None:
    run = aws.play(RETENTION)
    assert run.status != 0
    assert "There is no group parkmesh-test-maintenance" in said(run)


def test_servers_that_migrate_the_database_themselves_may_read_its_owner_s_password(aws: Aws, first: str) -> None:
    assert "database-owner-??????" in readable_secrets(aws)


def test_a_release_whose_migration_fails_replaces_no_server(aws: Aws, first: str) -> None:
    """Needs to run before the roll to the second image."""
    ssm = aws.client("ssm")
    ssm.put_parameter(Name="/lab/migration-fails", Value="0033: no such column", Type="String")
    succeeded(aws.play(BAKE, "-e", "release=two"))
    run = aws.play(SERVICE)
    ssm.delete_parameter(Name="/lab/migration-fails")
    assert run.status != 0
    assert "The migration failed: 0033: no such column. No server was started or replaced." in said(run)
    assert (refreshes(aws), running(aws)) == ([], {first})
    # Those that run still migrate themselves.
    assert "database-owner-??????" in readable_secrets(aws)
    assert [each for each in instances_of(aws, "maintenance") if each["State"]["Name"] == "running"] == []


def test_the_retention_runs_when_it_is_asked_for(aws: Aws, second: str) -> None:
    ssm = aws.client("ssm")
    dry = succeeded(aws.play(RETENTION, "--check"))
    assert "This was a dry run." in said(dry)
    run = succeeded(aws.play(RETENTION))
    assert "runs the retention." in run.output
    assert "Nothing was over its time." in said(run)
    result = json.loads(ssm.get_parameter(Name="/parkmesh/test/retention")["Parameter"]["Value"])
    assert (result["task"], result["state"]) == ("retention", "succeeded")
    ssm.put_parameter(Name="/lab/retention-fails", Value="no space left on device", Type="String")
    failed = aws.play(RETENTION)
    ssm.delete_parameter(Name="/lab/retention-fails")
    assert failed.status != 0
    assert "The retention failed: no space left on device." in said(failed)
    assert [each for each in instances_of(aws, "maintenance") if each["State"]["Name"] == "running"] == []


def test_when_all_servers_are_of_a_release_that_is_migrated_none_may_read_it(aws: Aws, second: str) -> None:
    assert "database-owner-??????" not in readable_secrets(aws)
    assert (migrated(aws)["state"], migrated(aws)["images"]) == ("succeeded", [second])


def test_a_roll_leaves_the_group_as_it_is_until_it_has_succeeded(aws: Aws, second: str) -> None:
    (refresh,) = refreshes(aws)
    assert refresh["DesiredConfiguration"]["LaunchTemplate"]["Version"] == "2"
    assert refresh["Preferences"]["AutoRollback"] is True
    assert group(aws)["LaunchTemplate"]["Version"] == "2"
    assert running(aws) == {second}


def test_a_check_of_a_rollback_foretells_it_and_changes_nothing(aws: Aws, first: str, second: str) -> None:
    run = succeeded(aws.play(ROLLBACK, "--check"))
    assert run.changed > 0
    assert f"The service returns to {first} (release one), away from {second}" in said(run)
    assert (pin(aws), running(aws), len(refreshes(aws))) == (None, {second}, 1)


def test_one_command_returns_to_the_image_before_and_a_second_run_changes_nothing(
    aws: Aws, first: str, second: str
) -> None:
    succeeded(aws.play(ROLLBACK))
    assert running(aws) == {first}
    found = pin(aws)
    assert found is not None
    assert (found["image"], found["left"]) == (first, second)
    again = succeeded(aws.play(ROLLBACK))
    assert again.changed == 0, again.output
    assert running(aws) == {first}


def test_later_runs_keep_the_pin_and_its_image(aws: Aws, first: str) -> None:
    for release in ("three", "four"):
        succeeded(aws.play(BAKE, "-e", f"release={release}"))
    # No server runs it now, and it is older than the images to keep.
    aws.client("autoscaling").update_auto_scaling_group(AutoScalingGroupName=NAME, MinSize=0, DesiredCapacity=0)
    succeeded(aws.play(BAKE, "-e", "release=five"))
    # Nobody runs it, but the newest version of the launch template names the one that was rolled back.
    assert set(images(aws)) == {"one", "two", "four", "five"}
    run = succeeded(aws.play(SERVICE))
    assert f"The service is pinned to the image {first} since" in said(run)
    assert "deploy-service.yml -e image=newest lifts the pin" in said(run)
    assert running(aws) == {first}
    run = succeeded(aws.play(SERVICE, "--check"))
    assert run.changed == 0, run.output


def test_the_newest_image_lifts_the_pin_and_alarms_go_where_none_are_wanted(aws: Aws, first: str) -> None:
    watch = aws.client("cloudwatch")
    assert watch.describe_alarms()["MetricAlarms"] != []
    succeeded(aws.play(SERVICE, "-e", "image=newest", *NO_ALARMS))
    assert pin(aws) is None
    assert running(aws) == {images(aws)["five"]}
    assert (watch.describe_alarms()["MetricAlarms"], watch.list_dashboards()["DashboardEntries"]) == ([], [])
    assert aws.client("sns").list_topics()["Topics"] == []


def test_a_roll_that_stands_still_is_taken_back_and_the_run_says_so(aws: Aws, first: str) -> None:
    newest = running(aws)
    version = group(aws)["LaunchTemplate"]["Version"]
    slow = ("-e", "aws_service_warmup_s=3600", "-e", "aws_service_wait_s=10", *NO_ALARMS)
    run = aws.play(SERVICE, "-e", f"image={images(aws)['four']}", *slow)
    assert run.status != 0
    assert "No server was replaced in 10 s" in said(run)
    assert "was taken back. All servers run what they ran before" in said(run)
    assert (running(aws), group(aws)["LaunchTemplate"]["Version"]) == (newest, version)


def test_a_rollback_takes_back_the_roll_that_runs_and_replaces_nothing_more(aws: Aws, first: str) -> None:
    (before,) = running(aws)
    servers = {each["InstanceId"] for each in group(aws)["Instances"]}
    scaling, name = aws.client("autoscaling"), {"LaunchTemplateName": NAME}
    version = aws.client("ec2").create_launch_template_version(
        **name,
        SourceVersion="$Latest",
        VersionDescription=f"{BASE_IMAGE_ID} 0123456789ab",
        LaunchTemplateData={"ImageId": BASE_IMAGE_ID},
    )["LaunchTemplateVersion"]["VersionNumber"]
    scaling.start_instance_refresh(
        AutoScalingGroupName=NAME,
        DesiredConfiguration={"LaunchTemplate": {**name, "Version": str(version)}},
        Preferences={"MinHealthyPercentage": 100, "MaxHealthyPercentage": 150, "InstanceWarmup": 3600},
    )
    deadline = time.monotonic() + 30
    while len(group(aws)["Instances"]) == len(servers):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    started = len(refreshes(aws))
    succeeded(aws.play(ROLLBACK, *NO_ALARMS))
    assert refreshes(aws)[0]["Status"] == "RollbackSuccessful"
    assert len(refreshes(aws)) == started
    assert {each["InstanceId"] for each in group(aws)["Instances"]} == servers
    found = pin(aws)
    assert found is not None
    assert (found["image"], found["left"]) == (before, BASE_IMAGE_ID)


@pytest.mark.parametrize(
    ("image", "answer"),
    [
        ("latest", "The image must be newest or an image's id (ami-…), not latest."),
        ("ami-0123456789abcdef0", "has no image ami-"),
    ],
)
def test_an_image_that_there_is_not_is_refused_and_the_pin_stays(aws: Aws, first: str, image: str, answer: str) -> None:
    was = pin(aws)
    run = aws.play(SERVICE, "-e", f"image={image}")
    assert run.status != 0
    assert answer in said(run)
    assert pin(aws) == was
