"""What people change by hand in an environment: how it is done, the line that tells of it, what a run leaves of it."""

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
    r"Auto Scaling group parkmesh-test-app: largest is 77; it should be 5",
    r"Auto Scaling group parkmesh-test-app: health_grace_s is 7; it should be 10",
    r'Auto Scaling group parkmesh-test-app: suspended is \["Terminate"\], which isn\'t in the desired state',
    r"target group parkmesh-test-app: health_check path is /hand; it should be /readyz",
    r"target group parkmesh-test-app: attributes deregistration_delay\.timeout_seconds is 77; it should be 2",
    r"listener parkmesh-test-app port 8080 isn't in the desired state",
    r"route table parkmesh-test-app-eu-west-1a: routes 0\.0\.0\.0/0 is missing; it should be parkmesh-test-nat-.*",
    r"route table parkmesh-test-public: routes 198\.51\.100\.0/24 is .*, which isn't in the desired state",
    r"role parkmesh-test-app: policies app has .*\"Action\": \[\"\*\"\].*, which isn't in the desired state",
    r"role parkmesh-test-app: policies second is .*, which isn't in the desired state",
    r"VPC parkmesh-test-vpc: tags Hand is made, which isn't in the desired state",
    r"launch template parkmesh-test-app: versions_by_hand has \d+, which isn't in the desired state",
    r"database parkmesh-test-database: backup_days is 1; it should be 9",
    # … and the kinds beside it.
    r"Auto Scaling group parkmesh-test-app: hooks hand is .*, which isn't in the desired state",
    r"Auto Scaling group parkmesh-test-app: policies hand is .*, which isn't in the desired state",
    r"Auto Scaling group parkmesh-test-app: policies cpu target is 99\.0; it should be 55\.0",
    r"Auto Scaling group parkmesh-test-app: policies requests is missing; it should be .*",
    r"Auto Scaling group parkmesh-test-app: hooks launch DefaultResult is CONTINUE; it should be ABANDON",
    r"Auto Scaling group parkmesh-test-app: maintenance MaxHealthyPercentage is 110; it should be 140",
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
    *(
        rf"{each}: tags Hand is made, which isn't in the desired state"
        for each in (
            "Auto Scaling group parkmesh-test-app",
            "NAT gateway parkmesh-test-nat-eu-west-1a",
            "database parkmesh-test-database",
            "database's parameters parkmesh-test-database-17",
            "egress-only gateway parkmesh-test-egress",
            "endpoint parkmesh-test-s3",
            "flow log parkmesh-test-flow-vpc",
            "instance profile parkmesh-test-app",
            "internet gateway parkmesh-test-internet",
            "load balancer parkmesh-test-app",
            "log group /parkmesh/test/flow",
            "log group /parkmesh/test/servers",
            "role parkmesh-test-app",
            "route table parkmesh-test-app-eu-west-1a",
            "route table parkmesh-test-data",
            "security group parkmesh-test-alb",
            "security group parkmesh-test-data",
            "subnet parkmesh-test-app-eu-west-1a",
            "table parkmesh-test-slots",
            "target group parkmesh-test-app",
            "topic parkmesh-test-alarms",
        )
    ),
    r"log group /parkmesh/test/servers: days is 1; it should be 14",
]
"""The line of each change, as a regular expression."""


