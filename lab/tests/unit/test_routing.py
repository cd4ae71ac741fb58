"""The way out of the lab's VPC: from EC2's answers to default routes and rules."""

import os
import shutil
import subprocess
from typing import Any

import pytest

from lab.driver.compute import Instance
from lab.driver.routing import BLACK_HOLE, LAB, Kind, Site, Way, Ways, default_route, ruleset, ways

ROUTER = "10.80.0.1"
VPC = Site("10.80.0.0/16", "podman2", "02:00:00:00:00:01")
CORE = Site("10.81.0.0/24", "podman3", "02:00:00:00:00:02")


def instance(name: str, subnet: str = "app", address: str = "10.80.80.4", **more: Any) -> Instance:
    return Instance(name, more.pop("state", "running"), "ami-1", address, subnet_id=subnet, **more)


def table(route: dict[str, str] | None, *subnets: str, main: bool = False) -> dict[str, Any]:
    routes = [{"DestinationCidrBlock": "10.80.0.0/16", "GatewayId": "local", "State": "active"}]
    if route is not None:
        routes.append({"DestinationCidrBlock": "0.0.0.0/0", "State": "active", **route})
    associations = [{"SubnetId": subnet} for subnet in subnets] + ([{"Main": True}] if main else [])
    return {"VpcId": "vpc-1", "Routes": routes, "Associations": associations}


@pytest.mark.parametrize(
    ("route", "way"),
    [
        (None, LAB),
        ({"GatewayId": "igw-1"}, Way(Kind.INTERNET)),
        ({"InstanceId": "i-nat"}, Way(Kind.INSTANCE, "i-nat")),
        ({"InstanceId": "i-nat", "State": "blackhole"}, Way(Kind.NOWHERE)),
        ({"NatGatewayId": "nat-1"}, Way(Kind.NAT_GATEWAY, "203.0.113.9")),
        ({"NatGatewayId": "nat-2"}, Way(Kind.NOWHERE)),
        ({"TransitGatewayId": "tgw-1"}, Way(Kind.NOWHERE)),
    ],
)
def test_a_subnets_way_out_is_that_of_its_table(route: dict[str, str] | None, way: Way) -> None:
    gateways = [
        {"NatGatewayId": "nat-1", "State": "available", "NatGatewayAddresses": [{"PublicIp": "203.0.113.9"}]},
        {"NatGatewayId": "nat-2", "State": "deleted", "NatGatewayAddresses": [{"PublicIp": "203.0.113.8"}]},
    ]
    addresses = [
        {"PublicIp": "203.0.113.1", "InstanceId": "i-nat"},
        {"PublicIp": "203.0.113.9", "InstanceId": ""},
    ]
    tables = [table({"GatewayId": "igw-1"}, main=True), table(route, "app")]
    found = ways(tables, {"app": "vpc-1", "other": "vpc-1", "foreign": "vpc-2"}, addresses, gateways)
    assert found == Ways(
        {"app": way, "other": Way(Kind.INTERNET), "foreign": LAB},
        {"i-nat": "203.0.113.1"},
    )


@pytest.mark.parametrize(
    ("way", "nat", "hop"),
    [
        (LAB, {}, ROUTER),
        (Way(Kind.INTERNET), {}, ROUTER),
        (Way(Kind.NAT_GATEWAY, "203.0.113.9"), {}, ROUTER),
        (Way(Kind.NOWHERE), {}, BLACK_HOLE),
        (Way(Kind.INSTANCE, "i-nat"), {"forwards": True}, "10.80.16.4"),
        (Way(Kind.INSTANCE, "i-nat"), {"forwards": False}, BLACK_HOLE),
        (Way(Kind.INSTANCE, "i-nat"), {"forwards": True, "state": "terminated"}, BLACK_HOLE),
        (Way(Kind.INSTANCE, "i-other"), {"forwards": True}, BLACK_HOLE),
        (Way(Kind.INSTANCE, "i-1"), {"forwards": True}, BLACK_HOLE),
    ],
)
def test_an_instances_next_hop(way: Way, nat: dict[str, Any], hop: str) -> None:
    one = instance("i-1")
    by_id = {"i-1": one, "i-nat": instance("i-nat", "public", "10.80.16.4", **nat)}
    assert default_route(one, {"app": way}, by_id, ROUTER) == hop


def rules() -> str:
    known = Ways(
        {
            "public": Way(Kind.INTERNET),
            "app-a": Way(Kind.INSTANCE, "i-nat"),
            "app-b": Way(Kind.NAT_GATEWAY, "203.0.113.9"),
            "data": LAB,
        },
        {"i-nat": "203.0.113.1", "i-gone": "203.0.113.2"},
    )
    subnets = {"public": "10.80.16.0/20", "app-a": "10.80.80.0/20", "app-b": "10.80.96.0/20", "data": "10.80.144.0/20"}
    there = [
        instance("i-nat", "public", "10.80.16.4", forwards=True),
        instance("i-gone", "public", "10.80.16.5", state="terminated"),
        instance("i-1", "app-a"),
    ]
    return ruleset("parkmesh_test", VPC, [CORE], known, subnets, there)


def test_the_rules_translate_one_to_one_for_addresses_and_by_port_for_nat_gateways() -> None:
    text = rules()
    for line in (
        "ip saddr @outside ip daddr 203.0.113.1 notrack ip daddr set 10.80.16.4 accept",
        "ip saddr 10.80.16.4 ip daddr @outside ip saddr set 203.0.113.1",
        "ip saddr 10.80.96.0/20 ip daddr @outside snat to 203.0.113.9 fully-random",
        "ip saddr 10.80.80.0/20 ip daddr @outside drop",
        "ip saddr @outside ip daddr 10.80.96.0/20 drop",
    ):
        assert f"    {line}\n" in text
    assert "203.0.113.2" not in text
    assert "10.80.144.0/20" not in text


@pytest.mark.skipif(os.geteuid() != 0 or shutil.which("nft") is None, reason="nft isn't installed, or takes only root")
def test_nft_takes_the_rules() -> None:
    for text in (rules(), ruleset("parkmesh_test", VPC, [CORE], Ways(), {}, [])):
        done = subprocess.run(
            ["nft", "--check", "--file", "-"], input=text, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
