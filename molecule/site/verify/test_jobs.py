"""Job templates as AWX launches them: ansible-runner as a user who isn't root, from a project that nobody may write.

Jobs have the inventory that AWX syncs, the answers of surveys, the credentials that are injected, and a key in an
ssh-agent. tests/awx/lab_jobs.py says which templates are launched, and why not the others.
"""

from __future__ import annotations

import itertools
import json
import re
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from running_lab import ROOT, STATE, Lab, connects, eventually

from module_utils import awx_desired
from tests.awx.jobs import Job, copy_project, merged, written_by_nobody
from tests.awx.lab_jobs import LAUNCHES, Launch

SECRETS = STATE / "secrets"
ROLE = "awx-jobs-of-the-tests"
# The lanes run side by side, each in its order. gateway-b is offline during the roll, when the other lane has come to
# what looks at no gateway; the only job that takes the lease is run-retention.
LANES: Sequence[Sequence[str]] = (
    (
        *("verify", "apply-communities", "reconcile-members", "enroll-gateways", "rotate-codes", "deploy-gateways"),
        "roll-gateways",
    ),
    ("move-gateway", "check-drift", "show-status", "explain-access", "run-retention"),
)
CHANGES = ("rotate-codes", "run-retention")
"""All others find the system as they want it."""


OF_A_GATEWAY = {
    "token": "/etc/parkmesh/gateway.token",
    "password at the broker": "/etc/parkmesh/mqtt/parkmesh.password",
}


def test_every_template_that_is_launched_has_its_place() -> None:
    assert sorted(name for lane in LANES for name in lane) == sorted(
        name for name, launch in LAUNCHES.items() if isinstance(launch, Launch)
    )


@dataclass(frozen=True)
class Ran:
    """A job that has ended."""

    job: Job
    status: int
    output: str

    def result(self, task: str) -> dict[str, Any]:
        """What a task returned on the last host of which there is an event."""
        ended = [event["event_data"] for event in self.job.events() if event["event"] == "runner_on_ok"]
        found: dict[str, Any] = [event for event in ended if event["task"] == task][-1]["res"]
        return found


def rewrite(path: Path, gone: Sequence[str] = (), **values: Any) -> None:
    """Change keys of a file of the inventory."""
    content = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump({key: part for key, part in content.items() if key not in gone} | values))


@pytest.fixture(scope="module")
def project(lab: Lab) -> Iterator[Path]:
    """The lab's repository of AWX: the project, and the inventory changed as docs/awx.md says. It holds no secret."""
    with tempfile.TemporaryDirectory(prefix="parkmesh-lab-") as made:
        Path(made).chmod(0o755)
        folder = Path(made) / "p"
        copy_project(folder)
        # Releases that are built already: a job needs no index of packages.
        shutil.copytree(ROOT / "dist", folder / "dist")
        state = folder / ".lab" / STATE.name
        (state / "secrets").mkdir(parents=True)
        for name in ("lab.json", "smtp-url"):
            shutil.copy(STATE / name, state)
        shutil.copytree(STATE / "moons", state / "moons")
        for key in SECRETS.glob("*.pub"):
            shutil.copy(key, state / "secrets")
        inventory = folder / "inventory/lab"
        given = "{{{{ lookup('ansible.builtin.env', '{}') }}}}".format
        rewrite(inventory / "zerotier.yml", unreachable="fail", token_file=given("ZEROTIER_TOKEN_FILE"))
        users = yaml.safe_load((inventory / "group_vars/all/users.yml").read_text())["users"]
        users[0]["password_file"] = given("PARKMESH_DESK_PASSWORD_FILE")
        rewrite(inventory / "group_vars/all/users.yml", users=users)
        rewrite(inventory / "group_vars/all/main.yml", overlay_token_file=given("ZEROTIER_TOKEN_FILE"))
        # The lab's bastion is a host of its own, so jobs go through it by SSH, with the key that they have.
        unknown = "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"
        way = f'-o ProxyCommand="ssh {unknown} -W %h:%p ops@{lab.facts["hosts"]["ops"]["address"]}" {unknown}'
        rewrite(
            inventory / "group_vars/all/lab.yml",
            ["aws_access_key", "aws_secret_key"],
            overlay_ssh_args=way,
            ansible_timeout=10,
            lab_mqtt_password="{{ lookup('ansible.builtin.file', lab_mqtt_password_file) }}",
            lab_mqtt_password_file=given("LAB_MQTT_PASSWORD_FILE"),
        )
        rewrite(inventory / "group_vars/app_servers.yml", ["ansible_ssh_private_key_file"])
        # Quicker than one that starts for each task: tests/warm_python says how.
        warm = {"ansible_python_interpreter": "/warm-python/python"}
        rewrite(inventory / "group_vars/gateways.yml", ["ansible_ssh_private_key_file"], **warm)
        console = {"connection": "ssh", "host": lab.facts["hosts"]["ops"]["address"], "user": "ops", "become": True}
        ssh = {"ansible_connection": "ssh", "ansible_user": "ops", "ansible_become": True}
        rewrite(inventory / "group_vars/bastion.yml", gateway_console=console, ansible_ssh_common_args=way, **ssh)
        with written_by_nobody(folder):
            yield folder


