"""What the tests of the ZeroTier plugins share: the project's module_utils, and controllers to talk to."""

from __future__ import annotations

import importlib.util
import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ansible.module_utils
import pytest
import requests
from ansible.module_utils.testing import patch_module_args

ROOT = Path(__file__).resolve().parents[3]
DATA = Path(__file__).resolve().parent / "data"
RECORDED = ROOT / "lab/tests/zerotier/recorded"

# Modules import each other as parts of Ansible's package, in their archives as well as here.
if str(ROOT / "module_utils") not in ansible.module_utils.__path__:
    ansible.module_utils.__path__.append(str(ROOT / "module_utils"))

# No public root is asked, no port is mapped: the daemon stays on this host.
LOCAL_CONF = {
    "physical": {"0.0.0.0/0": {"blacklist": True}, "::/0": {"blacklist": True}},
    "settings": {
        "bind": ["127.0.0.1"],
        "portMappingEnabled": False,
        "allowSecondaryPort": False,
        "allowTcpFallbackRelay": False,
        "softwareUpdate": "disable",
    },
}


@dataclass(frozen=True)
class Controller:
    """A running controller; ``kind`` is ``lab`` or ``daemon``."""

    kind: str
    url: str
    port: int
    home: Path
    address: str

    @property
    def token(self) -> str:
        return (self.home / "authtoken.secret").read_text().strip()

    @property
    def token_file(self) -> str:
        return str(self.home / "authtoken.secret")

    def ask(self, method: str, path: str, body: object = None) -> requests.Response:
        """One request beside the client that is tested."""
        headers = {"X-ZT1-Auth": self.token, "Connection": "close"}
        return requests.request(method, self.url + path, json=body, headers=headers, timeout=10)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _command(kind: str, port: int, home: Path) -> list[str]:
    if kind == "daemon":
        return [os.environ["ZEROTIER_ONE"], "-U", f"-p{port}", str(home)]
    start = "import sys; from lab.zerotier.daemon import main; sys.exit(main())"
    return [sys.executable, "-c", start, "-U", f"-p{port}", str(home)]


def _start(kind: str, home: Path) -> tuple[subprocess.Popen[bytes], Controller]:
    port = _free_port()
    home.mkdir()
    (home / "local.conf").write_text(json.dumps(LOCAL_CONF))
    log = home.with_suffix(".log")
    with log.open("wb") as output:
        process = subprocess.Popen(
            _command(kind, port, home),
            env={**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
            stdout=output,
            stderr=output,
        )
    url = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + 20
    while True:
        assert process.poll() is None, f"{kind} ended with {process.returncode}: {log.read_text()}"
        try:
            token = (home / "authtoken.secret").read_text().strip()
            answer = requests.get(url + "/status", headers={"X-ZT1-Auth": token}, timeout=2)
            if answer.ok:
                return process, Controller(kind, url, port, home, answer.json()["address"])
        except (OSError, requests.RequestException):
            pass
        assert time.monotonic() < deadline, f"{kind} didn't answer within 20 s: {log.read_text()}"
        time.sleep(0.05)


# The real daemon takes part in every test of a controller where its binary is given.
KINDS = ["lab", "daemon"] if "ZEROTIER_ONE" in os.environ else ["lab"]


@pytest.fixture(scope="session", params=KINDS)
def controller(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Controller]:
    """A controller of its own for the whole run: the lab's and, where given, the real daemon."""
    process, running = _start(request.param, tmp_path_factory.mktemp("zerotier") / request.param)
    yield running
    process.terminate()
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(10)


@pytest.fixture
def clean_controller(controller: Controller) -> Controller:
    """The controller without any network."""
    for network in controller.ask("GET", "/controller/network").json():
        controller.ask("DELETE", f"/controller/network/{network}")
    return controller


@pytest.fixture
def make_network(clean_controller: Controller) -> Callable[..., str]:
    """Makes networks on the controller beside the client that is tested, and returns their ids."""

    def make(**settings: object) -> str:
        return str(clean_controller.ask("POST", "/controller/network", settings).json()["id"])

    return make


class ModuleFailed(Exception):
    """A module that ended with fail_json; ``result`` is what it said."""

    def __init__(self, result: dict[str, Any]) -> None:
        super().__init__(result.get("msg"))
        self.result = result


def load(folder: str, name: str) -> Any:
    """A plugin's own Python module, by its folder and name."""
    spec = importlib.util.spec_from_file_location(f"parkmesh_{folder}_{name}", ROOT / folder / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = loaded
    spec.loader.exec_module(loaded)
    return loaded


RunModule = Callable[..., dict[str, Any]]


@pytest.fixture
def run_module(capsys: pytest.CaptureFixture[str]) -> RunModule:
    """Runs a module's main with these arguments and returns what it reports; raises ModuleFailed when it fails."""

    def run(module: str, /, *, check: bool = False, **arguments: Any) -> dict[str, Any]:
        capsys.readouterr()
        options = {"_ansible_check_mode": check, "_ansible_diff": True}
        with patch_module_args({**arguments, **options}), pytest.raises(SystemExit):
            load("library", module).main()
        output = capsys.readouterr().out
        result: dict[str, Any] = json.loads(output.strip().splitlines()[-1])
        if result.get("failed"):
            raise ModuleFailed(result)
        return result

    return run
