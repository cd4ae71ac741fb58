"""An environment's network: what AWS has of it, and what it should have.

Everything in its VPC counts, with tags or without: a way in or out that somebody opened by hand has no tags of ours.
In an existing VPC, which is others' too, only what is the environment's by tags or name counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from module_utils.environment_comparison import ANY, matching, within
    from module_utils.environment_logs import flow_log_properties
    from module_utils.environment_place import parts
    from module_utils.environment_reader import (
        ACCOUNT,
        FULL_ACCESS,
        Reader,
        policy,
        service_role,
        tags_of,
        without_account,
    )
else:
    from ansible.module_utils.environment_comparison import ANY, matching, within
    from ansible.module_utils.environment_logs import flow_log_properties
    from ansible.module_utils.environment_place import parts
    from ansible.module_utils.environment_reader import (
        ACCOUNT,
        FULL_ACCESS,
        Reader,
        policy,
        service_role,
        tags_of,
        without_account,
    )

Found = dict[str, dict[str, dict[str, Any]]]


def describe(reader: Reader) -> Found:
    """Read the network; without a VPC it is empty."""
    found: Found = {}
    own = reader.all("ec2", "describe_vpcs", "Vpcs", Filters=reader.tag_filters())
    for vpc in own:
        _one_vpc(reader, found, vpc)
    for vpc_id in sorted(shared_vpcs(reader) - {each["VpcId"] for each in own}):
        _part_of_vpc(reader, found, vpc_id)
    found["address"] = {}
    for address in reader.all("ec2", "describe_addresses", "Addresses"):
        tags = tags_of(address.get("Tags"))
        holder = reader.names.get(address.get("NetworkInterfaceId", ""))
        if tags.get("Role") == "nat" and reader.is_ours(tags["Name"], tags):
            # It stays while the instance that has it changes.
            found["address"][reader.know(address["AllocationId"], f"of {tags['Name']}")] = {"leads_to": holder or ""}
        elif holder is not None or reader.is_ours(tags.get("Name", ""), tags):
            name = f"of {holder}" if holder is not None else address.get("PublicIp", address["AllocationId"])
            found["address"][reader.know(address["AllocationId"], name)] = {}
    return {kind: objects for kind, objects in found.items() if objects}


def shared_vpcs(reader: Reader) -> set[str]:
    """The ids of the VPCs that have subnets of the environment, its own among them."""
    return {each["VpcId"] for each in reader.all("ec2", "describe_subnets", "Subnets", Filters=reader.tag_filters())}


def _part_of_vpc(reader: Reader, found: Found, vpc_id: str) -> None:
    """What the environment has in an existing VPC, read like a VPC of its own, without what is others'."""
    everything: Found = {}
    (vpc,) = reader.all("ec2", "describe_vpcs", "Vpcs", VpcIds=[vpc_id])
    _one_vpc(reader, everything, vpc, shared=True)
    # Instances, load balancers and databases in it aren't the environment's for being there.
    reader.names.pop(vpc_id, None)
    for kind in ("subnet", "NAT gateway", "route table", "endpoint", "security group", "flow log"):
        for name, properties in everything.get(kind, {}).items():
            if reader.is_ours(name, properties["tags"]):
                found.setdefault(kind, {})[name] = properties