@contextmanager
def changed(aws: Aws) -> Iterator[None]:
    """An environment in which all of this was changed by hand.

    Runs are to put right what the roles look at. What they leave is taken back here: what isn't the environment's, what
    somebody else was let into, routes (a peering needs some), versions of a launch template, and an attribute that the
    role's module can't turn off.
    """
    with ExitStack() as after:
        for change in (_network, _service, _identities, _data, _beside, _tags):
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

    table = tables["parkmesh-test-app-eu-west-1a"]
    ec2.delete_route(RouteTableId=table["RouteTableId"], DestinationCidrBlock="0.0.0.0/0")

    (internet,) = ec2.describe_internet_gateways(Filters=[{"Name": "attachment.vpc-id", "Values": [vpc]}])[
        "InternetGateways"
    ]
    route = {
        "RouteTableId": tables["parkmesh-test-public"]["RouteTableId"],
        "DestinationCidrBlock": "198.51.100.0/24",
    }
    ec2.create_route(**route, GatewayId=internet["InternetGatewayId"])
    after(ec2.delete_route, **route)

    ec2.create_tags(Resources=[vpc], Tags=[{"Key": "Hand", "Value": "made"}])

    subnet = subnets["parkmesh-test-data-eu-west-1a"]
    ec2.modify_subnet_attribute(SubnetId=subnet, MapPublicIpOnLaunch={"Value": True})

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
    scaling.update_auto_scaling_group(**group, MaxSize=77, HealthCheckGracePeriod=7)
    scaling.suspend_processes(**group, ScalingProcesses=["Terminate"])
    hook = {**group, "LifecycleHookName": "hand"}
    scaling.put_lifecycle_hook(**hook, LifecycleTransition="autoscaling:EC2_INSTANCE_LAUNCHING")
    policy = {**group, "PolicyName": "hand"}
    scaling.put_scaling_policy(**policy, AdjustmentType="ChangeInCapacity", ScalingAdjustment=1)

    (cpu,) = scaling.describe_policies(**group, PolicyNames=["cpu"])["ScalingPolicies"]
    target = {**group, "PolicyName": "cpu", "PolicyType": "TargetTrackingScaling"}
    followed = cpu["TargetTrackingConfiguration"]
    scaling.put_scaling_policy(**target, TargetTrackingConfiguration={**followed, "TargetValue": 99})
    scaling.delete_policy(**group, PolicyName="requests")
    launch = {**group, "LifecycleHookName": "launch", "LifecycleTransition": "autoscaling:EC2_INSTANCE_LAUNCHING"}
    scaling.put_lifecycle_hook(**launch, HeartbeatTimeout=300, DefaultResult="CONTINUE")
    maintenance = {"MinHealthyPercentage": 100, "MaxHealthyPercentage": 110}
    scaling.update_auto_scaling_group(**group, InstanceMaintenancePolicy=maintenance)
    action = {**group, "ScheduledActionName": "hand"}
    scaling.put_scheduled_update_group_action(**action, Recurrence="0 8 * * *", MinSize=3)

    (target_group,) = elb.describe_target_groups(Names=[NAME])["TargetGroups"]
    arn, balancer = {"TargetGroupArn": target_group["TargetGroupArn"]}, target_group["LoadBalancerArns"][0]
    elb.modify_target_group(**arn, HealthCheckPath="/hand")
    delay, sticky = (
        {"Key": "deregistration_delay.timeout_seconds", "Value": "77"},
        {"Key": "stickiness.enabled", "Value": "true"},
    )
    elb.modify_target_group_attributes(**arn, Attributes=[delay, sticky])
    after(elb.modify_target_group_attributes, **arn, Attributes=[{**sticky, "Value": "false"}])
    forward = [{"Type": "forward", **arn}]
    elb.create_listener(LoadBalancerArn=balancer, Protocol="HTTP", Port=8080, DefaultActions=forward)
    (listener,) = (
        each["ListenerArn"]
        for each in elb.describe_listeners(LoadBalancerArn=balancer)["Listeners"]
        if each["Port"] == 80
    )
    elb.create_rule(
        ListenerArn=listener, Priority=7, Conditions=[{"Field": "path-pattern", "Values": ["/hand"]}], Actions=forward
    )

    unprotected = [{"Key": "deletion_protection.enabled", "Value": "false"}]
    elb.modify_load_balancer_attributes(LoadBalancerArn=balancer, Attributes=unprotected)

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
    iam.put_role_policy(RoleName=NAME, PolicyName="app", PolicyDocument=everything)
    iam.put_role_policy(RoleName=NAME, PolicyName="second", PolicyDocument=everything)
    managed = iam.create_policy(PolicyName="by-hand", PolicyDocument=everything)["Policy"]["Arn"]
    after(iam.delete_policy, PolicyArn=managed)
    iam.attach_role_policy(RoleName=NAME, PolicyArn=managed)
    trust = iam.get_role(RoleName=NAME)["Role"]["AssumeRolePolicyDocument"]
    wider = {"Effect": "Allow", "Principal": {"AWS": "arn:aws:iam::123456789012:root"}, "Action": "sts:AssumeRole"}
    document = json.dumps({**trust, "Statement": [*trust["Statement"], wider]})
    iam.update_assume_role_policy(RoleName=NAME, PolicyDocument=document)
    iam.create_role(RoleName="parkmesh-test-hand", AssumeRolePolicyDocument=json.dumps(trust))
    after(iam.delete_role, RoleName="parkmesh-test-hand")
    iam.create_user(UserName="parkmesh-test-hand")
    after(iam.delete_user, UserName="parkmesh-test-hand")


