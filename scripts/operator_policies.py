#!/usr/bin/env python3
"""What each playbook needs to be allowed on AWS, from the calls that were seen of it on the emulator.

The tests of the emulator note each call of each playbook (``lab.aws --record``) and compare at their end
(``tests/emulator/conftest.py``). To write the policies anew, say where to note the calls, run all of these tests, then
this:

    PARKMESH_SEEN_ACTIONS=/tmp/seen pytest tests/emulator tests/unit/plugins/test_playbook_overlay.py
    python scripts/operator_policies.py /tmp/seen

An operation isn't always the action that allows it, and some need others besides. Both tables below follow the Service
Authorization Reference ("Actions, resources, and condition keys for AWS services").
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).resolve().parent.parent
POLICIES: Final = ROOT / "playbooks" / "files" / "iam"
NAME: Final = "parkmesh-production"
"""The environment's name in the policies; docs/production.md says how to put another in its place."""
LONGEST: Final = 6144
"""Characters of a managed policy, without white space (IAM user guide, "IAM and AWS STS quotas")."""

PREFIXES: Final = {"monitoring": "cloudwatch", "tagging": "tag"}
"""Services whose name in a signature isn't that of their actions."""

ACTIONS: Final = {
    "s3:DeleteBucketEncryption": "s3:PutEncryptionConfiguration",
    "s3:DeleteBucketLifecycle": "s3:PutLifecycleConfiguration",
    "s3:DeleteBucketTagging": "s3:PutBucketTagging",
    "s3:DeleteObjects": "s3:DeleteObject",
    "s3:DeletePublicAccessBlock": "s3:PutBucketPublicAccessBlock",
    "s3:GetBucketAccelerateConfiguration": "s3:GetAccelerateConfiguration",
    "s3:GetBucketEncryption": "s3:GetEncryptionConfiguration",
    "s3:GetBucketLifecycleConfiguration": "s3:GetLifecycleConfiguration",
    "s3:GetBucketReplication": "s3:GetReplicationConfiguration",
    "s3:GetObjectLockConfiguration": "s3:GetBucketObjectLockConfiguration",
    "s3:GetPublicAccessBlock": "s3:GetBucketPublicAccessBlock",
    "s3:HeadBucket": "s3:ListBucket",
    "s3:HeadObject": "s3:GetObject",
    "s3:ListBuckets": "s3:ListAllMyBuckets",
    "s3:ListObjectVersions": "s3:ListBucketVersions",
    "s3:ListObjects": "s3:ListBucket",
    "s3:ListObjectsV2": "s3:ListBucket",
    "s3:PutBucketEncryption": "s3:PutEncryptionConfiguration",
    "s3:PutBucketLifecycleConfiguration": "s3:PutLifecycleConfiguration",
    "s3:PutPublicAccessBlock": "s3:PutBucketPublicAccessBlock",
}
"""The action of an operation that has another name."""

UNGUARDED: Final = frozenset({"sts:GetCallerIdentity"})
"""What anybody may call."""

