"""scripts/demo with stand-ins for what it calls: what it prints, what it keeps in a file, how it ends."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
LOG = ".lab/demo/site.log"
PYTHON = """#!/bin/sh
echo "lab: $*"
[ "$3" != up ] || mkdir -p .lab/demo
[ "$3" != "$HANGS" ] || { touch hangs; exec sleep 60; }
"""
# A shell runs its trap when its child has ended, and a child that begins just after the signal doesn't hear of it: so
# many short sleeps.
ANSIBLE = """#!/bin/sh
[ -z "$PARKMESH_PROGRESS_DESCRIPTOR" ] || echo "[  9s] provision-network" >&"$PARKMESH_PROGRESS_DESCRIPTOR"
echo "TASK [Work]"
echo "a warning" >&2
trap 'exit 99' INT
[ "$HANGS" != ansible ] || { touch hangs; while :; do sleep 0.1; done; }
exit "$STATUS"
"""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A clone of which only scripts/demo is real."""
    for name, text in {
        "bin/python3": "#!/bin/sh\n",
        "scripts/bootstrap": "#!/bin/sh\n",
        ".venv/bin/python": PYTHON,
        ".venv/bin/ansible-playbook": ANSIBLE,
    }.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
    shutil.copy(ROOT / "scripts" / "demo", tmp_path / "scripts" / "demo")
    return tmp_path


def start(clone: Path, *arguments: str, status: int = 0, hangs: str = "nothing") -> subprocess.Popen[str]:
    return subprocess.Popen(
        [clone / "scripts" / "demo", *arguments],
        env={
            "PATH": f"{clone}/bin:{os.environ['PATH']}",
            "PARKMESH_LAB": "demo",
            "STATUS": str(status),
            "HANGS": hangs,
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell can't trap a signal that was ignored when it began, as it is in a background job.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def test_progress_is_printed_and_the_tasks_go_to_a_file_that_is_named(clone: Path) -> None:
    demo = start(clone)
    printed, errors = demo.communicate(timeout=30)
    assert (demo.returncode, errors) == (0, "")
    assert "[  9s] provision-network" in printed
    assert "TASK" not in printed
    assert LOG in printed
    assert (clone / LOG).read_text() == "TASK [Work]\na warning\n"
    steps = [line for line in printed.splitlines() if "(then " in line]
    assert len(steps) == 3
    assert "lab: -m lab summary" in printed.splitlines()[-1]


def test_with_v_everything_is_printed(clone: Path) -> None:
    printed, errors = start(clone, "-v").communicate(timeout=30)
    assert "TASK [Work]" in printed
    assert "a warning" in errors
    assert "provision-network" not in printed
    assert not (clone / LOG).exists()


@pytest.mark.parametrize("arguments", [(), ("-v",)])
def test_a_failed_run_ends_with_its_code(clone: Path, arguments: tuple[str, ...]) -> None:
    demo = start(clone, *arguments, status=2)
    printed, errors = demo.communicate(timeout=30)
    assert demo.returncode == 2
    assert "summary" not in printed
    assert (LOG in errors) == (not arguments)


@pytest.mark.parametrize("hangs", ["up", "ansible"])
def test_an_interrupted_run_is_no_success(clone: Path, hangs: str) -> None:
    demo = start(clone, hangs=hangs)
    deadline = time.monotonic() + 30
    while not (clone / "hangs").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    # As a terminal does it: all of the group's processes are told.
    os.killpg(demo.pid, signal.SIGINT)
    printed, errors = demo.communicate(timeout=30)
    assert demo.returncode not in (0, None)
    assert "summary" not in printed
    assert (LOG in errors) == (hangs == "ansible")


def test_an_unknown_argument_is_refused(clone: Path) -> None:
    demo = start(clone, "--quick")
    _, errors = demo.communicate(timeout=30)
    assert demo.returncode == 2
    assert "--quick" in errors
