"""Take part in the Auto Scaling group's lifecycle: in service only when the server is ready, and an orderly end.

The group has two lifecycle hooks (role aws_service). While an instance waits in the first it takes no traffic, until
this process has seen ``/readyz`` answer and completes the action. When the group ends the instance, this process
drains: the server stops (readiness goes, gateways' streams are told to reconnect, requests in flight end), then the
overlay, then the slot is free for the next server, and the action is completed. A timer of AWS's bounds both: a server
that never gets ready is replaced, and one that doesn't end is terminated.

What to do comes from the instance's metadata (EC2 Auto Scaling user guide, "Retrieve the target lifecycle state through
instance metadata").
"""

import logging
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any, Protocol

from botocore.exceptions import BotoCoreError, ClientError

from parkmesh.instance.imds import Imds, ImdsError
from parkmesh.instance.measures import EVERY_S
from parkmesh.instance.slots import SlotError, SlotTable
from parkmesh.instance.userdata import Lifecycle

READY_URL = "http://127.0.0.1:8000/readyz"
POLL_S = 2.0
HEARTBEAT_S = 30.0
"""How often a migration that runs asks for more time."""
STOP_S = 75.0
"""Longer than ``TimeoutStopSec`` of the server's unit, so that systemd's word comes first."""
MOST_LOOKS = 300
"""How often the state is looked at while the load balancer drains, ten minutes in all."""
TARGET_STATE = "meta-data/autoscaling/target-lifecycle-state"

_log = logging.getLogger(__name__)


class Host(Protocol):
    """What the process does with its own host."""

    def ready(self) -> bool:
        """Whether the server answers that it can take requests."""

    def migrating(self) -> bool:
        """Whether the database is being brought to the release's schema at this moment."""

    def stop(self, unit: str) -> bool:
        """Stop a unit and wait for its end; whether it has ended."""


