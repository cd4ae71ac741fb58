#!/usr/bin/python
"""Create, change and delete ZeroTier networks."""

from __future__ import annotations

DOCUMENTATION = r"""
module: zerotier_network
short_description: Create, change and delete ZeroTier networks
version_added: "0.1.0"
description:
  - Makes a network of a self-hosted controller or of ZeroTier Central be as described.
  - Only what differs is written, settings that aren't given are kept, and every write is read back, since control
    planes answer 200 to values that they drop.
author: parkmesh project (@parkmesh)
extends_documentation_fragment: zerotier
attributes:
  check_mode:
    support: full
    description: Reports what would change and writes nothing.
  diff_mode:
    support: full
    description: Shows the settings that change.
options:
  state:
    description: Whether the network exists. V(absent) deletes it with all its members.
    type: str
    choices: [present, absent]
    default: present
  network_id:
    description:
      - The network's id, 16 hexadecimal digits.
      - Without it the network is found by O(name), or created with an id that the control plane chooses.
      - On a controller a network that doesn't exist is created with this id; it begins with the controller's address.
    type: str
  name:
    description: The network's name. Needed to create a network without O(network_id).
    type: str
  description:
    description: A text about the network. A controller keeps none; it is left out there with a warning.
    type: str
  private:
    description: Whether members have to be authorised.
    type: bool
  enable_broadcast:
    description: Whether Ethernet broadcasts (and with them ARP) pass.
    type: bool
  multicast_limit:
    description: How many members a multicast reaches at most. With 0, IPv4 doesn't work.
    type: int
  mtu:
    description: MTU of the members' interfaces in bytes, 1280 to 10000.
    type: int
  routes:
    description: The managed routes, all of them; an empty list takes them away.
    type: list
    elements: dict
    suboptions:
      target:
        description: A network in CIDR notation, without host bits.
        type: str
        required: true
      via:
        description: The member that routes to it; absent for the overlay's own range.
        type: str
  ip_assignment_pools:
    description:
      - The ranges from which members get addresses, all of them.
      - Each lies in a managed route without O(routes[].via).
    type: list
    elements: dict
    suboptions:
      start:
        description: First address.
        type: str
        required: true
      end:
        description: Last address.
        type: str
        required: true
  v4_assign_mode:
    description: How members get IPv4 addresses.
    type: dict
    suboptions:
      zt:
        description: From the pools.
        type: bool
        default: false
  v6_assign_mode:
    description: How members get IPv6 addresses. Modes that aren't named are off.
    type: dict
    suboptions:
      zt:
        description: From the pools.
        type: bool
        default: false
      rfc4193:
        description: One /128 computed from the member's address.
        type: bool
        default: false
      sixplane:
        description: One /80 computed from the member's address (6PLANE).
        type: bool
        default: false
  dns:
    description: DNS that members may take over; an empty dictionary takes it away. The Linux client doesn't apply it.
    type: dict
    suboptions:
      domain:
        description: The search domain.
        type: str
      servers:
        description: Up to four addresses of servers.
        type: list
        elements: str
  rules:
    description: The compiled rules, all of them. A set without a final accept drops what it doesn't accept.
    type: list
    elements: dict
  rules_source:
    description:
      - The rules in ZeroTier's rule language, compiled before they are written. Excludes O(rules).
      - Tags and capabilities that it defines are written too, with those of O(tags) and O(capabilities).
      - Central v1 gets the source itself, unless O(tags) or O(capabilities) are given beside it.
      - Central v2 takes rules in no other way, so that tags and capabilities have to be defined in the source there.
    type: str
  tags:
    description:
      - The tags of the network by name. C(rules_source) can use the names.
      - Each has C(id), and may have C(enums) and C(flags) (dictionaries from a name to a number) and C(default), a
        number or one of the names; without a default members have no value until one is set.
      - "Example: V({role: {id: 1, enums: {app: 1, gateway: 2}}, community: {id: 2}})."
    type: dict
  capabilities:
    description: The capabilities by name; each has C(id), C(default) and compiled C(rules).
    type: dict
  network_group:
    description: The network group in which Central v2 creates the network.
    type: str
seealso:
  - module: zerotier_member
  - module: zerotier_members
"""

EXAMPLES = r"""
- name: Keep the overlay's network
  zerotier_network:
    api: controller
    url: http://192.0.2.10:9993
    token_file: /run/secrets/controller-token
    name: parkmesh
    private: true
    mtu: 2800
    routes:
      - target: 10.242.0.0/16
    ip_assignment_pools:
      - start: 10.242.200.1
        end: 10.242.250.254
    v4_assign_mode:
      zt: true
    rules_source: "{{ lookup('template', 'overlay.ztrules.j2') }}"
    tags:
      role:
        id: 1
        enums: {app: 1, gateway: 2, ops: 3}
      community:
        id: 2
  register: overlay

- name: Delete a network
  zerotier_network:
    url: https://api.zerotier.com/api/v1
    network_id: 8056c2e21c000001
    state: absent
"""

