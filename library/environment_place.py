#!/usr/bin/python
"""Ansible module: say whether an environment can be made where it is asked for, before anything is made."""

from __future__ import annotations

DOCUMENTATION = r"""
module: environment_place
short_description: Say whether an environment can be made where it is asked for
description:
  - Fails with one line for each reason why the network of an environment could not be made or used, such as a range
    that overlaps another one, a zone that the region lacks, credentials that have expired, or a quota that is used up.
  - Calls only operations of AWS that describe or get.
options:
  project:
    description: First part of the environment's names, and its tag C(Project).
    type: str
    required: true
  environment:
    description: Second part of the environment's names, and its tag C(Environment).
    type: str
    required: true
  cidr:
    description: The range that is cut into subnets. Without it, nothing is said about ranges and quotas.
    type: str
  numbers:
    description: Which of the 16 equal parts of O(cidr) subnets take.
    type: list
    elements: int
    default: []
  zones:
    description: Names of the availability zones that are needed.
    type: list
    elements: str
    default: []
  vpc_id:
    description: An existing VPC in which the network is made. Without it, the network has a VPC of its own.
    type: str
  ipv6:
    description: Whether the network has IPv6.
    type: bool
    default: false
  outside:
    description: Ranges that O(cidr) must not overlap, such as the overlay's.
    type: list
    elements: dict
    default: []
    suboptions:
      what:
        description: Whose range it is, in words.
        type: str
        required: true
      cidr:
        description: The range.
        type: str
        required: true
  nat_gateways:
    description: How many NAT gateways the network needs.
    type: int
    default: 0
  addresses:
    description: How many Elastic IP addresses it needs.
    type: int
    default: 0
  instance_type:
    description: A type of instance that each of O(zones) must offer.
    type: str
  instance_type_setting:
    description: The input that names O(instance_type).
    type: str
    default: instance_type
attributes:
  check_mode:
    description: It changes nothing anyway.
    support: full
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
author: parkmesh project (@parkmesh)
"""

EXAMPLES = r"""
- name: Look whether the network can be made
  environment_place:
    project: parkmesh
    environment: production
    cidr: 10.80.0.0/16
    numbers: [1, 2, 5, 6, 9, 10]
    zones: [eu-west-1a, eu-west-1b]
    outside:
      - {what: the overlay, cidr: 10.242.0.0/16}
    nat_gateways: 2
    addresses: 2
"""

