"""NAT instances on lab.aws: made, quiet, taken over by each instance that boots, replaced, removed.

No instance boots behind lab.aws here, so the tests do at its boot what parkmesh-nat-take does: with the same code, and
what the launch template tells it.
"""

from __future__ import annotations

import base64
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from lab.aws import BASE_IMAGE_ID

from .conftest import INVENTORY, ROOT, Aws, Run

sys.path.insert(0, str(ROOT / "roles" / "nat_instance" / "files"))
from parkmesh_nat import settings, takeover

NETWORK = "playbooks/provision-network.yml"
EGRESS = "tests/emulator/playbooks/egress.yml"
CHECK_DRIFT = "playbooks/check-drift.yml"
INSTANCES = (
    "-e",
    json.dumps(
        {
            "aws_network_egress": "nat_instance",
            "aws_network_slots": 50,
            "aws_egress_instance_type": "t4g.micro",
            "aws_egress_managed_policies": ["arn:aws:iam::aws:policy/AmazonSSMManagedInstanceCore"],
            "aws_egress_instance_endpoint_url": "https://aws.parkmesh.example",
            "aws_egress_warmup_s": 1,
            "aws_egress_wait_s": 0,
            "aws_image_base_name": "debian-*",
        }
    ),
)
ONE = (*INSTANCES, "-e", "release=one")
ZONES = ["eu-west-1a", "eu-west-1b"]


def succeeded(run: Run) -> Run:
    assert run.status == 0, run.output
    return run


def instances(aws: Aws) -> dict[str, str]:
    """The instance of each zone's group."""
    groups = aws.client("autoscaling").describe_auto_scaling_groups()["AutoScalingGroups"]
    return {
        group["AutoScalingGroupName"].removeprefix("parkmesh-test-nat-"): each["InstanceId"]
        for group in groups
        for each in group["Instances"]
        if each["LifecycleState"] == "InService"
    }


def told(aws: Aws, zone: str) -> settings.Settings:
    (version,) = aws.client("ec2").describe_launch_template_versions(
        LaunchTemplateName=f"parkmesh-test-nat-{zone}", Versions=["$Latest"]
    )["LaunchTemplateVersions"]
    return settings.parse(base64.b64decode(version["LaunchTemplateData"]["UserData"]).decode())


def boot(aws: Aws) -> None:
    """Do what the instance of each zone does at its boot, with what its role may do."""
    for zone, instance in instances(aws).items():
        takeover.take(aws.of_role("parkmesh-test-nat", instance)("ec2"), instance, told(aws, zone))


def ways_out(aws: Aws) -> dict[str, tuple[str, str]]:
    """By zone: the instance that the default route leads to, and the one that has the address."""
    ec2 = aws.client("ec2")
    tables = ec2.describe_route_tables(Filters=[{"Name": "tag:Role", "Values": ["app"]}])["RouteTables"]
    addresses = {tag_of(each, "Name"): each.get("InstanceId", "") for each in ec2.describe_addresses()["Addresses"]}
    return {
        zone: (route.get("InstanceId", ""), addresses[f"parkmesh-test-nat-{zone}"])
        for table in tables
        for zone in [tag_of(table, "Name").removeprefix("parkmesh-test-app-")]
        for route in table["Routes"]
        if route.get("DestinationCidrBlock") == "0.0.0.0/0"
    }


def tag_of(thing: dict[str, Any], key: str) -> str:
    return next((str(tag["Value"]) for tag in thing.get("Tags", []) if tag["Key"] == key), "")


def addresses(aws: Aws) -> list[str]:
    return sorted(each["PublicIp"] for each in aws.client("ec2").describe_addresses()["Addresses"])


def drift(aws: Aws, folder: Path) -> list[str]:
    """The lines about the network and the way out; nothing else is there to compare."""
    file = folder / "drift.json"
    aws.play(CHECK_DRIFT, *INSTANCES, "-e", f"drift_file={file}")
    differences = json.loads(file.read_text())["differences"]
    of_the_rest = ("is missing",)
    return [
        each["line"]
        for each in differences
        if not (each["line"].endswith(of_the_rest) and "-nat" not in each["name"] and each["kind"] not in NETWORK_KINDS)
    ]


