"""Evaluate ZeroTier's compiled rules for one packet, with the semantics of the node's own filter.

The node evaluates the rules of a network on both ends, statelessly: the sender on the way out, the receiver on the way
in. A rule set is a list of matches and actions; the matches before an action are combined with AND (or OR where a
match says so), an action with no matches before it is always taken, and a packet that no action decides is offered to
the sender's capabilities in turn and dropped in the end.

Standard library only, and no other file of the project: the lab's overlay loads this very file into its data plane.
"""

from __future__ import annotations

import ipaddress
import operator
import random
import re
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
Tags = Mapping[int, int]

ETHERTYPE_IPV4: Final = 0x0800
ETHERTYPE_ARP: Final = 0x0806
ETHERTYPE_IPV6: Final = 0x86DD

PROTOCOL_ICMP: Final = 1
PROTOCOL_TCP: Final = 6
PROTOCOL_ICMP6: Final = 58
# TCP, UDP, SCTP and UDP-Lite begin with the source and the destination port.
PROTOCOLS_WITH_PORTS: Final = frozenset({6, 17, 132, 136})
IPV6_EXTENSION_HEADERS: Final = frozenset({0, 43, 60, 135})

CHARACTERISTIC_INBOUND: Final = 1 << 63
CHARACTERISTIC_MULTICAST: Final = 1 << 62
CHARACTERISTIC_BROADCAST: Final = 1 << 61
CHARACTERISTIC_IP_AUTHENTICATED: Final = 1 << 60
CHARACTERISTIC_MAC_AUTHENTICATED: Final = 1 << 59

TCP_FIN: Final = 1 << 0
TCP_SYN: Final = 1 << 1
TCP_RST: Final = 1 << 2
TCP_PSH: Final = 1 << 3
TCP_ACK: Final = 1 << 4

ACTIONS_PLAIN: Final = ("ACTION_DROP", "ACTION_ACCEPT", "ACTION_BREAK")
ACTIONS_FORWARD: Final = ("ACTION_TEE", "ACTION_WATCH", "ACTION_REDIRECT")


class RuleError(ValueError):
    """A compiled rule that no controller would keep; the message names its index and its type."""


@dataclass(frozen=True, slots=True)
class Packet:
    """What ZeroTier's matches can see of one Ethernet frame.

    ``size`` is the length of the Ethernet payload in bytes. ``tcp_flags`` holds the eight TCP flags in bits 0-7 and
    the four bits beside the data offset in bits 8-11. ``ip_authenticated`` says that the controller assigned the
    packet's source address to its sender. Fields that a packet doesn't have are None.
    """

    zt_source: str
    zt_destination: str
    ethertype: int = ETHERTYPE_IPV4
    mac_source: str = ""
    mac_destination: str = ""
    vlan: int = 0
    size: int = 64
    ip_source: IPAddress | None = None
    ip_destination: IPAddress | None = None
    ip_protocol: int | None = None
    ip_tos: int | None = None
    icmp_type: int | None = None
    icmp_code: int | None = None
    source_port: int | None = None
    destination_port: int | None = None
    tcp_flags: int = 0
    ip_authenticated: bool = True
    mac_authenticated: bool = False

    @property
    def multicast(self) -> bool:
        """True when the destination MAC address is a group address (broadcast included)."""
        return bool(self.mac_destination) and bool(int(self.mac_destination[:2], 16) & 1)

    @property
    def broadcast(self) -> bool:
        """True when the destination MAC address is the broadcast address."""
        return self.mac_destination == "ff:ff:ff:ff:ff:ff"

    @classmethod
    def from_ethernet(
        cls,
        frame: bytes,
        *,
        zt_source: str,
        zt_destination: str,
        sender_addresses: Container[IPAddress] | None = None,
    ) -> Packet:
        """Read a whole Ethernet frame (14 byte header first).

        ``sender_addresses`` are the addresses that the controller assigned to the sender; None takes the source as
        authenticated. Raises ValueError when the frame is shorter than its header.
        """
        if len(frame) < 14:
            raise ValueError(f"an Ethernet frame has at least 14 bytes, this one has {len(frame)}")
        ethertype = (frame[12] << 8) | frame[13]
        payload = frame[14:]
        fields: dict[str, Any] = {}
        claimed: IPAddress | None = None
        authenticated = False
        if ethertype == ETHERTYPE_IPV4 and len(payload) >= 20:
            fields = _ipv4_fields(payload)
            claimed = fields["ip_source"]
        elif ethertype == ETHERTYPE_IPV6 and len(payload) >= 40:
            fields = _ipv6_fields(payload)
            claimed = fields["ip_source"]
            if len(payload) >= 64 and payload[6] == PROTOCOL_ICMP6:
                if payload[40] == 0x87:  # a neighbour solicitation has no reliable source: taken as authenticated
                    claimed, authenticated = None, True
                elif payload[40] == 0x88:  # a neighbour advertisement claims its target address
                    claimed = ipaddress.IPv6Address(payload[48:64])
        elif ethertype == ETHERTYPE_ARP and len(payload) >= 28:
            claimed = ipaddress.IPv4Address(payload[14:18])
        if claimed is not None:
            authenticated = sender_addresses is None or claimed in sender_addresses
        return cls(
            zt_source=zt_source,
            zt_destination=zt_destination,
            ethertype=ethertype,
            mac_source=frame[6:12].hex(":"),
            mac_destination=frame[0:6].hex(":"),
            size=len(payload),
            ip_authenticated=authenticated,
            **fields,
        )


