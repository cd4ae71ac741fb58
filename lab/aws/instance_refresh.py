"""Instance refresh for moto's Auto Scaling groups, which has none.

Written from the Amazon EC2 Auto Scaling User Guide ("Use an instance refresh to update instances in an Auto Scaling
group", "Add checkpoints to an instance refresh", "Undo changes with a manual or auto rollback") and the API Reference
(StartInstanceRefresh, DescribeInstanceRefreshes, CancelInstanceRefresh, RollbackInstanceRefresh, RefreshPreferences,
RollbackDetails): one instance at a time, launching before terminating when the maximum healthy percentage allows it,
skipping instances that match when asked, draining before terminating, failing when no progress is made for an hour or
an alarm goes off. With a desired configuration instances start from its version of the group's launch template; the
group takes that version when the refresh has succeeded, and a rollback returns to the version that the group has.
Another launch template than the group's is refused.
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
from moto.cloudwatch.models import cloudwatch_backends
from moto.core.responses import ActionResult

from . import lifecycle
from .hooks import hooks
from .state import state_lock

_log = logging.getLogger(__name__)

_TICK_S = 1.0
_NO_PROGRESS_S = 3600.0
_RUNNING = ("Pending", "InProgress", "Cancelling", "RollbackInProgress", "Baking")
_SUPPORTED = {
    "AlarmSpecification",
    "AutoRollback",
    "BakeTime",
    "CheckpointDelay",
    "CheckpointPercentages",
    "InstanceWarmup",
    "MaxHealthyPercentage",
    "MinHealthyPercentage",
    "SkipMatching",
}

# (account, region, group name) -> refreshes, the latest first
_refreshes: dict[tuple[str, str, str], list[Refresh]] = {}


@dataclass
class Refresh:
    group: Any
    preferences: dict[str, Any]
    instances_at_start: set[str]
    # Version of the group's launch template that instances are to start from; None without a desired configuration.
    desired_version: str | None = None
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
    checkpoints_passed: int = 0
    paused_since: float | None = None
    baking_since: float | None = None
    rollback: dict[str, Any] | None = None

    @property
    def percentage(self) -> int:
        """Percentage complete; in a rollback it goes back to zero."""
        if self.rollback is not None:
            total, before = self.rollback["to_replace"], self.rollback["percentage"]
            return int(before * len(_outdated(self)) // total) if total else 0
        total = self.to_replace_at_start
        return 100 * (total - self.to_replace) // total if total else 100

    @property
    def version(self) -> str:
        """Number of the version that instances start from now."""
        wanted = self.group.launch_template_version if self.rollback is not None else self.desired_version
        return str(self.group.ec2_launch_template.get_version(wanted or self.group.launch_template_version).number)

    def roll_back(self, reason: str) -> None:
        self.status, self.status_reason, self.last_progress = "RollbackInProgress", reason, time.monotonic()
        details = {
            "RollbackReason": reason,
            "RollbackStartTime": datetime.now(UTC),
            "PercentageCompleteOnRollback": self.percentage,
            "InstancesToUpdateOnRollback": self.to_replace,
        }
        self.rollback = {"details": details, "percentage": self.percentage, "to_replace": 0}
        self.rollback["to_replace"] = len(_outdated(self))

    def fail(self, reason: str) -> None:
        """End as failed, or begin the way back where the preferences ask for it."""
        if self.rollback is not None:
            self.end("RollbackFailed", reason)
        elif self.preferences["AutoRollback"]:
            self.roll_back(reason)
        else:
            self.end("Failed", reason)

    def end(self, status: str, reason: str | None = None) -> None:
        self.status, self.status_reason, self.end_time = status, reason, datetime.now(UTC)

    def description(self) -> dict[str, Any]:
        return {
            "InstanceRefreshId": self.refresh_id,
            "AutoScalingGroupName": self.group.name,
            "Status": self.status,
            "StatusReason": self.status_reason,
            "StartTime": self.start_time,
            "EndTime": self.end_time,
            "PercentageComplete": self.percentage,
            "InstancesToUpdate": self.to_replace,
            "Preferences": self.preferences,
            "DesiredConfiguration": self.desired_version
            and {
                "LaunchTemplate": {
                    "LaunchTemplateId": self.group.ec2_launch_template.id,
                    "LaunchTemplateName": self.group.ec2_launch_template.name,
                    "Version": self.desired_version,
                }
            },
            "RollbackDetails": self.rollback and self.rollback["details"],
            "Strategy": "Rolling",
        }


def install() -> None:
    AutoScalingResponse.start_instance_refresh = _start
    AutoScalingResponse.describe_instance_refreshes = _describe
    AutoScalingResponse.cancel_instance_refresh = _cancel
    AutoScalingResponse.rollback_instance_refresh = _roll_back


def running(group: Any) -> Refresh | None:
    """The refresh of a group that goes on."""
    return next(
        (latest for latest, *_ in _refreshes.values() if latest.group is group and latest.status in _RUNNING), None
    )


def launch_version(group: Any) -> Any:
    """The version of a group's launch template that an instance starts from now."""
    refresh = running(group)
    return group.ec2_launch_template.get_version(refresh.version if refresh else group.launch_template_version)


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
    known = _refreshes.get(key, [])
    if known and known[0].status in _RUNNING:
        raise AutoscalingClientError(
            "InstanceRefreshInProgress", "An Instance Refresh is already in progress and blocks the execution."
        )
    group = self.autoscaling_backend.autoscaling_groups[key[2]]
    desired = _desired_version(group, self._get_param("DesiredConfiguration"))
    alarms = list((given.get("AlarmSpecification") or {}).get("Alarms") or [])
    _alarm_states(key, alarms)
    checkpoints = [int(percentage) for percentage in given.get("CheckpointPercentages") or []]
    if checkpoints != sorted(set(checkpoints)):
        raise ValidationError("CheckpointPercentages must be unique and in ascending order")
    if "CheckpointDelay" in given and not checkpoints:
        raise ValidationError("CheckpointDelay needs CheckpointPercentages")
    preferences: dict[str, Any] = {
        "MinHealthyPercentage": int(given.get("MinHealthyPercentage", 90)),
        "MaxHealthyPercentage": int(given.get("MaxHealthyPercentage", 100)),
        "InstanceWarmup": int(given.get("InstanceWarmup", group.health_check_grace_period or 0)),
        "SkipMatching": _true(given.get("SkipMatching")),
        "AutoRollback": _true(given.get("AutoRollback")),
        "BakeTime": int(given.get("BakeTime", 0)),
    }
    if checkpoints:
        preferences |= {
            "CheckpointPercentages": checkpoints,
            "CheckpointDelay": int(given.get("CheckpointDelay", 3600)),
        }
    if alarms:
        preferences["AlarmSpecification"] = {"Alarms": alarms}
    if preferences["AutoRollback"] and (desired is None or not _numbered(group)):
        raise ValidationError("AutoRollback needs a desired configuration, and a group with a numbered version")
    refresh = Refresh(group, preferences, {state.instance.id for state in group.instance_states}, desired)
    refresh.to_replace_at_start = refresh.to_replace = len(_outdated(refresh))
    _refreshes[key] = [refresh, *known]
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


