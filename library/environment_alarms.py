#!/usr/bin/python
"""Ansible module: keep an environment's alarms, its dashboard and the topic that they are told to."""

from __future__ import annotations

DOCUMENTATION = r"""
module: environment_alarms
short_description: Keep an environment's alarms, dashboard and topic
description:
  - Makes the CloudWatch alarms and the dashboard of C(module_utils/environment_alarms.py), and an SNS topic of the
    environment's own unless O(topic_arn) names one.
  - M(amazon.aws.cloudwatch_metric_alarm) needs a call for each alarm, and there is no module for dashboards.
options:
  state:
    description:
      - V(present) makes and corrects them. V(absent) removes them, but not O(topic_arn). V(checked) only looks whether
        O(topic_arn) can be used.
    type: str
    choices: [present, absent, checked]
    default: present
  name:
    description: The environment's name, which their names begin with.
    type: str
    required: true
  topic_arn:
    description: A topic that is there already; empty for one of the environment's own, C(<name>-alarms).
    type: str
    default: ""
  emails:
    description: Addresses that the environment's own topic mails to. AWS asks each for its consent by a mail.
    type: list
    elements: str
    default: []
  database:
    description: Identifier of the database.
    type: str
    default: ""
  limits:
    description: The limits of the alarms, by the names in C(LIMITS).
    type: dict
    default: {}
  tags:
    description: Tags of alarms and topic.
    type: dict
    default: {}
attributes:
  check_mode:
    description: Says what would be made and removed.
    support: full
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
author: parkmesh project (@parkmesh)
"""

EXAMPLES = r"""
- name: Watch
  environment_alarms:
    name: parkmesh-production
    database: parkmesh-production-database
    emails: [operations@example.org]
    limits: {errors_percent: 2, slots_percent: 90, connections: 200, free_storage_gib: 5, cpu_percent: 80,
             replication_lag_gib: 1}
"""

RETURN = r"""
lines:
  description: What was or would be made, corrected and removed, a line for each.
  type: list
  elements: str
  returned: always
topic_arn:
  description: The topic that the alarms are told to; empty when it isn't there yet.
  type: str
  returned: always
"""

import json
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

try:
    import botocore.exceptions
except ImportError:  # AnsibleAWSModule reports it
    botocore = None

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule

if TYPE_CHECKING:
    from module_utils import environment_alarms as watched
else:
    from ansible.module_utils import environment_alarms as watched

Client = Callable[[str], Any]

TOPIC = re.compile(r"arn:aws[a-z-]*:sns:([a-z0-9-]+):[0-9]{12}:[A-Za-z0-9_-]{1,256}")


class AlarmsError(ValueError):
    """What was asked for can't be; the message says why and what can be."""


def check_topic(client: Client, arn: str, region: str) -> None:
    """Raise AlarmsError unless alarms of this region can be told to the topic."""
    form = TOPIC.fullmatch(arn)
    if form is None:
        raise AlarmsError(f"{arn} is no ARN of a standard topic (arn:aws:sns:<region>:<account>:<name>)")
    if form[1] != region:
        raise AlarmsError(f"the topic {arn} is in {form[1]}; alarms of {region} need one there")
    sns = client("sns")
    try:
        sns.get_topic_attributes(TopicArn=arn)
    except sns.exceptions.NotFoundException as error:
        raise AlarmsError(f"there is no topic {arn}") from error
    except sns.exceptions.AuthorizationErrorException as error:
        raise AlarmsError(f"the topic {arn} is somebody else's: these credentials may not read it") from error


def own_topic(client: Client, name: str) -> str:
    """The ARN of the environment's own topic; empty when there is none."""
    pages = client("sns").get_paginator("list_topics").paginate()
    arns = [str(each["TopicArn"]) for page in pages for each in page["Topics"]]
    return next((arn for arn in arns if arn.rpartition(":")[2] == f"{name}-alarms"), "")


