"""What AWX should hold: the data is right, every operation has its job template, and wrong data is told."""

from __future__ import annotations

import copy
import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import botocore.session
import pytest
import yaml

from lab.awx.store import playbooks_of
from module_utils import awx_desired
from tests.awx.lab_jobs import LAUNCHES

ROOT = Path(__file__).resolve().parents[3]
ENVIRONMENTS = ("lab", "production")


def texts(folder: str) -> dict[str, str]:
    return {path.name: path.read_text() for path in (ROOT / folder).glob("*.yml")}


def data(environment: str) -> tuple[dict[str, Any], dict[str, Any]]:
    return awx_desired.read(texts("playbooks/files/awx")), awx_desired.read(texts(f"inventory/{environment}/awx"))


def faults(catalogue: dict[str, Any], environment: dict[str, Any]) -> list[str]:
    try:
        awx_desired.desired(catalogue, environment, texts("playbooks"), "parkmesh-unit")
    except awx_desired.Faulty as error:
        return error.lines
    return []


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_the_data_of_each_environment_is_right(environment: str) -> None:
    assert faults(*data(environment)) == []


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_what_an_object_needs_is_made_before_it(environment: str) -> None:
    desired = awx_desired.desired(*data(environment), texts("playbooks"), "p")
    made: set[tuple[str, str]] = set()
    for item in desired.items:
        assert set(item.needs) <= made, item
        made.add((item.kind, item.name))
    assert len(made) == len(desired.items)


def test_every_playbook_has_a_job_template_or_a_reason_for_none() -> None:
    catalogue = data("lab")[0]
    playbooks = {path.stem for path in (ROOT / "playbooks").glob("*.yml")}
    templates, others = set(catalogue["job_templates"]), catalogue["no_job_template"]
    assert templates | set(others) == playbooks
    assert not templates & set(others)
    assert all(reason.endswith(".") for reason in others.values())


def test_every_job_template_is_launched_in_the_lab_or_has_a_reason_and_what_tests_it_instead() -> None:
    assert set(LAUNCHES) == set(data("lab")[0]["job_templates"])
    for name, launch in LAUNCHES.items():
        if isinstance(launch, str):
            paths = re.findall(r"(?:tests|molecule)/[\w./]+\w", launch)
            assert paths, name
            assert [path for path in paths if not (ROOT / path).exists()] == [], name


def test_a_survey_asks_only_for_what_the_playbook_s_header_names() -> None:
    for name, template in data("lab")[0]["job_templates"].items():
        text = (ROOT / f"playbooks/{name}.yml").read_text()
        for question in template.get("survey", []):
            used = question["variable"] == "take_over_lease" and "hold-lease" in text
            imported = question["variable"] == "take_over_lease" and name == "site"
            assert used or imported or question["variable"] in text, (name, question["variable"])


def test_required_inputs_of_the_command_line_are_asked_for() -> None:
    required = {
        "destroy-environment": {"destroy_confirm"},
        "destroy-overlay": {"destroy_confirm"},
        "explain-access": {"explain_from", "explain_to"},
        "move-gateway": {"gateway"},
        "offboard-community": {"community", "offboard_confirm"},
        "onboard-community": {"community"},
        "replace-gateway": {"community"},
        "restore-data": {"restore_confirm"},
        "rotate-codes": {"rotate_communities"},
        "upgrade-database": {"upgrade_confirm"},
    }
    for name, template in data("lab")[0]["job_templates"].items():
        asked = {question["variable"] for question in template.get("survey", []) if question.get("required")}
        assert asked == required.get(name, set()), name


def test_every_job_gets_the_vault_s_password() -> None:
    catalogue, environment = copy.deepcopy(data("production"))
    environment["credentials"]["vault"] = {"type": "Vault", "inputs": {"vault_password": {"env": "X"}}}
    desired = awx_desired.desired(catalogue, environment, texts("playbooks"), "p")
    templates = [item for item in desired.items if item.kind == "job_templates"]
    assert len(templates) > 20
    assert all("p-vault" in item.args["credentials"] and ("credentials", "p-vault") in item.needs for item in templates)
    environment["credentials"]["vault"]["inputs"]["vault_password"] = "plain"
    assert "credentials, vault: vault_password is a secret: give {env: NAME} or {file: path}" in faults(
        catalogue, environment
    )


def test_what_ends_something_is_not_for_operators() -> None:
    desired = awx_desired.desired(*data("production"), texts("playbooks"), "p")
    executes = {grant["team"]: grant for grant in desired.roles if grant["role"] == "execute"}
    ending = {"p-offboard-community", "p-restore-data"}
    assert not ending & set(executes["p-operators"]["job_templates"])
    assert ending <= set(executes["p-owners"]["job_templates"])
    assert not {"p-destroy", "p-destroy-overlay-alone"} & set(executes["p-operators"]["workflows"])
    assert {"p-destroy", "p-destroy-overlay-alone"} <= set(executes["p-owners"]["workflows"])
    assert "p-auditors" not in executes


