"""How the controller and Central v1 spell the settings of networks and members in JSON; Central v2 mostly does too."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from module_utils import zerotier_model as model
    from module_utils.zerotier_model import MemberSettings, NetworkSettings, Reader
else:
    from ansible.module_utils import zerotier_model as model
    from ansible.module_utils.zerotier_model import MemberSettings, NetworkSettings, Reader

_NETWORK_NAMES: Final[Mapping[str, str]] = {
    "name": "name",
    "private": "private",
    "enable_broadcast": "enableBroadcast",
    "multicast_limit": "multicastLimit",
    "mtu": "mtu",
    "routes": "routes",
    "v4_assign_mode": "v4AssignMode",
    "v6_assign_mode": "v6AssignMode",
    "dns": "dns",
    "rules": "rules",
    "tags": "tags",
    "capabilities": "capabilities",
}
_MEMBER_NAMES: Final[Mapping[str, str]] = {
    "authorized": "authorized",
    "active_bridge": "activeBridge",
    "no_auto_assign_ips": "noAutoAssignIps",
    "ip_assignments": "ipAssignments",
    "capabilities": "capabilities",
}


def network_body(settings: NetworkSettings) -> dict[str, Any]:
    """The given settings of a network, flat; those that have no place there are left out."""
    given: dict[str, Any] = dict(settings)
    body = {wire: given[name] for name, wire in _NETWORK_NAMES.items() if name in given}
    if "ip_assignment_pools" in given:
        body["ipAssignmentPools"] = [
            {"ipRangeStart": pool["start"], "ipRangeEnd": pool["end"]} for pool in given["ip_assignment_pools"]
        ]
    return body


def member_body(settings: MemberSettings) -> dict[str, Any]:
    """The given settings of a member, flat, without its name and description."""
    given: dict[str, Any] = dict(settings)
    body = {wire: given[name] for name, wire in _MEMBER_NAMES.items() if name in given}
    if "tags" in given:
        body["tags"] = [[int(tag), value] for tag, value in given["tags"].items()]
    return body


def network_core(reader: Reader) -> dict[str, Any]:
    """The settings that every control plane spells alike, as arguments of Network."""
    return {
        "private": reader.boolean("private", True),
        "enable_broadcast": reader.boolean("enableBroadcast", True),
        "multicast_limit": reader.integer("multicastLimit", 32),
        "mtu": reader.integer("mtu", 2800),
        "routes": model.read_routes(reader),
        "dns": model.read_dns(reader),
    }


def network_fields(reader: Reader) -> dict[str, Any]:
    """Everything that the controller and Central v1 spell alike, as arguments of Network."""
    return {
        **network_core(reader),
        "name": reader.text("name", ""),
        "ip_assignment_pools": model.read_pools(reader, "ipAssignmentPools"),
        "v4_assign_mode": model.read_modes(reader, "v4AssignMode"),
        "v6_assign_mode": model.read_modes(reader, "v6AssignMode"),
        "rules": tuple(reader.list("rules")),
        "tags": model.read_tag_definitions(reader),
        "capabilities": model.read_capabilities(reader),
        "creation_time": reader.optional_integer("creationTime"),
    }


def member_fields(reader: Reader) -> dict[str, Any]:
    """Everything that the controller and Central v1 spell alike, as arguments of Member."""
    return {
        "authorized": reader.boolean("authorized", False),
        "active_bridge": reader.boolean("activeBridge", False),
        "no_auto_assign_ips": reader.boolean("noAutoAssignIps", False),
        "ip_assignments": reader.addresses("ipAssignments"),
        "tags": model.read_member_tags(reader),
        "capabilities": tuple(reader.list("capabilities")),
        "identity": reader.optional_text("identity"),
        "creation_time": reader.optional_integer("creationTime"),
        "last_authorized_time": reader.optional_integer("lastAuthorizedTime"),
        "last_deauthorized_time": reader.optional_integer("lastDeauthorizedTime"),
        "revision": reader.optional_integer("revision"),
    }
