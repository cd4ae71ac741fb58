"""Jobs as AWX runs them: ansible-runner with a private data folder, laid out as by awx/main/tasks/jobs.py of AWX 24.6.

`inventory/hosts` is a program that prints the inventory, `env/extravars` has the survey's answers, `env/envvars` what
credentials inject, `args` an inventory sync. A job that is contained is alone in a PID namespace, which stands for the
container that AWX gives each job: when the runner ends, whatever the job began is killed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

NOBODY = 65534
OWN_USERS = () if os.geteuid() == 0 else ("--user", "--map-current-user")
CONTAINER = ("unshare", *OWN_USERS, "--pid", "--fork", "--kill-child", "--mount-proc")
"""What a command begins with that is to be alone in a PID namespace."""


def needs_containers() -> None:
    """Skip the test where no PID namespace may be made, as in a container without privileges."""
    if subprocess.run([*CONTAINER, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no PID namespace may be made here")


class Job:
    """A private data folder, and what a run in it left."""

    def __init__(self, folder: Path, project: Path) -> None:
        self.folder, self.project = folder, project
        for part in ("env", "inventory", "artifacts", "home"):
            (folder / part).mkdir(parents=True)
        (folder / "project").symlink_to(project)

    def command(
        self, playbook: str | None, environment: Mapping[str, str], *, user: int = NOBODY, contained: bool = False
    ) -> dict[str, Any]:
        """How ansible-runner is started, as ``subprocess`` takes it; as this user where root runs the tests."""
        variables = {
            "ANSIBLE_HOST_KEY_CHECKING": "False",
            "ANSIBLE_INVENTORY_UNPARSED_FAILED": "True",
            **environment,
        }
        variables["HOME"] = str(self.folder / "home")
        (self.folder / "env/envvars").write_text(json.dumps(variables))
        (self.folder / "env/settings").write_text(json.dumps({"job_timeout": 300, "suppress_env_files": True}))
        program = (
            f"import ansible_runner, sys; sys.exit(ansible_runner.run(private_data_dir={str(self.folder)!r}, ident='1'"
        )
        program += f", playbook={playbook!r}).rc)"
        command = [sys.executable, "-c", program]
        if os.geteuid() == 0 and user:
            subprocess.run(["chown", "--recursive", "--no-dereference", f"{user}:{user}", str(self.folder)], check=True)
            # An interpreter below root's home is read by this right, which lets nobody write anything.
            right = "+dac_read_search"
            words = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"]
            command = [*words, f"--inh-caps={right}", f"--ambient-caps={right}", *command]
        if contained:
            command = [*CONTAINER, *command]
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "AWS_", "ZEROTIER_"))
        }
        return {
            "args": command,
            "cwd": self.folder,
            "env": {**kept, "HOME": variables["HOME"], "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
            "stdin": subprocess.DEVNULL,
        }

    def run(
        self, playbook: str | None = None, environment: Mapping[str, str] | None = None, **how: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run ansible-runner to its end."""
        command = self.command(playbook, environment or {}, **how)
        return subprocess.run(**command, capture_output=True, text=True, check=False)

    @contextmanager
    def started(self, playbook: str, environment: Mapping[str, str], **how: Any) -> Iterator[subprocess.Popen[str]]:
        """Run ansible-runner meanwhile; what it prints is in its artifacts. In the end it is killed if it is there."""
        command = self.command(playbook, environment, **how)
        with subprocess.Popen(**command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, text=True) as process:
            try:
                yield process
            finally:
                process.kill()

    def inventory(self, content: Mapping[str, Any]) -> None:
        program = self.folder / "inventory/hosts"
        program.write_text(f"#! /usr/bin/env python3\n# -*- coding: utf-8 -*-\nprint({json.dumps(content)!r})\n")
        program.chmod(0o700)

    def answers(self, **given: object) -> None:
        """What the survey was answered, and what AWX itself gives a job."""
        (self.folder / "env/extravars").write_text(json.dumps(given))

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

    @property
    def shown(self) -> str:
        """What the playbook printed so far, as AWX shows it."""
        path = self.folder / "artifacts/1/stdout"
        return path.read_text(errors="replace") if path.exists() else ""


def cancel(contained: subprocess.Popen[str]) -> None:
    """Cancel a contained job as AWX does: the runner outside gets SIGTERM and kills the container, with all in it.

    Here the runner is inside. At SIGTERM it would kill the playbook alone, and the lease's keeper might still act.
    """
    contained.kill()
    contained.wait()
