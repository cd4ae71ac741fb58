"""Corrections to moto's Auto Scaling, and what it lacks: spread over zones, lifecycle hooks and instance refresh."""

from __future__ import annotations

from collections import Counter
from typing import Any

from moto.autoscaling.exceptions import ValidationError
from moto.autoscaling.models import (
    ASG_NAME_TAG,
    AutoScalingBackend,
    FakeAutoScalingGroup,
    InstanceState,
    TerminateInstanceActivity,
)
from moto.autoscaling.responses import AutoScalingResponse
from moto.core.responses import EmptyResult

from . import instance_refresh, lifecycle, zones

_TEMPLATE_VERSION_TAG = "aws:ec2launchtemplate:version"


def correct() -> None:
    _launches()
    _registration()
    _termination()
    _maintenance()
    _no_metrics()
    lifecycle.install()
    instance_refresh.install()


def template_version(instance: Any) -> str | None:
    """Version of the launch template that an instance was started from."""
    return next((tag["value"] for tag in instance.get_tags() if tag["key"] == _TEMPLATE_VERSION_TAG), None)


def _launches() -> None:
    """A group's instance gets all its template says, in the zone with the fewest, and remembers the version.

    Amazon EC2 Auto Scaling User Guide, "Distribute instances across Availability Zones"; API Reference, Instance:
    LaunchTemplate is "the launch template for the instance". moto puts all in one subnet, drops metadata options and
    the instance profile, and reports the group's default version for every instance.
    """
    replace = FakeAutoScalingGroup.replace_autoscaling_group_instances

    def launch(self: Any, count_needed: int, propagated_tags: dict[str, str]) -> None:
        if self.ec2_launch_template is None or not self.vpc_zone_identifier:
            replace(self, count_needed, propagated_tags)
            return
        version = instance_refresh.launch_version(self)
        tags = {**propagated_tags, **self.instance_tags, ASG_NAME_TAG: self.name}
        for _ in range(count_needed):
            subnet = _emptiest_subnet(self)
            if subnet is None:
                break
            reservation = self.ec2_backend.run_instances(
                version.image_id,
                1,
                version.user_data,
                [],
                instance_type=version.instance_type,
                is_instance_type_default=False,
                tags={"instance": tags},
                subnet_id=subnet,
                launch_template={"LaunchTemplateId": self.ec2_launch_template.id, "Version": str(version.number)},
                metadata_options=version.data.get("MetadataOptions", {}),
                region_name=self.region,
                **_volumes(version),
                **_security_groups(version),
            )
            instance = reservation.instances[0]
            profile = version.data.get("IamInstanceProfile")
            if profile:
                self.ec2_backend.associate_iam_instance_profile(
                    instance.id,
                    iam_instance_profile_name=profile.get("Name"),
                    iam_instance_profile_arn=profile.get("Arn"),
                )
            instance.autoscaling_group = self
            state = InstanceState(
                instance, "Pending", protected_from_scale_in=self.new_instances_protected_from_scale_in
            )
            self.instance_states.append(state)
            lifecycle.launched(self, state)
        if self.name in self.autoscaling_backend.autoscaling_groups:
            self.autoscaling_backend.update_attached_target_groups(self.name)

    def launch_template(self: Any) -> dict[str, str] | None:
        template = self.auto_scaling_group.ec2_launch_template
        if template is None:
            return None
        return {
            "LaunchTemplateId": template.id,
            "LaunchTemplateName": template.name,
            "Version": template_version(self.instance) or str(template.default_version_number),
        }

    FakeAutoScalingGroup.replace_autoscaling_group_instances = launch
    InstanceState.launch_template = property(launch_template)


def _volumes(version: Any) -> dict[str, Any]:
    """What a version says of volumes.

    Amazon EC2 User Guide, "Block device mappings": a mapping of the instance overrides the image's for that device.
    """
    given = version.data.get("BlockDeviceMappings")
    return {"block_device_mappings": given} if given else {}


def _security_groups(version: Any) -> dict[str, Any]:
    """The groups that a version names at its network interface, which moto leaves aside.

    Amazon EC2 API Reference, RequestLaunchTemplateData: "If you specify a network interface, you must specify any
    security groups as part of the network interface instead of using this parameter."
    """
    cards = version.data.get("NetworkInterfaces") or []
    groups = [group for card in cards if not int(card.get("DeviceIndex", 0)) for group in card.get("Groups") or []]
    return {"security_group_ids": groups} if groups else {}


