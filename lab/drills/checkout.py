"""A checkout of another release of the project, and runs of a checkout's playbooks against a lab of this clone."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab.machine.errors import LabError
from lab.machine.names import ROOT
from lab.machine.progress import say

LOCKS = ("requirements/control.txt", "requirements/uv.txt")
RECAP = re.compile(r"^\S+ +: ok=\d+ +changed=(\d+) ", re.MULTILINE)


@dataclass(frozen=True)
class Played:
    """A run of a playbook: its exit code, the tasks that changed something, how long it took (s), and its output."""

    code: int
    changed: list[str]
    took: float
    log: Path


@dataclass(frozen=True)
class Checkout:
    """A tree of the project. ``programs`` is the folder of the Ansible that runs its playbooks."""

    root: Path
    programs: Path

    def newest_revision(self) -> str:
        """The revision to which its migrations bring the database."""
        folder = self.root / "app/src/parkmesh/server/db/migrations/versions"
        return max(path.name.partition("_")[0] for path in folder.glob("[0-9]*.py"))

    def play(self, playbooks: str, *arguments: str, inventory: Path, log: Path) -> Played:
        """Run playbooks (their names with spaces between them) as a person would, one after the other as site.yml
        does, with their tasks' output in ``log`` and a line for each step on the terminal."""
        began, shown = time.monotonic(), os.dup(sys.stdout.fileno())
        log.parent.mkdir(parents=True, exist_ok=True)
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | {
            "PATH": f"{self.programs}:{os.environ['PATH']}",
            "ANSIBLE_NOCOLOR": "1",
            "ANSIBLE_CALLBACKS_ENABLED": "playbook_progress",
            "PARKMESH_PROGRESS_DESCRIPTOR": str(shown),
        }
        files = [f"playbooks/{name}.yml" for name in playbooks.split()]
        command = [str(self.programs / "ansible-playbook"), *files, "-i", str(inventory)]
        try:
            with log.open("w") as output:
                done = subprocess.run(
                    [*command, *arguments],
                    cwd=self.root,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    pass_fds=(shown,),
                    check=False,
                )
        finally:
            os.close(shown)
        return Played(done.returncode, changes(log.read_text(errors="replace")), time.monotonic() - began, log)


def must(played: Played) -> Played:
    """A run that ended well; what doesn't ends the drill."""
    if played.code:
        raise SystemExit(f"ansible-playbook ended with {played.code}; its whole output is in {played.log}")
    return played


def changes(output: str) -> list[str]:
    """Tasks of a run that changed something, each once, from what ansible-playbook printed."""
    found: dict[str, None] = {}
    task = ""
    for line in output.splitlines():
        if named := re.match(r"(?:TASK|RUNNING HANDLER) \[(.*)\] \*", line):
            task = named[1]
        elif line.startswith("changed: ["):
            found[task] = None
    # A change whose line isn't known here must not pass for none.
    if not found and any(number != "0" for number in RECAP.findall(output)):
        found["a task whose line isn't understood"] = None
    return list(found)


def today() -> Checkout:
    return Checkout(ROOT, Path(sys.executable).parent)


@contextmanager
def of(reference: str, *, keep: bool) -> Iterator[Checkout]:
    """A release in a folder of its own, with this clone's labs in it and the Ansible that it locks; gone at the end
    unless it is to be kept.

    Raises:
        LabError: the reference isn't in this clone, or what the release locks couldn't be installed.
    """
    folder = Path(tempfile.mkdtemp(prefix="parkmesh-release-"))
    tree = folder / "parkmesh"
    try:
        _run("git", "-C", str(ROOT), "worktree", "add", "--quiet", "--detach", str(tree), reference)
        # Its inventory looks for the lab beside itself.
        (tree / ".lab").symlink_to(ROOT / ".lab")
        yield Checkout(tree, _programs(tree))
    finally:
        if keep:
            say(f"kept {tree}: git worktree remove --force {tree}")
        else:
            (tree / ".lab").unlink(missing_ok=True)
            shutil.rmtree(folder)
            _run("git", "-C", str(ROOT), "worktree", "prune")


def _programs(tree: Path) -> Path:
    if all((tree / lock).read_bytes() == (ROOT / lock).read_bytes() for lock in LOCKS):
        return Path(sys.executable).parent
    say("installing the packages that the release locks")
    _run("scripts/bootstrap", "control", cwd=tree)
    return tree / ".venv/bin"


def _run(*command: str, cwd: Path = ROOT) -> None:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        raise LabError(f"{' '.join(command)}: {(done.stderr or done.stdout).strip()}")
