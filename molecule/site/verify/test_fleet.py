"""The hosts are what the playbook says: services, doors, isolation, secrets."""

import json
import subprocess
from collections.abc import Callable
from typing import Any

import pytest
from running_lab import GROUP, STATE, Lab, connects, eventually, overlay_address

SLOTS = [f"10.242.0.{number}" for number in range(11, 17)]


def test_two_app_servers_serve_in_two_zones_with_a_slot_each(lab: Lab) -> None:
    servers = lab.app_servers()
    assert len(servers) == 2
    assert eventually(lambda: lab.healthy_targets() == set(servers), 60, "both targets are healthy")
    reservations = lab.client("ec2").describe_instances(InstanceIds=list(servers))["Reservations"]
    zones = {i["Placement"]["AvailabilityZone"] for r in reservations for i in r["Instances"]}
    assert len(zones) == 2
    addresses = {overlay_address(lab, container) for container in servers.values()}
    assert len(addresses) == 2
    assert addresses <= set(SLOTS)


UNITS = ["parkmesh-instance", "parkmesh-overlay", "parkmesh-server", "zerotier-one"]


@pytest.mark.parametrize("unit", UNITS)
def test_the_units_of_every_app_server_are_active(lab: Lab, host: Callable[[str], Any], unit: str) -> None:
    for container in lab.app_servers().values():
        assert host(container).service(unit).is_running


def test_an_instance_of_its_own_has_migrated_the_database_and_no_server_may_be_its_owner(
    lab: Lab, host: Callable[[str], Any]
) -> None:
    found = lab.client("ssm").get_parameter(Name="/parkmesh/lab/migration")["Parameter"]["Value"]
    result = json.loads(found)
    assert (result["task"], result["state"]) == ("migrate", "succeeded"), result
    assert result["instance"] not in lab.app_servers()
    for container in lab.app_servers().values():
        assert not host(container).file("/run/parkmesh/migrate.env").exists
    policy = lab.client("iam").get_role_policy(RoleName=GROUP, PolicyName="app")["PolicyDocument"]
    assert "database-owner" not in json.dumps(policy)


def test_the_edge_door_is_open_on_the_overlay_s_address_only(lab: Lab, host: Callable[[str], Any]) -> None:
    for container in lab.app_servers().values():
        sockets = host(container).check_output("ss --tcp --listening --numeric --no-header").splitlines()
        edge = [line.split()[3] for line in sockets if line.split()[3].endswith(":8001")]
        assert edge == [f"{overlay_address(lab, container)}:8001"]


def test_the_server_runs_unprivileged(lab: Lab, host: Callable[[str], Any]) -> None:
    for container in lab.app_servers().values():
        assert {process.user for process in host(container).process.filter(comm="python3", user="parkmesh")} == {
            "parkmesh"
        }


@pytest.mark.parametrize("gateway", ["gateway-a", "gateway-b"])
def test_a_gateway_runs_holds_its_access_list_and_has_no_backlog(
    lab: Lab, host: Callable[[str], Any], gateway: str
) -> None:
    for unit in ("parkmesh-gateway", "mosquitto", "zerotier-one"):
        assert host(gateway).service(unit).is_running
        assert host(gateway).service(unit).is_enabled
    status = eventually(
        lambda: (s := lab.gateway_status(gateway))["backlog"] == 0 and s["access_list_version"] > 0 and s,
        30,
        f"{gateway} is in sync",
    )
    assert status["gateway"] == gateway


def test_gateways_reach_the_edge_door_and_nothing_else_of_an_app_server(lab: Lab) -> None:
    server = overlay_address(lab, next(iter(lab.app_servers().values())))
    for gateway in ("gateway-a", "gateway-b"):
        assert connects(lab, gateway, server, 8001)
        assert not connects(lab, gateway, server, 8000)
        assert not connects(lab, gateway, server, 22)