RETURN = r"""
network_id:
  description: The network's id; null when check mode would create it.
  returned: success
  type: str
  sample: 8056c2e21c000001
network:
  description: The network as the control plane reports it, or as it would be in check mode. Empty when absent.
  returned: success
  type: dict
tags_by_name:
  description:
    - The tags by name with their enums and flags.
    - M(zerotier_member) takes them as C(tag_definitions).
  returned: success
  type: dict
changes:
  description: The settings that were written, or would be.
  returned: success
  type: dict
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from module_utils import zerotier_model as model
    from module_utils import zerotier_module as common
    from module_utils import zerotier_reconcile as reconcile
    from module_utils.zerotier_client import Client
    from module_utils.zerotier_model import NetworkSettings
else:
    from ansible.module_utils import zerotier_model as model
    from ansible.module_utils import zerotier_module as common
    from ansible.module_utils import zerotier_reconcile as reconcile

PLAIN_SETTINGS = (
    "name",
    "description",
    "private",
    "enable_broadcast",
    "multicast_limit",
    "mtu",
    "routes",
    "ip_assignment_pools",
    "v4_assign_mode",
    "v6_assign_mode",
    "dns",
)


def wanted_settings(
    parameters: Mapping[str, Any], unsupported: frozenset[str], *, keeps_source: bool
) -> tuple[NetworkSettings, dict[str, Any]]:
    """The wanted settings in canonical form and the definitions of tags by name. Raises SettingsError."""
    compiled, definitions = reconcile.compiled_settings(parameters, keeps_source=keeps_source)
    given = {name: parameters[name] for name in PLAIN_SETTINGS} | compiled
    if given["v6_assign_mode"] is not None:
        modes = dict(given["v6_assign_mode"])
        # An option's name is a Python name, the mode's isn't.
        given["v6_assign_mode"] = {**modes, "6plane": modes["sixplane"]}
        del given["v6_assign_mode"]["sixplane"]
    settings = model.wanted_network({name: value for name, value in given.items() if name not in unsupported})
    return settings, definitions


def present(parameters: Mapping[str, Any], connection: Client, check_mode: bool) -> dict[str, Any]:
    """Make the network be as wanted and return the module's result."""
    keeps_source = "rules_source" not in connection.unsupported_network_settings
    wanted, definitions = wanted_settings(
        parameters, connection.unsupported_network_settings, keeps_source=keeps_source
    )
    if not parameters["network_id"] and not parameters["name"]:
        raise model.SettingsError("name or network_id is needed")
    network = common.find_network(connection, parameters["network_id"], parameters["name"])
    before: Mapping[str, Any] = network.settings() if network is not None else {}
    changes = model.differences(wanted, before)
    after = {**before, **changes}
    if {"routes", "ip_assignment_pools"} & set(changes):
        outside = model.pools_outside_routes(cast("NetworkSettings", after))
        if outside:
            shown = ", ".join(f"{pool['start']} to {pool['end']}" for pool in outside)
            raise model.SettingsError(f"ip_assignment_pools: {shown} is outside of the managed routes without via")
    if network is None:
        if not check_mode:
            network = connection.create_network(
                wanted,
                network_id=None if parameters["network_id"] is None else model.network_id(parameters["network_id"]),
                group=parameters["network_group"],
            )
    elif changes and not check_mode:
        network = connection.update_network(network.id, cast("NetworkSettings", changes))
    changed = bool(changes) or not before
    reported = (network.as_dict() if network is not None else {}) | (after if check_mode else {})
    return {
        "changed": changed,
        "network_id": network.id if network is not None else None,
        "network": reported,
        "tags_by_name": definitions or (dict(network.tags_by_name) if network is not None else {}),
        "changes": changes,
        "diff": {"before": {name: before.get(name) for name in changes} if before else {}, "after": changes},
    }


def absent(parameters: Mapping[str, Any], connection: Client, check_mode: bool) -> dict[str, Any]:
    """Delete the network when it is there and return the module's result."""
    network = common.find_network(connection, parameters["network_id"], parameters["name"])
    result: dict[str, Any] = {"changed": network is not None, "network": {}, "tags_by_name": {}, "changes": {}}
    result["network_id"] = parameters["network_id"] if network is None else network.id
    result["diff"] = {"before": {} if network is None else {"id": network.id, "name": network.name}, "after": {}}
    if network is not None and not check_mode:
        connection.delete_network(network.id)
    return result


def main() -> None:
    """Run the module."""
    modes = {"zt": {"type": "bool", "default": False}}
    module = common.create_module(
        {
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "network_id": {"type": "str"},
            "name": {"type": "str"},
            "description": {"type": "str"},
            "private": {"type": "bool"},
            "enable_broadcast": {"type": "bool"},
            "multicast_limit": {"type": "int"},
            "mtu": {"type": "int"},
            "routes": {
                "type": "list",
                "elements": "dict",
                "options": {"target": {"type": "str", "required": True}, "via": {"type": "str"}},
            },
            "ip_assignment_pools": {
                "type": "list",
                "elements": "dict",
                "options": {"start": {"type": "str", "required": True}, "end": {"type": "str", "required": True}},
            },
            "v4_assign_mode": {"type": "dict", "options": modes},
            "v6_assign_mode": {
                "type": "dict",
                "options": {
                    **modes,
                    "rfc4193": {"type": "bool", "default": False},
                    "sixplane": {"type": "bool", "default": False},
                },
            },
            "dns": {
                "type": "dict",
                "options": {"domain": {"type": "str"}, "servers": {"type": "list", "elements": "str"}},
            },
            "rules": {"type": "list", "elements": "dict"},
            "rules_source": {"type": "str"},
            "tags": {"type": "dict"},
            "capabilities": {"type": "dict"},
            "network_group": {"type": "str"},
        },
        required_one_of=[("network_id", "name")],
        mutually_exclusive=[("rules", "rules_source")],
    )
    with common.failing(module):
        connection = common.connect(module)
        if module.params["state"] == "absent":
            result = absent(module.params, connection, module.check_mode)
        else:
            unsupported = connection.unsupported_network_settings - {"rules_source"}
            common.warn_unsupported(module, connection.kind, unsupported, module.params, "network")
            result = present(module.params, connection, module.check_mode)
        module.exit_json(**result)


if __name__ == "__main__":
    main()
