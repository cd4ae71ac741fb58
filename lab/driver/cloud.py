"""lab.aws as the driver sees it: API calls on loopback, read into the driver's own plain types."""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import boto3
from botocore.config import Config

from lab.driver import haproxy, routing
from lab.driver.compute import Instance
from lab.driver.security_groups import SecurityGroup, security_group
from lab.machine.errors import LabError
from lab.machine.names import ACCOUNT, REGION


@dataclass(frozen=True)
class Group:
    """An Auto Scaling group. `in_service` are its instances that take traffic."""

    name: str
    members: tuple[str, ...]
    in_service: tuple[str, ...]
    target_groups: tuple[str, ...]
    checks_targets: bool
    grace_s: float
    target_states: Mapping[str, str] = field(default_factory=dict)
    """Of each member, the lifecycle state that it is in or on its way to."""


@dataclass(frozen=True)
class Database:
    """An RDS instance record that should have a server."""

    identifier: str
    endpoint: str
    port: int
    name: str | None
    user: str
    password: str = field(repr=False)
    subnet_ids: tuple[str, ...]
    origin: tuple[str, ...] = ()
    """What it was restored from (lab/driver/backups.py); empty for a new one."""
    zone: str = ""
    """Where its primary is. The subnets are those of this zone."""
    security_groups: tuple[str, ...] = field(default=(), compare=False)


@dataclass(frozen=True)
class Balancer:
    """A load balancer that has something to do. `published` says whether the host's port leads here."""

    config: haproxy.Balancer
    subnet_ids: tuple[str, ...]
    published: bool
    security_groups: tuple[str, ...] = ()


@dataclass(frozen=True)
class Records:
    """What lab.aws knew at one moment, as far as the driver acts on it.

    `registered` maps a target group of an Auto Scaling group to the ids of its targets; `subnets` maps ids to CIDRs;
    `refused` names load balancers that are not emulated, with the reason.
    """

    groups: tuple[Group, ...]
    instances: tuple[Instance, ...]
    subnets: Mapping[str, str]
    databases: tuple[Database, ...]
    registered: Mapping[str, frozenset[str]]
    balancers: tuple[Balancer, ...]
    refused: Mapping[str, str]
    ways: routing.Ways = field(default_factory=routing.Ways)
    security_groups: Mapping[str, SecurityGroup] = field(default_factory=dict)


