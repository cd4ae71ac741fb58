"""The AWS playbooks on lab.aws: check, build, repeat, roll, destroy. Each test builds on those before.

What only containers can show (configuring a builder, health, a server's boot) is in molecule/site.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from parkmesh.instance import measures
from parkmesh.instance.lifecycle import Actions
from parkmesh.instance.slots import Place, SlotTable, lease
from parkmesh.instance.userdata import Lifecycle

from .by_hand import LINES, changed
from .conftest import Aws, Run

NETWORK = "playbooks/provision-network.yml"
DATA = "playbooks/provision-data.yml"
BAKE = "tests/emulator/playbooks/bake.yml"
REPLACE = "tests/emulator/playbooks/replace.yml"
SERVICE = "playbooks/deploy-service.yml"
STATUS = "playbooks/show-status.yml"
CHECK_DRIFT = "playbooks/check-drift.yml"
DESTROY = "playbooks/destroy-environment.yml"
STEPS = [(NETWORK, ()), (DATA, ()), (BAKE, ("-e", "release=one")), (SERVICE, ())]
STEP_NAMES = ["network", "data", "image", "service"]


def resources(aws: Aws) -> dict[str, list[str]]:
    """Every kind of resource that the playbooks can make, by its identifiers."""
    ec2, elb, rds = aws.client("ec2"), aws.client("elbv2"), aws.client("rds")
    nat = ec2.describe_nat_gateways()["NatGateways"]
    instances = [each for group in ec2.describe_instances()["Reservations"] for each in group["Instances"]]
    found: dict[str, list[str]] = {
        "vpc": [each["VpcId"] for each in ec2.describe_vpcs()["Vpcs"]],
        "subnet": [each["SubnetId"] for each in ec2.describe_subnets()["Subnets"]],
        "route table": [each["RouteTableId"] for each in ec2.describe_route_tables()["RouteTables"]],
        "internet gateway": [
            each["InternetGatewayId"] for each in ec2.describe_internet_gateways()["InternetGateways"]
        ],
        "egress gateway": [
            each["EgressOnlyInternetGatewayId"]
            for each in ec2.describe_egress_only_internet_gateways()["EgressOnlyInternetGateways"]
        ],
        "nat gateway": [each["NatGatewayId"] for each in nat if each["State"] != "deleted"],
        "address": [each["AllocationId"] for each in ec2.describe_addresses()["Addresses"]],
        "endpoint": [
            each["VpcEndpointId"]
            for each in ec2.describe_vpc_endpoints()["VpcEndpoints"]
            if each["State"].lower() != "deleted"
        ],
        "security group": [each["GroupId"] for each in ec2.describe_security_groups()["SecurityGroups"]],
        "network interface": [
            each["NetworkInterfaceId"] for each in ec2.describe_network_interfaces()["NetworkInterfaces"]
        ],
        "instance": [each["InstanceId"] for each in instances if each["State"]["Name"] != "terminated"],
        "volume": [each["VolumeId"] for each in ec2.describe_volumes()["Volumes"]],
        "image": [each["ImageId"] for each in ec2.describe_images(Owners=["self"])["Images"]],
        "snapshot": [each["SnapshotId"] for each in ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]],
        "launch template": [each["LaunchTemplateId"] for each in ec2.describe_launch_templates()["LaunchTemplates"]],
        "group": [
            each["AutoScalingGroupName"]
            for each in aws.client("autoscaling").describe_auto_scaling_groups()["AutoScalingGroups"]
        ],
        "load balancer": [each["LoadBalancerArn"] for each in elb.describe_load_balancers()["LoadBalancers"]],
        "target group": [each["TargetGroupArn"] for each in elb.describe_target_groups()["TargetGroups"]],
        "database": [each["DBInstanceIdentifier"] for each in rds.describe_db_instances()["DBInstances"]],
        "database snapshot": [each["DBSnapshotIdentifier"] for each in rds.describe_db_snapshots()["DBSnapshots"]],
        "database subnets": [each["DBSubnetGroupName"] for each in rds.describe_db_subnet_groups()["DBSubnetGroups"]],
        "database parameters": [
            each["DBParameterGroupName"] for each in rds.describe_db_parameter_groups()["DBParameterGroups"]
        ],
        "table": aws.client("dynamodb").list_tables()["TableNames"],
        "secret": [each["Name"] for each in aws.client("secretsmanager").list_secrets()["SecretList"]],
        "parameter": [each["Name"] for each in aws.client("ssm").describe_parameters()["Parameters"]],
        "role": [each["RoleName"] for each in aws.client("iam").list_roles()["Roles"]],
        "alarm": [each["AlarmName"] for each in aws.client("cloudwatch").describe_alarms()["MetricAlarms"]],
        "dashboard": [each["DashboardName"] for each in aws.client("cloudwatch").list_dashboards()["DashboardEntries"]],
        "topic": [each["TopicArn"] for each in aws.client("sns").list_topics()["Topics"]],
        "bucket": [each["Name"] for each in aws.client("s3").list_buckets()["Buckets"]],
        "certificate": [
            each["CertificateArn"] for each in aws.client("acm").list_certificates()["CertificateSummaryList"]
        ],
        "web ACL": [each["Name"] for each in aws.client("wafv2").list_web_acls(Scope="REGIONAL")["WebACLs"]],
        "instance profile": [
            each["InstanceProfileName"] for each in aws.client("iam").list_instance_profiles()["InstanceProfiles"]
        ],
    }
    return {kind: sorted(identifiers) for kind, identifiers in found.items()}


def group(aws: Aws) -> dict[str, Any]:
    answer = aws.client("autoscaling").describe_auto_scaling_groups(AutoScalingGroupNames=["parkmesh-test-app"])
    found: dict[str, Any] = answer["AutoScalingGroups"][0]
    return found


def launch_data(aws: Aws) -> dict[str, Any]:
    """What the launch template's newest version says."""
    (version,) = aws.client("ec2").describe_launch_template_versions(
        LaunchTemplateName="parkmesh-test-app", Versions=["$Latest"]
    )["LaunchTemplateVersions"]
    data: dict[str, Any] = version["LaunchTemplateData"]
    return data


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
        ({"aws_service_alarm_topic_arn": "arn:aws:sns:us-east-1:123456789012:a"}, "is in us-east-1"),
        ({"aws_service_alarm_topic_arn": "arn:aws:sns:eu-west-1:123456789012:a"}, "there is no topic"),
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


