"""The firewall that role parking_gateway writes, in force in a network namespace of its own."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jinja2
import pytest
import yaml
from ansible.plugins.filter.core import FilterModule
from ansible.plugins.test.core import TestModule as CoreTests

ROLE = Path(__file__).resolve().parents[3] / "roles" / "parking_gateway"
SCRIPT = ROLE / "files" / "parkmesh-firewall"
NFT = shutil.which("nft") or shutil.which("nft", path="/usr/sbin")
GATEWAY, DEVICE, OTHER_DEVICE = "10.99.0.1", "10.99.0.2", "10.99.0.3"
ON_OVERLAY, OPS, OTHER_OPS = "10.99.1.1", "10.99.1.2", "10.99.1.3"
AMONG_CAMERAS, CAMERA, CAMERAS = "10.99.2.1", "10.99.2.2", "10.99.2.0/24"
PORTS = (22, 1700, 1883, 8100, 8143, 8180, 8883, 9999)

_LISTEN = """
import select, socket, sys
listening = [socket.create_server(("0.0.0.0", int(port))) for port in sys.argv[1:]]
print("ready", flush=True)
while True:
    for sock in select.select(listening, [], [])[0]:
        sock.accept()[0].close()
"""
_CONNECT = """
import concurrent.futures, socket, sys
source, target, *ports = sys.argv[1:]
def reached(port):
    try:
        socket.create_connection((target, int(port)), timeout=2, source_address=(source, 0)).close()
    except OSError:
        return False
    return True
with concurrent.futures.ThreadPoolExecutor(len(ports)) as all_at_once:
    print(*(port for port, found in zip(ports, all_at_once.map(reached, ports)) if found))
"""
_CAMERA = """
import socket
with socket.create_server(("0.0.0.0", 80)) as listening:
    print("ready", flush=True)
    while True:
        sock, (sender, _) = listening.accept()
        with sock:
            sock.sendall(f"{sender} {sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG)}".encode())
"""
_ASK = """
import socket, sys
try:
    with socket.create_connection((sys.argv[2], 80), timeout=2, source_address=(sys.argv[1], 0)) as sock:
        print(sock.makefile().read())
except OSError:
    pass
"""
_PING = """
import socket, struct, sys
source, target = sys.argv[1:]
with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as sock:
    sock.settimeout(5)
    sock.bind((source, 0))
    sock.sendto(struct.pack("!BBHHH", 8, 0, 0xF7FE, 1, 0), (target, 0))
    while sock.recv(100)[20] != 0:
        pass
