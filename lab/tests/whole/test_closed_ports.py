"""Security groups with real packets: what no rule lets through doesn't come, and a change acts at once."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from .conftest import RunningLab, eventually

PORTS = (8000, 8001)
# Answers on two TCP ports and one of UDP, and keeps a connection that is open.
SERVER = """
import socket, threading
def echo(connection):
    while word := connection.recv(100):
        connection.sendall(word)
def serve(port):
    listener = socket.create_server(("0.0.0.0", port))
    while True:
        threading.Thread(target=echo, args=(listener.accept()[0],), daemon=True).start()
for port in (8000, 8001):
    threading.Thread(target=serve, args=(port,), daemon=True).start()
answers = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
answers.bind(("0.0.0.0", 9000))
while True:
    answers.sendto(*answers.recvfrom(100))
"""
# Each line of a fifo is sent by one connection, and its answers are written down.
KEPT = """
import socket, sys
connection = socket.create_connection((sys.argv[1], 8000), timeout=5)
while line := open("/run/kept.fifo").read():
    connection.sendall(line.encode())
    with open("/run/kept.log", "a") as log:
        log.write(connection.recv(100).decode())
"""


@dataclass
class Hosts:
    """Instances by name (``client``, ``server``, ``other``), their addresses, and the ids of their groups."""

    lab: RunningLab
    ec2: Any
    vpc: str
    instances: dict[str, str] = field(default_factory=dict)
    addresses: dict[str, str] = field(default_factory=dict)
    groups: dict[str, str] = field(default_factory=dict)

    def start(self, name: str, image: str, subnet: str) -> None:
        group = self.ec2.create_security_group(GroupName=f"closed-{name}", Description="-", VpcId=self.vpc)["GroupId"]
        made = self.ec2.run_instances(ImageId=image, MinCount=1, MaxCount=1, SubnetId=subnet, SecurityGroupIds=[group])[
            "Instances"
        ][0]
        self.instances[name], self.groups[name] = made["InstanceId"], group
        self.addresses[name] = made["PrivateIpAddress"]

    def permit(self, group: str, port: int, *, protocol: str = "tcp", **who: Any) -> dict[str, Any]:
        """Let in at a group; returns what takes it back."""
        rule = {"IpProtocol": protocol, "FromPort": port, "ToPort": port, **who}
        permission = {"GroupId": self.groups[group], "IpPermissions": [rule]}
        self.ec2.authorize_security_group_ingress(**permission)
        return permission

    def wear(self, name: str, *groups: str) -> None:
        """Change an instance's groups."""
        self.ec2.modify_instance_attribute(
            InstanceId=self.instances[name], Groups=[self.groups[group] for group in groups]
        )

    def open_ports(self, thing: str) -> list[int]:
        """Ports of the server that a host can connect to."""
        tries = "".join(f"if nc -z -w 1 {self.addresses['server']} {port}; then echo {port}; fi &\n" for port in PORTS)
        return sorted(int(port) for port in self.lab.shell(self.instances.get(thing, thing), f"{tries}wait").split())

    def await_ports(self, thing: str, *ports: int) -> None:
        eventually(lambda: self.open_ports(thing) == list(ports), f"{thing} to reach {ports} only")


@pytest.fixture(scope="module")
def hosts(lab: RunningLab) -> Iterator[Hosts]:
    ec2 = lab.client("ec2")
    vpc = ec2.create_vpc(CidrBlock=lab.facts["vpc_cidr"])["Vpc"]["VpcId"]
    cidr = f"{lab.facts['vpc_cidr'].rsplit('.', 2)[0]}.40.0/24"
    subnet = ec2.create_subnet(VpcId=vpc, CidrBlock=cidr, AvailabilityZone="eu-west-1a")["Subnet"]["SubnetId"]
    image = ec2.describe_images(Owners=["136693071363"])["Images"][0]["ImageId"]
    made = Hosts(lab, ec2, vpc)
    for name in ("server", "client", "other"):
        made.start(name, image, subnet)
    made.permit("server", 8000, UserIdGroupPairs=[{"GroupId": made.groups["client"]}])
    eventually(lambda: all(map(lab.running, made.instances.values())), "the hosts")
    lab.shell(
        made.instances["server"],
        f"cat > /run/server.py <<'E'\n{SERVER}E\nsystemd-run --quiet python3 /run/server.py\n"
        "for i in $(seq 100); do ! nc -z 127.0.0.1 8001 || exit 0; sleep 0.1; done; exit 1",
    )
    yield made
    ec2.terminate_instances(InstanceIds=list(made.instances.values()))
    lab.await_gone(*made.instances.values())


