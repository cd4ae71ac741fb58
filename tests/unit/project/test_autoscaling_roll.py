"""Rolls: what AWS is asked for, how each end is told, and how a roll that stands still is given up."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

ROOT = Path(__file__).resolve().parents[3]
OPTIONS: dict[str, Any] = {
    "state": "started",
    "name": "app",
    "refresh_id": None,
    "version": 7,
    "min_healthy_percentage": 100,
    "max_healthy_percentage": 150,
    "instance_warmup_s": 30,
    "skip_matching": True,
    "checkpoints": [],
    "checkpoint_delay_s": 300,
    "bake_s": 0,
    "alarms": [],
    "auto_rollback": True,
    "wait": True,
}


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.parent.name + "_" + path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def roll() -> ModuleType:
    return load(ROOT / "library" / "autoscaling_roll.py")


@pytest.fixture(scope="module")
def action() -> ModuleType:
    return load(ROOT / "action_plugins" / "autoscaling_roll.py")


@pytest.fixture
def stub() -> Iterator[tuple[Any, Stubber]]:
    """A client of Auto Scaling that sends nothing, and answers what a test says, in that order."""
    client = boto3.client(
        "autoscaling", region_name="eu-west-1", aws_access_key_id="test", aws_secret_access_key="test"
    )
    with Stubber(client) as stubber:
        yield client, stubber
        stubber.assert_no_pending_responses()


def group(version: str = "6") -> dict[str, Any]:
    described = {
        "AutoScalingGroupName": "app",
        "MinSize": 2,
        "MaxSize": 4,
        "DesiredCapacity": 2,
        "DefaultCooldown": 300,
        "AvailabilityZones": [],
        "HealthCheckType": "ELB",
        "CreatedTime": "2026-01-01T00:00:00Z",
        "LaunchTemplate": {"LaunchTemplateId": "lt-1", "Version": version},
    }
    return {"AutoScalingGroups": [described]}


def refresh(status: str, version: str | None = "7", **more: Any) -> dict[str, Any]:
    desired = {"DesiredConfiguration": {"LaunchTemplate": {"LaunchTemplateId": "lt-1", "Version": version}}}
    return {"InstanceRefreshId": "r-1", "Status": status, **(desired if version else {}), **more}


def test_a_roll_starts_with_a_desired_configuration_and_a_way_back(roll: ModuleType, stub: Any) -> None:
    client, answers = stub
    answers.add_response("describe_auto_scaling_groups", group())
    answers.add_response("describe_instance_refreshes", {"InstanceRefreshes": [refresh("Failed", "5")]})
    answers.add_response(
        "start_instance_refresh",
        {"InstanceRefreshId": "r-1"},
        {
            "AutoScalingGroupName": "app",
            "Strategy": "Rolling",
            "DesiredConfiguration": {"LaunchTemplate": {"LaunchTemplateId": "lt-1", "Version": "7"}},
            "Preferences": {
                "MinHealthyPercentage": 100,
                "MaxHealthyPercentage": 150,
                "SkipMatching": True,
                "AutoRollback": True,
                "BakeTime": 60,
                "InstanceWarmup": 30,
                "CheckpointPercentages": [20, 50, 100],
                "CheckpointDelay": 120,
                "AlarmSpecification": {"Alarms": ["errors"]},
            },
        },
    )
    answers.add_response("describe_instance_refreshes", {"InstanceRefreshes": [refresh("Pending")]})
    options = {**OPTIONS, "checkpoints": [20, 50], "checkpoint_delay_s": 120, "alarms": ["errors"], "bake_s": 60}
    result = roll.run(client, options, dry=False)
    assert (result["changed"], result["blocked"], result["running"]) == (True, False, True)
    assert result["refresh"]["instance_refresh_id"] == "r-1"


@pytest.mark.parametrize(
    ("status", "version", "expected"),
    [
        ("InProgress", "7", (False, False)),
        ("Baking", "7", (False, False)),
        ("InProgress", "5", (True, True)),
        ("RollbackInProgress", "7", (True, True)),
        ("InProgress", None, (True, True)),
    ],
)
def test_a_roll_that_runs_is_joined_when_it_goes_where_it_should_and_waited_for_otherwise(
    roll: ModuleType, stub: Any, status: str, version: str | None, expected: tuple[bool, bool]
) -> None:
    client, answers = stub
    answers.add_response("describe_auto_scaling_groups", group())
    answers.add_response("describe_instance_refreshes", {"InstanceRefreshes": [refresh(status, version)]})
    result = roll.run(client, OPTIONS, dry=False)
    assert (result["changed"], result["blocked"]) == expected


@pytest.mark.parametrize(("version", "waits"), [(None, True), (9, False)])
def test_beside_another_roll_none_starts_that_could_not_wait(
    roll: ModuleType, stub: Any, version: int | None, waits: bool
) -> None:
    client, answers = stub
    answers.add_response("describe_auto_scaling_groups", group())
    answers.add_response("describe_instance_refreshes", {"InstanceRefreshes": [refresh("InProgress")]})
    with pytest.raises(roll.RollError, match="is being rolled already"):
        roll.run(client, {**OPTIONS, "version": version, "wait": waits}, dry=False)


def test_a_dry_run_starts_nothing_and_takes_nothing_back(roll: ModuleType, stub: Any) -> None:
    client, answers = stub
    answers.add_response("describe_auto_scaling_groups", group())
    answers.add_response("describe_instance_refreshes", {"InstanceRefreshes": []})
    assert roll.run(client, OPTIONS, dry=True)["changed"] is True
    answers.add_response("describe_instance_refreshes", {"InstanceRefreshes": [refresh("InProgress")]})
    assert roll.run(client, {**OPTIONS, "state": "rolled_back"}, dry=True)["changed"] is True


@pytest.mark.parametrize("status", [None, "Successful", "Cancelled", "RollbackInProgress", "RollbackSuccessful"])
def test_where_nothing_runs_nothing_is_taken_back(roll: ModuleType, stub: Any, status: str | None) -> None:
    client, answers = stub
    found = [] if status is None else [refresh(status)]
    answers.add_response("describe_instance_refreshes", {"InstanceRefreshes": found})
    assert roll.run(client, {**OPTIONS, "state": "rolled_back"}, dry=False)["changed"] is False


def test_what_aws_can_t_take_back_is_said(roll: ModuleType, stub: Any) -> None:
    client, answers = stub
    answers.add_response("describe_instance_refreshes", {"InstanceRefreshes": [refresh("InProgress", None)]})
    answers.add_client_error("rollback_instance_refresh", "IrreversibleInstanceRefresh")
    with pytest.raises(roll.RollError, match="no desired configuration"):
        roll.run(client, {**OPTIONS, "state": "rolled_back"}, dry=False)


def test_somebody_who_was_quicker_is_waited_for(roll: ModuleType, stub: Any) -> None:
    client, answers = stub
    answers.add_response("describe_auto_scaling_groups", group())
    answers.add_response("describe_instance_refreshes", {"InstanceRefreshes": []})
    answers.add_client_error("start_instance_refresh", "InstanceRefreshInProgress")
    answers.add_response("describe_instance_refreshes", {"InstanceRefreshes": [refresh("Pending", "8")]})
    assert roll.run(client, OPTIONS, dry=False)["blocked"] is True


def test_a_group_that_follows_the_latest_version_is_refused(roll: ModuleType, stub: Any) -> None:
    client, answers = stub
    answers.add_response("describe_auto_scaling_groups", group("$Latest"))
    with pytest.raises(roll.RollError, match=r"\$Latest"):
        roll.run(client, OPTIONS, dry=False)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"checkpoints": [50, 20]}, "checkpoints"),
        ({"checkpoints": [50, 100]}, "checkpoints"),
        ({"alarms": [str(number) for number in range(11)]}, "10 alarms"),
        ({"min_healthy_percentage": 0}, "difference"),
        ({"max_healthy_percentage": 99}, "max_healthy_percentage"),
    ],
)
def test_what_aws_would_refuse_is_refused_before(roll: ModuleType, wrong: dict[str, Any], named: str) -> None:
    with pytest.raises(roll.RollError, match=named):
        roll.request({**OPTIONS, **wrong}, "lt-1")


def test_without_a_version_aws_is_asked_for_no_rollback(roll: ModuleType) -> None:
    asked = roll.request({**OPTIONS, "version": None}, "lt-1")
    assert "DesiredConfiguration" not in asked
    assert asked["Preferences"]["AutoRollback"] is False


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ("Successful", "succeeded"),
        ("RollbackSuccessful", "was taken back. All servers run what they ran before: why"),
        ("RollbackFailed", "could not be taken back. Servers of both versions run: why"),
        ("Failed", "failed. Servers that were replaced stay: why"),
        ("Cancelled", "was cancelled. Servers that were replaced stay: why"),
        ("Unheard", "is Unheard"),
    ],
)
def test_every_end_is_told_apart(roll: ModuleType, status: str, words: str) -> None:
    assert words in roll.progress(refresh(status, StatusReason="why"))
    assert roll.is_running(refresh(status)) is (status == "Unheard")


def test_a_pause_is_told(roll: ModuleType) -> None:
    pausing = refresh(
        "InProgress", PercentageComplete=50, InstancesToUpdate=2, Preferences={"CheckpointPercentages": [50, 100]}
    )
    assert roll.progress(pausing).endswith("50 %, 2 to replace. It pauses at this checkpoint.")


class Looks:
    """The module as the action plugin sees it: one answer for each look, the last again and again."""

    def __init__(self, *statuses: tuple[str, int], preferences: Mapping[str, Any] | None = None) -> None:
        self.statuses, self.preferences, self.calls, self.now = list(statuses), preferences, [], 0.0
        self.lines: list[str] = []

    def answer(self) -> dict[str, Any]:
        status, percentage = self.statuses.pop(0) if len(self.statuses) > 1 else self.statuses[0]
        seen = {"instance_refresh_id": "r-1", "status": status, "percentage_complete": percentage}
        return {
            "running": status in ("InProgress", "RollbackInProgress"),
            "progress": f"{status} {percentage}",
            "refresh": {**seen, "preferences": self.preferences},
        }

    def call(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        self.calls.append(arguments["state"])
        if arguments["state"] == "rolled_back":
            self.statuses = [("RollbackInProgress", 50), ("RollbackSuccessful", 0)]
        return self.answer()

    def sleep(self, seconds: float) -> None:
        self.now += seconds

    def follow(self, action: ModuleType, stall_s: float) -> tuple[dict[str, Any], bool]:
        ended: tuple[dict[str, Any], bool] = action.follow(
            self.answer(),
            self.call,
            self.lines.append,
            stall_s=stall_s,
            poll_s=10,
            clock=lambda: self.now,
            sleep=self.sleep,
        )
        return ended


def test_each_step_forward_is_one_line(action: ModuleType) -> None:
    looks = Looks(("InProgress", 0), ("InProgress", 0), ("InProgress", 50), ("Successful", 100))
    result, gave_up = looks.follow(action, stall_s=60)
    assert looks.lines == ["InProgress 0", "InProgress 50", "Successful 100"]
    assert (result["refresh"]["status"], gave_up) == ("Successful", False)


def test_a_roll_that_stands_still_is_taken_back(action: ModuleType) -> None:
    looks = Looks(("InProgress", 50))
    result, gave_up = looks.follow(action, stall_s=60)
    assert (result["refresh"]["status"], gave_up) == ("RollbackSuccessful", True)
    assert looks.calls.count("rolled_back") == 1
    assert "No server was replaced in 60 s: this takes the roll back." in looks.lines


def test_a_pause_at_a_checkpoint_is_no_standstill(action: ModuleType) -> None:
    pause = {"checkpoint_percentages": [50, 100], "checkpoint_delay": 600}
    looks = Looks(*[("InProgress", 50)] * 50, ("Successful", 100), preferences=pause)
    assert looks.follow(action, stall_s=60)[1] is False
