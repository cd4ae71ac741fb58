"""Role nat_instance: from the slot table to forwards, and its rules with real packets in network namespaces."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import boto3
import jinja2
import pytest
import yaml
from moto import mock_aws
from parkmesh.instance import slots

ROLE = Path(__file__).resolve().parents[3] / "roles" / "nat_instance"
sys.path.insert(0, str(ROLE / "files"))
from parkmesh_nat import agent, forwards, settings, takeover  # noqa: E402 -- they are files of a role

INSIDE = [IPv4Network("10.80.0.0/16")]
ONE, TWO = "10.80.80.7", "10.80.80.8"
NAT, PEER, OTHER_PEER = "198.51.100.1", "198.51.100.9", "198.51.100.10"
REGION = "eu-west-1"


def item(slot: int, holder: str | None, address: str = ONE, of: str | None = None) -> dict[str, Any]:
    place = {"instance": {"S": of or holder or "i-0"}, "private_ip": {"S": address}, "zone": {"S": "eu-west-1a"}}
    return {"slot": {"N": str(slot)}, **({"holder": {"S": holder}} if holder else {}), "holder_place": {"M": place}}


@pytest.mark.parametrize(
    ("items", "wanted"),
    [
        ([], {}),
        ([item(2, "i-2", TWO), item(1, "i-1", ONE)], {20001: ONE, 20002: TWO}),
        ([item(1, None)], {}),
        ([item(1, "rotation", of="i-1")], {}),
        # Taken over by a release that records no place: the address is the earlier holder's.
        ([item(1, "i-2", of="i-1")], {}),
        ([{"slot": {"N": "1"}, "holder": {"S": "i-1"}}], {}),
        ([item(1, "i-1", "8.8.8.8"), item(2, "i-2", TWO)], {20002: TWO}),
        ([item(1, "i-1", "10.80.80.7; flush ruleset")], {}),
        ([item(0, "i-1"), item(1001, "i-2")], {}),
    ],
)
def test_what_the_slot_table_asks_for(items: list[dict[str, Any]], wanted: dict[int, str]) -> None:
    assert forwards.wanted(items, INSIDE) == wanted


def test_the_map_is_replaced_in_one_transaction() -> None:
    assert forwards.ruleset({}) == "flush map ip parkmesh_nat forwards\n"
    assert forwards.ruleset({20002: TWO, 20001: ONE}) == (
        "flush map ip parkmesh_nat forwards\n"
        "add element ip parkmesh_nat forwards { 20001 : 10.80.80.7, 20002 : 10.80.80.8 }\n"
    )


def test_only_what_changed_has_moved() -> None:
    assert forwards.moved({1: "a", 2: "b", 3: "c"}, {1: "a", 2: "x", 4: "d"}) == [(2, "b"), (3, "c"), (4, None)]


def test_instances_and_forwards_agree_on_ports() -> None:
    assert forwards.FIRST_PORT == slots.FIRST_PORT
    assert list(forwards.wanted([item(7, "i-1")], INSIDE)) == [slots.primary_port(7)]


TOLD: dict[str, Any] = {
    "region": REGION,
    "slot_table": "parkmesh-test-slots",
    "allocation_id": "eipalloc-1",
    "route_tables": ["rtb-1"],
    "inside": ["10.80.0.0/16"],
}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "user data: "),
        ("[]", "user data: "),
        (json.dumps({**TOLD, "inside": ["10.80.0.1/16"]}), "has host bits set"),
        (json.dumps({key: value for key, value in TOLD.items() if key != "slot_table"}), "user data has no slot_table"),
    ],
)
def test_bad_user_data_is_named(text: str, message: str) -> None:
    with pytest.raises(settings.SettingsError, match=message):
        settings.parse(text)


@pytest.fixture
def ec2(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    with mock_aws():
        yield boto3.client("ec2", region_name=REGION)


def test_each_instance_that_boots_takes_the_address_and_the_route(ec2: Any) -> None:
    vpc = ec2.create_vpc(CidrBlock="10.80.0.0/16")["Vpc"]["VpcId"]
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock="10.80.16.0/20")["Subnet"]["SubnetId"]
    table = ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"]
    address = ec2.allocate_address(Domain="vpc")["AllocationId"]
    told = settings.parse(json.dumps({**TOLD, "allocation_id": address, "route_tables": [table]}))
    first, second = (
        ec2.run_instances(ImageId="ami-12c6146b", MinCount=1, MaxCount=1, SubnetId=subnet)["Instances"][0]["InstanceId"]
        for _ in range(2)
    )
    for instance in (first, first, second):
        takeover.take(ec2, instance, told)
        (found,) = ec2.describe_addresses()["Addresses"]
        (described,) = ec2.describe_route_tables(RouteTableIds=[table])["RouteTables"]
        assert (found["AllocationId"], found["InstanceId"]) == (address, instance)
        assert [route["InstanceId"] for route in described["Routes"] if route.get("InstanceId")] == [instance]
        checked = ec2.describe_instance_attribute(InstanceId=instance, Attribute="sourceDestCheck")
        assert checked["SourceDestCheck"] == {"Value": False}


def rules() -> str:
    values = {**yaml.safe_load((ROLE / "defaults" / "main.yml").read_text()), "ansible_managed": "by hand"}
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, trim_blocks=True)  # noqa: S701 -- no page
    return environment.from_string((ROLE / "templates" / "nat.nft.j2").read_text()).render(values)


_ECHO = """
import select, socket, sys
listening = []
for each in sys.argv[1:]:
    address, _, port = each.partition(":")
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((address, int(port)))
    listening.append(sock)
