#!/usr/bin/python
"""Ansible module: keep the pool of overlay slots (identity + address) that app servers lease at boot."""

from __future__ import annotations

DOCUMENTATION = r"""
module: overlay_slots
short_description: Keep the pool of overlay slots that app servers lease at boot
description:
  - A slot is a ZeroTier identity with a fixed overlay address. Its identity is kept in Secrets Manager, its lease in a
    DynamoDB table; an instance that boots leases a free slot and is a member of the overlay without calling ZeroTier.
  - There is no module for single DynamoDB items elsewhere, and one call serves the whole pool.
options:
  state:
    description:
      - V(present) creates what is missing and corrects what a slot says about the network. It never touches a lease and
        never replaces an identity. A deleted secret that can still be restored is restored, and gets a new identity.
      - V(gathered) changes nothing and tells which instance holds which slot.
      - V(reserved) takes the slots in O(numbers) out of the pool, as far as they are free, so that their identity can
        be replaced. A slot is free when it has no holder or EC2 says that its holder is gone. A reservation that a run
        left behind ends like the lease of an instance that EC2 doesn't know.
      - V(rotated) gives reserved slots the O(identities) and puts them back into the pool.
      - V(absent) removes all slots of the table and all secrets with the prefix. It refuses while instances hold slots.
    type: str
    choices: [present, gathered, reserved, rotated, absent]
    default: present
  table:
    description: The DynamoDB table of leases (hash key V(slot), a number).
    type: str
    required: true
  secret_prefix:
    description: Name of each slot's secret without its number.
    type: str
    required: true
  slots:
    description: The pool. Needed for V(present).
    type: list
    elements: dict
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
      - New identities by slot number. With V(present), for slots without an identity; a slot without one here is only
        reported as missing. With V(rotated), they replace the slots' present identities.
      - Each is the text of C(identity.secret), as C(zerotier-idtool generate) prints it.
    type: dict
    default: {}
  numbers:
    description: Slots to reserve. Needed for V(reserved).
    type: list
    elements: int
  force:
    description: Whether V(absent) removes slots that instances hold, too.
    type: bool
    default: false
  recovery_days:
    description: Days for which a removed secret can be restored, 7 to 30, or 0 for none.
    type: int
    default: 7
  network_id:
    description: The overlay network, 16 hex digits. Needed for V(present).
    type: str
  moon_id:
    description: World id of the overlay's own root, 16 hex digits.
    type: str
  moon:
    description: The C(.moon) file of the overlay's own root, base64.
    type: str
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
author: parkmesh project (@parkmesh)
"""

EXAMPLES = r"""
- name: See which slots have no identity yet
  overlay_slots:
    table: parkmesh-production-slots
    secret_prefix: parkmesh-production-overlay-slot-
    slots: [{slot: 1, ip: 10.242.0.11}, {slot: 2, ip: 10.242.0.12}]
    network_id: 8056c2e21c000001
  register: pool

- name: Take slot 1 out of the pool, if it is free
  overlay_slots:
    state: reserved
    table: parkmesh-production-slots
    secret_prefix: parkmesh-production-overlay-slot-
    numbers: [1]
  register: reservation
"""

RETURN = r"""
missing:
  description: Numbers of the slots in O(slots) that have no identity.
  type: list
  elements: int
  returned: for V(present) and V(gathered)
members:
  description:
    - The slots that have an identity (slot, address of the node, ip); with V(present) those in O(slots).
    - With V(gathered) also C(holder) (an instance's id, V(null) for none), C(free) (whether the slot is free) and
      C(made_at) (when the identity was made, ms since the epoch, V(null) when that isn't known).
    - With V(reserved) the slots that are reserved now, or would be; with V(rotated) the slots as they are now.
  type: list
  elements: dict
  returned: always
held:
  description: The slots that instances hold (slot, holder), of those that were asked for.
  type: list
  elements: dict
  returned: for V(gathered), V(reserved) and V(absent)
"""

