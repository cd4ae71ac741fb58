"""What is left of an environment on AWS after it was destroyed, why, and what of it can be removed without a question.

Only what carries the environment's tags, or lies in its VPC, is removed. A name alone isn't enough: the names of
environment "test-two" begin like those of "test".
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from module_utils import environment_data as data
    from module_utils import environment_front as front
    from module_utils import environment_network as network
    from module_utils import environment_service as service
    from module_utils.environment_logs import group_arn
    from module_utils.environment_reader import Reader, tags_of
else:
    from ansible.module_utils import environment_data as data
    from ansible.module_utils import environment_front as front
    from ansible.module_utils import environment_network as network
    from ansible.module_utils import environment_service as service
    from ansible.module_utils.environment_logs import group_arn
    from ansible.module_utils.environment_reader import Reader, tags_of

REASONS: Final = {
    "database snapshot": "its data, to restore from; it costs storage until you delete it",
    "database": "a protected database, or one that another tool made",
    "address": "it is in use by something outside of the environment, or costs money unused: release it",
    "snapshot": "an image that isn't the environment's uses it",
    "resource with the environment's tags": "AWS names also what was deleted lately; if it is there, remove it by hand",
    "certificate": "a load balancer uses it: see whose it is",
    "record": "it points to a load balancer that is gone, whose name others could get: remove it",
    "table": "it is protected from deletion, or another tool made it",
}
"""Why something of a kind stays. What has no reason here was made by hand or by another tool."""
UNKNOWN: Final = "no playbook made it, so none removes it: see whose it is, then remove it by hand"


class Remnant(NamedTuple):
    """Something that the playbooks' tasks left behind, with the operation that removes it."""

    kind: str
    identifier: str
    service: str
    operation: str
    arguments: dict[str, Any]


def sweepable(reader: Reader, kinds: Iterable[str]) -> list[Remnant]:
    """What of these kinds nothing uses any more. The kinds are the keys of ``SWEEPERS``."""
    return [remnant for kind in kinds for remnant in SWEEPERS[kind](reader)]


def remove(reader: Reader, remnant: Remnant) -> None:
    getattr(reader.client(remnant.service), remnant.operation)(**remnant.arguments)


def _interfaces(reader: Reader) -> Iterator[Remnant]:
    """Interfaces that nothing is attached to: those of a deleted load balancer or database may stay for good."""
    vpcs = [each["VpcId"] for each in reader.all("ec2", "describe_vpcs", "Vpcs", Filters=reader.tag_filters())]
    subnets = [
        each["SubnetId"] for each in reader.all("ec2", "describe_subnets", "Subnets", Filters=reader.tag_filters())
    ]
    # An existing VPC has others' interfaces too, but not in the environment's subnets.
    if not vpcs and not subnets:
        return
    where = {"Name": "vpc-id", "Values": vpcs} if vpcs else {"Name": "subnet-id", "Values": subnets}
    filters = [where, {"Name": "status", "Values": ["available"]}]
    for each in reader.all("ec2", "describe_network_interfaces", "NetworkInterfaces", Filters=filters):
        identifier = each["NetworkInterfaceId"]
        arguments = {"NetworkInterfaceId": identifier}
        yield Remnant("network interface", identifier, "ec2", "delete_network_interface", arguments)


def _addresses(reader: Reader) -> Iterator[Remnant]:
    for each in reader.all("ec2", "describe_addresses", "Addresses", Filters=reader.tag_filters()):
        if not each.get("AssociationId"):
            arguments = {"AllocationId": each["AllocationId"]}
            yield Remnant("address", each.get("PublicIp", each["AllocationId"]), "ec2", "release_address", arguments)


def _snapshots(reader: Reader) -> Iterator[Remnant]:
    used = {
        mapping["Ebs"]["SnapshotId"]
        for image in reader.all("ec2", "describe_images", "Images", Owners=["self"])
        for mapping in image["BlockDeviceMappings"]
        if "SnapshotId" in mapping.get("Ebs", {})
    }
    for each in reader.all("ec2", "describe_snapshots", "Snapshots", OwnerIds=["self"], Filters=reader.tag_filters()):
        if each["SnapshotId"] not in used:
            arguments = {"SnapshotId": each["SnapshotId"]}
            yield Remnant("snapshot", each["SnapshotId"], "ec2", "delete_snapshot", arguments)


def _volumes(reader: Reader) -> Iterator[Remnant]:
    filters = [*reader.tag_filters(), {"Name": "status", "Values": ["available"]}]
    for each in reader.all("ec2", "describe_volumes", "Volumes", Filters=filters):
        yield Remnant("volume", each["VolumeId"], "ec2", "delete_volume", {"VolumeId": each["VolumeId"]})


