"""Filters that compile ZeroTier's rule language and say what rules do with a packet."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import ansible.module_utils
from ansible.errors import AnsibleFilterError

# Modules get the project's module_utils in their archive; on the control node they are found beside this folder.
_MODULE_UTILS = str(Path(__file__).resolve().parent.parent / "module_utils")
if _MODULE_UTILS not in ansible.module_utils.__path__:
    ansible.module_utils.__path__.append(_MODULE_UTILS)

if TYPE_CHECKING:
    from module_utils import zerotier_rule_compiler as compiler
    from module_utils import zerotier_rules as rules
else:
    from ansible.module_utils import zerotier_rule_compiler as compiler
    from ansible.module_utils import zerotier_rules as rules

TCP_FLAGS: Final = ("fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr")
PACKET_KEYS: Final = (
    "ethertype",
    "source",
    "destination",
    "protocol",
    "source_port",
    "destination_port",
    "tcp_flags",
    "icmp_type",
    "icmp_code",
    "tos",
    "size",
    "vlan",
    "source_mac",
    "destination_mac",
    "ip_authenticated",
)
NODE_KEYS: Final = ("address", "tags", "capabilities")
# The client's port in explanations, from the range from which systems choose a client's port.
CLIENT_PORT: Final = 50000
LAST_PORT: Final = 65535
PORT_MATCHES: Final = ("MATCH_IP_SOURCE_PORT_RANGE", "MATCH_IP_DEST_PORT_RANGE")
ACCESS_PROTOCOLS: Final = ("arp", "icmp", "tcp", "udp")


def _plain(value: Any) -> Any:
    """The value as plain data: filters get lazy containers."""
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    return value


def compile_rules(source: str, tags: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Compile a source; ``tags`` are definitions by name that it may use beside its own."""
    try:
        compiled = compiler.compile_rules(source, _plain(tags))
    except compiler.RuleCompileError as error:
        raise AnsibleFilterError(f"zerotier_compile_rules: {error}") from error
    return {
        "rules": compiled.rules,
        "capabilities": compiled.capabilities,
        "tags": compiled.tags,
        "tags_by_name": compiled.tags_by_name,
        "capabilities_by_name": compiled.capabilities_by_name,
        "rule_lines": compiled.rule_lines,
    }


def _known(given: Mapping[str, Any], keys: tuple[str, ...], what: str) -> None:
    unknown = sorted(set(given) - set(keys))
    if unknown:
        raise ValueError(f"{what}: {', '.join(unknown)} is none of {', '.join(keys)}")


def _number(given: Mapping[str, Any], key: str, names: Mapping[str, int] | None = None) -> int | None:
    value = given.get(key)
    if value is None:
        return None
    if isinstance(value, str) and names is not None and value in names:
        return names[value]
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{key}: {value!r} is no number{' and no known name' if names else ''}")
    return value


def _address(given: Mapping[str, Any], key: str) -> rules.IPAddress | None:
    return None if given.get(key) is None else ipaddress.ip_address(str(given[key]))


def packet_from(given: Mapping[str, Any], sender: str, receiver: str) -> rules.Packet:
    """A packet from a description; raises ValueError for what can't be in one."""
    _known(given, PACKET_KEYS, "packet")
    source, destination = _address(given, "source"), _address(given, "destination")
    version = next((address.version for address in (source, destination) if address is not None), 4)
    ethertype = _number(given, "ethertype", compiler.ETHERTYPES)
    if ethertype is None:
        ethertype = rules.ETHERTYPE_IPV6 if version == 6 else rules.ETHERTYPE_IPV4
    flags = given.get("tcp_flags") or []
    for flag in flags:
        if flag not in TCP_FLAGS:
            raise ValueError(f"tcp_flags: {flag!r} is none of {', '.join(TCP_FLAGS)}")
    is_ip = ethertype in (rules.ETHERTYPE_IPV4, rules.ETHERTYPE_IPV6)
    tos = _number(given, "tos")
    size = _number(given, "size")
    return rules.Packet(
        zt_source=sender,
        zt_destination=receiver,
        ethertype=ethertype,
        mac_source=str(given.get("source_mac") or "").lower(),
        mac_destination=str(given.get("destination_mac") or "").lower(),
        vlan=_number(given, "vlan") or 0,
        size=64 if size is None else size,
        ip_source=source if is_ip else None,
        ip_destination=destination if is_ip else None,
        ip_protocol=_number(given, "protocol", compiler.IP_PROTOCOLS) if is_ip else None,
        ip_tos=(tos or 0) if is_ip else None,
        icmp_type=_number(given, "icmp_type"),
        icmp_code=_number(given, "icmp_code"),
        source_port=_number(given, "source_port"),
        destination_port=_number(given, "destination_port"),
        tcp_flags=sum(1 << TCP_FLAGS.index(flag) for flag in set(flags)),
        ip_authenticated=bool(given.get("ip_authenticated", True)),
    )