def _data(client: Callable[[str], Any], after: Callable[..., Any]) -> None:
    rds, tables, secrets = client("rds"), client("dynamodb"), client("secretsmanager")
    database = {"DBInstanceIdentifier": "parkmesh-test-database"}
    rds.modify_db_instance(**database, BackupRetentionPeriod=1, PubliclyAccessible=True)
    rds.create_db_snapshot(**database, DBSnapshotIdentifier="by-hand")
    after(rds.delete_db_snapshot, DBSnapshotIdentifier="by-hand")
    rds.modify_db_snapshot_attribute(DBSnapshotIdentifier="by-hand", AttributeName="restore", ValuesToAdd=["all"])
    rds.modify_db_parameter_group(
        DBParameterGroupName="parkmesh-test-database-17",
        Parameters=[{"ParameterName": "rds.force_ssl", "ParameterValue": "1", "ApplyMethod": "immediate"}],
    )

    table = {"TableName": "parkmesh-test-slots"}
    tables.update_continuous_backups(**table, PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": False})
    tables.update_table(**table, DeletionProtectionEnabled=False)
    arn = tables.describe_table(**table)["Table"]["TableArn"]
    shared = {"Statement": [{"Effect": "Allow", "Principal": "*", "Action": "dynamodb:Scan", "Resource": arn}]}
    tables.put_resource_policy(ResourceArn=arn, Policy=json.dumps(shared))

    secret = {"SecretId": "parkmesh-test-session"}
    secrets.put_resource_policy(**secret, ResourcePolicy=json.dumps(TO_THE_WORLD))
    secrets.tag_resource(**secret, Tags=[{"Key": "Hand", "Value": "made"}])
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
    watch.delete_alarms(AlarmNames=["parkmesh-test-database-cpu"])
    watch.put_dashboard(DashboardName="parkmesh-test", DashboardBody='{"widgets": []}')
    topics = client("sns")
    (topic,) = (each["TopicArn"] for each in topics.list_topics()["Topics"])
    told = topics.subscribe(TopicArn=topic, Protocol="sms", Endpoint="+34600000000")["SubscriptionArn"]
    after(topics.unsubscribe, SubscriptionArn=told)
    logs.create_log_group(logGroupName="/parkmesh/test/hand")
    after(logs.delete_log_group, logGroupName="/parkmesh/test/hand")
    queue = queues.create_queue(QueueName="by-hand", tags={each["Key"]: each["Value"] for each in TAGS})["QueueUrl"]
    after(queues.delete_queue, QueueUrl=queue)


def _tags(client: Callable[[str], Any], _after: Callable[..., Any]) -> None:
    """A tag on something of each kind that has the environment's."""
    ec2, elb, rds, iam, logs = map(client, ("ec2", "elbv2", "rds", "iam", "logs"))
    tag = {"Key": "Hand", "Value": "made"}
    parts = ("alb", "app-eu-west-1a", "data", "egress", "flow-vpc", "internet", "nat-eu-west-1a", "s3")
    names = [
        {"Name": "key", "Values": ["Name"]},
        {"Name": "value", "Values": [f"parkmesh-test-{part}" for part in parts]},
    ]
    ec2.create_tags(Resources=[row["ResourceId"] for row in ec2.describe_tags(Filters=names)["Tags"]], Tags=[tag])
    (balancer,) = elb.describe_load_balancers(Names=[NAME])["LoadBalancers"]
    (target_group,) = elb.describe_target_groups(Names=[NAME])["TargetGroups"]
    elb.add_tags(ResourceArns=[balancer["LoadBalancerArn"], target_group["TargetGroupArn"]], Tags=[tag])
    iam.tag_role(RoleName=NAME, Tags=[tag])
    iam.tag_instance_profile(InstanceProfileName=NAME, Tags=[tag])
    of_group = {"ResourceId": NAME, "ResourceType": "auto-scaling-group", "PropagateAtLaunch": True}
    client("autoscaling").create_or_update_tags(Tags=[{**tag, **of_group}])
    (database,) = rds.describe_db_instances(DBInstanceIdentifier="parkmesh-test-database")["DBInstances"]
    rds.add_tags_to_resource(ResourceName=database["DBInstanceArn"], Tags=[tag])
    (parameters,) = rds.describe_db_parameter_groups(DBParameterGroupName="parkmesh-test-database-17")[
        "DBParameterGroups"
    ]
    rds.add_tags_to_resource(ResourceName=parameters["DBParameterGroupArn"], Tags=[tag])
    tables = client("dynamodb")
    arn = tables.describe_table(TableName="parkmesh-test-slots")["Table"]["TableArn"]
    tables.tag_resource(ResourceArn=arn, Tags=[tag])
    (topic,) = (each["TopicArn"] for each in client("sns").list_topics()["Topics"])
    client("sns").tag_resource(ResourceArn=topic, Tags=[tag])
    for group in logs.describe_log_groups(logGroupNamePrefix="/parkmesh/test/")["logGroups"]:
        if not group["logGroupName"].endswith("hand"):
            logs.tag_resource(resourceArn=group["arn"].removesuffix(":*"), tags={"Hand": "made"})
    logs.put_retention_policy(logGroupName="/parkmesh/test/servers", retentionInDays=1)
