#!/usr/bin/python
"""Ansible module: say how an environment on AWS differs from what it should be, and change nothing."""

from __future__ import annotations

DOCUMENTATION = r"""
module: environment_drift
short_description: Say how an environment on AWS differs from what it should be
description:
  - Reads everything that belongs to an environment and compares it as a whole with what the roles would make. So it
    also finds what no role ever looks at, such as one more policy of a role, a public bucket, or a server by hand.
  - Calls only operations of AWS that describe, get or list. It reads the content of no secret and of no table.
  - Each role aws_* has tasks C(desired) that set the fact for one of O(network), O(egress), O(data) and O(service).
options:
  project:
    description: First part of the environment's names, and its tag C(Project).
    type: str
    required: true
  environment:
    description: Second part of the environment's names, and its tag C(Environment).
    type: str
    required: true
  network:
    description: The fact C(aws_network_desired) of role aws_network.
    type: dict
    required: true
  data:
    description: The fact C(aws_data_desired) of role aws_data.
    type: dict
    required: true
  service:
    description: The fact C(aws_service_desired) of role aws_service.
    type: dict
    required: true
  egress:
    description: The fact C(aws_egress_desired) of role aws_egress.
    type: dict
    required: true
  accepted:
    description:
      - Differences that are meant, each by the beginning of its line, such as C(peering pcx-0123456789abcdef0) or
        C(role parkmesh-production-app).
    type: list
    elements: str
    default: []
attributes:
  check_mode:
    description: It changes nothing anyway.
    support: full
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
author: parkmesh project (@parkmesh)
"""

EXAMPLES = r"""
- name: Compare
  environment_drift:
    project: parkmesh
    environment: production
    network: "{{ aws_network_desired }}"
    data: "{{ aws_data_desired }}"
    service: "{{ aws_service_desired }}"
    egress: "{{ aws_egress_desired }}"
  register: drift
"""

RETURN = r"""
differences:
  description: What differs, with kind, name, path (the property; empty for a whole object), wanted, found, and line.
  type: list
  elements: dict
  returned: always
changing:
  description: Who changes the environment at this moment, in a sentence; empty for nobody.
  type: str
  returned: always
lines:
  description: The same for people, a line for each.
  type: list
  elements: str
  returned: always
accepted:
  description: The lines of differences that are meant.
  type: list
  elements: str
  returned: always
unused:
  description: Members of O(accepted) that no difference begins with.
  type: list
  elements: str
  returned: always
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

try:
    import botocore.exceptions
except ImportError:  # AnsibleAWSModule reports it
    botocore = None

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule

if TYPE_CHECKING:
    from module_utils import environment_comparison as comparison
    from module_utils import environment_data as data
    from module_utils import environment_egress as egress
    from module_utils import environment_lease as leases
    from module_utils import environment_network as network
    from module_utils import environment_service as service
    from module_utils.environment_reader import Reader
else:
    from ansible.module_utils import environment_comparison as comparison
    from ansible.module_utils import environment_data as data
    from ansible.module_utils import environment_egress as egress
    from ansible.module_utils import environment_lease as leases
    from ansible.module_utils import environment_network as network
    from ansible.module_utils import environment_service as service
    from ansible.module_utils.environment_reader import Reader


def desired(options: Mapping[str, Any]) -> dict[str, dict[str, dict[str, Any]]]:
    """What all roles together make."""
    zones = {"zone_names": options["network"]["zone_names"]}
    parts = (
        network.desired(options["network"]),
        egress.desired(options["egress"]),
        data.desired({**options["data"], **zones}),
        service.desired({**options["service"], **zones}),
    )
    whole: dict[str, dict[str, dict[str, Any]]] = {}
    for part in parts:
        for kind, objects in part.items():
            whole[kind] = {**whole.get(kind, {}), **objects}
    return whole


def found(client: Callable[[str], Any], project: str, environment: str) -> dict[str, dict[str, dict[str, Any]]]:
    """What AWS has. The order counts: each part knows the names of those before."""
    reader = Reader(client, project, environment)
    everything = {**network.describe(reader), **data.describe(reader), **service.describe(reader)}
    return {**everything, **data.others_with_tags(reader)}


def run(client: Callable[[str], Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """The module's result."""
    there = found(client, options["project"], options["environment"])
    differences = comparison.differences(desired(options), there)
    meant = tuple(options["accepted"])
    lease = leases.read(client("dynamodb"), f"{options['project']}-{options['environment']}-lease")
    return {
        "changed": False,
        "changing": leases.told(lease) if lease else "",
        "differences": [each for each in differences if not each["line"].startswith(meant)],
        "lines": [each["line"] for each in differences if not each["line"].startswith(meant)],
        "accepted": [each["line"] for each in differences if each["line"].startswith(meant)],
        "unused": [each for each in meant if not any(one["line"].startswith(each) for one in differences)],
    }


def main() -> None:
    module = AnsibleAWSModule(
        argument_spec={
            "project": {"type": "str", "required": True},
            "environment": {"type": "str", "required": True},
            "network": {"type": "dict", "required": True},
            "data": {"type": "dict", "required": True},
            "service": {"type": "dict", "required": True},
            "egress": {"type": "dict", "required": True},
            "accepted": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    try:
        result = run(module.client, module.params)
    except (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError) as error:
        module.fail_json_aws(error, msg="The environment can't be read")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
