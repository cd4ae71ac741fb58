#!/usr/bin/python
"""Ansible module: have an instance of its own migrate the database or run the retention, as the database's owner."""

from __future__ import annotations

DOCUMENTATION = r"""
module: service_maintenance
short_description: Have an instance of its own migrate the database of app servers, or run the retention
description:
  - Starts an instance from a launch template whose role may read the password of the database's owner, which no app
    server may. The instance runs C(parkmesh instance maintain), writes what came of it into a parameter of Systems
    Manager, and ends.
  - An action plugin of the same name waits for the result, shows how it goes, ends the instance, and fails with the
    task's own words if it failed.
options:
  task:
    description:
      - V(migrate) brings the tables of the image's release. An image that has migrated the database isn't asked again.
      - V(retention) deletes what is over its time, and makes the database's next partitions.
    type: str
    choices: [migrate, retention]
    default: migrate
  state:
    description:
      - V(done) starts the instance if it is needed. One that was started for the same task and version of the launch
        template, such as by a run that was interrupted, is waited for. That of the nightly retention is left alone.
      - V(gathered) tells how the instance O(instance_id) stands.
      - V(ended) terminates it.
    type: str
    choices: [done, gathered, ended]
    default: done
  name:
    description: Name of the launch template, and of the instance.
    type: str
    required: true
  version:
    description: Number of the launch template's version.
    type: int
  image:
    description: The image that the version starts, for O(task=migrate).
    type: str
  database:
    description: The database's host, for O(task=migrate).
    type: str
  parameter:
    description: The parameter with the result.
    type: str
    required: true
  subnets:
    description: Subnets to start it in. The next one is tried where AWS has no capacity.
    type: list
    elements: str
    default: []
  tags:
    description: Tags of the instance, besides C(Task) and C(Name).
    type: dict
    default: {}
  always:
    description: Whether to migrate also where this image has migrated this database already.
    type: bool
    default: false
  instance_id:
    description: The instance, for V(gathered) and V(ended).
    type: str
  wait_s:
    description: Seconds to wait for the result.
    type: int
    default: 3600
  poll_s:
    description: Seconds between two looks.
    type: int
    default: 5
attributes:
  check_mode:
    description: Says whether an instance would be started.
    support: full
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
author: parkmesh project (@parkmesh)
"""

EXAMPLES = r"""
- name: Migrate the database
  service_maintenance:
    name: parkmesh-production-maintenance
    version: 7
    image: ami-0123456789abcdef0
    database: parkmesh-production-database.abc.eu-west-1.rds.amazonaws.com
    parameter: /parkmesh/production/migration
    subnets: [subnet-0a, subnet-0b]

- name: Run the retention
  service_maintenance:
    task: retention
    name: parkmesh-production-maintenance
    version: 7
    parameter: /parkmesh/production/retention
    subnets: [subnet-0a, subnet-0b]
"""

RETURN = r"""
instance_id:
  description: The instance; empty where none is needed.
  type: str
  returned: always
done:
  description: Whether there is nothing to wait for.
  type: bool
  returned: always
result:
  description: What the instance wrote (C(state), C(message), C(began), C(ended)); empty without a result.
  type: dict
  returned: always
progress:
  description: How it stands, in a line.
  type: str
  returned: always
"""

import json
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

try:
    import botocore.exceptions
except ImportError:  # AnsibleAWSModule reports it
    botocore = None

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule

WORDS: Final[Mapping[str, tuple[str, str, str]]] = {
    "migrate": ("migrates the database", "migrated the database", "did not migrate the database"),
    "retention": ("runs the retention", "ran the retention", "did not run the retention to its end"),
}
ALIVE: Final = ("pending", "running", "stopping", "stopped")
NO_CAPACITY: Final = ("InsufficientInstanceCapacity", "Unsupported")
"""EC2 API reference, "Error codes": the zone has none of the type at this moment, or never."""
PROFILE_TRIES = 10
PROFILE_PAUSE_S = 4.0


class MigrationError(ValueError):
    """What was asked for can't be done; the message says why."""


def read(client: Any, name: str) -> dict[str, Any]:
    """The last result; empty for none. ``client`` is boto3's for Systems Manager."""
    try:
        text = client.get_parameter(Name=name)["Parameter"]["Value"]
    except client.exceptions.ParameterNotFound:
        return {}
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def is_migrated(result: Mapping[str, Any], image: str, database: str) -> bool:
    """Whether this image has migrated this database before. Later ones may have too: a release works with the tables
    of the next one."""
    return result.get("database") == database and image in (result.get("images") or [])


def instances(ec2: Any, name: str, task: str) -> list[dict[str, Any]]:
    """The instances that runs have started for a task, and that aren't terminated."""
    filters = [
        {"Name": "tag:Name", "Values": [name]},
        {"Name": "tag:Task", "Values": [task]},
        {"Name": "instance-state-name", "Values": list(ALIVE)},
    ]
    pages = ec2.get_paginator("describe_instances").paginate(Filters=filters)
    found = [each for page in pages for one in page["Reservations"] for each in one["Instances"]]
    # A group would replace the one of the night.
    return [each for each in found if tags_of(each).get("aws:autoscaling:groupName") is None]


def tags_of(instance: Mapping[str, Any]) -> dict[str, str]:
    return {each["Key"]: each["Value"] for each in instance.get("Tags", [])}


def version_of(instance: Mapping[str, Any]) -> str | None:
    """The launch template's version that an instance was started from, which EC2 notes in a tag."""
    return tags_of(instance).get("aws:ec2launchtemplate:version")


