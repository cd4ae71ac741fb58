#!/usr/bin/python
"""Ansible module: say what is left of an environment on AWS, and remove what nothing uses any more."""

from __future__ import annotations

DOCUMENTATION = r"""
module: environment_remains
short_description: Say what is left of an environment on AWS, and remove what nothing uses any more
description:
  - Reads all that belongs to an environment, with the reason why it is there, such as secrets that can be restored.
  - Removes what the tasks of roles leave behind, such as network interfaces of a deleted load balancer. It removes only
    what carries the environment's tags or lies in its VPC, and is in use by nothing.
  - Reads the content of no secret and of no table.
options:
  state:
    description: V(gathered) says what is left. V(absent) removes what of O(kinds) nothing uses.
    type: str
    choices: [gathered, absent]
    default: gathered
  project:
    description: First part of the environment's names, and its tag C(Project).
    type: str
    required: true
  environment:
    description: Second part of the environment's names, and its tag C(Environment).
    type: str
    required: true
  kinds:
    description: What V(absent) removes.
    type: list
    elements: str
    choices: [network interface, address, snapshot, volume, alarm, log group, certificate]
    default: []
attributes:
  check_mode:
    description: It says what it would remove.
    support: full
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
author: parkmesh project (@parkmesh)
"""

EXAMPLES = r"""
- name: Remove interfaces that nothing uses
  environment_remains:
    state: absent
    project: parkmesh
    environment: production
    kinds: [network interface]
"""

RETURN = r"""
left:
  description: What is left, with kind, name, why, and line.
  type: list
  elements: dict
  returned: for V(gathered)
lines:
  description: For V(gathered) what is left, for V(absent) what was removed; a line for each.
  type: list
  elements: str
  returned: always
"""

from typing import TYPE_CHECKING

try:
    import botocore.exceptions
except ImportError:  # AnsibleAWSModule reports it
    botocore = None

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule

if TYPE_CHECKING:
    from module_utils import environment_remains as remains
    from module_utils.environment_reader import Reader
else:
    from ansible.module_utils import environment_remains as remains
    from ansible.module_utils.environment_reader import Reader


def main() -> None:
    kinds = ["network interface", "address", "snapshot", "volume", "alarm", "log group", "certificate"]
    module = AnsibleAWSModule(
        argument_spec={
            "state": {"type": "str", "choices": ["gathered", "absent"], "default": "gathered"},
            "project": {"type": "str", "required": True},
            "environment": {"type": "str", "required": True},
            "kinds": {"type": "list", "elements": "str", "choices": kinds, "default": []},
        },
        supports_check_mode=True,
    )
    given = module.params
    reader = Reader(module.client, given["project"], given["environment"])
    try:
        if given["state"] == "gathered":
            found = remains.left(reader)
            module.exit_json(changed=False, left=found, lines=[each["line"] for each in found])
        going = remains.sweepable(reader, given["kinds"])
        for each in going:
            if not module.check_mode:
                remains.remove(reader, each)
    except (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError) as error:
        module.fail_json_aws(error, msg="What is left of the environment can't be read or removed")
    module.exit_json(changed=bool(going), lines=[f"{each.kind} {each.identifier}" for each in going])


if __name__ == "__main__":
    main()