@pytest.fixture(scope="module")
def role(lab: Lab) -> Iterator[str]:
    """The ARN of the role that jobs assume with the key of their credential."""
    iam = lab.client("iam")
    allowed = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
    made = iam.create_role(RoleName=ROLE, AssumeRolePolicyDocument=json.dumps(allowed))
    iam.put_role_policy(RoleName=ROLE, PolicyName="all", PolicyDocument=json.dumps(allowed))
    yield made["Role"]["Arn"]
    iam.delete_role_policy(RoleName=ROLE, PolicyName="all")
    iam.delete_role(RoleName=ROLE)


@pytest.fixture(scope="module")
def secrets(lab: Lab) -> dict[str, str]:
    """What no job may leave anywhere, by what it is."""
    found = {path.name: path.read_text().strip() for path in SECRETS.iterdir() if path.suffix != ".pub"}
    # Of a key in lines, each line would be enough.
    for name in ("ssh_key", "ca-key.pem", "release_key"):
        found[name] = max(found[name].splitlines(), key=len)
    manager = lab.client("secretsmanager")
    for page in manager.get_paginator("list_secrets").paginate():
        for secret in page["SecretList"]:
            text = manager.get_secret_value(SecretId=secret["Name"])["SecretString"]
            parts = json.loads(text) if text.startswith("{") else {"": text}
            for key, value in parts.items():
                if key in ("", "password", "identity_secret"):
                    found[f"{secret['Name']} {key}"] = str(value)
    for gateway in ("gateway-a", "gateway-b"):
        for what, path in OF_A_GATEWAY.items():
            found[f"{what} of {gateway}"] = lab.run(gateway, "cat", path).stdout.strip()
    found["key of the AWS credential"] = "h1dden-Key0fTheJobs"
    # The mail server's address stands in the lab's inventory, and is no secret there.
    for name in [name for name, value in found.items() if value == lab.facts["smtp_url"]]:
        del found[name]
    return found


class Awx:
    """Launches jobs of one environment."""

    def __init__(self, folder: Path, project: Path, lab: Lab, role: str, secrets: dict[str, str]) -> None:
        self.folder, self.project, self.lab, self.role, self.secrets = folder, project, lab, role, secrets
        self.numbers = itertools.count(1)
        texts = {path.name: path.read_text() for path in (ROOT / "playbooks").glob("*.yml")}
        data = [
            awx_desired.read({path.name: path.read_text() for path in (ROOT / each).glob("*.yml")})
            for each in ("playbooks/files/awx", "inventory/lab/awx")
        ]
        desired = awx_desired.desired(*data, texts, "parkmesh-lab")
        self.items = {(item.kind, item.args["name"].removeprefix("parkmesh-lab-")): item.args for item in desired.items}
        self.inventory = merged(
            self.sync(args) for (kind, _), args in self.items.items() if kind == "inventory_sources"
        )

    def job(self, number: int, credentials: Sequence[str]) -> Job:
        made = Job(self.folder / str(number), self.project, hidden=[SECRETS])
        for name in credentials:
            match name.removeprefix("parkmesh-lab-"):
                case "ssh":
                    made.machine("root", (SECRETS / "ssh_key").read_text())
                    # A site's own secrets come by a credential of a site's own type.
                    devices = made.secret("devices", self.secrets["mqtt-password"])
                    made.injected["LAB_MQTT_PASSWORD_FILE"] = str(devices)
                case "zerotier":
                    made.credential("zerotier", token=self.secrets["controller-authtoken"])
                case "admin":
                    made.credential("admin", desk_password=self.secrets["desk-password"])
                case "aws":
                    key = self.secrets["key of the AWS credential"]
                    made.credential("aws-role", role_arn=self.role, access_key="awx-of-the-lab", secret_key=key)
                case other:
                    raise AssertionError(other)
        return made

    @property
    def environment(self) -> dict[str, str]:
        """What AWX is told to give to all jobs: the SDK's own endpoint, from which it takes the role's keys."""
        return {"PARKMESH_LAB": STATE.name, "AWS_ENDPOINT_URL": self.lab.facts["aws_endpoint_url"]}

    def sync(self, source: dict[str, Any]) -> dict[str, Any]:
        job = self.job(next(self.numbers), [source["credential"]] if "credential" in source else [])
        found = job.sync(source["source_path"], self.environment, contained=True)
        left = job.left()
        assert [name for name, value in self.secrets.items() if value in left] == []
        return found

    def launch(self, name: str, launch: Launch) -> Ran:
        template = self.items["job_templates", name]
        questions = (template["survey_spec"] or {"spec": []})["spec"]
        assert awx_desired.answer_faults(questions, launch.answers, True) == []
        answers = {question["variable"]: question["default"] for question in questions if "default" in question}
        number = next(self.numbers)
        job = self.job(number, template["credentials"])
        job.inventory(self.inventory)
        job.answers(
            **{**template["extra_vars"], **answers, **launch.answers},
            awx_job_id=number,
            awx_job_template_name=template["name"],
            awx_user_name="ana",
        )
        if launch.check:
            job.arguments("--check", "--diff")
        if launch.limit:
            job.arguments("--limit", launch.limit)
        done = job.run(template["playbook"], self.environment, contained=True)
        return Ran(job, done.returncode, done.stdout + done.stderr)


