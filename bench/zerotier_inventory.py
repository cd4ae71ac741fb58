"""Measure the ZeroTier client, modules' reconciliation and inventory on a network of many members.

Runs the lab's double of a controller, and the real daemon too where ZEROTIER_ONE=<zerotier-one binary> is given, and
prints a table: writes, reconciliation with nothing to do, inventory cold and from its cache, and the naive way (one
request per member) as a ratio. Central v1 is measured on a double that answers one request with all members.

Usage: python bench/zerotier_inventory.py [--members 10000] [--naive-sample 500]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import ansible.module_utils

ROOT = Path(__file__).resolve().parent.parent
OVERLAY = ROOT / "molecule" / "lab" / "overlay"
ansible.module_utils.__path__.append(str(ROOT / "module_utils"))

from ansible.module_utils import zerotier_client as zt  # noqa: E402
from ansible.module_utils import zerotier_model as model  # noqa: E402
from ansible.module_utils import zerotier_reconcile as reconcile  # noqa: E402
from ansible.module_utils.zerotier_rule_compiler import compile_rules  # noqa: E402

LOCAL_CONF = {
    "physical": {"0.0.0.0/0": {"blacklist": True}, "::/0": {"blacklist": True}},
    "settings": {"bind": ["127.0.0.1"], "portMappingEnabled": False, "allowSecondaryPort": False},
}
TAGS = {"role": {"id": 1, "enums": {"app": 1, "gateway": 2}}}


def show(what: str, value: str) -> None:
    """Print one line of the table."""
    print(f"{what:<66} {value:>20}", flush=True)


def timed(function: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds that a call took, and its result."""
    start = time.perf_counter()
    result = function()
    return time.perf_counter() - start, result


@contextmanager
def controller(kind: str) -> Iterator[tuple[str, Path]]:
    """A running controller: its URL and its token file."""
    with tempfile.TemporaryDirectory() as folder, socket.create_server(("127.0.0.1", 0)) as probe:
        home, port = Path(folder) / "home", probe.getsockname()[1]
        probe.close()
        home.mkdir()
        (home / "local.conf").write_text(json.dumps(LOCAL_CONF))
        start = "import sys; from zerotier_double.daemon import main; sys.exit(main())"
        program = [os.environ["ZEROTIER_ONE"]] if kind == "daemon" else [sys.executable, "-c", start]
        environment = {**os.environ, "PYTHONPATH": f"{OVERLAY}:{ROOT}", "PYTHONDONTWRITEBYTECODE": "1"}
        process = subprocess.Popen(
            [*program, "-U", f"-p{port}", str(home)],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            for _ in range(400):
                try:
                    token = (home / "authtoken.secret").read_text()
                    zt.connect(zt.Connection(api="auto", url=f"http://127.0.0.1:{port}", token=token, retries=0))
                    break
                except (OSError, zt.http.ApiError, zt.http.TokenError):
                    time.sleep(0.05)
            yield f"http://127.0.0.1:{port}", home / "authtoken.secret"
        finally:
            process.terminate()
            process.wait(20)


@contextmanager
def central(members: list[dict[str, Any]]) -> Iterator[str]:
    """A double of Central v1 with one network and these members, encoded once."""
    network = json.dumps({"id": "8056c2e21c000001", "config": {"name": "bench"}}).encode()
    answers = {"/api/v1/network": b"[" + network + b"]", "/api/v1/network/8056c2e21c000001": network}
    answers["/api/v1/network/8056c2e21c000001/member"] = json.dumps(members).encode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = answers[self.path]
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: Any) -> None:
            """Keep quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/api/v1"
    finally:
        server.shutdown()
        server.server_close()


PARSE = """
import json, resource, sys, time
from ansible.parsing.dataloader import DataLoader
from ansible.inventory.data import InventoryData
from ansible.plugins.loader import init_plugin_loader, inventory_loader
init_plugin_loader()
inventory_loader.add_directory(sys.argv[1])
plugin = inventory_loader.get("zerotier")
inventory = InventoryData()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
start = time.perf_counter()
plugin.parse(inventory, DataLoader(), sys.argv[2], cache=True)
seconds = time.perf_counter() - start
plugin.update_cache_if_changed()
print(json.dumps([seconds, len(inventory.hosts), before, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss]))
"""


def inventory(name: str, options: dict[str, Any], folder: Path, count: int) -> float:
    """Show the plugin's times and memory; returns the cold time in seconds."""
    file = folder / "zerotier.yml"
    file.write_text(json.dumps({"plugin": "zerotier", **options}))
    cold = 0.0
    for what in ("cold", "from cache"):
        done = subprocess.run(
            [sys.executable, "-c", PARSE, str(ROOT / "inventory_plugins"), str(file)],
            capture_output=True,
            text=True,
            check=True,
            cwd=ROOT,
        )
        seconds, hosts, before, peak = json.loads(done.stdout.splitlines()[-1])
        assert hosts == count, f"{hosts} hosts, {count} were expected"
        cold = cold or seconds
        show(f"{name}: inventory {what}, plugin", f"{seconds:.2f} s")
        show(f"{name}: inventory {what}, peak memory (before: {before // 1024} MB)", f"{peak // 1024} MB")
    command = [str(Path(sys.executable).parent / "ansible-inventory"), "-i", str(file), "--list"]
    seconds, _ = timed(lambda: subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT))
    show(f"{name}: ansible-inventory --list from cache, whole program", f"{seconds:.2f} s")
    return cold