def launch(ec2: Any, options: Mapping[str, Any], sleep: Callable[[float], None] = time.sleep) -> str:
    """Start the instance; returns its id. Raises MigrationError where no subnet has capacity."""
    tags = {**options["tags"], "Name": options["name"], "Task": options["task"]}
    listed = [{"Key": key, "Value": value} for key, value in sorted(tags.items())]
    refused = ""
    for subnet in options["subnets"]:
        for tried in range(PROFILE_TRIES):
            try:
                started = ec2.run_instances(
                    LaunchTemplate={"LaunchTemplateName": options["name"], "Version": str(options["version"])},
                    SubnetId=subnet,
                    MinCount=1,
                    MaxCount=1,
                    # It powers itself off at its end, also when nobody waits for it any more.
                    InstanceInitiatedShutdownBehavior="terminate",
                    TagSpecifications=[{"ResourceType": kind, "Tags": listed} for kind in ("instance", "volume")],
                )
            except botocore.exceptions.ClientError as error:
                said = error.response["Error"]
                if said["Code"] in NO_CAPACITY:
                    refused = said["Message"]
                    break
                # An instance profile that was made just now may be unknown to EC2 for some seconds.
                new = said["Code"] == "InvalidParameterValue" and "nstance" in said["Message"]
                if not new or tried == PROFILE_TRIES - 1:
                    raise
                sleep(PROFILE_PAUSE_S)
            else:
                return str(started["Instances"][0]["InstanceId"])
    raise MigrationError(f"no subnet could start {options['name']}: {refused or 'there are no subnets'}")


def begin(ec2: Any, ssm: Any, options: Mapping[str, Any], *, dry: bool) -> dict[str, Any]:
    """Start the instance, or find that none is needed."""
    task = options["task"]
    if task == "migrate":
        before = read(ssm, options["parameter"])
        if not options["always"] and is_migrated(before, options["image"], options["database"]):
            return _told(False, "", True, before, f"The database was migrated by {options['image']} already.")
        if dry:
            return _told(True, "", True, {}, f"An instance would migrate the database by {options['image']}.")
    elif dry:
        return _told(True, "", True, {}, "An instance would run the retention.")
    there, joined = instances(ec2, options["name"], task), ""
    for each in there:
        if version_of(each) == str(options["version"]) and each["State"]["Name"] in ("pending", "running"):
            joined = joined or each["InstanceId"]
    if leftover := [each["InstanceId"] for each in there if each["InstanceId"] != joined]:
        ec2.terminate_instances(InstanceIds=leftover)
    identifier = joined or launch(ec2, options)
    return _told(True, identifier, False, {}, f"The instance {identifier} {WORDS[task][0]}.")


def gather(ec2: Any, ssm: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """How the instance stands. Its state is read before the result, which it writes before it ends."""
    identifier, task = options["instance_id"], options["task"]
    at_it, well, failed = WORDS[task]
    found = ec2.describe_instances(Filters=[{"Name": "instance-id", "Values": [identifier]}])["Reservations"]
    states = [each["State"]["Name"] for one in found for each in one["Instances"]]
    result = read(ssm, options["parameter"])
    if result.get("instance") == identifier and result.get("task") == task:
        words = well if result["state"] == "succeeded" else failed
        return _told(False, identifier, True, result, f"{identifier} {words}: {result.get('message', '')}")
    if not states or states[0] not in ("pending", "running"):
        return _told(False, identifier, True, {}, f"{identifier} ended without a result.")
    return _told(False, identifier, False, {}, f"The instance {identifier} {at_it}.")


def end(ec2: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    ec2.terminate_instances(InstanceIds=[options["instance_id"]])
    return _told(False, options["instance_id"], True, {}, f"{options['instance_id']} ends.")


def _told(changed: bool, instance: str, done: bool, result: Mapping[str, Any], progress: str) -> dict[str, Any]:
    return {
        "changed": changed,
        "instance_id": instance,
        "done": done,
        "result": dict(result),
        "progress": progress,
    }


def main() -> None:
    module = AnsibleAWSModule(
        argument_spec={
            "task": {"type": "str", "choices": ["migrate", "retention"], "default": "migrate"},
            "state": {"type": "str", "choices": ["done", "gathered", "ended"], "default": "done"},
            "name": {"type": "str", "required": True},
            "version": {"type": "int"},
            "image": {"type": "str"},
            "database": {"type": "str"},
            "parameter": {"type": "str", "required": True},
            "subnets": {"type": "list", "elements": "str", "default": []},
            "tags": {"type": "dict", "default": {}},
            "always": {"type": "bool", "default": False},
            "instance_id": {"type": "str"},
            "wait_s": {"type": "int", "default": 3600},
            "poll_s": {"type": "int", "default": 5},
        },
        required_if=[
            ("state", "done", ["version"]),
            ("state", "gathered", ["instance_id"]),
            ("state", "ended", ["instance_id"]),
        ],
        supports_check_mode=True,
    )
    given = module.params
    if (given["task"], given["state"]) == ("migrate", "done") and not (given["image"] and given["database"]):
        module.fail_json(msg="task migrate needs image and database")
    ec2 = module.client("ec2")
    try:
        match given["state"]:
            case "done":
                result = begin(ec2, module.client("ssm"), given, dry=module.check_mode)
            case "gathered":
                result = gather(ec2, module.client("ssm"), given)
            case _:
                result = end(ec2, given)
    except MigrationError as error:
        module.fail_json(msg=str(error))
    except (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError) as error:
        module.fail_json_aws(error, msg=f"{given['name']} can't be asked for the task {given['task']}")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
