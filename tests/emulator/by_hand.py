"""What people change by hand in an environment: how it is done, how it is taken back, and the line that tells of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from lab.aws import BASE_IMAGE_ID

from .conftest import Aws

NAME = "parkmesh-test-app"
TAGS = [{"Key": "Project", "Value": "parkmesh"}, {"Key": "Environment", "Value": "test"}]
EVERYTHING = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
TO_THE_WORLD = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": "*", "Action": "secretsmanager:GetSecretValue", "Resource": "*"}],
}

LINES = [
    # What people did most …
    r"security group parkmesh-test-app: inbound has tcp 22 0\.0\.0\.0/0, which isn't in the desired state",
    r"Auto Scaling group parkmesh-test-app: largest is 77; it should be 6",
    r"Auto Scaling group parkmesh-test-app: health_grace_s is 7; it should be 10",
    r'Auto Scaling group parkmesh-test-app: suspended is \["Terminate"\], which isn\'t in the desired state',
    r"target group parkmesh-test-app: health_check path is /hand; it should be /readyz",
    r"target group parkmesh-test-app: attributes deregistration_delay\.timeout_seconds is 77; it should be 2",
    r"listener parkmesh-test-app port 8080 isn't in the desired state",
    r"route table parkmesh-test-app-eu-west-1a: routes 0\.0\.0\.0/0 is missing; it should be parkmesh-test-nat-.*",
    r"role parkmesh-test-app: policies app has .*\"Action\": \[\"\*\"\].*, which isn't in the desired state",
    r"role parkmesh-test-app: policies second is .*, which isn't in the desired state",
    r"VPC parkmesh-test-vpc: tags Hand is made, which isn't in the desired state",
    r"launch template parkmesh-test-app: versions_by_hand has \d+, which isn't in the desired state",
    r"database parkmesh-test-database: backup_days is 1; it should be 14",
    # … and the kinds beside it.
    r"Auto Scaling group parkmesh-test-app: hooks hand is .*, which isn't in the desired state",
    r"Auto Scaling group parkmesh-test-app: policies hand is .*, which isn't in the desired state",
    r"Auto Scaling group parkmesh-test-app: policies cpu target is 99\.0; it should be 60\.0",
    r"Auto Scaling group parkmesh-test-app: policies requests is missing; it should be .*",
    r"Auto Scaling group parkmesh-test-app: hooks launch DefaultResult is CONTINUE; it should be ABANDON",
    r"Auto Scaling group parkmesh-test-app: maintenance MaxHealthyPercentage is 110; it should be 150",
    r"Auto Scaling group parkmesh-test-app: scheduled hand is .*, which isn't in the desired state",
    r"target group parkmesh-test-app: attributes stickiness\.enabled is true, which isn't in the desired state",
    r"target group parkmesh-test-app: targets_of_no_group is .*, which isn't in the desired state",
    r"listener parkmesh-test-app port 80: rules 7 is .*, which isn't in the desired state",
    r"load balancer parkmesh-test-app: attributes deletion_protection\.enabled is missing; it should be true",
    r"instance i-\w+ isn't in the desired state",
    r"role parkmesh-test-app: trust has .*arn:aws:iam::000000000000:root.*, which isn't in the desired state",
    r"role parkmesh-test-app: managed_policies has arn:aws:iam::\d+:policy/by-hand, which isn't in the desired state",
    r"role parkmesh-test-hand isn't in the desired state",
    r"IAM user parkmesh-test-hand isn't in the desired state",
    r"subnet parkmesh-test-data-eu-west-1a: public_addresses is on; it should be off",
    r"security group hand isn't in the desired state",
    r"network ACL default: entries is .*in 50 deny all 0\.0\.0\.0/0.*; it should be of .*",
    r"endpoint vpce-\w+ isn't in the desired state",
    r"address [\d.]+ isn't in the desired state",
    r"peering pcx-\w+ isn't in the desired state",
    r"database parkmesh-test-database: public is on; it should be off",
    r"database's parameters parkmesh-test-database-17: values rds\.force_ssl is 1; it should be 0",
    r"database snapshot by-hand: shared_with has all, which isn't in the desired state",
    r"table parkmesh-test-slots: point_in_time_recovery is off; it should be on",
    r"table parkmesh-test-slots: deletion_protection is off; it should be on",
    r"table parkmesh-test-slots: policy is .*, which isn't in the desired state",
    r"secret parkmesh-test-session: policy is .*, which isn't in the desired state",
    r"secret parkmesh-test-session: tags Hand is made, which isn't in the desired state",
    r"secret parkmesh-test-hand isn't in the desired state",
    r"parameter /parkmesh/test/hand isn't in the desired state",
    r"bucket parkmesh-test-hand: public_by_policy is on, which isn't in the desired state",
    r"bucket parkmesh-test-hand: refuses_to_be_public is off; it should be on",
    r"image parkmesh-\S+: shared_with has all, which isn't in the desired state",
    r"snapshot snap-\w+ isn't in the desired state",
    r"alarm parkmesh-test-hand isn't in the desired state",
    r"alarm parkmesh-test-slots: ActionsEnabled is off; it should be on",
    r"alarm parkmesh-test-database-cpu is missing",
    r"dashboard parkmesh-test: widgets lacks .*",
    r"topic parkmesh-test-alarms: tells has sms \+34600000000, which isn't in the desired state",
    r"log group /parkmesh/test/hand isn't in the desired state",
    r"resource with the environment's tags arn:aws:sqs:eu-west-1:\d+:by-hand isn't in the desired state",
]
"""The line of each change, as a regular expression."""


@contextmanager
def changed(aws: Aws) -> Iterator[None]:
    """An environment in which all of this was changed by hand, and that is as before afterwards."""
    with ExitStack() as after:
        for change in (_network, _service, _identities, _data, _beside):
            change(aws.client, after.callback)
        yield


def _network(client: Callable[[str], Any], after: Callable[..., Any]) -> None:
    ec2 = client("ec2")
    ours = [{"Name": f"tag:{each['Key']}", "Values": [each["Value"]]} for each in TAGS]
    (vpc,) = (each["VpcId"] for each in ec2.describe_vpcs(Filters=ours)["Vpcs"])
    in_vpc = [{"Name": "vpc-id", "Values": [vpc]}]
    groups = {
        each["GroupName"]: each["GroupId"] for each in ec2.describe_security_groups(Filters=in_vpc)["SecurityGroups"]
    }
    subnets = {
        tag["Value"]: each["SubnetId"]
        for each in ec2.describe_subnets(Filters=in_vpc)["Subnets"]
        for tag in each["Tags"]
        if tag["Key"] == "Name"
    }
    tables = {
        tag["Value"]: each
        for each in ec2.describe_route_tables(Filters=in_vpc)["RouteTables"]
        for tag in each["Tags"]
        if tag["Key"] == "Name"
    }

    opened = {
        "GroupId": groups["parkmesh-test-app"],
        "IpPermissions": [{"IpProtocol": "tcp", "FromPort": 22, "ToPort": 22, "IpRanges": [{"CidrIp": "0.0.0.0/0"}]}],
    }
    ec2.authorize_security_group_ingress(**opened)
    after(ec2.revoke_security_group_ingress, **opened)

    table = tables["parkmesh-test-app-eu-west-1a"]
    (route,) = (each for each in table["Routes"] if each.get("DestinationCidrBlock") == "0.0.0.0/0")
    gone = {"RouteTableId": table["RouteTableId"], "DestinationCidrBlock": "0.0.0.0/0"}
    ec2.delete_route(**gone)
    after(ec2.create_route, **gone, NatGatewayId=route["NatGatewayId"])

    ec2.create_tags(Resources=[vpc], Tags=[{"Key": "Hand", "Value": "made"}])
    after(ec2.delete_tags, Resources=[vpc], Tags=[{"Key": "Hand"}])

    subnet = subnets["parkmesh-test-data-eu-west-1a"]
    ec2.modify_subnet_attribute(SubnetId=subnet, MapPublicIpOnLaunch={"Value": True})
    after(ec2.modify_subnet_attribute, SubnetId=subnet, MapPublicIpOnLaunch={"Value": False})

    made = ec2.create_security_group(GroupName="hand", Description="hand", VpcId=vpc)["GroupId"]
    after(ec2.delete_security_group, GroupId=made)

    (acl,) = (each["NetworkAclId"] for each in ec2.describe_network_acls(Filters=in_vpc)["NetworkAcls"])
    entry = {"NetworkAclId": acl, "RuleNumber": 50, "Egress": False}
    ec2.create_network_acl_entry(**entry, Protocol="-1", RuleAction="deny", CidrBlock="0.0.0.0/0")
    after(ec2.delete_network_acl_entry, **entry)

    endpoint = ec2.create_vpc_endpoint(
        VpcId=vpc,
        VpcEndpointType="Gateway",
        ServiceName="com.amazonaws.eu-west-1.s3",
        RouteTableIds=[tables["parkmesh-test-data"]["RouteTableId"]],
    )["VpcEndpoint"]["VpcEndpointId"]
    after(ec2.delete_vpc_endpoints, VpcEndpointIds=[endpoint])

    address = ec2.allocate_address(Domain="vpc", TagSpecifications=[{"ResourceType": "elastic-ip", "Tags": TAGS}])
    after(ec2.release_address, AllocationId=address["AllocationId"])

    other = ec2.create_vpc(CidrBlock="10.99.0.0/16")["Vpc"]["VpcId"]
    after(ec2.delete_vpc, VpcId=other)
    peering = ec2.create_vpc_peering_connection(VpcId=vpc, PeerVpcId=other)["VpcPeeringConnection"]
    after(ec2.delete_vpc_peering_connection, VpcPeeringConnectionId=peering["VpcPeeringConnectionId"])

    server = ec2.run_instances(
        ImageId=BASE_IMAGE_ID,
        MinCount=1,
        MaxCount=1,
        InstanceType="t3.small",
        SubnetId=subnets["parkmesh-test-app-eu-west-1a"],
    )["Instances"][0]["InstanceId"]
    after(ec2.terminate_instances, InstanceIds=[server])
    elb = client("elbv2")
    target_group = elb.describe_target_groups(Names=[NAME])["TargetGroups"][0]["TargetGroupArn"]
    elb.register_targets(TargetGroupArn=target_group, Targets=[{"Id": server}])
    after(elb.deregister_targets, TargetGroupArn=target_group, Targets=[{"Id": server}])


def _service(client: Callable[[str], Any], after: Callable[..., Any]) -> None:
    scaling, elb, ec2, group = client("autoscaling"), client("elbv2"), client("ec2"), {"AutoScalingGroupName": NAME}
    (was,) = scaling.describe_auto_scaling_groups(AutoScalingGroupNames=[NAME])["AutoScalingGroups"]
    bounds = {"MaxSize": was["MaxSize"], "HealthCheckGracePeriod": was["HealthCheckGracePeriod"]}
    scaling.update_auto_scaling_group(**group, MaxSize=77, HealthCheckGracePeriod=7)
    after(scaling.update_auto_scaling_group, **group, **bounds)
    scaling.suspend_processes(**group, ScalingProcesses=["Terminate"])
    after(scaling.resume_processes, **group)
    hook = {**group, "LifecycleHookName": "hand"}
    scaling.put_lifecycle_hook(**hook, LifecycleTransition="autoscaling:EC2_INSTANCE_LAUNCHING")
    after(scaling.delete_lifecycle_hook, **hook)
    policy = {**group, "PolicyName": "hand"}
    scaling.put_scaling_policy(**policy, AdjustmentType="ChangeInCapacity", ScalingAdjustment=1)
    after(scaling.delete_policy, **policy)

    (cpu,) = scaling.describe_policies(**group, PolicyNames=["cpu"])["ScalingPolicies"]
    target = {**group, "PolicyName": "cpu", "PolicyType": "TargetTrackingScaling"}
    followed = cpu["TargetTrackingConfiguration"]
    scaling.put_scaling_policy(**target, TargetTrackingConfiguration={**followed, "TargetValue": 99})
    after(scaling.put_scaling_policy, **target, TargetTrackingConfiguration=followed)
    (requests,) = scaling.describe_policies(**group, PolicyNames=["requests"])["ScalingPolicies"]
    scaling.delete_policy(**group, PolicyName="requests")
    after(
        scaling.put_scaling_policy,
        **group,
        PolicyName="requests",
        PolicyType="TargetTrackingScaling",
        TargetTrackingConfiguration=requests["TargetTrackingConfiguration"],
    )
    launch = {**group, "LifecycleHookName": "launch", "LifecycleTransition": "autoscaling:EC2_INSTANCE_LAUNCHING"}
    scaling.put_lifecycle_hook(**launch, HeartbeatTimeout=600, DefaultResult="CONTINUE")
    after(scaling.put_lifecycle_hook, **launch, HeartbeatTimeout=600, DefaultResult="ABANDON")
    maintenance = {"MinHealthyPercentage": 100, "MaxHealthyPercentage": 110}
    scaling.update_auto_scaling_group(**group, InstanceMaintenancePolicy=maintenance)
    after(
        scaling.update_auto_scaling_group,
        **group,
        InstanceMaintenancePolicy={**maintenance, "MaxHealthyPercentage": 150},
    )
    action = {**group, "ScheduledActionName": "hand"}
    scaling.put_scheduled_update_group_action(**action, Recurrence="0 8 * * *", MinSize=3)
    after(scaling.delete_scheduled_action, **action)

    (target_group,) = elb.describe_target_groups(Names=[NAME])["TargetGroups"]
    arn, balancer = {"TargetGroupArn": target_group["TargetGroupArn"]}, target_group["LoadBalancerArns"][0]
    elb.modify_target_group(**arn, HealthCheckPath="/hand")
    after(elb.modify_target_group, **arn, HealthCheckPath="/readyz")

    def attributes(delay: str, sticky: str) -> None:
        values = {"deregistration_delay.timeout_seconds": delay, "stickiness.enabled": sticky}
        elb.modify_target_group_attributes(**arn, Attributes=[{"Key": key, "Value": values[key]} for key in values])

    attributes("77", "true")
    after(attributes, "2", "false")
    forward = [{"Type": "forward", **arn}]
    made = elb.create_listener(LoadBalancerArn=balancer, Protocol="HTTP", Port=8080, DefaultActions=forward)
    after(elb.delete_listener, ListenerArn=made["Listeners"][0]["ListenerArn"])
    (listener,) = (
        each["ListenerArn"]
        for each in elb.describe_listeners(LoadBalancerArn=balancer)["Listeners"]
        if each["Port"] == 80
    )
    rule = elb.create_rule(
        ListenerArn=listener, Priority=7, Conditions=[{"Field": "path-pattern", "Values": ["/hand"]}], Actions=forward
    )
    after(elb.delete_rule, RuleArn=rule["Rules"][0]["RuleArn"])

    def protect(value: str) -> None:
        elb.modify_load_balancer_attributes(
            LoadBalancerArn=balancer, Attributes=[{"Key": "deletion_protection.enabled", "Value": value}]
        )

    protect("false")
    after(protect, "true")

    version = ec2.create_launch_template_version(
        LaunchTemplateName=NAME, SourceVersion="$Latest", LaunchTemplateData={"InstanceType": "m5.24xlarge"}
    )["LaunchTemplateVersion"]["VersionNumber"]
    after(ec2.delete_launch_template_versions, LaunchTemplateName=NAME, Versions=[str(version)])

    image = ec2.describe_images(Owners=["self"])["Images"][0]
    everybody = [{"Group": "all"}]
    ec2.modify_image_attribute(ImageId=image["ImageId"], LaunchPermission={"Add": everybody})
    after(ec2.modify_image_attribute, ImageId=image["ImageId"], LaunchPermission={"Remove": everybody})
    volume = ec2.create_volume(AvailabilityZone="eu-west-1a", Size=1)["VolumeId"]
    after(ec2.delete_volume, VolumeId=volume)
    snapshot = ec2.create_snapshot(VolumeId=volume, TagSpecifications=[{"ResourceType": "snapshot", "Tags": TAGS}])
    after(ec2.delete_snapshot, SnapshotId=snapshot["SnapshotId"])


def _identities(client: Callable[[str], Any], after: Callable[..., Any]) -> None:
    iam = client("iam")
    everything = json.dumps(EVERYTHING)
    was = iam.get_role_policy(RoleName=NAME, PolicyName="app")["PolicyDocument"]
    iam.put_role_policy(RoleName=NAME, PolicyName="app", PolicyDocument=everything)
    after(iam.put_role_policy, RoleName=NAME, PolicyName="app", PolicyDocument=json.dumps(was))
    iam.put_role_policy(RoleName=NAME, PolicyName="second", PolicyDocument=everything)
    after(iam.delete_role_policy, RoleName=NAME, PolicyName="second")
    managed = iam.create_policy(PolicyName="by-hand", PolicyDocument=everything)["Policy"]["Arn"]
    after(iam.delete_policy, PolicyArn=managed)
    iam.attach_role_policy(RoleName=NAME, PolicyArn=managed)
    after(iam.detach_role_policy, RoleName=NAME, PolicyArn=managed)
    trust = iam.get_role(RoleName=NAME)["Role"]["AssumeRolePolicyDocument"]
    wider = {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::123456789012:root"}, "Action": "sts:AssumeRole"}
    document = json.dumps({**trust, "Statement": [*trust["Statement"], wider]})
    iam.update_assume_role_policy(RoleName=NAME, PolicyDocument=document)
    after(iam.update_assume_role_policy, RoleName=NAME, PolicyDocument=json.dumps(trust))
    iam.create_role(RoleName="parkmesh-test-hand", AssumeRolePolicyDocument=json.dumps(trust))
    after(iam.delete_role, RoleName="parkmesh-test-hand")
    iam.create_user(UserName="parkmesh-test-hand")
    after(iam.delete_user, UserName="parkmesh-test-hand")


def _data(client: Callable[[str], Any], after: Callable[..., Any]) -> None:
    rds, tables, secrets = client("rds"), client("dynamodb"), client("secretsmanager")
    database = {"DBInstanceIdentifier": "parkmesh-test-database"}
    rds.modify_db_instance(**database, BackupRetentionPeriod=1, PubliclyAccessible=True)
    after(rds.modify_db_instance, **database, BackupRetentionPeriod=14, PubliclyAccessible=False)
    rds.create_db_snapshot(**database, DBSnapshotIdentifier="by-hand")
    after(rds.delete_db_snapshot, DBSnapshotIdentifier="by-hand")
    rds.modify_db_snapshot_attribute(DBSnapshotIdentifier="by-hand", AttributeName="restore", ValuesToAdd=["all"])

    def force_tls(value: str) -> None:
        rds.modify_db_parameter_group(
            DBParameterGroupName="parkmesh-test-database-17",
            Parameters=[{"ParameterName": "rds.force_ssl", "ParameterValue": value, "ApplyMethod": "immediate"}],
        )

    force_tls("1")
    after(force_tls, "0")

    table = {"TableName": "parkmesh-test-slots"}
    for on, how in ((False, lambda function, **given: function(**given)), (True, after)):
        how(
            tables.update_continuous_backups,
            **table,
            PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": on},
        )
        how(tables.update_table, **table, DeletionProtectionEnabled=on)
    arn = tables.describe_table(**table)["Table"]["TableArn"]
    shared = {"Statement": [{"Effect": "Allow", "Principal": "*", "Action": "dynamodb:Scan", "Resource": arn}]}
    tables.put_resource_policy(ResourceArn=arn, Policy=json.dumps(shared))
    after(tables.delete_resource_policy, ResourceArn=arn)

    secret = {"SecretId": "parkmesh-test-session"}
    secrets.put_resource_policy(**secret, ResourcePolicy=json.dumps(TO_THE_WORLD))
    after(secrets.delete_resource_policy, **secret)
    secrets.tag_resource(**secret, Tags=[{"Key": "Hand", "Value": "made"}])
    after(secrets.untag_resource, **secret, TagKeys=["Hand"])
    secrets.create_secret(Name="parkmesh-test-hand", SecretString="by hand")
    after(secrets.delete_secret, SecretId="parkmesh-test-hand", ForceDeleteWithoutRecovery=True)


def _beside(client: Callable[[str], Any], after: Callable[..., Any]) -> None:
    parameters, s3, watch, logs, queues = map(client, ("ssm", "s3", "cloudwatch", "logs", "sqs"))
    parameters.put_parameter(Name="/parkmesh/test/hand", Value="by hand", Type="String")
    after(parameters.delete_parameter, Name="/parkmesh/test/hand")
    bucket = {"Bucket": "parkmesh-test-hand"}
    s3.create_bucket(**bucket, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    after(s3.delete_bucket, **bucket)
    open_to_all = {
        "Version": "2012-10-17",
        "Statement": [
            {
                "Effect": "Allow",
                "Principal": "*",
                "Action": "s3:GetObject",
                "Resource": "arn:aws:s3:::parkmesh-test-hand/*",
            }
        ],
    }
    s3.put_bucket_policy(**bucket, Policy=json.dumps(open_to_all))
    watch.put_metric_alarm(
        AlarmName="parkmesh-test-hand",
        Namespace="AWS/EC2",
        MetricName="CPUUtilization",
        ComparisonOperator="GreaterThanThreshold",
        EvaluationPeriods=1,
        Period=60,
        Threshold=1,
        Statistic="Average",
    )
    after(watch.delete_alarms, AlarmNames=["parkmesh-test-hand"])
    watch.disable_alarm_actions(AlarmNames=["parkmesh-test-slots"])
    after(watch.enable_alarm_actions, AlarmNames=["parkmesh-test-slots"])
    (cpu,) = watch.describe_alarms(AlarmNames=["parkmesh-test-database-cpu"])["MetricAlarms"]
    watch.delete_alarms(AlarmNames=["parkmesh-test-database-cpu"])
    taken = {"AlarmArn", "AlarmConfigurationUpdatedTimestamp"}
    kept = {key: value for key, value in cpu.items() if value and not key.startswith("State") and key not in taken}
    after(watch.put_metric_alarm, **kept, Tags=TAGS)
    body = watch.get_dashboard(DashboardName="parkmesh-test")["DashboardBody"]
    watch.put_dashboard(DashboardName="parkmesh-test", DashboardBody='{"widgets": []}')
    after(watch.put_dashboard, DashboardName="parkmesh-test", DashboardBody=body)
    topics = client("sns")
    (topic,) = (each["TopicArn"] for each in topics.list_topics()["Topics"])
    told = topics.subscribe(TopicArn=topic, Protocol="sms", Endpoint="+34600000000")["SubscriptionArn"]
    after(topics.unsubscribe, SubscriptionArn=told)
    logs.create_log_group(logGroupName="/parkmesh/test/hand")
    after(logs.delete_log_group, logGroupName="/parkmesh/test/hand")
    queue = queues.create_queue(QueueName="by-hand", tags={each["Key"]: each["Value"] for each in TAGS})["QueueUrl"]
    after(queues.delete_queue, QueueUrl=queue)
