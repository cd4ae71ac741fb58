"""Groups follow their targets: how many instances a metric asks for, and what hosts and load balancers give to it."""

from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

from lab import aws
from lab.aws import scaling
from lab.aws.scaling import ABOVE, BELOW, CPU, REQUESTS, Measured, Policy, Tracking
from lab.driver import haproxy
from lab.driver.load_balancers import LoadBalancers
from lab.driver.load_figures import Periods, busy_s
from lab.machine import names
from lab.machine.podman import Podman

GROUP = {"AutoScalingGroupName": "followed"}
CALM = (20.0,) * BELOW


def policy(target: float, *values: float, shrinks: bool = True) -> Policy:
    return Policy(target, shrinks, deque(values, maxlen=BELOW))


@pytest.mark.parametrize(
    ("size", "policies", "wanted"),
    [
        pytest.param(2, [policy(50, 90, 90, 90)], 4, id="grows in proportion, rounded up"),
        pytest.param(2, [policy(50, 51, 51, 51)], 3, id="grows by one at least"),
        pytest.param(2, [policy(50, 90, 90)], 2, id="not before three periods"),
        pytest.param(2, [policy(50, 90, 50, 90)], 2, id="not where one of them was at the target"),
        pytest.param(2, [policy(50, 90, 90, 90), policy(9, *[1] * BELOW)], 4, id="grows when one policy asks for it"),
        pytest.param(2, [policy(50, 60, 60, 60), policy(9, 20, 20, 20)], 5, id="by the policy that asks for most"),
        pytest.param(4, [policy(50, *CALM)], 2, id="shrinks in proportion, rounded up"),
        pytest.param(4, [policy(50, *CALM[1:])], 4, id="not before fifteen periods"),
        pytest.param(4, [policy(50, *[46] * BELOW)], 4, id="not a little below the target"),
        pytest.param(4, [policy(50, *CALM), policy(9, *[8.5] * BELOW)], 4, id="not while one policy is against it"),
        pytest.param(4, [policy(50, *CALM), policy(9, shrinks=False)], 2, id="one that never shrinks isn't asked"),
        pytest.param(4, [policy(50, *CALM, shrinks=False)], 4, id="not where none may shrink"),
        pytest.param(4, [policy(50, *CALM[1:], 40)], 4, id="by the highest of all periods"),
        pytest.param(4, [policy(50), policy(9)], 4, id="without figures nothing changes"),
    ],
)  # fmt: skip
def test_how_many_instances_are_wanted(size: int, policies: list[Policy], wanted: int) -> None:
    assert scaling.wanted(size, policies) == wanted


class Group:
    """A group of two on lab.aws, in one process with the test."""

    def __init__(self, client: Any) -> None:
        self.client, self.tracking, self.minute = client, Tracking(), 0

    def row(self) -> dict[str, Any]:
        found: dict[str, Any] = self.client.describe_auto_scaling_groups(AutoScalingGroupNames=["followed"])
        row: dict[str, Any] = found["AutoScalingGroups"][0]
        return row

    def put(self, metric: str, target: float, **more: Any) -> None:
        given = {"PredefinedMetricSpecification": {"PredefinedMetricType": metric}, "TargetValue": target, **more}
        self.client.put_scaling_policy(
            **GROUP, PolicyName=metric, PolicyType="TargetTrackingScaling", TargetTrackingConfiguration=given
        )

    def pass_by(self, periods: int, *, cpu: float = 1, requests: float = 1) -> int:
        """Let periods pass in which each instance did this; returns the size then."""
        for _ in range(periods):
            self.minute += 1
            ids = [each["InstanceId"] for each in self.row()["Instances"]]
            self.tracking.follow(dict.fromkeys(ids, Measured(cpu, requests)), 60.0 * self.minute)
        return int(self.row()["DesiredCapacity"])


