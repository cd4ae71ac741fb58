#!/usr/bin/python
"""Read the members of a ZeroTier network."""

from __future__ import annotations

DOCUMENTATION = r"""
module: zerotier_member_info
short_description: Read the members of a ZeroTier network
version_added: "0.1.0"
description:
  - Reads all members of a network, or one. Changes nothing.
author: parkmesh project (@parkmesh)
extends_documentation_fragment:
  - zerotier
  - zerotier.network
attributes:
  check_mode:
    support: full
    description: Works the same, but a network that doesn't exist has no members instead of being an error.
options:
  address:
    description: Only the member with this node address; none when it doesn't exist.
    type: str
    aliases: [node_id]
  presence:
    description:
      - Whether a controller is asked when it last heard from its peers, which gives C(last_seen), C(physical_address)
        and C(client_version) of members that are in contact with it. Central tells these with the member.
    type: bool
    default: true
seealso:
  - module: zerotier_member
"""

EXAMPLES = r"""
- name: Read the members that wait to be admitted
  zerotier_member_info:
    network_name: parkmesh
    token_file: /var/lib/zerotier-one/authtoken.secret
  register: found

- name: Show them
  ansible.builtin.debug:
    msg: "{{ found.members | rejectattr('authorized') | map(attribute='address') }}"
"""

RETURN = r"""
network_id:
  description: The network's id.
  returned: success
  type: str
members:
  description: The members by node address. Times are milliseconds since the epoch.
  returned: success
  type: list
  elements: dict
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from module_utils import zerotier_model as model
    from module_utils import zerotier_module as common
    from module_utils.zerotier_client import Client
else:
    from ansible.module_utils import zerotier_model as model
    from ansible.module_utils import zerotier_module as common


def read(parameters: Mapping[str, Any], connection: Client, check_mode: bool) -> dict[str, Any]:
    """The module's result."""
    network = common.require_network(
        connection, parameters["network_id"], parameters["network_name"], check_mode=check_mode
    )
    if not network.id:
        members = []
    elif parameters["address"] is not None:
        member = connection.member(network.id, model.node_address(parameters["address"]))
        members = [] if member is None else [member]
    else:
        members = sorted(connection.members(network.id), key=lambda member: member.address)
    if parameters["presence"]:
        presence = connection.presence()
        members = [model.with_presence(member, presence) for member in members]
    return {"changed": False, "network_id": network.id, "members": [member.as_dict() for member in members]}


def main() -> None:
    """Run the module."""
    module = common.create_module(
        {
            **common.NETWORK_ARGUMENTS,
            "address": {"type": "str", "aliases": ["node_id"]},
            "presence": {"type": "bool", "default": True},
        },
        mutually_exclusive=[("network_id", "network_name")],
    )
    with common.failing(module):
        module.exit_json(**read(module.params, common.connect(module), module.check_mode))


if __name__ == "__main__":
    main()
