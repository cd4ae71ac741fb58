"""Documentation of the arguments that the modules for ZeroTier's control planes share."""

import textwrap

# One text for a module's own options and for the options inside a list of members.
_MEMBER = r"""
address:
  description: The node's address, 10 hexadecimal digits.
  type: str
  required: true
  aliases: [node_id]
name:
  description: The member's name.
  type: str
description:
  description: A text about the member. A controller keeps none; it is left out there with a warning.
  type: str
authorized:
  description: Whether the member may take part in the network.
  type: bool
active_bridge:
  description: Whether the member may bridge other Ethernet addresses.
  type: bool
no_auto_assign_ips:
  description: Whether the member gets no addresses from the pools.
  type: bool
ip_assignments:
  description: The member's addresses without prefix length, all of them; an empty list takes them away.
  type: list
  elements: str
tags:
  description:
    - Values of tags by the tag's name or id; tags that aren't named are kept, V(null) takes one away.
    - A value is a number, the name of an enum or flag, or a list of flags.
    - "Example: V({role: app, community: 1})."
  type: dict
capabilities:
  description: The ids of the member's capabilities, all of them; on Central v1 also their names.
  type: list
  elements: raw
"""


class ModuleDocFragment:
    """How to reach a control plane, and which network is meant."""

    DOCUMENTATION = r"""
options:
  api:
    description:
      - The kind of control plane.
      - V(auto) takes a Central kind from the path of O(url), and asks any other URL whether it is a controller.
      - V(central_v2) is beta. It follows the API's document and was never run against the service. Rules are written as
        C(rules_source) only, tags and capabilities of members are read and not written.
    type: str
    choices: [auto, controller, central_v1, central_v2]
    default: auto
  url:
    description:
      - Base URL of the control plane.
      - The defaults are V(http://127.0.0.1:9993) for V(auto) and V(controller),
        V(https://api.zerotier.com/api/v1) and V(https://central.zerotier.com/api/v2).
      - Taken from E(ZEROTIER_URL) or E(ZEROTIER_CENTRAL_URL) when not given.
    type: str
  token:
    description:
      - The API token; for a controller the content of its C(authtoken.secret).
      - Taken from E(ZEROTIER_TOKEN) or E(ZEROTIER_CENTRAL_TOKEN) when not given.
    type: str
  token_file:
    description: A file on the host that runs the module with the token in it, used when O(token) isn't given.
    type: path
  timeout:
    description: Seconds to wait for a connection and for each part of an answer.
    type: float
    default: 30.0
  retries:
    description:
      - How often a request is repeated after a failed connection, 429 or 5xx, with growing waits.
      - The server's C(Retry-After) and rate-limit headers are honoured.
    type: int
    default: 4
  validate_certs:
    description: Whether TLS certificates are verified.
    type: bool
    default: true
  ca_path:
    description: A file with the certificates of the authorities to trust.
    type: path
requirements:
  - requests
"""

    NETWORK = r"""
options:
  network_id:
    description: The network's id, 16 hexadecimal digits. One of O(network_id) and O(network_name) is needed.
    type: str
  network_name:
    description: The network's name, where only one network has it.
    type: str
"""

    MEMBER = (
        "options:\n"
        + textwrap.indent(_MEMBER, "  ")
        + r"""
  tag_definitions:
    description:
      - The names of tags and their values, as M(zerotier_network) returns them in C(tags_by_name).
      - A controller keeps numbers only, so that names have to be given here; Central v1 knows them.
    type: dict
"""
    )

    MEMBERS = (
        r"""
options:
  members:
    description: The members; for each of them what isn't given is kept.
    type: list
    elements: dict
    required: true
    suboptions:
"""
        + textwrap.indent(_MEMBER, " " * 6)
        + MEMBER[MEMBER.index("  tag_definitions:") :]
    )
