"""A release that a gateway fetched is checked by root, tried and kept, or leaves what runs as it is.

The gateway is a container that boots systemd, in a lab of its own which is never up. What the agent would fetch is laid
in its folder by the test; app/tests/server/test_gateway_releases.py fetches from a real server. Needs root and podman.
"""

import base64
import importlib.util
import io
import json
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import time
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
PULL, STATE = "/var/lib/parkmesh/pull", "/var/lib/parkmesh-rollout"
GOOD, BAD = "0" * 11 + "a", "0" * 11 + "b"

spec = importlib.util.spec_from_file_location("sign_release", ROOT / "scripts/sign_release.py")
assert spec
assert spec.loader
signing: Any = importlib.util.module_from_spec(spec)
spec.loader.exec_module(signing)

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("podman") is None, reason="the lab needs root and podman"
)


@dataclass
class Gateway:
    """The container, the key that its releases are signed with, and the archive of the release that runs."""

    podman: Podman
    name: str
    folder: Path
    key: Any

    def shell(self, script: str) -> str:
        return self.podman.shell(self.name, script).strip()

    def current(self) -> str:
        return Path(self.shell("readlink /opt/parkmesh/current")).name

    def archive(self, **appended: str) -> Path:
        """Return the archive of this release with text appended to modules of ``parkmesh.gateway``."""
        command = [sys.executable, str(ROOT / "scripts/build_release.py"), "--target=gateway", "--python=3.13"]
        command.append(f"--arch={platform.machine()}")
        built = subprocess.run(command, capture_output=True, text=True, check=True)
        path = self.folder / "changed.tar.gz"
        with tarfile.open(json.loads(built.stdout)["archive"]) as old, tarfile.open(path, "w:gz") as new:
            for member in old:
                stream = old.extractfile(member) if member.isfile() else None
                content = stream.read() if stream else b""
                for module, text in appended.items():
                    if member.name == f"lib/parkmesh/gateway/{module}.py":
                        content += text.encode()
                        member.size = len(content)
                new.addfile(member, io.BytesIO(content) if stream else None)
        return path

    def fetched(self, serial: int, release: str, archive: Path, key: Any = None) -> None:
        """Lay a release where the agent leaves what it fetched, and say that it is ready."""
        document = signing.sign(key or self.key, archive, release, "3.13", platform.machine(), serial)
        inbox = self.folder / f"pull-{serial}"
        (inbox / "parts").mkdir(parents=True)
        (inbox / "manifest.z").write_bytes(base64.b64decode(document["manifest"]))
        (inbox / "signature").write_bytes(base64.b64decode(document["signature"]))
        for part in document["parts"]:
            (inbox / "parts" / part["sha256"]).write_bytes(base64.b64decode(part["content"]))
        self.shell(f"rm -rf {PULL} /root/pull")
        self.podman.run("cp", str(inbox), f"{self.name}:/root/pull")
        self.shell(
            f"chown -R parkmesh:parkmesh /root/pull; mv /root/pull {PULL};"
            f" runuser -u parkmesh -- sh -c 'echo {serial} > {PULL}/ready'"
        )

    def outcome(self, serial: int) -> Any:
        """Return how it went with what the agent asked for, when it is over."""
        until = time.monotonic() + 150
        while time.monotonic() < until:
            found = json.loads(self.shell("cat /opt/parkmesh/pulled.json 2>/dev/null || echo '{}'"))
            if found.get("asked") == serial and found["result"] != "on trial":
                return found
            time.sleep(1)
        pytest.fail(self.shell("systemctl status parkmesh-gateway-pull.path parkmesh-gateway-pull.service || true"))

    def journal(self) -> str:
        return self.shell("journalctl --quiet --output=cat _SYSTEMD_UNIT=parkmesh-gateway-pull.service")


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("pull")
    lab = names.from_environment({"PARKMESH_LAB": "labpull"})
    podman, _ = engine.podman_for(lab)
    image = BaseImage(lab, podman)
    image.ensure()
    name = lab.thing("gateway")
    key = signing.Ed25519PrivateKey.generate()
    inventory = folder / "inventory.yml"
    variables = {
        "parking_gateway_python": "3.13",
        "parking_gateway_arch": platform.machine(),
        "parking_gateway_community": "a",
        "parking_gateway_servers": ["http://192.0.2.11:8001"],
        "parking_gateway_trial_s": 50,
        "parking_gateway_release_key": signing.public_key(key),
        "parking_gateway_gates": [{"name": "in", "relay": {"url": "http://127.0.0.1:1883"}}],
        "parking_gateway_cameras": [{"name": "cam-in", "gate": "in", "direction": "entry"}],
    }
    bench = {
        "ansible_connection": "containers.podman.podman",
        "ansible_host": name,
        "ansible_python_interpreter": warm_hosts.PROGRAM,
    }
    inventory.write_text(yaml.safe_dump({"gateways": {"hosts": {"gateway-on": bench}, "vars": variables}}))
    podman.run("rm", "--force", "--ignore", name)
    podman.run(
        "run", "--detach", f"--name={name}", f"--label={lab.label}", *hosts.HOST_OPTIONS, image.name, "/sbin/init"
    )
    command = [str(Path(sys.executable).with_name("ansible-playbook")), "playbooks/roll-gateways.yml"]
    # The playbook gives the role the servers' addresses: only the command line is stronger.
    servers = json.dumps({"parking_gateway_servers": variables["parking_gateway_servers"]})
    command += ["-i", str(inventory), "-e", servers]
    try:
        hosts.await_boot(podman, name)
        warm_hosts.start(podman, name)
        for changes in (True, False):
            done = subprocess.run(
                command,
                cwd=ROOT,
                env={**podman.environment, "ANSIBLE_NOCOLOR": "1"},
                capture_output=True,
                text=True,
                timeout=500,
                check=False,
            )
            assert done.returncode == 0, done.stdout + done.stderr
            assert changes or " changed=0 " in done.stdout, done.stdout
        yield Gateway(podman, name, folder, key)
    finally:
        podman.run("rm", "--force", "--time=0", name, timeout=60)
        shutil.rmtree(lab.state, ignore_errors=True)


