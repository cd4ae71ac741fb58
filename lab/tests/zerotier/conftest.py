"""Running daemons for the tests: one on a free port of this host, or several in network namespaces of their own."""

from __future__ import annotations

import http.client
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[3]

TOKEN = "test-token"
METRICS_TOKEN = "test-metrics-token"


def run_tool(module: str, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run zerotier-cli or zerotier-idtool (by the name of its module) from the sources."""
    return subprocess.run(
        [sys.executable, "-c", _start(module), *arguments],
        env=_environment(),
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        timeout=30,
    )


def _start(module: str) -> str:
    return f"import sys; from lab.zerotier.{module} import main; sys.exit(main())"


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONDONTWRITEBYTECODE": "1"}


def wait_for(what: str, condition: Callable[[], Any], seconds: float = 15) -> Any:
    """Poll until the condition gives something true and return it; fails with a message after the time."""
    end = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            pytest.fail(f"waited {seconds} s in vain: {what}")
        time.sleep(0.05)


def make_identity(home: Path) -> str:
    """Give a home an identity and return its address."""
    home.mkdir(parents=True, exist_ok=True)
    done = run_tool("idtool", "generate", str(home / "identity.secret"), str(home / "identity.public"))
    assert done.returncode == 0, done.stderr
    return (home / "identity.public").read_text()[:10]


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Daemon:
    """One daemon process with its home; ``namespace`` is the network namespace it runs in."""

    def __init__(self, home: Path, port: int, namespace: str | None = None) -> None:
        self.home = home
        self.port = port
        self.namespace = namespace
        self.process: subprocess.Popen[bytes] | None = None
        home.mkdir(parents=True, exist_ok=True)
        (home / "authtoken.secret").write_text(TOKEN)
        (home / "metricstoken.secret").write_text(METRICS_TOKEN)
        self.log = home.parent / f"{home.name}.log"

    @property
    def address(self) -> str:
        return (self.home / "identity.public").read_text()[:10]

    def command(self, *arguments: str) -> list[str]:
        prefix = ["ip", "netns", "exec", self.namespace] if self.namespace else []
        return [*prefix, *arguments]

    def start(self) -> None:
        (self.home / "zerotier-one.port").unlink(missing_ok=True)  # the last run leaves it behind
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command(sys.executable, "-c", _start("daemon"), "-U", f"-p{self.port}", str(self.home)),
                env=_environment(),
                stdout=log,
                stderr=log,
            )
        wait_for(f"{self.home.name} to start", lambda: (self.home / "zerotier-one.port").exists() or self._ended())

    def _ended(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            pytest.fail(f"the daemon ended with {self.process.returncode}: {self.log.read_text()}")
        return False

    def stop(self) -> None:
        if self.process is not None:
            self.process.terminate()
            self.process.wait(10)
            self.process = None

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(10)
        self.process = None

    def cli(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(sys.executable, "-c", _start("cli"), f"-D{self.home}", *arguments),
            env=_environment(),
            capture_output=True,
            text=True,
            check=False,
            timeout=30,
        )

    def network(self, nwid: str) -> dict[str, Any]:
        listed = json.loads(self.cli("-j", "listnetworks").stdout)
        return next((network for network in listed if network["nwid"] == nwid), {})

    def ask(
        self, method: str, path: str, body: str | None = None, headers: dict[str, str] | None = None, host: str = ""
    ) -> Answer:
        """One request on a new connection; without headers the right token is sent."""
        connection = http.client.HTTPConnection(host or "127.0.0.1", self.port, timeout=10)
        try:
            content = None if body is None else body.encode()
            connection.request(method, path, content, {"X-ZT1-Auth": TOKEN} if headers is None else headers)
            response = connection.getresponse()
            names = {name: value for name, value in response.getheaders() if name not in ("Keep-Alive", "Connection")}
            return Answer(response.status, names, response.read())
        finally:
            connection.close()

    def post(self, path: str, document: Any, host: str = "") -> Any:
        answer = self.ask("POST", path, json.dumps(document), host=host)
        assert answer.status == 200, answer
        return answer.json


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    """A daemon on this host that has joined nothing (so it needs no rights)."""
    running = Daemon(tmp_path / "node", free_port())
    running.start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def shared_daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon for the tests of one file that only ask and leave nothing behind."""
    running = Daemon(tmp_path_factory.mktemp("shared") / "node", free_port())
    running.start()
    yield running
    running.stop()


class Overlay:
    """Daemons in network namespaces on one bridge; the first is root and controller."""

    PORT = 9993

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tag = "zd" + secrets.token_hex(3)
        self.nodes: dict[str, Daemon] = {}
        self.nwid = ""
        self._ip("netns", "add", f"{self.tag}-sw")
        self._ip("-n", f"{self.tag}-sw", "link", "add", "br0", "type", "bridge")
        self._ip("-n", f"{self.tag}-sw", "link", "set", "br0", "up")

    @staticmethod
    def _ip(*arguments: str) -> None:
        subprocess.run(["ip", *arguments], check=True, capture_output=True, timeout=20)

    def add(self, name: str, host: int) -> Daemon:
        """A namespace with the address 10.98.0.<host> and a daemon that isn't running yet."""
        namespace, end = f"{self.tag}-{name}", f"p{host}"
        self._ip("netns", "add", namespace)
        self._ip("-n", f"{self.tag}-sw", "link", "add", end, "type", "veth", "peer", "name", "eth0", "netns", namespace)
        self._ip("-n", f"{self.tag}-sw", "link", "set", end, "master", "br0", "up")
        for link in ("eth0", "lo"):
            self._ip("-n", namespace, "link", "set", link, "up")
        self._ip("-n", namespace, "addr", "add", f"10.98.0.{host}/24", "dev", "eth0")
        home = self.folder / name
        make_identity(home)
        settings = {"primaryPort": self.PORT, "portMappingEnabled": False, "allowSecondaryPort": False}
        (home / "local.conf").write_text(json.dumps({"settings": settings}))
        daemon = Daemon(home, self.PORT, namespace)
        self.nodes[name] = daemon
        return daemon

    def make_moon(self, root: Daemon, host: int) -> None:
        """Make a moon of one root and give it to all nodes."""
        done = run_tool("idtool", "initmoon", str(root.home / "identity.public"))
        document = json.loads(done.stdout)
        document["roots"][0]["stableEndpoints"] = [f"10.98.0.{host}/{self.PORT}"]
        (self.folder / "moon.json").write_text(json.dumps(document))
        assert run_tool("idtool", "genmoon", "moon.json", cwd=self.folder).returncode == 0
        moon = next(self.folder.glob("*.moon"))
        for daemon in self.nodes.values():
            (daemon.home / "moons.d").mkdir()
            shutil.copy(moon, daemon.home / "moons.d")

    def api(self, method: str, path: str, document: Any = None) -> Any:
        """Ask the controller's API from inside its namespace."""
        controller = next(iter(self.nodes.values()))
        program = (
            "import http.client,sys;c=http.client.HTTPConnection('127.0.0.1',9993,timeout=10);"
            "c.request(sys.argv[1],sys.argv[2],sys.argv[3] or None,{'X-ZT1-Auth':sys.argv[4]});"
            "r=c.getresponse();b=r.read();sys.stdout.buffer.write(b);sys.exit(0 if r.status==200 else 1)"
        )
        body = "" if document is None else json.dumps(document)
        done = subprocess.run(
            controller.command(sys.executable, "-c", program, method, path, body, TOKEN),
            capture_output=True,
            text=True,
            check=False,
            timeout=20,
        )
        assert done.returncode == 0, (method, path, done.stdout, done.stderr, controller.log.read_text())
        return json.loads(done.stdout)

    def network(self, document: Any = None) -> Any:
        method = "GET" if document is None else "POST"
        return self.api(method, f"/controller/network/{self.nwid}", document)

    def member(self, name: str, document: Any = None) -> Any:
        method = "GET" if document is None else "POST"
        address = self.nodes[name].address
        return self.api(method, f"/controller/network/{self.nwid}/member/{address}", document)

    def close(self) -> None:
        for daemon in self.nodes.values():
            daemon.stop()
        for namespace in [f"{self.tag}-sw", *(daemon.namespace for daemon in self.nodes.values())]:
            subprocess.run(["ip", "netns", "del", str(namespace)], check=False, capture_output=True, timeout=20)


def why_no_namespaces() -> str:
    """Why this host can't run overlays in network namespaces; empty when it can."""
    if os.geteuid() != 0:
        return "needs root"
    if shutil.which("ip") is None:
        return "needs iproute2"
    if not Path("/dev/net/tun").exists():
        return "needs /dev/net/tun"
    return ""
