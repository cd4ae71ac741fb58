#!/usr/bin/python
"""Read ZeroTier networks."""

from __future__ import annotations

DOCUMENTATION = r"""
module: zerotier_network_info
short_description: Read ZeroTier networks
version_added: "0.1.0"
description:
  - Reads all networks of a control plane, or those with an id or a name. Changes nothing.
author: parkmesh project (@parkmesh)
extends_documentation_fragment:
  - zerotier
  - zerotier.network
attributes:
  check_mode:
    support: full
    description: Works the same.
options:
  network_id:
    description: Only the network with this id; none when it doesn't exist.
  network_name:
    description: Only the networks with this name.
seealso:
  - module: zerotier_network
"""

EXAMPLES = r"""
- name: Read all networks of the local controller
  zerotier_network_info:
    token_file: /var/lib/zerotier-one/authtoken.secret
  register: found
"""

RETURN = r"""
networks:
  description: The networks, by name and id.
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


def read(parameters: Mapping[str, Any], connection: Client) -> dict[str, Any]:
    """The module's result."""
    if parameters["network_id"] is not None:
        network = connection.network(model.network_id(parameters["network_id"]))
        networks = [] if network is None else [network]
    elif parameters["network_name"] is not None:
        networks = connection.networks_named(parameters["network_name"])
    else:
        networks = connection.networks()
    networks.sort(key=lambda network: (network.name, network.id))
    return {"changed": False, "networks": [network.as_dict() for network in networks]}


def main() -> None:
    """Run the module."""
    module = common.create_module(
        common.NETWORK_ARGUMENTS,
        mutually_exclusive=[("network_id", "network_name")],
    )
    with common.failing(module):
        module.exit_json(**read(module.params, common.connect(module)))


if __name__ == "__main__":
    main()
