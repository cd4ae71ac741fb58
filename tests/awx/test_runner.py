"""Jobs and inventory syncs as AWX runs them: ansible-runner with a private data folder, in a project that can't be
written, by a user who isn't root.

The folder is laid out as awx/main/tasks/jobs.py of AWX 24.6 does: `inventory/hosts` is a program that prints the
inventory, `env/extravars` has the survey's answers, `env/envvars` what credentials inject, `args` an inventory sync.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from module_utils import awx_desired

pytest.importorskip("ansible_runner", reason="ansible-runner isn't installed: run scripts/bootstrap test")

ROOT = Path(__file__).resolve().parents[2]
NOBODY = 65534
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


class Job:
    """A private data folder, and what a run in it left."""

    def __init__(self, folder: Path, project: Path) -> None:
        self.folder, self.project = folder, project
        for part in ("env", "inventory", "artifacts", "home"):
            (folder / part).mkdir(parents=True)
        (folder / "project").symlink_to(project)

    def run(
        self, playbook: str | None = None, environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run ansible-runner as a user who isn't root."""
        variables = {
            "ANSIBLE_HOST_KEY_CHECKING": "False",
            "ANSIBLE_INVENTORY_UNPARSED_FAILED": "True",
            **(environment or {}),
        }
        variables["HOME"] = str(self.folder / "home")
        (self.folder / "env/envvars").write_text(json.dumps(variables))
        (self.folder / "env/settings").write_text(json.dumps({"job_timeout": 300, "suppress_env_files": True}))
        program = (
            f"import ansible_runner, sys; sys.exit(ansible_runner.run(private_data_dir={str(self.folder)!r}, ident='1'"
        )
        program += f", playbook={playbook!r}).rc)"
        command = [sys.executable, "-c", program]
        if os.geteuid() == 0:
            subprocess.run(
                ["chown", "--recursive", "--no-dereference", f"{NOBODY}:{NOBODY}", str(self.folder)], check=True
            )
            # An interpreter below root's home is read by this right, which lets nobody write anything.
            right = "+dac_read_search"
            user = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
            command = [*user, f"--inh-caps={right}", f"--ambient-caps={right}", *command]
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "AWS_", "ZEROTIER_"))
        }
        return subprocess.run(
            command,
            cwd=self.folder,
            env={**kept, "HOME": variables["HOME"], "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    def inventory(self, content: Mapping[str, Any]) -> None:
        program = self.folder / "inventory/hosts"
        program.write_text(f"#! /usr/bin/env python3\n# -*- coding: utf-8 -*-\nprint({json.dumps(content)!r})\n")
        program.chmod(0o700)

    def sync(self, path: str, environment: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Sync a source as AWX does (RunInventoryUpdate.build_args); returns the inventory."""
        source, output = self.folder / "project" / path, self.folder / "artifacts/output.json"
        words = ["ansible-inventory", "--list", "--export", "-i", str(source), "--output", str(output)]
        (self.folder / "args").write_text(" ".join([*words, "--playbook-dir", str(source.parent)]))
        done = self.run(environment=environment)
        assert done.returncode == 0, done.stdout + done.stderr
        found: dict[str, Any] = json.loads(output.read_text())
        return found

    def events(self) -> list[dict[str, Any]]:
        found = [json.loads(path.read_text()) for path in (self.folder / "artifacts/1/job_events").glob("*.json")]
        return sorted(found, key=lambda event: int(event["counter"]))

    def left(self) -> str:
        """What AWX takes from the artifacts (output, events, facts), as text. The runner's own file `command` repeats
        the environment of the job; it goes with the private folder."""
        paths = [path for path in (self.folder / "artifacts").rglob("*") if path.is_file() and path.name != "command"]
        return "\n".join(path.read_text(errors="replace") for path in paths)


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
    (job.folder / "env/extravars").write_text(json.dumps({"aws_endpoint_url": aws, "format": "json"}))
    done = job.run("playbooks/show-status.yml", KEYS)
    assert done.returncode == 0, done.stdout + done.stderr
    shown = [event for event in job.events() if event["event"] == "runner_on_ok"]
    last = shown[-1]["event_data"]
    assert last["task"] == "Show it"
    assert json.loads(last["res"]["msg"])["environment"]["project"] == "parkmesh"
    assert SECRET not in job.left()


def test_a_survey_s_wrong_answer_ends_the_job_before_anything_is_done(job: Job) -> None:
    job.inventory(HOSTS)
    (job.folder / "env/extravars").write_text(json.dumps({"destroy_confirm": "another"}))
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
    (job.folder / "env/extravars").write_text(json.dumps(answers))
    words = ["ansible-playbook", "--syntax-check", "-i", str(job.folder / "inventory/hosts")]
    words += ["-e", f"@{job.folder / 'env/extravars'}", *(template["playbook"] for template in templates)]
    (job.folder / "args").write_text(" ".join(words))
    done = job.run()
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("playbook: playbooks/") == len(templates)
