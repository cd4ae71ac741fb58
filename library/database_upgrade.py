#!/usr/bin/python
"""Ansible module: bring a PostgreSQL of RDS to another version, with a snapshot before."""

from __future__ import annotations

DOCUMENTATION = r"""
module: database_upgrade
short_description: Bring a PostgreSQL of RDS to another version, with a snapshot before
description:
  - Refuses a version that isn't among the C(ValidUpgradeTarget) that RDS names for the present one
    (C(DescribeDBEngineVersions)). Otherwise it makes a snapshot, waits until that is there, and has RDS upgrade the
    database at once. A database that has the version already is left as it is.
  - A module can't wait with progress. So each call takes the next step; an action plugin of the same name calls until
    the database is upgraded, shows a line for each step forward, and fails if RDS gave up.
options:
  name:
    description: The database's identifier.
    type: str
    required: true
  version:
    description: The version, such as V(17.7). A major version alone (V(18)) takes the newest valid one of it.
    type: str
    required: true
  parameter_group:
    description: The parameter group that the database is to have then.
    type: str
    required: true
  snapshot:
    description: What the snapshot before is called. One that is there is used, if it is of the present version.
    type: str
    required: true
  asked:
    description: Whether RDS was asked for the upgrade before; the action plugin says so.
    type: bool
    default: false
  wait_s:
    description: Seconds to wait without a step forward.
    type: int
    default: 7200
  poll_s:
    description: Seconds between two looks.
    type: int
    default: 15
attributes:
  check_mode:
    description: Says to which version the database would come, and refuses what RDS would.
    support: full
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
author: parkmesh project (@parkmesh)
"""

EXAMPLES = r"""
- name: Upgrade to the newest minor version
  database_upgrade:
    name: parkmesh-production-database
    version: "17"
    parameter_group: parkmesh-production-database-17
    snapshot: parkmesh-production-database-before-upgrade-20261130
"""

RETURN = r"""
done:
  description: Whether the database has the version, and is available.
  type: bool
  returned: always
asked:
  description: Whether RDS was asked for the upgrade.
  type: bool
  returned: always
refused:
  description: Whether RDS was asked for the upgrade and doesn't do it, or not yet.
  type: bool
  returned: always
before:
  description: The database's version at this moment.
  type: str
  returned: always
version:
  description: The version that it is to have.
  type: str
  returned: always
progress:
  description: How it stands, in a line.
  type: str
  returned: always
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

try:
    import botocore.exceptions
except ImportError:  # AnsibleAWSModule reports it
    botocore = None

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule

Targets = Sequence[Mapping[str, Any]]


class UpgradeError(ValueError):
    """What was asked for can't be done; the message says why and what can be."""


def number(version: str) -> tuple[int, ...]:
    """A version as numbers, to compare."""
    return tuple(int(each) for each in re.findall(r"\d+", version))


def chosen(current: str, asked: str, targets: Targets) -> str:
    """The version to upgrade to; the present one where nothing is to do. Raises UpgradeError.

    ``targets`` are RDS's ``ValidUpgradeTarget`` of the present version.
    """
    if not re.fullmatch(r"\d+(\.\d+)?", asked):
        raise UpgradeError(f"the version must be like 17.7, or 18 for the newest of it, not {asked}")
    offered = sorted((str(each["EngineVersion"]) for each in targets), key=number)
    if asked == current:
        return current
    if "." not in asked:
        of_it = [each for each in offered if number(each)[0] == int(asked)]
        if number(current)[0] == int(asked):
            return of_it[-1] if of_it else current
        if of_it:
            return of_it[-1]
    elif asked in offered:
        return asked
    words = f"PostgreSQL {current} can be upgraded to {', '.join(offered)}" if offered else f"{current} has no upgrade"
    raise UpgradeError(f"RDS can't upgrade PostgreSQL {current} to {asked}: {words}")


def valid_targets(client: Any, version: str) -> Targets:
    found = client.describe_db_engine_versions(Engine="postgres", EngineVersion=version)["DBEngineVersions"]
    targets: Targets = [target for each in found for target in each.get("ValidUpgradeTarget", [])]
    return targets


