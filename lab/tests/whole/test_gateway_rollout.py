"""A gateway that gets a bad release, a bad configuration or a power cut goes on with what ran before.

The gateway is a container that boots systemd, in a lab of its own which is never up: its servers don't answer, and its
relay is the simulator's. Needs root and podman.
"""

import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.driver import hosts
from lab.machine import engine, names
from lab.machine.base_image import BaseImage
from lab.machine.podman import Podman
from tests.warm_python import hosts as warm_hosts

ROOT = Path(__file__).resolve().parents[3]
EXTRA = {"roll_wait_s": 5, "parking_gateway_servers": ["http://192.0.2.11:8001"], "parking_gateway_trial_s": 50}
STATE = "/var/lib/parkmesh-rollout"
PREVIOUS = f"{STATE}/previous"

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("podman") is None, reason="the lab needs root and podman"
)


@dataclass(frozen=True)
class Gateway:
    """The container, and how it is reached and rolled."""

    podman: Podman
    name: str
    inventory: Path

    def shell(self, script: str) -> str:
        return self.podman.shell(self.name, script).strip()

    def roll(self, *arguments: str, code: int = 0, **extra: object) -> str:
        """Run the playbook and return what it printed, on one line."""
        done = subprocess.run(
            [
                *(str(Path(sys.executable).with_name("ansible-playbook")), "playbooks/roll-gateways.yml"),
                *("-i", str(self.inventory), "-e", json.dumps({**EXTRA, **extra}), *arguments),
            ],
            cwd=ROOT,
            env={**self.podman.environment, "ANSIBLE_NOCOLOR": "1"},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return " ".join(done.stdout.split())

    def running(self) -> tuple[str, str]:
        """Which release is linked, and by which configuration the agent decides."""
        return self.shell("readlink /opt/parkmesh/current"), self.shell("sha256sum /etc/parkmesh/gateway.json")

    def answers(self) -> bool:
        return '"running": true' in self.shell("parkmesh gateway status")

    def outcome(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.shell(f"cat {STATE}/outcome.json"))
        return document

    def want(self, script: str) -> None:
        """Change what is wanted, by a script that runs in its folder, and put it on trial."""
        self.shell(
            f"cd {STATE}/wanted; cp -p /etc/parkmesh/gateway.json .; {script};"
            " systemctl start parkmesh-gateway-rollout || true"
        )


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("rollout")
    lab = names.from_environment({"PARKMESH_LAB": "labrollout"})
    podman, _ = engine.podman_for(lab)
    image = BaseImage(lab, podman)
    image.ensure()
    name = lab.thing("gateway")
    bench = {
        "ansible_connection": "containers.podman.podman",
        "ansible_host": name,
        "ansible_python_interpreter": warm_hosts.PROGRAM,
    }
    inventory = folder / "inventory.yml"
    inventory.write_text(
        yaml.safe_dump(
            {
                "gateways": {
                    "hosts": {"gateway-off": {**bench, "ansible_host": f"{name}-none"}, "gateway-on": bench},
                    "vars": {
                        "parking_gateway_python": "3.13",
                        "parking_gateway_arch": platform.machine(),
                        "parking_gateway_community": "a",
                        "parking_gateway_gates": [{"name": "in", "relay": {"url": "http://127.0.0.1:1883"}}],
                        "parking_gateway_cameras": [{"name": "cam-in", "gate": "in", "direction": "entry"}],
                    },
                }
            }
        )
    )
    podman.run("rm", "--force", "--ignore", name)
    podman.run(
        "run", "--detach", f"--name={name}", f"--label={lab.label}", *hosts.HOST_OPTIONS, image.name, "/sbin/init"
    )
    try:
        hosts.await_boot(podman, name)
        warm_hosts.start(podman, name)
        yield Gateway(podman, name, inventory)
    finally:
        podman.run("rm", "--force", "--time=0", name, timeout=60)
        shutil.rmtree(lab.state, ignore_errors=True)


def test_a_gateway_that_is_offline_is_left_out_and_listed(gateway: Gateway) -> None:
    shown = gateway.roll()
    assert "1 of 2 gateways are at what is wanted" in shown
    assert "offline and left out: gateway-off" in shown
    assert gateway.answers()


def test_a_release_that_ends_at_once_is_put_back(gateway: Gateway) -> None:
    before = gateway.running()
    gateway.want(
        "cd /opt/parkmesh/releases; cp -a $(readlink ../current) badbadbadbad;"
        """ echo 'async def run(*_, **__): raise RuntimeError("a bad release")' >> """
        f"badbadbadbad/lib/parkmesh/gateway/agent.py; echo badbadbadbad > {STATE}/wanted/release"
    )
    outcome = gateway.outcome()
    assert (outcome["result"], outcome["release"]) == ("put back", "badbadbadbad")
    assert "RuntimeError: a bad release" in outcome["reasons"][0]
    assert gateway.running() == before
    assert gateway.answers()


def test_a_configuration_that_the_agent_cannot_run_by_is_put_back_and_the_host_fails(gateway: Gateway) -> None:
    before = gateway.running()
    shown = gateway.roll("--limit=gateway-on", code=2, parking_gateway_port=1883)
    assert "parkmesh gateway: can't listen on 0.0.0.0:1883: Address already in use. Put back: release" in shown
    assert f"Put back: release {Path(before[0]).name} and its configuration run again" in shown
    assert gateway.running() == before
    assert gateway.answers()


def test_a_configuration_that_the_new_release_refuses_changes_nothing(gateway: Gateway) -> None:
    before, agent = gateway.running(), gateway.shell("systemctl show -p MainPID parkmesh-gateway")
    gateway.want('sed -i \'s/"port": 8100/"port": true/\' gateway.json')
    assert gateway.outcome()["result"] == "refused"
    assert "$.listen.port" in gateway.outcome()["reasons"][0]
    assert (gateway.running(), gateway.shell("systemctl show -p MainPID parkmesh-gateway")) == (before, agent)


def test_after_a_power_cut_during_a_trial_the_earlier_release_starts(gateway: Gateway) -> None:
    before = gateway.running()
    gateway.shell(
        f"cp -p /etc/parkmesh/gateway.json {STATE}/wanted; cd {STATE}/wanted; sed -i s/8100/8101/ gateway.json;"
        " systemctl start --no-block parkmesh-gateway-rollout;"
        f" until grep -q 8101 /etc/parkmesh/gateway.json; do sleep 0.1; done;"
        f""" until parkmesh gateway status | grep -q '"running": true'; do sleep 0.1; done; test -d {PREVIOUS}"""
    )
    gateway.podman.run("kill", "--signal=KILL", gateway.name)
    gateway.podman.run("start", gateway.name)
    hosts.await_boot(gateway.podman, gateway.name)
    assert gateway.running() == before
    assert gateway.shell(f"ls {STATE}") == "before.json\nfloor\nlock\noutcome.json\nwanted"
    assert gateway.outcome()["reasons"] == ["the host restarted before it was proven"]
