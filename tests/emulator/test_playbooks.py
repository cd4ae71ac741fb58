"""The AWS playbooks on lab.aws: check, build, repeat, roll, destroy. Each test builds on those before.

What only containers can show (configuring a builder, health, a server's boot) is in molecule/site.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from botocore.exceptions import ClientError
from parkmesh.instance import measures
from parkmesh.instance.lifecycle import Actions
from parkmesh.instance.slots import Place, SlotTable, lease
from parkmesh.instance.userdata import Lifecycle

from tests.awx.jobs import Job, cancel, needs_containers

from .by_hand import LINES, changed
from .conftest import CREDENTIALS, INVENTORY, ROOT, Aws, Run, key_of
from .outcomes import LOOKS, group, launch_data, resources

NETWORK = "playbooks/provision-network.yml"
DATA = "playbooks/provision-data.yml"
BAKE = "tests/emulator/playbooks/bake.yml"
REPLACE = "tests/emulator/playbooks/replace.yml"
SERVICE = "playbooks/deploy-service.yml"
STATUS = "playbooks/show-status.yml"
CHECK_DRIFT = "playbooks/check-drift.yml"
DESTROY = "playbooks/destroy-environment.yml"
LEASE = "parkmesh-test-lease"
STEPS = [(NETWORK, ()), (DATA, ()), (BAKE, ("-e", "release=one")), (SERVICE, ())]
STEP_NAMES = ["network", "data", "image", "service"]


def readable_secrets(aws: Aws) -> list[str]:
    """Names of the secrets that an app server's own policy lets it read, without the environment's name."""
    policy = aws.client("iam").get_role_policy(RoleName="parkmesh-test-app", PolicyName="app")["PolicyDocument"]
    (statement,) = [each for each in policy["Statement"] if each["Sid"] == "ReadItsSecrets"]
    return [arn.partition(":secret:parkmesh-test-")[2] for arn in statement["Resource"]]


@pytest.fixture(scope="module")
def before(aws: Aws) -> dict[str, list[str]]:
    return resources(aws)


@pytest.fixture(scope="module")
def built(aws: Aws, before: dict[str, list[str]]) -> dict[str, Run]:
    runs = {}
    for name, (playbook, arguments) in zip(STEP_NAMES, STEPS, strict=True):
        runs[name] = aws.play(playbook, *arguments)
        assert runs[name].status == 0, runs[name].output
    return runs


@pytest.mark.parametrize(("playbook", "arguments"), STEPS, ids=STEP_NAMES)
def test_a_check_of_an_empty_environment_foretells_changes_and_makes_none(
    aws: Aws, before: dict[str, list[str]], playbook: str, arguments: tuple[str, ...]
) -> None:
    run = aws.play(playbook, "--check", *arguments)
    assert run.status == 0, run.output
    assert run.changed > 0
    assert resources(aws) == before


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (
            {"aws_service_certificate_arn": "arn:aws:acm:us-east-1:123456789012:certificate/a"},
            "must be the ARN of a certificate in eu-west-1",
        ),
        (
            {"aws_service_alarm_topic_arn": "arn:aws:sns:us-east-1:123456789012:a", "aws_service_alarm_emails": []},
            "is in us-east-1",
        ),
        (
            {"aws_service_alarm_topic_arn": "arn:aws:sns:eu-west-1:123456789012:a", "aws_service_alarm_emails": []},
            "there is no topic",
        ),
        ({"aws_service_alarm_limits": {"error_percent": 1}}, "must have numbers for errors_percent"),
        ({"aws_service_schedule": [{"name": "a", "recurrence": "8 am", "min": 3}]}, "five fields of cron"),
        ({"aws_service_schedule": [{"name": "a", "recurrence": "0 8 * * *", "min": 7}]}, "from 1 to"),
        ({"aws_service_termination_hook_s": 30}, "0 or from 90 to 7200"),
        (
            {"aws_service_instance_type": "t9.huge"},
            "eu-west-1a, eu-west-1b has no instance of type t9.huge: aws_service_instance_type",
        ),
        (
            {"aws_service_zone": "other.example", "parkmesh_public_url": "https://other.example"},
            "this account has no public hosted zone other.example",
        ),
    ],
    ids=["certificate", "region of the topic", "topic", "limit", "recurrence", "min", "hook", "type", "zone"],
)
def test_bad_input_is_refused_with_one_line_before_anything_is_made(
    aws: Aws, before: dict[str, list[str]], given: dict[str, Any], line: str
) -> None:
    run = aws.play(SERVICE, "-e", json.dumps(given))
    assert (run.failed, run.changed) == (1, 0), run.output
    assert line in " ".join(run.output.split())
    assert resources(aws) == before


def test_a_first_run_builds_everything(built: dict[str, Run]) -> None:
    assert all(run.changed > 0 for run in built.values())


@pytest.mark.parametrize("look", [look for looks in LOOKS.values() for look in looks], ids=lambda look: look.__name__)
def test_inputs_come_to_what_they_say(aws: Aws, built: dict[str, Run], look: Callable[[Aws], None]) -> None:
    look(aws)


@pytest.mark.parametrize(("playbook", "arguments"), STEPS, ids=STEP_NAMES)
def test_a_second_run_changes_nothing(
    aws: Aws, built: dict[str, Run], playbook: str, arguments: tuple[str, ...]
) -> None:
    secrets = {
        each["Name"]: each["LastChangedDate"] for each in aws.client("secretsmanager").list_secrets()["SecretList"]
    }
    run = aws.play(playbook, *arguments)
    assert (run.status, run.changed) == (0, 0), run.output
    assert secrets == {
        each["Name"]: each["LastChangedDate"] for each in aws.client("secretsmanager").list_secrets()["SecretList"]
    }


@pytest.mark.parametrize(("playbook", "arguments"), STEPS, ids=STEP_NAMES)
def test_a_check_of_a_built_environment_is_quiet(
    aws: Aws, built: dict[str, Run], playbook: str, arguments: tuple[str, ...]
) -> None:
    run = aws.play(playbook, "--check", *arguments)
    assert (run.status, run.changed) == (0, 0), run.output


def test_the_status_tells_servers_backups_and_what_it_costs(aws: Aws, built: dict[str, Run], tmp_path: Path) -> None:
    file = tmp_path / "status.json"
    run = aws.play(STATUS, "-e", f"status_file={file}")
    assert (run.status, run.changed) == (0, 0), run.output
    tree = json.loads(file.read_text())
    servers = tree["servers"]["parkmesh-test-app"]["servers"]
    assert {(each["health"], each["release"]) for each in servers.values()} == {("healthy", "one")}
    assert set(servers) == {each["InstanceId"] for each in group(aws)["Instances"]}
    assert tree["data"]["parkmesh-test-database"]["backups kept"] == "9 days"
    assert tree["environment"]["being changed by"] == "nobody"
    assert re.match("about 23", tree["cost a month"]["parkmesh-test-database (db.t4g.small)"])
    assert "not in playbooks/files/prices.yml" not in tree["cost a month"].values()
    assert "servers t3.small (2): about 30.00" in run.output


CHANGED_BY_HAND: dict[str, dict[str, tuple[str, ...]]] = {
    NETWORK: {
        "Main | Make the VPC": (),
        "Main | Make the internet gateway": (),
        "Main | Make the egress-only gateway for IPv6": (),
        "Subnets | Make a subnet of each tier in each zone": (),
        "Routes | Make the NAT gateways": (),
        "Routes | Make the public and the data route table": (),
        "Routes | Make the route tables of the app tier, one for each way out": (),
        "Routes | Reach S3 and DynamoDB without leaving the network": (),
        "Security_groups | Make the load balancer's": (),
        "Security_groups | Make the app servers'": (),
        "Security_groups | Make the database's": (),
        "Flow_logs | Keep the group and what goes there": (),
    },
    # The collection's module says nothing of a changed parameter in a check; check-drift does.
    DATA: {
        "Secrets | Make each secret, once": (),
        "Database | Make the parameter group": (),
        "Database | Make the database": (),
        "Main | Make the table of overlay slots": (),
        "Main | Let nobody lose the table": (),
    },
    SERVICE: {
        "Load_balancer | Say what is different about the target group": ("/hand", "'77'"),
        "Load_balancer | Make the load balancer": (),
        "Role | Make the role": (),
        "Role | Make the instance profile that carries it": (),
        "Main | Keep what the servers say": (),
        "Launch_template | Make the version that is wanted": (),
        "Role | Let it read its secrets and lease a slot": (),
        "Role | Remove those that are not of this role": ("second",),
        "Group | Say that a roll would follow": (),
        "Group | Make the group": (),
        "Group | Say how it launches, scales and ends servers": (),
        "Group | Say what is different about that": (
            "policy cpu is",
            "policy hand is",
            "policy requests is missing",
            "hook hand is",
            "hook launch is",
            "scheduled action hand is",
            "InstanceMaintenancePolicy is",
        ),
        "Alarms | Keep alarms, dashboard and topic": (),
        "Alarms | Say what is different about them": ("parkmesh-test-slots has ActionsEnabled False",),
    },
}
"""By playbook: what says in a check that something was changed by hand, and what it names of it."""


def test_whatever_was_changed_by_hand_is_told_and_what_the_roles_look_at_is_put_right(
    aws: Aws, built: dict[str, Run], tmp_path: Path
) -> None:
    file, playbooks = tmp_path / "drift.json", (NETWORK, DATA, SERVICE)
    with changed(aws):
        there = resources(aws)
        run = aws.play(CHECK_DRIFT, "-e", f"drift_file={file}")
        assert run.status != 0
        checked = {playbook: aws.play(playbook, "--check") for playbook in playbooks}
        assert resources(aws) == there
        for playbook in playbooks:
            run = aws.play(playbook)
            assert run.status == 0, run.output
    lines = [each["line"] for each in json.loads(file.read_text())["differences"]]
    assert [line for line in LINES if not any(re.fullmatch(line, told) for told in lines)] == []
    # What is told besides is what the widened policy lacks of the role's.
    others = [told for told in lines if not any(re.fullmatch(line, told) for line in LINES)]
    assert [told for told in others if not told.startswith("role parkmesh-test-app: policies app lacks")] == []
    assert [run.status for run in checked.values()] == [0, 0, 0]
    for playbook, changes in CHANGED_BY_HAND.items():
        output = checked[playbook].output
        tasks = {task.partition("]")[0]: task for task in output.split("TASK [")}
        said = {task.partition(" : ")[2]: text for task, text in tasks.items() if "changed: [aws]" in text}
        assert set(said) == set(changes), output
        for task, words in changes.items():
            assert all(word in said[task] for word in words), said[task]
    run = aws.play(CHECK_DRIFT)
    assert run.status == 0, run.output
    assert "No difference." in run.output


def test_a_server_may_do_what_its_code_does_and_no_more(aws: Aws, built: dict[str, Run]) -> None:
    me = group(aws)["Instances"][0]["InstanceId"]
    server, table = aws.of_role("parkmesh-test-app", me), "parkmesh-test-slots"
    aws.client("dynamodb").put_item(
        TableName=table, Item={"slot": {"N": "1"}, "address": {"S": "0123456789"}, "ip": {"S": "10.242.0.11"}}
    )
    try:
        slots = SlotTable(table, server("dynamodb"), lambda: server("ec2"))
        assert lease(slots, me, Place("10.80.80.7", "eu-west-1a")).number == 1
        assert slots.states([me]) == {me: "running"}
        with pytest.raises(ClientError, match="AccessDeniedException"):
            server("dynamodb").update_item(
                TableName=table,
                Key={"slot": {"N": "1"}},
                UpdateExpression="SET address = :address",
                ExpressionAttributeValues={":address": {"S": "9876543210"}},
            )
        assert slots.release(me) == [1]
    finally:
        aws.client("dynamodb").delete_item(TableName=table, Key={"slot": {"N": "1"}})

    actions = Actions(server("autoscaling"), Lifecycle("parkmesh-test-app", "launch", "terminate"), me)
    # Nothing waits for it: it may ask, and is told so.
    assert (actions.complete("launch"), actions.ask_for_time("launch"), actions.state()) == (False, None, "InService")
    measures.publish(server("cloudwatch"), "parkmesh-test", {"SlotsUsedPercent": 1.0})
    for name in ("database-app", "session", "smtp"):
        server("secretsmanager").get_secret_value(SecretId=f"parkmesh-test-{name}")
    for call, given in (
        (server("secretsmanager").get_secret_value, {"SecretId": "parkmesh-test-database-owner"}),
        (server("cloudwatch").put_metric_data, {"Namespace": "Other", "MetricData": [{"MetricName": "a", "Value": 1}]}),
        (server("dynamodb").scan, {"TableName": "parkmesh-test-lease"}),
        (server("dynamodb").delete_item, {"TableName": table, "Key": {"slot": {"N": "1"}}}),
        (server("ssm").get_parameter, {"Name": "/parkmesh/test/migration"}),
        (server("ec2").terminate_instances, {"InstanceIds": [me]}),
    ):
        with pytest.raises(ClientError, match="is not authorized to perform"):
            call(**given)


def test_only_what_works_as_the_owner_may_read_the_owners_password(aws: Aws, built: dict[str, Run]) -> None:
    maintenance = aws.of_role("parkmesh-test-maintenance", "i-1")
    for name in ("database-owner", "database-app"):
        maintenance("secretsmanager").get_secret_value(SecretId=f"parkmesh-test-{name}")
    ssm, name = maintenance("ssm"), "/parkmesh/test/migration"
    value = ssm.get_parameter(Name=name)["Parameter"]["Value"]
    ssm.put_parameter(Name=name, Value=value, Type="String", Overwrite=True)
    for call, given in (
        (maintenance("secretsmanager").get_secret_value, {"SecretId": "parkmesh-test-session"}),
        (maintenance("dynamodb").scan, {"TableName": "parkmesh-test-slots"}),
    ):
        with pytest.raises(ClientError, match="is not authorized to perform"):
            call(**given)


def test_a_group_that_is_larger_than_the_pool_of_slots_is_refused(aws: Aws, built: dict[str, Run]) -> None:
    dynamodb, table = aws.client("dynamodb"), "parkmesh-test-slots"
    try:
        for slot in range(1, 7):
            dynamodb.put_item(TableName=table, Item={"slot": {"N": str(slot)}})
        run = aws.play(SERVICE)
        assert run.status != 0
        assert "need 7 overlay slots, and the pool has 6: run playbooks/provision-overlay.yml first" in run.output
        dynamodb.put_item(TableName=table, Item={"slot": {"N": "7"}})
        run = aws.play(SERVICE, "--check")
        assert (run.status, run.changed) == (0, 0), run.output
    finally:
        for slot in range(1, 8):
            dynamodb.delete_item(TableName=table, Key={"slot": {"N": str(slot)}})


def test_no_run_prints_a_secret(aws: Aws, built: dict[str, Run]) -> None:
    manager = aws.client("secretsmanager")
    texts = [manager.get_secret_value(SecretId=each)["SecretString"] for each in resources(aws)["secret"]]
    secrets = [json.loads(text)["password"] if text.startswith("{") else text for text in texts]
    (given,) = [secret for secret in secrets if secret.startswith("smtp")]
    generated = [secret for secret in secrets if secret != given]
    assert [len(secret) for secret in generated] == [40, 40, 40]
    secrets.append("first-throw-away")
    assert secrets[-1] in given
    assert not [name for name, run in built.items() if any(secret in run.output for secret in secrets)]


def test_instances_are_told_what_they_need_and_no_secret(aws: Aws, built: dict[str, Run]) -> None:
    data = launch_data(aws)
    endpoint = aws.client("rds").describe_db_instances()["DBInstances"][0]["Endpoint"]
    told = json.loads(base64.b64decode(data["UserData"]))
    assert re.fullmatch(r"[0-9a-f]{16}", told["mail"].pop("secret_digest"))
    assert told == {
        "project": "parkmesh",
        "environment": "test",
        "region": "eu-west-1",
        "aws_endpoint_url": "https://aws.parkmesh.example",
        "database": {
            "host": endpoint["Address"],
            "port": 5432,
            "name": "parkmesh",
            "app_secret_id": "parkmesh-test-database-app",
        },
        "session_secret_id": "parkmesh-test-session",
        "public_url": "http://parkmesh.example",
        "mail": {
            "secret_id": "parkmesh-test-smtp",
            "sender": "Parking <parking@parkmesh.example>",
            "reply_to": "desk@parkmesh.example",
        },
        "overlay": {
            "slot_table": "parkmesh-test-slots",
            "slot_secret_prefix": "parkmesh-test-overlay-slot-",
        },
        "lifecycle": {"group": "parkmesh-test-app", "launch_hook": "launch", "termination_hook": "terminate"},
        "measures": True,
    }
    assert data["MetadataOptions"]["HttpTokens"] == "required"


def test_instances_may_read_what_they_are_told_of(aws: Aws, built: dict[str, Run]) -> None:
    assert readable_secrets(aws) == [
        "database-app-??????",
        "session-??????",
        "overlay-slot-*-??????",
        "smtp-??????",
    ]


def smtp_url(aws: Aws) -> str:
    return str(aws.client("secretsmanager").get_secret_value(SecretId="parkmesh-test-smtp")["SecretString"])


def mail_digest(aws: Aws) -> str:
    return str(json.loads(base64.b64decode(launch_data(aws)["UserData"]))["mail"]["secret_digest"])


def test_the_mail_server_s_address_follows_its_file_and_servers_follow_it(
    aws: Aws, built: dict[str, Run], tmp_path: Path
) -> None:
    digest = mail_digest(aws)
    first, second = smtp_url(aws), "smtps://mailer:second-throw-away@smtp.parkmesh.example"
    assert first == "smtp+starttls://mailer:first-throw-away@smtp.parkmesh.example:587"
    file = tmp_path / "smtp-url"
    file.write_text(f"{second}\n")
    another = ("-e", f"aws_data_smtp_url_file={file}")
    run = aws.play(DATA, "--check", *another)
    assert (run.status, run.changed, smtp_url(aws)) == (0, 1, first), run.output
    run = aws.play(DATA, *another)
    assert (run.status, run.changed, smtp_url(aws)) == (0, 1, second), run.output
    assert "second-throw-away" not in run.output
    run = aws.play(DATA, *another)
    assert (run.status, run.changed) == (0, 0), run.output
    run = aws.play(SERVICE)
    assert run.status == 0, run.output
    assert "second-throw-away" not in run.output
    assert mail_digest(aws) != digest
    # The digest of the address alone would let whoever sees it try passwords.
    assert mail_digest(aws) not in {hashlib.sha256(text.encode()).hexdigest()[:16] for text in (first, second)}
    run = aws.play(SERVICE)
    assert (run.status, run.changed) == (0, 0), run.output
    # Without a file the secret stays, for servers of the present version read it when they boot.
    run = aws.play(DATA, "-e", "aws_data_smtp_url_file=")
    assert (run.status, run.changed, smtp_url(aws)) == (0, 0, second), run.output


@pytest.mark.parametrize(
    "text",
    [
        "",
        "smtp.parkmesh.example:587",
        "smtp+starttls://mailer:throw@away@smtp.parkmesh.example",
        "smtp://mailer:throw-away@10.1.2.3",
        "smtp://smtp.parkmesh.example",
    ],
)
def test_an_address_that_no_server_could_use_is_refused_and_not_shown(
    aws: Aws, built: dict[str, Run], tmp_path: Path, text: str
) -> None:
    file = tmp_path / "smtp-url"
    file.write_text(text)
    before = smtp_url(aws)
    run = aws.play(DATA, "-e", f"aws_data_smtp_url_file={file}")
    assert run.status != 0
    assert f"The first line of {file} (aws_data_smtp_url_file) isn't of the form" in run.output
    assert "throw" not in run.output.replace(str(file), "")
    assert smtp_url(aws) == before


def test_without_a_sender_servers_are_told_of_no_mails(aws: Aws, built: dict[str, Run]) -> None:
    def migrations() -> int:
        """How many instances have migrated the database; those that have ended are listed for a while."""
        filters = [{"Name": "tag:Role", "Values": ["maintenance"]}]
        return len(aws.client("ec2").describe_instances(Filters=filters)["Reservations"])

    before = migrations()
    given = {"aws_service_mail_from": "", "aws_service_migrate_always": True, "aws_service_alarm_emails": []}
    run = aws.play(SERVICE, "-e", json.dumps(given))
    assert run.status == 0, run.output
    assert aws.client("sns").list_subscriptions()["Subscriptions"] == []
    assert migrations() == before + 1, "though this image has migrated this database"
    assert "mail" not in json.loads(base64.b64decode(launch_data(aws)["UserData"]))
    assert "smtp-??????" not in readable_secrets(aws)


def test_servers_that_could_not_read_where_to_send_mails_are_not_started(aws: Aws, built: dict[str, Run]) -> None:
    manager, address, version = aws.client("secretsmanager"), smtp_url(aws), launch_data(aws)
    manager.delete_secret(SecretId="parkmesh-test-smtp", ForceDeleteWithoutRecovery=True)
    run = aws.play(SERVICE)
    assert run.status != 0
    assert "there is no secret parkmesh-test-smtp" in run.output
    run = aws.play(SERVICE, "-e", '{"aws_service_mail_from": "Parking"}')
    assert run.status != 0
    assert "must be an e-mail address" in run.output
    assert launch_data(aws) == version
    assert aws.play(DATA).status == 0
    assert smtp_url(aws) != address


def test_each_tier_is_reached_from_the_one_above_only(aws: Aws, built: dict[str, Run]) -> None:
    groups = {
        each["GroupName"].removeprefix("parkmesh-test-"): each
        for each in aws.client("ec2").describe_security_groups()["SecurityGroups"]
        if each["GroupName"].startswith("parkmesh-test-")
    }
    admitted = {
        name: sorted(
            (rule["FromPort"], source)
            for rule in each["IpPermissions"]
            for source in [
                *(pair["GroupId"] for pair in rule["UserIdGroupPairs"]),
                *(block["CidrIp"] for block in rule["IpRanges"]),
                *(block["CidrIpv6"] for block in rule["Ipv6Ranges"]),
            ]
        )
        for name, each in groups.items()
    }
    assert admitted == {
        "alb": [(80, "0.0.0.0/0"), (80, "::/0"), (443, "0.0.0.0/0"), (443, "::/0")],
        "app": [(8000, groups["alb"]["GroupId"])],
        "data": [(5432, groups["app"]["GroupId"])],
    }
    assert groups["data"]["IpPermissionsEgress"] == []


FRONT = {
    "parkmesh_public_url": "https://parkmesh.example",
    "aws_service_zone": "parkmesh.example",
    "aws_service_access_logs_days": 30,
    "aws_service_firewall": True,
    "aws_service_firewall_requests": 1500,
    "aws_service_tls_policy": "ELBSecurityPolicy-TLS13-1-2-Res-2021-06",
}
"""All that the service may have before its servers."""


def names_in_dns(aws: Aws, zone: str) -> list[str]:
    listed = aws.client("route53").list_resource_record_sets(HostedZoneId=zone)["ResourceRecordSets"]
    return sorted(f"{each['Type']} {each['Name']}" for each in listed if each["Type"] not in ("NS", "SOA"))


@pytest.fixture(scope="module")
def zone(aws: Aws) -> str:
    made = aws.client("route53").create_hosted_zone(Name="parkmesh.example", CallerReference="1")
    identifier: str = made["HostedZone"]["Id"]
    return identifier


def test_in_a_zone_all_is_encrypted_named_and_guarded_and_the_api_is_not_redirected(
    aws: Aws, built: dict[str, Run], zone: str
) -> None:
    encrypted = ("-e", json.dumps(FRONT))
    run = aws.play(SERVICE, *encrypted)
    assert run.status == 0, run.output
    (certificate,) = resources(aws)["certificate"]
    assert [each.split()[0] for each in names_in_dns(aws, zone)] == ["A", "AAAA", "CNAME"]
    assert resources(aws)["web ACL"] == ["parkmesh-test-app"]
    waf = aws.client("wafv2")
    (listed,) = waf.list_web_acls(Scope="REGIONAL")["WebACLs"]
    wall = waf.get_web_acl(Name=listed["Name"], Scope="REGIONAL", Id=listed["Id"])["WebACL"]
    limits = [rule["Statement"].get("RateBasedStatement", {}).get("Limit") for rule in wall["Rules"]]
    assert 1500 in limits
    assert "parkmesh-test-access-logs-123456789012" in resources(aws)["bucket"]
    # What a load balancer writes there goes with the bucket in the end.
    aws.client("s3").put_object(Bucket="parkmesh-test-access-logs-123456789012", Key="AWSLogs/log.gz", Body=b"log")
    elb = aws.client("elbv2")
    (balancer,) = elb.describe_load_balancers()["LoadBalancers"]
    listeners = {
        each["Port"]: each for each in elb.describe_listeners(LoadBalancerArn=balancer["LoadBalancerArn"])["Listeners"]
    }
    assert listeners[443]["SslPolicy"] == FRONT["aws_service_tls_policy"]
    assert listeners[443]["Certificates"][0]["CertificateArn"] == certificate
    (policy,) = elb.describe_ssl_policies(Names=[listeners[443]["SslPolicy"]])["SslPolicies"]
    assert set(policy["SslProtocols"]) == {"TLSv1.2", "TLSv1.3"}
    # Forward secrecy, and encryption that authenticates: those of TLS 1.3 always are.
    weak = [
        cipher["Name"]
        for cipher in policy["Ciphers"]
        if not cipher["Name"].startswith("TLS_") and not ("ECDHE-" in cipher["Name"] and "-GCM-" in cipher["Name"])
    ]
    assert weak == []
    (default,) = listeners[80]["DefaultActions"]
    assert (default["Type"], default["RedirectConfig"]["Protocol"]) == ("redirect", "HTTPS")
    rules = elb.describe_rules(ListenerArn=listeners[80]["ListenerArn"])["Rules"]
    (api,) = [rule for rule in rules if not rule["IsDefault"]]
    assert [condition["Values"] for condition in api["Conditions"]] == [["/api/*"]]
    assert api["Actions"][0]["FixedResponseConfig"]["StatusCode"] == "403"
    run = aws.play(SERVICE, *encrypted)
    assert (run.status, run.changed) == (0, 0), run.output
    run = aws.play(CHECK_DRIFT, *encrypted)
    assert run.status == 0, run.output


def test_an_unfinished_builder_is_as_asked_becomes_no_image_and_goes(
    aws: Aws, built: dict[str, Run], tmp_path: Path
) -> None:
    images, instances = resources(aws)["image"], resources(aws)["instance"]
    key = tmp_path / "agent.asc"
    key.write_text("-----BEGIN PGP PUBLIC KEY BLOCK-----\n\na1b2c3\n-----END PGP PUBLIC KEY BLOCK-----\n")
    asked = {
        "aws_image_instance_type": "t3.medium",
        "aws_image_instance_profile": "parkmesh-test-app",
        "aws_image_agent_key_file": str(key),
    }
    run = aws.play(BAKE, "-e", "release=broken", "-e", "sealed=false", "-e", json.dumps(asked))
    assert run.status != 0
    assert "was not configured and sealed" in run.output
    assert (resources(aws)["image"], resources(aws)["instance"]) == (images, instances)
    ec2 = aws.client("ec2")
    reservations = ec2.describe_instances(Filters=[{"Name": "tag:Role", "Values": ["builder"]}])["Reservations"]
    builder = max((each for one in reservations for each in one["Instances"]), key=lambda each: each["LaunchTime"])
    assert (builder["State"]["Name"], builder["InstanceType"]) == ("terminated", "t3.medium")
    data = ec2.describe_instance_attribute(InstanceId=builder["InstanceId"], Attribute="userData")["UserData"]
    assert "a1b2c3" in base64.b64decode(data["Value"]).decode()


def test_no_builder_is_started_where_there_is_no_base_image(aws: Aws, built: dict[str, Run]) -> None:
    run = aws.play(BAKE, "-e", "release=unreached", "-e", "aws_image_base_owner=123456789012")
    assert run.status != 0
    assert "has no image named debian-13-amd64-* of account 123456789012" in " ".join(run.output.split())


def test_no_builder_is_started_where_session_manager_s_plugin_is_missing(
    aws: Aws, built: dict[str, Run], tmp_path: Path
) -> None:
    plugin = tmp_path / "session-manager-plugin"
    connection = {"ansible_connection": "amazon.aws.aws_ssm", "ansible_aws_ssm_plugin": str(plugin)}
    standing = resources(aws)["instance"]
    given = ("-e", "release=unreached", "-e", json.dumps({"builder_connection_vars": connection}))
    run = aws.play(BAKE, *given)
    assert run.status != 0
    assert f"there is no {plugin} on this control node" in " ".join(run.output.split())
    assert resources(aws)["instance"] == standing


@contextlib.contextmanager
def job(aws: Aws, **answers: object) -> Iterator[Job]:
    """A job of AWX that works on this environment, in which there is a lease."""
    every, hosts = (yaml.safe_load((INVENTORY / f"group_vars/{name}.yml").read_text()) for name in ("all", "aws"))
    mine = {
        "aws_endpoint_url": aws.url,
        "ansible_python_interpreter": aws.python,
        "environment_lease_table": LEASE,
        "aws_service_mail_from": hosts["aws_service_mail_from"],
    }
    with tempfile.TemporaryDirectory(prefix="parkmesh-job-") as folder:
        given = Job(Path(folder) / "data", ROOT)
        given.inventory(
            {
                "_meta": {"hostvars": {"aws": {}}},
                "all": {"children": ["aws", "builder"], "vars": every},
                "aws": {"hosts": ["aws"], "vars": {**hosts, **mine}},
                "builder": {"hosts": []},
            }
        )
        given.answers(**answers)
        yield given


ROLL = {
    "aws_service_roll_checkpoints": [50],
    "aws_service_roll_checkpoint_delay_s": 1,
    "aws_service_roll_bake_s": 1,
    "aws_service_roll_alarms": ["parkmesh-test-slots"],
}


def refused(aws: Aws, number: int, *, contained: bool) -> str:
    """What a job says that may not change the environment now: in a task before it has asked AWS for anything else."""
    with job(aws, awx_job_id=number) as second:
        environment = {**CREDENTIALS, "AWS_ACCESS_KEY_ID": key_of(NETWORK)}
        done = second.run(NETWORK, environment, user=0, contained=contained)
        assert done.returncode == 2, done.stdout
        failed = [event["event_data"] for event in second.events() if event["event"] == "runner_on_failed"]
        assert [each["task"] for each in failed] == ["Hold lease | Let nobody else change the environment meanwhile"]
        assert not [event for event in second.events() if event.get("event_data", {}).get("role") == "aws_network"]
        line: str = failed[0]["res"]["msg"]
        return line


def test_a_job_that_is_cancelled_in_the_middle_of_a_roll_is_named_by_the_next_and_its_roll_goes_on(
    aws: Aws, built: dict[str, Run]
) -> None:
    needs_containers()
    # As many servers as somebody chose.
    aws.client("autoscaling").set_desired_capacity(AutoScalingGroupName="parkmesh-test-app", DesiredCapacity=3)
    assert aws.play(BAKE, "-e", '{"release": "two", "aws_image_more_tags": {"Digest": "a1b2c3"}}').status == 0
    held = (
        r"The environment is being changed: ana \(job 41 of AWX\) runs Deploy the service since 20[^,]+, last heard of "
        r"at 20[^,]+ UTC\. Wait for its end\. If that run is dead, add -e take_over_lease=true\."
    )
    with aws.faults(refreshes_wait=True):
        with job(aws, awx_job_id=41, awx_user_name="ana", **ROLL) as first:
            environment = {**CREDENTIALS, "AWS_ACCESS_KEY_ID": key_of(SERVICE)}
            with first.started(SERVICE, environment, user=0, contained=True) as process:
                while "The roll to version" not in first.shown:
                    assert process.poll() is None, first.shown
                    time.sleep(0.1)
                # Two jobs at once. Both containers have the name of one host, and neither sees the other's processes.
                assert re.fullmatch(held, refused(aws, 42, contained=True))
                cancel(process)
            # AWX kills a container with all that is in it: nobody was left to give the lease back. Another may
            # have the number of the one that is gone, and know by it that the job is dead.
            assert re.fullmatch(held, refused(aws, 43, contained=False))
        taking = ("-e", f"environment_lease_table={LEASE}", "-e", "take_over_lease=true")
        after = subprocess.Popen(
            **aws.command(SERVICE, *taking), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        assert after.stdout is not None
        said = ""
        while "The roll to version" not in said:
            line = after.stdout.readline()
            assert line, said
            said += line
    # Now the roll goes on, which is the first job's: the group has one.
    said += after.communicate()[0]
    assert after.returncode == 0, said
    assert "Taken over: ana (job 41 of AWX) runs Deploy the service since" in " ".join(said.split())
    refreshes = aws.client("autoscaling").describe_instance_refreshes(AutoScalingGroupName="parkmesh-test-app")
    assert [each["Status"] for each in refreshes["InstanceRefreshes"]][:1] == ["Successful"]
    preferences = refreshes["InstanceRefreshes"][0]["Preferences"]
    assert (preferences["CheckpointPercentages"], preferences["CheckpointDelay"]) == ([50, 100], 1)
    assert (preferences["BakeTime"], preferences["AlarmSpecification"]["Alarms"]) == (1, ["parkmesh-test-slots"])
    versions = [each["DesiredConfiguration"]["LaunchTemplate"]["Version"] for each in refreshes["InstanceRefreshes"]]
    assert len(versions) == len(set(versions))
    run = aws.play(SERVICE)
    assert (run.status, run.changed) == (0, 0), run.output
    aws.client("dynamodb").delete_table(TableName=LEASE)

    # The same runs took away the certificate and the firewall of the test before.
    assert resources(aws)["web ACL"] == []
    elb = aws.client("elbv2")
    (balancer,) = elb.describe_load_balancers()["LoadBalancers"]
    listeners = elb.describe_listeners(LoadBalancerArn=balancer["LoadBalancerArn"])["Listeners"]
    assert [each["Port"] for each in listeners] == [80]
    assert [rule["IsDefault"] for rule in elb.describe_rules(ListenerArn=listeners[0]["ListenerArn"])["Rules"]] == [
        True
    ]
    (newest,) = [
        each["ImageId"]
        for each in aws.client("ec2").describe_images(Owners=["self"])["Images"]
        if all(
            tag in each["Tags"] for tag in ({"Key": "Release", "Value": "two"}, {"Key": "Digest", "Value": "a1b2c3"})
        )
    ]
    members = [each["InstanceId"] for each in group(aws)["Instances"]]
    reservations = aws.client("ec2").describe_instances(InstanceIds=members)["Reservations"]
    assert [each["ImageId"] for reservation in reservations for each in reservation["Instances"]] == [newest] * 3


def test_servers_of_the_present_version_are_replaced_when_asked_and_never_beside_a_roll(
    aws: Aws, built: dict[str, Run]
) -> None:
    scaling, name = aws.client("autoscaling"), "parkmesh-test-app"
    preferences = {"MinHealthyPercentage": 100, "MaxHealthyPercentage": 150, "InstanceWarmup": 3600}
    scaling.start_instance_refresh(AutoScalingGroupName=name, Preferences=preferences)
    run = aws.play(REPLACE)
    assert run.status != 0
    assert "is being rolled already" in run.output
    scaling.cancel_instance_refresh(AutoScalingGroupName=name)
    deadline = time.monotonic() + 30
    while (
        scaling.describe_instance_refreshes(AutoScalingGroupName=name)["InstanceRefreshes"][0]["Status"] != "Cancelled"
    ):
        assert time.monotonic() < deadline
        time.sleep(0.2)
    before = {each["InstanceId"] for each in group(aws)["Instances"]}
    run = aws.play(REPLACE)
    assert run.status == 0, run.output
    after = {each["InstanceId"] for each in group(aws)["Instances"]}
    assert len(after) == len(before)
    assert not before & after


def test_images_that_were_never_deployed_don_t_push_out_the_one_in_use(aws: Aws, built: dict[str, Run]) -> None:
    in_use = group(aws)["Instances"][0]["InstanceId"]
    (reservation,) = aws.client("ec2").describe_instances(InstanceIds=[in_use])["Reservations"]
    for release in ("three", "four"):
        run = aws.play(BAKE, "-e", f"release={release}")
        assert run.status == 0, run.output
    standing = resources(aws)["image"]
    assert reservation["Instances"][0]["ImageId"] in standing
    assert len(standing) == 3, "the two to keep and the one in use; the others went"


def test_destroying_needs_the_name_of_what_goes(aws: Aws, built: dict[str, Run]) -> None:
    standing = resources(aws)
    run = aws.play(DESTROY, "-e", "destroy_confirm=parkmesh-production")
    assert run.status != 0
    assert "destroy_confirm=parkmesh-test" in run.output
    assert resources(aws) == standing


def test_destroying_leaves_nothing(aws: Aws, before: dict[str, list[str]], built: dict[str, Run], zone: str) -> None:
    run = aws.play(DESTROY, "-e", "destroy_confirm=parkmesh-test", "-e", "destroy_protected=true")
    assert run.status == 0, run.output
    assert resources(aws) == before
    assert names_in_dns(aws, zone) == []


def test_destroying_nothing_changes_nothing(aws: Aws, built: dict[str, Run]) -> None:
    run = aws.play(DESTROY, "-e", "destroy_confirm=parkmesh-test", "-e", "destroy_protected=true")
    assert (run.status, run.changed) == (0, 0), run.output
