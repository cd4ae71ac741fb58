"""Firewall and access logs before the load balancer: made once, told by drift, put right, removed."""

from __future__ import annotations

import importlib
import importlib.util
import json
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
front = importlib.import_module("ansible.module_utils.environment_front")
data = importlib.import_module("ansible.module_utils.environment_data")
differences = importlib.import_module("ansible.module_utils.environment_comparison").differences
Reader = importlib.import_module("ansible.module_utils.environment_reader").Reader
REGION, NAME = "eu-west-1", "front-unit"
BUCKET = f"{NAME}-access-logs-123456789012"
TAGS = {"Project": "front", "Environment": "unit", "Role": "app"}
OPTIONS: dict[str, Any] = {"state": "present", "name": NAME, "days": 30, "requests": 500, "tags": TAGS}
Client = Callable[[str], Any]


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"{name}_module", ROOT / f"library/{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


logs, firewall = load("environment_access_logs"), load("environment_firewall")


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

    ec2 = of("ec2")
    vpc = ec2.create_vpc(CidrBlock="10.89.0.0/16")["Vpc"]["VpcId"]
    subnets = [
        ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.89.{n}.0/24", AvailabilityZone=f"eu-west-1{letter}")["Subnet"]
        for n, letter in enumerate("ab")
    ]
    of("elbv2").create_load_balancer(Name=f"{NAME}-app", Subnets=[each["SubnetId"] for each in subnets])
    yield of
    elb = of("elbv2")
    for each in elb.describe_load_balancers()["LoadBalancers"]:
        elb.delete_load_balancer(LoadBalancerArn=each["LoadBalancerArn"])
    server.shutdown()


def drift(client: Client) -> list[str]:
    """What differs of web ACL and bucket, and the load balancer's part."""
    reader = Reader(client, "front", "unit")
    settings = {
        "zone": "",
        "name": NAME,
        "access_logs_days": 30,
        "firewall": True,
        "firewall_requests": 500,
        "tags": TAGS,
    }
    found = {"bucket": {}, **front.describe(reader)}
    data._buckets(reader, found)
    arn = client("elbv2").describe_load_balancers(Names=[f"{NAME}-app"])["LoadBalancers"][0]["LoadBalancerArn"]
    found["load balancer"] = {NAME: {"firewall": front.firewall_of(reader, arn)}}
    wanted = {**front.desired(settings), "load balancer": {NAME: {"firewall": front.balancer(settings)["firewall"]}}}
    return [each["line"] for each in differences(wanted, found)]


def attribute(client: Client) -> dict[str, str]:
    elb = client("elbv2")
    arn = elb.describe_load_balancers(Names=[f"{NAME}-app"])["LoadBalancers"][0]["LoadBalancerArn"]
    listed = elb.describe_load_balancer_attributes(LoadBalancerArn=arn)["Attributes"]
    return {each["Key"]: each["Value"] for each in listed if each["Key"].startswith("access_logs.s3.")}


def test_a_check_foretells_both_and_makes_nothing(client: Client) -> None:
    assert logs.run(client, OPTIONS, REGION, dry=True)["lines"] == [
        f"bucket {BUCKET} is missing",
        f"load balancer {NAME}-app writes no access logs there",
    ]
    assert firewall.run(client, OPTIONS, dry=True)["lines"] == [f"web ACL {NAME}-app is missing"]
    assert client("s3").list_buckets()["Buckets"] == []
    assert client("wafv2").list_web_acls(Scope="REGIONAL")["WebACLs"] == []


