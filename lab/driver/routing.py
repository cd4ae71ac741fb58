"""The way out of the lab's VPC, from EC2's records to routes and rules. Pure.

The VPC is one bridge, and the machine of the lab is its router, its internet gateway and its NAT gateways. Sources:
Amazon VPC User Guide, "Configure route tables" (a subnet's own table, else the main one), "Internet gateways"
(one-to-one NAT between private and public address), "NAT gateways", "NAT instances" (source/destination check).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from lab.driver.compute import Instance
from lab.machine.names import PUBLIC_ADDRESSES

EVERYWHERE = "0.0.0.0/0"
BLACK_HOLE = "blackhole"


class Kind(Enum):
    """What a default route leads to. LAB: there is no such route, and the lab's machine leads wherever it can."""

    LAB = "lab"
    INTERNET = "internet"
    INSTANCE = "instance"
    NAT_GATEWAY = "nat gateway"
    NOWHERE = "nowhere"


@dataclass(frozen=True)
class Way:
    """A subnet's default route. ``target`` is an instance's id or a NAT gateway's public address."""

    kind: Kind
    target: str = ""


LAB = Way(Kind.LAB)


@dataclass(frozen=True)
class Ways:
    """``of``: subnet id → default route; ``addresses``: instance id → its Elastic IP."""

    of: Mapping[str, Way] = field(default_factory=dict)
    addresses: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Site:
    """One of the lab's networks outside of the VPC, with its bridge and the bridge's MAC address."""

    subnet: str
    bridge: str
    mac: str


def ways(
    tables: Iterable[Mapping[str, Any]],
    subnets: Mapping[str, str],
    addresses: Iterable[Mapping[str, Any]],
    nat_gateways: Iterable[Mapping[str, Any]],
) -> Ways:
    """Read what DescribeRouteTables, DescribeAddresses and DescribeNatGateways answer.

    Args:
        subnets: subnet id → id of its VPC.
    """
    public = {
        row["NatGatewayId"]: row["NatGatewayAddresses"][0].get("PublicIp", "")
        for row in nat_gateways
        if row["State"] == "available" and row["NatGatewayAddresses"]
    }
    own: dict[str, Way] = {}
    main: dict[str, Way] = {}
    for table in tables:
        way = _default(table["Routes"], public)
        for association in table["Associations"]:
            if "SubnetId" in association:
                own[association["SubnetId"]] = way
            elif association.get("Main"):
                main[table["VpcId"]] = way
    return Ways(
        {subnet: own.get(subnet, main.get(vpc, LAB)) for subnet, vpc in subnets.items()},
        {row["InstanceId"]: row["PublicIp"] for row in addresses if row.get("InstanceId")},
    )


def _default(routes: Iterable[Mapping[str, Any]], public: Mapping[str, str]) -> Way:
    route = next((each for each in routes if each.get("DestinationCidrBlock") == EVERYWHERE), None)
    if route is None:
        return LAB
    if route["State"] == BLACK_HOLE:
        return Way(Kind.NOWHERE)
    if route.get("GatewayId", "").startswith("igw-"):
        return Way(Kind.INTERNET)
    if route.get("InstanceId"):
        return Way(Kind.INSTANCE, route["InstanceId"])
    if address := public.get(route.get("NatGatewayId", "")):
        return Way(Kind.NAT_GATEWAY, address)
    return Way(Kind.NOWHERE)


def default_route(instance: Instance, of: Mapping[str, Way], by_id: Mapping[str, Instance], router: str) -> str:
    """Return the address of an instance's next hop, or BLACK_HOLE. ``router`` is the address of the lab's machine."""
    way = of.get(instance.subnet_id or "", LAB)
    match way.kind:
        case Kind.INSTANCE:
            hop = by_id.get(way.target)
            # With the source/destination check on, AWS drops what isn't for the instance itself.
            usable = hop is not None and hop.state == "running" and hop.forwards and hop.id != instance.id
            return hop.address if usable and hop is not None and hop.address else BLACK_HOLE
        case Kind.NOWHERE:
            return BLACK_HOLE
    return router


def ruleset(
    table: str,
    vpc: Site,
    outside: Iterable[Site],
    known: Ways,
    subnets: Mapping[str, str],
    instances: Iterable[Instance],
) -> str:
    """Return a file for ``nft -f`` that makes the lab's machine the gateways of the VPC.

    Args:
        table: a name for the table, which it replaces.
        outside: the lab's other networks: everybody who isn't in the VPC.
        subnets: subnet id → CIDR.
    """
    networks = list(outside)
    here = {each.id: each.address for each in instances if each.state == "running" and each.address}
    public = {known.addresses[name]: address for name, address in sorted(here.items()) if name in known.addresses}
    cidrs = {kind: sorted(subnets[name] for name, way in known.of.items() if way.kind is kind) for kind in Kind}
    closed = sorted(cidr for kind in Kind if kind is not Kind.LAB for cidr in cidrs[kind])
    behind = sorted(cidrs[Kind.INSTANCE] + cidrs[Kind.NOWHERE])
    translated = sorted((subnets[name], way.target) for name, way in known.of.items() if way.kind is Kind.NAT_GATEWAY)
    before = [
        # With br_netfilter the rules of routed packets see bridged ones too, and podman's would translate them.
        *(f'iifname "{each.bridge}" ether daddr != {each.mac} notrack accept' for each in (vpc, *networks)),
        *(f"ip saddr @outside ip daddr {cidr} drop" for cidr in closed),
        *(
            f"ip saddr @outside ip daddr {address} notrack ip daddr set {private} accept"
            for address, private in public.items()
        ),
        *(f"ip saddr {private} ip daddr @outside notrack accept" for private in public.values()),
        *(f"ip saddr {cidr} ip daddr @outside drop" for cidr in behind),
    ]
    after = [f"ip saddr {private} ip daddr @outside ip saddr set {address}" for address, private in public.items()]
    sources = [f"ip saddr {cidr} ip daddr @outside snat to {address} fully-random" for cidr, address in translated]
    bridges = ", ".join(f'"{each.bridge}"' for each in (vpc, *networks))
    # Bridged packets come by here too, on their way to a next hop on the same bridge.
    nobody = [f"oifname != {{ {bridges} }} ip saddr @outside ip daddr {PUBLIC_ADDRESSES} drop"]
    return f"""add table ip {table}
delete table ip {table}
table ip {table} {{
  set outside {{
    type ipv4_addr; flags interval
    elements = {{ {", ".join(each.subnet for each in networks)} }}
  }}
{_chain("before", "filter hook prerouting priority raw", before)}
{_chain("after", "filter hook postrouting priority srcnat - 10", after)}
{_chain("gateways", "nat hook postrouting priority srcnat - 10", sources)}
{_chain("nobody", "filter hook forward priority filter", nobody)}
}}
"""


def _chain(name: str, kind: str, rules: Iterable[str]) -> str:
    lines = "".join(f"    {rule}\n" for rule in rules)
    return f"  chain {name} {{\n    type {kind}; policy accept;\n{lines}  }}"