def _ports(payload: bytes, position: int) -> tuple[int | None, int | None]:
    if len(payload) <= position + 4:
        return None, None
    return (
        (payload[position] << 8) | payload[position + 1],
        (payload[position + 2] << 8) | payload[position + 3],
    )


def _tcp_flags(payload: bytes, position: int) -> int:
    if len(payload) <= position + 13:
        return 0
    return payload[position + 13] | ((payload[position + 12] & 0x0F) << 8)


def _transport_fields(payload: bytes, position: int, protocol: int, icmp: int) -> dict[str, Any]:
    fields: dict[str, Any] = {"ip_protocol": protocol}
    if protocol in PROTOCOLS_WITH_PORTS:
        fields["source_port"], fields["destination_port"] = _ports(payload, position)
        if protocol == PROTOCOL_TCP:
            fields["tcp_flags"] = _tcp_flags(payload, position)
    elif protocol == icmp and len(payload) >= position + 2:
        fields["icmp_type"], fields["icmp_code"] = payload[position], payload[position + 1]
    return fields


def _ipv4_fields(payload: bytes) -> dict[str, Any]:
    fields = _transport_fields(payload, (payload[0] & 0x0F) * 4, payload[9], PROTOCOL_ICMP)
    fields["ip_source"] = ipaddress.IPv4Address(payload[12:16])
    fields["ip_destination"] = ipaddress.IPv4Address(payload[16:20])
    fields["ip_tos"] = payload[1]
    return fields


def _ipv6_fields(payload: bytes) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    position, protocol = 40, payload[6]
    while position <= len(payload):
        if protocol not in IPV6_EXTENSION_HEADERS:
            fields = _transport_fields(payload, position, protocol, PROTOCOL_ICMP6)
            break
        if position + 8 > len(payload):
            break
        # The node reads the next header's number and length from the header's own first two bytes.
        protocol = payload[position]
        position += payload[position + 1] * 8 + 8
    fields["ip_source"] = ipaddress.IPv6Address(payload[8:24])
    fields["ip_destination"] = ipaddress.IPv6Address(payload[24:40])
    fields["ip_tos"] = ((payload[0] << 4) & 0xF0) | ((payload[1] >> 4) & 0x0F)
    return fields


@dataclass(frozen=True, slots=True)
class Copy:
    """A copy of an accepted packet for another node; ``length`` is the number of payload bytes that go with it."""

    address: str
    length: int
    watch: bool


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the filter decided, and where.

    ``rule`` is the index of the deciding action and ``first_rule`` that of the first match before it, both in the base
    rules or, when ``capability`` isn't None, in that capability's rules. All three are None when nothing matched, which
    drops the packet. ``lenient`` says that a match on a tag of the receiver was taken for granted because the sender
    doesn't know the receiver's tags yet: the receiver then decides.
    """

    action: Literal["accept", "drop", "redirect"]
    rule: int | None = None
    first_rule: int | None = None
    capability: int | None = None
    super_accept: bool = False
    redirect_to: str | None = None
    copies: tuple[Copy, ...] = ()
    lenient: bool = False

    @property
    def accepted(self) -> bool:
        """True when the packet goes on to the node that it was sent to."""
        return self.action == "accept"


def _integer(value: object, default: int) -> int:
    """Read a number as the controller does: leading digits of a string count, other types give the default."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, int | float):
        return int(value)
    if isinstance(value, str):
        digits = re.match(r"\s*[+-]?\d+", value)
        return int(digits.group()) if digits else 0
    return default


