"""Two instances never use one overlay slot, whatever order things happen in.

The code that leases, releases and rotates slots runs as it is. DynamoDB and EC2 are doubles of what their documentation
promises: a conditional write is atomic (DynamoDB, "Condition expressions"), a scan isn't one moment but page after page
("Read consistency"), and EC2 may not know an instance yet after its launch (EC2 API, "Eventual consistency"). Between
any two calls anything may happen: boots, reboots, lost answers, clocks that jump, terminations, a rotation.

PARKMESH_INTERLEAVINGS sets how many schedules are tried (`make drills`: 10,000).
"""

from __future__ import annotations

import importlib.util
import os
import random
from collections.abc import Callable, Iterator
from email.utils import formatdate
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ClientError, ReadTimeoutError
from greenlet import GreenletExit, getcurrent, greenlet
from hypothesis import given, settings
from hypothesis import strategies as st
from parkmesh.instance import slots
from parkmesh.instance.slots import EC2_KNOWS_AFTER_MS, Place, SlotError, SlotTable, lease

MODULE = Path(__file__).resolve().parents[3] / "library/overlay_slots.py"
BEGINNING = 1_700_000_000_000
SLOTS, INSTANCES, STEPS = 2, 5, 60
EC2_LAGS_MS = EC2_KNOWS_AFTER_MS - 60_000
"""EC2 knows an instance after this time at the latest; the code counts on less than EC2_KNOWS_AFTER_MS."""


class Lost(ReadTimeoutError):
    """The answer to a call was lost, whether or not the call was carried out."""

    def __init__(self) -> None:
        super().__init__(endpoint_url="https://aws")


def _refused() -> ClientError:
    return ClientError({"Error": {"Code": "ConditionalCheckFailedException", "Message": ""}}, "UpdateItem")


class Cloud:
    """The slot table and EC2, and AWS's own time."""

    def __init__(self) -> None:
        self.now = BEGINNING
        self.items: dict[int, dict[str, Any]] = {
            number: {
                "slot": {"N": str(number)},
                "address": {"S": f"{number:010x}"},
                "ip": {"S": f"10.242.0.{number}"},
            }
            for number in range(1, SLOTS + 1)
        }
        self.states: dict[str, str] = {}
        self.known_from: dict[str, int] = {}

    def holder(self, slot: int) -> str | None:
        held = self.items[slot].get("holder")
        return None if held is None else str(held["S"])

    def update(self, slot: int, expression: str, values: dict[str, Any], condition: str | None) -> None:
        """Carry out the updates that the project's code asks for, and no others."""
        holder = self.holder(slot)
        for part in (condition or "").split(" AND "):
            holds = {
                "": True,
                "attribute_exists(slot)": True,
                "attribute_not_exists(holder)": holder is None,
                "holder = :was": holder == values.get(":was", {}).get("S", ""),
                "holder = :me": holder == values.get(":me", {}).get("S", ""),
            }[part]
            if not holds:
                raise _refused()
        put, _, removed = expression.partition("REMOVE")
        for name in filter(None, (one.strip() for one in removed.split(","))):
            self.items[slot].pop(name, None)
        for one in filter(None, put.removeprefix("SET ").split(",")):
            name, _, value = one.strip().partition(" = ")
            self.items[slot][name] = values[value]


class Caller:
    """boto3's clients of one process. Each call hands over to the schedule first, which says what becomes of it."""

    exceptions = SimpleNamespace(ConditionalCheckFailedException=ClientError, ResourceNotFoundException=KeyError)

    def __init__(self, cloud: Cloud) -> None:
        self._cloud = cloud

    def _call(self, work: Callable[[], Any]) -> Any:
        fate = getcurrent().parent.switch()
        if fate == "not done":
            raise Lost
        done = work()
        if fate == "answer lost":
            raise Lost
        return done

    def _answer(self, **found: Any) -> dict[str, Any]:
        return {**found, "ResponseMetadata": {"HTTPHeaders": {"date": formatdate(self._cloud.now / 1000, usegmt=True)}}}

    def get_paginator(self, name: str) -> Any:
        return SimpleNamespace(paginate=self._scan if name == "scan" else self._describe)

    def _scan(self, **_: Any) -> Iterator[dict[str, Any]]:
        for number in range(1, SLOTS + 1):
            yield self._call(lambda number=number: self._answer(Items=[dict(self._cloud.items[number])]))

    def _describe(self, **wanted: Any) -> Iterator[dict[str, Any]]:
        (condition,) = wanted["Filters"]

        def look() -> dict[str, Any]:
            known = [
                {"InstanceId": one, "State": {"Name": self._cloud.states[one]}}
                for one in condition["Values"]
                if one in self._cloud.states and self._cloud.now >= self._cloud.known_from[one]
            ]
            return self._answer(Reservations=[{"Instances": known}])

        yield self._call(look)

    def update_item(self, **given: Any) -> dict[str, Any]:
        def write() -> dict[str, Any]:
            self._cloud.update(
                int(given["Key"]["slot"]["N"]),
                given["UpdateExpression"],
                given["ExpressionAttributeValues"],
                given.get("ConditionExpression"),
            )
            return self._answer()

        answer: dict[str, Any] = self._call(write)
        return answer


