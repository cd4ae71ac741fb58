"""``parkmesh simulate`` as a person runs it: what it prints, and how it ends."""

import json
import random
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from click.testing import CliRunner
from parkmesh.domain import plates
from parkmesh.simulator import traffic
from parkmesh.simulator.cli import simulate


def run(*args: str) -> tuple[int, str]:
    result = CliRunner().invoke(simulate, list(args))
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def site_file(folder: Path, **changes: Any) -> str:
    document = {
        "gateway": "http://127.0.0.1:1",
        "broker": {"host": "127.0.0.1", "port": 1},
        "relays": [{"name": "main-in", "port": 0, "listen": "0.0.0.0"}],
        "cameras": [{"name": "cam-main-in", "gate": "main-in", "relay": "main-in"}],
        "sensors": [{"dev_eui": "0101010101010101", "kind": "bosch_tps110", "space": "a-01"}],
        **changes,
    }
    path = folder / "site.json"
    path.write_text(json.dumps(document))
    return str(path)


@pytest.fixture
def relay() -> Iterator[tuple[str, subprocess.Popen[str]]]:
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "parkmesh", "simulate", "relay", "--name", "gate-1", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    match = re.fullmatch(r"relay gate-1: listening on 127\.0\.0\.1:(\d+)\n", line)
    assert match, line
    yield f"http://127.0.0.1:{match[1]}", process
    if process.poll() is None:
        process.kill()
    process.communicate()


def test_a_relay_serves_until_sigterm(relay: tuple[str, subprocess.Popen[str]]) -> None:
    url, process = relay
    frame = {"id": 1, "method": "Switch.Set", "params": {"id": 0, "on": True, "toggle_after": 5}}
    assert httpx.post(f"{url}/rpc", json=frame).json()["result"] == {"was_on": False}
    assert httpx.get(f"{url}/simulator/pulses").json()["pulses"] == 1
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=20) == 0


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["relay"], "give --port, or a --site with relays"),
        (["car", "1234BCD"], "give --site, or --gateway, --camera and --relay"),
        (["car", "1234BCD", "--gateway", "http://127.0.0.1:1"], "give --site, or --gateway, --camera and --relay"),
        (["sensor", "a-01", "free"], "give --site, or --broker and --dev-eui"),
        (["sensor", "a-01", "free", "--dev-eui", "x", "--broker", "h"], "dev_eui"),
        (["sensor", "a-01", "free", "--dev-eui", "0101010101010101", "--broker", "h:x"], "isn't HOST[:PORT]"),
        (["site"], "give --site"),
        (["car", "1234BCD", "--site", "/no/such/site.json"], "/no/such/site.json: No such file or directory"),
    ],
)
def test_what_is_missing_is_named(args: list[str], message: str) -> None:
    code, output = run(*args)
    assert code == 2
    assert message in output
    assert output.count("\n") == 1


def test_a_name_the_site_does_not_have(tmp_path: Path) -> None:
    site = site_file(tmp_path)
    assert run("car", "1234BCD", "--site", site, "--camera", "cam-9") == (
        2,
        "parkmesh simulate: the site has no camera 'cam-9'\n",
    )
    assert run("sensor", "a-99", "free", "--site", site)[1].endswith("the site has no sensor at space 'a-99'\n")
    assert run("relay", "--name", "x", "--site", site)[1].endswith("the site has no relay 'x'\n")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gateway": "10.0.0.1"}, "$.gateway"),
        ({"relays": [{"name": "x"}]}, "$.relays[0]"),
        ({"unknown": 1}, "unknown field `unknown`"),
    ],
)
def test_a_wrong_site_file(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    code, output = run("car", "1234BCD", "--site", site_file(tmp_path, **change))
    assert code == 2
    assert message in output
    assert output.count("\n") == 1


def test_nobody_there(tmp_path: Path, relay: tuple[str, subprocess.Popen[str]]) -> None:
    url, _ = relay
    gone = ["car", "1234BCD", "--gateway", "http://127.0.0.1:1", "--camera", "cam-1"]
    code, output = run(*gone, "--relay", "http://127.0.0.1:1")
    assert code == 1
    assert "no simulated relay at http://127.0.0.1:1" in output
    code, output = run(*gone, "--relay", url)
    assert code == 1
    assert "no gateway at http://127.0.0.1:1/cameras/cam-1/events" in output
    # something else that answers HTTP is neither
    code, output = run("car", "1234BCD", "--gateway", url, "--camera", "cam-1", "--relay", url)
    assert code == 1
    assert "the gateway answered HTTP 404" in output
    code, output = run("sensor", "a-01", "free", "--site", site_file(tmp_path))
    assert code == 1
    assert output.startswith("parkmesh simulate: broker 127.0.0.1:1: ")


def test_a_car_whose_relay_is_a_real_one_is_only_sent(tmp_path: Path) -> None:
    posted = []

    class Gateway(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            posted.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Gateway) as server:
        answering = threading.Thread(target=server.handle_request)
        answering.start()
        site = site_file(tmp_path, gateway=f"http://127.0.0.1:{server.server_port}")
        code, output = run("car", "TEST1234", "--site", site, "--unwatched", "--json")
        answering.join(20)
    assert (code, json.loads(output)) == (0, {"plate": "TEST1234", "camera": "cam-main-in"})
    ((path, body),) = posted
    assert path == "/cameras/cam-main-in/events"
    assert b"TEST1234" in body


def test_a_taken_port_is_told(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        site = site_file(tmp_path, relays=[{"name": "main-in", "port": port}])
        code, output = run("site", "--site", site, "--for", "1")
        assert code == 1
        assert f"relay main-in: can't listen on 127.0.0.1:{port}: Address already in use" in output


def test_a_site_runs_for_its_time_and_survives_a_dead_gateway(tmp_path: Path) -> None:
    args = ["simulate", "site", "--site", site_file(tmp_path), "--cars", "1200", "--sensors", "1200", "--for", "0.5"]
    done = subprocess.run(
        [sys.executable, "-m", "parkmesh", *args], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("traffic with --seed ")
    assert "no gateway at http://127.0.0.1:1/cameras/cam-main-in/events" in done.stdout


def test_random_plates_are_spains() -> None:
    source = random.Random(1)
    found = {traffic.random_plate(source) for _ in range(200)}
    assert len(found) > 190
    assert all(re.fullmatch(r"\d{4}[BCDFGHJKLMNPRSTVWXYZ]{3}", plate) for plate in found)
    assert all(plates.normalise(plate) == plate for plate in found)
