"""What is there on lab.aws, and what the inputs of the tests' inventory must have come to.

`inventory/group_vars/aws.yml` has the inputs. The looks are for tests of the playbooks here, where all roles work on
one environment, and for the roles' molecule scenarios, in each of which one role is alone with what it stands on.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Mapping
from typing import Any

from .conftest import Aws

NAME = "parkmesh-test-app"
MAINTENANCE = "parkmesh-test-maintenance"


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


def database_is_as_asked(aws: Aws) -> None:
    (database,) = aws.client("rds").describe_db_instances()["DBInstances"]
    assert database["DBInstanceClass"] == "db.t4g.small"
    assert (database["AllocatedStorage"], database["BackupRetentionPeriod"]) == (60, 9)


def slots_table_is_kept_and_restorable(aws: Aws) -> None:
    tables, name = aws.client("dynamodb"), "parkmesh-test-slots"
    assert tables.describe_table(TableName=name)["Table"]["DeletionProtectionEnabled"] is True
    backups = tables.describe_continuous_backups(TableName=name)["ContinuousBackupsDescription"]
    assert backups["PointInTimeRecoveryDescription"]["PointInTimeRecoveryStatus"] == "ENABLED"


def subnets_have_both_versions_of_ip(aws: Aws) -> None:
    every = aws.client("ec2").describe_subnets(Filters=[{"Name": "tag:Project", "Values": ["parkmesh"]}])["Subnets"]
    roles = [
        {tag["Key"]: tag["Value"] for tag in each["Tags"]}["Role"]
        for each in every
        if each["Ipv6CidrBlockAssociationSet"]
    ]
    assert sorted(roles) == ["app", "app", "public", "public"]


def flow_logs_are_kept_for_a_week(aws: Aws) -> None:
    (flow,) = aws.client("ec2").describe_flow_logs()["FlowLogs"]
    (group,) = aws.client("logs").describe_log_groups(logGroupNamePrefix=flow["LogGroupName"])["logGroups"]
    assert (group["logGroupName"], group["retentionInDays"]) == ("/parkmesh/test/flow", 7)


def image_is_of_its_release(aws: Aws) -> None:
    (image,) = aws.client("ec2").describe_images(Owners=["self"])["Images"]
    tags = {tag["Key"]: tag["Value"] for tag in image["Tags"]}
    assert image["State"] == "available"
    assert (tags["Role"], tags["Release"], tags["Recipe"], tags["GitSha"][:12]) == (
        "app",
        "one",
        "recipe",
        "0123456789ab",
    )


def servers_are_started_as_asked(aws: Aws) -> None:
    data = launch_data(aws)
    (volume,) = data["BlockDeviceMappings"]
    assert volume["Ebs"]["KmsKeyId"].endswith(":key/5d0e6c1f-2a7b-4f43-9c58-0b9a1f3e7d24")
    told = json.loads(base64.b64decode(data["UserData"]))
    assert told["aws_endpoint_url"] == "https://aws.parkmesh.example"
    assert told["mail"]["reply_to"] == "desk@parkmesh.example"


def group_scales_as_asked(aws: Aws) -> None:
    scaling, of_group = aws.client("autoscaling"), {"AutoScalingGroupName": NAME}
    found = group(aws)
    assert (found["MinSize"], found["MaxSize"]) == (1, 5)
    hooks = scaling.describe_lifecycle_hooks(**of_group)["LifecycleHooks"]
    assert {each["LifecycleHookName"]: each["HeartbeatTimeout"] for each in hooks} == {"launch": 300, "terminate": 120}
    followed = {
        each["PolicyName"]: each["TargetTrackingConfiguration"]["TargetValue"]
        for each in scaling.describe_policies(**of_group)["ScalingPolicies"]
    }
    assert followed == {"cpu": 55, "requests": 5000}
    (action,) = scaling.describe_scheduled_actions(**of_group)["ScheduledUpdateGroupActions"]
    what = [action[key] for key in ("ScheduledActionName", "Recurrence", "TimeZone", "MinSize")]
    assert what == ["morning", "30 6 * * MON-FRI", "Europe/Madrid", 2]


def balancer_and_maintenance_are_as_asked(aws: Aws) -> None:
    elb = aws.client("elbv2")
    (balancer,) = elb.describe_load_balancers()["LoadBalancers"]
    attributes = elb.describe_load_balancer_attributes(LoadBalancerArn=balancer["LoadBalancerArn"])["Attributes"]
    assert {"Key": "idle_timeout.timeout_seconds", "Value": "90"} in attributes
    assert group(aws)["InstanceMaintenancePolicy"] == {"MinHealthyPercentage": 100, "MaxHealthyPercentage": 140}


def retention_runs_in_its_hour(aws: Aws) -> None:
    actions = aws.client("autoscaling").describe_scheduled_actions(AutoScalingGroupName=MAINTENANCE)
    times = {each["ScheduledActionName"]: each["Recurrence"] for each in actions["ScheduledUpdateGroupActions"]}
    assert times == {"begin": "0 3 * * *", "end": "0 5 * * *"}


def people_are_told_and_logs_are_kept(aws: Aws) -> None:
    subscriptions = aws.client("sns").list_subscriptions()["Subscriptions"]
    assert [(each["Protocol"], each["Endpoint"]) for each in subscriptions] == [("email", "ops@parkmesh.example")]
    (logs,) = aws.client("logs").describe_log_groups(logGroupNamePrefix="/parkmesh/test/servers")["logGroups"]
    assert logs["retentionInDays"] == 14


LOOKS: Mapping[str, tuple[Callable[[Aws], None], ...]] = {
    "aws_network": (subnets_have_both_versions_of_ip, flow_logs_are_kept_for_a_week),
    "aws_data": (database_is_as_asked, slots_table_is_kept_and_restorable),
    "aws_image": (image_is_of_its_release,),
    "aws_service": (
        servers_are_started_as_asked,
        group_scales_as_asked,
        balancer_and_maintenance_are_as_asked,
        retention_runs_in_its_hour,
        people_are_told_and_logs_are_kept,
    ),
}
"""By role."""