class Cloud:
    """Reads and tells lab.aws."""

    def __init__(self, endpoint_url: str) -> None:
        session = boto3.session.Session(
            aws_access_key_id="lab",
            aws_secret_access_key="lab",  # noqa: S106 (lab.aws checks none)
            region_name=REGION,
        )
        config = Config(connect_timeout=5, read_timeout=60, retries={"max_attempts": 1})

        def client(service: str) -> Any:
            return session.client(service, endpoint_url=endpoint_url, config=config)

        self.ec2, self.groups_api, self.rds = client("ec2"), client("autoscaling"), client("rds")
        self.elb, self.iam, self.sts = client("elbv2"), client("iam"), client("sts")
        self.secrets = client("secretsmanager")

    def records(self, failed_zones: frozenset[str] = frozenset()) -> Records:
        groups = self.groups()
        instances = self.instances(groups)
        addresses = {
            instance.id: instance.address for instance in instances if instance.address and instance.state == "running"
        }
        balancers: list[Balancer] = []
        refused = {}
        for row in self.balancers():
            try:
                config = self.balancer(row, addresses)
            except LabError as error:
                refused[row["LoadBalancerName"]] = str(error)
                continue
            if config.listeners:
                zones = tuple(zone["SubnetId"] for zone in row["AvailabilityZones"])
                groups_of_it = tuple(row.get("SecurityGroups", ()))
                balancers.append(Balancer(config, zones, not balancers, groups_of_it))
        subnets = self.ec2.describe_subnets()["Subnets"]
        zone_of = {row["SubnetId"]: row["AvailabilityZone"] for row in subnets}
        return Records(
            groups=tuple(groups),
            instances=tuple(instances),
            subnets={row["SubnetId"]: row["CidrBlock"] for row in subnets},
            databases=tuple(self.databases()),
            registered=self._registered({arn for group in groups for arn in group.target_groups}),
            balancers=tuple(balancers),
            refused=refused,
            ways=routing.ways(
                self.ec2.describe_route_tables()["RouteTables"],
                {row["SubnetId"]: row["VpcId"] for row in subnets},
                self.ec2.describe_addresses()["Addresses"],
                [
                    row
                    for row in self.ec2.describe_nat_gateways()["NatGateways"]
                    if zone_of.get(row["SubnetId"]) not in failed_zones
                ],
            ),
            security_groups={
                row["GroupId"]: security_group(row)
                for page in self.ec2.get_paginator("describe_security_groups").paginate()
                for row in page["SecurityGroups"]
            },
        )

    def _registered(self, arns: set[str]) -> dict[str, frozenset[str]]:
        found = {}
        for arn in arns:
            try:
                found[arn] = frozenset(target for target, _ in self.targets(arn))
            except self.elb.exceptions.TargetGroupNotFoundException:
                # A group may outlive its target groups while it is torn down.
                continue
        return found

    def groups(self) -> list[Group]:
        pages = self.groups_api.get_paginator("describe_auto_scaling_groups").paginate()
        return [
            Group(
                name=row["AutoScalingGroupName"],
                members=tuple(item["InstanceId"] for item in row["Instances"]),
                in_service=tuple(
                    item["InstanceId"] for item in row["Instances"] if item["LifecycleState"] == "InService"
                ),
                target_groups=tuple(row.get("TargetGroupARNs", ())),
                checks_targets="ELB" in row.get("HealthCheckType", "EC2"),
                grace_s=float(row.get("HealthCheckGracePeriod") or 0),
                target_states={item["InstanceId"]: target_state(item["LifecycleState"]) for item in row["Instances"]},
            )
            for page in pages
            for row in page["AutoScalingGroups"]
        ]

    def instances(self, groups: list[Group]) -> list[Instance]:
        group_of = {member: group.name for group in groups for member in group.members}
        targets = {member: state for group in groups for member, state in group.target_states.items()}
        pages = self.ec2.get_paginator("describe_instances").paginate()
        return [
            Instance(
                id=row["InstanceId"],
                state=row["State"]["Name"],
                image_id=row["ImageId"],
                address=row.get("PrivateIpAddress"),
                subnet_id=row.get("SubnetId"),
                zone=row["Placement"].get("AvailabilityZone", ""),
                group=group_of.get(row["InstanceId"]),
                profile_arn=(row.get("IamInstanceProfile") or {}).get("Arn"),
                hostname=row.get("PrivateDnsName", ""),
                instance_type=row.get("InstanceType", ""),
                launched=row["LaunchTime"].strftime("%Y-%m-%dT%H:%M:%SZ"),
                target_state=targets.get(row["InstanceId"]),
                forwards=not row.get("SourceDestCheck", True),
                security_groups=tuple(
                    sorted({each["GroupId"] for card in row.get("NetworkInterfaces", ()) for each in card["Groups"]})
                ),
                tags={tag["Key"]: tag["Value"] for tag in row.get("Tags", ())},
            )
            for page in pages
            for reservation in page["Reservations"]
            for row in reservation["Instances"]
        ]

    def user_data(self, instance_id: str) -> bytes | None:
        answer = self.ec2.describe_instance_attribute(InstanceId=instance_id, Attribute="userData")
        value = (answer.get("UserData") or {}).get("Value")
        return base64.b64decode(value) if value else None

    def images(self) -> set[str]:
        return {row["ImageId"] for row in self.ec2.describe_images(Owners=["self"])["Images"]}

    def powered_off(self, instance_id: str) -> bool:
        """Stop or terminate an instance that has shut itself down, as it was started to; whether it stops.

        Amazon EC2 user guide, "Change instance initiated shutdown behavior": the default is to stop.
        """
        answer = self.ec2.describe_instance_attribute(
            InstanceId=instance_id, Attribute="instanceInitiatedShutdownBehavior"
        )
        if answer["InstanceInitiatedShutdownBehavior"].get("Value") == "terminate":
            self.ec2.terminate_instances(InstanceIds=[instance_id])
            return False
        self.ec2.stop_instances(InstanceIds=[instance_id])
        return True

    def give_up(self, instance_id: str) -> None:
        """Report a group's instance unhealthy and have it terminated and replaced."""
        self.groups_api.set_instance_health(
            InstanceId=instance_id, HealthStatus="Unhealthy", ShouldRespectGracePeriod=False
        )
        self.groups_api.terminate_instance_in_auto_scaling_group(
            InstanceId=instance_id, ShouldDecrementDesiredCapacity=False
        )

    def lost(self, instance_id: str) -> None:
        """Say that a host is gone; its group replaces it without waiting for what it can't do any more."""
        self.ec2.terminate_instances(InstanceIds=[instance_id])

    def role(self, profile_arn: str) -> tuple[str, str, str] | None:
        """(profile id, role name, role ARN) behind an instance profile; None when it has no role."""
        name = profile_arn.rpartition("/")[2]
        profile = self.iam.get_instance_profile(InstanceProfileName=name)["InstanceProfile"]
        if not profile["Roles"]:
            return None
        return profile["InstanceProfileId"], profile["Roles"][0]["RoleName"], profile["Roles"][0]["Arn"]

    def credentials(self, role_arn: str, instance_id: str) -> Mapping[str, Any]:
        """Temporary credentials of a role: AccessKeyId, SecretAccessKey, SessionToken, Expiration."""
        answer: Mapping[str, Any] = self.sts.assume_role(
            RoleArn=role_arn, RoleSessionName=instance_id, DurationSeconds=3600
        )["Credentials"]
        return answer

    def targets(self, group_arn: str) -> list[tuple[str, int]]:
        """(target id, port) of what is registered with a target group, without what drains."""
        rows = self.elb.describe_target_health(TargetGroupArn=group_arn)["TargetHealthDescriptions"]
        return [
            (row["Target"]["Id"], int(row["Target"]["Port"]))
            for row in rows
            if row["TargetHealth"]["State"] not in ("draining", "unused") or not row["Target"]["Id"].startswith("i-")
        ]

    def register(self, group_arn: str, instance_ids: list[str]) -> None:
        if instance_ids:
            self.elb.register_targets(TargetGroupArn=group_arn, Targets=[{"Id": name} for name in instance_ids])

    def deregister(self, group_arn: str, instance_ids: list[str]) -> None:
        if instance_ids:
            self.elb.deregister_targets(TargetGroupArn=group_arn, Targets=[{"Id": name} for name in instance_ids])

    def balancers(self) -> list[dict[str, Any]]:
        """Application load balancers, the oldest first."""
        pages = self.elb.get_paginator("describe_load_balancers").paginate()
        rows = [row for page in pages for row in page["LoadBalancers"] if row["Type"] == "application"]
        return sorted(rows, key=lambda row: (row["CreatedTime"], row["LoadBalancerName"]))

    def balancer(self, row: Mapping[str, Any], addresses: Mapping[str, str]) -> haproxy.Balancer:
        """A load balancer with its HTTP and HTTPS listeners, rules, target groups and targets.

        Args:
            row: as DescribeLoadBalancers gives it.
            addresses: instance id → address of running instances.

        Raises:
            LabError: it has an action or a condition that is not emulated, or a certificate that isn't the lab's.
        """
        arn = row["LoadBalancerArn"]
        # Asked for those of a load balancer that has none, lab.aws says that they weren't found.
        every = self.elb.get_paginator("describe_target_groups").paginate()
        groups = [row for page in every for row in page["TargetGroups"] if arn in row["LoadBalancerArns"]]
        names = {group["TargetGroupArn"]: group["TargetGroupName"] for group in groups}
        listeners = []
        for listener in self.elb.describe_listeners(LoadBalancerArn=arn)["Listeners"]:
            certificate = (
                certificates(listener["Certificates"][0]["CertificateArn"]) if listener.get("Certificates") else ""
            )
            if listener["Protocol"] not in ("HTTP", "HTTPS") or (listener["Protocol"] == "HTTPS") != bool(certificate):
                continue
            rules = self.elb.describe_rules(ListenerArn=listener["ListenerArn"])["Rules"]
            listeners.append(
                haproxy.Listener(
                    port=int(listener["Port"]),
                    rules=tuple(
                        haproxy.Rule(
                            patterns(rule, "path-pattern"),
                            patterns(rule, "host-header"),
                            action(rule["Actions"], names),
                        )
                        for rule in sorted(
                            (rule for rule in rules if not rule["IsDefault"]), key=lambda rule: int(rule["Priority"])
                        )
                    ),
                    default=action(listener["DefaultActions"], names),
                    certificate=certificate,
                )
            )
        attributes = {
            attribute["Key"]: attribute["Value"]
            for attribute in self.elb.describe_load_balancer_attributes(LoadBalancerArn=arn)["Attributes"]
        }
        return haproxy.Balancer(
            name=row["LoadBalancerName"],
            listeners=tuple(sorted(listeners, key=lambda listener: listener.port)),
            groups=tuple(self._target_group(group, addresses) for group in groups),
            idle_timeout_s=int(attributes.get("idle_timeout.timeout_seconds", "60")),
        )

    def _target_group(self, row: Mapping[str, Any], addresses: Mapping[str, str]) -> haproxy.TargetGroup:
        targets = [
            haproxy.Target(target, addresses.get(target, target), port)
            for target, port in self.targets(row["TargetGroupArn"])
            if target in addresses or not target.startswith("i-")
        ]
        port = row.get("HealthCheckPort") or "traffic-port"
        return haproxy.TargetGroup(
            name=row["TargetGroupName"],
            arn=row["TargetGroupArn"],
            path=row.get("HealthCheckPath") or "/",
            matcher=(row.get("Matcher") or {}).get("HttpCode") or "200",
            interval_s=int(row.get("HealthCheckIntervalSeconds") or 30),
            timeout_s=int(row.get("HealthCheckTimeoutSeconds") or 5),
            healthy_count=int(row.get("HealthyThresholdCount") or 5),
            unhealthy_count=int(row.get("UnhealthyThresholdCount") or 2),
            check_port=None if port == "traffic-port" else int(port),
            targets=tuple(sorted(targets, key=lambda target: target.id)),
        )

    def databases(self) -> list[Database]:
        rows = [
            row for page in self.rds.get_paginator("describe_db_instances").paginate() for row in page["DBInstances"]
        ]
        return [
            Database(
                identifier=row["DBInstanceIdentifier"],
                endpoint=row["Endpoint"]["Address"],
                port=int(row["Endpoint"]["Port"]),
                name=row.get("DBName"),
                user=row["MasterUsername"],
                password=self._password(row),
                subnet_ids=tuple(
                    subnet["SubnetIdentifier"]
                    for subnet in (row.get("DBSubnetGroup") or {}).get("Subnets", ())
                    if subnet["SubnetAvailabilityZone"]["Name"] == row["AvailabilityZone"]
                ),
                zone=row["AvailabilityZone"],
                origin=database_origin(row["DBInstanceIdentifier"]),
                security_groups=tuple(each["VpcSecurityGroupId"] for each in row.get("VpcSecurityGroups", ())),
            )
            for row in rows
            if row["Engine"] == "postgres" and row["DBInstanceStatus"] not in ("deleting", "stopped")
        ]

    def _password(self, row: Mapping[str, Any]) -> str:
        if managed := row.get("MasterUserSecret"):
            secret = self.secrets.get_secret_value(SecretId=managed["SecretArn"])["SecretString"]
            return str(json.loads(secret)["password"])
        return master_password(row["DBInstanceIdentifier"])


