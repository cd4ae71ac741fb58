"""Real packets between nodes in network namespaces: who reaches whom under the project's rules, and when that changes.

One controller (also the root), an app server, gateways of two communities and the ops bastion, with the recorded rule
set that isolates communities. The tests build on one running overlay and put back what they change.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from .conftest import Daemon, Overlay, wait_for, why_no_namespaces

pytestmark = pytest.mark.skipif(bool(why_no_namespaces()), reason=why_no_namespaces())

HERE = Path(__file__).parent
PROBE = HERE / "probe.py"
RULES = json.loads((HERE / "recorded" / "tenants.json").read_text())["config"]
APP, GATEWAY, OPS = 1, 2, 3
# name: (host on the bridge, overlay address, role, community)
NODES = {
    "app": (11, "10.242.0.11", APP, None),
    "ops": (12, "10.242.0.2", OPS, None),
    "gateway-a": (13, "10.242.1.1", GATEWAY, 1),
    "gateway-b": (14, "10.242.1.2", GATEWAY, 2),
}
REFUSED_SECONDS = 0.8


class Lab(Overlay):
    """The overlay of these tests, with questions about who reaches whom."""

    def ask(self, name: str, *arguments: str) -> str:
        done = subprocess.run(
            self.nodes[name].command(sys.executable, str(PROBE), *arguments),
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        )
        return done.stdout.strip()

    def pings(self, source: str, target: str, seconds: float = 8) -> bool:
        return self.ask(source, "ping", NODES[target][1], str(seconds)) == "yes"

    def connects(self, source: str, target: str, port: int, seconds: float = 8) -> bool:
        return self.ask(source, "tcp", NODES[target][1], str(port), str(seconds)) == "yes"

    def status(self, name: str) -> str:
        return str(self.nodes[name].network(self.nwid).get("status"))

    def wait_until_ok(self, *names: str) -> None:
        for name in names:
            wait_for(f"{name} to be OK", partial(self.is_ok, name))

    def is_ok(self, name: str) -> bool:
        return self.status(name) == "OK"


def authorise(lab: Lab, name: str) -> None:
    _, ip, role, community = NODES[name]
    tags = [[1, role]] + ([[2, community]] if community else [])
    lab.member(name, {"authorized": True, "name": name, "ipAssignments": [ip], "tags": tags, "noAutoAssignIps": True})


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    running = Lab(tmp_path_factory.mktemp("overlay"))
    servers = []
    try:
        root = running.add("controller", 1)
        for name, (host, _, _, _) in NODES.items():
            running.add(name, host)
        running.make_moon(root, 1)
        running.nwid = f"{root.address}00babe"
        for name in NODES:  # joins at start
            (running.nodes[name].home / "networks.d").mkdir()
            (running.nodes[name].home / "networks.d" / f"{running.nwid}.conf").touch()
        root.start()
        running.network({"name": "tenants", "routes": [{"target": "10.242.0.0/16"}], **RULES})
        for name in NODES:
            authorise(running, name)
            running.nodes[name].start()
        for name in NODES:
            command = running.nodes[name].command(sys.executable, str(PROBE), "serve", "8000", "22")
            server = subprocess.Popen(command, stdout=subprocess.PIPE)
            assert server.stdout is not None
            assert server.stdout.readline() == b"ready\n"
            servers.append(server)
        running.wait_until_ok(*NODES)
        yield running
    finally:
        for server in servers:
            server.kill()
            server.wait()
        running.close()


MAY_PING = [("gateway-a", "app"), ("app", "gateway-b"), ("ops", "app"), ("ops", "gateway-a"), ("ops", "gateway-b")]
MAY_NOT_PING = [("gateway-a", "gateway-b"), ("gateway-b", "gateway-a"), ("gateway-a", "ops"), ("app", "ops")]
MAY_CONNECT = [("gateway-a", "app", 8000), ("gateway-b", "app", 8000), ("ops", "gateway-a", 22), ("ops", "app", 22)]
MAY_NOT_CONNECT = [
    ("gateway-a", "app", 22),
    ("gateway-a", "gateway-b", 8000),
    ("gateway-b", "gateway-a", 22),
    ("app", "gateway-a", 8000),
    ("app", "gateway-a", 22),
    ("app", "ops", 22),
    ("gateway-a", "ops", 8000),
]


@pytest.mark.parametrize(("source", "target"), MAY_PING)
def test_ping_passes(lab: Lab, source: str, target: str) -> None:
    assert lab.pings(source, target)


@pytest.mark.parametrize(("source", "target"), MAY_NOT_PING)
def test_ping_does_not_pass(lab: Lab, source: str, target: str) -> None:
    assert not lab.pings(source, target, REFUSED_SECONDS)


@pytest.mark.parametrize(("source", "target", "port"), MAY_CONNECT)
def test_connection_passes(lab: Lab, source: str, target: str, port: int) -> None:
    assert lab.connects(source, target, port)


@pytest.mark.parametrize(("source", "target", "port"), MAY_NOT_CONNECT)
def test_connection_does_not_pass(lab: Lab, source: str, target: str, port: int) -> None:
    assert not lab.connects(source, target, port, REFUSED_SECONDS)


def test_device_has_the_names_and_addresses_of_a_real_one(lab: Lab) -> None:
    node = lab.nodes["gateway-a"]
    network = node.network(lab.nwid)
    done = subprocess.run(node.command("ip", "-j", "addr"), capture_output=True, text=True, check=True)
    link = next(link for link in json.loads(done.stdout) if link["ifname"] == network["portDeviceName"])
    assert re.fullmatch("zt[a-z2-7]{8}", link["ifname"])
    assert link["address"] == network["mac"]
    assert link["mtu"] == network["mtu"] == 2800
    addresses = [(item["local"], item["prefixlen"], item.get("broadcast")) for item in link["addr_info"]]
    assert ("10.242.1.1", 16, "10.242.255.255") in addresses


def test_controller_fills_members_in_and_sees_them_as_leaf_peers(lab: Lab) -> None:
    member = lab.member("app")
    assert member["identity"] == (lab.nodes["app"].home / "identity.public").read_text()
    assert [member[name] for name in ("vMajor", "vMinor", "vRev", "vProto")] == [1, 14, 1, 12]
    peers = {peer["address"]: peer for peer in lab.api("GET", "/peer")}
    peer = peers[lab.nodes["app"].address]
    assert (peer["role"], peer["version"]) == ("LEAF", "1.14.1")
    path = peer["paths"][0]
    assert path["address"] == "10.98.0.11/9993"
    assert path["active"]
    assert abs(time.time() * 1000 - path["lastReceive"]) < 60_000


def test_a_changed_tag_acts(lab: Lab) -> None:
    assert not lab.pings("gateway-a", "gateway-b", REFUSED_SECONDS)
    lab.member("gateway-b", {"tags": [[1, APP], [2, 2]]})
    try:
        assert lab.pings("gateway-a", "gateway-b", 3)
    finally:
        authorise(lab, "gateway-b")
    wait_for("the old tag to act", lambda: not lab.pings("gateway-a", "gateway-b", REFUSED_SECONDS))


def test_changed_rules_act(lab: Lab) -> None:
    lab.network({"rules": [{"type": "ACTION_ACCEPT"}]})
    try:
        assert lab.pings("gateway-a", "gateway-b", 3)
        lab.network({"rules": [{"type": "ACTION_DROP"}]})
        wait_for("the drop to act", lambda: not lab.pings("ops", "app", REFUSED_SECONDS))
    finally:
        lab.network({"rules": RULES["rules"]})
    assert lab.pings("ops", "app", 3)


def test_an_address_the_controller_did_not_assign_is_not_believed(lab: Lab) -> None:
    node = lab.nodes["gateway-a"]
    device = node.network(lab.nwid)["portDeviceName"]
    lab._ip("-n", str(node.namespace), "addr", "add", "10.242.1.77/16", "dev", device)
    try:
        program = (
            "import socket,sys;s=socket.socket();s.settimeout(1);s.bind(('10.242.1.77',0));"
            "s.connect(('10.242.0.11',8000))"
        )
        done = subprocess.run(node.command(sys.executable, "-c", program), capture_output=True, check=False)
        assert b"timed out" in done.stderr
        assert lab.connects("gateway-a", "app", 8000)
    finally:
        lab._ip("-n", str(node.namespace), "addr", "del", "10.242.1.77/16", "dev", device)


def test_deauthorising_stops_traffic_at_once_and_authorising_brings_it_back(lab: Lab) -> None:
    assert lab.pings("gateway-a", "app")
    command = lab.nodes["gateway-a"].command(sys.executable, str(PROBE), "last-answer", "10.242.0.11", "3")
    pinging = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert pinging.stdout is not None
    assert pinging.stdout.readline() == "ready\n"
    time.sleep(0.5)
    lab.member("gateway-a", {"authorized": False})
    told_at = time.time()
    last = float(pinging.communicate(timeout=20)[0])
    assert last > told_at - 5, "no answer at all: the test shows nothing"
    assert last - told_at < 1, "answers came long after the member was de-authorised"
    assert not lab.connects("ops", "gateway-a", 22, REFUSED_SECONDS)
    assert lab.status("gateway-a") == "OK", "a real member shows OK for about another minute"
    lab.member("gateway-a", {"authorized": True})
    assert lab.pings("gateway-a", "app", 5)


def test_deleted_member_is_no_longer_reached_and_can_come_back(lab: Lab) -> None:
    address = lab.nodes["gateway-b"].address
    lab.api("DELETE", f"/controller/network/{lab.nwid}/member/{address}")
    wait_for("its traffic to stop", lambda: not lab.pings("gateway-b", "app", REFUSED_SECONDS))
    authorise(lab, "gateway-b")
    lab.nodes["gateway-b"].stop()
    lab.nodes["gateway-b"].start()
    lab.wait_until_ok("gateway-b")
    assert lab.pings("gateway-b", "app")


def test_nodes_go_on_without_the_controller_and_hear_of_changes_after_it_restarts(lab: Lab) -> None:
    root = lab.nodes["controller"]
    root.stop()
    assert lab.pings("gateway-a", "app", 3)
    root.start()
    lab.member("gateway-a", {"tags": [[1, 9]]})
    wait_for("the change to act", lambda: not lab.pings("gateway-a", "app", REFUSED_SECONDS), 6)
    authorise(lab, "gateway-a")
    assert lab.pings("gateway-a", "app", 15)


def test_a_killed_node_comes_back(lab: Lab) -> None:
    node = lab.nodes["gateway-a"]
    node.kill()
    links = subprocess.run(node.command("ip", "link"), capture_output=True, text=True, check=True).stdout
    assert " zt" not in links
    node.start()
    lab.wait_until_ok("gateway-a")
    assert lab.pings("gateway-a", "app")


def test_a_killed_controller_comes_back(lab: Lab) -> None:
    root = lab.nodes["controller"]
    before = lab.network()
    root.kill()
    root.start()
    assert lab.network() == before
    assert lab.pings("ops", "gateway-a")


def test_no_datagram_ends_a_daemon(lab: Lab) -> None:
    for target in ("10.98.0.1", "10.98.0.11"):
        lab.ask("gateway-a", "garbage", target, "9993", "2000")
    assert lab.pings("gateway-a", "app")
    assert lab.member("app")["authorized"]


def test_an_own_interface_packet_of_another_node_is_not_injected(lab: Lab) -> None:
    """A node that isn't a member, but knows all public keys, gets nothing through."""
    stranger = lab.add("stranger", 15)
    (stranger.home / "moons.d").mkdir()
    moon = next((lab.nodes["app"].home / "moons.d").iterdir())
    (stranger.home / "moons.d" / moon.name).write_bytes(moon.read_bytes())
    stranger.start()
    assert stranger.cli("join", lab.nwid).stdout == "200 join OK\n"
    device = wait_for("its device", lambda: stranger.network(lab.nwid).get("portDeviceName"))
    lab._ip("-n", str(stranger.namespace), "addr", "add", "10.242.1.9/16", "dev", device)
    assert lab.ask("stranger", "ping", "10.242.0.11", "1") == "no"
    wait_for("ACCESS_DENIED", lambda: stranger.network(lab.nwid)["status"] == "ACCESS_DENIED", 20)
    assert lab.api("GET", f"/controller/network/{lab.nwid}/member/{stranger.address}")["authorized"] is False
    stranger.stop()


