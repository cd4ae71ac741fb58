"""playbooks/restore-data.yml on lab.aws: to a moment, from a snapshot, back, and what was kept goes when told.

lab.aws has no data in its databases; what a copy contains is in lab/tests. Each test builds on those before.
"""

from __future__ import annotations

import base64
import json
import re
import time
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from .conftest import Aws, Run

RESTORE = "playbooks/restore-data.yml"
# There are no app servers that could be told of a new epoch.
GIVEN = ("-e", "restore_confirm=parkmesh-test", "-e", "restore_announce=false")
FIRST = "parkmesh-test-database"


def databases(aws: Aws) -> dict[str, dict[str, Any]]:
    return {each["DBInstanceIdentifier"]: each for each in aws.client("rds").describe_db_instances()["DBInstances"]}


def told(aws: Aws) -> str:
    """The name of the database that new servers are told of."""
    (version,) = aws.client("ec2").describe_launch_template_versions(
        LaunchTemplateName="parkmesh-test-app", Versions=["$Latest"]
    )["LaunchTemplateVersions"]
    data = json.loads(base64.b64decode(version["LaunchTemplateData"]["UserData"]))
    return str(data["database"]["host"]).partition(".")[0]


def servers(aws: Aws) -> set[str]:
    answer = aws.client("autoscaling").describe_auto_scaling_groups(AutoScalingGroupNames=["parkmesh-test-app"])
    return {each["InstanceId"] for each in answer["AutoScalingGroups"][0]["Instances"]}


def said(run: Run) -> str:
    return " ".join(run.output.split())


@pytest.fixture(scope="module")
def built(aws: Aws) -> None:
    steps = ("provision-network", "provision-data", "bake", "deploy-service")
    for step in steps:
        folder = "tests/emulator/playbooks" if step == "bake" else "playbooks"
        run = aws.play(f"{folder}/{step}.yml", "-e", '{"release": "one", "aws_service_instances_desired": 1}')
        assert run.status == 0, run.output
    assert len(servers(aws)) == 1