import json
import re
import time
from collections.abc import Callable, Iterable, Mapping
from email.utils import parsedate_to_datetime
from typing import Any, Final

try:
    import botocore.exceptions
except ImportError:  # AnsibleAWSModule reports it
    botocore = None

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule

Slot = dict[str, Any]

RESERVED: Final = "rotation"
"""The holder of a slot whose identity is being replaced. No instance has such an id, so EC2 never knows it."""
EC2_KNOWS_AFTER_MS: Final = 600_000
"""EC2's answers lag behind launches: an unknown holder counts as gone only when its lease is older than this."""


class PoolError(ValueError):
    """The pool can't become as asked; the message says why, and never contains a secret."""


def parsed_identity(slot: int, identity: str) -> Slot:
    """The fields of a slot's secret that are its identity; ``identity`` is ``address:0:public:secret``."""
    identity = identity.strip()
    fields = identity.split(":")
    if len(fields) != 4 or not all(fields):
        raise PoolError(f"the identity for slot {slot} is not of the form address:0:public:secret")
    return {"address": fields[0], "identity_public": ":".join(fields[:3]), "identity_secret": identity}


def desired_secret(slot: int, ip: str, identity: str, network: dict[str, str | None]) -> Slot:
    """What a slot's secret says."""
    return {"slot": slot, "ip": ip, **parsed_identity(slot, identity), **network}


def answered_at(answer: Mapping[str, Any]) -> int | None:
    """AWS's time of an answer of boto3's, in ms since 1970 (HTTP header Date); None without one.

    How old a lease is, it says: a control node whose clock is ahead would otherwise take the slot of a server that EC2
    doesn't know yet.
    """
    told = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date", "")
    try:
        return int(parsedate_to_datetime(told).timestamp()) * 1000
    except ValueError:
        return None


