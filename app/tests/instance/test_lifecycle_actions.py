"""An instance in its group's lifecycle, against doubles of Auto Scaling and of the host.

The double of Auto Scaling is built from the API reference (CompleteLifecycleAction, RecordLifecycleActionHeartbeat,
DescribeAutoScalingInstances); lab.aws has its own, with timers (tests/emulator/test_lifecycle.py).
"""

from typing import Any

import pytest
from botocore.exceptions import ClientError
from imds_double import ImdsDouble
from parkmesh.instance.imds import Imds
from parkmesh.instance.lifecycle import HEARTBEAT_S, TARGET_STATE, Actions, run
from parkmesh.instance.userdata import Lifecycle

ME = "i-0123456789abcdef0"
HOOKS = Lifecycle("app", "launch", "terminate")


class Scaling:
    """Auto Scaling's side of one instance."""

    def __init__(self, state: str) -> None:
        self.state = state
        self.asked: list[str] = []
        self.said: list[str] = []
        self.failures = 0

    def complete_lifecycle_action(self, **given: str) -> None:
        assert (given["AutoScalingGroupName"], given["InstanceId"]) == ("app", ME)
        assert given["LifecycleActionResult"] == "CONTINUE"
        waits = {"launch": "Pending:Wait", "terminate": "Terminating:Wait"}[given["LifecycleHookName"]]
        if self.failures:
            self.failures -= 1
            raise _error("Throttling")
        if self.state != waits:
            raise _error("ValidationError")
        self.said.append(given["LifecycleHookName"])
        self.state = {"launch": "InService", "terminate": "Terminated"}[given["LifecycleHookName"]]

    def record_lifecycle_action_heartbeat(self, **given: str) -> None:
        self.asked.append(given["LifecycleHookName"])

    def describe_auto_scaling_instances(self, **_given: Any) -> dict[str, Any]:
        return {"AutoScalingInstances": [{"InstanceId": ME, "LifecycleState": self.state}]}


def _error(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": f"No active Lifecycle Action found: {ME}"}}, "Complete")


class World:
    """A host and its clock. ``at`` says what becomes true after so many seconds: ready, migrated, ends.

    The load balancer drains for ``balancer`` seconds before the hook waits.
    """

    def __init__(self, imds: ImdsDouble, state: str = "Pending:Wait", **at: float) -> None:
        self.now = 0.0
        self.imds, self.scaling = imds, Scaling(state)
        self.at = {"migrated": 0.0, "ready": 0.0, "ends": 60.0, "balancer": 0.0, **at}
        self.stopped: list[str] = []
        self.stuck: set[str] = set()
        self.in_service_at: float | None = None
        self.released: list[str] = []

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        if self.scaling.state == "InService" and self.in_service_at is None:
            self.in_service_at = self.now - seconds
        if self.now >= self.at["ends"] and self.scaling.state != "Terminated":
            self.imds.paths[TARGET_STATE] = "Terminated"
            drained = self.now >= self.at["ends"] + self.at["balancer"]
            self.scaling.state = "Terminating:Wait" if drained else "Terminating"

    def ready(self) -> bool:
        return self.now >= self.at["ready"]

    def migrating(self) -> bool:
        return self.now < self.at["migrated"]

    def stop(self, unit: str) -> bool:
        self.stopped.append(unit)
        assert self.scaling.state != "Terminating", "the load balancer still sends requests"
        assert not self.released
        return unit not in self.stuck

    def release(self, me: str) -> list[int]:
        self.released.append(me)
        return [1]

    def go(self, lifecycle: Lifecycle = HOOKS) -> None:
        run(
            Imds(self.imds.endpoint),
            lifecycle,
            Actions(self.scaling, lifecycle, ME),
            self,  # type: ignore[arg-type]
            self,
            ME,
            sleep=self.sleep,
            clock=lambda: self.now,
        )


@pytest.fixture
def imds() -> Any:
    with ImdsDouble({TARGET_STATE: "InService"}) as double:
        yield double


def test_an_instance_goes_into_service_when_it_is_ready_and_ends_drained_without_its_slot(imds: ImdsDouble) -> None:
    world = World(imds, ready=10)
    world.go()
    assert world.in_service_at == 10
    assert world.stopped == ["parkmesh-server.service", "parkmesh-overlay.service", "zerotier-one.service"]
    assert world.released == [ME]
    assert world.scaling.said == ["launch", "terminate"]


def test_one_that_never_gets_ready_asks_for_no_time_and_ends_all_the_same(imds: ImdsDouble) -> None:
    world = World(imds, ready=1000)
    world.go()
    assert (world.scaling.asked, world.scaling.said, world.released) == ([], ["terminate"], [ME])


def test_a_long_migration_asks_for_time(imds: ImdsDouble) -> None:
    world = World(imds, migrated=200, ready=201, ends=300)
    world.go()
    assert len(world.scaling.asked) == -(-200 // int(HEARTBEAT_S))
    assert world.scaling.said == ["launch", "terminate"]


def test_an_instance_that_is_quicker_than_its_group_says_it_again(imds: ImdsDouble) -> None:
    world = World(imds, state="Pending")

    def sleep(seconds: float) -> None:
        if world.now >= 6 and world.scaling.state == "Pending":
            world.scaling.state = "Pending:Wait"
        World.sleep(world, seconds)

    world.sleep = sleep  # type: ignore[method-assign]
    world.go()
    assert world.scaling.said == ["launch", "terminate"]


def test_after_a_restart_an_instance_in_service_says_nothing(imds: ImdsDouble) -> None:
    world = World(imds, state="InService")
    world.go()
    assert world.scaling.said == ["terminate"]


def test_a_refusal_of_the_moment_is_tried_again(imds: ImdsDouble) -> None:
    world = World(imds)
    world.scaling.failures = 3
    world.go()
    assert world.scaling.said == ["launch", "terminate"]


def test_the_slot_stays_held_while_the_overlay_may_still_use_it(imds: ImdsDouble) -> None:
    world = World(imds)
    world.stuck = {"zerotier-one.service"}
    world.go()
    assert world.released == []
    assert world.scaling.said == ["launch", "terminate"]


def test_the_server_stops_when_the_load_balancer_has_drained(imds: ImdsDouble) -> None:
    world = World(imds, balancer=30)
    world.go()
    assert (world.scaling.said, world.released, world.now) == (["launch", "terminate"], [ME], 90)


def test_without_hooks_it_still_drains(imds: ImdsDouble) -> None:
    world = World(imds, state="InService")
    world.go(Lifecycle("app"))
    assert (world.scaling.said, world.released) == ([], [ME])
