"""Target tracking for moto's Auto Scaling groups, which keeps policies and never acts on them.

Amazon EC2 Auto Scaling User Guide, "Target tracking scaling policies for Amazon EC2 Auto Scaling": capacity is added in
proportion to the metric as soon as it is above the target, and removed only when it is far enough below ("usually more
than 10% lower"), both with the number of instances rounded up; a group grows when any policy says so, and shrinks when
all policies with scale-in do. "Set the default instance warmup for an Auto Scaling group": an instance adds to the
metric when its warm-up has passed, and while one warms up the group doesn't shrink. The alarms that AWS makes of a
policy look at three minutes above and at fifteen below the target. "Suspend and resume processes": AlarmNotification.

Of the metrics there are ASGAverageCPUUtilization and ALBRequestCountPerTarget; a policy for another one is refused.
After each change of the size the metrics are gathered anew, and none are while an instance refresh runs.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from moto.autoscaling.exceptions import ValidationError
from moto.autoscaling.models import AutoScalingBackend, autoscaling_backends

from . import instance_refresh, lifecycle
from .hooks import hooks
from .state import state_lock

CPU = "ASGAverageCPUUtilization"
REQUESTS = "ALBRequestCountPerTarget"
ABOVE, BELOW = 3, 15
"""Periods in a row after which a group grows, and shrinks."""
FAR_BELOW = 0.9


@dataclass(frozen=True)
class Measured:
    """An instance in one period: its processors' use (percent), and the requests that it got in a minute."""

    cpu_percent: float
    requests: float


@dataclass
class Policy:
    """A target, and the metric's latest values, the last one last."""

    target: float
    shrinks: bool = True
    values: deque[float] = field(default_factory=lambda: deque(maxlen=BELOW))


def correct() -> None:
    """Refuse what would never act."""
    put = AutoScalingBackend.put_scaling_policy

    def put_scaling_policy(self: Any, *args: Any, **given: Any) -> Any:
        policy = put(self, *args, **given)
        if tracking := policy.target_tracking_configuration:
            metric = _metric(tracking)
            if metric not in (CPU, REQUESTS):
                del self.policies[policy.name]
                raise ValidationError(f"The lab follows {CPU} and {REQUESTS} only, not {metric or 'a metric of yours'}")
        return policy

    AutoScalingBackend.put_scaling_policy = put_scaling_policy


def wanted(size: int, policies: Iterable[Policy]) -> int:
    """The number of instances that these policies want of a group of ``size``; its bounds aren't looked at."""
    policies = list(policies)
    grown = [
        math.ceil(size * fmean(recent) / policy.target)
        for policy in policies
        if len(recent := list(policy.values)[-ABOVE:]) == ABOVE and min(recent) > policy.target
    ]
    if grown:
        return max(grown)
    shrinking = [policy for policy in policies if policy.shrinks]
    if not shrinking or not all(
        len(policy.values) == BELOW and max(policy.values) < FAR_BELOW * policy.target for policy in shrinking
    ):
        return size
    return min(size, max(math.ceil(size * max(policy.values) / policy.target) for policy in shrinking))


class Tracking:
    """What the groups' policies have seen. ``follow`` gets the figures of each period."""

    def __init__(self) -> None:
        self._policies: dict[tuple[str, str], Policy] = {}
        self._sizes: dict[str, int] = {}
        self._in_service_since: dict[str, float] = {}

    def follow(self, figures: Mapping[str, Measured], now: float) -> dict[str, tuple[int, int]]:
        """Take a period's figures (instance id → what was measured) into account; returns name → (size before, size
        now) of the groups that it changed. ``now`` is any clock in seconds."""
        with state_lock:
            groups = [
                group
                for regions in autoscaling_backends.values()
                for backend in regions.values()
                for group in backend.autoscaling_groups.values()
            ]
            changed = {group.name: sizes for group in groups if (sizes := self._follow(group, figures, now))}
        if changed and hooks.acted is not None:
            hooks.acted()
        return changed

    def _follow(self, group: Any, figures: Mapping[str, Measured], now: float) -> tuple[int, int] | None:
        tracked = {
            policy.name: policy.target_tracking_configuration
            for policy in group.autoscaling_backend.describe_policies(group.name)
            if policy.target_tracking_configuration
        }
        size = int(group.desired_capacity or 0)
        warm = self._warm(group, now)
        suspended = any(each["ProcessName"] == "AlarmNotification" for each in group.suspended_processes)
        settled = len(warm) == size == len(lifecycle.counted(group)) and self._sizes.get(group.name) == size
        self._sizes[group.name] = size
        if not tracked or suspended or not settled or instance_refresh.running(group):
            self._forget(group.name)
            return None
        policies = [self._noted(group.name, name, rule, warm, figures) for name, rule in tracked.items()]
        new = max(group.min_size, min(group.max_size, wanted(size, policies)))
        if new == size:
            return None
        self._forget(group.name)
        group.set_desired_capacity(new)
        return size, new

    def _warm(self, group: Any, now: float) -> list[str]:
        """The group's instances in service whose warm-up has passed."""
        warmup = float(getattr(group, "default_instance_warmup", None) or 0)
        ids = [each.instance.id for each in group.instance_states if each.lifecycle_state == "InService"]
        return [each for each in ids if now - self._in_service_since.setdefault(each, now) >= warmup]

    def _noted(self, group: str, name: str, rule: Any, warm: list[str], figures: Mapping[str, Measured]) -> Policy:
        target, shrinks = float(rule.TargetValue), str(getattr(rule, "DisableScaleIn", False)).lower() != "true"
        known = self._policies.get((group, name))
        if known is None or (known.target, known.shrinks) != (target, shrinks):
            known = self._policies[group, name] = Policy(target, shrinks)
        found = [figures[each] for each in warm if each in figures]
        if len(found) == len(warm):
            cpu = _metric(rule) == CPU
            known.values.append(fmean(each.cpu_percent if cpu else each.requests for each in found))
        return known

    def _forget(self, group: str) -> None:
        for key in [each for each in self._policies if each[0] == group]:
            del self._policies[key]


def _metric(tracking: Any) -> str:
    """The predefined metric that a policy follows; empty for one of the user's own."""
    return str((getattr(tracking, "PredefinedMetricSpecification", None) or {}).get("PredefinedMetricType", ""))