def _emptiest_subnet(group: Any) -> str | None:
    """The subnet with the fewest instances of the group's present template, then with the fewest at all.

    None if the zones of all have failed.
    """
    target = str(instance_refresh.launch_version(group).number)
    states = group.active_instances()
    held = Counter(state.instance.subnet_id for state in states)
    current = Counter(state.instance.subnet_id for state in states if template_version(state.instance) == target)
    return min(zones.usable(group), key=lambda subnet: (current[subnet], held[subnet]), default=None)


def _registration() -> None:
    """Only instances in service are registered with the group's target groups.

    Amazon EC2 Auto Scaling User Guide, "Amazon EC2 Auto Scaling instance lifecycle": Terminating instances leave first.
    """

    def update_attached_target_groups(self: Any, group_name: str) -> None:
        group = self.autoscaling_groups[group_name]
        if not group.target_group_arns:
            return
        for target_group in self.elbv2_backend.describe_target_groups(
            target_group_arns=group.target_group_arns, load_balancer_arn=None, names=None
        ):
            target_group.register(
                [
                    {"Id": state.instance.id, "Port": target_group.port}
                    for state in group.instance_states
                    if state.lifecycle_state == "InService" and state.instance.id not in target_group.targets
                ]
            )

    AutoScalingBackend.update_attached_target_groups = update_attached_target_groups


def _termination() -> None:
    """TerminateInstanceInAutoScalingGroup keeps the instance's group tag and replaces it unless told to decrement.

    Amazon EC2 Auto Scaling API Reference, TerminateInstanceInAutoScalingGroup. moto detaches the instance first.
    """

    def terminate_instance(self: Any, instance_id: str, should_decrement: bool) -> Any:
        state = next(
            state
            for group in self.autoscaling_groups.values()
            for state in group.instance_states
            if state.instance.id == instance_id
        )
        group = state.auto_scaling_group
        original_capacity = group.desired_capacity
        lifecycle.leave(group, state)
        group.set_desired_capacity(original_capacity - 1 if should_decrement else original_capacity)
        return TerminateInstanceActivity(state.instance, original_capacity)

    AutoScalingBackend.terminate_instance = terminate_instance


def _no_metrics() -> None:
    """DisableMetricsCollection, which moto lacks: a module that updates a group calls it.

    Amazon EC2 Auto Scaling API Reference, DisableMetricsCollection: without a list it is for all metrics.
    """

    def disable_metrics_collection(self: Any) -> EmptyResult:
        group = self.autoscaling_backend.describe_auto_scaling_groups([self._get_param("AutoScalingGroupName")])[0]
        named = self._get_param("Metrics")
        group.metrics = [each for each in group.metrics if named and each not in named]
        return EmptyResult()

    AutoScalingResponse.disable_metrics_collection = disable_metrics_collection


def _maintenance() -> None:
    """UpdateAutoScalingGroup takes the default instance warm-up and the instance maintenance policy.

    Amazon EC2 Auto Scaling API Reference, UpdateAutoScalingGroup and InstanceMaintenancePolicy: -1 clears them; the
    percentages go together, 0 to 100 and 100 to 200, at most 100 apart. moto drops both.
    """
    update = AutoScalingResponse.update_auto_scaling_group

    def update_auto_scaling_group(self: Any) -> Any:
        answer = update(self)
        group = self.autoscaling_backend.autoscaling_groups[self._get_param("AutoScalingGroupName")]
        if (warmup := self._get_int_param("DefaultInstanceWarmup")) is not None:
            group.default_instance_warmup = None if warmup == -1 else warmup
        if given := self._get_param("InstanceMaintenancePolicy"):
            least, most = int(given["MinHealthyPercentage"]), int(given["MaxHealthyPercentage"])
            if (least, most) == (-1, -1):
                group.instance_maintenance_policy = None
            elif 0 <= least <= 100 <= most <= 200 and most - least <= 100:
                group.instance_maintenance_policy = {"MinHealthyPercentage": least, "MaxHealthyPercentage": most}
            else:
                raise ValidationError(f"InstanceMaintenancePolicy can't be {least} to {most} percent")
        return answer

    AutoScalingResponse.update_auto_scaling_group = update_auto_scaling_group
