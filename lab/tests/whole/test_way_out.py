"""NAT instances with real packets: the lab's Auto Scaling groups keep one in each zone, made by role nat_instance.

Sources of slots' packets are what gateways see, with and without a carrier's NAT in front of them.
"""

import base64
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest
import yaml

from .conftest import FIRST, ROOT, RunningLab, eventually, run

EGRESS = ROOT / "roles/aws_egress/vars/main.yml"
SLOTS = "way-out-slots"
ZONES = "ab"
# Every 50 ms a packet to each target, and an answer to each packet; each that comes is a line in the log.
PEER = """
import select, socket, sys, time
port, *targets = sys.argv[1:]
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.bind(("0.0.0.0", int(port)))
targets = [(address, int(number)) for address, number in (each.split(":") for each in targets)]
log, due = open(f"/run/peer-{port}.log", "w", buffering=1), 0.0
def send(word, target):
    try:
        sock.sendto(word, target)
    except OSError:
        pass
while True:
    if time.monotonic() >= due:
        due = time.monotonic() + 0.05
        for target in targets:
            send(b"asked", target)
    if select.select([sock], [], [], 0.02)[0]:
        word, source = sock.recvfrom(100)
        print(time.monotonic(), word.decode(), *source, file=log)
        if word == b"asked":
            send(b"answered", source)
"""


@dataclass(frozen=True)
class Packet:
    """One that came: when (monotonic, as in all containers), as question or answer, and from where."""

    at: float
    word: str
    source: tuple[str, int]


@dataclass
class Network:
    """A VPC with NAT instances, and in each zone a host that holds the slot of its number (1, 2)."""

    lab: RunningLab
    addresses: dict[str, str]
    tables: dict[str, str]
    public: dict[str, str]
    hosts: dict[str, str]
    gateways: dict[str, str]
    group: str

    def nat(self, zone: str) -> str:
        """The NAT instance of a zone whose container runs, or nothing."""
        (group,) = self.lab.client("autoscaling").describe_auto_scaling_groups(AutoScalingGroupNames=[f"nat-{zone}"])[
            "AutoScalingGroups"
        ]
        running = [each["InstanceId"] for each in group["Instances"] if self.lab.running(each["InstanceId"])]
        return running[0] if len(running) == 1 else ""

    def private(self, instance: str) -> str:
        (row,) = self.lab.client("ec2").describe_instances(InstanceIds=[instance])["Reservations"]
        return str(row["Instances"][0]["PrivateIpAddress"])

    def hold(self, slot: int, instance: str) -> None:
        """Write what an app server writes when it takes a slot."""
        place = {"instance": {"S": instance}, "private_ip": {"S": self.private(instance)}, "zone": {"S": "-"}}
        item = {"slot": {"N": str(slot)}, "holder": {"S": instance}, "holder_place": {"M": place}}
        self.lab.client("dynamodb").put_item(TableName=SLOTS, Item=item)

    def peer(self, thing: str, port: int, *targets: tuple[str, int]) -> None:
        """Start anew a host's peer on a UDP port."""
        words = " ".join(f"{address}:{number}" for address, number in targets)
        self.lab.shell(
            thing,
            f"cat > /run/peer.py <<'E'\n{PEER}E\nsystemctl stop peer-{port} 2>/dev/null || true\n"
            f"systemd-run --quiet --collect --unit=peer-{port} python3 /run/peer.py {port} {words}",
        )

    def came(self, thing: str, port: int) -> list[Packet]:
        lines = self.lab.shell(thing, f"cat /run/peer-{port}.log 2>/dev/null || true").splitlines()
        rows = [line.split() for line in lines]
        return [Packet(float(at), word, (source, int(number))) for at, word, source, number in rows]

    def sources(self, thing: str, port: int, word: str) -> set[tuple[str, int]]:
        return {packet.source for packet in self.came(thing, port) if packet.word == word}

    def await_sources(self, thing: str, port: int, word: str, wanted: set[tuple[str, int]]) -> None:
        eventually(lambda: self.sources(thing, port, word) == wanted, f"{word} at {thing} from {wanted}")

    def ways(self) -> dict[str, str]:
        """By zone: where its slot's host goes out."""
        return {
            zone: self.lab.shell(host, "ip -4 route show default | head -1").split()[2]
            for zone, host in self.hosts.items()
        }