def test_the_servers_door_is_open_to_the_load_balancer_and_the_database_to_the_servers_only(lab: Lab) -> None:
    elb, ec2 = lab.client("elbv2"), lab.client("ec2")
    instance, server = next(iter(lab.app_servers().items()))
    (reservation,) = ec2.describe_instances(InstanceIds=[instance])["Reservations"]
    address = reservation["Instances"][0]["PrivateIpAddress"]
    balancer = f"{lab.facts['prefix']}lb-{elb.describe_load_balancers()['LoadBalancers'][0]['LoadBalancerName']}"
    data = lab.client("rds").describe_db_instances()["DBInstances"][0]
    database = f"{lab.facts['prefix']}db-{data['DBInstanceIdentifier']}"
    (store,) = json.loads(lab.podman("inspect", database))[0]["NetworkSettings"]["Networks"].values()
    doors = {"server": (address, 8000), "database": (store["IPAddress"], data["Endpoint"]["Port"])}
    # By private addresses, past load balancer and overlay: the lab's machine leads ops and gateways into the VPC.
    hosts = {"balancer": balancer, "server": server, "database": database, "ops": "ops", "gateway": "gateway-a"}
    opened = {
        (name, door)
        for name, thing in hosts.items()
        for door, (place, port) in doors.items()
        if name != door and connects(lab, thing, place, port)
    }
    assert opened == {("balancer", "server"), ("server", "database")}


def test_communities_never_reach_each_other(lab: Lab) -> None:
    for gateway, other in (("gateway-a", "10.242.1.2"), ("gateway-b", "10.242.1.1")):
        assert not connects(lab, gateway, other, 22)
        assert not connects(lab, gateway, other, 8100)
        assert lab.run(gateway, "ping", "-c", "1", "-W", "2", other).returncode != 0


@pytest.mark.parametrize(("gateway", "devices"), [("gateway-a", "devices-a"), ("gateway-b", "devices-b")])
def test_devices_reach_their_ports_of_a_gateway_and_nothing_else(
    lab: Lab, host: Callable[[str], Any], gateway: str, devices: str
) -> None:
    address = lab.facts["hosts"][gateway]["address"]
    assert connects(lab, devices, address, 8100)
    assert connects(lab, devices, address, 8883)
    for closed in (22, 1883):
        assert not connects(lab, devices, address, closed)
    sockets = host(gateway).check_output("ss --tcp --listening --numeric --no-header").splitlines()
    broker = {line.split()[3] for line in sockets if line.split()[3].endswith((":1883", ":8883"))}
    assert broker == {"127.0.0.1:1883", f"{address}:8883"}
    assert host(gateway).service("parkmesh-firewall").is_enabled
    assert not host(gateway).file("/etc/parkmesh/firewall.nft.trial").exists, "the rules were kept"


@pytest.mark.parametrize("gateway", ["gateway-a", "gateway-b"])
def test_a_gateway_says_that_it_works_and_its_journal_is_bounded(host: Callable[[str], Any], gateway: str) -> None:
    show = host(gateway).check_output("systemctl show parkmesh-gateway --property=Type,WatchdogUSec")
    assert dict(line.split("=") for line in show.split()) == {"Type": "notify", "WatchdogUSec": "2min"}
    assert host(gateway).service("chrony").is_enabled
    journal = host(gateway).check_output("systemd-analyze cat-config systemd/journald.conf")
    assert "\nSystemMaxUse=200M\n" in journal


def test_ops_reach_every_gateway_by_ssh(lab: Lab) -> None:
    for address in ("10.242.1.1", "10.242.1.2"):
        assert connects(lab, "ops", address, 22)


def test_instance_data_and_image_hold_no_secret(lab: Lab, host: Callable[[str], Any]) -> None:
    secrets = lab.client("secretsmanager")
    values = []
    for secret in secrets.list_secrets()["SecretList"]:
        text = secrets.get_secret_value(SecretId=secret["Name"])["SecretString"]
        try:
            document = json.loads(text)
            values += [v for k, v in document.items() if k in ("password", "identity_secret")]
        except ValueError:
            values.append(text)
    assert len(values) >= 3
    for instance, container in lab.app_servers().items():
        data = lab.client("ec2").describe_instance_attribute(InstanceId=instance, Attribute="userData")
        inspected = lab.podman("inspect", container)
        arguments = host(container).check_output("ps -eo args")
        for value in values:
            assert value not in json.dumps(data)
            assert value not in inspected
            assert value not in arguments
        # What the image brought is everywhere but in /run and in the homes that the instance filled at its boot.
        search = ["grep", "--recursive", "--files-with-matches", "--fixed-strings", "--file=-"]
        found = subprocess.run(
            ["podman", "exec", "--interactive", container, *search, "/etc", "/opt", "/usr/local", "/var/log", "/root"],
            input="\n".join(values),
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert (found.returncode, found.stdout) == (1, ""), found.stderr


def test_the_lab_s_secrets_are_the_owner_s_only() -> None:
    folder = STATE / "secrets"
    assert folder.stat().st_mode & 0o077 == 0
    assert [p.name for p in folder.iterdir() if p.stat().st_mode & 0o077 and not p.name.endswith(".pub")] == []