def _one_vpc(reader: Reader, found: Found, vpc: Mapping[str, Any], *, shared: bool = False) -> None:
    vpc_id, tags = vpc["VpcId"], tags_of(vpc.get("Tags"))
    in_vpc = {"Filters": [{"Name": "vpc-id", "Values": [vpc_id]}]}
    attached = {"Filters": [{"Name": "attachment.vpc-id", "Values": [vpc_id]}]}

    def put(kind: str, identifier: str, name: str, properties: dict[str, Any]) -> None:
        objects = found.setdefault(kind, {})
        # Two of one name are two objects.
        key = name if name not in objects else f"{name} ({identifier})"
        reader.know(identifier, key)
        objects[key] = properties

    def switched(attribute: str) -> bool:
        answer = reader.answer("ec2", "describe_vpc_attribute", VpcId=vpc_id, Attribute=attribute)
        return bool(answer[attribute[0].upper() + attribute[1:]]["Value"])

    def gateway_name(thing: str, tags: Mapping[str, str], identifier: str) -> str:
        # A VPC has one of each. The environment's routes lead there, whoever made it.
        return f"{reader.name}-{thing}" if shared else tags.get("Name", identifier)

    blocks = [each for each in vpc.get("Ipv6CidrBlockAssociationSet", []) if _is_associated(each, "Ipv6CidrBlockState")]
    put(
        "VPC",
        vpc_id,
        tags.get("Name", vpc_id),
        {
            "cidrs": [
                each["CidrBlock"] for each in vpc["CidrBlockAssociationSet"] if _is_associated(each, "CidrBlockState")
            ],
            "ipv6": bool(blocks),
            "tenancy": vpc["InstanceTenancy"],
            "dns_support": switched("enableDnsSupport"),
            "dns_hostnames": switched("enableDnsHostnames"),
            "tags": tags,
        },
    )
    for subnet in reader.all("ec2", "describe_subnets", "Subnets", **in_vpc):
        tags = tags_of(subnet.get("Tags"))
        put(
            "subnet",
            subnet["SubnetId"],
            tags.get("Name", subnet["SubnetId"]),
            {
                "zone": subnet["AvailabilityZone"],
                "cidr": subnet["CidrBlock"],
                "ipv6": any(
                    _is_associated(each, "Ipv6CidrBlockState") for each in subnet.get("Ipv6CidrBlockAssociationSet", [])
                ),
                "assign_ipv6": subnet.get("AssignIpv6AddressOnCreation", False),
                "public_addresses": subnet.get("MapPublicIpOnLaunch", False),
                "tags": tags,
            },
        )
    for gateway in reader.all("ec2", "describe_internet_gateways", "InternetGateways", **attached):
        tags = tags_of(gateway.get("Tags"))
        put(
            "internet gateway",
            gateway["InternetGatewayId"],
            gateway_name("internet", tags, gateway["InternetGatewayId"]),
            {"tags": tags},
        )
    for gateway in reader.all("ec2", "describe_egress_only_internet_gateways", "EgressOnlyInternetGateways"):
        if vpc_id in [each["VpcId"] for each in gateway["Attachments"]]:
            identifier, tags = gateway["EgressOnlyInternetGatewayId"], tags_of(gateway.get("Tags"))
            put("egress-only gateway", identifier, gateway_name("egress", tags, identifier), {"tags": tags})
    for gateway in reader.all("ec2", "describe_nat_gateways", "NatGateways", **in_vpc):
        if gateway["State"] in ("deleted", "deleting"):
            continue
        identifier, tags = gateway["NatGatewayId"], tags_of(gateway.get("Tags"))
        properties = {
            "subnet": reader.names.get(gateway["SubnetId"], gateway["SubnetId"]),
            "connectivity": gateway.get("ConnectivityType", "public"),
            "state": gateway["State"],
            "tags": tags,
        }
        put("NAT gateway", identifier, tags.get("Name", identifier), properties)
        for address in gateway.get("NatGatewayAddresses", []):
            if "NetworkInterfaceId" in address:
                reader.know(address["NetworkInterfaceId"], reader.names[identifier])
    # Ways into a network that no role of ours makes.
    for kind, operation, key, identifier, filters in (
        ("VPN gateway", "describe_vpn_gateways", "VpnGateways", "VpnGatewayId", [attached]),
        (
            "peering",
            "describe_vpc_peering_connections",
            "VpcPeeringConnections",
            "VpcPeeringConnectionId",
            [
                {"Filters": [{"Name": f"{side}-vpc-info.vpc-id", "Values": [vpc_id]}]}
                for side in ("requester", "accepter")
            ],
        ),
    ):
        for which in filters:
            for each in reader.all("ec2", operation, key, **which):
                gone = each.get("State") == "deleted" or each.get("Status", {}).get("Code") in ("deleted", "rejected")
                if not gone and each[identifier] not in reader.names:
                    put(kind, each[identifier], each[identifier], {"tags": tags_of(each.get("Tags"))})
    _flow_logs(reader, put, [vpc_id, *(each for each in reader.names if each.startswith("subnet-"))])
    # Routes and addresses lead to whichever instance is a zone's NAT instance now.
    running = {"Name": "instance-state-name", "Values": ["pending", "running"]}
    of_nat = [*in_vpc["Filters"], {"Name": "tag:Role", "Values": ["nat"]}, running]
    for reservation in reader.all("ec2", "describe_instances", "Reservations", Filters=of_nat):
        for instance in reservation["Instances"]:
            name = tags_of(instance.get("Tags")).get("Name", instance["InstanceId"])
            reader.know(instance["InstanceId"], name)
            for interface in instance.get("NetworkInterfaces", []):
                reader.know(interface["NetworkInterfaceId"], name)
    endpoints = [
        each
        for each in reader.all("ec2", "describe_vpc_endpoints", "VpcEndpoints", **in_vpc)
        if each["State"].lower() not in ("deleted", "deleting")
    ]
    for endpoint in endpoints:
        reader.know(endpoint["VpcEndpointId"], tags_of(endpoint.get("Tags")).get("Name", endpoint["VpcEndpointId"]))
    for group in reader.all("ec2", "describe_security_groups", "SecurityGroups", **in_vpc):
        reader.know(group["GroupId"], group["GroupName"])
    for table in reader.all("ec2", "describe_route_tables", "RouteTables", **in_vpc):
        associations, tags = table.get("Associations", []), tags_of(table.get("Tags"))
        is_main = any(each.get("Main") for each in associations)
        name = tags.get("Name") or ("main" if is_main else table["RouteTableId"])
        properties = {
            "routes": dict(filter(None, (_route(reader, each) for each in table["Routes"]))),
            "subnets": reader.named(each["SubnetId"] for each in associations if "SubnetId" in each),
            "gateways": reader.named(each["GatewayId"] for each in associations if "GatewayId" in each),
            "vpn_routes": reader.named(each["GatewayId"] for each in table.get("PropagatingVgws", [])),
            "main": is_main,
            "tags": tags,
        }
        put("route table", table["RouteTableId"], name, properties)
    for endpoint in endpoints:
        tags = tags_of(endpoint.get("Tags"))
        put(
            "endpoint",
            endpoint["VpcEndpointId"],
            tags.get("Name", endpoint["VpcEndpointId"]),
            {
                "service": endpoint["ServiceName"].rpartition(".")[2],
                "type": endpoint.get("VpcEndpointType", "Gateway"),
                "route_tables": reader.named(endpoint.get("RouteTableIds", [])),
                "subnets": reader.named(endpoint.get("SubnetIds", [])),
                "policy": policy(endpoint.get("PolicyDocument")) or FULL_ACCESS,
                "tags": tags,
            },
        )
    for group in reader.all("ec2", "describe_security_groups", "SecurityGroups", **in_vpc):
        properties = {
            "description": group["Description"],
            "inbound": _rules(reader, group["IpPermissions"]),
            "outbound": _rules(reader, group["IpPermissionsEgress"]),
            "tags": tags_of(group.get("Tags")),
        }
        put("security group", group["GroupId"], group["GroupName"], properties)
    for acl in reader.all("ec2", "describe_network_acls", "NetworkAcls", **in_vpc):
        tags = tags_of(acl.get("Tags"))
        name = tags.get("Name") or ("default" if acl["IsDefault"] else acl["NetworkAclId"])
        entries = [_entry(each) for each in acl["Entries"] if each["RuleNumber"] < 32767]
        put("network ACL", acl["NetworkAclId"], name, {"entries": sorted(entries), "tags": tags})
    for interface in reader.all("ec2", "describe_network_interfaces", "NetworkInterfaces", **in_vpc):
        if interface["Status"] == "available" and interface["NetworkInterfaceId"] not in reader.names:
            put("unused network interface", interface["NetworkInterfaceId"], interface["NetworkInterfaceId"], {})


