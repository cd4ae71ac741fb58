#!/usr/bin/python
"""Ansible module: keep the access logs of an environment's load balancer, in a bucket that only it writes to."""

from __future__ import annotations

DOCUMENTATION = r"""
module: environment_access_logs
short_description: Keep the access logs of an environment's load balancer
description:
  - Makes a bucket C(<name>-access-logs-<account>) that is private, encrypted, written to by load balancers of the
    account only, and empties itself; then lets the load balancer C(<name>-app) write its logs there.
options:
  state:
    description:
      - V(present) makes and corrects it. V(off) stops the logs, and leaves the bucket with those that there are.
        V(absent) removes the bucket with all logs; the load balancer is gone by then.
    type: str
    choices: [present, "off", absent]
    default: present
  name:
    description: The environment's name.
    type: str
    required: true
  days:
    description: For how many days logs stay.
    type: int
    default: 90
  tags:
    description: Tags of the bucket.
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
- name: Keep the access logs for a month
  environment_access_logs:
    name: parkmesh-production
    days: 30
"""

RETURN = r"""
lines:
  description: What was or would be made, corrected and removed, a line for each.
  type: list
  elements: str
  returned: always
"""

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

try:
    import botocore.exceptions
except ImportError:  # AnsibleAWSModule reports it
    botocore = None

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule

if TYPE_CHECKING:
    from module_utils import environment_access_logs as logs
    from module_utils.environment_reader import policy, tags_of
else:
    from ansible.module_utils import environment_access_logs as logs
    from ansible.module_utils.environment_reader import policy, tags_of

Client = Callable[[str], Any]


class LogsError(ValueError):
    """What was asked for can't be; the message says why."""


def answer(call: Callable[..., Any], absent: str, **arguments: Any) -> dict[str, Any]:
    """An answer of S3; empty when it says by this code that there is none."""
    try:
        found: dict[str, Any] = call(**arguments)
    except botocore.exceptions.ClientError as error:
        if error.response["Error"]["Code"] == absent:
            return {}
        raise
    return found


def keep(client: Client, options: Mapping[str, Any], region: str, *, dry: bool) -> list[str]:
    """Have bucket and logs. Raises LogsError."""
    name = f"{options['name']}-app"
    elb = client("elbv2")
    try:
        (balancer,) = elb.describe_load_balancers(Names=[name])["LoadBalancers"]
    except elb.exceptions.LoadBalancerNotFoundException as error:
        raise LogsError(f"there is no load balancer {name}") from error
    arn = balancer["LoadBalancerArn"]
    lines = []
    bucket = ""
    if options["state"] == "present":
        _, partition, _, _, account = arn.split(":")[:5]
        bucket = logs.bucket_name(options["name"], account)
        if len(bucket) > logs.LONGEST:
            raise LogsError(f"the bucket's name {bucket} would have more than {logs.LONGEST} characters")
        lines += keep_bucket(
            client("s3"), bucket, logs.bucket_policy(bucket, account, partition), options, region, dry=dry
        )
    # Afterwards: the load balancer tries whether it may write there.
    wanted = logs.attributes(bucket)
    there = {
        each["Key"]: each["Value"] for each in elb.describe_load_balancer_attributes(LoadBalancerArn=arn)["Attributes"]
    }
    if any(there.get(key) != value for key, value in wanted.items()):
        lines.append(f"load balancer {name} {'writes no access logs there' if bucket else 'writes access logs'}")
        if not dry:
            attributes = [{"Key": key, "Value": value} for key, value in wanted.items()]
            elb.modify_load_balancer_attributes(LoadBalancerArn=arn, Attributes=attributes)
    return lines


def exists(s3: Any, bucket: str) -> bool:
    return any(each["Name"] == bucket for each in s3.list_buckets()["Buckets"])


def keep_bucket(
    s3: Any, bucket: str, wanted_policy: dict[str, Any], options: Mapping[str, Any], region: str, *, dry: bool
) -> list[str]:
    """Make and correct the bucket."""
    lines = []
    is_there = exists(s3, bucket)
    if not is_there:
        lines.append(f"bucket {bucket} is missing")
        if dry:
            return lines
        place = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
        s3.create_bucket(Bucket=bucket, ObjectOwnership="BucketOwnerEnforced", **place)
    block = answer(s3.get_public_access_block, "NoSuchPublicAccessBlockConfiguration", Bucket=bucket)
    if block.get("PublicAccessBlockConfiguration") != logs.PRIVATE:
        lines.append(f"bucket {bucket} doesn't refuse to be public")
        if not dry:
            s3.put_public_access_block(Bucket=bucket, PublicAccessBlockConfiguration=logs.PRIVATE)
    found = answer(s3.get_bucket_policy, "NoSuchBucketPolicy", Bucket=bucket).get("Policy")
    if policy(found) != policy(wanted_policy):
        lines.append(f"bucket {bucket} has another policy")
        if not dry:
            s3.put_bucket_policy(Bucket=bucket, Policy=json.dumps(wanted_policy))
    rules = answer(s3.get_bucket_lifecycle_configuration, "NoSuchLifecycleConfiguration", Bucket=bucket)
    if logs.days_of(rules) != options["days"]:
        lines.append(
            f"bucket {bucket} keeps logs for {logs.days_of(rules) or 'other'} days, it should be {options['days']}"
        )
        if not dry:
            s3.put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration=logs.lifecycle(options["days"]))
    tags = tags_of(answer(s3.get_bucket_tagging, "NoSuchTagSet", Bucket=bucket).get("TagSet", []))
    if tags != options["tags"]:
        lines.append(f"bucket {bucket} has other tags")
        if not dry:
            listed = [{"Key": key, "Value": value} for key, value in options["tags"].items()]
            s3.put_bucket_tagging(Bucket=bucket, Tagging={"TagSet": listed})
    # Of a new bucket all is missing.
    return lines if is_there else lines[:1]


def remove(client: Client, options: Mapping[str, Any], *, dry: bool) -> list[str]:
    """Remove the bucket with all that is in it."""
    account = client("sts").get_caller_identity()["Account"]
    bucket, s3 = logs.bucket_name(options["name"], account), client("s3")
    if not exists(s3, bucket):
        return []
    if not dry:
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket):
            keys = [{"Key": each["Key"]} for each in page.get("Contents", [])]
            if keys:
                s3.delete_objects(Bucket=bucket, Delete={"Objects": keys, "Quiet": True})
        s3.delete_bucket(Bucket=bucket)
    return [f"bucket {bucket} goes with its logs"]


def run(client: Client, options: Mapping[str, Any], region: str, *, dry: bool) -> dict[str, Any]:
    """The module's result. Raises LogsError."""
    gone = options["state"] == "absent"
    lines = remove(client, options, dry=dry) if gone else keep(client, options, region, dry=dry)
    return {"changed": bool(lines), "lines": lines}


def main() -> None:
    module = AnsibleAWSModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "off", "absent"], "default": "present"},
            "name": {"type": "str", "required": True},
            "days": {"type": "int", "default": 90},
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
    except LogsError as error:
        module.fail_json(msg=str(error))
    except (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError) as error:
        module.fail_json_aws(error, msg=f"The access logs of {module.params['name']} can't be kept")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
