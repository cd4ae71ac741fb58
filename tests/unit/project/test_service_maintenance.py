"""Tasks of an instance of its own: when one is started, joined or not needed, and how each end is told."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import boto3
import pytest
from moto import mock_aws

ROOT = Path(__file__).resolve().parents[3]
NAME, PARAMETER, HOST = "parkmesh-test-maintenance", "/parkmesh/test/migration", "db.internal"


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.parent.name + "_" + path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def migration() -> ModuleType:
    return load(ROOT / "library" / "service_maintenance.py")


@pytest.fixture(scope="module")
def action() -> ModuleType:
    return load(ROOT / "action_plugins" / "service_maintenance.py")


@pytest.fixture
def cloud(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Any, Any, dict[str, Any]]]:
    """Clients of EC2 and Systems Manager, and the module's options."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    with mock_aws():
        ec2, ssm = boto3.client("ec2", region_name="eu-west-1"), boto3.client("ssm", region_name="eu-west-1")
        image = "ami-0000000b"
        for _ in range(2):
            data = {"ImageId": image, "InstanceType": "t3.small"}
            if not ec2.describe_launch_templates()["LaunchTemplates"]:
                ec2.create_launch_template(LaunchTemplateName=NAME, LaunchTemplateData=data)
            else:
                ec2.create_launch_template_version(LaunchTemplateName=NAME, LaunchTemplateData=data)
        options = {
            "task": "migrate",
            "name": NAME,
            "version": 2,
            "image": image,
            "database": HOST,
            "parameter": PARAMETER,
            "subnets": [each["SubnetId"] for each in ec2.describe_subnets()["Subnets"]],
            "tags": {"Role": "maintenance"},
            "always": False,
        }
        yield ec2, ssm, options


def write(ssm: Any, **result: Any) -> None:
    ssm.put_parameter(Name=PARAMETER, Value=json.dumps(result), Type="String", Overwrite=True)


def test_one_is_started_once_and_a_run_that_was_interrupted_joins_it(migration: ModuleType, cloud: Any) -> None:
    ec2, ssm, options = cloud
    assert migration.begin(ec2, ssm, options, dry=True)["changed"]
    assert migration.instances(ec2, NAME, "migrate") == []
    old = migration.begin(ec2, ssm, {**options, "version": 1}, dry=False)["instance_id"]
    first = migration.begin(ec2, ssm, options, dry=False)
    again = migration.begin(ec2, ssm, options, dry=False)
    assert first["instance_id"] == again["instance_id"] != old
    (left,) = migration.instances(ec2, NAME, "migrate")
    assert left["InstanceId"] == first["instance_id"]
    assert {"Key": "Task", "Value": "migrate"} in left["Tags"]


def test_an_image_that_has_migrated_the_database_needs_none(migration: ModuleType, cloud: Any) -> None:
    ec2, ssm, options = cloud
    write(ssm, database=HOST, images=["ami-other", options["image"]], state="failed", instance="i-1")
    done = migration.begin(ec2, ssm, options, dry=False)
    assert (done["changed"], done["done"], migration.instances(ec2, NAME, "migrate")) == (False, True, [])
    assert not migration.begin(ec2, ssm, {**options, "database": "copy.internal"}, dry=False)["done"]
    assert not migration.begin(ec2, ssm, {**options, "always": True}, dry=False)["done"]


def test_only_its_own_result_counts(migration: ModuleType, cloud: Any) -> None:
    ec2, ssm, options = cloud
    identifier = migration.begin(ec2, ssm, options, dry=False)["instance_id"]
    asked = {**options, "instance_id": identifier}
    write(ssm, task="migrate", state="succeeded", instance="i-of-yesterday")
    assert not migration.gather(ec2, ssm, asked)["done"]
    write(ssm, task="migrate", state="failed", instance=identifier, message="0033: no such column")
    found = migration.gather(ec2, ssm, asked)
    assert (found["done"], found["result"]["message"]) == (True, "0033: no such column")
    write(ssm)
    migration.end(ec2, asked)
    assert migration.gather(ec2, ssm, asked)["progress"] == f"{identifier} ended without a result."


def test_a_retention_has_an_instance_of_its_own_beside_that_of_the_night(migration: ModuleType, cloud: Any) -> None:
    ec2, ssm, options = cloud
    asked = {**options, "task": "retention", "image": None, "database": None}
    migrates = migration.begin(ec2, ssm, options, dry=False)["instance_id"]
    assert migration.begin(ec2, ssm, asked, dry=True)["progress"] == "An instance would run the retention."
    identifier = migration.begin(ec2, ssm, asked, dry=False)["instance_id"]
    assert migration.begin(ec2, ssm, asked, dry=False)["instance_id"] == identifier != migrates
    tags = [{"Key": "aws:autoscaling:groupName", "Value": NAME}]
    nightly = migration.launch(ec2, asked)
    ec2.create_tags(Resources=[nightly], Tags=tags)
    assert [each["InstanceId"] for each in migration.instances(ec2, NAME, "retention")] == [identifier]
    write(ssm, task="retention", state="succeeded", instance=identifier, message="{}")
    found = migration.gather(ec2, ssm, {**asked, "instance_id": identifier})
    assert (found["done"], found["progress"]) == (True, f"{identifier} ran the retention: {{}}")


def look(done: bool, **result: Any) -> dict[str, Any]:
    return {"instance_id": "i-1", "done": done, "result": result, "progress": "i-1 is at it."}


@pytest.mark.parametrize(
    ("last", "words"),
    [
        (look(True, state="succeeded"), ""),
        (look(True, state="failed", message="0033: no"), "The migration failed: 0033: no. No server was started"),
        (look(True), "i-1 is at it. Its console output may say why. No server"),
        (look(False), "The migration of i-1 wasn't done in 60 s, and was ended. No server"),
    ],
)
def test_every_end_is_told_apart(action: ModuleType, last: dict[str, Any], words: str) -> None:
    assert action.verdict(last, 60).startswith(words)
    assert bool(action.verdict(last, 60)) == bool(words)


def test_a_retention_that_failed_says_nothing_of_servers(action: ModuleType) -> None:
    failed = look(True, state="failed", message="no space")
    assert action.verdict(failed, 60, "retention") == "The retention failed: no space."


def test_it_is_waited_for_no_longer_than_was_said(action: ModuleType) -> None:
    now, said = [0.0], []

    def sleep(seconds: float) -> None:
        now[0] += seconds

    def call(asked: Mapping[str, Any]) -> dict[str, Any]:
        assert asked == {"state": "gathered", "instance_id": "i-1"}
        return look(False)

    timing = {"clock": lambda: now[0], "sleep": sleep}
    last = action.follow(look(False), call, said.append, wait_s=130, poll_s=5, **timing)
    assert (last["done"], now[0]) == (False, 130)
    assert said == ["i-1 is at it.", "i-1 is at it. It has run for 60 s.", "i-1 is at it. It has run for 120 s."]
