"""Apply, repeat, change, list, remove, rotate: each test builds on those before."""

from __future__ import annotations

import pytest

from .conftest import SECRETS, System


@pytest.fixture(scope="module")
def awx(module_system: System) -> System:
    return module_system


def test_a_dry_run_of_an_empty_awx_says_what_would_be_made(awx: System) -> None:
    run = awx.apply("--check")
    assert run.status == 0, run.output
    assert run.writes == []
    assert run.changed == 1
    assert "job template parkmesh-unit-verify" in run.shown


def test_the_first_run_makes_everything(awx: System) -> None:
    run = awx.apply()
    assert run.status == 0, run.output
    assert awx.names("organizations") == ["parkmesh-unit"]
    assert awx.names("job_templates") == ["parkmesh-unit-explain-access", "parkmesh-unit-verify"]
    assert awx.names("schedules") == ["parkmesh-unit-nightly"]
    template = next(one for one in awx.awx.store.objects["job_templates"].values() if one["name"].endswith("access"))
    assert template["playbook"] == "playbooks/explain-access.yml"
    assert (
        template["description"]
        == "Say whether one member of the overlay may open connections to another, and by which rule."
    )
    assert [one["variable"] for one in template["survey_spec"]["spec"]] == ["explain_from", "explain_port"]
    form = awx.awx.form("job_templates", template)
    granted = awx.awx.store.grants[form["summary_fields"]["object_roles"]["execute_role"]["id"]]
    assert granted == list(awx.awx.store.objects["teams"])
    workflow = next(iter(awx.awx.store.objects["workflow_job_templates"].values()))
    assert workflow["webhook_service"] == "github"
    assert awx.awx.store.objects["credentials"][workflow["webhook_credential"]]["name"] == "parkmesh-unit-forge"
    nodes = {one["identifier"]: one for one in awx.awx.store.objects["workflow_job_template_nodes"].values()}
    assert nodes["last"]["extra_data"] == {"explain_from": "gateway-a"}
    organization = next(iter(awx.awx.store.objects["organizations"]))
    told = awx.awx.store.attached["organizations", organization, "notification_templates_error"]
    assert told == list(awx.awx.store.objects["notification_templates"])


def test_awx_has_the_secrets_and_no_output_has(awx: System) -> None:
    inputs = [one["inputs"] for one in awx.awx.store.objects["credentials"].values()]
    assert {"username": "ops", "ssh_key_data": SECRETS["UNIT_KEY"]} in inputs
    assert {"token": SECRETS["UNIT_TOKEN"]} in inputs
    run = awx.apply("-vvv", "-e", "awx_rotate=ssh,zerotier,chat", "--diff")
    assert run.status == 0, run.output
    assert {line.split()[1] for line in run.writes} == {"credentials", "notification_templates"}
    for secret in ("k3yOfTheTests", "t0kenOfZeroTier", "sl4ck", "f0rge", "v4ultOfTheTests"):
        assert secret not in run.output


def test_a_second_run_changes_nothing_and_asks_for_no_secret(awx: System) -> None:
    awx.variables.clear()
    run = awx.apply()
    assert (run.status, run.changed, run.writes) == (0, 0, []), run.output
    run = awx.apply("--check")
    assert (run.status, run.changed, run.writes) == (0, 0, []), run.output


def test_what_somebody_changed_by_hand_is_put_right(awx: System) -> None:
    store = awx.awx.store
    template = next(one for one in store.objects["job_templates"].values() if one["name"] == "parkmesh-unit-verify")
    template["timeout"] = 5
    other = next(one for one in store.objects["job_templates"].values() if one["name"].endswith("explain-access"))
    other["webhook_service"] = "github"
    node = next(one for one in store.objects["workflow_job_template_nodes"].values() if one["identifier"] == "first")
    store.attached["workflow_job_template_nodes", node["id"], "failure_nodes"].clear()
    run = awx.apply("--check")
    assert (run.status, run.changed, run.writes) == (0, 2, []), run.output
    run = awx.apply()
    assert (run.status, run.changed) == (0, 2), run.output
    assert (template["timeout"], template["webhook_service"], other["webhook_service"]) == (600, "gitlab", "")
    assert awx.apply().changed == 0


def test_what_the_data_no_longer_has_is_listed_and_stays(awx: System) -> None:
    del awx.catalogue["job_templates"]["verify"]
    del awx.environment["webhooks"]["verify"]
    awx.catalogue["workflows"]["release"]["nodes"] = [{"name": "last", "template": "explain-access"}]
    del awx.environment["schedules"]["nightly"]
    awx.environment["notifications"].clear()
    awx.environment["tell"].clear()
    awx.environment["teams"]["operators"]["organization_roles"] = []
    run = awx.apply()
    assert run.status == 0, run.output
    assert "awx_purge=true removes it" in run.shown
    for line in (
        "schedule parkmesh-unit-nightly",
        "job template parkmesh-unit-verify",
        "notification template parkmesh-unit-chat",
        "role read of team parkmesh-unit-operators on organization parkmesh-unit",
    ):
        assert line in run.shown
    assert "parkmesh-unit-verify" in awx.names("job_templates")
    # A workflow's nodes are the workflow: those that the data no longer has are gone.
    assert [one["identifier"] for one in awx.awx.store.objects["workflow_job_template_nodes"].values()] == ["last"]


def test_more_than_allowed_is_not_removed(awx: System) -> None:
    run = awx.apply("-e", "awx_purge=true", "-e", "awx_purge_max=2")
    assert run.status == 2
    assert "would remove 4 objects, more than awx_purge_max (2)" in run.shown
    assert run.writes == []


def test_it_is_removed_where_it_is_asked_for(awx: System) -> None:
    run = awx.apply("-e", "awx_purge=true", "--check")
    assert (run.status, run.writes) == (0, []), run.output
    run = awx.apply("-e", "awx_purge=true")
    assert run.status == 0, run.output
    assert awx.names("job_templates") == ["parkmesh-unit-explain-access"]
    assert awx.names("schedules") == awx.names("notification_templates") == []
    assert list(awx.awx.store.grants.values()).count([]) == 1
    assert awx.apply("-e", "awx_purge=true").changed == 0