def test_they_are_made_and_a_second_run_is_quiet(client: Client) -> None:
    assert logs.run(client, OPTIONS, REGION, dry=False)["changed"]
    assert firewall.run(client, OPTIONS, dry=False)["changed"]
    assert logs.run(client, OPTIONS, REGION, dry=False) == {"changed": False, "lines": []}
    assert firewall.run(client, OPTIONS, dry=False) == {"changed": False, "lines": []}
    assert drift(client) == []
    given = json.loads(client("s3").get_bucket_policy(Bucket=BUCKET)["Policy"])["Statement"]
    assert given[0]["Principal"] == {"Service": "logdelivery.elasticloadbalancing.amazonaws.com"}
    assert given[0]["Resource"] == f"arn:aws:s3:::{BUCKET}/AWSLogs/123456789012/*"
    assert attribute(client) == {
        "access_logs.s3.enabled": "true",
        "access_logs.s3.bucket": BUCKET,
        "access_logs.s3.prefix": "",
    }


def test_what_was_changed_by_hand_is_told_and_put_right(client: Client) -> None:
    s3, waf = client("s3"), client("wafv2")
    everybody = {"Effect": "Allow", "Principal": "*", "Action": "s3:GetObject", "Resource": f"arn:aws:s3:::{BUCKET}/*"}
    s3.put_bucket_policy(Bucket=BUCKET, Policy=json.dumps({"Version": "2012-10-17", "Statement": [everybody]}))
    s3.delete_bucket_lifecycle(Bucket=BUCKET)
    there = firewall.found(waf, f"{NAME}-app")
    waf.update_web_acl(
        Scope="REGIONAL",
        **{key: there[key] for key in ("Name", "Id", "LockToken", "DefaultAction", "VisibilityConfig")},
        Rules=there["Rules"][:1],
    )
    waf.disassociate_web_acl(ResourceArn=firewall.balancer_arn(client, f"{NAME}-app"))
    told = drift(client)
    assert f"bucket {BUCKET}: only_load_balancers_write is off; it should be on" in told
    assert any(line.startswith(f"bucket {BUCKET}: days is") for line in told)
    assert f"load balancer {NAME}: firewall is nothing; it should be {NAME}-app" in told
    assert sum(line.startswith(f"web ACL {NAME}-app: rules ") for line in told) == 3
    assert len(logs.run(client, OPTIONS, REGION, dry=True)["lines"]) == 2
    assert logs.run(client, OPTIONS, REGION, dry=False)["changed"]
    assert firewall.run(client, OPTIONS, dry=False)["lines"] == [
        f"web ACL {NAME}-app has other rules",
        f"load balancer {NAME}-app has no firewall before it",
    ]
    assert drift(client) == []


def test_logs_can_be_stopped_and_those_that_there_are_stay(client: Client) -> None:
    client("s3").put_object(Bucket=BUCKET, Key="AWSLogs/123456789012/log.gz", Body=b"log")
    assert logs.run(client, {**OPTIONS, "state": "off"}, REGION, dry=False)["lines"] == [
        f"load balancer {NAME}-app writes access logs"
    ]
    assert attribute(client)["access_logs.s3.enabled"] == "false"
    assert client("s3").list_objects_v2(Bucket=BUCKET)["KeyCount"] == 1


def test_both_go_with_what_is_in_them(client: Client) -> None:
    absent = {**OPTIONS, "state": "absent"}
    for run in (
        lambda dry: logs.run(client, absent, REGION, dry=dry),
        lambda dry: firewall.run(client, absent, dry=dry),
    ):
        foretold = run(True)
        assert run(False) == foretold
        assert len(foretold["lines"]) == 1
        assert run(False) == {"changed": False, "lines": []}
    assert client("s3").list_buckets()["Buckets"] == []
    assert client("wafv2").list_web_acls(Scope="REGIONAL")["WebACLs"] == []


@pytest.mark.parametrize("module", [logs, firewall], ids=["logs", "firewall"])
def test_without_a_load_balancer_one_line_says_so(client: Client, module: ModuleType) -> None:
    options = {**OPTIONS, "name": "other"}
    with pytest.raises(ValueError, match="there is no load balancer other-app"):
        module.run(client, options, dry=False, **({"region": REGION} if module is logs else {}))
