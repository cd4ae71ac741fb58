"""Whether an environment's network can be made where it is asked for: the account, the region, its zones and ranges.

All is read before anything is made, so that a run that can't come to its end doesn't begin.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from ipaddress import IPv4Network, ip_network
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from module_utils.environment_reader import Reader, tags_of
else:
    from ansible.module_utils.environment_reader import Reader, tags_of

PARTS: Final = 16
"""The range is cut into so many parts of one size, of which each subnet takes one."""
LARGEST: Final = 16
SMALLEST: Final = 22
"""The longest prefix of the range; the shortest is ``LARGEST``. Amazon VPC user guide, "VPC CIDR blocks": /16 to /28.
Elastic Load Balancing user guide, "Subnets for your load balancer": at least /27; a part of a /22 is a /26."""
RESERVED: Final = {"172.17.0.0/16": "Docker's default, which some services of AWS use too"}
"""Amazon VPC user guide, "VPC CIDR blocks", which advises against it."""
QUOTAS: Final = {
    "VPCs": ("vpc", "L-F678F1CE"),
    "NAT gateways in a zone": ("vpc", "L-FE5A380F"),
    "Elastic IP addresses": ("ec2", "L-0263D0A3"),
}
"""Service and code (Amazon VPC user guide, "Amazon VPC quotas", with links to Service Quotas)."""
NOT_TOLD: Final = ("AccessDeniedException", "NoSuchResourceException", "UnrecognizedClientException")
"""Answers of Service Quotas after which AWS itself is left to say when there is no more."""

EXPIRED: Final = ("ExpiredToken", "ExpiredTokenException", "RequestExpired")
UNKNOWN: Final = (
    "AuthFailure",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "OptInRequired",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
)
"""Error codes (Amazon EC2 API reference, "Error codes for the Amazon EC2 API"; IAM API reference, "Common Errors")."""


def parts(cidr: str) -> list[str]:
    """The equal parts of a range, in order. Raises ValueError for what is no IPv4 range that can be cut up."""
    network = ip_network(cidr)
    if network.version != 4 or not LARGEST <= network.prefixlen <= SMALLEST:
        raise ValueError(f"{cidr} isn't an IPv4 range of /{LARGEST} to /{SMALLEST}")
    return [str(each) for each in network.subnets(new_prefix=network.prefixlen + 4)]


def refused(error: Exception, region: str) -> str | None:
    """Why AWS lets nothing be done with these credentials in a region; None for other errors of botocore."""
    kind = type(error).__name__
    if kind == "NoCredentialsError":
        return "There are no credentials for AWS: see docs/production.md, 'Before the first run'"
    if kind == "EndpointConnectionError":
        return (
            f"AWS doesn't answer for region {region}: there is no such region, or this control node has no way there "
            f"({error})"
        )
    answer = getattr(error, "response", {}).get("Error", {})
    if answer.get("Code") in EXPIRED:
        return "The credentials for AWS have expired: get new ones and run this again"
    if answer.get("Code") in UNKNOWN:
        return (
            f"AWS doesn't take the credentials in {region} ({answer['Code']}: {answer.get('Message', '')}): they are "
            "wrong, or the region isn't enabled in the account"
        )
    return None


def range_faults(cidr: str) -> list[str]:
    """What is wrong with a range for itself."""
    try:
        network = ip_network(cidr)
        parts(cidr)
    except ValueError as error:
        return [f"aws_network_cidr: {error}"]
    if network.is_global:
        return [f"aws_network_cidr ({cidr}) is of the public internet, of which servers then couldn't reach that part"]
    return [
        f"aws_network_cidr ({cidr}) overlaps {taken}: {why}"
        for taken, why in RESERVED.items()
        if network.overlaps(ip_network(taken))
    ]


def overlaps(inside: Iterable[Mapping[str, str]], outside: Iterable[Mapping[str, str]]) -> list[str]:
    """The ranges inside that overlap ranges outside, a line for each pair. Both have ``what`` and ``cidr``."""
    lines = []
    theirs = []
    for each in outside:
        try:
            theirs.append((each["what"], ip_network(each["cidr"], strict=False)))
        except ValueError:
            lines.append(f"{each['what']} ({each['cidr']}) is no range")
    for one in inside:
        network = ip_network(one["cidr"], strict=False)
        lines += [
            f"{one['what']} ({one['cidr']}) overlaps {what} ({their})"
            for what, their in theirs
            if their.version == network.version and network.overlaps(their)
        ]
    return lines


def zone_faults(reader: Reader, region: str, wanted: Sequence[str]) -> list[str]:
    zones = reader.all("ec2", "describe_availability_zones", "AvailabilityZones")
    there = sorted(each["ZoneName"] for each in zones if each.get("State", "available") == "available")
    missing = [each for each in wanted if each not in there]
    if not missing:
        return []
    return [
        f"{region} has no zone {', '.join(missing)} for this account (it has {', '.join(there)}): aws_network_zones"
    ]


def type_faults(reader: Reader, instance_type: str, zones: Sequence[str], setting: str) -> list[str]:
    """Amazon EC2 API reference, DescribeInstanceTypeOfferings: the locations in which a type is offered."""
    offered = {
        each["Location"]
        for each in reader.all(
            "ec2",
            "describe_instance_type_offerings",
            "InstanceTypeOfferings",
            LocationType="availability-zone",
            Filters=[{"Name": "instance-type", "Values": [instance_type]}],
        )
    }
    if missing := [each for each in zones if each not in offered]:
        return [f"{', '.join(missing)} has no instance of type {instance_type}: {setting}"]
    return []


def quota_faults(reader: Reader, needed: Mapping[str, int]) -> list[str]:
    """What of ``needed`` (a name of ``QUOTAS``: how many) is more than the account may have besides what it has."""
    lines = []
    for what, count in needed.items():
        if count == 0:
            continue
        service, code = QUOTAS[what]
        answer = reader.answer("service-quotas", "get_service_quota", *NOT_TOLD, ServiceCode=service, QuotaCode=code)
        if not answer:
            continue
        most, used = int(answer["Quota"]["Value"]), _used(reader, what)
        if used + count > most:
            lines.append(
                f"the account may have {most} {what} and has {used}, but {count} more are needed: raise quota {code} "
                f"of {service} in Service Quotas"
            )
    return lines


def _used(reader: Reader, what: str) -> int:
    if what == "VPCs":
        return len(reader.all("ec2", "describe_vpcs", "Vpcs"))
    if what == "Elastic IP addresses":
        return len(reader.all("ec2", "describe_addresses", "Addresses"))
    gateways = reader.all("ec2", "describe_nat_gateways", "NatGateways")
    subnets = {each["SubnetId"]: each["AvailabilityZone"] for each in reader.all("ec2", "describe_subnets", "Subnets")}
    zones = Counter(
        subnets.get(each["SubnetId"], "") for each in gateways if each["State"] in ("pending", "available", "deleting")
    )
    return max(zones.values(), default=0)


def of_vpc(reader: Reader, vpc_id: str) -> dict[str, Any]:
    """An existing VPC: its ranges and those of its peers, subnets, gateways; empty without such a VPC."""
    found = reader.answer("ec2", "describe_vpcs", "InvalidVpcID.NotFound", "InvalidVpcID.Malformed", VpcIds=[vpc_id])
    if not found.get("Vpcs"):
        return {}
    (vpc,) = found["Vpcs"]
    in_vpc = [{"Name": "vpc-id", "Values": [vpc_id]}]
    attached = [{"Name": "attachment.vpc-id", "Values": [vpc_id]}]
    peers = []
    for side, other in (("requester", "AccepterVpcInfo"), ("accepter", "RequesterVpcInfo")):
        filters = [{"Name": f"{side}-vpc-info.vpc-id", "Values": [vpc_id]}]
        for each in reader.all("ec2", "describe_vpc_peering_connections", "VpcPeeringConnections", Filters=filters):
            if each.get("Status", {}).get("Code") in ("active", "provisioning", "pending-acceptance"):
                blocks = [block["CidrBlock"] for block in each[other].get("CidrBlockSet", [])]
                what = f"VPC {each[other]['VpcId']}, its peer"
                peers += [{"what": what, "cidr": cidr} for cidr in blocks or [each[other].get("CidrBlock")] if cidr]
    support = reader.answer("ec2", "describe_vpc_attribute", VpcId=vpc_id, Attribute="enableDnsSupport")
    internet = [
        (each["InternetGatewayId"], tags_of(each.get("Tags")))
        for each in reader.all("ec2", "describe_internet_gateways", "InternetGateways", Filters=attached)
    ]
    egress_only = [
        (each["EgressOnlyInternetGatewayId"], tags_of(each.get("Tags")))
        for each in reader.all("ec2", "describe_egress_only_internet_gateways", "EgressOnlyInternetGateways")
        if vpc_id in [attachment["VpcId"] for attachment in each["Attachments"]]
    ]
    return {
        "vpc_id": vpc_id,
        "cidrs": [
            each["CidrBlock"]
            for each in vpc["CidrBlockAssociationSet"]
            if each.get("CidrBlockState", {}).get("State", "associated") == "associated"
        ],
        "ipv6_cidrs": [
            each["Ipv6CidrBlock"]
            for each in vpc.get("Ipv6CidrBlockAssociationSet", [])
            if each.get("Ipv6CidrBlockState", {}).get("State", "associated") == "associated"
        ],
        "dns_support": bool(support["EnableDnsSupport"]["Value"]),
        "peers": peers,
        "subnets": reader.all("ec2", "describe_subnets", "Subnets", Filters=in_vpc),
        # A VPC has at most one of each (Amazon VPC user guide, "Amazon VPC quotas").
        "internet_gateway_id": next((identifier for identifier, _ in internet), ""),
        "egress_gateway_id": next((identifier for identifier, _ in egress_only), ""),
        "gateways_of_others": [
            identifier for identifier, tags in internet + egress_only if not reader.is_ours("", tags)
        ],
    }


def vpc_faults(vpc: Mapping[str, Any], cidr: str, taken: Sequence[int], *, ipv6: bool, ours: set[str]) -> list[str]:
    """Why subnets with the parts ``taken`` of a range can't be made in a VPC. ``ours``: the environment's subnets."""
    lines = []
    wanted = IPv4Network(cidr)
    if not any(wanted.subnet_of(IPv4Network(each)) for each in vpc["cidrs"]):
        lines.append(
            f"aws_network_cidr ({cidr}) isn't a part of VPC {vpc['vpc_id']}, which has {', '.join(vpc['cidrs'])}: "
            "choose a part, or associate the range with the VPC"
        )
    if not vpc["dns_support"]:
        lines.append(f"VPC {vpc['vpc_id']} has no DNS support, without which servers find neither the database nor AWS")
    others = [each for each in vpc["subnets"] if each["SubnetId"] not in ours]
    mine = [ip_network(parts(cidr)[number]) for number in taken]
    for each in others:
        if any(ip_network(each["CidrBlock"]).overlaps(network) for network in mine):
            lines.append(
                f"subnet {each['SubnetId']} of the VPC has {each['CidrBlock']}, of which subnets here need a part"
            )
    if not ipv6:
        return lines
    blocks = [ip_network(each) for each in vpc["ipv6_cidrs"]]
    if not blocks or blocks[0].prefixlen != 56:
        return [
            *lines,
            f"VPC {vpc['vpc_id']} has no IPv6 range of /56: associate one, or set aws_network_ipv6 to false",
        ]
    numbers = {str(each): number for number, each in enumerate(blocks[0].subnets(new_prefix=64))}
    for each in others:
        for association in each.get("Ipv6CidrBlockAssociationSet", []):
            if numbers.get(association["Ipv6CidrBlock"], -1) in taken:
                lines.append(
                    f"subnet {each['SubnetId']} of the VPC has {association['Ipv6CidrBlock']}, which is needed here"
                )
    return lines