NETWORK_KINDS = {"VPC", "subnet", "route table", "address", "security group", "NAT gateway", "endpoint"}


@pytest.fixture(scope="module")
def built(aws: Aws) -> Aws:
    succeeded(aws.play(NETWORK, *INSTANCES))
    succeeded(aws.play(EGRESS, *ONE))
    boot(aws)
    return aws


def test_each_zone_has_its_instance_and_its_address(built: Aws) -> None:
    there = instances(built)
    assert sorted(there) == ZONES
    assert ways_out(built) == {zone: (instance, instance) for zone, instance in there.items()}
    assert built.client("ec2").describe_nat_gateways()["NatGateways"] == []


def test_instances_are_as_asked(built: Aws) -> None:
    ec2, scaling = built.client("ec2"), built.client("autoscaling")
    for zone in ZONES:
        (version,) = ec2.describe_launch_template_versions(
            LaunchTemplateName=f"parkmesh-test-nat-{zone}", Versions=["$Latest"]
        )["LaunchTemplateVersions"]
        assert version["LaunchTemplateData"]["InstanceType"] == "t4g.micro"
        assert told(built, zone).endpoint_url == "https://aws.parkmesh.example"
    assert {each["HealthCheckGracePeriod"] for each in scaling.describe_auto_scaling_groups()["AutoScalingGroups"]} == {
        1
    }
    policies = built.client("iam").list_attached_role_policies(RoleName="parkmesh-test-nat")["AttachedPolicies"]
    assert [each["PolicyName"] for each in policies] == ["AmazonSSMManagedInstanceCore"]
    (group,) = ec2.describe_security_groups(Filters=[{"Name": "group-name", "Values": ["parkmesh-test-nat"]}])[
        "SecurityGroups"
    ]
    udp = [(rule["FromPort"], rule["ToPort"]) for rule in group["IpPermissions"] if rule["IpProtocol"] == "udp"]
    assert udp == [(20001, 20050)]


def test_a_second_run_and_a_check_are_quiet(built: Aws) -> None:
    for playbook in (NETWORK, EGRESS):
        for arguments in ((), ("--check",)):
            run = succeeded(built.play(playbook, *ONE, *arguments))
            assert run.changed == 0, run.output