RETURN = r"""
parts:
  description: The 16 equal parts of O(cidr).
  type: list
  elements: str
  returned: with O(cidr)
is_there:
  description: Whether the environment has subnets.
  type: bool
  returned: with O(cidr)
subnets:
  description: The environment's subnets.
  type: list
  elements: dict
  returned: with O(cidr)
  contains:
    id:
      description: Its id.
      type: str
    vpc_id:
      description: The VPC that it is in.
      type: str
    is:
      description: What can be changed of it, to compare with what is wanted.
      type: dict
      contains:
        cidr:
          description: Its IPv4 range.
          type: str
        zone:
          description: The availability zone that it is in.
          type: str
        ipv6_cidrs:
          description: Its IPv6 ranges.
          type: list
          elements: str
        gives_ipv6:
          description: Whether what is made in it gets an IPv6 address.
          type: bool
        gives_public:
          description: Whether what is made in it gets a public IPv4 address.
          type: bool
        tags:
          description: All its tags.
          type: dict
vpc:
  description: The existing VPC; an empty dictionary without O(vpc_id).
  type: dict
  returned: always
  contains:
    ipv6_cidr:
      description: Its IPv6 range, an empty text for none.
      type: str
    internet_gateway_id:
      description: Its internet gateway, an empty text for none.
      type: str
    egress_gateway_id:
      description: Its egress-only gateway, an empty text for none.
      type: str
    gateways_of_others:
      description: Those of both that don't have the environment's tags.
      type: list
      elements: str
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

try:
    import botocore.exceptions
except ImportError:  # AnsibleAWSModule reports it
    botocore = None

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule

if TYPE_CHECKING:
    from module_utils import environment_place as place
    from module_utils.environment_reader import Reader
else:
    from ansible.module_utils import environment_place as place
    from ansible.module_utils.environment_reader import Reader


def check(reader: Reader, options: Mapping[str, Any], region: str) -> tuple[list[str], dict[str, Any]]:
    """Why the network can't be made, a line for each reason, and the module's result."""
    cidr, vpc_id = options["cidr"], options["vpc_id"]
    faults = place.range_faults(cidr) if cidr else []
    if faults:
        return faults, {}
    result: dict[str, Any] = {"changed": False, "parts": place.parts(cidr) if cidr else [], "vpc": {}}
    # The first question to AWS also says whether region and credentials are good.
    faults = place.zone_faults(reader, region, options["zones"]) if options["zones"] else []
    if options["instance_type"]:
        setting = options["instance_type_setting"]
        faults += place.type_faults(reader, options["instance_type"], options["zones"], setting)
    if vpc_id and not cidr:
        result["vpc"] = _told(place.of_vpc(reader, vpc_id))
    if not cidr:
        return faults, result
    own = {"what": "aws_network_cidr", "cidr": cidr}
    inside = [own]
    of_ours = reader.all("ec2", "describe_subnets", "Subnets", Filters=reader.tag_filters())
    if vpc_id:
        vpc = place.of_vpc(reader, vpc_id)
        if not vpc:
            return [*faults, f"{region} has no VPC {vpc_id} in this account: aws_network_vpc_id"], result
        ours = {each["SubnetId"] for each in of_ours}
        faults += place.vpc_faults(vpc, cidr, options["numbers"], ipv6=options["ipv6"], ours=ours)
        inside += [{"what": f"VPC {vpc_id}", "cidr": each} for each in vpc["cidrs"] if each != cidr] + vpc["peers"]
        result["vpc"] = _told(vpc)
    faults += place.overlaps(inside, options["outside"])
    elsewhere = {each["VpcId"] for each in of_ours} - {vpc_id}
    if vpc_id and elsewhere:
        faults.append(f"the environment's network is in VPC {', '.join(sorted(elsewhere))} already: destroy it first")
    result["is_there"] = bool(of_ours)
    result["subnets"] = [_subnet(each) for each in of_ours]
    if not of_ours:
        # Of a network that is there, nobody can say what is still missing without making it.
        needed = {
            "VPCs": 0 if vpc_id else 1,
            "NAT gateways in a zone": 1 if options["nat_gateways"] else 0,
            "Elastic IP addresses": options["addresses"],
        }
        faults += place.quota_faults(reader, needed)
    return faults, result


def _subnet(row: Mapping[str, Any]) -> dict[str, Any]:
    """What the role needs to know of a subnet (an item of DescribeSubnets)."""
    return {
        "id": row["SubnetId"],
        "vpc_id": row["VpcId"],
        "is": {
            "cidr": row["CidrBlock"],
            "zone": row["AvailabilityZone"],
            "ipv6_cidrs": [
                each["Ipv6CidrBlock"]
                for each in row.get("Ipv6CidrBlockAssociationSet", [])
                if each["Ipv6CidrBlockState"]["State"] in ("associating", "associated")
            ],
            "gives_ipv6": row.get("AssignIpv6AddressOnCreation", False),
            "gives_public": row.get("MapPublicIpOnLaunch", False),
            "tags": {each["Key"]: each["Value"] for each in row.get("Tags", [])},
        },
    }


def _told(vpc: Mapping[str, Any]) -> dict[str, Any]:
    """What the role needs to know of an existing VPC; of one that is gone, that it has nothing."""
    keys = ("internet_gateway_id", "egress_gateway_id")
    return {
        "ipv6_cidr": next(iter(vpc.get("ipv6_cidrs", [])), ""),
        "gateways_of_others": vpc.get("gateways_of_others", []),
        **{key: vpc.get(key, "") for key in keys},
    }


def main() -> None:
    ranges = {"what": {"type": "str", "required": True}, "cidr": {"type": "str", "required": True}}
    module = AnsibleAWSModule(
        argument_spec={
            "project": {"type": "str", "required": True},
            "environment": {"type": "str", "required": True},
            "cidr": {"type": "str"},
            "numbers": {"type": "list", "elements": "int", "default": []},
            "zones": {"type": "list", "elements": "str", "default": []},
            "vpc_id": {"type": "str"},
            "ipv6": {"type": "bool", "default": False},
            "outside": {"type": "list", "elements": "dict", "options": ranges, "default": []},
            "nat_gateways": {"type": "int", "default": 0},
            "addresses": {"type": "int", "default": 0},
            "instance_type": {"type": "str"},
            "instance_type_setting": {"type": "str", "default": "instance_type"},
        },
        supports_check_mode=True,
    )
    given = module.params
    client: Callable[[str], Any] = module.client
    try:
        faults, result = check(Reader(client, given["project"], given["environment"]), given, module.region)
    except (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError) as error:
        if line := place.refused(error, module.region):
            module.fail_json(msg=line)
        module.fail_json_aws(error, msg="It can't be said whether the environment can be made")
    if faults:
        module.fail_json(msg="; ".join(faults))
    module.exit_json(**result)


if __name__ == "__main__":
    main()
