"""What lab.aws does beyond moto, as AWS documents it: each correction that a playbook or the lab relies on."""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from lab import aws

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

    def connect(service: str) -> Any:
        return boto3.client(
            service,
            endpoint_url=f"http://{host}:{port}",
            region_name="eu-west-1",
            aws_access_key_id="emulated-key-id",
            aws_secret_access_key="emulated-secret-key",
        )

    yield connect
    aws.hooks.image_created = aws.hooks.target_health = None


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

    def new_version(self) -> None:
        self.ec2.create_launch_template_version(LaunchTemplateId=self.template, LaunchTemplateData=self.data(b"two"))
        self.groups.update_auto_scaling_group(
            AutoScalingGroupName=self.name, LaunchTemplate={"LaunchTemplateId": self.template, "Version": "2"}
        )

    def refresh(self) -> None:
        self.groups.start_instance_refresh(
            AutoScalingGroupName=self.name,
            Preferences={
                "MinHealthyPercentage": 100,
                "MaxHealthyPercentage": 150,
                "SkipMatching": True,
                "InstanceWarmup": 0,
            },
        )

    def latest_refresh(self) -> dict[str, Any]:
        latest: dict[str, Any] = self.groups.describe_instance_refreshes(AutoScalingGroupName=self.name)[
            "InstanceRefreshes"
        ][0]
        return latest

    def refreshed(self) -> dict[str, Any]:
        deadline = time.monotonic() + 60
        while (latest := self.latest_refresh())["Status"] in ("Pending", "InProgress", "Cancelling"):
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