def _boolean(value: object) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, int | float):
        return value > 0
    return isinstance(value, str) and value[:1] in ("t", "T", "1")


def _hexadecimal(value: object) -> int:
    digits = re.match(r"\s*(?:0[xX])?([0-9a-fA-F]+)", str(value))
    return int(digits.group(1), 16) if digits else 0


def _address_and_bits(value: object, version: int) -> str:
    text, _, bits = str(value).partition("/")
    try:
        address = ipaddress.IPv4Address(text) if version == 4 else ipaddress.IPv6Address(text)
    except ValueError:
        address = ipaddress.IPv4Address(0) if version == 4 else ipaddress.IPv6Address(0)
    return f"{address}/{min(_integer(bits, 0), 32 if version == 4 else 128)}"


def _mac(value: object) -> str:
    digits = re.sub(r"[^0-9a-f]", "", str(value).lower())[:12]
    return bytes.fromhex(digits.ljust(12, "0")).hex(":")


_TAG_MATCHES: Final = (
    "MATCH_TAGS_DIFFERENCE",
    "MATCH_TAGS_BITWISE_AND",
    "MATCH_TAGS_BITWISE_OR",
    "MATCH_TAGS_BITWISE_XOR",
    "MATCH_TAGS_EQUAL",
    "MATCH_TAG_SENDER",
    "MATCH_TAG_RECEIVER",
)
_NUMBER_MATCHES: Final = {
    "MATCH_VLAN_ID": ("vlanId", 0xFFFF),
    "MATCH_VLAN_PCP": ("vlanPcp", 0xFF),
    "MATCH_VLAN_DEI": ("vlanDei", 0xFF),
    "MATCH_IP_PROTOCOL": ("ipProtocol", 0xFF),
    "MATCH_ETHERTYPE": ("etherType", 0xFFFF),
    "MATCH_RANDOM": ("probability", 0xFFFFFFFF),
}
_RANGE_MATCHES: Final = ("MATCH_IP_SOURCE_PORT_RANGE", "MATCH_IP_DEST_PORT_RANGE", "MATCH_FRAME_SIZE_RANGE")


def _match_fields(kind: str, rule: Mapping[str, Any]) -> dict[str, Any] | None:
    """The fields of a match as the controller keeps them; None when it would drop the rule."""
    if kind in _TAG_MATCHES:
        return {name: _integer(rule.get(name), 0) & 0xFFFFFFFF for name in ("id", "value")}
    if kind in _NUMBER_MATCHES:
        name, mask = _NUMBER_MATCHES[kind]
        return {name: _integer(rule.get(name), 0) & mask}
    if kind in _RANGE_MATCHES:
        start = _integer(rule.get("start"), 0) & 0xFFFF
        return {"start": start, "end": _integer(rule.get("end"), start) & 0xFFFF}
    match kind:
        case "MATCH_SOURCE_ZEROTIER_ADDRESS" | "MATCH_DEST_ZEROTIER_ADDRESS":
            return {"zt": f"{_hexadecimal(rule.get('zt', '0')) & 0xFFFFFFFFFF:010x}"}
        case "MATCH_MAC_SOURCE" | "MATCH_MAC_DEST":
            return {"mac": _mac(rule.get("mac", "0"))}
        case "MATCH_IPV4_SOURCE" | "MATCH_IPV4_DEST":
            return {"ip": _address_and_bits(rule.get("ip", "0.0.0.0/0"), 4)}
        case "MATCH_IPV6_SOURCE" | "MATCH_IPV6_DEST":
            return {"ip": _address_and_bits(rule.get("ip", "::/0"), 6)}
        case "MATCH_IP_TOS":
            return {name: _integer(rule.get(name), 0) & 0xFF for name in ("mask", "start", "end")}
        case "MATCH_ICMP":
            code = rule.get("icmpCode")
            return {
                "icmpType": _integer(rule.get("icmpType"), 0) & 0xFF,
                "icmpCode": None if code is None else _integer(code, 0) & 0xFF,
            }
        case "MATCH_CHARACTERISTICS":
            mask = rule.get("mask", 0)
            number = int(mask) if isinstance(mask, int | float) else _hexadecimal(mask)
            return {"mask": f"{number & 0xFFFFFFFFFFFFFFFF:016x}"}
        case _:
            return None


