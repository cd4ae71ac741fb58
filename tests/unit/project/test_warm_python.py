"""The Pythons of the playbook tests: what runs in one is as in an ordinary one, and gets nothing of another's."""

import base64
import io
import json
import os
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]

TELL = """
import json, os, sys
umask = os.umask(0)
print(json.dumps([sys.argv, __name__, os.getcwd(), os.environ["ASKED"], umask, "boto3" in sys.modules]))
print("trouble", file=sys.stderr)
sys.exit(3)
"""


def run(python: str, program: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([python], input=program, capture_output=True, text=True, timeout=120, check=False, **options)  # type: ignore[call-overload,no-any-return]


@pytest.mark.parametrize("which", ["ordinary", "warm"])
def test_a_program_sees_what_started_it(python: str, which: str, tmp_path: Path) -> None:
    program = sys.executable if which == "ordinary" else python
    done = run(program, TELL, cwd=tmp_path, env={"ASKED": "for"}, umask=0o27)
    assert json.loads(done.stdout) == [[""], "__main__", str(tmp_path), "for", 0o27, which == "warm"]
    assert (done.stderr, done.returncode) == ("trouble\n", 3)


def test_a_program_that_fails_or_is_killed_has_failed(python: str) -> None:
    failed = run(python, "raise ValueError('bad')")
    assert (failed.returncode, failed.stderr.splitlines()[-1]) == (1, "ValueError: bad")
    killed = run(python, f"import os; os.kill(os.getpid(), {signal.SIGKILL})")
    assert killed.returncode == 128 + signal.SIGKILL


def test_what_a_program_ends_with_is_done_before_it_has_ended(python: str, tmp_path: Path) -> None:
    run(python, f"import atexit, pathlib, time; atexit.register(pathlib.Path({str(tmp_path / 'left')!r}).touch)")
    assert (tmp_path / "left").exists()


def test_what_a_killed_caller_began_is_killed_and_others_go_on(python: str, tmp_path: Path) -> None:
    program = f"import os, pathlib, time; pathlib.Path({str(tmp_path / 'part')!r}).write_text(str(os.getpid()))\n"
    program += f"os.rename({str(tmp_path / 'part')!r}, {str(tmp_path / 'begun')!r}); time.sleep(600)"
    with subprocess.Popen([python], stdin=subprocess.PIPE, text=True) as caller:
        assert caller.stdin is not None
        caller.stdin.write(program)
        caller.stdin.close()
        begun = tmp_path / "begun"
        until(begun.exists)
        caller.kill()
    number = begun.read_text()
    until(lambda: not Path("/proc", number).exists())
    assert run(python, "print('on')").stdout == "on\n"


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def sent(said: str) -> str:
    """A program that imports from an archive that it brings along, as Ansible's modules do."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("brought/__init__.py", "from . import inner\nwhere = __file__, inner.__file__\n")
        file.writestr("brought/inner.py", f"said = {said!r}\n")
    content = base64.b64encode(archive.getvalue()).decode()
    return (
        "import base64, pathlib, sys\n"
        f"pathlib.Path('sent.zip').write_bytes(base64.b64decode({content!r}))\n"
        "sys.path.insert(0, 'sent.zip')\n"
        "import brought\n"
        "print(brought.inner.said, *brought.where)\n"
    )


def test_each_program_imports_what_it_was_sent_with(python: str, tmp_path: Path) -> None:
    where = [f"sent.zip{os.sep}brought{os.sep}{name}.py" for name in ("__init__", "inner")]
    for said in ("one", "two", "one"):
        assert run(python, sent(said), cwd=tmp_path).stdout.split() == [said, *where]


def test_with_arguments_it_is_the_ordinary_python(python: str) -> None:
    done = subprocess.run(
        [python, "-c", "import sys; print(sys.argv)", "a b"], capture_output=True, text=True, check=True
    )
    assert done.stdout == "['-c', 'a b']\n"


PLAYBOOK = """
- hosts: localhost
  gather_facts: false
  tasks:
    - ansible.builtin.copy:
        dest: "{{ file }}"
        content: "{{ lookup('ansible.builtin.env', 'ASKED') }} {{ said }}"
        mode: "0600"
      when: not fails
    - ansible.builtin.fail:
        msg: "{{ [1, 2] | community.general.counter }}"
      when: fails
"""


def play(program: str | Path, folder: Path, *arguments: str, **environment: str) -> tuple[int, str, str]:
    """Run the playbook in the repository's root; returns how it ended and what it told of its tasks."""
    file = folder / "playbook.yml"
    file.write_text(PLAYBOOK)
    words = [program, "-i", "localhost,", "-c", "local", file, "-e", f"file={folder / 'made'}", *arguments]
    done = subprocess.run(
        words, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, timeout=120, check=False
    )
    return done.returncode, done.stdout.partition("ROLES RECAP")[0], done.stderr


def test_a_playbook_runs_as_by_the_ordinary_program_and_apart_from_others(
    ansible_playbook: str, tmp_path: Path
) -> None:
    runs: list[dict[str, object]] = [{"said": "one", "fails": False}, {"said": "two", "fails": False}]
    runs.append({"said": "two", "fails": True})
    told = {}
    for which, program in (
        ("ordinary", Path(sys.executable).with_name("ansible-playbook")),
        ("warm", ansible_playbook),
    ):
        (tmp_path / "made").unlink(missing_ok=True)
        told[which] = [
            play(program, tmp_path, "-e", json.dumps(given), ASKED=f"asked-{number}")
            for number, given in enumerate(runs)
        ]
        assert (tmp_path / "made").read_text() == "asked-1 two"
    assert [code for code, *_ in told["warm"]] == [0, 0, 2]
    assert told["warm"] == told["ordinary"]


def test_a_playbook_with_other_settings_of_ansible_runs_by_the_ordinary_program(
    ansible_playbook: str, tmp_path: Path
) -> None:
    given = json.dumps({"said": "one", "fails": False})
    code, told, _ = play(ansible_playbook, tmp_path, "-e", given, ASKED="for", ANSIBLE_VERBOSITY="2")
    # Only the variable makes it tell so much.
    assert (code, "task path: " in told) == (0, True)
    assert (tmp_path / "made").read_text() == "for one"


def test_a_playbook_runs_by_the_strategy_that_it_is_given(ansible_playbook: str, tmp_path: Path) -> None:
    given = json.dumps({"said": "one", "fails": False})
    code, _, errors = play(ansible_playbook, tmp_path, "-e", given, ANSIBLE_STRATEGY="planted")
    assert code != 0
    assert "Invalid play strategy specified: planted" in errors
    assert play(ansible_playbook, tmp_path, "-e", given, ANSIBLE_STRATEGY="free")[0] == 0


# As Ansible's own part of a module and the project's are: the one is imported already, the other is brought along.
BROUGHT = """
import base64, pathlib, sys
pathlib.Path("sent.zip").write_bytes(base64.b64decode({content!r}))
sys.path.insert(0, str(pathlib.Path("sent.zip").absolute()))
known = "ansible.module_utils.basic" in sys.modules
from ansible.module_utils import basic
from ansible.module_utils.project_s import said
print(known, said)
"""


def test_ansible_s_own_part_is_there_and_the_project_s_is_what_was_sent(python: str, tmp_path: Path) -> None:
    for said in ("one", "two"):
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w") as file:
            file.writestr("ansible/module_utils/project_s.py", f"said = {said!r}\n")
        content = base64.b64encode(archive.getvalue()).decode()
        assert run(python, BROUGHT.format(content=content), cwd=tmp_path).stdout.split() == ["True", said]
