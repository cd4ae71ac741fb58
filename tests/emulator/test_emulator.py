"""What lab.aws does beyond moto, as AWS documents it: each correction that a playbook or the lab relies on."""

from __future__ import annotations

import base64
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from lab import aws
from lab.aws import zones

from .conftest import Aws

Client = Callable[[str], Any]


@pytest.fixture(scope="module")
def server() -> Iterator[aws.Server]:
    running = aws.serve([("127.0.0.1", 0), ("127.0.0.1", 0)])
    yield running
    running.shutdown()


@pytest.fixture
def client(server: aws.Server) -> Iterator[Client]:
    """A client of the first address. Hooks that a test sets are gone after it."""
    host, port = server.addresses[0]

    yield Aws(f"http://{host}:{port}", sys.executable).client
    aws.hooks.image_created = aws.hooks.target_health = None


PREFERENCES = {"MinHealthyPercentage": 100, "MaxHealthyPercentage": 150, "SkipMatching": True, "InstanceWarmup": 0}
RUNNING = ("Pending", "InProgress", "Cancelling", "RollbackInProgress", "Baking")


class Fleet:
    """Two servers in two zones behind a target group, started from version 1 of a launch template."""

    def __init__(self, client: Client, name: str, network: int) -> None:
        self.ec2, self.groups, self.elb, self.name = client("ec2"), client("autoscaling"), client("elbv2"), name
        self.vpc = self.ec2.create_vpc(CidrBlock=f"10.{network}.0.0/16")["Vpc"]["VpcId"]
        self.subnets = [
            self.ec2.create_subnet(
                VpcId=self.vpc, CidrBlock=f"10.{network}.{number}.0/24", AvailabilityZone=f"eu-west-1{zone}"
            )["Subnet"]["SubnetId"]
            for number, zone in ((1, "a"), (2, "b"))
        ]
        self.security_group = self.ec2.create_security_group(GroupName=name, Description=name, VpcId=self.vpc)[
            "GroupId"
        ]
        self.target_group = self.elb.create_target_group(Name=name, Protocol="HTTP", Port=8000, VpcId=self.vpc)[
            "TargetGroups"
        ][0]["TargetGroupArn"]
        self.elb.modify_target_group_attributes(
            TargetGroupArn=self.target_group,
            Attributes=[{"Key": "deregistration_delay.timeout_seconds", "Value": "0"}],
        )
        self.template = self.ec2.create_launch_template(
            LaunchTemplateName=name,
            LaunchTemplateData=self.data(b"one"),
            TagSpecifications=[{"ResourceType": "launch-template", "Tags": [{"Key": "Project", "Value": "parkmesh"}]}],
        )["LaunchTemplate"]["LaunchTemplateId"]
        self.groups.create_auto_scaling_group(
            AutoScalingGroupName=name,
            MinSize=2,
            MaxSize=4,
            LaunchTemplate={"LaunchTemplateId": self.template, "Version": "1"},
            VPCZoneIdentifier=",".join(self.subnets),
            TargetGroupARNs=[self.target_group],
        )

    def data(self, user_data: bytes) -> dict[str, Any]:
        return {
            "ImageId": aws.BASE_IMAGE_ID,
            "InstanceType": "t3.small",
            "SecurityGroupIds": [self.security_group],
            "UserData": base64.b64encode(user_data).decode(),
            "MetadataOptions": {"HttpTokens": "required", "InstanceMetadataTags": "enabled"},
        }

    def members(self) -> list[dict[str, Any]]:
        group = self.groups.describe_auto_scaling_groups(AutoScalingGroupNames=[self.name])["AutoScalingGroups"][0]
        members: list[dict[str, Any]] = group["Instances"]
        return members

    def targets(self) -> dict[str, str]:
        answer = self.elb.describe_target_health(TargetGroupArn=self.target_group)
        return {each["Target"]["Id"]: each["TargetHealth"]["State"] for each in answer["TargetHealthDescriptions"]}

    def new_version(self, *, saved: bool = True) -> None:
        """Make version 2 of the launch template, and save it on the group unless a refresh is to bring it."""
        self.ec2.create_launch_template_version(LaunchTemplateId=self.template, LaunchTemplateData=self.data(b"two"))
        if not saved:
            return
        self.groups.update_auto_scaling_group(
            AutoScalingGroupName=self.name, LaunchTemplate={"LaunchTemplateId": self.template, "Version": "2"}
        )

    def refresh(self, **preferences: Any) -> None:
        self.groups.start_instance_refresh(AutoScalingGroupName=self.name, Preferences={**PREFERENCES, **preferences})

    def refresh_to_version_2(self, **preferences: Any) -> None:
        self.groups.start_instance_refresh(
            AutoScalingGroupName=self.name,
            DesiredConfiguration={"LaunchTemplate": {"LaunchTemplateId": self.template, "Version": "2"}},
            Preferences={**PREFERENCES, **preferences},
        )

    def saved_version(self) -> str:
        """The version of the launch template that the group has."""
        (found,) = self.groups.describe_auto_scaling_groups(AutoScalingGroupNames=[self.name])["AutoScalingGroups"]
        return str(found["LaunchTemplate"]["Version"])

    def versions(self) -> list[str]:
        """The version that each server in service was started from."""
        return [each["LaunchTemplate"]["Version"] for each in self.members() if each["LifecycleState"] == "InService"]

    def eventually(self, status: str) -> dict[str, Any]:
        """The latest refresh, once it has this status."""
        deadline = time.monotonic() + 60
        while (latest := self.latest_refresh())["Status"] != status:
            assert time.monotonic() < deadline, latest
            time.sleep(0.1)
        return latest

    def latest_refresh(self) -> dict[str, Any]:
        latest: dict[str, Any] = self.groups.describe_instance_refreshes(AutoScalingGroupName=self.name)[
            "InstanceRefreshes"
        ][0]
        return latest

    def refreshed(self) -> dict[str, Any]:
        deadline = time.monotonic() + 60
        while (latest := self.latest_refresh())["Status"] in RUNNING:
            assert time.monotonic() < deadline, latest
            time.sleep(0.2)
        return latest