class Pool:
    """The pool as AWS has it: secrets and lease items. The clients are boto3's; ``ec2`` makes one when it is needed."""

    def __init__(
        self,
        secrets: Any,
        leases: Any,
        table: str,
        prefix: str,
        ec2: Callable[[], Any] = lambda: None,
        clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000,
    ) -> None:
        self._secrets, self._leases, self._table, self._prefix = secrets, leases, table, prefix
        self._ec2, self.clock = ec2, clock
        self._read_at: int | None = None
        self._deleted: set[int] = set()

    def secret(self, slot: int) -> Slot | None:
        """What a slot's secret says; None when there is none, or a deleted one."""
        name = f"{self._prefix}{slot}"
        try:
            answer = self._secrets.get_secret_value(SecretId=name)
        except self._secrets.exceptions.ResourceNotFoundException:
            return None
        except self._secrets.exceptions.InvalidRequestException:
            if "DeletedDate" not in self._secrets.describe_secret(SecretId=name):
                raise
            self._deleted.add(slot)
            return None
        value: Slot = json.loads(answer["SecretString"])
        return value

    def write_secret(self, slot: int, value: Slot) -> None:
        """Write a slot's secret, which was read before; it is made or restored where that is needed."""
        name, text = f"{self._prefix}{slot}", json.dumps(value, sort_keys=True)
        if slot in self._deleted:
            # A deleted secret's name stays taken until its time to be restored is over.
            self._secrets.restore_secret(SecretId=name)
        try:
            self._secrets.put_secret_value(SecretId=name, SecretString=text)
        except self._secrets.exceptions.ResourceNotFoundException:
            self._secrets.create_secret(Name=name, SecretString=text)

    def secret_names(self) -> list[str]:
        """The names of the slots' secrets; those that are deleted but could be restored aren't among them."""
        pages = self._secrets.get_paginator("list_secrets").paginate(
            Filters=[{"Key": "name", "Values": [self._prefix]}]
        )
        names = [secret["Name"] for page in pages for secret in page["SecretList"]]
        return sorted(name for name in names if re.fullmatch(re.escape(self._prefix) + "[0-9]+", name))

    def delete_secret(self, name: str, recovery_days: int) -> None:
        how = {"RecoveryWindowInDays": recovery_days} if recovery_days else {"ForceDeleteWithoutRecovery": True}
        self._secrets.delete_secret(SecretId=name, **how)

    def items(self, *, may_be_absent: bool) -> dict[int, Slot]:
        pages = self._leases.get_paginator("scan").paginate(TableName=self._table, ConsistentRead=True)
        found: list[Slot] = []
        self._read_at = None
        try:
            for page in pages:
                # The first page's time: no holder's lease may look older than it is.
                self._read_at = self._read_at or answered_at(page)
                found += page["Items"]
        except self._leases.exceptions.ResourceNotFoundException:
            if may_be_absent:
                return {}
            raise
        return {int(item["slot"]["N"]): item for item in found}

    def now(self) -> int:
        """AWS's time when the items were read last, in ms since 1970; ours where its answer had none."""
        return self._read_at if self._read_at is not None else self.clock()

    def _update(
        self, slot: int, expression: str, values: Mapping[str, str | int], condition: str | None = None
    ) -> bool:
        """Update a slot's item; False when the condition doesn't hold."""
        typed = {f":{name}": {"N": str(v)} if isinstance(v, int) else {"S": v} for name, v in values.items()}
        options: dict[str, Any] = {} if condition is None else {"ConditionExpression": condition}
        try:
            self._leases.update_item(
                TableName=self._table,
                Key={"slot": {"N": str(slot)}},
                UpdateExpression=expression,
                ExpressionAttributeValues=typed,
                **options,
            )
        except self._leases.exceptions.ConditionalCheckFailedException:
            return False
        return True

    def write_item(self, slot: int, address: str, ip: str, *, made_at: int | None) -> None:
        # An update, never a put: the lease in the same item belongs to a running server.
        values: dict[str, str | int] = {"address": address, "ip": ip}
        if made_at is not None:
            values["made_at"] = made_at
        self._update(slot, "SET " + ", ".join(f"{name} = :{name}" for name in values), values)

    def reserve(self, slot: int, was: str | None) -> bool:
        """Take a slot that has no holder, or the holder ``was``; False when another holder took it first."""
        values: dict[str, str | int] = {"me": RESERVED, "now": self.now()}
        if was is not None:
            values["was"] = was
        condition = "attribute_not_exists(holder)" if was is None else "holder = :was"
        return self._update(
            slot, "SET holder = :me, leased_at = :now", values, f"attribute_exists(slot) AND {condition}"
        )

    def release(self, slot: int, address: str) -> bool:
        """Put a reserved slot back with its new address; False when it isn't reserved any more."""
        values: dict[str, str | int] = {"address": address, "made_at": self.clock(), "me": RESERVED}
        return self._update(
            slot,
            "SET address = :address, made_at = :made_at REMOVE holder, leased_at, holder_place",
            values,
            "holder = :me",
        )

    def delete_item(self, slot: int) -> None:
        self._leases.delete_item(TableName=self._table, Key={"slot": {"N": str(slot)}})

    def states(self, holders: Iterable[str]) -> dict[str, str]:
        """EC2's state of each of these instances that it knows."""
        wanted = sorted({holder for holder in holders if holder.startswith("i-")})
        states: dict[str, str] = {}
        if not wanted:
            return states
        ec2 = self._ec2()
        for start in range(0, len(wanted), 200):
            # With a list of ids, EC2 answers an unknown id with an error; with a filter it doesn't.
            filters = [{"Name": "instance-id", "Values": wanted[start : start + 200]}]
            for page in ec2.get_paginator("describe_instances").paginate(Filters=filters):
                for reservation in page["Reservations"]:
                    for instance in reservation["Instances"]:
                        states[instance["InstanceId"]] = instance["State"]["Name"]
        return states