@pytest.fixture(scope="module")
def network(lab: RunningLab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    ec2, iam = lab.client("ec2"), lab.client("iam")
    prefix = lab.facts["vpc_cidr"].rsplit(".", 2)[0]
    vpc = ec2.create_vpc(CidrBlock=lab.facts["vpc_cidr"])["Vpc"]["VpcId"]

    def subnet(third: int, zone: str) -> str:
        cidr = f"{prefix}.{third}.0/24"
        return str(
            ec2.create_subnet(VpcId=vpc, CidrBlock=cidr, AvailabilityZone=f"eu-west-1{zone}")["Subnet"]["SubnetId"]
        )

    def table(of: str) -> str:
        made = str(ec2.create_route_table(VpcId=vpc)["RouteTable"]["RouteTableId"])
        ec2.associate_route_table(RouteTableId=made, SubnetId=of)
        return made

    public = {zone: subnet(16 + number, zone) for number, zone in enumerate(ZONES)}
    private = {zone: subnet(80 + number, zone) for number, zone in enumerate(ZONES)}
    internet = ec2.create_internet_gateway()["InternetGateway"]["InternetGatewayId"]
    ec2.attach_internet_gateway(InternetGatewayId=internet, VpcId=vpc)
    for each in public.values():
        ec2.create_route(RouteTableId=table(each), DestinationCidrBlock="0.0.0.0/0", GatewayId=internet)
    tables = {zone: table(each) for zone, each in private.items()}
    base = ec2.describe_images(Owners=["136693071363"])["Images"][0]["ImageId"]
    slots = {"IpProtocol": "udp", "FromPort": 20001, "ToPort": 20006, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}
    inside = {"IpProtocol": "-1", "IpRanges": [{"CidrIp": lab.facts["vpc_cidr"]}]}

    def group(name: str, *permissions: object) -> str:
        made = str(ec2.create_security_group(GroupName=name, Description="-", VpcId=vpc)["GroupId"])
        ec2.authorize_security_group_ingress(GroupId=made, IpPermissions=permissions)
        return made

    # As role aws_network has them.
    app_group, nat_group = group("app", slots), group("nat", slots, inside)

    def start(where: str) -> str:
        made = ec2.run_instances(ImageId=base, MinCount=1, MaxCount=1, SubnetId=where, SecurityGroupIds=[app_group])
        return str(made["Instances"][0]["InstanceId"])

    builder = start(public["a"])
    hosts = {zone: start(each) for zone, each in private.items()}
    lab.client("dynamodb").create_table(
        TableName=SLOTS,
        KeySchema=[{"AttributeName": "slot", "KeyType": "HASH"}],
        AttributeDefinitions=[{"AttributeName": "slot", "AttributeType": "N"}],
        BillingMode="PAY_PER_REQUEST",
    )
    iam.create_role(RoleName="nat", AssumeRolePolicyDocument="{}")
    # The actions of role aws_egress, for parts that have no tags of an environment.
    statements = yaml.safe_load(EGRESS.read_text())["__aws_egress_policy"]["Statement"]
    actions = [action for statement in statements for action in statement["Action"]]
    allowed = {"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": actions, "Resource": "*"}}
    iam.put_role_policy(RoleName="nat", PolicyName="nat", PolicyDocument=json.dumps(allowed))
    iam.create_instance_profile(InstanceProfileName="nat")
    iam.add_role_to_instance_profile(InstanceProfileName="nat", RoleName="nat")
    lab.await_systemd(builder)
    make_nat_instance(lab, builder, tmp_path_factory.mktemp("nat"))
    image = ec2.create_image(InstanceId=builder, Name="nat-1")["ImageId"]
    ec2.terminate_instances(InstanceIds=[builder])
    addresses = {}
    for zone in ZONES:
        allocated = ec2.allocate_address(Domain="vpc")
        addresses[zone] = allocated["PublicIp"]
        told = {
            "region": lab.facts["region"],
            "aws_endpoint_url": lab.facts["aws_endpoint_url_instances"],
            "slot_table": SLOTS,
            "allocation_id": allocated["AllocationId"],
            "route_tables": [tables[zone]],
            "inside": [lab.facts["vpc_cidr"]],
        }
        ec2.create_launch_template(
            LaunchTemplateName=f"nat-{zone}",
            LaunchTemplateData={
                "ImageId": image,
                "InstanceType": "t4g.nano",
                "SecurityGroupIds": [nat_group],
                "UserData": base64.b64encode(json.dumps(told).encode()).decode(),
                "IamInstanceProfile": {"Name": "nat"},
            },
        )
        lab.client("autoscaling").create_auto_scaling_group(
            AutoScalingGroupName=f"nat-{zone}",
            MinSize=1,
            MaxSize=1,
            DesiredCapacity=1,
            LaunchTemplate={"LaunchTemplateName": f"nat-{zone}", "Version": "$Latest"},
            VPCZoneIdentifier=public[zone],
        )
    gateways = {site: lab.facts["hosts"][f"gateway-{site}"]["address"] for site in ZONES}
    made = Network(lab, addresses, tables, public, hosts, gateways, nat_group)
    for slot, zone in enumerate(ZONES, 1):
        made.hold(slot, hosts[zone])
    eventually(lambda: all(map(made.nat, ZONES)), "both NAT instances")
    eventually(
        lambda: made.ways() == {zone: made.private(made.nat(zone)) for zone in ZONES},
        "the default routes to lead to them",
    )
    yield made
    for site in ZONES:
        assert run(FIRST, "cgnat", f"site-{site}", "none").returncode == 0


