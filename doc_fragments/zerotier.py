"""Documentation of the arguments that all modules for ZeroTier's control planes share."""


class ModuleDocFragment:
    """How to reach a control plane, and which network is meant."""

    DOCUMENTATION = r"""
options:
  api:
    description:
      - The kind of control plane.
      - V(auto) takes a Central kind from the path of O(url), and asks any other URL whether it is a controller.
      - V(central_v2) is beta.
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