@pytest.fixture
def fleet(client: Client, request: pytest.FixtureRequest) -> Iterator[Fleet]:
    fleet = Fleet(client, f"fleet-{abs(hash(request.node.name)) % 10**6}", 80)
    yield fleet
    fleet.groups.delete_auto_scaling_group(AutoScalingGroupName=fleet.name, ForceDelete=True)


def test_addresses_share_one_state(server: aws.Server, fleet: Fleet) -> None:
    host, port = server.addresses[1]
    other = boto3.client(
        "ec2",
        endpoint_url=f"http://{host}:{port}",
        region_name="eu-west-1",
        aws_access_key_id="emulated-key-id",
        aws_secret_access_key="emulated-secret-key",
    )
    assert fleet.vpc in [each["VpcId"] for each in other.describe_vpcs()["Vpcs"]]


def test_an_address_in_use_is_refused_by_name(server: aws.Server) -> None:
    with pytest.raises(OSError, match=f"127.0.0.1:{server.addresses[0][1]}"):
        aws.serve([server.addresses[0]])


def test_a_group_spreads_over_zones_and_gives_instances_what_the_template_says(fleet: Fleet) -> None:
    members = fleet.members()
    assert sorted(each["AvailabilityZone"] for each in members) == ["eu-west-1a", "eu-west-1b"]
    described = fleet.ec2.describe_instances(InstanceIds=[members[0]["InstanceId"]])["Reservations"][0]["Instances"][0]
    assert described["MetadataOptions"]["HttpTokens"] == "required"
    assert [each["GroupId"] for each in described["SecurityGroups"]] == [fleet.security_group]


def test_a_dead_instance_is_replaced_in_its_zone_and_in_the_target_group(fleet: Fleet) -> None:
    dead = fleet.members()[0]["InstanceId"]
    fleet.ec2.terminate_instances(InstanceIds=[dead])
    members = fleet.members()
    assert dead not in [each["InstanceId"] for each in members]
    assert sorted(each["AvailabilityZone"] for each in members) == ["eu-west-1a", "eu-west-1b"]
    assert set(fleet.targets()) == {each["InstanceId"] for each in members}