def test_destruction_waits_for_an_approval() -> None:
    desired = awx_desired.desired(*data("production"), texts("playbooks"), "p")
    launched = {name for grant in desired.roles for name in grant.get("job_templates", [])}
    assert not {"p-destroy-environment", "p-destroy-overlay"} & launched


@pytest.mark.parametrize("name", ["destroy", "destroy-overlay-alone"])
def test_a_destroying_workflow_asks_what_its_playbook_needs(name: str) -> None:
    catalogue = data("lab")[0]
    workflow = catalogue["workflows"][name]
    (job,) = [node for node in workflow["nodes"] if "template" in node]
    asked = {question["variable"]: question for question in catalogue["job_templates"][job["template"]]["survey"]}
    assert {question["variable"]: question for question in workflow["survey"]} == asked


@pytest.mark.parametrize("environment", ENVIRONMENTS)
def test_no_file_holds_a_secret_and_sources_are_there(environment: str) -> None:
    given = data(environment)[1]
    for source in given["inventory"]["sources"].values():
        assert (ROOT / source["path"]).is_file()
    for credential in given["credentials"].values():
        for name, value in credential["inputs"].items():
            if re.search("secret|key_data|token|password|url", name):
                assert isinstance(value, dict), name


SPOILS = [
    ("job_templates.verify.timeout_s", 0, "job_templates, verify: timeout_s is from 1 to 172800"),
    ("job_templates.verify.survey", [{"variable": "a", "type": "text"}], "question is missing"),
    ("job_templates.verify.credentials", ["none"], "there is no credential none; there are ssh, zerotier"),
    ("job_templates.verify.labels", ["aws"], "job_templates, verify: labels have one of look, change, end"),
    ("job_templates.verify.speed", 1, "there is no key speed"),
    ("job_templates.verfy", {"labels": ["look"], "timeout_s": 1}, "there is no playbook verfy.yml"),
    ("workflows.nightly.nodes", [{"name": "a", "template": "b"}], "node a: there is no job template b"),
    ("workflows.nightly.nodes", [{"name": "a", "template": "verify", "success": ["b"]}], "there is no node b"),
    (
        "workflows.nightly.nodes",
        [{"name": "a", "template": "verify", "success": ["a"]}],
        "follow each other in a circle",
    ),
    (
        "workflows.nightly.nodes",
        [{"name": "a", "template": "verify", "answers": {"x": 1}}],
        "node a: the survey has no question x; it has verify_hosts",
    ),
    (
        "workflows.nightly.nodes",
        [{"name": "a", "template": "verify", "always": ["b"]}, {"name": "b", "template": "destroy-overlay"}],
        "node b: parkmesh-unit-destroy-overlay runs after an approval only",
    ),
    ("workflows.verify", {"labels": ["look"], "nodes": []}, "workflows, verify: a job template is called verify too"),
    ("credential_types.mail.injectors.env", {"ANSIBLE_X": "y"}, "no name may begin with ANSIBLE_"),
    ("!credentials.zerotier.inputs", {"token": "abc"}, "credentials, zerotier: token is a secret"),
    ("!credentials.ssh.inputs.ssh_key_data", "abc", "credentials, ssh: ssh_key_data is a secret"),
    (
        "!credentials.zerotier.inputs",
        {},
        "credentials, zerotier: inputs is missing|credentials, zerotier: token is missing",
    ),
    ("!teams.operators.organization_roles", ["admin"], "there is no role of an organization admin"),
    ("!schedules.nightly.rrule", "DTSTART:20260101T020000Z RRULE:FREQ=DAILY", "RRULE:… with INTERVAL=…"),
    ("!schedules.nightly.rrule", "RRULE:FREQ=DAILY;INTERVAL=1", "rrule has exactly one DTSTART"),
    ("!schedules.nightly.workflow", "destroy", "schedules, nightly: the answer destroy_confirm is missing"),
    ("!notifications.webhook.type", "pigeon", "type is one of email, webhook, slack, not pigeon"),
    ("!tell.error", ["nobody"], "tell, error: there is no notification nobody"),
    ("!project", {"scm_branch": "main"}, "project: scm_url is missing"),
    ("!settings", {"files": "/x"}, "settings: canaries is missing"),
    ("!credentials", [], "credentials: this has names, not list"),
    ("!credentials.ssh", {"type": "GitHub Personal Access Token", "inputs": {"token": "x"}}, "token is a secret"),
    ("!webhooks", {"verfy": {"service": "github"}}, "webhooks: there is no template or workflow verfy"),
    ("!webhooks", {"verify": {"service": "sourcehut"}}, "webhooks, verify: service is one of github, gitlab"),
    ("!webhooks", {"verify": {}}, "webhooks, verify: service is missing"),
    ("!webhooks", {"destroy": {"service": "github"}}, "webhooks, destroy: what ends something for good isn't started"),
    (
        "!webhooks",
        {"move-gateway": {"service": "github"}},
        "webhooks, move-gateway: a push answers nothing: the answer gateway is missing",
    ),
    (
        "!webhooks",
        {"verify": {"service": "github", "credential": "ssh"}},
        "webhooks, verify: the credential's type is GitHub Personal Access Token, not Machine",
    ),
]