def test_a_check_for_drift_tells_whatever_was_changed_by_hand_and_changes_nothing(
    aws: Aws, built: dict[str, Run], tmp_path: Path
) -> None:
    file = tmp_path / "drift.json"
    with changed(aws):
        there = resources(aws)
        run = aws.play(CHECK_DRIFT, "-e", f"drift_file={file}")
        assert run.status != 0
        assert resources(aws) == there
    lines = [each["line"] for each in json.loads(file.read_text())["differences"]]
    assert [line for line in LINES if not any(re.fullmatch(line, told) for told in lines)] == []
    # What is told besides is what the widened policy lacks of the role's.
    others = [told for told in lines if not any(re.fullmatch(line, told) for line in LINES)]
    assert [told for told in others if not told.startswith("role parkmesh-test-app: policies app lacks")] == []
    # Everything was put back.
    run = aws.play(CHECK_DRIFT)
    assert run.status == 0, run.output
    assert "No difference." in run.output


def test_the_status_tells_servers_backups_and_what_it_costs(aws: Aws, built: dict[str, Run], tmp_path: Path) -> None:
    file = tmp_path / "status.json"
    run = aws.play(STATUS, "-e", f"status_file={file}")
    assert (run.status, run.changed) == (0, 0), run.output
    tree = json.loads(file.read_text())
    servers = tree["servers"]["parkmesh-test-app"]["servers"]
    assert {(each["health"], each["release"]) for each in servers.values()} == {("healthy", "one")}
    assert set(servers) == {each["InstanceId"] for each in group(aws)["Instances"]}
    assert tree["data"]["parkmesh-test-database"]["backups kept"] == "14 days"
    assert tree["environment"]["being changed by"] == "nobody"
    assert re.match("about 47", tree["cost a month"]["parkmesh-test-database (db.t4g.medium)"])
    assert "not in playbooks/files/prices.yml" not in tree["cost a month"].values()
    assert "servers t3.small (2): about 30.00" in run.output


