"""The host of a role's scenario as its tests see it: by testinfra, and by further runs of the scenario's playbook."""

import json
import os
import re
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import testinfra
from testinfra.host import Host

from tests.emulator.conftest import Aws
from tests.emulator.conftest import Run as PlaybookRun

ROOT = Path(__file__).resolve().parents[1]
# What packages and the system itself write.
NOISE = re.compile(
    r"/etc/(apt/|(passwd|group|shadow|gshadow|subuid|subgid)-|\.pwd\.lock|ld\.so\.cache|resolv\.conf)"
    r"|/var/lib/(apt|dpkg|systemd|mosquitto|ucf)/|/etc/ssh/ssh_host_"
    # The SSH server stays enabled: other users may sign in by it. So does what keeps the clock right.
    r"|/etc/rc\d\.d/...(ssh|chrony)$"
    r"|/etc/systemd/system/(sshd|chronyd|multi-user\.target\.wants/(ssh|chrony))\.service$"
)
SSH_OPTIONS = "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR"
# In this order: the scenario's own, what removes the role, and what needs a host without it; in a whole lab what comes
# after the first day.
ORDER = tuple(
    map(re.compile, (r"/steps/(aws_)?absent/", r"/test_afterwards\.py$", r"/fleet/verify/", r"/onboarding/verify/"))
)


# For what comes soon; it ends a test that would wait for ever, on a machine however loaded.
PATIENCE_S = 300


def eventually(look: Callable[[], object], what: Callable[[], str]) -> None:
    """Wait until there is an answer that is true; fails with what is the case instead."""
    until = time.monotonic() + PATIENCE_S
    while not look():
        assert time.monotonic() < until, what()
        time.sleep(0.5)


@dataclass(frozen=True)
class Run:
    """What a run of the scenario's playbook did on the host."""

    changed: int
    output: str


@dataclass(frozen=True)
class Scenario:
    """A scenario's host: what `python -m lab host-up` wrote about it, and what is on it now."""

    name: str
    facts: dict[str, Any]
    before: dict[str, list[str]]
    host: Host

    @property
    def folder(self) -> Path:
        """A folder of the control node for this scenario."""
        return Path(self.facts["folder"])

    @property
    def public_key(self) -> str:
        """Of the key that this run signs in with."""
        return Path(self.facts["ssh_key"]).with_suffix(".pub").read_text().strip()

    @property
    def files_before(self) -> set[str]:
        return {path for path in self.before["files"] if not NOISE.match(path)}

    def files(self) -> set[str]:
        from lab.commands.role_host import LISTING

        return {path for path in self.host.check_output(LISTING).splitlines() if not NOISE.match(path)}

    def accounts(self) -> set[str]:
        """Users and groups that weren't there before."""
        from lab.commands.role_host import ACCOUNTS

        return set(self.host.check_output(ACCOUNTS).split()) - set(self.before["accounts"])

    def play(
        self,
        *arguments: str,
        playbook: str = "converge.yml",
        fails: bool = False,
        environment: dict[str, str] | None = None,
        **extra: object,
    ) -> Run:
        """Run the scenario's playbook with extra variables; it must succeed, or fail where that is expected."""
        done = subprocess.run(
            [
                *("ansible-playbook", "-i", str(ROOT / "molecule/inventory"), "--diff"),
                *("-e", json.dumps(extra), *arguments),
                str(ROOT / "molecule" / self.name / playbook),
            ],
            cwd=ROOT,
            # Molecule asks for colours.
            env={**os.environ, "ANSIBLE_FORCE_COLOR": "0", "ANSIBLE_NOCOLOR": "1", **(environment or {})},
            capture_output=True,
            text=True,
            timeout=900,
            check=False,
        )
        output = done.stdout + done.stderr
        assert (done.returncode != 0) == fails, output
        recap = re.search(r"^host +: ok=\d+ +changed=(\d+)", output, re.MULTILINE)
        assert recap, output
        return Run(int(recap[1]), output)


@pytest.fixture(scope="session")
def scenario() -> Scenario:
    name = os.environ["MOLECULE_SCENARIO_NAME"]
    folder = ROOT / ".lab" / os.environ["PARKMESH_LAB"]
    facts = json.loads((folder / f"{name}.json").read_text())
    before = json.loads((folder / f"{name}-before.json").read_text())
    host = testinfra.get_host(
        f"ssh://root@{facts['address']}",
        ssh_identity_file=facts["ssh_key"],
        ssh_extra_args=SSH_OPTIONS,
        controlpersist=60,
        # Of ten seconds a machine on which several hosts boot needs more.
        timeout=60,
    )
    return Scenario(name, facts, before, host)


@dataclass(frozen=True)
class Emulated:
    """The scenario of a role for AWS: its emulator, and where `checked` notes what was there before the role."""

    aws: Aws
    folder: Path
    before: Path

    def play(self, *arguments: str, **extra: object) -> PlaybookRun:
        """Run the scenario's playbook with extra variables; it must succeed."""
        run = self.aws.play(str(self.folder / "converge.yml"), "-e", json.dumps(extra), *arguments)
        assert run.status == 0, run.output
        return run


@pytest.fixture(scope="session")
def emulated() -> Emulated:
    name = os.environ["MOLECULE_SCENARIO_NAME"]
    folder = ROOT / ".lab" / os.environ["PARKMESH_LAB"]
    facts = json.loads((folder / f"{name}.json").read_text())
    # Molecule asks for colours.
    os.environ.pop("ANSIBLE_FORCE_COLOR", None)
    return Emulated(Aws(facts["url"], facts["python"]), ROOT / "molecule" / name, folder / f"{name}-before.json")


@pytest.fixture(scope="session")
def host(scenario: Scenario) -> Host:
    return scenario.host


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: [bool(each.search(item.path.as_posix())) for each in reversed(ORDER)])