BESIDES: Final[Mapping[str, tuple[str, ...]]] = {
    "autoscaling:CreateAutoScalingGroup": (
        "autoscaling:CreateOrUpdateTags",
        "ec2:CreateTags",
        "ec2:RunInstances",
        "iam:CreateServiceLinkedRole",
        "iam:PassRole",
    ),
    "autoscaling:StartInstanceRefresh": ("ec2:CreateTags", "ec2:RunInstances", "iam:PassRole"),
    "autoscaling:UpdateAutoScalingGroup": ("ec2:CreateTags", "ec2:RunInstances", "iam:PassRole"),
    "cloudwatch:PutMetricAlarm": ("cloudwatch:TagResource",),
    "dynamodb:CreateTable": ("dynamodb:TagResource",),
    **{
        f"ec2:{each}": ("ec2:CreateTags",)
        for each in (
            *("AllocateAddress", "CreateEgressOnlyInternetGateway", "CreateImage", "CreateInternetGateway"),
            *("CreateLaunchTemplate", "CreateNatGateway", "CreateRouteTable", "CreateSecurityGroup", "CreateSubnet"),
            *("CreateVpc", "CreateVpcEndpoint"),
        )
    },
    "ec2:CreateFlowLogs": ("ec2:CreateTags", "iam:PassRole"),
    "ec2:RunInstances": ("ec2:CreateTags", "iam:PassRole"),
    "elasticloadbalancing:CreateListener": ("elasticloadbalancing:AddTags",),
    "elasticloadbalancing:CreateLoadBalancer": ("elasticloadbalancing:AddTags", "iam:CreateServiceLinkedRole"),
    "elasticloadbalancing:CreateTargetGroup": ("elasticloadbalancing:AddTags",),
    "iam:AddRoleToInstanceProfile": ("iam:PassRole",),
    "iam:CreateInstanceProfile": ("iam:TagInstanceProfile",),
    "iam:CreateRole": ("iam:TagRole",),
    "logs:CreateLogGroup": ("logs:TagResource",),
    "rds:CreateDBInstance": ("iam:CreateServiceLinkedRole", "iam:PassRole", "rds:AddTagsToResource"),
    "rds:CreateDBParameterGroup": ("rds:AddTagsToResource",),
    "rds:CreateDBSubnetGroup": ("rds:AddTagsToResource",),
    "rds:RestoreDBInstanceFromDBSnapshot": ("iam:PassRole", "rds:AddTagsToResource"),
    "rds:RestoreDBInstanceToPointInTime": ("iam:PassRole", "rds:AddTagsToResource"),
    "secretsmanager:CreateSecret": ("secretsmanager:TagResource",),
    "sns:CreateTopic": ("sns:TagResource",),
    "ssm:PutParameter": ("ssm:AddTagsToResource",),
    "wafv2:AssociateWebACL": ("elasticloadbalancing:SetWebAcl",),
    "wafv2:CreateWebACL": ("wafv2:TagResource",),
    "wafv2:DisassociateWebACL": ("elasticloadbalancing:SetWebAcl",),
}
"""What an action needs besides itself, as the playbooks use it: tags with what is made, roles that are passed on."""

OWN: Final[Mapping[str, tuple[str, ...]]] = {
    "autoscaling": (f"arn:aws:autoscaling:*:*:autoScalingGroup:*:autoScalingGroupName/{NAME}-*",),
    "cloudwatch": (f"arn:aws:cloudwatch:*:*:alarm:{NAME}-*", f"arn:aws:cloudwatch::*:dashboard/{NAME}"),
    "dynamodb": (f"arn:aws:dynamodb:*:*:table/{NAME}-*",),
    "elasticloadbalancing": (
        f"arn:aws:elasticloadbalancing:*:*:listener-rule/app/{NAME}-*",
        f"arn:aws:elasticloadbalancing:*:*:listener/app/{NAME}-*",
        f"arn:aws:elasticloadbalancing:*:*:loadbalancer/app/{NAME}-*",
        f"arn:aws:elasticloadbalancing:*:*:targetgroup/{NAME}-*",
    ),
    "iam": (
        "arn:aws:iam::*:role/aws-service-role/*",
        f"arn:aws:iam::*:instance-profile/{NAME}-*",
        f"arn:aws:iam::*:role/{NAME}-*",
    ),
    "logs": (
        f"arn:aws:logs:*:*:log-group:/aws/rds/instance/{NAME}-*",
        f"arn:aws:logs:*:*:log-group:/{NAME.replace('-', '/')}/*",
    ),
    # A database takes the account's default groups where none of its own is named.
    "rds": (
        f"arn:aws:rds:*:*:db:{NAME}-*",
        "arn:aws:rds:*:*:og:default:*",
        f"arn:aws:rds:*:*:pg:{NAME}-*",
        f"arn:aws:rds:*:*:snapshot:{NAME}-*",
        f"arn:aws:rds:*:*:snapshot:rds:{NAME}-*",
        f"arn:aws:rds:*:*:subgrp:{NAME}-*",
    ),
    "s3": (f"arn:aws:s3:::{NAME}-*",),
    "secretsmanager": (f"arn:aws:secretsmanager:*:*:secret:{NAME}-*",),
    "sns": (f"arn:aws:sns:*:*:{NAME}-*",),
    "ssm": (f"arn:aws:ssm:*:*:parameter/{NAME.replace('-', '/')}/*",),
}
"""The environment's resources of a service, where their names say whose they are. All else is allowed on everything."""

