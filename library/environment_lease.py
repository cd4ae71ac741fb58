#!/usr/bin/python
"""Ansible module: hold the lease of an environment, so that one run at a time changes it."""

from __future__ import annotations

DOCUMENTATION = r"""
module: environment_lease
short_description: Hold the lease of an environment, so that one run at a time changes it
description:
  - The lease is an item of a DynamoDB table that the module makes on first use.
  - An action plugin of the same name starts a keeper beside the run. It renews the lease while C(ansible-playbook)
    lives and gives it back when that ends, also after a failure or a kill. When the control node itself dies, the lease
    expires after 10 minutes.
  - A lease is no state of the environment, so taking it is no change. In check mode nothing is taken.
options:
  state:
    description:
      - V(held) takes the lease, or goes on when this run holds it. It fails when somebody else does, and says who and
        since when. A lease whose process on this host is gone, or that expired, is free.
      - V(gathered) tells who holds it.
      - V(absent) removes the table, as the last act on an environment.
    type: str
    choices: [held, gathered, absent]
    default: held
  table:
    description: The DynamoDB table of the lease.
    type: str
    required: true
  run:
    description: Identifies the process that takes it; the action plugin says which.
    type: str
  holder:
    description: Who takes it, for other people; the action plugin says who by default.
    type: str
  what:
    description: What is run, for other people.
    type: str
    default: a playbook
  keeper:
    description: What this run's keeper is called, as an earlier task returned it. While it lives, nothing is asked.
    type: str
  take_over:
    description: Whether to take it from a run that holds it. Make sure that that run is dead.
    type: bool
    default: false
  tags:
    description: Tags of the table.
    type: dict
    default: {}
attributes:
  check_mode:
    description: It takes no lease.
    support: full
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
author: parkmesh project (@parkmesh)
"""

EXAMPLES = r"""
- name: Let nobody else change the environment meanwhile
  environment_lease:
    table: parkmesh-production-lease
    what: playbooks/site.yml
"""

RETURN = r"""
lease:
  description: Who held the lease before (holder, what, since, renewed_at, expires_at, run); V(null) for nobody.
  type: dict
  returned: always
taken:
  description: Whether this run has taken it just now.
  type: bool
  returned: always
keeper:
  description: What this run's keeper is called.
  type: str
  returned: when this run holds the lease
taken_over:
  description: From whom it was taken, in a sentence; empty for nobody.
  type: str
  returned: always
"""

from typing import TYPE_CHECKING, Any

try:
    import botocore.exceptions
except ImportError:  # AnsibleAWSModule reports it
    botocore = None

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule

if TYPE_CHECKING:
    from module_utils import environment_lease as leases
    from module_utils.environment_place import refused
else:
    from ansible.module_utils import environment_lease as leases
    from ansible.module_utils.environment_place import refused


def main() -> None:
    module = AnsibleAWSModule(
        argument_spec={
            "state": {"type": "str", "choices": ["held", "gathered", "absent"], "default": "held"},
            "table": {"type": "str", "required": True},
            "run": {"type": "str"},
            "holder": {"type": "str"},
            "what": {"type": "str", "default": "a playbook"},
            "keeper": {"type": "str"},
            "take_over": {"type": "bool", "default": False},
            "tags": {"type": "dict", "default": {}},
        },
        required_if=[("state", "held", ["run", "holder"])],
        supports_check_mode=True,
    )
    given, client = module.params, module.client("dynamodb")
    result: dict[str, Any] = {"changed": False, "lease": None, "taken": False, "taken_over": ""}
    try:
        if given["state"] == "absent" and not module.check_mode:
            leases.remove_table(client, given["table"])
        elif given["state"] == "held" and not module.check_mode:
            taken, before = leases.take(
                client,
                given["table"],
                given["run"],
                given["holder"],
                given["what"],
                over=given["take_over"],
                tags=given["tags"],
            )
            result |= {"taken": taken, "lease": before, "taken_over": leases.told(before) if before else ""}
        else:
            result["lease"] = leases.read(client, given["table"])
    except leases.HeldError as error:
        module.fail_json(
            msg=f"The environment is being changed: {error}. Wait for its end. If that run is dead, "
            "add -e take_over_lease=true.",
            lease=error.lease,
        )
    except (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError) as error:
        # It is the first to ask AWS in most playbooks.
        if line := refused(error, module.region):
            module.fail_json(msg=line)
        module.fail_json_aws(error, msg=f"The lease {given['table']} can't be read or written")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