@pytest.fixture(scope="module")
def moment(aws: Aws, built: None) -> str:
    time.sleep(1.1)
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (("-e", "restore_to=2026-01-01T00:00:00Z"), "add -e restore_confirm=parkmesh-test"),
        (GIVEN, "Say one of restore_to"),
        ((*GIVEN, "-e", "restore_to=2026-01-01T00:00:00Z", "-e", "restore_back=true"), "now: restore_to, restore_back"),
        ((*GIVEN, "-e", "restore_to=yesterday"), "a moment such as 2026-11-29T14:05:00Z (is “yesterday”)"),
        ((*GIVEN, "-e", "restore_to=2020-01-01T00:00:00Z"), f"{FIRST} can be restored to a moment from 20"),
        (
            (*GIVEN, "-e", "restore_to=2026-01-01T00:00:00Z", "-e", "restore_source=gone"),
            "There is no database gone: restore from a snapshot",
        ),
        ((*GIVEN, "-e", "restore_from=nothing"), "There is no snapshot nothing that is ready"),
        ((*GIVEN, "-e", "restore_from=of-another"), "of-another is of another-database"),
        ((*GIVEN, "-e", "restore_back=true"), "there is nothing to return to"),
    ],
    ids=[
        "guard",
        "nothing",
        "two",
        "no-moment",
        "too-early",
        "no-source",
        "no-snapshot",
        "another-s",
        "never-restored",
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_made(
    aws: Aws, built: None, given: tuple[str, ...], words: str
) -> None:
    rds = aws.client("rds")
    if "restore_from=of-another" in given:
        rds.create_db_instance(
            DBInstanceIdentifier="another-database",
            Engine="postgres",
            EngineVersion="17",
            DBInstanceClass="db.t4g.small",
        )
        rds.create_db_snapshot(DBInstanceIdentifier="another-database", DBSnapshotIdentifier="of-another")
        rds.delete_db_instance(DBInstanceIdentifier="another-database", SkipFinalSnapshot=True)
    before = set(databases(aws))
    run = aws.play(RESTORE, *given)
    assert run.status != 0
    assert words in said(run)
    assert set(databases(aws)) == before == {FIRST}


def test_a_dry_run_says_what_it_would_switch_to(aws: Aws, moment: str) -> None:
    run = aws.play(RESTORE, *GIVEN, "-e", f"restore_to={moment}", "--check")
    assert run.status == 0, run.output
    assert re.search(f"would switch the app servers from {FIRST} to {FIRST}-at-[0-9]{{8}}t[0-9]{{6}}z", said(run))
    assert (set(databases(aws)), told(aws)) == ({FIRST}, FIRST)


@pytest.fixture(scope="module")
def copy(aws: Aws, moment: str) -> str:
    before = servers(aws)
    run = aws.play(RESTORE, *GIVEN, "-e", f"restore_to={moment}")
    assert run.status == 0, run.output
    assert f"and what gateways sent, from {moment} to 20" in said(run)
    assert f"Kept: {FIRST}" in said(run)
    assert "parkmesh admin new-epoch" in said(run)
    assert not servers(aws) & before, "servers know their database from their boot"
    return told(aws)


def test_a_copy_has_the_settings_of_the_database_before_and_the_owner_s_password_of_now(aws: Aws, copy: str) -> None:
    there = databases(aws)
    assert set(there) == {FIRST, copy}
    same = ("DBInstanceClass", "DeletionProtection", "MultiAZ", "BackupRetentionPeriod", "VpcSecurityGroups")
    assert {key: there[copy][key] for key in same} == {key: there[FIRST][key] for key in same}
    tags = [{each["Key"]: each["Value"] for each in there[name]["TagList"]} for name in (FIRST, copy)]
    assert tags[0] == tags[1]
    assert [each["DBParameterGroupName"] for each in there[copy]["DBParameterGroups"]] == [f"{FIRST}-17"]
    assert there[copy]["DBSubnetGroup"]["DBSubnetGroupName"] == FIRST


@pytest.mark.parametrize(
    "playbook", ["playbooks/provision-data.yml", "playbooks/deploy-service.yml", "playbooks/check-drift.yml"]
)
def test_other_playbooks_keep_the_copy(aws: Aws, copy: str, playbook: str) -> None:
    run = aws.play(playbook)
    assert (run.status, run.changed) == (0, 0), run.output
    assert told(aws) == copy


def test_the_status_says_which_database_is_kept(aws: Aws, copy: str, moment: str) -> None:
    run = aws.play("playbooks/show-status.yml")
    assert run.status == 0
    assert "kept by a restore: yes" in run.output
    assert f"restored to: {moment}" in run.output


def test_the_same_restore_again_changes_nothing(aws: Aws, copy: str, moment: str) -> None:
    run = aws.play(RESTORE, *GIVEN, "-e", f"restore_to={moment}")
    assert (run.status, run.changed) == (0, 0), run.output
    assert told(aws) == copy


def test_the_way_back_leads_to_the_database_before_and_a_second_one_nowhere(aws: Aws, copy: str) -> None:
    run = aws.play(RESTORE, *GIVEN, "-e", "restore_back=true")
    assert run.status == 0, run.output
    assert told(aws) == FIRST
    assert f"Kept: {copy}" in said(run)
    run = aws.play(RESTORE, *GIVEN, "-e", "restore_back=true")
    assert (run.status, run.changed) == (0, 0), run.output
    assert told(aws) == FIRST


def test_servers_that_do_not_start_on_the_copy_stay_where_they_are(aws: Aws, copy: str, moment: str) -> None:
    before = servers(aws)
    # The role refuses this after the note was written: a failure as good as any.
    run = aws.play(RESTORE, *GIVEN, "-e", f"restore_to={moment}", "-e", "aws_service_health_check_interval_s=1")
    assert run.status != 0
    assert f"They stay on {FIRST}" in said(run)
    note = json.loads(aws.client("ssm").get_parameter(Name="/parkmesh/test/database")["Parameter"]["Value"])
    assert note["identifier"] == FIRST
    assert servers(aws) == before


def test_what_was_kept_goes_when_told_with_a_last_snapshot(aws: Aws, copy: str) -> None:
    run = aws.play(RESTORE, *GIVEN, "-e", "restore_discard=true", "-e", "aws_data_final_snapshot=true")
    assert run.status == 0, run.output
    assert set(databases(aws)) == {FIRST}
    snapshots = aws.client("rds").describe_db_snapshots(SnapshotType="manual")["DBSnapshots"]
    assert [each["DBInstanceIdentifier"] for each in snapshots if each["DBInstanceIdentifier"] == copy] == [copy]
    run = aws.play(RESTORE, *GIVEN, "-e", "restore_discard=true")
    assert (run.status, run.changed) == (0, 0), run.output


def test_a_snapshot_brings_back_a_database_that_is_gone(aws: Aws, copy: str) -> None:
    rds = aws.client("rds")
    rds.modify_db_instance(DBInstanceIdentifier=FIRST, DeletionProtection=False, ApplyImmediately=True)
    rds.delete_db_instance(DBInstanceIdentifier=FIRST, FinalDBSnapshotIdentifier="parkmesh-test-last")
    taken = rds.describe_db_snapshots(DBSnapshotIdentifier="parkmesh-test-last")["DBSnapshots"][0]["SnapshotCreateTime"]
    run = aws.play(RESTORE, *GIVEN, "-e", "restore_from=parkmesh-test-last")
    assert run.status == 0, run.output
    (there,) = databases(aws)
    assert re.fullmatch(f"{FIRST}-of-[0-9a-f]{{10}}", there)
    assert told(aws) == there
    assert "Kept: no other database" in said(run)
    assert taken - timedelta(seconds=2) < datetime.fromisoformat(re.search(r"sent, from (\S+)", said(run))[1])


def test_an_upgrade_makes_a_snapshot_first_and_the_inventory_decides_the_major_version(aws: Aws, copy: str) -> None:
    upgrade, guard = "playbooks/upgrade-database.yml", ("-e", "upgrade_confirm=parkmesh-test")
    name, eighteen = told(aws), ("-e", "aws_data_engine_version=18")
    run = aws.play(upgrade, *guard, "-e", "aws_data_upgrade_poll_s=0")
    assert run.status == 0, run.output
    assert f"{name} is being upgraded from PostgreSQL 17.6 to 17.7." in said(run)
    snapshots = aws.client("rds").describe_db_snapshots(DBInstanceIdentifier=name, SnapshotType="manual")["DBSnapshots"]
    assert [each["EngineVersion"] for each in snapshots if "-before-17-" in each["DBSnapshotIdentifier"]] == ["17.6"]
    run = aws.play("playbooks/provision-data.yml")
    assert (run.status, run.changed) == (0, 0), run.output
    run = aws.play("playbooks/provision-data.yml", *eighteen)
    assert f"{name} is PostgreSQL 17.7, and aws_data_engine_version is 18" in said(run)
    run = aws.play(upgrade, *guard, "-e", "upgrade_to=18.1")
    assert "aws_data_engine_version is 17, and the version asked for is 18.1" in said(run)
    run = aws.play(upgrade, *guard, *eighteen, "-e", "aws_data_upgrade_poll_s=0")
    assert run.status == 0, run.output
    assert databases(aws)[name]["EngineVersion"] == "18.1"
    groups = aws.client("rds").describe_db_parameter_groups()["DBParameterGroups"]
    named = [each["DBParameterGroupName"] for each in groups]
    assert [name for name in named if not name.startswith("default.")] == [f"{FIRST}-18"]
    run = aws.play(upgrade, *guard, *eighteen)
    assert (run.status, run.changed) == (0, 0), run.output
