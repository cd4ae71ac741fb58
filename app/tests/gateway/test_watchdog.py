"""What systemd hears of the agent, on a real datagram socket."""

import asyncio
import fcntl
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from edge_server import TOKEN
from parkmesh.gateway import watchdog
from parkmesh.gateway.watchdog import ALIVE, Watchdog
from parkmesh.simulator import camera, drive
from processes import GatewaySite, Process, parkmesh, wait_for

_PID = 4711


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """Return the service manager's end of the socket ``notify``."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(10)
        yield sock


def heard(manager: socket.socket) -> str:
    """Return what the agent tells of itself; the sockets that it leaves are another matter."""
    while (told := manager.recv(100).decode()).startswith("FDSTORE="):
        pass
    return told


def heard_nothing(manager: socket.socket, within_s: float) -> bool:
    manager.settimeout(within_s)
    try:
        while True:
            if heard(manager) == ALIVE:
                return False
    except TimeoutError:
        return True
    finally:
        manager.settimeout(10)


@pytest.mark.parametrize(
    ("environment", "within_s"),
    [
        ({}, 0),
        ({"WATCHDOG_USEC": "120000000"}, 0),
        ({"NOTIFY_SOCKET": "/run/x"}, 0),
        ({"NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "120000000"}, 120),
        ({"NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "120000000", "WATCHDOG_PID": str(_PID)}, 120),
        ({"NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "120000000", "WATCHDOG_PID": "1"}, 0),
        ({"NOTIFY_SOCKET": "/run/x", "WATCHDOG_USEC": "soon"}, 0),
    ],
)
def test_when_systemd_waits_for_us(environment: dict[str, str], within_s: float) -> None:
    assert Watchdog(environment, _PID).within_s == within_s


def test_a_name_that_is_no_file() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(f"\0parkmesh-test-{os.getpid()}")
        sock.settimeout(10)
        Watchdog({"NOTIFY_SOCKET": f"@parkmesh-test-{os.getpid()}"}, _PID).tell(ALIVE)
        assert sock.recv(100) == b"WATCHDOG=1"


def test_nobody_there_is_no_failure(tmp_path: Path) -> None:
    Watchdog({"NOTIFY_SOCKET": str(tmp_path / "gone")}, _PID).tell(ALIVE)


@pytest.mark.parametrize("why", ["says no", "hangs"])
async def test_what_does_not_work_is_not_told(tmp_path: Path, manager: socket.socket, why: str) -> None:
    works = True

    async def look() -> bool:
        if not works and why == "hangs":
            await asyncio.Event().wait()
        return works

    keeping = asyncio.create_task(
        Watchdog({"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "200000"}, _PID).keep(look)
    )
    assert await asyncio.to_thread(heard, manager) == ALIVE
    works = False
    await asyncio.sleep(0.1)
    while not await asyncio.to_thread(heard_nothing, manager, 0.3):
        pass
    works = True
    assert await asyncio.to_thread(heard, manager) == ALIVE, "it is told again"
    keeping.cancel()


def test_the_agent_tells_that_it_has_started_works_and_ends(tmp_path: Path, manager: socket.socket) -> None:
    site = GatewaySite(tmp_path, ["http://127.0.0.1:1"], TOKEN)
    try:
        agent = site.start_gateway(
            ["env", f"NOTIFY_SOCKET={tmp_path / 'notify'}", "WATCHDOG_USEC=1000000"],
        )
        assert {heard(manager), heard(manager), heard(manager)} == {"READY=1", "WATCHDOG=1"}
        # Stopped like this it has its sockets and its memory, but decides on nothing: its silence says so.
        os.kill(agent.pid, signal.SIGSTOP)
        while not heard_nothing(manager, 1.5):  # what was told before waits in the socket
            pass
        os.kill(agent.pid, signal.SIGCONT)
        assert heard(manager) == "WATCHDOG=1"
        agent.stop()
        while (last := heard(manager)) == "WATCHDOG=1":
            pass
        assert last == "STOPPING=1"
    finally:
        site.stop()


STARTED_WITH_A_SOCKET = """
import os, socket, sys
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
    sock.bind(sys.argv[1])
    name, [given], *_ = socket.recv_fds(sock, 100, 1)
