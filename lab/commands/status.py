"""`status` and `exec`: what runs in the lab, and a way into it."""

import json
import os
import subprocess
from typing import Any

from lab.driver.hosts import HOSTS
from lab.machine import engine, processes, state
from lab.machine.errors import LabError
from lab.machine.names import Lab
from lab.machine.progress import say


def collect(lab: Lab) -> dict[str, Any]:
    """{"lab", "up", "daemon", "hosts", "containers", "cloud"}; everything empty when the lab is down."""
    facts = state.load(lab)
    if facts is None:
        return {"lab": lab.id, "up": False, "daemon": False, "hosts": {}, "cloud": {}}
    podman, _ = engine.podman_for(lab, write=False)
    running = {container.name: container.running for container in podman.containers(lab.label)}
    daemon = bool(processes.find_daemons(lab.name, lab.root))
    hosts = {host.name: running.get(lab.thing(host.name), False) for host in HOSTS}
    cloud: dict[str, Any] = {}
    if daemon:
        try:
            cloud = json.loads((lab.state / "daemon.json").read_text())
        except (FileNotFoundError, ValueError):
            cloud = {}
    return {
        "lab": lab.id,
        "up": daemon and all(hosts.values()),
        "daemon": daemon,
        "overlay": facts["overlay"]["kind"],
        "hosts": {
            name: {"running": on, "address": facts["hosts"][name]["address"], "container": lab.thing(name)}
            for name, on in hosts.items()
        },
        "cloud": cloud,
    }


def show(lab: Lab, *, as_json: bool) -> int:
    """Print the state; 0 when the lab is up, else 3."""
    found = collect(lab)
    if as_json:
        say(json.dumps(found, indent=2))
        return 0 if found["up"] else 3
    if not found["hosts"]:
        say(f"lab {lab.id}: down")
        return 3
    say(f"lab {lab.id}: {'up' if found['up'] else 'not complete, run up again'}; overlay: {found['overlay']}")
    rows = [("THING", "STATE", "ADDRESS", "DETAIL")]
    rows += [
        (name, "running" if host["running"] else "stopped", host["address"], "host")
        for name, host in found["hosts"].items()
    ]
    rows.append(
        ("daemon", "running" if found["daemon"] else "stopped", lab.aws_endpoint_url, "AWS API, driver, mail server")
    )
    cloud = found["cloud"]
    for instance in cloud.get("instances", []):
        detail = [instance["zone"], instance["image"], instance["name"] or "", ",".join(instance["targets"])]
        rows.append(
            (instance["id"], instance["state"], instance["address"] or "", " ".join(part for part in detail if part))
        )
    for database in cloud.get("databases", []):
        state_word = "failing" if database["problem"] else "running"
        rows.append((f"db-{database['identifier']}", state_word, database["address"] or "", database["endpoint"]))
    for balancer in cloud.get("load_balancers", []):
        state_word = "failing" if balancer["problem"] else "running"
        rows.append((f"lb-{balancer['name']}", state_word, balancer["address"], balancer["url"] or ""))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        say("  ".join([*(text.ljust(width) for text, width in zip(row, widths, strict=False)), row[3]]).rstrip())
    for zone in cloud.get("failed_zones", []):
        say(f"{zone} has failed (python -m lab zone recover {zone})")
    for part, problem in cloud.get("problems", {}).items():
        say(f"problem: {part}: {problem}")
    return 0 if found["up"] else 3


def execute(lab: Lab, thing: str, words: list[str]) -> int:
    """Run a command in one of the lab's containers with this terminal; returns its exit code."""
    state.require(lab)
    podman, _ = engine.podman_for(lab, write=False)
    name = thing if thing.startswith(lab.prefix) else lab.thing(thing)
    if name not in {container.name for container in podman.containers(lab.label) if container.running}:
        raise LabError(f"nothing called {thing!r} runs in lab {lab.id}: see `make lab-status`")
    terminal = ["--tty"] if os.isatty(0) and os.isatty(1) else []
    command = [podman.program, "exec", "--interactive", *terminal, name, *words]
    return subprocess.run(command, env=podman.environment, check=False).returncode
