"""Leasing an overlay slot: one DynamoDB item per slot, one conditional write per lease.

A slot is taken over only when EC2 says that its holder is terminated, or has no such instance although the lease is
old enough for EC2 to know a new one. Never by the clock alone: a paused or cut-off instance keeps its address. An
instance that shuts down gives nothing up either: until EC2 calls it terminated, it may come back. Only one that its
group ends releases its slot itself, when it has stopped using the address for good.

How old a lease is, AWS's own time says, which is in each of its answers: a server whose clock is ahead would otherwise
take the slot of a server that EC2 doesn't know yet.
"""

import random
import time
from collections.abc import Callable, Iterable
from email.utils import parsedate_to_datetime
from typing import Any

from botocore.exceptions import BotoCoreError, ClientError
from msgspec import Struct

ATTEMPTS = 12
_FIRST_PAUSE_S, _MOST_PAUSE_S = 0.5, 8.0
EC2_KNOWS_AFTER_MS = 600_000
"""EC2's answers lag behind launches: an unknown holder counts as gone only when its lease is older than this."""
_HOLDERS_PER_CALL = 200
FIRST_PORT = 20_000
"""Slot n uses UDP port ``FIRST_PORT`` + n. The NAT instances forward these ports (roles/nat_instance)."""


class SlotError(Exception):
    """No slot can be had; the message says why and what to do."""


class Slot(Struct, frozen=True):
    """One item of the slot table. ``holder`` is an instance id, None when free; ``leased_at`` is ms since 1970."""

    number: int
    address: str
    ip: str
    holder: str | None = None
    leased_at: int = 0


class Place(Struct, frozen=True):
    """Where an instance is in the VPC: its private IPv4 address and its availability zone."""

    private_ip: str
    zone: str


def primary_port(slot: int) -> int:
    """Return the UDP port of a slot's ZeroTier. Behind one address each slot needs a port of its own."""
    return FIRST_PORT + slot


def candidates(slots: Iterable[Slot], me: str, gone: frozenset[str], source: random.Random) -> list[Slot]:
    """Return the slots worth trying, best first: my own (after a reboot), free ones, those of holders that are gone.

    Within a kind the order is random, so that instances which boot together don't all try the same slot.
    """

    def rank(slot: Slot) -> int | None:
        if slot.holder == me:
            return 0
        if slot.holder is None:
            return 1
        return 2 if slot.holder in gone else None

    ranked = [(order, source.random(), slot) for slot in slots if (order := rank(slot)) is not None]
    return [slot for _, _, slot in sorted(ranked, key=lambda item: item[:2])]


def gone_holders(slots: Iterable[Slot], states: dict[str, str], now: int) -> frozenset[str]:
    """Return the holders that are gone for good. ``states``: instance id to EC2 state, missing if EC2 knows none."""
    return frozenset(
        slot.holder
        for slot in slots
        if slot.holder is not None
        and (
            states[slot.holder] == "terminated" if slot.holder in states else now - slot.leased_at > EC2_KNOWS_AFTER_MS
        )
    )


def answered_at(answer: dict[str, Any]) -> int | None:
    """Return AWS's time of an answer of boto3's, in ms since 1970 (HTTP header Date, RFC 9110), None without one."""
    told = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date", "")
    try:
        return int(parsedate_to_datetime(told).timestamp()) * 1000
    except ValueError:
        return None


