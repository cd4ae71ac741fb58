"""Lifecycle hooks for moto's Auto Scaling groups, which records hooks and never acts on them.

Written from the Amazon EC2 Auto Scaling User Guide ("How lifecycle hooks work", "Complete a lifecycle action", "Amazon
EC2 Auto Scaling instance lifecycle") and the API Reference (PutLifecycleHook, CompleteLifecycleAction,
RecordLifecycleActionHeartbeat, DeleteAutoScalingGroup): a hook keeps an instance in Pending:Wait or Terminating:Wait
until its action is completed or its heartbeat timeout ends with the default result. Only then is it registered with the
target groups, or terminated. An abandoned launch is terminated and replaced. The limit of 48 hours isn't emulated.

Where no driver runs hosts (``hooks.instances_act`` is False) nobody is there to complete an action, so each is
completed at once with CONTINUE.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from moto.autoscaling.exceptions import ValidationError
from moto.autoscaling.models import AutoScalingBackend, FakeAutoScalingGroup, LifecycleHook
from moto.autoscaling.responses import AutoScalingResponse
from moto.core.responses import EmptyResult

from .hooks import hooks
from .state import state_lock

LAUNCHING = "autoscaling:EC2_INSTANCE_LAUNCHING"
TERMINATING = "autoscaling:EC2_INSTANCE_TERMINATING"
_WAITS = {LAUNCHING: "Pending:Wait", TERMINATING: "Terminating:Wait"}


@dataclass
class _Waiting:
    """An instance that waits for its hooks' actions. ``then`` gets whether no action was abandoned."""

    state: Any
    then: Callable[[bool], None]
    hooks: dict[str, Any] = field(default_factory=dict)
    timers: dict[str, threading.Timer] = field(default_factory=dict)


# instance id -> what it waits for
_waiting: dict[str, _Waiting] = {}


def install() -> None:
    AutoScalingResponse.complete_lifecycle_action = _complete
    AutoScalingResponse.record_lifecycle_action_heartbeat = _heartbeat
    FakeAutoScalingGroup.active_instances = counted
    _hook_defaults()
    _shrinking()
    _deletion()
    _loss()


def counted(group: Any) -> list[Any]:
    """The instances that count towards a group's size: in service, or on their way into service."""
    return [each for each in group.instance_states if each.lifecycle_state.startswith(("InService", "Pending"))]


def launched(group: Any, state: Any) -> None:
    """Put a new instance into service, after its hooks."""

    def done(well: bool) -> None:
        if well:
            state.lifecycle_state = "InService"
        else:
            _terminate(group, state)
            group.set_desired_capacity(group.desired_capacity)
        if group.name in group.autoscaling_backend.autoscaling_groups:
            group.autoscaling_backend.update_attached_target_groups(group.name)

    _enter(group, state, LAUNCHING, done)


def leave(group: Any, state: Any) -> None:
    """Terminate an instance of a group, after its hooks."""
    _forget(state.instance.id)
    for target_group in group.autoscaling_backend.elbv2_backend.target_groups.values():
        if target_group.arn in (group.target_group_arns or []) and state.instance.id in target_group.targets:
            target_group.deregister([{"Id": state.instance.id}])
    _enter(group, state, TERMINATING, lambda _well: _terminate(group, state))


def _terminate(group: Any, state: Any) -> None:
    state.lifecycle_state = "Terminated"
    group.instance_states = [each for each in group.instance_states if each is not state]
    group.ec2_backend.terminate_instances([state.instance.id])


def _enter(group: Any, state: Any, transition: str, then: Callable[[bool], None]) -> None:
    found = {
        hook.name: hook
        for hook in group.autoscaling_backend.describe_lifecycle_hooks(group.name)
        if hook.lifecycle_transition == transition
    }
    if not found or not hooks.instances_act:
        then(True)
        return
    state.lifecycle_state = _WAITS[transition]
    _waiting[state.instance.id] = waiting = _Waiting(state, then, found)
    for hook in found.values():
        _start_timer(waiting, hook)


def _start_timer(waiting: _Waiting, hook: Any) -> None:
    def run_out() -> None:
        with state_lock:
            if waiting.timers.get(hook.name) is timer:
                _end(waiting, hook.name, hook.default_result)
        if hooks.acted is not None:
            hooks.acted()

    if hook.name in waiting.timers:
        waiting.timers[hook.name].cancel()
    timer = threading.Timer(hook.heartbeat_timeout, run_out)
    timer.daemon = True
    waiting.timers[hook.name] = timer
    timer.start()


