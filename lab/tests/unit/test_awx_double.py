"""The double of AWX is as strict as AWX: what it refuses, and how it says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lab.awx.server import Awx
from lab.awx.store import Store

TOKEN = "t"


@pytest.fixture
def awx(tmp_path: Path) -> Awx:
    return Awx(Store({"https://git.example.org/p.git": tmp_path}), {TOKEN})


def post(awx: Awx, path: str, **body: Any) -> tuple[int, Any]:
    return awx.answer("POST", f"/api/v2/{path}/", body, TOKEN)


def get(awx: Awx, path: str) -> tuple[int, Any]:
    return awx.answer("GET", f"/api/v2/{path}", None, TOKEN)


@pytest.fixture
def organization(awx: Awx) -> int:
    return int(post(awx, "organizations", name="o")[1]["id"])


def test_without_a_token_only_ping_answers(awx: Awx) -> None:
    assert awx.answer("GET", "/api/v2/ping/", None, None)[0] == 200
    assert awx.answer("GET", "/api/v2/teams/", None, "wrong")[0] == 401


def test_names_are_unique_per_organization(awx: Awx, organization: int) -> None:
    other = post(awx, "organizations", name="other")[1]["id"]
    assert post(awx, "teams", name="t", organization=organization)[0] == 201
    assert post(awx, "teams", name="t", organization=other)[0] == 201
    status, body = post(awx, "teams", name="t", organization=organization)
    assert (status, body) == (400, {"__all__": ["Team with this Organization and Name already exists."]})
    assert post(awx, "organizations", name="o")[1] == {"name": ["Organization with this Name already exists."]}


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({"name": "t"}, {"organization": ["This field is required."]}),
        ({"name": "t", "organization": 9}, {"organization": ['Invalid pk "9" - object does not exist.']}),
        ({"name": "", "organization": 9}, {"name": ["This field may not be blank."]}),
        (
            {"name": "t", "organization": "o"},
            {"organization": ["Incorrect type. Expected pk value, received str."]},
        ),
    ],
)
def test_a_wrong_body_is_refused_by_field(awx: Awx, body: dict[str, Any], told: dict[str, list[str]]) -> None:
    status, answer = post(awx, "teams", **body)
    assert status == 400
    assert told.items() <= answer.items()


def test_pages(awx: Awx, organization: int) -> None:
    for number in range(30):
        post(awx, "labels", name=f"l{number}", organization=organization)
    first = get(awx, "labels/")[1]
    assert (first["count"], len(first["results"]), first["previous"]) == (30, 25, None)
    second = get(awx, first["next"].removeprefix("/api/v2/"))[1]
    assert (len(second["results"]), second["next"]) == (5, None)
    assert get(awx, "labels/?page=3")[0] == 404


def test_filters_know_fields_and_relations_only(awx: Awx, organization: int) -> None:
    post(awx, "teams", name="t", organization=organization)
    assert get(awx, "teams/?organization__name=o")[1]["count"] == 1
    assert get(awx, "teams/?colour=red") == (400, {"detail": "Team has no field named 'colour'"})
    assert get(awx, "teams/?organization=o")[0] == 400


def test_what_can_t_be_written_stays(awx: Awx, organization: int, tmp_path: Path) -> None:
    (tmp_path / "site.yml").write_text("- hosts: all\n")
    project = post(
        awx, "projects", name="p", organization=organization, scm_type="git", scm_url="https://git.example.org/p.git"
    )[1]
    inventory = post(awx, "inventories", name="i", organization=organization)[1]["id"]
    wanted = {"name": "j", "project": project["id"], "inventory": inventory, "playbook": "site.yml"}
    # Before the project's sync has ended, it has no playbook.
    assert post(awx, "job_templates", **wanted) == (400, {"playbook": ["Playbook not found for project."]})
    awx.store.updates[project["summary_fields"]["current_update"]["id"]]["begun"] = 0
    status, template = post(awx, "job_templates", **wanted, organization=99, status="successful")
    assert (status, template["organization"], template["status"]) == (201, organization, "never updated")
    assert get(awx, f"projects/{project['id']}/playbooks/")[1] == ["site.yml"]


def test_secrets_are_never_shown_and_survive_their_mark(awx: Awx, organization: int) -> None:
    kind = get(awx, "credential_types/?name=Machine")[1]["results"][0]["id"]
    inputs = {"username": "ops", "password": "hush"}
    made = post(awx, "credentials", name="c", organization=organization, credential_type=kind, inputs=inputs)[1]
    assert made["inputs"] == {"username": "ops", "password": "$encrypted$"}
    awx.answer("PATCH", made["url"], {"inputs": {"username": "x", "password": "$encrypted$"}}, TOKEN)
    assert awx.store.objects["credentials"][made["id"]]["inputs"] == {"username": "x", "password": "hush"}
    strange = post(awx, "credentials", name="d", organization=organization, credential_type=kind, inputs={"x": "y"})
    assert strange[0] == 400


def test_a_team_can_t_take_part_in_an_organization(awx: Awx, organization: int) -> None:
    team = post(awx, "teams", name="t", organization=organization)[1]["id"]
    roles = get(awx, f"organizations/{organization}/")[1]["summary_fields"]["object_roles"]
    assert post(awx, f"roles/{roles['read_role']['id']}/teams", id=team) == (204, None)
    assert post(awx, f"roles/{roles['admin_role']['id']}/teams", id=team)[0] == 400


def test_a_type_in_use_and_one_that_awx_brings(awx: Awx, organization: int) -> None:
    fields = {"fields": [{"id": "a", "label": "A", "type": "string"}]}
    kind = post(awx, "credential_types", name="k", kind="cloud", inputs=fields)[1]
    post(awx, "credentials", name="c", organization=organization, credential_type=kind["id"], inputs={"a": "b"})
    assert awx.answer("DELETE", kind["url"], {}, TOKEN)[0] == 403
    assert awx.answer("PATCH", kind["url"], {"inputs": {"fields": []}}, TOKEN)[0] == 403
    assert post(awx, "credential_types", name="m", kind="ssh")[0] == 400
    assert post(awx, "credential_types", name="e", kind="cloud", injectors={"env": {"ANSIBLE_X": "1"}})[0] == 400


def test_what_it_doesn_t_know_it_doesn_t_take(awx: Awx) -> None:
    assert post(awx, "jobs")[0] == 404
    assert awx.answer("PUT", "/api/v2/teams/", {}, TOKEN)[0] == 405
    assert awx.answer("GET", "/api/v2/teams", None, TOKEN)[0] == 404
