"""A host that gets a bad package, a root that isn't one, or a power cut in a trial goes on with the ZeroTier of before.

The host is a container that boots systemd, with a daemon of its own as its root. Needs root and podman.
molecule/zerotier tries settings, by SSH.
"""

import json
import os
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
from lab.machine.podman import Podman, PodmanError
from lab.zerotier_package.build import VERSION, build
from tests.warm_python import hosts as warm_hosts

ROOT = Path(__file__).resolve().parents[3]
STATE = "/var/lib/zerotier-trial"
HOME = "/var/lib/zerotier-one"
ROOTS_HOME, ROOTS_PORT = "/root/a-root", 29980

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("podman") is None, reason="the lab needs root and podman"
)


def tool(folder: Path, *arguments: str) -> str:
    """Run zerotier-idtool in a folder and return what it printed."""
    program = "import sys; from lab.zerotier.idtool import main; sys.exit(main(sys.argv[1:]))"
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    ).stdout


def moon(folder: Path, root: str) -> Path:
    """Sign a moon, by the name of the identity in the folder, of which another or the same identity is the root."""
    described = json.loads(tool(folder, "initmoon", "identity.public"))
    described["roots"] = [{"identity": (folder / root).read_text(), "stableEndpoints": [f"127.0.0.1/{ROOTS_PORT}"]}]
    (folder / "moon.json").write_text(json.dumps(described))
    tool(folder, "genmoon", "moon.json")
    return next(folder.glob("*.moon"))


def package(folder: Path, version: str, script: str) -> str:
    """Make a package of another version, after a script changed its files."""
    made, tree = build(folder), folder / f"tree-{version}"
    subprocess.run(["dpkg-deb", "--raw-extract", made, tree], check=True)
    control = tree / "DEBIAN/control"
    control.write_text(control.read_text().replace(f"Version: {VERSION}", f"Version: {version}"))
    subprocess.run(["sh", "-c", script], cwd=tree, check=True)
    other = folder / f"other-{version}.deb"
    subprocess.run(
        ["dpkg-deb", "--root-owner-group", "-Zgzip", "--build", tree, other], check=True, capture_output=True
    )
    return str(other)