def keep_topic(client: Client, options: Mapping[str, Any], *, dry: bool) -> tuple[str, list[str]]:
    """Make the environment's own topic with its subscriptions; returns its ARN and what differed."""
    sns, name = client("sns"), options["name"]
    lines: list[str] = []
    tags = [{"Key": key, "Value": value} for key, value in options["tags"].items()]
    arn = own_topic(client, name)
    if not arn:
        lines.append(f"topic {name}-alarms is missing")
        if dry:
            return "", lines
        arn = sns.create_topic(Name=f"{name}-alarms", Tags=tags)["TopicArn"]
    has = {each["Key"]: each["Value"] for each in sns.list_tags_for_resource(ResourceArn=arn)["Tags"]}
    if has != options["tags"]:
        lines.append(f"topic {name}-alarms has other tags")
        if not dry:
            sns.tag_resource(ResourceArn=arn, Tags=tags)
            if more := sorted(has.keys() - options["tags"].keys()):
                sns.untag_resource(ResourceArn=arn, TagKeys=more)
    pages = sns.get_paginator("list_subscriptions_by_topic").paginate(TopicArn=arn)
    there = {
        each["Endpoint"]: each["SubscriptionArn"]
        for page in pages
        for each in page["Subscriptions"]
        if each["Protocol"] == "email"
    }
    for address in [each for each in options["emails"] if each not in there]:
        lines.append(f"topic {name}-alarms doesn't mail to {address}")
        if not dry:
            sns.subscribe(TopicArn=arn, Protocol="email", Endpoint=address)
    for address in sorted(set(there) - set(options["emails"])):
        # One that nobody confirmed has no ARN yet, and goes after some days by itself.
        if there[address].startswith("arn:"):
            lines.append(f"topic {name}-alarms mails to {address}, who isn't wanted")
            if not dry:
                sns.unsubscribe(SubscriptionArn=there[address])
    return arn, lines


def balanced(client: Client, name: str) -> dict[str, str]:
    """CloudWatch's names of load balancer and target group. Raises AlarmsError when they aren't there."""
    elb = client("elbv2")
    try:
        (group,) = elb.describe_target_groups(Names=[f"{name}-app"])["TargetGroups"]
        (balancer,) = elb.describe_load_balancers(Names=[f"{name}-app"])["LoadBalancers"]
    except (elb.exceptions.TargetGroupNotFoundException, elb.exceptions.LoadBalancerNotFoundException) as error:
        raise AlarmsError(f"there is no load balancer {name}-app to watch") from error
    return {
        "load_balancer": balancer["LoadBalancerArn"].partition(":loadbalancer/")[2],
        "target_group": group["TargetGroupArn"].rpartition(":")[2],
    }


def found_alarms(client: Client, name: str) -> dict[str, dict[str, Any]]:
    pages = client("cloudwatch").get_paginator("describe_alarms").paginate(AlarmNamePrefix=f"{name}-")
    return {each["AlarmName"]: each for page in pages for each in page["MetricAlarms"]}


def found_dashboard(client: Client, name: str) -> dict[str, Any] | None:
    watch = client("cloudwatch")
    try:
        body: dict[str, Any] = json.loads(watch.get_dashboard(DashboardName=name)["DashboardBody"])
    except watch.exceptions.ResourceNotFound:
        return None
    except watch.exceptions.ClientError as error:
        if error.response["Error"]["Code"] in ("ResourceNotFound", "DashboardNotFoundError"):
            return None
        raise
    return body


