"""Jobs and inventory syncs as AWX runs them: ansible-runner with a private data folder (jobs.py), in a project that
can't be written, by a user who isn't root.
"""

from __future__ import annotations

import json
import shlex
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest
import requests
import yaml

from module_utils import awx_desired

from .jobs import ROOT, Job, copy_project, may_contain, written_by_nobody

pytest.importorskip("ansible_runner", reason="ansible-runner isn't installed: run scripts/bootstrap test")

SECRET = "h1dden-Key0fTheTests"
KEYS = {"AWS_ACCESS_KEY_ID": "emulated-key-id", "AWS_SECRET_ACCESS_KEY": SECRET}


@pytest.fixture(scope="module")
def project() -> Iterator[Path]:
    """A copy of the project that nobody but root could write."""
    with tempfile.TemporaryDirectory(prefix="parkmesh-awx-") as name:
        Path(name).chmod(0o755)
        folder = Path(name) / "project"
        copy_project(folder)
        with written_by_nobody(folder):
            yield folder


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


@pytest.mark.parametrize(
    ("playbook", "answers", "told"),
    [
        ("destroy-environment", {"destroy_confirm": "another"}, "add -e destroy_confirm=parkmesh-unit"),
        ("upgrade-database", {"upgrade_confirm": "another"}, "-e upgrade_confirm=parkmesh-unit"),
        ("rotate-codes", {"rotate_communities": "River Side"}, "rotate_communities must be all, or names"),
    ],
)
def test_a_survey_s_wrong_answer_ends_the_job_before_anything_is_done(
    job: Job, playbook: str, answers: dict[str, str], told: str
) -> None:
    job.inventory(HOSTS)
    job.answers(**answers)
    done = job.run(f"playbooks/{playbook}.yml", KEYS)
    assert done.returncode == 2, done.stdout + done.stderr
    failed = [event for event in job.events() if event["event"] == "runner_on_failed"]
    assert told in failed[0]["event_data"]["res"]["msg"]
    assert len([event for event in job.events() if event["event"] == "playbook_on_task_start"]) == 1
    assert SECRET not in job.left()


def test_a_look_at_an_empty_environment_fails_with_what_it_lacks(job: Job, aws: str) -> None:
    job.inventory(HOSTS)
    job.answers(aws_endpoint_url=aws, parkmesh_public_url="http://parkmesh.example", format="json")
    done = job.run("playbooks/check-drift.yml", KEYS)
    assert done.returncode == 2, done.stdout + done.stderr
    (shown,) = [
        event["event_data"]["res"]["msg"]
        for event in job.events()
        if event["event"] == "runner_on_ok" and event["event_data"]["task"] == "Show the differences"
    ]
    assert len(json.loads(shown)["differences"]) > 10
    assert not job.changed
    assert SECRET not in job.left()


@dataclass(frozen=True)
class Overlay:
    """A controller of ZeroTier, and lab.aws with a table of slots."""

    url: str
    token: str
    aws: str

    def ask(self, method: str, path: str, body: object = None) -> Any:
        answer = requests.request(
            method, f"{self.url}/controller/network{path}", json=body, headers={"X-ZT1-Auth": self.token}, timeout=10
        )
        answer.raise_for_status()
        return answer.json()

    def identities(self) -> list[str]:
        """The secrets of the slots' nodes that instances get."""
        client = client_of("secretsmanager", self.aws)
        listed = client.list_secrets()["SecretList"]
        return [
            json.loads(client.get_secret_value(SecretId=each["Name"])["SecretString"])["identity_secret"]
            for each in listed
        ]


