"""What an instance for the database's maintenance does, where no driver runs hosts (``hooks.instances_act`` is False).

Nobody is there to run ``parkmesh instance maintain``. So the result of its task is written at once, in the words of
``parkmesh.instance.maintenance.Result``: of success, or of what the parameter ``/lab/migration-fails`` (or
``/lab/retention-fails``) says. And what
RunInstances takes from a launch template: Amazon EC2 API Reference, RunInstances, LaunchTemplate: "Any additional
parameters that you specify for the new instance overwrite the corresponding parameters included in the launch
template"; moto leaves out the instance profile and the metadata options.
"""

from __future__ import annotations

import json
from typing import Any

from moto.ec2.models.instances import InstanceBackend
from moto.ssm.models import ssm_backends

from .hooks import hooks

CALLED = {"migrate": "migration", "retention": "retention"}


def correct() -> None:
    run = InstanceBackend.run_instances

    def run_instances(self: Any, image_id: str, count: int, user_data: Any, names: list[str], **given: Any) -> Any:
        template = given.get("launch_template")
        # A group's instances get theirs from lab.aws.autoscaling, by the template's id.
        data = self._get_template_from_args(template).data if template and "LaunchTemplateName" in template else {}
        if data.get("MetadataOptions") and not given.get("metadata_options"):
            given["metadata_options"] = data["MetadataOptions"]
        if data.get("BlockDeviceMappings"):
            # moto would put them beside a root volume of its own, which nobody removes.
            given.setdefault("block_device_mappings", data["BlockDeviceMappings"])
        reservation = run(self, image_id, count, user_data, names, **given)
        for instance in reservation.instances:
            if profile := data.get("IamInstanceProfile"):
                self.associate_iam_instance_profile(
                    instance.id,
                    iam_instance_profile_name=profile.get("Name"),
                    iam_instance_profile_arn=profile.get("Arn"),
                )
            # One that is told nothing isn't for parkmesh.
            task = _tag(instance, "Task")
            if not hooks.instances_act and instance.user_data and task in CALLED:
                _write_result(self, instance, task)
        return reservation

    InstanceBackend.run_instances = run_instances


def _tag(instance: Any, key: str) -> str:
    return next((str(tag["value"]) for tag in instance.get_tags() if tag["key"] == key), "")


def _write_result(ec2: Any, instance: Any, task: str) -> None:
    told = json.loads(instance.user_data.decode())
    ssm = ssm_backends[ec2.account_id][ec2.region_name]
    name, host = told["maintenance"][f"{CALLED[task]}_parameter"], told["database"]["host"]
    failure, before = ssm.get_parameter(f"/lab/{CALLED[task]}-fails"), json.loads(ssm.get_parameter(name).value)
    images = before.get("images", []) if before.get("database") == host else []
    if not failure:
        images = [*images, instance.image_id]
    result = {
        "task": task,
        "state": "failed" if failure else "succeeded",
        "message": failure.value if failure else "{}",
        "instance": instance.id,
        "image": instance.image_id,
        "database": host,
        "images": images if task == "migrate" else [],
    }
    parameter = ssm.get_parameter(name)
    parameter.value = json.dumps(result)
