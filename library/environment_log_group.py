#!/usr/bin/python
"""Ansible module: keep a log group of an environment for so many days, and the flow logs that AWS writes there."""

from __future__ import annotations

DOCUMENTATION = r"""
module: environment_log_group
short_description: Keep a log group of an environment, and the flow logs that AWS writes there
description:
  - Makes and corrects a log group of CloudWatch Logs with its retention and tags, and the flow logs of VPCs and subnets
    that go to it. It removes flow logs to this group that are not asked for.
  - C(amazon.aws.cloudwatchlogs_log_group) 11.4 changes the retention in check mode too, and no collection has flow
    logs.
options:
  state:
    description: V(absent) removes the group with all that it holds, and the flow logs to it.
    type: str
    choices: [present, absent]
    default: present
  name:
    description: Name of the log group.
    type: str
    required: true
  days:
    description: For how many days events are kept. Needed for V(present).
    type: int
    choices: [1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653]
  tags:
    description: Tags of the group and of its flow logs, which get a C(Name) besides. Other tags are removed.
    type: dict
    default: {}
  flow_logs:
    description: Ids of the VPCs and subnets whose flow logs go there, by the name of each flow log.
    type: dict
    default: {}
  flow_role_arn:
    description: The role as which AWS writes flow logs. Needed with O(flow_logs).
    type: str
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
- name: Keep what the servers say for a month
  environment_log_group:
    name: /parkmesh/production/servers
    days: 30
    tags: {Project: parkmesh, Environment: production}
"""

