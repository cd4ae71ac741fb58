"""Instance refresh for moto's Auto Scaling groups, which has none.

Written from the Amazon EC2 Auto Scaling User Guide ("Use an instance refresh to update instances in an Auto Scaling
group") and the API Reference (StartInstanceRefresh, DescribeInstanceRefreshes, CancelInstanceRefresh,
RefreshPreferences): one instance at a time, launching before terminating when the maximum healthy percentage allows it,
skipping instances that match when asked, draining before terminating, failing when no progress is made for an hour.
Checkpoints, alarms, bake time and automatic rollback are not here: a request for them is refused.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from moto.autoscaling.exceptions import AutoscalingClientError, ValidationError
from moto.autoscaling.responses import AutoScalingResponse
from moto.core.responses import ActionResult

from .hooks import hooks
from .state import state_lock

_log = logging.getLogger(__name__)

_TICK_S = 1.0
_NO_PROGRESS_S = 3600.0
_RUNNING = ("Pending", "InProgress", "Cancelling")
_SUPPORTED = {"MinHealthyPercentage", "MaxHealthyPercentage", "InstanceWarmup", "SkipMatching"}

# (account, region, group name) -> refreshes, the latest first
_refreshes: dict[tuple[str, str, str], list[Refresh]] = {}


@dataclass
class Refresh:
    group: Any
    preferences: dict[str, Any]
    instances_at_start: set[str]
    refresh_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    status: str = "Pending"
    status_reason: str | None = None
    start_time: datetime = field(default_factory=lambda: datetime.now(UTC))
    end_time: datetime | None = None
    to_replace_at_start: int = 0
    to_replace: int = 0
    healthy_since: dict[str, float] = field(default_factory=dict)
    draining: dict[str, float] = field(default_factory=dict)
    last_progress: float = field(default_factory=time.monotonic)

    def end(self, status: str, reason: str | None = None) -> None:
        self.status, self.status_reason, self.end_time = status, reason, datetime.now(UTC)

    def description(self) -> dict[str, Any]:
        total = self.to_replace_at_start
        return {
            "InstanceRefreshId": self.refresh_id,
            "AutoScalingGroupName": self.group.name,
            "Status": self.status,
            "StatusReason": self.status_reason,
            "StartTime": self.start_time,
            "EndTime": self.end_time,
            "PercentageComplete": 100 * (total - self.to_replace) // total if total else 100,
            "InstancesToUpdate": self.to_replace,
            "Preferences": self.preferences,
            "Strategy": "Rolling",
        }


def install() -> None:
    AutoScalingResponse.start_instance_refresh = _start
    AutoScalingResponse.describe_instance_refreshes = _describe
    AutoScalingResponse.cancel_instance_refresh = _cancel


def _key(response: Any) -> tuple[str, str, str]:
    name = response._get_param("AutoScalingGroupName")
    if name not in response.autoscaling_backend.autoscaling_groups:
        raise ValidationError(f"AutoScalingGroup name not found - AutoScalingGroup '{name}' not found")
    return response.current_account, response.region, name


def _start(self: Any) -> Any:
    key = _key(self)
    given = dict(self._get_param("Preferences") or {})
    if unknown := set(given) - _SUPPORTED:
        raise ValidationError(f"The lab's instance refresh doesn't know {', '.join(sorted(unknown))}")
    known = _refreshes.setdefault(key, [])
    if known and known[0].status in _RUNNING:
        raise AutoscalingClientError(
            "InstanceRefreshInProgress", "An Instance Refresh is already in progress and blocks the execution."
        )
    group = self.autoscaling_backend.autoscaling_groups[key[2]]
    preferences = {
        "MinHealthyPercentage": int(given.get("MinHealthyPercentage", 90)),
        "MaxHealthyPercentage": int(given.get("MaxHealthyPercentage", 100)),
        "InstanceWarmup": int(given.get("InstanceWarmup", group.health_check_grace_period or 0)),
        "SkipMatching": str(given.get("SkipMatching", False)).lower() == "true",
    }
    refresh = Refresh(group, preferences, {state.instance.id for state in group.instance_states})
    refresh.to_replace_at_start = refresh.to_replace = len(_outdated(refresh))
    known.insert(0, refresh)
    threading.Thread(target=_run, args=(refresh,), name=f"refresh-{group.name}", daemon=True).start()
    return ActionResult({"InstanceRefreshId": refresh.refresh_id})


def _describe(self: Any) -> Any:
    known = _refreshes.get(_key(self), [])
    wanted = self._get_param("InstanceRefreshIds") or []
    found = [refresh.description() for refresh in known if not wanted or refresh.refresh_id in wanted]
    return ActionResult({"InstanceRefreshes": found})


def _cancel(self: Any) -> Any:
    known = _refreshes.get(_key(self), [])
    if not known or known[0].status not in _RUNNING:
        raise AutoscalingClientError(
            "ActiveInstanceRefreshNotFound", "No in progress or pending Instance Refresh found."
        )
    known[0].status = "Cancelling"
    return ActionResult({"InstanceRefreshId": known[0].refresh_id})


def _run(refresh: Refresh, clock: Callable[[], float] = time.monotonic) -> None:
    while refresh.status in _RUNNING:
        with state_lock:
            try:
                _step(refresh, clock())
            except Exception as error:  # noqa: BLE001 (a refresh that breaks is a failed one, with its reason)
                _log.exception("instance refresh of %s failed", refresh.group.name)
                refresh.end("Failed", str(error))
        if hooks.acted is not None:
            hooks.acted()
        time.sleep(_TICK_S)


def _step(refresh: Refresh, now: float) -> None:
    """Do the one thing that the group's state allows now. Called with the state locked."""
    group = refresh.group
    if group.name not in group.autoscaling_backend.autoscaling_groups:
        refresh.end("Failed", "The Auto Scaling group was deleted")
        return
    _finish_draining(refresh, now)
    if refresh.status == "Cancelling":
        if not refresh.draining:
            group.set_desired_capacity(group.desired_capacity)
            refresh.end("Cancelled", "Cancelled due to user request")
        return
    refresh.status = "InProgress"
    outdated = _outdated(refresh)
    if len(outdated) < refresh.to_replace:
        refresh.to_replace, refresh.last_progress = len(outdated), now
    if now - refresh.last_progress > _NO_PROGRESS_S:
        refresh.end("Failed", "No progress for one hour: new instances don't become healthy")
        return
    if refresh.draining:
        return
    missing = (group.desired_capacity or 0) - len(group.active_instances())
    if missing > 0:
        group.replace_autoscaling_group_instances(missing, group.get_propagated_tags())
        return
    if not _settled(refresh, outdated, now):
        return
    if not outdated:
        refresh.end("Successful")
        return
    launch_first = refresh.preferences["MaxHealthyPercentage"] > 100
    if launch_first and missing == 0:
        group.replace_autoscaling_group_instances(1, group.get_propagated_tags())
    else:
        _drain(refresh, outdated[0], now)


