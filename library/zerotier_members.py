#!/usr/bin/python
"""Reconcile a whole set of members of a ZeroTier network in one call."""

from __future__ import annotations

DOCUMENTATION = r"""
module: zerotier_members
short_description: Reconcile a whole set of members of a ZeroTier network
version_added: "0.1.0"
description:
  - Makes many members of a network be as described, thousands in one call; what isn't given for a member is kept.
  - All members are read at once, only those that differ are written, in parallel, and all are read back at once.
  - Every mistake in the set (an address outside of the managed routes, one address for two members, an unknown tag) is
    reported before anything is written. When single writes fail, the others are done and the failures are listed.
author: parkmesh project (@parkmesh)
extends_documentation_fragment:
  - zerotier
  - zerotier.network
  - zerotier.members
attributes:
  check_mode:
    support: full
    description:
      - Lists what would be created, updated and removed, and writes nothing.
      - A network that doesn't exist, or an O(network_id) that is V(null) because the task before would create it,
        counts as an empty network.
  diff_mode:
    support: full
    description: Shows the settings that change, by member.
options:
  purge:
    description: Whether members that aren't listed are de-authorised, cleared and deleted, in that order.
    type: bool
    default: false
  purge_limit:
    description:
      - How many members O(purge) may remove. When more would go, nothing at all is written and the module fails with
        the list of them.
    type: int
    default: 10
  purge_authorized_only:
    description: Whether O(purge) leaves members alone that aren't authorised, such as nodes that wait to be admitted.
    type: bool
    default: false
seealso:
  - module: zerotier_member
  - module: zerotier_network
"""

EXAMPLES = r"""
- name: Reconcile the overlay's members, and see first who would go
  zerotier_members:
    url: http://192.0.2.10:9993
    token_file: /run/secrets/controller-token
    network_name: parkmesh
    tag_definitions: "{{ overlay.tags_by_name }}"
    members:
      - address: efcc1b0947
        name: slot-1
        authorized: true
        no_auto_assign_ips: true
        ip_assignments: [10.242.0.11]
        tags: {role: app}
    purge: true
    purge_limit: 5
  check_mode: true
"""

RETURN = r"""
created:
  description: Addresses of members that were added, or would be.
  returned: always
  type: list
  elements: str
updated:
  description: Addresses of members that were changed, or would be.
  returned: always
  type: list
  elements: str
removed:
  description: Addresses and names of members that were removed, or would be.
  returned: always
  type: list
  elements: dict
unchanged:
  description: How many of the listed members were as wanted.
  returned: always
  type: int
failures:
  description: What went wrong, by address, when single writes failed.
  returned: when writes failed
  type: dict
network_id:
  description: The network's id.
  returned: success
  type: str
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from module_utils import zerotier_model as model
    from module_utils import zerotier_module as common
    from module_utils import zerotier_reconcile as reconcile
    from module_utils.zerotier_client import Client
    from module_utils.zerotier_model import Member
else:
    from ansible.module_utils import zerotier_model as model
    from ansible.module_utils import zerotier_module as common
    from ansible.module_utils import zerotier_reconcile as reconcile


def report(network_id: str, plan: reconcile.MembersPlan, members: Mapping[str, Member]) -> dict[str, Any]:
    """The module's result for a plan."""
    return {
        "changed": bool(plan.create or plan.update or plan.remove),
        "network_id": network_id,
        "created": sorted(plan.create),
        "updated": sorted(plan.update),
        "removed": [{"address": address, "name": members[address].name} for address in plan.remove],
        "unchanged": len(plan.unchanged),
        "diff": {
            "before": {
                **{
                    address: {name: plan.before[address].get(name) for name in changes}
                    for address, changes in plan.update.items()
                },
                **{address: dict(members[address].settings()) for address in plan.remove},
            },
            "after": {**plan.create, **plan.update},
        },
    }


def reconcile_members(parameters: Mapping[str, Any], connection: Client, check_mode: bool) -> dict[str, Any]:
    """Carry the plan out and return the module's result; ``failed`` is in it when something went wrong."""
    network = common.require_network(
        connection, parameters["network_id"], parameters["network_name"], check_mode=check_mode
    )
    members = {member.address: member for member in (connection.members(network.id) if network.id else ())}
    plan = reconcile.plan_members(
        parameters["members"],
        members.values(),
        network,
        model.tag_definitions(network, parameters["tag_definitions"]),
        purge=parameters["purge"],
        purge_authorized_only=parameters["purge_authorized_only"],
        unsupported=connection.unsupported_member_settings,
    )
    result = report(network.id, plan, members)
    if len(plan.remove) > parameters["purge_limit"]:
        result |= {
            "changed": False,
            "failed": not check_mode,
            "msg": f"purge would remove {len(plan.remove)} members, purge_limit allows {parameters['purge_limit']}: "
            "nothing was written",
        }
        if not check_mode:
            return result
        result["changed"] = True
    if check_mode or not result["changed"]:
        return result
    failures = connection.remove_members(network.id, plan.remove)
    failures |= connection.update_members(network.id, {**plan.create, **plan.update}, members)
    if failures:
        result |= {
            "failed": True,
            "failures": failures,
            "msg": f"{len(failures)} of {len(plan.create) + len(plan.update) + len(plan.remove)} members failed, "
            f"the first: {next(iter(failures.values()))}",
        }
    return result


def main() -> None:
    """Run the module."""
    module = common.create_module(
        {
            **common.NETWORK_ARGUMENTS,
            "members": {"type": "list", "elements": "dict", "required": True, "options": common.MEMBER_ARGUMENTS},
            **common.TAG_ARGUMENTS,
            "purge": {"type": "bool", "default": False},
            "purge_limit": {"type": "int", "default": 10},
            "purge_authorized_only": {"type": "bool", "default": False},
        },
        mutually_exclusive=[("network_id", "network_name")],
    )
    with common.failing(module):
        connection = common.connect(module)
        unsupported = connection.unsupported_member_settings
        given = {name: True for entry in module.params["members"] for name in unsupported if entry.get(name)}
        common.warn_unsupported(module, connection.kind, unsupported, given, "member")
        result = reconcile_members(module.params, connection, module.check_mode)
        if result.get("failed"):
            module.fail_json(**{name: value for name, value in result.items() if name != "failed"})
        module.exit_json(**{name: value for name, value in result.items() if name not in ("failed", "msg")})


if __name__ == "__main__":
    main()
