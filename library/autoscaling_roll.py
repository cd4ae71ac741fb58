#!/usr/bin/python
"""Ansible module: replace the instances of an Auto Scaling group, with AWS's own way back while that runs."""

from __future__ import annotations

DOCUMENTATION = r"""
module: autoscaling_roll
short_description: Roll the instances of an Auto Scaling group, or roll them back
description:
  - Starts an instance refresh with a desired configuration, or rolls back the one that runs. The group keeps its own
    version of the launch template until the refresh has succeeded, which is what AWS returns to.
  - AWS refuses a rollback when the group had taken the new version before the refresh started, so save the new version
    nowhere but in O(version).
  - M(amazon.aws.autoscaling_instance_refresh) has no desired configuration, no checkpoints, no alarms and no rollback.
  - With O(wait) an action plugin of the same name shows a line for each step forward and ends when the refresh has.
options:
  state:
    description:
      - V(started) starts a refresh. One that runs already with the same O(version) counts as started. One to another
        version is waited for first; without O(wait), or without O(version), the module fails.
      - V(rolled_back) returns to what the group had before. It changes nothing when no refresh runs.
      - V(gathered) tells how the latest refresh stands, or the one that O(refresh_id) names.
    type: str
    choices: [started, rolled_back, gathered]
    default: started
  name:
    description: Name of the Auto Scaling group.
    type: str
    required: true
  refresh_id:
    description: The refresh to tell about, for V(gathered).
    type: str
  version:
    description:
      - Number of the version of the group's launch template that instances are to run. The group takes it when the
        refresh has succeeded.
      - Without it, instances are replaced by ones of the group's present version, and there is no way back.
    type: int
  min_healthy_percentage:
    description: Percentage of the group's size that stays in service, 0 to 100.
    type: int
    default: 100
  max_healthy_percentage:
    description: Percentage of the group's size that there may be at once, 100 to 200.
    type: int
    default: 150
  instance_warmup_s:
    description: Seconds that a new instance is healthy before the next one is replaced.
    type: int
  skip_matching:
    description: Whether instances that run O(version) already stay.
    type: bool
    default: true
  checkpoints:
    description: Percentages of new instances at which the refresh pauses, ascending, each below 100.
    type: list
    elements: int
    default: []
  checkpoint_delay_s:
    description: Seconds of each pause.
    type: int
    default: 300
  bake_s:
    description: Seconds for which AWS watches the alarms when all are replaced, before the refresh has succeeded.
    type: int
    default: 0
  alarms:
    description: Names of CloudWatch alarms, 10 at most. The refresh fails when one of them goes off.
    type: list
    elements: str
    default: []
  auto_rollback:
    description: Whether AWS rolls back when the refresh fails. Needs O(version).
    type: bool
    default: true
  wait:
    description: Whether to wait until the refresh has ended. Then the task fails unless it ended as was asked.
    type: bool
    default: true
  stall_s:
    description:
      - With O(wait), seconds without a step forward, checkpoints' pauses aside, after which the task rolls the
        refresh back, or gives up where that isn't possible. AWS itself gives up after an hour.
    type: int
    default: 900
  poll_s:
    description: With O(wait), seconds between two looks.
    type: int
    default: 10
attributes:
  check_mode:
    description: Says whether a refresh would be started or rolled back.
    support: full
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
author: parkmesh project (@parkmesh)
"""

EXAMPLES = r"""
- name: Roll to version 7, half of the servers first
  autoscaling_roll:
    name: parkmesh-production-app
    version: 7
    checkpoints: [50]
    alarms: [parkmesh-production-5xx]

- name: Return to what ran before
  autoscaling_roll:
    name: parkmesh-production-app
    state: rolled_back
"""

RETURN = r"""
refresh:
  description: The refresh that runs or ran last, as AWS describes it, with names in snake case; empty for none.
  type: dict
  returned: always
running:
  description: Whether it runs still.
  type: bool
  returned: always
blocked:
  description: Whether another refresh must end before the one that is asked for can start.
  type: bool
  returned: always
progress:
  description: How the refresh stands, in a line.
  type: str
  returned: always
"""

from collections.abc import Mapping
from typing import Any, Final

try:
    import botocore.exceptions
except ImportError:  # AnsibleAWSModule reports it
    botocore = None

from ansible.module_utils.common.dict_transformations import camel_dict_to_snake_dict
from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule

Refresh = dict[str, Any]

