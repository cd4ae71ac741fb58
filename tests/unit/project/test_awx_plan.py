"""What is to be done about AWX, from what it should hold and what it holds."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import ansible.module_utils
import pytest

ROOT = Path(__file__).resolve().parents[3]
if str(ROOT / "module_utils") not in ansible.module_utils.__path__:
    ansible.module_utils.__path__.append(str(ROOT / "module_utils"))
awx_desired = importlib.import_module("ansible.module_utils.awx_desired")
awx_plan = importlib.import_module("ansible.module_utils.awx_plan")

Item = awx_desired.Item
ORGANIZATION = {"id": 1, "name": "p"}


def plan(items: list[Any], rotate: tuple[str, ...] = (), roles: Any = (), **found: Any) -> dict[str, Any]:
    desired = awx_desired.Desired(items, list(roles), {})
    return awx_plan.plan(desired, {"organizations": [ORGANIZATION], **found}, rotate)


def one(made: dict[str, Any], kind: str) -> dict[str, Any]:
    (item,) = made["objects"][kind]
    assert isinstance(item, dict)
    return item


def test_a_dry_run_can_try_only_what_has_all_that_it_needs() -> None:
    team = Item("teams", "p-t", {"name": "p-t"}, (("organizations", "p"),))
    assert plan([team])["missing"] == ["team p-t"]
    assert one(plan([team], teams=[{"id": 2, "name": "p-t"}]), "teams")["ready"]
    lonely = Item("teams", "p-t", {"name": "p-t"}, (("organizations", "q"),))
    assert not one(plan([lonely], teams=[{"id": 2, "name": "p-t"}]), "teams")["ready"]


CREDENTIAL = Item(
    "credentials", "p-c", {"name": "p-c", "inputs": {"username": "ops"}}, references={"password": {"env": "X"}}
)


def test_a_secret_is_sent_once_and_when_it_is_rotated() -> None:
    assert one(plan([CREDENTIAL]), "credentials")["send"]
    held = [{"id": 3, "name": "p-c", "inputs": {"username": "ops", "password": "$encrypted$"}}]
    kept = one(plan([CREDENTIAL], credentials=held), "credentials")
    assert not kept["send"]
    assert kept["args"]["inputs"] == {"username": "ops", "password": "$encrypted$"}
    rotated = one(plan([CREDENTIAL], ("p-c",), credentials=held), "credentials")
    assert rotated["send"]
    assert rotated["args"]["inputs"] == {"username": "ops"}


def test_an_input_that_is_no_secret_stays_what_awx_shows() -> None:
    item = Item(
        "credentials", "p-c", {"name": "p-c", "inputs": {}}, references={"key": {"env": "X"}, "id": {"env": "Y"}}
    )
    held = [{"id": 3, "name": "p-c", "inputs": {"id": "AKIA", "key": "$encrypted$"}}]
    kept = one(plan([item], credentials=held), "credentials")
    assert (kept["send"], kept["args"]["inputs"]) == (False, {"id": "AKIA", "key": "$encrypted$"})


def test_an_input_that_awx_lacks_is_sent() -> None:
    assert one(plan([CREDENTIAL], credentials=[{"id": 3, "name": "p-c", "inputs": {}}]), "credentials")["send"]


NOTIFICATION = Item(
    "notification_templates",
    "p-n",
    {"notification_type": "slack", "description": "", "notification_configuration": {"channels": ["#a"]}},
    references={"token": {"env": "X"}},
)


@pytest.mark.parametrize(
    ("configuration", "skipped"),
    [
        ({"channels": ["#a"], "token": "$encrypted$"}, True),
        ({"channels": ["#a"], "token": "$encrypted$", "added": 30}, True),
        ({"channels": ["#b"], "token": "$encrypted$"}, False),
        ({"channels": ["#a"]}, False),
    ],
)
def test_a_notification_that_is_the_same_is_left_alone(configuration: dict[str, Any], skipped: bool) -> None:
    held = [{"id": 4, "name": "p-n", "notification_type": "slack", "notification_configuration": configuration}]
    item = one(plan([NOTIFICATION], notification_templates=held), "notification_templates")
    assert (item["skip"], item["send"]) == (skipped, not skipped)


def node(number: int, identifier: str, name: str, **more: Any) -> dict[str, Any]:
    job = {"name": name, **more.pop("job", {"unified_job_type": "job"})}
    return {
        "id": number,
        "identifier": identifier,
        "workflow_job_template": 7,
        "summary_fields": {"unified_job_template": job},
        **more,
    }


WORKFLOW = Item(
    "workflow_job_templates",
    "p-w",
    {
        "workflow_nodes": [
            {
                "identifier": "a",
                "unified_job_template": {"type": "job_template", "name": "p-j"},
                "extra_data": {"x": 1},
                "related": {"success_nodes": [{"identifier": "b"}]},
            },
            {
                "identifier": "b",
                "unified_job_template": {
                    "type": "workflow_approval",
                    "name": "p-w-b",
                    "description": "?",
                    "timeout": 9,
                },
                "extra_data": {},
                "related": {},
            },
        ]
    },
)
APPROVAL = {"unified_job_type": "workflow_approval", "description": "?", "timeout": 9}
NODES = [
    node(1, "a", "p-j", extra_data={"x": 1}, success_nodes=[2]),
    node(2, "b", "p-w-b", job=APPROVAL),
]


@pytest.mark.parametrize(
    "nodes",
    [
        [node(1, "a", "p-j", extra_data={"x": 1})],
        [node(1, "a", "p-other", extra_data={"x": 1}, success_nodes=[2]), NODES[1]],
        [node(1, "a", "p-j", extra_data={"x": 2}, success_nodes=[2]), NODES[1]],
        [node(1, "a", "p-j", extra_data={"x": 1}, failure_nodes=[2]), NODES[1]],
        [NODES[0], node(2, "b", "p-w-b", job={**APPROVAL, "timeout": 8})],
        [*NODES, node(3, "c", "p-j")],
    ],
)
def test_a_workflow_whose_nodes_differ_is_drawn_anew(nodes: list[dict[str, Any]]) -> None:
    held = [{"id": 7, "name": "p-w"}]
    same = one(
        plan([WORKFLOW], workflow_job_templates=held, workflow_job_template_nodes=NODES), "workflow_job_templates"
    )
    assert "workflow_nodes" not in same["args"]
    item = one(
        plan([WORKFLOW], workflow_job_templates=held, workflow_job_template_nodes=nodes), "workflow_job_templates"
    )
    assert item["args"]["destroy_current_nodes"]
    assert len(item["args"]["workflow_nodes"]) == 2


def test_what_is_left_over_is_named_with_what_it_belongs_to_and_the_last_comes_first() -> None:
    source = {"id": 5, "name": "p-s", "summary_fields": {"inventory": {"name": "p-i"}}}
    made = plan([], teams=[{"id": 2, "name": "x"}], inventory_sources=[source], labels=[{"id": 9, "name": "l"}])
    assert made["left_over"]["inventory_sources"] == [{"name": "p-s", "of": "p-i"}]
    assert made["left_over_lines"] == ["inventory source p-s", "team x"]


def test_what_a_team_may_do_beyond_the_data_is_left_over() -> None:
    items = [Item("teams", "p-t", {}), Item("job_templates", "p-j", {"playbook": "x"}), Item("organizations", "p", {})]
    template = {
        "id": 8,
        "name": "p-j",
        "summary_fields": {"object_roles": {"execute_role": {"id": 80}, "admin_role": {"id": 81}}},
    }
    grants = [{"team": "p-t", "role_id": number} for number in (80, 81, 999)]
    roles = [{"team": "p-t", "role": "execute", "job_templates": ["p-j"]}]
    made = plan(items, roles=roles, teams=[{"id": 2, "name": "p-t"}], job_templates=[template], grants=grants)
    assert made["left_over"]["roles"] == [{"team": "p-t", "role": "admin", "job_templates": ["p-j"]}]
    assert made["left_over_lines"] == ["role admin of team p-t on job template p-j"]


def test_a_project_is_synced_when_it_failed_or_lacks_a_playbook() -> None:
    items = [Item("projects", "p-project", {}), Item("job_templates", "p-j", {"playbook": "playbooks/j.yml"})]
    held = {"projects": [{"id": 6, "name": "p-project", "status": "successful", "scm_revision": "abc"}]}
    assert not plan(items, playbooks=["playbooks/j.yml"], **held)["sync"]
    lacking = plan(items, playbooks=[], **held)
    assert (lacking["sync"], lacking["lacking_playbooks"], lacking["revision"]) == (True, ["playbooks/j.yml"], "abc")
    held["projects"][0]["status"] = "failed"
    assert plan(items, playbooks=["playbooks/j.yml"], **held)["sync"]
