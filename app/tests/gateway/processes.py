"""Real processes on loopback for the gateway's tests: the gateway, simulated relays, an MQTT broker."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from click.testing import CliRunner
from parkmesh.simulator.cli import simulate
from parkmesh.simulator.relay import Switch, application

PATIENCE_S = 20.0


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def wait_for(condition: Callable[[], object], what: str) -> None:
    """Wait until the condition holds; fail with ``what`` after the patience, which only a defect uses up."""
    until = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < until, f"waited {PATIENCE_S} s for {what}"
        time.sleep(0.02)


class Process:
    """One command whose output goes to a file."""

    def __init__(self, args: list[str], log: Path) -> None:
        self.log_path = log
        with log.open("ab") as output:
            self._popen = subprocess.Popen(
                args, stdout=output, stderr=subprocess.STDOUT, env={**os.environ, "PYTHONUNBUFFERED": "1"}
            )

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def log(self) -> str:
        return self.log_path.read_text()

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        if self._popen.poll() is None:
            self._popen.send_signal(number)
        return self._popen.wait(timeout=PATIENCE_S)

    def running(self) -> bool:
        return self._popen.poll() is None


def parkmesh(*args: str) -> list[str]:
    return [sys.executable, "-m", "parkmesh", *args]


def run_simulate(*args: str) -> tuple[int, str]:
    """Run ``parkmesh simulate`` in this process; return its exit code and output."""
    result = CliRunner().invoke(simulate, list(args))
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output.strip()


class GatewaySite:
    """A community on loopback: a gateway with an entry, an exit and a relay for both, and the simulator's site file."""

    def __init__(self, folder: Path, servers: list[str], token: str, *, broker_port: int | None = None) -> None:
        self.folder = folder
        self.port, self.relay_port = free_port(), free_port()
        self.config_path, self.site_path = folder / "gateway.json", folder / "site.json"
        (folder / "token").write_text(token + "\n")
        self.config: dict[str, Any] = {
            "name": "gateway-a",
            "community": "a",
            "spool": str(folder / "spool" / "spool.db"),
            "token_file": str(folder / "token"),
            "servers": servers,
            "listen": {"host": "127.0.0.1", "port": self.port},
            "cameras": [
                {"name": "cam-in", "gate": "in", "direction": "entry"},
                {"name": "cam-out", "gate": "out", "direction": "exit"},
            ],
            "gates": [
                {"name": name, "relay": {"url": f"http://127.0.0.1:{self.relay_port}", "pulse_s": 0.2}}
                for name in ("in", "out")
            ],
            "refusal_hold_s": 0,
            "heartbeat_s": 1,
        }
        site: dict[str, Any] = {
            "gateway": f"http://127.0.0.1:{self.port}",
            "relays": [{"name": "in", "port": self.relay_port}],
            "cameras": [{"name": "cam-in", "gate": "in", "relay": "in"}],
        }
        if broker_port is not None:
            sensors = [
                {"dev_eui": "0101010101010101", "kind": "bosch_tps110", "space": "a-01"},
                {"dev_eui": "ABCDEF0000000002", "kind": "nwave_nps405", "space": "a-02"},
            ]
            detectors = [{"topic": f"ramp/input:{number}", "field": "state"} for number in (0, 1)]
            counters = [{"name": "garage", "points": [{"outside": detectors[0], "inside": detectors[1]}]}]
            devices = {
                "sensors": sensors,
                "counters": counters,
                "readers": [{"name": "scan-in", "gate": "in", "direction": "entry"}],
            }
            self.config |= {"mqtt": {"port": broker_port}, **devices}
            site |= {"broker": {"host": "127.0.0.1", "port": broker_port}, **devices}
        self.config_path.write_text(json.dumps(self.config))
        self.site_path.write_text(json.dumps(site))
        self.processes: list[Process] = []
        self.gateway: Process | None = None
        self._relay: uvicorn.Server | None = None

    def start_relay(self) -> None:
        """Serve the relay in a thread: it is no part of what is killed here, and a process takes long to start."""
        self._relay = uvicorn.Server(
            uvicorn.Config(application(Switch("in")), host="127.0.0.1", port=self.relay_port, log_level="error")
        )
        self._relay_thread = threading.Thread(target=self._relay.run, daemon=True)
        self._relay_thread.start()
        wait_for(lambda: self._answers(self.relay_port, "/simulator/pulses"), "the relay")

    def stop_relay(self) -> None:
        if self._relay is not None:
            self._relay.should_exit = True
            self._relay_thread.join(PATIENCE_S)

    def start_gateway(self, wrapped: list[str] | None = None) -> Process:
        """Start the gateway, by the command ``wrapped`` if given, which gets the gateway's own at its end."""
        command = parkmesh("gateway", "run", "--config", str(self.config_path))
        self.gateway = Process([*(wrapped or []), *command], self.folder / "gateway.log")
        self.processes.append(self.gateway)
        wait_for(lambda: self._answers(self.port, "/healthz"), "the gateway")
        return self.gateway

    @contextmanager
    def at_work(self) -> Iterator["GatewaySite"]:
        """Run relay and gateway, from the first access list on until the end of the block."""
        try:
            self.start_relay()
            self.start_gateway()
            wait_for(lambda: self.status()["access_list_version"] == 1, "the access list")
            yield self
        finally:
            self.stop()

    def _answers(self, port: int, path: str) -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{port}{path}", timeout=2).status_code == 200
        except httpx.HTTPError:
            return False

    def status(self) -> dict[str, Any]:
        document: dict[str, Any] = httpx.get(f"http://127.0.0.1:{self.port}/status", timeout=5).json()
        return document

    def pulses(self) -> int:
        return int(httpx.get(f"http://127.0.0.1:{self.relay_port}/simulator/pulses", timeout=5).json()["pulses"])

    def stop(self) -> None:
        for process in reversed(self.processes):
            process.stop(signal.SIGKILL)
        self.stop_relay()