def make_nat_instance(lab: RunningLab, instance: str, folder: Path) -> None:
    """Apply the role to a builder, as provision-egress.yml does."""
    host = {"ansible_connection": "containers.podman.podman", "ansible_host": lab.container(instance)}
    (folder / "inventory.yml").write_text(yaml.safe_dump({"all": {"hosts": {"builder": host}}}))
    role = {"role": "nat_instance", "nat_instance_image": True, "nat_instance_inside": [lab.facts["vpc_cidr"]]}
    (folder / "play.yml").write_text(yaml.safe_dump([{"hosts": "all", "gather_facts": False, "roles": [role]}]))
    done = subprocess.run(
        [Path(sys.executable).with_name("ansible-playbook"), "-i", folder / "inventory.yml", folder / "play.yml"],
        cwd=ROOT,
        env={**lab.podman.environment, "ANSIBLE_NOCOLOR": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_slots_packets_leave_by_its_zones_address_with_its_port(network: Network) -> None:
    to = [(address, 9993) for address in network.gateways.values()]
    for site in ZONES:
        network.peer(f"gateway-{site}", 9993)
    for slot, zone in enumerate(ZONES, 1):
        network.peer(network.hosts[zone], 20000 + slot, *to)
    wanted = {(network.addresses[zone], 20000 + slot) for slot, zone in enumerate(ZONES, 1)}
    for site in ZONES:
        network.await_sources(f"gateway-{site}", 9993, "asked", wanted)
    for slot, zone in enumerate(ZONES, 1):
        assert network.sources(network.hosts[zone], 20000 + slot, "answered") == set(to)


def test_a_slots_port_leads_to_its_holder_within_3_s_of_a_change(network: Network) -> None:
    first, second = network.hosts["a"], network.hosts["b"]
    for host in (first, second):
        network.peer(host, 20001)
    network.peer("gateway-b", 9994, (network.addresses["a"], 20001), (network.addresses["a"], 20003))
    source = (network.gateways["b"], 9994)
    network.await_sources(first, 20001, "asked", {source})
    changed = time.monotonic()
    network.hold(1, second)
    network.await_sources(second, 20001, "asked", {source})
    assert network.came(second, 20001)[0].at - changed < 3
    network.hold(1, first)
    # Not past the NAT instance, and not to a port of no slot.
    network.peer(first, 20003)
    network.peer("gateway-b", 9994, (network.private(first), 20001), (network.addresses["a"], 20003))
    network.peer(first, 20001)
    time.sleep(1)
    assert network.came(first, 20001) == network.came(first, 20003) == []


def test_a_port_that_is_taken_from_the_group_of_nat_instances_is_closed_until_it_is_given_back(
    network: Network,
) -> None:
    ec2, slot = network.lab.client("ec2"), {"IpProtocol": "udp", "FromPort": 20001, "ToPort": 20006}
    permission = {"GroupId": network.group, "IpPermissions": [{**slot, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}]}

    def let_in(port: int) -> bool:
        """Whether the slot's holder hears within a second what a gateway asks it from this port."""
        network.peer(network.hosts["a"], 20001)
        network.peer("gateway-b", port, (network.addresses["a"], 20001))
        time.sleep(1)
        network.lab.shell("gateway-b", f"systemctl stop peer-{port}")
        return (network.gateways["b"], port) in network.sources(network.hosts["a"], 20001, "asked")

    # Each try has a port of its own: what is under way goes on, whatever becomes of its rule.
    ports = iter(range(9800, 9900))
    ec2.revoke_security_group_ingress(**permission)
    eventually(lambda: not let_in(next(ports)), "the port to be closed")
    ec2.authorize_security_group_ingress(**permission)
    eventually(lambda: let_in(next(ports)), "the port to be open again")


def test_paths_are_direct_to_gateways_behind_both_kinds_of_carrier_nat(network: Network) -> None:
    for site, kind in zip(ZONES, ("symmetric", "port-preserving"), strict=True):
        assert run(FIRST, "cgnat", f"site-{site}", kind).returncode == 0
    slots = [(network.addresses[zone], 20000 + slot) for slot, zone in enumerate(ZONES, 1)]
    for slot, zone in enumerate(ZONES, 1):
        network.peer(network.hosts[zone], 20000 + slot)
    for site in ZONES:
        network.peer(f"gateway-{site}", 9993, *slots)
        network.await_sources(f"gateway-{site}", 9993, "answered", set(slots))
    core = network.lab.facts["networks"]["core"]["subnet"].rsplit(".", 1)[0]
    seen = [network.sources(network.hosts[zone], 20000 + slot, "asked") for slot, zone in enumerate(ZONES, 1)]
    symmetric = [next(port for address, port in each if address == f"{core}.30") for each in seen]
    assert 9993 not in symmetric
    assert symmetric[0] != symmetric[1]
    assert all((f"{core}.31", 9993) in each for each in seen)


def test_a_killed_nat_instance_comes_back_under_its_address_and_the_other_zone_is_left_alone(network: Network) -> None:
    before = {zone: network.nat(zone) for zone in ZONES}
    network.lab.podman.run("kill", network.lab.container(before["a"]))
    killed = time.monotonic()
    eventually(lambda: network.nat("a") not in ("", before["a"]), "another NAT instance")
    after = {zone: network.nat(zone) for zone in ZONES}
    assert after["b"] == before["b"]
    network.lab.await_systemd(after["a"])
    marks = network.lab.shell(
        after["a"], "systemctl show --value -p UserspaceTimestampMonotonic -p FinishTimestampMonotonic"
    ).split()
    started, finished = (int(mark) / 1e6 for mark in marks)

    def answers(zone: str, since: float) -> list[float]:
        port = 20001 + ZONES.index(zone)
        came = network.came("gateway-a", 9993)
        source = (network.addresses[zone], port)
        return [packet.at for packet in came if packet.source == source and packet.at > since]

    # What the killed one still sent may be noted after its end, but not after the start of the next.
    eventually(lambda: answers("a", started), "the killed zone's paths")
    back = answers("a", started)[0]
    print(f"away for {back - killed:.1f} s, of which the boot took {finished - started:.1f} s")
    assert back - killed - (finished - started) <= 10
    other = [killed, *answers("b", killed)]
    assert max(later - earlier for earlier, later in pairwise(other)) < 1
    assert network.sources("gateway-a", 9993, "answered") == {
        (network.addresses[zone], 20000 + slot) for slot, zone in enumerate(ZONES, 1)
    }


def test_behind_a_nat_gateway_each_peer_sees_another_port_and_none_gets_in(network: Network) -> None:
    ec2 = network.lab.client("ec2")
    allocated = ec2.allocate_address(Domain="vpc")
    gateway = ec2.create_nat_gateway(SubnetId=network.public["a"], AllocationId=allocated["AllocationId"])["NatGateway"]
    assert run(FIRST, "cgnat", "site-a", "none").returncode == 0
    network.peer("gateway-a", 9993)
    network.peer("gateway-a", 9994)
    ec2.replace_route(
        RouteTableId=network.tables["a"],
        DestinationCidrBlock="0.0.0.0/0",
        NatGatewayId=gateway["NatGatewayId"],
    )
    # What is behind the port-preserving NAT asks at the only port that it knows, the slot's.
    network.peer("gateway-b", 9993, (allocated["PublicIp"], 20001))
    core = network.lab.facts["networks"]["core"]["subnet"].rsplit(".", 1)[0]
    to = [(network.gateways["a"], 9993), (network.gateways["a"], 9994)]
    eventually(lambda: network.ways()["a"] == network.lab.facts["networks"]["vpc"]["gateway"], "the new way out")
    network.peer(network.hosts["a"], 20001, *to, (f"{core}.31", 9993))
    network.await_sources(network.hosts["a"], 20001, "answered", set(to))
    (one,), (two,) = (network.sources("gateway-a", port, "asked") for port in (9993, 9994))
    assert one[0] == two[0] == allocated["PublicIp"]
    assert len({one[1], two[1], 20001}) == 3
    time.sleep(1)
    assert network.sources(network.hosts["a"], 20001, "asked") == set()
    assert network.came("gateway-b", 9993) == []