os.dup2(given, 3) if given != 3 else os.set_inheritable(3, True)
os.environ |= {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid()), "LISTEN_FDNAMES": name.decode()}
os.execvp(sys.argv[2], sys.argv[2:])
"""


def test_a_camera_that_posts_while_the_agent_is_replaced_waits_for_the_next_one(
    tmp_path: Path, manager: socket.socket
) -> None:
    site = GatewaySite(tmp_path, ["http://127.0.0.1:1"], TOKEN)
    body, kind = camera.multipart(camera.shot("1234BCD", drive.now()))
    url = f"http://127.0.0.1:{site.port}/cameras/cam-in/events"
    told = ["env", f"NOTIFY_SOCKET={tmp_path / 'notify'}"]
    try:
        agent = site.start_gateway(told)
        message, [kept], *_ = socket.recv_fds(manager, 100, 1)
        assert message.startswith(b"FDSTORE=1\nFDNAME=listen-")
        name = message.rpartition(b"=")[2]
        assert agent.stop() == 0
        with ThreadPoolExecutor(1) as pool, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as giver:
            posted = pool.submit(httpx.post, url, content=body, headers={"Content-Type": kind}, timeout=20)
            command = parkmesh("gateway", "run", "--config", str(site.config_path))
            given = str(tmp_path / "given")
            site.processes.append(
                Process([*told, sys.executable, "-c", STARTED_WITH_A_SOCKET, given, *command], tmp_path / "log")
            )
            wait_for(lambda: Path(given).exists(), "the next agent")
            giver.connect(given)
            socket.send_fds(giver, [name], [kept])
            assert posted.result().status_code == 200, "not refused, though nobody was there"
        os.close(kept)
        wait_for(lambda: site.status()["backlog"] == 1, "its record")
    finally:
        site.stop()


def test_a_socket_of_an_address_that_is_not_ours_any_more_is_let_go(
    tmp_path: Path, manager: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Two files in a row, above all that other tests have open, and their garbage may give back between two calls.
    first = max(int(path.name) for path in Path("/proc/self/fd").iterdir()) + 10
    for number in (first, first + 1):
        with socket.create_server(("127.0.0.1", 0)) as server:
            assert fcntl.fcntl(server, fcntl.F_DUPFD_CLOEXEC, number) == number
    monkeypatch.setattr(watchdog, "_FIRST_KEPT", first)
    given = {"LISTEN_FDS": "2", "LISTEN_PID": str(_PID), "LISTEN_FDNAMES": "listen-1:listen-2"}
    assert Watchdog(given | {"LISTEN_PID": "1"}, _PID).kept("listen-2") is None
    started = Watchdog(given | {"NOTIFY_SOCKET": str(tmp_path / "notify")}, _PID)
    with started.kept("listen-2") or socket.socket() as kept:
        assert kept.fileno() == first + 1
    assert heard(manager) == "FDSTOREREMOVE=1\nFDNAME=listen-1"
    assert started.kept("listen-2") is None


def test_a_gate_that_is_stuck_is_not_told_as_well(tmp_path: Path, manager: socket.socket) -> None:
    site = GatewaySite(tmp_path, ["http://127.0.0.1:1"], TOKEN)
    stuck = (
        "import asyncio, sys; from parkmesh.gateway import agent; from parkmesh.gateway.decider import Decider; "
        "agent._BUSY_S = 0.5; Decider._decide = lambda *_: asyncio.Event().wait(); "
        "from parkmesh.cli import main; sys.argv[0] = 'parkmesh'; main()"
    )
    command = [sys.executable, "-c", stuck, "gateway", "run", "--config", str(site.config_path)]
    environment = {**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "1000000"}
    with (tmp_path / "log").open("wb") as log:
        agent = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    try:
        wait_for(lambda: site._answers(site.port, "/healthz"), "the gateway")
        assert heard(manager)
        body, kind = camera.multipart(camera.shot("1234BCD", drive.now()))
        url = f"http://127.0.0.1:{site.port}/cameras/cam-in/events"
        assert httpx.post(url, content=body, headers={"Content-Type": kind}, timeout=10).status_code == 200
        while not heard_nothing(manager, 1.0):
            pass
        assert site._answers(site.port, "/healthz"), "the listener still answers"
        wait_for(lambda: "has been busy with one read" in (tmp_path / "log").read_text(), "a line in the journal")
    finally:
        agent.kill()
        agent.wait()
        site.stop()