def canonical_rule(rule: object) -> dict[str, Any] | None:
    """One compiled rule as a controller keeps and reports it; None when a controller would drop it.

    Two rules mean the same exactly when their canonical forms are equal: a missing ``not`` or ``or`` is false, numbers
    lose the bits that don't fit, MAC and ZeroTier addresses are lower-case, actions carry neither ``not`` nor ``or``.
    """
    if not isinstance(rule, Mapping):
        return None
    kind = rule.get("type")
    if not isinstance(kind, str):
        return None
    if kind in ACTIONS_PLAIN:
        return {"type": kind}
    if kind in ACTIONS_FORWARD:
        forward = {
            "type": kind,
            "address": f"{_hexadecimal(rule.get('address', '0')) & 0xFFFFFFFFFF:010x}",
            "flags": _integer(rule.get("flags"), 0) & 0xFFFFFFFF,
        }
        if kind != "ACTION_REDIRECT":
            forward["length"] = _integer(rule.get("length"), 0) & 0xFFFF
        return forward
    fields = _match_fields(kind, rule)
    if fields is None:
        return None
    return {"type": kind, **fields, "not": _boolean(rule.get("not")), "or": _boolean(rule.get("or"))}


def canonical_rules(rules: Iterable[object]) -> list[dict[str, Any]]:
    """The rules as a controller keeps them: each in canonical form, those that it would drop left out."""
    return [kept for kept in map(canonical_rule, rules) if kept is not None]


@dataclass(slots=True)
class _Run:
    """What one pass over one list of rules knows and remembers."""

    inbound: bool
    local_address: str
    local_tags: Tags
    remote_tags: Tags | None
    super_accept: bool = False
    skip_drop: bool = False
    lenient: bool = False
    copy: Copy | None = None


_Match = Callable[[Packet, _Run], bool]


@dataclass(frozen=True, slots=True)
class _RuleBlock:
    """The matches before one action, and the action."""

    first: int
    index: int
    matches: tuple[tuple[_Match, bool], ...]
    action: str
    address: str = ""
    length: int = 0


@dataclass(frozen=True, slots=True)
class _Outcome:
    action: Literal["none", "accept", "drop", "redirect"]
    block: _RuleBlock | None = None
    super_accept: bool = False
    redirect_to: str | None = None


_NO_MATCH: Final = _Outcome("none")


def _plain(test: Callable[[Packet], bool], negate: bool) -> _Match:
    """A match whose result is simply inverted by `not`."""
    if negate:
        return lambda packet, run: not test(packet)
    return lambda packet, run: test(packet)


def _equal(attribute: str, value: object, negate: bool) -> _Match:
    read = operator.attrgetter(attribute)
    return _plain(lambda packet: bool(read(packet) == value), negate)


def _hard(test: Callable[[Packet], bool | None], negate: bool) -> _Match:
    """A match that doesn't apply to some packets: None fails it, with `not` as well as without."""

    def matches(packet: Packet, run: _Run) -> bool:
        result = test(packet)
        return result is not None and result != negate

    return matches


def _address_test(network: str, version: int, source: bool) -> Callable[[Packet], bool | None]:
    text, _, bits_text = network.partition("/")
    bits = int(bits_text)
    kind = ipaddress.IPv4Address if version == 4 else ipaddress.IPv6Address
    shift = (32 if version == 4 else 128) - bits
    value = int(kind(text))
    wanted = value >> shift
    # The node masks both sides of an IPv4 comparison, but only the packet's side of an IPv6 one: an IPv6 network with
    # host bits set matches nothing.
    impossible = version == 6 and (wanted << shift) != value

    def test(packet: Packet) -> bool | None:
        address = packet.ip_source if source else packet.ip_destination
        if not isinstance(address, kind):
            return None
        return not impossible and int(address) >> shift == wanted

    return test


