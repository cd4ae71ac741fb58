"""Where an environment can be made: ranges that fit, and a line for each reason why one doesn't."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import ansible.module_utils
import pytest
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError

ROOT = Path(__file__).resolve().parents[3]
if str(ROOT / "module_utils") not in ansible.module_utils.__path__:
    ansible.module_utils.__path__.append(str(ROOT / "module_utils"))
place = importlib.import_module("ansible.module_utils.environment_place")

VPC: dict[str, Any] = {
    "vpc_id": "vpc-1",
    "cidrs": ["10.80.0.0/16", "10.90.0.0/20"],
    "ipv6_cidrs": ["2001:db8:0:100::/56"],
    "dns_support": True,
    "subnets": [
        {
            "SubnetId": "subnet-1",
            "CidrBlock": "10.80.16.0/24",
            "Ipv6CidrBlockAssociationSet": [{"Ipv6CidrBlock": "2001:db8:0:105::/64"}],
        }
    ],
}


def test_a_range_is_cut_into_sixteen_parts_that_fill_it() -> None:
    assert place.parts("10.80.0.0/16")[:2] == ["10.80.0.0/20", "10.80.16.0/20"]
    assert place.parts("10.80.12.0/22")[-1] == "10.80.15.192/26"


@pytest.mark.parametrize(
    ("cidr", "line"),
    [
        ("10.80.0.0/15", "isn't an IPv4 range of /16 to /22"),
        ("10.80.0.0/23", "isn't an IPv4 range of /16 to /22"),
        ("10.80.0.1/16", "has host bits set"),
        ("fd00::/64", "isn't an IPv4 range"),
        ("mine", "does not appear to be an IPv4 or IPv6 network"),
        ("8.8.0.0/16", "is of the public internet"),
        ("172.17.0.0/16", "Docker's default"),
        ("172.17.16.0/20", "Docker's default"),
    ],
)
def test_a_range_that_no_environment_can_have_is_refused_in_a_line(cidr: str, line: str) -> None:
    (fault,) = place.range_faults(cidr)
    assert line in fault
    assert cidr in fault


@pytest.mark.parametrize("cidr", ["10.80.0.0/16", "172.16.0.0/16", "192.168.4.0/22", "100.64.0.0/16"])
def test_other_ranges_are_good(cidr: str) -> None:
    assert place.range_faults(cidr) == []


def test_ranges_that_overlap_are_named_with_whose_they_are() -> None:
    outside = [
        {"what": "the overlay", "cidr": "10.80.128.0/17"},
        {"what": "cameras of gateway-a", "cidr": "192.168.50.7/24"},
        {"what": "another overlay", "cidr": "fd00::/16"},
        {"what": "cameras of gateway-b", "cidr": "elsewhere"},
    ]
    inside = [{"what": "aws_network_cidr", "cidr": "10.80.0.0/16"}, {"what": "a peer", "cidr": "192.168.0.0/16"}]
    assert place.overlaps(inside, outside) == [
        "cameras of gateway-b (elsewhere) is no range",
        "aws_network_cidr (10.80.0.0/16) overlaps the overlay (10.80.128.0/17)",
        "a peer (192.168.0.0/16) overlaps cameras of gateway-a (192.168.50.0/24)",
    ]


@pytest.mark.parametrize(
    ("cidr", "change", "numbers", "lines"),
    [
        ("10.90.0.0/20", {}, [1, 2], []),
        ("10.80.0.0/16", {}, [2, 3], []),
        ("10.91.0.0/20", {}, [1], ["aws_network_cidr (10.91.0.0/20) isn't a part of VPC vpc-1"]),
        ("10.80.0.0/16", {}, [1], ["subnet subnet-1 of the VPC has 10.80.16.0/24"]),
        ("10.90.0.0/20", {}, [5], ["subnet subnet-1 of the VPC has 2001:db8:0:105::/64"]),
        ("10.90.0.0/20", {"ipv6_cidrs": []}, [1], ["VPC vpc-1 has no IPv6 range of /56"]),
        ("10.90.0.0/20", {"dns_support": False}, [1], ["VPC vpc-1 has no DNS support"]),
    ],
)
def test_what_is_in_the_way_in_an_existing_vpc_is_told(
    cidr: str, change: dict[str, Any], numbers: list[int], lines: list[str]
) -> None:
    told = place.vpc_faults({**VPC, **change}, cidr, numbers, ipv6=True, ours=set())
    assert [line[: len(begins)] for line, begins in zip(told, lines, strict=True)] == lines


def test_subnets_of_the_environment_itself_are_not_in_its_way() -> None:
    assert place.vpc_faults(VPC, "10.80.0.0/16", [1, 5], ipv6=True, ours={"subnet-1"}) == []


def answered(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "no"}}, "DescribeVpcs")


@pytest.mark.parametrize(
    ("code", "line"),
    [
        ("ExpiredToken", "have expired"),
        ("RequestExpired", "have expired"),
        ("AuthFailure", "or the region isn't enabled"),
        ("UnrecognizedClientException", "they are wrong"),
    ],
)
def test_credentials_that_aws_does_not_take_are_said_in_a_line(code: str, line: str) -> None:
    assert line in place.refused(answered(code), "eu-west-1")


def test_other_errors_are_left_to_whoever_asked() -> None:
    assert place.refused(answered("UnauthorizedOperation"), "eu-west-1") is None


def test_no_credentials_and_no_answer_are_said_in_a_line() -> None:
    assert "no credentials" in place.refused(NoCredentialsError(), "eu-west-1")
    unreached = EndpointConnectionError(endpoint_url="https://ec2.eu-nowhere-1.amazonaws.com")
    assert "doesn't answer for region eu-nowhere-1" in place.refused(unreached, "eu-nowhere-1")
