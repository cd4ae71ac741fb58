"""What systemd hears of the agent, on a real datagram socket."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from edge_server import TOKEN
from parkmesh.gateway.watchdog import ALIVE, Watchdog
from parkmesh.simulator import camera, drive
from processes import GatewaySite, wait_for

_PID = 4711


@pytest.fixture
def manager(tmp_path: Path) -> socket.socket:
    """Return the service manager's end of the socket ``notify``."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.bind(str(tmp_path / "notify"))
    sock.settimeout(10)
    return sock


def heard(manager: socket.socket) -> str:
    return manager.recv(100).decode()


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
