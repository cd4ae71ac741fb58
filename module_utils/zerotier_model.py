"""One typed model of ZeroTier networks and members, whichever control plane they come from.

Settings (what a caller may want) are plain dicts in one canonical form, so that two of them mean the same exactly when
they are equal; Network and Member (what a control plane says) are frozen dataclasses that know their settings.
Nothing here does I/O.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, TypedDict, cast

if TYPE_CHECKING:
    from module_utils.zerotier_rules import canonical_rules
else:
    from ansible.module_utils.zerotier_rules import canonical_rules

MTU_RANGE: Final = (1280, 10000)
MAXIMUM_DNS_SERVERS: Final = 4
MAXIMUM_ROUTES: Final = 128
MAXIMUM_ADDRESSES: Final = 32

TagValue = int
Rule = dict[str, Any]


class SettingsError(ValueError):
    """A wanted setting that can't be: the message names the setting, its value and what it should be."""


class MalformedAnswer(ValueError):
    """An answer of a control plane that isn't what its kind sends; the message names the field."""


class RouteSetting(TypedDict):
    target: str
    via: str | None


class PoolSetting(TypedDict):
    start: str
    end: str


class DnsSetting(TypedDict):
    domain: str
    servers: list[str]


class TagSetting(TypedDict):
    id: int
    default: int | None


class CapabilitySetting(TypedDict):
    id: int
    default: bool
    rules: list[Rule]


class NetworkSettings(TypedDict, total=False):
    """What may be wanted of a network; a key that isn't there is kept as it is."""

    name: str
    description: str
    private: bool
    enable_broadcast: bool
    multicast_limit: int
    mtu: int
    routes: list[RouteSetting]
    ip_assignment_pools: list[PoolSetting]
    v4_assign_mode: dict[str, bool]
    v6_assign_mode: dict[str, bool]
    dns: DnsSetting
    rules: list[Rule]
    rules_source: str
    tags: list[TagSetting]
    capabilities: list[CapabilitySetting]
    tags_by_name: dict[str, Any]
    capabilities_by_name: dict[str, int]


