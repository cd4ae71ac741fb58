"""Turn members of ZeroTier networks into inventory hosts. Pure: records in, hosts with variables and groups out.

Records are plain data, so that they can come from a cache. Nothing that an API said is ever a template or decides about
more than its own host's values: names that can't be host names are passed over.
"""

from __future__ import annotations

import fnmatch
import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from module_utils.zerotier_addresses import rfc4193_address, sixplane_address
else:
    from ansible.module_utils.zerotier_addresses import rfc4193_address, sixplane_address

HOSTNAME_SOURCES: Final = (
    "name",
    "description",
    "address",
    "managed_ipv4",
    "managed_ipv6",
    "rfc4193",
    "6plane",
    "physical_address",
)
HOST_ADDRESS_SOURCES: Final = ("managed_ipv4", "managed_ipv6", "rfc4193", "6plane", "physical_address")
# What of a member is needed here; a cache keeps no more than that.
MEMBER_FIELDS: Final = (
    "address",
    "name",
    "description",
    "authorized",
    "rejected",
    "active_bridge",
    "ip_assignments",
    "tags",
    "capabilities",
    "last_seen",
    "physical_address",
    "client_version",
)
FILTER_KEYS: Final = ("address", "name", "network", "authorized", "online", "tags")
# What a name of a member has to look like to be a host's: no pattern characters, no white space.
_HOSTNAME: Final = re.compile(r"\w[\w.:-]*", re.UNICODE)


class InventoryOptionError(ValueError):
    """An option that can't be; the message names it."""


@dataclass(frozen=True, slots=True)
class Options:
    """How hosts are made. ``online_window`` is in seconds."""

    hostnames: Sequence[str] = ("name", "address")
    ansible_host: Sequence[str] = HOST_ADDRESS_SOURCES
    hostvars_prefix: str = "zerotier_"
    group_prefix: str = "zerotier_"
    online_window: float = 180.0
    include_filters: Sequence[Mapping[str, Any]] = ()
    exclude_filters: Sequence[Mapping[str, Any]] = ()


@dataclass(slots=True)
class Host:
    """One node: its inventory name, variables and groups."""

    address: str
    name: str
    variables: dict[str, Any]
    groups: list[str] = field(default_factory=list)


def check_options(options: Options) -> None:
    """Raise InventoryOptionError for an unknown source or key of a filter, or a prefix that makes no variable."""
    if not f"{options.hostvars_prefix}name".isidentifier():
        raise InventoryOptionError(f"hostvars_prefix: {options.hostvars_prefix!r} begins no name of a variable")
    for what, given, known in (
        ("hostnames", options.hostnames, HOSTNAME_SOURCES),
        ("ansible_host", options.ansible_host, HOST_ADDRESS_SOURCES),
    ):
        for source in given:
            if source not in known:
                raise InventoryOptionError(f"{what}: {source!r} is none of {', '.join(known)}")
    for what, filters in (
        ("include_filters", options.include_filters),
        ("exclude_filters", options.exclude_filters),
    ):
        for index, entry in enumerate(filters):
            if not isinstance(entry, Mapping) or not entry:
                raise InventoryOptionError(
                    f"{what}[{index}]: a dictionary with one of {', '.join(FILTER_KEYS)} is expected"
                )
            for key, value in entry.items():
                if key not in FILTER_KEYS:
                    raise InventoryOptionError(f"{what}[{index}]: {key!r} is none of {', '.join(FILTER_KEYS)}")
                if key in ("authorized", "online") and not isinstance(value, bool):
                    raise InventoryOptionError(f"{what}[{index}].{key}: true or false was expected, not {value!r}")
                if key == "tags" and not isinstance(value, Mapping):
                    raise InventoryOptionError(f"{what}[{index}].tags: a dictionary was expected, not {value!r}")


