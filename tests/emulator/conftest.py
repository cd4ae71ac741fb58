"""lab.aws on a free port, and playbooks run against it as a person runs them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import pytest

ROOT = Path(__file__).resolve().parents[2]
INVENTORY = Path(__file__).with_name("inventory")
REGION = "eu-west-1"
# Modules blank out what equals a secret in all they return: this must not be part of any name.
CREDENTIALS = {"AWS_ACCESS_KEY_ID": "emulated-key-id", "AWS_SECRET_ACCESS_KEY": "emulated-secret-key"}


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
    ansible_playbook: str

    def client(self, service: str) -> Any:
        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name=REGION,
            aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        )

    def play(self, playbook: str, *arguments: str) -> Run:
        """Run a playbook (path from the repository's root); a failure of it is for the caller to judge."""
        done = subprocess.run(
            [self.ansible_playbook, "-i", INVENTORY, playbook, *arguments],
            cwd=ROOT,
            env={
                **os.environ,
                **CREDENTIALS,
                "PARKMESH_TEST_AWS_ENDPOINT_URL": self.url,
                "PARKMESH_TEST_PYTHON": self.python,
                "ANSIBLE_NOCOLOR": "1",
            },
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
def aws(python: str, ansible_playbook: str) -> Iterator[Aws]:
    api = subprocess.Popen(
        [sys.executable, "-m", "lab.aws", "--port", "0"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert api.stdout is not None
        yield Aws(api.stdout.readline().strip(), python, ansible_playbook)
    finally:
        api.terminate()
        api.wait(timeout=10)