@dataclass(frozen=True)
class Node:
    """The container, and how the role is applied to it."""

    podman: Podman
    name: str
    inventory: Path
    folder: Path

    def shell(self, script: str) -> str:
        return self.podman.shell(self.name, script).strip()

    def play(self, code: int = 0, **extra: object) -> str:
        """Apply the role as its scenario does and return what that printed, on one line."""
        roots = [{"id": path.stem, "file": str(path)} for path in (self.folder / "root").glob("*.moon")]
        done = subprocess.run(
            [
                *(str(Path(sys.executable).with_name("ansible-playbook")), "molecule/zerotier/converge.yml"),
                *("-i", str(self.inventory), "-e", json.dumps({"zerotier_moons": roots, **extra})),
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

    def try_port(self, port: int, within: int) -> None:
        """Put a port on trial without Ansible, and wait until the daemon runs by it."""
        self.shell(
            f"mkdir -p {STATE}/wanted; sed s/29993/{port}/ {HOME}/local.conf > {STATE}/wanted/local.conf;"
            f" zerotier-trial try --home {HOME} --within {within};"
            f" until [ -e {STATE}/former/applied ]; do sleep 0.1; done; cat {HOME}/zerotier-one.port"
        )
        assert str(port) in self.shell(f"cat {HOME}/local.conf")

    def state(self) -> tuple[str, bool, int, str]:
        """The package's version, whether the daemon is online, its port, and whether anything is on trial."""
        online = '[ "$(zerotier-cli info | cut -d" " -f5)" = ONLINE ]'
        self.shell(f"for i in $(seq 40); do {online} && break; sleep 0.5; done")
        info = json.loads(self.shell("zerotier-cli -j info"))
        left = self.shell(
            f"ls -d {STATE}/former 2>/dev/null || true; systemctl is-active zerotier-return.timer || true"
        )
        version = self.shell("dpkg-query --show --showformat '${Version}' zerotier-one")
        return version, info["online"], info["config"]["settings"]["primaryPort"], left

    def outcome(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.shell(f"cat {STATE}/outcome.json"))
        return document


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    folder = tmp_path_factory.mktemp("zerotier-trial")
    lab = names.from_environment({"PARKMESH_LAB": "labzerotiertrial"})
    podman, _ = engine.podman_for(lab)
    image = BaseImage(lab, podman)
    image.ensure()
    name = lab.thing("node")
    bench = {
        "ansible_connection": "containers.podman.podman",
        "ansible_host": name,
        "ansible_python_interpreter": warm_hosts.PROGRAM,
        "scenario": {"zerotier_package": str(build(folder))},
    }
    inventory = folder / "inventory.yml"
    inventory.write_text(yaml.safe_dump({"all": {"hosts": {"node": bench}}}))
    root = folder / "root"
    root.mkdir()
    tool(root, "generate", "identity.secret", "identity.public")
    moon(root, "identity.public")
    podman.run("rm", "--force", "--ignore", name)
    podman.run(
        "run", "--detach", f"--name={name}", f"--label={lab.label}", *hosts.HOST_OPTIONS, image.name, "/sbin/init"
    )
    try:
        hosts.await_boot(podman, name)
        warm_hosts.start(podman, name)
        made = Node(podman, name, inventory, folder)
        made.play()
        made.shell(f"mkdir -p {ROOTS_HOME}/moons.d")
        for path in root.iterdir():
            podman.run("cp", str(path), f"{name}:{ROOTS_HOME}/{'moons.d/' if path.suffix == '.moon' else ''}")
        run = f"ExecStart=/usr/sbin/zerotier-one -U -p{ROOTS_PORT} {ROOTS_HOME}"
        unit = f"[Service]\\n{run}\\n[Install]\\nWantedBy=multi-user.target\\n"
        made.shell(f"printf '{unit}' > /etc/systemd/system/a-root.service; systemctl enable --now --quiet a-root")
        # As the role does when there is something to try.
        for file, place in (("trial.py", "/usr/local/sbin/zerotier-trial"), ("return.service", "/etc/systemd/system/")):
            podman.run("cp", str(ROOT / f"roles/zerotier/files/zerotier-{file}"), f"{name}:{place}")
        made.shell("chmod 0755 /usr/local/sbin/zerotier-trial; systemctl enable --quiet zerotier-return")
        yield made
    finally:
        podman.run("rm", "--force", "--time=0", name, timeout=60)
        shutil.rmtree(lab.state, ignore_errors=True)


BEFORE = (VERSION, True, 29993, "inactive")


def test_a_run_that_comes_during_a_trial_waits_for_its_end_and_finds_what_was_before(node: Node) -> None:
    assert node.state() == BEFORE
    node.try_port(29995, 12)
    with pytest.raises(PodmanError, match="another change of ZeroTier is on trial"):
        node.shell(f"zerotier-trial try --home {HOME} --within 12")
    assert "changed=0" in node.play()
    assert node.outcome() == {"result": "put back", "reasons": ["nobody confirmed it in time"]}
    assert node.state() == BEFORE


def test_a_root_that_is_none_is_put_back_though_the_daemon_answers(node: Node) -> None:
    other = node.folder / "elsewhere"
    shutil.copytree(node.folder / "root", other)
    tool(other, "generate", "other.secret", "other.public")
    path = moon(other, "other.public")
    shown = node.play(code=2, zerotier_moons=[{"id": path.stem, "file": str(path)}], zerotier_trial_s=30)
    assert "not kept: zerotier-one was online before, and reaches no root now. The former ones are back." in shown
    assert node.state() == BEFORE


def test_a_package_whose_daemon_ends_is_put_back_without_a_repository(node: Node) -> None:
    bad = package(node.folder, "1.99", "printf '#!/bin/sh\\nexit 1\\n' > usr/sbin/zerotier-one")
    files = node.shell("dpkg --verify zerotier-one; dpkg-query --listfiles zerotier-one")
    shown = node.play(code=2, zerotier_package_file=bad, zerotier_trial_s=30)
    assert "not kept: zerotier-one doesn't answer. The former ones are back." in shown
    assert node.state() == BEFORE
    assert node.shell("dpkg --verify zerotier-one; dpkg-query --listfiles zerotier-one") == files
    assert node.shell("ls /var/cache/zerotier-one.deb || true") == ""


def test_another_package_is_kept(node: Node) -> None:
    node.play(zerotier_package_file=package(node.folder, "1.14.2", "true"))
    assert node.state() == ("1.14.2", *BEFORE[1:])
    assert node.outcome() == {"result": "kept", "reasons": []}


def test_after_a_power_cut_during_a_trial_the_former_settings_return(node: Node) -> None:
    before = node.state()
    node.try_port(29995, 600)
    node.podman.run("kill", "--signal=KILL", node.name)
    node.podman.run("start", node.name)
    hosts.await_boot(node.podman, node.name)
    assert node.shell("zerotier-trial outcome --within 60") == json.dumps(node.outcome())
    assert node.outcome() == {"result": "put back", "reasons": ["the host restarted before it was confirmed"]}
    assert node.state() == before