def _flow_logs(reader: Reader, put: Callable[[str, str, str, dict[str, Any]], None], watched: list[str]) -> None:
    """The flow logs of a VPC and its subnets, whoever made them."""
    filters = [{"Name": "resource-id", "Values": watched}]
    for each in reader.all("ec2", "describe_flow_logs", "FlowLogs", Filters=filters):
        tags, identifier = tags_of(each.get("Tags")), each["FlowLogId"]
        properties = flow_log_properties(each)
        role = without_account(properties["role"])
        watches = reader.names.get(each["ResourceId"], each["ResourceId"])
        put(
            "flow log",
            identifier,
            tags.get("Name", identifier),
            {**properties, "role": role, "of": watches, "tags": tags},
        )


def _is_associated(association: Mapping[str, Any], state: str) -> bool:
    return bool(association.get(state, {}).get("State", "associated") == "associated")


def _route(reader: Reader, route: Mapping[str, Any]) -> tuple[str, str] | None:
    """A route's destination and target; None for those that AWS keeps itself."""
    destination = next(
        str(route[key])
        for key in ("DestinationCidrBlock", "DestinationIpv6CidrBlock", "DestinationPrefixListId")
        if route.get(key)
    )
    targets = [
        str(value)
        for key, value in route.items()
        if value and key.endswith("Id") and key not in ("DestinationPrefixListId", "InstanceOwnerId")
    ]
    target = targets[0] if targets else ""
    if target == "local" or target.startswith("vpce-"):
        return None
    if route.get("State") == "blackhole":
        return destination, f"{reader.names.get(target, target)}, which is gone"
    return destination, reader.names.get(target, target)