def _outdated(refresh: Refresh) -> list[Any]:
    """Instance states that the refresh still has to replace, oldest first."""
    group = refresh.group
    states = [state for state in group.active_instances() if state.instance.id in refresh.instances_at_start]
    if refresh.preferences["SkipMatching"] and group.ec2_launch_template is not None:
        target = str(group.ec2_launch_template.get_version(group.launch_template_version).number)
        states = [state for state in states if (state.launch_template or {}).get("Version") != target]
    return states


def _settled(refresh: Refresh, outdated: list[Any], now: float) -> bool:
    """Whether every instance that stays is healthy, and the new ones have been so for the warm-up."""
    going = {state.instance.id for state in outdated}
    settled = True
    for state in refresh.group.active_instances():
        instance_id = state.instance.id
        if instance_id in going:
            continue
        if not _healthy(refresh.group, instance_id):
            refresh.healthy_since.pop(instance_id, None)
            settled = False
            continue
        since = refresh.healthy_since.setdefault(instance_id, now)
        is_new = instance_id not in refresh.instances_at_start
        if is_new and now - since < refresh.preferences["InstanceWarmup"]:
            settled = False
    return settled


def _healthy(group: Any, instance_id: str) -> bool:
    backend = group.autoscaling_backend.elbv2_backend
    for arn in group.target_group_arns or []:
        for status in backend.describe_target_health(arn, [{"Id": instance_id}]):
            if status.status != "healthy":
                return False
    return True


def _drain(refresh: Refresh, state: Any, now: float) -> None:
    """Take an instance out of its target groups and let it finish for as long as the slowest of them allows."""
    group = refresh.group
    delay = 0.0
    for target_group in group.autoscaling_backend.elbv2_backend.target_groups.values():
        if target_group.arn in (group.target_group_arns or []) and state.instance.id in target_group.targets:
            target_group.deregister([{"Id": state.instance.id}])
            delay = max(delay, float(target_group.attributes["deregistration_delay.timeout_seconds"]))
    state.lifecycle_state = "Terminating"
    refresh.draining[state.instance.id] = now + delay


def _finish_draining(refresh: Refresh, now: float) -> None:
    group = refresh.group
    for instance_id, deadline in list(refresh.draining.items()):
        if now >= deadline:
            del refresh.draining[instance_id]
            group.instance_states = [state for state in group.instance_states if state.instance.id != instance_id]
            group.ec2_backend.terminate_instances([instance_id])
