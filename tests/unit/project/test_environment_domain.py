"""The name in DNS and the certificate: made once, proved, refused where they are somebody else's, found and removed."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import ansible.module_utils
import boto3
import pytest

from lab import aws

ROOT = Path(__file__).resolve().parents[3]
# The module takes it from Ansible's package, as in its archive.
if str(ROOT / "module_utils") not in ansible.module_utils.__path__:
    ansible.module_utils.__path__.append(str(ROOT / "module_utils"))
domain = importlib.import_module("ansible.module_utils.environment_domain")
front = importlib.import_module("ansible.module_utils.environment_front")
remains = importlib.import_module("ansible.module_utils.environment_remains")
differences = importlib.import_module("ansible.module_utils.environment_comparison").differences
Reader = importlib.import_module("ansible.module_utils.environment_reader").Reader
REGION, ZONE, HOST = "eu-west-1", "parkmesh.example", "parking.parkmesh.example"
NAME = "named-unit"
TAGS = {"Project": "named", "Environment": "unit", "Role": "app"}
OPTIONS: dict[str, Any] = {
    "state": "checked",
    "name": NAME,
    "zone": ZONE,
    "url": f"https://{HOST}",
    "dual_stack": True,
    "wait_s": 5,
    "tags": TAGS,
}
Client = Callable[[str], Any]


@pytest.fixture(scope="module")
def library() -> ModuleType:
    spec = importlib.util.spec_from_file_location("environment_domain_module", ROOT / "library/environment_domain.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    server = aws.serve([("127.0.0.1", 0)])
    host, port = server.addresses[0]

    def of(service: str) -> Any:
        return boto3.client(
            service,
            endpoint_url=f"http://{host}:{port}",
            region_name=REGION,
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )

    yield of
    server.shutdown()


@pytest.fixture(scope="module")
def zone(client: Client) -> str:
    made: str = client("route53").create_hosted_zone(Name=ZONE, CallerReference="1")["HostedZone"]["Id"]
    return made


@pytest.fixture(scope="module")
def balancer(client: Client) -> dict[str, Any]:
    ec2 = client("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.88.0.0/16")["Vpc"]["VpcId"]
    subnets = [
        ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.88.{n}.0/24", AvailabilityZone=f"eu-west-1{letter}")["Subnet"]
        for n, letter in enumerate("ab")
    ]
    made: dict[str, Any] = client("elbv2").create_load_balancer(
        Name=f"{NAME}-app", Subnets=[each["SubnetId"] for each in subnets]
    )["LoadBalancers"][0]
    return made


def act(library: ModuleType, client: Client, state: str, *, dry: bool = False, **other: Any) -> dict[str, Any]:
    found: dict[str, Any] = library.run(client, {**OPTIONS, "state": state, **other}, REGION, dry=dry)
    return found


def records(client: Client, zone: str) -> list[str]:
    listed = client("route53").list_resource_record_sets(HostedZoneId=zone)["ResourceRecordSets"]
    return sorted(f"{each['Name']} {each['Type']}" for each in listed if each["Type"] not in ("NS", "SOA"))


def certificates(client: Client) -> list[str]:
    return [each["CertificateArn"] for each in client("acm").list_certificates()["CertificateSummaryList"]]


def drift(client: Client, balancer: dict[str, Any]) -> list[str]:
    reader = Reader(client, "named", "unit")
    reader.know(balancer["DNSName"].lower(), f"{NAME}-app")
    wanted = {"zone": ZONE, "name": NAME, "public_url": OPTIONS["url"], "dual_stack": True}
    wanted |= {"certificate_arn": "", "tags": TAGS, "access_logs_days": 0, "firewall": False}
    return [each["line"] for each in differences(front.desired(wanted), front.describe(reader))]


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"zone": "other.example"}, r"no public hosted zone other.example in Route 53 \(it has: parkmesh.example\)"),
        ({"url": "https://parking.example.org"}, "host parking.example.org isn't in the hosted zone parkmesh.example"),
        ({"url": "https://xparkmesh.example"}, "isn't in the hosted zone"),
        ({"url": f"http://{HOST}"}, "must begin with https://"),
    ],
)
def test_a_zone_that_cannot_be_used_is_refused(
    library: ModuleType, client: Client, zone: str, given: dict[str, Any], line: str
) -> None:
    with pytest.raises(domain.DomainError, match=line):
        act(library, client, "checked", **given)


def test_a_name_that_is_somebody_else_s_is_refused(library: ModuleType, client: Client, zone: str) -> None:
    other = {"Name": HOST, "Type": "A", "TTL": 60, "ResourceRecords": [{"Value": "203.0.113.7"}]}
    library.set_records(client, zone, "UPSERT", [other])
    with pytest.raises(domain.DomainError, match=r"records already that aren't of named-unit: A 203\.0\.113\.7"):
        act(library, client, "checked")
    library.set_records(client, zone, "DELETE", [other])
    assert act(library, client, "checked") == {"changed": False, "lines": []}


def test_a_check_foretells_the_certificate_and_makes_none(library: ModuleType, client: Client, zone: str) -> None:
    told = act(library, client, "certified", dry=True)
    assert told["lines"] == [f"there is no certificate of {HOST}"]
    assert (certificates(client), records(client, zone)) == ([], [])


def test_a_certificate_is_requested_once_and_proved_in_the_zone(
    library: ModuleType, client: Client, zone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(library, "LOOK_AFTER_S", 0.05)
    with monkeypatch.context() as undelegated:
        # What is in the zone is seen by nobody: another account has the domain.
        undelegated.setattr(library, "set_records", lambda *_: None)
        with pytest.raises(domain.DomainError, match="at its registrar name ns-"):
            act(library, client, "certified", wait_s=0.2)
    (arn,) = certificates(client)
    made = act(library, client, "certified")
    assert (made["certificate_arn"], certificates(client)) == (arn, [arn])
    proof = records(client, zone)[0].split()[0].rstrip(".")
    assert made["lines"] == [f"record {proof}, which proves the certificate, is missing or another"]
    assert client("acm").describe_certificate(CertificateArn=arn)["Certificate"]["Status"] == "ISSUED"
    again = act(library, client, "certified")
    assert again == {"changed": False, "lines": [], "certificate_arn": arn}


def test_the_host_points_to_the_load_balancer_and_a_second_run_is_quiet(
    library: ModuleType, client: Client, zone: str, balancer: dict[str, Any]
) -> None:
    assert drift(client, balancer) == [f"record {HOST} A is missing", f"record {HOST} AAAA is missing"]
    assert len(act(library, client, "pointed", dry=True)["lines"]) == 2
    assert len(records(client, zone)) == 1
    assert act(library, client, "pointed")["changed"]
    assert act(library, client, "pointed") == {"changed": False, "lines": []}
    assert drift(client, balancer) == []


def test_drift_tells_what_was_changed_by_hand(
    library: ModuleType, client: Client, zone: str, balancer: dict[str, Any]
) -> None:
    listed = client("route53").list_resource_record_sets(HostedZoneId=zone)["ResourceRecordSets"]
    (proof,) = [each for each in listed if each["Type"] == "CNAME"]
    (six,) = [each for each in listed if each["Type"] == "AAAA"]
    astray = {**six, "AliasTarget": {**six["AliasTarget"], "DNSName": f"{NAME}-app-77.eu-west-1.elb.amazonaws.com."}}
    library.set_records(client, zone, "DELETE", [proof])
    library.set_records(client, zone, "UPSERT", [astray])
    assert drift(client, balancer) == [
        f"certificate {HOST}: proved_in_dns is off; it should be on",
        f"record {HOST} AAAA: to is {NAME}-app-77.eu-west-1.elb.amazonaws.com; it should be {NAME}-app",
    ]
    assert len(act(library, client, "certified")["lines"]) == 1
    assert act(library, client, "pointed")["lines"] == [f"record {HOST} AAAA is missing or another"]
    assert drift(client, balancer) == []


def test_without_ipv6_the_record_goes(library: ModuleType, client: Client, zone: str, balancer: dict[str, Any]) -> None:
    assert act(library, client, "pointed", dual_stack=False)["lines"] == [f"record {HOST} AAAA goes"]
    assert [each.split()[1] for each in records(client, zone)] == ["CNAME", "A"]


def test_all_of_it_goes_and_nothing_of_others(
    library: ModuleType, client: Client, zone: str, balancer: dict[str, Any]
) -> None:
    mail = {"Name": f"mail.{ZONE}", "Type": "A", "TTL": 60, "ResourceRecords": [{"Value": "203.0.113.8"}]}
    library.set_records(client, zone, "CREATE", [mail])
    reader = Reader(client, "named", "unit")
    assert [each.kind for each in remains.sweepable(reader, ["certificate"])] == ["certificate"]
    foretold = act(library, client, "absent", dry=True)
    assert act(library, client, "absent") == foretold
    assert len(foretold["lines"]) == 3
    assert (certificates(client), records(client, zone)) == ([], [f"mail.{ZONE}. A"])
    assert act(library, client, "absent") == {"changed": False, "lines": []}