@pytest.mark.parametrize(
    ("place", "value", "told"), SPOILS, ids=[f"{place} {number}" for number, (place, *_) in enumerate(SPOILS)]
)
def test_wrong_data_is_told_with_its_place(place: str, value: object, told: str) -> None:
    catalogue, environment = copy.deepcopy(data("lab"))
    *path, last = place.removeprefix("!").split(".")
    part: Any = environment if place.startswith("!") else catalogue
    for key in path:
        part = part[key]
    part[last] = value
    lines = faults(catalogue, environment)
    assert any(re.search(told.replace("(", r"\("), line) for line in lines), lines


@pytest.mark.parametrize(
    ("question", "told"),
    [
        ({"type": "colour"}, "type must be one of"),
        ({"type": "integer", "default": "1"}, "default '1' is no integer"),
        ({"type": "integer", "default": 5, "max": 4}, "default 5 is above max 4"),
        ({"type": "integer", "min": 5, "max": 4}, "min 5 is above max 4"),
        ({"type": "text", "default": "", "min": 1}, "default '' is below min 1"),
        ({"type": "multiplechoice", "choices": [True]}, "choices must be texts"),
        ({"type": "multiplechoice", "choices": ["a"], "default": "b"}, "default b is none of the choices"),
        ({"type": "text", "choices": ["a"]}, "text has no choices"),
    ],
)
def test_a_question_that_awx_would_refuse(question: dict[str, Any], told: str) -> None:
    catalogue, environment = copy.deepcopy(data("lab"))
    catalogue["job_templates"]["verify"]["survey"] = [{"variable": "verify_hosts", "question": "?", **question}]
    assert told in " ".join(faults(catalogue, environment))


def test_files_that_can_t_be_read_are_named_with_the_line() -> None:
    with pytest.raises(awx_desired.Faulty) as caught:
        awx_desired.read({"a.yml": "a: 1\n", "b.yml": "a: 2\n", "c.yml": "- 1\n", "d.yml": "a: [\nb\n"})
    assert [line.split(":")[0] for line in caught.value.lines] == ["c.yml", "d.yml, line 3", "b.yml"] or [
        "b.yml" in " ".join(caught.value.lines)
    ]


def test_the_role_s_file_is_one_that_the_aws_sdk_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = data("lab")[0]["credential_types"]["aws-role"]
    text = given["injectors"]["file"]["template"]
    for field in given["inputs"]["required"]:
        text = text.replace("{{ " + field + " }}", f"the-{field}")
    path = tmp_path / "config"
    path.write_text(text)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(path))
    monkeypatch.setenv("AWS_PROFILE", given["injectors"]["env"]["AWS_PROFILE"])
    session = botocore.session.Session()
    assert session.get_scoped_config() == {
        "role_arn": "the-role_arn",
        "source_profile": "source",
        "role_session_name": "awx",
    }
    assert session.full_config["profiles"]["source"]["aws_secret_access_key"] == "the-secret_key"


# What AWX's list of playbooks shows besides playbooks/, since it takes every file with a line `hosts:` for a playbook.
LISTED = {
    # The documentation of a filter, with a key `hosts`.
    "filter_plugins/overlay_find_member.yml": "DOCUMENTATION:",
    "inventory/lab/hosts.yml": "# The lab's fixed hosts",
    "inventory/production/hosts.yml": "# An example of a production inventory",
}


def test_awx_s_list_of_playbooks_has_operations_and_what_says_what_it_is() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    others = [
        name for name in playbooks_of(ROOT) if not re.fullmatch(r"playbooks/[a-z-]+\.yml", name) and name in tracked
    ]
    for name in others:
        text = (ROOT / name).read_text()
        first = text.splitlines()[0]
        if name in LISTED:
            assert LISTED[name] in text[:100]
        else:
            assert name.startswith(("molecule/", "tests/")), name
            assert first.startswith("# "), f"{name} must say in its first line that it is no operation"


def test_the_inventory_doesn_t_read_awx_s_data() -> None:
    done = subprocess.run(
        ["ansible-inventory", "-i", "inventory/production", "--list"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={name: value for name, value in os.environ.items() if not name.startswith("ZEROTIER_")},
    )
    assert done.returncode == 0, done.stderr
    assert "ec2_instances" not in json.loads(done.stdout)


def test_the_collection_is_the_one_that_the_lock_names() -> None:
    lock = (ROOT / "requirements/awx.txt").read_text()
    assert "ansible==13.8.0" in lock
    folder = ROOT / ".cache/collections/ansible_collections/awx/awx"
    assert json.loads((folder / "MANIFEST.json").read_text())["collection_info"]["version"] == "24.6.1"


def test_the_data_is_what_yaml_s_simple_loader_reads() -> None:
    """No tag of Ansible's in it: the module reads the files itself."""
    for folder in ("playbooks/files/awx", *(f"inventory/{name}/awx" for name in ENVIRONMENTS)):
        for text in texts(folder).values():
            assert yaml.safe_load(text)