RETURN = r"""
lines:
  description: What was changed, or would be; a line for each.
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
    from module_utils.environment_logs import flow_log_properties, group_arn
    from module_utils.environment_reader import tags_of
else:
    from ansible.module_utils.environment_logs import flow_log_properties, group_arn
    from ansible.module_utils.environment_reader import tags_of

DAYS = [1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653]
"""CloudWatch Logs API reference, PutRetentionPolicy, retentionInDays."""

Client = Callable[[str], Any]


def find(logs: Any, name: str) -> dict[str, Any]:
    """The group as CloudWatch Logs describes it; empty for none."""
    pages = logs.get_paginator("describe_log_groups").paginate(logGroupNamePrefix=name)
    return next((each for page in pages for each in page["logGroups"] if each["logGroupName"] == name), {})


def keep_group(logs: Any, options: Mapping[str, Any], *, dry: bool) -> list[str]:
    """Make and correct the group."""
    name, days, tags = options["name"], options["days"], options["tags"]
    found, lines = find(logs, name), []
    if not found:
        if not dry:
            logs.create_log_group(logGroupName=name, tags=tags)
            logs.put_retention_policy(logGroupName=name, retentionInDays=days)
        return [f"log group {name} is missing"]
    if found.get("retentionInDays") != days:
        lines.append(f"log group {name} keeps {found.get('retentionInDays', 'all')} days, it should be {days}")
        if not dry:
            logs.put_retention_policy(logGroupName=name, retentionInDays=days)
    arn = group_arn(found)
    has = logs.list_tags_for_resource(resourceArn=arn)["tags"]
    if has != tags:
        lines.append(f"log group {name} has other tags")
        if not dry:
            logs.tag_resource(resourceArn=arn, tags=tags)
            if more := sorted(has.keys() - tags.keys()):
                logs.untag_resource(resourceArn=arn, tagKeys=more)
    return lines


def keep_flow_logs(ec2: Any, options: Mapping[str, Any], *, dry: bool) -> list[str]:
    """Make the flow logs that are asked for, and remove others to the same group.

    Amazon EC2 API reference, CreateFlowLogs: a flow log can't be changed, so one with other properties is replaced.
    """
    name, lines = options["name"], []
    filters = [{"Name": "log-group-name", "Values": [name]}]
    pages = ec2.get_paginator("describe_flow_logs").paginate(Filters=filters)
    there = [each for page in pages for each in page["FlowLogs"]]
    missing = dict(options["flow_logs"])
    for each in there:
        title = tags_of(each.get("Tags")).get("Name", "")
        as_wanted = flow_log_properties(each) == flow_log_properties(
            {"LogGroupName": name, "DeliverLogsPermissionArn": options["flow_role_arn"]}
        )
        if as_wanted and missing.get(title) == each["ResourceId"]:
            del missing[title]
            lines += keep_tags(ec2, each, {**options["tags"], "Name": title}, dry=dry)
            continue
        lines.append(f"flow log {title or each['FlowLogId']} of {each['ResourceId']} isn't as it should be")
        if not dry:
            ec2.delete_flow_logs(FlowLogIds=[each["FlowLogId"]])
    for title, resource in missing.items():
        lines.append(f"flow log {title} is missing")
        if not dry:
            listed = [{"Key": key, "Value": value} for key, value in {**options["tags"], "Name": title}.items()]
            answer = ec2.create_flow_logs(
                ResourceIds=[resource],
                ResourceType="Subnet" if resource.startswith("subnet-") else "VPC",
                TrafficType="ALL",
                LogGroupName=name,
                DeliverLogsPermissionArn=options["flow_role_arn"],
                MaxAggregationInterval=600,
                TagSpecifications=[{"ResourceType": "vpc-flow-log", "Tags": listed}],
            )
            if refused := answer.get("Unsuccessful"):
                raise LogGroupError(f"AWS made no flow log {title}: {refused[0]['Error']['Message']}")
    return lines


def keep_tags(ec2: Any, flow_log: Mapping[str, Any], tags: Mapping[str, str], *, dry: bool) -> list[str]:
    """Give a flow log these tags and no others."""
    has = tags_of(flow_log.get("Tags"))
    if has == tags:
        return []
    if not dry:
        there = {"Resources": [flow_log["FlowLogId"]]}
        ec2.create_tags(**there, Tags=[{"Key": key, "Value": value} for key, value in tags.items()])
        if more := sorted(has.keys() - tags.keys()):
            ec2.delete_tags(**there, Tags=[{"Key": key} for key in more])
    return [f"flow log {tags['Name']} has other tags"]


class LogGroupError(Exception):
    """AWS refused a part of what was asked for; the message says which."""


def remove(client: Client, options: Mapping[str, Any], *, dry: bool) -> list[str]:
    """Remove the flow logs to the group, then the group."""
    lines = keep_flow_logs(client("ec2"), {**options, "flow_logs": {}}, dry=dry)
    if find(client("logs"), options["name"]):
        lines.append(f"log group {options['name']} goes with what it holds")
        if not dry:
            client("logs").delete_log_group(logGroupName=options["name"])
    return lines


def run(client: Client, options: Mapping[str, Any], *, dry: bool) -> dict[str, Any]:
    """The module's result. Raises LogGroupError."""
    if options["state"] == "absent":
        lines = remove(client, options, dry=dry)
    else:
        lines = keep_group(client("logs"), options, dry=dry)
        if options["flow_role_arn"]:
            lines += keep_flow_logs(client("ec2"), options, dry=dry)
    return {"changed": bool(lines), "lines": lines}


def main() -> None:
    module = AnsibleAWSModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "name": {"type": "str", "required": True},
            "days": {"type": "int", "choices": DAYS},
            "tags": {"type": "dict", "default": {}},
            "flow_logs": {"type": "dict", "default": {}},
            "flow_role_arn": {"type": "str"},
        },
        required_if=[("state", "present", ["days"])],
        supports_check_mode=True,
    )
    try:
        result = run(module.client, module.params, dry=module.check_mode)
    except LogGroupError as error:
        module.fail_json(msg=str(error))
    except (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError) as error:
        module.fail_json_aws(error, msg=f"The log group {module.params['name']} can't be kept")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
