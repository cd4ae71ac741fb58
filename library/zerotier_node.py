#!/usr/bin/python
"""Join ZeroTier networks on this host, and leave them."""

from __future__ import annotations

DOCUMENTATION = r"""
module: zerotier_node
short_description: Join and leave ZeroTier networks
version_added: "0.1.0"
description:
  - Makes the node on the host be in a network or out of it, sets what the network may do on the host, and waits a
    bounded time until the network works.
  - Networks that aren't named are left alone.
  - Talks to the node's own API on the host; needs no Python packages there.
author: parkmesh project (@parkmesh)
attributes:
  check_mode:
    support: full
    description: Reports what would change and neither joins, leaves nor waits.
  diff_mode:
    support: full
    description: Shows whether the network is joined, and its allow flags.
options:
  network_id:
    description: The network's id, 16 hexadecimal digits.
    type: str
    required: true
  state:
    description: Whether the node is in the network.
    type: str
    choices: [joined, left]
    default: joined
  allow_managed:
    description: Whether managed addresses and routes are set. Kept when not given; a new network allows it.
    type: bool
  allow_global:
    description: Whether managed routes may be to public addresses.
    type: bool
  allow_default:
    description: Whether a managed default route is taken.
    type: bool
  allow_dns:
    description: Whether managed DNS is taken. The Linux node doesn't apply it.
    type: bool
  wait:
    description: Whether to wait until the network's status is OK.
    type: bool
    default: false
  wait_for_address:
    description: Whether the wait also is for an address.
    type: bool
    default: true
  wait_timeout:
    description: Seconds to wait at most; the module fails with the last status then.
    type: float
    default: 60.0
  port:
    description: The node's primary port, on which its API listens.
    type: int
    default: 9993
  home:
    description: The node's home folder, with C(authtoken.secret) in it.
    type: path
    default: /var/lib/zerotier-one
"""

EXAMPLES = r"""
- name: Join the overlay
  zerotier_node:
    network_id: "{{ overlay.network_id }}"
    wait: true
    wait_timeout: 90

- name: Leave an old network
  zerotier_node:
    network_id: 8056c2e21c000001
    state: left
"""

RETURN = r"""
address:
  description: The node's address.
  returned: success
  type: str
  sample: efcc1b0947
version:
  description: The node's version.
  returned: success
  type: str
network:
  description: The network as the node sees it; empty when it isn't joined.
  returned: success
  type: dict
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ansible.module_utils.basic import AnsibleModule

if TYPE_CHECKING:
    from module_utils import zerotier_service as service
else:
    from ansible.module_utils import zerotier_service as service


def apply(parameters: Mapping[str, Any], node: service.Service, check_mode: bool) -> dict[str, Any]:
    """Make the node be in the network or out of it and return the module's result."""
    network_id = service.valid_network_id(parameters["network_id"])
    status = node.status()
    network = node.network(network_id)
    allow = {name: parameters[name] for name in service.ALLOW_FLAGS if parameters[name] is not None}
    before: dict[str, Any] = {"joined": network is not None, **(dict(network.allow) if network is not None else {})}
    if parameters["state"] == "left":
        changed = network is not None
        after: dict[str, Any] = {"joined": False}
        if changed and not check_mode:
            node.leave(network_id)
            network = None
    else:
        changed = network is None or any(network.allow[name] != value for name, value in allow.items())
        after = {**before, "joined": True, **allow}
        if changed and not check_mode:
            node.join(network_id, allow)
            network = node.network(network_id)
            wrong = [] if network is None else [name for name in allow if network.allow[name] != allow[name]]
            if wrong:
                raise service.ServiceError(f"the node didn't keep {', '.join(wrong)} of the network {network_id}")
        if parameters["wait"] and not check_mode:
            network = service.wait_for_ok(
                node,
                network_id,
                seconds=parameters["wait_timeout"],
                with_address=parameters["wait_for_address"],
            )
    return {
        "changed": changed,
        "address": status["address"],
        "version": str(status.get("version") or ""),
        "network": network.as_dict() if network is not None else {},
        "diff": {"before": before, "after": after},
    }


def main() -> None:
    """Run the module."""
    flag: dict[str, Any] = {"type": "bool"}
    module = AnsibleModule(
        argument_spec={
            "network_id": {"type": "str", "required": True},
            "state": {"type": "str", "choices": ["joined", "left"], "default": "joined"},
            "allow_managed": flag,
            "allow_global": flag,
            "allow_default": flag,
            "allow_dns": flag,
            "wait": {"type": "bool", "default": False},
            "wait_for_address": {"type": "bool", "default": True},
            "wait_timeout": {"type": "float", "default": 60.0},
            "port": {"type": "int", "default": 9993},
            "home": {"type": "path", "default": "/var/lib/zerotier-one"},
        },
        supports_check_mode=True,
    )
    secret = Path(module.params["home"]) / "authtoken.secret"
    try:
        token = secret.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        module.fail_json(
            msg=f"{secret} can't be read ({error.__class__.__name__}): is zerotier-one installed, and root?"
        )
    module.no_log_values.add(token.strip())
    try:
        module.exit_json(**apply(module.params, service.Service(token, port=module.params["port"]), module.check_mode))
    except service.ServiceError as error:
        module.fail_json(msg=str(error))


if __name__ == "__main__":
    main()