"""

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or NFT is None or shutil.which("ip") is None, reason="needs root, nft and ip"
)


def rules(**inputs: Any) -> str:
    values = {**yaml.safe_load((ROLE / "defaults" / "main.yml").read_text()), "ansible_managed": "by hand", **inputs}
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True)  # noqa: S701 -- no page
    environment.filters.update(FilterModule().filters())
    environment.tests.update(CoreTests().tests())
    return environment.from_string((ROLE / "templates" / "firewall.nft.j2").read_text()).render(values)


class Site:
    """Three namespaces: a gateway that listens on all ``PORTS``, what is around it on its LAN and on the overlay, and
    a camera on a network behind it that says who asked and how large its packets may be."""

    def __init__(self) -> None:
        self.gateway, self.around = f"pm-gw-{os.getpid()}", f"pm-out-{os.getpid()}"
        self.cameras = f"pm-cam-{os.getpid()}"
        self._listeners: list[subprocess.Popen[str]] = []

    def begin(self) -> None:
        for name in (self.gateway, self.around, self.cameras):
            self._ip("netns", "add", name)
            self._ip("-n", name, "link", "set", "lo", "up")
        self._join("lan0", GATEWAY, [DEVICE, OTHER_DEVICE])
        self._join("ztabcdef01", ON_OVERLAY, [OPS, OTHER_OPS])
        self._join("cam0", AMONG_CAMERAS, [CAMERA], self.cameras)
        self._ip("-n", self.around, "route", "add", CAMERAS, "via", ON_OVERLAY)
        for namespace, program in ((self.gateway, [_LISTEN, *map(str, PORTS)]), (self.cameras, [_CAMERA])):
            command = ["ip", "netns", "exec", namespace, sys.executable, "-c", *program]
            listener = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            self._listeners.append(listener)
            assert listener.stdout is not None
            assert listener.stdout.readline() == "ready\n"

    @staticmethod
    def _ip(*arguments: str) -> None:
        done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
        if done.returncode and "Operation not permitted" in done.stderr:
            pytest.skip("no network namespaces here")
        assert done.returncode == 0, done.stderr

    def _join(self, name: str, address: str, others: list[str], where: str | None = None) -> None:
        peer, where = f"{name[:6]}-out", where or self.around
        self._ip("link", "add", name, "netns", self.gateway, "type", "veth", "peer", peer, "netns", where)
        for namespace, link, addresses in ((self.gateway, name, [address]), (where, peer, others)):
            for one in addresses:
                self._ip("-n", namespace, "address", "add", f"{one}/24", "dev", link)
            self._ip("-n", namespace, "link", "set", link, "up")

    def load(self, text: str, *, check: bool = True) -> subprocess.CompletedProcess[str]:
        assert NFT is not None
        command = ["ip", "netns", "exec", self.gateway, NFT, "--file", "-"]
        return subprocess.run(command, input=text, capture_output=True, text=True, check=check)

    def listed(self) -> str:
        assert NFT is not None
        command = ["ip", "netns", "exec", self.gateway, NFT, "list", "ruleset"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def reached(self, source: str, target: str) -> set[int]:
        command = ["ip", "netns", "exec", self.around, sys.executable, "-c", _CONNECT, source, target]
        done = subprocess.run([*command, *map(str, PORTS)], capture_output=True, text=True, check=True)
        return {int(port) for port in done.stdout.split()}

    def seen_by_camera(self, source: str) -> tuple[str, int] | None:
        """Connect to the camera; return whom it saw and how large a segment it may send, None without a connection."""
        command = ["ip", "netns", "exec", self.around, sys.executable, "-c", _ASK, source, CAMERA]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        return (said[0], int(said[1])) if said else None

    def forwards(self) -> bool:
        command = ["ip", "netns", "exec", self.gateway, "cat", "/proc/sys/net/ipv4/ip_forward"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == "1"

    def pinged(self, source: str, target: str) -> bool:
        command = ["ip", "netns", "exec", self.around, sys.executable, "-c", _PING, source, target]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0

    def end(self) -> None:
        for listener in self._listeners:
            listener.kill()
            listener.communicate()
        for name in (self.gateway, self.around, self.cameras):
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    made = Site()
    try:
        made.begin()
        yield made
    finally:
        made.end()


def test_devices_reach_the_cameras_port_and_the_overlay_ssh_and_the_agent(site: Site) -> None:
    assert site.reached(DEVICE, GATEWAY) == set(PORTS), "without rules everything is reached"
    site.load(rules())
    assert site.reached(DEVICE, GATEWAY) == {8100}
    assert site.reached(OPS, ON_OVERLAY) == {22, 8100}
    assert site.pinged(DEVICE, GATEWAY)
    assert site.pinged(OPS, ON_OVERLAY)


def test_the_broker_is_reached_where_it_listens(site: Site) -> None:
    site.load(rules(parking_gateway_mqtt_listen=[GATEWAY]))
    assert site.reached(DEVICE, GATEWAY) == {8100, 8883}
    site.load(rules(parking_gateway_mqtt_listen=[GATEWAY], parking_gateway_mqtt_tls=False))
    assert site.reached(DEVICE, GATEWAY) == {8100, 1883}
    assert site.reached(OPS, ON_OVERLAY) == {22, 8100}
    site.load(rules(parking_gateway_tls=True))
    assert site.reached(DEVICE, GATEWAY) == {8100, 8143}
    assert site.reached(OPS, ON_OVERLAY) == {22, 8100}


def test_the_page_is_reached_where_there_is_one_and_never_over_the_overlay(site: Site) -> None:
    site.load(rules(parking_gateway_page_password="correct horse battery"))
    assert site.reached(DEVICE, GATEWAY) == {8100, 8180}
    assert site.reached(OPS, ON_OVERLAY) == {22, 8100}
    site.load(rules(parking_gateway_page_password="correct horse battery", parking_gateway_page_from=[OTHER_DEVICE]))
    assert site.reached(DEVICE, GATEWAY) == {8100}
    assert site.reached(OTHER_DEVICE, GATEWAY) == {8100, 8180}


def test_devices_may_be_named_and_more_be_opened(site: Site) -> None:
    site.load(
        rules(
            parking_gateway_firewall_devices=["10.99.0.2/32", "fd00::/64"],
            parking_gateway_firewall_open=[
                {"protocol": "tcp", "port": 22, "from": [OTHER_DEVICE]},
                {"protocol": "tcp", "port": 1700},
                {"protocol": "udp", "port": 1700},
            ],
        )
    )
    assert site.reached(DEVICE, GATEWAY) == {8100, 1700}
    assert site.reached(OTHER_DEVICE, GATEWAY) == {22, 1700}
    assert site.reached(OPS, ON_OVERLAY) == {22, 8100}


def test_a_gateway_is_no_router_unless_its_camera_network_is_asked_for(host: "Host", site: Site) -> None:
    turn = ["ip", "netns", "exec", site.gateway, "sh", "-c"]
    site._ip("-n", site.gateway, "link", "set", "ztabcdef01", "mtu", "1280")
    subprocess.run([*turn, "echo 1 > /proc/sys/net/ipv4/ip_forward"], check=True)
    site._ip("-n", site.cameras, "route", "add", "default", "via", AMONG_CAMERAS)
    try:
        assert site.seen_by_camera(OPS) is not None, "without rules whoever turned forwarding on has a router"
        assert host.try_rules() == 0
        assert site.seen_by_camera(OPS) is None
        assert host.try_rules(parking_gateway_firewall_containers=["cam*"]) == 0
        assert site.seen_by_camera(OPS) is not None, "as for containers"
        subprocess.run([*turn, "echo 0 > /proc/sys/net/ipv4/ip_forward"], check=True)

        routed = {"network": CAMERAS, "from": [OPS], "way_back": "route"}
        assert host.try_rules(parking_gateway_camera_networks=[routed]) == 0
        assert site.seen_by_camera(OTHER_OPS) is None
        seen = site.seen_by_camera(OPS)
        assert seen is not None
        assert (seen[0], seen[1] <= 1240) == (OPS, True), "the camera sends no more than the overlay takes"

        site._ip("-n", site.cameras, "route", "delete", "default")
        assert site.seen_by_camera(OPS) is None, "it knows no way back"
        assert host.try_rules(parking_gateway_camera_networks=[{"network": CAMERAS}]) == 0
        seen = site.seen_by_camera(OPS)
        assert seen is not None
        assert (seen[0], seen[1] <= 1240) == (AMONG_CAMERAS, True)
        # What isn't the overlay goes nowhere, and other networks aren't reached.
        site._ip("-n", site.around, "route", "replace", CAMERAS, "via", GATEWAY)
        assert site.seen_by_camera(DEVICE) is None
        site._ip("-n", site.around, "route", "replace", CAMERAS, "via", ON_OVERLAY)
        assert host.try_rules(parking_gateway_camera_networks=[{"network": "10.99.3.0/24"}]) == 0
        assert site.seen_by_camera(OPS) is None

        # What was never kept ends with the rules, forwarding too.
        assert site.forwards()
        host.time_is_over()
        assert not site.forwards()
        assert host.try_rules(parking_gateway_camera_networks=[{"network": CAMERAS}]) == 0
        assert host.run("keep") == 0
        assert host.run("unload") == 0
        assert not site.forwards()
        assert host.run("load") == 0
        assert site.forwards()
        assert site.seen_by_camera(OPS) is not None
        # Forwarding that something else turned on is left as it is.
        assert host.run("unload") == 0
        subprocess.run([*turn, "echo 1 > /proc/sys/net/ipv4/ip_forward"], check=True)
        assert host.run("load") == 0
        assert host.run("unload") == 0
        assert site.forwards()
    finally:
        subprocess.run([*turn, "echo 0 > /proc/sys/net/ipv4/ip_forward"], check=True)
        host.run("unload")


def test_another_s_tables_stay_and_a_second_load_adds_nothing(site: Site) -> None:
    site.load("add table inet other\nadd chain inet other input { type filter hook input priority 10; }\n")
    site.load(rules())
    once = site.listed()
    site.load(rules())
    assert site.listed() == once
    assert "table inet other" in once
    assert once.count("chain overlay") == 1


def test_rules_with_a_fault_change_nothing(site: Site) -> None:
    site.load(rules())
    before = site.listed()
    assert site.load(rules(parking_gateway_port="none"), check=False).returncode != 0
    assert site.listed() == before


SYSTEMCTL = """#!/bin/sh
echo "systemctl $*" >> "$LOG"
case "$*" in *is-active*) [ -e "$ARMED" ] ;; *stop*) rm -f "$ARMED" ;; esac
"""
SYSTEMD_RUN = """#!/bin/sh
echo "systemd-run $*" >> "$LOG"
[ -z "$NO_TIMER" ] && touch "$ARMED"
"""


class Host:
    """The script with a systemd that only notes what it is asked for, in the gateway's namespace."""

    def __init__(self, site: Site, folder: Path) -> None:
        self._site, self.folder = site, folder
        self.rules, self.log, self._armed = folder / "firewall.nft", folder / "log", folder / "armed"
        for name, text in (("systemctl", SYSTEMCTL), ("systemd-run", SYSTEMD_RUN)):
            (folder / name).write_text(text)
            (folder / name).chmod(0o755)
        self._script = folder / "parkmesh-firewall"
        text = SCRIPT.read_text().replace("/etc/parkmesh/firewall.nft", str(self.rules))
        self._script.write_text(text.replace("/run/parkmesh-forwards", str(folder / "forwards")))
        self._script.chmod(0o755)

    def run(self, *arguments: str, timer: bool = True) -> int:
        environment = {
            "PATH": f"{self.folder}:{os.environ['PATH']}:/usr/sbin",
            "LOG": str(self.log),
            "ARMED": str(self._armed),
            "NO_TIMER": "" if timer else "1",
        }
        command = ["ip", "netns", "exec", self._site.gateway, str(self._script), *arguments]
        return subprocess.run(command, env=environment, capture_output=True, check=False).returncode

    def try_rules(self, **inputs: Any) -> int:
        self.rules.with_name("firewall.nft.trial").write_text(rules(**inputs))
        return self.run("try", "90")

    def time_is_over(self) -> None:
        self._armed.unlink()
        assert self.run("load") == 0


