#!/usr/bin/python
"""Ansible module: say what there is of an environment on AWS."""

from __future__ import annotations

DOCUMENTATION = r"""
module: environment_status
short_description: Say what there is of an environment on AWS
description:
  - Reads network, egress, data, images, load balancers, servers, alarms and the lease, and says what they cost.
  - Changes nothing, and reads the content of no secret.
options:
  project:
    description: First part of the environment's names, and its tag C(Project).
    type: str
    required: true
  environment:
    description: Second part of the environment's names, and its tag C(Environment).
    type: str
    required: true
  prices:
    description: The table of prices, as in C(playbooks/files/prices.yml).
    type: dict
    required: true
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
- name: Look
  environment_status:
    project: parkmesh
    environment: production
    prices: "{{ lookup('ansible.builtin.file', 'files/prices.yml') | from_yaml }}"
  register: found
"""

RETURN = r"""
tree:
  description: What there is, by part.
  type: dict
  returned: always
lines:
  description: The same as text.
  type: list
  elements: str
  returned: always
"""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

try:
    import botocore.exceptions
except ImportError:  # AnsibleAWSModule reports it
    botocore = None

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule

if TYPE_CHECKING:
    from module_utils import environment_status
else:
    from ansible.module_utils import environment_status


def main() -> None:
    module = AnsibleAWSModule(
        argument_spec={
            "project": {"type": "str", "required": True},
            "environment": {"type": "str", "required": True},
            "prices": {"type": "dict", "required": True},
        },
        supports_check_mode=True,
    )
    given = module.params
    try:
        tree = environment_status.status(
            module.client, given["project"], given["environment"], given["prices"], now=datetime.now(UTC)
        )
    except (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError) as error:
        module.fail_json_aws(error, msg="The environment can't be read")
    module.exit_json(changed=False, tree=tree, lines=list(environment_status.lines(tree)))


if __name__ == "__main__":
    main()