def interfaces(node: Daemon) -> str:
    return subprocess.run(node.command("ip", "-br", "link"), capture_output=True, text=True, check=True).stdout


def test_leaving_removes_the_device_and_joining_makes_it_again(lab: Lab) -> None:
    node = lab.nodes["ops"]
    device = node.network(lab.nwid)["portDeviceName"]
    assert device in interfaces(node)
    assert node.cli("leave", lab.nwid).stdout == "200 leave OK\n"
    assert device not in interfaces(node)
    assert not list((node.home / "networks.d").iterdir())
    assert node.cli("join", lab.nwid).stdout == "200 join OK\n"
    lab.wait_until_ok("ops")
    assert lab.pings("ops", "gateway-b")


def test_managed_settings_follow_the_permissions(lab: Lab) -> None:
    node = lab.nodes["ops"]
    lab.network({"mtu": 1400, "routes": [{"target": "10.242.0.0/16"}, {"target": "10.9.0.0/16", "via": "10.242.0.11"}]})
    try:
        wait_for("the MTU", lambda: node.network(lab.nwid)["mtu"] == 1400)
        routes = subprocess.run(node.command("ip", "route"), capture_output=True, text=True, check=True).stdout
        device = node.network(lab.nwid)["portDeviceName"]
        assert f"10.9.0.0/16 via 10.242.0.11 dev {device} proto static metric 5000" in routes
        node.cli("set", lab.nwid, "allowManaged=0")
        routes = subprocess.run(node.command("ip", "route"), capture_output=True, text=True, check=True).stdout
        assert "10.242.0.0/16" not in routes
        assert "10.9.0.0/16" not in routes
    finally:
        node.cli("set", lab.nwid, "allowManaged=1")
        lab.network({"mtu": 2800, "routes": [{"target": "10.242.0.0/16"}]})
    assert lab.pings("ops", "app")


