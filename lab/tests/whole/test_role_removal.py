"""Roles that share a host, on one that boots systemd: `absent` takes back what `present` made.

All of them run one after the other on the same host, as on a bench; what is on it afterwards is compared with what was
on it before. Needs root and podman; the host is a container of a lab of its own, which is never up.
"""

import json
import os
import platform
import re
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
from lab.zerotier_package import choice

ROOT = Path(__file__).resolve().parents[3]

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("podman") is None, reason="the lab needs root and podman"
)

# In the order in which they come; they go in the reverse order. parking_runtime comes and goes with those that use it.
# Roles that share nothing with others have molecule scenarios of their own.
ROLES = ("zerotier_controller", "parking_gateway", "parking_simulator", "parking_app")
# What a person must ask for by name: records, identities.
KEPT = {"/var/lib/parkmesh", "/var/lib/zerotier-one"}
# What packages and the system itself write.
NOISE = re.compile(
    r"/etc/(apt/|(passwd|group|shadow|gshadow|subuid|subgid)-|\.pwd\.lock|ld\.so\.cache|resolv\.conf)"
    r"|/var/lib/(apt|dpkg|systemd|mosquitto|ucf)/|/etc/ssh/ssh_host_"
    # The SSH server stays enabled: other users may sign in by it. So does what keeps the clock right.
    r"|/etc/rc\d\.d/...(ssh|chrony)$"
    r"|/etc/systemd/system/(sshd|chronyd|multi-user\.target\.wants/(ssh|chrony))\.service$"
)
LISTING = "find /etc /opt /usr/local /home /var/lib /var/cache/zerotier-one.deb /run/parkmesh -xdev 2>/dev/null || true"


