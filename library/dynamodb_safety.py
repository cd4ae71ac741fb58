#!/usr/bin/python
"""Ansible module: whether a DynamoDB table can be restored to a point in time, is protected, and is shared."""

from __future__ import annotations

DOCUMENTATION = r"""
module: dynamodb_safety
short_description: Set point-in-time recovery and deletion protection of a DynamoDB table, and end its sharing
description:
  - C(community.aws.dynamodb_table) does none of it. What is to be switched on needs a table, except in check mode.
options:
  state:
    description: V(present) sets what is given. V(gathered) says how the table is.
    type: str
    choices: [present, gathered]
    default: present
  name:
    description: Name of the table.
    type: str
    required: true
  point_in_time_recovery:
    description: Whether the table can be restored to any second of the last 35 days. Without it nothing changes.
    type: bool
  deletion_protection:
    description: Whether AWS refuses to delete the table. Without it nothing changes.
    type: bool
  shared:
    description: Whether the table may have a resource policy. V(false) removes one, V(true) leaves it.
    type: bool
    default: true
attributes:
  check_mode:
    description: It says what it would change.
    support: full
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
author: parkmesh project (@parkmesh)
"""

EXAMPLES = r"""
- name: Let nobody lose the table
  dynamodb_safety:
    name: parkmesh-production-slots
    point_in_time_recovery: true
    deletion_protection: true
"""

RETURN = r"""
exists:
  description: Whether there is such a table.
  type: bool
  returned: always
point_in_time_recovery:
  description: Whether it can be restored to a point in time.
  type: bool
  returned: always
deletion_protection:
  description: Whether AWS refuses to delete it.
  type: bool
  returned: always
shared:
  description: Whether it has a resource policy.
  type: bool
  returned: when the policy was asked for
"""

from collections.abc import Mapping
from typing import Any

try:
    import botocore.exceptions
except ImportError:  # AnsibleAWSModule reports it
    botocore = None

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule


def read(client: Any, name: str, *, with_policy: bool) -> dict[str, Any]:
    """How the table is; ``exists`` false without one. Its policy is another call, made where it is asked for."""
    try:
        table = client.describe_table(TableName=name)["Table"]
    except client.exceptions.ResourceNotFoundException:
        none = {"exists": False, "point_in_time_recovery": False, "deletion_protection": False}
        return {**none, "shared": False} if with_policy else none
    backups = client.describe_continuous_backups(TableName=name)["ContinuousBackupsDescription"]
    recovery = backups.get("PointInTimeRecoveryDescription", {}).get("PointInTimeRecoveryStatus") == "ENABLED"
    there = {
        "exists": True,
        "point_in_time_recovery": recovery,
        "deletion_protection": bool(table.get("DeletionProtectionEnabled")),
    }
    return {**there, "shared": has_policy(client, table["TableArn"])} if with_policy else there


def has_policy(client: Any, arn: str) -> bool:
    """Whether the table's own policy lets somebody use it (DynamoDB API reference, GetResourcePolicy)."""
    try:
        client.get_resource_policy(ResourceArn=arn)
    except client.exceptions.PolicyNotFoundException:
        return False
    return True


def run(client: Any, options: Mapping[str, Any], *, dry: bool) -> dict[str, Any]:
    """The module's result."""
    name, ends_sharing = options["name"], not options["shared"]
    there = read(client, name, with_policy=ends_sharing)
    asked = {key: options[key] for key in ("point_in_time_recovery", "deletion_protection")}
    wanted = {key: value for key, value in asked.items() if value is not None and value != there[key]}
    if ends_sharing and there["shared"]:
        wanted["shared"] = False
    if not there["exists"] and not dry and any(asked.values()):
        raise LookupError(f"there is no table {name}")
    if options["state"] == "gathered" or not wanted:
        return {"changed": False, **there}
    if not dry:
        if "point_in_time_recovery" in wanted:
            # A table made a moment ago has no continuous backups yet, and the call says so (DynamoDB API reference,
            # UpdateContinuousBackups, Errors: ContinuousBackupsUnavailableException). The caller tries again.
            client.update_continuous_backups(
                TableName=name,
                PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": wanted["point_in_time_recovery"]},
            )
        if "deletion_protection" in wanted:
            client.update_table(TableName=name, DeletionProtectionEnabled=wanted["deletion_protection"])
        if "shared" in wanted:
            client.delete_resource_policy(ResourceArn=client.describe_table(TableName=name)["Table"]["TableArn"])
    return {"changed": True, **there, **wanted}


def main() -> None:
    module = AnsibleAWSModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "gathered"], "default": "present"},
            "name": {"type": "str", "required": True},
            "point_in_time_recovery": {"type": "bool"},
            "deletion_protection": {"type": "bool"},
            "shared": {"type": "bool", "default": True},
        },
        supports_check_mode=True,
    )
    try:
        result = run(module.client("dynamodb"), module.params, dry=module.check_mode)
    except LookupError as error:
        module.fail_json(msg=str(error))
    except (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError) as error:
        module.fail_json_aws(error, msg=f"The table {module.params['name']} can't be read or changed")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
