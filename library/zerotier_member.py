#!/usr/bin/python
"""Authorise, configure and remove one member of a ZeroTier network."""

from __future__ import annotations

DOCUMENTATION = r"""
module: zerotier_member
short_description: Authorise, configure and remove a member of a ZeroTier network
version_added: "0.1.0"
description:
  - Makes one member of a network be as described; what isn't given is kept.
  - A node that never joined is pre-authorised, so that it gets its configuration as soon as it joins.
  - Addresses outside of the managed routes, or of another member, are refused before anything is written.
author: parkmesh project (@parkmesh)
extends_documentation_fragment:
  - zerotier
  - zerotier.network
  - zerotier.member
attributes:
  check_mode:
    support: full
    description:
      - Reports what would change and writes nothing.
      - A network that doesn't exist, or an O(network_id) that is V(null) because the task before would create it,
        counts as an empty network.
  diff_mode:
    support: full
    description: Shows the settings that change.
options:
  state:
    description:
      - Whether the node is a member.
      - V(absent) de-authorises it, takes its addresses, tags and capabilities away, and deletes it, in that order.
        A node that is still joined comes back without any rights.
    type: str
    choices: [present, absent]
    default: present
seealso:
  - module: zerotier_members
  - module: zerotier_network
"""

EXAMPLES = r"""
- name: Pre-authorise a gateway
  zerotier_member:
    url: http://192.0.2.10:9993
    token_file: /run/secrets/controller-token
    network_id: "{{ overlay.network_id }}"
    address: efcc1b0947
    name: gateway-a
    authorized: true
    no_auto_assign_ips: true
    ip_assignments: [10.242.1.1]
    tags: {role: gateway, community: 1}
    tag_definitions: "{{ overlay.tags_by_name }}"

- name: Remove a member
  zerotier_member:
    network_id: 8056c2e21c000001
    address: efcc1b0947
    state: absent
"""

RETURN = r"""
member:
  description: The member as the control plane reports it, or as it would be in check mode. Empty when absent.
  returned: success
  type: dict
changes:
  description: The settings that were written, or would be.
  returned: success
  type: dict
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from module_utils import zerotier_model as model
    from module_utils import zerotier_module as common
    from module_utils import zerotier_reconcile as reconcile
    from module_utils.zerotier_client import Client
else:
    from ansible.module_utils import zerotier_model as model
    from ansible.module_utils import zerotier_module as common
    from ansible.module_utils import zerotier_reconcile as reconcile


def present(parameters: Mapping[str, Any], connection: Client, check_mode: bool) -> dict[str, Any]:
    """Make the member be as wanted and return the module's result."""
    network = common.require_network(
        connection, parameters["network_id"], parameters["network_name"], check_mode=check_mode
    )
    address = model.node_address(parameters["address"])
    member = connection.member(network.id, address) if network.id else None
    wanted = {
        name: parameters[name]
        for name in common.MEMBER_SETTINGS
        if parameters[name] is not None and name not in connection.unsupported_member_settings
    }
    if "capabilities" in wanted:
        wanted["capabilities"] = reconcile.capability_ids(wanted["capabilities"], network)
    definitions = model.tag_definitions(network, parameters["tag_definitions"])
    changes, after = reconcile.plan_member(wanted, member, definitions)
    if changes.get("ip_assignments"):
        others = connection.members(network.id) if network.id else []
        problems = model.address_conflicts(address, changes, network, others)
        if problems:
            raise model.SettingsError("; ".join(problems))
    before: Mapping[str, Any] = member.settings() if member is not None else {}
    changed = bool(changes) or member is None
    if changed and not check_mode:
        member = connection.update_member(network.id, address, changes, exists=member is not None)
    reported: dict[str, Any] = {"network_id": network.id, "address": address}
    if member is not None:
        reported = member.as_dict()
    return {
        "changed": changed,
        "member": reported | (dict(after) if check_mode else {}),
        "changes": changes,
        "diff": {"before": {name: before.get(name) for name in changes} if before else {}, "after": dict(changes)},
    }


def absent(parameters: Mapping[str, Any], connection: Client, check_mode: bool) -> dict[str, Any]:
    """Remove the member when it is there and return the module's result."""
    result: dict[str, Any] = {"changed": False, "member": {}, "changes": {}, "diff": {"before": {}, "after": {}}}
    address = model.node_address(parameters["address"])
    if check_mode and not parameters["network_id"] and not parameters["network_name"]:
        return result
    network = common.find_network(connection, parameters["network_id"], parameters["network_name"])
    if network is None:
        return result
    member = connection.member(network.id, address)
    if member is None:
        return result
    result["changed"] = True
    result["diff"]["before"] = {"address": address, **member.settings()}
    if not check_mode:
        connection.remove_member(network.id, address)
    return result


def main() -> None:
    """Run the module."""
    module = common.create_module(
        {
            **common.NETWORK_ARGUMENTS,
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            **common.MEMBER_ARGUMENTS,
            **common.TAG_ARGUMENTS,
        },
        mutually_exclusive=[("network_id", "network_name")],
    )
    with common.failing(module):
        connection = common.connect(module)
        if module.params["state"] == "absent":
            result = absent(module.params, connection, module.check_mode)
        else:
            common.warn_unsupported(
                module, connection.kind, connection.unsupported_member_settings, module.params, "member"
            )
            result = present(module.params, connection, module.check_mode)
        module.exit_json(**result)


if __name__ == "__main__":
    main()