def test_addresses_are_assigned_from_the_pool(lab: Lab) -> None:
    node = lab.nodes["ops"]
    pool = [{"ipRangeStart": "10.242.9.5", "ipRangeEnd": "10.242.9.5"}]
    lab.network({"ipAssignmentPools": pool, "v4AssignMode": {"zt": True}})
    lab.member("ops", {"ipAssignments": [], "noAutoAssignIps": False})
    try:
        wait_for("the address", lambda: node.network(lab.nwid)["assignedAddresses"] == ["10.242.9.5/16"])
        assert lab.member("ops")["ipAssignments"] == ["10.242.9.5"]
        assert lab.pings("ops", "app")
    finally:
        authorise(lab, "ops")
        lab.network({"ipAssignmentPools": [], "v4AssignMode": {"zt": False}})


def test_relayed_through_the_root_where_no_direct_path_exists(lab: Lab) -> None:
    """What gateway-a and the app send each other gets lost; the root carries it, and the direct path returns."""
    ends = [("gateway-a", "10.98.0.11"), ("app", "10.98.0.13")]
    for name, other in ends:
        lab._ip("-n", str(lab.nodes[name].namespace), "route", "add", f"{other}/32", "dev", "lo")
    try:
        wait_for("the relay to take over", lambda: lab.pings("gateway-a", "app", 1), 60)
        assert lab.connects("gateway-a", "app", 8000)
        address = lab.nodes["app"].address
        peers = lab.nodes["gateway-a"].cli("peers").stdout
        assert re.search(rf"^{address} .* RELAY$", peers, re.MULTILINE), peers
    finally:
        for name, other in ends:
            lab._ip("-n", str(lab.nodes[name].namespace), "route", "del", f"{other}/32", "dev", "lo")

    def is_direct() -> bool:
        lab.pings("gateway-a", "app", 1)
        peers = lab.nodes["gateway-a"].cli("peers").stdout
        return bool(re.search(rf"^{lab.nodes['app'].address} .* DIRECT", peers, re.MULTILINE))

    wait_for("the direct path", is_direct, 30)


def test_daemons_end_when_asked(lab: Lab) -> None:
    node = lab.nodes["gateway-b"]
    assert node.process is not None
    os.kill(node.process.pid, signal.SIGTERM)
    assert node.process.wait(5) == 0
    node.process = None
    assert " zt" not in interfaces(node)
    node.start()
    lab.wait_until_ok("gateway-b")