def _tos_test(mask: int, start: int, end: int) -> Callable[[Packet], bool | None]:
    return lambda packet: None if packet.ip_tos is None else start <= (packet.ip_tos & mask) <= end


def _icmp_match(icmp_type: int, icmp_code: int | None, negate: bool) -> _Match:
    # With `not`, a packet of another type fails and one of this type with no code wanted succeeds: the node's way.
    def matches(packet: Packet, run: _Run) -> bool:
        if packet.icmp_type != icmp_type:
            return False
        return True if icmp_code is None else (packet.icmp_code == icmp_code) != negate

    return matches


def _port_test(start: int, end: int, source: bool) -> Callable[[Packet], bool | None]:
    def test(packet: Packet) -> bool | None:
        if packet.ip_protocol is None:
            return None
        port = packet.source_port if source else packet.destination_port
        if port is None or (port == 0 and packet.ethertype == ETHERTYPE_IPV6):
            return False
        return start <= port <= end

    return test


def _characteristics_match(mask: int, negate: bool) -> _Match:
    tcp = mask & 0xFFF

    def matches(packet: Packet, run: _Run) -> bool:
        found = bool(
            (mask & CHARACTERISTIC_INBOUND and run.inbound)
            or (tcp & packet.tcp_flags)
            or (mask & CHARACTERISTIC_IP_AUTHENTICATED and packet.ip_authenticated)
            or (mask & CHARACTERISTIC_MULTICAST and packet.multicast)
            or (mask & CHARACTERISTIC_BROADCAST and packet.broadcast)
            or (mask & CHARACTERISTIC_MAC_AUTHENTICATED and packet.mac_authenticated)
        )
        return found != negate

    return matches


_TAG_OPERATIONS: Final[Mapping[str, Callable[[int, int, int], bool]]] = {
    "MATCH_TAGS_DIFFERENCE": lambda local, remote, value: abs(local - remote) <= value,
    "MATCH_TAGS_BITWISE_AND": lambda local, remote, value: local & remote == value,
    "MATCH_TAGS_BITWISE_OR": lambda local, remote, value: local | remote == value,
    "MATCH_TAGS_BITWISE_XOR": lambda local, remote, value: local ^ remote == value,
    "MATCH_TAGS_EQUAL": lambda local, remote, value: local == value and remote == value,
}


def _assume(run: _Run) -> bool:
    """Take a match on unknown tags for granted; the next drop that would apply is then skipped once."""
    run.skip_drop = True
    run.lenient = True
    return True


def _both_tags_match(kind: str, tag: int, value: int, negate: bool) -> _Match:
    operation = _TAG_OPERATIONS[kind]

    def matches(packet: Packet, run: _Run) -> bool:
        local = run.local_tags.get(tag)
        if local is None:
            return False
        remote = None if run.remote_tags is None else run.remote_tags.get(tag)
        if remote is None:
            return False if run.inbound and not run.super_accept else _assume(run)
        return operation(local, remote, value) != negate

    return matches


def _one_tag_match(of_sender: bool, tag: int, value: int, negate: bool) -> _Match:
    def matches(packet: Packet, run: _Run) -> bool:
        if run.super_accept:
            return _assume(run)
        if of_sender != run.inbound:  # the tag of this end
            local = run.local_tags.get(tag)
            return local is not None and (local == value) != negate
        remote = None if run.remote_tags is None else run.remote_tags.get(tag)
        if remote is None:
            return False if of_sender else _assume(run)
        return (remote == value) != negate

    return matches