@dataclass(frozen=True)
class Machine:
    """A container that stands for a host, and what the roles are told."""

    podman: Podman
    name: str
    folder: Path
    variables: dict[str, Any]

    def files(self) -> set[str]:
        found = self.podman.shell(self.name, LISTING).splitlines()
        return {path for path in found if not NOISE.match(path)}

    def accounts(self) -> set[str]:
        return set(self.podman.shell(self.name, "cut -d: -f1 /etc/passwd /etc/group").split())

    def play(self, state: str, *arguments: str, **extra: object) -> int:
        """Bring all roles to a state; returns how many tasks changed something."""
        roles = ROLES if state == "present" else tuple(reversed(ROLES))
        states = {f"{role}_state": state for role in roles}
        playbook = self.folder / "roles.yml"
        playbook.write_text(
            yaml.safe_dump(
                [
                    {
                        "hosts": "all",
                        "gather_facts": False,
                        "vars": {**self.variables, **extra},
                        "tasks": [
                            {
                                "name": role,
                                "ansible.builtin.include_role": {"name": role},
                                "vars": {f"{role}_state": states[f"{role}_state"]},
                            }
                            for role in roles
                        ],
                    }
                ]
            )
        )
        inventory = self.folder / "inventory.yml"
        reached = {"ansible_connection": "containers.podman.podman", "ansible_host": self.name}
        inventory.write_text(yaml.safe_dump({"all": {"hosts": {"bench": reached}}}))
        done = subprocess.run(
            [Path(sys.executable).with_name("ansible-playbook"), "-i", inventory, playbook, "--diff", *arguments],
            cwd=ROOT,
            env={**self.podman.environment, "ANSIBLE_NOCOLOR": "1"},
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert self.variables["token"] not in done.stdout + done.stderr
        recap = re.search(r"^bench +: ok=\d+ +changed=(\d+)", done.stdout, re.MULTILINE)
        assert recap, done.stdout
        return int(recap[1])


def release(target: str) -> dict[str, str]:
    done = subprocess.run(
        [
            sys.executable,
            "scripts/build_release.py",
            f"--target={target}",
            "--python=3.13",
            f"--arch={platform.machine()}",
        ],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    answer: dict[str, str] = json.loads(done.stdout)
    return answer


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    folder = tmp_path_factory.mktemp("roles")
    lab = names.from_environment({"PARKMESH_LAB": "labroles"})
    podman, _ = engine.podman_for(lab)
    image = BaseImage(lab, podman)
    image.ensure()
    package = choice.choose(lab, {**os.environ, "ZEROTIER_PACKAGE": ""}, {"kind": "double"})["package"]
    built = release("gateway")
    token = "a-token-of-the-controller-0123456789"
    (folder / "token").write_text(token)
    variables = {
        "token": token,
        "zerotier_package_source": "file",
        "zerotier_package_file": package,
        "zerotier_controller_authtoken_file": str(folder / "token"),
        "zerotier_controller_endpoint": "192.0.2.1/9993",
        "zerotier_controller_moon_folder": str(folder / "moons"),
        "parking_runtime_archive": built["archive"],
        "parking_runtime_release_id": built["release_id"],
        "parking_gateway_community": "a",
        "parking_gateway_servers": ["http://192.0.2.11:8001"],
        "parking_gateway_gates": [{"name": "in", "relay": {"kind": "shelly_gen2", "url": "http://127.0.0.1:8201"}}],
        "parking_gateway_cameras": [{"name": "cam-in", "kind": "hikvision", "gate": "in", "direction": "entry"}],
        "parking_simulator_site": {
            "gateway": "http://127.0.0.1:8100",
            "broker": {"host": "127.0.0.1", "port": 1883},
            "relays": [{"name": "in", "port": 8201, "listen": "127.0.0.1"}],
            "cameras": [],
            "sensors": [],
        },
        # There is no AWS behind this host: the units of an app server are enabled and not started.
        "parking_app_image": True,
    }
    name = lab.thing("bench")
    podman.run("rm", "--force", "--ignore", name)
    podman.run(
        "run", "--detach", f"--name={name}", f"--label={lab.label}", *hosts.HOST_OPTIONS, image.name, "/sbin/init"
    )
    try:
        hosts.await_boot(podman, name)
        yield Machine(podman, name, folder, variables)
    finally:
        podman.run("rm", "--force", "--time=2", name, timeout=60)
        shutil.rmtree(lab.state, ignore_errors=True)


def test_absent_takes_back_what_present_made_and_nothing_else(machine: Machine) -> None:
    files, accounts = machine.files(), machine.accounts()
    assert machine.play("present", "--check") > 0
    assert machine.files() == files
    assert machine.play("present") > 0
    assert "table inet parkmesh" in machine.podman.shell(machine.name, "nft list tables")
    assert machine.play("present") == 0, "a second run changes nothing"
    made = machine.files() - files
    assert {"/etc/parkmesh/gateway.token", "/opt/parkmesh/current"} <= made
    assert list((machine.folder / "moons").iterdir())
    assert machine.play("absent", "--check") > 0
    assert made <= machine.files() - files

    assert machine.play("absent") > 0
    assert "parkmesh" not in machine.podman.shell(machine.name, "nft list tables")
    left = machine.files() - files
    assert {path for path in left if not any(path == kept or path.startswith(f"{kept}/") for kept in KEPT)} == set()
    assert files - machine.files() == set()
    assert {"/var/lib/parkmesh/spool.db", "/var/lib/zerotier-one/identity.secret"} <= left
    assert not {path for path in left if path.endswith(("authtoken.secret", "local.conf", ".moon"))}
    # The records' owner stays with them, and the user that ZeroTier's package made with the identity.
    assert machine.accounts() - accounts == {"parkmesh", "zerotier-one"}
    assert list((machine.folder / "moons").iterdir()) == []
    assert machine.play("absent") == 0


def test_records_and_networks_go_only_when_asked_for(machine: Machine) -> None:
    assert machine.play("absent", parking_gateway_remove_spool=True, zerotier_controller_remove_networks=True) > 0
    assert not {path for path in machine.files() if path.startswith(("/var/lib/parkmesh", "/var/lib/zerotier-one"))}
    assert "parkmesh" not in machine.accounts()