class SlotTable:
    """The slot table and EC2's word on its holders. The clients are boto3's; ``ec2`` makes one where it is needed.

    EC2 is asked only when no slot is free, and its client alone costs half a second of every boot.
    """

    def __init__(self, table: str, dynamodb: Any, ec2: Callable[[], Any]) -> None:
        self._table, self._dynamodb, self._ec2 = table, dynamodb, ec2
        self._read_at: int | None = None

    def read(self) -> list[Slot]:
        """Return all slots as of now (consistent read)."""
        slots: list[Slot] = []
        self._read_at = None
        for page in self._dynamodb.get_paginator("scan").paginate(TableName=self._table, ConsistentRead=True):
            # The first page's time: no holder's lease may look older than it is.
            self._read_at = self._read_at or answered_at(page)
            slots += [
                Slot(
                    number=int(item["slot"]["N"]),
                    address=item["address"]["S"],
                    ip=item["ip"]["S"],
                    holder=item["holder"]["S"] if "holder" in item else None,
                    leased_at=int(item["leased_at"]["N"]) if "leased_at" in item else 0,
                )
                for item in page["Items"]
            ]
        return sorted(slots, key=lambda slot: slot.number)

    def now(self) -> int:
        """Return AWS's time at the last ``read``, in ms since 1970; ours where its answer had none."""
        return self._read_at if self._read_at is not None else time.time_ns() // 1_000_000

    def take(self, slot: Slot, me: str, now: int, place: Place) -> bool:
        """Lease the slot if it is still as it was read; False if another server was quicker."""
        values: dict[str, Any] = {
            ":me": {"S": me},
            ":now": {"N": str(now)},
            # It names the instance too: a release that knows no places changes the holder alone.
            ":place": {"M": {"instance": {"S": me}, "private_ip": {"S": place.private_ip}, "zone": {"S": place.zone}}},
        }
        if slot.holder is None:
            condition = "attribute_exists(slot) AND attribute_not_exists(holder)"
        else:
            condition, values[":was"] = "holder = :was", {"S": slot.holder}
        try:
            self._dynamodb.update_item(
                TableName=self._table,
                Key={"slot": {"N": str(slot.number)}},
                UpdateExpression="SET holder = :me, leased_at = :now, holder_place = :place",
                ConditionExpression=condition,
                ExpressionAttributeValues=values,
            )
        except ClientError as error:
            if error.response["Error"]["Code"] == "ConditionalCheckFailedException":
                return False
            raise
        return True

    def release(self, me: str) -> list[int]:
        """Free every slot that instance ``me`` holds, and return their numbers. One that another took stays its own."""
        released = []
        for slot in self.read():
            if slot.holder != me:
                continue
            try:
                self._dynamodb.update_item(
                    TableName=self._table,
                    Key={"slot": {"N": str(slot.number)}},
                    UpdateExpression="REMOVE holder, leased_at, holder_place",
                    ConditionExpression="holder = :me",
                    ExpressionAttributeValues={":me": {"S": me}},
                )
            except ClientError as error:
                if error.response["Error"]["Code"] != "ConditionalCheckFailedException":
                    raise
                continue
            released.append(slot.number)
        return released

    def states(self, holders: list[str]) -> dict[str, str]:
        """Return EC2's state of each of these instances that it knows."""
        states: dict[str, str] = {}
        ec2 = self._ec2()
        for start in range(0, len(holders), _HOLDERS_PER_CALL):
            # A filter, unlike a list of ids, isn't an error when one is unknown.
            wanted = [{"Name": "instance-id", "Values": holders[start : start + _HOLDERS_PER_CALL]}]
            for page in ec2.get_paginator("describe_instances").paginate(Filters=wanted):
                for reservation in page["Reservations"]:
                    for instance in reservation["Instances"]:
                        states[instance["InstanceId"]] = instance["State"]["Name"]
        return states


def lease(
    table: SlotTable,
    me: str,
    place: Place,
    *,
    clock: Callable[[], int] | None = None,
    sleep: Callable[[float], None] = time.sleep,
    source: random.Random | None = None,
) -> Slot:
    """Lease a slot for instance ``me`` at ``place`` and return it as the table has it now. ``clock``: the table's.

    Raises SlotError when none can be had.
    """
    source, clock = source or random.SystemRandom(), clock or table.now
    slots: list[Slot] = []
    for attempt in range(ATTEMPTS):
        try:
            slots = table.read()
            gone: frozenset[str] = frozenset()
            if not any(slot.holder in (None, me) for slot in slots):
                gone = gone_holders(slots, table.states([slot.holder for slot in slots if slot.holder]), clock())
            for slot in candidates(slots, me, gone, source):
                now = clock()
                if table.take(slot, me, now, place):
                    return Slot(slot.number, slot.address, slot.ip, me, now)
        except ClientError as error:
            code = error.response["Error"]["Code"]
            if code in ("ResourceNotFoundException", "AccessDeniedException", "UnauthorizedOperation"):
                raise SlotError(f"the slot table can't be used: {code}: {error.response['Error']['Message']}") from None
            if attempt == ATTEMPTS - 1:
                raise SlotError(f"the slot table can't be used: {error}") from None
        except BotoCoreError as error:
            if attempt == ATTEMPTS - 1:
                raise SlotError(f"the slot table can't be used: {error}") from None
        if attempt < ATTEMPTS - 1:
            ceiling = min(_MOST_PAUSE_S, _FIRST_PAUSE_S * 2**attempt)
            sleep(source.uniform(ceiling / 4, ceiling))
    if not slots:
        raise SlotError("the slot table is empty: provision the overlay's slots first")
    raise SlotError(
        f"all {len(slots)} overlay slots are held by instances that aren't terminated; "
        "provision more slots than the group's largest size plus its surge"
    )
