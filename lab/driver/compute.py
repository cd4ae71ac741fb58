"""The compute driver's plan, from EC2's records on one side and containers on the other. Pure.

The records say what should run; the containers say what does. A container that is gone although its record runs has
died: in an Auto Scaling group it is replaced, alone it is a stopped instance.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum


@dataclass(frozen=True)
class Instance:
    """An EC2 instance record. `state` is EC2's word; `group` its Auto Scaling group, if any, and
    `target_state` the lifecycle state that it is in or on its way to there. `forwards` says that its
    source/destination check is off, `security_groups` are ids."""

    id: str
    state: str
    image_id: str
    address: str | None
    subnet_id: str | None = None
    zone: str = ""
    group: str | None = None
    profile_arn: str | None = None
    hostname: str = ""
    instance_type: str = ""
    launched: str = ""
    target_state: str | None = None
    forwards: bool = False
    security_groups: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Running:
    """A container that stands for an instance. `pid` is that of its init, 0 while it does not run."""

    instance_id: str
    running: bool
    pid: int


class Act(Enum):
    """CREATE and START bring a container up; STOP and REMOVE take it down, KILL without a moment to end in order; DIED
    tells AWS that it ended by itself."""

    CREATE = "create"
    START = "start"
    STOP = "stop"
    KILL = "kill"
    REMOVE = "remove"
    DIED = "died"


@dataclass(frozen=True)
class Action:
    act: Act
    instance_id: str


def plan(
    instances: Iterable[Instance],
    containers: Iterable[Running],
    created: frozenset[str],
    stopped: frozenset[str],
    failed_zones: frozenset[str] = frozenset(),
    checked: frozenset[str] = frozenset(),
) -> list[Action]:
    """What to do, removals first so that their addresses are free.

    Args:
        instances: all records that EC2 knows, terminated ones included or not.
        containers: all containers of instances.
        created: instances for which this driver has started a container before.
        stopped: instances whose container this driver stopped because the record said so.
        failed_zones: zones whose hosts die, and where nothing starts.
        checked: instances of groups that find out by their targets' health, nothing else while a zone has failed.
    """
    present = {container.instance_id: container for container in containers}
    records = {instance.id: instance for instance in instances}
    removals, others = [], []
    for instance_id in sorted(present):
        record = records.get(instance_id)
        if record is None or record.state in ("terminated", "shutting-down"):
            removals.append(Action(Act.REMOVE, instance_id))
    for instance in records.values():
        act = _for(instance, present.get(instance.id), instance.id in created, instance.id in stopped)
        if instance.zone in failed_zones:
            act = _in_failed_zone(act, present.get(instance.id), instance.id in checked)
        if act is not None:
            others.append(Action(act, instance.id))
    return removals + others


def _for(instance: Instance, container: Running | None, created: bool, stopped: bool) -> Act | None:
    if instance.state in ("running", "pending"):
        if container is None:
            return Act.DIED if created else Act.CREATE
        if container.running:
            return None
        if stopped:
            return Act.START
        # A container that never ran is what an interrupted attempt left.
        return Act.DIED if created else Act.CREATE
    if instance.state in ("stopping", "stopped") and container is not None and container.running:
        return Act.STOP
    return None


def _in_failed_zone(act: Act | None, container: Running | None, checked: bool) -> Act | None:
    if container is not None and container.running:
        return Act.KILL
    return act if act is Act.DIED and not checked else None


def unhealthy(group_checks_targets: bool, age_s: float, grace_s: float, target_states: Iterable[str]) -> bool:
    """Whether an Auto Scaling group gives up an instance because of its target health.

    EC2 Auto Scaling user guide, 'Health checks for instances in an Auto Scaling group': with the ELB health check type,
    an instance that a target group reports unhealthy is replaced, after the health check grace period.
    """
    return group_checks_targets and age_s >= grace_s and "unhealthy" in set(target_states)


class Retries:
    """When to try a failing thing again: 2 s, 4 s, 8 s … up to a minute; `now` is any clock in seconds."""

    LONGEST_S = 60.0

    def __init__(self) -> None:
        self._failures: dict[str, tuple[int, float]] = {}

    def failed(self, key: str, now: float) -> None:
        count = self._failures.get(key, (0, 0.0))[0] + 1
        self._failures[key] = (count, now + min(2.0**count, self.LONGEST_S))

    def succeeded(self, key: str) -> None:
        self._failures.pop(key, None)

    def due(self, key: str, now: float) -> bool:
        return now >= self._failures.get(key, (0, now))[1]