@pytest.fixture
def group() -> Iterator[Group]:
    server = aws.serve([("127.0.0.1", 0)])
    keys = {"aws_access_key_id": "lab", "aws_secret_access_key": "lab", "region_name": "eu-west-1"}

    def client(service: str) -> Any:
        return boto3.client(service, endpoint_url="http://{}:{}".format(*server.addresses[0]), **keys)

    ec2, autoscaling = client("ec2"), client("autoscaling")
    vpc = ec2.create_vpc(CidrBlock="10.61.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.61.0.0/24")["Subnet"]["SubnetId"]
    data = {"ImageId": aws.BASE_IMAGE_ID, "InstanceType": "t3.small"}
    ec2.create_launch_template(LaunchTemplateName="followed", LaunchTemplateData=data)
    autoscaling.create_auto_scaling_group(
        **GROUP,
        MinSize=2,
        MaxSize=5,
        DesiredCapacity=2,
        LaunchTemplate={"LaunchTemplateName": "followed", "Version": "1"},
        VPCZoneIdentifier=subnet,
    )
    autoscaling.update_auto_scaling_group(**GROUP, DefaultInstanceWarmup=90)
    yield Group(autoscaling)
    autoscaling.delete_auto_scaling_group(**GROUP, ForceDelete=True)
    ec2.delete_launch_template(LaunchTemplateName="followed")
    server.shutdown()


def test_a_group_grows_with_its_load_within_its_bounds_and_shrinks_in_the_calm(group: Group) -> None:
    group.put(CPU, 50)
    group.put(REQUESTS, 600)
    warm = 2
    assert group.pass_by(warm + ABOVE - 1, cpu=95) == 2
    assert group.pass_by(1, cpu=95) == 4
    # The new ones warm up, and what was measured with fewer counts no more.
    assert group.pass_by(warm + ABOVE - 1, requests=5000) == 4
    assert group.pass_by(1, requests=5000) == 5
    assert group.pass_by(warm + BELOW - 1) == 5
    assert group.pass_by(1) == 2
    assert len(group.row()["Instances"]) == 2


def test_a_group_stays_as_it_is_while_its_alarms_are_suspended_and_without_policies(group: Group) -> None:
    assert group.pass_by(9, cpu=95) == 2
    group.put(CPU, 50)
    group.client.suspend_processes(**GROUP, ScalingProcesses=["AlarmNotification"])
    assert group.pass_by(9, cpu=95) == 2
    group.client.resume_processes(**GROUP, ScalingProcesses=["AlarmNotification"])
    assert group.pass_by(ABOVE, cpu=95) == 4


def test_a_policy_that_nobody_would_follow_is_refused(group: Group) -> None:
    with pytest.raises(ClientError, match="not ASGAverageNetworkIn"):
        group.put("ASGAverageNetworkIn", 9)
    assert group.client.describe_policies(**GROUP)["ScalingPolicies"] == []


def test_figures_are_of_a_period_and_of_this_machine_s_processors() -> None:
    periods = Periods(10, processors=2)
    assert periods.over(100.0)
    assert periods.close({"i-1": (50.0, 700)}, 100.0) == {}
    assert not periods.over(109.9)
    assert periods.over(110.0)
    # One of two processors was busy; 20 requests in ten seconds.
    assert periods.close({"i-1": (60.0, 720), "i-2": (1.0, 1)}, 110.0) == {"i-1": Measured(50.0, 120.0)}


@pytest.mark.parametrize(
    ("line", "file", "text"),
    [
        ("3:cpu,cpuacct:/libpod/one", "cpuacct/libpod/one/cpuacct.usage", "2500000000\n"),
        ("0::/libpod/one/init.scope", "libpod/one/cpu.stat", "usage_usec 2500000\nuser_usec 9\n"),
    ],
)
def test_a_container_s_time_is_found_in_either_version_of_control_groups(
    tmp_path: Path, line: str, file: str, text: str
) -> None:
    (tmp_path / "proc/7").mkdir(parents=True)
    (tmp_path / "proc/7/cgroup").write_text(f"9:pids:/x\n{line}\n")
    (tmp_path / "groups" / file).parent.mkdir(parents=True)
    (tmp_path / "groups" / file).write_text(text)
    assert busy_s(7, tmp_path / "proc", tmp_path / "groups") == 2.5


def test_answers_add_up_over_reloads_and_load_balancers(tmp_path: Path) -> None:
    balancers = LoadBalancers(names.from_environment({}, tmp_path), Podman(), None, "image")  # type: ignore[arg-type]
    for name, answered in (("one", 5), ("two", 1), ("one", 9), ("one", 2)):
        balancers._count(name, {("group", "i-1"): haproxy.Measured(True, "", "", answered)})
    assert balancers.requests("i-1") == 9 + 2 + 1
    assert balancers.requests("i-2") == 0