def _described(verdict: rules.Verdict | None, network: Mapping[str, Any], capability_ids: list[int]) -> dict[str, Any]:
    if verdict is None:
        return {}
    described: dict[str, Any] = {
        "action": verdict.action,
        "rule": verdict.rule,
        "line": None,
        "capability": None,
        "redirect_to": verdict.redirect_to,
        "copies": [{"address": copy.address, "length": copy.length} for copy in verdict.copies],
        "lenient": verdict.lenient,
        "rules": [],
    }
    if verdict.rule is None or verdict.first_rule is None:
        return described
    deciding = network["rules"]
    if verdict.capability is None:
        lines = network.get("rule_lines") or []
        described["line"] = lines[verdict.rule] if verdict.rule < len(lines) else None
    else:
        described["capability"] = capability_ids[verdict.capability]
        deciding = next(entry for entry in network["capabilities"] if entry["id"] == described["capability"])["rules"]
    described["rules"] = deciding[verdict.first_rule : verdict.rule + 1]
    return described


def _node(given: Mapping[str, Any], what: str, address: str) -> tuple[str, dict[int, int], list[int]]:
    _known(given, NODE_KEYS, what)
    tags = {int(tag): int(value) for tag, value in (given.get("tags") or {}).items()}
    return str(given.get("address") or address).lower(), tags, [int(entry) for entry in given.get("capabilities") or []]