ENDED: Final = ("Successful", "Failed", "Cancelled", "RollbackSuccessful", "RollbackFailed")
"""AWS's statuses of a refresh that is over (API reference, InstanceRefresh). A status that isn't known is no end."""
GOING_BACK: Final = ("RollbackInProgress", "RollbackSuccessful", "RollbackFailed")


class RollError(ValueError):
    """What was asked for can't be done; the message says why and what can be."""


def is_running(refresh: Refresh) -> bool:
    """Whether a refresh isn't over; an empty one never ran."""
    return bool(refresh) and refresh["Status"] not in ENDED


def desired_version(refresh: Refresh) -> str | None:
    """The version of the launch template that a refresh brings; None when it has no desired configuration."""
    template = (refresh.get("DesiredConfiguration") or {}).get("LaunchTemplate") or {}
    version: str | None = template.get("Version")
    return version


def progress(refresh: Refresh) -> str:
    """How a refresh stands, in a line."""
    if not refresh:
        return "There was no refresh yet."
    version = desired_version(refresh)
    what = f"to version {version}" if version else "of the present version"
    status, percentage = refresh["Status"], refresh.get("PercentageComplete", 0)
    reason = f": {refresh['StatusReason']}" if refresh.get("StatusReason") else ""
    pauses = refresh.get("Preferences", {}).get("CheckpointPercentages", [])[:-1]
    match status:
        case "Successful":
            return f"The roll {what} succeeded."
        case "RollbackSuccessful":
            return f"The roll {what} was taken back. All servers run what they ran before{reason}."
        case "RollbackFailed":
            return f"The roll {what} could not be taken back. Servers of both versions run{reason}."
        case "Failed":
            return f"The roll {what} failed. Servers that were replaced stay{reason}."
        case "Cancelled":
            return f"The roll {what} was cancelled. Servers that were replaced stay{reason}."
        case "RollbackInProgress":
            return f"The roll {what} is being taken back; {percentage} % are still to go{reason}."
        case "Baking":
            return f"The roll {what} has replaced all servers and waits for alarms."
        case _:
            pause = " It pauses at this checkpoint." if percentage in pauses else ""
            left = refresh.get("InstancesToUpdate", 0)
            return f"The roll {what} is {status}: {percentage} %, {left} to replace.{pause}"


def request(options: Mapping[str, Any], template_id: str) -> dict[str, Any]:
    """The arguments of StartInstanceRefresh. Raises RollError for what AWS would refuse."""
    least, most = options["min_healthy_percentage"], options["max_healthy_percentage"]
    if not (0 <= least <= 100 <= most <= 200 and most - least <= 100):
        raise RollError(
            f"min_healthy_percentage ({least}) must be 0 to 100, max_healthy_percentage ({most}) 100 to 200, and their "
            "difference 100 at most"
        )
    pauses = options["checkpoints"]
    if pauses != sorted(set(pauses)) or any(not 1 <= each <= 99 for each in pauses):
        raise RollError(f"checkpoints ({pauses}) must be ascending percentages from 1 to 99")
    if len(options["alarms"]) > 10:
        raise RollError("there may be 10 alarms at most")
    preferences: dict[str, Any] = {
        "MinHealthyPercentage": least,
        "MaxHealthyPercentage": most,
        "SkipMatching": options["skip_matching"],
        "AutoRollback": options["auto_rollback"] and options["version"] is not None,
        "BakeTime": options["bake_s"],
    }
    if options["instance_warmup_s"] is not None:
        preferences["InstanceWarmup"] = options["instance_warmup_s"]
    if pauses:
        # AWS replaces no more than the last one says.
        preferences |= {"CheckpointPercentages": [*pauses, 100], "CheckpointDelay": options["checkpoint_delay_s"]}
    if options["alarms"]:
        preferences["AlarmSpecification"] = {"Alarms": options["alarms"]}
    arguments: dict[str, Any] = {
        "AutoScalingGroupName": options["name"],
        "Strategy": "Rolling",
        "Preferences": preferences,
    }
    if options["version"] is not None:
        template = {"LaunchTemplateId": template_id, "Version": str(options["version"])}
        arguments["DesiredConfiguration"] = {"LaunchTemplate": template}
    return arguments


def found_group(client: Any, name: str) -> dict[str, Any]:
    groups = client.describe_auto_scaling_groups(AutoScalingGroupNames=[name])["AutoScalingGroups"]
    if not groups:
        raise RollError(f"there is no Auto Scaling group {name}")
    group: dict[str, Any] = groups[0]
    return group


