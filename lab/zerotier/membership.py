"""A node's membership of one network: its device, its configuration, and the filter every frame passes.

Knows nothing of the transport: frames come in and go out as bytes with the address of the other node.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from module_utils.zerotier_rules import (
    ETHERTYPE_ARP,
    PROTOCOL_ICMP,
    PROTOCOL_TCP,
    PROTOCOLS_WITH_PORTS,
    IPAddress,
    Packet,
    RuleError,
    RuleSet,
)

from . import addressing
from .tap import Tap, TapError
from .wire import frame_key

REQUESTING, DENIED, NOT_FOUND, OK, PORT_ERROR = (
    "REQUESTING_CONFIGURATION",
    "ACCESS_DENIED",
    "NOT_FOUND",
    "OK",
    "PORT_ERROR",
)
BROADCAST = b"\xff" * 6
ALLOW_FLAGS = ("allowManaged", "allowGlobal", "allowDefault", "allowDNS")
_DECISIONS_KEPT = 8192
# What a member may be pushed that isn't private is only taken with allowGlobal; ZeroTier counts 6PLANE as private.
_CARRIER_RANGE = ipaddress.ip_network("100.64.0.0/10")


@dataclass(slots=True)
class Member:
    """What the controller says about one authorised member of the network."""

    address: str
    public: bytes
    ips: frozenset[IPAddress]
    tags: dict[int, int]
    capabilities: list[RuleSet]
    key: bytes = b""
    previous_key: bytes = b""


@dataclass(slots=True)
class Allow:
    """The member's own permissions, from `<nwid>.local.conf`."""

    allowManaged: bool = True
    allowGlobal: bool = False
    allowDefault: bool = False
    allowDNS: bool = False

    @classmethod
    def parse(cls, text: str) -> Allow:
        allow = cls()
        for line in text.splitlines():
            name, _, value = line.partition("=")
            if name.strip() in ALLOW_FLAGS:
                setattr(allow, name.strip(), value.strip()[:1] in ("1", "t", "T"))
        return allow

    def to_text(self) -> str:
        return "".join(f"{name}={int(getattr(self, name))}\n" for name in ALLOW_FLAGS)


def _is_private(address: IPAddress) -> bool:
    if isinstance(address, ipaddress.IPv4Address):
        return address.is_private or address in _CARRIER_RANGE
    return address in ipaddress.ip_network("fc00::/7") or address.is_link_local


def _visible_to_rules(frame: bytes) -> bytes:
    """All that rules can see of an IPv4 frame without options, except its size; empty for other frames.

    Frames for which this is the same get the same verdict while the configuration stays.
    """
    if frame[12:15] != b"\x08\x00\x45" or len(frame) < 34:
        return b""
    protocol = frame[23]
    if protocol == PROTOCOL_TCP:
        transport = frame[34:38] + frame[46:48]
    elif protocol in PROTOCOLS_WITH_PORTS:
        transport = frame[34:38]
    elif protocol == PROTOCOL_ICMP:
        transport = frame[34:36]
    else:
        transport = b""
    # The length only as far as it decides whether the transport's header is there.
    return frame[:14] + bytes((frame[15], protocol, min(len(frame), 64))) + frame[26:34] + transport