def is_free(holder: str | None, leased_at: int, states: Mapping[str, str], now: int) -> bool:
    """Whether a slot is free: by the app servers' rule, and also while a reservation of this module holds it."""
    if holder is None or holder == RESERVED:
        return True
    if holder in states:
        return states[holder] == "terminated"
    return now - leased_at > EC2_KNOWS_AFTER_MS


def gather(pool: Pool) -> list[Slot]:
    """All slots of the pool with their holders, by number. An environment without a table has no slots."""
    items = pool.items(may_be_absent=True)
    holders = {number: item["holder"]["S"] if "holder" in item else None for number, item in items.items()}
    states = pool.states(holder for holder in holders.values() if holder is not None)
    now = pool.now()
    return [
        {
            "slot": number,
            "address": item.get("address", {}).get("S"),
            "ip": item.get("ip", {}).get("S"),
            "holder": holders[number],
            "free": is_free(holders[number], int(item.get("leased_at", {}).get("N", 0)), states, now),
            "made_at": int(item["made_at"]["N"]) if "made_at" in item else None,
        }
        for number, item in sorted(items.items())
    ]


def held_slots(slots: Iterable[Slot]) -> list[Slot]:
    """The slots that instances hold, for a report."""
    return [{"slot": slot["slot"], "holder": slot["holder"]} for slot in slots if not slot["free"]]


def reconcile(
    pool: Pool, slots: list[Slot], identities: dict[int, str], network: dict[str, str | None], *, dry: bool
) -> tuple[bool, list[int], list[Slot]]:
    """Make the pool be as wanted; returns (changed, missing slot numbers, members)."""
    changed, missing, members = False, [], []
    # In check mode on an empty account, the table doesn't exist yet.
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
                pool.write_secret(number, secret)
        item = items.get(number, {})
        if item.get("address") != {"S": secret["address"]} or item.get("ip") != {"S": ip}:
            changed = True
            if not dry:
                pool.write_item(number, secret["address"], ip, made_at=None if current else pool.clock())
        members.append({"slot": number, "address": secret["address"], "ip": ip})
    return changed, missing, members


def reserve(pool: Pool, numbers: list[int], *, dry: bool) -> tuple[bool, list[Slot], list[Slot]]:
    """Reserve the free ones of these slots; returns (changed, reserved, held)."""
    known = {slot["slot"]: slot for slot in gather(pool)}
    unknown = [number for number in numbers if number not in known]
    if unknown:
        raise PoolError(f"the pool has no slot {', '.join(map(str, unknown))}")
    changed, reserved, held = False, [], []
    for number in numbers:
        slot = known[number]
        if not slot["free"]:
            held.append({"slot": number, "holder": slot["holder"]})
            continue
        if slot["holder"] != RESERVED:
            if not dry and not pool.reserve(number, slot["holder"]):
                held.append({"slot": number, "holder": "an instance that was quicker"})
                continue
            changed = True
        reserved.append({name: slot[name] for name in ("slot", "address", "ip")})
    return changed, reserved, held


def rotate(pool: Pool, identities: Mapping[int, str], *, dry: bool) -> list[Slot]:
    """Give reserved slots new identities and put them back into the pool; returns them as they are now."""
    known = {slot["slot"]: slot for slot in gather(pool)}
    members = []
    for number, identity in identities.items():
        if number not in known or known[number]["holder"] != RESERVED:
            raise PoolError(f"slot {number} isn't reserved: its identity can't be replaced")
        new = parsed_identity(number, identity)
        members.append({"slot": number, "address": new["address"], "ip": known[number]["ip"]})
        if dry:
            continue
        current = pool.secret(number)
        if current is None:
            raise PoolError(f"slot {number} has no secret: run playbooks/provision-overlay.yml first")
        # The item comes last: until then no instance can lease the slot and read its secret.
        pool.write_secret(number, {**current, **new})
        if not pool.release(number, new["address"]):
            raise PoolError(
                f"slot {number} was taken by an instance while its identity was replaced: "
                "run playbooks/provision-overlay.yml, then replace that instance"
            )
    return members