def _roll_back(self: Any) -> Any:
    known = _refreshes.get(_key(self), [])
    if not known or known[0].status not in _RUNNING:
        raise AutoscalingClientError(
            "ActiveInstanceRefreshNotFound", "No in progress or pending Instance Refresh found."
        )
    refresh = known[0]
    if refresh.desired_version is None or not _numbered(refresh.group):
        raise AutoscalingClientError(
            "IrreversibleInstanceRefresh", "The request failed because a desired configuration was not found"
        )
    if refresh.rollback is None:
        refresh.roll_back("A rollback was started by a user request")
    return ActionResult({"InstanceRefreshId": refresh.refresh_id})


def _true(value: Any) -> bool:
    return str(value).lower() == "true"


def _numbered(group: Any) -> bool:
    return str(group.launch_template_version).isdigit()


def _desired_version(group: Any, desired: Any) -> str | None:
    """Number of the version in a desired configuration; None without one."""
    template = (desired or {}).get("LaunchTemplate")
    if not template:
        return None
    own = group.ec2_launch_template
    if own is None or own.id != template.get("LaunchTemplateId", own.id):
        raise ValidationError("The lab's instance refresh knows the group's launch template only")
    if own.name != template.get("LaunchTemplateName", own.name):
        raise ValidationError("The lab's instance refresh knows the group's launch template only")
    version = template.get("Version", "$Default")
    if str(version).isdigit() and int(version) not in [each.number for each in own.versions]:
        raise ValidationError(f"Could not find launch template version {version}")
    return str(own.get_version(version).number)


def _alarm_states(key: tuple[str, str, str], alarms: list[str]) -> dict[str, str]:
    """State of each of these CloudWatch alarms. An unknown alarm is refused."""
    known = cloudwatch_backends[key[0]][key[1]].alarms if alarms else {}
    if unknown := [name for name in alarms if name not in known]:
        raise ValidationError(f"Alarm not found: {', '.join(unknown)}")
    return {name: known[name].state_value for name in alarms}