def _compile_match(rule: Mapping[str, Any], random32: Callable[[], int]) -> _Match:
    """A closure for one canonical match, `not` included."""
    kind: str = rule["type"]
    negate: bool = rule["not"]
    match kind:
        case "MATCH_SOURCE_ZEROTIER_ADDRESS":
            return _equal("zt_source", rule["zt"], negate)
        case "MATCH_DEST_ZEROTIER_ADDRESS":
            return _equal("zt_destination", rule["zt"], negate)
        case "MATCH_VLAN_ID":
            return _equal("vlan", rule["vlanId"], negate)
        case "MATCH_VLAN_PCP" | "MATCH_VLAN_DEI":  # the node sees neither and takes both as 0
            zero = rule[_NUMBER_MATCHES[kind][0]] == 0
            return _plain(lambda packet: zero, negate)
        case "MATCH_MAC_SOURCE":
            return _equal("mac_source", rule["mac"], negate)
        case "MATCH_MAC_DEST":
            return _equal("mac_destination", rule["mac"], negate)
        case "MATCH_IPV4_SOURCE" | "MATCH_IPV4_DEST":
            return _hard(_address_test(rule["ip"], 4, kind.endswith("SOURCE")), negate)
        case "MATCH_IPV6_SOURCE" | "MATCH_IPV6_DEST":
            return _hard(_address_test(rule["ip"], 6, kind.endswith("SOURCE")), negate)
        case "MATCH_IP_TOS":
            return _hard(_tos_test(rule["mask"], rule["start"], rule["end"]), negate)
        case "MATCH_IP_PROTOCOL":
            number = rule["ipProtocol"]
            return _hard(lambda packet: None if packet.ip_protocol is None else packet.ip_protocol == number, negate)
        case "MATCH_ETHERTYPE":
            return _equal("ethertype", rule["etherType"], negate)
        case "MATCH_ICMP":
            return _icmp_match(rule["icmpType"], rule["icmpCode"], negate)
        case "MATCH_IP_SOURCE_PORT_RANGE" | "MATCH_IP_DEST_PORT_RANGE":
            return _hard(_port_test(rule["start"], rule["end"], kind == "MATCH_IP_SOURCE_PORT_RANGE"), negate)
        case "MATCH_CHARACTERISTICS":
            return _characteristics_match(int(rule["mask"], 16), negate)
        case "MATCH_FRAME_SIZE_RANGE":
            start, end = rule["start"], rule["end"]
            return _plain(lambda packet: start <= packet.size <= end, negate)
        case "MATCH_RANDOM":
            probability = rule["probability"]
            return _plain(lambda packet: random32() <= probability, negate)
        case "MATCH_TAG_SENDER" | "MATCH_TAG_RECEIVER":
            return _one_tag_match(kind == "MATCH_TAG_SENDER", rule["id"], rule["value"], negate)
        case _:
            return _both_tags_match(kind, rule["id"], rule["value"], negate)


def _random32() -> int:
    return random.getrandbits(32)