@pytest.fixture
def host(site: Site, tmp_path: Path) -> Host:
    made = Host(site, tmp_path)
    assert made.run("unload") == 0
    return made


def test_rules_that_nobody_keeps_return_to_those_before(host: Host, site: Site) -> None:
    assert host.try_rules() == 0
    assert "--on-active=90" in host.log.read_text()
    assert site.reached(DEVICE, GATEWAY) == {8100}
    host.time_is_over()
    assert site.reached(DEVICE, GATEWAY) == set(PORTS), "there were none before"
    assert host.run("keep") == 1, "too late"
    assert host.try_rules() == 0
    assert host.run("keep") == 0
    assert host.try_rules(parking_gateway_mqtt_listen=[GATEWAY]) == 0
    assert site.reached(DEVICE, GATEWAY) == {8100, 8883}
    host.time_is_over()
    assert site.reached(DEVICE, GATEWAY) == {8100}
    assert host.run("load") == 0
    assert site.reached(DEVICE, GATEWAY) == {8100}, "as after a boot"


def test_without_a_way_back_nothing_is_tried(host: Host, site: Site) -> None:
    (host.folder / "systemd-run").write_text("#!/bin/sh\nexit 1\n")
    assert host.try_rules() != 0
    assert site.reached(DEVICE, GATEWAY) == set(PORTS)
