"""An environment in a VPC that is there already, and what is refused before anything is made. On lab.aws."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from .conftest import Aws
from .test_playbooks import resources

NETWORK = "playbooks/provision-network.yml"
CHECK_DRIFT = "playbooks/check-drift.yml"
DESTROY = "playbooks/destroy-environment.yml"


@pytest.fixture(scope="module")
def vpc(aws: Aws) -> dict[str, str]:
    """Somebody's VPC, with an internet gateway, a subnet, a security group and a peer."""
    ec2 = aws.client("ec2")
    made = ec2.create_vpc(CidrBlock="10.60.0.0/16", AmazonProvidedIpv6CidrBlock=True)["Vpc"]["VpcId"]
    gateway = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(VpcId=made, InternetGatewayId=gateway)
    ec2.create_subnet(VpcId=made, CidrBlock="10.60.16.0/20")
    ec2.create_security_group(GroupName="theirs", Description="theirs", VpcId=made)
    peer = ec2.create_vpc(CidrBlock="10.61.0.0/16")["Vpc"]["VpcId"]
    peering = ec2.create_vpc_peering_connection(VpcId=made, PeerVpcId=peer)["VpcPeeringConnection"]
    ec2.accept_vpc_peering_connection(VpcPeeringConnectionId=peering["VpcPeeringConnectionId"])
    return {"vpc": made, "gateway": gateway}


def inside(vpc: dict[str, str], **given: Any) -> tuple[str, str]:
    settings = {
        "aws_network_vpc_id": vpc["vpc"],
        "aws_network_cidr": "10.60.128.0/20",
        "aws_network_egress": "none",
        "aws_network_admit": ["192.0.2.0/24"],
        "aws_network_admit_ipv6": ["2001:db8::/32"],
    }
    return "-e", json.dumps({**settings, **given})


def state(aws: Aws) -> dict[str, Any]:
    """What there is of a network, with its tags. Moto keeps tags of some things that are gone."""
    there = resources(aws)
    known = {one for kind in there.values() for one in kind if isinstance(one, str)}
    tags = aws.client("ec2").describe_tags()["Tags"]
    flows = aws.client("ec2").describe_flow_logs()["FlowLogs"]
    groups = aws.client("logs").describe_log_groups()["logGroups"]
    return {
        **there,
        "flow log": sorted(each["ResourceId"] for each in flows),
        "log group": [(each["logGroupName"], each["retentionInDays"]) for each in groups],
        "tags": sorted(
            (each["ResourceId"], each["Key"], each["Value"]) for each in tags if each["ResourceId"] in known
        ),
    }


@pytest.mark.parametrize(
    ("given", "lines"),
    [
        ({"aws_network_cidr": "172.17.0.0/16"}, ["aws_network_cidr (172.17.0.0/16) overlaps 172.17.0.0/16: Docker's"]),
        (
            {"overlay_cidr": "10.80.64.0/20", "aws_network_zones": 4},
            [
                "overlaps the overlay (overlay_cidr) (10.80.64.0/20)",
                "eu-west-1 has no zone eu-west-1d for this account",
            ],
        ),
        ({"aws_network_vpc_id": "vpc-0"}, ["eu-west-1 has no VPC vpc-0 in this account: aws_network_vpc_id"]),
    ],
    ids=["reserved", "overlay and zones", "no VPC"],
)
def test_what_can_not_be_made_is_refused_in_one_line(aws: Aws, given: dict[str, Any], lines: list[str]) -> None:
    before = state(aws)
    run = aws.play(NETWORK, "-e", json.dumps(given))
    assert (run.failed, run.changed) == (1, 0), run.output
    assert [line for line in lines if line not in " ".join(run.output.split())] == []
    assert state(aws) == before


def test_a_range_that_does_not_fit_a_vpc_is_refused(aws: Aws, vpc: dict[str, str]) -> None:
    before = state(aws)
    run = aws.play(NETWORK, *inside(vpc, aws_network_cidr="10.60.0.0/16", overlay_cidr="10.61.9.0/24"))
    assert (run.failed, run.changed) == (1, 0), run.output
    said = " ".join(run.output.split())
    assert "has 10.60.16.0/20, of which subnets here need a part" in said
    assert "its peer (10.61.0.0/16) overlaps the overlay" in said
    assert state(aws) == before