class RuleSet:
    """A network's rules and, where wanted, capabilities, made ready once to be evaluated for many packets.

    Raises RuleError for a rule that a controller would drop on writing.
    """

    def __init__(self, rules: Sequence[object], *, random32: Callable[[], int] = _random32) -> None:
        blocks: list[_RuleBlock] = []
        matches: list[tuple[_Match, bool]] = []
        first = 0
        for index, rule in enumerate(rules):
            canonical = canonical_rule(rule)
            if canonical is None:
                kind = rule.get("type") if isinstance(rule, Mapping) else type(rule).__name__
                raise RuleError(f"rule {index}: no controller keeps a rule of type {kind!r}")
            kind = canonical["type"]
            if kind.startswith("MATCH_"):
                matches.append((_compile_match(canonical, random32), canonical["or"]))
                continue
            blocks.append(
                _RuleBlock(
                    first=first,
                    index=index,
                    matches=tuple(matches),
                    action=kind,
                    address=canonical.get("address", ""),
                    length=canonical.get("length", 0),
                )
            )
            matches = []
            first = index + 1
        self._blocks = tuple(blocks)

    def evaluate(
        self,
        packet: Packet,
        *,
        sender_tags: Tags | None,
        receiver_tags: Tags | None,
        capabilities: Sequence[RuleSet] = (),
        inbound: bool = False,
        local_address: str | None = None,
    ) -> Verdict:
        """Decide about one packet at one end.

        ``inbound`` false is the sender's filter, true the receiver's. Tags are maps from tag id to value; None means
        that this end doesn't know the other's tags (a sender before the first contact). ``capabilities`` are those of
        the sender, in the order of their ids. ``local_address`` is the node that evaluates, by default the sender or
        the receiver: only a node that gets teed or redirected packets differs.
        """
        remote_tags = sender_tags if inbound else receiver_tags
        local_tags = (receiver_tags if inbound else sender_tags) or {}
        if local_address is None:
            local_address = packet.zt_destination if inbound else packet.zt_source
        run = _Run(inbound, local_address, local_tags, remote_tags)
        outcome = self._run(packet, run)
        copies = () if run.copy is None else (run.copy,)
        lenient = run.lenient
        capability: int | None = None
        if outcome.action == "none":
            for index, rules in enumerate(capabilities):
                run = _Run(inbound, local_address, local_tags, remote_tags)
                tried = rules._run(packet, run)
                # A drop in a capability only ends that capability.
                if tried.action in ("accept", "redirect"):
                    outcome, capability, lenient = tried, index, lenient or run.lenient
                    if run.copy is not None:
                        copies = (*copies, run.copy)
                    break
        if outcome.action == "none":
            return Verdict("drop", lenient=lenient)
        block = outcome.block
        return Verdict(
            action=outcome.action,
            rule=None if block is None else block.index,
            first_rule=None if block is None else block.first,
            capability=capability,
            super_accept=outcome.super_accept,
            redirect_to=outcome.redirect_to,
            copies=() if outcome.action == "drop" else copies,
            lenient=lenient,
        )

    def _run(self, packet: Packet, run: _Run) -> _Outcome:
        for block in self._blocks:
            matched = True
            for match, is_or in block.matches:
                if is_or:
                    matched = match(packet, run) or matched
                elif matched:
                    matched = match(packet, run)
            if not matched:
                # A node that a tee, watch or redirect names accepts what was sent to it in spite of its addresses.
                if run.inbound and block.address and block.address == run.local_address:
                    run.super_accept = True
                continue
            match block.action:
                case "ACTION_ACCEPT":
                    return _Outcome("accept", block, super_accept=run.super_accept)
                case "ACTION_DROP":
                    if not run.skip_drop:
                        return _Outcome("drop", block)
                    run.skip_drop = False
                case "ACTION_BREAK":
                    return _NO_MATCH
                case _:
                    outcome = self._forward(packet, run, block)
                    if outcome is not None:
                        return outcome
        return _NO_MATCH

    @staticmethod
    def _forward(packet: Packet, run: _Run, block: _RuleBlock) -> _Outcome | None:
        if block.address == packet.zt_source:
            return None
        if block.address == run.local_address:
            return _Outcome("accept", block, super_accept=True) if run.inbound else None
        if block.address == packet.zt_destination:
            return None
        if block.action == "ACTION_REDIRECT":
            return _Outcome("redirect", block, redirect_to=block.address)
        run.copy = Copy(
            address=block.address,
            length=min(packet.size, block.length) if block.length else packet.size,
            watch=block.action == "ACTION_WATCH",
        )
        return None


def evaluate(
    rules: Sequence[object],
    packet: Packet,
    *,
    sender_tags: Tags | None,
    receiver_tags: Tags | None,
    capabilities: Sequence[Sequence[object]] = (),
    inbound: bool = False,
    local_address: str | None = None,
) -> Verdict:
    """Evaluate compiled rules once; keep a RuleSet instead where many packets meet the same rules."""
    return RuleSet(rules).evaluate(
        packet,
        sender_tags=sender_tags,
        receiver_tags=receiver_tags,
        capabilities=[RuleSet(capability) for capability in capabilities],
        inbound=inbound,
        local_address=local_address,
    )


@dataclass(frozen=True, slots=True)
class PathVerdict:
    """Both ends' decisions about one packet that is sent directly from its source to its destination."""

    outbound: Verdict
    inbound: Verdict | None
    delivered: bool = False


def evaluate_path(
    rules: RuleSet,
    packet: Packet,
    *,
    sender_tags: Tags,
    receiver_tags: Tags,
    capabilities: Sequence[RuleSet] = (),
    first_contact: bool = False,
) -> PathVerdict:
    """Decide about one packet on its whole way: the sender's filter, then the receiver's.

    ``first_contact`` evaluates the sender's side without the receiver's tags, as before the first exchange.
    """
    outbound = rules.evaluate(
        packet,
        sender_tags=sender_tags,
        receiver_tags=None if first_contact else receiver_tags,
        capabilities=capabilities,
    )
    if not outbound.accepted:
        return PathVerdict(outbound, None)
    inbound = rules.evaluate(
        packet, sender_tags=sender_tags, receiver_tags=receiver_tags, capabilities=capabilities, inbound=True
    )
    return PathVerdict(outbound, inbound, delivered=inbound.accepted)