def why_not(client: Any, name: str) -> str:
    """What RDS said last about the database."""
    events = client.describe_events(SourceIdentifier=name, SourceType="db-instance", Duration=180)["Events"]
    return str(events[-1]["Message"]) if events else "its events say nothing"


def step(client: Any, options: Mapping[str, Any], *, dry: bool) -> dict[str, Any]:
    """Take the next step towards the version; returns the module's result. Raises UpgradeError."""
    name, asked = options["name"], options["asked"]
    try:
        (database,) = client.describe_db_instances(DBInstanceIdentifier=name)["DBInstances"]
    except client.exceptions.DBInstanceNotFoundFault:
        raise UpgradeError(f"there is no database {name}") from None
    current, status = str(database["EngineVersion"]), database["DBInstanceStatus"]
    pending = (database.get("PendingModifiedValues") or {}).get("EngineVersion")

    def told(
        progress: str, *, changed: bool = False, done: bool = False, version: str = "", asks: bool = asked
    ) -> dict[str, Any]:
        return {
            "changed": changed,
            "done": done,
            "asked": asks,
            "refused": False,
            "before": current,
            "version": version or options["version"],
            "progress": progress,
        }

    if status != "available":
        return told(f"{name} is {status}.")
    if pending:
        return told(f"{name} is about to be upgraded from {current} to {pending}.", version=pending, asks=True)
    version = chosen(current, options["version"], valid_targets(client, current))
    if version == current:
        return told(f"{name} is PostgreSQL {current}.", done=True, version=version)
    if asked:
        # RDS may need a moment to begin, and it returns to this after checks that failed.
        line = f"{name} is still PostgreSQL {current}. The last event: {why_not(client, name)}"
        return told(line, version=version) | {"refused": True}
    if dry:
        return told(f"{name} would be upgraded from PostgreSQL {current} to {version}.", changed=True, version=version)
    snapshot = options["snapshot"]
    try:
        (kept,) = client.describe_db_snapshots(DBSnapshotIdentifier=snapshot)["DBSnapshots"]
    except client.exceptions.DBSnapshotNotFoundFault:
        tags = database.get("TagList", [])
        client.create_db_snapshot(DBInstanceIdentifier=name, DBSnapshotIdentifier=snapshot, Tags=tags)
        return told(f"The snapshot {snapshot} of PostgreSQL {current} is being made.", changed=True, version=version)
    if kept["DBInstanceIdentifier"] != name or kept["EngineVersion"] != current:
        raise UpgradeError(f"{snapshot} is a snapshot of {kept['DBInstanceIdentifier']}, {kept['EngineVersion']}")
    if kept["Status"] != "available":
        done = kept.get("PercentProgress", 0)
        return told(f"The snapshot {snapshot} is {kept['Status']}: {done} %.", changed=True, version=version)
    client.modify_db_instance(
        DBInstanceIdentifier=name,
        EngineVersion=version,
        AllowMajorVersionUpgrade=number(version)[0] != number(current)[0],
        DBParameterGroupName=options["parameter_group"],
        ApplyImmediately=True,
    )
    progress = f"{name} is being upgraded from PostgreSQL {current} to {version}."
    return told(progress, changed=True, version=version, asks=True)


def main() -> None:
    module = AnsibleAWSModule(
        argument_spec={
            "name": {"type": "str", "required": True},
            "version": {"type": "str", "required": True},
            "parameter_group": {"type": "str", "required": True},
            "snapshot": {"type": "str", "required": True},
            "asked": {"type": "bool", "default": False},
            "wait_s": {"type": "int", "default": 7200},
            "poll_s": {"type": "int", "default": 15},
        },
        supports_check_mode=True,
    )
    try:
        result = step(module.client("rds"), module.params, dry=module.check_mode)
    except UpgradeError as error:
        module.fail_json(msg=str(error))
    except (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError) as error:
        module.fail_json_aws(error, msg=f"{module.params['name']} can't be upgraded")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