def test_an_instance_may_change_its_own_address_and_route_only(built: Aws) -> None:
    ec2, zone_a = built.client("ec2"), told(built, ZONES[0])
    (public,) = ec2.describe_route_tables(Filters=[{"Name": "tag:Role", "Values": ["public"]}])["RouteTables"]
    other = ec2.run_instances(ImageId=BASE_IMAGE_ID, MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"]
    address = ec2.allocate_address(Domain="vpc")["AllocationId"]
    try:
        nat = built.of_role("parkmesh-test-nat", instances(built)[ZONES[0]])("ec2")
        route = {"DestinationCidrBlock": "0.0.0.0/0", "InstanceId": other}
        for call, given in (
            (nat.associate_address, {"AllocationId": zone_a.allocation_id, "InstanceId": other}),
            (nat.associate_address, {"AllocationId": address, "InstanceId": instances(built)[ZONES[0]]}),
            (nat.modify_instance_attribute, {"InstanceId": other, "SourceDestCheck": {"Value": False}}),
            (nat.replace_route, {"RouteTableId": public["RouteTableId"], **route}),
            (nat.create_route, {"RouteTableId": public["RouteTableId"], **route}),
            (nat.describe_instances, {}),
        ):
            with pytest.raises(ClientError, match="UnauthorizedOperation"):
                call(**given)
    finally:
        ec2.terminate_instances(InstanceIds=[other])
        ec2.release_address(AllocationId=address)


def test_drift_knows_all_of_it_and_tells_a_route_by_hand(built: Aws, tmp_path: Path) -> None:
    assert drift(built, tmp_path) == []
    ec2 = built.client("ec2")
    zone_a = told(built, ZONES[0])
    route = {"RouteTableId": zone_a.route_tables[0], "DestinationCidrBlock": "0.0.0.0/0"}
    ec2.replace_route(**route, InstanceId=instances(built)[ZONES[1]])
    try:
        (line,) = drift(built, tmp_path)
        assert line.startswith(
            "route table parkmesh-test-app-eu-west-1a: routes 0.0.0.0/0 is parkmesh-test-nat-eu-west-1b"
        )
    finally:
        ec2.replace_route(**route, InstanceId=instances(built)[ZONES[0]])


def test_a_dead_instance_is_replaced_under_the_same_address_and_the_other_zone_is_left_alone(built: Aws) -> None:
    before, kept = instances(built), addresses(built)
    built.client("ec2").terminate_instances(InstanceIds=[before[ZONES[0]]])
    # A look at the group makes lab.aws replace what is dead.
    for _ in range(50):
        if instances(built).get(ZONES[0], before[ZONES[0]]) != before[ZONES[0]]:
            break
    after = instances(built)
    assert after[ZONES[0]] != before[ZONES[0]]
    assert after[ZONES[1]] == before[ZONES[1]]
    boot(built)
    assert ways_out(built) == {zone: (instance, instance) for zone, instance in after.items()}
    assert addresses(built) == kept


def test_a_new_image_replaces_the_instances(built: Aws) -> None:
    before = instances(built)
    succeeded(built.play(EGRESS, *INSTANCES, "-e", "release=two"))
    after = instances(built)
    assert sorted(after) == ZONES
    assert not set(after.values()) & set(before.values())
    boot(built)
    assert succeeded(built.play(EGRESS, *INSTANCES, "-e", "release=two", "--check")).changed == 0


def test_back_to_a_nat_gateway_for_all_zones(built: Aws) -> None:
    gateway = ("-e", "aws_network_egress=nat_gateway", "-e", "aws_network_nat_gateways=one")
    succeeded(built.play(NETWORK, *gateway))
    succeeded(built.play("playbooks/provision-egress.yml", *gateway))
    assert instances(built) == {}
    ec2 = built.client("ec2")
    (nat,) = ec2.describe_nat_gateways()["NatGateways"]
    tables = ec2.describe_route_tables(Filters=[{"Name": "tag:Role", "Values": ["app"]}])["RouteTables"]
    assert len(tables) == len(ZONES)
    for table in tables:
        assert [each["NatGatewayId"] for each in table["Routes"] if each.get("NatGatewayId")] == [nat["NatGatewayId"]]
        assert len([each for each in table["Associations"] if "SubnetId" in each]) == 1
    run = succeeded(built.play(NETWORK, *gateway))
    assert run.changed == 0, run.output
    assert succeeded(built.play("playbooks/provision-egress.yml", *gateway)).changed == 0


def test_nat_gateways_are_kept_until_somebody_chooses(built: Aws, tmp_path: Path) -> None:
    undecided = shutil.copytree(INVENTORY, tmp_path / "inventory")
    settings_file = undecided / "group_vars" / "aws.yml"
    said = settings_file.read_text()
    settings_file.write_text(said.replace("aws_network_egress: nat_gateway\n", ""))
    assert settings_file.read_text() != said
    ec2 = built.client("ec2")
    (nat,) = ec2.describe_nat_gateways()["NatGateways"]
    for playbook, *arguments in ((NETWORK,), (NETWORK, "--check"), ("playbooks/provision-egress.yml",), (CHECK_DRIFT,)):
        run = built.play(playbook, *arguments, inventory=undecided)
        assert (run.failed, run.changed) == (1, 0), run.output
        assert f"parkmesh test has NAT gateways ({nat['NatGatewayId']})" in run.output
        assert "set aws_network_egress: nat_gateway" in " ".join(run.output.split())
    assert ec2.describe_nat_gateways()["NatGateways"] == [nat]
    assert instances(built) == {}


def test_destroying_leaves_nothing_of_it(built: Aws) -> None:
    succeeded(built.play("playbooks/destroy-environment.yml", "-e", "destroy_confirm=parkmesh-test"))
    ec2 = built.client("ec2")
    assert ec2.describe_addresses()["Addresses"] == []
    assert ec2.describe_launch_templates()["LaunchTemplates"] == []
    assert ec2.describe_images(Owners=["self"])["Images"] == []
    assert built.client("iam").list_roles()["Roles"] == []