@dataclass(slots=True)
class Membership:
    """One joined network. ``config`` is the controller's last answer, None before the first."""

    id: int
    node_address: str
    allow: Allow
    log: Callable[[str], None]
    config: dict[str, Any] | None = None
    status: str = REQUESTING
    port_error: int = 0
    revoked: bool = False
    tap: Tap | None = None
    members: dict[str, Member] = field(default_factory=dict)
    _by_ip: dict[IPAddress, str] = field(default_factory=dict)
    _rules: RuleSet | None = None
    _memorable: bool = False
    _decisions: dict[tuple[bytes, str, bool], bool] = field(default_factory=dict)
    _capabilities: dict[int, RuleSet] = field(default_factory=dict)

    @property
    def nwid(self) -> str:
        return f"{self.id:016x}"

    @property
    def mac(self) -> bytes:
        return addressing.node_mac(self.node_address, self.id)

    def open_tap(self) -> None:
        """Make the device; raises TapError when this host can't."""
        mtu = 2800 if self.config is None else int(self.config["mtu"])
        self.tap = Tap(addressing.device_name(self.id), self.mac, mtu)

    def close(self) -> None:
        if self.tap is not None:
            self.tap.close()
            self.tap = None

    # Configuration.

    def accept(self, config: dict[str, Any], pair_key: Callable[[str, bytes], bytes]) -> bool:
        """Take over a configuration; False when it is older than the one in force.

        ``pair_key(address, public)`` gives the key this node shares with another one.
        """
        if self.config is not None and config["sequence"] < self.config["sequence"]:
            return False
        rules = RuleSet(config["rules"])
        capabilities = {int(c["id"]): RuleSet(c["rules"]) for c in config["capabilities"]}
        previous = {member.address: member.key for member in self.members.values()}
        members = {}
        for address, public_hex, ips, tags, capability_ids in config["members"]:
            public = bytes.fromhex(public_hex)
            own = address == self.node_address
            key = b"" if own else frame_key(pair_key(address, public), config["key"])
            members[address] = Member(
                address=address,
                public=public,
                ips=frozenset(ipaddress.ip_address(ip) for ip in ips),
                tags=dict(tags),
                capabilities=[capabilities[number] for number in sorted(capability_ids) if number in capabilities],
                key=key,
                previous_key=previous.get(address, b""),
            )
        if self.node_address not in members:
            return False
        self.config, self.members, self._rules = config, members, rules
        self._by_ip = {ip: member.address for member in members.values() for ip in member.ips}
        texts = [rule["type"] for rule in config["rules"]]
        texts += [rule["type"] for capability in config["capabilities"] for rule in capability["rules"]]
        self._memorable = "MATCH_RANDOM" not in texts and "MATCH_FRAME_SIZE_RANGE" not in texts
        self._decisions.clear()
        self.status, self.revoked = OK, False
        self.apply_to_device()
        return True

    def revoke(self) -> None:
        """Stop all traffic at once; what is displayed follows later, as with the real node."""
        self.revoked = True
        self.members, self._by_ip, self._rules = {}, {}, None
        self._decisions.clear()

    def refuse(self, status: str) -> None:
        """Show that the controller refuses this node or doesn't know the network; its addresses stay, as really."""
        self.revoke()
        self.status = status

    def _wanted_addresses(self) -> list[str]:
        if self.config is None or not self.allow.allowManaged:
            return []
        wanted = []
        for text in self.config["addresses"]:
            interface = ipaddress.ip_interface(text)
            if interface.network.prefixlen and (self.allow.allowGlobal or _is_private(interface.ip)):
                wanted.append(str(text))
        return wanted

    def _wanted_routes(self) -> list[tuple[str, str]]:
        if self.config is None or not self.allow.allowManaged:
            return []
        own = {text.partition("/")[0] for text in self.config["addresses"]}
        versions = {ipaddress.ip_interface(text).version for text in self._wanted_addresses()}
        wanted = []
        for route in self.config["routes"]:
            target, via = ipaddress.ip_network(route["target"], strict=False), route["via"]
            if via is None or via in own or target.version not in versions:
                continue
            if target.prefixlen == 0:
                allowed = self.allow.allowDefault
            else:
                allowed = self.allow.allowGlobal or _is_private(target.network_address)
            if allowed:
                wanted.append((str(target), str(via)))
        return wanted

    def apply_to_device(self) -> None:
        """Bring the device to what configuration and permissions say."""
        if self.tap is None:
            return
        mtu = self.tap.mtu if self.config is None else int(self.config["mtu"])
        try:
            self.tap.configure(mtu, self._wanted_addresses(), self._wanted_routes())
        except TapError as error:
            self.log(f"network {self.nwid}: {error}")

    # Frames.

    def _allowed(self, frame: bytes, other: Member, inbound: bool) -> bool:
        """The verdict of the network's rules at this end for one frame between this node and another member."""
        rules, own = self._rules, self.members.get(self.node_address)
        if rules is None or own is None:
            return False
        key = (_visible_to_rules(frame), other.address, inbound) if self._memorable else None
        if key is not None and key[0]:
            known = self._decisions.get(key)
            if known is not None:
                return known
        sender, receiver = (other, own) if inbound else (own, other)
        packet = Packet.from_ethernet(
            frame, zt_source=sender.address, zt_destination=receiver.address, sender_addresses=sender.ips
        )
        verdict = rules.evaluate(
            packet,
            sender_tags=sender.tags,
            receiver_tags=receiver.tags,
            capabilities=sender.capabilities,
            inbound=inbound,
        ).accepted
        if key is not None and key[0]:
            if len(self._decisions) >= _DECISIONS_KEPT:
                self._decisions.clear()
            self._decisions[key] = verdict
        return verdict

    def _receivers_of_group(self, frame: bytes) -> list[Member]:
        """The receivers of a broadcast or multicast frame: ARP goes to the owner of the address, the rest to all."""
        assert self.config is not None
        others = [member for member in self.members.values() if member.address != self.node_address]
        is_arp = (frame[12] << 8 | frame[13]) == ETHERTYPE_ARP and len(frame) >= 42
        if is_arp:
            owner = self._by_ip.get(ipaddress.IPv4Address(frame[38:42]))
            if owner is not None:
                return [member for member in others if member.address == owner]
        if frame[:6] == BROADCAST and not is_arp and not self.config["enableBroadcast"]:
            return []
        return others[: self.config["multicastLimit"]]

    def outgoing(self, frame: bytes) -> list[Member]:
        """The members that a frame read from the device is to be sent to."""
        if self.config is None or len(frame) < 14 or frame[6:12] != self.mac:
            return []
        if frame[0] & 1:
            candidates = self._receivers_of_group(frame)
        else:
            address = addressing.node_of_mac(frame[:6], self.id)
            member = self.members.get(address) if address is not None else None
            candidates = [member] if member is not None and address != self.node_address else []
        return [member for member in candidates if self._allowed(frame, member, inbound=False)]

    def incoming(self, frame: bytes, sender: Member) -> bool:
        """True when a frame from another member may be written to the device."""
        if self.config is None or not 14 <= len(frame) <= int(self.config["mtu"]) + 18:
            return False
        if frame[6:12] != addressing.node_mac(sender.address, self.id):
            return False
        if not frame[0] & 1 and frame[:6] != self.mac:
            return False
        return self._allowed(frame, sender, inbound=True)

    # What the API shows.

    def _multicast(self) -> list[dict[str, Any]]:
        if self.tap is None:
            return []
        groups: list[dict[str, Any]] = [{"adi": 0, "mac": mac} for mac in self.tap.multicast_groups()]
        for text in self._wanted_addresses():
            address = ipaddress.ip_interface(text).ip
            if address.version == 4:
                groups.append({"adi": int(address), "mac": BROADCAST.hex(":")})
        return groups

    def to_json(self) -> dict[str, Any]:
        """The object of GET /network/<nwid>."""
        config = self.config or {}
        dns = config.get("dns")
        dns = dns if isinstance(dns, dict) else {}
        servers = dns.get("servers")
        return {
            "allowDNS": self.allow.allowDNS,
            "allowDefault": self.allow.allowDefault,
            "allowGlobal": self.allow.allowGlobal,
            "allowManaged": self.allow.allowManaged,
            "assignedAddresses": list(config.get("addresses", [])),
            "bridge": bool(config.get("bridge", False)),
            "broadcastEnabled": bool(config.get("enableBroadcast", False)),
            "dhcp": False,
            "dns": {"domain": dns.get("domain") or "", "servers": servers if isinstance(servers, list) else []},
            "id": self.nwid,
            "mac": self.mac.hex(":"),
            "mtu": int(config.get("mtu", 2800)),
            "multicastSubscriptions": self._multicast(),
            "name": config.get("name", ""),
            "netconfRevision": config.get("revision", 0),
            "nwid": self.nwid,
            "portDeviceName": addressing.device_name(self.id),
            "portError": self.port_error,
            "routes": [
                {"flags": 0, "metric": 0, "target": route["target"], "via": route["via"]}
                for route in config.get("routes", [])
            ],
            "status": PORT_ERROR if self.port_error else self.status,
            "type": "PUBLIC" if config and not config["private"] else "PRIVATE",
        }


def is_sound(config: object) -> bool:
    """True when a configuration from a file or from the controller can be used without surprises."""
    if not isinstance(config, dict):
        return False
    try:
        RuleSet(config["rules"])
        for capability in config["capabilities"]:
            int(capability["id"])
            RuleSet(capability["rules"])
        for text in config["addresses"]:
            ipaddress.ip_interface(text)
        for route in config["routes"]:
            ipaddress.ip_network(route["target"], strict=False)
            if route["via"] is not None:
                ipaddress.ip_address(route["via"])
        for address, public, ips, tags, capabilities in config["members"]:
            if len(bytes.fromhex(address)) != 5 or len(bytes.fromhex(public)) != 64:
                return False
            dict(tags)
            sorted(capabilities)
            for ip in ips:
                ipaddress.ip_address(ip)
        numbers = (config["sequence"], config["mtu"], config["multicastLimit"], config["revision"])
        booleans = (config["enableBroadcast"], config["private"], config["bridge"])
        return (
            all(isinstance(number, int) for number in numbers)
            and all(isinstance(value, bool) for value in booleans)
            and isinstance(config["name"], str)
            and len(bytes.fromhex(config["key"])) == 32
        )
    except (KeyError, TypeError, ValueError, RuleError):
        return False
