#!/usr/bin/python
"""Ansible module: say by what rules an Auto Scaling group launches, scales and ends its instances."""

from __future__ import annotations

DOCUMENTATION = r"""
module: autoscaling_rules
short_description: Set all rules by which an Auto Scaling group launches, scales and ends its instances
description:
  - Sets the group's lifecycle hooks, scaling policies, scheduled actions, default instance warm-up and instance
    maintenance policy as a whole. What isn't listed is removed, so a rule that somebody made by hand doesn't stay.
  - M(amazon.aws.autoscaling_group) has no warm-up and no maintenance policy, and the modules of community.aws need a
    call for each hook, policy and scheduled action, and remove none.
options:
  name:
    description: Name of the Auto Scaling group.
    type: str
    required: true
  warmup_s:
    description: Seconds from an instance's start until it counts in the group's metrics.
    type: int
    required: true
  min_healthy_percentage:
    description: Percentage of the group's size that stays in service when AWS replaces instances, 0 to 100.
    type: int
    default: 100
  max_healthy_percentage:
    description: Percentage of the group's size that there may be at once when AWS replaces instances, 100 to 200.
    type: int
    default: 150
  hooks:
    description: The group's lifecycle hooks.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the hook.
        type: str
        required: true
      transition:
        description: When instances wait.
        type: str
        choices: [launching, terminating]
        required: true
      timeout_s:
        description: Seconds that an instance waits at most, 30 to 7200.
        type: int
        required: true
      default_result:
        description: What happens when the time is over. V(abandon) replaces an instance that is launched.
        type: str
        choices: [continue, abandon]
        required: true
  targets:
    description: Policies that follow a target (target tracking).
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the policy.
        type: str
        required: true
      metric:
        description: What is measured, in percent for V(cpu), in requests a minute for V(requests).
        type: str
        choices: [cpu, requests]
        required: true
      target:
        description: The average for each instance that the group aims at.
        type: float
        required: true
  target_group:
    description: Name of the target group whose requests are counted; required for a target of V(requests).
    type: str
  scheduled:
    description: The group's scheduled actions.
    type: list
    elements: dict
    default: []
    suboptions:
      name:
        description: Name of the action.
        type: str
        required: true
      recurrence:
        description: When it begins, as five fields of cron.
        type: str
        required: true
      time_zone:
        description: IANA's name of the time zone of O(scheduled[].recurrence).
        type: str
        default: Etc/UTC
      min:
        description: The group's smallest size from then on. An action has this, O(scheduled[].desired) or both.
        type: int
      desired:
        description: The group's size from then on.
        type: int
  begin_with:
    description:
      - Sizes for a group that has no instances yet and is to have none by its own smallest size. They are set last, so
        that the first instances too follow the rules.
    type: dict
    suboptions:
      min:
        description: The group's smallest size.
        type: int
        required: true
      desired:
        description: The group's size.
        type: int
        required: true
attributes:
  check_mode:
    description: Says what would be set and removed.
    support: full
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
author: parkmesh project (@parkmesh)
"""

EXAMPLES = r"""
- name: Say how the group behaves
  autoscaling_rules:
    name: parkmesh-production-app
    warmup_s: 30
    hooks:
      - {name: launch, transition: launching, timeout_s: 600, default_result: abandon}
    targets:
      - {name: cpu, metric: cpu, target: 60}
    scheduled:
      - {name: workday, recurrence: 0 6 * * MON-FRI, time_zone: Europe/Madrid, min: 4}
      - {name: night, recurrence: 0 20 * * *, time_zone: Europe/Madrid, min: 2}
"""

RETURN = r"""
lines:
  description: What was or would be set and removed, a line for each.
  type: list
  elements: str
  returned: always
"""

from collections.abc import Mapping
from typing import Any

try:
    import botocore.exceptions
except ImportError:  # AnsibleAWSModule reports it
    botocore = None

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule

Rules = dict[str, dict[str, Any]]

KINDS = ("hook", "policy", "scheduled action")
METRICS = {"cpu": "ASGAverageCPUUtilization", "requests": "ALBRequestCountPerTarget"}
TRANSITIONS = {
    "launching": "autoscaling:EC2_INSTANCE_LAUNCHING",
    "terminating": "autoscaling:EC2_INSTANCE_TERMINATING",
}
HOOK_KEYS = ("LifecycleTransition", "HeartbeatTimeout", "DefaultResult", "NotificationMetadata", "RoleARN")
SCHEDULED_KEYS = ("Recurrence", "TimeZone", "MinSize", "MaxSize", "DesiredCapacity")


class RulesError(ValueError):
    """What was asked for can't be; the message says why."""


