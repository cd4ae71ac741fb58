"""What keeps an image: instances, groups and launch templates, whosever they are; and snapshots that no image has."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import boto3
import pytest
from moto import mock_aws

ROOT = Path(__file__).resolve().parents[3]
TAGS = {"Project": "p", "Environment": "e"}


@pytest.fixture(scope="module")
def module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("library_image_use", ROOT / "library" / "image_use.py")
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


@pytest.fixture
def clients(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Any, Any]]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    with mock_aws():
        yield boto3.client("ec2", region_name="eu-west-1"), boto3.client("autoscaling", region_name="eu-west-1")


def test_whatever_could_start_an_instance_keeps_its_image(module: ModuleType, clients: tuple[Any, Any]) -> None:
    ec2, scaling = clients
    names = ["old", "default", "of-a-group", "newest", "running", "terminated", "nobody-s"]
    image = {each: f"ami-{number:08x}" for number, each in enumerate(names, 10)}
    instances = [
        ec2.run_instances(ImageId=image[each], MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"]
        for each in ("running", "terminated")
    ]
    ec2.terminate_instances(InstanceIds=instances[1:])
    data = {"InstanceType": "t3.small"}
    ec2.create_launch_template(LaunchTemplateName="hand", LaunchTemplateData={**data, "ImageId": image["old"]})
    for each in ("default", "of-a-group", "newest"):
        ec2.create_launch_template_version(
            LaunchTemplateName="hand", LaunchTemplateData={**data, "ImageId": image[each]}
        )
    ec2.modify_launch_template(LaunchTemplateName="hand", DefaultVersion="2")
    scaling.create_auto_scaling_group(
        AutoScalingGroupName="another-s",
        MinSize=0,
        MaxSize=1,
        LaunchTemplate={"LaunchTemplateName": "hand", "Version": "3"},
        AvailabilityZones=["eu-west-1a"],
    )
    found = module.run(ec2, scaling, list(image.values()), TAGS)
    assert found["unused"] == [image[each] for each in ("old", "terminated", "nobody-s")]
    assert found["used_by"] == {
        image["default"]: ["launch template hand, version 2"],
        image["of-a-group"]: ["launch template hand, version 3"],
        image["newest"]: ["launch template hand, version 4"],
        image["running"]: [f"instance {instances[0]}"],
    }


def test_only_snapshots_that_were_made_for_an_image_and_have_none_are_left_over(
    module: ModuleType, clients: tuple[Any, Any]
) -> None:
    ec2, _ = clients
    volume = ec2.create_volume(AvailabilityZone="eu-west-1a", Size=1)["VolumeId"]
    tags = [{"Key": key, "Value": value} for key, value in TAGS.items()]
    made = [{"Key": "Recipe", "Value": "0123456789ab"}]

    def snapshot(*more: dict[str, str]) -> str:
        given = [{"ResourceType": "snapshot", "Tags": list(more)}] if more else []
        return str(ec2.create_snapshot(VolumeId=volume, TagSpecifications=given)["SnapshotId"])

    builder = ec2.run_instances(ImageId="ami-0000000b", MinCount=1, MaxCount=1)["Instances"][0]["InstanceId"]
    image = ec2.create_image(InstanceId=builder, Name="kept")["ImageId"]
    (device,) = ec2.describe_images(ImageIds=[image])["Images"][0]["BlockDeviceMappings"]
    ec2.create_tags(Resources=[device["Ebs"]["SnapshotId"]], Tags=[*tags, *made])
    left, _backup, _of_another = snapshot(*tags, *made), snapshot(*tags), snapshot(*made)
    assert module.left_over(ec2, TAGS) == [left]