def _rules(reader: Reader, permissions: list[dict[str, Any]]) -> list[str]:
    """Rules of a security group, a line for each source."""
    lines = []
    for each in permissions:
        ports = [each["FromPort"], each["ToPort"]] if each.get("FromPort") is not None else []
        what = _traffic(each["IpProtocol"], ports)
        sources = [(source["CidrIp"], source) for source in each.get("IpRanges", [])]
        sources += [(source["CidrIpv6"], source) for source in each.get("Ipv6Ranges", [])]
        sources += [(source["PrefixListId"], source) for source in each.get("PrefixListIds", [])]
        sources += [
            (reader.names.get(source["GroupId"], source["GroupId"]), source)
            for source in each.get("UserIdGroupPairs", [])
        ]
        lines += [_rule(what, peer, source.get("Description", "")) for peer, source in sources]
    return sorted(lines)


def _rule(what: str, peer: str, description: str) -> str:
    return f"{what} {peer}" + (f" ({description})" if description else "")


def _traffic(protocol: str, ports: list[int]) -> str:
    if str(protocol) == "-1":
        return "all"
    return f"{protocol} {'-'.join(map(str, dict.fromkeys(ports)))}".strip()


def _entry(entry: Mapping[str, Any]) -> str:
    """An entry of a network ACL, in a line."""
    ports = entry.get("PortRange", {})
    what = _traffic(entry["Protocol"], [ports["From"], ports["To"]] if ports else [])
    where = entry.get("CidrBlock") or entry.get("Ipv6CidrBlock")
    return f"{'out' if entry['Egress'] else 'in'} {entry['RuleNumber']} {entry['RuleAction']} {what} {where}"