@pytest.fixture(scope="module")
def ran(project: Path, lab: Lab, role: str, secrets: dict[str, str]) -> Iterator[dict[str, Ran]]:
    """All templates' jobs, by template."""

    def run(lane: Sequence[str]) -> dict[str, Ran]:
        found = {}
        for name in lane:
            launch = LAUNCHES[name]
            assert isinstance(launch, Launch)
            if name == "roll-gateways":
                assert lab.run("gateway-b", "systemctl", "stop", "zerotier-one").returncode == 0
            found[name] = awx.launch(name, launch)
        return found

    with tempfile.TemporaryDirectory(prefix="pm-jobs-") as made:
        Path(made).chmod(0o755)
        awx = Awx(Path(made), project, lab, role, secrets)
        try:
            with ThreadPoolExecutor(len(LANES)) as pool:
                yield {name: job for lane in pool.map(run, LANES) for name, job in lane.items()}
        finally:
            assert lab.run("gateway-b", "systemctl", "start", "zerotier-one").returncode == 0
            eventually(lambda: connects(lab, "ops", "10.242.1.2", 22), 90, "ops reach gateway-b again")


LAUNCHED = [name for lane in LANES for name in lane]


@pytest.mark.parametrize("name", LAUNCHED)
def test_a_job_succeeds_without_root_and_without_writing_the_project(ran: dict[str, Ran], name: str) -> None:
    job = ran[name]
    assert job.status == 0, job.output[-6000:]
    assert name in CHANGES or not job.job.changed, job.output[-6000:]


@pytest.mark.parametrize("name", LAUNCHED)
def test_a_job_leaves_no_secret(ran: dict[str, Ran], secrets: dict[str, str], name: str) -> None:
    left = ran[name].job.left() + ran[name].output
    assert "playbook_on_stats" in left
    assert [what for what, value in secrets.items() if value in left] == []


def test_secrets_of_all_kinds_are_looked_for(secrets: dict[str, str]) -> None:
    kinds = {"ssh_key", "controller-authtoken", "desk-password", "mqtt-password", "key of the AWS credential"}
    assert kinds | {f"{what} of gateway-b" for what in OF_A_GATEWAY} <= set(secrets)
    of_aws = {name.partition(" ")[2] for name in secrets if name.startswith("parkmesh-lab-")}
    assert {"password", "identity_secret"} <= of_aws
    assert min(map(len, secrets.values())) >= 12


def test_a_roll_tells_the_next_job_which_gateways_were_offline(ran: dict[str, Ran]) -> None:
    assert ran["roll-gateways"].job.artifact() == {"gateways_offline": ["gateway-b"]}
    assert ran["roll-gateways"].result("Sum up until now")["msg"][:2] == [
        "1 of 2 gateways are at what is wanted",
        "offline and left out: gateway-b",
    ]


def test_a_dry_run_of_a_roll_looks_at_the_gateways(ran: dict[str, Ran]) -> None:
    assert ran["deploy-gateways"].result("Sum up until now")["msg"] == ["1 of 1 gateways would be at what is wanted"]


def test_each_job_says_what_a_person_wanted_to_know(ran: dict[str, Ran]) -> None:
    # In a lab that stands for longer the key may be kept: at most three former ones are valid at once.
    rotated = ran["rotate-codes"].result("Say what has a new key")["msg"]
    assert re.match(r"New keys: (a|none\. As they were: a)\.", rotated)
    assert "TCP 8001: yes" in "\n".join(ran["explain-access"].result("Explain")["msg"])
    assert json.loads(ran["check-drift"].result("Show the differences")["msg"])["differences"] == []
    assert "parkmesh-lab-app" in json.dumps(ran["show-status"].result("Show it")["msg"])
    assert ran["run-retention"].result("Say what went")["msg"] == "Nothing was over its time."
