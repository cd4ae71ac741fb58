"""What lab.aws does with lifecycle hooks, as the Amazon EC2 Auto Scaling User Guide documents them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from lab import aws

NAME = "hooked"
GROUP = {"AutoScalingGroupName": NAME}
LAUNCH, TERMINATE = "autoscaling:EC2_INSTANCE_LAUNCHING", "autoscaling:EC2_INSTANCE_TERMINATING"


class Hooked:
    """A group without servers that has a launch hook and a termination hook."""

    def __init__(self, client: Callable[[str], Any]) -> None:
        self.ec2, self.scaling, self.elb = client("ec2"), client("autoscaling"), client("elbv2")
        vpc = self.ec2.create_vpc(CidrBlock="10.70.0.0/16")["Vpc"]["VpcId"]
        subnet = self.ec2.create_subnet(VpcId=vpc, CidrBlock="10.70.1.0/24")["Subnet"]["SubnetId"]
        self.target_group = self.elb.create_target_group(Name=NAME, Protocol="HTTP", Port=8000, VpcId=vpc)[
            "TargetGroups"
        ][0]["TargetGroupArn"]
        template = self.ec2.create_launch_template(
            LaunchTemplateName=NAME, LaunchTemplateData={"ImageId": aws.BASE_IMAGE_ID, "InstanceType": "t3.small"}
        )["LaunchTemplate"]["LaunchTemplateId"]
        self.scaling.create_auto_scaling_group(
            **GROUP,
            MinSize=0,
            MaxSize=4,
            LaunchTemplate={"LaunchTemplateId": template, "Version": "1"},
            VPCZoneIdentifier=subnet,
            TargetGroupARNs=[self.target_group],
        )

    def hook(self, transition: str, default: str, seconds: int = 600) -> None:
        self.scaling.put_lifecycle_hook(
            **GROUP,
            LifecycleHookName="launch" if transition == LAUNCH else "terminate",
            LifecycleTransition=transition,
            HeartbeatTimeout=seconds,
            DefaultResult=default,
        )

    def resize(self, size: int) -> None:
        self.scaling.set_desired_capacity(**GROUP, DesiredCapacity=size)

    def states(self) -> dict[str, str]:
        (group,) = self.scaling.describe_auto_scaling_groups(AutoScalingGroupNames=[NAME])["AutoScalingGroups"]
        return {each["InstanceId"]: each["LifecycleState"] for each in group["Instances"]}

    def registered(self) -> set[str]:
        found = self.elb.describe_target_health(TargetGroupArn=self.target_group)["TargetHealthDescriptions"]
        return {each["Target"]["Id"] for each in found}

    def complete(self, instance: str, hook: str, result: str = "CONTINUE") -> None:
        self.scaling.complete_lifecycle_action(
            **GROUP, LifecycleHookName=hook, InstanceId=instance, LifecycleActionResult=result
        )

    def eventually(self, holds: Callable[[], bool], seconds: float = 5) -> None:
        deadline = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < deadline, self.states()
            time.sleep(0.1)


@pytest.fixture
def group(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hooked]:
    monkeypatch.setattr(aws.hooks, "instances_act", True)
    server = aws.serve([("127.0.0.1", 0)])
    host, port = server.addresses[0]
    made = Hooked(
        lambda service: boto3.client(
            service,
            endpoint_url=f"http://{host}:{port}",
            region_name="eu-west-1",
            aws_access_key_id="emulated-key-id",
            aws_secret_access_key="emulated-secret-key",
        )
    )
    yield made
    made.scaling.delete_auto_scaling_group(**GROUP, ForceDelete=True)
    made.ec2.delete_launch_template(LaunchTemplateName=NAME)
    made.elb.delete_target_group(TargetGroupArn=made.target_group)
    server.shutdown()


def test_a_launch_hook_keeps_a_server_out_of_service_until_it_says_that_it_is_ready(group: Hooked) -> None:
    group.hook(LAUNCH, "ABANDON")
    group.resize(2)
    first, second = group.states()
    assert set(group.states().values()) == {"Pending:Wait"}
    assert group.registered() == set()
    group.complete(first, "launch")
    assert group.states() == {first: "InService", second: "Pending:Wait"}
    assert group.registered() == {first}
    with pytest.raises(ClientError, match=f"No active Lifecycle Action found with instance ID {first}"):
        group.complete(first, "launch")


def test_a_launch_that_is_abandoned_is_replaced(group: Hooked) -> None:
    group.hook(LAUNCH, "ABANDON")
    group.resize(1)
    (first,) = group.states()
    group.complete(first, "launch", "ABANDON")
    (second,) = group.states()
    assert second != first


def test_without_a_word_the_default_result_comes_and_a_heartbeat_begins_the_time_anew(group: Hooked) -> None:
    group.hook(LAUNCH, "ABANDON", 1)
    group.resize(1)
    (first,) = group.states()
    for _ in range(4):
        time.sleep(0.5)
        group.scaling.record_lifecycle_action_heartbeat(**GROUP, LifecycleHookName="launch", InstanceId=first)
    assert set(group.states()) == {first}
    group.eventually(lambda: first not in group.states())


def test_a_termination_hook_takes_a_server_from_the_load_balancer_and_waits_for_it(group: Hooked) -> None:
    group.hook(TERMINATE, "CONTINUE")
    group.resize(1)
    (server,) = group.states()
    assert group.registered() == {server}
    group.resize(0)
    assert group.states() == {server: "Terminating:Wait"}
    assert group.registered() == set()
    group.complete(server, "terminate")
    assert group.states() == {}


def test_a_server_that_waits_for_its_end_is_replaced_at_once_and_ends_with_the_timer(group: Hooked) -> None:
    group.hook(TERMINATE, "CONTINUE", 1)
    group.resize(1)
    (server,) = group.states()
    group.scaling.terminate_instance_in_auto_scaling_group(InstanceId=server, ShouldDecrementDesiredCapacity=False)
    assert sorted(group.states().values()) == ["InService", "Terminating:Wait"]
    group.eventually(lambda: list(group.states().values()) == ["InService"])


def test_a_dead_server_waits_for_nothing(group: Hooked) -> None:
    group.hook(TERMINATE, "CONTINUE")
    group.resize(1)
    (server,) = group.states()
    group.ec2.terminate_instances(InstanceIds=[server])
    assert list(group.states().values()) == ["InService"]
    assert server not in group.states()


def test_a_refresh_waits_for_both_hooks(group: Hooked) -> None:
    group.resize(1)
    (old,) = group.states()
    group.hook(LAUNCH, "ABANDON")
    group.hook(TERMINATE, "CONTINUE")
    group.elb.modify_target_group_attributes(
        TargetGroupArn=group.target_group,
        Attributes=[{"Key": "deregistration_delay.timeout_seconds", "Value": "0"}],
    )
    group.scaling.start_instance_refresh(
        **GROUP, Preferences={"MinHealthyPercentage": 100, "MaxHealthyPercentage": 200, "InstanceWarmup": 0}
    )
    group.eventually(lambda: sorted(group.states().values()) == ["InService", "Pending:Wait"], 10)
    (new,) = set(group.states()) - {old}
    time.sleep(2.5)
    assert set(group.states()) == {old, new}
    group.complete(new, "launch")
    group.eventually(lambda: group.states() == {old: "Terminating:Wait", new: "InService"}, 10)
    group.complete(old, "terminate")

    def status() -> str:
        found = group.scaling.describe_instance_refreshes(**GROUP)["InstanceRefreshes"]
        return str(found[0]["Status"])

    group.eventually(lambda: status() == "Successful", 10)
    assert group.states() == {new: "InService"}


def test_a_group_takes_a_maintenance_policy_and_a_warm_up(group: Hooked) -> None:
    group.scaling.update_auto_scaling_group(
        **GROUP,
        DefaultInstanceWarmup=30,
        InstanceMaintenancePolicy={"MinHealthyPercentage": 100, "MaxHealthyPercentage": 150},
    )
    (found,) = group.scaling.describe_auto_scaling_groups(AutoScalingGroupNames=[NAME])["AutoScalingGroups"]
    assert found["DefaultInstanceWarmup"] == 30
    assert found["InstanceMaintenancePolicy"] == {"MinHealthyPercentage": 100, "MaxHealthyPercentage": 150}
    with pytest.raises(ClientError, match="InstanceMaintenancePolicy"):
        group.scaling.update_auto_scaling_group(
            **GROUP, InstanceMaintenancePolicy={"MinHealthyPercentage": 0, "MaxHealthyPercentage": 150}
        )
