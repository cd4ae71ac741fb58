"""Jobs as AWX runs them: ansible-runner with a private data folder, laid out as by awx/main/tasks/jobs.py of AWX 24.6.

`inventory/hosts` is a program that prints the inventory, `env/extravars` has the survey's answers, `env/envvars` what
credentials inject, `env/ssh_key` a key for the job's ssh-agent, `env/cmdline` further words, `args` an inventory sync.
A job that is contained is alone in a PID namespace, which stands for the container that AWX gives each job: when the
runner ends, whatever the job began is killed.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml
from jinja2 import Environment

ROOT = Path(__file__).resolve().parents[2]
PARTS = (
    *("ansible.cfg", "playbooks", "roles", "library", "module_utils", "inventory", "scripts", "requirements"),
    *("inventory_plugins", "filter_plugins", "action_plugins", "callback_plugins", "doc_fragments", "app/src"),
)
"""What a job needs of the project."""
NOBODY = 65534
OWN_USERS = () if os.geteuid() == 0 else ("--user", "--map-current-user")
CONTAINER = ("unshare", *OWN_USERS, "--pid", "--fork", "--kill-child", "--mount-proc")
"""What a command begins with that is to be alone in a PID namespace."""


def may_contain() -> bool:
    """Whether a PID namespace may be made here; not so in a container without privileges."""
    return not subprocess.run([*CONTAINER, "true"], capture_output=True, check=False).returncode


def needs_containers() -> None:
    """Skip the test where no PID namespace may be made."""
    if not may_contain():
        pytest.skip("no PID namespace may be made here")


def copy_project(folder: Path) -> None:
    """Copy what a job needs of the project into a folder that isn't there yet."""
    folder.mkdir()
    for part in PARTS:
        source, target = ROOT / part, folder / part
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)


@contextmanager
def written_by_nobody(folder: Path) -> Iterator[None]:
    """Let everybody read a folder, and nobody write it but root, who may do all."""
    subprocess.run(["chmod", "--recursive", "a-w,a+rX", str(folder)], check=True)
    try:
        yield
    finally:
        subprocess.run(["chmod", "--recursive", "u+w", str(folder)], check=True)