def resource_label(target_group_arn: str, load_balancer_arn: str) -> str:
    """What ALBRequestCountPerTarget counts (API reference, PredefinedMetricSpecification)."""
    balancer = load_balancer_arn.partition(":loadbalancer/")[2]
    return f"{balancer}/{target_group_arn.rpartition(':')[2]}"


def wanted(options: Mapping[str, Any], label: str) -> dict[str, Rules]:
    """The rules by kind and name, in AWS's words. Raises RulesError for what AWS would refuse."""
    for kind in ("hooks", "targets", "scheduled"):
        names = [each["name"] for each in options[kind]]
        if len(names) != len(set(names)):
            raise RulesError(f"{kind} names {sorted({each for each in names if names.count(each) > 1})} twice")
    for each in options["hooks"]:
        if not 30 <= each["timeout_s"] <= 7200:
            raise RulesError(f"hook {each['name']}: timeout_s ({each['timeout_s']}) must be from 30 to 7200")
    for each in options["scheduled"]:
        if each["min"] is None and each.get("desired") is None:
            raise RulesError(f"scheduled action {each['name']} sets nothing: give min or desired")
    policies: Rules = {}
    for each in options["targets"]:
        measured = {"PredefinedMetricType": METRICS[each["metric"]]}
        if each["metric"] == "requests":
            measured["ResourceLabel"] = label
        policies[each["name"]] = {
            "PolicyType": "TargetTrackingScaling",
            "TargetTrackingConfiguration": {
                "PredefinedMetricSpecification": measured,
                "TargetValue": float(each["target"]),
                "DisableScaleIn": False,
            },
        }
    return {
        "hook": {
            each["name"]: {
                "LifecycleTransition": TRANSITIONS[each["transition"]],
                "HeartbeatTimeout": each["timeout_s"],
                "DefaultResult": each["default_result"].upper(),
            }
            for each in options["hooks"]
        },
        "policy": policies,
        "scheduled action": {
            each["name"]: {
                "Recurrence": each["recurrence"],
                "TimeZone": each["time_zone"],
                **({} if each["min"] is None else {"MinSize": each["min"]}),
                **({} if each.get("desired") is None else {"DesiredCapacity": each["desired"]}),
            }
            for each in options["scheduled"]
        },
    }


def found(client: Any, name: str) -> dict[str, Rules]:
    """The rules that the group has, in the form of ``wanted``."""
    hooks = client.describe_lifecycle_hooks(AutoScalingGroupName=name)["LifecycleHooks"]
    policies = client.get_paginator("describe_policies").paginate(AutoScalingGroupName=name)
    scheduled = client.get_paginator("describe_scheduled_actions").paginate(AutoScalingGroupName=name)
    return {
        "hook": {each["LifecycleHookName"]: _only(each, HOOK_KEYS) for each in hooks},
        "policy": {each["PolicyName"]: _policy(each) for page in policies for each in page["ScalingPolicies"]},
        "scheduled action": {
            each["ScheduledActionName"]: {"TimeZone": "Etc/UTC", **_only(each, SCHEDULED_KEYS)}
            for page in scheduled
            for each in page["ScheduledUpdateGroupActions"]
        },
    }


def _only(given: Mapping[str, Any], keys: tuple[str, ...]) -> dict[str, Any]:
    return {key: given[key] for key in keys if given.get(key) is not None}


def _policy(given: Mapping[str, Any]) -> dict[str, Any]:
    kept: dict[str, Any] = {"PolicyType": given["PolicyType"]}
    if not given.get("Enabled", True):
        kept["Enabled"] = False
    target = given.get("TargetTrackingConfiguration")
    if target:
        kept["TargetTrackingConfiguration"] = {
            "DisableScaleIn": False,
            **{key: value for key, value in target.items() if value not in (None, [], {})},
        }
    for key in ("AdjustmentType", "ScalingAdjustment", "StepAdjustments", "PredictiveScalingConfiguration"):
        if given.get(key):
            kept[key] = given[key]
    return kept


def put(client: Any, group: str, kind: str, name: str, rule: Mapping[str, Any]) -> None:
    match kind:
        case "hook":
            client.put_lifecycle_hook(AutoScalingGroupName=group, LifecycleHookName=name, **rule)
        case "policy":
            client.put_scaling_policy(AutoScalingGroupName=group, PolicyName=name, Enabled=True, **rule)
        case _:
            client.put_scheduled_update_group_action(AutoScalingGroupName=group, ScheduledActionName=name, **rule)


