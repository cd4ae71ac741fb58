"""Alarms: each has its section of the runbook, a second run changes nothing, and a bad topic is refused."""

from __future__ import annotations

import importlib
import importlib.util
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import ansible.module_utils
import boto3
import pytest
import yaml

from lab import aws

ROOT = Path(__file__).resolve().parents[3]
# The module takes it from Ansible's package, as in its archive.
if str(ROOT / "module_utils") not in ansible.module_utils.__path__:
    ansible.module_utils.__path__.append(str(ROOT / "module_utils"))
watched = importlib.import_module("ansible.module_utils.environment_alarms")
service = importlib.import_module("ansible.module_utils.environment_service")
differences = importlib.import_module("ansible.module_utils.environment_comparison").differences
Reader = importlib.import_module("ansible.module_utils.environment_reader").Reader
REGION = "eu-west-1"
LIMITS = yaml.safe_load((ROOT / "roles/aws_service/vars/main.yml").read_text())["__aws_service_alarm_limits"]
OPTIONS: dict[str, Any] = {
    "state": "present",
    "name": "watched",
    "topic_arn": "",
    "emails": ["operations@example.org"],
    "database": "watched-database",
    "limits": LIMITS,
    "tags": {"Project": "watched"},
}
SETTINGS = {
    "name": "parkmesh-production",
    "load_balancer": "app/parkmesh-production-app/0123456789abcdef",
    "target_group": "targetgroup/parkmesh-production-app/0123456789abcdef",
    "database": "parkmesh-production-database",
    "topic": "arn:aws:sns:eu-west-1:111122223333:topic",
    "limits": LIMITS,
    "region": REGION,
}
Client = Callable[[str], Any]


@pytest.fixture(scope="module")
def module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("alarms_module", ROOT / "library" / "environment_alarms.py")
    assert spec is not None
    assert spec.loader is not None
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    """An account with a load balancer to watch."""
    server = aws.serve([("127.0.0.1", 0)])

    def connect(service: str) -> Any:
        return boto3.client(
            service,
            endpoint_url="http://{}:{}".format(*server.addresses[0]),
            region_name=REGION,
            aws_access_key_id="emulated-key-id",
            aws_secret_access_key="emulated-secret-key",
        )

    ec2, elb = connect("ec2"), connect("elbv2")
    vpc = ec2.create_vpc(CidrBlock="10.61.0.0/16")["Vpc"]["VpcId"]
    subnets = [
        ec2.create_subnet(VpcId=vpc, CidrBlock=f"10.61.{n}.0/24", AvailabilityZone=f"{REGION}{zone}")["Subnet"][
            "SubnetId"
        ]
        for n, zone in enumerate("ab")
    ]
    group = elb.create_target_group(Name="watched-app", Protocol="HTTP", Port=8000, VpcId=vpc)["TargetGroups"][0]
    balancer = elb.create_load_balancer(Name="watched-app", Subnets=subnets)["LoadBalancers"][0]
    yield connect
    elb.delete_load_balancer(LoadBalancerArn=balancer["LoadBalancerArn"])
    elb.delete_target_group(TargetGroupArn=group["TargetGroupArn"])
    server.shutdown()


@pytest.fixture
def run(module: ModuleType, client: Client) -> Iterator[Callable[..., dict[str, Any]]]:
    def call(*, dry: bool = False, **options: Any) -> dict[str, Any]:
        result: dict[str, Any] = module.run(client, {**OPTIONS, **options}, REGION, dry=dry)
        return result

    yield call
    call(state="absent")


def test_each_alarm_has_its_section_of_the_runbook_and_each_section_its_alarm() -> None:
    sections = re.findall(r"^## (\S+)$", (ROOT / watched.RUNBOOK).read_text(), re.MULTILINE)
    made = watched.alarms(SETTINGS)
    assert sections == [each.removeprefix("parkmesh-production-") for each in made]
    for name, alarm in made.items():
        assert alarm["AlarmDescription"].endswith(f"section {name.removeprefix('parkmesh-production-')}")
        assert alarm["AlarmActions"] == alarm["OKActions"] == [SETTINGS["topic"]]


def test_the_limits_are_those_of_the_role() -> None:
    assert tuple(LIMITS) == watched.LIMITS


def test_what_a_server_publishes_is_what_is_watched() -> None:
    text = (ROOT / "app/src/parkmesh/instance/cli.py").read_text()
    made = [alarm for alarm in watched.alarms(SETTINGS).values() if alarm.get("Namespace") == watched.NAMESPACE]
    assert len(made) == 2
    assert all(f'"{alarm["MetricName"]}"' in text for alarm in made)