def remove(pool: Pool, *, force: bool, recovery_days: int, dry: bool) -> tuple[bool, list[Slot]]:
    """Remove the whole pool; returns (changed, the held slots). While some are held only ``force`` removes any."""
    slots = gather(pool)
    held = held_slots(slots)
    names = pool.secret_names()
    if held and not force:
        return False, held
    if not dry:
        for slot in slots:
            pool.delete_item(slot["slot"])
        for name in names:
            pool.delete_secret(name, recovery_days)
    return bool(slots or names), held


def run(options: Mapping[str, Any], pool: Pool, *, dry: bool) -> dict[str, Any]:
    """The module's result; ``failed`` is in it when the pool is to stay as it is. Raises PoolError."""
    identities = {int(number): identity for number, identity in options["identities"].items()}
    match options["state"]:
        case "gathered":
            slots = gather(pool)
            known = {slot["slot"] for slot in slots}
            missing = [wanted["slot"] for wanted in options["slots"] or [] if wanted["slot"] not in known]
            return {"changed": False, "missing": missing, "members": slots, "held": held_slots(slots)}
        case "reserved":
            changed, reserved, held = reserve(pool, options["numbers"], dry=dry)
            return {"changed": changed, "members": reserved, "held": held}
        case "rotated":
            members = rotate(pool, identities, dry=dry)
            return {"changed": bool(members), "members": members}
        case "absent":
            changed, held = remove(pool, force=options["force"], recovery_days=options["recovery_days"], dry=dry)
            result: dict[str, Any] = {"changed": changed, "members": [], "held": held}
            if held and not options["force"]:
                shown = ", ".join(f"{slot['slot']} ({slot['holder']})" for slot in held)
                result |= {"failed": True, "msg": f"instances hold the slots {shown}: nothing was removed"}
            return result
        case _:
            network = {name: options[name] for name in ("network_id", "moon_id", "moon")}
            changed, missing, members = reconcile(pool, options["slots"], identities, network, dry=dry)
            return {"changed": changed, "missing": missing, "members": members}


def main() -> None:
    module = AnsibleAWSModule(
        argument_spec={
            "state": {
                "type": "str",
                "choices": ["present", "gathered", "reserved", "rotated", "absent"],
                "default": "present",
            },
            "table": {"type": "str", "required": True},
            "secret_prefix": {"type": "str", "required": True, "no_log": False},
            "slots": {
                "type": "list",
                "elements": "dict",
                "options": {"slot": {"type": "int", "required": True}, "ip": {"type": "str", "required": True}},
            },
            "identities": {"type": "dict", "default": {}, "no_log": True},
            "numbers": {"type": "list", "elements": "int"},
            "force": {"type": "bool", "default": False},
            "recovery_days": {"type": "int", "default": 7},
            "network_id": {"type": "str"},
            "moon_id": {"type": "str"},
            "moon": {"type": "str"},
        },
        required_if=[
            ("state", "present", ["slots", "network_id"]),
            ("state", "reserved", ["numbers"]),
        ],
        supports_check_mode=True,
    )
    pool = Pool(
        module.client("secretsmanager"),
        module.client("dynamodb"),
        module.params["table"],
        module.params["secret_prefix"],
        lambda: module.client("ec2"),
    )
    try:
        result = run(module.params, pool, dry=module.check_mode)
    except PoolError as error:
        module.fail_json(msg=str(error))
    except pool_errors() as error:
        module.fail_json_aws(error, msg="The pool of overlay slots could not be read or written")
    if result.pop("failed", False):
        module.fail_json(**result)
    module.exit_json(**result)


def pool_errors() -> tuple[type[Exception], ...]:
    """The errors AWS calls raise; resolved late because botocore may be absent when Ansible reads the documentation."""
    return (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError)


if __name__ == "__main__":
    main()