@dataclass(slots=True)
class _Tags:
    """The tags of one network, ready to name values."""

    names: dict[str, str]
    values: dict[str, dict[int, str]]
    flags: dict[str, dict[str, int]]

    @classmethod
    def of(cls, definitions: Mapping[str, Any]) -> _Tags:
        names: dict[str, str] = {}
        values: dict[str, dict[int, str]] = {}
        flags: dict[str, dict[str, int]] = {}
        for name, definition in definitions.items():
            tag_id = str(definition["id"])
            names[tag_id] = str(name)
            values[tag_id] = {int(value): str(enum) for enum, value in (definition.get("enums") or {}).items()}
            flags[tag_id] = {str(flag): int(bits) for flag, bits in (definition.get("flags") or {}).items()}
        return cls(names, values, flags)

    def named(self, tags: Mapping[str, int]) -> dict[str, Any]:
        """Tags by name with enums by name: ``{"role": "app", "community": 1, "1000": 7}``."""
        return {
            self.names.get(tag_id, tag_id): self.values.get(tag_id, {}).get(value, value)
            for tag_id, value in tags.items()
        }

    def groups(self, tags: Mapping[str, int]) -> list[str]:
        """``role_app`` for an enum, ``rights_read`` for each set flag, ``community_1`` for a plain value."""
        groups = []
        for tag_id, value in tags.items():
            name = self.names.get(tag_id, f"tag_{tag_id}")
            enum = self.values.get(tag_id, {}).get(value)
            flags = [flag for flag, bits in self.flags.get(tag_id, {}).items() if bits and value & bits == bits]
            if enum is not None:
                groups.append(f"{name}_{enum}")
            elif flags:
                groups += [f"{name}_{flag}" for flag in flags]
            else:
                groups.append(f"{name}_{value}")
        return groups


def _first(version: int, addresses: Iterable[str]) -> str | None:
    """The lowest address of an IP version; ``addresses`` are in canonical spelling."""
    wanted = [text for text in addresses if (":" in text) == (version == 6)]
    return (
        min(wanted, key=lambda text: int(ipaddress.ip_address(text))) if len(wanted) > 1 else next(iter(wanted), None)
    )


@dataclass(slots=True)
class _Node:
    """All memberships of one node, in the order of the networks."""

    address: str
    memberships: list[dict[str, Any]] = field(default_factory=list)
    groups: dict[str, None] = field(default_factory=dict)

    def first_of(self, name: str) -> Any:
        return next((entry[name] for entry in self.memberships if entry[name]), None)

    def source(self, name: str) -> str | None:
        """The value of one hostname or address source."""
        if name == "address":
            return self.address
        if name in ("managed_ipv4", "managed_ipv6"):
            version = 4 if name == "managed_ipv4" else 6
            for entry in self.memberships:
                found = _first(version, entry["ip_assignments"])
                if found is not None:
                    return found
            return None
        value = self.first_of(name)
        return None if value is None else str(value)


def _membership(network: Mapping[str, Any], member: Mapping[str, Any], tags: _Tags) -> dict[str, Any]:
    modes = network.get("v6_assign_mode") or {}
    network_id, address = network["id"], member["address"]
    return {
        "network_id": network_id,
        "network_name": network.get("name") or "",
        "name": member.get("name") or "",
        "description": member.get("description") or "",
        "authorized": bool(member.get("authorized")),
        "rejected": bool(member.get("rejected")),
        "ip_assignments": list(member.get("ip_assignments") or ()),
        "rfc4193": rfc4193_address(network_id, address) if modes.get("rfc4193") else None,
        "6plane": sixplane_address(network_id, address) if modes.get("6plane") else None,
        "tags": tags.named(member.get("tags") or {}),
        "capabilities": list(member.get("capabilities") or ()),
        "active_bridge": bool(member.get("active_bridge")),
        "last_seen": member.get("last_seen"),
        "physical_address": member.get("physical_address"),
        "client_version": member.get("client_version"),
    }


def _glob(value: str, pattern: object) -> bool:
    patterns = pattern if isinstance(pattern, list | tuple) else [pattern]
    return any(fnmatch.fnmatchcase(value, str(entry)) for entry in patterns)