def explain(
    network: Mapping[str, Any] | list[Any],
    packet: Mapping[str, Any],
    sender: Mapping[str, Any],
    receiver: Mapping[str, Any],
) -> dict[str, Any]:
    """What the sender's and the receiver's filters do with a packet, and by which rule.

    ``network`` is a list of compiled rules, or a dictionary with ``rules`` and perhaps ``capabilities`` and
    ``rule_lines``. ``sender`` and ``receiver`` have ``tags`` (values by id) and perhaps ``address`` and
    ``capabilities`` (ids).
    """
    try:
        plain = _plain(network)
        compiled: dict[str, Any] = {"rules": plain} if isinstance(plain, list) else plain
        source, sender_tags, held = _node(_plain(sender), "sender", "0000000001")
        target, receiver_tags, _ = _node(_plain(receiver), "receiver", "0000000002")
        definitions = {int(entry["id"]): entry["rules"] for entry in compiled.get("capabilities") or []}
        missing = [str(entry) for entry in held if entry not in definitions]
        if missing:
            raise ValueError(f"sender: the network has no capability {', '.join(missing)}")
        ids = sorted(held)
        verdict = rules.evaluate_path(
            rules.RuleSet(compiled["rules"]),
            packet_from(_plain(packet), source, target),
            sender_tags=sender_tags,
            receiver_tags=receiver_tags,
            capabilities=[rules.RuleSet(definitions[entry]) for entry in ids],
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise AnsibleFilterError(f"zerotier_explain: {error}") from error
    outbound, inbound = _described(verdict.outbound, compiled, ids), _described(verdict.inbound, compiled, ids)
    return {
        "delivered": verdict.delivered,
        "decided_by": "receiver" if inbound else "sender",
        "sender": outbound,
        "receiver": inbound,
    }


def _question(protocol: str, port: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """The packet that opens a conversation and the answer, without addresses."""
    match protocol:
        case "arp":
            return {"ethertype": "arp", "destination_mac": "ff:ff:ff:ff:ff:ff"}, {"ethertype": "arp"}
        case "icmp":
            echo = {"protocol": "icmp4", "icmp_code": 0}
            return {**echo, "icmp_type": 8}, {**echo, "icmp_type": 0}
        case _:
            there = {"protocol": protocol, "source_port": CLIENT_PORT, "destination_port": port}
            back = {"protocol": protocol, "source_port": port, "destination_port": CLIENT_PORT}
            flags = {"tcp_flags": ["syn"]} if protocol == "tcp" else {}
            return {**there, **flags}, {**back, **({"tcp_flags": ["syn", "ack"]} if flags else {})}


def _reason(verdict: dict[str, Any], compiled: dict[str, Any], source: list[str]) -> str:
    """Which rule decided, in the words of the source."""
    side = verdict["decided_by"]
    decision = verdict[side]
    if decision["rule"] is None:
        return f"no rule accepts it (at the {side})"
    if decision["capability"] is not None:
        return f"capability {decision['capability']}"
    lines = compiled["rule_lines"][decision["rule"] - len(decision["rules"]) + 1 : decision["rule"] + 1]
    text = " ".join(" ".join(source[min(lines) - 1 : max(lines)]).split())
    return f"line {min(lines)}: {text}"


def _port_starts(compiled: dict[str, Any]) -> list[int]:
    """Ports from which on rules may decide otherwise than before: one of each kind is enough to know them all."""
    rule_lists = [compiled["rules"], *(entry["rules"] for entry in compiled["capabilities"])]
    matches = [rule for entries in rule_lists for rule in entries if rule["type"] in PORT_MATCHES]
    starts = {1} | {int(rule["start"]) for rule in matches} | {int(rule["end"]) + 1 for rule in matches}
    return sorted(start for start in starts if 1 <= start <= LAST_PORT)


def _ports_text(ranges: list[tuple[int, int]]) -> str:
    merged: list[tuple[int, int]] = []
    for first, last in ranges:
        if merged and merged[-1][1] + 1 == first:
            merged[-1] = (merged[-1][0], last)
        else:
            merged.append((first, last))
    if merged == [(1, LAST_PORT)]:
        return "every port"
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in merged)


def explain_access(
    source: str,
    sender: Mapping[str, Any],
    receiver: Mapping[str, Any],
    protocol: str | None = None,
    port: int | None = None,
) -> list[dict[str, Any]]:
    """Whether a sender can open conversations with a receiver by the rules of a source, and by which rule.

    Without a port the result has all ports, in groups that the rules treat alike; without a protocol it has ARP, ICMP
    echo, TCP and UDP. ``sender`` and ``receiver`` have ``ip``, ``tags`` and perhaps ``address`` and ``capabilities``.
    """
    try:
        compiled = compile_rules(source)
        nodes = [_plain(sender), _plain(receiver)]
        here, there = ({key: node[key] for key in NODE_KEYS if node.get(key) is not None} for node in nodes)
        addresses = [node.get("ip") for node in nodes]
        if protocol is not None and protocol not in ACCESS_PROTOCOLS:
            raise ValueError(f"protocol: {protocol!r} is none of {', '.join(ACCESS_PROTOCOLS)}")
        if port is not None and (protocol in ("arp", "icmp") or not 1 <= port <= LAST_PORT):
            raise ValueError(f"port: {port} isn't from 1 to {LAST_PORT}, or {protocol} has no ports")
        found: list[dict[str, Any]] = []
        for asked in (protocol,) if protocol else ("tcp",) if port else ACCESS_PROTOCOLS:
            with_ports = asked in ("tcp", "udp")
            starts = [port] if port else _port_starts(compiled) if with_ports else [0]
            groups: dict[tuple[Any, ...], list[tuple[int, int]]] = {}
            for start, following in zip(starts, [*starts[1:], None], strict=True):
                opening, answer = _question(asked, start)
                verdicts = [
                    explain(
                        compiled,
                        {**packet, "source": addresses[one], "destination": addresses[1 - one]},
                        *((here, there) if one == 0 else (there, here)),
                    )
                    for one, packet in enumerate((opening, answer))
                ]
                outcome = tuple(
                    (verdict["delivered"], _reason(verdict, compiled, source.splitlines())) for verdict in verdicts
                )
                last = start if port else LAST_PORT if following is None else following - 1
                groups.setdefault(outcome, []).append((start, last))
            for ((goes, goes_by), (returns, returns_by)), ranges in groups.items():
                found.append(
                    {
                        "protocol": asked,
                        "ports": _ports_text(ranges) if with_ports else "",
                        "possible": goes and returns,
                        "there": {"delivered": goes, "by": goes_by},
                        "back": {"delivered": returns, "by": returns_by},
                    }
                )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise AnsibleFilterError(f"zerotier_explain_access: {error}") from error
    return found


class FilterModule:
    """The filters by name."""

    def filters(self) -> dict[str, Callable[..., Any]]:
        """The filters by name."""
        return {
            "zerotier_compile_rules": compile_rules,
            "zerotier_explain": explain,
            "zerotier_explain_access": explain_access,
        }
