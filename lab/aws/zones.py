"""Zones that have failed: nothing starts there, groups make up elsewhere, and spread again when the zone is back.

Amazon EC2 Auto Scaling User Guide, "Add an Availability Zone": "When one Availability Zone becomes unhealthy or
unavailable, Amazon EC2 Auto Scaling launches new instances in an unaffected Availability Zone. When the unhealthy
Availability Zone returns to a healthy state, Amazon EC2 Auto Scaling automatically redistributes the application
instances evenly"; it starts an instance before it ends one for that. "Suspend and resume processes": AZRebalance may be
suspended. Amazon EC2 User Guide, "Troubleshoot instance launch issues": InsufficientInstanceCapacity.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from moto.autoscaling.models import autoscaling_backends
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models.instances import InstanceBackend

from . import instance_refresh, lifecycle, rds
from .hooks import hooks
from .state import state_lock


def correct() -> None:
    run = InstanceBackend.run_instances

    def run_instances(self: Any, *args: Any, **given: Any) -> Any:
        subnet = given.get("subnet_id")
        if subnet and (zone := _zone(self, subnet)) in hooks.failed_zones:
            raise EC2ClientError(
                "InsufficientInstanceCapacity", f"We currently do not have sufficient capacity in {zone}."
            )
        return run(self, *args, **given)

    InstanceBackend.run_instances = run_instances


def usable(group: Any) -> list[str]:
    """The subnets of a group whose zones haven't failed."""
    subnets: list[str] = group.vpc_zone_identifier.split(",")
    return [each for each in subnets if _zone(group.ec2_backend, each) not in hooks.failed_zones]


def settle() -> bool:
    """Take each group a step closer to its size and an even spread, and databases out of failed zones.

    Returns:
        whether there was something to do.
    """
    with state_lock:
        done = [*(_settle(group) for group in _groups()), rds.leave_failed_zones()]
    return any(done)


def _groups() -> Iterable[Any]:
    for regions in autoscaling_backends.values():
        for backend in regions.values():
            for group in list(backend.autoscaling_groups.values()):
                if group.ec2_launch_template and group.vpc_zone_identifier:
                    yield group


def _settle(group: Any) -> bool:
    if instance_refresh.running(group):
        return True
    members, subnets, wanted = lifecycle.counted(group), usable(group), group.desired_capacity or 0
    if not subnets:
        return False
    if len(members) < wanted:
        group.set_desired_capacity(wanted)
        return True
    held = Counter(dict.fromkeys(subnets, 0))
    held.update(each.instance.subnet_id for each in members if each.instance.subnet_id in held)
    most, least = max(subnets, key=held.__getitem__), min(subnets, key=held.__getitem__)
    moves = len(members) > wanted
    if not moves and held[most] - held[least] < 2:
        return False
    if any(each["ProcessName"] == "AZRebalance" for each in group.suspended_processes):
        return False
    if not moves:
        group.replace_autoscaling_group_instances(1, group.get_propagated_tags())
    elif all(each.lifecycle_state == "InService" for each in members):
        lifecycle.leave(group, next(each for each in members if each.instance.subnet_id == most))
    return True


def _zone(ec2: Any, subnet: str) -> str:
    return str(ec2.get_subnet(subnet).availability_zone)
