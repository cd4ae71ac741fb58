"""Jobs and inventory syncs as AWX runs them: ansible-runner with a private data folder (jobs.py), in a project that
can't be written, by a user who isn't root.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from module_utils import awx_desired

from .jobs import Job

pytest.importorskip("ansible_runner", reason="ansible-runner isn't installed: run scripts/bootstrap test")

ROOT = Path(__file__).resolve().parents[2]
PARTS = (
    *("ansible.cfg", "playbooks", "roles", "library", "module_utils", "inventory", "scripts"),
    *("inventory_plugins", "filter_plugins", "action_plugins", "callback_plugins", "doc_fragments"),
)
SECRET = "h1dden-Key0fTheTests"
KEYS = {"AWS_ACCESS_KEY_ID": "emulated-key-id", "AWS_SECRET_ACCESS_KEY": SECRET}


@pytest.fixture(scope="module")
def project() -> Iterator[Path]:
    """A copy of the project that nobody but root could write."""
    with tempfile.TemporaryDirectory(prefix="parkmesh-awx-") as name:
        folder = Path(name) / "project"
        folder.mkdir()
        Path(name).chmod(0o755)
        for part in PARTS:
            source = ROOT / part
            if source.is_dir():
                shutil.copytree(source, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, folder / part)
        subprocess.run(["chmod", "--recursive", "a-w,a+rX", str(folder)], check=True)
        yield folder
        subprocess.run(["chmod", "--recursive", "u+w", str(folder)], check=True)


@pytest.fixture
def job(project: Path) -> Iterator[Job]:
    with tempfile.TemporaryDirectory(prefix="parkmesh-job-") as name:
        Path(name).chmod(0o755)
        yield Job(Path(name) / "data", project)


@pytest.mark.parametrize(
    ("path", "group", "host"),
    [
        ("inventory/production/hosts.yml", "bastion", "ops-1"),
        ("inventory/production/communities.yml", "gateways", "gateway-riverside-1"),
    ],
)
def test_a_source_syncs_with_its_groups_variables(job: Job, path: str, group: str, host: str) -> None:
    found = job.sync(path)
    assert host in found[group]["hosts"]
    variables = yaml.safe_load((ROOT / f"inventory/production/group_vars/{group}.yml").read_text())
    assert set(variables) <= set(found[group]["vars"])
    assert found["all"]["vars"]["project"] == "parkmesh"


def test_members_sync_with_the_credential_s_token_and_keep_it(job: Job) -> None:
    token = job.folder / "env/token"
    token.write_text(SECRET)
    # Nothing answers there: the example warns, and lists no member.
    found = job.sync(
        "inventory/production/zerotier.yml", {"ZEROTIER_TOKEN_FILE": str(token), "https_proxy": "http://127.0.0.1:9"}
    )
    assert "gateway-riverside-1" not in json.dumps(found["_meta"])
    assert SECRET not in job.left()


HOSTS = {
    "_meta": {"hostvars": {"control-node": {}}},
    "all": {
        "children": ["aws"],
        "vars": {"project": "parkmesh", "parkmesh_environment": "unit", "aws_region": "eu-west-1"},
    },
    "aws": {
        "hosts": ["control-node"],
        "vars": {"ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}"},
    },
}


@pytest.fixture(scope="module")
def aws() -> Iterator[str]:
    api = subprocess.Popen(
        [sys.executable, "-m", "lab.aws", "--port", "0"], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert api.stdout is not None
    yield api.stdout.readline().strip()
    api.terminate()
    api.wait(timeout=60)


def test_a_job_runs_from_awx_s_inventory_and_leaves_no_secret(job: Job, aws: str) -> None:
    job.inventory(HOSTS)
    job.answers(aws_endpoint_url=aws, format="json")
    done = job.run("playbooks/show-status.yml", KEYS)
    assert done.returncode == 0, done.stdout + done.stderr
    shown = [event for event in job.events() if event["event"] == "runner_on_ok"]
    last = shown[-1]["event_data"]
    assert last["task"] == "Show it"
    assert json.loads(last["res"]["msg"])["environment"]["project"] == "parkmesh"
    assert SECRET not in job.left()


def test_a_survey_s_wrong_answer_ends_the_job_before_anything_is_done(job: Job) -> None:
    job.inventory(HOSTS)
    job.answers(destroy_confirm="another")
    done = job.run("playbooks/destroy-environment.yml", KEYS)
    assert done.returncode == 2
    failed = [event for event in job.events() if event["event"] == "runner_on_failed"]
    assert "add -e destroy_confirm=parkmesh-unit" in failed[0]["event_data"]["res"]["msg"]
    assert len([event for event in job.events() if event["event"] == "playbook_on_task_start"]) == 1
    assert SECRET not in job.left()


def test_every_template_s_playbook_is_accepted_with_its_survey_s_answers(job: Job) -> None:
    data = [
        awx_desired.read({path.name: path.read_text() for path in (ROOT / folder).glob("*.yml")})
        for folder in ("playbooks/files/awx", "inventory/production/awx")
    ]
    texts = {path.name: path.read_text() for path in (ROOT / "playbooks").glob("*.yml")}
    desired = awx_desired.desired(*data, texts, "parkmesh-unit")
    templates = [item.args for item in desired.items if item.kind == "job_templates"]
    answers: dict[str, Any] = {}
    for template in templates:
        answers |= template["extra_vars"]
        for question in (template["survey_spec"] or {"spec": []})["spec"]:
            answers[question["variable"]] = question.get("default", "1")
    groups = {
        group: {"hosts": []}
        for group in ("gateways", "app_servers", "bastion", "builder", "overlay_controller", "simulators")
    }
    job.inventory({**HOSTS, **groups})
    job.answers(**answers)
    words = ["ansible-playbook", "--syntax-check", "-i", str(job.folder / "inventory/hosts")]
    words += ["-e", f"@{job.folder / 'env/extravars'}", *(template["playbook"] for template in templates)]
    (job.folder / "args").write_text(" ".join(words))
    done = job.run()
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("playbook: playbooks/") == len(templates)