class Instance:
    """An instance: ``uses`` is the slot whose address it has, from its lease until it has stopped for good."""

    def __init__(self, cloud: Cloud, name: str) -> None:
        self.cloud, self.name, self.uses, self.ahead = cloud, name, 0, 0
        self.gone, self.seed, self.process = False, 0, greenlet(self._boot)

    def _table(self) -> SlotTable:
        caller = Caller(self.cloud)
        return SlotTable("slots", caller, lambda: caller)

    def _boot(self) -> None:
        def sleep(_: float) -> None:
            getcurrent().parent.switch()

        try:
            held = lease(
                self._table(), self.name, Place("10.80.80.7", "a"), sleep=sleep, source=random.Random(self.seed)
            )
        except SlotError:
            return
        self.uses = held.number

    def _leave(self) -> None:
        try:
            self._table().release(self.name)
        except Lost:
            return

    def start(self, what: Callable[[], None]) -> None:
        self.stop()
        self.seed += 1
        self.process = greenlet(what)

    def stop(self) -> None:
        if self.process and not self.process.dead:
            self.process.throw(GreenletExit)

    def go_on(self, fate: str) -> None:
        if not self.process.dead:
            self.process.switch(fate) if self.process else self.process.switch()


class World:
    """What a schedule plays: each step is an action, whom it is about, and how much."""

    def __init__(self, module: ModuleType) -> None:
        self.cloud, self.module = Cloud(), module
        self.instances: list[Instance] = []
        self.operator_ahead, self.operator = 0, greenlet(self._rotate)

    def time_ns(self) -> int:
        """Return what the clock of the process that asks says."""
        ahead = next((one.ahead for one in self.instances if one.process is getcurrent()), 0)
        return (self.cloud.now + ahead) * 1_000_000

    def _rotate(self) -> None:
        caller = Caller(self.cloud)
        clock = lambda: self.cloud.now + self.operator_ahead  # noqa: E731
        pool = self.module.Pool(None, caller, "slots", "slot-", lambda: caller, clock)
        try:
            for slot in self.module.gather(pool):
                if slot["free"] and pool.reserve(slot["slot"], slot["holder"]):
                    pool.release(slot["slot"], "a" * 10)
        except Lost:
            return

    def play(self, action: str, whom: int, amount: int) -> None:
        if action == "launch":
            if len(self.instances) < INSTANCES:
                name = f"i-{len(self.instances)}"
                self.cloud.states[name] = "running"
                self.cloud.known_from[name] = self.cloud.now + EC2_LAGS_MS * amount // 100
                self.instances.append(Instance(self.cloud, name))
            return
        if action == "time":
            self.cloud.now += 12_000 * amount
            return
        if action == "rotate":
            if self.operator.dead:
                self.operator = greenlet(self._rotate)
            self.operator.switch(*(["done"] if self.operator else []))
            return
        if action == "operator's clock":
            self.operator_ahead = (amount - 50) * 60_000
            return
        if not self.instances:
            return
        one = self.instances[whom % len(self.instances)]
        if one.gone:
            if action == "forgotten":
                self.cloud.states.pop(one.name, None)
            return
        if action in ("done", "not done", "answer lost"):
            one.go_on(action)
        elif action == "run":
            for _ in range(SLOTS + 2):
                one.go_on("done")
                self.check()
        elif action == "clock":
            one.ahead = (amount - 50) * 60_000
        elif action == "reboot":
            one.start(one._boot)
        elif action == "leave" and one.uses:
            one.uses = 0
            one.start(one._leave)
        elif action == "terminate":
            # It may use its address until EC2 calls it terminated.
            if self.cloud.states[one.name] == "shutting-down":
                one.stop()
                one.uses, one.gone = 0, True
                self.cloud.states[one.name] = "terminated"
            else:
                self.cloud.states[one.name] = "shutting-down"

    def check(self) -> None:
        for one in self.instances:
            assert not one.uses or self.cloud.holder(one.uses) == one.name, (
                f"{one.name} uses slot {one.uses}, which {self.cloud.holder(one.uses)} holds"
            )

    def end(self) -> None:
        for one in self.instances:
            one.stop()
        if self.operator and not self.operator.dead:
            self.operator.throw(GreenletExit)


ACTIONS = st.sampled_from(
    [
        *("done",) * 8,
        *("run",) * 4,
        *("launch", "launch", "time", "time", "clock", "reboot", "terminate", "terminate", "forgotten", "leave"),
        *("not done", "answer lost", "rotate", "rotate", "operator's clock"),
    ]
)
STEP = st.tuples(ACTIONS, st.integers(0, INSTANCES - 1), st.integers(0, 100))


def _module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("overlay_slots", MODULE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


ROTATION = _module()


@settings(max_examples=int(os.environ.get("PARKMESH_INTERLEAVINGS", "300")))
@given(st.lists(STEP, min_size=STEPS // 2, max_size=STEPS))
def test_two_instances_never_use_one_slot(schedule: list[tuple[str, int, int]]) -> None:
    world = World(ROTATION)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(slots, "time", world)
        play(world, schedule)


def play(world: World, schedule: list[tuple[str, int, int]]) -> None:
    """Play a schedule, and look after each step."""
    try:
        for number in range(3):
            world.play("launch", 0, number * 50)
        for step in schedule:
            world.play(*step)
            world.check()
    finally:
        world.end()