CHANGED_BY_HAND = {
    "Load_balancer | Say what is different about the target group": ("/hand", "'77'"),
    "Load_balancer | Make the load balancer": (),
    "Role | Make the role": (),
    "Role | Let it read its secrets and lease a slot": (),
    "Role | Remove those that are not of this role": ("everything",),
    "Group | Make the group": (),
    "Group | Say how it launches, scales and ends servers": (),
    "Group | Say what is different about that": (
        "policy cpu is",
        "policy hand is",
        "hook launch is missing",
        "scheduled action hand is",
        "DefaultInstanceWarmup is 77",
    ),
    "Alarms | Keep alarms, dashboard and topic": (),
    "Alarms | Say what is different about them": ("parkmesh-test-slots has ActionsEnabled False",),
}
"""What says in a check that something was changed by hand, and what it names of it."""


def test_what_was_changed_by_hand_is_said_by_a_check_and_put_right_by_a_run(aws: Aws, built: dict[str, Run]) -> None:
    elb, iam, scaling, name = aws.client("elbv2"), aws.client("iam"), aws.client("autoscaling"), "parkmesh-test-app"
    everything = {
        "Version": "2012-10-17",
        "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}],
    }

    def state() -> dict[str, Any]:
        (target_group,) = elb.describe_target_groups(Names=[name])["TargetGroups"]
        attributes = elb.describe_target_group_attributes(TargetGroupArn=target_group["TargetGroupArn"])["Attributes"]
        balancer = target_group["LoadBalancerArns"][0]
        found = group(aws)
        policies = iam.list_role_policies(RoleName=name)["PolicyNames"]
        return {
            "target group": {key: target_group[key] for key in target_group if key.startswith(("Health", "Unhealthy"))},
            "attributes": {each["Key"]: each["Value"] for each in attributes},
            "listeners": sorted(each["Port"] for each in elb.describe_listeners(LoadBalancerArn=balancer)["Listeners"]),
            "managed policies": iam.list_attached_role_policies(RoleName=name)["AttachedPolicies"],
            "policies": {
                each: iam.get_role_policy(RoleName=name, PolicyName=each)["PolicyDocument"] for each in policies
            },
            "group": (found["MaxSize"], found["HealthCheckGracePeriod"], found["SuspendedProcesses"]),
            "alarms": {
                each["AlarmName"]: each["ActionsEnabled"]
                for each in aws.client("cloudwatch").describe_alarms()["MetricAlarms"]
            },
            "rules": (
                found["DefaultInstanceWarmup"],
                scaling.describe_policies(AutoScalingGroupName=name)["ScalingPolicies"],
                sorted(
                    scaling.describe_lifecycle_hooks(AutoScalingGroupName=name)["LifecycleHooks"],
                    key=lambda hook: str(hook["LifecycleHookName"]),
                ),
                scaling.describe_scheduled_actions(AutoScalingGroupName=name)["ScheduledUpdateGroupActions"],
            ),
        }

    as_built = state()
    (target_group,) = elb.describe_target_groups(Names=[name])["TargetGroups"]
    arn = target_group["TargetGroupArn"]
    elb.modify_target_group(TargetGroupArn=arn, HealthCheckPath="/hand")
    elb.modify_target_group_attributes(
        TargetGroupArn=arn, Attributes=[{"Key": "deregistration_delay.timeout_seconds", "Value": "77"}]
    )
    elb.create_listener(
        LoadBalancerArn=target_group["LoadBalancerArns"][0],
        Protocol="HTTP",
        Port=8080,
        DefaultActions=[{"Type": "forward", "TargetGroupArn": arn}],
    )
    managed = iam.create_policy(PolicyName="by-hand", PolicyDocument=json.dumps(everything))["Policy"]["Arn"]
    iam.attach_role_policy(RoleName=name, PolicyArn=managed)
    for policy in ("app", "everything"):
        iam.put_role_policy(RoleName=name, PolicyName=policy, PolicyDocument=json.dumps(everything))
    scaling.update_auto_scaling_group(AutoScalingGroupName=name, MaxSize=77, HealthCheckGracePeriod=7)

    scaling.suspend_processes(AutoScalingGroupName=name, ScalingProcesses=["Terminate"])
    scaling.update_auto_scaling_group(AutoScalingGroupName=name, DefaultInstanceWarmup=77)
    aws.client("cloudwatch").disable_alarm_actions(AlarmNames=["parkmesh-test-slots"])
    scaling.put_scaling_policy(
        AutoScalingGroupName=name,
        PolicyName="cpu",
        PolicyType="TargetTrackingScaling",
        TargetTrackingConfiguration={
            "TargetValue": 99,
            "PredefinedMetricSpecification": {"PredefinedMetricType": "ASGAverageCPUUtilization"},
        },
    )
    scaling.put_scaling_policy(
        AutoScalingGroupName=name, PolicyName="hand", AdjustmentType="ChangeInCapacity", ScalingAdjustment=1
    )
    scaling.delete_lifecycle_hook(AutoScalingGroupName=name, LifecycleHookName="launch")
    scaling.put_scheduled_update_group_action(
        AutoScalingGroupName=name, ScheduledActionName="hand", Recurrence="0 8 * * *", MinSize=3
    )

    by_hand = state()
    assert {key for key in as_built if as_built[key] != by_hand[key]} == set(as_built)
    checked = aws.play(SERVICE, "--check")
    assert checked.status == 0, checked.output
    tasks = {task.partition("]")[0]: task for task in checked.output.split("TASK [")}
    said = {task.partition(" : ")[2]: text for task, text in tasks.items() if "changed: [aws]" in text}
    assert set(said) == set(CHANGED_BY_HAND), checked.output
    for task, words in CHANGED_BY_HAND.items():
        assert all(word in said[task] for word in words), said[task]
    assert state() == by_hand

    run = aws.play(SERVICE)
    assert run.status == 0, run.output
    assert state() == as_built
    iam.delete_policy(PolicyArn=managed)
    assert aws.play(SERVICE, "--check").changed == 0


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
        for slot in range(1, 9):
            dynamodb.put_item(TableName=table, Item={"slot": {"N": str(slot)}})
        run = aws.play(SERVICE)
        assert run.status != 0
        assert "need 9 overlay slots, and the pool has 8: run playbooks/provision-overlay.yml first" in run.output
        dynamodb.put_item(TableName=table, Item={"slot": {"N": "9"}})
        run = aws.play(SERVICE, "--check")
        assert (run.status, run.changed) == (0, 0), run.output
    finally:
        for slot in range(1, 10):
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
        "aws_endpoint_url": None,
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
            "reply_to": None,
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
    run = aws.play(SERVICE, "-e", "aws_service_mail_from=")
    assert run.status == 0, run.output
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
    assert "parkmesh-test-access-logs-123456789012" in resources(aws)["bucket"]
    # What a load balancer writes there goes with the bucket in the end.
    aws.client("s3").put_object(Bucket="parkmesh-test-access-logs-123456789012", Key="AWSLogs/log.gz", Body=b"log")
    elb = aws.client("elbv2")
    (balancer,) = elb.describe_load_balancers()["LoadBalancers"]
    listeners = {
        each["Port"]: each for each in elb.describe_listeners(LoadBalancerArn=balancer["LoadBalancerArn"])["Listeners"]
    }
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


def test_an_unfinished_builder_becomes_no_image_and_goes(aws: Aws, built: dict[str, Run]) -> None:
    images, instances = resources(aws)["image"], resources(aws)["instance"]
    run = aws.play(BAKE, "-e", "release=broken", "-e", "sealed=false")
    assert run.status != 0
    assert "was not configured and sealed" in run.output
    assert (resources(aws)["image"], resources(aws)["instance"]) == (images, instances)


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


def test_a_new_image_rolls_servers_and_keeps_the_capacity_somebody_chose(aws: Aws, built: dict[str, Run]) -> None:
    aws.client("autoscaling").set_desired_capacity(AutoScalingGroupName="parkmesh-test-app", DesiredCapacity=3)
    assert aws.play(BAKE, "-e", "release=two").status == 0
    # The same run takes away the certificate and the firewall of the test before.
    run = aws.play(SERVICE)
    assert run.status == 0, run.output
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
        if {"Key": "Release", "Value": "two"} in each["Tags"]
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