def test_an_environment_in_an_existing_vpc_comes_and_goes_and_leaves_the_rest_as_it_was(
    aws: Aws, vpc: dict[str, str], tmp_path: Path
) -> None:
    before = state(aws)
    run = aws.play(NETWORK, "--check", *inside(vpc))
    assert run.status == 0, run.output
    assert run.changed > 0
    assert state(aws) == before

    run = aws.play(NETWORK, *inside(vpc))
    assert run.status == 0, run.output
    built = state(aws)
    assert set(before["tags"]) <= set(built["tags"])
    theirs = {vpc["vpc"], vpc["gateway"], *before["subnet"], *before["security group"], *before["route table"]}
    assert not [tag for tag in set(built["tags"]) - set(before["tags"]) if tag[0] in theirs]
    assert (built["vpc"], built["internet gateway"]) == (before["vpc"], before["internet gateway"])
    tables = aws.client("ec2").describe_route_tables(Filters=[{"Name": "tag:Role", "Values": ["public"]}])
    (routes,) = (each["Routes"] for each in tables["RouteTables"])
    assert vpc["gateway"] in [each.get("GatewayId") for each in routes]

    ec2 = aws.client("ec2")
    (front,) = ec2.describe_security_groups(GroupNames=["parkmesh-test-alb"])["SecurityGroups"]
    assert {each["CidrIp"] for rule in front["IpPermissions"] for each in rule["IpRanges"]} == {"192.0.2.0/24"}
    assert {each["CidrIpv6"] for rule in front["IpPermissions"] for each in rule["Ipv6Ranges"]} == {"2001:db8::/32"}

    assert built["log group"] == [("/parkmesh/test/flow", 7)]
    assert built["flow log"] == sorted(set(built["subnet"]) - set(before["subnet"]))

    for check in ((), ("--check",)):
        run = aws.play(NETWORK, *check, *inside(vpc))
        assert (run.status, run.changed) == (0, 0), run.output

    (group,) = ec2.describe_security_groups(GroupNames=["parkmesh-test-app"])["SecurityGroups"]
    opened = [{"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]
    ec2.authorize_security_group_ingress(GroupId=group["GroupId"], IpPermissions=opened)
    aws.play(CHECK_DRIFT, *inside(vpc), "-e", f"drift_file={tmp_path / 'drift.json'}")
    told = [each["line"] for each in json.loads((tmp_path / "drift.json").read_text())["differences"]]
    # Only the network is there of the environment.
    assert [line for line in told if not line.endswith(" is missing")] == [
        "security group parkmesh-test-app: inbound has tcp 22 0.0.0.0/0, which isn't in the desired state"
    ]
    of_network = (
        "VPC",
        "subnet",
        "internet",
        "egress",
        "route table",
        "endpoint",
        "peering",
        "network ACL",
        "flow log",
    )
    assert not [line for line in told if line.startswith((*of_network, "role parkmesh-test-flow"))]

    without = inside(vpc, aws_network_flow_log_days=0)
    run = aws.play(NETWORK, *without)
    assert run.status == 0, run.output
    # What was opened by hand is shut.
    (group,) = ec2.describe_security_groups(GroupNames=["parkmesh-test-app"])["SecurityGroups"]
    assert {rule["FromPort"] for rule in group["IpPermissions"]} == {8000}
    assert [state(aws)[kind] for kind in ("flow log", "log group")] == [[], []]
    assert state(aws)["role"] == before["role"]

    run = aws.play(DESTROY, *without, "-e", "destroy_confirm=parkmesh-test")
    assert run.status == 0, run.output
    assert state(aws) == before
    assert "Nothing is left." in run.output or "left: the overlay" in run.output


def test_credentials_that_have_expired_are_said_in_one_line(aws: Aws) -> None:
    with aws.faults(share=1, kinds=["expired"]):
        run = aws.play(NETWORK)
    assert (run.failed, run.changed) == (1, 0), run.output
    assert "The credentials for AWS have expired: get new ones" in " ".join(run.output.split())


def test_a_region_that_does_not_answer_is_said_in_one_line(aws: Aws, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    run = aws.play(NETWORK, "-e", "aws_region=eu-nowhere-1", "-e", "aws_endpoint_url=http://127.0.0.1:9")
    assert (run.failed, run.changed) == (1, 0), run.output
    assert "AWS doesn't answer for region eu-nowhere-1: there is no such region" in " ".join(run.output.split())


def test_a_quota_that_is_used_up_is_said_in_one_line(aws: Aws) -> None:
    ec2 = aws.client("ec2")
    made = []
    try:
        while len(ec2.describe_vpcs()["Vpcs"]) < 5:
            made.append(ec2.create_vpc(CidrBlock="10.99.0.0/16")["Vpc"]["VpcId"])
        before = state(aws)
        run = aws.play(NETWORK)
        assert (run.failed, run.changed) == (1, 0), run.output
        assert "the account may have 5 VPCs and has 5, but 1 more are needed" in " ".join(run.output.split())
        assert state(aws) == before
    finally:
        for each in made:
            ec2.delete_vpc(VpcId=each)
