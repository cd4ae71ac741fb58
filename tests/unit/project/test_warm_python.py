"""The Python of the playbook tests: a program runs in it as in an ordinary one, and gets nothing of another's."""

import base64
import io
import json
import os
import signal
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.warm_python import interpreter

TELL = """
import json, os, sys
umask = os.umask(0)
print(json.dumps([sys.argv, __name__, os.getcwd(), os.environ["ASKED"], umask, "boto3" in sys.modules]))
print("trouble", file=sys.stderr)
sys.exit(3)
"""


@pytest.fixture(scope="module")
def python() -> Iterator[str]:
    with interpreter() as program:
        yield program


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