def _end(waiting: _Waiting, name: str, result: str) -> None:
    """One action is over. The next state comes after all of them, or after the first that was abandoned."""
    del waiting.hooks[name]
    waiting.timers.pop(name).cancel()
    abandoned = result == "ABANDON"
    if waiting.hooks and not abandoned:
        return
    _forget(waiting.state.instance.id)
    waiting.then(not abandoned)


def _forget(instance_id: str) -> None:
    if waiting := _waiting.pop(instance_id, None):
        for timer in waiting.timers.values():
            timer.cancel()


def _found(response: Any) -> tuple[_Waiting, str]:
    """The action that a request means. Raises ValidationError, with AWS's words, when there is none."""
    group, name = response._get_param("AutoScalingGroupName"), response._get_param("LifecycleHookName")
    instance_id = response._get_param("InstanceId")
    waiting = _waiting.get(instance_id)
    if waiting is None or name not in waiting.hooks or waiting.state.auto_scaling_group_name != group:
        raise ValidationError(f"No active Lifecycle Action found with instance ID {instance_id}")
    return waiting, name


def _complete(self: Any) -> Any:
    waiting, name = _found(self)
    result = self._get_param("LifecycleActionResult")
    if result not in ("CONTINUE", "ABANDON"):
        raise ValidationError(f"LifecycleActionResult {result} must be CONTINUE or ABANDON")
    _end(waiting, name, result)
    return EmptyResult()


def _heartbeat(self: Any) -> Any:
    waiting, name = _found(self)
    _start_timer(waiting, waiting.hooks[name])
    return EmptyResult()


def _hook_defaults() -> None:
    """A hook has a notification target and its role only when they were given (API Reference, LifecycleHook)."""
    construct = LifecycleHook.__init__

    def __init__(self: Any, *args: Any, **kwargs: Any) -> None:
        construct(self, *args, **kwargs)
        del self.role_arn, self.notification_target_arn

    LifecycleHook.__init__ = __init__


def _shrinking() -> None:
    """A group that shrinks terminates unprotected instances in service, the oldest first, after their hooks."""
    set_desired_capacity = FakeAutoScalingGroup.set_desired_capacity

    def resize(self: Any, new_capacity: int | None) -> None:
        wanted = self.min_size if new_capacity is None else new_capacity
        surplus = len(counted(self)) - (wanted or 0)
        if surplus <= 0 or self.mixed_instances_policy:
            set_desired_capacity(self, new_capacity)
            return
        self.desired_capacity = wanted
        for state in [each for each in counted(self) if not each.protected_from_scale_in][:surplus]:
            leave(self, state)

    FakeAutoScalingGroup.set_desired_capacity = resize


def _deletion() -> None:
    """A deleted group takes its hooks, policies and scheduled actions along, and its instances don't wait.

    API Reference, DeleteAutoScalingGroup: with ForceDelete nothing waits for the instances to be terminated, and
    outstanding lifecycle actions are deleted; the group's policies go with it.
    """
    delete = AutoScalingBackend.delete_auto_scaling_group

    def delete_auto_scaling_group(self: Any, group_name: str) -> None:
        for hook in self.describe_lifecycle_hooks(group_name):
            self.delete_lifecycle_hook(group_name, hook.name)
        group = self.autoscaling_groups.get(group_name)
        for state in list(group.instance_states) if group else []:
            if state.lifecycle_state.startswith("Terminating"):
                _forget(state.instance.id)
                _terminate(group, state)
        delete(self, group_name)
        for policy in self.describe_policies(group_name):
            self.delete_policy(policy.name)
        for action in self.describe_scheduled_actions(group_name):
            self.delete_scheduled_action(group_name, action.scheduled_action_name)

    AutoScalingBackend.delete_auto_scaling_group = delete_auto_scaling_group


def _loss() -> None:
    """An instance that EC2 terminates without its group waits for nothing any more; moto replaces it."""
    notify = AutoScalingBackend.notify_terminate_instances

    def notify_terminate_instances(self: Any, instance_ids: list[str]) -> None:
        for instance_id in instance_ids:
            _forget(instance_id)
        notify(self, instance_ids)

    AutoScalingBackend.notify_terminate_instances = notify_terminate_instances
