"""lab.aws on a free port, and playbooks run against it as a person runs them.

What they call of AWS is noted, and compared with the operators' policies when all tests are through.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest

from lab.aws import faults
from scripts import operator_policies

ROOT = Path(__file__).resolve().parents[2]
INVENTORY = Path(__file__).with_name("inventory")
REGION = "eu-west-1"
# Modules blank out what equals a secret in all they return: this must not be part of any name.
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "emulated-key-id", "AWS_SECRET_ACCESS_KEY": "emulated-secret-key"}


PLAYBOOKS_OF_TESTS = {"bake": "bake-image", "egress": "provision-egress", "replace": "", "hold": "hold-lease"}
"""What the playbooks in tests/emulator/playbooks stand for; empty for a part of one."""
SEEN = "PARKMESH_SEEN_ACTIONS"
"""The folder for what was called. Who sets it only wants the notes (scripts/operator_policies.py)."""
PLAYS = re.compile(r"\b\w+\.play\(")


def key_of(playbook: str) -> str:
    """The id of the access key that a playbook is run with, which says its name to the emulator's notes."""
    name = PLAYBOOKS_OF_TESTS.get(Path(playbook).stem, Path(playbook).stem)
    return CREDENTIALS["AWS_ACCESS_KEY_ID"] + (f"-of-{name}" if name else "")


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput") and SEEN not in os.environ:
        os.environ[SEEN] = tempfile.mkdtemp(prefix="parkmesh-seen-")
        config.add_cleanup(lambda: shutil.rmtree(os.environ.pop(SEEN), ignore_errors=True))
        config.stash[COMPARES] = True


COMPARES = pytest.StashKey[bool]()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail unless the playbooks' policies have just what was seen, where all files of tests ran to their end."""
    if session.exitstatus != 0 or not session.config.stash.get(COMPARES, False):
        return
    folder = Path(os.environ[SEEN])
    there = {path.stem for path in folder.glob("*.jsonl")}
    files = [ROOT / "tests/unit/plugins/test_playbook_overlay.py", *Path(__file__).parent.glob("test_*.py")]
    if any(PLAYS.search(file.read_text()) and file.stem not in there for file in files):
        return
    for line in operator_policies.differences(operator_policies.read_seen(folder)):
        print(line)
        session.exitstatus = 1


@dataclass(frozen=True)
class Run:
    """What a playbook did on host aws."""

    status: int
    changed: int
    failed: int
    output: str


@dataclass(frozen=True)
class Aws:
    url: str
    python: str
    """What runs the modules."""
    ansible_playbook: str = "ansible-playbook"

    def client(self, service: str) -> Any:
        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name=REGION,
            aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        )

    def of_role(self, role: str, instance: str) -> Callable[[str], Any]:
        """Clients with the credentials of an instance that has this role, which may do what its policies allow."""
        arn = self.client("iam").get_role(RoleName=role)["Role"]["Arn"]
        found = self.client("sts").assume_role(RoleArn=arn, RoleSessionName=instance)["Credentials"]
        return lambda service: boto3.client(
            service,
            endpoint_url=self.url,
            region_name=REGION,
            aws_access_key_id=found["AccessKeyId"],
            aws_secret_access_key=found["SecretAccessKey"],
            aws_session_token=found["SessionToken"],
        )

    @contextmanager
    def faults(self, **given: Any) -> Iterator[None]:
        """Let the emulator fail what playbooks call meanwhile (lab/aws/faults.py)."""
        faults.ask(self.url, "PUT", spares=CREDENTIALS["AWS_ACCESS_KEY_ID"], **given)
        try:
            yield
        finally:
            faults.ask(self.url, "DELETE")

    def command(self, playbook: str, *arguments: str, inventory: Path = INVENTORY) -> dict[str, Any]:
        """How a playbook is started, as ``subprocess`` takes it."""
        return {
            "args": [self.ansible_playbook, "-i", inventory, playbook, *arguments],
            "cwd": ROOT,
            "env": {
                **os.environ,
                **CREDENTIALS,
                "AWS_ACCESS_KEY_ID": key_of(playbook),
                "PARKMESH_TEST_AWS_ENDPOINT_URL": self.url,
                "PARKMESH_TEST_PYTHON": self.python,
                "ANSIBLE_NOCOLOR": "1",
            },
        }

    def play(self, playbook: str, *arguments: str, inventory: Path = INVENTORY) -> Run:
        """Run a playbook (path from the repository's root); a failure of it is for the caller to judge."""
        done = subprocess.run(
            **self.command(playbook, *arguments, inventory=inventory),
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        output = done.stdout + done.stderr
        recap = re.search(r"^aws +: ok=\d+ +changed=(\d+) +unreachable=0 +failed=(\d+)", output, re.MULTILINE)
        assert recap, output
        return Run(done.returncode, int(recap[1]), int(recap[2]), output)


@pytest.fixture(scope="module")
def aws(python: str, ansible_playbook: str, request: pytest.FixtureRequest) -> Iterator[Aws]:
    record = Path(os.environ[SEEN]) / f"{request.path.stem}.jsonl"
    api = subprocess.Popen(
        [sys.executable, "-m", "lab.aws", "--port", "0", "--record", str(record)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert api.stdout is not None
        yield Aws(api.stdout.readline().strip(), python, ansible_playbook)
    finally:
        api.terminate()
        api.wait(timeout=60)
