#!/usr/bin/python
"""Ansible module: keep the firewall before an environment's load balancer."""

from __future__ import annotations

DOCUMENTATION = r"""
module: environment_firewall
short_description: Keep the firewall before an environment's load balancer
description:
  - Makes the web ACL C(<name>-app) in AWS WAF with the rules of C(module_utils/environment_firewall.py), and puts it
    before the load balancer C(<name>-app).
options:
  state:
    description: V(absent) takes it from the load balancer and removes it.
    type: str
    choices: [present, absent]
    default: present
  name:
    description: The environment's name.
    type: str
    required: true
  requests:
    description: How many requests one address may send in five minutes, 10 at least. More are blocked.
    type: int
    default: 2000
  tags:
    description: Tags of the web ACL.
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
- name: Have a firewall
  environment_firewall:
    name: parkmesh-production
    requests: 3000
"""

RETURN = r"""
lines:
  description: What was or would be made, corrected and removed, a line for each.
  type: list
  elements: str
  returned: always
"""

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

try:
    import botocore.exceptions
except ImportError:  # AnsibleAWSModule reports it
    botocore = None

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule

if TYPE_CHECKING:
    from module_utils import environment_firewall as firewall
else:
    from ansible.module_utils import environment_firewall as firewall

Client = Callable[[str], Any]
TRIES = 20
PAUSE_S = 3


class FirewallError(ValueError):
    """What was asked for can't be; the message says why."""


def found(waf: Any, name: str) -> dict[str, Any] | None:
    """The web ACL of that name, with its LockToken."""
    marker: dict[str, str] = {}
    while True:
        page = waf.list_web_acls(Scope=firewall.SCOPE, Limit=100, **marker)
        for each in page["WebACLs"]:
            if each["Name"] == name:
                got = waf.get_web_acl(Name=name, Scope=firewall.SCOPE, Id=each["Id"])
                return {**got["WebACL"], "LockToken": got["LockToken"]}
        if not page.get("NextMarker") or not page["WebACLs"]:
            return None
        marker = {"NextMarker": page["NextMarker"]}


def balancer_arn(client: Client, name: str) -> str:
    """The load balancer's ARN; empty when there is none."""
    elb = client("elbv2")
    try:
        return str(elb.describe_load_balancers(Names=[name])["LoadBalancers"][0]["LoadBalancerArn"])
    except elb.exceptions.LoadBalancerNotFoundException:
        return ""


def patiently(act: Callable[[], Any], waf: Any) -> None:
    """A web ACL that was made or taken away just now is unknown for some seconds, or still in use."""
    for _ in range(TRIES - 1):
        try:
            act()
        except (waf.exceptions.WAFUnavailableEntityException, waf.exceptions.WAFAssociatedItemException):
            time.sleep(PAUSE_S)
        else:
            return
    act()


def keep(client: Client, options: Mapping[str, Any], *, dry: bool) -> list[str]:
    """Have the firewall. Raises FirewallError."""
    waf, name = client("wafv2"), f"{options['name']}-app"
    balancer = balancer_arn(client, name)
    if not balancer:
        raise FirewallError(f"there is no load balancer {name}")
    wanted = firewall.acl(options["name"], options["requests"])
    there = found(waf, name)
    lines = []
    if there is None:
        lines.append(f"web ACL {name} is missing")
        if dry:
            return lines
        tags = [{"Key": key, "Value": value} for key, value in options["tags"].items()]
        arn = waf.create_web_acl(Scope=firewall.SCOPE, **wanted, Tags=tags)["Summary"]["ARN"]
    else:
        arn = there["ARN"]
        if firewall.compared(there) != firewall.compared(wanted):
            lines.append(f"web ACL {name} has other rules")
            if not dry:
                waf.update_web_acl(Scope=firewall.SCOPE, Id=there["Id"], LockToken=there["LockToken"], **wanted)
    before = waf.get_web_acl_for_resource(ResourceArn=balancer).get("WebACL") or {}
    if before.get("ARN") != arn:
        lines.append(f"load balancer {name} has {before.get('Name', 'no firewall')} before it")
        if not dry:
            patiently(lambda: waf.associate_web_acl(WebACLArn=arn, ResourceArn=balancer), waf)
    return lines


def remove(client: Client, options: Mapping[str, Any], *, dry: bool) -> list[str]:
    """Remove what ``keep`` makes."""
    waf, name = client("wafv2"), f"{options['name']}-app"
    there = found(waf, name)
    if there is None:
        return []
    if not dry:
        balancer = balancer_arn(client, name)
        if balancer:
            before = waf.get_web_acl_for_resource(ResourceArn=balancer).get("WebACL") or {}
            if before.get("ARN") == there["ARN"]:
                waf.disassociate_web_acl(ResourceArn=balancer)
        patiently(
            lambda: waf.delete_web_acl(Name=name, Scope=firewall.SCOPE, Id=there["Id"], LockToken=there["LockToken"]),
            waf,
        )
    return [f"web ACL {name} goes"]


def run(client: Client, options: Mapping[str, Any], *, dry: bool) -> dict[str, Any]:
    """The module's result. Raises FirewallError."""
    lines = (remove if options["state"] == "absent" else keep)(client, options, dry=dry)
    return {"changed": bool(lines), "lines": lines}


def main() -> None:
    module = AnsibleAWSModule(
        argument_spec={
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "name": {"type": "str", "required": True},
            "requests": {"type": "int", "default": 2000},
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
        result = run(client, module.params, dry=module.check_mode)
    except FirewallError as error:
        module.fail_json(msg=str(error))
    except (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError) as error:
        module.fail_json_aws(error, msg=f"The firewall of {module.params['name']} can't be kept")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
