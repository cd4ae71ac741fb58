#!/usr/bin/python
"""Ansible module: make the parts of a network that a run which is killed would otherwise leave without a name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: environment_network_parts
short_description: Make internet gateway, route tables and addresses with their tags in one call each
description:
  - Makes what is missing by requests that carry the tags, so that the next run finds it by them, whenever this one
    ends.
  - C(amazon.aws.ec2_vpc_igw), C(amazon.aws.ec2_vpc_route_table) and C(amazon.aws.ec2_vpc_nat_gateway) 11.4 make
    gateways, tables and addresses without tags first. A run that is killed then leaves them to nobody. They find what
    this module has made.
options:
  vpc_id:
    description: The VPC.
    type: str
    required: true
  internet_gateway:
    description: Tags of the internet gateway, which is attached to the VPC. Without it, none is made.
    type: dict
  route_tables:
    description: Tags of each route table.
    type: list
    elements: dict
    default: []
  nat_gateways:
    description: >-
      Tags of each NAT gateway. A NAT gateway that is missing gets an address with the same tags; the address of one
      that is there stays as it is.
    type: list
    elements: dict
    default: []
attributes:
  check_mode:
    description: It says what it would make.
    support: full
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
author: parkmesh project (@parkmesh)
"""

EXAMPLES = r"""
- name: Have a route table that the next run finds
  environment_network_parts:
    vpc_id: vpc-0123456789abcdef0
    route_tables: [{Name: parkmesh-production-data, Project: parkmesh, Environment: production}]
"""

RETURN = r"""
made:
  description: What was made, or would be.
  type: list
  elements: str
  returned: always
allocations:
  description: The id of the address for each missing NAT gateway, by the NAT gateway's name. Empty in check mode.
  type: dict
  returned: always
"""

from collections.abc import Mapping
from typing import Any

try:
    import botocore.exceptions
except ImportError:  # AnsibleAWSModule reports it
    botocore = None

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule


def named(tags: Mapping[str, str]) -> list[dict[str, Any]]:
    return [{"Name": f"tag:{key}", "Values": [value]} for key, value in tags.items()]


def specification(kind: str, tags: Mapping[str, str]) -> list[dict[str, Any]]:
    listed = [{"Key": key, "Value": value} for key, value in tags.items()]
    return [{"ResourceType": kind, "Tags": listed}]


def internet_gateway(ec2: Any, vpc_id: str, tags: Mapping[str, str], *, dry: bool) -> list[str]:
    attached = [{"Name": "attachment.vpc-id", "Values": [vpc_id]}]
    if ec2.describe_internet_gateways(Filters=attached)["InternetGateways"]:
        return []
    made = []
    loose = [
        each["InternetGatewayId"]
        for each in ec2.describe_internet_gateways(Filters=named(tags))["InternetGateways"]
        if not each["Attachments"]
    ]
    if not loose:
        made.append(f"internet gateway {tags['Name']}")
        if dry:
            return made
        created = ec2.create_internet_gateway(TagSpecifications=specification("internet-gateway", tags))
        loose = [created["InternetGateway"]["InternetGatewayId"]]
    if not dry:
        ec2.attach_internet_gateway(InternetGatewayId=loose[0], VpcId=vpc_id)
    return [*made, f"its attachment to {vpc_id}"]


def route_table(ec2: Any, vpc_id: str, tags: Mapping[str, str], *, dry: bool) -> list[str]:
    filters = [{"Name": "vpc-id", "Values": [vpc_id]}, *named(tags)]
    if ec2.describe_route_tables(Filters=filters)["RouteTables"]:
        return []
    if not dry:
        ec2.create_route_table(VpcId=vpc_id, TagSpecifications=specification("route-table", tags))
    return [f"route table {tags['Name']}"]


def addresses(ec2: Any, vpc_id: str, wanted: list[dict[str, str]], *, dry: bool) -> tuple[list[str], dict[str, str]]:
    """Amazon EC2 API reference, DescribeNatGateways: one that was deleted is listed for a while."""
    filters = [
        {"Name": "vpc-id", "Values": [vpc_id]},
        {"Name": "state", "Values": ["pending", "available"]},
    ]
    pages = ec2.get_paginator("describe_nat_gateways").paginate(Filter=filters)
    there = {
        tag["Value"]
        for page in pages
        for each in page["NatGateways"]
        for tag in each.get("Tags", [])
        if tag["Key"] == "Name"
    }
    made, allocations = [], {}
    for tags in wanted:
        if tags["Name"] in there:
            continue
        free = [
            each["AllocationId"]
            for each in ec2.describe_addresses(Filters=named(tags))["Addresses"]
            if not each.get("AssociationId")
        ]
        if not free:
            made.append(f"address of {tags['Name']}")
            if dry:
                continue
            given = specification("elastic-ip", tags)
            free = [ec2.allocate_address(Domain="vpc", TagSpecifications=given)["AllocationId"]]
        allocations[tags["Name"]] = free[0]
    return made, allocations


def main() -> None:
    module = AnsibleAWSModule(
        argument_spec={
            "vpc_id": {"type": "str", "required": True},
            "internet_gateway": {"type": "dict"},
            "route_tables": {"type": "list", "elements": "dict", "default": []},
            "nat_gateways": {"type": "list", "elements": "dict", "default": []},
        },
        supports_check_mode=True,
    )
    given, ec2, dry = module.params, module.client("ec2"), module.check_mode
    try:
        made: list[str] = []
        allocations: dict[str, str] = {}
        if given["internet_gateway"]:
            made += internet_gateway(ec2, given["vpc_id"], given["internet_gateway"], dry=dry)
        for tags in given["route_tables"]:
            made += route_table(ec2, given["vpc_id"], tags, dry=dry)
        if given["nat_gateways"]:
            of_gateways, allocations = addresses(ec2, given["vpc_id"], given["nat_gateways"], dry=dry)
            made += of_gateways
    except (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError) as error:
        module.fail_json_aws(error, msg="A part of the network can't be made")
    module.exit_json(changed=bool(made), made=made, allocations=allocations)


if __name__ == "__main__":
    main()
