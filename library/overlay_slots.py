#!/usr/bin/python
"""Ansible module: keep the pool of overlay slots (identity + address) that app servers lease at boot."""

from __future__ import annotations

DOCUMENTATION = r"""
module: overlay_slots
short_description: Keep the pool of overlay slots that app servers lease at boot
description:
  - A slot is a ZeroTier identity with a fixed overlay address. Its identity is kept in Secrets Manager, its lease in a
    DynamoDB table; an instance that boots leases a free slot and is a member of the overlay without calling ZeroTier.
  - Creates what is missing and corrects what a slot says about the network. Never touches a lease and never replaces an
    identity. There is no module for single DynamoDB items elsewhere, and one call serves the whole pool.
options:
  table:
    description: The DynamoDB table of leases (hash key V(slot), a number).
    type: str
    required: true
  secret_prefix:
    description: Name of each slot's secret without its number.
    type: str
    required: true
  slots:
    description: The pool.
    type: list
    elements: dict
    required: true
    suboptions:
      slot:
        description: Number of the slot, from 1.
        type: int
        required: true
      ip:
        description: Its address in the overlay.
        type: str
        required: true
  identities:
    description:
      - New identities for slots that have none yet, by slot number; without one a slot is only reported as missing.
      - Each is the text of C(identity.secret), as C(zerotier-idtool generate) prints it.
    type: dict
    default: {}
  network_id:
    description: The overlay network, 16 hex digits.
    type: str
    required: true
  moon_id:
    description: World id of the overlay's own root, 16 hex digits.
    type: str
  moon:
    description: The C(.moon) file of the overlay's own root, base64.
    type: str
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
author: parkmesh
"""

EXAMPLES = r"""
- name: See which slots have no identity yet
  overlay_slots:
    table: parkmesh-production-slots
    secret_prefix: parkmesh-production-overlay-slot-
    slots: [{slot: 1, ip: 10.242.0.11}, {slot: 2, ip: 10.242.0.12}]
    network_id: 8056c2e21c000001
  register: pool
"""

RETURN = r"""
missing:
  description: Numbers of the slots that have no identity.
  type: list
  elements: int
  returned: always
members:
  description: What the overlay must know of the slots that have one (slot, address of the node, ip).
  type: list
  elements: dict
  returned: always
"""

import json
from typing import Any

try:
    import botocore.exceptions
except ImportError:  # AnsibleAWSModule reports it
    botocore = None

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule

Slot = dict[str, Any]


def desired_secret(slot: int, ip: str, identity: str, network: dict[str, str | None]) -> Slot:
    """What a slot's secret says; ``identity`` is the text of identity.secret: ``address:0:public:secret``."""
    identity = identity.strip()
    fields = identity.split(":")
    if len(fields) != 4 or not all(fields):
        raise ValueError(f"the identity for slot {slot} is not of the form address:0:public:secret")
    return {
        "slot": slot,
        "address": fields[0],
        "identity_public": ":".join(fields[:3]),
        "identity_secret": identity,
        "ip": ip,
        **network,
    }


class Pool:
    """The pool as AWS has it: secrets and lease items."""

    def __init__(self, secrets: Any, leases: Any, table: str, prefix: str) -> None:
        self._secrets, self._leases, self._table, self._prefix = secrets, leases, table, prefix

    def secret(self, slot: int) -> Slot | None:
        try:
            answer = self._secrets.get_secret_value(SecretId=f"{self._prefix}{slot}")
        except self._secrets.exceptions.ResourceNotFoundException:
            return None
        value: Slot = json.loads(answer["SecretString"])
        return value

    def write_secret(self, slot: int, value: Slot, *, exists: bool) -> None:
        name, text = f"{self._prefix}{slot}", json.dumps(value, sort_keys=True)
        if exists:
            self._secrets.put_secret_value(SecretId=name, SecretString=text)
        else:
            self._secrets.create_secret(Name=name, SecretString=text)

    def items(self, *, may_be_absent: bool) -> dict[int, Slot]:
        pages = self._leases.get_paginator("scan").paginate(TableName=self._table, ConsistentRead=True)
        try:
            found = [item for page in pages for item in page["Items"]]
        except self._leases.exceptions.ResourceNotFoundException:
            if may_be_absent:
                return {}
            raise
        return {int(item["slot"]["N"]): item for item in found}

    def write_item(self, slot: int, address: str, ip: str) -> None:
        # An update, never a put: the lease in the same item belongs to a running server.
        self._leases.update_item(
            TableName=self._table,
            Key={"slot": {"N": str(slot)}},
            UpdateExpression="SET address = :address, ip = :ip",
            ExpressionAttributeValues={":address": {"S": address}, ":ip": {"S": ip}},
        )


def reconcile(
    pool: Pool, slots: list[Slot], identities: dict[int, str], network: dict[str, str | None], *, dry: bool
) -> tuple[bool, list[int], list[Slot]]:
    """Bring the pool to what is wanted; returns (changed, missing slot numbers, members)."""
    changed, missing, members = False, [], []
    # A dry run on an empty account has no table yet.
    items = pool.items(may_be_absent=dry)
    for wanted in slots:
        number, ip = wanted["slot"], wanted["ip"]
        current = pool.secret(number)
        identity = current["identity_secret"] if current else identities.get(number)
        if identity is None:
            missing.append(number)
            continue
        secret = desired_secret(number, ip, identity, network)
        if secret != current:
            changed = True
            if not dry:
                pool.write_secret(number, secret, exists=current is not None)
        item = items.get(number, {})
        if item.get("address") != {"S": secret["address"]} or item.get("ip") != {"S": ip}:
            changed = True
            if not dry:
                pool.write_item(number, secret["address"], ip)
        members.append({"slot": number, "address": secret["address"], "ip": ip})
    return changed, missing, members


def main() -> None:
    module = AnsibleAWSModule(
        argument_spec={
            "table": {"type": "str", "required": True},
            "secret_prefix": {"type": "str", "required": True, "no_log": False},
            "slots": {
                "type": "list",
                "elements": "dict",
                "required": True,
                "options": {"slot": {"type": "int", "required": True}, "ip": {"type": "str", "required": True}},
            },
            "identities": {"type": "dict", "default": {}, "no_log": True},
            "network_id": {"type": "str", "required": True},
            "moon_id": {"type": "str"},
            "moon": {"type": "str"},
        },
        supports_check_mode=True,
    )
    options = module.params
    pool = Pool(module.client("secretsmanager"), module.client("dynamodb"), options["table"], options["secret_prefix"])
    network = {name: options[name] for name in ("network_id", "moon_id", "moon")}
    try:
        changed, missing, members = reconcile(
            pool,
            options["slots"],
            {int(number): identity for number, identity in options["identities"].items()},
            network,
            dry=module.check_mode,
        )
    except ValueError as error:
        module.fail_json(msg=str(error))
    except pool_errors() as error:
        module.fail_json_aws(error, msg="The pool of overlay slots could not be read or written")
    module.exit_json(changed=changed, missing=missing, members=members)


def pool_errors() -> tuple[type[Exception], ...]:
    """The errors AWS calls raise; resolved late because botocore may be absent when Ansible reads the documentation."""
    return (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError)


if __name__ == "__main__":
    main()