def on_controller(kind: str, count: int, sample: int) -> None:
    """All figures of one kind of controller."""
    with controller(kind) as (url, token_file), tempfile.TemporaryDirectory() as folder:
        client = zt.connect(zt.Connection(api="controller", url=url, token=token_file.read_text()))
        routes = {"name": "bench", "routes": [{"target": "10.0.0.0/8"}]}
        network = client.create_network(model.wanted_network(routes))
        wanted: list[dict[str, Any]] = [
            {
                "address": f"{number:010x}",
                "name": f"m{number}",
                "authorized": True,
                "ip_assignments": [f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"],
                "tags": {"role": "gateway"},
            }
            for number in range(1, count + 1)
        ]

        def run(entries: list[dict[str, Any]]) -> int:
            plan = reconcile.plan_members(entries, client.members(network.id), network, TAGS)
            changes = {**plan.create, **plan.update}
            failures = client.update_members(network.id, changes, plan.update) if changes else {}
            assert not failures, failures
            return len(changes)

        seconds, written = timed(lambda: run(wanted))
        show(f"{kind}: create {written} members and read them back", f"{written / seconds:.0f}/s")
        seconds, written = timed(lambda: run(wanted))
        assert written == 0
        show(f"{kind}: reconcile {count} members, nothing to do", f"{seconds:.2f} s")
        for entry in wanted[: count // 10]:
            entry["name"] += "-renamed"
        seconds, written = timed(lambda: run(wanted))
        show(f"{kind}: reconcile {count} members, {written} changes", f"{seconds:.2f} s")
        options = {
            "api": "controller",
            "url": url,
            "token_file": str(token_file),
            "networks": [network.id],
            "tags": TAGS,
        }
        cache = {"cache": True, "cache_plugin": "jsonfile", "cache_connection": f"{folder}/cache"}
        cold = inventory(kind, {**options, **cache}, Path(folder), count)
        addresses = [entry["address"] for entry in wanted[:sample]]
        seconds, _ = timed(lambda: [client.member(network.id, address) for address in addresses])
        naive = seconds / len(addresses) * count
        show(f"{kind}: one request per member ({len(addresses)} measured, scaled)", f"{naive:.1f} s")
        show(f"{kind}: ratio of that to the cold inventory", f"{naive / cold:.1f}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--members", type=int, default=10_000)
    parser.add_argument("--naive-sample", type=int, default=500)
    arguments = parser.parse_args()
    source = "".join(f"accept ipprotocol tcp and dport {port};\n" for port in range(1, 334))
    seconds, compiled = timed(lambda: compile_rules(source))
    show(f"compile {len(compiled.rules)} rules", f"{seconds * 1000:.0f} ms")
    for kind in ["double", *(["daemon"] if "ZEROTIER_ONE" in os.environ else [])]:
        on_controller(kind, arguments.members, min(arguments.naive_sample, arguments.members))
    if "ZEROTIER_ONE" not in os.environ:
        print("daemon: not measured, ZEROTIER_ONE=<zerotier-one binary> isn't given")
    members = [
        {
            "nodeId": f"{number:010x}",
            "name": f"m{number}",
            "lastSeen": 1,
            "config": {"authorized": True, "ipAssignments": [f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"]},
        }
        for number in range(1, arguments.members + 1)
    ]
    with central(members) as url, tempfile.TemporaryDirectory() as folder:
        cache = {"cache": True, "cache_plugin": "jsonfile", "cache_connection": f"{folder}/cache"}
        inventory("central v1", {"url": url, "token": "bench-token", **cache}, Path(folder), arguments.members)
    show("this program, peak memory", f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MB")


if __name__ == "__main__":
    main()