class SystemdHost:
    """The host that this process runs on."""

    def ready(self) -> bool:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(READY_URL, timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def migrating(self) -> bool:
        # Between two tries its state is "auto-restart": one that fails gets no more time.
        shown = _systemctl("show", "--property=SubState", "--value", "parkmesh-migrate.service")
        return shown is not None and shown.stdout.strip() == "start"

    def stop(self, unit: str) -> bool:
        stopped = _systemctl("stop", unit)
        return stopped is not None and stopped.returncode == 0


def _systemctl(*arguments: str) -> subprocess.CompletedProcess[str] | None:
    """What systemctl says; None when it says nothing in time."""
    try:
        return subprocess.run(
            ["/usr/bin/systemctl", *arguments], capture_output=True, text=True, timeout=STOP_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None


class Actions:
    """The group's lifecycle actions of one instance. ``client`` is boto3's for Auto Scaling."""

    def __init__(self, client: Any, lifecycle: Lifecycle, me: str) -> None:
        self._client, self._lifecycle, self._me = client, lifecycle, me

    def _which(self, hook: str) -> dict[str, str]:
        return {
            "AutoScalingGroupName": self._lifecycle.group,
            "LifecycleHookName": hook,
            "InstanceId": self._me,
        }

    def complete(self, hook: str) -> bool:
        """Complete an action; False when AWS knows of none that waits. Raises what boto3 raises."""
        try:
            self._client.complete_lifecycle_action(**self._which(hook), LifecycleActionResult="CONTINUE")
        except ClientError as error:
            if _is_over(error):
                return False
            raise
        return True

    def ask_for_time(self, hook: str) -> None:
        try:
            self._client.record_lifecycle_action_heartbeat(**self._which(hook))
        except ClientError as error:
            if not _is_over(error):
                raise

    def state(self) -> str:
        """The instance's lifecycle state, such as ``Pending:Wait``; empty when it is in no group."""
        found = self._client.describe_auto_scaling_instances(InstanceIds=[self._me])["AutoScalingInstances"]
        return str(found[0]["LifecycleState"]) if found else ""


def _is_over(error: ClientError) -> bool:
    return bool(error.response["Error"]["Code"] == "ValidationError")


def run(
    imds: Imds,
    lifecycle: Lifecycle,
    actions: Actions,
    slots: SlotTable,
    host: Host,
    me: str,
    *,
    measure: Callable[[], None] = lambda: None,
    sleep: Callable[[float], None] = time.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> None:
    """Follow the instance ``me`` from its launch to its end; returns when its end was completed.

    ``measure`` tells CloudWatch what it needs to know, once a minute.
    """
    in_service, asked_at, measured_at = lifecycle.launch_hook is None, float("-inf"), float("-inf")
    while (target := _target(imds)) != "Terminated":
        if not in_service and target == "InService" and lifecycle.launch_hook is not None:
            try:
                if host.ready():
                    in_service = _enter(actions, lifecycle.launch_hook)
                elif clock() - asked_at >= HEARTBEAT_S and host.migrating():
                    asked_at = clock()
                    actions.ask_for_time(lifecycle.launch_hook)
            except (ClientError, BotoCoreError) as error:
                _log.warning("Auto Scaling can't be told: %s", error)
        # Not before the server is up: at the boot it needs the processors itself.
        if in_service and clock() - measured_at >= EVERY_S:
            measured_at = clock()
            try:
                measure()
            except (ClientError, BotoCoreError) as error:
                _log.warning("CloudWatch can't be told: %s", error)
        sleep(POLL_S)
    if lifecycle.termination_hook is not None:
        _await_the_hook(actions, sleep)
    leave(lifecycle, actions, slots, host, me)


def _target(imds: Imds) -> str | None:
    """The lifecycle state that the instance is to have; None when it can't be known at this moment."""
    try:
        return imds.get(TARGET_STATE).strip()
    except ImdsError:
        return None


def _enter(actions: Actions, hook: str) -> bool:
    """Say that the instance is ready; whether it is in service, or will be without another word."""
    if actions.complete(hook):
        _log.info("ready: this instance goes into service")
        return True
    # Nothing waits: it is in service already, after a restart, or the group isn't as far as the instance is.
    return not actions.state().startswith("Pending")


def _await_the_hook(actions: Actions, sleep: Callable[[float], None]) -> None:
    """Let the load balancer send its last requests here: until it has drained the instance, no action waits.

    EC2 Auto Scaling user guide, "How lifecycle hooks work": the instance is deregistered and drained before the hook.
    """
    for _ in range(MOST_LOOKS):
        try:
            if actions.state() != "Terminating":
                return
        except (ClientError, BotoCoreError) as error:
            _log.warning("Auto Scaling can't be asked: %s", error)
        sleep(POLL_S)


def leave(lifecycle: Lifecycle, actions: Actions, slots: SlotTable, host: Host, me: str) -> None:
    """Drain the instance, release its slot, and let AWS terminate it. A step that fails doesn't hold up the next."""
    _log.info("the group ends this instance: draining")
    if not host.stop("parkmesh-server.service"):
        _log.warning("the server didn't stop in time")
    if not host.stop("parkmesh-overlay.service"):
        _log.warning("the lease of a slot didn't stop in time")
    if not host.stop("zerotier-one.service"):
        # The next holder would have this address too.
        _log.warning("ZeroTier didn't stop: its slot stays held until this instance is terminated")
    else:
        try:
            released = slots.release(me)
            _log.info("released overlay slots: %s", ", ".join(map(str, released)) or "none")
        except (ClientError, BotoCoreError, SlotError) as error:
            _log.warning("the slot can't be released: %s", error)
    if lifecycle.termination_hook is not None:
        try:
            actions.complete(lifecycle.termination_hook)
        except (ClientError, BotoCoreError) as error:
            _log.warning("Auto Scaling can't be told that this instance may end: %s", error)
