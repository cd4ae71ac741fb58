"""Measure the ZeroTier modules, inventory and rule compiler on a network of many members.

Runs the lab's double of a controller, and the real daemon too where ZEROTIER_ONE=<zerotier-one binary> is given.
Central v1 is a double that answers one request with all members. Modules run as processes of their own like on a host;
the inventory is parsed inside Ansible's own inventory manager, whose work on each variable counts; what
ansible-inventory takes without any members, and with the same hosts from a static file, is shown beside it. The naive
way is one request per member.

Usage: python bench/zerotier_inventory.py [--members 10000] [--naive-sample 500]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import socket
import statistics
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
ansible.module_utils.__path__.append(str(ROOT / "module_utils"))

from ansible.module_utils import zerotier_connect as zt  # noqa: E402
from ansible.module_utils import zerotier_model as model  # noqa: E402
from ansible.module_utils.zerotier_rule_compiler import compile_rules  # noqa: E402

LOCAL_CONF = {
    "physical": {"0.0.0.0/0": {"blacklist": True}, "::/0": {"blacklist": True}},
    "settings": {"bind": ["127.0.0.1"], "portMappingEnabled": False, "allowSecondaryPort": False},
}
TAGS = {"role": {"id": 1, "enums": {"app": 1, "gateway": 2}}}


def show(what: str, value: str, wanted: str = "") -> None:
    """Print one line of the table, with what is wanted of the figure where something is."""
    print(f"{what:<66} {value:>24}  {wanted}".rstrip(), flush=True)


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
        start = "import sys; from lab.zerotier.daemon import main; sys.exit(main())"
        program = [os.environ["ZEROTIER_ONE"]] if kind == "daemon" else [sys.executable, "-c", start]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
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
import json, sys, time
from pathlib import Path
from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.plugins.loader import init_plugin_loader, inventory_loader
init_plugin_loader()
def peak_memory():
    # Not getrusage's figure, in which a process begins with its parent's.
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
plugin = type(inventory_loader.get("zerotier"))
parse, figures = plugin.parse, []
def timed(*arguments, **options):
    before, start, cpu = peak_memory(), time.perf_counter(), time.process_time()
    parse(*arguments, **options)
    figures.extend([time.perf_counter() - start, time.process_time() - cpu, before])
plugin.parse = timed
hosts = len(InventoryManager(DataLoader(), sources=[sys.argv[1]], cache=True).hosts)
print(json.dumps([*figures, hosts, peak_memory()]))
"""

MODULE = """
import importlib.util, json, sys
import ansible.module_utils
ansible.module_utils.__path__.append(sys.argv[1] + "/module_utils")
from ansible.module_utils.testing import patch_module_args
found = importlib.util.spec_from_file_location("zerotier_members", sys.argv[1] + "/library/zerotier_members.py")
module = importlib.util.module_from_spec(found)
found.loader.exec_module(module)
with patch_module_args(json.load(sys.stdin)):
    module.main()
"""


def run(command: list[str], text: str | None = None) -> tuple[float, float, str]:
    """Seconds by the clock, seconds of CPU, and the output of a program."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False, cwd=ROOT)
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"{command[0]} ended with {done.returncode}: {done.stdout[-2000:]}{done.stderr[-2000:]}")
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done.stdout


def ansible_inventory(file: str) -> tuple[float, float, str]:
    """Seconds by the clock, seconds of CPU and the output of ansible-inventory --list as a whole."""
    return run([str(Path(sys.executable).parent / "ansible-inventory"), "-i", file, "--list"])


def beside_a_static_file(name: str, file: Path, folder: Path) -> None:
    """Show the whole program from cache beside the same hosts, groups and variables in a file of the yaml plugin.

    The file is JSON, which the yaml plugin reads several times faster than YAML. The runs take turns.
    """
    listed = json.loads(ansible_inventory(str(file))[2])
    hosts = listed.pop("_meta")["hostvars"]
    del listed["all"]
    children = {group: {"hosts": dict.fromkeys(listed[group].get("hosts", []))} for group in listed}
    static = folder / "hosts.json"
    static.write_text(json.dumps({"all": {"hosts": hosts, "children": children}}))
    pairs = [(ansible_inventory(str(file)), ansible_inventory(str(static))) for _ in range(3)]
    ours, theirs = (statistics.median(pair[side][1] for pair in pairs) for side in (0, 1))
    wall = statistics.median(ours[0] for ours, _ in pairs)
    show(f"{name}: ansible-inventory --list from cache, whole program", f"{wall:.2f} s ({ours:.2f} s CPU)")
    show("the same hosts from a static file, whole program", f"({theirs:.2f} s CPU)")
    show("ratio of the CPU seconds, median of 3 turns", f"{ours / theirs:.2f}", "<= 1.2")


def inventory(name: str, options: dict[str, Any], folder: Path, count: int) -> float:
    """Show the plugin's times and memory; returns the cold time in seconds."""
    file = folder / "zerotier.yml"
    file.write_text(json.dumps({"plugin": "zerotier", **options}))
    cold = 0.0
    for what, wanted in (("cold", "<= 2 s"), ("from cache", "<= 1 s")):
        output = run([sys.executable, "-c", PARSE, str(file)])[2]
        seconds, cpu, before, hosts, peak = json.loads(output.splitlines()[-1])
        assert hosts == count, f"{hosts} hosts, {count} were expected"
        cold = cold or seconds
        show(f"{name}: inventory of {hosts} {what}", f"{seconds:.2f} s ({cpu:.2f} s CPU)", wanted)
        show(f"{name}: memory {what} (before: {before // 1024} MB)", f"{peak // 1024} MB", "<= 250 MB")
    beside_a_static_file(name, file, folder)
    return cold


