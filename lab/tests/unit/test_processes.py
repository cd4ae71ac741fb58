"""A process is the daemon only if pid, start time and command line agree; a stranger under its pid is left alone."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from lab.machine import processes


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    child = subprocess.Popen([sys.executable, "-c", "print(flush=True); input()"], stdin=-1, stdout=-1)
    assert child.stdout is not None
    child.stdout.readline()
    yield child
    child.kill()
    child.communicate()


def test_an_identity_survives_the_pid_file(sleeper: subprocess.Popen[bytes], tmp_path: Path) -> None:
    identity = processes.identify(sleeper.pid)
    assert identity is not None
    assert identity.command[0] == sys.executable
    processes.save(tmp_path / "daemon.pid", identity)
    assert processes.load(tmp_path / "daemon.pid") == identity
    assert processes.alive(identity)


@pytest.mark.parametrize(
    "content", ["", "123", "{", '{"pid": 1}', '{"pid": "x", "started": 1, "boot": "", "command": []}']
)
def test_a_broken_pid_file_means_unknown(content: str, tmp_path: Path) -> None:
    (tmp_path / "daemon.pid").write_text(content)
    assert processes.load(tmp_path / "daemon.pid") is None
    assert processes.load(tmp_path / "missing.pid") is None


def test_a_stranger_under_the_same_pid_is_not_killed(sleeper: subprocess.Popen[bytes]) -> None:
    identity = processes.identify(sleeper.pid)
    assert identity is not None
    for stale in (
        replace(identity, started=identity.started - 1),
        replace(identity, boot="another boot"),
        replace(identity, command=("python", "-m", "lab", "daemon")),
    ):
        assert not processes.alive(stale)
        processes.stop(stale, patience_s=0.2)
        assert sleeper.poll() is None


def test_stop_ends_the_one_we_know(sleeper: subprocess.Popen[bytes]) -> None:
    identity = processes.identify(sleeper.pid)
    assert identity is not None
    processes.stop(identity)
    assert sleeper.wait(timeout=5) == -signal.SIGTERM
    assert processes.identify(sleeper.pid) is None
    processes.stop(identity)


def test_only_this_labs_daemons_are_found(tmp_path: Path) -> None:
    (tmp_path / "sys/kernel/random").mkdir(parents=True)
    (tmp_path / "sys/kernel/random/boot_id").write_text("b\n")
    commands = {
        1: [sys.executable, "-m", "lab", "daemon", "--lab", "demo", "--root", "/srv/one"],
        2: ["/other/python", "-m", "lab", "daemon", "--lab", "demo", "--root", "/srv/one"],
        3: [sys.executable, "-m", "lab", "daemon", "--lab", "test", "--root", "/srv/one"],
        4: [sys.executable, "-m", "lab", "daemon", "--lab", "demo", "--root", "/srv/two"],
        5: ["grep", "lab daemon --lab demo --root /srv/one"],
    }
    for pid, command in commands.items():
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "cmdline").write_bytes(b"".join(part.encode() + b"\0" for part in command))
        (tmp_path / str(pid) / "stat").write_text(f"{pid} (odd ) name) S " + " ".join(["0"] * 18 + ["77"] + ["0"] * 9))
    found = processes.find_daemons("demo", Path("/srv/one"), tmp_path)
    assert sorted(identity.pid for identity in found) == [1, 2]
    assert {identity.started for identity in found} == {77}