print("ready", flush=True)
while True:
    for sock in select.select(listening, [], [])[0]:
        _, peer = sock.recvfrom(2000)
        sock.sendto("{} {}:{}".format(sock.getsockname()[0], *peer).encode(), peer)
"""
# Sends every 50 ms and prints each new answer with the time; ends after the given seconds.
_ASK = """
import socket, sys, time
source, port, target, to, seconds = sys.argv[1:]
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind((source, int(port)))
sock.connect((target, int(to)))
sock.settimeout(0.05)
last, end = None, time.monotonic() + float(seconds)
while time.monotonic() < end:
    try:
        sock.send(b"x")
        answer = sock.recv(2000).decode()
        if answer != last:
            print(time.time(), answer, flush=True)
            last = answer
        time.sleep(0.05)
    except TimeoutError:
        pass
    except OSError as error:
        print(time.time(), "refused", flush=True)
        break
"""
_RUN = """
import json, pathlib, sys, time
sys.path.insert(0, sys.argv[1])
from ipaddress import IPv4Network
from parkmesh_nat import agent, settings
told = settings.Settings("r", "t", "a", (), (IPv4Network("10.80.0.0/16"),))
table = pathlib.Path(sys.argv[2])
def read():
    return json.loads(table.read_text())
running = agent.Agent(read, told, pathlib.Path(sys.argv[3]), lambda text: print(text, flush=True))
running.begin()
while True:
    running.once()
    time.sleep(agent.INTERVAL_S)