def _run(refresh: Refresh, clock: Callable[[], float] = time.monotonic) -> None:
    while refresh.status in _RUNNING:
        if hooks.refreshes_wait:
            time.sleep(_TICK_S / 10)
            continue
        with state_lock:
            try:
                _step(refresh, clock())
            except Exception as error:  # noqa: BLE001 (a refresh that breaks is a failed one, with its reason)
                _log.exception("instance refresh of %s failed", refresh.group.name)
                refresh.fail(str(error))
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
    if refresh.status == "Pending":
        refresh.status = "InProgress"
    if refresh.rollback is None and (alarm := _alarm_gone_off(refresh)):
        refresh.fail(f"The alarm {alarm} is in the ALARM state")
    outdated = _outdated(refresh)
    if refresh.rollback is not None:
        if len(outdated) < refresh.rollback.setdefault("left", len(outdated)):
            refresh.rollback["left"], refresh.last_progress = len(outdated), now
    elif len(outdated) < refresh.to_replace:
        refresh.to_replace, refresh.last_progress = len(outdated), now
    if refresh.status != "Baking" and now - refresh.last_progress > _NO_PROGRESS_S:
        refresh.fail("No progress for one hour: new instances don't become healthy")
        return
    if refresh.draining or any(each.lifecycle_state.startswith("Terminating") for each in group.instance_states):
        return
    missing = (group.desired_capacity or 0) - len(group.active_instances())
    if missing > 0:
        group.replace_autoscaling_group_instances(missing, group.get_propagated_tags())
        return
    if refresh.rollback is not None and (sick := _sick(refresh, outdated)):
        # What the refresh started goes first where it doesn't work: nothing is lost with it.
        _drain(refresh, sick, now)
        return
    if not _settled(refresh, outdated, now) or _paused(refresh, now):
        return
    if not outdated or _at_the_last_checkpoint(refresh):
        _finish(refresh, now)
        return
    launch_first = refresh.preferences["MaxHealthyPercentage"] > 100
    if launch_first and missing == 0:
        group.replace_autoscaling_group_instances(1, group.get_propagated_tags())
    else:
        _drain(refresh, outdated[0], now)


def _finish(refresh: Refresh, now: float) -> None:
    """End a refresh that has replaced all it has to, after its bake time; the group takes the desired configuration."""
    if refresh.rollback is not None:
        refresh.end("RollbackSuccessful", refresh.status_reason)
        return
    refresh.status, refresh.baking_since = "Baking", refresh.baking_since or now
    if now - refresh.baking_since < refresh.preferences["BakeTime"]:
        return
    if refresh.desired_version is not None:
        refresh.group.launch_template_version = refresh.desired_version
        refresh.group.provided_launch_template_version = refresh.desired_version
    refresh.end("Successful")


def _paused(refresh: Refresh, now: float) -> bool:
    """Whether the refresh waits at a checkpoint. There is no wait at the last one, which ends the refresh."""
    checkpoints = refresh.preferences.get("CheckpointPercentages", [])[refresh.checkpoints_passed : -1]
    if refresh.rollback is not None or not checkpoints or _new_percentage(refresh) < checkpoints[0]:
        return False
    refresh.paused_since = refresh.paused_since or now
    if now - refresh.paused_since < refresh.preferences["CheckpointDelay"]:
        refresh.last_progress = now
        return True
    refresh.paused_since = None
    refresh.checkpoints_passed += 1
    return _paused(refresh, now)


def _at_the_last_checkpoint(refresh: Refresh) -> bool:
    checkpoints = refresh.preferences.get("CheckpointPercentages", [])
    return bool(checkpoints) and refresh.rollback is None and _new_percentage(refresh) >= checkpoints[-1]


def _new_percentage(refresh: Refresh) -> int:
    active = len(refresh.group.active_instances())
    return 100 * (active - len(_outdated(refresh))) // active if active else 100


def _alarm_gone_off(refresh: Refresh) -> str | None:
    group, alarms = refresh.group, refresh.preferences.get("AlarmSpecification", {}).get("Alarms", [])
    key = (group.autoscaling_backend.account_id, group.region, group.name)
    return next((name for name, state in _alarm_states(key, alarms).items() if state == "ALARM"), None)


def _sick(refresh: Refresh, outdated: list[Any]) -> Any:
    """An instance that the rollback replaces and that isn't healthy; None where all are."""
    return next((state for state in outdated if not _healthy(refresh.group, state.instance.id)), None)


def _outdated(refresh: Refresh) -> list[Any]:
    """Instance states that the refresh, or its rollback, still has to replace, oldest first."""
    group = refresh.group
    if refresh.rollback is not None:
        states = [state for state in group.active_instances() if state.instance.id not in refresh.instances_at_start]
        return [state for state in states if (state.launch_template or {}).get("Version") != refresh.version]
    states = [state for state in group.active_instances() if state.instance.id in refresh.instances_at_start]
    if refresh.preferences["SkipMatching"] and group.ec2_launch_template is not None:
        target = refresh.version
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
        if state.lifecycle_state != "InService" or not _healthy(refresh.group, instance_id):
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
            for state in [each for each in group.instance_states if each.instance.id == instance_id]:
                lifecycle.leave(group, state)
