"""`up`: from nothing, or from wherever an earlier run stopped, to a lab that the playbooks can use.

Every step looks at what is there first, so that running it again continues or does nothing.
"""

import os
import subprocess
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from lab.driver import hosts
from lab.machine import checks, engine, inotify, names, processes, state
from lab.machine.base_image import BaseImage
from lab.machine.errors import LabError
from lab.machine.names import Lab
from lab.machine.podman import Podman
from lab.machine.progress import say, step
from lab.zerotier_package import choice

DAEMON_TIMEOUT_S = 60


def check(lab: Lab, *, installed: bool = True) -> list[str]:
    """The preflight's lines; empty when the lab can start. `installed` as in `checks.gather`."""
    podman, _ = engine.podman_for(lab, write=False)
    facts = state.load(lab)
    found = checks.problems(checks.gather(lab, podman, images_present=facts is not None, installed=installed))
    if facts is not None:
        found += moved_ports(lab, facts)
    return found


def moved_ports(lab: Lab, facts: dict[str, Any]) -> list[str]:
    """A running lab cannot move to other ports: its load balancer and its AWS state live on the old ones."""
    wanted = {"http": ("LAB_HTTP_PORT", lab.http_port), "aws": ("LAB_AWS_PORT", lab.aws_port)}
    return [
        f"lab {lab.name!r} is up with {variable}={facts['ports'][key]}, not {port}: take it down first"
        for key, (variable, port) in wanted.items()
        if facts["ports"][key] != port
    ]


def up(lab: Lab) -> dict[str, Any]:
    """Bring the lab up and return what lab.json holds.

    Raises:
        LabError: with the one line that says what is wrong.
    """
    begun = time.monotonic()
    if found := check(lab):
        raise LabError("\n".join(found))
    if raised := inotify.raise_limit():
        say(raised)
    with state.held(lab):
        lab.state.mkdir(mode=0o755, parents=True, exist_ok=True)
        podman, containers_conf = engine.podman_for(lab)
        recorded = state.load(lab)
        state.ensure_secrets(lab)
        overlay = choice.choose(lab, os.environ, recorded["overlay"] if recorded else None)
        image = BaseImage(lab, podman)
        image.ensure()
        networks = hosts.plan_networks(lab, podman, recorded["networks"] if recorded else None)
        hosts.ensure_networks(lab, podman, networks)
        egress = lab.egress or (recorded or {}).get("egress") or names.EGRESSES[0]
        period_s = lab.metric_period_s or (recorded or {}).get("metric_period_s") or names.METRIC_PERIOD_S
        facts = state.facts_of(lab, networks, overlay, containers_conf, image.name, egress, period_s)
        state.save(lab.lab_json, facts)
        # The inventory names this file, as production's names one: there the address holds a password.
        (lab.state / "smtp-url").write_text(f"{facts['smtp_url']}\n")
        _start_hosts(lab, podman, image.name, networks)
        _start_daemon(lab, podman)
    say(f"lab {lab.id} is up ({time.monotonic() - begun:.1f} s); overlay: {overlay['explanation']}")
    return facts


def _start_hosts(lab: Lab, podman: Podman, image: str, networks: dict[str, Any]) -> None:
    present = {container.name for container in podman.containers(lab.label) if container.running}
    wanted = {lab.thing(name) for name in (hosts.ANCHOR, *(host.name for host in hosts.HOSTS))}
    ready = lab.state / "hosts-ready"
    if wanted <= present and ready.exists():
        return
    with step(f"starting {len(hosts.HOSTS)} hosts"):
        ready.unlink(missing_ok=True)
        hosts.ensure_hosts(lab, podman, image, networks)
        public_key = (lab.secrets / "ssh_key.pub").read_text()

        def finish(name: str) -> None:
            hosts.await_boot(podman, lab.thing(name))
            hosts.authorise_key(podman, lab.thing(name), public_key)

        with ThreadPoolExecutor(max_workers=3) as pool:
            list(pool.map(finish, [host.name for host in hosts.HOSTS]))
        ready.touch()


def _start_daemon(lab: Lab, podman: Podman) -> None:
    running = processes.find_daemons(lab.name, lab.root)
    if running:
        _await_daemon(lab, running[0])
        return
    with step("starting the lab daemon (AWS API, compute driver and mail server)"):
        (lab.state / "daemon.json").unlink(missing_ok=True)
        environment = {
            **podman.environment,
            "PARKMESH_LAB": lab.name,
            "LAB_HTTP_PORT": str(lab.http_port),
            "LAB_AWS_PORT": str(lab.aws_port),
            "LAB_DEBIAN": lab.suite,
        }
        with (lab.state / "daemon.log").open("ab") as log:
            child = subprocess.Popen(
                processes.daemon_command(lab.name, lab.root),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                cwd=lab.root,
                env=environment,
            )
        identity = None
        # Between fork and exec the command line is still ours; wait until it is the daemon's.
        for _ in range(200):
            identity = processes.identify(child.pid)
            if identity is None or identity.command == tuple(processes.daemon_command(lab.name, lab.root)):
                break
            time.sleep(0.01)
        if identity is not None:
            processes.save(lab.state / "daemon.pid", identity)
        _await_daemon(lab, identity)


def _await_daemon(lab: Lab, identity: processes.Identity | None) -> None:
    log = lab.state / "daemon.log"
    deadline = time.monotonic() + DAEMON_TIMEOUT_S
    while time.monotonic() < deadline:
        if not processes.alive(identity):
            last = (log.read_text(errors="replace").strip().splitlines() or ["no output"])[-1]
            raise LabError(f"the lab daemon ended at once: {last} (log: {log})")
        if (lab.state / "daemon.json").exists() and _answers(lab.aws_endpoint_url):
            return
        time.sleep(0.1)
    raise LabError(f"the lab daemon did not answer on {lab.aws_endpoint_url} within {DAEMON_TIMEOUT_S} s (log: {log})")


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/moto-api/data.json", timeout=5):  # noqa: S310
            return True
    except urllib.error.HTTPError:
        return True
    except (OSError, urllib.error.URLError):
        return False
