#!/usr/bin/python
"""Ansible module: which images nothing uses any more, and which snapshots no image has any more."""

from __future__ import annotations

DOCUMENTATION = r"""
module: image_use
short_description: Tell which images nothing uses, and which snapshots no image has
description:
  - An image is used by an instance that isn't terminated, by the default and the newest version of any launch template
    of the account in the region, and by the version that an Auto Scaling group has, whosever they are. Earlier versions
    of a launch template name images too; those count only where a group has them.
  - A snapshot is left over when it has the tags O(snapshot_tags), among them V(Recipe) as this project's images have,
    and no image of the account has it. Deregistering an image keeps its snapshots unless asked otherwise (EC2 user
    guide, "Deregister an Amazon EC2 AMI"), and so does an image that failed.
options:
  images:
    description: The images to ask about.
    type: list
    elements: str
    required: true
  snapshot_tags:
    description: Tags of the snapshots to ask about.
    type: dict
    required: true
attributes:
  check_mode:
    description: It only reads.
    support: full
extends_documentation_fragment:
  - amazon.aws.common.modules
  - amazon.aws.region.modules
  - amazon.aws.boto3
author: parkmesh project (@parkmesh)
"""

EXAMPLES = r"""
- name: See which images may go
  image_use:
    images: [ami-0123456789abcdef0]
    snapshot_tags: {Project: parkmesh, Environment: production}
  register: use
"""

RETURN = r"""
unused:
  description: Those of O(images) that nothing uses, in their order.
  type: list
  elements: str
  returned: always
used_by:
  description: What uses the others, by image.
  type: dict
  returned: always
snapshots:
  description: The snapshots that are left over.
  type: list
  elements: str
  returned: always
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

try:
    import botocore.exceptions
except ImportError:  # AnsibleAWSModule reports it
    botocore = None

from ansible_collections.amazon.aws.plugins.module_utils.modules import AnsibleAWSModule

ALIVE = ("pending", "running", "stopping", "stopped", "shutting-down")


def pages(client: Any, operation: str, key: str, **arguments: Any) -> Iterator[dict[str, Any]]:
    for page in client.get_paginator(operation).paginate(**arguments):
        yield from page[key]


def uses(ec2: Any, scaling: Any, images: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Pairs of an image and what uses it, of those asked for or of others."""
    alive = [{"Name": "instance-state-name", "Values": list(ALIVE)}, {"Name": "image-id", "Values": list(images)}]
    for reservation in pages(ec2, "describe_instances", "Reservations", Filters=alive):
        for each in reservation["Instances"]:
            yield each["ImageId"], f"instance {each['InstanceId']}"
    wanted: dict[str, set[str]] = {}
    for group in pages(scaling, "describe_auto_scaling_groups", "AutoScalingGroups"):
        mixed = ((group.get("MixedInstancesPolicy") or {}).get("LaunchTemplate") or {}).get(
            "LaunchTemplateSpecification"
        )
        started = [each.get("LaunchTemplate") for each in group["Instances"]]
        for each in (group.get("LaunchTemplate"), mixed, *started):
            if each:
                wanted.setdefault(each["LaunchTemplateId"], set()).add(str(each.get("Version", "$Default")))
    for template in pages(ec2, "describe_launch_templates", "LaunchTemplates"):
        identifier = template["LaunchTemplateId"]
        versions = sorted({"$Default", "$Latest"} | wanted.get(identifier, set()))
        found = ec2.describe_launch_template_versions(LaunchTemplateId=identifier, Versions=versions)
        for version in found["LaunchTemplateVersions"]:
            image = version["LaunchTemplateData"].get("ImageId", "")
            yield image, f"launch template {template['LaunchTemplateName']}, version {version['VersionNumber']}"


def left_over(ec2: Any, tags: Mapping[str, str]) -> list[str]:
    """Snapshots that were made for an image and that no image has."""
    of_images = {
        device["Ebs"]["SnapshotId"]
        for image in ec2.describe_images(Owners=["self"])["Images"]
        for device in image.get("BlockDeviceMappings", [])
        if "SnapshotId" in device.get("Ebs", {})
    }
    filters = [{"Name": f"tag:{key}", "Values": [value]} for key, value in sorted(tags.items())]
    filters.append({"Name": "tag-key", "Values": ["Recipe"]})
    found = pages(ec2, "describe_snapshots", "Snapshots", OwnerIds=["self"], Filters=filters)
    return sorted(
        each["SnapshotId"] for each in found if each["SnapshotId"] not in of_images and each["State"] != "pending"
    )


def run(ec2: Any, scaling: Any, images: Sequence[str], tags: Mapping[str, str]) -> dict[str, Any]:
    """The module's result."""
    used_by: dict[str, list[str]] = {}
    if images:
        for image, user in uses(ec2, scaling, images):
            if image in images and user not in used_by.setdefault(image, []):
                used_by[image].append(user)
    return {
        "changed": False,
        "unused": [each for each in images if each not in used_by],
        "used_by": used_by,
        "snapshots": left_over(ec2, tags),
    }


def main() -> None:
    module = AnsibleAWSModule(
        argument_spec={
            "images": {"type": "list", "elements": "str", "required": True},
            "snapshot_tags": {"type": "dict", "required": True},
        },
        supports_check_mode=True,
    )
    given = module.params
    try:
        result = run(module.client("ec2"), module.client("autoscaling"), given["images"], given["snapshot_tags"])
    except (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError) as error:
        module.fail_json_aws(error, msg="What uses the images can't be read")
    module.exit_json(**result)


if __name__ == "__main__":
    main()