def latest(client: Any, name: str, refresh_id: str | None = None) -> Refresh:
    """The group's latest refresh, or the one with this id; empty for none."""
    which: dict[str, Any] = {"InstanceRefreshIds": [refresh_id]} if refresh_id else {}
    found = client.describe_instance_refreshes(AutoScalingGroupName=name, **which)["InstanceRefreshes"]
    refresh: Refresh = found[0] if found else {}
    return refresh


def start(client: Any, options: Mapping[str, Any], *, dry: bool) -> tuple[bool, bool, Refresh]:
    """Start the refresh unless it runs; returns (changed, blocked, the refresh that runs or is blocking)."""
    name, version = options["name"], options["version"]
    group = found_group(client, name)
    template = group.get("LaunchTemplate") or {}
    if not template:
        raise RollError(f"{name} has no launch template")
    if version is not None and not str(template.get("Version", "")).isdigit():
        raise RollError(
            f"{name} follows the version {template.get('Version')} of its launch template. AWS can't return to that: "
            "give the group a number first"
        )
    arguments = request(options, template["LaunchTemplateId"])
    now = latest(client, name)
    if is_running(now):
        wanted = None if version is None else str(version)
        if wanted is not None and desired_version(now) == wanted and now["Status"] not in GOING_BACK:
            return False, False, now
        if wanted is None or not options["wait"]:
            raise RollError(f"{name} is being rolled already: run this again when that is done. {progress(now)}")
        return True, True, now
    if dry:
        return True, False, now
    try:
        started = client.start_instance_refresh(**arguments)
    except client.exceptions.InstanceRefreshInProgressFault:
        # Somebody else was quicker; the next look says with what.
        return True, True, latest(client, name)
    return True, False, latest(client, name, started["InstanceRefreshId"])


def roll_back(client: Any, name: str, *, dry: bool) -> tuple[bool, Refresh]:
    """Roll back the refresh that runs, if any; returns (changed, the refresh)."""
    now = latest(client, name)
    if not is_running(now) or now["Status"] in GOING_BACK:
        return False, now
    if dry:
        return True, now
    try:
        client.rollback_instance_refresh(AutoScalingGroupName=name)
    except client.exceptions.IrreversibleInstanceRefreshFault as error:
        why = "AWS can't take this roll back, for it has no desired configuration."
        raise RollError(f"{why} {progress(now)}") from error
    except client.exceptions.ActiveInstanceRefreshNotFoundFault:
        return False, latest(client, name, now["InstanceRefreshId"])
    return True, latest(client, name, now["InstanceRefreshId"])


def run(client: Any, options: Mapping[str, Any], *, dry: bool) -> dict[str, Any]:
    """The module's result. Raises RollError."""
    changed = blocked = False
    match options["state"]:
        case "started":
            changed, blocked, refresh = start(client, options, dry=dry)
        case "rolled_back":
            changed, refresh = roll_back(client, options["name"], dry=dry)
        case _:
            refresh = latest(client, options["name"], options["refresh_id"])
    return {
        "changed": changed,
        "blocked": blocked,
        "running": is_running(refresh),
        "progress": progress(refresh),
        "refresh": camel_dict_to_snake_dict(refresh),
    }


def main() -> None:
    module = AnsibleAWSModule(
        argument_spec={
            "state": {"type": "str", "choices": ["started", "rolled_back", "gathered"], "default": "started"},
            "name": {"type": "str", "required": True},
            "refresh_id": {"type": "str"},
            "version": {"type": "int"},
            "min_healthy_percentage": {"type": "int", "default": 100},
            "max_healthy_percentage": {"type": "int", "default": 150},
            "instance_warmup_s": {"type": "int"},
            "skip_matching": {"type": "bool", "default": True},
            "checkpoints": {"type": "list", "elements": "int", "default": []},
            "checkpoint_delay_s": {"type": "int", "default": 300},
            "bake_s": {"type": "int", "default": 0},
            "alarms": {"type": "list", "elements": "str", "default": []},
            "auto_rollback": {"type": "bool", "default": True},
            "wait": {"type": "bool", "default": True},
            "stall_s": {"type": "int", "default": 900},
            "poll_s": {"type": "int", "default": 10},
        },
        supports_check_mode=True,
    )
    try:
        result = run(module.client("autoscaling"), module.params, dry=module.check_mode)
    except RollError as error:
        module.fail_json(msg=str(error))
    except (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError) as error:
        module.fail_json_aws(error, msg=f"{module.params['name']} can't be rolled")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