"""


class Zone:
    """Three namespaces: hosts of the VPC, the NAT instance with its agent, and two peers on the internet."""

    def __init__(self, folder: Path) -> None:
        self.inside, self.nat, self.outside = (f"pm-{name}-{os.getpid()}" for name in ("in", "nat", "net"))
        self.table, self.state, self._running = folder / "table.json", folder / "forwards", []
        self.agent: subprocess.Popen[str] | None = None

    def begin(self) -> None:
        for name in (self.inside, self.nat, self.outside):
            self._ip("netns", "add", name)
            self._ip("-n", name, "link", "set", "lo", "up")
        self._join("in0", "10.80.80.1/24", self.inside, [f"{ONE}/24", f"{TWO}/24"])
        self._join("out0", f"{NAT}/24", self.outside, [f"{PEER}/24", f"{OTHER_PEER}/24"])
        self._ip("-n", self.inside, "route", "add", "default", "via", "10.80.80.1")
        self.run(self.nat, "sysctl", "-q", "-w", "net.ipv4.ip_forward=1")
        self.run(self.nat, shutil.which("nft", path="/usr/sbin:/usr/bin") or "nft", "--file", "-", input=rules())
        hosts = [f"{address}:{port}" for address in (ONE, TWO) for port in (20001, 20002)]
        self.echo(self.inside, *hosts)
        self.echo(self.outside, f"{PEER}:9993")
        # A service of the NAT instance itself, which nobody may reach.
        self.echo(self.nat, "0.0.0.0:5353")

    @staticmethod
    def _ip(*arguments: str) -> None:
        done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
        if done.returncode and "Operation not permitted" in done.stderr:
            pytest.skip("no network namespaces here")
        assert done.returncode == 0, done.stderr

    def _join(self, link: str, address: str, around: str, addresses: list[str]) -> None:
        self._ip("link", "add", link, "netns", self.nat, "type", "veth", "peer", f"{link}p", "netns", around)
        for namespace, name, given in ((self.nat, link, [address]), (around, f"{link}p", addresses)):
            for each in given:
                self._ip("-n", namespace, "address", "add", each, "dev", name)
            self._ip("-n", namespace, "link", "set", name, "up")

    def run(self, namespace: str, *command: str, **options: Any) -> str:
        done = subprocess.run(
            ["ip", "netns", "exec", namespace, *command], capture_output=True, text=True, check=False, **options
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def start(self, namespace: str, *command: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            ["ip", "netns", "exec", namespace, *command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self._running.append(process)
        return process

    def echo(self, namespace: str, *addresses: str) -> None:
        stdout = self.start(namespace, sys.executable, "-c", _ECHO, *addresses).stdout
        assert stdout is not None
        assert stdout.readline() == "ready\n"

    def ask(self, source: str, port: int, target: str, to: int, seconds: float = 0.6) -> str:
        """What answers: the address that was reached, and from where it saw the packet come; empty for nothing."""
        namespace = self.inside if source in (ONE, TWO) else self.outside
        said = self.run(namespace, sys.executable, "-c", _ASK, source, str(port), target, str(to), str(seconds))
        return said.splitlines()[-1].partition(" ")[2] if said else ""

    def hold(self, *items: dict[str, Any]) -> None:
        partial = self.table.with_suffix(".new")
        partial.write_text(json.dumps(items))
        partial.replace(self.table)

    def start_agent(self) -> None:
        files = [str(ROLE / "files"), str(self.table), str(self.state)]
        self.agent = self.start(self.nat, sys.executable, "-c", _RUN, *files)

    def stop_agent(self) -> None:
        if self.agent is not None:
            self.agent.terminate()
            self.agent.wait(10)
            self.agent = None

    def until(self, source: str, port: int, to: int, answer: str) -> None:
        for _ in range(20):
            if self.ask(source, port, NAT, to, 0.3) == answer:
                return
        pytest.fail(f"port {to} never led to {answer}")

    def end(self) -> None:
        for process in self._running:
            process.kill()
            process.communicate()
        for name in (self.inside, self.nat, self.outside):
            subprocess.run(["ip", "netns", "delete", name], capture_output=True, check=False)


def _found(name: str) -> bool:
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin") is not None


needs_namespaces = pytest.mark.skipif(
    os.geteuid() != 0 or not all(map(_found, ("nft", "ip", "conntrack"))), reason="needs root, nft, ip and conntrack"
)


@pytest.fixture(scope="module")
def zone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Zone]:
    made = Zone(tmp_path_factory.mktemp("zone"))
    try:
        made.begin()
        made.hold(item(1, "i-1", ONE), item(2, "i-2", TWO))
        made.start_agent()
        made.until(PEER, 9000, 20001, f"{ONE} {PEER}:9000")
        yield made
    finally:
        made.end()


@needs_namespaces
def test_hosts_go_out_under_one_address_and_keep_their_ports(zone: Zone) -> None:
    assert zone.ask(ONE, 20005, PEER, 9993) == f"{PEER} {NAT}:20005"
    assert zone.ask(TWO, 20006, PEER, 9993) == f"{PEER} {NAT}:20006"


@needs_namespaces
def test_each_slot_s_port_leads_to_its_holder_for_whoever_asks(zone: Zone) -> None:
    assert zone.ask(PEER, 9001, NAT, 20001) == f"{ONE} {PEER}:9001"
    assert zone.ask(OTHER_PEER, 9001, NAT, 20001) == f"{ONE} {OTHER_PEER}:9001"
    assert zone.ask(PEER, 9001, NAT, 20002) == f"{TWO} {PEER}:9001"


@needs_namespaces
@pytest.mark.parametrize("port", [20003, 5353, 9993])
def test_whatever_else_comes_unasked_is_dropped_without_a_word(zone: Zone, port: int) -> None:
    assert zone.ask(PEER, 9002, NAT, port) == ""


@needs_namespaces
def test_a_host_inside_is_reached_at_its_slot_s_port_only(zone: Zone) -> None:
    zone._ip("-n", zone.outside, "route", "replace", "10.80.0.0/16", "via", NAT)
    try:
        assert zone.ask(PEER, 9003, ONE, 20002) == ""
    finally:
        zone._ip("-n", zone.outside, "route", "del", "10.80.0.0/16")


@needs_namespaces
def test_a_change_of_the_holder_acts_within_3_s_on_flows_under_way(zone: Zone) -> None:
    asking = zone.start(zone.outside, sys.executable, "-c", _ASK, PEER, "9010", NAT, "20001", "6")
    time.sleep(1)
    changed = time.time()
    zone.hold(item(1, "i-3", TWO), item(2, "i-2", TWO))
    said, _ = asking.communicate(timeout=20)
    seen = [line.split(" ", 1) for line in said.splitlines()]
    assert [answer for _, answer in seen] == [f"{ONE} {PEER}:9010", f"{TWO} {PEER}:9010"]
    assert float(seen[1][0]) - changed <= 3
    zone.hold(item(1, "i-1", ONE), item(2, "i-2", TWO))
    zone.until(PEER, 9011, 20001, f"{ONE} {PEER}:9011")


@needs_namespaces
def test_without_the_table_the_last_forwards_stay_also_over_a_restart(zone: Zone) -> None:
    kept = zone.table.read_text()
    zone.table.write_text("unreadable")
    try:
        time.sleep(2 * agent.INTERVAL_S)
        assert zone.ask(PEER, 9020, NAT, 20001) == f"{ONE} {PEER}:9020"
        zone.stop_agent()
        # As a restart of nftables does.
        zone.run(zone.nat, "nft", "--file", "-", input=rules())
        assert zone.ask(PEER, 9021, NAT, 20002) == ""
        zone.start_agent()
        zone.until(PEER, 9022, 20002, f"{TWO} {PEER}:9022")
    finally:
        zone.table.write_text(kept)


@needs_namespaces
def test_a_slot_that_nobody_holds_leads_nowhere(zone: Zone) -> None:
    zone.hold(item(1, "i-1", ONE), item(2, None))
    time.sleep(2 * agent.INTERVAL_S)
    assert zone.ask(PEER, 9030, NAT, 20002) == ""
    zone.hold(item(1, "i-1", ONE), item(2, "i-2", TWO))
    zone.until(PEER, 9031, 20002, f"{TWO} {PEER}:9031")


def test_no_redirects_are_sent_or_taken_by_any_interface() -> None:
    # By a pattern: what all and default say doesn't reach an interface that was there before.
    lines = (ROLE / "templates" / "sysctl.conf.j2").read_text().splitlines()
    for name in ("send_redirects", "accept_redirects"):
        assert f"net.ipv4.conf.*.{name} = 0" in lines