def keep(client: Client, options: Mapping[str, Any], region: str, *, dry: bool) -> dict[str, Any]:
    """Make and correct everything. Raises AlarmsError."""
    name, watch = options["name"], client("cloudwatch")
    missing = [each for each in watched.LIMITS if each not in options["limits"]]
    if missing:
        raise AlarmsError(f"limits lack {', '.join(missing)}")
    if options["topic_arn"]:
        check_topic(client, options["topic_arn"], region)
        topic = options["topic_arn"]
        lines: list[str] = []
    else:
        topic, lines = keep_topic(client, options, dry=dry)
    settings = {
        **balanced(client, name),
        "name": name,
        "database": options["database"],
        "topic": topic,
        "limits": options["limits"],
        "region": region,
    }
    there = found_alarms(client, name)
    tags = [{"Key": key, "Value": value} for key, value in options["tags"].items()]
    for alarm, wanted in watched.alarms(settings).items():
        is_there = watched.compared(there[alarm]) if alarm in there else None
        if is_there == watched.compared(wanted):
            continue
        lines.append(f"alarm {alarm} {'is missing' if is_there is None else _different(wanted, is_there)}")
        if not dry:
            watch.put_metric_alarm(AlarmName=alarm, **wanted, **({} if alarm in there else {"Tags": tags}))
    body = watched.dashboard(settings)
    if found_dashboard(client, name) != body:
        lines.append(f"dashboard {name} is missing or another")
        if not dry:
            watch.put_dashboard(DashboardName=name, DashboardBody=json.dumps(body, sort_keys=True))
    return {"changed": bool(lines), "lines": lines, "topic_arn": topic}


def _different(wanted: Mapping[str, Any], there: Mapping[str, Any]) -> str:
    asked = watched.compared(wanted)
    keys = [key for key in {**asked, **there} if asked.get(key) != there.get(key)]
    return "; ".join(f"has {key} {there.get(key)}, it should be {asked.get(key)}" for key in sorted(keys))


def remove(client: Client, options: Mapping[str, Any], *, dry: bool) -> dict[str, Any]:
    """Remove what ``keep`` makes."""
    name, watch = options["name"], client("cloudwatch")
    nothing = {"load_balancer": "", "target_group": "", "database": "", "topic": "", "name": name}
    ours = watched.alarms({**nothing, "limits": dict.fromkeys(watched.LIMITS, 0)})
    alarms = sorted(set(ours) & set(found_alarms(client, name)))
    lines = [f"alarm {each} goes" for each in alarms]
    if alarms and not dry:
        watch.delete_alarms(AlarmNames=alarms)
    if found_dashboard(client, name) is not None:
        lines.append(f"dashboard {name} goes")
        if not dry:
            watch.delete_dashboards(DashboardNames=[name])
    topic = own_topic(client, name)
    if topic:
        lines.append(f"topic {name}-alarms goes")
        if not dry:
            client("sns").delete_topic(TopicArn=topic)
    return {"changed": bool(lines), "lines": lines, "topic_arn": ""}


def run(client: Client, options: Mapping[str, Any], region: str, *, dry: bool) -> dict[str, Any]:
    """The module's result. Raises AlarmsError."""
    match options["state"]:
        case "absent":
            return remove(client, options, dry=dry)
        case "checked":
            if options["topic_arn"]:
                check_topic(client, options["topic_arn"], region)
            return {"changed": False, "lines": [], "topic_arn": options["topic_arn"]}
        case _:
            return keep(client, options, region, dry=dry)


def main() -> None:
    module = AnsibleAWSModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "absent", "checked"], "default": "present"},
            "name": {"type": "str", "required": True},
            "topic_arn": {"type": "str", "default": ""},
            "emails": {"type": "list", "elements": "str", "default": []},
            "database": {"type": "str", "default": ""},
            "limits": {"type": "dict", "default": {}},
            "tags": {"type": "dict", "default": {}},
        },
        supports_check_mode=True,
    )
    clients: dict[str, Any] = {}

    def client(service: str) -> Any:
        if service not in clients:
            clients[service] = module.client(service)
        return clients[service]

    try:
        result = run(client, module.params, module.region, dry=module.check_mode)
    except AlarmsError as error:
        module.fail_json(msg=str(error))
    except (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError) as error:
        module.fail_json_aws(error, msg=f"The alarms of {module.params['name']} can't be kept")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
