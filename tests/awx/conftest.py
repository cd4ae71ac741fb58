"""What the tests share: a double of AWX, data that can be changed, and the real playbook."""

from __future__ import annotations

import copy
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.awx.server import Awx, serving

ROOT = Path(__file__).resolve().parents[2]
REPOSITORY = "https://git.parkmesh.example/parkmesh.git"
# Long, as a real one: Ansible masks it wherever it stands.
TOKEN = "q8Zt3LxW0vRk5NbY2mHc7Jd1"
# pragma: allowlist nextline secret
KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nk3yOfTheTests\n-----END OPENSSH PRIVATE KEY-----\n"
SECRETS = {
    "UNIT_KEY": KEY,
    "UNIT_TOKEN": "t0kenOfZeroTier",
    "UNIT_SLACK": "xoxb-sl4ck",
    "UNIT_VAULT": "v4ultOfTheTests",
    "UNIT_FORGE": "ghp-f0rge",  # pragma: allowlist secret
}

CATALOGUE: dict[str, Any] = {
    "credential_types": {
        "zerotier": {
            "inputs": {
                "fields": [{"id": "token", "label": "Token", "type": "string", "secret": True}],
                "required": ["token"],
            },
            "injectors": {"file": {"template": "{{ token }}"}, "env": {"ZEROTIER_TOKEN_FILE": "{{ tower.filename }}"}},
        }
    },
    "job_templates": {
        "verify": {"labels": ["look"], "credentials": ["ssh"], "timeout_s": 600},
        "explain-access": {
            "labels": ["look"],
            "credentials": ["zerotier"],
            "timeout_s": 600,
            "survey": [
                {"variable": "explain_from", "question": "From?", "type": "text", "required": True, "min": 1},
                {"variable": "explain_port", "question": "Port?", "type": "integer", "min": 1, "max": 65535},
            ],
        },
    },
    "workflows": {
        "release": {
            "description": "Look, ask, look again.",
            "labels": ["change"],
            "nodes": [
                {"name": "first", "template": "verify", "success": ["approve"], "failure": ["last"]},
                {"name": "approve", "approval": {"description": "Well?", "timeout_s": 60}, "success": ["last"]},
                {"name": "last", "template": "explain-access", "answers": {"explain_from": {"setting": "canaries"}}},
            ],
        }
    },
}
ENVIRONMENT: dict[str, Any] = {
    "settings": {"canaries": "gateway-a", "files": "/var/lib/parkmesh"},
    "organization": {"description": "Unit"},
    "execution_environment": {"image": "registry.example.org/parkmesh-ee:1"},
    "project": {"scm_url": REPOSITORY, "scm_branch": "main"},
    "inventory": {"sources": {"members": {"path": "inventory/lab/zerotier.yml", "credential": "zerotier"}}},
    "teams": {"operators": {"executes": ["look"], "organization_roles": ["read"]}},
    "credentials": {
        "forge": {"type": "GitHub Personal Access Token", "inputs": {"token": {"env": "UNIT_FORGE"}}},
        "ssh": {"type": "Machine", "inputs": {"username": "ops", "ssh_key_data": {"env": "UNIT_KEY"}}},
        "vault": {"type": "Vault", "inputs": {"vault_password": {"env": "UNIT_VAULT"}}},
        "zerotier": {"type": "zerotier", "inputs": {"token": {"env": "UNIT_TOKEN"}}},
    },
    "notifications": {
        "chat": {"type": "slack", "configuration": {"channels": ["#ops"], "token": {"env": "UNIT_SLACK"}}}
    },
    "webhooks": {"verify": {"service": "gitlab"}, "release": {"service": "github", "credential": "forge"}},
    "tell": {"error": ["chat"]},
    "schedules": {"nightly": {"workflow": "release", "rrule": "DTSTART:20260101T020000Z RRULE:FREQ=DAILY;INTERVAL=1"}},
}


@dataclass(frozen=True)
class Run:
    """What a run of the playbook did. ``writes``: what AWX was told to change."""

    status: int
    changed: int
    output: str
    writes: list[str]

    @property
    def shown(self) -> str:
        return " ".join(self.output.split())


@dataclass
class System:
    """A double of AWX with data of its own."""

    url: str
    awx: Awx
    folder: Path
    python: str
    ansible_playbook: str
    catalogue: dict[str, Any] = field(default_factory=lambda: copy.deepcopy(CATALOGUE))
    environment: dict[str, Any] = field(default_factory=lambda: copy.deepcopy(ENVIRONMENT))
    variables: dict[str, str] = field(default_factory=lambda: dict(SECRETS))

    def apply(self, *arguments: str, **environment: str) -> Run:
        """Write the data and run the playbook."""
        for folder, data in (("catalogue", self.catalogue), ("inventory/awx", self.environment)):
            (self.folder / folder).mkdir(parents=True, exist_ok=True)
            (self.folder / folder / "all.yml").write_text(yaml.safe_dump(data))
        hosts = {"all": {"vars": {"project": "parkmesh", "parkmesh_environment": "unit"}}}
        hosts["all"]["children"] = {"aws": {"hosts": {"control-node": None}}}  # type: ignore[dict-item]
        (self.folder / "inventory/hosts.yml").write_text(yaml.safe_dump(hosts))
        return self.play(
            self.folder / "inventory", *arguments, "-e", f"awx_catalogue={self.folder / 'catalogue'}", **environment
        )

    def play(self, inventory: Path, *arguments: str, **environment: str) -> Run:
        """Run the playbook with an inventory that is there."""
        command = [self.ansible_playbook, "playbooks/apply-awx.yml"]
        command += ["-i", str(inventory), "-e", f"ansible_python_interpreter={self.python}", *arguments]
        given = {"CONTROLLER_HOST": self.url, "CONTROLLER_OAUTH_TOKEN": TOKEN, **self.variables, **environment}
        before = len(self.awx.store.writes)
        done = subprocess.run(
            command,
            cwd=ROOT,
            env={**os.environ, **given},
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        output = done.stdout + done.stderr
        found = re.search(r"control-node\s+: ok=\d+\s+changed=(\d+)", output)
        return Run(done.returncode, int(found[1]) if found else 0, output, self.awx.store.writes[before:])

    def names(self, kind: str) -> list[str]:
        return sorted(str(thing["name"]) for thing in self.awx.store.objects[kind].values() if not thing.get("managed"))


@pytest.fixture(scope="module")
def module_system(tmp_path_factory: pytest.TempPathFactory, python: str, ansible_playbook: str) -> Iterator[System]:
    """A system that the tests of a module share, in their order."""
    with serving({REPOSITORY: ROOT}, {TOKEN}) as (url, awx):
        yield System(url, awx, tmp_path_factory.mktemp("awx"), python, ansible_playbook)


@pytest.fixture
def system(tmp_path: Path, python: str, ansible_playbook: str) -> Iterator[System]:
    with serving({REPOSITORY: ROOT}, {TOKEN}) as (url, awx):
        yield System(url, awx, tmp_path, python, ansible_playbook)