def target_state(state: str) -> str:
    """The steady state that an instance of an Auto Scaling group is in or on its way to.

    EC2 Auto Scaling user guide, 'Retrieve the target lifecycle state through instance metadata'.
    """
    return {"Pending": "InService", "Terminating": "Terminated"}.get(state.partition(":")[0], state)


def master_password(identifier: str) -> str:
    """The master password of a database: no API returns it, so it is read from lab.aws in this process."""
    from moto.rds.models import rds_backends

    from lab.aws import state_lock

    with state_lock:
        return str(rds_backends[ACCOUNT][REGION].databases[identifier]._master_user_password or "")


def certificates(arn: str) -> str:
    """A certificate with its chain and key (PEM), read from lab.aws in this process: no API returns the key.

    Raises:
        LabError: there is none.
    """
    from moto.acm.models import acm_backends

    from lab.aws import state_lock

    with state_lock:
        found = acm_backends[ACCOUNT][REGION]._certificates.get(arn)
        if found is None:
            raise LabError(f"the lab has no certificate {arn}")
        return str(b"\n".join((found.cert, found.chain, found.key)).decode())


def database_origin(identifier: str) -> tuple[str, ...]:
    """What a database was restored from, as lab.aws noted it; no API returns it."""
    from moto.rds.models import rds_backends

    from lab.aws import state_lock

    with state_lock:
        return tuple(getattr(rds_backends[ACCOUNT][REGION].databases[identifier], "lab_origin", ()))