def on_controller(kind: str, count: int, sample: int) -> None:
    """All figures of one kind of controller."""
    with controller(kind) as (url, token_file), tempfile.TemporaryDirectory() as folder:
        client = zt.connect(zt.Connection(api="controller", url=url, token=token_file.read_text()))
        routes = {"name": "bench", "routes": [{"target": "10.0.0.0/8"}]}
        network = client.create_network(model.wanted_network(routes))
        where = {"api": "controller", "url": url, "token_file": str(token_file)}
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

        def reconcile() -> tuple[float, float, int]:
            arguments = {**where, "network_id": network.id, "tag_definitions": TAGS, "members": wanted}
            seconds, cpu, output = run([sys.executable, "-c", MODULE, str(ROOT)], json.dumps(arguments))
            result = json.loads(output)
            return seconds, cpu, len(result["created"]) + len(result["updated"])

        seconds, cpu, changed = reconcile()
        show(f"{kind}: zerotier_members, {changed} created", f"{changed / seconds:.0f}/s ({cpu:.1f} s CPU)")
        idle, cpu, changed = reconcile()
        assert changed == 0
        show(f"{kind}: zerotier_members, {count} with nothing to do", f"{idle:.2f} s ({cpu:.2f} s CPU)", "<= 3 s")
        for entry in wanted[: count // 10]:
            entry["name"] += "-renamed"
        seconds, cpu, changed = reconcile()
        show(f"{kind}: zerotier_members, {count} with {changed} changes", f"{seconds:.2f} s ({cpu:.2f} s CPU)")
        changes = {entry["address"]: model.MemberSettings(name="again") for entry in wanted[: count // 10]}
        seconds, failures = timed(lambda: client.update_members(network.id, changes, changes))
        assert not failures, failures
        rate = len(changes) / seconds
        show(f"{kind}: {len(changes)} writes, all read back at the end", f"{rate:.0f}/s", ">= 300/s")
        cache = {"cache": True, "cache_plugin": "jsonfile", "cache_connection": f"{folder}/cache"}
        constructed = {
            "groups": {"gateways": "zerotier_tags.role == 'gateway'"},
            "keyed_groups": [{"key": "zerotier_tags.role", "prefix": "role"}],
        }
        options = {**where, "networks": [network.id], "tags": TAGS, **constructed, **cache}
        cold = inventory(kind, options, Path(folder), count)
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
    count = arguments.members
    source = "".join(f"accept ipprotocol tcp and dport {port};\n" for port in range(1, 334))
    seconds, compiled = timed(lambda: compile_rules(source))
    show(f"compile {len(compiled.rules)} rules", f"{seconds * 1000:.0f} ms", "<= 500 ms")
    show("ansible-inventory --list without members: its start-up", f"{ansible_inventory('localhost,')[0]:.2f} s")
    for kind in ["double", *(["daemon"] if "ZEROTIER_ONE" in os.environ else [])]:
        on_controller(kind, count, min(arguments.naive_sample, count))
    if "ZEROTIER_ONE" not in os.environ:
        print("daemon: not measured, ZEROTIER_ONE=<zerotier-one binary> isn't given")
    members = [
        {
            "nodeId": f"{number:010x}",
            "name": f"m{number}",
            "lastSeen": 1,
            "config": {"authorized": True, "ipAssignments": [f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"]},
        }
        for number in range(1, count + 1)
    ]
    with central(members) as url, tempfile.TemporaryDirectory() as folder:
        cache = {"cache": True, "cache_plugin": "jsonfile", "cache_connection": f"{folder}/cache"}
        inventory("central v1", {"url": url, "token": "bench-token", **cache}, Path(folder), count)


if __name__ == "__main__":
    main()