def test_a_release_of_another_key_is_one_line_and_changes_nothing(gateway: Gateway) -> None:
    before, serial = gateway.current(), int(time.time()) + 1
    gateway.fetched(serial, GOOD, gateway.archive(agent="\n"), key=signing.Ed25519PrivateKey.generate())
    outcome = gateway.outcome(serial)
    assert outcome["result"] == "not taken"
    assert "number 0: not taken: the signature is wrong" in gateway.journal()
    assert gateway.current() == before


def test_a_signed_release_runs_after_its_trial(gateway: Gateway) -> None:
    serial = int(time.time()) + 2
    gateway.fetched(serial, GOOD, gateway.archive(agent="\nMARK = 1\n"))
    outcome = gateway.outcome(serial)
    assert outcome["result"] == "kept", outcome
    assert gateway.current() == GOOD
    assert '"running": true' in gateway.shell("parkmesh gateway status")
    assert gateway.shell(
        f"systemctl show -p ActiveState --value parkmesh-gateway-pull.path; ls {STATE}/previous || true"
    )
    # The same again, and what was published before, are old.
    gateway.fetched(serial - 1, BAD, gateway.archive(agent="\n"))
    assert gateway.outcome(serial - 1)["reason"].endswith("the release is older than what was here")
    assert gateway.current() == GOOD


def test_a_signed_release_that_ends_at_once_is_put_back(gateway: Gateway) -> None:
    before, serial = gateway.current(), int(time.time()) + 3
    bad = '\nasync def run(*_, **__): raise RuntimeError("a bad release")\n'
    gateway.fetched(serial, BAD, gateway.archive(agent=bad))
    outcome = gateway.outcome(serial)
    assert outcome["result"] == "put back"
    assert "RuntimeError: a bad release" in outcome["reason"]
    assert gateway.current() == before
    assert '"running": true' in gateway.shell("parkmesh gateway status")
    # The agent can read why, and the same publication isn't tried again.
    assert "a bad release" in gateway.shell("runuser -u parkmesh -- cat /opt/parkmesh/pulled.json")
    gateway.shell(f"runuser -u parkmesh -- sh -c 'echo {serial + 1} > {PULL}/ready'")
    assert gateway.outcome(serial + 1)["result"] == "refused"
    assert gateway.current() == before