def merged(inventories: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Put together what the sources of an AWX inventory synced: each adds its hosts, groups and variables."""
    whole: dict[str, Any] = {"_meta": {"hostvars": {}}}
    for inventory in inventories:
        for host, variables in inventory["_meta"]["hostvars"].items():
            whole["_meta"]["hostvars"].setdefault(host, {}).update(variables)
        for name, group in inventory.items():
            if name == "_meta":
                continue
            into = whole.setdefault(name, {"hosts": [], "children": [], "vars": {}})
            for key in ("hosts", "children"):
                into[key] += [each for each in group.get(key, []) if each not in into[key]]
            into["vars"].update(group.get("vars", {}))
    return whole


class Job:
    """A private data folder, and what a run in it left.

    ``hidden``: folders of this machine that a contained job finds empty.
    """

    def __init__(self, folder: Path, project: Path, hidden: Iterable[Path] = ()) -> None:
        self.folder, self.project, self.hidden = folder, project, list(hidden)
        self.injected: dict[str, str] = {}
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
            **self.injected,
            **environment,
        }
        variables["HOME"] = str(self.folder / "home")
        (self.folder / "env/envvars").write_text(json.dumps(variables))
        (self.folder / "env/settings").write_text(json.dumps({"job_timeout": 600, "suppress_env_files": True}))
        program = (
            f"import ansible_runner, sys; sys.exit(ansible_runner.run(private_data_dir={str(self.folder)!r}, ident='1'"
        )
        program += f", playbook={playbook!r}).rc)"
        command = [sys.executable, "-c", program]
        if os.geteuid() == 0 and user:
            subprocess.run(["chown", "--recursive", "--no-dereference", f"{user}:{user}", str(self.folder)], check=True)
            # An interpreter below root's home is read by this right, which lets nobody write anything. On Debian
            # ssh-agent runs as a group of its own (setgid), so what it starts loses the right; a copy of it doesn't.
            right = "+dac_read_search"
            if agent := shutil.which("ssh-agent"):
                (self.folder / "bin").mkdir(exist_ok=True)
                shutil.copyfile(agent, self.folder / "bin/ssh-agent")
                (self.folder / "bin/ssh-agent").chmod(0o755)
            words = ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"]
            command = [*words, f"--inh-caps={right}", f"--ambient-caps={right}", *command]
        if contained and os.geteuid() == 0:
            command = [*CONTAINER, "--mount", "sh", "-c", f'{self._mounts()}exec "$@"', "sh", *command]
        elif contained:
            command = [*CONTAINER, *command]
        kept = {
            name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "AWS_", "ZEROTIER_"))
        }
        return {
            "args": command,
            "cwd": self.folder,
            "env": {
                **kept,
                "HOME": variables["HOME"],
                "PATH": f"{self.folder / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            },
            "stdin": subprocess.DEVNULL,
        }

    def _mounts(self) -> str:
        """Commands that let a contained job see the files that its container would have."""
        # The entrypoint of an execution environment writes the job's user a line with a home that is there.
        users = self.folder / "passwd"
        lines = [line.split(":") for line in Path("/etc/passwd").read_text().splitlines()]
        homes = [[*line[:5], str(self.folder / "home"), line[6]] if line[2] == str(NOBODY) else line for line in lines]
        users.write_text("".join(":".join(line) + "\n" for line in homes))
        mounts = [("--bind", str(users), "/etc/passwd"), *(("-t", "tmpfs", "none", str(each)) for each in self.hidden)]
        return "".join(f"mount {shlex.join(words)} && " for words in mounts)

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

    def credential(self, kind: str, **inputs: str) -> None:
        """Inject a credential of one of the project's own types (awx/main/models/credential, inject_credential)."""
        types = yaml.safe_load((ROOT / "playbooks/files/awx/credential_types.yml").read_text())["credential_types"]
        injectors, render = types[kind]["injectors"], Environment(keep_trailing_newline=True).from_string  # noqa: S701
        path = self.secret(kind, render(injectors["file"]["template"]).render(inputs))
        for name, text in injectors["env"].items():
            self.injected[name] = render(text).render(inputs, tower={"filename": str(path)})

    def secret(self, name: str, text: str) -> Path:
        """Give the job a file that only its user reads, and that goes with its private folder."""
        path = self.folder / "env" / f"file-of-{name}"
        path.write_text(text)
        path.chmod(0o600)
        return path

    def machine(self, user: str, key: str) -> None:
        """Sign in on hosts as this user, by a key that the job's ssh-agent has (credential type Machine)."""
        self.arguments("-u", user)
        (self.folder / "env/ssh_key").write_text(key)

    def arguments(self, *words: str) -> None:
        """Give ansible-playbook further words, as AWX does for a limit or a check."""
        path = self.folder / "env/cmdline"
        before = path.read_text() if path.exists() else ""
        path.write_text(f"{before} {shlex.join(words)}".strip())

    def sync(self, path: str, environment: Mapping[str, str] | None = None, **how: Any) -> dict[str, Any]:
        """Sync a source as AWX does (RunInventoryUpdate.build_args); returns the inventory."""
        source, output = self.folder / "project" / path, self.folder / "artifacts/output.json"
        words = ["ansible-inventory", "--list", "--export", "-i", str(source), "--output", str(output)]
        (self.folder / "args").write_text(" ".join([*words, "--playbook-dir", str(source.parent)]))
        done = self.run(environment=environment, **how)
        assert done.returncode == 0, done.stdout + done.stderr
        found: dict[str, Any] = json.loads(output.read_text())
        return found

    def recap(self) -> dict[str, Any]:
        """The data of the last event, such as ``changed`` and ``failures``, each a number by host."""
        (last,) = [event["event_data"] for event in self.events() if event["event"] == "playbook_on_stats"]
        found: dict[str, Any] = last
        return found

    @property
    def changed(self) -> bool:
        """Whether a task changed something on any host."""
        return any(self.recap()["changed"].values())

    def artifact(self) -> dict[str, Any]:
        """What the playbook set by set_stats, which AWX gives to the next jobs of a workflow."""
        found: dict[str, Any] = self.recap()["artifact_data"]
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