OF_NO_RESOURCE: Final = re.compile(
    r"(autoscaling|cloudwatch|elasticloadbalancing|logs|rds):Describe"
    r"|elasticloadbalancing:SetWebAcl$"
    r"|cloudwatch:(Get|List)Metric|cloudwatch:ListDashboards"
    r"|dynamodb:(List(Tables|Backups|GlobalTables)|DescribeLimits)$"
    r"|iam:List(Roles|Users|Groups|Policies|InstanceProfiles|AccountAliases)$|iam:GetPolicy"
    r"|s3:ListAllMyBuckets$|secretsmanager:(ListSecrets|GetRandomPassword)$"
    r"|sns:(ListTopics|ListSubscriptions|Unsubscribe)$|ssm:DescribeParameters$"
)
"""Actions of the services in ``OWN`` that know no resources, or that are asked of everything."""

Seen = dict[str, set[str]]
"""The actions that were seen, by the name of a playbook."""


def actions(operations: Iterable[str]) -> set[str]:
    """The actions that allow operations (``service:Operation``, as signed), with what each needs besides."""
    needed = set()
    for operation in operations:
        service, _, name = operation.partition(":")
        own = f"{PREFIXES.get(service, service)}:{name}"
        needed.add(ACTIONS.get(own, own))
    for _ in range(2):
        needed |= {more for action in needed for more in BESIDES.get(action, ())}
    return needed - UNGUARDED


def policy(needed: Iterable[str]) -> dict[str, Any]:
    """A policy document that allows these actions, on the environment's own resources where names tell them."""
    everywhere: list[str] = []
    own: dict[str, list[str]] = {}
    for action in sorted(needed):
        service = action.partition(":")[0]
        if service in OWN and not OF_NO_RESOURCE.match(action):
            own.setdefault(service, []).append(action)
        else:
            everywhere.append(action)
    statements = [
        {"Sid": f"Own{service.capitalize()}", "Effect": "Allow", "Action": listed, "Resource": list(OWN[service])}
        for service, listed in own.items()
    ]
    if everywhere:
        statements.append({"Sid": "Everywhere", "Effect": "Allow", "Action": everywhere, "Resource": ["*"]})
    return {"Version": "2012-10-17", "Statement": statements}


def allowed(document: Mapping[str, Any]) -> set[str]:
    """The actions of a policy document."""
    return {action for statement in document["Statement"] for action in statement["Action"]}


def read_seen(folder: Path) -> Seen:
    """What the emulator noted in the files of a folder: keys end with the name of the playbook that they are of."""
    operations: Seen = {}
    for file in sorted(folder.glob("*.jsonl")):
        for line in file.read_text().splitlines():
            call = json.loads(line)
            _key, _, playbook = call["key"].partition("-of-")
            if playbook:
                operations.setdefault(playbook, set()).add(f"{call['service']}:{call['operation']}")
    return {playbook: actions(called) for playbook, called in with_lease(operations).items()}


def with_lease(operations: Seen) -> Seen:
    """The same, with the lease for each playbook that takes it: the tests have an environment without one."""
    lease = operations.pop("hold-lease", set())
    if lease:
        # Its renewal after a minute, for which no test waits.
        lease |= {"dynamodb:UpdateItem"}
    return {
        name: called | lease if "tasks/hold-lease.yml" in (ROOT / "playbooks" / f"{name}.yml").read_text() else called
        for name, called in operations.items()
    }


def differences(seen: Seen, folder: Path = POLICIES) -> list[str]:
    """What the policies in a folder lack of what was seen, and what they allow without need, a line for each."""
    lines = []
    for name in sorted({*seen, *(path.stem for path in folder.glob("*.json"))}):
        path = folder / f"{name}.json"
        document = json.loads(path.read_text()) if path.exists() else {"Statement": []}
        wanted = seen.get(name, set())
        lines += [f"{path.name} lacks {action}" for action in sorted(wanted - allowed(document))]
        lines += [f"{path.name} allows {action}, which wasn't seen" for action in sorted(allowed(document) - wanted)]
        if wanted == allowed(document) and document != policy(wanted):
            lines.append(f"{path.name} differs in its resources from what scripts/operator_policies.py writes")
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("seen", type=Path, help="folder of what the emulator noted")
    parser.add_argument("--check", action="store_true", help="say what differs, and write nothing")
    arguments = parser.parse_args()
    seen = read_seen(arguments.seen)
    lines = differences(seen)
    print("\n".join(lines or ["No difference."]))
    if arguments.check:
        return 1 if lines else 0
    POLICIES.mkdir(parents=True, exist_ok=True)
    for name, needed in seen.items():
        (POLICIES / f"{name}.json").write_text(json.dumps(policy(needed), indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