def action(rows: list[dict[str, Any]], group_names: Mapping[str, str]) -> haproxy.Action:
    """A listener's or rule's last action, which answers the request; authentication before it is not emulated.

    Raises:
        LabError: the action is of a kind that HAProxy isn't configured for.
    """
    last = max(rows, key=lambda row: row.get("Order", 0))
    match last["Type"]:
        case "forward":
            arn = last.get("TargetGroupArn")
            if arn is None:
                weighted = last["ForwardConfig"]["TargetGroups"]
                arn = max(weighted, key=lambda row: row.get("Weight", 1))["TargetGroupArn"]
            return haproxy.Forward(group_names[arn])
        case "redirect":
            config = last["RedirectConfig"]
            return haproxy.Redirect(
                status=int(config["StatusCode"].removeprefix("HTTP_")),
                protocol=config.get("Protocol") or "#{protocol}",
                host=config.get("Host") or "#{host}",
                port=config.get("Port") or "#{port}",
                path=config.get("Path") or "/#{path}",
                query=config.get("Query") or "#{query}",
            )
        case "fixed-response":
            config = last["FixedResponseConfig"]
            return haproxy.Fixed(
                status=int(config["StatusCode"]),
                content_type=config.get("ContentType") or "text/plain",
                body=config.get("MessageBody") or "",
            )
    raise LabError(f"the lab's load balancer knows no action of type {last['Type']!r}")


def patterns(rule: Mapping[str, Any], kind: str) -> tuple[str, ...]:
    """Values of a rule's `path-pattern` or `host-header` conditions."""
    found: list[str] = []
    for condition in rule.get("Conditions", ()):
        if condition.get("Field") not in ("path-pattern", "host-header"):
            raise LabError(f"the lab's load balancer knows no rule condition on {condition.get('Field')!r}")
        if condition["Field"] == kind:
            key = "PathPatternConfig" if kind == "path-pattern" else "HostHeaderConfig"
            found += (condition.get(key) or {}).get("Values") or condition.get("Values") or []
    return tuple(found)
