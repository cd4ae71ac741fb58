"""Security groups, from EC2's records to rules of nftables for one host. Pure.

Sources: Amazon VPC User Guide, "Security group rules" (what isn't allowed is refused; the rules of all groups of an
interface count together; a group as source or destination stands for the private addresses of the interfaces that have
it) and "Control traffic to your AWS resources using security groups" (no rule filters the resolver, the metadata of
instances and what else is the VPC's own); Amazon EC2 User Guide, "Security group connection tracking" (answers pass
whatever the rules say, and a connection outlives its rule). Connections are followed by the host's kernel, with its own
times, and a program is told at once (EPERM) that a packet may not leave, where AWS drops it in silence.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, collapse_addresses
from typing import Any

TABLE = "inet parkmesh_security_groups"
INTERFACE = "eth0"
"""The host's interface in the VPC. Its metadata and its overlay have others."""
EVERY_PROTOCOL = "-1"
ANY = -1
WITH_PORTS = ("tcp", "udp")
ICMP = {"icmp": "icmp", "1": "icmp", "icmpv6": "icmpv6", "58": "icmpv6"}
NAMES = {"6": "tcp", "17": "udp"}


@dataclass(frozen=True)
class Rule:
    """A permission: protocol in EC2's words, ports (or type and code of ICMP; ANY for all), who is at the other end."""

    protocol: str
    first: int
    last: int
    networks: tuple[str, ...] = ()
    networks6: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()


@dataclass(frozen=True)
class SecurityGroup:
    """What a security group lets in and out."""

    inbound: tuple[Rule, ...]
    outbound: tuple[Rule, ...]


def security_group(row: Mapping[str, Any]) -> SecurityGroup:
    """Read an item of DescribeSecurityGroups. Prefix lists are left out: they let nobody through."""
    return SecurityGroup(_rules(row["IpPermissions"]), _rules(row["IpPermissionsEgress"]))


def _rules(rows: Iterable[Mapping[str, Any]]) -> tuple[Rule, ...]:
    return tuple(
        Rule(
            protocol=NAMES.get(row["IpProtocol"], row["IpProtocol"]),
            first=int(row.get("FromPort", ANY)),
            last=int(row.get("ToPort", ANY)),
            networks=tuple(each["CidrIp"] for each in row.get("IpRanges", ())),
            networks6=tuple(each["CidrIpv6"] for each in row.get("Ipv6Ranges", ())),
            groups=tuple(each["GroupId"] for each in row.get("UserIdGroupPairs", ())),
        )
        for row in rows
    )


def ruleset(
    names: Iterable[str],
    groups: Mapping[str, SecurityGroup],
    members: Mapping[str, frozenset[str]],
    router: str,
    aws_port: int,
) -> str:
    """Return commands for ``nft`` that give a host the rules of its groups and no others.

    Args:
        names: ids of the host's groups.
        members: group id → private addresses of the interfaces that have it.
        router: the lab's machine: resolver of the VPC, and on ``aws_port`` AWS itself, which no rule keeps a host
            from. On AWS that is a way out by 443, or an endpoint in the VPC.
    """
    own = [groups[name] for name in sorted(names) if name in groups]
    inbound = [line for each in own for rule in each.inbound for line in _accept(rule, "saddr", members)]
    outbound = [
        f"ip daddr {router} meta l4proto {{ tcp, udp }} th dport 53 accept",
        f"ip daddr {router} tcp dport {aws_port} accept",
        *(line for each in own for rule in each.outbound for line in _accept(rule, "daddr", members)),
    ]
    # Before the host's own translation of destinations, and after that of sources: rules see what is on the line.
    # With a table to list, nftables 1.0.6 (Debian 12) reads the sets of that one alone; it crashes on sets that a
    # host's own nft 1.1.3 (Debian 13) has made.
    return f"""add table {TABLE} {{ flags owner; }}
delete table {TABLE}
table {TABLE} {{
  flags owner
{_chain("inbound", "prerouting priority -190", f'iifname != "{INTERFACE}"', inbound)}
{_chain("outbound", "postrouting priority 110", f'oifname != "{INTERFACE}"', outbound)}
}}
list table {TABLE}
"""


def _chain(name: str, hook: str, elsewhere: str, rules: Iterable[str]) -> str:
    lines = [
        f"{elsewhere} accept",
        "ct state established,related accept",
        "icmpv6 type { nd-router-solicit, nd-router-advert, nd-neighbor-solicit, nd-neighbor-advert } accept",
        *dict.fromkeys(rules),
        "drop",
    ]
    text = "".join(f"    {line}\n" for line in lines)
    return f"  chain {name} {{\n    type filter hook {hook}; policy accept;\n{text}  }}"


def _accept(rule: Rule, side: str, members: Mapping[str, frozenset[str]]) -> list[str]:
    hosts = [IPv4Network(address) for name in rule.groups for address in sorted(members.get(name, ()))]
    networks = [*(IPv4Network(each, strict=False) for each in rule.networks), *hosts]
    networks6 = [IPv6Network(each, strict=False) for each in rule.networks6]
    what = _what(rule)
    lines = [f"ip {side} {_set(collapse_addresses(networks))} {what}accept"] if networks else []
    return lines + ([f"ip6 {side} {_set(collapse_addresses(networks6))} {what}accept"] if networks6 else [])


def _what(rule: Rule) -> str:
    if rule.protocol == EVERY_PROTOCOL:
        return ""
    if rule.protocol in WITH_PORTS:
        every = ANY in (rule.first, rule.last)
        return f"{rule.protocol} dport {'0-65535' if every else f'{rule.first}-{rule.last}'} "
    if word := ICMP.get(rule.protocol):
        kind = f"{word} type {rule.first} " if rule.first != ANY else f"meta l4proto {word} "
        return kind + (f"{word} code {rule.last} " if rule.last != ANY else "")
    return f"meta l4proto {rule.protocol} "


def _set(networks: Iterable[object]) -> str:
    words = [str(each) for each in networks]
    return words[0] if len(words) == 1 else f"{{ {', '.join(words)} }}"