def _alarms(reader: Reader) -> Iterator[Remnant]:
    for each in reader.all("cloudwatch", "describe_alarms", "MetricAlarms"):
        name = each["AlarmName"]
        if reader.is_ours(name, {}):
            tags = reader.answer("cloudwatch", "list_tags_for_resource", ResourceARN=each["AlarmArn"])["Tags"]
            if _carries_tags(reader, tags_of(tags)):
                yield Remnant("alarm", name, "cloudwatch", "delete_alarms", {"AlarmNames": [name]})


def _log_groups(reader: Reader) -> Iterator[Remnant]:
    """The environment's own, and those that RDS made without tags for logs of the environment's database."""
    of_rds = f"/aws/rds/instance/{reader.name}-database/"
    for each in reader.all("logs", "describe_log_groups", "logGroups"):
        name = each["logGroupName"]
        if name.startswith(of_rds) or (
            reader.is_ours(name, {})
            and _carries_tags(
                reader, reader.answer("logs", "list_tags_for_resource", resourceArn=group_arn(each))["tags"]
            )
        ):
            yield Remnant("log group", name, "logs", "delete_log_group", {"logGroupName": name})


def _certificates(reader: Reader) -> Iterator[Remnant]:
    for each in front.certificates(reader):
        if not each.get("InUseBy"):
            arguments = {"CertificateArn": each["CertificateArn"]}
            yield Remnant("certificate", each["DomainName"], "acm", "delete_certificate", arguments)


def _carries_tags(reader: Reader, tags: Mapping[str, str]) -> bool:
    return tags.get("Project") == reader.project and tags.get("Environment") == reader.environment


SWEEPERS: Final[Mapping[str, Callable[[Reader], Iterator[Remnant]]]] = {
    "network interface": _interfaces,
    "address": _addresses,
    "snapshot": _snapshots,
    "volume": _volumes,
    "alarm": _alarms,
    "log group": _log_groups,
    "certificate": _certificates,
}


def left(reader: Reader) -> list[dict[str, str]]:
    """Everything that AWS still has of the environment: kind, name, why, and line (for people)."""
    there = {**network.describe(reader), **data.describe(reader), **service.describe(reader)}
    in_recovery = list(_secrets(reader))
    # AWS lists a NAT gateway for an hour after its deletion (Amazon VPC user guide, "Work with NAT gateways").
    for each in reader.all("ec2", "describe_nat_gateways", "NatGateways", Filters=reader.tag_filters()):
        reader.know(each["NatGatewayId"], each["NatGatewayId"])
    there |= data.others_with_tags(reader)
    found = [
        _remnant(kind, name, REASONS.get(kind, UNKNOWN))
        for kind, objects in there.items()
        for name in objects
        # The table of this run's own lease.
        if (kind, name) != ("table", f"{reader.name}-lease")
    ]
    return sorted([*found, *in_recovery, *_backups(reader)], key=lambda each: each["line"])


def _remnant(kind: str, name: str, why: str) -> dict[str, str]:
    return {"kind": kind, "name": name, "why": why, "line": f"{kind} {name}: {why}"}


def _secrets(reader: Reader) -> Iterator[dict[str, str]]:
    """Secrets in their recovery window (Secrets Manager API reference, DescribeSecret: DeletedDate is the date "the
    secret is scheduled for deletion")."""
    for each in reader.all("secretsmanager", "list_secrets", "SecretList", IncludePlannedDeletion=True):
        if each.get("DeletedDate") and reader.is_ours(each["Name"], tags_of(each.get("Tags"))):
            described = reader.answer(
                "secretsmanager", "describe_secret", "ResourceNotFoundException", SecretId=each["ARN"]
            )
            reader.know(each["ARN"], each["Name"])
            if described.get("DeletedDate"):
                until = _date(described["DeletedDate"])
                yield _remnant(
                    "secret in recovery", each["Name"], f"AWS deletes it after {until}; until then it can be restored"
                )


def _backups(reader: Reader) -> Iterator[dict[str, str]]:
    """Backups that AWS keeps beyond what they are of.

    Amazon RDS API reference, DescribeDBInstanceAutomatedBackups: status ``retained`` is that of a deleted instance.
    Amazon DynamoDB developer guide, "Enable point-in-time recovery in DynamoDB", "Delete a table with PITR enabled": a
    system backup stays for 35 days at no cost.
    """
    for each in reader.all("rds", "describe_db_instance_automated_backups", "DBInstanceAutomatedBackups"):
        if each.get("Status") == "retained" and reader.is_ours(each["DBInstanceIdentifier"], {}):
            yield _remnant(
                "database backup", each["DBInstanceIdentifier"], "AWS keeps it for the database's backup days"
            )
    for each in reader.all("dynamodb", "list_backups", "BackupSummaries", BackupType="SYSTEM"):
        if reader.is_ours(each["TableName"], {}):
            until = f"until {_date(each['BackupExpiryDateTime'])}" if "BackupExpiryDateTime" in each else "for 35 days"
            yield _remnant("table backup", each["TableName"], f"AWS keeps it {until}, at no cost")


def _date(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d")