def desired(settings: Mapping[str, Any]) -> Found:
    """What role aws_network makes: ``settings`` are its inputs without their prefix, and what it derives from them."""
    name, tags, ipv6 = settings["name"], settings["tags"], settings["ipv6"]
    zones, egress = settings["zone_names"], settings["egress"]
    gateways = (zones if settings["nat_gateways"] == "per_zone" else zones[:1]) if egress == "nat_gateway" else []
    ways_out = zones if egress == "nat_instance" else gateways
    ranges = parts(settings["cidr"])

    def tagged(thing: str, role: str | None = None) -> dict[str, str]:
        return {**tags, "Name": f"{name}-{thing}", **({"Role": role} if role else {})}

    found: Found = {
        "VPC": {
            f"{name}-vpc": {
                "cidrs": [settings["cidr"]],
                "ipv6": ipv6,
                "tenancy": "default",
                "dns_support": True,
                "dns_hostnames": True,
                "tags": tagged("vpc"),
            }
        },
        "internet gateway": {f"{name}-internet": {"tags": tagged("internet")}},
        "egress-only gateway": {f"{name}-egress": {"tags": tagged("egress")}} if ipv6 else {},
        "subnet": {
            f"{name}-{tier['name']}-{zone}": {
                "zone": zone,
                "cidr": ranges[tier["first"] + number],
                "ipv6": ipv6 and tier["ipv6"],
                "assign_ipv6": ipv6 and tier["ipv6"],
                "public_addresses": False,
                "tags": tagged(f"{tier['name']}-{zone}", tier["name"]),
            }
            for tier in settings["tiers"]
            for number, zone in enumerate(zones)
        },
        "NAT gateway": {
            f"{name}-nat-{zone}": {
                "subnet": f"{name}-public-{zone}",
                "connectivity": "public",
                "state": matching("pending|available"),
                "tags": tagged(f"nat-{zone}"),
            }
            for zone in gateways
        },
        "address": {
            f"of {name}-nat-{zone}": {"leads_to": f"{name}-nat-{zone}"} if egress == "nat_instance" else {}
            for zone in ways_out
        },
        # What AWS gives each VPC (Amazon VPC User Guide, "Default network ACL", "Default security groups", "Main route
        # table").
        "network ACL": {
            "default": {
                "entries": within(
                    [
                        f"{way} {number} allow all {everywhere}"
                        for way in ("in", "out")
                        for number, everywhere in ((100, "0.0.0.0/0"), (101, "::/0"))
                    ],
                    least=["in 100 allow all 0.0.0.0/0", "out 100 allow all 0.0.0.0/0"],
                )
            }
        },
    }
    out = ["0.0.0.0/0", "::/0"] if ipv6 else ["0.0.0.0/0"]
    ways = {f"-{zone}": [zone] for zone in zones} if ways_out else {"": zones}
    # A gateway, or whichever instance is the zone's NAT instance now.
    nats = {way: f"{name}-nat-{served[0] if served[0] in ways_out else zones[0]}" for way, served in ways.items()}
    found["route table"] = {
        "main": {"main": True},
        f"{name}-public": _table(
            dict.fromkeys(out, f"{name}-internet"),
            [f"{name}-public-{zone}" for zone in zones],
            tagged("public", "public"),
        ),
        f"{name}-data": _table({}, [f"{name}-data-{zone}" for zone in zones], tagged("data", "data")),
        **{
            f"{name}-app{way}": _table(
                ({"0.0.0.0/0": nats[way]} if ways_out else {}) | ({"::/0": f"{name}-egress"} if ipv6 else {}),
                [f"{name}-app-{zone}" for zone in served],
                tagged(f"app{way}", "app"),
            )
            for way, served in ways.items()
        },
    }
    found["endpoint"] = {
        f"{name}-{service}": {
            "service": service,
            "type": "Gateway",
            "route_tables": [f"{name}-app{way}" for way in ways],
            "policy": FULL_ACCESS,
            "tags": tagged(service),
        }
        for service in ("s3", "dynamodb")
    }
    slots = _rule(f"udp 20001-{20000 + int(settings['slots'])}", "0.0.0.0/0", "overlay slots")
    people = [*settings["admit"], *(settings["admit_ipv6"] if ipv6 else [])]
    found["security group"] = {
        "default": {
            "description": ANY,
            "inbound": within(["all default"]),
            "outbound": within(["all 0.0.0.0/0", "all ::/0"]),
        },
        f"{name}-alb": {
            "description": f"{settings['words']}: load balancer",
            "inbound": [_rule(f"tcp {port}", source, "people") for port in (80, 443) for source in people],
            "outbound": [_rule("tcp 8000", settings["cidr"], "app servers")],
            "tags": tagged("alb", "alb"),
        },
        f"{name}-app": {
            "description": f"{settings['words']}: app servers",
            "inbound": [
                _rule("tcp 8000", f"{name}-alb", "load balancer"),
                *([slots] if egress == "nat_instance" else []),
            ],
            "outbound": [_rule("all", target, "overlay, AWS and database") for target in out],
            "tags": tagged("app", "app"),
        },
        f"{name}-data": {
            "description": f"{settings['words']}: database",
            "inbound": [_rule("tcp 5432", f"{name}-app", "app servers")],
            "outbound": [],
            "tags": tagged("data", "data"),
        },
    }
    if egress == "nat_instance":
        found["security group"][f"{name}-nat"] = {
            "description": f"{settings['words']}: NAT instances",
            "inbound": sorted([_rule("all", settings["cidr"], "app servers"), slots]),
            "outbound": [_rule("all", "0.0.0.0/0", "internet")],
            "tags": tagged("nat", "nat"),
        }
    found |= _desired_flow_logs(settings)
    if settings["vpc_id"]:
        for kind in ("VPC", "network ACL", "internet gateway", "egress-only gateway"):
            del found[kind]
        del found["route table"]["main"], found["security group"]["default"]
    return found


def _desired_flow_logs(settings: Mapping[str, Any]) -> Found:
    name, tags, days = settings["name"], settings["tags"], settings["flow_log_days"]
    if days == 0:
        return {}
    role = f"{name}-flow-logs"
    # In an existing VPC only the environment's subnets are watched.
    watched = {f"{name}-flow-vpc": f"{name}-vpc"}
    if settings["vpc_id"]:
        names = [f"{tier['name']}-{zone}" for tier in settings["tiers"] for zone in settings["zone_names"]]
        watched = {f"{name}-flow-{each}": f"{name}-{each}" for each in names}
    return {
        "role": {
            role: service_role(
                settings["flow_trust"],
                "flow-logs",
                f"{settings['words']}: flow logs",
                settings["flow_policy"],
                [],
                tags,
            )
        },
        "log group": {settings["flow_group"]: {"days": days, "tags": tags}},
        "flow log": {
            title: {
                "group": settings["flow_group"],
                "role": f"arn:aws:iam::{ACCOUNT}:role/{role}",
                "traffic": "ALL",
                "interval_s": 600,
                "of": resource,
                "tags": {**tags, "Name": title},
            }
            for title, resource in watched.items()
        },
    }


def _table(routes: dict[str, str], subnets: list[str], tags: dict[str, str]) -> dict[str, Any]:
    return {"routes": routes, "subnets": subnets, "main": False, "tags": tags}