def remove(client: Any, group: str, kind: str, name: str) -> None:
    match kind:
        case "hook":
            client.delete_lifecycle_hook(AutoScalingGroupName=group, LifecycleHookName=name)
        case "policy":
            client.delete_policy(AutoScalingGroupName=group, PolicyName=name)
        case _:
            client.delete_scheduled_action(AutoScalingGroupName=group, ScheduledActionName=name)


def settings(group: Mapping[str, Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of UpdateAutoScalingGroup for warm-up and maintenance that the group hasn't yet."""
    maintenance = {
        "MinHealthyPercentage": options["min_healthy_percentage"],
        "MaxHealthyPercentage": options["max_healthy_percentage"],
    }
    asked = {"DefaultInstanceWarmup": options["warmup_s"], "InstanceMaintenancePolicy": maintenance}
    return {key: value for key, value in asked.items() if group.get(key) != value}


def run(client: Any, balancing: Any, options: Mapping[str, Any], *, dry: bool) -> dict[str, Any]:
    """The module's result. ``balancing`` makes boto3's client for load balancers. Raises RulesError."""
    name = options["name"]
    label = ""
    if any(each["metric"] == "requests" for each in options["targets"]):
        if not options["target_group"]:
            raise RulesError("a target of requests needs target_group")
        (target_group,) = balancing().describe_target_groups(Names=[options["target_group"]])["TargetGroups"]
        if not target_group["LoadBalancerArns"]:
            raise RulesError(f"no load balancer sends requests to the target group {options['target_group']}")
        label = resource_label(target_group["TargetGroupArn"], target_group["LoadBalancerArns"][0])
    asked = wanted(options, label)
    groups = client.describe_auto_scaling_groups(AutoScalingGroupNames=[name])["AutoScalingGroups"]
    if not groups:
        if dry:
            return {"changed": True, "lines": [f"{name} would be made"]}
        raise RulesError(f"there is no Auto Scaling group {name}")
    group, there, lines = groups[0], found(client, name), []
    update = settings(group, options)
    lines += [f"{key} is {group.get(key)}; it should be {value}" for key, value in update.items()]
    if update and not dry:
        client.update_auto_scaling_group(AutoScalingGroupName=name, **update)
    for kind in KINDS:
        for each, rule in asked[kind].items():
            if there[kind].get(each) == rule:
                continue
            lines.append(f"{kind} {each} is {there[kind].get(each, 'missing')}; it should be {rule}")
            # Putting changes what is said, and of what isn't it may keep what somebody said before.
            if set(there[kind].get(each, ())) - set(rule) and not dry:
                remove(client, name, kind, each)
            if not dry:
                put(client, name, kind, each, rule)
        for each in sorted(set(there[kind]) - set(asked[kind])):
            lines.append(f"{kind} {each} is {there[kind][each]}; it should not be there")
            if not dry:
                remove(client, name, kind, each)
    begin = options["begin_with"]
    if begin and (group["MinSize"], group["DesiredCapacity"]) == (0, 0) and begin["desired"] > 0:
        lines.append(f"the size is 0; it begins with {begin['desired']}")
        if not dry:
            client.update_auto_scaling_group(
                AutoScalingGroupName=name, MinSize=begin["min"], DesiredCapacity=begin["desired"]
            )
    return {"changed": bool(lines), "lines": lines}


def _dicts(**suboptions: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "list", "elements": "dict", "default": [], "options": suboptions}


def main() -> None:
    text, number = {"type": "str", "required": True}, {"type": "int", "required": True}
    module = AnsibleAWSModule(
        argument_spec={
            "name": text,
            "warmup_s": number,
            "min_healthy_percentage": {"type": "int", "default": 100},
            "max_healthy_percentage": {"type": "int", "default": 150},
            "hooks": _dicts(
                name=text,
                transition={**text, "choices": ["launching", "terminating"]},
                timeout_s=number,
                default_result={**text, "choices": ["continue", "abandon"]},
            ),
            "targets": _dicts(
                name=text,
                metric={**text, "choices": ["cpu", "requests"]},
                target={"type": "float", "required": True},
            ),
            "target_group": {"type": "str"},
            "scheduled": _dicts(
                name=text,
                recurrence=text,
                time_zone={"type": "str", "default": "Etc/UTC"},
                min={"type": "int"},
                desired={"type": "int"},
            ),
            "begin_with": {"type": "dict", "options": {"min": number, "desired": number}},
        },
        supports_check_mode=True,
    )
    try:
        result = run(module.client("autoscaling"), lambda: module.client("elbv2"), module.params, dry=module.check_mode)
    except RulesError as error:
        module.fail_json(msg=str(error))
    except (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError) as error:
        module.fail_json_aws(error, msg=f"{module.params['name']} can't be given its rules")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