def test_ids_of_load_balancers_are_left_out_of_comparisons() -> None:
    shown = str(watched.without_ids([watched.alarms(SETTINGS), watched.dashboard(SETTINGS)]))
    assert "0123456789abcdef" not in shown
    assert "app/parkmesh-production-app" in shown


def test_a_second_run_changes_nothing_and_what_was_changed_by_hand_is_told(
    run: Callable[..., dict[str, Any]], client: Client
) -> None:
    foretold = run(dry=True)
    assert client("cloudwatch").describe_alarms()["MetricAlarms"] == []
    made = run()
    assert len(made["lines"]) == len(foretold["lines"]) + 1  # and the mails, which a topic that isn't there can't tell
    assert run() == {"changed": False, "lines": [], "topic_arn": made["topic_arn"]}
    client("cloudwatch").disable_alarm_actions(AlarmNames=["watched-slots"])
    client("cloudwatch").put_dashboard(DashboardName="watched", DashboardBody='{"widgets": []}')
    told = run(dry=True)["lines"]
    assert told == [
        "alarm watched-slots has ActionsEnabled False, it should be True",
        "dashboard watched is missing or another",
    ]
    assert run()["lines"] == told
    assert run()["lines"] == []


def test_another_address_takes_the_place_of_one_that_is_not_wanted_any_more(
    run: Callable[..., dict[str, Any]],
) -> None:
    run()
    lines = run(emails=["other@example.org"])["lines"]
    assert [line.partition("-alarms ")[2] for line in lines] == [
        "doesn't mail to other@example.org",
        "mails to operations@example.org, who isn't wanted",
    ]
    assert run(emails=["other@example.org"])["lines"] == []


def test_nothing_is_left(run: Callable[..., dict[str, Any]], client: Client) -> None:
    run()
    assert run(state="absent", dry=True)["changed"]
    run(state="absent")
    assert run(state="absent") == {"changed": False, "lines": [], "topic_arn": ""}
    assert client("cloudwatch").describe_alarms()["MetricAlarms"] == []
    assert client("sns").list_topics()["Topics"] == []


@pytest.mark.parametrize(
    ("topic", "message"),
    [
        ("operations", "no ARN of a standard topic"),
        ("arn:aws:sns:eu-west-1:123456789012:a.fifo", "no ARN of a standard topic"),
        ("arn:aws:sns:us-east-1:123456789012:there", "is in us-east-1; alarms of eu-west-1"),
        ("arn:aws:sns:eu-west-1:123456789012:nowhere", "there is no topic"),
    ],
)
@pytest.mark.parametrize("state", ["checked", "present"])
def test_a_topic_that_cannot_be_used_is_refused_before_anything_is_made(
    run: Callable[..., dict[str, Any]], module: ModuleType, client: Client, topic: str, message: str, state: str
) -> None:
    with pytest.raises(module.AlarmsError, match=message):
        run(topic_arn=topic, state=state)
    assert client("cloudwatch").describe_alarms()["MetricAlarms"] == []


def test_a_topic_that_is_there_is_used_and_stays(run: Callable[..., dict[str, Any]], client: Client) -> None:
    arn = client("sns").create_topic(Name="operations")["TopicArn"]
    assert run(topic_arn=arn, state="checked")["changed"] is False
    assert run(topic_arn=arn)["topic_arn"] == arn
    run(state="absent")
    assert [each["TopicArn"] for each in client("sns").list_topics()["Topics"]] == [arn]
    client("sns").delete_topic(TopicArn=arn)


def test_the_drift_check_finds_them_as_they_should_be_and_tells_of_a_change(
    run: Callable[..., dict[str, Any]], client: Client
) -> None:
    run(name="watched")
    settings = {
        "name": "watched",
        "tags": {"Project": "watched"},
        "roll_alarms": [],
        "alarms": True,
        "alarm_topic_arn": "",
        "alarm_emails": OPTIONS["emails"],
        "alarm_limits": LIMITS,
        "region": REGION,
    }

    def lines() -> list[str]:
        reader = Reader(client, "watched", "test")
        reader.name = "watched"
        found: dict[str, Any] = {}
        service._watchers(reader, found)
        return [each["line"] for each in differences(service._watched(settings), found)]

    assert lines() == []
    client("cloudwatch").disable_alarm_actions(AlarmNames=["watched-slots"])
    client("cloudwatch").delete_alarms(AlarmNames=["watched-5xx"])
    assert sorted(lines()) == [
        "alarm watched-5xx is missing",
        "alarm watched-slots: ActionsEnabled is off; it should be on",
    ]