def test_a_group_makes_up_elsewhere_for_a_failed_zone_and_spreads_again_after_it(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spread() -> list[str]:
        return sorted(each["AvailabilityZone"][-1] for each in fleet.members())

    monkeypatch.setattr(aws.hooks, "failed_zones", frozenset({"eu-west-1a"}))
    with pytest.raises(ClientError, match=r"InsufficientInstanceCapacity.*eu-west-1a"):
        fleet.ec2.run_instances(ImageId=aws.BASE_IMAGE_ID, MinCount=1, MaxCount=1, SubnetId=fleet.subnets[0])
    (lost,) = [each["InstanceId"] for each in fleet.members() if each["AvailabilityZone"] == "eu-west-1a"]
    fleet.ec2.terminate_instances(InstanceIds=[lost])
    assert spread() == ["b", "b"]
    assert not zones.settle()
    monkeypatch.setattr(aws.hooks, "failed_zones", frozenset({"eu-west-1a", "eu-west-1b"}))
    fleet.ec2.terminate_instances(InstanceIds=[fleet.members()[0]["InstanceId"]])
    assert spread() == ["b"]
    monkeypatch.setattr(aws.hooks, "failed_zones", frozenset({"eu-west-1a"}))
    seen = []
    while zones.settle():
        seen.append(spread())
    monkeypatch.setattr(aws.hooks, "failed_zones", frozenset())
    while zones.settle():
        seen.append(spread())
    # It starts one before it ends one.
    assert seen == [["b", "b"], ["a", "b", "b"], ["a", "b"]]


def test_target_health_is_what_the_driver_measured(fleet: Fleet) -> None:
    sick = fleet.members()[0]["InstanceId"]
    aws.hooks.target_health = lambda _arn, target, _port: (
        ("unhealthy", "Target.Timeout", "Request timed out") if target == sick else None
    )
    assert sorted(fleet.targets().items()) == sorted(
        (each["InstanceId"], "unhealthy" if each["InstanceId"] == sick else "healthy") for each in fleet.members()
    )


def test_template_data_is_what_was_sent(fleet: Fleet) -> None:
    (version,) = fleet.ec2.describe_launch_template_versions(LaunchTemplateId=fleet.template)["LaunchTemplateVersions"]
    assert version["LaunchTemplateData"] == fleet.data(b"one")


def test_a_refresh_replaces_one_server_at_a_time_and_launches_before_it_terminates(fleet: Fleet) -> None:
    old = {each["InstanceId"] for each in fleet.members()}
    fleet.new_version()
    fleet.refresh()
    in_service = []
    while fleet.latest_refresh()["Status"] in ("Pending", "InProgress"):
        in_service.append(sum(each["LifecycleState"] == "InService" for each in fleet.members()))
        time.sleep(0.1)
    assert fleet.refreshed()["Status"] == "Successful"
    assert {min(in_service), max(in_service)} == {2, 3}
    members = fleet.members()
    assert not old & {each["InstanceId"] for each in members}
    assert [each["LaunchTemplate"]["Version"] for each in members] == ["2", "2"]
    assert sorted(each["AvailabilityZone"] for each in members) == ["eu-west-1a", "eu-west-1b"]
    assert set(fleet.targets()) == {each["InstanceId"] for each in members}


def test_a_refresh_waits_for_health_and_can_be_cancelled(fleet: Fleet) -> None:
    old = {each["InstanceId"] for each in fleet.members()}
    aws.hooks.target_health = lambda _arn, target, _port: (
        None if target in old else ("initial", "Elb.RegistrationInProgress", None)
    )
    fleet.new_version()
    fleet.refresh()
    deadline = time.monotonic() + 10
    while len(fleet.members()) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    time.sleep(2.5)
    assert old < {each["InstanceId"] for each in fleet.members()}
    with pytest.raises(ClientError, match="InstanceRefreshInProgress"):
        fleet.refresh()
    fleet.groups.cancel_instance_refresh(AutoScalingGroupName=fleet.name)
    assert fleet.refreshed()["Status"] == "Cancelled"


def test_a_desired_configuration_becomes_the_group_s_when_the_refresh_has_succeeded(fleet: Fleet) -> None:
    fleet.new_version(saved=False)
    fleet.refresh_to_version_2(BakeTime=2)
    fleet.eventually("Baking")
    assert (fleet.versions(), fleet.saved_version()) == (["2", "2"], "1")
    assert fleet.refreshed()["Status"] == "Successful"
    assert fleet.saved_version() == "2"


def test_servers_that_never_become_healthy_are_rolled_back(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lab.aws.instance_refresh._NO_PROGRESS_S", 3.0)
    old = {each["InstanceId"] for each in fleet.members()}
    aws.hooks.target_health = lambda _arn, target, _port: (
        None if target in old else ("unhealthy", "Target.Timeout", "Request timed out")
    )
    fleet.new_version(saved=False)
    fleet.refresh_to_version_2(AutoRollback=True)
    ended = fleet.refreshed()
    assert ended["Status"] == "RollbackSuccessful"
    assert "No progress" in ended["RollbackDetails"]["RollbackReason"]
    assert {each["InstanceId"] for each in fleet.members()} == old
    assert fleet.saved_version() == "1"


def test_a_person_can_roll_back_at_a_checkpoint_and_not_after_the_end(fleet: Fleet) -> None:
    fleet.new_version(saved=False)
    fleet.refresh_to_version_2(CheckpointPercentages=[50, 100], CheckpointDelay=600)
    deadline = time.monotonic() + 30
    while fleet.latest_refresh()["PercentageComplete"] < 50:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    time.sleep(2.5)
    assert sorted(fleet.versions()) == ["1", "2"]
    fleet.groups.rollback_instance_refresh(AutoScalingGroupName=fleet.name)
    ended = fleet.refreshed()
    assert (ended["Status"], ended["PercentageComplete"]) == ("RollbackSuccessful", 0)
    assert ended["RollbackDetails"]["PercentageCompleteOnRollback"] == 50
    assert (fleet.versions(), fleet.saved_version()) == (["1", "1"], "1")
    assert set(fleet.targets()) == {each["InstanceId"] for each in fleet.members()}
    with pytest.raises(ClientError, match="ActiveInstanceRefreshNotFound"):
        fleet.groups.rollback_instance_refresh(AutoScalingGroupName=fleet.name)


def test_an_alarm_ends_a_refresh_and_an_unknown_one_is_refused(fleet: Fleet, client: Client) -> None:
    watch = client("cloudwatch")
    watch.put_metric_alarm(
        AlarmName=fleet.name,
        Namespace="AWS/ApplicationELB",
        MetricName="HTTPCode_Target_5XX_Count",
        ComparisonOperator="GreaterThanThreshold",
        EvaluationPeriods=1,
        Period=60,
        Statistic="Sum",
        Threshold=10,
    )
    fleet.new_version(saved=False)
    with pytest.raises(ClientError, match="Alarm not found: other"):
        fleet.refresh_to_version_2(AlarmSpecification={"Alarms": ["other"]})
    fleet.refresh_to_version_2(
        AutoRollback=True,
        AlarmSpecification={"Alarms": [fleet.name]},
        CheckpointPercentages=[50, 100],
        CheckpointDelay=600,
    )
    watch.set_alarm_state(AlarmName=fleet.name, StateValue="ALARM", StateReason="test")
    ended = fleet.refreshed()
    assert (ended["Status"], fleet.versions()) == ("RollbackSuccessful", ["1", "1"])
    assert fleet.name in ended["RollbackDetails"]["RollbackReason"]


def test_without_a_desired_configuration_there_is_no_way_back(fleet: Fleet) -> None:
    fleet.new_version()
    with pytest.raises(ClientError, match="ValidationError"):
        fleet.refresh(AutoRollback=True)
    fleet.refresh(InstanceWarmup=600)
    with pytest.raises(ClientError, match="IrreversibleInstanceRefresh"):
        fleet.groups.rollback_instance_refresh(AutoScalingGroupName=fleet.name)


def test_an_image_is_made_by_the_driver_and_its_snapshot_is_tagged(fleet: Fleet) -> None:
    made: list[tuple[str, str]] = []
    aws.hooks.image_created = lambda image, instance: made.append((image, instance))
    instance = fleet.members()[0]["InstanceId"]
    tags = [{"Key": "Release", "Value": "abc"}]
    image = fleet.ec2.create_image(
        InstanceId=instance,
        Name=fleet.name,
        TagSpecifications=[{"ResourceType": kind, "Tags": tags} for kind in ("image", "snapshot")],
    )["ImageId"]
    assert made == [(image, instance)]
    (described,) = fleet.ec2.describe_images(ImageIds=[image])["Images"]
    assert (described["State"], described["Tags"]) == ("available", tags)
    snapshot = described["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"]
    assert fleet.ec2.describe_snapshots(SnapshotIds=[snapshot])["Snapshots"][0]["Tags"] == tags
    with pytest.raises(ClientError, match=r"AMI name .* is already in use"):
        fleet.ec2.create_image(InstanceId=instance, Name=fleet.name)


def test_an_image_that_the_driver_could_not_make_has_failed(fleet: Fleet) -> None:
    def fail(_image: str, _instance: str) -> None:
        raise RuntimeError("no such container")

    aws.hooks.image_created = fail
    image = fleet.ec2.create_image(InstanceId=fleet.members()[0]["InstanceId"], Name=f"{fleet.name}-failed")["ImageId"]
    assert fleet.ec2.describe_images(ImageIds=[image])["Images"][0]["State"] == "failed"


def test_the_driver_may_use_the_api_while_it_makes_an_image(fleet: Fleet) -> None:
    seen: list[int] = []
    aws.hooks.image_created = lambda _image, _instance: seen.append(len(fleet.ec2.describe_vpcs()["Vpcs"]))
    fleet.ec2.create_image(InstanceId=fleet.members()[0]["InstanceId"], Name=f"{fleet.name}-nested")
    assert seen


def test_what_is_in_use_cannot_be_deleted_and_nothing_is_left_when_it_is_free(fleet: Fleet) -> None:
    with pytest.raises(ClientError, match="DependencyViolation"):
        fleet.ec2.delete_subnet(SubnetId=fleet.subnets[0])
    with pytest.raises(ClientError, match="DependencyViolation"):
        fleet.ec2.delete_security_group(GroupId=fleet.security_group)
    fleet.groups.update_auto_scaling_group(AutoScalingGroupName=fleet.name, MinSize=0, DesiredCapacity=0)
    interfaces = fleet.ec2.describe_network_interfaces(Filters=[{"Name": "vpc-id", "Values": [fleet.vpc]}])
    assert interfaces["NetworkInterfaces"] == []
    for subnet in fleet.subnets:
        fleet.ec2.delete_subnet(SubnetId=subnet)
    fleet.ec2.delete_security_group(GroupId=fleet.security_group)


def test_an_instance_of_a_template_has_its_volume_alone_and_takes_it_along(client: Client) -> None:
    ec2 = client("ec2")
    before = {each["VolumeId"] for each in ec2.describe_volumes()["Volumes"]}
    ec2.create_launch_template(
        LaunchTemplateName="with-a-volume",
        LaunchTemplateData={
            "ImageId": aws.BASE_IMAGE_ID,
            "InstanceType": "t3.micro",
            "BlockDeviceMappings": [
                {
                    "DeviceName": "/dev/sda1",
                    "Ebs": {"VolumeType": "gp3", "Encrypted": True, "DeleteOnTermination": True},
                }
            ],
        },
    )
    (instance,) = ec2.run_instances(
        MinCount=1, MaxCount=1, LaunchTemplate={"LaunchTemplateName": "with-a-volume", "Version": "1"}
    )["Instances"]
    (volume,) = [each for each in ec2.describe_volumes()["Volumes"] if each["VolumeId"] not in before]
    assert (volume["Encrypted"], volume["Size"], volume["VolumeType"]) == (True, 8, "gp3")
    ec2.terminate_instances(InstanceIds=[instance["InstanceId"]])
    assert {each["VolumeId"] for each in ec2.describe_volumes()["Volumes"]} == before


def test_an_instance_of_a_group_has_the_security_groups_of_its_template_s_interface(fleet: Fleet) -> None:
    data = {key: value for key, value in fleet.data(b"three").items() if key != "SecurityGroupIds"}
    data["NetworkInterfaces"] = [{"DeviceIndex": 0, "Groups": [fleet.security_group]}]
    fleet.ec2.create_launch_template_version(LaunchTemplateId=fleet.template, LaunchTemplateData=data)
    fleet.groups.update_auto_scaling_group(
        AutoScalingGroupName=fleet.name,
        LaunchTemplate={"LaunchTemplateId": fleet.template, "Version": "2"},
        DesiredCapacity=3,
    )
    (instance,) = [each for each in fleet.members() if each["LaunchTemplate"]["Version"] == "2"]
    described = fleet.ec2.describe_instances(InstanceIds=[instance["InstanceId"]])["Reservations"][0]["Instances"][0]
    assert [each["GroupId"] for each in described["SecurityGroups"]] == [fleet.security_group]
