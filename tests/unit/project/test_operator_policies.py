"""The operators' policies: their form, and how they are compared with what the emulator saw."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from scripts import operator_policies

ROOT = Path(__file__).resolve().parents[3]
POLICIES = sorted(operator_policies.POLICIES.glob("*.json"))


@pytest.mark.parametrize("path", POLICIES, ids=lambda path: path.stem)
def test_a_policy_has_the_form_that_iam_takes(path: Path) -> None:
    """IAM user guide, "Grammar of the IAM JSON policy language"."""
    text = path.read_text()
    document: dict[str, Any] = json.loads(text)
    assert set(document) == {"Version", "Statement"}
    assert document["Version"] == "2012-10-17"
    names = [each["Sid"] for each in document["Statement"]]
    assert len(names) == len(set(names))
    for each in document["Statement"]:
        assert set(each) == {"Sid", "Effect", "Action", "Resource"}
        assert re.fullmatch("[A-Za-z0-9]+", each["Sid"])
        assert each["Effect"] == "Allow"
        assert each["Action"] == sorted(set(each["Action"]))
        assert [one for one in each["Action"] if not re.fullmatch("[a-z0-9-]+:[A-Z][A-Za-z0-9]+", one)] == []
        resources = [one for one in each["Resource"] if one != "*"]
        assert [one for one in resources if not re.fullmatch(r"arn:aws:[a-z0-9-]+:\*?:\*?:\S+", one)] == []
    assert len(re.sub(r"\s", "", text)) <= operator_policies.LONGEST


def test_each_policy_is_of_a_playbook() -> None:
    assert [path.stem for path in POLICIES if not (ROOT / "playbooks" / f"{path.stem}.yml").exists()] == []


def test_playbooks_that_only_look_may_change_nothing() -> None:
    # The table of slots says who holds them.
    looking = re.compile("[a-z0-9-]+:(Describe|Get|List)|dynamodb:Scan$")
    for name in ("show-status", "check-drift"):
        document = json.loads((operator_policies.POLICIES / f"{name}.json").read_text())
        assert [each for each in operator_policies.allowed(document) if not looking.match(each)] == []


def note(folder: Path, playbook: str, *calls: str) -> None:
    key = f"emulated-key-id-of-{playbook}" if playbook else "emulated-key-id"
    with (folder / "test.jsonl").open("a") as stream:
        for call in calls:
            service, operation = call.split(":")
            stream.write(json.dumps({"key": key, "service": service, "operation": operation}) + "\n")


def test_an_operation_becomes_the_actions_that_allow_it(tmp_path: Path) -> None:
    note(tmp_path, "deploy-service", "s3:HeadBucket", "monitoring:PutMetricAlarm", "sts:GetCallerIdentity")
    note(tmp_path, "hold-lease", "dynamodb:PutItem")
    note(tmp_path, "show-status", "ec2:DescribeVpcs")
    note(tmp_path, "", "ec2:TerminateInstances")
    assert operator_policies.read_seen(tmp_path) == {
        "deploy-service": {
            *("s3:ListBucket", "cloudwatch:PutMetricAlarm", "cloudwatch:TagResource"),
            # It takes the lease, and renews it.
            *("dynamodb:PutItem", "dynamodb:UpdateItem"),
        },
        "show-status": {"ec2:DescribeVpcs"},
    }


def test_what_is_missing_and_what_is_too_much_is_told(tmp_path: Path) -> None:
    written = operator_policies.policy({"ec2:DescribeVpcs", "dynamodb:GetItem"})
    (tmp_path / "show-status.json").write_text(json.dumps(written))
    compare = operator_policies.differences
    assert compare({"show-status": {"ec2:DescribeVpcs", "dynamodb:GetItem"}}, tmp_path) == []
    assert compare({"show-status": {"ec2:DescribeVpcs", "ec2:DescribeImages"}}, tmp_path) == [
        "show-status.json lacks ec2:DescribeImages",
        "show-status.json allows dynamodb:GetItem, which wasn't seen",
    ]
    assert compare({"show-status": {"ec2:DescribeVpcs", "dynamodb:GetItem"}, "site": {"ec2:A"}}, tmp_path) == [
        "site.json lacks ec2:A"
    ]
    written["Statement"][0]["Resource"] = ["*"]
    (tmp_path / "show-status.json").write_text(json.dumps(written))
    (told,) = compare({"show-status": {"ec2:DescribeVpcs", "dynamodb:GetItem"}}, tmp_path)
    assert "differs in its resources" in told