def _matches(entry: Mapping[str, Any], variables: Mapping[str, Any], memberships: Sequence[Mapping[str, Any]]) -> bool:
    """Whether all keys of one filter fit: those of a membership within one and the same network."""

    def fits(membership: Mapping[str, Any]) -> bool:
        tags = membership["tags"]
        return (
            ("name" not in entry or _glob(membership["name"], entry["name"]))
            and (
                "network" not in entry
                or _glob(membership["network_name"], entry["network"])
                or _glob(membership["network_id"], entry["network"])
            )
            and ("authorized" not in entry or membership["authorized"] == entry["authorized"])
            and all(
                str(tag) in tags and (value is None or str(tags[str(tag)]) == str(value))
                for tag, value in (entry.get("tags") or {}).items()
            )
        )

    return (
        ("address" not in entry or _glob(variables["address"], entry["address"]))
        and ("online" not in entry or variables["online"] == entry["online"])
        and any(fits(membership) for membership in memberships)
    )


def hosts(
    records: Iterable[Mapping[str, Any]],
    options: Options,
    *,
    now: float,
    group_name: Callable[[str], str] = str,
    note: Callable[[str], None] = lambda text: None,
) -> list[Host]:
    """The hosts of all records, ordered by node address.

    A record is ``{"network": {id, name, v6_assign_mode}, "definitions": tags by name, "members": [MEMBER_FIELDS, …]}``.
    ``now`` is in seconds since the epoch; ``group_name`` makes a name fit for a group; ``note`` hears about names that
    couldn't be used.
    """
    check_options(options)
    nodes: dict[str, _Node] = {}
    prefix = options.group_prefix
    for record in records:
        network = record["network"]
        tags = _Tags.of(record.get("definitions") or {})
        network_group = f"{prefix}network_{network.get('name') or network['id']}"
        for member in record["members"]:
            node = nodes.setdefault(member["address"], _Node(member["address"]))
            node.memberships.append(_membership(network, member, tags))
            node.groups[network_group] = None
            for group in tags.groups(member.get("tags") or {}):
                node.groups[prefix + group] = None
    made: list[Host] = []
    taken: set[str] = set()
    safe: dict[str, str] = {}
    for address in sorted(nodes):
        node = nodes[address]
        variables = _variables(node, options, now)
        if options.include_filters and not any(
            _matches(entry, variables, node.memberships) for entry in options.include_filters
        ):
            continue
        if any(_matches(entry, variables, node.memberships) for entry in options.exclude_filters):
            continue
        name = _hostname(node, options, taken, note)
        taken.add(name)
        state = "authorized" if variables["authorized"] else "rejected" if variables["rejected"] else "pending"
        groups = [f"{prefix}{state}", f"{prefix}{'online' if variables['online'] else 'offline'}", *node.groups]
        for group in groups:
            if group not in safe:
                safe[group] = group_name(group)
        host_variables = {options.hostvars_prefix + key: value for key, value in variables.items()}
        where = next((found for source in options.ansible_host if (found := node.source(source))), None)
        if where is not None:
            host_variables["ansible_host"] = where
        made.append(Host(address, name, host_variables, [safe[group] for group in groups]))
    return made


def _variables(node: _Node, options: Options, now: float) -> dict[str, Any]:
    seen = max((entry["last_seen"] for entry in node.memberships if entry["last_seen"]), default=None)
    tags: dict[str, Any] = {}
    for entry in reversed(node.memberships):
        tags.update(entry["tags"])
    return {
        "address": node.address,
        "name": node.first_of("name") or "",
        "description": node.first_of("description") or "",
        "authorized": any(entry["authorized"] for entry in node.memberships),
        "rejected": all(entry["rejected"] for entry in node.memberships),
        "online": seen is not None and now - seen / 1000 <= options.online_window,
        "last_seen": seen,
        "physical_address": node.first_of("physical_address"),
        "client_version": node.first_of("client_version"),
        "ip_assignments": list(dict.fromkeys(ip for entry in node.memberships for ip in entry["ip_assignments"])),
        "tags": tags,
        "networks": node.memberships,
    }


def _hostname(node: _Node, options: Options, taken: set[str], note: Callable[[str], None]) -> str:
    for source in options.hostnames:
        name = node.source(source)
        if not name:
            continue
        if not _HOSTNAME.fullmatch(name) or name in ("all", "ungrouped", "localhost"):
            note(f"{source} {name!r} of the member {node.address} can't be a host's name: the next source is taken")
        elif name in taken:
            note(f"{source} {name!r} of the member {node.address} is another host's already: the next source is taken")
        else:
            return name
    return node.address