def client_of(service: str, url: str) -> Any:
    return boto3.client(
        service,
        endpoint_url=url,
        region_name="eu-west-1",
        aws_access_key_id=KEYS["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=SECRET,
    )


@pytest.fixture(scope="module")
def overlay(aws: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Overlay]:
    """Nothing yet but the table of slots, which playbooks/provision-data.yml makes."""
    client_of("dynamodb", aws).create_table(
        TableName="parkmesh-unit-slots",
        KeySchema=[{"AttributeName": "slot", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "slot", "AttributeType": "N"}],
        BillingMode="PAY_PER_REQUEST",
    )
    home = tmp_path_factory.mktemp("zerotier")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    # No public root is asked, no port is mapped: the daemon stays on this host.
    nowhere = {"0.0.0.0/0": {"blacklist": True}, "::/0": {"blacklist": True}}
    settings = {"bind": ["127.0.0.1"], "portMappingEnabled": False, "allowSecondaryPort": False}
    (home / "local.conf").write_text(json.dumps({"physical": nowhere, "settings": settings}))
    start = "import sys; from lab.zerotier.daemon import main; sys.exit(main())"
    daemon = subprocess.Popen([sys.executable, "-c", start, "-U", f"-p{port}", str(home)], cwd=ROOT)
    try:
        token, until = home / "authtoken.secret", time.monotonic() + 60
        while True:
            try:
                made = Overlay(f"http://127.0.0.1:{port}", token.read_text().strip(), aws)
                made.ask("GET", "")
                break
            except (OSError, requests.RequestException):
                assert daemon.poll() is None
                assert time.monotonic() < until
                time.sleep(0.05)
        yield made
    finally:
        daemon.terminate()
        daemon.wait(10)


@pytest.fixture
def launch(project: Path, overlay: Overlay) -> Iterator[Callable[..., Job]]:
    """Launch a template of the overlay with answers to its survey, alone in its container where there may be one; the
    job must succeed, and hold no secret.
    """
    hosts = {
        **HOSTS,
        "bastion": {"hosts": ["ops"]},
        "gateways": {"hosts": ["gateway-a"]},
        "overlay_controller": {"hosts": []},
        "overlay_online": {"hosts": []},
        "_meta": {
            "hostvars": {
                "control-node": {"environment_lease_table": ""},
                "ops": {"overlay_member": {"name": "ops", "ip": "10.242.0.2", "tags": {"role": "ops"}}},
                "gateway-a": {
                    "overlay_member": {
                        "name": "gateway-a",
                        "ip": "10.242.1.1",
                        "tags": {"role": "gateway", "community": 1},
                    }
                },
            }
        },
    }
    variables = {
        "aws_endpoint_url": overlay.aws,
        "aws_service_instances_max": 2,
        "overlay_api": "controller",
        "overlay_api_url": overlay.url,
        "overlay_token_file": "{{ lookup('ansible.builtin.env', 'ZEROTIER_TOKEN_FILE') }}",
        "overlay_identity_host": "control-node",
        "overlay_network_name": "parkmesh-unit",
        "overlay_cidr": "10.242.0.0/16",
    }
    hosts["all"] = {**HOSTS["all"], "vars": {**HOSTS["all"]["vars"], **variables}}
    with tempfile.TemporaryDirectory(prefix="parkmesh-job-") as name:
        Path(name).chmod(0o755)

        def run(template: str, **answers: object) -> Job:
            job = Job(Path(name) / f"{template}-{time.monotonic_ns()}", project)
            program = job.folder / "bin/zerotier-idtool"
            program.parent.mkdir()
            words = [sys.executable, "-c", "import sys; from lab.zerotier.idtool import main; sys.exit(main())"]
            program.write_text(f'#!/bin/sh\nPYTHONPATH={shlex.quote(str(ROOT))} exec {shlex.join(words)} "$@"\n')
            program.chmod(0o755)
            job.inventory(hosts)
            job.answers(**answers)
            job.credential("zerotier", token=overlay.token)
            done = job.run(f"playbooks/{template}.yml", KEYS, contained=may_contain())
            assert done.returncode == 0, done.stdout + done.stderr
            left = job.left() + done.stdout + done.stderr
            secrets = [SECRET, overlay.token, *overlay.identities()]
            assert [number for number, secret in enumerate(secrets) if secret in left] == []
            return job

        yield run


def test_jobs_make_an_overlay_put_it_right_and_explain_it(launch: Callable[..., Job], overlay: Overlay) -> None:
    assert launch("provision-overlay", take_over_lease="false").changed
    before = overlay.identities()
    assert len(before) == 3, "two servers and one more while a roll is under way"

    (network,) = overlay.ask("GET", "")
    overlay.ask("POST", f"/{network}/member/aaaaaaaa01", {"name": "gateway-a", "authorized": False})
    purge = {"reconcile_purge": "false", "reconcile_purge_max": 10, "reconcile_purge_absent": "false"}
    assert launch("reconcile-members", **purge).changed
    assert overlay.ask("GET", f"/{network}/member/aaaaaaaa01")["ipAssignments"] == ["10.242.1.1"]

    explained = launch(
        "explain-access", explain_from="gateway-a", explain_to="slot-1", explain_protocol="tcp", explain_port=8001
    )
    assert "TCP 8001: yes" in explained.shown

    assert launch("rotate-overlay", rotate_slots="1,2", rotate_older_than_hours=0).changed
    assert len(set(before) & set(overlay.identities())) == 1


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