def test_a_host_lets_in_whom_its_groups_name_and_nobody_else(hosts: Hosts) -> None:
    hosts.await_ports("client", 8000)
    assert hosts.open_ports("other") == []
    assert hosts.open_ports("ops") == [], "from outside of the VPC"
    # The way back is for answers.
    assert "open" not in hosts.lab.shell(
        hosts.instances["server"], f"! nc -z -w 1 {hosts.addresses['client']} 22 || echo open"
    )


def test_a_rule_acts_when_it_comes_and_when_it_goes_and_a_connection_outlives_it(hosts: Hosts) -> None:
    other = hosts.instances["other"]
    permissions = [
        hosts.permit("server", port, IpRanges=[{"CidrIp": f"{hosts.addresses['other']}/32"}]) for port in PORTS
    ]
    hosts.await_ports("other", *PORTS)
    hosts.lab.shell(
        other,
        f"cat > /run/kept.py <<'E'\n{KEPT}E\nmkfifo /run/kept.fifo\n"
        f"systemd-run --quiet --unit=kept python3 /run/kept.py {hosts.addresses['server']}\n"
        "timeout 10 sh -c 'echo one > /run/kept.fifo'",
    )
    eventually(lambda: "one" in hosts.lab.shell(other, "cat /run/kept.log || true"), "an answer")
    for permission in permissions:
        hosts.ec2.revoke_security_group_ingress(**permission)
    hosts.await_ports("other")
    # A connection that is there is followed past the end of its rule.
    hosts.lab.shell(other, "timeout 10 sh -c 'echo two > /run/kept.fifo'")
    eventually(lambda: "two" in hosts.lab.shell(other, "cat /run/kept.log"), "an answer after the rule's end")


def test_other_groups_of_an_instance_are_other_rules(hosts: Hosts) -> None:
    hosts.wear("other", "other", "client")
    hosts.await_ports("other", 8000)
    hosts.wear("other", "other")
    hosts.await_ports("other")


def test_what_a_host_may_not_send_does_not_leave_and_answers_do(hosts: Hosts) -> None:
    ask = (
        "import socket, sys\n"
        "sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); sock.settimeout(1)\n"
        "try:\n"
        f"    sock.sendto(b'asked', ('{hosts.addresses['server']}', 9000))\n"
        "    print(sock.recv(100).decode())\n"
        # The kernel says at once what it doesn't send.
        "except (TimeoutError, PermissionError): print('silence')\n"
    )

    def answer() -> str:
        return hosts.lab.shell(hosts.instances["client"], f"python3 - <<'E'\n{ask}E").strip()

    hosts.permit("server", 9000, protocol="udp", UserIdGroupPairs=[{"GroupId": hosts.groups["client"]}])
    everything = {"IpProtocol": "-1", "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
    hosts.ec2.revoke_security_group_egress(GroupId=hosts.groups["server"], IpPermissions=[everything])
    eventually(lambda: answer() == "asked", "the answer of a server that may send nothing by itself")
    hosts.ec2.revoke_security_group_egress(GroupId=hosts.groups["client"], IpPermissions=[everything])
    hosts.await_ports("client")
    assert answer() == "silence"
    # AWS's own services, as lab.aws, are in reach of every host.
    endpoint = hosts.lab.facts["aws_endpoint_url_instances"]
    hosts.lab.shell(hosts.instances["client"], f"curl --silent --max-time 5 --output /dev/null {endpoint}/")


def test_the_root_of_a_host_can_not_remove_the_rules(hosts: Hosts) -> None:
    hosts.lab.shell(hosts.instances["server"], "nft flush ruleset")
    assert hosts.open_ports("ops") == []
    assert hosts.open_ports("other") == []