class MemberSettings(TypedDict, total=False):
    """What may be wanted of a member; a key that isn't there is kept as it is."""

    name: str
    description: str
    authorized: bool
    active_bridge: bool
    no_auto_assign_ips: bool
    ip_assignments: list[str]
    tags: dict[str, int]
    capabilities: list[int | str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A network as a control plane reports it. Times are ms since the epoch."""

    id: str
    name: str = ""
    description: str | None = None
    private: bool = True
    enable_broadcast: bool = True
    multicast_limit: int = 32
    mtu: int = 2800
    routes: tuple[RouteSetting, ...] = ()
    ip_assignment_pools: tuple[PoolSetting, ...] = ()
    v4_assign_mode: Mapping[str, bool] = field(default_factory=dict)
    v6_assign_mode: Mapping[str, bool] = field(default_factory=dict)
    dns: DnsSetting | None = None
    rules: tuple[Rule, ...] = ()
    rules_source: str | None = None
    tags: tuple[TagSetting, ...] = ()
    capabilities: tuple[CapabilitySetting, ...] = ()
    tags_by_name: Mapping[str, Any] = field(default_factory=dict)
    capabilities_by_name: Mapping[str, int] = field(default_factory=dict)
    creation_time: int | None = None
    revision: int | None = None
    total_member_count: int | None = None
    authorized_member_count: int | None = None

    def settings(self) -> NetworkSettings:
        """The settings in canonical form."""
        settings = NetworkSettings(
            name=self.name,
            private=self.private,
            enable_broadcast=self.enable_broadcast,
            multicast_limit=self.multicast_limit,
            mtu=self.mtu,
            routes=sorted(self.routes, key=_route_key),
            ip_assignment_pools=sorted(self.ip_assignment_pools, key=_pool_key),
            v4_assign_mode={"zt": self.v4_assign_mode.get("zt", False)},
            v6_assign_mode={mode: self.v6_assign_mode.get(mode, False) for mode in V6_ASSIGN_MODES},
            dns=self.dns or DnsSetting(domain="", servers=[]),
            rules=canonical_rules(self.rules),
            tags=sorted(self.tags, key=lambda tag: tag["id"]),
            capabilities=_canonical_capabilities(self.capabilities),
        )
        if self.description is not None:
            settings["description"] = self.description
        if self.rules_source is not None:
            settings["rules_source"] = self.rules_source
            settings["tags_by_name"] = dict(self.tags_by_name)
            settings["capabilities_by_name"] = dict(self.capabilities_by_name)
        return settings

    def as_dict(self) -> dict[str, Any]:
        """Everything that is known, as plain data."""
        return {
            **self.settings(),
            "id": self.id,
            "creation_time": self.creation_time,
            "revision": self.revision,
            "total_member_count": self.total_member_count,
            "authorized_member_count": self.authorized_member_count,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A member of a network as a control plane reports it. Times are ms since the epoch, None where unknown.

    ``tags`` maps the tag's id as text (a name on Central v2, which has no values) to its value.
    """

    network_id: str
    address: str
    name: str = ""
    description: str | None = None
    authorized: bool = False
    active_bridge: bool = False
    no_auto_assign_ips: bool = False
    ip_assignments: tuple[str, ...] = ()
    tags: Mapping[str, int] = field(default_factory=dict)
    capabilities: tuple[int | str, ...] = ()
    rejected: bool = False
    identity: str | None = None
    creation_time: int | None = None
    last_authorized_time: int | None = None
    last_deauthorized_time: int | None = None
    last_seen: int | None = None
    physical_address: str | None = None
    client_version: str | None = None
    revision: int | None = None

    def settings(self) -> MemberSettings:
        """The settings in canonical form."""
        settings = MemberSettings(
            name=self.name,
            authorized=self.authorized,
            active_bridge=self.active_bridge,
            no_auto_assign_ips=self.no_auto_assign_ips,
            ip_assignments=_sorted_addresses(self.ip_assignments),
            tags=dict(sorted(self.tags.items())),
            capabilities=sorted(self.capabilities, key=str),
        )
        if self.description is not None:
            settings["description"] = self.description
        return settings

    def as_dict(self) -> dict[str, Any]:
        """Everything that is known, as plain data."""
        return {
            **self.settings(),
            "network_id": self.network_id,
            "address": self.address,
            "rejected": self.rejected,
            "identity": self.identity,
            "creation_time": self.creation_time,
            "last_authorized_time": self.last_authorized_time,
            "last_deauthorized_time": self.last_deauthorized_time,
            "last_seen": self.last_seen,
            "physical_address": self.physical_address,
            "client_version": self.client_version,
            "revision": self.revision,
        }


@dataclass(frozen=True, slots=True)
class Presence:
    """When a control plane last heard from a node (ms since the epoch), and from where."""

    last_seen: int | None
    physical_address: str | None
    client_version: str | None


def with_presence(member: Member, presence: Mapping[str, Presence]) -> Member:
    """The member with what is known of its node's presence, where the member itself doesn't tell."""
    seen = presence.get(member.address)
    if seen is None:
        return member
    return replace(
        member,
        last_seen=member.last_seen or seen.last_seen,
        physical_address=member.physical_address or seen.physical_address,
        client_version=member.client_version or seen.client_version,
    )


V6_ASSIGN_MODES: Final = ("6plane", "rfc4193", "zt")


def _sorted_addresses(addresses: Iterable[str]) -> list[str]:
    given = list(addresses)
    # Thousands of members have one address each, and reading an address is what sorting costs.
    return sorted(given, key=_address_key) if len(given) > 1 else given


def _address_key(text: str) -> tuple[int, int]:
    address = ipaddress.ip_address(text)
    return address.version, int(address)


def _route_key(route: RouteSetting) -> tuple[int, int, int, str]:
    network = ipaddress.ip_network(route["target"], strict=False)
    return network.version, int(network.network_address), network.prefixlen, route["via"] or ""


def _pool_key(pool: PoolSetting) -> tuple[int, int]:
    return _address_key(pool["start"])


def _canonical_capabilities(capabilities: Iterable[CapabilitySetting]) -> list[CapabilitySetting]:
    return [
        CapabilitySetting(id=entry["id"], default=entry["default"], rules=canonical_rules(entry["rules"]))
        for entry in sorted(capabilities, key=lambda entry: entry["id"])
    ]


# Wanted settings


def node_address(value: object) -> str:
    """A node's address in lower case; raises SettingsError when it isn't 10 hexadecimal digits."""
    if not isinstance(value, str) or not re.fullmatch(r"[0-9a-fA-F]{10}", value.strip()):
        raise SettingsError(f"{value!r} is no ZeroTier address: it has 10 hexadecimal digits")
    address = value.strip().lower()
    if address == "0000000000" or address.startswith("ff"):
        raise SettingsError(f"{value!r} is a reserved ZeroTier address")
    return address


def network_id(value: object) -> str:
    """A network's id in lower case; raises SettingsError when it isn't 16 hexadecimal digits."""
    if not isinstance(value, str) or not re.fullmatch(r"[0-9a-fA-F]{16}", value.strip()):
        raise SettingsError(f"{value!r} is no ZeroTier network id: it has 16 hexadecimal digits")
    return value.strip().lower()


def _wanted(value: object, kind: type | tuple[type, ...], what: str, expected: str) -> Any:
    if not isinstance(value, kind) or (
        isinstance(value, bool) and bool not in (kind if isinstance(kind, tuple) else (kind,))
    ):
        raise SettingsError(f"{what}: {expected} was expected, not {value!r}")
    return value


def _wanted_integer(value: object, what: str, smallest: int, largest: int) -> int:
    number: int = _wanted(value, int, what, f"a number from {smallest} to {largest}")
    if not smallest <= number <= largest:
        raise SettingsError(f"{what}: {number} isn't from {smallest} to {largest}")
    return number


def _wanted_address(value: object, what: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    text = _wanted(value, str, what, "an IP address")
    if "/" in text:
        raise SettingsError(f"{what}: {text!r} has a prefix length, which the control plane would silently drop")
    try:
        return ipaddress.ip_address(text.strip())
    except ValueError:
        raise SettingsError(f"{what}: {text!r} is no IP address") from None


def _wanted_routes(value: object) -> list[RouteSetting]:
    routes: list[RouteSetting] = []
    for index, entry in enumerate(_wanted(value, list, "routes", "a list")):
        what = f"routes[{index}]"
        _wanted(entry, dict, what, "a dictionary with target and via")
        if unknown := set(entry) - {"target", "via"}:
            raise SettingsError(f"{what}: {', '.join(sorted(map(str, unknown)))} means nothing in a route")
        try:
            target = ipaddress.ip_network(_wanted(entry.get("target"), str, f"{what}.target", "a network").strip())
        except ValueError as error:
            raise SettingsError(f"{what}.target: {error}") from None
        via: str | None = None
        if entry.get("via") not in (None, ""):
            address = _wanted_address(entry["via"], f"{what}.via")
            if address.version != target.version:
                raise SettingsError(f"{what}: via {address} and target {target} are of different IP versions")
            via = str(address)
        route = RouteSetting(target=str(target), via=via)
        if route in routes:
            raise SettingsError(f"{what}: the route to {target} is there twice")
        routes.append(route)
    if len(routes) > MAXIMUM_ROUTES:
        raise SettingsError(f"routes: {len(routes)} are more than the {MAXIMUM_ROUTES} that nodes take")
    return sorted(routes, key=_route_key)


def _wanted_pools(value: object) -> list[PoolSetting]:
    pools: list[PoolSetting] = []
    for index, entry in enumerate(_wanted(value, list, "ip_assignment_pools", "a list")):
        what = f"ip_assignment_pools[{index}]"
        _wanted(entry, dict, what, "a dictionary with start and end")
        if unknown := set(entry) - {"start", "end"}:
            raise SettingsError(f"{what}: {', '.join(sorted(map(str, unknown)))} means nothing in a pool")
        start = _wanted_address(entry.get("start"), f"{what}.start")
        end = _wanted_address(entry.get("end"), f"{what}.end")
        if start.version != end.version or int(start) > int(end):
            raise SettingsError(f"{what}: {start} to {end} is no range")
        pools.append(PoolSetting(start=str(start), end=str(end)))
    return sorted(pools, key=_pool_key)


def _wanted_modes(value: object, what: str, modes: Sequence[str]) -> dict[str, bool]:
    given = _wanted(value, dict, what, "a dictionary")
    if unknown := set(given) - set(modes):
        raise SettingsError(f"{what}: {', '.join(sorted(map(str, unknown)))} is no mode, {', '.join(modes)} are")
    return {mode: _wanted(given.get(mode, False), bool, f"{what}.{mode}", "true or false") for mode in modes}


def _wanted_dns(value: object) -> DnsSetting:
    given = _wanted(value, dict, "dns", "a dictionary with domain and servers")
    if unknown := set(given) - {"domain", "servers"}:
        raise SettingsError(f"dns: {', '.join(sorted(map(str, unknown)))} means nothing there")
    servers = _wanted(given.get("servers") or [], list, "dns.servers", "a list")
    if len(servers) > MAXIMUM_DNS_SERVERS:
        raise SettingsError(f"dns.servers: {len(servers)} are more than the {MAXIMUM_DNS_SERVERS} that nodes take")
    return DnsSetting(
        domain=_wanted(given.get("domain") or "", str, "dns.domain", "a domain name"),
        servers=[str(_wanted_address(server, f"dns.servers[{index}]")) for index, server in enumerate(servers)],
    )


def _wanted_rules(value: object, what: str) -> list[Rule]:
    rules = _wanted(value, list, what, "a list of compiled rules")
    canonical = canonical_rules(rules)
    if len(canonical) != len(rules):
        for index, rule in enumerate(rules):
            if not canonical_rules([rule]):
                kind = rule.get("type") if isinstance(rule, dict) else rule
                raise SettingsError(f"{what}[{index}]: no control plane keeps a rule of type {kind!r}")
    return canonical


def _wanted_tags(value: object) -> list[TagSetting]:
    tags: dict[int, TagSetting] = {}
    for index, entry in enumerate(_wanted(value, list, "tags", "a list")):
        what = f"tags[{index}]"
        _wanted(entry, dict, what, "a dictionary with id and default")
        tag_id = _wanted_integer(entry.get("id"), f"{what}.id", 0, 0xFFFFFFFF)
        default = entry.get("default")
        if default is not None:
            default = _wanted_integer(default, f"{what}.default", 0, 0xFFFFFFFF)
        if tag_id in tags:
            raise SettingsError(f"{what}: the tag {tag_id} is there twice")
        tags[tag_id] = TagSetting(id=tag_id, default=default)
    return [tags[tag_id] for tag_id in sorted(tags)]


def _wanted_capabilities(value: object) -> list[CapabilitySetting]:
    capabilities: dict[int, CapabilitySetting] = {}
    for index, entry in enumerate(_wanted(value, list, "capabilities", "a list")):
        what = f"capabilities[{index}]"
        _wanted(entry, dict, what, "a dictionary with id, default and rules")
        capability_id = _wanted_integer(entry.get("id"), f"{what}.id", 0, 0xFFFFFFFF)
        if capability_id in capabilities:
            raise SettingsError(f"{what}: the capability {capability_id} is there twice")
        capabilities[capability_id] = CapabilitySetting(
            id=capability_id,
            default=_wanted(entry.get("default", False), bool, f"{what}.default", "true or false"),
            rules=_wanted_rules(entry.get("rules", []), f"{what}.rules"),
        )
    return [capabilities[capability_id] for capability_id in sorted(capabilities)]


def wanted_network(given: Mapping[str, Any]) -> NetworkSettings:
    """Check wanted settings of a network strictly and bring them into canonical form.

    Keys whose value is None are left out. Raises SettingsError.
    """
    settings: dict[str, Any] = {}
    for name, value in given.items():
        if value is None:
            continue
        match name:
            case "name" | "description" | "rules_source":
                settings[name] = _wanted(value, str, name, "a text")
            case "private" | "enable_broadcast":
                settings[name] = _wanted(value, bool, name, "true or false")
            case "multicast_limit":
                settings[name] = _wanted_integer(value, name, 0, 0xFFFF)
            case "mtu":
                settings[name] = _wanted_integer(value, name, *MTU_RANGE)
            case "routes":
                settings[name] = _wanted_routes(value)
            case "ip_assignment_pools":
                settings[name] = _wanted_pools(value)
            case "v4_assign_mode":
                settings[name] = _wanted_modes(value, name, ("zt",))
            case "v6_assign_mode":
                settings[name] = _wanted_modes(value, name, V6_ASSIGN_MODES)
            case "dns":
                settings[name] = _wanted_dns(value)
            case "rules":
                settings[name] = _wanted_rules(value, name)
            case "tags":
                settings[name] = _wanted_tags(value)
            case "capabilities":
                settings[name] = _wanted_capabilities(value)
            case "tags_by_name" | "capabilities_by_name":
                settings[name] = _wanted(value, dict, name, "a dictionary")
            case _:
                raise SettingsError(f"{name} is no setting of a network")
    return cast(NetworkSettings, settings)


def pools_outside_routes(settings: NetworkSettings) -> list[PoolSetting]:
    """The pools from which no address would ever be assigned, for want of a managed route without a gateway."""
    targets = [ipaddress.ip_network(r["target"], strict=False) for r in settings.get("routes", []) if r["via"] is None]
    return [
        pool
        for pool in settings.get("ip_assignment_pools", [])
        if not any(
            ipaddress.ip_address(pool["start"]) in target and ipaddress.ip_address(pool["end"]) in target
            for target in targets
        )
    ]


def wanted_member(given: Mapping[str, Any], tags_by_name: Mapping[str, Any] | None = None) -> MemberSettings:
    """Check wanted settings of a member strictly and bring them into canonical form.

    ``tags_by_name`` (``{"role": {"id": 1, "enums": {"app": 1}, "flags": {}}}``) gives the names that tags may be wanted
    by; a list of flags is their union. Keys whose value is None are left out. Raises SettingsError.
    """
    settings: dict[str, Any] = {}
    for name, value in given.items():
        if value is None:
            continue
        match name:
            case "name" | "description":
                settings[name] = _wanted(value, str, name, "a text")
            case "authorized" | "active_bridge" | "no_auto_assign_ips":
                settings[name] = _wanted(value, bool, name, "true or false")
            case "ip_assignments":
                settings[name] = _wanted_assignments(value)
            case "tags":
                settings[name] = resolve_tags(value, tags_by_name or {})
            case "capabilities":
                entries = _wanted(value, list, name, "a list of capability ids")
                for index, entry in enumerate(entries):
                    _wanted(entry, (int, str), f"{name}[{index}]", "a capability's id")
                settings[name] = sorted(dict.fromkeys(entries), key=str)
            case _:
                raise SettingsError(f"{name} is no setting of a member")
    return cast(MemberSettings, settings)


def _wanted_assignments(value: object) -> list[str]:
    addresses = [
        str(_wanted_address(entry, f"ip_assignments[{index}]"))
        for index, entry in enumerate(_wanted(value, list, "ip_assignments", "a list"))
    ]
    if len(set(addresses)) != len(addresses):
        raise SettingsError(f"ip_assignments: {', '.join(addresses)} has an address twice")
    if len(addresses) > MAXIMUM_ADDRESSES:
        raise SettingsError(f"ip_assignments: {len(addresses)} are more than the {MAXIMUM_ADDRESSES} that nodes take")
    return _sorted_addresses(addresses)


def resolve_tags(value: object, tags_by_name: Mapping[str, Any]) -> dict[str, int]:
    """Turn tags by name or id (``{"role": "app", "2": 7, "flags": ["read", "write"]}``) into ``{"1": 1, …}``."""
    resolved: dict[str, int] = {}
    for tag, wanted in _wanted(value, dict, "tags", "a dictionary from tag to value").items():
        definition = tags_by_name.get(str(tag))
        if definition is not None:
            tag_id = _wanted_integer(definition.get("id"), f"the id of the tag {tag}", 0, 0xFFFFFFFF)
        elif isinstance(tag, int) or re.fullmatch(r"[0-9]+", str(tag)):
            tag_id = int(tag)
        else:
            known = ", ".join(sorted(tags_by_name)) or "none"
            raise SettingsError(f"tags: the tag {tag!r} isn't defined in the network (defined: {known})")
        if str(tag_id) in resolved:
            raise SettingsError(f"tags: the tag {tag_id} is there twice")
        resolved[str(tag_id)] = _tag_value(str(tag), wanted, definition or {})
    return dict(sorted(resolved.items()))


def _tag_value(tag: str, wanted: object, definition: Mapping[str, Any]) -> int:
    if isinstance(wanted, bool):
        return int(wanted)
    if isinstance(wanted, int):
        return _wanted_integer(wanted, f"tags.{tag}", 0, 0xFFFFFFFF)
    flags = definition.get("flags") or {}
    names = {**(definition.get("enums") or {}), **flags}
    if isinstance(wanted, list):
        value = 0
        for flag in wanted:
            if flag not in flags:
                raise SettingsError(f"tags.{tag}: {flag!r} is none of its flags ({', '.join(sorted(flags)) or 'none'})")
            value |= int(flags[flag])
        return value
    if isinstance(wanted, str):
        if wanted in names:
            return int(names[wanted])
        if re.fullmatch(r"[0-9]+", wanted):
            return _wanted_integer(int(wanted), f"tags.{tag}", 0, 0xFFFFFFFF)
    raise SettingsError(
        f"tags.{tag}: {wanted!r} is no number and none of its names ({', '.join(sorted(names)) or 'none'})"
    )


def tag_definitions(network: Network, given: Mapping[str, Any] | None, what: str = "tag_definitions") -> dict[str, Any]:
    """The names of tags and their values: those that the control plane keeps, overridden by the given ones."""
    definitions: dict[str, Any] = dict(network.tags_by_name)
    for name, definition in (given or {}).items():
        if not isinstance(definition, Mapping) or not isinstance(definition.get("id"), int):
            raise SettingsError(f"{what}.{name}: a dictionary with a numeric id was expected")
        definitions[str(name)] = dict(definition)
    return definitions


def differences(wanted: Mapping[str, Any], current: Mapping[str, Any]) -> dict[str, Any]:
    """The wanted settings, in canonical form, that the current ones don't equal."""
    return {name: value for name, value in wanted.items() if name not in current or current[name] != value}


# What a member's addresses must keep to


def address_conflicts(address: str, settings: MemberSettings, network: Network, others: Iterable[Member]) -> list[str]:
    """Why these addresses can't be assigned to this member: outside of the managed routes, or another member's.

    One sentence for each; an empty list when all is well.
    """
    wanted = settings.get("ip_assignments")
    if not wanted:
        return []
    targets = [ipaddress.ip_network(r["target"], strict=False) for r in network.routes if r["via"] is None]
    shown = ", ".join(map(str, targets)) or "none"
    problems = [
        f"{text} is outside of the network's managed routes without a gateway ({shown})"
        for text in wanted
        if not any(ipaddress.ip_address(text) in target for target in targets)
    ]
    taken = {text: other.address for other in others if other.address != address for text in other.ip_assignments}
    problems += [f"{text} is already assigned to the member {taken[text]}" for text in wanted if text in taken]
    return problems


# What control planes say


class Reader:
    """Reads the fields of one JSON object strictly; null counts as absent, a wrong type raises MalformedAnswer."""

    __slots__ = ("_data", "_where")

    def __init__(self, data: object, where: str) -> None:
        if not isinstance(data, dict):
            raise MalformedAnswer(f"{where}: an object was expected, not {_kind(data)}")
        self._data: dict[str, Any] = data
        self._where = where

    def _fail(self, name: str, expected: str, value: object) -> MalformedAnswer:
        return MalformedAnswer(f"{self._where}.{name}: {expected} was expected, not {_kind(value)}")

    def has(self, name: str) -> bool:
        """True when the field is there and not null."""
        return self._data.get(name) is not None

    def text(self, name: str, default: str | None = None) -> str:
        """A text field; raises when it is absent and has no default."""
        value = self._data.get(name)
        if value is None and default is not None:
            return default
        if not isinstance(value, str):
            raise self._fail(name, "a text", value)
        return value

    def optional_text(self, name: str) -> str | None:
        """A text field, or None."""
        value = self._data.get(name)
        if value is not None and not isinstance(value, str):
            raise self._fail(name, "a text", value)
        return value

    def boolean(self, name: str, default: bool) -> bool:
        """A boolean field."""
        value = self._data.get(name)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self._fail(name, "true or false", value)
        return value

    def optional_integer(self, name: str) -> int | None:
        """A whole number, or None."""
        value = self._data.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int):
            raise self._fail(name, "a whole number", value)
        return value

    def integer(self, name: str, default: int) -> int:
        """A whole number."""
        value = self.optional_integer(name)
        return default if value is None else value

    def moment(self, name: str) -> int | None:
        """A time as ms since the epoch, from such a number or from RFC 3339 text; None where there is none."""
        value = self._data.get(name)
        if not isinstance(value, str):
            return self.optional_integer(name) or None
        try:
            return int(datetime.fromisoformat(value).timestamp() * 1000) if value else None
        except ValueError:
            raise self._fail(name, "a time", value) from None

    def objects(self, name: str) -> list[Reader]:
        """A list of objects; null and absence are an empty list."""
        return [Reader(entry, f"{self._where}.{name}[{index}]") for index, entry in enumerate(self.list(name))]

    def list(self, name: str) -> list[Any]:
        """A list; null and absence are an empty one."""
        value = self._data.get(name)
        if value is None:
            return []
        if not isinstance(value, list):
            raise self._fail(name, "a list", value)
        return value

    def mapping(self, name: str) -> dict[str, Any]:
        """An object; null, absence and the empty list that controllers write for 'nothing' are an empty one."""
        value = self._data.get(name)
        if value is None or value == []:
            return {}
        if not isinstance(value, dict):
            raise self._fail(name, "an object", value)
        return value

    def object(self, name: str) -> Reader:
        """An object to read from; see mapping."""
        return Reader(self.mapping(name), f"{self._where}.{name}")

    def addresses(self, name: str) -> tuple[str, ...]:
        """A list of IP addresses in canonical spelling."""
        found = []
        for entry in self.list(name):
            try:
                found.append(str(ipaddress.ip_address(entry)))
            except ValueError:
                raise self._fail(name, "a list of IP addresses", entry) from None
        return tuple(found)

    def address(self, *names: str) -> str:
        """A node's address in lower case, from the first of these fields that is there."""
        for name in names:
            value = self._data.get(name)
            if value is not None:
                if isinstance(value, str) and re.fullmatch(r"[0-9a-fA-F]{10}", value):
                    return value.lower()
                raise self._fail(name, "a node's address", value)
        raise self._fail(names[0], "a node's address", None)

    def identifier(self, *names: str) -> str:
        """A network's id in lower case, from the first of these fields that is there."""
        for name in names:
            value = self._data.get(name)
            if value is not None:
                if isinstance(value, str) and re.fullmatch(r"[0-9a-fA-F]{16}", value):
                    return value.lower()
                raise self._fail(name, "a network's id", value)
        raise self._fail(names[0], "a network's id", None)


def _kind(value: object) -> str:
    if value is None:
        return "null"
    names = {bool: "a boolean", int: "a number", float: "a number", str: "a text", list: "a list", dict: "an object"}
    return names.get(type(value), type(value).__name__)


def read_routes(reader: Reader, name: str = "routes") -> tuple[RouteSetting, ...]:
    """Managed routes; an absent, null or empty via is None."""
    return tuple(
        RouteSetting(target=_target(route), via=route.optional_text("via") or None) for route in reader.objects(name)
    )


def _target(route: Reader) -> str:
    target = route.text("target")
    try:
        ipaddress.ip_network(target, strict=False)
    except ValueError:
        raise MalformedAnswer(f"routes: {target!r} is no network") from None
    return target


def read_pools(reader: Reader, name: str = "ipAssignmentPools") -> tuple[PoolSetting, ...]:
    """Ranges of addresses to assign from."""
    pools = []
    for pool in reader.objects(name):
        start, end = pool.text("ipRangeStart"), pool.text("ipRangeEnd")
        try:
            pools.append(PoolSetting(start=str(ipaddress.ip_address(start)), end=str(ipaddress.ip_address(end))))
        except ValueError:
            raise MalformedAnswer(f"{name}: {start!r} to {end!r} is no range of addresses") from None
    return tuple(pools)


def read_dns(reader: Reader) -> DnsSetting | None:
    """The DNS setting; the empty list that a controller has at first is None."""
    dns = reader.object("dns")
    domain, servers = dns.text("domain", ""), dns.list("servers")
    return DnsSetting(domain=domain, servers=[str(server) for server in servers]) if domain or servers else None


def read_modes(reader: Reader, name: str) -> dict[str, bool]:
    """An assign mode; missing keys count as false."""
    modes = reader.object(name)
    return {mode: modes.boolean(mode, False) for mode in V6_ASSIGN_MODES}


def read_tag_definitions(reader: Reader) -> tuple[TagSetting, ...]:
    """The tags that a network defines."""
    return tuple(
        TagSetting(id=tag.integer("id", 0), default=tag.optional_integer("default")) for tag in reader.objects("tags")
    )


def read_capabilities(reader: Reader) -> tuple[CapabilitySetting, ...]:
    """The capabilities that a network defines."""
    return tuple(
        CapabilitySetting(id=entry.integer("id", 0), default=entry.boolean("default", False), rules=entry.list("rules"))
        for entry in reader.objects("capabilities")
    )


def read_member_tags(reader: Reader) -> dict[str, int]:
    """A member's tags from ``[[id, value], …]``; Central may write a boolean for a value."""
    tags: dict[str, int] = {}
    for pair in reader.list("tags"):
        if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(number, int) for number in pair):
            raise MalformedAnswer(f"tags: a pair of id and value was expected, not {pair!r}")
        tags[str(int(pair[0]))] = int(pair[1])
    return tags


def version_text(major: int, minor: int, revision: int) -> str | None:
    """A version from its numbers; None before the first contact, when they are -1."""
    return None if major < 0 else f"{major}.{minor}.{revision}"
