"""Rules of a group: what AWS is asked for, what is refused, and that a second run asks for nothing."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import boto3
import pytest

from lab import aws

ROOT = Path(__file__).resolve().parents[3]
GROUP = {"AutoScalingGroupName": "ruled"}
OPTIONS: dict[str, Any] = {
    "name": "ruled",
    "warmup_s": 30,
    "min_healthy_percentage": 100,
    "max_healthy_percentage": 150,
    "hooks": [
        {"name": "launch", "transition": "launching", "timeout_s": 600, "default_result": "abandon"},
        {"name": "terminate", "transition": "terminating", "timeout_s": 120, "default_result": "continue"},
    ],
    "targets": [
        {"name": "cpu", "metric": "cpu", "target": 60.0},
        {"name": "requests", "metric": "requests", "target": 6000.0},
    ],
    "target_group": "ruled",
    "scheduled": [{"name": "workday", "recurrence": "0 6 * * MON-FRI", "time_zone": "Europe/Madrid", "min": 3}],
    "begin_with": {"min": 1, "desired": 2},
}


@pytest.fixture(scope="module")
def rules() -> ModuleType:
    spec = importlib.util.spec_from_file_location("rules_module", ROOT / "library" / "autoscaling_rules.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Cloud:
    def __init__(self, url: str) -> None:
        self.url = url

    def client(self, service: str) -> Any:
        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name="eu-west-1",
            aws_access_key_id="emulated-key-id",
            aws_secret_access_key="emulated-secret-key",
        )


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cloud]:
    """A group without instances, whose target group a load balancer sends requests to."""
    monkeypatch.setattr(aws.hooks, "instances_act", True)
    server = aws.serve([("127.0.0.1", 0)])
    made = Cloud("http://{}:{}".format(*server.addresses[0]))
    ec2, elb, scaling = made.client("ec2"), made.client("elbv2"), made.client("autoscaling")
    vpc = ec2.create_vpc(CidrBlock="10.60.0.0/16")["Vpc"]["VpcId"]
    subnets = [
        ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.60.{n}.0/24", AvailabilityZone=f"eu-west-1{zone}")["Subnet"][
            "SubnetId"
        ]
        for n, zone in enumerate("ab")
    ]
    group = elb.create_target_group(Name="ruled", Protocol="HTTP", Port=8000, VpcId=vpc)["TargetGroups"][0]
    balancer = elb.create_load_balancer(Name="ruled", Subnets=subnets)["LoadBalancers"][0]
    elb.create_listener(
        LoadBalancerArn=balancer["LoadBalancerArn"],
        Protocol="HTTP",
        Port=80,
        DefaultActions=[{"Type": "forward", "TargetGroupArn": group["TargetGroupArn"]}],
    )
    template = ec2.create_launch_template(
        LaunchTemplateName="ruled", LaunchTemplateData={"ImageId": aws.BASE_IMAGE_ID, "InstanceType": "t3.small"}
    )["LaunchTemplate"]["LaunchTemplateId"]
    scaling.create_auto_scaling_group(
        **GROUP,
        MinSize=0,
        MaxSize=4,
        LaunchTemplate={"LaunchTemplateId": template, "Version": "1"},
        VPCZoneIdentifier=subnets[0],
        TargetGroupARNs=[group["TargetGroupArn"]],
    )
    yield made
    scaling.delete_auto_scaling_group(**GROUP, ForceDelete=True)
    ec2.delete_launch_template(LaunchTemplateName="ruled")
    elb.delete_load_balancer(LoadBalancerArn=balancer["LoadBalancerArn"])
    elb.delete_target_group(TargetGroupArn=group["TargetGroupArn"])
    server.shutdown()


def run(rules: ModuleType, cloud: Cloud, *, dry: bool = False, **options: Any) -> dict[str, Any]:
    result: dict[str, Any] = rules.run(
        cloud.client("autoscaling"), lambda: cloud.client("elbv2"), {**OPTIONS, **options}, dry=dry
    )
    return result


def test_a_group_gets_its_rules_before_its_first_instances_and_a_second_run_changes_nothing(
    rules: ModuleType, cloud: Cloud
) -> None:
    scaling = cloud.client("autoscaling")
    foretold = run(rules, cloud, dry=True)
    assert scaling.describe_lifecycle_hooks(**GROUP)["LifecycleHooks"] == []
    assert run(rules, cloud) == foretold
    assert foretold["changed"]
    assert run(rules, cloud) == {"changed": False, "lines": []}
    (group,) = scaling.describe_auto_scaling_groups(AutoScalingGroupNames=["ruled"])["AutoScalingGroups"]
    assert (group["MinSize"], group["DesiredCapacity"]) == (1, 2)
    assert {each["LifecycleState"] for each in group["Instances"]} == {"Pending:Wait"}
    policies = scaling.describe_policies(**GROUP, PolicyNames=["requests"])["ScalingPolicies"]
    counted = policies[0]["TargetTrackingConfiguration"]["PredefinedMetricSpecification"]["ResourceLabel"]
    assert counted.startswith("app/ruled/")
    assert counted.split("/")[3:5] == ["targetgroup", "ruled"]


def test_what_is_not_listed_goes(rules: ModuleType, cloud: Cloud) -> None:
    run(rules, cloud)
    gone = run(rules, cloud, hooks=[], targets=OPTIONS["targets"][:1], scheduled=[])
    assert [line.partition(" is ")[0] for line in gone["lines"]] == [
        "hook launch",
        "hook terminate",
        "policy requests",
        "scheduled action workday",
    ]
    assert run(rules, cloud, hooks=[], targets=OPTIONS["targets"][:1], scheduled=[])["lines"] == []


def test_a_rule_that_differs_is_told_and_put_right(rules: ModuleType, cloud: Cloud) -> None:
    run(rules, cloud)
    scaling = cloud.client("autoscaling")
    scaling.put_scheduled_update_group_action(
        **GROUP, ScheduledActionName="workday", Recurrence="0 7 * * *", MaxSize=40
    )
    told = run(rules, cloud)["lines"]
    assert len(told) == 1
    assert "scheduled action workday" in told[0]
    assert run(rules, cloud)["lines"] == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hooks": [{**OPTIONS["hooks"][0], "timeout_s": 29}]}, "from 30 to 7200"),
        ({"hooks": [OPTIONS["hooks"][0]] * 2}, "launch"),
        ({"target_group": None}, "needs target_group"),
        ({"name": "other"}, "there is no Auto Scaling group other"),
    ],
)
def test_what_cannot_be_is_refused(rules: ModuleType, cloud: Cloud, options: dict[str, Any], message: str) -> None:
    with pytest.raises(rules.RulesError, match=message):
        run(rules, cloud, **options)
    assert cloud.client("autoscaling").describe_lifecycle_hooks(**GROUP)["LifecycleHooks"] == []


def test_a_check_foretells_rules_of_a_group_that_is_not_there_yet(rules: ModuleType, cloud: Cloud) -> None:
    assert run(rules, cloud, dry=True, name="other")["changed"]
